//! Devices of ZFS volumes: found by what they say of themselves, never by the name of a link.
//!
//! `/dev/zvol` is made by udev, after the volume and perhaps not at all, and a link that was left there leads to whatever
//! volume has its number now. So a device counts only when `BLKZNAME` on the *opened* device says the wanted name; what
//! is open keeps its number. A node of our own is made for it, whose path tells in the mount table which volume is meant.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::os::fd::AsFd;
use std::os::linux::fs::MetadataExt;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{OFlag, renameat};
use nix::mount::{MntFlags, MsFlags, mount};
use nix::sys::stat::{Mode, SFlag, major, minor, mknodat};
use nix::unistd::{UnlinkatFlags, unlinkat};

use super::paths::{self, Opened};
use super::{attach, attributes, read_table, unmount, verify};
use crate::SelinuxContext;
use crate::{DeviceFs, MountError, MountErrorKind, Zvol, ZvolMount};

/// How long a new volume's device is waited for.
const APPEARS: Duration = Duration::from_secs(15);
/// How long until it is looked for again.
const LOOK_AGAIN: Duration = Duration::from_millis(20);
/// How much of both ends of a device is looked at: more than where any filesystem, partition table, RAID, LVM, LUKS or
/// ZFS itself begins or ends (wipefs(8) looks at no more).
const ENDS: u64 = 1 << 20;

/// A volume's device, open: while it is, its number is no other volume's.
pub(super) struct Device {
    file: File,
    number: u64,
}

impl Device {
    /// Opens what lies at the path, if it is the device of that volume.
    fn open(path: &Path, volume: &str) -> Option<Self> {
        let file = File::options()
            .read(true)
            .custom_flags((OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK).bits())
            .open(path)
            .ok()?;
        let metadata = file.metadata().ok()?;
        let is_it =
            metadata.file_type().is_block_device() && dotmesh_ioctl::zvol_name(&file).is_ok_and(|name| name == volume);
        is_it.then(|| Self {
            number: metadata.st_rdev(),
            file,
        })
    }

    /// As the mount table and `/sys` write it.
    fn text(&self) -> String {
        format!("{}:{}", major(self.number), minor(self.number))
    }
}

/// The kernel's own nodes of ZFS volumes, that which udev's link leads to first.
fn candidates(volume: &str) -> Vec<PathBuf> {
    let link = fs::read_link(Path::new("/dev/zvol").join(volume)).ok();
    let hint = link.as_deref().and_then(Path::file_name).map(ToOwned::to_owned);
    let blocks = fs::read_dir("/sys/block").into_iter().flatten().flatten();
    let all = blocks
        .map(|entry| entry.file_name())
        .filter(|name| name.to_str().is_some_and(|name| name.starts_with("zd")));
    hint.into_iter()
        .chain(all)
        .map(|name| Path::new("/dev").join(name))
        .collect()
}

/// Opens the volume's device and makes its node right, waiting for the device to appear.
pub(super) fn open(operation: &'static str, zvol: &Zvol) -> Result<Device, MountError> {
    let until = Instant::now() + APPEARS;
    loop {
        if let Some(device) = Device::open(&zvol.node, &zvol.volume) {
            return Ok(device);
        }
        let found = candidates(&zvol.volume)
            .iter()
            .find_map(|path| Device::open(path, &zvol.volume));
        if let Some(device) = found {
            make_node(operation, &zvol.node, device.number)?;
            // Through the new node: what is mounted is what this leads to.
            let through = Device::open(&zvol.node, &zvol.volume).filter(|through| through.number == device.number);
            return through.ok_or_else(|| {
                let kind = MountErrorKind::Other(format!("the node is not the device of {}", zvol.volume));
                MountError::new(operation, &zvol.node, kind)
            });
        }
        if Instant::now() >= until {
            return Err(MountError::new(
                operation,
                &zvol.node,
                MountErrorKind::NoDevice(zvol.volume.clone()),
            ));
        }
        std::thread::sleep(LOOK_AGAIN);
    }
}

