//! One effect per step.

use std::collections::BTreeMap;
use std::sync::Arc;

use dotmesh_crds::condition::Reason;
use dotmesh_crds::names::{LABEL_AUTOMATIC, LABEL_DOT, default_branch_object, initial_commit_object};
use dotmesh_crds::{Branch, BranchSpec, Commit, CommitSpec, Dot, Pool};
use dotmesh_csi_proto::node::StoredCommit;
use dotmesh_model::name::BranchName;
use dotmesh_mutant::{Mutant, is_planted};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::ResourceExt;

use super::import;
use super::observe::Observed;
use super::plan::Step;
use super::report::build_status;
use super::restore::Missing;
use crate::api::{Api, ApiError, Event, EventType, Guard, Key, Kind};
use crate::claim::apply::made;
use crate::context::{Context, ReconcileError, place_of};
use crate::driver::Then;
use crate::meta::{adoption, belongs_to, create_or_find, dot_id, owned_by, release, uid};
use crate::nodes::Nodes;
use crate::pool::{is_of, precedence};
use crate::remnant::leave::{build_dot, leave};
use crate::remnant::takeover::take;
use crate::remnant::{branches_of, end_branches};
use crate::status::{apply_status, publish};

/// Message of the automatic initial commit.
pub const INITIAL_MESSAGE: &str = "Initial commit";

/// Does it, and notes the outcome in `seen`.
pub async fn apply<A: Api, N: Nodes>(
    context: &Context<A, N>,
    seen: &mut Observed,
    step: Step,
) -> Result<Then, ReconcileError> {
    let (api, nodes) = (&context.api, &context.nodes);
    match step {
        Step::Adopt => {
            let patch = adoption(&seen.dot, None);
            seen.dot = api
                .patch(&Key::of(&seen.dot), &Guard::unchanged(&seen.dot), patch)
                .await?;
        }
        Step::CreateMain => seen.main = Some(create_or_find(api, &default_branch(&seen.dot)).await?.into()),
        Step::Take(remnant) => {
            let taken = take(api, &seen.dot, &remnant).await?;
            if let Some(source) = &mut seen.source {
                source.remnant = Some(taken);
            }
        }
        Step::Describe { node, pool_guid } => {
            seen.stored = Some(super::restore::describe(context, &seen.dot, &node, pool_guid).await?);
        }
        Step::Restore(missing) => {
            let found = seen.is_incomplete.then(|| missing.clone());
            super::restore::make(context, seen, missing).await?;
            if let Some(Missing::Commit(commit)) = found {
                tell_found(api, &seen.dot, &commit).await;
            }
        }
        Step::Restored => seen.is_restored = true,
        Step::FindStrays { node, pool_guid } => {
            seen.stored = Some(super::restore::find_strays(context, &seen.dot, &node, pool_guid).await?);
        }
        Step::LeaveBranch(branch) => super::restore::leave_branch(context, seen, &branch).await?,
        Step::NoStrays => {
            if let Some(place) = place_of(&seen.dot) {
                context.memory.clear_suspect(&place, dot_id(&seen.dot));
            }
            seen.is_incomplete = false;
        }
        Step::CreateInitial => seen.initial = Some(create_or_find(api, &initial_commit(&seen.dot)).await?.into()),
        Step::Import(step) => import(context, seen, step).await?,
        Step::Record => {
            let verdict = super::report::progressing();
            let status = build_status(seen, &verdict, context.now());
            // Guarded: the claims' entries that node and volumes follow from must still be the ones that are there.
            let guard = Guard::unchanged(&seen.dot);
            seen.dot = apply_status(api, &seen.dot, &guard, &status).await?;
        }
        Step::EnsureDot { node, request } => {
            nodes.ensure_dot(&node, request).await?;
            seen.is_ensured = true;
        }
        Step::Attach { node, request } => {
            let claim = request.claim_uid.clone();
            nodes.attach(&node, request).await?;
            seen.detached.remove(&claim);
            seen.attached.insert(claim);
        }
        Step::Detach { node, request } => {
            let claim = request.claim_uid.clone();
            done_if_absent(nodes.detach(&node, request).await)?;
            seen.attached.remove(&claim);
            seen.detached.insert(claim);
        }
        Step::Retire => return retire(context, seen).await,
        Step::DeleteMain => {
            if let Some(main) = seen.main.take() {
                api.delete::<Branch>(&Key::of(&*main), &Guard::same(&*main)).await?;
            }
        }
        Step::DeleteDot { node, request } => {
            done_if_absent(nodes.delete_dot(&node, request).await)?;
            seen.is_tombstoned = true;
        }
        Step::FindPool { node } => {
            let mut pools: Vec<Pool> = api.list(None, None).await?;
            pools.retain(|pool| is_of(pool, &node, seen.dot.spec.pool_class()));
            seen.pool = pools.into_iter().min_by_key(precedence).map(Arc::new);
            seen.is_pool_fresh = true;
        }
        Step::Leave => {
            let (now, grace) = (context.now(), context.config.grace);
            let build = |namespace| build_dot(&seen.dot, namespace, now, grace);
            seen.left = leave(context, &seen.dot, build).await?;
        }
        Step::EndBranches => {
            end_branches(api, dot_id(&seen.dot)).await?;
            seen.are_branches_ended = true;
        }
        Step::Release => {
            release(api, &seen.dot).await?;
            context.memory.keep(uid(&seen.dot));
            return Ok(Then::Gone);
        }
    }
    Ok(Then::Continue)
}

