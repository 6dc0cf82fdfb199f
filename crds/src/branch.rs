//! Kind Branch: a name for a writable head of a Dot.

use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

use crate::condition::Condition;
use crate::zfs::ZfsProperties;

/// What a person asks of a Branch. All of it is decided at creation.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Debug, Clone, Default, PartialEq)]
#[kube(
    group = "dotmesh.io",
    version = "v1alpha1",
    kind = "Branch",
    plural = "branches",
    derive = "PartialEq",
    namespaced,
    status = "BranchStatus",
    category = "dotmesh",
    selectable = ".spec.dot",
    selectable = ".status.id",
    doc = "A Branch is a writable copy-on-write head of a Dot: made in a moment at any size, sharing all unchanged blocks with the commit it comes from.",
    printcolumn(name = "Dot", type_ = "string", json_path = ".spec.dot"),
    printcolumn(name = "Branch", type_ = "string", json_path = ".spec.name"),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].reason"),
    printcolumn(name = "From", type_ = "string", json_path = ".status.origin.commitName"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    validation = Rule::new("self.metadata.name.size() <= 63 && self.metadata.name.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')")
        .message("a Branch object's name has at most 63 lower-case letters, digits and '-'; the branch's own name, with upper case and '/', goes into spec.name"),
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("self == oldSelf").message("a Branch's spec cannot be changed; make another Branch"),
    validation = Rule::new("!has(self.restoreFrom) || self.from == 'HEAD'")
        .message("a Branch that is restored begins with what it had: leave spec.from out")
)]
pub struct BranchSpec {
    /// The Dot, by the name of its object in the same namespace.
    #[schemars(length(min = 1, max = 55))]
    #[x_kube(
        validation = Rule::new("self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')").message("dot is the name of a Dot object")
    )]
    pub dot: String,
    /// The branch's name within the Dot, after git's rules for reference names: feature/x_1.
    #[schemars(length(min = 1, max = 200))]
    #[x_kube(
        validation = Rule::new(
            "self.matches('^[A-Za-z0-9_+#]([A-Za-z0-9._+#/-]*[A-Za-z0-9_+#-])?$') && !self.contains('..') && !self.contains('//') && !self.contains('/.') && !self.contains('./') && !self.endsWith('.lock') && !self.contains('.lock/') && self != 'HEAD'"
        ).message("a branch's name follows git's rules: letters, digits and . _ - + # /, no '..' or '//', no part that begins or ends with '.' or ends with '.lock', not HEAD")
    )]
    pub name: String,
    /// Where the branch starts: a reference such as HEAD, HEAD~2, another branch's name, a Commit object's name or the
    /// beginning of a commit's id. HEAD is the newest commit of the Dot's checked-out branch. Empty: with empty volumes.
    #[serde(default = "default_from")]
    #[schemars(length(max = 260))]
    pub from: String,
    /// The id of a Branch of this Dot that was deleted: its data as it was then, with all that was never committed, by its
    /// Remnant (kubectl get remnants).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 36, max = 36))]
    #[x_kube(
        validation = Rule::new("self.matches('^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$')")
            .message("restoreFrom is the whole id of a Remnant: kubectl get remnants")
    )]
    pub restore_from: Option<String>,
}

fn default_from() -> String {
    "HEAD".to_owned()
}

/// What the operator last saw and did.
#[derive(KubeSchema, Serialize, Deserialize, Debug, Clone, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct BranchStatus {
    /// The generation of the spec that this status answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Identifies the Branch for ever and on every cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// The head that the branch points at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub head: Option<String>,
    /// The commit that the head was cloned from, resolved once; absent: it began with empty volumes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<BranchOrigin>,
    /// The volumes of the head.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".to_owned()]))]
    pub volumes: Vec<BranchVolume>,
    /// Who has volumes of the head mounted, as the node last said.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub users: Vec<BranchUser>,
    /// `Ready`, with the reason and a message for people.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".to_owned()]))]
    pub conditions: Vec<Condition>,
}

/// Where a branch came from.
#[derive(KubeSchema, Serialize, Deserialize, Debug, Clone, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct BranchOrigin {
    /// The commit's id.
    #[schemars(length(max = 36))]
    pub commit: String,
    /// The Commit object's name at that time.
    #[schemars(length(max = 63))]
    pub commit_name: String,
    /// The head that the commit was taken of.
    #[schemars(length(max = 36))]
    pub head: String,
    /// Snapshot GUIDs of the commit by volume id: what is cloned must be what was recorded.
    #[serde(default)]
    #[schemars(extend("maxProperties" = 1000, "additionalProperties" = serde_json::json!({"type": "string", "maxLength": 20})))]
    pub guids: std::collections::BTreeMap<String, String>,
}

/// Somebody who has a volume of the head mounted.
#[derive(KubeSchema, Serialize, Deserialize, Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
#[serde(rename_all = "camelCase")]
pub struct BranchUser {
    /// The volume's name.
    pub volume: String,
    /// The pod's name; absent: its object was not found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod: Option<String>,
    /// The pod's uid; absent: it is mounted somewhere else than for a pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod_uid: Option<String>,
    /// Where it is mounted on the node, when that is not for a pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
}

impl std::fmt::Display for BranchUser {
    /// The pod, else what is known.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (&self.pod, &self.pod_uid, &self.path) {
            (Some(pod), ..) => write!(f, "pod {pod}"),
            (None, Some(uid), _) => write!(f, "a pod of uid {uid}"),
            (None, None, Some(path)) => write!(f, "a mount at {path}"),
            (None, None, None) => f.write_str("somebody"),
        }
    }
}

/// A volume of a branch's head.
#[derive(KubeSchema, Serialize, Deserialize, Debug, Clone, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct BranchVolume {
    /// The volume's name.
    pub name: String,
    /// The volume's id.
    pub id: String,
    /// GUID of its dataset, decimal.
    pub guid: String,
    /// How much it can hold, as a quantity.
    pub size: String,
    /// False when the volume is younger than the commit that the branch came from, and so began empty.
    pub cloned: bool,
    /// How ZFS keeps its data, as far as that was said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zfs: Option<ZfsProperties>,
}
