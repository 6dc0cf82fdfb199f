//! The Commit's condition `Published`, and events about what is wrong.

use dotmesh_crds::Commit;
use dotmesh_crds::condition::{Condition, PUBLISHED, Reason};
use dotmesh_crds::names::MANAGER_PUBLISH;
use serde_json::json;

use super::observe::Observed;
use super::published_condition;
use crate::api::{Api, Guard, Key};
use crate::context::{Context, ReconcileError};
use crate::nodes::Nodes;
use crate::status::{Verdict, publish};

const ACTION: &str = "Publish";

fn build<A: Api, N: Nodes>(context: &Context<A, N>, commit: &Commit, verdict: &Verdict) -> Condition {
    let before = published_condition(commit);
    verdict.condition(PUBLISHED, before, commit.metadata.generation, context.now())
}

/// Whether the condition would change.
pub fn is_news<A: Api, N: Nodes>(context: &Context<A, N>, seen: &Observed, verdict: &Verdict) -> bool {
    published_condition(&seen.commit) != Some(&build(context, &seen.commit, verdict))
}

/// Writes the condition if it says something new, and the event that goes with it. That VolumeSnapshots are not there at all
/// is an event only where somebody asked for those of this Commit.
pub async fn report<A: Api, N: Nodes>(
    context: &Context<A, N>,
    seen: &Observed,
    verdict: &Verdict,
) -> Result<(), ReconcileError> {
    if !is_news(context, seen, verdict) {
        return Ok(());
    }
    let commit = &seen.commit;
    let status = json!({ "conditions": [build(context, commit, verdict)] });
    let (key, guard) = (Key::of(commit), Guard::unchanged(commit));
    context
        .api
        .apply_status::<Commit>(&key, &guard, MANAGER_PUBLISH, status)
        .await?;
    let is_asked = commit.spec.publish || verdict.reason != Reason::SnapshotsUnavailable;
    let event = verdict.event(published_condition(commit), ACTION);
    if let Some(event) = event.filter(|_| is_asked) {
        publish(&context.api, commit, event).await;
    }
    Ok(())
}
