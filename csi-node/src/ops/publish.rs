//! Pods' mounts: one private mount per head and volume, bound into each pod.
//!
//! Truth is the kernel's mount table, read each time. A target is unmounted without ever touching its filesystem, which
//! may be dead; only its empty folder is removed, never what is in it.

use std::path::{Path, PathBuf};

use dotmesh_model::format::VolumeFormat;
use dotmesh_model::handle::{Handle, VolumeRef};
use dotmesh_model::id::{BranchId, DotId, HeadId, VolumeId};
use dotmesh_mount::{FsUsage, Mount, MountEntry, MountErrorKind, MountOption, MountTable, SelinuxContext, ZfsMount};
use dotmesh_zfs::{DatasetName, Zfs};

use super::shown::{Form, Shown, shown};
use super::{Error, Host, KnownPool, Ops};
use crate::layout::{DotState, Follows, parse_volume_dataset};

mod devices;

/// Which volume is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// The one that a claim's handle stands for now.
    Claim(Handle),
    /// One of a branch, which was made for a pod's inline volume.
    Lent {
        /// The Dot.
        dot: DotId,
        /// Its branch.
        branch: BranchId,
        /// Which of its volumes.
        volume: VolumeId,
    },
}

impl Wanted {
    /// The Dot that it is of.
    #[must_use]
    pub fn dot(&self) -> DotId {
        match self {
            Self::Claim(Handle { dot, .. }) | Self::Lent { dot, .. } => *dot,
        }
    }

    /// Which of the Dot's volumes it is.
    #[must_use]
    pub fn volume(&self) -> VolumeId {
        match self {
            Self::Claim(Handle { volume, .. }) | Self::Lent { volume, .. } => *volume,
        }
    }
}

/// A volume that shall be seen at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublishRequest {
    /// Which.
    pub volume: Wanted,
    /// The namespace of the pod, where that is known: it sees nothing of another one.
    pub namespace: Option<String>,
    /// Where: a folder, or for a block device an empty file. Made when it is not there.
    pub target: PathBuf,
    /// What it is asked for as.
    pub format: VolumeFormat,
    /// The pod cannot write. To a block device it can: what it may do there, its container says.
    pub readonly: bool,
    /// What else of the pod's mount is restricted; not of a block device.
    pub options: Vec<MountOption>,
    /// The SELinux context of its files; absent: their labels, or what others have asked for. Not of a block device.
    pub context: Option<SelinuxContext>,
    /// Only one target at a time may show it.
    pub exclusive: bool,
}

/// A path at which a volume shall not be seen any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnpublishRequest {
    /// Which was there.
    pub volume: VolumeRef,
    /// Where.
    pub target: PathBuf,
}

/// How full a volume is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Usage {
    /// One with files.
    Files(FsUsage),
    /// Bytes of a block device: what is used of them, its user knows.
    Device(u64),
}

/// Whether a mount is this private one, or the same one once more: the container sees it below the host's root, too,
/// and there it comes and goes with the first.
pub(super) fn is_private(target: &Path, private: &Path) -> bool {
    target.ends_with(private.strip_prefix("/").unwrap_or(private))
}

impl<Z: Zfs, M: Mount> Ops<Z, M> {
    /// Resolves the handle and binds the volume to the target.
    ///
    /// # Errors
    /// [`Error::NotFound`] when the handle resolves to nothing, as after a deletion; [`Error::Conflict`] when something
    /// else is mounted at the target; [`Error::Invalid`] when the target is a link or has something in it.
    pub async fn publish(&self, request: &PublishRequest) -> Result<(), Error> {
        let pool = self.known_pool()?;
        let (dot, volume) = (request.volume.dot(), request.volume.volume());
        let _guard = self.host.dots.exclusive(dot).await;
        let _target = self.host.targets.exclusive(request.target.clone()).await;
        let head = self
            .head_of(&pool, request.volume, request.namespace.as_deref())
            .await?;
        if request.format != VolumeFormat::Zfs {
            return self.publish_device(&pool, request, head).await;
        }
        let dataset = pool.layout.volume(dot, head, volume);
        let table = self.host.mount_table().await?;
        let private = self.host.private_dir(head, volume);
        check_alone(request, &table, (dot, head, volume), &private)?;
        if let Some(entry) = table.at(&request.target) {
            if entry.fs_type != "zfs" || entry.source != dataset.as_str() {
                return Err(other_source(&request.target, &entry.source, dataset.as_str()));
            }
            check_context(request, entry)?;
            return self.host.change_bind(entry, request).await;
        }
        self.ensure_private(&pool, &table, &dataset, (&private, request))
            .await?;
        self.host
            .mount
            .make_dir(&request.target)
            .await
            .map_err(|error| Error::mount("making the target", &error))?;
        self.host
            .mount
            .bind(&private, &request.target, request.readonly, &request.options)
            .await
            .map_err(|error| Error::mount("mounting for the pod", &error))?;
        self.host.note_users();
        self.verify_target(&request.target, &dataset, request.readonly).await
    }

