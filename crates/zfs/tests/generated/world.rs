//! A pool, what surrounds it, and the answers that operations have there.

use std::collections::BTreeSet;
use std::path::PathBuf;

use dotmesh_zfs::{
    CloneRequest, CreateKind, CreateRequest, DatasetName, ErrorKind, GetRequest, Guid, HoldTag, ImportRequest, Kind,
    ListRequest, ObjectName, PoolName, PoolSelector, PoolSpec, PropName, Properties, Row, SnapName, Tampering, Zfs,
    ZfsError,
};

use super::around::Around;
use super::normal::{self, COLUMNS, Identities, WRITE};
use super::operation::{
    By, Object, OfPool, Operation, Others, Outside, Place, Read, Setting, Snap, properties, property, snap_name,
};

/// The answer to one operation: lines that are equal for equal answers.
pub(crate) type Answer = Vec<String>;

/// How often something is tried again that the host's own curiosity about new volumes may keep busy.
const PATIENCE: usize = 20;

/// A pool with a place of work, for one sequence.
pub(crate) struct World<'a, Z, A> {
    zfs: &'a Z,
    around: &'a A,
    pool: PoolName,
    root: DatasetName,
    guids: Identities,
    /// The pool's identity when it was last looked at.
    last_guid: Option<Guid>,
    exported: bool,
    full: bool,
    has_checkpoint: bool,
    has_volumes: bool,
    mounted: BTreeSet<ObjectName>,
}

fn done(result: Result<(), ZfsError>) -> Result<Answer, ErrorKind> {
    told(result, |()| Vec::new())
}

fn told<T>(result: Result<T, ZfsError>, tell: impl FnOnce(T) -> Answer) -> Result<Answer, ErrorKind> {
    result.map(tell).map_err(|error| error.kind)
}

/// Not done, in all worlds alike.
fn skipped(why: &str) -> Result<Answer, ErrorKind> {
    Ok(vec![format!("skipped: {why}")])
}

fn tag(text: &str) -> HoldTag {
    text.parse().expect("a legal tag")
}

impl<'a, Z: Zfs, A: Around> World<'a, Z, A> {
    /// Makes the pool and the place of work.
    pub(crate) async fn new(zfs: &'a Z, around: &'a A, pool: PoolName) -> Result<Self, ZfsError> {
        let spec = PoolSpec {
            name: pool.clone(),
            vdevs: vec![around.vdev()],
            properties: Properties::new(),
            root_properties: Properties::new(),
        };
        zfs.pool_create(&spec).await?;
        zfs.set(&pool.root(), &properties(&[Setting("mountpoint", "legacy")]))
            .await?;
        let root = pool.root().child("work").expect("a legal name");
        let world = Self {
            zfs,
            around,
            root: root.clone(),
            guids: Identities::default(),
            last_guid: Some(zfs.pool_get(&pool).await?.guid),
            pool,
            exported: false,
            full: false,
            has_checkpoint: false,
            has_volumes: false,
            mounted: BTreeSet::new(),
        };
        world
            .zfs
            .create(&CreateRequest {
                dataset: root,
                kind: CreateKind::Filesystem,
                properties: properties(&[Setting("org.example:id", "work")]),
                parents: false,
            })
            .await?;
        Ok(world)
    }

    pub(crate) fn is_exported(&self) -> bool {
        self.exported
    }

    /// Ends what the sequence left mounted.
    pub(crate) fn leave(self) {
        for object in &self.mounted {
            self.around.unmount(object);
        }
    }

    /// Does one operation and tells the answer. A new volume is looked at by the host and busy for a while: tried again.
    pub(crate) async fn perform(&mut self, operation: &Operation) -> Answer {
        let mut result = self.attempt(operation).await;
        for _ in 0..PATIENCE {
            if result != Err(ErrorKind::Busy) || !self.has_volumes || self.is_in_use(operation) {
                break;
            }
            self.around.settle();
            result = self.attempt(operation).await;
        }
        result.unwrap_or_else(|kind| vec![normal::error(&kind, &self.root)])
    }

    /// Whether something that this sequence mounted may keep the operation from being done.
    fn is_in_use(&self, operation: &Operation) -> bool {
        if let Operation::Destroy(place) = operation {
            let snapshots = self.mounted.iter().any(|object| object.snapshot().is_some());
            return snapshots || self.mounted.contains(&place.under(&self.root).into());
        }
        !self.mounted.is_empty()
    }

