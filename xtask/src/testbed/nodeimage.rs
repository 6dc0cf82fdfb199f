//! The node's disks: a Debian with OpenZFS, and beside it one with kubelet, kube-proxy and the images that never change.
//!
//! Both are base images; each machine writes to overlays of its own. The second is there only for nodes of a Kubernetes,
//! so that a node alone needs none of the Go programs.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};

use super::cache::{self, Recipe};
use super::gotools::{PROVISIONER_VERSION, RESIZER_VERSION, Tool};
use super::oci::{Content, Image};
use super::{dbimage, debian, sandbox};
use crate::process::{Cmd, Daemon, wait_for};
use crate::workspace;

/// The sandbox image that `containerd/config.toml` of the node names.
const PAUSE_IMAGE: &str = "dotmesh.io/testbed/pause:1";

/// Size of each disk; sparse, so only what is written takes room.
const DISK_SIZE: &str = "32G";

/// What debootstrap installs: a system that boots, with a kernel and the headers to build OpenZFS for it.
const BASE_PACKAGES: [&str; 17] = [
    "ca-certificates",
    "conntrack",
    "dbus",
    "iproute2",
    "iptables",
    "iputils-ping",
    "kmod",
    "linux-headers-cloud-amd64",
    "linux-image-cloud-amd64",
    "nftables",
    "openssh-server",
    "procps",
    "psmisc",
    "socat",
    "systemd",
    "systemd-sysv",
    "udev",
];

/// What is installed inside, with the kernel in place.
const NODE_PACKAGES: [&str; 8] = [
    "containerd",
    "containernetworking-plugins",
    "e2fsprogs",
    "jq",
    "runc",
    "xfsprogs",
    "zfs-dkms",
    "zfsutils-linux",
];

/// Units that every node starts; those of Kubernetes hang on `dotmesh-kubernetes.target`.
const ENABLED: [&str; 6] = [
    "containerd",
    "dotmesh-config",
    "kube-proxy",
    "kubelet",
    "ssh",
    "systemd-networkd",
];

/// Units that would only cost time, touch pools, or put /tmp (where tests keep pools) into memory.
const MASKED: [&str; 25] = [
    "apt-daily-upgrade.timer",
    "apt-daily.timer",
    "dpkg-db-backup.timer",
    "e2scrub_all.timer",
    "e2scrub_reap.service",
    "fstrim.timer",
    "getty@tty1.service",
    "ldconfig.service",
    "man-db.timer",
    "modprobe@configfs.service",
    "modprobe@drm.service",
    "modprobe@efi_pstore.service",
    "modprobe@fuse.service",
    "systemd-binfmt.service",
    "systemd-hostnamed.socket",
    "systemd-logind.service",
    "systemd-networkd-wait-online.service",
    "systemd-timesyncd.service",
    "systemd-udev-settle.service",
    "tmp.mount",
    "xfs_scrub_all.timer",
    "zfs-import-cache.service",
    "zfs-mount.service",
    "zfs-share.service",
    "zfs-zed.service",
];

/// The files a node boots from.
#[derive(Debug, Clone)]
pub(crate) struct NodeDisk {
    pub(crate) disk: PathBuf,
    pub(crate) kernel: PathBuf,
    pub(crate) initrd: PathBuf,
}

/// The root folder with all packages: the slow part, kept apart from our own few files.
fn root_folder() -> Result<PathBuf> {
    let recipe = Recipe::new("node-root")
        .with(debian::RELEASE)
        .with(BASE_PACKAGES.join(" "))
        .with(NODE_PACKAGES.join(" "));
    let done = recipe.build(|out| {
        let root = out.join("root");
        debian::bootstrap(&root, "main,contrib", &BASE_PACKAGES)?;
        // Nothing is started while packages are installed; it would run on this machine.
        let policy = root.join("usr/sbin/policy-rc.d");
        fs::write(&policy, "#!/bin/sh\nexit 101\n").context("write policy-rc.d")?;
        fs::set_permissions(&policy, fs::Permissions::from_mode(0o755))?;
        // Without a terminal of its own it stays in our process group, and ends with it.
        let install = [
            "apt-get",
            "-o",
            "Dpkg::Use-Pty=0",
            "install",
            "-y",
            "-q",
            "--no-install-recommends",
        ];
        debian::run_inside(
            &root,
            &cache::build_log("node-root")?,
            &[install.as_slice(), &NODE_PACKAGES].concat(),
        )?;
        fs::remove_file(&policy).context("remove policy-rc.d")?;
        debian::trim(&root)
    })?;
    Ok(done.join("root"))
}

