//! The trait that mounts and looks at mounts.

use std::future::Future;
use std::path::{Path, PathBuf};

use crate::{MountError, MountOption, MountTable, SelinuxContext};

/// A native ZFS filesystem to mount, whose `mountpoint` is `legacy`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ZfsMount {
    /// The dataset (`pool/a/b`) or snapshot (`pool/a/b@c`, then `readonly` must be set).
    pub source: String,
    /// An existing folder that is not a symbolic link.
    pub target: PathBuf,
    /// Mount the whole filesystem read-only. It cannot be mounted again read-write elsewhere before OpenZFS 2.4.3; for
    /// a read-only view of one user take a read-only bind of a read-write mount.
    pub readonly: bool,
    /// The SELinux context of all its files, instead of their labels.
    pub context: Option<SelinuxContext>,
}

/// A volume of ZFS (a zvol), and where a node of its device is made for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Zvol {
    /// The volume: `pool/a/b`.
    pub volume: String,
    /// Where the node is: on a filesystem that lets devices be opened. It is made and made right as needed, with the
    /// folders above it. Mounts of the device have this path as their source, binds of the node as their root.
    pub node: PathBuf,
}

/// A filesystem that lies on a block device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum DeviceFs {
    /// With the kernel's default options.
    Ext4,
    /// With `nouuid`: clones have the UUID of their origin.
    Xfs,
}

impl DeviceFs {
    /// The kernel's word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ext4 => "ext4",
            Self::Xfs => "xfs",
        }
    }
}

/// The filesystem on a ZFS volume to mount, read-write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ZvolMount {
    /// The volume.
    pub zvol: Zvol,
    /// An existing folder that is not a symbolic link.
    pub target: PathBuf,
    /// What is on it.
    pub filesystem: DeviceFs,
    /// The SELinux context of all its files, instead of their labels.
    pub context: Option<SelinuxContext>,
}

/// How full a filesystem is (`statfs(2)`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FsUsage {
    /// Bytes in all: for a ZFS filesystem, its quota or what it has and could get.
    pub total_bytes: u64,
    /// Bytes an unprivileged process may still write.
    pub available_bytes: u64,
    /// Bytes used.
    pub used_bytes: u64,
    /// Inodes in all.
    pub total_inodes: u64,
    /// Inodes that may still be made.
    pub free_inodes: u64,
}

