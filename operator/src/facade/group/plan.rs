//! The next step for a group of snapshots. Pure.

use std::collections::{BTreeMap, BTreeSet};

use dotmesh_crds::commit::{CommitSpec, Group as CommitGroup, MetadataValue};
use dotmesh_crds::names::{
    ANNOTATION_GROUP, ANNOTATION_MESSAGE, ANNOTATION_SOURCE, LABEL_DOT, LABEL_SNAPSHOT, snapshot_object,
};
use dotmesh_crds::{Commit, Dot, Reason};
use dotmesh_model::handle::Handle;
use kube::ResourceExt;
use kube::api::ObjectMeta;
use serde::{Deserialize, Serialize};

use super::{Group, TakeGroup, group_id};
use crate::facade::held::{self, held_volume};
use crate::facade::snapshot::list::taken;
use crate::facade::snapshot::{Taken, build_spec};
use crate::meta::{belongs_to, is_deleting};
use crate::status::stuck_condition;
use crate::volume_snapshot::VolumeGroupSnapshot;

/// Most Commits that are taken together.
const MAX_MEMBERS: usize = 100;

/// What was read.
#[derive(Debug, Clone, Default)]
pub struct World {
    /// The Dot and the branch of each volume.
    pub held: BTreeMap<Handle, held::World>,
    /// The Commits of the group, by name: the first and those that it names. Empty: there is no first one.
    pub commits: BTreeMap<String, Commit>,
    /// The VolumeGroupSnapshot that it is for, while there is no Commit.
    pub object: Option<VolumeGroupSnapshot>,
}

/// A Commit that a group is to have, as the first of them says it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// The name of its object.
    pub commit: String,
    /// The name of its Dot's object.
    pub dot: String,
    /// The handles of the volumes that it is for.
    pub sources: Vec<String>,
}

/// One step.
#[derive(Debug, Clone)]
pub enum Step {
    /// Make the Commit.
    Create(Box<Commit>),
    /// Until one of the Commits changes.
    Wait,
    /// They are there.
    Answer(Group),
}

/// Why no group is taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// No Dot, claim or volume of the handle.
    #[error("there is no volume {0}")]
    NotFound(Handle),
    /// Somebody else's volume.
    #[error("volume {source_volume} is in namespace {has:?}, and the group in {asked:?}")]
    OtherNamespace {
        /// The volume.
        source_volume: Handle,
        /// Its Dot's.
        has: String,
        /// The VolumeGroupSnapshot's.
        asked: String,
    },
    /// Their volumes lie apart.
    #[error("{one}, and {other}: only volumes of one pool can be taken at one instant; ask for a group of each")]
    Apart {
        /// A Dot, and where it lies.
        one: String,
        /// Another one.
        other: String,
    },
    /// More branches than are taken together.
    #[error("the volumes are of {0} branches; at most {MAX_MEMBERS} can be taken together")]
    TooMany(usize),
    /// Another group, or something that is none.
    #[error("Commit {0:?} is something else; remove it if nobody needs it")]
    Taken(String),
    /// Some of it was deleted.
    #[error("Commit {0:?} of the group was deleted: delete the group, and take another one")]
    NotWhole(String),
    /// What it would be of, or itself, goes.
    #[error("{kind} {name:?} is being deleted")]
    Going {
        /// `Dot`, `Branch` or `Commit`.
        kind: &'static str,
        /// Its name.
        name: String,
    },
    /// It lies nowhere yet, or the claim follows a branch that is not there.
    #[error("Dot {0:?} or the claim's branch of it is not there yet")]
    NoBranch(String),
    /// A Commit waits for something.
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

/// The Commits that a group is to have, as its first Commit says it; absent: it is none.
pub fn parse_members(first: &Commit) -> Option<Vec<Member>> {
    serde_json::from_str(first.annotations().get(ANNOTATION_GROUP)?).ok()
}

/// The next step for the request.
///
/// # Errors
/// Why it cannot be taken, or not now.
pub fn plan(request: &TakeGroup, world: &World) -> Result<Step, Refusal> {
    let first = snapshot_object(&request.uid.to_string());
    match world.commits.get(&first) {
        Some(first) => plan_rest(request, world, first),
        None => plan_first(request, world),
    }
}

