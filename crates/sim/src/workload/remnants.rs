//! Deleted data that stays, comes back, or goes at its time.

use super::deletions::{claims_go, history};
use super::{Step, Undo, Until, Workload, claim, commit, commit_of, delete, end, gone, pod, ready, workload};

/// Longer than any history waits by itself.
const DAY: u64 = 86_400;

/// Dot `shop` with a Commit and a Branch, which nobody uses any more, is deleted and leaves a Remnant.
fn left() -> Vec<Step> {
    let mut steps = unused();
    steps.extend([
        delete("Dot", "shop"),
        gone("Dot", "shop"),
        Step::Until(Until::Left("shop")),
    ]);
    steps
}

fn unused() -> Vec<Step> {
    let mut steps = history();
    steps.extend(claims_go());
    steps.extend([
        gone("PersistentVolumeClaim", "db"),
        gone("PersistentVolumeClaim", "cache"),
    ]);
    steps
}

/// All that Dot `shop` had is there again.
fn restored() -> Vec<Step> {
    vec![
        ready("Commit", "shop-initial"),
        ready("Commit", "one"),
        ready("Branch", "shop-main"),
        ready("Branch", "try"),
    ]
}

/// Whoever was first, in the end all of it goes.
fn all_goes() -> Vec<Step> {
    vec![
        delete("Dot", "shop"),
        gone("Dot", "shop"),
        Step::Quiet,
        Step::Undo(Undo::DeleteRemnant("shop")),
        Step::Until(Until::Destroyed("shop")),
    ]
}

/// A pod uses the Dot again.
fn again(claimed: &str, name: &'static str) -> Vec<Step> {
    let mut steps = vec![claim("again", Some(("Dot", "shop")), Some(claimed))];
    steps.extend(pod(name, &["again"]));
    steps
}

/// Branch `try` of Dot `shop`, which a pod wrote to and nobody uses any more, is deleted and leaves a Remnant.
fn branch_left() -> Vec<Step> {
    let mut steps = history();
    steps.push(claim("tried", Some(("Branch", "try")), Some("db")));
    steps.extend(pod("trial", &["tried"]));
    steps.extend(end("trial"));
    steps.extend([
        delete("PersistentVolumeClaim", "tried"),
        delete("Branch", "try"),
        gone("Branch", "try"),
        Step::Until(Until::Left("try")),
    ]);
    steps
}

/// The same without a pod: fewer effects.
fn unused_branch_left() -> Vec<Step> {
    let mut steps = unused();
    steps.extend([
        delete("Branch", "try"),
        gone("Branch", "try"),
        Step::Until(Until::Left("try")),
    ]);
    steps
}

fn of_branches() -> Vec<Workload> {
    let workloads = vec![
        workload(
            "a Branch is restored",
            [
                branch_left(),
                vec![
                    Step::Undo(Undo::RestoreBranch("again", "try")),
                    ready("Branch", "again"),
                    commit_of("two", "shop", "again"),
                    ready("Commit", "two"),
                ],
                vec![claim("back", Some(("Branch", "again")), Some("db"))],
                pod("trial2", &["back"]).to_vec(),
            ],
        ),
        workload(
            "a Branch's Remnant is deleted after its origin",
            [
                branch_left(),
                vec![delete("Commit", "one"), gone("Commit", "one"), Step::Quiet],
                vec![
                    Step::Undo(Undo::DeleteRemnant("try")),
                    Step::Until(Until::Destroyed("try")),
                ],
            ],
        ),
        workload(
            "a Branch is restored after its origin went, and goes again",
            [
                unused_branch_left(),
                vec![delete("Commit", "one"), gone("Commit", "one")],
                vec![
                    Step::Undo(Undo::RestoreBranch("try", "try")),
                    ready("Branch", "try"),
                    delete("Branch", "try"),
                    gone("Branch", "try"),
                    Step::Until(Until::Left("try")),
                ],
            ],
        ),
        workload(
            "two Branches want the same Remnant",
            [
                unused_branch_left(),
                vec![
                    Step::Undo(Undo::RestoreBranch("left", "try")),
                    Step::Undo(Undo::RestoreBranch("right", "try")),
                    Step::Quiet,
                ],
                vec![
                    delete("Branch", "left"),
                    gone("Branch", "left"),
                    ready("Branch", "right"),
                ],
            ],
        ),
        workload(
            "a Branch's Remnant is deleted while it is restored",
            [
                unused_branch_left(),
                vec![
                    Step::Undo(Undo::RestoreBranch("try", "try")),
                    Step::Undo(Undo::DeleteRemnant("try")),
                    Step::Quiet,
                    delete("Branch", "try"),
                    gone("Branch", "try"),
                    Step::Quiet,
                    Step::Undo(Undo::DeleteRemnant("try")),
                    Step::Until(Until::Destroyed("try")),
                ],
            ],
        ),
        workload(
            "a Dot is restored whose Branch stayed behind",
            [
                unused_branch_left(),
                vec![
                    delete("Dot", "shop"),
                    gone("Dot", "shop"),
                    Step::Undo(Undo::Restore("shop", "shop")),
                    ready("Dot", "shop"),
                    Step::Undo(Undo::RestoreBranch("try", "try")),
                ],
                restored(),
            ],
        ),
        workload(
            "a Dot is destroyed with the Remnant of its Branch",
            [
                unused_branch_left(),
                vec![
                    delete("Dot", "shop"),
                    gone("Dot", "shop"),
                    Step::Undo(Undo::DeleteRemnant("shop")),
                    Step::Until(Until::Destroyed("shop")),
                    Step::Until(Until::Destroyed("try")),
                ],
            ],
        ),
    ];
    workloads.into_iter().map(|workload| workload.with_grace(DAY)).collect()
}

