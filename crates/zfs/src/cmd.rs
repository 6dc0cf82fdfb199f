//! The only place of this crate that starts processes.
//!
//! Argument arrays, never a shell; a clean environment with `LC_ALL=C`; a deadline, and the process is killed when the
//! caller stops waiting; bounded output; one `tracing` span per command.
//!
//! A program of the host is run from a container that holds nothing but its own executable: it starts itself again as
//! a launcher (`/proc/self/exe __chroot-exec <namespace> <root> <program> <arguments…>`), which changes its root to the
//! host's and then becomes the program. The caller's `main` hands that first argument to [`chroot_exec_main`].
//!
//! `zfs destroy` and `zpool export` unmount what they see mounted and nobody uses at that moment, a pod's idle volume
//! too (tried: also when they then fail). So the launcher gives these two a mount namespace of their own, where they
//! can unmount nothing but a copy; whatever is mounted anywhere then makes them fail as busy, in the kernel.

use std::ffi::{CString, OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::mount::MsFlags;
use nix::sched::CloneFlags;
use tokio::io::{AsyncRead, AsyncReadExt};

use crate::{CommandCounts, ErrorKind, Verb, ZfsError};

/// The first argument by which an executable knows that it shall be the launcher.
pub const CHROOT_EXEC: &str = "__chroot-exec";

/// Where the programs are looked for, on the host too: they are in `sbin` on some distributions and not on others.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Longest standard error that is kept, in bytes.
const MAX_STDERR: u64 = 16 * 1024;
/// Longest standard output that is read, in bytes; more is an error.
const MAX_STDOUT: u64 = 256 * 1024 * 1024;

/// How this host's programs are run.
#[derive(Debug, Clone)]
pub struct HostCommand {
    /// The folder where the host's root is mounted; nothing to start programs directly, see [`HostCommand::direct`].
    pub root: Option<PathBuf>,
    /// When a command is killed.
    pub deadline: Duration,
    /// Where commands are counted.
    pub counts: Arc<CommandCounts>,
}

impl HostCommand {
    /// Programs of the host whose root is mounted at `root` (nothing: this process runs on the host itself), started
    /// through the launcher, with a deadline of 60 seconds.
    #[must_use]
    pub fn new(root: Option<PathBuf>) -> Self {
        let root = root.unwrap_or_else(|| PathBuf::from("/"));
        Self {
            root: Some(root),
            ..Self::direct()
        }
    }

    /// Programs started directly, for executables that do not call [`chroot_exec_main`]. Then nothing keeps
    /// `zfs destroy` and `zpool export` from unmounting what is idle: for tests.
    #[must_use]
    pub fn direct() -> Self {
        Self {
            root: None,
            deadline: Duration::from_secs(60),
            counts: Arc::default(),
        }
    }

    /// Runs a program and returns its standard output.
    ///
    /// # Errors
    /// [`ErrorKind::Timeout`], [`ErrorKind::ProgramMissing`], or what its standard error means when it failed.
    pub async fn run(&self, verb: Verb, program: &str, arguments: &[OsString]) -> Result<String, ZfsError> {
        let started = Instant::now();
        let span = tracing::debug_span!("command", verb = verb.as_str(), arguments = ?arguments);
        let result = match tokio::time::timeout(self.deadline, self.output(verb, program, arguments)).await {
            Ok(result) => result,
            Err(_) => Err(ZfsError::new(verb, ErrorKind::Timeout)),
        };
        let took = started.elapsed();
        self.counts.record(verb, result.is_err(), took);
        span.in_scope(|| match &result {
            Ok(_) => tracing::debug!(?took, "command succeeded"),
            Err(error) => tracing::debug!(?took, %error, "command failed"),
        });
        result
    }

    async fn output(&self, verb: Verb, program: &str, arguments: &[OsString]) -> Result<String, ZfsError> {
        let mut command = match &self.root {
            None => tokio::process::Command::new(program),
            Some(root) => {
                let mut launcher = tokio::process::Command::new("/proc/self/exe");
                launcher.arg(CHROOT_EXEC).arg(namespace(verb)).arg(root).arg(program);
                launcher
            }
        };
        command
            .args(arguments)
            .env_clear()
            .env("LC_ALL", "C")
            .env("PATH", PATH)
            .current_dir("/");
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        let failed = |error: io::Error| spawn_error(verb, &error);
        let mut child = command.spawn().map_err(failed)?;
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let (stdout, stderr, status) = tokio::try_join!(
            read_bounded(stdout, MAX_STDOUT, false),
            read_bounded(stderr, MAX_STDERR, true),
            child.wait()
        )
        .map_err(failed)?;
        check(verb, status, stdout, &stderr)
    }
}

/// `fsck` exits with this when it found errors and repaired all of them (e2fsck(8)).
const FSCK_CORRECTED: i32 = 1;
/// `fsck` sets this bit when errors are left (e2fsck(8)).
const FSCK_UNCORRECTED: i32 = 4;

/// The launcher's word for keeping the mount namespace.
const SHARED: &str = "shared";
/// The launcher's word for a mount namespace of the program's own. What the host unmounts meanwhile is unmounted there,
/// too: a copy that stayed would keep datasets busy for others.
const OWN: &str = "own";

/// Which mount namespace a command gets: its own, when it would unmount.
fn namespace(verb: Verb) -> &'static str {
    if matches!(verb, Verb::Destroy | Verb::PoolExport) {
        OWN
    } else {
        SHARED
    }
}