    async fn attempt(&mut self, operation: &Operation) -> Result<Answer, ErrorKind> {
        let root = self.root.clone();
        match operation {
            Operation::Create {
                place,
                volume,
                parents,
                settings,
            } => self.create(*place, *volume, *parents, settings).await,
            Operation::Clone { from, to, settings } => {
                let request = CloneRequest {
                    snapshot: from.under(&root),
                    dataset: to.under(&root),
                    properties: properties(settings),
                };
                done(self.zfs.clone_snapshot(&request).await)
            }
            Operation::Snapshot(snaps, settings) => {
                let names: Vec<_> = snaps.iter().map(|snap| snap.under(&root)).collect();
                done(self.zfs.snapshot(&names, &properties(settings)).await)
            }
            Operation::Hold(text, snap) => done(self.zfs.hold_recursive(&tag(text), &snap.under(&root)).await),
            Operation::Release(text, place, snaps) => {
                let snaps = snap_names(snaps);
                done(
                    self.zfs
                        .release_recursive(&tag(text), &place.under(&root), &snaps)
                        .await,
                )
            }
            Operation::Destroy(place) => done(self.zfs.destroy_dataset(&place.under(&root)).await),
            Operation::DestroySnapshots(place, snaps) => {
                let snaps = snap_names(snaps);
                done(self.zfs.destroy_snapshots_deferred(&place.under(&root), &snaps).await)
            }
            Operation::DestroyRecursive(place, snaps) => {
                let (dataset, snaps) = (place.under(&root), snap_names(snaps));
                done(self.zfs.destroy_snapshots_deferred_recursive(&dataset, &snaps).await)
            }
            Operation::Rollback(snap) => done(self.zfs.rollback_to_newest(&snap.under(&root)).await),
            Operation::Set(place, settings) => done(self.zfs.set(&place.under(&root), &properties(settings)).await),
            Operation::Inherit(place, name) => done(self.zfs.inherit(&place.under(&root), &property(name)).await),
            Operation::Read(read) => self.read(read).await,
            Operation::Pool(of_pool) => self.pool(of_pool).await,
            Operation::Outside(outside) => self.surround(outside).await,
            Operation::Others(others) => self.tamper(others),
        }
    }

    async fn create(
        &mut self,
        place: Place,
        volume: bool,
        parents: bool,
        settings: &[Setting],
    ) -> Result<Answer, ErrorKind> {
        self.has_volumes |= volume;
        let kind = if volume {
            CreateKind::Volume {
                size: (16 << 20) - 1,
                sparse: true,
                block_size: Some(16 << 10),
            }
        } else {
            CreateKind::Filesystem
        };
        let request = CreateRequest {
            dataset: place.under(&self.root),
            kind,
            properties: properties(settings),
            parents,
        };
        done(self.zfs.create(&request).await)
    }

    async fn read(&mut self, read: &Read) -> Result<Answer, ErrorKind> {
        let root = self.root.clone();
        let objects = |list: &[Object]| -> Vec<_> { list.iter().map(|object| object.under(&root)).collect() };
        match read {
            Read::List { roots, depth, kinds } => {
                let rows = self.rows(objects(roots), *depth, kinds).await;
                told(rows, |rows| normal::rows(&rows, &root, &mut self.guids))
            }
            Read::Get {
                targets,
                properties,
                sources,
            } => {
                let request = GetRequest {
                    sources: sources.clone(),
                    ..GetRequest::local(objects(targets), properties.iter().map(|name| property(name)).collect())
                };
                told(self.zfs.get(&request).await, |rows| normal::property_rows(&rows, &root))
            }
            Read::Holds(snaps) => {
                let names: Vec<_> = snaps.iter().map(|snap| snap.under(&root)).collect();
                told(self.zfs.holds(&names).await, |holds| normal::holds(&holds, &root))
            }
            Read::Written(place, since) => {
                let since = since.map(snap_name);
                let written = self.zfs.written(&place.under(&root), since.as_ref()).await;
                told(written, |bytes| vec![normal::steps(bytes).to_string()])
            }
        }
    }

    /// Everything below some roots, with all columns.
    async fn rows(&self, roots: Vec<ObjectName>, depth: Option<u32>, kinds: &[Kind]) -> Result<Vec<Row>, ZfsError> {
        let request = ListRequest {
            roots,
            depth,
            kinds: kinds.to_vec(),
            columns: COLUMNS.map(property).to_vec(),
        };
        self.zfs.list(&request).await
    }

    async fn pool(&mut self, of_pool: &OfPool) -> Result<Answer, ErrorKind> {
        let folder = || -> Vec<PathBuf> { self.around.vdev().parent().map(Into::into).into_iter().collect() };
        match of_pool {
            OfPool::Status => {
                let status = self.zfs.pool_get(&self.pool).await.map_err(|error| error.kind)?;
                self.last_guid = Some(status.guid);
                let (guid, load) = (status.guid.to_string(), format!("load {}", status.load_guid));
                let (guid, load) = (self.guids.rank(&guid), self.guids.rank(&load));
                Ok(vec![format!("{}, guid #{guid}, load #{load}", status.health)])
            }
            OfPool::Importable => told(self.zfs.pools_importable(&folder()).await, |pools| {
                let tell = |pool: dotmesh_zfs::ImportablePool| {
                    let guid = self.guids.rank(&pool.guid.to_string());
                    format!("{}: guid #{guid}, {}", pool.name, pool.health)
                };
                pools.into_iter().map(tell).collect()
            }),
            OfPool::Export => {
                let answer = done(self.zfs.pool_export(&self.pool).await)?;
                self.exported = true;
                Ok(answer)
            }
            OfPool::Import(by) => {
                let pool = match (by, self.last_guid) {
                    (By::Guid, Some(guid)) => PoolSelector::Guid(guid),
                    _ => PoolSelector::Name(self.pool.clone()),
                };
                let request = ImportRequest { pool, search: folder() };
                let answer = done(self.zfs.pool_import(&request).await)?;
                self.exported = false;
                Ok(answer)
            }
        }
    }

