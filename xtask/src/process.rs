//! Runs programs: to their end with a deadline and a log, or as daemons that outlive this one.
//!
//! Argument lists only, never a shell. A daemon is known by its process id *and* the time it started
//! (proc(5), `/proc/PID/stat` field 22), so that a number that was given to somebody else is never killed.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

use crate::interrupt;

/// How often a condition is looked at while waiting for it.
const POLL: Duration = Duration::from_millis(100);
/// How long a program that got SIGTERM may take before SIGKILL.
const GRACE: Duration = Duration::from_secs(5);
/// The longest that a test program, or all of `cargo test`, may take.
const TESTS_TIME: Duration = Duration::from_secs(1800);
/// How many lines of a log an error shows.
const TAIL_LINES: usize = 30;

/// A program to run.
#[derive(Debug, Clone)]
pub(crate) struct Cmd {
    argv: Vec<OsString>,
    envs: Vec<(OsString, OsString)>,
    removed: Vec<String>,
    dir: Option<PathBuf>,
    stdin: Option<PathBuf>,
    log: Option<PathBuf>,
    within: Duration,
}

impl Cmd {
    /// The program called `program`, found in PATH when it is a bare name. Its deadline is a minute unless changed.
    pub(crate) fn new(program: impl AsRef<OsStr>) -> Self {
        Self {
            argv: vec![program.as_ref().to_owned()],
            envs: Vec::new(),
            removed: Vec::new(),
            dir: None,
            stdin: None,
            log: None,
            within: Duration::from_secs(60),
        }
    }

    /// The program and arguments in `argv`.
    pub(crate) fn from_argv(argv: &[String]) -> Self {
        let (program, args) = argv.split_first().map_or(("", argv), |(p, a)| (p.as_str(), a));
        Self::new(program).args(args)
    }

