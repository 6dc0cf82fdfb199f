//! Programs, nodes and pools that go and come back while things happen.

use std::time::Duration;

use dotmesh_crds::Reason;

use crate::machine::POOL;

use super::{Step, Until, Workload, branch, claim, commit, delete, dot, end, pod_on, ready, shop, workload};

/// Its workloads.
#[must_use]
pub fn all() -> Vec<Workload> {
    vec![
        workload(
            "csi-node restarts",
            [
                shop(),
                vec![commit("one", "shop"), Step::RestartNode, commit("two", "shop")],
                vec![ready("Commit", "one"), ready("Commit", "two")],
            ],
        ),
        workload(
            "the node goes down",
            [
                shop(),
                vec![commit("one", "shop"), Step::Reboot, commit("two", "shop")],
                vec![ready("Commit", "one"), ready("Commit", "two")],
            ],
        ),
        workload(
            "the operator restarts",
            [
                shop(),
                vec![
                    commit("one", "shop"),
                    Step::RestartOperator(false),
                    branch("try", "shop", "one"),
                ],
                vec![ready("Branch", "try"), Step::RestartOperator(true)],
                vec![delete("Branch", "try"), Step::RestartOperator(true), Step::Quiet],
            ],
        ),
        workload(
            "the pool goes and comes back",
            [
                shop(),
                vec![
                    commit("one", "shop"),
                    ready("Commit", "one"),
                    Step::PoolThere(POOL, false),
                    commit("two", "shop"),
                    delete("Commit", "one"),
                    // Pods may wait for it, so that nothing comes to rest.
                    Step::Wait(Duration::from_secs(200)),
                    Step::PoolThere(POOL, true),
                    ready("Commit", "two"),
                    super::gone("Commit", "one"),
                ],
            ],
        ),
        workload(
            "the pool is taken back and brought forward",
            [
                shop(),
                vec![commit("one", "shop"), ready("Commit", "one"), Step::CopyPool],
                vec![commit("two", "shop"), ready("Commit", "two")],
                vec![branch("try", "shop", "two"), ready("Branch", "try")],
                vec![Step::ExchangePool],
                vec![Step::Until(Until::NotReady("Pool", "n1".to_owned(), Reason::Rewound))],
                vec![
                    commit("three", "shop"),
                    branch("other", "shop", "two"),
                    delete("Branch", "try"),
                ],
                // Nothing of this may happen on what stands in for the pool.
                vec![Step::Wait(Duration::from_secs(70)), Step::ExchangePool],
                vec![ready("Commit", "three"), ready("Branch", "other")],
                vec![super::gone("Branch", "try")],
            ],
        ),
        workload(
            "a Pool is deleted before what lies on it",
            [
                shop(),
                vec![commit("one", "shop"), ready("Commit", "one")],
                vec![delete("Pool", "n1"), Step::Quiet, Step::RestartNode],
                end("app").to_vec(),
                vec![
                    delete("PersistentVolumeClaim", "db"),
                    delete("PersistentVolumeClaim", "cache"),
                    delete("Dot", "shop"),
                    super::gone("Dot", "shop"),
                    // The node serves, so it gets its Pool again, over the same zpool.
                    ready("Pool", "n1"),
                ],
            ],
        ),
        workload(
            "a Pool grows",
            [
                shop(),
                vec![commit("one", "shop"), Step::GrowPool("n1", "30Gi")],
                vec![Step::Until(Until::Sized("n1", "30Gi")), ready("Commit", "one")],
                vec![Step::Reboot, Step::GrowPool("n1", "40Gi"), commit("two", "shop")],
                vec![Step::Until(Until::Sized("n1", "40Gi")), ready("Commit", "two")],
            ],
        ),
        workload(
            "others use the pool too",
            [
                shop(),
                vec![Step::ForeignDataset, commit("one", "shop"), ready("Commit", "one")],
                vec![
                    branch("try", "shop", "HEAD"),
                    ready("Branch", "try"),
                    delete("Commit", "one"),
                ],
            ],
        ),
        workload(
            "the leader changes",
            [
                shop(),
                vec![commit("one", "shop"), Step::RestartOperator(false)],
                vec![branch("try", "shop", "one"), ready("Branch", "try")],
                vec![
                    delete("Commit", "one"),
                    delete("Branch", "try"),
                    Step::RestartOperator(true),
                ],
                vec![commit("two", "shop"), ready("Commit", "two")],
            ],
        )
        .with_replicas(2),
        workload(
            "a leader is stopped, and goes on",
            [
                shop(),
                vec![commit("one", "shop"), Step::FreezeLeader],
                vec![branch("try", "shop", "HEAD"), commit("two", "shop")],
                vec![ready("Branch", "try"), ready("Commit", "two"), Step::Mend],
                vec![
                    delete("Branch", "try"),
                    commit("three", "shop"),
                    ready("Commit", "three"),
                ],
            ],
        )
        .with_replicas(2),
        workload(
            "a leader is cut off",
            [
                shop(),
                vec![commit("one", "shop"), Step::CutOffLeader],
                vec![delete("Commit", "one"), commit("two", "shop"), ready("Commit", "two")],
                vec![Step::Mend, branch("try", "shop", "two"), ready("Branch", "try")],
            ],
        )
        .with_replicas(2),
        workload(
            "two nodes",
            [
                shop(),
                vec![dot("other", &["db"]), claim("far", Some(("Dot", "other")), None)],
                pod_on("there", &["far"], 2).to_vec(),
                vec![commit("here", "shop"), commit("there", "other"), Step::Reboot],
                vec![ready("Commit", "here"), ready("Commit", "there")],
                vec![
                    branch("try", "other", "there"),
                    ready("Branch", "try"),
                    delete("Commit", "here"),
                ],
            ],
        )
        .on_nodes(2),
        workload(
            "two pods choose two nodes",
            [
                vec![dot("shop", &["db", "cache"])],
                vec![
                    claim("db", Some(("Dot", "shop")), None),
                    claim("cache", Some(("Dot", "shop")), None),
                ],
                vec![Step::RunPod("one", vec!["db".to_owned()], 1)],
                pod_on("two", &["cache"], 2).to_vec(),
                vec![
                    Step::Until(Until::Runs("one")),
                    commit("both", "shop"),
                    ready("Commit", "both"),
                ],
            ],
        )
        .on_nodes(2),
    ]
}