/// The node's first disk with kernel and initrd; built when it is not there.
pub(crate) fn node_disk() -> Result<NodeDisk> {
    let ours = workspace::root().join("xtask/testbed/node/rootfs");
    let base = root_folder()?;
    let mut recipe = Recipe::new("node-disk")
        .with(path_bytes(&base))
        .with(ENABLED.join(" "))
        .with(MASKED.join(" "));
    for file in files_below(&ours)? {
        recipe = recipe.with(path_bytes(file.strip_prefix(&ours)?)).with_file(&file)?;
    }
    let done = recipe.with(DISK_SIZE).build(|out| {
        let log = cache::build_log("node-disk")?;
        let root = out.join("root");
        copy(&base, &root)?;
        for file in files_below(&ours)? {
            let target = root.join(file.strip_prefix(&ours)?);
            fs::create_dir_all(target.parent().context("a file has a folder")?)?;
            fs::copy(&file, &target).with_context(|| format!("write {}", target.display()))?;
        }
        debian::run_inside(&root, &log, &[["systemctl", "enable"].as_slice(), &ENABLED].concat())?;
        debian::run_inside(&root, &log, &["systemctl", "disable", "containerd"])?;
        debian::run_inside(&root, &log, &[["systemctl", "mask"].as_slice(), &MASKED].concat())?;
        debian::run_inside(&root, &log, &["passwd", "-d", "root"])?;
        unpack_modules(&root, &log)?;
        debian::run_inside(&root, &log, &["update-initramfs", "-u", "-k", "all"])?;
        let boot = root.join("boot");
        for (prefix, name) in [("vmlinuz-", "vmlinuz"), ("initrd.img-", "initrd")] {
            fs::copy(only_file(&boot, prefix)?, out.join(name)).with_context(|| format!("copy {name}"))?;
        }
        make_disk(&root, &out.join("disk.img"), &log)?;
        cache::remove_tree(&root)
    })?;
    Ok(NodeDisk {
        disk: done.join("disk.img"),
        kernel: done.join("vmlinuz"),
        initrd: done.join("initrd"),
    })
}

/// The node's disk for Kubernetes; built when it is not there.
pub(crate) fn kubernetes_disk() -> Result<PathBuf> {
    let base = root_folder()?;
    let programs = [Tool::Kubelet.path()?, Tool::KubeProxy.path()?];
    let sidecars = [
        ("csi-provisioner.tar", provisioner_image(), Tool::CsiProvisioner.path()?),
        ("csi-resizer.tar", resizer_image(), Tool::CsiResizer.path()?),
    ];
    let database = dbimage::image()?;
    let pause = workspace::root().join("xtask/testbed/pause/pause.rs");
    let mut recipe = Recipe::new("node-kubernetes")
        .with(DISK_SIZE)
        .with(path_bytes(&base))
        .with_file(&pause)?;
    let paths = sidecars.iter().map(|(_, _, path)| path);
    for input in programs.iter().chain(paths).chain([&database]) {
        recipe = recipe.with(path_bytes(input));
    }
    let done = recipe.build(|out| {
        let log = cache::build_log("node-kubernetes")?;
        let (root, run) = (out.join("root"), out.join("run"));
        fs::create_dir_all(root.join("bin"))?;
        for program in &programs {
            fs::copy(
                program,
                root.join("bin")
                    .join(program.file_name().context("a program has a name")?),
            )?;
        }
        fs::create_dir_all(&run)?;
        build_pause(&pause, &out.join("pause"), &log)?;
        write_program_image(PAUSE_IMAGE, &out.join("pause"), &run.join("pause.tar"))?;
        let mut images = vec!["pause.tar", "database.tar"];
        for (file, (name, tag), program) in &sidecars {
            write_program_image(&format!("{name}:{tag}"), program, &run.join(file))?;
            images.push(file);
        }
        fs::copy(&database, run.join("database.tar")).context("copy the database image")?;
        import_images(&base, &root, &run, &images, &log)?;
        make_disk(&root, &out.join("disk.img"), &log)?;
        cache::remove_tree(&root)?;
        cache::remove_tree(&run)
    })?;
    Ok(done.join("disk.img"))
}

/// Name and tag of the csi-provisioner image that nodes have.
pub(crate) fn provisioner_image() -> (&'static str, &'static str) {
    ("dotmesh.io/testbed/csi-provisioner", PROVISIONER_VERSION)
}

/// Name and tag of the csi-resizer image that nodes have.
pub(crate) fn resizer_image() -> (&'static str, &'static str) {
    ("dotmesh.io/testbed/csi-resizer", RESIZER_VERSION)
}

/// Writes an image of one static program, called as its file, to `out`.
pub(crate) fn write_program_image(name: &str, program: &Path, out: &Path) -> Result<()> {
    let file = program
        .file_name()
        .context("a program has a name")?
        .to_string_lossy()
        .into_owned();
    let content = Content::Programs(vec![(program.to_owned(), file.clone())]);
    Image {
        name: name.to_owned(),
        entrypoint: vec![format!("/{file}")],
        content,
    }
    .write(out)
}

