//! The mount tree of [`super::FakeMount`], by the kernel's rules (`fs/namespace.c`, `fs/pnode.c`): which mount a path
//! leads to, and what appears and goes elsewhere when one is made or taken away below a shared mount.
//!
//! A mount lies on a folder of the mount above it, not on a path. Mounts of one peer group show each other's mounts.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::Place;
use crate::SelinuxContext;
use crate::{MountEntry, MountOption, MountTable};

/// The mount at the root of the tree; it is in no listing.
pub(super) const ROOT: u64 = 1;
/// Number of the first other mount.
const FIRST: u64 = 21;

/// One mount.
#[derive(Debug, Clone)]
pub(super) struct Mounted {
    /// The mount it lies on.
    pub(super) parent: u64,
    /// On which folder of that one's filesystem.
    pub(super) on: PathBuf,
    /// The filesystem that it shows.
    pub(super) device: String,
    /// Which folder of it.
    pub(super) root: PathBuf,
    pub(super) source: String,
    pub(super) fs_type: &'static str,
    pub(super) readonly: bool,
    pub(super) superblock_readonly: bool,
    pub(super) options: BTreeSet<MountOption>,
    pub(super) context: Option<SelinuxContext>,
    /// The mounts that share what is mounted below them.
    pub(super) group: Option<u64>,
}

impl Mounted {
    /// As the mount table shows them.
    fn shown_options(&self) -> String {
        let mut words = vec![if self.readonly { "ro" } else { "rw" }];
        words.extend(self.options.iter().map(|option| option.as_str()));
        words.join(",")
    }
}

#[derive(Debug)]
pub(super) struct Tree {
    /// By number, which is their age.
    mounts: BTreeMap<u64, Mounted>,
    next: u64,
}

impl Tree {
    /// The host's root alone, shared as an init system makes it.
    pub(super) fn new(device: &str) -> Self {
        let root = Mounted {
            options: BTreeSet::new(),
            context: None,
            parent: ROOT,
            on: PathBuf::from("/"),
            device: device.to_owned(),
            root: PathBuf::from("/"),
            source: device.to_owned(),
            fs_type: "ext4",
            readonly: false,
            superblock_readonly: false,
            group: Some(ROOT),
        };
        Self {
            mounts: BTreeMap::from([(ROOT, root)]),
            next: FIRST,
        }
    }

    fn next_number(&mut self) -> u64 {
        self.next += 1;
        self.next - 1
    }

