//! What one replica of the operator has seen of the API so far: its caches, each kind as late as its watch is.

use std::any::Any;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use dotmesh_crds::names::{LABEL_COMMIT_UID, LABEL_IMPORT};
use dotmesh_crds::{Branch, Commit, Dot, Pool, Remnant};
use dotmesh_operator::api::{Api, Cached, Key};
use dotmesh_operator::run::watches::{prune, prune_commit};
use dotmesh_operator::volume_snapshot::{VolumeSnapshot, VolumeSnapshotContent};
use dotmesh_operator::wake::{Wake, Woken, wakes};
use dotmesh_testkit::Change;
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim, Pod};
use k8s_openapi::api::storage::v1::{CSIStorageCapacity, StorageClass};

use crate::replica::NAMESPACE;

/// The kinds that are watched.
pub const WATCHED: [&str; 12] = [
    "Dot",
    "Branch",
    "Commit",
    "Pool",
    "Remnant",
    "Pod",
    "PersistentVolumeClaim",
    "PersistentVolume",
    "StorageClass",
    "CSIStorageCapacity",
    "VolumeSnapshot",
    "VolumeSnapshotContent",
];

type Objects = BTreeMap<Key, Arc<dyn Any + Send + Sync>>;

/// The caches.
#[derive(Default)]
pub struct View {
    objects: BTreeMap<&'static str, Objects>,
    waiting: BTreeMap<&'static str, VecDeque<Arc<Change>>>,
    read: usize,
}

/// An object as it was when its change was delivered.
pub enum Seen {
    /// A Dot.
    Dot(Arc<Dot>),
    /// A Branch.
    Branch(Arc<Branch>),
    /// A Commit.
    Commit(Arc<Commit>),
    /// A Pool.
    Pool(Arc<Pool>),
    /// A Remnant.
    Remnant(Arc<Remnant>),
    /// A pod of csi-node.
    Pod(Arc<Pod>),
    /// A pod that copies a claim's data.
    Importer(Arc<Pod>),
    /// A claim.
    Claim(Arc<PersistentVolumeClaim>),
    /// A PersistentVolume.
    Volume(Arc<PersistentVolume>),
    /// A StorageClass.
    Class(Arc<StorageClass>),
    /// A CSIStorageCapacity.
    Capacity(Arc<CSIStorageCapacity>),
    /// A VolumeSnapshot that is published.
    Snapshot(Arc<VolumeSnapshot>),
    /// Its VolumeSnapshotContent.
    Content(Arc<VolumeSnapshotContent>),
}

impl Seen {
    /// Whom it concerns.
    pub fn wakes<A: Api>(&self, api: &A) -> Wake {
        let woken = match self {
            Self::Dot(object) => Woken::Dot(object),
            Self::Branch(object) => Woken::Branch(object),
            Self::Commit(object) => Woken::Commit(object),
            Self::Pool(object) => Woken::Pool(object),
            Self::Remnant(object) => Woken::Remnant(object),
            Self::Pod(object) => Woken::Pod(object),
            Self::Importer(object) => Woken::Importer(object),
            Self::Claim(object) => Woken::Claim(object),
            Self::Volume(object) => Woken::Volume(object),
            Self::Class(object) => Woken::Class(object),
            Self::Capacity(object) => Woken::Capacity(object),
            Self::Snapshot(object) => Woken::Snapshot(object),
            Self::Content(object) => Woken::Content(object),
        };
        wakes(api, woken)
    }
}