/// Makes the node, in place of one that leads elsewhere.
fn make_node(operation: &'static str, node: &Path, number: u64) -> Result<(), MountError> {
    let fail = |errno| MountError::from_errno(operation, node, errno);
    let (parent, name) = paths::split(operation, node)?;
    paths::make_dir(operation, parent)?;
    let parent = Opened::folder(operation, parent)?;
    let mut fresh = name.to_owned();
    fresh.push(".new");
    match unlinkat(parent.fd(), fresh.as_os_str(), UnlinkatFlags::NoRemoveDir) {
        Ok(()) | Err(Errno::ENOENT) => {}
        Err(errno) => return Err(fail(errno)),
    }
    let mode = Mode::S_IRUSR | Mode::S_IWUSR;
    mknodat(parent.fd(), fresh.as_os_str(), SFlag::S_IFBLK, mode, number).map_err(fail)?;
    renameat(parent.fd(), fresh.as_os_str(), parent.fd(), name).map_err(fail)
}

/// Whether both ends of the device are zeros.
pub(super) fn is_blank(operation: &'static str, zvol: &Zvol) -> Result<bool, MountError> {
    let mut device = open(operation, zvol)?;
    let fail = |error| MountError::from_io(operation, &zvol.node, &error);
    let bytes = device.file.seek(SeekFrom::End(0)).map_err(fail)?;
    let mut read = |from: u64| {
        device.file.seek(SeekFrom::Start(from))?;
        let mut part = Vec::new();
        Read::by_ref(&mut device.file).take(ENDS).read_to_end(&mut part)?;
        Ok(part)
    };
    let is_zero = |part: Vec<u8>| !part.is_empty() && part.iter().all(|byte| *byte == 0);
    let (beginning, end) = (read(0).map_err(fail)?, read(bytes.saturating_sub(ENDS)).map_err(fail)?);
    Ok(is_zero(beginning) && is_zero(end))
}

/// Writes out what is dirty in the device's page cache.
pub(super) fn flush(operation: &'static str, zvol: &Zvol) -> Result<(), MountError> {
    let device = open(operation, zvol)?;
    device
        .file
        .sync_all()
        .map_err(|error| MountError::from_io(operation, &zvol.node, &error))
}

pub(super) fn mount_zvol(operation: &'static str, request: &ZvolMount) -> Result<(), MountError> {
    let ZvolMount {
        zvol,
        target,
        filesystem,
        context,
    } = request;
    let opened = super::open_target(operation, target)?;
    let device = open(operation, zvol)?;
    // Two branches of one volume have the same UUID.
    let nouuid = match filesystem {
        DeviceFs::Ext4 => None,
        DeviceFs::Xfs => Some("nouuid".to_owned()),
    };
    let options = nouuid.into_iter().chain(context.as_ref().map(SelinuxContext::option));
    let options = options.collect::<Vec<_>>().join(",");
    mount(
        Some(&zvol.node),
        &opened.proc_path(),
        Some(filesystem.as_str()),
        MsFlags::empty(),
        Some(options.as_str()).filter(|options| !options.is_empty()),
    )
    .map_err(|errno| MountError::from_errno(operation, target, errno))?;
    verify(operation, target, &zvol.volume, |entry| {
        entry.fs_type == filesystem.as_str() && entry.device == device.text() && entry.root == Path::new("/")
    })
}

pub(super) fn bind_zvol(operation: &'static str, zvol: &Zvol, target: &Path, readonly: bool) -> Result<(), MountError> {
    paths::make_file(operation, target)?;
    let opened = Opened::file(operation, target)?;
    if opened.is_mount_point()? {
        return Err(MountError::new(operation, target, MountErrorKind::AlreadyMounted));
    }
    let metadata = fs::metadata(opened.proc_path()).map_err(|error| MountError::from_io(operation, target, &error))?;
    if !metadata.is_file() || metadata.len() > 0 {
        return Err(MountError::new(operation, target, MountErrorKind::NotEmpty));
    }
    let device = open(operation, zvol)?;
    let node = Opened::file(operation, &zvol.node)?;
    attach(operation, target, &node, &opened, attributes(readonly, &[]))?;
    let shown = Opened::file(operation, target).and_then(|shown| {
        fs::metadata(shown.proc_path()).map_err(|error| MountError::from_io(operation, target, &error))
    });
    let is_it = shown.is_ok_and(|shown| shown.file_type().is_block_device() && shown.st_rdev() == device.number);
    if !is_it {
        unmount(operation, target, MntFlags::MNT_DETACH)?;
        return Err(MountError::new(
            operation,
            target,
            MountErrorKind::WrongSource {
                wanted: zvol.volume.clone(),
                found: "another file".to_owned(),
            },
        ));
    }
    Ok(())
}

