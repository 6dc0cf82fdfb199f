//! What a Dot holds, or each Dot of a pool, from properties: enough to make all its objects again. Reads only.
//!
//! Two processes, whatever is there: one `zfs get` of what was set on anything below it, one `zfs list` of what ZFS
//! itself knows. What has a tombstone is left out.

use std::collections::{BTreeMap, HashMap};

use dotmesh_model::format::VolumeFormat;
use dotmesh_model::id::{BranchId, ClaimUid, CommitId, DotId, HeadId, VolumeId};
use dotmesh_model::tuning::{BlockSize, Tuning};
use dotmesh_mount::Mount;
use dotmesh_zfs::{
    DatasetName, GetRequest, Guid, Kind, ListRequest, ObjectName, PropName, Row, Source, SourceKind, Txg, Zfs,
};

use super::batch::{CREATETXG, CREATION, GUID, REFERENCED, WRITTEN};
use super::branch::{COMPRESSION, ORIGIN, RECORDSIZE, REFQUOTA, REFRESERVATION, SYNC, VOLBLOCKSIZE, VOLSIZE};
use super::{CommitRecord, CommitState, Error, KnownPool, Ops, OriginRequest, SnapshotState, VolumeState};
use crate::layout::{
    BranchRecord, DotIdentity, DotState, HEAD, Layout, OBJECT, Stage, StoredCommit, VOLUME, decode_commits,
    decode_head, decode_object, decode_volume, is_commit_property,
};

/// A Dot with all that was not deleted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DotDescription {
    /// Who it is.
    pub identity: DotIdentity,
    /// Claims whose handles resolve.
    pub claims: Vec<ClaimUid>,
    /// Its branches, in the order of their ids.
    pub branches: Vec<HeadDescription>,
    /// Its commits, in the order of their ids.
    pub commits: Vec<CommitDescription>,
}

/// A branch and its head.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeadDescription {
    /// The branch.
    pub branch: BranchId,
    /// As git would call it.
    pub name: String,
    /// What it points at.
    pub head: HeadId,
    /// The name of its object; empty when that was not recorded.
    pub object: String,
    /// Volumes with their names.
    pub volumes: Vec<(String, VolumeState)>,
    /// What the head was cloned from, with the snapshots of those volumes that are clones.
    pub origin: Option<OriginRequest>,
}

/// A commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommitDescription {
    /// Its id.
    pub id: CommitId,
    /// The head that it was taken of.
    pub head: HeadId,
    /// What people said of it.
    pub record: CommitRecord,
    /// What was made.
    pub state: CommitState,
}

/// Everything that was read of a Dot.
struct Found {
    local: HashMap<ObjectName, BTreeMap<PropName, String>>,
    rows: HashMap<ObjectName, Row>,
}

impl<Z: Zfs, M: Mount> Ops<Z, M> {
    /// What a Dot holds.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Deleted`]; what cannot be read.
    pub async fn describe_dot(&self, dot: DotId) -> Result<DotDescription, Error> {
        let pool = self.known_pool()?;
        // Whoever changes something of it waits.
        let _guard = self.host.dots.exclusive(dot).await;
        let state = self.living_dot(&pool, dot).await?;
        let found = self
            .read_below(&pool, pool.layout.dot(dot), &format!("Dot {dot}"))
            .await?;
        describe(&pool.layout, &found, dot, &state)
    }

    /// What each Dot of the pool holds that is not deleted; two processes for all of them. A Dot of which something is
    /// gone that it says it has is left out.
    ///
    /// # Errors
    /// What cannot be read: then it is not known what there is.
    pub async fn describe_dots(&self) -> Result<BTreeMap<DotId, DotDescription>, Error> {
        let pool = self.known_pool()?;
        let root = pool.layout.root().clone();
        let found = self.read_below(&pool, root.clone(), "the root").await?;
        let mut dots = BTreeMap::new();
        for dot in found.below::<DotId>(&root) {
            let described = match found.state(&pool.layout, dot) {
                Ok(state) if state.deleted => continue,
                Ok(state) => describe(&pool.layout, &found, dot, &state),
                Err(error) => Err(error),
            };
            // What was changed in the middle of this is looked at again when nobody changes it.
            let described = match described {
                Ok(described) => Ok(described),
                Err(_) => self.describe_dot(dot).await,
            };
            match described {
                Ok(described) => drop(dots.insert(dot, described)),
                Err(Error::Deleted(_)) => {}
                Err(Error::NotFound(text)) => tracing::warn!(%dot, text, "the Dot is left out"),
                Err(error) => return Err(error),
            }
        }
        Ok(dots)
    }

