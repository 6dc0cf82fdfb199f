//! Conditions and events: what a reconcile found, told to people once.

use std::collections::BTreeSet;

use dotmesh_crds::branch::BranchUser;
use dotmesh_crds::condition::{Condition, READY, Reason};
use dotmesh_crds::names::MANAGER;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use serde::Serialize;

use crate::api::{Api, ApiError, ApiErrorKind, Event, EventType, Guard, Key, Kind};
use crate::context::ReconcileError;
use crate::nodes::NodeErrorKind;

/// What a reconcile found: whether the object is as asked for, and why not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// The reason; [`Reason::Ready`] is the only one that means success.
    pub reason: Reason,
    /// Names the object in question and what would help.
    pub message: String,
}

impl Verdict {
    /// With a message for people.
    pub fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self {
            reason,
            message: message.into(),
        }
    }

    /// Everything asked for is there.
    pub fn ready() -> Self {
        Self::new(Reason::Ready, "")
    }

    /// Whether everything asked for is there.
    pub fn is_ready(&self) -> bool {
        self.reason == Reason::Ready
    }

    /// The `Ready` condition that says it; an unchanged status keeps its transition time.
    pub fn conditions(&self, before: &[Condition], generation: Option<i64>, now: Timestamp) -> Vec<Condition> {
        vec![self.condition(READY, ready_condition(before), generation, now)]
    }

    /// The condition of a type that says it, in the place of that one.
    pub fn condition(
        &self,
        type_: &str,
        before: Option<&Condition>,
        generation: Option<i64>,
        now: Timestamp,
    ) -> Condition {
        let status = if self.is_ready() { "True" } else { "False" };
        let since = before
            .filter(|condition| condition.status == status)
            .map_or(Time(now), |condition| condition.last_transition_time.clone());
        Condition {
            type_: type_.to_owned(),
            status: status.to_owned(),
            reason: self.reason.as_str().to_owned(),
            message: self.message.clone(),
            observed_generation: generation,
            last_transition_time: since,
        }
    }

    /// The event that goes with it: a warning when somebody has to do something, and only when the condition did not
    /// say so before.
    pub fn event(&self, before: Option<&Condition>, action: &'static str) -> Option<Event> {
        let known = before
            .is_some_and(|condition| condition.reason == self.reason.as_str() && condition.message == self.message);
        (is_warning(self.reason) && !known).then(|| Event {
            event_type: EventType::Warning,
            reason: self.reason.as_str(),
            action,
            message: self.message.clone(),
        })
    }
}

/// What a deletion waits for: claims, by namespace and name, and what is mounted.
pub fn in_use(claims: &[String], users: &[BranchUser]) -> Option<Verdict> {
    let mounts: BTreeSet<String> = users.iter().map(ToString::to_string).collect();
    let mounts = mounts.into_iter().collect::<Vec<_>>().join(", ");
    let why = match (claims.is_empty(), users.is_empty()) {
        (true, true) => return None,
        (false, true) => format!("claims use it: {}; delete them first", claims.join(", ")),
        (false, false) => format!(
            "claims use it: {}, and have it mounted: {mounts}; delete them first",
            claims.join(", ")
        ),
        (true, false) => format!("it is mounted by {mounts}; that ends first"),
    };
    Some(Verdict::new(Reason::InUse, why))
}

/// The `Ready` condition among conditions.
pub fn ready_condition(conditions: &[Condition]) -> Option<&Condition> {
    conditions.iter().find(|condition| condition.type_ == READY)
}

/// The `Ready` condition of what does not go on by itself.
pub fn stuck_condition(conditions: &[Condition]) -> Option<&Condition> {
    let goes_on = [Reason::Progressing.as_str(), Reason::Ready.as_str()];
    ready_condition(conditions).filter(|ready| !goes_on.contains(&ready.reason.as_str()))
}

/// Applies a status, unless nothing in it changed. The object is the one that `before` was read from, and the write
/// fails with a conflict when it is another one by now or has changed.
///
/// # Errors
/// Those of the API.
pub async fn write_status<A: Api, K: Kind, S: Serialize + PartialEq + Sync>(
    api: &A,
    object: &K,
    before: &S,
    after: &S,
) -> Result<Option<K>, ApiError> {
    if before == after {
        return Ok(None);
    }
    apply_status(api, object, &Guard::unchanged(object), after)
        .await
        .map(Some)
}

