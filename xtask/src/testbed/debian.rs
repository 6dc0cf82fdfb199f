//! Debian root folders for what runs inside the test bed, made by debootstrap(8).

use std::path::Path;
use std::time::Duration;

use anyhow::Result;

use super::{cache, host, sandbox};

/// The release that the node and the database image are made of; it has OpenZFS ≥ 2.3.3 and PostgreSQL 17.
pub(crate) const RELEASE: &str = "trixie";

/// The longest that one command may take; OpenZFS is compiled here, perhaps on a busy machine.
const SLOWEST: Duration = Duration::from_secs(3600);

/// Makes a minimal root in `root`, with `packages`, from this machine's own archive.
pub(crate) fn bootstrap(root: &Path, components: &str, packages: &[&str]) -> Result<()> {
    let archive = host::debian_archive()?;
    let cmd = sandbox::private()
        .args(["debootstrap", "--variant=minbase"])
        .arg(format!("--components={components}"));
    let cmd = cmd
        .arg(format!("--include={}", packages.join(",")))
        .arg(RELEASE)
        .arg(root)
        .arg(archive);
    cmd.log(&cache::build_log("debootstrap")?).within(SLOWEST).run()
}

/// Runs a program inside `root`, with output to `log`.
pub(crate) fn run_inside(root: &Path, log: &Path, argv: &[&str]) -> Result<()> {
    sandbox::inside(root, &[]).args(argv).log(log).within(SLOWEST).run()
}

/// Removes what nobody reads in a machine without people: manuals, translations, package lists.
pub(crate) fn trim(root: &Path) -> Result<()> {
    const UNREAD: [&str; 7] = [
        "usr/share/doc",
        "usr/share/man",
        "usr/share/info",
        "usr/share/locale",
        "var/cache/apt",
        "var/lib/apt/lists",
        "var/log/apt",
    ];
    UNREAD
        .iter()
        .try_for_each(|folder| cache::remove_tree(&root.join(folder)))
}