/// Bytes of a block device, without opening it.
fn bytes_of(operation: &'static str, path: &Path, number: &str) -> Result<u64, MountError> {
    let file = Path::new("/sys/dev/block").join(number).join("size");
    let text = fs::read_to_string(&file).map_err(|error| MountError::from_io(operation, path, &error))?;
    // In units of 512 bytes, whatever the device's blocks are (`part_size_show` of block/partitions/core.c).
    let sectors: Option<u64> = text.trim().parse().ok();
    sectors.and_then(|sectors| sectors.checked_mul(512)).ok_or_else(|| {
        let kind = MountErrorKind::Other(format!("{} says {text:?}", file.display()));
        MountError::new(operation, path, kind)
    })
}

pub(super) fn device_bytes(operation: &'static str, path: &Path) -> Result<u64, MountError> {
    let opened = Opened::file(operation, path)?;
    let metadata = fs::metadata(opened.proc_path()).map_err(|error| MountError::from_io(operation, path, &error))?;
    if !metadata.file_type().is_block_device() {
        let kind = MountErrorKind::Other("no block device".to_owned());
        return Err(MountError::new(operation, path, kind));
    }
    let number = metadata.st_rdev();
    bytes_of(operation, path, &format!("{}:{}", major(number), minor(number)))
}

pub(super) fn grow(operation: &'static str, target: &Path) -> Result<(), MountError> {
    let opened = Opened::readable(operation, target)?;
    let id = opened.mount_id()?;
    let table = read_table(operation)?;
    let entry = table.by_id(id).filter(|entry| entry.target == target);
    let entry = entry.ok_or_else(|| MountError::new(operation, target, MountErrorKind::NotMounted))?;
    let bytes = bytes_of(operation, target, &entry.device)?;
    let fail = |errno| MountError::from_errno(operation, target, errno);
    match entry.fs_type.as_str() {
        "xfs" => dotmesh_ioctl::grow_xfs(&opened.fd(), bytes).map_err(fail),
        "ext4" => {
            let stat = nix::sys::statfs::fstatfs(opened.fd()).map_err(fail)?;
            let block = u64::try_from(stat.block_size()).unwrap_or(0);
            let blocks = bytes.checked_div(block).ok_or_else(|| fail(Errno::EINVAL))?;
            dotmesh_ioctl::grow_ext4(&opened.fd(), blocks).map_err(fail)
        }
        other => {
            let kind = MountErrorKind::Other(format!("{other} does not grow"));
            Err(MountError::new(operation, target, kind))
        }
    }
}

/// Removes our node of a device, and the folders above it, up to `keep`, that have nothing else in them.
pub(super) fn forget(operation: &'static str, node: &Path, keep: &Path) -> Result<(), MountError> {
    let (parent, name) = paths::split(operation, node)?;
    let opened = match Opened::folder(operation, parent) {
        Ok(opened) => opened,
        Err(error) if error.kind == MountErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    match unlinkat(opened.fd(), name, UnlinkatFlags::NoRemoveDir) {
        Ok(()) | Err(Errno::ENOENT) => {}
        Err(errno) => return Err(MountError::from_errno(operation, node, errno)),
    }
    for folder in parent
        .ancestors()
        .take_while(|folder| folder.starts_with(keep) && *folder != keep)
    {
        match paths::remove_dir(operation, folder) {
            Ok(()) => {}
            Err(error) if error.kind == MountErrorKind::NotEmpty => break,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Removes an empty file that is no mount point.
pub(super) fn remove_file(operation: &'static str, path: &Path) -> Result<(), MountError> {
    let opened = match Opened::file(operation, path) {
        Ok(opened) => opened,
        Err(error) if error.kind == MountErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    if opened.is_mount_point()? {
        return Err(MountError::new(operation, path, MountErrorKind::Busy));
    }
    let metadata = fs::metadata(opened.proc_path()).map_err(|error| MountError::from_io(operation, path, &error))?;
    if !metadata.is_file() || metadata.len() > 0 {
        return Err(MountError::new(operation, path, MountErrorKind::NotEmpty));
    }
    let (parent, name) = paths::split(operation, path)?;
    let parent = Opened::folder(operation, parent)?;
    match unlinkat(parent.fd().as_fd(), name, UnlinkatFlags::NoRemoveDir) {
        Ok(()) | Err(Errno::ENOENT) => Ok(()),
        Err(errno) => Err(MountError::from_errno(operation, path, errno)),
    }
}
