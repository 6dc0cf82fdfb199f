//! References as people write them: `HEAD`, `HEAD^`, `main~2`, a commit's object name, an id prefix.

use std::fmt;
use std::str::FromStr;

/// Most steps back that a reference may ask for.
pub const MAX_STEPS: u32 = 100_000;

/// Shortest id prefix that is looked up, in characters.
pub const MIN_PREFIX: usize = 4;

/// A parsed reference: where to start, and how many commits to go back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    /// Where to start.
    pub base: Base,
    /// Number of parents to follow.
    pub steps: u32,
}

/// Where a reference starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Base {
    /// `HEAD`: the newest commit of the checked-out branch.
    Head,
    /// A branch's name, a commit's object name or an id prefix, looked up in this order.
    Name(String),
}

/// Why a reference cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidReference {
    /// Nothing before the first `^` or `~`.
    #[error("does not say where to start; write for example HEAD~1")]
    Empty,
    /// Something other than `^` and `~<number>` behind the name.
    #[error("has {found:?} behind the name; only ^ and ~<number> can stand there")]
    Suffix {
        /// What stands there.
        found: String,
    },
    /// More than [`MAX_STEPS`].
    #[error("goes back more than {MAX_STEPS} commits")]
    TooFar,
}

impl FromStr for Reference {
    type Err = InvalidReference;

    fn from_str(text: &str) -> Result<Self, InvalidReference> {
        let end = text.find(['^', '~']).unwrap_or(text.len());
        let (name, mut rest) = text.split_at(end);
        let base = match name {
            "" => return Err(InvalidReference::Empty),
            "HEAD" => Base::Head,
            _ => Base::Name(name.to_owned()),
        };
        let mut steps: u32 = 0;
        while !rest.is_empty() {
            let more;
            if let Some(tail) = rest.strip_prefix('^') {
                (more, rest) = (1, tail);
            } else if let Some(tail) = rest.strip_prefix('~') {
                let digits = tail.len() - tail.trim_start_matches(|c: char| c.is_ascii_digit()).len();
                let (number, tail) = tail.split_at(digits);
                more = if number.is_empty() {
                    1
                } else {
                    number.parse().map_err(|_| InvalidReference::TooFar)?
                };
                rest = tail;
            } else {
                return Err(InvalidReference::Suffix {
                    found: rest.chars().take(32).collect(),
                });
            }
            steps = steps
                .checked_add(more)
                .filter(|s| *s <= MAX_STEPS)
                .ok_or(InvalidReference::TooFar)?;
        }
        Ok(Self { base, steps })
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.base {
            Base::Head => f.write_str("HEAD")?,
            Base::Name(name) => f.write_str(name)?,
        }
        if self.steps > 0 {
            write!(f, "~{}", self.steps)
        } else {
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_read_as_in_git() {
        for (text, shown) in [
            ("HEAD", "HEAD"),
            ("HEAD^", "HEAD~1"),
            ("HEAD^^", "HEAD~2"),
            ("HEAD~3", "HEAD~3"),
            ("main~", "main~1"),
            ("feature/x~2^", "feature/x~3"),
        ] {
            assert_eq!(text.parse::<Reference>().unwrap().to_string(), shown, "{text}");
        }
        for wrong in ["", "^", "~2", "HEAD^2", "HEAD~x", "HEAD~99999999999", "HEAD~100001"] {
            assert!(wrong.parse::<Reference>().is_err(), "{wrong}");
        }
    }
}
