//! Devices of ZFS volumes: found, read, mounted, bound, grown.

use std::path::{Path, PathBuf};

use super::{Checked, equal, fails, works};
use crate::{DeviceFs, Mount, MountErrorKind, Zvol, ZvolMount};

/// The volumes that the suite works with, by name, and what can be done to them beside the trait.
#[derive(Debug, Clone)]
pub struct Volumes<'a> {
    /// Nothing was ever written to it.
    pub blank: &'a str,
    /// Its size; that of the others is another.
    pub blank_bytes: u64,
    /// There is no such volume.
    pub missing: &'a str,
    /// One with an ext4 and a clone of it, one with an xfs and a clone of it.
    pub filesystems: [(DeviceFs, &'a str, &'a str); 2],
}

/// Runs what needs ZFS volumes, in an existing folder, with nodes in another on a filesystem that lets devices be
/// opened. `grow` makes a volume twice as large.
///
/// # Errors
/// The first expectation that did not hold.
pub async fn run_zvols<M: Mount>(
    mount: &M,
    (root, nodes): (&Path, &Path),
    volumes: &Volumes<'_>,
    grow: impl Fn(&str),
) -> Checked {
    let zvol = |volume: &str, node: &str| Zvol {
        volume: volume.to_owned(),
        node: nodes.join("of").join(node),
    };
    devices(mount, root, volumes, &zvol).await?;
    for (filesystem, volume, clone) in volumes.filesystems {
        let (one, other) = (zvol(volume, "one"), zvol(clone, "other"));
        equal(
            "a filesystem is not nothing",
            works("read it", mount.is_zvol_blank(&one).await)?,
            false,
        )?;
        let request = |zvol: &Zvol, name: &str, filesystem| ZvolMount {
            zvol: zvol.clone(),
            target: root.join(name),
            filesystem,
            context: None,
        };
        for name in ["private", "clone", "pod"] {
            works("make a target", mount.make_dir(&root.join(name)).await)?;
        }
        let wrong = match filesystem {
            DeviceFs::Ext4 => DeviceFs::Xfs,
            DeviceFs::Xfs => DeviceFs::Ext4,
        };
        let refused = mount.mount_zvol(&request(&one, "private", wrong)).await;
        equal("another filesystem is refused", refused.is_err(), true)?;
        works(
            "mount it",
            mount.mount_zvol(&request(&one, "private", filesystem)).await,
        )?;
        fails(
            "again on it",
            mount.mount_zvol(&request(&one, "private", filesystem)).await,
            MountErrorKind::AlreadyMounted,
        )?;
        works(
            "mount the clone",
            mount.mount_zvol(&request(&other, "clone", filesystem)).await,
        )?;
        let (private, pod) = (root.join("private"), root.join("pod"));
        works("bind it", mount.bind(&private, &pod, true, &[]).await)?;
        works("sync it", mount.syncfs(&private).await)?;
        let table = works("read the table", mount.list().await)?;
        let of = |zvol: &Zvol| {
            let source = zvol.node.to_string_lossy();
            table.iter().filter(|entry| entry.source == source).count()
        };
        equal("mounts of the one and of the other", (of(&one), of(&other)), (2, 1))?;
        let bytes = async || works("statfs", mount.statfs(&pod).await).map(|usage| usage.total_bytes);
        works("grow to what it is", mount.grow_filesystem(&private).await)?;
        let before = bytes().await?;
        grow(volume);
        works("grow", mount.grow_filesystem(&private).await)?;
        let after = bytes().await?;
        equal("it is larger", after > before + before / 2, true)?;
        works("grow again", mount.grow_filesystem(&private).await)?;
        for name in ["pod", "private", "clone"] {
            works("unmount", mount.unmount(&root.join(name), false).await)?;
            works("remove the target", mount.remove_dir(&root.join(name)).await)?;
        }
        for zvol in [&one, &other] {
            works("forget it", mount.forget_zvol(&zvol.node, nodes).await)?;
        }
    }
    equal("no node is left", works("read", mount.is_empty_dir(nodes).await)?, true)
}

async fn devices<M: Mount>(
    mount: &M,
    root: &Path,
    volumes: &Volumes<'_>,
    zvol: &impl Fn(&str, &str) -> Zvol,
) -> Checked {
    let missing = zvol(volumes.missing, "one");
    fails(
        "a volume that is not there",
        mount.find_zvol(&missing).await,
        MountErrorKind::NoDevice(volumes.missing.to_owned()),
    )?;
    let [(_, formatted, _), _] = volumes.filesystems;
    works("find one", mount.find_zvol(&zvol(formatted, "one")).await)?;
    let node = zvol(volumes.blank, "one");
    works("find another at its node", mount.find_zvol(&node).await)?;
    let bytes = works("its size", mount.device_bytes(&node.node).await)?;
    equal("is that of the other", bytes, volumes.blank_bytes)?;
    equal("it is blank", works("read it", mount.is_zvol_blank(&node).await)?, true)?;
    let (file, folder): (PathBuf, PathBuf) = (root.join("block"), root.join("folder"));
    works("make a folder", mount.make_dir(&folder).await)?;
    let on_folder = mount.bind_zvol(&node, &folder, false).await;
    fails("bind it on a folder", on_folder, MountErrorKind::NotEmpty)?;
    works("remove the folder", mount.remove_dir(&folder).await)?;
    for readonly in [false, true] {
        works("bind it", mount.bind_zvol(&node, &file, readonly).await)?;
        let table = works("read the table", mount.list().await)?;
        let shown = table
            .at(&file)
            .map(|entry| (entry.root.ends_with("of/one"), entry.readonly));
        equal("the table shows it", shown, Some((true, readonly)))?;
        let bytes = works("its size", mount.device_bytes(&file).await)?;
        equal("is what is seen there", bytes, volumes.blank_bytes)?;
        let again = mount.bind_zvol(&node, &file, readonly).await;
        fails("bind it again", again, MountErrorKind::AlreadyMounted)?;
        works("make it the other", mount.remount_bind(&file, !readonly).await)?;
        let table = works("read the table", mount.list().await)?;
        equal("it is", table.at(&file).map(|entry| entry.readonly), Some(!readonly))?;
        fails("remove the file", mount.remove_file(&file).await, MountErrorKind::Busy)?;
        works("flush it", mount.flush_zvol(&node).await)?;
        works("unmount", mount.unmount(&file, false).await)?;
        works("remove the file", mount.remove_file(&file).await)?;
        works("remove it again", mount.remove_file(&file).await)?;
    }
    Ok(())
}
