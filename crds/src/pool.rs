//! Kind Pool: a ZFS pool on a node, given to Dotmesh.

use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

use crate::condition::Condition;
use crate::names::DEFAULT_CLASS;

/// Longest class: a zpool can be called `dotmesh-<class>`.
const MAX_CLASS_LEN: usize = 56;

/// What a person, or the operator for the chart's `pool` value, asks of a Pool.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Debug, Clone, PartialEq)]
#[kube(
    group = "dotmesh.io",
    version = "v1alpha1",
    kind = "Pool",
    status = "PoolStatus",
    category = "dotmesh",
    doc = "A Pool is a ZFS pool on a node, given to Dotmesh. Deleting the object never destroys the pool.",
    printcolumn(name = "Node", type_ = "string", json_path = ".spec.nodeName"),
    printcolumn(name = "Class", type_ = "string", json_path = ".spec.class"),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status"
    ),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].reason"
    ),
    printcolumn(name = "Health", type_ = "string", json_path = ".status.health"),
    printcolumn(name = "Size", type_ = "string", json_path = ".status.size"),
    printcolumn(name = "Allocated", type_ = "string", priority = "1", json_path = ".status.allocated"),
    printcolumn(name = "Available", type_ = "string", json_path = ".status.available"),
    printcolumn(name = "Fragmentation", type_ = "integer", json_path = ".status.fragmentation"),
    printcolumn(name = "ZFS", type_ = "string", json_path = ".status.zfsVersion"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    validation = Rule::new("!has(self.spec.file) || !has(oldSelf.spec.file) || !isQuantity(self.spec.file.size) || quantity(self.spec.file.size).compareTo(quantity(oldSelf.spec.file.size)) >= 0 || (has(self.status) && has(self.status.fileSize) && quantity(self.spec.file.size).compareTo(quantity(self.status.fileSize)) >= 0)")
        .message("a pool's file cannot shrink"),
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("[has(self.file), has(self.devices), has(self.existing)].exists_one(given, given)")
        .message("a Pool has exactly one of file, devices and existing"),
    validation = Rule::new("self.nodeName == oldSelf.nodeName && self.class == oldSelf.class && has(self.file) == has(oldSelf.file) && (!has(self.file) || !has(oldSelf.file) || self.file.path == oldSelf.file.path) && has(self.devices) == has(oldSelf.devices) && (!has(self.devices) || !has(oldSelf.devices) || self.devices == oldSelf.devices) && has(self.existing) == has(oldSelf.existing) && (!has(self.existing) || !has(oldSelf.existing) || self.existing == oldSelf.existing)")
        .message("a Pool's spec cannot be changed, except that its file may grow")
)]
pub struct PoolSpec {
    /// The node the pool is on.
    #[schemars(length(min = 1, max = 253))]
    pub node_name: String,
    /// Which kind of storage this is, by a name that the Pools of other nodes have too, for example `ssd` or `hdd`. A node
    /// has one Pool of a class; Dots and StorageClasses choose it.
    #[serde(default = "default_class")]
    #[schemars(length(min = 1, max = 56))]
    #[x_kube(
        validation = Rule::new("self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')")
            .message("a pool's class has lower-case letters, digits and '-', and neither begins nor ends with '-'")
    )]
    pub class: String,
    /// A pool in a file of the node's file system: needs no preparation, good for trying.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<PoolFile>,
    /// A pool made of these block devices, which carry nothing: absolute paths below /dev on the node, best those that
    /// stay the same, as below /dev/disk/by-id. Data is spread over them without redundancy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64), inner(length(min = 1, max = 255)))]
    #[x_kube(
        validation = Rule::new("self.all(path, path.matches('^/dev/([A-Za-z0-9_][A-Za-z0-9._:+=@-]*/)*[A-Za-z0-9_][A-Za-z0-9._:+=@-]*$'))")
            .message("a pool's devices are absolute paths below /dev"),
        validation = Rule::new("self.all(path, self.exists_one(other, other == path))")
            .message("a pool's devices are named once each")
    )]
    pub devices: Option<Vec<String>>,
    /// A pool of this name that somebody made on the node. Only the dataset `dotmesh` in it is used; the pool is never
    /// made or destroyed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    #[x_kube(
        validation = Rule::new("self.matches('^[A-Za-z][A-Za-z0-9_.:-]*$')")
            .message("a pool's name begins with a letter and has letters, digits and _ . : -")
    )]
    pub existing: Option<String>,
}

/// The class of a Pool, and of a Dot, that names none.
#[must_use]
pub fn default_class() -> String {
    DEFAULT_CLASS.to_owned()
}

/// Whether a text can be a Pool's class.
#[must_use]
pub fn is_class(text: &str) -> bool {
    let is_inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = text.as_bytes();
    let ends = [bytes.first(), bytes.last()];
    bytes.len() <= MAX_CLASS_LEN
        && ends.iter().all(|end| end.is_some_and(|byte| is_inner(*byte)))
        && bytes.iter().all(|byte| is_inner(*byte) || *byte == b'-')
}

/// A pool's file.
#[derive(KubeSchema, Serialize, Deserialize, Debug, Clone, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct PoolFile {
    /// Absolute path on the node, below /var/lib/dotmesh.
    #[schemars(length(min = 1, max = 1024))]
    #[x_kube(
        validation = Rule::new("self.matches('^/var/lib/dotmesh/([A-Za-z0-9_][A-Za-z0-9._-]*/)*[A-Za-z0-9_][A-Za-z0-9._-]*$')")
            .message("a pool's file lies below /var/lib/dotmesh; its name has letters, digits and . _ -")
    )]
    pub path: String,
    /// How large the file is; all of it is allocated at once, so that the pool never meets a full file system. It can
    /// grow, not shrink; what was asked for in vain can be taken back to `status.fileSize`.
    #[schemars(length(min = 1, max = 32))]
    #[x_kube(
        validation = Rule::new("isQuantity(self) && quantity(self).compareTo(quantity('1Gi')) >= 0")
            .message("a pool's size is a quantity of at least 1Gi, for example 20Gi")
    )]
    pub size: String,
}

/// What the operator last saw and did.
#[derive(KubeSchema, Serialize, Deserialize, Debug, Clone, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct PoolStatus {
    /// The generation of the spec that this status answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// The zpool's GUID, decimal, recorded when it was first seen: the pool that nothing else is taken for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub guid: Option<String>,
    /// The zpool's health as ZFS says it: ONLINE, DEGRADED, FAULTED, SUSPENDED.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<String>,
    /// How large the pool's file is, as a quantity: what it was made with, or has grown to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub file_size: Option<String>,
    /// The pool's size, as a quantity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<String>,
    /// What is in use of it, as a quantity, in steps of about a hundredth of the pool.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allocated: Option<String>,
    /// What new data can use, as a quantity, in the same steps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub available: Option<String>,
    /// How fragmented the free space is, in percent, in steps of five.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fragmentation: Option<i32>,
    /// Version of OpenZFS on the node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zfs_version: Option<String>,
    /// `Ready`, with the reason and a message for people.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".to_owned()]))]
    pub conditions: Vec<Condition>,
}
