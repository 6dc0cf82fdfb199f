//! The next step for a Dot. Pure.

use dotmesh_crds::condition::Reason;
use dotmesh_crds::dot::DotClaim;
use dotmesh_crds::names::{DEFAULT_CLASS, LABEL_AUTOMATIC};
use dotmesh_crds::{Branch, Commit, Remnant};
use dotmesh_csi_proto::node::{AttachRequest, DeleteDotRequest, DetachRequest, EnsureDotRequest, StoredBranch};
use dotmesh_model::id::VolumeId;
use dotmesh_model::name::BranchName;
use dotmesh_model::size::{format_quantity, parse_quantity};
use dotmesh_mutant::{Mutant, is_planted};
use kube::{Resource, ResourceExt};

use super::import::{self, Next, is_importing};
use super::observe::Observed;
use super::restore::Missing;
use super::takeover::standing;
use super::validate::{Valid, validate};
use crate::branch::observe::is_accepted;
use crate::claim::own::Owner;
use crate::driver::Plan;
use crate::loss::{lost, what_helps};
use crate::meta::{dot_id, is_deleting, is_protected, is_restoring, owner_dot, uid};
use crate::pool::meant;
use crate::pool::suspects::knows_claim;
use crate::remnant::leave::{Left, waits_for};
use crate::remnant::takeover::Standing;
use crate::status::{Verdict, in_use, is_ready, ready_condition, stuck_condition};

/// One effect.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// Protect it.
    Adopt,
    /// Make the default branch's object.
    CreateMain,
    /// Record id, node, volumes, and that the default branch was made: before anything lies anywhere.
    Record,
    /// Say in the Remnant that this Dot takes its data.
    Take(Box<Remnant>),
    /// Look what the data that was taken over holds.
    Describe {
        /// Where.
        node: String,
        /// In which of its pools.
        pool_guid: u64,
    },
    /// Make an object of what it holds.
    Restore(Missing),
    /// All of them are there.
    Restored,
    /// Look what the data holds that no object stands for.
    FindStrays {
        /// Where.
        node: String,
        /// In which of its pools.
        pool_guid: u64,
    },
    /// Make a Remnant of a branch that no object stands for.
    LeaveBranch(Box<StoredBranch>),
    /// Each has its object, or its Remnant.
    NoStrays,
    /// Make the dataset.
    EnsureDot {
        /// Where.
        node: String,
        /// What.
        request: EnsureDotRequest,
    },
    /// Something for an import of one of its volumes.
    Import(import::Step),
    /// Make the initial commit's object.
    CreateInitial,
    /// Let a claim's handle resolve.
    Attach {
        /// Where.
        node: String,
        /// What.
        request: AttachRequest,
    },
    /// Let a claim's handle resolve no longer.
    Detach {
        /// Where.
        node: String,
        /// What.
        request: DetachRequest,
    },
    /// The claim it was made for is gone: look what people made of it, and if that is nothing, delete the Dot.
    Retire,
    /// The claim it was made for is gone, but people made something of it: delete the live data only.
    DeleteMain,
    /// Record the tombstone.
    DeleteDot {
        /// Where.
        node: String,
        /// Of what.
        request: DeleteDotRequest,
    },
    /// Nothing says on which Pool it was made, if it was: look which one of its class is on this node.
    FindPool {
        /// The node.
        node: String,
    },
    /// Make a Remnant of the data, which stays.
    Leave,
    /// The data is destroyed, with that of Branches which were deleted before: ask for the end of their Remnants.
    EndBranches,
    /// Let the object go.
    Release,
}

/// The next step.
pub fn plan(seen: &Observed) -> Plan<Step> {
    if is_deleting(&seen.dot) {
        return plan_deletion(seen);
    }
    plan_life(seen)
}

