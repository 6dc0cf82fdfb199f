//! What a Dot or Branch leaves when it goes.

use std::collections::BTreeMap;

use dotmesh_crds::condition::Reason;
use dotmesh_crds::dot::{DeletionPolicy, DotVolumeStatus};
use dotmesh_crds::names::FINALIZER;
use dotmesh_crds::remnant::{RemnantBranch, RemnantKind, RemnantNamespace};
use dotmesh_crds::{Branch, Dot, Remnant, RemnantSpec};
use k8s_openapi::jiff::Timestamp;
use kube::{Resource, ResourceExt};

use crate::api::{Api, ApiError, ApiErrorKind, Event, EventType, Key, Kind};
use crate::context::{Context, ReconcileError};
use crate::meta::{create_or_find, dot_id, namespace_of, uid};
use crate::nodes::Nodes;
use crate::status::{Verdict, publish};

/// What an object leaves when it goes.
#[derive(Debug, Clone, Default, PartialEq)]
pub enum Left {
    /// It is not being deleted, or lies nowhere.
    #[default]
    NotAsked,
    /// Nothing: its data is destroyed at once.
    Nothing,
    /// A Remnant, which is not there yet.
    ToBeMade,
    /// A Remnant that is there.
    Remnant(Box<Remnant>),
}

/// What an object waits for that took its data over and goes again at once.
#[must_use]
pub fn waits_for(remnant: &Remnant) -> Verdict {
    let name = remnant.name_any();
    Verdict::new(
        Reason::Deleting,
        format!("waits until Remnant {name:?}, which was here before, is gone"),
    )
}

/// When data is destroyed that was deleted now: after that many seconds, or never. As in manifests.
#[must_use]
pub fn expiry(policy: DeletionPolicy, now: Timestamp, grace: u64) -> Option<String> {
    let after = |grace: u64| now.as_second().saturating_add(i64::try_from(grace).unwrap_or(i64::MAX));
    match policy {
        DeletionPolicy::Retain => None,
        // A time that no clock shows is never.
        DeletionPolicy::Delete => Timestamp::from_second(after(grace)).ok().map(|time| time.to_string()),
    }
}

/// Whether a Dot has recorded that its data lies somewhere: of one that takes data over, that is with its id.
#[must_use]
pub fn has_data(dot: &Dot) -> bool {
    let is_restored = dot.spec.restore_from.is_some();
    let status = dot.status.as_ref();
    status.is_some_and(|status| status.node.is_some() && (status.pool.is_some() || is_restored))
}

/// The Remnant of an object that goes, which is there when this returns.
///
/// # Errors
/// Those of the API.
pub async fn leave<A: Api, N: Nodes, K: Kind>(
    context: &Context<A, N>,
    object: &K,
    build: impl FnOnce(RemnantNamespace) -> Option<Remnant>,
) -> Result<Left, ReconcileError> {
    let api = &context.api;
    let (uid, _) = namespace_of(api, object).await?.ok_or_else(|| ApiError {
        kind: ApiErrorKind::Unavailable,
        message: format!("the namespace of {} {} is not found", K::kind(&()), Key::of(object)),
    })?;
    let name = object.namespace().unwrap_or_default();
    let Some(remnant) = build(RemnantNamespace { name, uid }) else {
        return Ok(Left::NotAsked);
    };
    match api.create(&remnant).await {
        Ok(made) => {
            publish(api, object, left_event(&made)).await;
            Ok(Left::Remnant(Box::new(made)))
        }
        Err(_) => Ok(Left::Remnant(Box::new(create_or_find(api, &remnant).await?))),
    }
}

/// Who may not see Remnants, which are in no namespace, learns the id here.
fn left_event(remnant: &Remnant) -> Event {
    let spec = &remnant.spec;
    let until = spec
        .expires_at
        .as_ref()
        .map_or_else(String::new, |time| format!(", until {time}"));
    Event {
        event_type: EventType::Normal,
        reason: Reason::CanBeRestored.as_str(),
        action: spec.kind.as_str(),
        message: format!(
            "the data stays as Remnant {:?}{until}; a {} with spec.restoreFrom: {} gets it back",
            remnant.name_any(),
            spec.kind.as_str(),
            spec.id
        ),
    }
}

