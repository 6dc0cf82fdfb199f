//! Options that a mount has of its own, whatever other mounts of its filesystem have (mount(2), per-mount-point flags).

use std::fmt;

/// An option that takes something away from those who use a mount.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum MountOption {
    /// Bits of files for other users' or groups' rights count for nothing.
    NoSuid,
    /// Nodes of devices cannot be opened.
    NoDev,
    /// Programs cannot be run.
    NoExec,
    /// Reading changes no time of access.
    NoAtime,
    /// Reading a folder changes no time of access.
    NoDirAtime,
}

impl MountOption {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::NoSuid, Self::NoDev, Self::NoExec, Self::NoAtime, Self::NoDirAtime];

    /// The word of mount(8) and of the mount table.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NoSuid => "nosuid",
            Self::NoDev => "nodev",
            Self::NoExec => "noexec",
            Self::NoAtime => "noatime",
            Self::NoDirAtime => "nodiratime",
        }
    }

    /// The option of this word, if it is one of these.
    #[must_use]
    pub fn of(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|option| option.as_str() == word)
    }
}

impl fmt::Display for MountOption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
