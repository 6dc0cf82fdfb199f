//! What people do in a history, as data: each workload is a list of steps, a page each.

pub mod branches;
pub mod capacities;
pub mod claims;
pub mod commits;
pub mod copies;
pub mod deletions;
pub mod disruptions;
pub mod formats;
pub mod groups;
pub mod imports;
pub mod inline;
pub mod losses;
pub mod pools;
pub mod publish;
pub mod remnants;
pub mod sizes;
pub mod strays;

use std::time::Duration;

use dotmesh_crds::branch::BranchSpec;
use dotmesh_crds::commit::CommitSpec;
use dotmesh_crds::dot::{DotPlacement, DotSpec, DotVolume};
use dotmesh_crds::names::DEFAULT_CLASS;
use dotmesh_crds::{Branch, Commit, Dot, Pool, Reason};
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use serde_json::json;

/// A history's script.
#[derive(Debug, Clone)]
pub struct Workload {
    /// Its name, as commands and files have it.
    pub name: &'static str,
    /// What it does.
    pub steps: Vec<Step>,
    /// Replicas of the operator.
    pub replicas: u8,
    /// Nodes.
    pub nodes: u8,
    /// Seconds for which deleted data can come back.
    pub grace: u64,
}

impl Workload {
    /// With so many replicas of the operator.
    #[must_use]
    pub fn with_replicas(self, replicas: u8) -> Self {
        Self { replicas, ..self }
    }

    /// Deleted data can come back for so many seconds.
    #[must_use]
    pub fn with_grace(self, grace: u64) -> Self {
        Self { grace, ..self }
    }

    /// On so many nodes.
    #[must_use]
    pub fn on_nodes(self, nodes: u8) -> Self {
        Self { nodes, ..self }
    }
}