/// A branch, by its Dot's name and its own.
type Place<'a> = (String, &'a str);

fn plan_first(request: &TakeGroup, world: &World) -> Result<Step, Refusal> {
    let mut places: BTreeMap<Place<'_>, Vec<String>> = BTreeMap::new();
    let mut lying: Option<(String, (String, String))> = None;
    let mut namespaces = BTreeSet::new();
    for source in &request.sources {
        let held = world.held.get(source);
        let dot = held.and_then(|held| held.dot.as_ref());
        let dot = dot.ok_or(Refusal::NotFound(*source))?;
        let has = dot.namespace().unwrap_or_default();
        let asked = request.of.as_ref().and_then(|of| of.namespace.clone());
        // Those of one group are of one namespace, whoever asks.
        let asked = asked
            .or_else(|| namespaces.first().cloned())
            .unwrap_or_else(|| has.clone());
        if asked != has {
            let source_volume = *source;
            return Err(Refusal::OtherNamespace {
                source_volume,
                has,
                asked,
            });
        }
        namespaces.insert(has);
        let entry = held_volume(dot, *source).ok_or(Refusal::NotFound(*source))?;
        let going = |kind, name| Err(Refusal::Going { kind, name });
        if is_deleting(dot) {
            return going("Dot", dot.name_any());
        }
        let no_branch = || Refusal::NoBranch(entry.branch.clone().unwrap_or_else(|| dot.name_any()));
        let branch = held.and_then(|held| held.branch.as_ref()).ok_or_else(no_branch)?;
        if is_deleting(branch) {
            return going("Branch", branch.name_any());
        }
        let status = dot.status.clone().unwrap_or_default();
        let lies = status.node.zip(status.pool).ok_or_else(no_branch)?;
        let (first, first_lies) = lying.get_or_insert_with(|| (dot.name_any(), lies.clone()));
        if *first_lies != lies {
            let told = |dot: &str, (node, pool): &(String, String)| {
                format!("Dot {dot:?} lies on node {node:?}, pool {pool:?}")
            };
            return Err(Refusal::Apart {
                one: told(first, first_lies),
                other: told(&dot.name_any(), &lies),
            });
        }
        let place = (dot.name_any(), branch.spec.name.as_str());
        places.entry(place).or_default().push(source.to_string());
    }
    if places.len() > MAX_MEMBERS {
        return Err(Refusal::TooMany(places.len()));
    }
    let first = snapshot_object(&request.uid.to_string());
    let name = |index: usize| match index {
        0 => first.clone(),
        later => format!("{first}-{}", later + 1),
    };
    let members: Vec<Member> = places
        .into_iter()
        .enumerate()
        .map(|(index, ((dot, _), sources))| Member {
            commit: name(index),
            dot,
            sources,
        })
        .collect();
    let text = serde_json::to_string(&members).unwrap_or_default();
    let Some(mut commit) = members
        .first()
        .and_then(|member| build(request, world, member, members.len()))
    else {
        return Err(Refusal::NoBranch(first));
    };
    let object = world.object.as_ref();
    if let Some(object) = object {
        let labels = object.labels().iter();
        commit.spec.metadata = labels
            .map(|(key, value)| (key.clone(), MetadataValue(value.clone())))
            .collect();
        let said = object.annotations().get(ANNOTATION_MESSAGE).cloned();
        commit.spec.message = said.or(commit.spec.message);
    }
    commit.annotations_mut().insert(ANNOTATION_GROUP.to_owned(), text);
    Ok(Step::Create(Box::new(commit)))
}

