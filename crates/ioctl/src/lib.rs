//! The device controls (`ioctl(2)`) that are needed, and `mount_setattr(2)`, as safe functions: the only crate of the
//! workspace with `unsafe`.
//!
//! Each function makes one call, on what is open already, with memory of exactly the size that the kernel's header says
//! for it. This crate must not know what is done with the answers.

use std::os::fd::{AsFd, AsRawFd};

use nix::errno::Errno;
use nix::libc;

/// `ZFS_MAX_DATASET_NAME_LEN` of `sys/fs/zfs.h`.
const NAME_LEN: usize = 256;

/// `struct xfs_fsop_geom_v1` of `xfs_fs.h`, as far as it is read.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
struct XfsGeometry {
    block_size: u32,
    _sizes: [u32; 6],
    inode_percent: u32,
    data_blocks: u64,
    _rest: [u64; 9],
}

/// `struct xfs_growfs_data` of `xfs_fs.h`.
#[repr(C)]
struct XfsGrow {
    blocks: u64,
    inode_percent: u32,
}

const _: () = assert!(size_of::<XfsGeometry>() == 112 && size_of::<XfsGrow>() == 16);

mod raw {
    use super::{XfsGeometry, XfsGrow};

    // `BLKZNAME` of `sys/fs/zfs.h`.
    nix::ioctl_read!(zvol_name, 0x12, 125, [u8; super::NAME_LEN]);
    // `EXT4_IOC_RESIZE_FS` of `fs/ext4/ext4.h`: `_IOW('f', 16, __u64)`.
    nix::ioctl_write_ptr!(ext4_resize, b'f', 16, u64);
    // `XFS_IOC_FSGEOMETRY_V1` and `XFS_IOC_FSGROWFSDATA` of `xfs_fs.h`.
    nix::ioctl_read!(xfs_geometry, b'X', 100, XfsGeometry);
    nix::ioctl_write_ptr!(xfs_grow, b'X', 110, XfsGrow);
}

/// `struct mount_attr` of `linux/mount.h`, version 0.
#[repr(C)]
struct MountAttr {
    set: u64,
    clear: u64,
    propagation: u64,
    userns_fd: u64,
}

const _: () = assert!(size_of::<MountAttr>() == 32);

/// Sets attributes (`MOUNT_ATTR_*`) of a mount that is open here and belongs to no namespace yet, or to this one.
///
/// # Errors
/// Those of `mount_setattr(2)`; `ENOSYS` before Linux 5.12.
pub fn set_mount_attributes(mount: &impl AsFd, set: u64) -> Result<(), Errno> {
    /// `MOUNT_ATTR__ATIME`: how times of access are kept is one of several, and another one can only be set when these
    /// are cleared.
    const ATIME: u64 = 0x70;
    let attributes = MountAttr {
        set,
        clear: if set & ATIME == 0 { 0 } else { ATIME },
        propagation: 0,
        userns_fd: 0,
    };
    // SAFETY: the call reads an empty path and a structure of the size that it is told, which live as long as it lasts.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_fd().as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH,
            &raw const attributes,
            size_of::<MountAttr>(),
        )
    };
    Errno::result(result).map(drop)
}

/// The name of the ZFS volume (`pool/a/b`) whose device is open here.
///
/// # Errors
/// `ENOTTY` for devices that are no ZFS volumes; `EILSEQ` when the name is no text.
pub fn zvol_name(device: &impl AsFd) -> Result<String, Errno> {
    let mut name = [0u8; NAME_LEN];
    // SAFETY: the call fills at most the 256 bytes that it is given, which live as long as it lasts.
    unsafe { raw::zvol_name(device.as_fd().as_raw_fd(), &raw mut name) }?;
    let len = name.iter().position(|byte| *byte == 0).unwrap_or(NAME_LEN);
    String::from_utf8(name[..len].to_vec()).map_err(|_| Errno::EILSEQ)
}

/// Makes a mounted ext4 so many of its blocks large; `inside` is any file or folder of it. As large as it is: nothing
/// happens.
///
/// # Errors
/// `EBUSY` while another resize runs; `EINVAL` for fewer blocks than it has.
pub fn grow_ext4(inside: &impl AsFd, blocks: u64) -> Result<(), Errno> {
    // SAFETY: the call reads the 8 bytes of the number, which lives as long as it lasts.
    unsafe { raw::ext4_resize(inside.as_fd().as_raw_fd(), &raw const blocks) }.map(drop)
}

/// Makes a mounted xfs so many bytes large, less what is no whole block; `inside` is any file or folder of it. One that
/// is as large already stays as it is.
///
/// # Errors
/// `EWOULDBLOCK` while another resize runs; `EINVAL` when it is no xfs.
pub fn grow_xfs(inside: &impl AsFd, bytes: u64) -> Result<(), Errno> {
    let fd = inside.as_fd().as_raw_fd();
    let mut geometry = XfsGeometry {
        block_size: 0,
        _sizes: [0; 6],
        inode_percent: 0,
        data_blocks: 0,
        _rest: [0; 9],
    };
    // SAFETY: the call fills the 112 bytes of the structure that it is given, which lives as long as it lasts.
    unsafe { raw::xfs_geometry(fd, &raw mut geometry) }?;
    let blocks = bytes.checked_div(u64::from(geometry.block_size)).ok_or(Errno::EINVAL)?;
    if blocks <= geometry.data_blocks {
        return Ok(());
    }
    let grow = XfsGrow {
        blocks,
        inode_percent: geometry.inode_percent,
    };
    // SAFETY: the call reads the 16 bytes of the structure that it is given, which lives as long as it lasts.
    unsafe { raw::xfs_grow(fd, &raw const grow) }.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_such_device_is_refused() {
        let file = std::fs::File::open("/dev/null").unwrap();
        assert_eq!(zvol_name(&file), Err(Errno::ENOTTY));
        assert_eq!(grow_ext4(&file, 1), Err(Errno::ENOTTY));
        assert_eq!(grow_xfs(&file, 1 << 20), Err(Errno::ENOTTY));
    }
}
