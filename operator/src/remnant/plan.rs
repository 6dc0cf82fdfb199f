//! The next step for a Remnant. Pure.

use std::time::Duration;

use dotmesh_crds::condition::Reason;
use dotmesh_crds::remnant::RemnantKind;
use dotmesh_csi_proto::node::{DeleteBranchRequest, DeleteDotRequest};
use dotmesh_mutant::{Mutant, is_planted};
use k8s_openapi::jiff::Timestamp;

use super::observe::{Observed, Party};
use crate::driver::Plan;
use crate::meta::{is_deleting, is_protected};
use crate::pool::meant;
use crate::status::Verdict;

/// Longest that is waited at once: a clock may be set, and a restart forgets.
const WAIT_MAX: i64 = 3600;

/// One effect.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// Protect it.
    Adopt,
    /// Its taker is gone, or will never take it: it is there for others again.
    GiveBack,
    /// Its time is over, or its data has an owner again: ask for its end, in the version that was looked at.
    End,
    /// Ask for its end before its time, and tell why.
    EndEarly,
    /// Record the tombstone of a Dot's data.
    DestroyDot {
        /// Where.
        node: String,
        /// Of what.
        request: DeleteDotRequest,
    },
    /// Its data is destroyed with that of Branches which were deleted before: ask for the end of their Remnants.
    EndBranches,
    /// Record the tombstone of a Branch's data.
    DestroyBranch {
        /// Where.
        node: String,
        /// Of what.
        request: DeleteBranchRequest,
    },
    /// Let the object go.
    Release,
}

/// The next step.
pub fn plan(seen: &Observed) -> Plan<Step> {
    if is_deleting(&seen.remnant) {
        return plan_end(seen);
    }
    if !is_protected(&seen.remnant) {
        return Plan::Do(Step::Adopt);
    }
    if let Some(holder) = &seen.holder {
        return plan_held(seen, holder);
    }
    if is_taken(seen) {
        return match seen.taker.as_ref().filter(|taker| !taker.is_deleting) {
            Some(taker) => Plan::Report(Verdict::new(
                Reason::Progressing,
                format!("{} {} takes it over", kind(seen), taker.key),
            )),
            None => Plan::Do(Step::GiveBack),
        };
    }
    let expires_at = match expires_at(seen) {
        Ok(time) => time,
        Err(why) => return Plan::Report(Verdict::new(Reason::Invalid, why)),
    };
    if expires_at.is_some_and(|time| time <= seen.now) || is_planted(Mutant::ARemnantGoesBeforeItsTime) {
        return Plan::Do(Step::End);
    }
    if seen.is_to_go_early && seen.early_in == 0 {
        return Plan::Do(Step::EndEarly);
    }
    Plan::Report(Verdict::ready())
}

/// How long until there is something to decide again.
pub fn again(seen: &Observed) -> Option<Duration> {
    if is_deleting(&seen.remnant) || seen.holder.is_some() || is_taken(seen) {
        return None;
    }
    let expiry = expires_at(seen).ok().flatten();
    let left = expiry.map(|time| time.as_second() - seen.now.as_second());
    let early = seen
        .is_to_go_early
        .then(|| i64::try_from(seen.early_in).unwrap_or(WAIT_MAX));
    let seconds = left.into_iter().chain(early).min()?.clamp(1, WAIT_MAX);
    Some(Duration::from_secs(seconds.unsigned_abs()))
}

fn is_taken(seen: &Observed) -> bool {
    seen.remnant
        .status
        .as_ref()
        .is_some_and(|status| status.taken_by.is_some())
}

fn is_taker(seen: &Observed, uid: &str) -> bool {
    let taker = seen.remnant.status.as_ref().and_then(|status| status.taken_by.as_ref());
    taker.is_some_and(|taker| taker.uid == uid)
}

/// The object that left it, and is not gone yet: only for a moment.
fn is_leaving(seen: &Observed, holder: &Party) -> bool {
    holder.is_deleting && holder.uid == seen.remnant.spec.uid && !is_taken(seen)
}

fn expires_at(seen: &Observed) -> Result<Option<Timestamp>, String> {
    let Some(text) = &seen.remnant.spec.expires_at else {
        return Ok(None);
    };
    text.parse()
        .map(Some)
        .map_err(|_| format!("spec.expiresAt: {text:?} is no time as in 2026-01-31T12:00:00Z"))
}

/// Somebody has the data.
fn plan_held(seen: &Observed, holder: &Party) -> Plan<Step> {
    if is_taker(seen, &holder.uid) {
        return Plan::Do(Step::End);
    }
    if is_leaving(seen, holder) {
        let why = format!("{} {} is about to go", kind(seen), holder.key);
        return Plan::Report(Verdict::new(Reason::Progressing, why));
    }
    let why = format!(
        "{} {} has this data; delete this Remnant, that destroys nothing",
        kind(seen),
        holder.key
    );
    Plan::Report(Verdict::new(Reason::Conflict, why))
}

fn plan_end(seen: &Observed) -> Plan<Step> {
    if !is_protected(&seen.remnant) {
        return Plan::Rest;
    }
    if is_planted(Mutant::ARemnantIsDestroyedWhoeverTookIt) {
        return plan_destruction(seen);
    }
    if let Some(holder) = &seen.holder {
        if is_leaving(seen, holder) {
            let why = format!("{} {} goes first", kind(seen), holder.key);
            return Plan::Report(Verdict::new(Reason::Deleting, why));
        }
        return Plan::Do(Step::Release);
    }
    if let Some(taker) = seen.taker.as_ref().filter(|taker| !taker.is_deleting) {
        let why = format!("{} {} takes it over", kind(seen), taker.key);
        return Plan::Report(Verdict::new(Reason::Deleting, why));
    }
    plan_destruction(seen)
}

fn plan_destruction(seen: &Observed) -> Plan<Step> {
    let spec = &seen.remnant.spec;
    if seen.is_tombstoned || is_planted(Mutant::RemnantGoesBeforeItsData) {
        return match spec.kind {
            RemnantKind::Dot if !seen.are_branches_ended => Plan::Do(Step::EndBranches),
            RemnantKind::Dot | RemnantKind::Branch => Plan::Do(Step::Release),
        };
    }
    let pool_guid = match meant(seen.pool.as_deref(), spec.pool.as_deref().unwrap_or(&spec.pool_class)) {
        Ok(pool_guid) => pool_guid,
        Err(verdict) => return Plan::Report(verdict),
    };
    let (node, dot_id) = (spec.node.clone(), spec.dot.clone());
    Plan::Do(match spec.kind {
        RemnantKind::Dot => Step::DestroyDot {
            node,
            request: DeleteDotRequest { dot_id, pool_guid },
        },
        RemnantKind::Branch => Step::DestroyBranch {
            node,
            request: DeleteBranchRequest {
                dot_id,
                branch_id: spec.id.clone(),
                head_ids: spec.branch.iter().map(|branch| branch.head.clone()).collect(),
                pool_guid,
            },
        },
    })
}

fn kind(seen: &Observed) -> &'static str {
    seen.remnant.spec.kind.as_str()
}
