//! Virtual machines: QEMU with a kernel, overlay disks and a tap.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};

use super::cache;
use super::net::{self, Namespace};
use super::nodeimage::NodeDisk;
use crate::process::{Cmd, Daemon};

/// How guest code runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Accel {
    /// By the processor.
    Kvm,
    /// Emulated: about ten times slower.
    Tcg,
}

impl Accel {
    /// The one asked for, else what works here.
    ///
    /// # Errors
    /// When the probe cannot be run at all.
    pub(crate) fn choose(wanted: Option<Self>, disk: &NodeDisk) -> Result<Self> {
        match wanted {
            Some(accel) => Ok(accel),
            None if probe_kvm(disk)? => Ok(Self::Kvm),
            None => Ok(Self::Tcg),
        }
    }

    fn arguments(self) -> &'static [&'static str] {
        match self {
            Self::Kvm => &["-accel", "kvm", "-cpu", "host"],
            // Without what costs an emulator more than it brings: string instructions that are loops of single bytes,
            // vectors, a fifth level of page tables.
            Self::Tcg => &[
                "-accel",
                "tcg,thread=multi,tb-size=1024",
                "-cpu",
                "max,erms=off,fsrm=off,avx=off,avx2=off,la57=off,smap=off,smep=off",
            ],
        }
    }
}

/// Boots a kernel for a moment: `/dev/kvm` may exist and still run no guest. The answer is kept until the next boot of this machine.
fn probe_kvm(disk: &NodeDisk) -> Result<bool> {
    if !Path::new("/dev/kvm").exists() {
        return Ok(false);
    }
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").context("read boot_id")?;
    let folder = cache::root()?.join("kvm-probe");
    let answer = folder.join(boot.trim());
    let _lock = cache::lock(&folder.join("lock"))?;
    if let Ok(text) = std::fs::read_to_string(&answer) {
        return Ok(text == "yes");
    }
    let serial = tempfile::NamedTempFile::new().context("make a temporary file")?;
    // Without a disk the kernel starts, finds no root and panics; with panic=-1 and -no-reboot that ends QEMU.
    let cmd = Cmd::new("qemu-system-x86_64").args(Accel::Kvm.arguments()).args([
        "-m",
        "256",
        "-nodefaults",
        "-no-user-config",
    ]);
    let cmd = cmd
        .args([
            "-display",
            "none",
            "-no-reboot",
            "-append",
            "console=ttyS0 panic=-1",
            "-kernel",
        ])
        .arg(&disk.kernel);
    let cmd = cmd.arg("-serial").arg(format!("file:{}", serial.path().display()));
    let ended = cmd
        .log(&cache::build_log("kvm-probe")?)
        .within(Duration::from_secs(20))
        .run()
        .is_ok();
    let works = ended && String::from_utf8_lossy(&std::fs::read(serial.path())?).contains("Kernel panic");
    std::fs::write(&answer, if works { "yes" } else { "no" }).with_context(|| format!("write {}", answer.display()))?;
    Ok(works)
}

/// A node's machine.
#[derive(Debug)]
pub(crate) struct Machine<'a> {
    /// Number of the node, from 1; gives name, address, tap.
    pub(crate) index: u8,
    pub(crate) namespace: &'a Namespace,
    pub(crate) accel: Accel,
    /// Words more for the kernel.
    pub(crate) kernel: &'a str,
    pub(crate) disk: &'a NodeDisk,
    /// The base of its third disk, for nodes of a Kubernetes.
    pub(crate) kubernetes: Option<&'a Path>,
    /// The tar that it unpacks at start.
    pub(crate) config: &'a Path,
    /// Where overlays and records go.
    pub(crate) folder: PathBuf,
    /// Where the console and messages go.
    pub(crate) logs: PathBuf,
    /// Memory in MiB.
    pub(crate) memory: u32,
}

impl Machine<'_> {
    /// Makes its overlay disks and starts it.
    pub(crate) fn start(&self) -> Result<Daemon> {
        self.overlay("root.qcow2", &self.disk.disk)?;
        if let Some(base) = self.kubernetes {
            self.overlay("kube.qcow2", base)?;
        }
        self.boot()
    }

    /// Starts it on the disks that it has.
    pub(crate) fn boot(&self) -> Result<Daemon> {
        let index = self.index;
        let mut append = format!(
            "root=/dev/vda rw console=ttyS0 panic=0 mitigations=off init_on_alloc=0 hardened_usercopy=off randomize_kstack_offset=off psi=0 quiet systemd.show_status=1 systemd.hostname=n{index} systemd.machine_id=5d0f6e3b0a5c4b5f9b1d6f2c7e8a9b{index:02x}"
        );
        append.push(' ');
        append.push_str(self.kernel);
        let mut disks = vec![
            format!("file={},format=qcow2", self.folder.join("root.qcow2").display()),
            format!("file={},format=raw,readonly=on", self.config.display()),
        ];
        if self.kubernetes.is_some() {
            append.push_str(" systemd.unit=dotmesh-kubernetes.target");
            disks.push(format!(
                "file={},format=qcow2",
                self.folder.join("kube.qcow2").display()
            ));
        }
        let mut qemu = self.namespace.exec("qemu-system-x86_64").args(self.accel.arguments());
        qemu = qemu.args([
            "-name",
            &format!("n{index}"),
            "-smp",
            "2",
            "-m",
            &self.memory.to_string(),
        ]);
        // It may reboot, as any machine; one that panics stands still, so that the wait for it ends and its console tells.
        qemu = qemu.args(["-nodefaults", "-no-user-config", "-display", "none", "-serial"]);
        qemu = qemu.arg(format!("file:{}", self.console().display()));
        qemu = qemu
            .arg("-kernel")
            .arg(&self.disk.kernel)
            .arg("-initrd")
            .arg(&self.disk.initrd)
            .args(["-append", &append]);
        for disk in disks {
            qemu = qemu.args(["-drive", &format!("{disk},if=virtio,cache=unsafe,discard=unmap")]);
        }
        qemu = qemu.args([
            "-netdev",
            &format!("tap,id=net0,ifname={},script=no,downscript=no", net::tap(index)),
        ]);
        qemu = qemu.args([
            "-device",
            &format!("virtio-net-pci,netdev=net0,mac={}", net::mac(index)),
            "-device",
            "virtio-rng-pci",
        ]);
        qemu.log(&self.logs.join(format!("n{index}-qemu.log")))
            .daemon(&self.record())
    }

    /// Its serial console's file.
    pub(crate) fn console(&self) -> PathBuf {
        self.logs.join(format!("n{}-console.log", self.index))
    }

    /// The record of its process.
    pub(crate) fn record(&self) -> PathBuf {
        self.folder.join("qemu.json")
    }

    fn overlay(&self, name: &str, base: &Path) -> Result<()> {
        let overlay = self.folder.join(name);
        let cmd = Cmd::new("qemu-img")
            .args(["create", "-q", "-f", "qcow2", "-F", "raw", "-b"])
            .arg(base)
            .arg(&overlay);
        cmd.run()
    }
}
