//! Every string that Kubernetes knows us by, once.

/// API group of our kinds.
pub const GROUP: &str = "dotmesh.io";
/// API version of our kinds.
pub const VERSION: &str = "v1alpha1";
/// CSI driver, and the provisioner of our storage classes.
pub const DRIVER: &str = "csi.dotmesh.io";
/// Topology key of volumes: the node whose pool holds the data.
pub const TOPOLOGY_NODE: &str = "topology.dotmesh.io/node";
/// Finalizer on every object of ours that has data behind it.
pub const FINALIZER: &str = "dotmesh.io/protect";
/// Field manager of everything the controllers write.
pub const MANAGER: &str = "dotmesh-operator";
/// Field manager of `status.claims` of Dots.
pub const MANAGER_CLAIMS: &str = "dotmesh-claims";
/// Field manager of the condition `Published` of Commits.
pub const MANAGER_PUBLISH: &str = "dotmesh-publish";
/// Audience of the token that a csi-node pod presents for its certificate.
pub const AUDIENCE_ENROLL: &str = "dotmesh.io/enroll";
/// DNS name in the operator's certificates, by which nodes know their only client.
pub const OPERATOR_IDENTITY: &str = "operator.dotmesh.io";

/// Annotation on a claim without a data source: the Dot it is on, like a `dataSourceRef` to it.
pub const ANNOTATION_DOT: &str = "dotmesh.io/dot";
/// Annotation on a claim without a data source: the Branch object it is pinned to, like a `dataSourceRef` to it.
pub const ANNOTATION_BRANCH: &str = "dotmesh.io/branch";
/// Annotation on a claim: the volume of the Dot it wants.
pub const ANNOTATION_VOLUME: &str = "dotmesh.io/volume";
/// Annotation on a claim, `"true"`: others that say the same may hold its volume as well.
pub const ANNOTATION_SHARED: &str = "dotmesh.io/shared";
/// Label on a Dot or Branch that was made for a claim and goes with it: that claim's uid.
pub const LABEL_CLAIM_UID: &str = "dotmesh.io/claim-uid";
/// Annotation on a Dot or Branch that was made for a claim: that claim's name.
pub const ANNOTATION_CLAIM: &str = "dotmesh.io/claim";
/// Label on a Branch that was made for an inline volume of a pod and goes with it: that pod's uid.
pub const LABEL_POD_UID: &str = "dotmesh.io/pod-uid";
/// Annotation on a Branch that was made for an inline volume of a pod: that pod's name.
pub const ANNOTATION_POD: &str = "dotmesh.io/pod";
/// Attribute of an inline volume: the Commit whose data it shows.
pub const ATTRIBUTE_COMMIT: &str = "dotmesh.io/commit";
/// Attribute of an inline volume: which volume of the Commit.
pub const ATTRIBUTE_VOLUME: &str = "dotmesh.io/volume";
/// Label on objects the operator made by itself (initial commits, default branches).
pub const LABEL_AUTOMATIC: &str = "dotmesh.io/automatic";
/// Label on our objects: the Dot they belong to.
pub const LABEL_DOT: &str = "dotmesh.io/dot";

/// Label on a Commit that is a snapshot of the CSI and goes with it: the uid in the snapshot's name.
pub const LABEL_SNAPSHOT: &str = "dotmesh.io/snapshot";
/// Annotation on such a Commit: the handle of the volume that the snapshot was asked of; of one of a group of snapshots
/// all of its handles, with commas between them.
pub const ANNOTATION_SOURCE: &str = "dotmesh.io/source";
/// Annotation on the first Commit of a group of snapshots of the CSI: which Commits it is to have, as JSON.
pub const ANNOTATION_GROUP: &str = "dotmesh.io/group-snapshot";
/// Annotation on a VolumeSnapshot: the message of its Commit.
pub const ANNOTATION_MESSAGE: &str = "dotmesh.io/message";