    async fn ensure_private(
        &self,
        pool: &KnownPool,
        table: &MountTable,
        dataset: &DatasetName,
        (private, request): (&Path, &PublishRequest),
    ) -> Result<(), Error> {
        if let Some(entry) = table.at(private) {
            if entry.fs_type == "zfs" && entry.source == dataset.as_str() {
                return check_context(request, entry);
            }
            self.check_native(pool, dataset).await?;
            return Err(other_source(private, &entry.source, dataset.as_str()));
        }
        self.host
            .mount
            .make_dir(private)
            .await
            .map_err(|error| Error::mount("making the folder of a mount", &error))?;
        let mount = ZfsMount {
            source: dataset.to_string(),
            target: private.to_owned(),
            readonly: false,
            context: request.context.clone(),
        };
        let mounted = self.host.mount.mount_zfs(&mount).await;
        if mounted.is_err() {
            self.check_native(pool, dataset).await?;
        }
        match mounted {
            Ok(()) => Ok(()),
            Err(error) if error.kind == MountErrorKind::NotFound => {
                Err(self.absent_dataset(pool, dataset, &error).await)
            }
            Err(error) => Err(Error::mount(&format!("mounting {dataset}"), &error)),
        }
    }

    /// Whether the volume is what a filesystem of ZFS can be mounted of: looked at when one cannot.
    async fn check_native(&self, pool: &KnownPool, dataset: &DatasetName) -> Result<(), Error> {
        let Some(volume) = parse_volume_dataset(dataset.as_str()) else {
            return Ok(());
        };
        let record = self.volume_record(pool, volume).await?;
        match record.format {
            VolumeFormat::Zfs => Ok(()),
            VolumeFormat::Ext4 | VolumeFormat::Xfs | VolumeFormat::Block => {
                Err(devices::other_format(&record, VolumeFormat::Zfs))
            }
        }
    }

    /// The kernel says "not found" also when a pool is away: only ZFS knows.
    async fn absent_dataset(
        &self,
        pool: &KnownPool,
        dataset: &DatasetName,
        error: &dotmesh_mount::MountError,
    ) -> Error {
        match self.host.zfs.written(dataset, None).await {
            Ok(_) => Error::mount(&format!("mounting {dataset}"), error),
            Err(error) => {
                self.failed(pool, &format!("looking at {dataset}"), dataset.as_str(), &error)
                    .await
            }
        }
    }

    async fn verify_target(&self, target: &Path, dataset: &DatasetName, readonly: bool) -> Result<(), Error> {
        let table = self.host.mount_table().await?;
        match table.at(target) {
            Some(entry) if entry.source == dataset.as_str() && entry.readonly == readonly => Ok(()),
            Some(entry) => Err(other_source(target, &entry.source, dataset.as_str())),
            None => Err(Error::Internal(format!(
                "nothing is mounted at {} after mounting",
                target.display()
            ))),
        }
    }

    /// The format of the volume of a living Dot that the handle resolves to.
    ///
    /// # Errors
    /// [`Error::NotFound`] when there is none; those of the pool.
    pub async fn format_of(&self, handle: Handle) -> Result<VolumeFormat, Error> {
        let pool = self.known_pool()?;
        let _guard = self.host.dots.shared(handle.dot).await;
        let head = self.head_of(&pool, Wanted::Claim(handle), None).await?;
        let record = self.volume_record(&pool, (handle.dot, head, handle.volume)).await?;
        Ok(record.format)
    }