fn plan_life(seen: &Observed) -> Plan<Step> {
    let status = seen.dot.status.clone().unwrap_or_default();
    if !is_protected(&seen.dot) {
        return Plan::Do(Step::Adopt);
    }
    if seen.owner == Owner::Gone
        && let Some(step) = plan_retirement(seen)
    {
        return Plan::Do(step);
    }
    if let Some(Standing::Free(remnant)) = standing(seen) {
        return Plan::Do(Step::Take(Box::new(remnant.clone())));
    }
    let valid = match validate(seen) {
        Ok(valid) => valid,
        Err(verdict) => return Plan::Report(verdict),
    };
    let is_restoring = is_restoring(&seen.dot);
    if status.checkout.is_none() && !is_restoring {
        match &seen.main {
            None => return Plan::Do(Step::CreateMain),
            Some(branch) if !is_default_branch(seen, branch) => {
                let why = format!(
                    "the default branch needs the name of Branch {:?}, which is something else; delete that one",
                    branch.name_any()
                );
                return Plan::Report(Verdict::new(Reason::Conflict, why));
            }
            Some(_) => {}
        }
    }
    // Its pod places an unplaced Dot, as any pod that uses a claim on it.
    let importing = match import::plan(&seen.dot, &seen.imports, seen.now) {
        Some(Next::Do(step)) => return Plan::Do(Step::Import(step)),
        Some(Next::Record) => return Plan::Do(Step::Record),
        Some(Next::Wait(verdict)) => Some(verdict),
        None => None,
    };
    let Some(node) = valid.node.clone() else {
        if let Some(verdict) = importing {
            return Plan::Report(verdict);
        }
        let why = "placed with the first pod that uses a claim on it";
        return Plan::Report(Verdict::new(Reason::WaitingForFirstPod, why));
    };
    let has_main = status.checkout.is_some() || is_restoring;
    let recorded = (&status.id, &status.node, &status.volumes, has_main);
    if recorded != (&Some(valid.id.to_string()), &valid.node, &valid.volumes, true) {
        return Plan::Do(Step::Record);
    }
    if let Some(next) = plan_detach(seen, &node) {
        return next;
    }
    // What is lost is not made anew.
    match lost(&seen.data, &status.conditions, |_| tell_loss(&node)) {
        Some(verdict) => Plan::Report(verdict),
        None => plan_data(seen, &valid, node, importing),
    }
}

fn tell_loss(node: &str) -> String {
    let helps = what_helps("Dot", Some(node));
    format!("its datasets were destroyed by something else than Dotmesh: {helps}")
}

/// Dataset, default branch, imports, initial commit, then claims.
fn plan_data(seen: &Observed, valid: &Valid, node: String, importing: Option<Verdict>) -> Plan<Step> {
    let status = seen.dot.status.clone().unwrap_or_default();
    if valid.volumes.is_empty() {
        let why = "no volumes yet: list them in spec.volumes, or make a claim on the Dot";
        return Plan::Report(Verdict::new(Reason::NoVolumes, why));
    }
    if status.pool.is_none() && !seen.is_ensured {
        let pool_guid = match check_pool(seen, &node).and_then(|()| meant_pool(seen)) {
            Ok(guid) => guid,
            Err(verdict) => return Plan::Report(verdict),
        };
        return Plan::Do(Step::EnsureDot {
            node,
            request: EnsureDotRequest {
                dot_id: valid.id.to_string(),
                namespace: seen.dot.namespace().unwrap_or_default(),
                name: seen.dot.name_any(),
                pool_guid,
                take_over: seen.dot.spec.restore_from.is_some(),
            },
        });
    }
    if status.pool.is_none() {
        return Plan::Do(Step::Record);
    }
    if is_restoring(&seen.dot) {
        return plan_restoration(seen, node);
    }
    if importing.is_none() {
        match plan_initial(seen) {
            Initial::Next(next) => return next,
            Initial::Done | Initial::Impossible => {}
        }
    }
    if is_planted(Mutant::OnceReadyAllWasDone) && is_ready(&status.conditions) {
        return Plan::Report(plan_verdict(seen));
    }
    let is_waiting = |claim: &&DotClaim| !is_attached(seen, &claim.uid) && may_have_it(seen, claim);
    if importing.is_none() && !valid.claims.iter().any(|claim| is_waiting(&claim)) {
        if let Some(next) = plan_strays(seen, &node) {
            return next;
        }
        let verdict = plan_verdict(seen);
        let refused = valid.refused.clone().filter(|_| verdict.is_ready());
        return Plan::Report(refused.unwrap_or(verdict));
    }
    let pool_guid = match meant_pool(seen) {
        Ok(guid) => guid,
        Err(verdict) => return Plan::Report(verdict),
    };
    let mut waiting = Vec::new();
    for claim in valid.claims.iter().filter(is_waiting) {
        match plan_attach(seen, valid, claim, pool_guid) {
            Ok(request) => return Plan::Do(Step::Attach { node, request }),
            Err(why) => waiting.push(why),
        }
    }
    match importing.filter(|_| waiting.is_empty()) {
        Some(verdict) => Plan::Report(verdict),
        None => Plan::Report(Verdict::new(Reason::NotReady, waiting.join("; "))),
    }
}

