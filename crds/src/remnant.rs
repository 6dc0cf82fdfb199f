//! Kind Remnant: data of a Dot or Branch that was deleted, and that can come back.

use std::collections::BTreeMap;

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::branch::BranchOrigin;
use crate::condition::Condition;
use crate::dot::DotVolumeStatus;
use crate::pool::default_class;

/// What was deleted, who may have it back, and until when. The operator writes it once; what can change of it belongs to people.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Debug, Clone, PartialEq)]
#[kube(
    group = "dotmesh.io",
    version = "v1alpha1",
    kind = "Remnant",
    derive = "PartialEq",
    status = "RemnantStatus",
    category = "dotmesh",
    selectable = ".spec.dot",
    doc = "A Remnant is the data of a Dot or Branch that was deleted: it comes back with an object whose spec.restoreFrom is its id. Deleting the Remnant destroys the data.",
    printcolumn(name = "Kind", type_ = "string", json_path = ".spec.kind"),
    printcolumn(name = "Namespace", type_ = "string", json_path = ".spec.namespace.name"),
    printcolumn(name = "Was", type_ = "string", json_path = ".spec.name"),
    printcolumn(name = "Volumes", type_ = "string", json_path = ".spec.volumes[*].name"),
    printcolumn(name = "Deleted", type_ = "date", json_path = ".spec.deletedAt"),
    printcolumn(name = "Expires", type_ = "string", json_path = ".spec.expiresAt"),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].reason"
    ),
    printcolumn(name = "Id", type_ = "string", json_path = ".spec.id"),
    printcolumn(name = "Node", type_ = "string", priority = "1", json_path = ".spec.node"),
    printcolumn(
        name = "Sizes",
        type_ = "string",
        priority = "1",
        json_path = ".spec.volumes[*].size"
    ),
    validation = Rule::new("self.metadata.name == (self.spec.kind == 'Dot' ? 'dot-' : 'branch-') + self.spec.id")
        .message("a Remnant is named after the kind and the id of what it was: dot-<id>"),
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("self.kind == oldSelf.kind && self.id == oldSelf.id && self.dot == oldSelf.dot && self.name == oldSelf.name && self.uid == oldSelf.uid && self.node == oldSelf.node && self.poolClass == oldSelf.poolClass && has(self.branch) == has(oldSelf.branch) && (!has(self.branch) || !has(oldSelf.branch) || self.branch == oldSelf.branch) && self.deletedAt == oldSelf.deletedAt && has(self.pool) == has(oldSelf.pool) && (!has(self.pool) || !has(oldSelf.pool) || self.pool == oldSelf.pool) && has(self.volumes) == has(oldSelf.volumes) && (!has(self.volumes) || !has(oldSelf.volumes) || self.volumes == oldSelf.volumes)")
        .message("of a Remnant only namespace and expiresAt can be changed"),
    validation = Rule::new("has(self.branch) == (self.kind == 'Branch')").message("spec.branch says what a Branch was")
)]
pub struct RemnantSpec {
    /// What was deleted.
    pub kind: RemnantKind,
    /// The id that spec.restoreFrom names: the status.id of the object that was deleted.
    #[schemars(length(min = 36, max = 36))]
    pub id: String,
    /// The id of the Dot that the data is in; of a Dot its own.
    #[schemars(length(min = 36, max = 36))]
    pub dot: String,
    /// The name of the object that was deleted.
    #[schemars(length(min = 1, max = 63))]
    pub name: String,
    /// The uid of the object that was deleted.
    #[schemars(length(min = 1, max = 64))]
    pub uid: String,
    /// Where an object may take the data over. An administrator hands it to another namespace by changing this.
    pub namespace: RemnantNamespace,
    /// The node whose pool holds the data.
    #[schemars(length(min = 1, max = 253))]
    pub node: String,
    /// The Pool that holds the data.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub pool: Option<String>,
    /// Its class: that of a Dot which takes the data over.
    #[serde(default = "default_class")]
    #[schemars(length(min = 1, max = 56))]
    pub pool_class: String,
    /// Of a Branch what it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub branch: Option<RemnantBranch>,
    /// The volumes, with how much each can hold.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 1000))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".to_owned()]))]
    pub volumes: Vec<DotVolumeStatus>,
    /// When it was deleted (RFC 3339).
    #[schemars(extend("format" = "date-time"))]
    pub deleted_at: String,
    /// When the data is destroyed (RFC 3339). Absent: never, unless somebody deletes the Remnant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "date-time"))]
    pub expires_at: Option<String>,
}

/// What was deleted.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, Copy, PartialEq, Eq)]
pub enum RemnantKind {
    /// A Dot with all its branches and commits.
    Dot,
    /// A Branch: all that was written to it and never committed. Its commits are the Dot's.
    Branch,
}

impl RemnantKind {
    /// As in manifests.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Dot => "Dot",
            Self::Branch => "Branch",
        }
    }

    /// Name of the Remnant of something of this kind, by its id.
    #[must_use]
    pub fn remnant(self, id: &str) -> String {
        match self {
            Self::Dot => format!("dot-{id}"),
            Self::Branch => format!("branch-{id}"),
        }
    }
}

/// A Branch, as its status was.
#[derive(KubeSchema, Serialize, Deserialize, Debug, Clone, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct RemnantBranch {
    /// Its name within the Dot.
    #[schemars(length(min = 1, max = 200))]
    pub name: String,
    /// The head that it pointed at.
    #[schemars(length(min = 36, max = 36))]
    pub head: String,
    /// The commit that the head was cloned from; absent: it began with empty volumes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<BranchOrigin>,
    /// GUIDs of the volumes' datasets by volume id, decimal: what comes back must be what was recorded.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 1000, "additionalProperties" = serde_json::json!({"type": "string", "maxLength": 20})))]
    pub guids: BTreeMap<String, String>,
}

/// A namespace, and not another one that has its name later.
#[derive(KubeSchema, Serialize, Deserialize, Debug, Clone, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct RemnantNamespace {
    /// The namespace's name.
    #[schemars(length(min = 1, max = 63))]
    pub name: String,
    /// The namespace's uid.
    #[schemars(length(min = 1, max = 64))]
    pub uid: String,
}

/// What the operator last saw and did.
#[derive(KubeSchema, Serialize, Deserialize, Debug, Clone, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct RemnantStatus {
    /// The generation of the spec that this status answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// The object that takes the data over; from then on the Remnant's end destroys nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub taken_by: Option<RemnantTaker>,
    /// `Ready`: the data can come back; with the reason and a message for people.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".to_owned()]))]
    pub conditions: Vec<Condition>,
}

/// An object that takes data over.
#[derive(KubeSchema, Serialize, Deserialize, Debug, Clone, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct RemnantTaker {
    /// The namespace of the object.
    pub namespace: String,
    /// The name of the object.
    pub name: String,
    /// The uid of the object.
    pub uid: String,
}
