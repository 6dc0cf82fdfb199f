//! Branches: of a commit, of a branch, of what was before.

use super::{Step, Workload, branch, claim, commit, commit_of, pod, ready, shop, workload};

/// Its workloads.
#[must_use]
pub fn all() -> Vec<Workload> {
    vec![
        workload(
            "branches of all references",
            [
                shop(),
                vec![
                    commit("one", "shop"),
                    ready("Commit", "one"),
                    Step::Write("app"),
                    commit("two", "shop"),
                    ready("Commit", "two"),
                    branch("of-commit", "shop", "one"),
                    branch("of-branch", "shop", "main"),
                    branch("before", "shop", "HEAD~1"),
                    ready("Branch", "of-commit"),
                    ready("Branch", "of-branch"),
                    ready("Branch", "before"),
                ],
            ],
        ),
        workload(
            "a branch of a branch",
            [
                shop(),
                vec![
                    commit("one", "shop"),
                    branch("child", "shop", "one"),
                    commit_of("on-child", "shop", "child"),
                    branch("grandchild", "shop", "on-child"),
                    ready("Branch", "grandchild"),
                    claim("deep", Some(("Branch", "grandchild")), Some("cache")),
                ],
                pod("deeper", &["deep"]).to_vec(),
            ],
        ),
    ]
}