fn build_pause(source: &Path, out: &Path, log: &Path) -> Result<()> {
    let flags = [
        "opt-level=z",
        "panic=abort",
        "strip=symbols",
        "target-feature=+crt-static",
    ];
    let cmd = Cmd::new("rustc").args(["--edition", "2024", "--target", "x86_64-unknown-linux-gnu"]);
    let cmd = cmd
        .args(flags.iter().flat_map(|flag| ["-C", flag]))
        .arg("-o")
        .arg(out)
        .arg(source);
    cmd.log(log).within(Duration::from_secs(300)).run()
}

/// Lets the node's own containerd, run here against the disk's folder, import and unpack the images.
fn import_images(base: &Path, disk: &Path, run: &Path, images: &[&str], log: &Path) -> Result<()> {
    const CONFIG: &str = "version = 2\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n";
    const SOCKET: &str = "/run/containerd.sock";
    fs::write(run.join("containerd.toml"), CONFIG).context("write containerd.toml")?;
    let binds = [(disk, "/opt/kube"), (run, "/run")];
    let containerd = sandbox::inside(base, &binds).args(["containerd", "--config", "/run/containerd.toml"]);
    let containerd = containerd.args([
        "--root",
        "/opt/kube/containerd",
        "--state",
        "/run/state",
        "--address",
        SOCKET,
    ]);
    let daemon = Stopped(containerd.log(log).daemon(&run.join("containerd.json"))?);
    wait_for("containerd's socket", Duration::from_secs(60), || {
        daemon.0.check("containerd")?;
        Ok((!run.join("containerd.sock").exists()).then(|| "no socket yet".to_owned()))
    })?;
    for image in images {
        let ctr = sandbox::inside(base, &binds).args(["ctr", "--address", SOCKET, "-n", "k8s.io", "images", "import"]);
        ctr.arg(format!("/run/{image}"))
            .log(log)
            .within(Duration::from_secs(600))
            .run()?;
    }
    daemon.0.stop()
}

/// A daemon that ends with the scope, whatever happens.
struct Stopped(Daemon);

impl Drop for Stopped {
    fn drop(&mut self) {
        if let Err(error) = self.0.stop() {
            eprintln!("{error:#}");
        }
    }
}

/// Unpacks the kernel's modules: an emulated processor takes many seconds to unpack OpenZFS at each start.
fn unpack_modules(root: &Path, log: &Path) -> Result<()> {
    let modules = root.join("usr/lib/modules");
    let packed = files_below(&modules)?
        .into_iter()
        .filter(|f| f.extension().is_some_and(|e| e == "xz"));
    Cmd::new("xz")
        .arg("--decompress")
        .args(packed)
        .log(log)
        .within(Duration::from_secs(300))
        .run()?;
    let version = only_file(&modules, "")?;
    let version = version
        .file_name()
        .context("a folder has a name")?
        .to_string_lossy()
        .into_owned();
    debian::run_inside(root, log, &["depmod", &version])
}

/// Makes a sparse ext4 image of the folder `root`, without mounting anything.
fn make_disk(root: &Path, disk: &Path, log: &Path) -> Result<()> {
    let cmd = Cmd::new("mkfs.ext4").args([
        "-q",
        "-F",
        "-m",
        "0",
        "-E",
        "lazy_itable_init=1,lazy_journal_init=1",
        "-d",
    ]);
    cmd.arg(root)
        .arg(disk)
        .arg(DISK_SIZE)
        .env("PATH", path_with_sbin())
        .log(log)
        .within(Duration::from_secs(900))
        .run()
}

fn path_with_sbin() -> String {
    format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default())
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    Cmd::new("cp")
        .args(["-a", "--reflink=auto"])
        .arg(from)
        .arg(to)
        .within(Duration::from_secs(900))
        .run()
}

fn only_file(folder: &Path, prefix: &str) -> Result<PathBuf> {
    let entries = fs::read_dir(folder).with_context(|| format!("read {}", folder.display()))?;
    let found = entries
        .filter_map(Result::ok)
        .find(|e| e.file_name().to_string_lossy().starts_with(prefix));
    Ok(found
        .with_context(|| format!("no {prefix}* in {}", folder.display()))?
        .path())
}

/// All files below a folder, sorted.
fn files_below(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("read {}", folder.display()))? {
        let path = entry?.path();
        if path.is_dir() && !path.is_symlink() {
            found.extend(files_below(&path)?);
        } else {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

fn path_bytes(path: &Path) -> Vec<u8> {
    path.as_os_str().as_encoded_bytes().to_vec()
}