/// The Remnant of a Dot that goes, in its namespace; nothing when the Dot lies nowhere.
#[must_use]
pub fn build_dot(dot: &Dot, namespace: RemnantNamespace, now: Timestamp, grace: u64) -> Option<Remnant> {
    let status = dot.status.as_ref()?;
    let what = What {
        kind: RemnantKind::Dot,
        id: dot_id(dot),
        branch: None,
        volumes: status.volumes.clone(),
    };
    build(dot, what, dot, namespace, now, grace)
}

/// The Remnant of a Branch of this Dot that goes, in its namespace; nothing when it has no head.
#[must_use]
pub fn build_branch(
    branch: &Branch,
    dot: &Dot,
    namespace: RemnantNamespace,
    now: Timestamp,
    grace: u64,
) -> Option<Remnant> {
    let status = branch.status.as_ref()?;
    let guids = status.volumes.iter();
    let guids: BTreeMap<String, String> = guids.map(|volume| (volume.id.clone(), volume.guid.clone())).collect();
    // What they are is the Dot's word.
    let of_dot = |id: &String| {
        dot.status
            .iter()
            .flat_map(|status| &status.volumes)
            .find(|volume| volume.id == *id)
    };
    let volumes = status.volumes.iter().map(|volume| DotVolumeStatus {
        name: volume.name.clone(),
        id: volume.id.clone(),
        size: volume.size.clone(),
        volume_mode: of_dot(&volume.id).and_then(|volume| volume.volume_mode),
        fs_type: of_dot(&volume.id).and_then(|volume| volume.fs_type),
        zfs: of_dot(&volume.id).and_then(|volume| volume.zfs.clone()),
        origin: of_dot(&volume.id).and_then(|volume| volume.origin.clone()),
    });
    let what = What {
        kind: RemnantKind::Branch,
        id: status.id.as_deref()?,
        branch: Some(RemnantBranch {
            name: branch.spec.name.clone(),
            head: status.head.clone()?,
            origin: status.origin.clone(),
            guids,
        }),
        volumes: volumes.collect(),
    };
    build(branch, what, dot, namespace, now, grace)
}

/// What of a Remnant depends on what it was.
struct What<'a> {
    kind: RemnantKind,
    id: &'a str,
    branch: Option<RemnantBranch>,
    volumes: Vec<DotVolumeStatus>,
}

fn build<K: Resource>(
    object: &K,
    what: What<'_>,
    dot: &Dot,
    namespace: RemnantNamespace,
    now: Timestamp,
    grace: u64,
) -> Option<Remnant> {
    let status = dot.status.as_ref()?;
    let deleted_at = object.meta().deletion_timestamp.as_ref().map_or(now, |time| time.0);
    let spec = RemnantSpec {
        kind: what.kind,
        id: what.id.to_owned(),
        dot: dot_id(dot).to_owned(),
        name: object.name_any(),
        uid: uid(object).to_owned(),
        namespace,
        node: status.node.clone()?,
        pool: status.pool.clone(),
        pool_class: dot.spec.pool_class().to_owned(),
        branch: what.branch,
        volumes: what.volumes,
        deleted_at: deleted_at.to_string(),
        // The time of grace begins when the object goes, which is later when claims used it.
        expires_at: expiry(dot.spec.deletion_policy, now, grace),
    };
    Some(protected(spec))
}

/// The Remnant that says this, with our finalizer.
#[must_use]
pub fn protected(spec: RemnantSpec) -> Remnant {
    let mut remnant = Remnant::new(&spec.kind.remnant(&spec.id), spec);
    remnant.metadata.finalizers = Some(vec![FINALIZER.to_owned()]);
    remnant
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_retained_never_expires_and_the_rest_after_the_grace_period() {
        let now = Timestamp::from_second(1_767_225_600).unwrap();
        assert_eq!(expiry(DeletionPolicy::Retain, now, 60), None);
        let at = expiry(DeletionPolicy::Delete, now, 86_400);
        assert_eq!(at.as_deref(), Some("2026-01-02T00:00:00Z"));
        assert_eq!(expiry(DeletionPolicy::Delete, now, u64::MAX), None);
    }
}