    pub(super) fn get(&self, id: u64) -> Option<&Mounted> {
        self.mounts.get(&id)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (u64, &Mounted)> {
        self.mounts.iter().map(|(id, mounted)| (*id, mounted))
    }

    /// What lies directly on that folder as seen through that mount.
    fn child(&self, parent: u64, on: &Path) -> Option<u64> {
        let lies = |(id, mounted): &(u64, &Mounted)| *id != ROOT && mounted.parent == parent && mounted.on == on;
        self.iter().find(lies).map(|(id, _)| id)
    }

    fn children(&self, parent: u64) -> Vec<u64> {
        let lies = |(id, mounted): &(u64, &Mounted)| *id != ROOT && mounted.parent == parent;
        self.iter().filter(lies).map(|(id, _)| id).collect()
    }

    /// Where a path leads: through which mount, to what. With `through_last`, what is mounted on its end counts.
    pub(super) fn walk(&self, path: &Path, through_last: bool) -> (u64, PathBuf) {
        let (mut id, mut inside) = (ROOT, PathBuf::from("/"));
        let mut names = path.components().skip(1).peekable();
        while let Some(name) = names.next() {
            inside.push(name);
            if names.peek().is_some() || through_last {
                self.go_through(&mut id, &mut inside);
            }
        }
        (id, inside)
    }

    /// As [`Self::walk`] through the last, with a look at each place on the way, by filesystem and path inside it.
    pub(super) fn walk_looking<E>(&self, path: &Path, look: impl Fn(&str, &Path) -> Result<(), E>) -> Result<Place, E> {
        let (mut id, mut inside) = (ROOT, PathBuf::from("/"));
        for name in path.components().skip(1) {
            inside.push(name);
            self.go_through(&mut id, &mut inside);
            look(&self.mounts[&id].device, &inside)?;
        }
        Ok((self.mounts[&id].device.clone(), inside))
    }

    /// Through what is mounted on a folder.
    fn go_through(&self, id: &mut u64, inside: &mut PathBuf) {
        while let Some(child) = self.child(*id, inside) {
            *id = child;
            inside.clone_from(&self.mounts[id].root);
        }
    }

    /// The place in a filesystem to which a path leads.
    pub(super) fn place(&self, path: &Path, through_last: bool) -> Place {
        let (id, inside) = self.walk(path, through_last);
        (self.mounts[&id].device.clone(), inside)
    }

    /// The mount whose root is seen at this path.
    pub(super) fn at(&self, path: &Path) -> Option<u64> {
        let (above, on) = self.walk(path, false);
        let mut top = self.child(above, &on)?;
        while let Some(upper) = self.child(top, &self.mounts[&top].root) {
            top = upper;
        }
        Some(top)
    }

    /// The same, to change it.
    pub(super) fn at_mut(&mut self, path: &Path) -> Option<&mut Mounted> {
        let id = self.at(path)?;
        self.mounts.get_mut(&id)
    }

    /// Whether something is mounted on this folder, through whichever mount.
    pub(super) fn is_mountpoint(&self, (device, inside): &Place) -> bool {
        let on_it = |mounted: &Mounted| self.mounts[&mounted.parent].device == *device && mounted.on == *inside;
        self.iter().any(|(id, mounted)| id != ROOT && on_it(mounted))
    }

    /// The path at which a mount is seen.
    pub(super) fn target(&self, id: u64) -> PathBuf {
        let mounted = &self.mounts[&id];
        if id == ROOT {
            return PathBuf::from("/");
        }
        let parent = &self.mounts[&mounted.parent];
        let inside = mounted.on.strip_prefix(&parent.root).unwrap_or(Path::new(""));
        let above = self.target(mounted.parent);
        if inside.as_os_str().is_empty() {
            above
        } else {
            above.join(inside)
        }
    }

    /// Other mounts that show the same mounts below them.
    fn peers(&self, id: u64) -> Vec<u64> {
        let Some(group) = self.mounts[&id].group else {
            return Vec::new();
        };
        let shares = |(other, mounted): &(u64, &Mounted)| *other != id && mounted.group == Some(group);
        self.iter().filter(shares).map(|(id, _)| id).collect()
    }

    /// Mounts something on a path, and wherever that folder is shared. Beneath what is mounted there already.
    pub(super) fn attach(&mut self, path: &Path, mut new: Mounted) {
        let (parent, on) = self.walk(path, true);
        let peers = self.peers(parent);
        if self.mounts[&parent].group.is_some() && new.group.is_none() {
            new.group = Some(self.next);
        }
        (new.parent, new.on) = (parent, on.clone());
        let id = self.next_number();
        self.mounts.insert(id, new.clone());
        for peer in peers {
            if !on.starts_with(&self.mounts[&peer].root) {
                continue;
            }
            let covering = self.child(peer, &on);
            let id = self.next_number();
            let copy = Mounted {
                parent: peer,
                ..new.clone()
            };
            let root = copy.root.clone();
            self.mounts.insert(id, copy);
            if let Some(upper) = covering.and_then(|upper| self.mounts.get_mut(&upper)) {
                (upper.parent, upper.on) = (id, root);
            }
        }
    }

    /// A mount with everything mounted below it.
    fn with_below(&self, id: u64) -> BTreeSet<u64> {
        let mut all = BTreeSet::from([id]);
        let mut todo = vec![id];
        while let Some(id) = todo.pop() {
            for child in self.children(id) {
                all.insert(child);
                todo.push(child);
            }
        }
        all
    }

    /// What is mounted on the same folder through the peers of the mount above.
    fn copies(&self, id: u64) -> Vec<u64> {
        let Mounted { parent, on, .. } = &self.mounts[&id];
        let peers = self.peers(*parent);
        peers.into_iter().filter_map(|peer| self.child(peer, on)).collect()
    }

    /// Whether a mount cannot be taken away: something is mounted below it, or it or a copy of it that would
    /// go too is `used`.
    pub(super) fn is_busy(&self, id: u64, used: impl Fn(u64) -> bool) -> bool {
        let copies = || {
            self.copies(id)
                .into_iter()
                .filter(|copy| self.children(*copy).is_empty())
        };
        !self.children(id).is_empty() || used(id) || copies().any(used)
    }

    /// Takes a mount away, lazily with all below it, and its copies that have nothing else below them. Returns what
    /// went, with its sources.
    pub(super) fn detach(&mut self, id: u64, lazy: bool) -> BTreeMap<u64, String> {
        let mut going = if lazy {
            self.with_below(id)
        } else {
            BTreeSet::from([id])
        };
        let copies: BTreeSet<u64> = going.iter().flat_map(|id| self.copies(*id)).collect();
        let mut candidates: BTreeSet<u64> = copies.difference(&going).copied().collect();
        loop {
            let stays = |copy: &u64| {
                let root = &self.mounts[copy].root;
                let goes = |child: &u64| going.contains(child) || candidates.contains(child);
                // What covers it wholly moves down in its place.
                let covers = |child: &u64| self.mounts[child].on == *root;
                !self.children(*copy).iter().all(|child| goes(child) || covers(child))
            };
            let staying: Vec<u64> = candidates.iter().copied().filter(stays).collect();
            if staying.is_empty() {
                break;
            }
            for copy in staying {
                candidates.remove(&copy);
            }
        }
        going.extend(candidates);
        let mut gone = BTreeMap::new();
        for id in going {
            let Some(mounted) = self.mounts.remove(&id) else {
                continue;
            };
            for upper in self.mounts.values_mut().filter(|upper| upper.parent == id) {
                (upper.parent, upper.on) = (mounted.parent, mounted.on.clone());
            }
            gone.insert(id, mounted.source);
        }
        gone
    }

    /// Begins or ends sharing what is mounted below a mount (`mount --make-shared`, `--make-private`).
    pub(super) fn set_shared(&mut self, id: u64, shared: bool) {
        let number = self.next_number();
        if let Some(mounted) = self.mounts.get_mut(&id) {
            mounted.group = shared.then(|| mounted.group.unwrap_or(number));
        }
    }

    pub(super) fn table(&self) -> MountTable {
        let entry = |(id, mounted): (u64, &Mounted)| MountEntry {
            id,
            parent: mounted.parent,
            device: mounted.device.clone(),
            root: mounted.root.clone(),
            target: self.target(id),
            options: mounted.shown_options(),
            readonly: mounted.readonly,
            superblock_readonly: mounted.superblock_readonly,
            shared: mounted.group.is_some(),
            fs_type: mounted.fs_type.to_owned(),
            source: mounted.source.clone(),
            context: mounted.context.clone(),
        };
        MountTable::new(self.iter().filter(|(id, _)| *id != ROOT).map(entry).collect())
    }
}
