//! Kind Dot: a repository of live data, one or more volumes that pods mount.

use dotmesh_model::format::VolumeFormat;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::condition::Condition;
use crate::format::{FsType, VolumeMode, format_of};
use crate::names::DEFAULT_CLASS;
use crate::pool::default_class;
use crate::zfs::ZfsProperties;

/// What a person asks of the Dot. Claims may add to it; the operator never writes here.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Debug, Clone, Default, PartialEq)]
#[kube(
    group = "dotmesh.io",
    version = "v1alpha1",
    kind = "Dot",
    namespaced,
    status = "DotStatus",
    category = "dotmesh",
    selectable = ".status.id",
    doc = "A Dot is a repository of live data: one or more volumes that pods mount, with commits and branches. It lies on one node's pool.",
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].reason"),
    printcolumn(name = "Node", type_ = "string", json_path = ".status.node"),
    printcolumn(name = "Pool", type_ = "string", priority = "1", json_path = ".status.pool"),
    printcolumn(name = "Checkout", type_ = "string", json_path = ".status.checkout"),
    printcolumn(name = "Claim", type_ = "string", priority = "1", json_path = ".metadata.annotations.dotmesh\\.io/claim"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    validation = Rule::new("self.metadata.name.size() <= 55 && self.metadata.name.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')")
        .message("a Dot's name has at most 55 lower-case letters, digits and '-'"),
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("(has(self.placement) ? self.placement.poolClass : 'default') == (has(oldSelf.placement) ? oldSelf.placement.poolClass : 'default')")
        .message("a Dot's pool class cannot be changed"),
    validation = Rule::new("!has(self.restoreFrom) || !has(self.volumes) || self.volumes.all(volume, !has(volume.importFrom))")
        .message("a Dot with restoreFrom has data already: its volumes cannot have importFrom"),
    validation = Rule::new("!has(self.volumes) || self.volumes.all(volume, !has(volume.importFrom) || (has(oldSelf.volumes) && oldSelf.volumes.exists(before, before.name == volume.name && has(before.importFrom))))")
        .message("a volume's importFrom is decided when the Dot is made"),
    validation = Rule::new("has(self.restoreFrom) == has(oldSelf.restoreFrom) && (!has(self.restoreFrom) || !has(oldSelf.restoreFrom) || self.restoreFrom == oldSelf.restoreFrom)")
        .message("restoreFrom is decided when the Dot is made")
)]
pub struct DotSpec {
    /// The Dot's volumes. Given, the list is closed: a claim that names another volume stays Pending.
    /// Absent, each claim adds the volume it names. A volume that is taken off the list keeps its data.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 100))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".to_owned()]))]
    pub volumes: Option<Vec<DotVolume>>,
    /// Where the Dot's data is put. It cannot be changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub placement: Option<DotPlacement>,
    /// What becomes of the data when the Dot is deleted. Delete: it can come back for the installation's grace period, as
    /// a Remnant. Retain: the Remnant stays until somebody deletes it.
    #[serde(default)]
    pub deletion_policy: DeletionPolicy,
    /// The id of a Remnant of this namespace, whose data becomes this Dot's, with all branches and commits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 36, max = 36))]
    #[x_kube(
        validation = Rule::new("self.matches('^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$')")
            .message("restoreFrom is the whole id of a Remnant: kubectl get remnants")
    )]
    pub restore_from: Option<String>,
    /// Whether each of its Commits is published, as if that said so itself. Not those that a VolumeSnapshot made, or the
    /// clone of a claim.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub publish: bool,
}

/// Where a Dot's data is put.
#[derive(KubeSchema, Serialize, Deserialize, Debug, Clone, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct DotPlacement {
    /// The class of the Pool that the data lies on, of whatever node that is. A node without a Pool of this class cannot
    /// hold the Dot.
    #[serde(default = "default_class")]
    #[schemars(length(min = 1, max = 56))]
    #[x_kube(
        validation = Rule::new("self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')")
            .message("a pool's class has lower-case letters, digits and '-', and neither begins nor ends with '-'")
    )]
    pub pool_class: String,
}

impl DotSpec {
    /// The class of the Pool that the Dot's data lies on.
    #[must_use]
    pub fn pool_class(&self) -> &str {
        self.placement
            .as_ref()
            .map_or(DEFAULT_CLASS, |placement| &placement.pool_class)
    }
}

/// What becomes of data when its object is deleted.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum DeletionPolicy {
    /// It is destroyed after the grace period.
    #[default]
    Delete,
    /// It stays until somebody deletes its Remnant.
    Retain,
}

