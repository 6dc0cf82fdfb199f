//! How errors appear in logs: with all their sources, in one line.

use std::error::Error;
use std::fmt;

/// Displays an error and the chain of its sources, separated by `: `.
///
/// Variants print a fragment without their source (a habit of this workspace), so nothing appears twice.
pub struct Chain<'a>(pub &'a dyn Error);

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut source = self.0.source();
        while let Some(error) = source {
            write!(f, ": {error}")?;
            source = error.source();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("opening the file")]
    struct Outer(#[source] std::io::Error);

    #[test]
    fn all_sources_are_shown_once() {
        let error = Outer(std::io::Error::other("disk on fire"));
        assert_eq!(Chain(&error).to_string(), "opening the file: disk on fire");
    }
}
