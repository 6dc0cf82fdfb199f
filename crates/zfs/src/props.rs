//! Property names and values, valid by construction.
//!
//! Rules: `zfsprops(7)`. A user property's name has a colon and is inherited by children and snapshots; its value is at
//! most 8191 bytes (8192 abort the `zfs` program). A value may hold no control character, because `-H` output prints it
//! raw between tabs; callers encode what they store.

use std::borrow::{Borrow, Cow};
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use crate::NameError;

/// Longest property value in bytes (`ZAP_MAXVALUELEN` without the final NUL).
pub const MAX_VALUE_LEN: usize = 8191;

/// A property's name: native (`refquota`, `written@snap`) or user (`prefix:name`).
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PropName(Cow<'static, str>);

const fn valid_name_byte(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'_' | b'.' | b':' | b'@')
}

const fn check_name(bytes: &[u8]) -> bool {
    if bytes.is_empty() || bytes.len() > crate::names::MAX_NAME_LEN || bytes[0] == b'-' {
        return false;
    }
    let mut i = 0;
    let mut argument = false;
    while i < bytes.len() {
        // What follows the @ of `written@…` is a snapshot's name and may have upper case.
        if !(valid_name_byte(bytes[i]) || argument && bytes[i].is_ascii_uppercase()) {
            return false;
        }
        argument = argument || bytes[i] == b'@';
        i += 1;
    }
    true
}

/// Ordered as its text is, so that a map by names can be asked for a text.
impl Borrow<str> for PropName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl PropName {
    /// A name known when compiling; a wrong one fails the build when used in a `const`.
    #[must_use]
    pub const fn from_static(text: &'static str) -> Self {
        assert!(check_name(text.as_bytes()));
        Self(Cow::Borrowed(text))
    }

    /// The name as ZFS prints it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it is a user property: ours or somebody's, with no meaning to ZFS, and inherited.
    #[must_use]
    pub fn is_user(&self) -> bool {
        self.0.contains(':')
    }
}

impl FromStr for PropName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        if check_name(text.as_bytes()) {
            Ok(Self(Cow::Owned(text.to_owned())))
        } else {
            Err(NameError::Property)
        }
    }
}

impl fmt::Display for PropName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A property's value as given to ZFS.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PropValue(Cow<'static, str>);

impl PropValue {
    /// A value known when compiling; a wrong one fails the build when used in a `const`.
    #[must_use]
    pub const fn from_static(text: &'static str) -> Self {
        let bytes = text.as_bytes();
        assert!(bytes.len() <= MAX_VALUE_LEN);
        let mut i = 0;
        while i < bytes.len() {
            assert!(!bytes[i].is_ascii_control());
            i += 1;
        }
        Self(Cow::Borrowed(text))
    }

    /// The value as written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for PropValue {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        if text.len() > MAX_VALUE_LEN {
            return Err(NameError::TooLong {
                len: text.len(),
                max: MAX_VALUE_LEN,
            });
        }
        if text.chars().any(char::is_control) {
            return Err(NameError::Value);
        }
        Ok(Self(Cow::Owned(text.to_owned())))
    }
}

impl From<u64> for PropValue {
    fn from(number: u64) -> Self {
        Self(Cow::Owned(number.to_string()))
    }
}

impl fmt::Display for PropValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Properties to set in one command, each once, in the order of their names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Properties(BTreeMap<PropName, PropValue>);

impl Properties {
    /// No properties.
    #[must_use]
    pub const fn new() -> Self {
        Self(BTreeMap::new())
    }

    /// The same with one more; a later value replaces an earlier one.
    #[must_use]
    pub fn with(mut self, name: PropName, value: impl Into<PropValue>) -> Self {
        self.insert(name, value);
        self
    }

    /// Adds one; a later value replaces an earlier one.
    pub fn insert(&mut self, name: PropName, value: impl Into<PropValue>) {
        self.0.insert(name, value.into());
    }

    /// The value of one, if it is there.
    #[must_use]
    pub fn value(&self, name: &PropName) -> Option<&PropValue> {
        self.0.get(name)
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// All of them in the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = (&PropName, &PropValue)> {
        self.0.iter()
    }
}

impl FromIterator<(PropName, PropValue)> for Properties {
    fn from_iter<I: IntoIterator<Item = (PropName, PropValue)>>(pairs: I) -> Self {
        Self(pairs.into_iter().collect())
    }
}

#[cfg(test)]
mod tests;