/// One volume of a Dot.
#[derive(KubeSchema, Serialize, Deserialize, Debug, Clone, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!has(self.fsType) || !has(self.volumeMode) || self.volumeMode != 'Block'")
        .message("fsType is for volumeMode Filesystem: a block device has no filesystem"),
    validation = Rule::new("(has(self.volumeMode) ? self.volumeMode : 'Filesystem') == (has(oldSelf.volumeMode) ? oldSelf.volumeMode : 'Filesystem') && (has(self.fsType) ? self.fsType : 'zfs') == (has(oldSelf.fsType) ? oldSelf.fsType : 'zfs')")
        .message("a volume's volumeMode and fsType cannot be changed"),
    validation = Rule::new("!has(self.zfs) || !has(self.zfs.compression) || self.zfs.compression.matches('^(off|on|lz4|zle|gzip(-[1-9])?|zstd(-([1-9]|1[0-9]))?)$')")
        .message("zfs.compression is one of off, on, lz4, zle, gzip, gzip-1 to gzip-9, zstd, zstd-1 to zstd-19"),
    validation = Rule::new("!has(self.zfs) || !has(self.zfs.recordsize) || self.zfs.recordsize.matches('^(512|(1|2|4|8|16|32|64|128|256|512)Ki|1Mi)$')")
        .message("zfs.recordsize is a power of two from 512 to 1Mi, for example 16Ki"),
    validation = Rule::new("!has(self.zfs) || !has(self.zfs.volblocksize) || self.zfs.volblocksize.matches('^(4|8|16|32|64|128)Ki$')")
        .message("zfs.volblocksize is a power of two from 4Ki to 128Ki, for example 16Ki"),
    validation = Rule::new("!has(self.zfs) || !has(self.zfs.sync) || self.zfs.sync in ['standard', 'always', 'disabled']")
        .message("zfs.sync is one of standard, always and disabled"),
    validation = Rule::new("!has(self.zfs) || !has(self.zfs.recordsize) || ((!has(self.volumeMode) || self.volumeMode == 'Filesystem') && (!has(self.fsType) || self.fsType == 'zfs'))")
        .message("zfs.recordsize is for volumes of fsType zfs"),
    validation = Rule::new("!has(self.zfs) || !(has(self.zfs.volblocksize) || has(self.zfs.thin)) || (has(self.volumeMode) && self.volumeMode == 'Block') || (has(self.fsType) && self.fsType != 'zfs')")
        .message("zfs.volblocksize and zfs.thin are for fsType ext4 and xfs and for volumeMode Block"),
    validation = Rule::new("!has(self.importFrom) || !has(self.importFrom.persistentVolumeClaim) || !has(self.volumeMode) || self.volumeMode == 'Filesystem'")
        .message("importFrom.persistentVolumeClaim copies files: it is for volumeMode Filesystem"),
    validation = Rule::new("has(self.importFrom) == has(oldSelf.importFrom) && (!has(self.importFrom) || !has(oldSelf.importFrom) || self.importFrom == oldSelf.importFrom)")
        .message("a volume's importFrom cannot be changed"),
    validation = Rule::new("(has(self.zfs) && has(self.zfs.volblocksize) ? self.zfs.volblocksize : '') == (has(oldSelf.zfs) && has(oldSelf.zfs.volblocksize) ? oldSelf.zfs.volblocksize : '')")
        .message("a volume's zfs.volblocksize cannot be changed")
)]
pub struct DotVolume {
    /// The volume's name, a DNS label.
    #[schemars(length(min = 1, max = 63))]
    #[x_kube(
        validation = Rule::new("self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')")
            .message("a volume's name has lower-case letters, digits and '-', and neither begins nor ends with '-'")
    )]
    pub name: String,
    /// How much the volume can hold, for example 10Gi; at least 1Mi. It can grow, not shrink.
    #[schemars(length(min = 1, max = 32))]
    #[x_kube(
        validation = Rule::new("isQuantity(self) && quantity(self).compareTo(quantity('1Mi')) >= 0")
            .message("a volume's size is a quantity of at least 1Mi, for example 10Gi"),
        validation = Rule::new("!isQuantity(self) || !isQuantity(oldSelf) || quantity(self).compareTo(quantity(oldSelf)) >= 0")
            .message("a volume cannot shrink")
    )]
    pub size: String,
    /// Whether pods get files or a block device. It is decided when the volume is made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub volume_mode: Option<VolumeMode>,
    /// The filesystem that files are in; zfs unless it is said. It is decided when the volume is made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fs_type: Option<FsType>,
    /// How ZFS keeps its data. compression, recordsize, sync and thin can be changed; the volume has them on all branches from then on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zfs: Option<ZfsProperties>,
    /// What the volume begins with; absent: empty. It is decided when the Dot is made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub import_from: Option<VolumeImport>,
}