impl View {
    /// As lists show it that do not have the newest changes yet, of each kind so many; the watches bring them later.
    #[must_use]
    pub fn listed(log: &[Arc<Change>], mut missed: BTreeMap<&'static str, usize>) -> Self {
        let mut view = Self {
            read: log.len(),
            ..Self::default()
        };
        let mut last: BTreeMap<(&'static str, &Key), &Change> = BTreeMap::new();
        for change in log.iter().rev() {
            let Some(kind) = watched_change(change) else {
                continue;
            };
            match missed.get_mut(kind) {
                Some(more) if *more > 0 => {
                    *more -= 1;
                    view.waiting.entry(kind).or_default().push_front(Arc::clone(change));
                }
                Some(_) | None => {
                    last.entry((kind, &change.key)).or_insert(change);
                }
            }
        }
        for change in last.into_values().filter(|change| !change.gone) {
            let _ = view.apply(change);
        }
        view
    }

    /// Everything that is in it.
    #[must_use]
    pub fn all_seen(&self) -> Vec<Seen> {
        let mut all = Vec::new();
        for (kind, objects) in &self.objects {
            all.extend(objects.values().filter_map(|object| seen(kind, object)));
        }
        all
    }

    /// How many changes it knows of, delivered or waiting.
    #[must_use]
    pub fn read(&self) -> usize {
        self.read
    }

    /// Changes that will be delivered.
    pub fn receive(&mut self, changes: Vec<Arc<Change>>) {
        self.read += changes.len();
        for change in changes {
            if let Some(kind) = watched_change(&change) {
                self.waiting.entry(kind).or_default().push_back(change);
            }
        }
    }

    /// The kinds of which changes wait, with their number.
    #[must_use]
    pub fn waiting(&self) -> Vec<(&'static str, usize)> {
        let some = self.waiting.iter().filter(|(_, changes)| !changes.is_empty());
        some.map(|(kind, changes)| (*kind, changes.len())).collect()
    }

    /// Delivers the oldest waiting change of a kind. `hidden`: that many more of the same object that follow it at once
    /// are not seen on the way, only the last.
    pub fn deliver(&mut self, kind: &'static str, hidden: usize) -> Option<Seen> {
        let waiting = self.waiting.get_mut(kind)?;
        let mut change = waiting.pop_front()?;
        for _ in 0..hidden {
            match waiting.front() {
                Some(next) if next.key == change.key && !change.gone && !next.gone => {
                    change = waiting.pop_front()?;
                }
                Some(_) | None => break,
            }
        }
        self.apply(&change)
    }

    fn apply(&mut self, change: &Change) -> Option<Seen> {
        macro_rules! parsed {
            ($kind:ty, $prune:expr) => {{
                let mut object = Arc::unwrap_or_clone(change.object.read::<$kind>());
                $prune(&mut object);
                Arc::new(object) as Arc<dyn Any + Send + Sync>
            }};
        }
        let kind = watched_change(change)?;
        let object = match kind {
            "Dot" => parsed!(Dot, prune),
            "Branch" => parsed!(Branch, prune),
            "Commit" => parsed!(Commit, prune_commit),
            "Pool" => parsed!(Pool, prune),
            "Remnant" => parsed!(Remnant, prune),
            "Pod" => parsed!(Pod, prune),
            "PersistentVolumeClaim" => parsed!(PersistentVolumeClaim, prune),
            "StorageClass" => parsed!(StorageClass, prune),
            "CSIStorageCapacity" => parsed!(CSIStorageCapacity, prune),
            "VolumeSnapshot" => parsed!(VolumeSnapshot, prune),
            "VolumeSnapshotContent" => parsed!(VolumeSnapshotContent, prune),
            _ => parsed!(PersistentVolume, prune),
        };
        if kind == "Pod" && change.key.namespace.as_deref() != Some(NAMESPACE) {
            let pod: Arc<Pod> = object.downcast().ok()?;
            return Some(Seen::Importer(pod));
        }
        let objects = self.objects.entry(kind).or_default();
        if change.gone {
            objects.remove(&change.key);
        } else {
            objects.insert(change.key.clone(), object.clone());
        }
        seen(kind, &object)
    }

    /// An object.
    #[must_use]
    pub fn get<K: Cached>(&self, key: &Key) -> Option<Arc<K>> {
        let object = self.objects.get(&*K::kind(&()))?.get(key)?;
        object.clone().downcast().ok()
    }

    /// All objects of a kind that a predicate wants.
    pub fn find<K: Cached>(&self, predicate: impl Fn(&K) -> bool) -> Vec<Arc<K>> {
        let objects = self.objects.get(&*K::kind(&()));
        let all = objects.into_iter().flat_map(BTreeMap::values);
        all.filter(|object| object.downcast_ref().is_some_and(&predicate))
            .filter_map(|object| object.clone().downcast().ok())
            .collect()
    }
}

/// Of pods, the operator is told of csi-node's and of those of imports; of VolumeSnapshots, of those that are published.
fn watched_change(change: &Change) -> Option<&'static str> {
    let has = |label: &str| !change.object["metadata"]["labels"][label].is_null();
    let is_seen = match change.kind {
        "Pod" => change.key.namespace.as_deref() == Some(NAMESPACE) || has(LABEL_IMPORT),
        "VolumeSnapshot" | "VolumeSnapshotContent" => has(LABEL_COMMIT_UID),
        _ => true,
    };
    watched(change.kind).filter(|_| is_seen)
}

fn watched(kind: &str) -> Option<&'static str> {
    WATCHED.into_iter().find(|watched| *watched == kind)
}

fn seen(kind: &str, object: &Arc<dyn Any + Send + Sync>) -> Option<Seen> {
    let object = object.clone();
    Some(match kind {
        "Dot" => Seen::Dot(object.downcast().ok()?),
        "Branch" => Seen::Branch(object.downcast().ok()?),
        "Commit" => Seen::Commit(object.downcast().ok()?),
        "Pool" => Seen::Pool(object.downcast().ok()?),
        "Remnant" => Seen::Remnant(object.downcast().ok()?),
        "Pod" => Seen::Pod(object.downcast().ok()?),
        "PersistentVolumeClaim" => Seen::Claim(object.downcast().ok()?),
        "StorageClass" => Seen::Class(object.downcast().ok()?),
        "CSIStorageCapacity" => Seen::Capacity(object.downcast().ok()?),
        "VolumeSnapshot" => Seen::Snapshot(object.downcast().ok()?),
        "VolumeSnapshotContent" => Seen::Content(object.downcast().ok()?),
        _ => Seen::Volume(object.downcast().ok()?),
    })
}