    async fn read_below(&self, pool: &KnownPool, dataset: DatasetName, what: &str) -> Result<Found, Error> {
        let targets = vec![ObjectName::from(dataset)];
        let kinds = vec![Kind::Filesystem, Kind::Volume, Kind::Snapshot];
        let get = GetRequest {
            targets: targets.clone(),
            properties: Vec::new(),
            sources: vec![SourceKind::Local],
            depth: None,
            kinds: kinds.clone(),
        };
        let list = ListRequest {
            roots: targets,
            depth: None,
            kinds,
            columns: vec![
                GUID,
                CREATETXG,
                CREATION,
                REFERENCED,
                WRITTEN,
                ORIGIN,
                REFQUOTA,
                VOLSIZE,
                VOLBLOCKSIZE,
                REFRESERVATION,
            ],
        };
        let doing = format!("reading all of {what}");
        let properties = match self.host.zfs.get(&get).await {
            Ok(rows) => rows,
            Err(error) => return Err(self.failed(pool, &doing, what, &error).await),
        };
        let rows = match self.host.zfs.list(&list).await {
            Ok(rows) => rows,
            Err(error) => return Err(self.failed(pool, &doing, what, &error).await),
        };
        let mut local: HashMap<ObjectName, BTreeMap<PropName, String>> = HashMap::new();
        for row in properties.into_iter().filter(|row| row.source == Source::Local) {
            local.entry(row.name).or_default().insert(row.property, row.value);
        }
        Ok(Found {
            local,
            rows: rows.into_iter().map(|row| (row.name.clone(), row)).collect(),
        })
    }
}

impl Found {
    /// What the Dot's dataset says.
    fn state(&self, layout: &Layout, dot: DotId) -> Result<DotState, Error> {
        let properties = self.local.get(&ObjectName::from(layout.dot(dot)));
        let properties = properties.into_iter().flatten();
        Ok(DotState::decode(
            properties.map(|(name, value)| (name, value.as_str())),
        )?)
    }

    fn property(&self, name: &ObjectName, property: &PropName) -> Option<&str> {
        self.local.get(name)?.get(property).map(String::as_str)
    }

    fn number(&self, name: &ObjectName, column: &PropName) -> Result<u64, Error> {
        let row = self.rows.get(name);
        row.and_then(|row| row.number(column).ok())
            .ok_or_else(|| Error::Internal(format!("{column} of {name} is unknown; repeat")))
    }

    /// How a volume's data is kept, as far as that was said of itself.
    fn tuning(&self, volume: &ObjectName, format: VolumeFormat) -> Tuning {
        let column = |column: PropName| self.rows.get(volume)?.number(&column).ok();
        let recordsize = self.property(volume, &RECORDSIZE).and_then(|text| text.parse().ok());
        let is_thin = column(VOLSIZE) > column(REFRESERVATION);
        Tuning {
            compression: self.property(volume, &COMPRESSION).and_then(|text| text.parse().ok()),
            recordsize: recordsize.and_then(|bytes| BlockSize::new(bytes, BlockSize::RECORD)),
            volblocksize: column(VOLBLOCKSIZE).and_then(|bytes| BlockSize::new(bytes, BlockSize::VOLUME)),
            thin: is_thin.then_some(true),
            sync: self.property(volume, &SYNC).and_then(|text| text.parse().ok()),
        }
        .of_format(format)
    }

    /// The datasets directly below one, with what their names say.
    fn below<'a, T: std::str::FromStr + 'a>(&'a self, parent: &'a DatasetName) -> impl Iterator<Item = T> + 'a {
        let datasets = self.rows.keys().filter(|name| name.snapshot().is_none());
        datasets.filter_map(move |name| {
            let name = name.dataset();
            let is_child = name.parent().as_ref() == Some(parent);
            is_child.then(|| name.base().parse().ok()).flatten()
        })
    }
}

fn describe(layout: &Layout, found: &Found, dot: DotId, state: &DotState) -> Result<DotDescription, Error> {
    let mut branches = Vec::new();
    for (branch, record) in &state.branches {
        if let BranchRecord::Live { head, name } = record {
            branches.push(describe_head(layout, found, dot, (*branch, *head, name))?);
        }
    }
    Ok(DotDescription {
        identity: state.identity.clone().unwrap_or_default(),
        claims: state.claims.keys().copied().collect(),
        branches,
        commits: describe_commits(layout, found, dot, state)?,
    })
}

