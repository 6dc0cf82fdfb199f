//! How many tests passed and failed, and which.

use anyhow::Result;

/// How many, and what failed, for people who see the end of the output only.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Count {
    pub(super) passed: u64,
    pub(super) failed: u64,
    failures: Vec<String>,
}

/// Lines that are shown of a program that ended in the middle.
const LAST: usize = 5;

impl Count {
    pub(super) fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.failures.extend(other.failures);
    }

    /// One that failed.
    pub(super) fn failure(what: String) -> Self {
        Self {
            passed: 0,
            failed: 1,
            failures: vec![what],
        }
    }

    /// Says so, and is the exit code: 0 only when something passed and nothing failed.
    pub(super) fn conclude(self) -> u8 {
        for failure in &self.failures {
            println!("failed: {failure}");
        }
        println!("{} passed, {} failed", self.passed, self.failed);
        u8::from(self.failed > 0 || self.passed == 0)
    }

    /// A check that is one thing.
    pub(super) fn of(name: &str, result: Result<()>) -> Self {
        match result {
            Ok(()) => Self {
                passed: 1,
                ..Self::default()
            },
            Err(error) => {
                eprintln!("{name}: {error:#}");
                Self::failure(format!("{name}: {error:#}"))
            }
        }
    }

    /// Adds up what Rust's test programs print: `running 3 tests`, `test NAME ... ok`, `test result: ok. 3 passed; 0 failed; …`.
    /// One that ends before its result has failed. A test may run its own program once more: a result is of the one begun last.
    pub(super) fn parse(output: &str, success: bool) -> Self {
        let mut count = Self::default();
        let mut running: Vec<Vec<&str>> = Vec::new();
        for line in output.lines() {
            if line.starts_with("running ") && line.contains(" test") {
                running.push(Vec::new());
            } else if line.starts_with("test result: ") {
                running.pop();
                count.passed += number(line, " passed");
                count.failed += number(line, " failed");
            } else if let Some(test) = line
                .strip_prefix("test ")
                .and_then(|line| line.strip_suffix(" ... FAILED"))
            {
                count.failures.push(test.to_owned());
            }
            if let Some(lines) = running.last_mut() {
                lines.push(line);
            }
        }
        for lines in running.iter().filter(|_| !success) {
            let last = lines.get(lines.len().saturating_sub(LAST)..).unwrap_or_default();
            count.add(Self::failure(format!(
                "a program ended without its result; the last lines before: {}",
                last.join(" | ")
            )));
        }
        if !success && count.failed == 0 {
            count.add(Self::failure("no test: something before or beside them".to_owned()));
        }
        count
    }
}

fn number(line: &str, word: &str) -> u64 {
    let before = line.split(word).next().unwrap_or_default().trim_end();
    before.rsplit(' ').next().and_then(|n| n.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_of_several_programs_are_added() {
        let output = "running 2 tests\ntest result: ok. 2 passed; 0 failed; 0 ignored\n\nrunning 8 tests\ntest a::b ... FAILED\n\
                      test result: FAILED. 5 passed; 1 failed; 1 ignored; finished\n";
        let expected = Count {
            passed: 7,
            failed: 1,
            failures: vec!["a::b".to_owned()],
        };
        assert_eq!(Count::parse(output, false), expected);
    }

    #[test]
    fn a_program_that_ends_in_the_middle_has_failed() {
        let output =
            "running 2 tests\ntest x ... ok\nrunning 1 test\ntest y ... ok\ntest result: ok. 1 passed; 0 failed;\n";
        let count = Count::parse(output, false);
        assert_eq!((count.passed, count.failed), (1, 1));
        assert!(count.failures[0].contains("test x ... ok"), "{:?}", count.failures);
        assert_eq!(Count::parse("", false).failed, 1);
    }

    #[test]
    fn a_test_that_runs_its_program_once_more_has_not_ended() {
        let output = "running 2 tests\ntest x ... ok\nrunning 1 test\ntest y ... ok\ntest result: ok. 1 passed; 0 failed;\n\n\
                      test y ... ok\ntest result: ok. 2 passed; 0 failed;\nrunning 1 test\ntest z ... FAILED\n\
                      test result: FAILED. 0 passed; 1 failed;\n";
        let expected = Count {
            passed: 3,
            failed: 1,
            failures: vec!["z".to_owned()],
        };
        assert_eq!(Count::parse(output, false), expected);
    }
}
