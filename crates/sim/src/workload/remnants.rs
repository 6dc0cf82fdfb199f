//! Deleted data that stays, comes back, or goes at its time.

use super::deletions::{claims_go, history};
use super::{Step, Undo, Until, Workload, claim, commit, delete, gone, pod, ready, workload};

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

/// Its workloads.
#[must_use]
pub fn all() -> Vec<Workload> {
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