    /// The head that the handle's claim is shown now.
    ///
    /// # Errors
    /// [`Error::NotFound`] when there is none; those of the pool.
    pub async fn head_shown(&self, handle: Handle) -> Result<HeadId, Error> {
        let pool = self.known_pool()?;
        let _guard = self.host.dots.shared(handle.dot).await;
        self.head_of(&pool, Wanted::Claim(handle), None).await
    }

    /// The head whose volume is meant now. The caller has the Dot's lock. A copy in memory is enough to find it; that
    /// there is none is told from the disk.
    async fn head_of(&self, pool: &KnownPool, wanted: Wanted, namespace: Option<&str>) -> Result<HeadId, Error> {
        let resolve = |state: &DotState| {
            check_namespace(state, wanted, namespace)?;
            resolve(state, wanted)
        };
        let copy = self.cache.dot(wanted.dot()).filter(|state| !state.deleted);
        if let Some(head) = copy.and_then(|state| resolve(&state).ok()) {
            return Ok(head);
        }
        match self.living_dot(pool, wanted.dot()).await {
            Ok(state) => resolve(&state),
            Err(Error::Deleted(text)) => Err(Error::NotFound(text)),
            Err(error) => Err(error),
        }
    }
}

/// What needs no pool: where a volume is mounted, the mount table says.
impl<Z: Zfs, M: Mount> Host<Z, M> {
    /// Takes the volume away from the target and removes its folder; the private mount goes with the last target.
    ///
    /// # Errors
    /// [`Error::Conflict`] when something else is mounted there, [`Error::InUse`] when a process holds it.
    pub async fn unpublish(&self, request: &UnpublishRequest) -> Result<(), Error> {
        let UnpublishRequest { volume, target } = request;
        let wanted = match volume {
            VolumeRef::Claim(handle) => Some((handle.dot, handle.volume)),
            VolumeRef::Inline => self.shown_at(target).await?,
        };
        let _guard = match wanted {
            Some((dot, _)) => Some(self.dots.exclusive(dot).await),
            None => None,
        };
        let _target = self.targets.exclusive(target.clone()).await;
        let mut source = None;
        loop {
            let table = self.mount_table().await?;
            let Some(entry) = table.at(target) else { break };
            let found = shown(entry).map(|(found, _)| found);
            let Some(found) = found.filter(|(dot, _, volume)| Some((*dot, *volume)) == wanted) else {
                let wanted = wanted.map_or_else(
                    || "a volume of this driver".to_owned(),
                    |(_, volume)| format!("volume {volume}"),
                );
                return Err(other_source(target, &entry.source, &wanted));
            };
            source = Some(found);
            self.unmount(target).await?;
            self.note_users();
        }
        let removed = match self.mount.remove_dir(target).await {
            // That of a block device: an empty file.
            Err(error) if error.kind == MountErrorKind::NotADirectory => self.mount.remove_file(target).await,
            removed => removed,
        };
        removed.map_err(|error| Error::mount("removing the target", &error))?;
        match (source, wanted) {
            (Some(found), _) => self.drop_unused_private(found).await,
            (None, Some((dot, volume))) => self.drop_unused_privates(dot, volume).await,
            // Of which volume it was nobody knows any more: the collector finds its private mount.
            (None, None) => Ok(()),
        }
    }

    /// Which volume is seen at a path.
    async fn shown_at(&self, target: &Path) -> Result<Option<(DotId, VolumeId)>, Error> {
        let table = self.mount_table().await?;
        let found = table.at(target).and_then(shown);
        Ok(found.map(|((dot, _, volume), _)| (dot, volume)))
    }

    /// Makes a target that shows the volume already as it is asked for.
    async fn change_bind(&self, entry: &MountEntry, request: &PublishRequest) -> Result<(), Error> {
        if entry.readonly != request.readonly {
            let changed = self.mount.remount_bind(&request.target, request.readonly).await;
            changed.map_err(|error| Error::mount("changing the pod's mount", &error))?;
        }
        match request.options.iter().find(|option| !entry.has(**option)) {
            None => Ok(()),
            Some(option) => Err(Error::Conflict(format!(
                "{} is mounted without {option}; nothing was changed there",
                request.target.display()
            ))),
        }
    }

