//! Kind Commit: all volumes of one branch at one instant.

use std::collections::BTreeMap;

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::condition::Condition;

/// What a person asks of a Commit. All of it but `publish` is decided at creation.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Debug, Clone, Default, PartialEq)]
#[kube(
    group = "dotmesh.io",
    version = "v1alpha1",
    kind = "Commit",
    namespaced,
    status = "CommitStatus",
    category = "dotmesh",
    selectable = ".spec.dot",
    selectable = ".status.node",
    doc = "A Commit is an atomic, crash-consistent snapshot of all volumes of a branch at one instant, taken without stopping anything. It never changes.",
    printcolumn(name = "Dot", type_ = "string", json_path = ".spec.dot"),
    printcolumn(name = "Branch", type_ = "string", json_path = ".status.branch"),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status"),
    printcolumn(name = "Message", type_ = "string", json_path = ".spec.message"),
    printcolumn(name = "Reason", type_ = "string", priority = "1", json_path = ".status.conditions[?(@.type==\"Ready\")].reason"),
    printcolumn(name = "Id", type_ = "string", priority = "1", json_path = ".status.id"),
    printcolumn(name = "Parent", type_ = "string", priority = "1", json_path = ".status.parent"),
    printcolumn(name = "Committer", type_ = "string", priority = "1", json_path = ".spec.committer"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    validation = Rule::new("self.metadata.name.size() <= 63 && self.metadata.name.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')")
        .message("a Commit's name has at most 63 lower-case letters, digits and '-'"),
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("self.dot == oldSelf.dot && has(self.branch) == has(oldSelf.branch) && (!has(self.branch) || !has(oldSelf.branch) || self.branch == oldSelf.branch)")
        .message("a Commit cannot be changed; make another one"),
    validation = Rule::new("has(self.message) == has(oldSelf.message) && (!has(self.message) || !has(oldSelf.message) || self.message == oldSelf.message)")
        .message("a Commit cannot be changed; make another one"),
    validation = Rule::new("has(self.author) == has(oldSelf.author) && (!has(self.author) || !has(oldSelf.author) || self.author == oldSelf.author)")
        .message("a Commit cannot be changed; make another one"),
    validation = Rule::new("has(self.committer) == has(oldSelf.committer) && (!has(self.committer) || !has(oldSelf.committer) || self.committer == oldSelf.committer)")
        .message("a Commit cannot be changed; make another one"),
    validation = Rule::new("has(self.metadata) == has(oldSelf.metadata) && (!has(self.metadata) || !has(oldSelf.metadata) || self.metadata == oldSelf.metadata)")
        .message("a Commit cannot be changed; make another one"),
    validation = Rule::new("has(self.group) == has(oldSelf.group) && (!has(self.group) || !has(oldSelf.group) || self.group == oldSelf.group)")
        .message("a Commit cannot be changed; make another one"),
)]
pub struct CommitSpec {
    /// The Dot, by the name of its object in the same namespace.
    #[schemars(length(min = 1, max = 55))]
    #[x_kube(
        validation = Rule::new("self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')").message("dot is the name of a Dot object")
    )]
    pub dot: String,
    /// The branch to commit, by its name within the Dot. Absent: the one that is checked out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 200))]
    pub branch: Option<String>,
    /// What this state is, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16384))]
    pub message: Option<String>,
    /// Who made it, as in git: what people claim, for example "Ada <ada@example.com>".
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub author: Option<String>,
    /// Who asked the API server for it, as in git: the user name under which that knows them. The server writes it;
    /// what people write here is overwritten, or refused where the server cannot (before Kubernetes 1.36).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub committer: Option<String>,
    /// Anything else worth remembering with it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 256))]
    #[x_kube(
        validation = Rule::new("self.all(key, key.size() >= 1 && key.size() <= 253)").message("metadata's keys have 1 to 253 characters")
    )]
    pub metadata: BTreeMap<String, MetadataValue>,
    /// Commits of other branches or Dots that are to be of the same instant. They are taken when all are there, all of
    /// them or none; their Dots must lie on one pool.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<Group>,
    /// Whether there is a VolumeSnapshot of each of its volumes, `<commit>.<volume>`, for what knows those and not Commits.
    /// It can be changed at any time, and needs csi-snapshotter.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub publish: bool,
}

/// Commits of one instant: those of the namespace that say the same here.
#[derive(KubeSchema, Serialize, Deserialize, Debug, Clone, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Group {
    /// The group's name.
    #[schemars(length(min = 1, max = 63))]
    #[x_kube(
        validation = Rule::new("self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')").message("a group's name has at most 63 lower-case letters, digits and '-'")
    )]
    pub name: String,
    /// How many Commits it has.
    #[x_kube(validation = Rule::new("self >= 2 && self <= 100").message("a group has 2 to 100 members"))]
    pub members: i32,
}

/// A value of a Commit's metadata.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, Default, PartialEq)]
#[serde(transparent)]
pub struct MetadataValue(#[schemars(length(max = 4096))] pub String);

/// What the operator last saw and did.
#[derive(KubeSchema, Serialize, Deserialize, Debug, Clone, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct CommitStatus {
    /// The generation of the spec that this status answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Identifies the Commit for ever and on every cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// The branch that was committed, by its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub branch: Option<String>,
    /// The head that the snapshots are of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub head: Option<String>,
    /// The node whose pool holds the snapshots.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// The Commits that were taken with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<CommitGroup>,
    /// Id of the commit before this one; absent: there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<String>,
    /// The instant of the snapshots (RFC 3339).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time: Option<String>,
    /// The pool's transaction group of the snapshots; orders the commits of one head.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub createtxg: Option<i64>,
    /// The volumes, each with its snapshot.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".to_owned()]))]
    pub volumes: Vec<CommitVolume>,
    /// `Ready`, with the reason and a message for people; and `Published`, of one that is to be.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".to_owned()]))]
    pub conditions: Vec<Condition>,
}

/// Commits that were taken at one instant.
#[derive(KubeSchema, Serialize, Deserialize, Debug, Clone, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct CommitGroup {
    /// The group's name.
    pub name: String,
    /// All of them, this one too, by the names of their objects.
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".to_owned()]))]
    pub commits: Vec<GroupMember>,
}

/// A Commit of a group.
#[derive(KubeSchema, Serialize, Deserialize, Debug, Clone, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct GroupMember {
    /// The name of the Commit's object.
    pub name: String,
    /// The Commit's id, which identifies it for ever.
    pub id: String,
    /// The name of the object of the Commit's Dot.
    pub dot: String,
}

/// A volume's snapshot.
#[derive(KubeSchema, Serialize, Deserialize, Debug, Clone, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct CommitVolume {
    /// The volume's name.
    pub name: String,
    /// The volume's id.
    pub id: String,
    /// GUID of the snapshot, decimal. It never changes.
    pub guid: String,
    /// Data reachable through the snapshot, in bytes.
    pub referenced_bytes: i64,
    /// Data written since the snapshot before it, in bytes.
    pub written_bytes: i64,
}