/// What a volume begins with: one of these.
#[derive(KubeSchema, Serialize, Deserialize, Debug, Clone, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("[has(self.persistentVolumeClaim), has(self.zfsSnapshot), has(self.commit)].exists_one(one, one)")
        .message("importFrom has one of persistentVolumeClaim, zfsSnapshot and commit")
)]
pub struct VolumeImport {
    /// The claim of the Dot's namespace, of any driver, whose files are copied into the volume while no pod uses it. It
    /// stays as it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(
        validation = Rule::new("self.matches('^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$')")
            .message("persistentVolumeClaim is the name of a claim of this namespace")
    )]
    pub persistent_volume_claim: Option<String>,
    /// A snapshot of a dataset that is not Dotmesh's, on the pool where the Dot comes to lie: the volume is a clone of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zfs_snapshot: Option<ZfsSnapshot>,
    /// A Commit of another Dot of this namespace: the volume is a clone of one in it, and the Dot lies where that does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<CommitVolumeRef>,
}

/// A volume in a Commit of the same namespace.
#[derive(KubeSchema, Serialize, Deserialize, Debug, Clone, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct CommitVolumeRef {
    /// The name of the Commit.
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(
        validation = Rule::new("self.matches('^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$')")
            .message("name is the name of a Commit of this namespace")
    )]
    pub name: String,
    /// The name of the volume in it; absent: the one that is called like this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    #[x_kube(
        validation = Rule::new("self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')")
            .message("volume is the name of a volume of the Commit")
    )]
    pub volume: Option<String>,
}

/// A snapshot of a dataset that is not Dotmesh's. Whoever manages the node has said of it which volume may have it.
#[derive(KubeSchema, Serialize, Deserialize, Debug, Clone, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ZfsSnapshot {
    /// The Pool that it is on, and the Dot will be: kubectl get pools.
    #[schemars(length(min = 1, max = 253))]
    pub pool: String,
    /// Its whole name, as `zfs list -t snapshot` shows it, for example tank/data@now.
    #[schemars(length(min = 3, max = 255))]
    #[x_kube(
        validation = Rule::new("self.matches('^[a-zA-Z][-a-zA-Z0-9_.:/ ]*@[-a-zA-Z0-9_.: ]+$')")
            .message("name is the whole name of a snapshot, for example tank/data@now")
    )]
    pub name: String,
}

impl VolumeImport {
    /// What it is, for people.
    #[must_use]
    pub fn describe(&self) -> String {
        let Self {
            persistent_volume_claim,
            zfs_snapshot,
            commit,
        } = self;
        match (persistent_volume_claim, zfs_snapshot, commit) {
            (Some(claim), ..) => format!("claim {claim}"),
            (None, Some(snapshot), _) => format!("snapshot {}", snapshot.name),
            (None, None, Some(commit)) => format!("Commit {}", commit.name),
            (None, None, None) => String::new(),
        }
    }
}

impl DotVolume {
    /// What it is to pods.
    #[must_use]
    pub fn format(&self) -> VolumeFormat {
        format_of(self.volume_mode, self.fs_type)
    }

    /// The claim that it is copied from.
    #[must_use]
    pub fn copied_from(&self) -> Option<&str> {
        self.import_from.as_ref()?.persistent_volume_claim.as_deref()
    }

    /// The snapshot that it is a clone of.
    #[must_use]
    pub fn adopted_from(&self) -> Option<&ZfsSnapshot> {
        self.import_from.as_ref()?.zfs_snapshot.as_ref()
    }

    /// The Commit that it is a clone of a volume of, and the name of that.
    #[must_use]
    pub fn forked_from(&self) -> Option<(&str, &str)> {
        let commit = self.import_from.as_ref()?.commit.as_ref()?;
        Some((&commit.name, commit.volume.as_deref().unwrap_or(&self.name)))
    }
}

/// What the operator last saw and did.
#[derive(KubeSchema, Serialize, Deserialize, Debug, Clone, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct DotStatus {
    /// The generation of the spec that this status answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Identifies the Dot for ever and on every cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// The node whose pool holds the data; the one of the first pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// The Pool that holds the data, once the Dot's dataset is there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<String>,
    /// The branch that claims on the Dot mount.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checkout: Option<String>,
    /// The volumes there are, from the spec and from claims, with the larger of their sizes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".to_owned()]))]
    pub volumes: Vec<DotVolumeStatus>,
    /// The claims that hold volumes of this Dot.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["uid".to_owned()]))]
    pub claims: Vec<DotClaim>,
    /// UIDs of the claims whose volume is ready to be mounted on the node.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub attachments: Vec<String>,
    /// How far the imports of the volumes are.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["volume".to_owned()]))]
    pub imports: Vec<DotImport>,
    /// The Commit object of the automatic initial commit, once it is Ready.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub initial_commit: Option<String>,
    /// `Ready`, with the reason and a message for people.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".to_owned()]))]
    pub conditions: Vec<Condition>,
}

