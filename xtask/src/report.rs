//! What a person sees: one line per step with its time, a spinner on a terminal, plain lines elsewhere.

use std::io::IsTerminal;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use anyhow::Result;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use crate::interrupt;

/// Steps may run beside each other.
static SPINNERS: LazyLock<MultiProgress> = LazyLock::new(MultiProgress::new);

/// Does `work` as a step called `name`, and prints how long it took.
///
/// # Errors
/// Those of `work`; and none is started after an interruption.
pub(crate) fn step<T>(name: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    interrupt::check()?;
    let begin = Instant::now();
    let spinner = std::io::stdout().is_terminal().then(|| {
        let style = ProgressStyle::with_template("{spinner} {msg} {elapsed}");
        let bar = SPINNERS.add(ProgressBar::new_spinner().with_message(name.to_owned()));
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
        bar.enable_steady_tick(Duration::from_millis(120));
        bar
    });
    if spinner.is_none() {
        println!("… {name}");
    }
    let result = work();
    if let Some(bar) = spinner {
        bar.finish_and_clear();
    }
    let mark = if result.is_ok() { "✓" } else { "✗" };
    SPINNERS.suspend(|| println!("{mark} {name}: {}", seconds(begin.elapsed())));
    result
}

/// `12.3 s`, or `4 min 07 s` from two minutes on.
pub(crate) fn seconds(time: Duration) -> String {
    if time < Duration::from_secs(120) {
        return format!("{:.1} s", time.as_secs_f64());
    }
    format!("{} min {:02} s", time.as_secs() / 60, time.as_secs() % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_read_naturally() {
        assert_eq!(seconds(Duration::from_millis(12_340)), "12.3 s");
        assert_eq!(seconds(Duration::from_secs(247)), "4 min 07 s");
    }
}
