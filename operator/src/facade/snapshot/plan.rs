//! The next step for a snapshot. Pure.

use std::collections::BTreeMap;

use dotmesh_crds::commit::{CommitSpec, MetadataValue};
use dotmesh_crds::names::{ANNOTATION_MESSAGE, ANNOTATION_SOURCE, LABEL_DOT, LABEL_SNAPSHOT, snapshot_object};
use dotmesh_crds::{Branch, Commit, Dot, Reason};
use dotmesh_model::handle::Handle;
use kube::ResourceExt;
use kube::api::ObjectMeta;

use super::list::taken;
use super::{TakeSnapshot, Taken};
use crate::facade::held::{self, held_volume};
use crate::meta::{belongs_to, is_deleting};
use crate::status::stuck_condition;
use crate::volume_snapshot::VolumeSnapshot;

/// What was read.
#[derive(Debug, Clone, Default)]
pub struct World {
    /// The volume's Dot and branch.
    pub held: held::World,
    /// The object that has the name of the snapshot's Commit.
    pub commit: Option<Commit>,
    /// The VolumeSnapshot that it is for, while there is no Commit.
    pub object: Option<VolumeSnapshot>,
}

/// One step.
#[derive(Debug, Clone)]
pub enum Step {
    /// Make the Commit.
    Create(Box<Commit>),
    /// Until the Commit changes.
    Wait,
    /// It is there.
    Answer(Taken),
}

/// Why no snapshot is taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// No Dot, claim or volume of the handle.
    #[error("there is no volume {0}")]
    NotFound(Handle),
    /// Somebody else's volume.
    #[error("the volume is in namespace {has:?}, and the snapshot in {asked:?}")]
    OtherNamespace {
        /// The Dot's.
        has: String,
        /// The VolumeSnapshot's.
        asked: String,
    },
    /// Another snapshot, or something that is none.
    #[error("Commit {0:?} is something else; remove it if nobody needs it")]
    Taken(String),
    /// What it would be of, or itself, goes.
    #[error("{kind} {name:?} is being deleted")]
    Going {
        /// `Dot`, `Branch` or `Commit`.
        kind: &'static str,
        /// Its name.
        name: String,
    },
    /// The claim follows a branch that is not there.
    #[error("the claim's branch of Dot {0:?} is not there yet")]
    NoBranch(String),
    /// The Commit waits for something.
    #[error("Commit {name:?} is not ready: {why}")]
    NotReady {
        /// Its name.
        name: String,
        /// What it says.
        why: String,
        /// It is for want of space.
        is_full: bool,
    },
}

/// The next step for the request.
///
/// # Errors
/// Why it cannot be taken, or not now.
pub fn plan(request: &TakeSnapshot, world: &World) -> Result<Step, Refusal> {
    let not_found = Refusal::NotFound(request.source);
    let dot = world.held.dot.as_ref().ok_or(not_found.clone())?;
    let has = dot.namespace().unwrap_or_default();
    let asked = request.of.as_ref().and_then(|of| of.namespace.clone());
    if let Some(asked) = asked.filter(|asked| *asked != has) {
        return Err(Refusal::OtherNamespace { has, asked });
    }
    if let Some(commit) = &world.commit {
        return plan_commit(request, dot, commit);
    }
    let entry = held_volume(dot, request.source).ok_or(not_found)?;
    let branch = world.held.branch.as_ref();
    let branch = branch.ok_or_else(|| Refusal::NoBranch(entry.branch.clone().unwrap_or_else(|| dot.name_any())))?;
    let going = |kind, name| Err(Refusal::Going { kind, name });
    if is_deleting(dot) {
        return going("Dot", dot.name_any());
    }
    if is_deleting(branch) {
        return going("Branch", branch.name_any());
    }
    Ok(Step::Create(Box::new(build(
        request,
        dot,
        branch,
        world.object.as_ref(),
    ))))
}

fn plan_commit(request: &TakeSnapshot, dot: &Dot, commit: &Commit) -> Result<Step, Refusal> {
    let name = commit.name_any();
    let is_its = commit.labels().get(LABEL_SNAPSHOT) == Some(&request.uid.to_string())
        && commit.annotations().get(ANNOTATION_SOURCE) == Some(&request.source.to_string())
        && belongs_to(commit, dot);
    if !is_its {
        return Err(Refusal::Taken(name));
    }
    if is_deleting(commit) {
        return Err(Refusal::Going { kind: "Commit", name });
    }
    let status = commit.status.clone().unwrap_or_default();
    if let Some(taken) = taken(dot, commit, request.source.volume) {
        return Ok(Step::Answer(taken));
    }
    match stuck_condition(&status.conditions) {
        None => Ok(Step::Wait),
        Some(ready) => Err(Refusal::NotReady {
            name,
            why: ready.message.clone(),
            is_full: ready.reason == Reason::OutOfSpace.as_str(),
        }),
    }
}

/// Its message is the VolumeSnapshot's annotation, else its name; its metadata are the VolumeSnapshot's labels.
fn build(request: &TakeSnapshot, dot: &Dot, branch: &Branch, object: Option<&VolumeSnapshot>) -> Commit {
    let uid = request.uid.to_string();
    let named = request.of.as_ref().map(|of| format!("VolumeSnapshot {}", of.name));
    let said = object.and_then(|object| object.annotations().get(ANNOTATION_MESSAGE).cloned());
    let labels = object.map(|object| object.labels().clone()).unwrap_or_default();
    let metadata = labels.into_iter().map(|(key, value)| (key, MetadataValue(value)));
    Commit {
        metadata: ObjectMeta {
            name: Some(snapshot_object(&uid)),
            namespace: dot.namespace(),
            labels: Some(BTreeMap::from([
                (LABEL_SNAPSHOT.to_owned(), uid),
                (LABEL_DOT.to_owned(), dot.name_any()),
            ])),
            annotations: Some(BTreeMap::from([(
                ANNOTATION_SOURCE.to_owned(),
                request.source.to_string(),
            )])),
            ..ObjectMeta::default()
        },
        spec: CommitSpec {
            message: said.or(named),
            metadata: metadata.collect(),
            ..build_spec(dot, branch)
        },
        status: None,
    }
}

/// Of the branch of a Dot.
pub fn build_spec(dot: &Dot, branch: &Branch) -> CommitSpec {
    CommitSpec {
        dot: dot.name_any(),
        branch: Some(branch.spec.name.clone()),
        ..CommitSpec::default()
    }
}
