//! The report: Markdown tables and the words around them.

use std::fmt::{self, Write};

use anyhow::Result;

use crate::scenario::Scenario;

/// What was measured, as Markdown.
#[derive(Debug, Default)]
pub struct Report(String);

impl Report {
    pub(super) fn new() -> Self {
        Self(String::new())
    }

    /// What the figures were measured on.
    pub(super) async fn environment(&mut self, scenario: &Scenario) -> Result<()> {
        let version = scenario.cluster.client.apiserver_version().await?;
        let zfs = scenario.nodes.run("", &["zfs", "version"]).await?;
        let cpu = scenario.nodes.run("", &["nproc"]).await?;
        let machine = scenario.nodes.run("", &["systemd-detect-virt"]).await?;
        let zfs = zfs.lines().next().unwrap_or_default().to_owned();
        self.line(format_args!(
            "Measured on Kubernetes {}, {zfs}; the node is a virtual machine ({}) with {} processors.\n",
            version.git_version,
            machine.trim(),
            cpu.trim()
        ));
        Ok(())
    }

    pub(super) fn heading(&mut self, text: &str) {
        eprintln!("\n== {text}");
        self.line(format_args!("\n## {text}\n"));
    }

    pub(super) fn header(&mut self, cells: &[&str]) {
        self.row(cells);
        let rule: Vec<&str> = cells.iter().map(|_| "---").collect();
        self.row(&rule);
    }

    pub(super) fn row<S: AsRef<str>>(&mut self, cells: &[S]) {
        let cells: Vec<&str> = cells.iter().map(AsRef::as_ref).collect();
        self.line(format_args!("| {} |", cells.join(" | ")));
    }

    pub(super) fn line(&mut self, text: fmt::Arguments<'_>) {
        eprintln!("{text}");
        // Writing to a string cannot fail.
        let _ = writeln!(self.0, "{text}");
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Samples of a time, in seconds.
#[derive(Debug, Default, Clone)]
pub(super) struct Times(Vec<f64>);

impl Times {
    pub(super) fn add(&mut self, seconds: f64) {
        self.0.push(seconds);
    }

    /// The value below which this share of the samples lies; the largest when there are too few to tell.
    pub(super) fn percentile(&self, share: f64) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "an index of a short list"
        )]
        let index = ((sorted.len() as f64) * share) as usize;
        sorted
            .get(index.min(sorted.len().saturating_sub(1)))
            .copied()
            .unwrap_or(f64::NAN)
    }

    pub(super) fn p50(&self) -> f64 {
        self.percentile(0.5)
    }

    /// Median and extremes in milliseconds.
    pub(super) fn shown(&self) -> String {
        let ms = |seconds: f64| format!("{:.0}", seconds * 1e3);
        format!(
            "{} ({}–{})",
            ms(self.p50()),
            ms(self.percentile(0.0)),
            ms(self.percentile(1.0))
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_of_few_samples() {
        let mut times = Times::default();
        for seconds in [0.003, 0.001, 0.002] {
            times.add(seconds);
        }
        assert_eq!(times.shown(), "2 (1–3)");
        assert_eq!(times.percentile(0.99), 0.003);
    }
}