/// Something a person does or waits for.
#[derive(Debug, Clone)]
pub enum Step {
    /// Makes a Dot.
    Dot(Box<Dot>),
    /// Makes a Branch.
    Branch(Box<Branch>),
    /// Makes a Commit.
    Commit(Box<Commit>),
    /// Makes a claim.
    Claim(Box<PersistentVolumeClaim>),
    /// Makes a Commit of the Dot that a plain claim has for itself: names of commit and claim.
    CommitOfClaim(&'static str, &'static str),
    /// Removes the PersistentVolume of a claim of this name that is gone.
    RemoveVolumeOf(&'static str),
    /// Changes a Dot's list of volumes.
    Volumes(&'static str, Vec<DotVolume>),
    /// Changes how much a claim asks for.
    Resize(&'static str, &'static str),
    /// Asks for a larger file of the Pool of this name.
    GrowPool(&'static str, &'static str),
    /// Makes a StorageClass of this name, for Pools of that class.
    Class(&'static str, &'static str),
    /// Others change and remove what the scheduler is told.
    SpoilCapacities,
    /// Changes what is published, or what is there of it.
    Publish(Publish),
    /// Changes what other drivers serve.
    Foreign(Foreign),
    /// Deletes an object: kind and name.
    Delete(&'static str, String),
    /// Has to do with what deletions leave.
    Undo(Undo),
    /// A pod with these claims shall run, best on the node of that number.
    RunPod(&'static str, Vec<String>, u8),
    /// A pod with an inline volume of this name shall run, of a Commit: pod, volume, Commit.
    RunInlinePod(&'static str, &'static str, &'static str),
    /// The pod writes to all its volumes.
    Write(&'static str),
    /// The pod shall end.
    EndPod(&'static str),
    /// Goes on when this is so.
    Until(Until),
    /// Goes on when nothing was written for a while.
    Quiet,
    /// Goes on after that time.
    Wait(Duration),
    /// csi-node is killed and begins again.
    RestartNode,
    /// The node goes down and comes up again.
    Reboot,
    /// The leading replica of the operator is killed and begins again; `true`: with old caches.
    RestartOperator(bool),
    /// The leading replica is stopped where it is.
    FreezeLeader,
    /// The leading replica cannot reach the API any more.
    CutOffLeader,
    /// What was stopped goes on, and what was cut off is connected again.
    Mend,
    /// Makes a Pool.
    Pool(Box<Pool>),
    /// The zpool of that name answers no more, or again.
    PoolThere(&'static str, bool),
    /// Somebody copies the devices of the pool.
    CopyPool,
    /// The node goes down, and comes up with the copy in the pool's place; once more: with the pool again.
    ExchangePool,
    /// Somebody destroys what is behind an object with other tools: kind (Dot, Branch or Commit) and name.
    Destroy(&'static str, &'static str),
    /// Somebody removes an object of ours, finalizer and all: kind (Dot, Branch or Commit) and name.
    Vanish(&'static str, &'static str),
    /// Somebody makes a dataset of their own beside ours.
    ForeignDataset,
}

/// What people do with what is published.
#[derive(Debug, Clone)]
pub enum Publish {
    /// Of a Commit: its name, and whether it is.
    Commit(&'static str, bool),
    /// Of all Commits of a Dot: its name, and whether they are.
    Dot(&'static str, bool),
    /// Deletes the content of the VolumeSnapshot of this name.
    DeleteContentOf(&'static str),
    /// Makes a VolumeSnapshot of this name that has nothing to do with us.
    Other(&'static str),
}

/// Claims of other drivers, and pods that use them.
#[derive(Debug, Clone)]
pub enum Foreign {
    /// A claim that is bound.
    Claim(&'static str),
    /// A pod that uses a claim.
    Pod(&'static str, &'static str),
    /// That pod is gone.
    EndPod(&'static str),
    /// A VolumeSnapshot as csi-snapshotter leaves it: its namespace and name, and the Commit and the volume of Dot `shop` that
    /// it stands for.
    VolumeSnapshot(&'static str, &'static str, &'static str, &'static str),
    /// A snapshot of a dataset beside ours, on the first node, for the volume that is named as namespace, Dot and volume.
    Snapshot(&'static str, &'static str),
}

/// What people do with what deletions leave, and a deletion of everything.
#[derive(Debug, Clone)]
pub enum Undo {
    /// Deletes the Remnant of the Dot or Branch of this name, if there is one.
    DeleteRemnant(&'static str),
    /// Says until when the Remnant of the Dot or Branch of this name stays, if there is one.
    Expire(&'static str, Option<&'static str>),
    /// Makes a Dot of the first name, from the data of the first Dot that had the second.
    Restore(&'static str, &'static str),
    /// Makes a Branch of the first name of Dot `shop`, from the data of the first Branch that had the second.
    RestoreBranch(&'static str, &'static str),
    /// Namespace `dev` goes with all that is in it.
    DeleteNamespace,
}

/// What is waited for.
#[derive(Debug, Clone)]
pub enum Until {
    /// An object is Ready: kind and name.
    Ready(&'static str, String),
    /// An object is not Ready for this reason: kind, name, reason.
    NotReady(&'static str, String, Reason),
    /// A Pool is Ready and has this size: name and size.
    Sized(&'static str, &'static str),
    /// The PersistentVolume of a claim says that it has this size: the claim's name, and the size.
    Grown(&'static str, &'static str),
    /// An object has our finalizer: kind and name.
    Protected(&'static str, String),
    /// No object of this kind and name is there.
    Gone(&'static str, String),
    /// There is a Remnant of a Dot or Branch that had this name.
    Left(&'static str),
    /// There is a Remnant of the data of the first Dot that had this name.
    LeftOf(&'static str),
    /// There is none.
    Destroyed(&'static str),
    /// Volumes can be made of the VolumeSnapshot of this name.
    Usable(&'static str),
    /// A pod has all its volumes.
    Runs(&'static str),
    /// A pod is gone.
    Ended(&'static str),
}

/// All workloads.
#[must_use]
pub fn all() -> Vec<Workload> {
    let mut all = Vec::new();
    all.extend(claims::all());
    all.extend(commits::all());
    all.extend(copies::all());
    all.extend(groups::all());
    all.extend(branches::all());
    all.extend(capacities::all());
    all.extend(deletions::all());
    all.extend(disruptions::all());
    all.extend(formats::all());
    all.extend(imports::all());
    all.extend(inline::all());
    all.extend(losses::all());
    all.extend(pools::all());
    all.extend(publish::all());
    all.extend(sizes::all());
    all.extend(remnants::all());
    all.extend(strays::all());
    all
}

/// A volume of 1 GiB.
#[must_use]
pub fn volume(name: &str) -> DotVolume {
    DotVolume {
        name: name.to_owned(),
        size: "1Gi".to_owned(),
        ..DotVolume::default()
    }
}

/// Makes Dot `name` with these volumes; none: an open list.
#[must_use]
pub fn dot(name: &str, volumes: &[&str]) -> Step {
    dot_of_class(DEFAULT_CLASS, name, volumes)
}

/// As [`dot`], for Pools of a class.
#[must_use]
pub fn dot_of_class(class: &str, name: &str, volumes: &[&str]) -> Step {
    let listed = volumes.iter().map(|name| volume(name)).collect();
    let spec = DotSpec {
        volumes: Some(listed).filter(|_| !volumes.is_empty()),
        placement: Some(DotPlacement {
            pool_class: class.to_owned(),
        })
        .filter(|_| class != DEFAULT_CLASS),
        ..DotSpec::default()
    };
    let mut dot = Dot::new(name, spec);
    dot.metadata.namespace = Some("dev".to_owned());
    Step::Dot(Box::new(dot))
}

/// Dot `name`, from the data of that id.
#[must_use]
pub fn restored(name: &str, id: &str) -> Dot {
    let spec = DotSpec {
        restore_from: Some(id.to_owned()),
        ..DotSpec::default()
    };
    let mut dot = Dot::new(name, spec);
    dot.metadata.namespace = Some("dev".to_owned());
    dot
}

/// Branch `name` of Dot `shop`, from the data of that id.
#[must_use]
pub fn restored_branch(name: &str, id: &str) -> Branch {
    let spec = BranchSpec {
        dot: "shop".to_owned(),
        name: name.to_owned(),
        from: "HEAD".to_owned(),
        restore_from: Some(id.to_owned()),
    };
    let mut branch = Branch::new(name, spec);
    branch.metadata.namespace = Some("dev".to_owned());
    branch
}

/// Makes a Commit of branch `main` of a Dot.
#[must_use]
pub fn commit(name: &str, dot: &str) -> Step {
    commit_of(name, dot, "main")
}

/// Makes a Commit of a branch.
#[must_use]
pub fn commit_of(name: &str, dot: &str, branch: &str) -> Step {
    Step::Commit(Box::new(commit_object(name, dot, branch)))
}

/// A Commit.
#[must_use]
pub fn commit_object(name: &str, dot: &str, branch: &str) -> Commit {
    let spec = CommitSpec {
        dot: dot.to_owned(),
        branch: Some(branch.to_owned()),
        message: Some(format!("why {name}")),
        ..CommitSpec::default()
    };
    let mut commit = Commit::new(name, spec);
    commit.metadata.namespace = Some("dev".to_owned());
    commit
}

/// Makes Branch `name` of a Dot from a reference.
#[must_use]
pub fn branch(name: &str, dot: &str, from: &str) -> Step {
    let spec = BranchSpec {
        dot: dot.to_owned(),
        name: name.to_owned(),
        from: from.to_owned(),
        restore_from: None,
    };
    let mut branch = Branch::new(name, spec);
    branch.metadata.namespace = Some("dev".to_owned());
    Step::Branch(Box::new(branch))
}

/// Makes a claim with a `dataSourceRef`, or a plain one.
#[must_use]
pub fn claim(name: &str, source: Option<(&str, &str)>, volume: Option<&str>) -> Step {
    let volume = volume.map(|volume| ("dotmesh.io/volume", volume));
    claim_of_class("dotmesh", name, source, volume.as_slice())
}

/// As [`claim`], without a `dataSourceRef` and with these annotations.
#[must_use]
pub fn annotated(name: &str, annotations: &[(&str, &str)]) -> Step {
    claim_of_class("dotmesh", name, None, annotations)
}

/// Makes a claim of this class (`dotmesh`, `keep` which retains volumes, or `fast` for Pools of that class) with all that it can have.
#[must_use]
pub fn claim_of_class(class: &str, name: &str, source: Option<(&str, &str)>, annotations: &[(&str, &str)]) -> Step {
    let mut claim = json!({
        "metadata": { "name": name, "namespace": "dev" },
        "spec": {
            "storageClassName": class, "accessModes": ["ReadWriteOnce"],
            "resources": { "requests": { "storage": "1Gi" } },
        },
    });
    if let Some((kind, name)) = source {
        claim["spec"]["dataSourceRef"] = json!({ "apiGroup": "dotmesh.io", "kind": kind, "name": name });
    }
    for (key, value) in annotations {
        claim["metadata"]["annotations"][*key] = json!(value);
    }
    let claim = serde_json::from_value(claim).unwrap_or_else(|error| panic!("{error}"));
    Step::Claim(Box::new(claim))
}

/// Waits until an object is Ready.
#[must_use]
pub fn ready(kind: &'static str, name: &str) -> Step {
    Step::Until(Until::Ready(kind, name.to_owned()))
}

/// Waits until an object is gone.
#[must_use]
pub fn gone(kind: &'static str, name: &str) -> Step {
    Step::Until(Until::Gone(kind, name.to_owned()))
}

/// Waits until an object says that its data is lost.
#[must_use]
pub fn lost(kind: &'static str, name: &str) -> Step {
    Step::Until(Until::NotReady(kind, name.to_owned(), Reason::DataLost))
}

/// Deletes an object.
#[must_use]
pub fn delete(kind: &'static str, name: &str) -> Step {
    Step::Delete(kind, name.to_owned())
}

/// A pod with these claims runs, writes, and has Dot `shop` placed by it.
#[must_use]
pub fn pod(name: &'static str, claims: &[&str]) -> [Step; 3] {
    pod_on(name, claims, 1)
}

/// As [`pod`], best on that node.
#[must_use]
pub fn pod_on(name: &'static str, claims: &[&str], node: u8) -> [Step; 3] {
    let claims = claims.iter().map(|claim| (*claim).to_owned()).collect();
    [
        Step::RunPod(name, claims, node),
        Step::Until(Until::Runs(name)),
        Step::Write(name),
    ]
}

/// A pod ends.
#[must_use]
pub fn end(name: &'static str) -> [Step; 2] {
    [Step::EndPod(name), Step::Until(Until::Ended(name))]
}

/// Dot `shop` with volumes `db` and `cache`, on which a pod runs.
#[must_use]
pub fn shop() -> Vec<Step> {
    let mut steps = vec![
        dot("shop", &["db", "cache"]),
        claim("db", Some(("Dot", "shop")), None),
        claim("cache", Some(("Dot", "shop")), None),
    ];
    steps.extend(pod("app", &["db", "cache"]));
    steps
}

/// A workload of these parts.
#[must_use]
pub fn workload(name: &'static str, parts: impl IntoIterator<Item = Vec<Step>>) -> Workload {
    Workload {
        name,
        steps: parts.into_iter().flatten().collect(),
        replicas: 1,
        nodes: 1,
        grace: 0,
    }
}
