//! Tells what happens: one line per step with its time, on a terminal also while it is under way.

use std::io::{IsTerminal, Write};
use std::time::Instant;

use anyhow::{Context, Result};

/// What is told so far, on standard output.
pub struct Story {
    start: Instant,
    terminal: bool,
}

impl Default for Story {
    fn default() -> Self {
        Self::new()
    }
}

impl Story {
    /// Begins now.
    pub fn new() -> Self {
        Self {
            start: Instant::now(),
            terminal: std::io::stdout().is_terminal(),
        }
    }

    /// A headline.
    pub fn chapter(&self, title: &str) {
        println!("\n{title}");
    }

    /// A remark.
    pub fn say(&self, text: impl AsRef<str>) {
        println!("          {}", text.as_ref());
    }

    /// A table.
    pub fn show(&self, text: &str) {
        println!();
        for line in text.lines() {
            println!("    {line}");
        }
    }

    /// The end.
    pub fn end(&self) {
        println!("\nThe whole story took {:.1} s.", self.start.elapsed().as_secs_f64());
    }

    /// Does a step and tells how long it took.
    ///
    /// # Errors
    /// That of the step, with its title.
    pub async fn step<T>(&mut self, title: &str, step: impl Future<Output = Result<T>>) -> Result<T> {
        let begin = Instant::now();
        if self.terminal {
            print!("        … {title}");
            // Only a cosmetic loss.
            let _ = std::io::stdout().flush();
        }
        let result = step.await;
        let mark = if result.is_ok() { "  " } else { " ✗" };
        let back = if self.terminal { "\r\x1b[K" } else { "" };
        println!("{back}{:6.1} s{mark}{title}", begin.elapsed().as_secs_f64());
        result.with_context(|| title.to_owned())
    }
}
