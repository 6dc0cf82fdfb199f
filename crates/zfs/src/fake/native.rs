//! The native properties that [`super::FakeZfs`] knows: which kinds have them, who inherits them, what they may be.

use std::collections::BTreeMap;

use crate::{ErrorKind, Kind, PropName, Properties};

/// Which kinds of dataset have a property.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Has {
    Filesystems,
    Volumes,
    Both,
}

/// What values a property takes.
#[derive(Debug, Clone, Copy)]
enum Takes {
    /// Bytes or `none`.
    Size,
    /// A path, `legacy` or `none`.
    Mountpoint,
    /// One of these.
    Word(&'static [&'static str]),
    /// What is not checked here.
    Any,
}

/// A native property that may be set.
struct Native {
    name: &'static str,
    default: &'static str,
    inherits: bool,
    has: Has,
    takes: Takes,
}

const fn native(name: &'static str, default: &'static str, inherits: bool, has: Has, takes: Takes) -> Native {
    Native {
        name,
        default,
        inherits,
        has,
        takes,
    }
}

const SWITCH: Takes = Takes::Word(&["on", "off"]);
const CACHE: Takes = Takes::Word(&["all", "none", "metadata"]);
const SYNC: Takes = Takes::Word(&["standard", "always", "disabled"]);
const SNAPDIR: Takes = Takes::Word(&["disabled", "hidden", "visible"]);
const CANMOUNT: Takes = Takes::Word(&["on", "off", "noauto"]);

const SETTABLE: &[Native] = &[
    native("acltype", "off", true, Has::Filesystems, Takes::Any),
    native("atime", "on", true, Has::Filesystems, SWITCH),
    native("canmount", "on", false, Has::Filesystems, CANMOUNT),
    native("checksum", "on", true, Has::Both, Takes::Any),
    native("compression", "on", true, Has::Both, Takes::Any),
    native("devices", "on", true, Has::Filesystems, SWITCH),
    native("dnodesize", "legacy", true, Has::Filesystems, Takes::Any),
    native("logbias", "latency", true, Has::Both, Takes::Any),
    native("mountpoint", "/", true, Has::Filesystems, Takes::Mountpoint),
    native("primarycache", "all", true, Has::Both, CACHE),
    native("quota", "0", false, Has::Filesystems, Takes::Size),
    native("readonly", "off", true, Has::Both, SWITCH),
    native("recordsize", "131072", true, Has::Filesystems, Takes::Any),
    native("refquota", "0", false, Has::Filesystems, Takes::Size),
    native("refreservation", "0", false, Has::Both, Takes::Size),
    native("relatime", "on", true, Has::Filesystems, SWITCH),
    native("reservation", "0", false, Has::Both, Takes::Size),
    native("setuid", "on", true, Has::Filesystems, SWITCH),
    native("snapdir", "hidden", true, Has::Filesystems, SNAPDIR),
    native("sync", "standard", true, Has::Both, SYNC),
    native("volsize", "0", false, Has::Volumes, Takes::Size),
    native("xattr", "sa", true, Has::Filesystems, Takes::Any),
];

/// Numbers and facts that ZFS itself keeps.
const STATISTICS: &[&str] = &[
    "available",
    "clones",
    "compressratio",
    "createtxg",
    "creation",
    "defer_destroy",
    "encryption",
    "encryptionroot",
    "guid",
    "keystatus",
    "logicalreferenced",
    "logicalused",
    "mounted",
    "name",
    "objsetid",
    "origin",
    "receive_resume_token",
    "refcompressratio",
    "referenced",
    "snapshots_changed",
    "type",
    "used",
    "usedbychildren",
    "usedbydataset",
    "usedbyrefreservation",
    "usedbysnapshots",
    "userrefs",
    "volblocksize",
    "written",
];

fn find(name: &PropName) -> Option<&'static Native> {
    SETTABLE.iter().find(|native| native.name == name.as_str())
}

/// Whether children take a dataset's value of it.
pub(super) fn is_inheritable(name: &PropName) -> bool {
    name.is_user() || find(name).is_some_and(|native| native.inherits)
}

/// What it is when nobody set it; nothing when that kind of dataset has no such property.
pub(super) fn default_of(name: &PropName, kind: Kind) -> Option<&'static str> {
    find(name)
        .filter(|native| native.is_of(kind))
        .map(|native| native.default)
}

/// Whether that kind of object can have it. Snapshots have user properties only, of those that are set.
pub(super) fn is_of(name: &PropName, kind: Kind) -> bool {
    name.is_user() || find(name).is_some_and(|native| native.is_of(kind))
}

/// What asking for a property that does not exist answers, whomever it is asked of.
pub(super) fn check_known<'a>(names: impl IntoIterator<Item = &'a PropName>) -> Result<(), ErrorKind> {
    let known = |name: &PropName| {
        let text = name.as_str();
        name.is_user() || find(name).is_some() || STATISTICS.contains(&text) || text.starts_with("written@")
    };
    if names.into_iter().all(known) {
        Ok(())
    } else {
        Err(ErrorKind::InvalidProperty)
    }
}

/// The reservation that makes a volume thick again; only `zfs set` works it out here.
pub(super) const AUTO: &str = "auto";

/// Properties as `zfs` checks them before it does anything, with sizes as exact numbers, as `-p` prints them.
pub(super) fn check(properties: &Properties, kind: Kind) -> Result<BTreeMap<PropName, String>, ErrorKind> {
    let checked = properties.iter().map(|(name, value)| {
        let value = value.as_str();
        let value = if name.is_user() {
            Some(value.to_owned())
        } else {
            find(name)
                .filter(|native| native.is_of(kind))
                .and_then(|native| native.takes.parse(value))
        };
        Ok((name.clone(), value.ok_or(ErrorKind::InvalidProperty)?))
    });
    checked.collect()
}

impl Native {
    fn is_of(&self, kind: Kind) -> bool {
        match kind {
            Kind::Filesystem => self.has != Has::Volumes,
            Kind::Volume => self.has != Has::Filesystems,
            Kind::Snapshot => false,
        }
    }
}

impl Takes {
    /// The value as it is kept; nothing when it is not allowed.
    fn parse(self, value: &str) -> Option<String> {
        let allowed = match self {
            Self::Size => return parse_size(value).map(|size| size.to_string()),
            Self::Mountpoint => value.starts_with('/') || matches!(value, "legacy" | "none"),
            Self::Word(words) => words.contains(&value),
            Self::Any => true,
        };
        allowed.then(|| value.to_owned())
    }
}

/// A size as `zfs set` takes it.
fn parse_size(text: &str) -> Option<u64> {
    if text == "none" {
        return Some(0);
    }
    let (digits, shift) = match text.as_bytes().last()? {
        b'K' => (&text[..text.len() - 1], 10),
        b'M' => (&text[..text.len() - 1], 20),
        b'G' => (&text[..text.len() - 1], 30),
        b'T' => (&text[..text.len() - 1], 40),
        _ => (text, 0),
    };
    digits.parse::<u64>().ok()?.checked_mul(1 << shift)
}
