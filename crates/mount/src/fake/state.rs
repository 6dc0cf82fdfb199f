//! The state behind [`super::FakeMount`], and what its calls do, in the order of the kernel's checks.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Bound;
use std::path::{Path, PathBuf};

use nix::errno::Errno;

use super::tree::{Mounted, ROOT, Tree};
use super::{MountCall, Place};
use crate::{FsUsage, MountErrorKind, MountOption, MountTable, ZfsMount};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Node {
    Folder,
    File,
    Link,
}

/// The filesystem at the root of the tree.
pub(super) const HOST: &str = "host";

#[derive(Debug)]
pub(super) struct State {
    /// What is in each filesystem, by its device. Its root folder is always there.
    pub(super) nodes: BTreeMap<String, BTreeMap<PathBuf, Node>>,
    pub(super) tree: Tree,
    /// Nodes of devices: of which volume, and which that had its name.
    pub(super) devices: BTreeMap<PathBuf, (String, u64)>,
    /// Bytes that filesystems on volumes have grown to, by their device.
    pub(super) grown: BTreeMap<String, u64>,
    pub(super) missing: BTreeSet<String>,
    pub(super) shown: BTreeMap<String, String>,
    /// Mounts that somebody uses, by the path where they were when that began.
    busy: BTreeMap<PathBuf, u64>,
    /// What was taken away lazily while somebody used it, by the path where it was.
    lingering: BTreeMap<PathBuf, String>,
    pub(super) usage: BTreeMap<String, FsUsage>,
    pub(super) failures: BTreeMap<MountCall, VecDeque<(bool, MountErrorKind)>>,
    pub(super) calls: BTreeMap<MountCall, u64>,
}

impl Default for State {
    fn default() -> Self {
        Self {
            nodes: BTreeMap::new(),
            tree: Tree::new(HOST),
            devices: BTreeMap::new(),
            grown: BTreeMap::new(),
            missing: BTreeSet::new(),
            shown: BTreeMap::new(),
            busy: BTreeMap::new(),
            lingering: BTreeMap::new(),
            usage: BTreeMap::new(),
            failures: BTreeMap::new(),
            calls: BTreeMap::new(),
        }
    }
}

pub(super) fn check_plain(path: &Path) -> Result<(), MountErrorKind> {
    let text = path.to_string_lossy();
    let good =
        text == "/" || text.starts_with('/') && text[1..].split('/').all(|part| !matches!(part, "" | "." | ".."));
    if good { Ok(()) } else { Err(MountErrorKind::BadPath) }
}

impl State {
    pub(super) fn node(&self, path: &Path) -> Option<Node> {
        self.node_at(&self.tree.place(path, true))
    }

    pub(super) fn node_at(&self, (device, inside): &Place) -> Option<Node> {
        self.node_in(device, inside)
    }

    fn node_in(&self, device: &str, inside: &Path) -> Option<Node> {
        if inside == Path::new("/") {
            Some(Node::Folder)
        } else {
            self.nodes.get(device)?.get(inside).copied()
        }
    }

    pub(super) fn put(&mut self, path: &Path, node: Node) {
        if let Some(parent) = path.parent()
            && self.node(parent).is_none()
        {
            self.put(parent, Node::Folder);
        }
        let (device, inside) = self.tree.place(path, true);
        self.nodes.entry(device).or_default().insert(inside, node);
    }

    /// Checks what opening a folder without following links checks, and says where it is.
    pub(super) fn folder(&self, path: &Path) -> Result<Place, MountErrorKind> {
        check_plain(path)?;
        self.tree
            .walk_looking(path, |device, inside| match self.node_in(device, inside) {
                Some(Node::Folder) => Ok(()),
                Some(Node::File) => Err(MountErrorKind::NotADirectory),
                Some(Node::Link) => Err(MountErrorKind::SymbolicLink),
                None => Err(MountErrorKind::NotFound),
            })
    }

    fn is_empty(&self, (device, inside): &Place) -> bool {
        let Some(nodes) = self.nodes.get(device) else {
            return true;
        };
        // What is in a folder follows it.
        let next = nodes
            .range::<Path, _>((Bound::Excluded(inside.as_path()), Bound::Unbounded))
            .next();
        next.is_none_or(|(path, _)| !path.starts_with(inside))
    }