/// While volumes are being filled, only the claims by which that is done get them.
fn may_have_it(seen: &Observed, claim: &DotClaim) -> bool {
    let is_import = |import: &import::Import| {
        let target = import.target.as_ref().and_then(|target| target.metadata.uid.as_ref());
        target == Some(&claim.uid)
    };
    !is_importing(&seen.dot)
        || seen.imports.all.iter().any(is_import)
        || is_planted(Mutant::ClaimsAreServedBeforeTheImport)
}

/// The GUID of the pool that its node is asked about.
fn meant_pool(seen: &Observed) -> Result<u64, Verdict> {
    let recorded = seen.dot.status.as_ref().and_then(|status| status.pool.as_deref());
    let class = || seen.dot.spec.pool_class();
    meant(seen.pool.as_deref(), recorded.unwrap_or_else(class))
}

/// The objects of what was taken over. A name is given to nothing else before all of them are there.
fn plan_restoration(seen: &Observed, node: String) -> Plan<Step> {
    if seen.is_restored {
        return Plan::Do(Step::Record);
    }
    let pool_guid = match meant_pool(seen) {
        Ok(guid) => guid,
        Err(verdict) => return Plan::Report(verdict),
    };
    let Some(stored) = &seen.stored else {
        return Plan::Do(Step::Describe { node, pool_guid });
    };
    if let Some(verdict) = &stored.blocked {
        return Plan::Report(verdict.clone());
    }
    if let Some(missing) = stored.missing() {
        return Plan::Do(Step::Restore(missing));
    }
    // None of them is this Dot's: it attaches claims afterwards.
    if let Some(claim) = stored.claims.iter().find(|claim| !seen.detached.contains(*claim)) {
        return Plan::Do(Step::Detach {
            node,
            request: DetachRequest {
                dot_id: dot_id(&seen.dot).to_owned(),
                claim_uid: claim.clone(),
                pool_guid,
            },
        });
    }
    // Whether all of them are there still, and complete.
    match stored.is_changed {
        true => Plan::Do(Step::Describe { node, pool_guid }),
        false => Plan::Do(Step::Restored),
    }
}

