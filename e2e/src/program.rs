//! Runs kubectl, helm and ssh: argument lists, a deadline each, what they printed as the answer.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

/// How long a program may take unless said otherwise.
const WITHIN: Duration = Duration::from_secs(120);

/// A program to be run to its end.
#[derive(Debug, Clone)]
pub struct Program {
    argv: Vec<String>,
    input: Option<String>,
    within: Duration,
}

/// What a program that ended said.
#[derive(Debug, Clone)]
pub struct Ended {
    /// Whether its exit code was 0.
    pub success: bool,
    /// What it printed.
    pub stdout: String,
    /// What it complained about.
    pub stderr: String,
}

impl Program {
    /// The program that the words name, with its first arguments.
    pub fn new(argv: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self {
            argv: argv.into_iter().map(Into::into).collect(),
            input: None,
            within: WITHIN,
        }
    }

    /// A program of the folders in `DOTMESH_BIN`.
    ///
    /// # Errors
    /// When the variable is missing or none of the folders has it.
    pub fn find(name: &str) -> Result<Self> {
        let folders = variable("DOTMESH_BIN")?;
        let path = std::env::split_paths(&folders)
            .map(|folder| folder.join(name))
            .find(|path: &PathBuf| path.is_file());
        let path = path.with_context(|| format!("no {name} in DOTMESH_BIN={folders}"))?;
        Ok(Self::new([path.display().to_string()]))
    }

    /// kubectl; it takes the cluster from `KUBECONFIG`.
    ///
    /// # Errors
    /// As [`Program::find`].
    pub fn kubectl<S: Into<String>>(args: impl IntoIterator<Item = S>) -> Result<Self> {
        Ok(Self::find("kubectl")?.args(args))
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<S: Into<String>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.argv.extend(args.into_iter().map(Into::into));
        self
    }

    /// Gives it a text to read.
    #[must_use]
    pub fn input(mut self, text: impl Into<String>) -> Self {
        self.input = Some(text.into());
        self
    }

    /// Gives it this long.
    #[must_use]
    pub fn within(mut self, time: Duration) -> Self {
        self.within = time;
        self
    }

    /// Runs it; failing is an answer like any other.
    ///
    /// # Errors
    /// When it cannot be started, or takes too long (it is killed then).
    pub async fn ended(&self) -> Result<Ended> {
        let (program, args) = self.argv.split_first().context("no program")?;
        let mut command = Command::new(program);
        command.args(args).kill_on_drop(true);
        command.stdin(if self.input.is_some() {
            Stdio::piped()
        } else {
            Stdio::null()
        });
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let run = async {
            let mut child = command.spawn().with_context(|| format!("start {program}"))?;
            if let (Some(text), Some(mut pipe)) = (&self.input, child.stdin.take()) {
                // A program that ends early closes the pipe; its own words say why.
                let _ = pipe.write_all(text.as_bytes()).await;
            }
            let output = child
                .wait_with_output()
                .await
                .with_context(|| format!("wait for {program}"))?;
            anyhow::Ok(Ended {
                success: output.status.success(),
                stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
                stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
            })
        };
        match tokio::time::timeout(self.within, run).await {
            Ok(result) => result,
            Err(_) => bail!("{} took longer than {:?}", self.shown(), self.within),
        }
    }

    /// Runs it and returns what it printed.
    ///
    /// # Errors
    /// As [`Program::ended`], and when it fails.
    pub async fn output(&self) -> Result<String> {
        let ended = self.ended().await?;
        if !ended.success {
            bail!("{} failed: {}{}", self.shown(), ended.stdout, ended.stderr);
        }
        Ok(ended.stdout)
    }

    fn shown(&self) -> String {
        let words = self.argv.join(" ");
        let cut: String = words.chars().take(300).collect();
        if cut.len() < words.len() {
            format!("{cut}…")
        } else {
            cut
        }
    }
}

/// An environment variable that must be there.
///
/// # Errors
/// When it is not.
pub fn variable(name: &str) -> Result<String> {
    std::env::var(name).with_context(|| format!("{name} is not set; run these tests with `cargo xtask test`"))
}
