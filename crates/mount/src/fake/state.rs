//! The state behind [`super::FakeMount`], and the rules by which it changes.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::{Path, PathBuf};

use super::{MountCall, Place};
use crate::{FsUsage, MountEntry, MountErrorKind, MountTable, ZfsMount};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Node {
    Folder,
    File,
    Link,
}

/// The filesystem at the root of the tree.
const HOST: &str = "host";

#[derive(Debug)]
pub(super) struct State {
    /// What is in each filesystem. Its root folder is always there.
    nodes: BTreeMap<Place, Node>,
    mounts: Vec<MountEntry>,
    last_id: u64,
    pub(super) missing: BTreeSet<String>,
    pub(super) shown: BTreeMap<String, String>,
    pub(super) busy: BTreeSet<PathBuf>,
    pub(super) usage: BTreeMap<String, FsUsage>,
    pub(super) failures: BTreeMap<MountCall, VecDeque<(bool, MountErrorKind)>>,
    pub(super) calls: BTreeMap<MountCall, u64>,
}

impl Default for State {
    fn default() -> Self {
        Self {
            nodes: BTreeMap::new(),
            mounts: Vec::new(),
            last_id: 20,
            missing: BTreeSet::new(),
            shown: BTreeMap::new(),
            busy: BTreeSet::new(),
            usage: BTreeMap::new(),
            failures: BTreeMap::new(),
            calls: BTreeMap::new(),
        }
    }
}

fn check_plain(path: &Path) -> Result<(), MountErrorKind> {
    let text = path.to_string_lossy();
    let good =
        text == "/" || text.starts_with('/') && text[1..].split('/').all(|part| !matches!(part, "" | "." | ".."));
    if good { Ok(()) } else { Err(MountErrorKind::BadPath) }
}

impl State {
    /// Where a path leads through the mounts, its last component's mount included or not.
    fn place(&self, path: &Path, through_last: bool) -> Place {
        let above = |entry: &&MountEntry| path.starts_with(&entry.target) && (through_last || entry.target != path);
        let longest = self
            .mounts
            .iter()
            .filter(above)
            .map(|entry| entry.target.components().count())
            .max();
        let entry = self
            .mounts
            .iter()
            .rev()
            .filter(above)
            .find(|entry| Some(entry.target.components().count()) == longest);
        match entry {
            None => (HOST.to_owned(), path.to_owned()),
            Some(entry) => {
                let inside = path.strip_prefix(&entry.target).unwrap_or(Path::new(""));
                let inside = if inside.as_os_str().is_empty() {
                    entry.root.clone()
                } else {
                    entry.root.join(inside)
                };
                (entry.device.clone(), inside)
            }
        }
    }

    pub(super) fn node(&self, path: &Path) -> Option<Node> {
        let place = self.place(path, true);
        if place.1 == Path::new("/") {
            Some(Node::Folder)
        } else {
            self.nodes.get(&place).copied()
        }
    }

    pub(super) fn put(&mut self, path: &Path, node: Node) {
        if let Some(parent) = path.parent()
            && self.node(parent).is_none()
        {
            self.put(parent, Node::Folder);
        }
        let place = self.place(path, true);
        self.nodes.insert(place, node);
    }

    /// Checks what opening a folder without following links checks, and says where it is.
    pub(super) fn folder(&self, path: &Path) -> Result<Place, MountErrorKind> {
        check_plain(path)?;
        for ancestor in path.ancestors().collect::<Vec<_>>().into_iter().rev() {
            match self.node(ancestor) {
                Some(Node::Folder) => {}
                Some(Node::File) => return Err(MountErrorKind::NotADirectory),
                Some(Node::Link) => return Err(MountErrorKind::SymbolicLink),
                None => return Err(MountErrorKind::NotFound),
            }
        }
        Ok(self.place(path, true))
    }

    fn is_empty(&self, (device, inside): &Place) -> bool {
        !self
            .nodes
            .keys()
            .any(|(other, path)| other == device && path != inside && path.starts_with(inside))
    }

    fn at(&self, target: &Path) -> Option<&MountEntry> {
        self.mounts.iter().rev().find(|entry| entry.target == target)
    }

    fn check_target(&self, target: &Path) -> Result<(), MountErrorKind> {
        let place = self.folder(target)?;
        if self.at(target).is_some() {
            return Err(MountErrorKind::AlreadyMounted);
        }
        if self.is_empty(&place) {
            Ok(())
        } else {
            Err(MountErrorKind::NotEmpty)
        }
    }

    fn push(&mut self, mut entry: MountEntry) {
        self.last_id += 1;
        entry.id = self.last_id;
        self.mounts.push(entry);
    }

