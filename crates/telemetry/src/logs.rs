//! Logs: `tracing` events on standard error, for people or as JSON, one line each. Which of them appear can be changed
//! while the program runs.

use std::fmt;
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};

/// How log lines look.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// Text; coloured when standard error is a terminal.
    #[default]
    Human,
    /// One JSON object per line.
    Json,
}

/// No log format of that name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no log format: human or json")]
pub struct UnknownLogFormat(String);

impl FromStr for LogFormat {
    type Err = UnknownLogFormat;

    fn from_str(text: &str) -> Result<Self, UnknownLogFormat> {
        match text {
            "human" => Ok(Self::Human),
            "json" => Ok(Self::Json),
            other => Err(UnknownLogFormat(other.to_owned())),
        }
    }
}

impl fmt::Display for LogFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Human => "human",
            Self::Json => "json",
        })
    }
}

/// Logs could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    /// The filter is not one of `tracing-subscriber`'s.
    #[error("log filter {filter:?} is not valid")]
    Filter {
        /// What was given.
        filter: String,
        /// Why it does not parse.
        source: ParseError,
    },
    /// Set up before in this process.
    #[error("logs are set up already")]
    Again(#[from] TryInitError),
}

fn parse(filter: &str) -> Result<EnvFilter, InitError> {
    EnvFilter::try_new(filter).map_err(|source| InitError::Filter {
        filter: filter.to_owned(),
        source,
    })
}

/// Sends `tracing` events to standard error.
///
/// `filter` is a list of directives as `info,dotmesh_zfs=debug` (`tracing_subscriber::EnvFilter`); programs take it
/// from a flag whose environment variable is `DOTMESH_LOG`.
///
/// # Errors
/// A filter that does not parse; a second call in one process.
pub fn init_logs(format: LogFormat, filter: &str) -> Result<LogFilter, InitError> {
    let lines = tracing_subscriber::fmt()
        .with_env_filter(parse(filter)?)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()));
    Ok(match format {
        LogFormat::Human => {
            let lines = lines.with_filter_reloading();
            let handle = lines.reload_handle();
            lines.finish().try_init()?;
            LogFilter::new(filter, move |filter| drop(handle.reload(filter)))
        }
        LogFormat::Json => {
            let lines = lines.json().flatten_event(true).with_filter_reloading();
            let handle = lines.reload_handle();
            lines.finish().try_init()?;
            LogFilter::new(filter, move |filter| drop(handle.reload(filter)))
        }
    })
}

/// How often a file with a filter is looked at.
const PERIOD: Duration = Duration::from_secs(5);

/// What decides which events appear.
#[derive(Clone)]
pub struct LogFilter {
    initial: String,
    put: Arc<dyn Fn(EnvFilter) + Send + Sync>,
}

impl fmt::Debug for LogFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogFilter")
            .field("initial", &self.initial)
            .finish_non_exhaustive()
    }
}

impl LogFilter {
    fn new(initial: &str, put: impl Fn(EnvFilter) + Send + Sync + 'static) -> Self {
        Self {
            initial: initial.to_owned(),
            put: Arc::new(put),
        }
    }

    /// Keeps to what stands in a file, for ever: a mounted ConfigMap, say. An empty or missing file stands for the
    /// filter of the beginning; one that does not parse changes nothing.
    pub async fn follow(self, file: &Path) {
        let mut known = String::new();
        loop {
            self.look(file, &mut known);
            tokio::time::sleep(PERIOD).await;
        }
    }

    fn look(&self, file: &Path, known: &mut String) {
        let text = std::fs::read_to_string(file).unwrap_or_default();
        let text = text.trim();
        if *known == text {
            return;
        }
        text.clone_into(known);
        let wanted = if text.is_empty() { &self.initial } else { text };
        match parse(wanted) {
            Ok(filter) => {
                (self.put)(filter);
                tracing::info!(filter = wanted, "log filter in force");
            }
            Err(error) => tracing::warn!(file = %file.display(), %error, "the log filter stays as it is"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_have_names() {
        for format in [LogFormat::Human, LogFormat::Json] {
            assert_eq!(format.to_string().parse(), Ok(format));
        }
        assert!("xml".parse::<LogFormat>().is_err());
    }

    #[test]
    fn the_filter_follows_its_file() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("filter");
        let put = Arc::new(std::sync::Mutex::new(Vec::new()));
        let seen = Arc::clone(&put);
        let logs = LogFilter::new("info", move |filter| seen.lock().unwrap().push(filter.to_string()));
        let mut known = String::new();
        for (text, expected) in [
            (None, vec![]),
            (Some("debug\n"), vec!["debug"]),
            (Some("debug"), vec!["debug"]),
            (Some("no=such=level"), vec!["debug"]),
            (Some("warn,dotmesh_zfs=trace"), vec!["debug", "dotmesh_zfs=trace,warn"]),
            (None, vec!["debug", "dotmesh_zfs=trace,warn", "info"]),
        ] {
            match text {
                Some(text) => std::fs::write(&file, text).unwrap(),
                None => drop(std::fs::remove_file(&file)),
            }
            logs.look(&file, &mut known);
            assert_eq!(*put.lock().unwrap(), expected, "{text:?}");
        }
    }

    #[test]
    fn a_wrong_filter_is_an_error() {
        assert!(matches!(
            init_logs(LogFormat::Human, "no=such=level"),
            Err(InitError::Filter { .. })
        ));
    }
}