fn describe_head(
    layout: &Layout,
    found: &Found,
    dot: DotId,
    (branch, head, name): (BranchId, HeadId, &String),
) -> Result<HeadDescription, Error> {
    let dataset = layout.head(dot, head);
    let on_head = ObjectName::from(dataset.clone());
    let record = found
        .property(&on_head, &HEAD)
        .ok_or_else(|| Error::NotFound(format!("head {head} of branch {name} is not in Dot {dot}")))?;
    let record = decode_head(record)?;
    let object = found.property(&on_head, &OBJECT).map(decode_object).transpose()?;
    let mut ids: Vec<VolumeId> = found.below(&dataset).collect();
    ids.sort_unstable();
    let (mut volumes, mut guids) = (Vec::new(), BTreeMap::new());
    for id in ids {
        let volume = ObjectName::from(layout.volume(dot, head, id));
        // Without a name it was not made completely, or others made it.
        let Some(record) = found.property(&volume, &VOLUME) else {
            continue;
        };
        let record = decode_volume(record)?;
        if record.stage != Stage::Ready {
            continue;
        }
        let size = match record.format {
            VolumeFormat::Zfs => &REFQUOTA,
            VolumeFormat::Ext4 | VolumeFormat::Xfs | VolumeFormat::Block => &VOLSIZE,
        };
        let origin = found.rows.get(&volume).and_then(|row| row.value(&ORIGIN));
        let origin: Option<ObjectName> = origin
            .filter(|origin| !origin.is_empty())
            .and_then(|name| name.parse().ok());
        let cloned = origin.is_some();
        // Only its own Dot's is a commit that the head began with.
        let of_dot = layout.dot(dot);
        let origin = origin.filter(|origin| origin.dataset().is_below(&of_dot));
        let state = VolumeState {
            id,
            guid: Guid(found.number(&volume, &GUID)?),
            size: found.number(&volume, size)?,
            format: record.format,
            tuning: found.tuning(&volume, record.format),
            cloned,
        };
        if let Some(origin) = origin {
            guids.insert(id, Guid(found.number(&origin, &GUID)?));
        }
        volumes.push((record.name, state));
    }
    Ok(HeadDescription {
        branch,
        name: name.clone(),
        head,
        object: object.unwrap_or_default(),
        volumes,
        origin: record.origin.map(|origin| OriginRequest {
            commit: origin.commit,
            head: origin.head,
            guids,
        }),
    })
}

fn describe_commits(
    layout: &Layout,
    found: &Found,
    dot: DotId,
    state: &DotState,
) -> Result<Vec<CommitDescription>, Error> {
    let mut commits = Vec::new();
    let dataset = layout.dot(dot);
    for (name, properties) in &found.local {
        let Some(snapshot) = name.snapshot() else { continue };
        let (Ok(head), Ok(id)) = (snapshot.dataset().base().parse(), snapshot.snap().as_str().parse()) else {
            continue;
        };
        let is_on_head = snapshot.dataset().parent().as_ref() == Some(&dataset);
        if !is_on_head || state.is_dead(id) {
            continue;
        }
        let ours = properties.iter().filter(|(name, _)| is_commit_property(name));
        let ours = ours.map(|(name, value)| (name.clone(), value.clone())).collect();
        let stored = decode_commits(&ours)?.and_then(|mut all| all.remove(&id.to_string()));
        if let Some(stored) = stored {
            commits.push(describe_commit(layout, found, dot, (head, id), stored)?);
        }
    }
    commits.sort_by_key(|commit| commit.id);
    Ok(commits)
}

fn describe_commit(
    layout: &Layout,
    found: &Found,
    dot: DotId,
    (head, id): (HeadId, CommitId),
    stored: StoredCommit,
) -> Result<CommitDescription, Error> {
    let damaged = |_| Error::Internal(format!("the record of commit {id} of Dot {dot} is damaged"));
    let on_head = ObjectName::from(layout.head_snapshot(dot, head, id));
    let mut snapshots = Vec::new();
    for volume in &stored.volumes {
        let volume: VolumeId = volume.parse().map_err(damaged)?;
        let name = ObjectName::from(layout.volume_snapshot(dot, head, volume, id));
        // One that others destroyed has no GUID; the others are what is left.
        if !found.rows.contains_key(&name) {
            continue;
        }
        snapshots.push(SnapshotState {
            volume,
            guid: Guid(found.number(&name, &GUID)?),
            referenced: found.number(&name, &REFERENCED)?,
            written: found.number(&name, &WRITTEN)?,
        });
    }
    snapshots.sort_by_key(|snapshot| snapshot.volume);
    let created = found.number(&on_head, &CREATION)?;
    Ok(CommitDescription {
        id,
        head,
        state: CommitState {
            snapshots,
            createtxg: Txg(found.number(&on_head, &CREATETXG)?),
            created: i64::try_from(created).unwrap_or(i64::MAX),
            parent: stored
                .parent
                .as_ref()
                .map(|parent| parent.parse())
                .transpose()
                .map_err(damaged)?,
        },
        record: CommitRecord {
            namespace: stored.namespace,
            name: stored.name,
            branch_name: stored.branch_name,
            message: stored.message,
            author: stored.author,
            committer: stored.committer,
            metadata: stored.metadata,
        },
    })
}