    /// An unmount that does not answer is made lazy: it is out of sight at once.
    async fn unmount(&self, target: &Path) -> Result<(), Error> {
        let result = match self.mount.unmount(target, false).await {
            Err(error) if error.kind == MountErrorKind::Timeout => self.mount.unmount(target, true).await,
            result => result,
        };
        match result {
            Ok(()) => Ok(()),
            Err(error) if error.kind == MountErrorKind::NotMounted => Ok(()),
            Err(error) => Err(Error::mount("unmounting", &error)),
        }
    }

    /// After an unpublish that was interrupted between target and private mount: all private mounts of the volume that
    /// no pod uses.
    async fn drop_unused_privates(&self, dot: DotId, volume: VolumeId) -> Result<(), Error> {
        let table = self.mount_table().await?;
        let folder = self.config.state_dir.join("mounts");
        let mut found = Vec::new();
        for entry in table.below(&folder) {
            if let Some((shown @ (its_dot, _, its_volume), _)) = shown(entry)
                && (its_dot, its_volume) == (dot, volume)
            {
                found.push(shown);
            }
        }
        for shown in found {
            self.drop_unused_private(shown).await?;
        }
        Ok(())
    }

    async fn drop_unused_private(&self, volume: Shown) -> Result<(), Error> {
        let (_, head, id) = volume;
        let private = self.private_dir(head, id);
        let table = self.mount_table().await?;
        let mut mounts = table.iter().filter_map(|entry| Some((entry, shown(entry)?)));
        if mounts.any(|(entry, (found, _))| found == volume && !is_private(&entry.target, &private)) {
            return Ok(());
        }
        if table.at(&private).is_some() {
            match self.drop_private(&private).await {
                // The pod's mount is gone, which is what was asked for; the collector or the next unpublish tries again.
                Err(Error::InUse(text)) => {
                    tracing::info!(text, "a private mount stays");
                    return Ok(());
                }
                result => result?,
            }
        }
        self.forget_device(volume).await
    }

    /// Unmounts a private mount and removes its folders.
    pub(super) async fn drop_private(&self, private: &Path) -> Result<(), Error> {
        self.unmount(private).await?;
        let doing = "removing the folder of a mount";
        match self.mount.remove_dir(private).await {
            Ok(()) => {}
            // It may be a mount point in another namespace, too: removing it unmounts that, and a filesystem of a suspended
            // pool does not answer. The kernel goes on with it, and what was asked for is done.
            Err(error) if error.kind == MountErrorKind::Timeout => {
                tracing::warn!(%error, "the folder of a mount goes later");
                return Ok(());
            }
            Err(error) => return Err(Error::mount(doing, &error)),
        }
        let Some(of_head) = private.parent() else { return Ok(()) };
        match self.mount.remove_dir(of_head).await {
            Ok(()) => Ok(()),
            // Other volumes of the head are still mounted below it.
            Err(error) if matches!(error.kind, MountErrorKind::NotEmpty | MountErrorKind::Busy) => Ok(()),
            Err(error) => Err(Error::mount(doing, &error)),
        }
    }

    /// How full the volume at this path is.
    ///
    /// # Errors
    /// [`Error::NotFound`] when that volume is not mounted there.
    pub async fn volume_usage(&self, volume: VolumeRef, path: &Path) -> Result<Usage, Error> {
        let table = self.mount_table().await?;
        let shown = table.at(path).and_then(shown);
        let shown = shown.filter(|((dot, _, found), _)| match volume {
            VolumeRef::Claim(handle) => (*dot, *found) == (handle.dot, handle.volume),
            VolumeRef::Inline => true,
        });
        let usage = match shown {
            None => {
                let volume = match volume {
                    VolumeRef::Claim(handle) => format!("volume {}", handle.volume),
                    VolumeRef::Inline => "the inline volume".to_owned(),
                };
                let path = path.display();
                return Err(Error::NotFound(format!("{volume} is not mounted at {path}")));
            }
            Some((_, Form::Device)) => self.mount.device_bytes(path).await.map(Usage::Device),
            Some((_, Form::Zfs | Form::Filesystem)) => self.mount.statfs(path).await.map(Usage::Files),
        };
        usage.map_err(|error| Error::mount("asking how full the volume is", &error))
    }
}

