//! Somebody removes objects, finalizers and all: their data is found, and kept.

use super::deletions::{claims_go, history};
use super::{Step, Undo, Until, Workload, commit_of, delete, gone, ready, workload};

fn vanish(kind: &'static str, name: &'static str) -> Step {
    Step::Vanish(kind, name)
}

/// Its workloads.
#[must_use]
pub fn all() -> Vec<Workload> {
    vec![
        workload(
            "a Commit's object is removed",
            [
                history(),
                vec![
                    Step::Quiet,
                    vanish("Commit", "one"),
                    ready("Commit", "one"),
                    Step::Quiet,
                    delete("Commit", "one"),
                    gone("Commit", "one"),
                ],
            ],
        ),
        workload(
            "a Branch's object is removed",
            [
                history(),
                vec![
                    commit_of("two", "shop", "try"),
                    ready("Commit", "two"),
                    Step::Quiet,
                    vanish("Branch", "try"),
                    vanish("Commit", "two"),
                    Step::Until(Until::Left("try")),
                    ready("Commit", "two"),
                    Step::Undo(Undo::RestoreBranch("try", "try")),
                    ready("Branch", "try"),
                ],
            ],
        ),
        workload(
            "a Dot's object is removed",
            [
                history(),
                claims_go(),
                vec![
                    gone("PersistentVolumeClaim", "db"),
                    gone("PersistentVolumeClaim", "cache"),
                    Step::Quiet,
                    vanish("Dot", "shop"),
                    Step::Until(Until::Left("shop")),
                    gone("Branch", "try"),
                    gone("Branch", "shop-main"),
                    gone("Commit", "one"),
                    Step::Undo(Undo::Restore("shop", "shop")),
                    ready("Dot", "shop"),
                    ready("Commit", "one"),
                    ready("Branch", "try"),
                ],
            ],
        ),
    ]
}
