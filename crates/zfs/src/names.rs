//! Names of pools, datasets, snapshots and holds, valid by construction.
//!
//! The rules are those of OpenZFS `zcommon/zfs_namecheck.c`, no stricter: foreign datasets and snapshots that stand
//! beside ours are listed too and must parse. No name can be taken for an option on a command line: a dataset's begins
//! with its pool's, a pool's with a letter, and a [`HoldTag`] with a leading dash is refused.

use std::borrow::{Borrow, Cow};
use std::fmt;
use std::str::FromStr;

/// Longest name of a dataset including `@snapshot`, in bytes (`ZFS_MAX_DATASET_NAME_LEN` without the final NUL).
pub const MAX_NAME_LEN: usize = 255;
/// Longest name of a pool: room for the internal `<pool>/$ORIGIN@$ORIGIN` (`pool_namecheck`).
pub const MAX_POOL_NAME_LEN: usize = MAX_NAME_LEN - 2 - 2 * "$ORIGIN".len();
/// Number of components a dataset name may have at most (`zfs_max_dataset_nesting`).
pub const MAX_DEPTH: usize = 50;

/// Why a text is not the name it was meant to be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NameError {
    /// Nothing, or nothing between two separators.
    #[error("name or one of its components is empty")]
    Empty,
    /// Longer than ZFS stores.
    #[error("name of {len} bytes is longer than {max}")]
    TooLong {
        /// Bytes given.
        len: usize,
        /// Bytes allowed.
        max: usize,
    },
    /// More components than ZFS allows.
    #[error("name is nested deeper than {MAX_DEPTH}")]
    TooDeep,
    /// A character outside letters, digits and `-_.:` and space.
    #[error("character {0:?} is not allowed")]
    Character(char),
    /// A component that is `.` or `..`.
    #[error("component is . or ..")]
    Relative,
    /// A pool name that starts with something else than a letter, or is a word of the vdev language.
    #[error("pool name is reserved or does not begin with a letter")]
    PoolName,
    /// It would be read as an option.
    #[error("name begins with a dash")]
    LeadingDash,
    /// A snapshot name without exactly one `@`.
    #[error("a snapshot is written dataset@name")]
    NotASnapshot,
    /// A property that is neither native (`a-z0-9_`) nor a user property (`prefix:name`).
    #[error("not a property name")]
    Property,
    /// A property value with a tab, a line break or a NUL, which would break the output's columns.
    #[error("property value contains a control character")]
    Value,
    /// Not an unsigned number.
    #[error("not a number")]
    Number,
}

fn valid_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | ':' | ' ')
}

fn check_characters(component: &str) -> Result<(), NameError> {
    if component.is_empty() {
        return Err(NameError::Empty);
    }
    match component.chars().find(|c| !valid_char(*c)) {
        Some(c) => Err(NameError::Character(c)),
        None => Ok(()),
    }
}

fn check_length(name: &str, max: usize) -> Result<(), NameError> {
    if name.len() > max {
        Err(NameError::TooLong { len: name.len(), max })
    } else {
        Ok(())
    }
}

macro_rules! text_newtype {
    ($name:ident) => {
        impl $name {
            /// The name as ZFS prints it.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }
        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
        impl TryFrom<String> for $name {
            type Error = NameError;
            fn try_from(text: String) -> Result<Self, NameError> {
                text.parse()
            }
        }
    };
}

/// A pool's name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PoolName(String);
text_newtype!(PoolName);

impl FromStr for PoolName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        check_characters(text)?;
        check_length(text, MAX_POOL_NAME_LEN)?;
        // The program also refuses what merely begins like a vdev type, when a pool is created.
        let reserved = ["mirror", "raidz", "draid", "spare", "log", "special", "dedup", "cache"];
        let starts_well = text.starts_with(|c: char| c.is_ascii_alphabetic());
        if !starts_well || reserved.contains(&text) {
            return Err(NameError::PoolName);
        }
        Ok(Self(text.to_owned()))
    }
}

impl PoolName {
    /// The pool's root dataset, which has the same name.
    #[must_use]
    pub fn root(&self) -> DatasetName {
        DatasetName(self.0.clone())
    }
}

/// The full name of a filesystem or volume: `pool/a/b`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DatasetName(String);
text_newtype!(DatasetName);

impl FromStr for DatasetName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        check_length(text, MAX_NAME_LEN)?;
        let mut components = text.split('/');
        let _: PoolName = components.next().unwrap_or_default().parse()?;
        for component in components {
            check_characters(component)?;
            if component == "." || component == ".." {
                return Err(NameError::Relative);
            }
        }
        if text.split('/').count() > MAX_DEPTH {
            return Err(NameError::TooDeep);
        }
        Ok(Self(text.to_owned()))
    }
}

impl DatasetName {
    /// The dataset `component` directly below this one. A component is one name, not a path; a leading dash is refused.
    ///
    /// # Errors
    /// When the component or the whole is not a legal name.
    pub fn child(&self, component: &str) -> Result<Self, NameError> {
        check_characters(component)?;
        if component.starts_with('-') {
            return Err(NameError::LeadingDash);
        }
        format!("{self}/{component}").parse()
    }

    /// The dataset above, or nothing for a pool's root dataset.
    #[must_use]
    pub fn parent(&self) -> Option<Self> {
        self.0.rsplit_once('/').map(|(parent, _)| Self(parent.to_owned()))
    }

    /// The last component.
    #[must_use]
    pub fn base(&self) -> &str {
        self.0.rsplit_once('/').map_or(self.0.as_str(), |(_, base)| base)
    }

