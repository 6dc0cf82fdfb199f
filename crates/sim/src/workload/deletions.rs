//! Deletions in every order, and the same name again.

use dotmesh_crds::Reason;

use super::{Step, Until, Workload, branch, claim, commit, delete, dot, end, gone, pod, ready, shop, workload};

/// Dot `shop`, in use, with a Commit and a Branch of it.
pub(super) fn history() -> Vec<Step> {
    let mut steps = shop();
    steps.extend([
        commit("one", "shop"),
        ready("Commit", "one"),
        branch("try", "shop", "one"),
        ready("Branch", "try"),
    ]);
    steps
}

fn protected(kind: &'static str, name: &str) -> Step {
    Step::Until(Until::Protected(kind, name.to_owned()))
}

/// Nobody uses it any more.
pub(super) fn claims_go() -> Vec<Step> {
    let mut steps = end("app").to_vec();
    steps.extend([
        delete("PersistentVolumeClaim", "db"),
        delete("PersistentVolumeClaim", "cache"),
    ]);
    steps
}

/// Its workloads.
#[must_use]
pub fn all() -> Vec<Workload> {
    vec![
        workload(
            "a commit goes before its branch",
            [
                history(),
                vec![delete("Commit", "one"), gone("Commit", "one"), Step::Quiet],
                vec![delete("Branch", "try"), gone("Branch", "try")],
            ],
        ),
        workload(
            "a branch goes before its commit",
            [
                history(),
                vec![delete("Branch", "try"), gone("Branch", "try")],
                vec![delete("Commit", "one"), gone("Commit", "one")],
            ],
        ),
        workload(
            "a Dot goes",
            [
                history(),
                claims_go(),
                vec![delete("Dot", "shop"), gone("Dot", "shop")],
                vec![
                    gone("Commit", "one"),
                    gone("Branch", "try"),
                    gone("Branch", "shop-main"),
                ],
            ],
        ),
        workload(
            "a Dot goes while pods use it",
            [
                history(),
                vec![claim("tried", Some(("Branch", "try")), Some("db"))],
                pod("trial", &["tried"]).to_vec(),
                vec![
                    delete("Branch", "try"),
                    delete("Dot", "shop"),
                    Step::Until(Until::NotReady("Branch", "try".to_owned(), Reason::InUse)),
                    Step::Until(Until::NotReady("Dot", "shop".to_owned(), Reason::InUse)),
                ],
                end("trial").to_vec(),
                vec![delete("PersistentVolumeClaim", "tried"), gone("Branch", "try")],
                claims_go(),
                vec![gone("Dot", "shop"), gone("Branch", "shop-main")],
            ],
        ),
        workload(
            "a Dot goes and comes again",
            [
                history(),
                claims_go(),
                vec![delete("Dot", "shop"), gone("Dot", "shop"), gone("Branch", "shop-main")],
                vec![gone("PersistentVolumeClaim", "db"), gone("Commit", "shop-initial")],
                shop(),
                vec![ready("Dot", "shop")],
            ],
        ),
        workload(
            "a Dot comes again before what was made of it is gone",
            [
                history(),
                claims_go(),
                vec![delete("Dot", "shop"), gone("Dot", "shop")],
                vec![
                    gone("PersistentVolumeClaim", "db"),
                    gone("PersistentVolumeClaim", "cache"),
                ],
                shop(),
                vec![gone("Commit", "one"), gone("Branch", "try"), ready("Dot", "shop")],
            ],
        ),
        workload(
            "a Dot goes that nobody used",
            [
                vec![dot("idle", &["x"]), Step::Quiet],
                vec![delete("Dot", "idle"), gone("Dot", "idle"), gone("Branch", "idle-main")],
            ],
        ),
        workload(
            "commits are deleted together, and a branch needs one",
            [
                history(),
                vec![commit("two", "shop"), ready("Commit", "two")],
                vec![commit("three", "shop"), ready("Commit", "three")],
                ["two", "one", "three"].map(|name| delete("Commit", name)).to_vec(),
                ["two", "one", "three"].map(|name| gone("Commit", name)).to_vec(),
                vec![Step::Quiet, delete("Branch", "try"), gone("Branch", "try")],
            ],
        ),
        workload(
            "a commit is deleted at once",
            [
                shop(),
                vec![commit("one", "shop"), delete("Commit", "one"), gone("Commit", "one")],
                vec![commit("one", "shop"), ready("Commit", "one")],
            ],
        ),
        workload(
            "things are deleted while they are made",
            [
                shop(),
                vec![
                    commit("one", "shop"),
                    protected("Commit", "one"),
                    delete("Commit", "one"),
                ],
                vec![
                    commit("two", "shop"),
                    branch("try", "shop", "two"),
                    protected("Branch", "try"),
                ],
                vec![
                    delete("Branch", "try"),
                    gone("Branch", "try"),
                    gone("Commit", "one"),
                    ready("Commit", "two"),
                ],
            ],
        ),
        workload(
            "a plain claim goes, its commit stays",
            [
                vec![claim("plain", None, None)],
                pod("app", &["plain"]).to_vec(),
                vec![Step::CommitOfClaim("kept", "plain"), ready("Commit", "kept")],
                end("app").to_vec(),
                vec![delete("PersistentVolumeClaim", "plain"), Step::Quiet],
            ],
        ),
        workload(
            "claims go and come again",
            [
                shop(),
                claims_go(),
                vec![
                    gone("PersistentVolumeClaim", "db"),
                    gone("PersistentVolumeClaim", "cache"),
                ],
                vec![
                    claim("db", Some(("Dot", "shop")), None),
                    claim("cache", Some(("Dot", "shop")), None),
                ],
                pod("again", &["db", "cache"]).to_vec(),
            ],
        ),
    ]
}