/// A volume as it is.
#[derive(KubeSchema, Serialize, Deserialize, Debug, Clone, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct DotVolumeStatus {
    /// The volume's name.
    #[schemars(length(max = 63))]
    pub name: String,
    /// Identifies the volume for ever and on every cluster.
    #[schemars(length(max = 36))]
    pub id: String,
    /// How much it can hold, in bytes, as a quantity.
    #[schemars(length(max = 32))]
    pub size: String,
    /// Whether pods get files or a block device; absent: files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub volume_mode: Option<VolumeMode>,
    /// The filesystem that files are in; absent: zfs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fs_type: Option<FsType>,
    /// How ZFS keeps its data, as far as that was said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zfs: Option<ZfsProperties>,
    /// The volume in a Commit of another Dot that it began with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<DotVolumeOrigin>,
}

/// What a volume began with.
#[derive(KubeSchema, Serialize, Deserialize, Debug, Clone, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct DotVolumeOrigin {
    /// The name that the Dot had.
    #[schemars(length(max = 253))]
    pub dot: String,
    /// The Dot's id.
    #[schemars(length(max = 36))]
    pub dot_id: String,
    /// The name that the Commit had.
    #[schemars(length(max = 253))]
    pub commit: String,
    /// The Commit's id.
    #[schemars(length(max = 36))]
    pub commit_id: String,
    /// The head that the Commit is of.
    #[schemars(length(max = 36))]
    pub head: String,
    /// The name that the volume has there.
    #[schemars(length(max = 63))]
    pub volume: String,
    /// Its id there.
    #[schemars(length(max = 36))]
    pub volume_id: String,
    /// GUID of its snapshot, decimal.
    #[schemars(length(max = 20))]
    pub guid: String,
    /// It is another kind of device to pods than its original, because a VolumeSnapshotContent allows that.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub converted: bool,
}

impl DotVolumeStatus {
    /// What it is to pods.
    #[must_use]
    pub fn format(&self) -> VolumeFormat {
        format_of(self.volume_mode, self.fs_type)
    }
}

/// The import of a volume.
#[derive(KubeSchema, Serialize, Deserialize, Debug, Clone, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct DotImport {
    /// The volume.
    #[schemars(length(max = 63))]
    pub volume: String,
    /// The claim that it is copied from.
    #[schemars(length(max = 253))]
    pub claim: String,
    /// How far it is.
    pub state: ImportState,
    /// Bytes of files that are in the volume.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes_copied: Option<i64>,
    /// Bytes of all files of the claim, holes left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes_total: Option<i64>,
    /// Files, folders, links and devices that are in the volume.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub files: Option<i64>,
    /// What could not be kept: sockets, devices that may not be made, attributes that only the claim's filesystem knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub skipped: Option<i64>,
    /// When the copy began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_time: Option<Time>,
    /// When all of it was in the volume.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completion_time: Option<Time>,
}

/// How far an import is.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ImportState {
    /// It has not begun.
    #[default]
    Waiting,
    /// Files are being copied.
    Copying,
    /// All is in the volume, and on disk.
    Done,
    /// The copy ended before its end; it is tried again.
    Failed,
}

/// A claim that holds a volume.
#[derive(KubeSchema, Serialize, Deserialize, Debug, Clone, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct DotClaim {
    /// The claim's uid.
    pub uid: String,
    /// The claim's namespace.
    pub namespace: String,
    /// The claim's name.
    pub name: String,
    /// The volume it holds.
    pub volume: String,
    /// How much the claim asks for, as a quantity.
    pub size: String,
    /// The branch it is pinned to (name of the Branch object); absent: it follows the Dot's checkout.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub branch: Option<String>,
    /// The node that the scheduler chose for the claim's first pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selected_node: Option<String>,
    /// The volume's handle was given out, of a Dot or Branch that goes with the claim: a PersistentVolume may exist, and pods may have written.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub provisioned: bool,
    /// Other claims that say the same may hold this volume of this branch as well.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub shared: bool,
    /// Whether its pods get files or a block device; absent: files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub volume_mode: Option<VolumeMode>,
    /// The filesystem that files are in; absent: zfs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fs_type: Option<FsType>,
    /// How its VolumeAttributesClass wants ZFS to keep the data of its volume.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attributes: Option<ZfsProperties>,
    /// How ZFS keeps the data of its volume, if that is made for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zfs: Option<ZfsProperties>,
}

impl DotClaim {
    /// What its volume is to pods.
    #[must_use]
    pub fn format(&self) -> VolumeFormat {
        format_of(self.volume_mode, self.fs_type)
    }
}