/// What the data holds and no object stands for: Commits get their objects again, Branches become Remnants, attachments of
/// claims that are gone go.
fn plan_strays(seen: &Observed, node: &str) -> Option<Plan<Step>> {
    if !seen.is_incomplete {
        return None;
    }
    let pool_guid = meant_pool(seen).ok()?;
    let node = node.to_owned();
    let Some(stored) = &seen.stored else {
        return Some(Plan::Do(Step::FindStrays { node, pool_guid }));
    };
    if let Some(verdict) = &stored.blocked {
        return Some(Plan::Report(verdict.clone()));
    }
    let is_stray = |claim: &&String| !knows_claim(&seen.dot, claim) && !seen.detached.contains(*claim);
    Some(match (stored.missing(), stored.claims.iter().find(is_stray)) {
        (Some(Missing::Branch(branch)), _) => Plan::Do(Step::LeaveBranch(branch)),
        (Some(commit), _) => Plan::Do(Step::Restore(commit)),
        (None, Some(claim)) => Plan::Do(Step::Detach {
            node,
            request: DetachRequest {
                dot_id: dot_id(&seen.dot).to_owned(),
                claim_uid: claim.clone(),
                pool_guid,
            },
        }),
        (None, None) => Plan::Do(Step::NoStrays),
    })
}

fn plan_verdict(seen: &Observed) -> Verdict {
    if current_main(seen).is_some() || has_checkout(seen) {
        return Verdict::ready();
    }
    match &seen.kept_for {
        Some(_) => Verdict::new(
            Reason::Ready,
            "the claim is gone; kept for the Commits and Branches made of it",
        ),
        None => Verdict::new(
            Reason::BranchNotFound,
            "the default branch was deleted; claims that follow the Dot have nothing to mount",
        ),
    }
}

fn check_pool(seen: &Observed, node: &str) -> Result<(), Verdict> {
    let Some(pool) = seen.pool.as_deref() else {
        return Err(Verdict::new(
            Reason::PoolUnavailable,
            tell_no_pool(node, seen.dot.spec.pool_class()),
        ));
    };
    let conditions = pool
        .status
        .as_ref()
        .map(|status| status.conditions.as_slice())
        .unwrap_or_default();
    if is_ready(conditions) {
        return Ok(());
    }
    let why = ready_condition(conditions).map_or("not looked at yet", |ready| ready.message.as_str());
    let why = format!("Pool {:?} is not ready: {why}", pool.name_any());
    Err(Verdict::new(Reason::PoolUnavailable, why))
}

/// What helps when a node has no Pool of a class.
pub fn tell_no_pool(node: &str, class: &str) -> String {
    let helps = match class {
        DEFAULT_CLASS => "one is made when csi-node runs there",
        _ => "make one with this spec.class there, or use a node that has one",
    };
    format!("node {node:?} has no Pool of class {class:?}; {helps}")
}

enum Initial {
    Next(Plan<Step>),
    Done,
    /// Somebody deleted the default branch before.
    Impossible,
}

fn plan_initial(seen: &Observed) -> Initial {
    let status = seen.dot.status.clone().unwrap_or_default();
    let is_restored = seen.dot.spec.restore_from.is_some();
    if is_restored || status.initial_commit.is_some() || initial_done(seen).is_some() {
        return Initial::Done;
    }
    let Some(main) = current_main(seen) else {
        return Initial::Impossible;
    };
    let waits = |what: &str, name: &str, conditions: &[dotmesh_crds::Condition]| {
        // Each turn of the other's progress would be a write here; only what keeps it is told.
        let stuck = stuck_condition(conditions);
        let why = stuck.map_or("being made", |ready| ready.message.as_str());
        let verdict = Verdict::new(Reason::Progressing, format!("waits for {what} {name:?}: {why}"));
        Initial::Next(Plan::Report(verdict))
    };
    let main_status = main.status.clone().unwrap_or_default();
    if !is_ready(&main_status.conditions) || main_status.volumes.len() < status.volumes.len() {
        return waits("Branch", &main.name_any(), &main_status.conditions);
    }
    match seen.initial.as_deref() {
        None => Initial::Next(Plan::Do(Step::CreateInitial)),
        Some(commit) if !is_initial_commit(seen, commit) => {
            let why = format!(
                "the initial commit needs the name of Commit {:?}, which is something else; delete that one",
                commit.name_any()
            );
            Initial::Next(Plan::Report(Verdict::new(Reason::Conflict, why)))
        }
        Some(commit) => {
            let conditions = commit
                .status
                .as_ref()
                .map(|status| status.conditions.as_slice())
                .unwrap_or_default();
            waits("Commit", &commit.name_any(), conditions)
        }
    }
}