/// Its workloads.
#[must_use]
pub fn all() -> Vec<Workload> {
    let mut all = of_dots();
    all.extend(of_branches());
    all
}

fn of_dots() -> Vec<Workload> {
    vec![
        workload("a Dot leaves a Remnant", [left()]).with_grace(DAY),
        workload(
            "a Remnant expires",
            [
                left(),
                vec![
                    Step::Wait(std::time::Duration::from_secs(600)),
                    Step::Until(Until::Destroyed("shop")),
                ],
            ],
        )
        .with_grace(600),
        workload(
            "a Remnant is deleted",
            [
                left(),
                vec![
                    Step::Undo(Undo::DeleteRemnant("shop")),
                    Step::Until(Until::Destroyed("shop")),
                ],
            ],
        )
        .with_grace(DAY),
        workload(
            "people say when a Remnant goes",
            [
                left(),
                vec![
                    Step::Undo(Undo::Expire("shop", None)),
                    Step::Quiet,
                    Step::Undo(Undo::Expire("shop", Some("2020-01-01T00:00:00Z"))),
                    Step::Until(Until::Destroyed("shop")),
                ],
            ],
        )
        .with_grace(DAY),
        workload(
            "a Dot is restored",
            [
                left(),
                vec![Step::Undo(Undo::Restore("shop", "shop")), ready("Dot", "shop")],
                restored(),
                again("db", "app2"),
                vec![commit("two", "shop"), ready("Commit", "two")],
                vec![delete("Commit", "one"), delete("Branch", "try"), gone("Branch", "try")],
            ],
        )
        .with_grace(DAY),
        workload(
            "a Dot is restored while what was made of it is there",
            [
                unused(),
                vec![
                    delete("Dot", "shop"),
                    gone("Dot", "shop"),
                    Step::Undo(Undo::Restore("shop", "shop")),
                    ready("Dot", "shop"),
                ],
                restored(),
            ],
        )
        .with_grace(DAY),
        workload(
            "a Dot is restored, deleted and restored",
            [
                left(),
                vec![
                    Step::Undo(Undo::Restore("back", "shop")),
                    ready("Dot", "back"),
                    commit("two", "back"),
                ],
                vec![ready("Commit", "two"), delete("Dot", "back"), gone("Dot", "back")],
                vec![
                    Step::Undo(Undo::Restore("shop", "shop")),
                    ready("Dot", "shop"),
                    ready("Commit", "two"),
                ],
                restored(),
            ],
        )
        .with_grace(DAY),
        workload(
            "two Dots want the same Remnant",
            [
                left(),
                vec![
                    Step::Undo(Undo::Restore("left", "shop")),
                    Step::Undo(Undo::Restore("right", "shop")),
                ],
                vec![ready("Commit", "one"), ready("Branch", "try"), Step::Quiet],
                vec![delete("Dot", "left"), gone("Dot", "left"), ready("Dot", "right")],
            ],
        )
        .with_grace(DAY),
        workload(
            "a Remnant is deleted while it is restored",
            [
                left(),
                vec![
                    Step::Undo(Undo::Restore("shop", "shop")),
                    Step::Undo(Undo::DeleteRemnant("shop")),
                    Step::Quiet,
                ],
                all_goes(),
            ],
        )
        .with_grace(DAY),
        workload(
            "a Remnant expires while it is restored",
            [
                left(),
                vec![
                    Step::Undo(Undo::Restore("shop", "shop")),
                    Step::Undo(Undo::Expire("shop", Some("2020-01-01T00:00:00Z"))),
                    Step::Quiet,
                ],
                all_goes(),
            ],
        )
        .with_grace(DAY),
        workload(
            "a Dot goes while it is restored",
            [
                left(),
                vec![
                    Step::Undo(Undo::Restore("back", "shop")),
                    delete("Dot", "back"),
                    gone("Dot", "back"),
                ],
                vec![Step::Until(Until::LeftOf("shop")), Step::Quiet],
                vec![Step::Undo(Undo::Restore("shop", "shop")), ready("Dot", "shop")],
                restored(),
            ],
        )
        .with_grace(DAY),
        workload(
            "a namespace goes and leaves Remnants",
            [
                unused(),
                vec![
                    Step::Undo(Undo::DeleteNamespace),
                    gone("Dot", "shop"),
                    gone("Commit", "one"),
                    gone("Branch", "try"),
                    Step::Until(Until::Left("shop")),
                ],
            ],
        )
        .with_grace(DAY),
    ]
}