fn plan_rest(request: &TakeGroup, world: &World, first: &Commit) -> Result<Step, Refusal> {
    let uid = request.uid.to_string();
    let members = parse_members(first).unwrap_or_default();
    let named: BTreeSet<&String> = members.iter().flat_map(|member| &member.sources).collect();
    let asked: Vec<String> = request.sources.iter().map(ToString::to_string).collect();
    let is_its = |commit: &Commit| commit.labels().get(LABEL_SNAPSHOT) == Some(&uid);
    let is_group = named.len() == asked.len() && asked.iter().all(|source| named.contains(source));
    if !is_its(first) || !is_group {
        return Err(Refusal::Taken(first.name_any()));
    }
    for member in &members {
        let Some(commit) = world.commits.get(&member.commit) else {
            let is_taken = |commit: &Commit| commit.status.as_ref().is_some_and(|status| status.id.is_some());
            if world.commits.values().any(is_taken) {
                return Err(Refusal::NotWhole(member.commit.clone()));
            }
            let commit = build(request, world, member, members.len());
            let mut commit = commit.ok_or_else(|| Refusal::NoBranch(member.dot.clone()))?;
            commit.spec.message.clone_from(&first.spec.message);
            commit.spec.metadata.clone_from(&first.spec.metadata);
            return Ok(Step::Create(Box::new(commit)));
        };
        let name = commit.name_any();
        if !is_its(commit) {
            return Err(Refusal::Taken(name));
        }
        if is_deleting(commit) {
            return Err(Refusal::Going { kind: "Commit", name });
        }
    }
    let mut found = Vec::new();
    for member in &members {
        let Some(commit) = world.commits.get(&member.commit) else {
            return Ok(Step::Wait);
        };
        for source in request
            .sources
            .iter()
            .filter(|source| member.sources.contains(&source.to_string()))
        {
            let dot = world.held.get(source).and_then(|held| held.dot.as_ref());
            let dot = dot.ok_or(Refusal::NotFound(*source))?;
            if !belongs_to_dot(commit, dot) {
                return Err(Refusal::Taken(commit.name_any()));
            }
            match taken(dot, commit, source.volume) {
                Some(taken) => found.push(Taken {
                    source: *source,
                    ..taken
                }),
                None => return wait_for(commit),
            }
        }
    }
    let dot = request.sources.iter().find_map(|source| {
        let dot = world.held.get(source)?.dot.as_ref()?;
        (dot.name_any() == first.spec.dot).then_some(dot)
    });
    let Some(id) = dot.and_then(|dot| group_id(dot, first)) else {
        return Ok(Step::Wait);
    };
    Ok(Step::Answer(Group {
        id,
        members: found.into_iter().map(|taken| taken.in_group(id)).collect(),
        is_whole: true,
    }))
}

fn belongs_to_dot(commit: &Commit, dot: &Dot) -> bool {
    commit.spec.dot == dot.name_any() && belongs_to(commit, dot)
}

fn wait_for(commit: &Commit) -> Result<Step, Refusal> {
    let status = commit.status.clone().unwrap_or_default();
    match stuck_condition(&status.conditions) {
        None => Ok(Step::Wait),
        Some(ready) => Err(Refusal::NotReady {
            name: commit.name_any(),
            why: ready.message.clone(),
            is_full: ready.reason == Reason::OutOfSpace.as_str(),
        }),
    }
}

/// The Commit of a member, of the branch that its claims mount; nothing when that is not there.
fn build(request: &TakeGroup, world: &World, member: &Member, members: usize) -> Option<Commit> {
    let source: Handle = member.sources.first()?.parse().ok()?;
    let held = world.held.get(&source)?;
    let (dot, branch) = (held.dot.as_ref()?, held.branch.as_ref()?);
    let uid = request.uid.to_string();
    let named = request.of.as_ref().map(|of| format!("VolumeGroupSnapshot {}", of.name));
    let group = CommitGroup {
        name: snapshot_object(&uid),
        members: i32::try_from(members).ok()?,
    };
    Some(Commit {
        metadata: ObjectMeta {
            name: Some(member.commit.clone()),
            namespace: dot.namespace(),
            labels: Some(BTreeMap::from([
                (LABEL_SNAPSHOT.to_owned(), uid),
                (LABEL_DOT.to_owned(), dot.name_any()),
            ])),
            annotations: Some(BTreeMap::from([(
                ANNOTATION_SOURCE.to_owned(),
                member.sources.join(","),
            )])),
            ..ObjectMeta::default()
        },
        spec: CommitSpec {
            message: named,
            group: (members > 1).then_some(group),
            ..build_spec(dot, branch)
        },
        status: None,
    })
}