    /// The pool this dataset lies in.
    #[must_use]
    pub fn pool(&self) -> PoolName {
        PoolName(self.in_pool().to_owned())
    }

    /// The name of that pool.
    #[must_use]
    pub(crate) fn in_pool(&self) -> &str {
        self.0.split('/').next().unwrap_or_default()
    }

    /// Whether this dataset lies anywhere below `ancestor` (not when it is the same).
    #[must_use]
    pub fn is_below(&self, ancestor: &Self) -> bool {
        self.0
            .strip_prefix(&ancestor.0)
            .is_some_and(|rest| rest.starts_with('/'))
    }

    /// How many components the name has; 1 for a pool's root dataset.
    #[must_use]
    pub fn depth(&self) -> usize {
        self.0.split('/').count()
    }

    /// The snapshot of this dataset with this name.
    ///
    /// # Errors
    /// When the two together are too long.
    pub fn at(&self, snap: &SnapName) -> Result<SnapshotName, NameError> {
        SnapshotName::new(self.clone(), snap.clone())
    }
}

/// The part of a snapshot's name after the `@`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SnapName(String);
text_newtype!(SnapName);

impl FromStr for SnapName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        check_characters(text)?;
        check_length(text, MAX_NAME_LEN)?;
        Ok(Self(text.to_owned()))
    }
}

/// The full name of a snapshot: `pool/a@b`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SnapshotName {
    dataset: DatasetName,
    snap: SnapName,
}

impl SnapshotName {
    /// The snapshot `snap` of `dataset`.
    ///
    /// # Errors
    /// When the two together are too long.
    pub fn new(dataset: DatasetName, snap: SnapName) -> Result<Self, NameError> {
        let len = dataset.0.len() + 1 + snap.0.len();
        if len > MAX_NAME_LEN {
            return Err(NameError::TooLong { len, max: MAX_NAME_LEN });
        }
        Ok(Self { dataset, snap })
    }

    /// The dataset it is a snapshot of.
    #[must_use]
    pub fn dataset(&self) -> &DatasetName {
        &self.dataset
    }

    /// The part after the `@`.
    #[must_use]
    pub fn snap(&self) -> &SnapName {
        &self.snap
    }
}

impl fmt::Display for SnapshotName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.dataset, self.snap)
    }
}

impl FromStr for SnapshotName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let (dataset, snap) = text.split_once('@').ok_or(NameError::NotASnapshot)?;
        Self::new(dataset.parse()?, snap.parse()?)
    }
}

/// What a row of a listing is about.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ObjectName {
    /// A filesystem or volume.
    Dataset(DatasetName),
    /// A snapshot.
    Snapshot(SnapshotName),
}

impl ObjectName {
    /// The dataset itself, or the one the snapshot belongs to.
    #[must_use]
    pub fn dataset(&self) -> &DatasetName {
        match self {
            Self::Dataset(dataset) => dataset,
            Self::Snapshot(snapshot) => snapshot.dataset(),
        }
    }

    /// The snapshot, when it is one.
    #[must_use]
    pub fn snapshot(&self) -> Option<&SnapshotName> {
        match self {
            Self::Dataset(_) => None,
            Self::Snapshot(snapshot) => Some(snapshot),
        }
    }
}

impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dataset(name) => name.fmt(f),
            Self::Snapshot(name) => name.fmt(f),
        }
    }
}

impl FromStr for ObjectName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        if text.contains('@') {
            text.parse().map(Self::Snapshot)
        } else {
            text.parse().map(Self::Dataset)
        }
    }
}

impl From<DatasetName> for ObjectName {
    fn from(name: DatasetName) -> Self {
        Self::Dataset(name)
    }
}

impl From<SnapshotName> for ObjectName {
    fn from(name: SnapshotName) -> Self {
        Self::Snapshot(name)
    }
}

/// The tag of a hold: any text up to 255 bytes; we allow what snapshot names allow, without a leading dash.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HoldTag(Cow<'static, str>);
text_newtype!(HoldTag);

impl FromStr for HoldTag {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        check_characters(text)?;
        check_length(text, MAX_NAME_LEN)?;
        if text.starts_with('-') {
            return Err(NameError::LeadingDash);
        }
        Ok(Self(Cow::Owned(text.to_owned())))
    }
}

impl HoldTag {
    /// A tag known when compiling; a wrong one fails the build when used in a `const`.
    #[must_use]
    pub const fn from_static(text: &'static str) -> Self {
        let bytes = text.as_bytes();
        assert!(!bytes.is_empty() && bytes[0] != b'-' && bytes.len() <= MAX_NAME_LEN);
        let mut i = 0;
        while i < bytes.len() {
            assert!(bytes[i].is_ascii_alphanumeric() || matches!(bytes[i], b'-' | b'_' | b'.' | b':' | b' '));
            i += 1;
        }
        Self(Cow::Borrowed(text))
    }
}

macro_rules! number_newtype {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(pub u64);
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
        impl FromStr for $name {
            type Err = NameError;
            fn from_str(text: &str) -> Result<Self, NameError> {
                text.parse().map(Self).map_err(|_| NameError::Number)
            }
        }
    };
}

number_newtype!(
    /// The identity of a pool, dataset or snapshot: never changes, never comes again.
    Guid
);
number_newtype!(
    /// A transaction group's number: grows for as long as the pool lives.
    Txg
);

#[cfg(test)]
mod tests;
