//! Devices of ZFS volumes in [`super::FakeMount`]: nodes, filesystems on them, and binds of the nodes.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::state::{HOST, Node, State, check_plain};
use super::tree::{Mounted, ROOT};
use crate::{MountErrorKind, Zvol, ZvolMount};

/// A ZFS volume as whoever opens its device sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FakeZvol {
    /// Tells apart volumes that had this name one after the other.
    pub identity: u64,
    /// Its size.
    pub bytes: u64,
    /// The kernel's word for the filesystem on it.
    pub filesystem: Option<&'static str>,
    /// Whether nothing was ever written to it.
    pub is_blank: bool,
}

impl State {
    /// Makes the node right, as soon as there is a device.
    pub(super) fn find_zvol(&mut self, zvol: &Zvol, volume: Option<FakeZvol>) -> Result<FakeZvol, MountErrorKind> {
        check_plain(&zvol.node)?;
        let Some(volume) = volume else {
            return Err(MountErrorKind::NoDevice(zvol.volume.clone()));
        };
        let parent = zvol.node.parent().ok_or(MountErrorKind::BadPath)?;
        self.make_dir(parent)?;
        self.put(&zvol.node, Node::File);
        self.devices
            .insert(zvol.node.clone(), (zvol.volume.clone(), volume.identity));
        Ok(volume)
    }

    pub(super) fn mount_zvol(&mut self, request: &ZvolMount, volume: Option<FakeZvol>) -> Result<(), MountErrorKind> {
        let ZvolMount {
            zvol,
            target,
            filesystem,
            context,
        } = request;
        self.check_target(target)?;
        let volume = self.find_zvol(zvol, volume)?;
        let fs_type = filesystem.as_str();
        if volume.filesystem != Some(fs_type) {
            return Err(MountErrorKind::from_errno(nix::errno::Errno::EINVAL));
        }
        let new = Mounted {
            options: BTreeSet::new(),
            context: context.clone(),
            parent: ROOT,
            on: PathBuf::new(),
            device: format!("{}#{}", zvol.volume, volume.identity),
            root: PathBuf::from("/"),
            source: zvol.node.to_string_lossy().into_owned(),
            fs_type,
            readonly: false,
            superblock_readonly: false,
            group: None,
        };
        self.tree.attach(target, new);
        Ok(())
    }

    pub(super) fn bind_zvol(
        &mut self,
        zvol: &Zvol,
        volume: Option<FakeZvol>,
        target: &Path,
        readonly: bool,
    ) -> Result<(), MountErrorKind> {
        check_plain(target)?;
        let parent = target.parent().ok_or(MountErrorKind::BadPath)?;
        self.folder(parent)?;
        if self.tree.at(target).is_some() {
            return Err(MountErrorKind::AlreadyMounted);
        }
        match self.node_at(&self.tree.place(target, false)) {
            None => {
                self.check_writable(parent)?;
                self.put(target, Node::File);
            }
            Some(Node::File) => {}
            Some(Node::Folder) => return Err(MountErrorKind::NotEmpty),
            Some(Node::Link) => return Err(MountErrorKind::SymbolicLink),
        }
        self.find_zvol(zvol, volume)?;
        let new = Mounted {
            options: BTreeSet::new(),
            context: None,
            parent: ROOT,
            on: PathBuf::new(),
            device: HOST.to_owned(),
            root: zvol.node.clone(),
            source: "devtmpfs".to_owned(),
            fs_type: "devtmpfs",
            readonly,
            superblock_readonly: false,
            group: None,
        };
        self.tree.attach(target, new);
        Ok(())
    }

    pub(super) fn forget_zvol(&mut self, node: &Path, keep: &Path) -> Result<(), MountErrorKind> {
        check_plain(node)?;
        self.devices.remove(node);
        self.nodes.entry(HOST.to_owned()).or_default().remove(node);
        let above = node.ancestors().skip(1);
        for folder in above.take_while(|folder| folder.starts_with(keep) && *folder != keep) {
            match self.remove_dir(folder) {
                Ok(()) => {}
                Err(MountErrorKind::NotEmpty) => break,
                Err(kind) => return Err(kind),
            }
        }
        Ok(())
    }

    /// The volume whose filesystem is mounted there.
    pub(super) fn volume_at(&self, target: &Path) -> Option<String> {
        let mounted = self.tree.get(self.tree.at(target)?)?;
        let (volume, _) = self.devices.get(Path::new(&mounted.source))?;
        Some(volume.clone())
    }

    /// The volume whose node is seen there.
    pub(super) fn volume_of_node(&self, path: &Path) -> Option<String> {
        let (_, inside) = self.tree.walk(path, true);
        self.devices.get(&inside).map(|(volume, _)| volume.clone())
    }

    pub(super) fn grow(&mut self, target: &Path, volume: Option<FakeZvol>) -> Result<(), MountErrorKind> {
        self.folder(target)?;
        let mounted = self.tree.at(target).and_then(|id| self.tree.get(id));
        let device = mounted.ok_or(MountErrorKind::NotMounted)?.device.clone();
        match volume {
            Some(volume) => {
                self.grown.insert(device, volume.bytes);
                Ok(())
            }
            None => Err(MountErrorKind::Other("it does not grow".to_owned())),
        }
    }

    pub(super) fn remove_file(&mut self, path: &Path) -> Result<(), MountErrorKind> {
        check_plain(path)?;
        let parent = path.parent().ok_or(MountErrorKind::BadPath)?;
        match self.folder(parent) {
            Ok(_) => {}
            Err(MountErrorKind::NotFound) => return Ok(()),
            Err(kind) => return Err(kind),
        }
        let place = self.tree.place(path, false);
        match self.node_at(&place) {
            None => Ok(()),
            Some(_) if self.tree.is_mountpoint(&place) => Err(MountErrorKind::Busy),
            Some(Node::Folder) => Err(MountErrorKind::NotEmpty),
            Some(Node::Link) => Err(MountErrorKind::SymbolicLink),
            Some(Node::File) => {
                self.check_writable(parent)?;
                let (device, inside) = place;
                self.nodes.entry(device).or_default().remove(&inside);
                Ok(())
            }
        }
    }
}
