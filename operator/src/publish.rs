//! Published Commits: of each volume a VolumeSnapshotContent and a VolumeSnapshot, as if csi-snapshotter had been told of a
//! snapshot that was there before (pre-provisioned).
//!
//! The content first, because snapshot-controller takes a VolumeSnapshot without one for an error. A VolumeSnapshot belongs
//! to its Commit and lies in its namespace. A content lies in none, so nothing takes it along: whatever has our label and
//! no Commit is [swept](sweep). So no Commit waits for what is published of it, and nothing is left behind, wherever this
//! ends.
//!
//! What became of it is told in a condition of its own, by a manager of its own: a Commit is Ready whether it is published
//! or not.

pub mod apply;
pub mod build;
pub mod observe;
pub mod plan;
pub mod report;
pub mod sweep;

use std::sync::Arc;
use std::time::Duration;

use dotmesh_crds::condition::{Condition, PUBLISHED};
use dotmesh_crds::names::{LABEL_CLAIM_UID, LABEL_SNAPSHOT};
use dotmesh_crds::{Commit, Dot};
use kube::ResourceExt;
use kube::runtime::controller::Action;

use crate::api::Api;
use crate::context::{Context, ReconcileError};
use crate::driver::{Pass, Plan, Then, drive};
use crate::meta::{belongs_to, dot_now, is_deleting, reread};
use crate::nodes::Nodes;
use crate::status::Verdict;
use observe::Observed;

/// When it is looked again at what nothing tells of: whether the cluster knows VolumeSnapshots, and whether a name is free.
pub const AGAIN: Duration = Duration::from_secs(300);

/// Whether VolumeSnapshots of it are asked for. A Dot does not ask for those of what a VolumeSnapshot is already, or of
/// what goes as soon as a clone is made.
pub fn is_wanted(commit: &Commit, dot: &Dot) -> bool {
    let by_dot = || {
        let is_others = [LABEL_SNAPSHOT, LABEL_CLAIM_UID].map(|label| commit.labels().contains_key(label));
        dot.spec.publish && is_others == [false, false]
    };
    !is_deleting(commit) && belongs_to(commit, dot) && (commit.spec.publish || by_dot())
}

/// The condition that says whether they are there.
pub fn published_condition(commit: &Commit) -> Option<&Condition> {
    let conditions = commit.status.as_ref().map(|status| &status.conditions);
    conditions?.iter().find(|condition| condition.type_ == PUBLISHED)
}

/// Whether a Commit of the Dot says something else than what is asked for.
pub fn waits(commit: &Commit, dot: &Dot) -> bool {
    let told = published_condition(commit);
    match is_wanted(commit, dot) {
        true => told.is_none_or(|condition| condition.status != "True"),
        false => told.is_some(),
    }
}

/// Makes what is published of a Commit, or takes it back.
///
/// # Errors
/// What is to be repeated; the condition tells it.
pub async fn reconcile<A: Api, N: Nodes>(
    commit: Arc<Commit>,
    context: Arc<Context<A, N>>,
) -> Result<Action, ReconcileError> {
    let seen = observe::observe(&context, Arc::unwrap_or_clone(commit));
    drive(&context, seen).await
}

impl<A: Api, N: Nodes> Pass<A, N> for Observed {
    type Step = plan::Step;

    fn is_fresh(&self) -> bool {
        self.is_fresh
    }

    async fn reread(&mut self, context: &Context<A, N>) -> Result<Then, ReconcileError> {
        let Some(commit) = reread(&context.api, &self.commit).await? else {
            return Ok(Then::Gone);
        };
        self.dot = dot_now(&context.api, &commit, &commit.spec.dot).await?;
        self.commit = commit;
        observe::reread_pairs(&context.api, self).await?;
        self.is_fresh = true;
        Ok(Then::Continue)
    }

    fn plan(&self) -> Plan<plan::Step> {
        plan::plan(self)
    }

    async fn apply(&mut self, context: &Context<A, N>, step: plan::Step) -> Result<Then, ReconcileError> {
        apply::apply(context, self, step).await
    }

    fn is_news(&self, context: &Context<A, N>, verdict: &Verdict) -> bool {
        report::is_news(context, self, verdict)
    }

    async fn report(&self, context: &Context<A, N>, verdict: &Verdict) -> Result<(), ReconcileError> {
        report::report(context, self, verdict).await
    }

    fn again(&self) -> Option<Duration> {
        plan::is_untold(self).then_some(AGAIN)
    }
}