/// Whether the volume's files have the context that is asked for. All mounts of a filesystem have one: that of the first
/// pod, until the last has gone.
fn check_context(request: &PublishRequest, there: &MountEntry) -> Result<(), Error> {
    let Some(wanted) = &request.context else {
        return Ok(());
    };
    let volume = request.volume.volume();
    match &there.context {
        Some(found) if found == wanted => Ok(()),
        Some(found) => Err(Error::InUse(format!(
            "volume {volume} is mounted with the SELinux context {found} for other pods, and this one asks for {wanted}: pods that \
             share a volume share seLinuxOptions"
        ))),
        None => Err(Error::InUse(format!(
            "volume {volume} is mounted without an SELinux context for other pods, and this one asks for {wanted}"
        ))),
    }
}

/// Whether nobody else has the volume mounted, where that is asked for: `SINGLE_NODE_SINGLE_WRITER` is "at one target path".
fn check_alone(request: &PublishRequest, table: &MountTable, volume: Shown, private: &Path) -> Result<(), Error> {
    let is_other = |entry: &MountEntry| {
        let target = &entry.target;
        shown(entry).is_some_and(|(found, _)| found == volume)
            && !is_private(target, private)
            && !is_private(target, &request.target)
    };
    match table.iter().find(|entry| request.exclusive && is_other(entry)) {
        None => Ok(()),
        Some(other) => Err(Error::InUse(format!(
            "volume {} is mounted at {}, and its access mode allows one pod at a time",
            volume.2,
            other.target.display()
        ))),
    }
}

/// The head whose volume is meant now.
fn resolve(state: &DotState, wanted: Wanted) -> Result<HeadId, Error> {
    let branch = match wanted {
        Wanted::Claim(handle) => branch_of(state, handle)?,
        Wanted::Lent { branch, .. } => branch,
    };
    let head = state.live_head(branch);
    head.ok_or_else(|| Error::NotFound(format!("branch {branch} of Dot {} has no head", wanted.dot())))
}

/// A PersistentVolume is the cluster's, and somebody may have written anybody's handle into one.
fn check_namespace(state: &DotState, wanted: Wanted, namespace: Option<&str>) -> Result<(), Error> {
    let has = state.identity.as_ref().map(|identity| identity.namespace.as_str());
    let has = has.filter(|has| !has.is_empty());
    match has.zip(namespace).filter(|(has, asked)| has != asked) {
        None => Ok(()),
        Some((has, asked)) => Err(Error::Invalid(format!(
            "Dot {} is of namespace {has}, and the pod of another namespace, {asked}: its PersistentVolume has a handle that was \
             not made for it",
            wanted.dot()
        ))),
    }
}

/// The branch that a claim follows.
fn branch_of(state: &DotState, handle: Handle) -> Result<BranchId, Error> {
    let Handle { dot, volume, claim } = handle;
    let attachment = state.claims.get(&claim);
    let Some(attachment) = attachment.filter(|attachment| attachment.volume == volume) else {
        let why = format!("claim {claim} is not attached to volume {volume} of Dot {dot}");
        return Err(Error::NotFound(why));
    };
    match attachment.follows {
        Follows::Branch(branch) => Ok(branch),
        Follows::Checkout => state
            .checkout
            .ok_or_else(|| Error::NotFound(format!("Dot {dot} has no branch checked out"))),
    }
}

fn other_source(target: &Path, found: &str, wanted: &str) -> Error {
    let target = target.display();
    Error::Conflict(match found == wanted {
        true => format!("{target} shows {found} in another form than is asked for; nothing was changed there"),
        false => format!("{target} shows {found}, not {wanted}; nothing was changed there"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_private_mount_is_known_below_the_hosts_root_too() {
        let private = Path::new("/var/lib/dotmesh/mounts/h/v");
        assert!(is_private(private, private));
        assert!(is_private(Path::new("/host/var/lib/dotmesh/mounts/h/v"), private));
        assert!(!is_private(Path::new("/host/var/lib/dotmesh/mounts/h/other"), private));
        assert!(!is_private(Path::new("/var/lib/kubelet/pods/p/volumes/v"), private));
    }
}
