//! The kernel's mount table, as `/proc/self/mountinfo` tells it (`proc_pid_mountinfo(5)`).
//!
//! Fields, separated by one space: mount id, parent id, major:minor, root, mount point, options, optional fields up to
//! a single `-`, filesystem type, source, superblock options. Space, tab, line break and backslash inside a field are
//! written as a backslash and three octal digits.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use crate::MountOption;
use crate::SelinuxContext;

/// One mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountEntry {
    /// Its number; not reused while it exists.
    pub id: u64,
    /// The mount it lies on.
    pub parent: u64,
    /// The device number of its filesystem, `major:minor`. Two mounts of one filesystem share it.
    pub device: String,
    /// The folder of the filesystem that is shown; `/` unless a bind of a part of it.
    pub root: PathBuf,
    /// Where it is mounted.
    pub target: PathBuf,
    /// Options of this mount alone, comma-separated: `rw,nosuid,relatime`.
    pub options: String,
    /// Whether this mount is read-only (of itself; see also `superblock_readonly`).
    pub readonly: bool,
    /// Whether the whole filesystem is read-only.
    pub superblock_readonly: bool,
    /// Whether mounts made below it reach its peers (`shared:N`).
    pub shared: bool,
    /// The filesystem's type.
    pub fs_type: String,
    /// What is mounted: for ZFS the dataset or snapshot.
    pub source: String,
    /// The SELinux context of all files of the filesystem, when it was mounted with one.
    pub context: Option<SelinuxContext>,
}

impl MountEntry {
    /// Whether this mount has an option of its own.
    #[must_use]
    pub fn has(&self, option: MountOption) -> bool {
        self.options.split(',').any(|word| word == option.as_str())
    }
}

/// All mounts of one moment, in the kernel's order: of several at one target, the last is the one that is seen.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MountTable(Vec<MountEntry>);

/// A line of the table that does not parse.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unexpected line in the mount table: {0}")]
pub struct ParseError(pub String);

impl MountTable {
    /// A table of these mounts.
    #[must_use]
    pub fn new(entries: Vec<MountEntry>) -> Self {
        Self(entries)
    }

    /// Parses the whole table.
    ///
    /// # Errors
    /// A line that does not have the documented fields.
    pub fn parse(text: &[u8]) -> Result<Self, ParseError> {
        let lines = text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        let parse = |line| parse_line(line).ok_or_else(|| ParseError(String::from_utf8_lossy(line).into_owned()));
        lines.map(parse).collect::<Result<_, _>>().map(Self)
    }

    /// What is seen at exactly this path, if it is a mount point.
    #[must_use]
    pub fn at(&self, target: &Path) -> Option<&MountEntry> {
        self.0.iter().rev().find(|entry| entry.target == target)
    }

    /// The mount with this number.
    #[must_use]
    pub fn by_id(&self, id: u64) -> Option<&MountEntry> {
        self.0.iter().find(|entry| entry.id == id)
    }

    /// How many mounts lie on each other at exactly this path.
    #[must_use]
    pub fn layers(&self, target: &Path) -> usize {
        self.0.iter().filter(|entry| entry.target == target).count()
    }

    /// Every mount of this ZFS dataset or snapshot, binds too.
    pub fn of_zfs<'a>(&'a self, source: &'a str) -> impl Iterator<Item = &'a MountEntry> {
        self.0
            .iter()
            .filter(move |entry| entry.fs_type == "zfs" && entry.source == source)
    }

    /// Every mount whose target lies below this folder.
    pub fn below<'a>(&'a self, folder: &'a Path) -> impl Iterator<Item = &'a MountEntry> {
        self.0
            .iter()
            .filter(move |entry| entry.target != folder && entry.target.starts_with(folder))
    }

    /// All mounts, in the kernel's order.
    pub fn iter(&self) -> impl Iterator<Item = &MountEntry> {
        self.0.iter()
    }
}

fn parse_line(line: &[u8]) -> Option<MountEntry> {
    let mut fields = line.split(|byte| *byte == b' ');
    let number = |field: Option<&[u8]>| std::str::from_utf8(field?).ok()?.parse().ok();
    let id = number(fields.next())?;
    let parent = number(fields.next())?;
    let device = text(fields.next()?);
    let root = path(fields.next()?);
    let target = path(fields.next()?);
    let options = text(fields.next()?);
    let readonly = has_ro(options.as_bytes());
    let mut shared = false;
    loop {
        match fields.next()? {
            b"-" => break,
            field => shared |= field.starts_with(b"shared:"),
        }
    }
    let fs_type = text(fields.next()?);
    let source = text(fields.next()?);
    let superblock = fields.next().unwrap_or_default();
    let superblock_readonly = has_ro(superblock);
    Some(MountEntry {
        id,
        parent,
        device,
        root,
        target,
        options,
        readonly,
        superblock_readonly,
        shared,
        fs_type,
        source,
        context: SelinuxContext::of_superblock(&String::from_utf8_lossy(superblock)),
    })
}