/// Applies a status.
///
/// # Errors
/// Those of the API.
pub async fn apply_status<A: Api, K: Kind, S: Serialize + Sync>(
    api: &A,
    object: &K,
    guard: &Guard,
    status: &S,
) -> Result<K, ApiError> {
    let status = serde_json::to_value(status).map_err(|error| ApiError {
        kind: ApiErrorKind::Invalid,
        message: error.to_string(),
    })?;
    api.apply_status(&Key::of(object), guard, MANAGER, status).await
}

/// Publishes a verdict's event, if it has one. Events are a courtesy: a failure is logged and nothing else.
pub async fn tell<A: Api, K: Kind>(api: &A, object: &K, verdict: &Verdict, before: &[Condition], action: &'static str) {
    if let Some(event) = verdict.event(ready_condition(before), action) {
        publish(api, object, event).await;
    }
}

/// Publishes an event.
pub async fn publish<A: Api, K: Kind>(api: &A, object: &K, event: Event) {
    if let Err(error) = api.event(object.object_ref(&()), event).await {
        tracing::warn!(%error, "event not published");
    }
}

/// Whether the `Ready` condition is true.
pub fn is_ready(conditions: &[Condition]) -> bool {
    ready_condition(conditions).is_some_and(|condition| condition.status == "True")
}

/// Reasons that merit an event: something is wrong, or waits for a person.
fn is_warning(reason: Reason) -> bool {
    !matches!(
        reason,
        Reason::Ready
            | Reason::Progressing
            | Reason::Importing
            | Reason::WaitingForFirstPod
            | Reason::NotReady
            | Reason::Deleting
    )
}

impl From<&ReconcileError> for Verdict {
    fn from(error: &ReconcileError) -> Self {
        let reason = match error {
            ReconcileError::Api(error) => match error.kind {
                ApiErrorKind::AlreadyExists => Reason::Conflict,
                ApiErrorKind::Invalid => Reason::Invalid,
                ApiErrorKind::Conflict
                | ApiErrorKind::NotFound
                | ApiErrorKind::Forbidden
                | ApiErrorKind::Unavailable => Reason::Error,
            },
            ReconcileError::Node(error) => match error.kind {
                NodeErrorKind::Unreachable => Reason::NodeUnreachable,
                NodeErrorKind::PoolMissing | NodeErrorKind::PoolSuspended => Reason::PoolUnavailable,
                NodeErrorKind::PoolForeign => Reason::PoolForeign,
                NodeErrorKind::Rewound => Reason::Rewound,
                NodeErrorKind::OutOfSpace => Reason::OutOfSpace,
                NodeErrorKind::ZfsUnsupported => Reason::ZfsUnsupported,
                NodeErrorKind::InUse => Reason::InUse,
                NodeErrorKind::NotFound => Reason::DataMissing,
                NodeErrorKind::Conflict => Reason::Conflict,
                NodeErrorKind::Invalid => Reason::Invalid,
                NodeErrorKind::Deleted => Reason::Deleting,
                NodeErrorKind::Busy | NodeErrorKind::Deadline | NodeErrorKind::Superseded => Reason::Progressing,
                NodeErrorKind::Internal => Reason::Error,
            },
            ReconcileError::NotLeading => Reason::Progressing,
        };
        Self::new(reason, error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unchanged_condition_keeps_its_time_and_is_told_once() {
        let (then, now) = (Timestamp::from_second(10).unwrap(), Timestamp::from_second(20).unwrap());
        let missing = Verdict::new(Reason::DotNotFound, "there is no Dot \"shop\"");
        assert!(missing.event(None, "Commit").is_some());
        let before = missing.conditions(&[], Some(1), then);
        assert_eq!(missing.event(before.first(), "Commit"), None);
        assert_eq!(missing.conditions(&before, Some(1), now), before);
        let after = Verdict::ready().conditions(&before, Some(1), now);
        assert_eq!(after[0].last_transition_time, Time(now));
        assert_eq!(Verdict::ready().event(before.first(), "Commit"), None);
    }
}
