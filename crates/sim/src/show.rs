//! A history for people: who did what, in order, with names for ids.

use std::fmt::Write;

use crate::world::Outcome;

/// Longest line; what is longer is cut.
const WIDTH: usize = 260;

/// The trace and what was violated.
#[must_use]
pub fn show(outcome: &Outcome) -> String {
    let mut text = String::new();
    for line in &outcome.trace {
        let number = line
            .effect
            .map_or_else(String::new, |(number, class)| format!("{number:>5} {class:<6}"));
        let what: String = outcome.names.of(&line.text).chars().take(WIDTH).collect();
        let _ = writeln!(
            text,
            "{:>9.3} {:<11} {number:<12} {what}",
            line.at.as_secs_f64(),
            line.actor.to_string()
        );
    }
    for violation in &outcome.violations {
        let _ = writeln!(
            text,
            "VIOLATED {}: {}",
            violation.oracle,
            outcome.names.of(&violation.what)
        );
    }
    text
}
