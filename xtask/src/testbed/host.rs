//! What the test bed needs of this machine: root on Debian, a few packages, QEMU 10 or newer.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::cache;
use crate::process::Cmd;
use crate::report;

/// (program, package that has it) for every program the test bed starts.
const PROGRAMS: [(&str, &str); 11] = [
    ("debootstrap", "debootstrap"),
    ("gcc", "gcc"),
    ("ip", "iproute2"),
    ("mkfs.ext4", "e2fsprogs"),
    ("qemu-img", "qemu-utils"),
    ("qemu-system-x86_64", "qemu-system-x86"),
    ("ssh", "openssh-client"),
    ("ssh-keygen", "openssh-client"),
    ("sysctl", "procps"),
    ("go", "golang-go"),
    ("xz", "xz-utils"),
];

/// QEMU 7 corrupts flags on cmpxchg16b when it emulates, and is several times slower.
const QEMU_FLOOR: u32 = 8;

/// Packages taken from backports on Debian 12, whose own are too old.
const FROM_BACKPORTS: [&str; 3] = ["qemu-utils", "qemu-system-x86", "golang-go"];

/// Makes sure that everything needed is installed.
///
/// # Errors
/// When something is missing that we may not or cannot install; the message says what to do.
pub(crate) fn ensure() -> Result<()> {
    if !nix::unistd::geteuid().is_root() {
        bail!(
            "the test bed makes network namespaces and virtual machines: run it as root, on Debian 12 or newer with these packages (QEMU {QEMU_FLOOR} or newer; the rest is built by it): {}",
            packages(&|_| true).join(" ")
        );
    }
    let missing = packages(&|program| !usable(program));
    if missing.is_empty() {
        return Ok(());
    }
    let codename = debian_codename().with_context(|| {
        format!(
            "this machine is not Debian; install the equivalent of: {}",
            missing.join(" ")
        )
    })?;
    let _lock = cache::lock(&cache::root()?.join("apt.lock"))?;
    report::step(&format!("install {}", missing.join(" ")), || {
        install(&codename, &missing)
    })?;
    match PROGRAMS.iter().find(|(program, _)| !usable(program)) {
        Some((program, _)) => bail!("{program} is still missing or too old after installing it"),
        None => Ok(()),
    }
}

/// Makes sure that a program of a package is installed that few need.
///
/// # Errors
/// As [`ensure`].
pub(crate) fn ensure_program(program: &str, package: &str) -> Result<()> {
    ensure()?;
    if usable(program) {
        return Ok(());
    }
    let codename = debian_codename().with_context(|| format!("install {package}"))?;
    let _lock = cache::lock(&cache::root()?.join("apt.lock"))?;
    report::step(&format!("install {package}"), || install(&codename, &[package]))
}

/// The URI of the machine's own Debian archive, and the codename of its release.
pub(crate) fn debian_archive() -> Result<String> {
    let codename = debian_codename()?;
    let targets = Cmd::new("apt-get")
        .args(["indextargets", "--format", "$(CREATED_BY) $(CODENAME) $(REPO_URI)"])
        .output()?;
    let uri = targets
        .lines()
        .find_map(|line| line.strip_prefix(&format!("Packages {codename} ")));
    Ok(uri
        .with_context(|| format!("no apt source of this machine has {codename}"))?
        .to_owned())
}

fn debian_codename() -> Result<String> {
    let release = fs::read_to_string("/etc/os-release").context("read /etc/os-release")?;
    let field = |name: &str| {
        release
            .lines()
            .find_map(|l| l.strip_prefix(name))
            .map(|v| v.trim_matches('"').to_owned())
    };
    if field("ID=").as_deref() != Some("debian") {
        bail!("/etc/os-release does not say ID=debian");
    }
    field("VERSION_CODENAME=").context("/etc/os-release has no VERSION_CODENAME")
}

fn packages(wanted: &dyn Fn(&str) -> bool) -> Vec<&'static str> {
    let mut list: Vec<_> = PROGRAMS
        .iter()
        .filter(|(program, _)| wanted(program))
        .map(|(_, package)| *package)
        .collect();
    list.sort_unstable();
    list.dedup();
    list
}

fn usable(program: &str) -> bool {
    match program {
        "qemu-system-x86_64" => qemu_major().is_some_and(|major| major >= QEMU_FLOOR),
        _ => on_path(program),
    }
}

fn qemu_major() -> Option<u32> {
    if !on_path("qemu-system-x86_64") {
        return None;
    }
    let text = Cmd::new("qemu-system-x86_64").arg("--version").output().ok()?;
    text.split("version ").nth(1)?.split('.').next()?.parse().ok()
}

/// Whether PATH, or a folder of system programs, has `program`.
fn on_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/sbin".into()])
        .any(|dir| dir.join(program).is_file())
}

fn install(codename: &str, missing: &[&str]) -> Result<()> {
    let log = cache::build_log("apt")?;
    let apt = |args: &[&str]| {
        let cmd = Cmd::new("apt-get")
            .args(["-o", "DPkg::Lock::Timeout=300", "-o", "Dpkg::Use-Pty=0", "-q", "-y"])
            .args(args);
        cmd.env("DEBIAN_FRONTEND", "noninteractive")
            .log(&log)
            .within(Duration::from_secs(900))
            .run()
    };
    let (old, rest): (Vec<&str>, Vec<&str>) = missing
        .iter()
        .partition(|package| codename == "bookworm" && FROM_BACKPORTS.contains(package));
    apt(&["update"])?;
    if !old.is_empty() {
        add_backports(codename)?;
        apt(&["update"])?;
        apt(&[
            &["install", "--no-install-recommends", "-t", "bookworm-backports"],
            old.as_slice(),
        ]
        .concat())?;
    }
    if !rest.is_empty() {
        apt(&[&["install", "--no-install-recommends"], rest.as_slice()].concat())?;
    }
    Ok(())
}

/// Adds the backports suite of the archive that the machine already uses, unless a source has it.
fn add_backports(codename: &str) -> Result<()> {
    let suite = format!("{codename}-backports");
    let present = Cmd::new("apt-get")
        .args(["indextargets", "--format", "$(CODENAME)"])
        .output()?;
    if present.lines().any(|line| line == suite) {
        return Ok(());
    }
    let source = format!(
        "Types: deb\nURIs: {}\nSuites: {suite}\nComponents: main\nSigned-By: /usr/share/keyrings/debian-archive-keyring.gpg\n",
        debian_archive()?
    );
    let path = Path::new("/etc/apt/sources.list.d/backports-for-dotmesh.sources");
    fs::write(path, source).with_context(|| format!("write {}", path.display()))
}