    /// What a folder to mount on must be.
    pub(super) fn check_target(&self, target: &Path) -> Result<(), MountErrorKind> {
        let place = self.folder(target)?;
        if target == Path::new("/") || self.tree.at(target).is_some() {
            return Err(MountErrorKind::AlreadyMounted);
        }
        if self.is_empty(&place) {
            Ok(())
        } else {
            Err(MountErrorKind::NotEmpty)
        }
    }

    /// Whether the mount that a path leads through can be written to.
    pub(super) fn check_writable(&self, path: &Path) -> Result<(), MountErrorKind> {
        let (id, _) = self.tree.walk(path, true);
        let readonly = |mounted: &Mounted| mounted.readonly || mounted.superblock_readonly;
        if self.tree.get(id).is_some_and(readonly) {
            return Err(MountErrorKind::from_errno(Errno::EROFS));
        }
        Ok(())
    }

    /// `identity` tells apart datasets that had this name one after the other.
    pub(super) fn mount_zfs(&mut self, request: &ZfsMount, identity: Option<u64>) -> Result<(), MountErrorKind> {
        let ZfsMount {
            source,
            target,
            readonly,
            context,
        } = request;
        self.check_target(target)?;
        if self.missing.contains(source) {
            return Err(MountErrorKind::NotFound);
        }
        let collides = |mounted: &Mounted| mounted.source == *source && mounted.superblock_readonly != *readonly;
        if self.tree.iter().any(|(_, mounted)| collides(mounted)) {
            return Err(MountErrorKind::Busy);
        }
        if let Some(shown) = self.shown.get(source) {
            let (wanted, found) = (source.clone(), shown.clone());
            return Err(MountErrorKind::WrongSource { wanted, found });
        }
        let device = identity.map_or_else(|| source.clone(), |identity| format!("{source}#{identity}"));
        let new = Mounted {
            options: BTreeSet::new(),
            context: context.clone(),
            parent: ROOT,
            on: PathBuf::new(),
            device,
            root: PathBuf::from("/"),
            source: source.clone(),
            fs_type: "zfs",
            readonly: *readonly,
            superblock_readonly: *readonly,
            group: None,
        };
        self.tree.attach(target, new);
        Ok(())
    }

    /// What is bound keeps the source's flags; what is shown of it elsewhere does not become read-only.
    pub(super) fn bind(
        &mut self,
        source: &Path,
        target: &Path,
        readonly: bool,
        options: &[MountOption],
    ) -> Result<(), MountErrorKind> {
        self.folder(source)?;
        self.check_target(target)?;
        let (id, root) = self.tree.walk(source, true);
        let Some(mounted) = self.tree.get(id) else {
            return Err(MountErrorKind::NotMounted);
        };
        let mut new = Mounted {
            root,
            ..mounted.clone()
        };
        new.readonly |= readonly;
        new.options.extend(options);
        self.tree.attach(target, new);
        Ok(())
    }

    pub(super) fn remount_bind(&mut self, target: &Path, readonly: bool) -> Result<(), MountErrorKind> {
        match self.folder(target) {
            // A file, or a node of a device.
            Err(MountErrorKind::NotADirectory) if target.parent().is_some_and(|above| self.folder(above).is_ok()) => {}
            found => drop(found?),
        }
        let mounted = self.tree.at_mut(target).ok_or(MountErrorKind::NotMounted)?;
        mounted.readonly = readonly;
        Ok(())
    }

    pub(super) fn unmount(&mut self, target: &Path, lazy: bool) -> Result<(), MountErrorKind> {
        check_plain(target)?;
        self.folder(target.parent().ok_or(MountErrorKind::BadPath)?)?;
        let Some(id) = self.tree.at(target) else {
            let there = self.node(target).is_some();
            return Err(if there {
                MountErrorKind::NotMounted
            } else {
                MountErrorKind::NotFound
            });
        };
        if !lazy && self.tree.is_busy(id, |id| self.busy.values().any(|used| *used == id)) {
            return Err(MountErrorKind::Busy);
        }
        let gone = self.tree.detach(id, lazy);
        for (path, id) in &self.busy {
            if let Some(source) = gone.get(id) {
                self.lingering.insert(path.clone(), source.clone());
            }
        }
        Ok(())
    }

