//! Releases of OpenZFS.

use std::fmt;
use std::str::FromStr;

use crate::NameError;

/// What runs on this host. The two differ for as long as a package was upgraded and the host not restarted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Versions {
    /// The programs.
    pub userland: Release,
    /// The kernel module.
    pub kernel: Release,
}

/// A release such as 2.3.9, with what the distribution calls it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Release {
    /// The three numbers; compare these.
    pub number: (u32, u32, u32),
    /// As printed, without `zfs-` or `zfs-kmod-`: `2.3.2-2~deb13u1`.
    pub text: String,
}

impl FromStr for Release {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let text = text.trim();
        let text = text
            .strip_prefix("zfs-kmod-")
            .or_else(|| text.strip_prefix("zfs-"))
            .unwrap_or(text);
        let digits = |part: Option<&str>| -> Result<u32, NameError> {
            let part = part.ok_or(NameError::Number)?;
            let end = part.find(|c: char| !c.is_ascii_digit()).unwrap_or(part.len());
            part[..end].parse().map_err(|_| NameError::Number)
        };
        let mut parts = text.splitn(3, '.');
        let number = (digits(parts.next())?, digits(parts.next())?, digits(parts.next())?);
        Ok(Self {
            number,
            text: text.to_owned(),
        })
    }
}

impl fmt::Display for Release {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_are_read_with_and_without_a_distribution_suffix() {
        for (text, number) in [
            ("zfs-2.3.9-1", (2, 3, 9)),
            ("zfs-kmod-2.3.2-2~bpo12+2", (2, 3, 2)),
            ("2.4.0-rc1", (2, 4, 0)),
            ("zfs-2.2.99-1_g1234", (2, 2, 99)),
            ("zfs-10.20.30", (10, 20, 30)),
        ] {
            assert_eq!(text.parse::<Release>().unwrap().number, number, "{text}");
        }
        for text in ["", "zfs", "zfs-2", "zfs-2.3", "zfs-a.b.c"] {
            assert!(text.parse::<Release>().is_err(), "{text}");
        }
    }
}
