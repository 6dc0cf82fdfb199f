//! The Dot's status (without the claims' entries, which another writer owns), and events about what is wrong.

use dotmesh_crds::condition::Reason;
use dotmesh_crds::{Dot, DotStatus};
use dotmesh_model::name::BranchName;
use dotmesh_mutant::{Mutant, is_planted};
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;

use super::import::report::build_imports;
use super::observe::Observed;
use super::plan::{initial_done, is_attached, is_default_branch};
use super::validate::validate;
use crate::api::Api;
use crate::context::{Context, ReconcileError};
use crate::meta::is_restoring;
use crate::nodes::Nodes;
use crate::status::{Verdict, tell, write_status};

const ACTION: &str = "Dot";

/// What the condition says while effects are under way.
pub fn progressing() -> Verdict {
    Verdict::new(Reason::Progressing, "being made")
}

/// The status after this pass, `claims` left out.
pub fn build_status(seen: &Observed, verdict: &Verdict, now: Timestamp) -> DotStatus {
    let mut status = seen.dot.status.clone().unwrap_or_default();
    let generation = seen.dot.metadata.generation;
    if let Ok(valid) = validate(seen) {
        status.id = Some(valid.id.to_string());
        status.node = valid.node;
        status.volumes = valid.volumes;
    }
    if status.checkout.is_none()
        && !is_restoring(&seen.dot)
        && seen.main.as_deref().is_some_and(|main| is_default_branch(seen, main))
    {
        status.checkout = Some(BranchName::DEFAULT.to_owned());
    }
    if seen.is_restored {
        status.checkout = Some(BranchName::DEFAULT.to_owned());
        let initial = seen.stored.as_ref().and_then(|stored| stored.initial.clone());
        status.initial_commit = status.initial_commit.or(initial);
    }
    if seen.is_ensured && status.pool.is_none() {
        status.pool = seen.pool.as_deref().map(ResourceExt::name_any);
    }
    status.initial_commit = status.initial_commit.or_else(|| initial_done(seen));
    status.imports = build_imports(&seen.dot, &seen.imports);
    let mut attachments = status.attachments.clone();
    attachments.extend(seen.attached.iter().cloned());
    attachments.retain(|claim| is_attached(seen, claim));
    attachments.sort();
    attachments.dedup();
    status.attachments = attachments;
    status.claims = Vec::new();
    if !is_planted(Mutant::ObservedGenerationIsForgotten) {
        status.observed_generation = generation;
    }
    status.conditions = verdict.conditions(&status.conditions, generation, now);
    status
}

fn without_claims(dot: &Dot) -> DotStatus {
    DotStatus {
        claims: Vec::new(),
        ..dot.status.clone().unwrap_or_default()
    }
}

/// Whether the status would change.
pub fn is_news<A: Api, N: Nodes>(context: &Context<A, N>, seen: &Observed, verdict: &Verdict) -> bool {
    without_claims(&seen.dot) != build_status(seen, verdict, context.now())
}

/// Writes the status if it says something new, and the event that goes with it.
pub async fn report<A: Api, N: Nodes>(
    context: &Context<A, N>,
    seen: &Observed,
    verdict: &Verdict,
) -> Result<(), ReconcileError> {
    let before = without_claims(&seen.dot);
    let after = build_status(seen, verdict, context.now());
    write_status::<_, Dot, _>(&context.api, &seen.dot, &before, &after).await?;
    tell(&context.api, &seen.dot, verdict, &before.conditions, ACTION).await;
    Ok(())
}