    async fn surround(&mut self, outside: &Outside) -> Result<Answer, ErrorKind> {
        if self.exported {
            return skipped("exported");
        }
        match outside {
            Outside::Write(place) => {
                let available = PropName::from_static("available");
                let name = place.under(&self.root);
                let rows = self.look(name.clone().into(), &available).await?;
                match rows.first().and_then(|row| row.number(&available).ok()) {
                    Some(bytes) if bytes >= 2 * WRITE => {
                        self.around.write(&name, WRITE);
                        Ok(Vec::new())
                    }
                    Some(_) => skipped("no room"),
                    None => skipped("no filesystem"),
                }
            }
            Outside::Mount(object) => {
                let name = object.under(&self.root);
                let of = ObjectName::from(name.dataset().clone());
                let column = PropName::from_static("type");
                let filesystem = !self.look(of, &column).await?.is_empty();
                let all = [Kind::Filesystem, Kind::Volume, Kind::Snapshot];
                self.rows(vec![name.clone()], Some(0), &all)
                    .await
                    .map_err(|error| error.kind)?;
                if !filesystem {
                    return skipped("no filesystem");
                }
                if !self.mounted.insert(name.clone()) {
                    return skipped("mounted");
                }
                self.around.mount(&name);
                Ok(Vec::new())
            }
            Outside::Unmount(object) => {
                let name = object.under(&self.root);
                if !self.mounted.remove(&name) {
                    return skipped("not mounted");
                }
                self.around.unmount(&name);
                Ok(Vec::new())
            }
            Outside::Fill(full) => {
                if self.has_checkpoint || self.full == *full {
                    return skipped("a checkpoint, or nothing to do");
                }
                self.around.set_full(&self.pool, *full);
                self.full = *full;
                Ok(Vec::new())
            }
        }
    }

    /// One column of one filesystem; nothing of a volume.
    async fn look(&self, name: ObjectName, column: &PropName) -> Result<Vec<Row>, ErrorKind> {
        let request = ListRequest {
            roots: vec![name],
            depth: Some(0),
            kinds: vec![Kind::Filesystem, Kind::Snapshot],
            columns: vec![column.clone()],
        };
        self.zfs.list(&request).await.map_err(|error| error.kind)
    }

    fn tamper(&mut self, others: &Others) -> Result<Answer, ErrorKind> {
        if self.exported {
            return skipped("exported");
        }
        let snapshot = |snap: &Snap| snap.under(&self.root);
        let tampering = match others {
            Others::Hold(text, snap) => Tampering::Hold(tag(text), snapshot(snap)),
            Others::Release(text, snap) => Tampering::Release(tag(text), snapshot(snap)),
            Others::Destroy(snap) => Tampering::DestroySnapshot(snapshot(snap)),
            Others::Checkpoint if self.full || self.has_checkpoint => return skipped("full, or there is one"),
            Others::Checkpoint => Tampering::Checkpoint(self.pool.clone()),
            Others::Rewind if !self.has_checkpoint || !self.mounted.is_empty() => {
                return skipped("no checkpoint, or something is mounted");
            }
            Others::Rewind => Tampering::Rewind(self.pool.clone()),
            Others::Reguid if self.has_checkpoint => return skipped("a checkpoint"),
            Others::Reguid => Tampering::Reguid(self.pool.clone()),
        };
        self.around.tamper(&tampering)?;
        if let Tampering::Checkpoint(_) | Tampering::Rewind(_) = tampering {
            self.has_checkpoint = !self.has_checkpoint;
        }
        Ok(Vec::new())
    }

    /// All that is there, in normal form.
    pub(crate) async fn survey(&mut self) -> Answer {
        let everything = Read::List {
            roots: vec![Object::Place(Place("."))],
            depth: None,
            kinds: vec![Kind::Filesystem, Kind::Volume, Kind::Snapshot],
        };
        self.perform(&Operation::Read(everything)).await
    }
}

fn snap_names(snaps: &[&str]) -> Vec<SnapName> {
    snaps.iter().map(|snap| snap_name(snap)).collect()
}