/// Mounts of this process' mount namespace.
///
/// Paths are absolute and without `.` and `..`. A path any of whose components below the root is a symbolic link is
/// refused by everything that makes or changes something ([`crate::MountErrorKind::SymbolicLink`]), for who can write
/// to a folder above a target could otherwise lead us elsewhere.
///
/// Every call has a deadline: a path on a suspended pool or a dead server blocks for ever in the kernel, then the call
/// fails with [`crate::MountErrorKind::Timeout`] and its thread is left behind.
pub trait Mount: Send + Sync + 'static {
    /// Mounts a ZFS filesystem and verifies in the mount table that the target shows exactly it; when it does not, the
    /// new mount is taken away again ([`crate::MountErrorKind::WrongSource`]). A target that is a mount point already is
    /// refused ([`crate::MountErrorKind::AlreadyMounted`]), a target with something in it too
    /// ([`crate::MountErrorKind::NotEmpty`]): callers look first.
    fn mount_zfs(&self, mount: &ZfsMount) -> impl Future<Output = Result<(), MountError>> + Send;

    /// Mounts the filesystem on a ZFS volume and verifies that the target shows that very device. Refuses targets as
    /// [`Mount::mount_zfs`] does, and waits for the device as [`Mount::find_zvol`].
    fn mount_zvol(&self, mount: &ZvolMount) -> impl Future<Output = Result<(), MountError>> + Send;

    /// Shows the node of a ZFS volume's device at `target`, and verifies it: an empty file, which is made when it is not
    /// there, in an existing folder. Read-only concerns the node; who opens the device may write to it all the same.
    fn bind_zvol(
        &self,
        zvol: &Zvol,
        target: &Path,
        readonly: bool,
    ) -> impl Future<Output = Result<(), MountError>> + Send;

    /// Makes the node of a ZFS volume's device right. Waits a while for the device to appear, which it does after the
    /// command that made the volume; then [`crate::MountErrorKind::NoDevice`].
    fn find_zvol(&self, zvol: &Zvol) -> impl Future<Output = Result<(), MountError>> + Send;

    /// Whether there is nothing on a ZFS volume: its first and last MiB, where every filesystem, partition table and
    /// volume manager has its mark, are zeros.
    fn is_zvol_blank(&self, zvol: &Zvol) -> impl Future<Output = Result<bool, MountError>> + Send;

    /// Writes out everything that was written to a ZFS volume's device and is in the page cache.
    fn flush_zvol(&self, zvol: &Zvol) -> impl Future<Output = Result<(), MountError>> + Send;

    /// Removes the node of a device, and those folders above it, below `keep`, that are empty then. One that is not
    /// there is fine.
    fn forget_zvol(&self, node: &Path, keep: &Path) -> impl Future<Output = Result<(), MountError>> + Send;

    /// Makes the ext4 or xfs that is mounted at `target` as large as its device. One that is so already is fine.
    fn grow_filesystem(&self, target: &Path) -> impl Future<Output = Result<(), MountError>> + Send;

    /// Bytes of the block device whose node is at this path.
    fn device_bytes(&self, path: &Path) -> impl Future<Output = Result<u64, MountError>> + Send;

    /// Removes an empty file that is no mount point; never one with something in it. One that is not there is fine.
    fn remove_file(&self, path: &Path) -> impl Future<Output = Result<(), MountError>> + Send;

    /// Shows the folder `source` at `target` too, and verifies it. With `readonly` and `options` the target alone has
    /// these, from its first moment and wherever else the mount arrives: what is changed of a mount later is changed in
    /// this mount namespace alone. Refuses targets as [`Mount::mount_zfs`] does. A bind of a read-only bind is read-only
    /// in any case.
    fn bind(
        &self,
        source: &Path,
        target: &Path,
        readonly: bool,
        options: &[MountOption],
    ) -> impl Future<Output = Result<(), MountError>> + Send;

    /// Makes an existing bind, of a folder or a node, read-only or read-write again in this mount namespace, leaving other
    /// mounts of the filesystem alone.
    fn remount_bind(&self, target: &Path, readonly: bool) -> impl Future<Output = Result<(), MountError>> + Send;

    /// Takes away the uppermost mount at `target`. Lazily, it goes from the tree at once and from the kernel when
    /// nobody uses it. [`crate::MountErrorKind::NotMounted`] when nothing is mounted there. Never follows a link and
    /// never touches the filesystem, which may be dead.
    fn unmount(&self, target: &Path, lazy: bool) -> impl Future<Output = Result<(), MountError>> + Send;

    /// The mount table now.
    fn list(&self) -> impl Future<Output = Result<MountTable, MountError>> + Send;

    /// How full the filesystem at this path is.
    fn statfs(&self, path: &Path) -> impl Future<Output = Result<FsUsage, MountError>> + Send;

    /// Makes a folder (mode 0750) and those above it that are missing. One that is there already is fine.
    fn make_dir(&self, path: &Path) -> impl Future<Output = Result<(), MountError>> + Send;

    /// Removes an empty folder that is no mount point; never what is in it. One that is not there is fine.
    fn remove_dir(&self, path: &Path) -> impl Future<Output = Result<(), MountError>> + Send;

    /// Whether the folder has nothing in it.
    fn is_empty_dir(&self, path: &Path) -> impl Future<Output = Result<bool, MountError>> + Send;

    /// Writes out everything that is dirty on the filesystem at this path.
    fn syncfs(&self, path: &Path) -> impl Future<Output = Result<(), MountError>> + Send;
}
