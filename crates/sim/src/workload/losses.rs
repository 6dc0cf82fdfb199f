//! What is destroyed with other tools, behind our back.

use super::{Step, Workload, branch, commit, delete, end, gone, lost, ready, shop, workload};

/// Its workloads.
#[must_use]
pub fn all() -> Vec<Workload> {
    vec![
        workload(
            "a commit's snapshots are destroyed",
            [
                shop(),
                vec![commit("one", "shop"), ready("Commit", "one")],
                vec![commit("two", "shop"), ready("Commit", "two")],
                vec![commit("three", "shop"), ready("Commit", "three")],
                vec![Step::Destroy("Commit", "one"), Step::Destroy("Commit", "two")],
                vec![lost("Commit", "one"), lost("Commit", "two")],
                // Nothing begins at it, what else there is goes on, and it can be deleted.
                vec![branch("try", "shop", "one"), lost("Branch", "try")],
                vec![commit("four", "shop"), ready("Commit", "four")],
                vec![delete("Branch", "try"), gone("Branch", "try")],
                vec![delete("Commit", "one"), gone("Commit", "one")],
            ],
        ),
        workload(
            "destroyed snapshots are brought back",
            [
                shop(),
                vec![commit("one", "shop"), ready("Commit", "one")],
                vec![
                    commit("two", "shop"),
                    ready("Commit", "two"),
                    Step::Quiet,
                    Step::CopyPool,
                ],
                vec![Step::Destroy("Commit", "one"), lost("Commit", "one"), Step::Quiet],
                vec![Step::ExchangePool, ready("Commit", "one")],
            ],
        ),
        workload(
            "a branch's volumes are destroyed",
            [
                shop(),
                vec![commit("one", "shop"), ready("Commit", "one")],
                vec![branch("try", "shop", "one"), ready("Branch", "try")],
                vec![branch("other", "shop", "one"), ready("Branch", "other")],
                vec![commit("two", "shop"), ready("Commit", "two")],
                vec![Step::Destroy("Branch", "try"), Step::Destroy("Branch", "other")],
                vec![lost("Branch", "try"), lost("Branch", "other")],
                vec![delete("Branch", "try"), gone("Branch", "try")],
                vec![delete("Commit", "one"), gone("Commit", "one")],
            ],
        ),
        workload(
            "a Dot's datasets are destroyed",
            [
                shop(),
                vec![commit("one", "shop"), ready("Commit", "one")],
                end("app").to_vec(),
                vec![
                    super::dot("next", &["db"]),
                    super::claim("next", Some(("Dot", "next")), None),
                ],
                super::pod("later", &["next"]).to_vec(),
                vec![commit("kept", "next"), ready("Commit", "kept")],
                vec![Step::Destroy("Dot", "shop"), lost("Dot", "shop"), lost("Commit", "one")],
                vec![
                    delete("PersistentVolumeClaim", "db"),
                    delete("PersistentVolumeClaim", "cache"),
                ],
                vec![delete("Dot", "shop"), gone("Dot", "shop")],
            ],
        ),
    ]
}
