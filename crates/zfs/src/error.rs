//! What can go wrong, and the one place that reads it off the programs' standard error.
//!
//! The phrases are those of OpenZFS 2.3: `libzfs_util.c` (`libzfs_error_description`, `zfs_standard_error_fmt`,
//! `zpool_standard_error_fmt`), `libzfs_dataset.c`, `libzfs_pool.c`, `zfs_main.c`, `zpool_main.c`,
//! `libzfs_util_os.c`.

use crate::Verb;

/// A command that did not do what it should.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{verb}: {kind}{}", detail(.stderr))]
pub struct ZfsError {
    /// What went wrong.
    pub kind: ErrorKind,
    /// In which command.
    pub verb: Verb,
    /// What the program wrote to standard error, bounded; empty when it wrote nothing.
    pub stderr: String,
}

fn detail(stderr: &str) -> String {
    let text = stderr.trim();
    if text.is_empty() {
        String::new()
    } else {
        format!(": {}", text.replace('\n', "; "))
    }
}

impl ZfsError {
    /// An error with no text of the program.
    #[must_use]
    pub fn new(verb: Verb, kind: ErrorKind) -> Self {
        Self {
            kind,
            verb,
            stderr: String::new(),
        }
    }

    /// The error that this standard error means.
    #[must_use]
    pub fn from_stderr(verb: Verb, mut stderr: String) -> Self {
        // After a missing dataset some commands add their whole usage text.
        if let Some(usage) = stderr.find("\nusage:\n") {
            stderr.truncate(usage + 1);
        }
        Self {
            kind: classify(&stderr),
            verb,
            stderr,
        }
    }

    /// The kind's name for metrics, events and conditions: one word of a closed set.
    #[must_use]
    pub const fn category(&self) -> &'static str {
        self.kind.category()
    }

    /// Whether it says that what was asked for is absent. Of a [`crate::Zfs`], this is certain.
    #[must_use]
    pub const fn is_not_found(&self) -> bool {
        matches!(self.kind, ErrorKind::DatasetNotFound | ErrorKind::SnapshotNotFound)
    }
}