    pub(super) fn mount_zfs(&mut self, request: &ZfsMount) -> Result<(), MountErrorKind> {
        self.check_target(&request.target)?;
        if self.missing.contains(&request.source) {
            return Err(MountErrorKind::NotFound);
        }
        let collides =
            |entry: &MountEntry| entry.source == request.source && entry.superblock_readonly != request.readonly;
        if self.mounts.iter().any(collides) {
            return Err(MountErrorKind::Busy);
        }
        if let Some(shown) = self.shown.get(&request.source) {
            let (wanted, found) = (request.source.clone(), shown.clone());
            return Err(MountErrorKind::WrongSource { wanted, found });
        }
        let readonly = request.readonly;
        self.push(MountEntry {
            id: 0,
            parent: 1,
            device: request.source.clone(),
            root: PathBuf::from("/"),
            target: request.target.clone(),
            options: if readonly { "ro" } else { "rw" }.to_owned(),
            readonly,
            superblock_readonly: readonly,
            shared: true,
            fs_type: "zfs".to_owned(),
            source: request.source.clone(),
        });
        Ok(())
    }

    pub(super) fn bind(&mut self, source: &Path, target: &Path, readonly: bool) -> Result<(), MountErrorKind> {
        let (device, root) = self.folder(source)?;
        self.check_target(target)?;
        let shown = source.ancestors().find_map(|path| self.at(path));
        let entry = MountEntry {
            id: 0,
            parent: 1,
            fs_type: shown.map_or("ext4", |entry| &entry.fs_type).to_owned(),
            source: shown.map_or(HOST, |entry| &entry.source).to_owned(),
            superblock_readonly: shown.is_some_and(|entry| entry.superblock_readonly),
            device,
            root,
            target: target.to_owned(),
            options: if readonly { "ro" } else { "rw" }.to_owned(),
            readonly,
            shared: true,
        };
        self.push(entry);
        Ok(())
    }

    pub(super) fn remount_bind(&mut self, target: &Path, readonly: bool) -> Result<(), MountErrorKind> {
        self.folder(target)?;
        let entry = self.mounts.iter_mut().rev().find(|entry| entry.target == target);
        let entry = entry.ok_or(MountErrorKind::NotMounted)?;
        entry.readonly = readonly;
        entry.options = if readonly { "ro" } else { "rw" }.to_owned();
        Ok(())
    }

    pub(super) fn unmount(&mut self, target: &Path, lazy: bool) -> Result<(), MountErrorKind> {
        check_plain(target)?;
        self.folder(target.parent().ok_or(MountErrorKind::BadPath)?)?;
        let Some(index) = self.mounts.iter().rposition(|entry| entry.target == target) else {
            let there = self.node(target).is_some();
            return Err(if there {
                MountErrorKind::NotMounted
            } else {
                MountErrorKind::NotFound
            });
        };
        let below = self
            .mounts
            .iter()
            .any(|entry| entry.target != target && entry.target.starts_with(target));
        if !lazy && (self.busy.contains(target) || below) {
            return Err(MountErrorKind::Busy);
        }
        self.mounts.remove(index);
        self.mounts
            .retain(|entry| entry.target == target || !entry.target.starts_with(target));
        Ok(())
    }

    pub(super) fn statfs(&self, path: &Path) -> Result<FsUsage, MountErrorKind> {
        let (device, _) = self.folder(path)?;
        let gib = 1 << 30;
        let usual = FsUsage {
            total_bytes: gib,
            available_bytes: gib,
            used_bytes: 0,
            total_inodes: 1000,
            free_inodes: 999,
        };
        Ok(self.usage.get(&device).copied().unwrap_or(usual))
    }

    pub(super) fn make_dir(&mut self, path: &Path) -> Result<(), MountErrorKind> {
        check_plain(path)?;
        for ancestor in path.ancestors().collect::<Vec<_>>().into_iter().rev() {
            match self.folder(ancestor) {
                Ok(_) => {}
                Err(MountErrorKind::NotFound) => self.put(ancestor, Node::Folder),
                Err(kind) => return Err(kind),
            }
        }
        Ok(())
    }

    pub(super) fn remove_dir(&mut self, path: &Path) -> Result<(), MountErrorKind> {
        check_plain(path)?;
        let parent = path.parent().ok_or(MountErrorKind::BadPath)?;
        match self.folder(parent) {
            Ok(_) => {}
            Err(MountErrorKind::NotFound) => return Ok(()),
            Err(kind) => return Err(kind),
        }
        if self.at(path).is_some() {
            return Err(MountErrorKind::Busy);
        }
        let place = self.place(path, false);
        match self.nodes.get(&place) {
            None => Ok(()),
            Some(Node::File | Node::Link) => Err(MountErrorKind::NotADirectory),
            Some(Node::Folder) if !self.is_empty(&place) => Err(MountErrorKind::NotEmpty),
            Some(Node::Folder) => {
                self.nodes.remove(&place);
                Ok(())
            }
        }
    }

    pub(super) fn is_empty_dir(&self, path: &Path) -> Result<bool, MountErrorKind> {
        let place = self.folder(path)?;
        let mounted_below = self.mounts.iter().any(|entry| entry.target.parent() == Some(path));
        Ok(self.is_empty(&place) && !mounted_below)
    }

    pub(super) fn table(&self) -> MountTable {
        MountTable::new(self.mounts.clone())
    }
}
