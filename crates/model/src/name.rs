//! Names people choose: DNS labels for objects and volumes, git's rules for branches.

use std::fmt;
use std::str::FromStr;

/// Why a name is refused. Display completes "the name … ".
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidName {
    /// Nothing given.
    #[error("is empty")]
    Empty,
    /// Longer than allowed.
    #[error("is longer than {max} characters")]
    TooLong {
        /// The limit in characters.
        max: usize,
    },
    /// A character outside the allowed set.
    #[error("contains {found:?}; allowed are {allowed}")]
    Character {
        /// The first offending character.
        found: char,
        /// The allowed set, for people.
        allowed: &'static str,
    },
    /// A rule about position or combination.
    #[error("{rule}")]
    Shape {
        /// The rule, for people.
        rule: &'static str,
    },
}

/// The name of a volume: a DNS label (RFC 1123), as in `spec.volumes[].name`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VolumeName(String);

impl VolumeName {
    /// Longest name, in characters (RFC 1123 label).
    pub const MAX_LEN: usize = 63;

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for VolumeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for VolumeName {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        check_label(text)?;
        Ok(Self(text.to_owned()))
    }
}

/// Whether a text is a DNS label (RFC 1123), as names of our objects and volumes are.
///
/// # Errors
/// The rule that it breaks.
pub fn check_label(text: &str) -> Result<(), InvalidName> {
    check_part(text, VolumeName::MAX_LEN)
}

/// Whether a text is a DNS subdomain (RFC 1123), as names of most objects are: parts with dots between them.
///
/// # Errors
/// The rule that it breaks.
pub fn check_subdomain(text: &str) -> Result<(), InvalidName> {
    const MAX_LEN: usize = 253;
    if text.chars().count() > MAX_LEN {
        return Err(InvalidName::TooLong { max: MAX_LEN });
    }
    text.split('.').try_for_each(|part| check_part(part, MAX_LEN))
}

fn check_part(text: &str, max: usize) -> Result<(), InvalidName> {
    if text.is_empty() {
        return Err(InvalidName::Empty);
    }
    if text.chars().count() > max {
        return Err(InvalidName::TooLong { max });
    }
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if let Some(found) = text.chars().find(|c| !allowed(*c)) {
        return Err(InvalidName::Character {
            found,
            allowed: "lower-case letters, digits and '-'",
        });
    }
    if text.starts_with('-') || text.ends_with('-') {
        return Err(InvalidName::Shape {
            rule: "begins or ends with '-'",
        });
    }
    Ok(())
}

/// The name of a branch within its Dot, after git's rules for reference names (`git check-ref-format`).
///
/// Stricter than git in one point: ASCII only, because names appear in labels of dashboards and shells.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BranchName(String);

impl BranchName {
    /// Longest name, in characters.
    pub const MAX_LEN: usize = 200;
    /// The branch every Dot is born with.
    pub const DEFAULT: &str = "main";

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for BranchName {
    fn default() -> Self {
        Self(Self::DEFAULT.to_owned())
    }
}

impl fmt::Display for BranchName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for BranchName {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        if text.is_empty() {
            return Err(InvalidName::Empty);
        }
        if text.chars().count() > Self::MAX_LEN {
            return Err(InvalidName::TooLong { max: Self::MAX_LEN });
        }
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '/' | '+' | '#');
        if let Some(found) = text.chars().find(|c| !allowed(*c)) {
            return Err(InvalidName::Character {
                found,
                allowed: "letters, digits and '-', '_', '.', '+', '#', '/'",
            });
        }
        let shape = |rule| Err(InvalidName::Shape { rule });
        if text == "HEAD" {
            return shape("is HEAD, which names the newest commit");
        }
        if text.starts_with('-') {
            return shape("begins with '-'");
        }
        if text.split('/').any(str::is_empty) {
            return shape("begins or ends with '/', or contains '//'");
        }
        if text.contains("..") {
            return shape("contains '..'");
        }
        if text
            .split('/')
            .any(|part| part.starts_with('.') || part.ends_with('.') || part.ends_with(".lock"))
        {
            return shape("has a part that begins or ends with '.' or ends with '.lock'");
        }
        Ok(Self(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn volume_names_are_dns_labels() {
        for good in ["a", "db", "pg-data-0", &"x".repeat(63)] {
            assert!(good.parse::<VolumeName>().is_ok(), "{good}");
        }
        for bad in [
            "",
            "-a",
            "a-",
            "A",
            "a_b",
            "a.b",
            "a/b",
            "..",
            "a@b",
            "ä",
            &"x".repeat(64),
        ] {
            assert!(bad.parse::<VolumeName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn branch_names_follow_git() {
        for good in [
            "main",
            "feature/x_1",
            "Release-1.2",
            "a/b/c",
            "fix#12",
            &"x".repeat(200),
        ] {
            assert!(good.parse::<BranchName>().is_ok(), "{good}");
        }
        for bad in [
            "",
            "HEAD",
            "-x",
            "/x",
            "x/",
            "a//b",
            "a..b",
            ".a",
            "a/.b",
            "a.",
            "a.lock",
            "a/b.lock",
            "a b",
            "a~1",
            "a^",
            "a:b",
            "a?",
            "a*",
            "a[",
            "a\\b",
            "a@b",
            "ä",
            "a\n",
            &"x".repeat(201),
        ] {
            assert!(bad.parse::<BranchName>().is_err(), "{bad:?}");
        }
    }
}
