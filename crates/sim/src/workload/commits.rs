//! Commits: one, many, at once.

use super::{Step, Workload, commit, dot, ready, shop, workload};

/// Its workloads.
#[must_use]
pub fn all() -> Vec<Workload> {
    vec![
        workload(
            "one commit",
            [shop(), vec![commit("first", "shop"), ready("Commit", "first")]],
        ),
        workload(
            "commits in a row",
            [
                shop(),
                vec![
                    commit("one", "shop"),
                    ready("Commit", "one"),
                    Step::Write("app"),
                    commit("two", "shop"),
                    ready("Commit", "two"),
                    Step::Write("app"),
                    commit("three", "shop"),
                    ready("Commit", "three"),
                ],
            ],
        ),
        workload(
            "commits at once",
            [
                shop(),
                vec![
                    commit("one", "shop"),
                    commit("two", "shop"),
                    commit("three", "shop"),
                    ready("Commit", "one"),
                    ready("Commit", "two"),
                    ready("Commit", "three"),
                ],
            ],
        ),
        workload(
            "a commit before all else",
            [
                vec![commit("early", "shop"), dot("other", &["x"])],
                shop(),
                vec![ready("Commit", "early"), super::delete("Dot", "other")],
            ],
        ),
    ]
}