fn spawn_error(verb: Verb, error: &io::Error) -> ZfsError {
    let kind = if error.kind() == io::ErrorKind::NotFound {
        ErrorKind::ProgramMissing
    } else {
        ErrorKind::Other
    };
    ZfsError {
        kind,
        verb,
        stderr: error.to_string(),
    }
}

fn check(verb: Verb, status: ExitStatus, stdout: Vec<u8>, stderr: &[u8]) -> Result<String, ZfsError> {
    let stderr = String::from_utf8_lossy(stderr).into_owned();
    match status.code() {
        Some(code) if verb == Verb::CheckFilesystem && code & FSCK_UNCORRECTED != 0 => Err(ZfsError {
            kind: ErrorKind::FilesystemDamaged,
            verb,
            stderr: String::from_utf8_lossy(&stdout).into_owned() + &stderr,
        }),
        Some(code) if code == 0 || (verb == Verb::CheckFilesystem && code == FSCK_CORRECTED) => {
            String::from_utf8(stdout).map_err(|_| ZfsError {
                kind: ErrorKind::Malformed("output is not UTF-8".into()),
                verb,
                stderr,
            })
        }
        Some(LAUNCH_FAILED) => Err(ZfsError {
            kind: ErrorKind::ProgramMissing,
            verb,
            stderr,
        }),
        Some(_) => Err(ZfsError::from_stderr(verb, stderr)),
        None => Err(ZfsError {
            kind: ErrorKind::Other,
            verb,
            stderr: format!("{status}; {stderr}"),
        }),
    }
}

/// Reads to the end and keeps at most `limit` bytes. What exceeds it is thrown away or, when it must be complete, an
/// error; in both cases the pipe is drained, so that the program does not block.
async fn read_bounded(pipe: Option<impl AsyncRead + Unpin>, limit: u64, truncate: bool) -> Result<Vec<u8>, io::Error> {
    let mut kept = Vec::new();
    let Some(mut pipe) = pipe else { return Ok(kept) };
    (&mut pipe).take(limit).read_to_end(&mut kept).await?;
    let excess = tokio::io::copy(&mut pipe, &mut tokio::io::sink()).await?;
    if excess > 0 && !truncate {
        return Err(io::Error::other("output is too long"));
    }
    Ok(kept)
}

/// What the launcher exits with when it cannot become the program (as shells do for a missing program).
const LAUNCH_FAILED: i32 = 127;

/// The launcher: enters the mount namespace that the first argument says, changes the root to the second, then becomes
/// the program that the third one names, with the rest. Returns the exit code to end with when that did not work, after
/// writing why to standard error.
///
/// `arguments` are those after [`CHROOT_EXEC`].
#[must_use]
pub fn chroot_exec_main(arguments: impl IntoIterator<Item = OsString>) -> i32 {
    let mut arguments = arguments.into_iter();
    let (Some(namespace), Some(root), Some(program)) = (arguments.next(), arguments.next(), arguments.next()) else {
        eprintln!("usage: {CHROOT_EXEC} {SHARED}|{OWN} <root> <program> [argument…]");
        return LAUNCH_FAILED;
    };
    match become_program(&namespace, &root, program, arguments) {
        Ok(never) => match never {},
        Err(error) => {
            eprintln!("cannot run a program of the host at {}: {error}", root.display());
            LAUNCH_FAILED
        }
    }
}