/// Label on what is published of a Commit, its VolumeSnapshots and their contents: the uid of the Commit's object.
pub const LABEL_COMMIT_UID: &str = "dotmesh.io/commit-uid";
/// Label on the same: the Commit's name.
pub const LABEL_COMMIT: &str = "dotmesh.io/commit";
/// Kubernetes' own, as snapshot-controller has it: the VolumeSnapshot of a VolumeSnapshotContent goes, or has gone. Without it
/// csi-snapshotter lets go of no content that was bound.
pub const ANNOTATION_SNAPSHOT_GOES: &str = "snapshot.storage.kubernetes.io/volumesnapshot-being-deleted";

/// Label on a claim and a pod that fill a volume: the uid of the Dot whose import they are.
pub const LABEL_IMPORT: &str = "dotmesh.io/import";

/// Annotation on a Commit: the head whose snapshots are being made, recorded before they are.
pub const ANNOTATION_HEAD: &str = "dotmesh.io/head";

/// The class of a Pool that names none, and of what names no Pool's class.
pub const DEFAULT_CLASS: &str = "default";
/// Parameter of a StorageClass: the filesystem of its volumes, as external-provisioner knows it.
pub const PARAMETER_FS_TYPE: &str = "csi.storage.k8s.io/fstype";
/// The parameter of a StorageClass that names a Pool's class.
pub const PARAMETER_POOL_CLASS: &str = "poolClass";
/// Annotation on a Branch or Commit that comes back with its Dot: its id. Its Dot's controller completes it.
pub const ANNOTATION_RESTORED: &str = "dotmesh.io/restored";

/// Annotation on a Pool: the transaction group up to which commits that are missing in it are given up.
pub const ANNOTATION_GIVEN_UP: &str = "dotmesh.io/given-up-until";

/// Kubernetes' own: the node the scheduler chose for a claim's first pod.
pub const ANNOTATION_SELECTED_NODE: &str = "volume.kubernetes.io/selected-node";
/// Kubernetes' own: who provisioned a PersistentVolume.
pub const ANNOTATION_PROVISIONED_BY: &str = "pv.kubernetes.io/provisioned-by";

/// Kubernetes' own, as external-provisioner has it: the driver of which a CSIStorageCapacity tells.
pub const LABEL_CAPACITY_DRIVER: &str = "csi.storage.k8s.io/drivername";
/// Kubernetes' own, as external-provisioner has it: who writes a CSIStorageCapacity.
pub const LABEL_CAPACITY_MANAGER: &str = "csi.storage.k8s.io/managed-by";

/// Longest name of a Dot in characters: the names of its default branch and initial commit are built from it.
pub const MAX_DOT_NAME: usize = 55;

/// Name of the Branch object of a Dot's default branch.
pub fn default_branch_object(dot: &str) -> String {
    format!("{dot}-main")
}

/// Name of the Commit object of a Dot's initial commit.
pub fn initial_commit_object(dot: &str) -> String {
    format!("{dot}-initial")
}

/// Name of the claim and of the pod by which a volume of a Dot is filled.
pub fn import_object(dot: &str, volume: &str) -> String {
    format!("{dot}-import-{volume}")
}

/// Name of the PersistentVolume for a claim, of the Dot that a plain claim gets, and of the Branch that a claim of a
/// Commit gets. As csi-provisioner names volumes.
pub fn volume_object(claim_uid: &str) -> String {
    format!("pvc-{claim_uid}")
}

/// Name of the Commit that is a snapshot of the CSI, by the uid in the snapshot's name.
pub fn snapshot_object(uid: &str) -> String {
    format!("snap-{uid}")
}

/// Name of the Branch of a pod's inline volume, by a uuid made of both, and of the branch it stands for.
pub fn inline_object(id: &str) -> String {
    format!("inline-{id}")
}

const _: () = assert!(MAX_DOT_NAME + "-initial".len() <= 63);
const _: () = assert!("pvc-".len() + 36 <= MAX_DOT_NAME);