    /// Adds one argument.
    pub(crate) fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.argv.push(arg.as_ref().to_owned());
        self
    }

    /// Adds arguments.
    pub(crate) fn args<S: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.argv.extend(args.into_iter().map(|a| a.as_ref().to_owned()));
        self
    }

    /// Sets an environment variable.
    pub(crate) fn env(mut self, key: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.envs.push((key.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    /// Takes a variable out of the environment it inherits.
    pub(crate) fn without_env(mut self, key: &str) -> Self {
        self.removed.push(key.to_owned());
        self
    }

    /// Runs in `dir`.
    pub(crate) fn dir(mut self, dir: &Path) -> Self {
        self.dir = Some(dir.to_owned());
        self
    }

    /// Feeds it the file `path`.
    pub(crate) fn stdin(mut self, path: &Path) -> Self {
        self.stdin = Some(path.to_owned());
        self
    }

    /// Writes its output and errors to the end of the file `path`; an error then shows that file's tail.
    pub(crate) fn log(mut self, path: &Path) -> Self {
        self.log = Some(path.to_owned());
        self
    }

    /// Gives it this long.
    pub(crate) fn within(mut self, time: Duration) -> Self {
        self.within = time;
        self
    }

    /// Runs it to its end; output goes to the log, or to ours.
    ///
    /// # Errors
    /// When it cannot be started, fails, or takes longer than its deadline.
    pub(crate) fn run(self) -> Result<()> {
        let status = self.wait(self.spawn(None)?)?;
        if status.success() {
            return Ok(());
        }
        match &self.log {
            Some(log) => bail!("{} failed ({status}):\n{}", self.shown(), tail(log)),
            None => bail!("{} failed ({status})", self.shown()),
        }
    }

    /// Runs it to its end and returns what it printed; its errors are part of the error.
    ///
    /// # Errors
    /// As [`Cmd::run`], and when the output is no UTF-8.
    pub(crate) fn output(self) -> Result<String> {
        let errors = tempfile::NamedTempFile::new().context("make a temporary file")?;
        Self {
            log: Some(errors.path().to_owned()),
            ..self
        }
        .visible_output()
    }

    /// As [`Cmd::output`], with what it says on standard error going to the log, or shown as it comes.
    pub(crate) fn visible_output(self) -> Result<String> {
        let (status, output) = self.piped(false)?;
        if !status.success() {
            let log = self
                .log
                .as_deref()
                .map(|log| format!(":\n{}", tail(log)))
                .unwrap_or_default();
            bail!("{} failed ({status}){log}", self.shown());
        }
        Ok(output)
    }

    /// Runs it to its end, shows what it prints as it comes, and returns whether it succeeded and the same text. It may
    /// take as long as tests do, or longer where more was given.
    pub(crate) fn shown_and_kept(self) -> Result<(bool, String)> {
        let (status, output) = Self {
            within: self.within.max(TESTS_TIME),
            ..self
        }
        .piped(true)?;
        Ok((status.success(), output))
    }

    fn piped(&self, show: bool) -> Result<(ExitStatus, String)> {
        let mut child = self.spawn(Some(Stdio::piped()))?;
        let pipe = child.stdout.take().context("no pipe")?;
        let reader = std::thread::spawn(move || {
            let mut kept = Vec::new();
            let mut lines = BufReader::new(pipe);
            loop {
                let start = kept.len();
                if lines.read_until(b'\n', &mut kept)? == 0 {
                    return Ok::<_, std::io::Error>(kept);
                }
                if show {
                    std::io::stdout().write_all(&kept[start..])?;
                }
            }
        });
        let status = self.wait(child)?;
        let text = reader
            .join()
            .map_err(|_| anyhow::anyhow!("the reader of {} died", self.shown()))??;
        Ok((
            status,
            String::from_utf8(text).with_context(|| format!("output of {}", self.shown()))?,
        ))
    }

    /// Runs it with our terminal and without a deadline, and returns its exit code.
    ///
    /// # Errors
    /// When it cannot be started.
    pub(crate) fn interactive(self) -> Result<u8> {
        let mut command = self.command();
        let mut child = command.spawn().with_context(|| format!("start {}", self.shown()))?;
        let _registered = interrupt::register(i32::try_from(child.id())?);
        let status = child.wait().with_context(|| format!("wait for {}", self.shown()))?;
        Ok(status.code().and_then(|c| u8::try_from(c).ok()).unwrap_or(1))
    }

    /// Starts it as a daemon: in a process group of its own, without input, output to the log.
    ///
    /// # Errors
    /// When it cannot be started or recorded.
    pub(crate) fn daemon(self, record: &Path) -> Result<Daemon> {
        let log = self.log.clone().context("a daemon needs a log")?;
        let output = open_log(&log)?;
        let mut command = self.command();
        command
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .process_group(0);
        let child = command.spawn().with_context(|| format!("start {}", self.shown()))?;
        let pid = child.id();
        let started = start_time(pid).with_context(|| format!("{} ended at once:\n{}", self.shown(), tail(&log)))?;
        let daemon = Daemon { pid, started, log };
        fs::write(record, serde_json::to_vec(&daemon)?).with_context(|| format!("write {}", record.display()))?;
        Ok(daemon)
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.argv[0]);
        command
            .args(&self.argv[1..])
            .envs(self.envs.iter().map(|(k, v)| (k, v)));
        for key in &self.removed {
            command.env_remove(key);
        }
        if let Some(dir) = &self.dir {
            command.current_dir(dir);
        }
        command
    }

    fn spawn(&self, stdout: Option<Stdio>) -> Result<Child> {
        let mut command = self.command();
        // A group of its own: what it starts in turn ends with it.
        command.process_group(0);
        command.stdin(match &self.stdin {
            Some(path) => File::open(path)
                .with_context(|| format!("open {}", path.display()))?
                .into(),
            None => Stdio::null(),
        });
        if let Some(log) = &self.log {
            let output = open_log(log)?;
            command
                .stderr(output.try_clone()?)
                .stdout(stdout.unwrap_or(output.into()));
        } else if let Some(stdout) = stdout {
            command.stdout(stdout);
        }
        command.spawn().with_context(|| format!("start {}", self.shown()))
    }

    fn wait(&self, mut child: Child) -> Result<ExitStatus> {
        let group = -i32::try_from(child.id())?;
        let _registered = interrupt::register(group);
        let end = Instant::now() + self.within;
        loop {
            if let Some(status) = child.try_wait().with_context(|| format!("wait for {}", self.shown()))? {
                return Ok(status);
            }
            if Instant::now() > end {
                kill(Pid::from_raw(group), Signal::SIGKILL).with_context(|| format!("end {}", self.shown()))?;
                child.wait()?;
                let log = self.log.as_deref().map(tail).unwrap_or_default();
                bail!("{} did not end within {} s\n{log}", self.shown(), self.within.as_secs());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn shown(&self) -> String {
        let line: Vec<_> = self.argv.iter().map(|a| a.to_string_lossy()).collect();
        let line = line.join(" ");
        match line.char_indices().nth(200) {
            Some((at, _)) => format!("`{} …`", &line[..at]),
            None => format!("`{line}`"),
        }
    }
}

/// A program that outlives us, as recorded in its file.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Daemon {
    pid: u32,
    started: u64,
    log: PathBuf,
}

impl Daemon {
    /// Reads the record at `path`; none when there is no such file or it was cut off in the middle.
    pub(crate) fn read(path: &Path) -> Option<Self> {
        serde_json::from_slice(&fs::read(path).ok()?).ok()
    }

    /// Whether it is still the process it was.
    pub(crate) fn alive(&self) -> bool {
        start_time(self.pid) == Some(self.started)
    }

    /// Fails with the tail of its log unless it runs.
    pub(crate) fn check(&self, name: &str) -> Result<()> {
        if self.alive() {
            return Ok(());
        }
        bail!("{name} ended:\n{}", tail(&self.log));
    }

    /// Ends it, gently first.
    pub(crate) fn stop(&self) -> Result<()> {
        end(self.pid, self.started, &[Signal::SIGTERM, Signal::SIGKILL])
    }

    /// Ends it at once: for what keeps nothing.
    pub(crate) fn kill(&self) -> Result<()> {
        end(self.pid, self.started, &[Signal::SIGKILL])
    }
}

/// Ends whatever has the process id `pid` now, at once.
pub(crate) fn kill_process(pid: u32) -> Result<()> {
    start_time(pid).map_or(Ok(()), |started| end(pid, started, &[Signal::SIGKILL]))
}

/// Who this process is, for others to see whether it still runs.
pub(crate) fn myself() -> Daemon {
    let pid = std::process::id();
    Daemon {
        pid,
        started: start_time(pid).unwrap_or(0),
        log: PathBuf::new(),
    }
}

/// Ends the process `pid` if it is the one that started at `started` (ticks since boot), by each signal in turn.
fn end(pid: u32, started: u64, signals: &[Signal]) -> Result<()> {
    let id = Pid::from_raw(i32::try_from(pid)?);
    for signal in signals {
        let end = Instant::now() + GRACE;
        if start_time(pid) == Some(started) {
            let _ = kill(id, *signal);
        }
        while start_time(pid) == Some(started) {
            if Instant::now() > end {
                break;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    if start_time(pid) == Some(started) {
        bail!("process {pid} cannot be ended");
    }
    Ok(())
}

/// When the process started, in ticks since boot; none for one that is gone or a zombie.
fn start_time(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name, field 2, may hold blanks and parentheses.
    let mut fields = stat.get(stat.rfind(')')? + 2..)?.split(' ');
    let state = fields.next()?;
    if state == "Z" || state == "X" {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

/// Waits until `ready` says yes; `what` is named when it does not within `time`, together with the last reason.
///
/// # Errors
/// After `time`, after an interruption, or when `ready` itself fails (which means that waiting is pointless).
pub(crate) fn wait_for(what: &str, time: Duration, mut ready: impl FnMut() -> Result<Option<String>>) -> Result<()> {
    let end = Instant::now() + time;
    loop {
        interrupt::check()?;
        let Some(reason) = ready().with_context(|| format!("while waiting for {what}"))? else {
            return Ok(());
        };
        if Instant::now() > end {
            bail!("waited {} s for {what}: {reason}", time.as_secs());
        }
        std::thread::sleep(POLL);
    }
}

/// The last lines of a log.
pub(crate) fn tail(path: &Path) -> String {
    let read = || -> std::io::Result<String> {
        let mut file = File::open(path)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(16 * 1024)))?;
        let mut text = Vec::new();
        file.read_to_end(&mut text)?;
        Ok(String::from_utf8_lossy(&text).into_owned())
    };
    let text = read().unwrap_or_default();
    let lines: Vec<_> = text.lines().collect();
    format!(
        "{}\n(all of it: {})",
        lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n"),
        path.display()
    )
}

fn open_log(path: &Path) -> Result<File> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).with_context(|| format!("make {}", parent.display()))?;
    }
    File::options()
        .create(true)
        .append(true)
        .open(path)
        .with_context(|| format!("open {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failing_program_is_named_with_its_log() {
        let dir = tempfile::tempdir().unwrap();
        let error = Cmd::new("ls")
            .arg("/does/not/exist")
            .log(&dir.path().join("log"))
            .run()
            .unwrap_err()
            .to_string();
        assert!(error.contains("`ls /does/not/exist` failed"), "{error}");
        assert!(error.contains("No such file"), "{error}");
    }

    #[test]
    fn a_program_that_takes_too_long_is_ended() {
        let error = Cmd::new("sleep")
            .arg("60")
            .within(Duration::from_millis(50))
            .run()
            .unwrap_err()
            .to_string();
        assert!(error.contains("did not end within"), "{error}");
    }

    #[test]
    fn a_daemon_is_recognised_by_pid_and_start_time() {
        let dir = tempfile::tempdir().unwrap();
        let record = dir.path().join("pid");
        let daemon = Cmd::new("sleep")
            .arg("60")
            .log(&dir.path().join("log"))
            .daemon(&record)
            .unwrap();
        assert!(daemon.alive());
        assert!(
            !Daemon {
                started: daemon.started + 1,
                ..daemon.clone()
            }
            .alive()
        );
        Daemon::read(&record).unwrap().stop().unwrap();
        assert!(!daemon.alive());
    }

    #[test]
    fn output_is_returned() {
        assert_eq!(Cmd::new("echo").arg("hello").output().unwrap(), "hello\n");
    }
}