/// Name of the initial commit's object, when it is Ready.
pub fn initial_done(seen: &Observed) -> Option<String> {
    let commit = seen.initial.as_deref()?;
    let ready = commit
        .status
        .as_ref()
        .is_some_and(|status| is_ready(&status.conditions));
    (ready && is_initial_commit(seen, commit)).then(|| commit.name_any())
}

/// Whether an object that has the default branch's name is the default branch.
pub fn is_default_branch(seen: &Observed, branch: &Branch) -> bool {
    is_own(seen, branch) && branch.spec.dot == seen.dot.name_any() && branch.spec.name == BranchName::DEFAULT
}

/// Whether an object that has the initial commit's name is the initial commit.
pub fn is_initial_commit(seen: &Observed, commit: &Commit) -> bool {
    is_own(seen, commit) && commit.spec.dot == seen.dot.name_any()
}

fn is_own<K: Resource>(seen: &Observed, object: &K) -> bool {
    object.labels().contains_key(LABEL_AUTOMATIC) && owner_dot(object) == Some(uid(&seen.dot))
}

/// Whether a Branch that people made, or got back, is what claims follow.
fn has_checkout(seen: &Observed) -> bool {
    let checkout = seen.dot.status.as_ref().and_then(|status| status.checkout.as_ref());
    let is_it = |branch: &Branch| Some(&branch.spec.name) == checkout && is_accepted(branch) && !is_deleting(branch);
    seen.branches.iter().any(|branch| is_it(branch))
}

fn current_main(seen: &Observed) -> Option<&Branch> {
    let main = seen.main.as_deref()?;
    (is_default_branch(seen, main) && !is_deleting(main)).then_some(main)
}

/// Whether a claim's attachment is recorded on the node.
pub fn is_attached(seen: &Observed, claim: &str) -> bool {
    let recorded = seen
        .dot
        .status
        .as_ref()
        .is_some_and(|status| status.attachments.iter().any(|uid| uid == claim));
    (recorded || seen.attached.contains(claim)) && !seen.detached.contains(claim)
}

fn plan_detach(seen: &Observed, node: &str) -> Option<Plan<Step>> {
    let status = seen
        .dot
        .status
        .as_ref()
        .filter(|_| !is_planted(Mutant::ClaimsAreNeverDetached))?;
    let left = status
        .attachments
        .iter()
        .find(|uid| !status.claims.iter().any(|claim| claim.uid == **uid) && !seen.detached.contains(*uid))?;
    Some(match meant_pool(seen) {
        Ok(pool_guid) => Plan::Do(Step::Detach {
            node: node.to_owned(),
            request: DetachRequest {
                dot_id: status.id.clone().unwrap_or_default(),
                claim_uid: left.clone(),
                pool_guid,
            },
        }),
        Err(verdict) => Plan::Report(verdict),
    })
}