/// What there is of the imports is looked at anew afterwards.
async fn import<A: Api, N: Nodes>(
    context: &Context<A, N>,
    seen: &mut Observed,
    step: import::Step,
) -> Result<(), ReconcileError> {
    let api = &context.api;
    match step {
        import::Step::CreateClaim(claim) => made(api.create(&*claim).await)?,
        import::Step::CreatePod(pod) => made(api.create(&*pod).await)?,
        import::Step::DeletePod(pod) => api.delete::<Pod>(&Key::of(&*pod), &Guard::same(&*pod)).await?,
        import::Step::DeleteClaim(claim) => {
            api.delete::<PersistentVolumeClaim>(&Key::of(&*claim), &Guard::same(&*claim))
                .await?;
        }
    }
    seen.imports = import::observe::observe(context, &seen.dot).await?;
    Ok(())
}

fn done_if_absent<T>(result: Result<T, crate::nodes::NodeError>) -> Result<(), ReconcileError> {
    match result {
        Err(error) if !error.kind.is_gone() && !is_planted(Mutant::AnyErrorMeansTheDotIsAbsent) => Err(error.into()),
        Ok(_) | Err(_) => Ok(()),
    }
}

async fn tell_found<A: Api>(api: &A, dot: &Dot, commit: &StoredCommit) {
    let name = commit
        .record
        .as_ref()
        .map_or(commit.commit_id.as_str(), |record| &record.name);
    tracing::warn!(dot = %Key::of(dot), commit = name, "its object was gone without its snapshots");
    let event = Event {
        event_type: EventType::Warning,
        reason: Reason::ObjectMissing.as_str(),
        action: "Dot",
        message: format!("Commit {name:?} had no object, and nobody asked for its deletion: it is there again"),
    };
    publish(api, dot, event).await;
}

/// Nothing new is recorded in the Dot from here on; then it is looked, by consistent reads, what people made of it;
/// then the Dot is deleted, if it is still the one that was decided about.
async fn retire<A: Api, N: Nodes>(context: &Context<A, N>, seen: &mut Observed) -> Result<Then, ReconcileError> {
    let (api, dot) = (&context.api, &seen.dot);
    context.memory.retire(uid(dot));
    let result = async {
        let kept_for = made_by_people(api, dot).await?;
        if kept_for.is_empty() || is_planted(Mutant::AClaimsDotGoesWithWhatPeopleMadeOfIt) {
            api.delete::<Dot>(&Key::of(dot), &Guard::unchanged(dot)).await?;
        }
        Ok::<_, ApiError>(kept_for)
    }
    .await;
    match result {
        Ok(kept_for) if kept_for.is_empty() || is_planted(Mutant::AClaimsDotGoesWithWhatPeopleMadeOfIt) => {
            Ok(Then::Gone)
        }
        Ok(kept_for) => {
            context.memory.keep(uid(dot));
            seen.kept_for = Some(kept_for);
            Ok(Then::Continue)
        }
        Err(error) => {
            context.memory.keep(uid(dot));
            Err(error.into())
        }
    }
}

/// Branches and Commits that people made of a Dot, also Branches that they deleted and can have back, by consistent
/// reads.
///
/// # Errors
/// Those of the API.
pub async fn made_by_people<A: Api>(api: &A, dot: &Dot) -> Result<Vec<String>, ApiError> {
    let mut found = of_kind_by_people::<A, Commit>(api, dot, |commit| &commit.spec.dot).await?;
    found.extend(of_kind_by_people::<A, Branch>(api, dot, |branch| &branch.spec.dot).await?);
    let left = branches_of(api, dot_id(dot)).await?;
    found.extend(left.iter().map(|remnant| format!("Remnant {:?}", remnant.name_any())));
    Ok(found)
}

async fn of_kind_by_people<A: Api, K: Kind>(
    api: &A,
    dot: &Dot,
    names: impl Fn(&K) -> &String,
) -> Result<Vec<String>, ApiError> {
    let fields = format!("spec.dot={}", dot.name_any());
    let mut found: Vec<K> = api.list(dot.namespace().as_deref(), Some(&fields)).await?;
    found.retain(|object| {
        *names(object) == dot.name_any() && belongs_to(object, dot) && !object.labels().contains_key(LABEL_AUTOMATIC)
    });
    Ok(found
        .iter()
        .map(|object| format!("{} {:?}", K::kind(&()), object.name_any()))
        .collect())
}

fn automatic(dot: &Dot, name: String) -> ObjectMeta {
    ObjectMeta {
        name: Some(name),
        namespace: dot.namespace(),
        labels: Some(BTreeMap::from([
            (LABEL_AUTOMATIC.to_owned(), "true".to_owned()),
            (LABEL_DOT.to_owned(), dot.name_any()),
        ])),
        owner_references: Some(vec![owned_by(dot)]),
        ..ObjectMeta::default()
    }
}

fn default_branch(dot: &Dot) -> Branch {
    Branch {
        metadata: automatic(dot, default_branch_object(&dot.name_any())),
        spec: BranchSpec {
            dot: dot.name_any(),
            name: BranchName::DEFAULT.to_owned(),
            from: String::new(),
            restore_from: None,
        },
        status: None,
    }
}

/// With what it begins.
fn initial_message(dot: &Dot) -> String {
    let sources: Vec<String> = import::plan::sources(dot).into_iter().collect();
    match sources.as_slice() {
        [] => INITIAL_MESSAGE.to_owned(),
        sources => format!("Imported from {}", sources.join(", ")),
    }
}

fn initial_commit(dot: &Dot) -> Commit {
    Commit {
        metadata: automatic(dot, initial_commit_object(&dot.name_any())),
        spec: CommitSpec {
            dot: dot.name_any(),
            branch: Some(BranchName::DEFAULT.to_owned()),
            message: Some(initial_message(dot)),
            ..CommitSpec::default()
        },
        status: None,
    }
}