fn become_program(
    namespace: &OsStr,
    root: &OsStr,
    program: OsString,
    arguments: impl Iterator<Item = OsString>,
) -> Result<std::convert::Infallible, io::Error> {
    // Anything but the one word means the safe one.
    if namespace != SHARED {
        nix::sched::unshare(CloneFlags::CLONE_NEWNS)?;
        let none: Option<&str> = None;
        nix::mount::mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_SLAVE, none)?;
    }
    nix::unistd::chroot(root)?;
    nix::unistd::chdir("/")?;
    let texts = std::iter::once(program)
        .chain(arguments)
        .map(|text| CString::new(text.into_vec()));
    let texts = texts.collect::<Result<Vec<_>, _>>()?;
    Ok(nix::unistd::execvp(&texts[0], &texts)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments(list: &[&str]) -> Vec<OsString> {
        list.iter().map(OsString::from).collect()
    }

    #[tokio::test]
    async fn output_comes_back_and_is_counted() {
        let host = HostCommand::direct();
        let output = host.run(Verb::List, "printf", &arguments(&["a\\tb\\n"])).await.unwrap();
        assert_eq!(output, "a\tb\n");
        assert_eq!(host.counts.snapshot()[&Verb::List].count, 1);
        assert_eq!(host.counts.snapshot()[&Verb::List].failures, 0);
    }

    #[tokio::test]
    async fn standard_error_of_a_failure_is_classified_and_bounded() {
        let host = HostCommand::direct();
        let script = "echo \"cannot open 'p/a': dataset does not exist\" >&2; exit 1";
        let error = host
            .run(Verb::Get, "sh", &arguments(&["-c", script]))
            .await
            .unwrap_err();
        assert_eq!(error.kind, ErrorKind::DatasetNotFound);
        let script = "head -c 1000000 /dev/zero | tr '\\0' x >&2; exit 1";
        let error = host
            .run(Verb::Get, "sh", &arguments(&["-c", script]))
            .await
            .unwrap_err();
        assert_eq!(error.stderr.len() as u64, MAX_STDERR);
        assert_eq!(host.counts.snapshot()[&Verb::Get].failures, 2);
    }

    #[tokio::test]
    async fn a_command_that_hangs_is_killed_at_its_deadline() {
        let folder = std::env::temp_dir().join(format!("dotmesh-zfs-deadline-{}", std::process::id()));
        let host = HostCommand {
            deadline: Duration::from_millis(300),
            ..HostCommand::direct()
        };
        let script = format!("echo $$ > {}; exec sleep 1000", folder.display());
        let error = host
            .run(Verb::Set, "sh", &arguments(&["-c", &script]))
            .await
            .unwrap_err();
        assert_eq!(error.kind, ErrorKind::Timeout);
        let pid = std::fs::read_to_string(&folder).unwrap();
        std::fs::remove_file(&folder).unwrap();
        let stat = PathBuf::from(format!("/proc/{}/stat", pid.trim()));
        let gone = || std::fs::read_to_string(&stat).map_or(true, |stat| stat.contains(") Z "));
        let until = Instant::now() + Duration::from_secs(10);
        while !gone() {
            assert!(Instant::now() < until, "the process is still there");
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn a_missing_program_is_a_kind_of_its_own() {
        let host = HostCommand::direct();
        let error = host.run(Verb::Version, "no-such-program-here", &[]).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::ProgramMissing);
    }

    #[tokio::test]
    async fn a_repaired_filesystem_is_fine_and_a_damaged_one_says_what_was_found() {
        let host = HostCommand::direct();
        let fsck = async |code: i32| {
            let script = format!("echo found; exit {code}");
            host.run(Verb::CheckFilesystem, "sh", &arguments(&["-c", &script]))
                .await
        };
        for code in [0, FSCK_CORRECTED] {
            assert_eq!(fsck(code).await.unwrap(), "found\n");
        }
        for code in [FSCK_UNCORRECTED, FSCK_UNCORRECTED | FSCK_CORRECTED] {
            let error = fsck(code).await.unwrap_err();
            assert_eq!(
                (error.kind, error.stderr.as_str()),
                (ErrorKind::FilesystemDamaged, "found\n")
            );
        }
        assert_eq!(fsck(8).await.unwrap_err().kind, ErrorKind::Other);
    }

    #[test]
    fn what_would_unmount_gets_mounts_of_its_own() {
        for verb in Verb::ALL {
            let unmounts = matches!(verb, Verb::Destroy | Verb::PoolExport);
            assert_eq!(namespace(verb) == OWN, unmounts, "{verb}");
        }
    }

    #[test]
    fn the_launcher_says_why_it_cannot_launch() {
        assert_eq!(chroot_exec_main(arguments(&[])), LAUNCH_FAILED);
        assert_eq!(
            chroot_exec_main(arguments(&[SHARED, "/no/such/root", "true"])),
            LAUNCH_FAILED
        );
    }
}