fn has_ro(options: &[u8]) -> bool {
    options.split(|byte| *byte == b',').any(|option| option == b"ro")
}

fn text(field: &[u8]) -> String {
    String::from_utf8_lossy(&unescape(field)).into_owned()
}

fn path(field: &[u8]) -> PathBuf {
    PathBuf::from(OsString::from_vec(unescape(field)))
}

fn unescape(field: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&byte, tail)) = rest.split_first() {
        let octal = |digit: u8| (b'0'..=b'7').contains(&digit).then(|| u32::from(digit - b'0'));
        let escaped = match (byte, tail) {
            (b'\\', [a, b, c, ..]) => octal(*a)
                .zip(octal(*b))
                .zip(octal(*c))
                .and_then(|((a, b), c)| u8::try_from(a * 64 + b * 8 + c).ok()),
            _ => None,
        };
        match escaped {
            Some(value) => {
                plain.push(value);
                rest = &tail[3..];
            }
            None => {
                plain.push(byte);
                rest = tail;
            }
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TABLE: &[u8] = b"\
22 1 254:1 / / rw,relatime shared:1 - ext4 /dev/vda rw
40 22 0:45 / /var/lib/x\\040y/m rw,noatime shared:20 master:3 - zfs p/a/b rw,xattr,noacl,casesensitive
41 22 0:45 / /pods/t ro,noatime - zfs p/a/b rw,xattr
42 22 0:45 /sub\\134dir /pods/t rw,noatime unbindable - zfs p/a/b ro
43 22 0:50 / /empty rw - tmpfs  rw
";

    #[test]
    fn all_fields_of_a_table_are_read() {
        let table = MountTable::parse(TABLE).unwrap();
        assert_eq!(table.iter().count(), 5);
        let private = table.at(Path::new("/var/lib/x y/m")).unwrap();
        assert_eq!(
            (private.source.as_str(), private.fs_type.as_str(), private.shared),
            ("p/a/b", "zfs", true)
        );
        assert_eq!((private.id, private.parent, private.device.as_str()), (40, 22, "0:45"));
        assert_eq!(table.layers(Path::new("/pods/t")), 2);
        let upper = table.at(Path::new("/pods/t")).unwrap();
        assert_eq!((upper.id, upper.readonly, upper.superblock_readonly), (42, false, true));
        assert_eq!(upper.root, Path::new("/sub\\dir"));
        assert_eq!(table.of_zfs("p/a/b").count(), 3);
        assert_eq!(table.below(Path::new("/pods")).count(), 2);
        assert_eq!(table.at(Path::new("/empty")).unwrap().source, "");
        assert!(table.at(Path::new("/pods")).is_none());
    }

    #[test]
    fn a_broken_line_is_an_error_and_not_skipped() {
        for line in [
            "22",
            "a 1 0:1 / / rw - ext4 x rw",
            "22 1 0:1 / / rw shared:1 ext4 x rw",
            "22 1 0:1 / / rw -",
        ] {
            assert!(MountTable::parse(line.as_bytes()).is_err(), "{line}");
        }
    }

    fn escape(path: &[u8]) -> Vec<u8> {
        path.iter()
            .flat_map(|byte| match byte {
                b' ' | b'\t' | b'\n' | b'\\' => format!("\\{byte:03o}").into_bytes(),
                other => vec![*other],
            })
            .collect()
    }

    proptest! {
        #[test]
        fn any_target_survives_the_kernels_escapes(name in proptest::collection::vec(1u8..=255, 1..40)) {
            let line = [b"1 1 0:1 / /".as_slice(), &escape(&name), b" rw - zfs p rw\n"].concat();
            let table = MountTable::parse(&line).unwrap();
            let target = PathBuf::from(OsString::from_vec([b"/".as_slice(), &name].concat()));
            prop_assert_eq!(table.iter().next().map(|entry| entry.target.clone()), Some(target));
        }

        #[test]
        fn parsing_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = MountTable::parse(&bytes);
        }
    }
}
