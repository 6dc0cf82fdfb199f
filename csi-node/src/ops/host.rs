//! What all pools of a node share: its programs, mounts and files, the locks of Dots, and what is told of the node.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use dotmesh_model::id::{DotId, HeadId, VolumeId};
use dotmesh_mount::{Mount, MountTable};
use dotmesh_zfs::{Versions, Zfs};
use tokio::sync::{Notify, watch as channel};

use super::files::Files;
use super::locks::KeyedLocks;
use super::users::VolumeUser;
use super::watch::NodeState;
use super::{Error, PoolState};

/// Where things are on this node.
#[derive(Debug, Clone)]
pub struct Config {
    /// The folder that is ours in the host's file system, at the same path here: private mounts and what is remembered.
    pub state_dir: PathBuf,
    /// Where the host's root is mounted here; nothing when this program runs on the host itself. Pools' files are
    /// reached through it.
    pub host_root: Option<PathBuf>,
    /// How the host's files are reached.
    pub files: Arc<dyn Files>,
}

/// The node itself.
#[derive(Debug)]
pub struct Host<Z, M> {
    pub(super) zfs: Z,
    pub(super) mount: M,
    pub(super) config: Config,
    /// The releases that run here, since a pool was last asked for or imported.
    pub(super) versions: Mutex<Option<Versions>>,
    /// A Dot's mounts are looked at without a pool, so that its lock belongs to none.
    pub(super) dots: KeyedLocks<DotId>,
    /// What is at a target is looked at before something is mounted there. Taken after a Dot's.
    pub(super) targets: KeyedLocks<PathBuf>,
    pub(super) users_changed: Notify,
    /// Who looks at the mounts tells what was seen before the next one looks.
    looking: tokio::sync::Mutex<()>,
    pub(super) states: channel::Sender<Option<NodeState>>,
}

impl<Z: Zfs, M: Mount> Host<Z, M> {
    pub(super) fn new(zfs: Z, mount: M, config: Config) -> Arc<Self> {
        Arc::new(Self {
            zfs,
            mount,
            config,
            versions: Mutex::default(),
            dots: KeyedLocks::default(),
            targets: KeyedLocks::default(),
            users_changed: Notify::new(),
            looking: tokio::sync::Mutex::default(),
            states: channel::Sender::new(None),
        })
    }

    /// The folder in which pools are remembered, one file for each.
    pub(super) fn memories(&self) -> PathBuf {
        self.config.state_dir.join("pools")
    }

    /// Where a head's volume is mounted for this program alone.
    pub(super) fn private_dir(&self, head: HeadId, volume: VolumeId) -> PathBuf {
        self.config
            .state_dir
            .join("mounts")
            .join(head.to_string())
            .join(volume.to_string())
    }

    pub(super) async fn mount_table(&self) -> Result<MountTable, Error> {
        self.mount
            .list()
            .await
            .map_err(|error| Error::mount("reading the mount table", &error))
    }

    /// Something was mounted or unmounted for a pod.
    pub(super) fn note_users(&self) {
        self.users_changed.notify_one();
    }

    /// Looks at the mounts alone: no process is started.
    pub(super) async fn refresh_users(&self) {
        let _looking = self.looking.lock().await;
        if let Some(users) = self.look_at_users().await {
            self.tell(|state| state.users = Some(users));
        }
    }

    /// Tells of one pool, by its zpool's name, and looks at the mounts.
    pub(super) async fn refresh_pool(&self, pool: PoolState) {
        let _looking = self.looking.lock().await;
        let users = self.look_at_users().await;
        self.tell(|state| {
            match state.pools.iter_mut().find(|told| told.name == pool.name) {
                Some(told) => *told = pool,
                None => state.pools.push(pool),
            }
            state.pools.sort_by(|one, other| one.name.cmp(&other.name));
            state.users = users.or_else(|| state.users.take());
        });
    }

    /// There is no such pool any more.
    pub(super) fn forget_pool(&self, name: &str) {
        self.tell(|state| state.pools.retain(|told| told.name != name));
    }

    async fn look_at_users(&self) -> Option<BTreeSet<VolumeUser>> {
        self.all_users()
            .await
            .inspect_err(|error| tracing::warn!(%error, "who uses volumes cannot be read"))
            .ok()
    }

    fn tell(&self, change: impl FnOnce(&mut NodeState)) {
        self.states.send_if_modified(|shown| {
            let mut state = shown.clone().unwrap_or_default();
            change(&mut state);
            let changed = shown.as_ref() != Some(&state);
            if changed {
                *shown = Some(state);
            }
            changed
        });
    }
}