fn plan_attach(seen: &Observed, valid: &Valid, claim: &DotClaim, pool_guid: u64) -> Result<AttachRequest, String> {
    let status = seen.dot.status.clone().unwrap_or_default();
    let accepted = |branch: &&std::sync::Arc<Branch>| {
        let is_meant = match &claim.branch {
            Some(object) => branch.name_any() == *object,
            None => Some(&branch.spec.name) == status.checkout.as_ref(),
        };
        is_meant && branch.status.as_ref().is_some_and(|status| status.head.is_some()) && !is_deleting(&***branch)
    };
    let waiting = |why: String| format!("claim {:?} waits: {why}", claim.name);
    let branch = seen.branches.iter().find(accepted).ok_or_else(|| {
        let name = claim.branch.clone().or(status.checkout.clone()).unwrap_or_default();
        waiting(format!("there is no Branch {name:?} that is ready"))
    })?;
    let branch_status = branch.status.clone().unwrap_or_default();
    let volume = VolumeId::derive(valid.id, &claim.volume).to_string();
    // Nothing is handed out that is smaller than it was asked to be.
    let wanted = valid.volumes.iter().find(|found| found.id == volume);
    let wanted = wanted.and_then(|found| parse_quantity(&found.size).ok());
    let has = branch_status.volumes.iter().find(|found| found.id == volume);
    let has = has.and_then(|found| parse_quantity(&found.size).ok());
    if has.is_none() || has < wanted {
        let (object, size) = (branch.name_any(), format_quantity(wanted.unwrap_or_default()));
        return Err(waiting(format!(
            "Branch {object:?} does not have volume {:?} of {size} yet",
            claim.volume
        )));
    }
    Ok(AttachRequest {
        dot_id: valid.id.to_string(),
        claim_uid: claim.uid.clone(),
        volume_id: volume,
        branch_id: claim.branch.as_ref().and(branch_status.id).unwrap_or_default(),
        pool_guid,
    })
}

/// Absent: nothing more of it to do in this pass.
fn plan_retirement(seen: &Observed) -> Option<Step> {
    if seen.kept_for.is_none() {
        return Some(Step::Retire);
    }
    current_main(seen).map(|_| Step::DeleteMain)
}

/// A Dot that was never placed has nothing on disk, nor has one on whose node there is no pool for it.
fn plan_deletion(seen: &Observed) -> Plan<Step> {
    if !is_protected(&seen.dot) {
        return Plan::Rest;
    }
    match import::plan_end(&seen.dot, &seen.imports) {
        Some(Next::Do(step)) => return Plan::Do(Step::Import(step)),
        Some(Next::Wait(verdict)) => return Plan::Report(Verdict::new(Reason::Deleting, verdict.message)),
        Some(Next::Record) | None => {}
    }
    let status = seen.dot.status.clone().unwrap_or_default();
    let claims = status.claims.iter();
    let claims: Vec<String> = claims
        .map(|claim| format!("{}/{}", claim.namespace, claim.name))
        .collect();
    if let Some(verdict) = in_use(&claims, &seen.users) {
        return Plan::Report(verdict);
    }
    match &seen.left {
        Left::ToBeMade if !is_planted(Mutant::DotGoesBeforeItsRemnant) => return Plan::Do(Step::Leave),
        Left::ToBeMade => return Plan::Do(Step::Release),
        Left::Remnant(remnant) if remnant.spec.uid == uid(&seen.dot) => return Plan::Do(Step::Release),
        // The one that this Dot's data was taken from: its end comes first, and destroys nothing.
        Left::Remnant(remnant) => return Plan::Report(waits_for(remnant)),
        // What it leaves is looked at anew before anything is done.
        Left::NotAsked | Left::Nothing => {}
    }
    let node = match status.node {
        Some(node) if !seen.is_tombstoned && !is_planted(Mutant::DotGoesBeforeItsData) => node,
        Some(_) if !seen.are_branches_ended => return Plan::Do(Step::EndBranches),
        Some(_) | None => return Plan::Do(Step::Release),
    };
    if status.pool.is_none() && !seen.is_pool_fresh {
        return Plan::Do(Step::FindPool { node });
    }
    match meant_pool(seen) {
        Ok(pool_guid) => Plan::Do(Step::DeleteDot {
            node,
            request: DeleteDotRequest {
                dot_id: dot_id(&seen.dot).to_owned(),
                pool_guid,
            },
        }),
        Err(verdict) if status.pool.is_some() => Plan::Report(verdict),
        // Nobody has seen a pool of its class there, so that nothing was made. While it may have been, the Pool stays.
        Err(_) => Plan::Do(Step::Release),
    }
}
