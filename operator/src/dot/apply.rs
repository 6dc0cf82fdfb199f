//! One effect per step.

use std::collections::BTreeMap;
use std::sync::Arc;

use dotmesh_crds::names::{LABEL_AUTOMATIC, LABEL_DOT, default_branch_object, initial_commit_object};
use dotmesh_crds::{Branch, BranchSpec, Commit, CommitSpec, Dot, Pool, Reason, Remnant};
use dotmesh_model::name::BranchName;
use dotmesh_mutant::{Mutant, is_planted};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::ResourceExt;

use super::observe::{Left, Observed};
use super::plan::Step;
use super::report::build_status;
use crate::api::{Api, ApiError, ApiErrorKind, Event, EventType, Guard, Key, Kind};
use crate::context::{Context, ReconcileError};
use crate::driver::Then;
use crate::meta::{adoption, belongs_to, namespace_of, owned_by, release, uid};
use crate::nodes::{NodeErrorKind, Nodes};
use crate::pool::{is_of, precedence};
use crate::remnant::leave::build_remnant;
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
            let taken = super::takeover::take(api, &seen.dot, &remnant).await?;
            seen.source.get_or_insert_default().remnant = Some(taken);
        }
        Step::Describe { node, pool_guid } => {
            seen.stored = Some(super::restore::describe(context, &seen.dot, &node, pool_guid).await?);
        }
        Step::Restore(missing) => super::restore::make(context, seen, missing).await?,
        Step::Restored => seen.is_restored = true,
        Step::CreateInitial => seen.initial = Some(create_or_find(api, &initial_commit(&seen.dot)).await?.into()),
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
        Step::Leave => seen.left = leave(context, &seen.dot).await?,
        Step::Release => {
            release(api, &seen.dot).await?;
            context.memory.keep(uid(&seen.dot));
            return Ok(Then::Gone);
        }
    }
    Ok(Then::Continue)
}

fn done_if_absent<T>(result: Result<T, crate::nodes::NodeError>) -> Result<(), ReconcileError> {
    match result {
        Err(error)
            if !matches!(error.kind, NodeErrorKind::NotFound | NodeErrorKind::Deleted)
                && !is_planted(Mutant::AnyErrorMeansTheDotIsAbsent) =>
        {
            Err(error.into())
        }
        Ok(_) | Err(_) => Ok(()),
    }
}

/// Makes the Dot's Remnant, or finds it.
async fn leave<A: Api, N: Nodes>(context: &Context<A, N>, dot: &Dot) -> Result<Left, ReconcileError> {
    let api = &context.api;
    let namespace = namespace_of(api, dot).await?;
    let (namespace, _) = namespace.ok_or_else(|| ApiError {
        kind: ApiErrorKind::Unavailable,
        message: format!("the namespace of Dot {} is not found", Key::of(dot)),
    })?;
    match build_remnant(dot, &namespace, context.now(), context.config.grace) {
        None => Ok(Left::NotAsked),
        Some(remnant) => match api.create(&remnant).await {
            Ok(made) => {
                publish(api, dot, left_event(&made)).await;
                Ok(Left::Remnant(Box::new(made)))
            }
            Err(_) => Ok(Left::Remnant(Box::new(create_or_find(api, &remnant).await?))),
        },
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
        action: "Dot",
        message: format!(
            "the data stays as Remnant {:?}{until}; a Dot with spec.restoreFrom: {} gets it back",
            remnant.name_any(),
            spec.id
        ),
    }
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

/// Branches and Commits that people made of a Dot, by a consistent read.
///
/// # Errors
/// Those of the API.
pub async fn made_by_people<A: Api>(api: &A, dot: &Dot) -> Result<Vec<String>, ApiError> {
    let mut found = of_kind_by_people::<A, Commit>(api, dot, |commit| &commit.spec.dot).await?;
    found.extend(of_kind_by_people::<A, Branch>(api, dot, |branch| &branch.spec.dot).await?);
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

/// Another object of that name is left to the plan to judge.
async fn create_or_find<A: Api, K: Kind>(api: &A, object: &K) -> Result<K, ApiError> {
    match api.create(object).await {
        Err(error) if error.kind == ApiErrorKind::AlreadyExists => api.get(&Key::of(object)).await?.ok_or(error),
        result => result,
    }
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
        },
        status: None,
    }
}

fn initial_commit(dot: &Dot) -> Commit {
    Commit {
        metadata: automatic(dot, initial_commit_object(&dot.name_any())),
        spec: CommitSpec {
            dot: dot.name_any(),
            branch: Some(BranchName::DEFAULT.to_owned()),
            message: Some(INITIAL_MESSAGE.to_owned()),
            ..CommitSpec::default()
        },
        status: None,
    }
}