macro_rules! kinds {
    ($($(#[doc = $doc:literal])+ $kind:ident $(($field:ty))? => $text:literal,)+) => {
        /// What went wrong.
        #[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
        #[non_exhaustive]
        pub enum ErrorKind {
            $($(#[doc = $doc])+ #[error($text)] $kind $(($field))?,)+
        }

        impl ErrorKind {
            /// The variant's name.
            #[must_use]
            pub const fn category(&self) -> &'static str {
                match self {
                    $(Self::$kind { .. } => stringify!($kind),)+
                }
            }
        }
    };
}

kinds! {
    /// No such filesystem or volume, in a pool that is imported.
    DatasetNotFound => "dataset does not exist",
    /// No such snapshot, in a pool that is imported.
    SnapshotNotFound => "snapshot does not exist",
    /// The dataset in which one was to be created is not there.
    ParentNotFound => "parent dataset does not exist",
    /// A dataset of that name is there already.
    DatasetExists => "dataset exists already",
    /// A snapshot of that name is there already.
    SnapshotExists => "snapshot exists already",
    /// Mounted, open, held, being sent or otherwise in use.
    Busy => "dataset or pool is busy",
    /// It has datasets or snapshots below it: these (as printed).
    HasChildren(Vec<String>) => "dataset has children or snapshots",
    /// Clones of it exist: these (as printed; empty when not told).
    HasClones(Vec<String>) => "snapshot has clones",
    /// It is not the newest snapshot.
    NewerSnapshots => "newer snapshots exist",
    /// The tag holds that snapshot already.
    HoldExists => "hold exists already",
    /// The tag holds no such snapshot.
    HoldNotFound => "hold does not exist",
    /// No room in the pool, or in a quota above.
    OutOfSpace => "out of space",
    /// A quota or size below what is used already.
    QuotaBelowUsed => "size is below what is used",
    /// No pool of that name is imported, or none to import was found.
    PoolMissing => "no such pool",
    /// A pool of that name is there already.
    PoolExists => "pool exists already",
    /// The pool waits for somebody to clear an I/O error.
    PoolSuspended => "pool is suspended",
    /// The pool or its devices cannot be used.
    PoolUnavailable => "pool is unavailable",
    /// The pool was last used by another host and not exported there.
    PoolOfOtherHost => "pool belongs to another host",
    /// The pool or dataset is read-only.
    ReadOnly => "pool or dataset is read-only",
    /// A file or device for a pool belongs to something else already.
    DeviceInUse => "device is in use",
    /// A file or device for a pool is not there.
    DeviceMissing => "device does not exist",
    /// A file or device is below the minimum of 64 MiB.
    DeviceTooSmall => "device is too small",
    /// Longer or deeper than ZFS allows.
    NameTooLong => "name is too long",
    /// Not a name.
    InvalidName => "name is not valid",
    /// No such property, or not with that value, or not on that kind of dataset.
    InvalidProperty => "property is not valid",
    /// It works on another kind of dataset only.
    WrongType => "dataset is of the wrong type",
    /// Not root, or not privileged.
    PermissionDenied => "permission denied",
    /// The kernel module is not loaded, or older than the programs need.
    ModuleMissing => "zfs kernel module is missing",
    /// The host has no such program.
    ProgramMissing => "zfs programs are not installed",
    /// A filesystem on a volume has damage that is not repaired without asking.
    FilesystemDamaged => "the filesystem is damaged and needs a manual check",
    /// Reading or writing the pool failed.
    Io => "input/output error",
    /// Not done when the deadline came; the process was killed. The effect may have happened or may still happen.
    Timeout => "no answer before the deadline",
    /// Something was printed that does not parse.
    Malformed(String) => "unexpected output: {0}",
    /// Anything else: standard error tells.
    Other => "command failed",
}

/// Phrase to kind, first match wins. State of the host and pool comes first and absence last, so that nothing is
/// taken for absent when the program complains of anything else beside it.
const PHRASES: &[(&str, ErrorKind)] = &[
    ("zfs modules are not loaded", ErrorKind::ModuleMissing),
    ("zfs modules cannot be auto-loaded", ErrorKind::ModuleMissing),
    ("/dev/zfs and /proc/self/mounts are required", ErrorKind::ModuleMissing),
    ("zfs_version_kernel() failed", ErrorKind::ModuleMissing),
    ("loaded zfs module does not support", ErrorKind::ModuleMissing),
    ("operation not supported by zfs kernel module", ErrorKind::ModuleMissing),
    ("failed to initialize the libzfs library", ErrorKind::ModuleMissing),
    ("permission denied", ErrorKind::PermissionDenied),
    ("must be run as root", ErrorKind::PermissionDenied),
    ("operation not permitted", ErrorKind::PermissionDenied),
    ("pool i/o is currently suspended", ErrorKind::PoolSuspended),
    ("pool is imported on a different host", ErrorKind::PoolOfOtherHost),
    ("pool is imported on host", ErrorKind::PoolOfOtherHost),
    (
        "pool was previously in use from another system",
        ErrorKind::PoolOfOtherHost,
    ),
    ("last accessed by another system", ErrorKind::PoolOfOtherHost),
    ("last accessed by", ErrorKind::PoolOfOtherHost),
    ("pool already exists", ErrorKind::PoolExists),
    ("a pool with that name already exists", ErrorKind::PoolExists),
    (
        "a pool with that name is already created/imported",
        ErrorKind::PoolExists,
    ),
    ("no such pool", ErrorKind::PoolMissing),
    ("pool is unavailable", ErrorKind::PoolUnavailable),
    ("is currently unavailable", ErrorKind::PoolUnavailable),
    ("pool export in progress", ErrorKind::PoolUnavailable),
    ("property is read-only", ErrorKind::InvalidProperty),
    ("is read-only", ErrorKind::ReadOnly),
    ("read-only file system", ErrorKind::ReadOnly),
    ("is part of", ErrorKind::DeviceInUse),
    ("is in use", ErrorKind::DeviceInUse),
    ("are already in use", ErrorKind::DeviceInUse),
    ("contains a filesystem of type", ErrorKind::DeviceInUse),
    ("contains a corrupt primary efi label", ErrorKind::DeviceInUse),
    ("vdevs refer to the same device", ErrorKind::DeviceInUse),
    ("cannot resolve path", ErrorKind::DeviceMissing),
    ("no such device", ErrorKind::DeviceMissing),
    ("couldn't find device", ErrorKind::DeviceMissing),
    ("no such file or directory", ErrorKind::DeviceMissing),
    ("is less than the minimum size", ErrorKind::DeviceTooSmall),
    ("device is too small", ErrorKind::DeviceTooSmall),
    ("more recent snapshots or bookmarks exist", ErrorKind::NewerSnapshots),
    ("has children", ErrorKind::HasChildren(Vec::new())),
    ("has dependent clones", ErrorKind::HasClones(Vec::new())),
    ("snapshot is cloned", ErrorKind::HasClones(Vec::new())),
    ("is busy", ErrorKind::Busy),
    ("is mounted;", ErrorKind::Busy),
    ("is mounted.", ErrorKind::Busy),
    ("contains a mounted filesystem", ErrorKind::Busy),
    ("in use by the system", ErrorKind::Busy),
    ("it's being held", ErrorKind::Busy),
    (
        "size is less than current used or reserved space",
        ErrorKind::QuotaBelowUsed,
    ),
    ("size is greater than available space", ErrorKind::OutOfSpace),
    ("out of space", ErrorKind::OutOfSpace),
    ("no space left on device", ErrorKind::OutOfSpace),
    ("disk quota exceeded", ErrorKind::OutOfSpace),
    ("tag already exists on this dataset", ErrorKind::HoldExists),
    ("no such tag on this dataset", ErrorKind::HoldNotFound),
    ("name is too long", ErrorKind::NameTooLong),
    ("tag too long", ErrorKind::NameTooLong),
    ("maximum name nesting depth exceeded", ErrorKind::NameTooLong),
    ("longer than the maximum allowable length", ErrorKind::NameTooLong),
    ("invalid name", ErrorKind::InvalidName),
    ("invalid character", ErrorKind::InvalidName),
    ("is not expected here", ErrorKind::InvalidName),
    ("missing dataset name", ErrorKind::InvalidName),
    ("name is reserved", ErrorKind::InvalidName),
    ("name must begin with a letter", ErrorKind::InvalidName),
    ("invalid property", ErrorKind::InvalidProperty),
    ("bad property list", ErrorKind::InvalidProperty),
    ("property value too long", ErrorKind::InvalidProperty),
    ("property name is too long", ErrorKind::InvalidProperty),
    ("read-only property", ErrorKind::InvalidProperty),
    ("is readonly", ErrorKind::InvalidProperty),
    ("property cannot be inherited", ErrorKind::InvalidProperty),
    ("property doesn't apply", ErrorKind::InvalidProperty),
    ("does not apply to datasets of this type", ErrorKind::InvalidProperty),
    ("must be a number", ErrorKind::InvalidProperty),
    ("must be one of", ErrorKind::InvalidProperty),
    ("must be a multiple of", ErrorKind::InvalidProperty),
    ("bad numeric value", ErrorKind::InvalidProperty),
    ("volume size cannot be zero", ErrorKind::InvalidProperty),
    ("can not be modified for snapshots", ErrorKind::InvalidProperty),
    (
        "operation not applicable to datasets of this type",
        ErrorKind::WrongType,
    ),
    ("parent is not a filesystem", ErrorKind::WrongType),
    ("operation does not apply to pools", ErrorKind::WrongType),
    ("i/o error", ErrorKind::Io),
    ("input/output error", ErrorKind::Io),
    ("parent does not exist", ErrorKind::ParentNotFound),
    ("no such parent", ErrorKind::ParentNotFound),
    ("dataset already exists", ErrorKind::DatasetExists),
    ("could not find any snapshots to destroy", ErrorKind::SnapshotNotFound),
    ("dataset does not exist", ErrorKind::DatasetNotFound),
];

/// Reads what went wrong off standard error of a command that failed.
///
/// Names stand in single quotes and are taken out first: a name may contain any phrase. Whether a dataset or a snapshot
/// is meant is told by the `@` in the name.
#[must_use]
pub fn classify(stderr: &str) -> ErrorKind {
    let text = without_quoted(stderr).to_lowercase();
    let Some((phrase, kind)) = PHRASES.iter().find(|(phrase, _)| text.contains(phrase)) else {
        return ErrorKind::Other;
    };
    let of_snapshot = || {
        stderr
            .lines()
            .any(|line| line.to_lowercase().contains(phrase) && line.contains('@'))
    };
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "only these four carry or need more than their phrase"
    )]
    match kind {
        ErrorKind::HasChildren(_) => ErrorKind::HasChildren(listed(stderr)),
        ErrorKind::HasClones(_) => ErrorKind::HasClones(listed(stderr)),
        ErrorKind::DatasetExists if of_snapshot() => ErrorKind::SnapshotExists,
        ErrorKind::DatasetNotFound if of_snapshot() => ErrorKind::SnapshotNotFound,
        other => other.clone(),
    }
}

/// The names that follow `use '-r' to destroy the following datasets:`, one per line.
fn listed(stderr: &str) -> Vec<String> {
    stderr
        .lines()
        .skip_while(|line| !line.starts_with("use '-"))
        .skip(1)
        .map(str::to_owned)
        .collect()
}

fn without_quoted(text: &str) -> String {
    text.lines()
        .map(|line| {
            // An apostrophe inside a word ("it's", "doesn't") quotes nothing.
            let mut kept = String::with_capacity(line.len());
            let mut quoted = false;
            let mut previous = ' ';
            for c in line.chars() {
                let quote = c == '\'' && (quoted || !previous.is_alphanumeric());
                if quote {
                    quoted = !quoted;
                } else if !quoted {
                    kept.push(c);
                }
                previous = c;
            }
            kept + "\n"
        })
        .collect()
}

#[cfg(test)]
mod tests;