    pub(super) fn set_busy(&mut self, target: &Path, busy: bool) {
        if busy {
            let id = self.tree.at(target);
            self.busy.extend(id.map(|id| (target.to_owned(), id)));
        } else {
            self.busy.remove(target);
            self.lingering.remove(target);
        }
    }

    pub(super) fn set_shared(&mut self, path: &Path, shared: bool) {
        let id = if path == Path::new("/") {
            Some(ROOT)
        } else {
            self.tree.at(path)
        };
        if let Some(id) = id {
            self.tree.set_shared(id, shared);
        }
    }

    pub(super) fn sources(&self) -> BTreeSet<String> {
        let mounted = self.tree.iter().filter(|(id, _)| *id != ROOT);
        let mounted = mounted.map(|(_, mounted)| mounted.source.clone());
        let sources = mounted.chain(self.lingering.values().cloned());
        // Of a filesystem on a volume, the volume is what is busy.
        let named = |source: String| match self.devices.get(Path::new(&source)) {
            Some((volume, _)) => volume.clone(),
            None => source,
        };
        sources.map(named).collect()
    }

    pub(super) fn reboot(&mut self) {
        self.tree = Tree::new(HOST);
        // They were on a devtmpfs.
        for node in std::mem::take(&mut self.devices).into_keys() {
            self.nodes.entry(HOST.to_owned()).or_default().remove(&node);
        }
        self.busy.clear();
        self.lingering.clear();
    }

    /// Writes a file as a program would.
    pub(super) fn write(&mut self, path: &Path) -> Result<(), MountErrorKind> {
        check_plain(path)?;
        self.folder(path.parent().ok_or(MountErrorKind::BadPath)?)?;
        self.check_writable(path)?;
        match self.node(path) {
            None | Some(Node::File) => self.put(path, Node::File),
            Some(Node::Folder) => return Err(MountErrorKind::from_errno(Errno::EISDIR)),
            Some(Node::Link) => return Err(MountErrorKind::SymbolicLink),
        }
        Ok(())
    }

    pub(super) fn statfs(&self, path: &Path) -> Result<FsUsage, MountErrorKind> {
        self.folder(path)?;
        let gib = 1 << 30;
        let usual = FsUsage {
            total_bytes: gib,
            available_bytes: gib,
            used_bytes: 0,
            total_inodes: 1000,
            free_inodes: 999,
        };
        let (id, _) = self.tree.walk(path, true);
        let mounted = self.tree.get(id);
        let said = mounted.and_then(|mounted| self.usage.get(&mounted.source));
        let grown = mounted.and_then(|mounted| self.grown.get(&mounted.device));
        Ok(said.copied().unwrap_or(FsUsage {
            total_bytes: grown.copied().unwrap_or(gib),
            ..usual
        }))
    }

    pub(super) fn make_dir(&mut self, path: &Path) -> Result<(), MountErrorKind> {
        match self.folder(path) {
            Err(MountErrorKind::NotFound) => {}
            found => return found.map(drop),
        }
        if let Some(parent) = path.parent() {
            self.make_dir(parent)?;
        }
        self.check_writable(path)?;
        self.put(path, Node::Folder);
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
        self.check_writable(parent)?;
        let place = self.tree.place(path, false);
        match self.node_at(&place) {
            None => Ok(()),
            Some(Node::File | Node::Link) => Err(MountErrorKind::NotADirectory),
            Some(Node::Folder) if self.tree.is_mountpoint(&place) => Err(MountErrorKind::Busy),
            Some(Node::Folder) if !self.is_empty(&place) => Err(MountErrorKind::NotEmpty),
            Some(Node::Folder) => {
                let (device, inside) = place;
                self.nodes.entry(device).or_default().remove(&inside);
                Ok(())
            }
        }
    }

    pub(super) fn is_empty_dir(&self, path: &Path) -> Result<bool, MountErrorKind> {
        Ok(self.is_empty(&self.folder(path)?))
    }

    pub(super) fn table(&self) -> MountTable {
        self.tree.table()
    }
}
