//! Commits that are published as VolumeSnapshots, and are so no more.

use super::{Publish, Step, Undo, Until, Workload, commit, delete, end, gone, ready, shop, workload};

fn published(commit: &'static str, is_published: bool) -> Step {
    Step::Publish(Publish::Commit(commit, is_published))
}

fn usable(names: &[&'static str]) -> Vec<Step> {
    names.iter().map(|name| Step::Until(Until::Usable(name))).collect()
}

fn all_gone(names: &[&str]) -> Vec<Step> {
    names.iter().map(|name| gone("VolumeSnapshot", name)).collect()
}

/// Its workloads.
#[must_use]
pub fn all() -> Vec<Workload> {
    vec![
        workload(
            "a Commit is published and taken back",
            [
                shop(),
                vec![commit("first", "shop"), published("first", true)],
                usable(&["first.db", "first.cache"]),
                vec![published("first", false)],
                all_gone(&["first.db", "first.cache"]),
                vec![published("first", true)],
                usable(&["first.db", "first.cache"]),
            ],
        ),
        workload(
            "a published Commit goes",
            [
                shop(),
                vec![commit("first", "shop"), published("first", true)],
                usable(&["first.db"]),
                vec![
                    delete("Commit", "first"),
                    gone("Commit", "first"),
                    commit("first", "shop"),
                ],
                all_gone(&["first.db", "first.cache"]),
                vec![ready("Commit", "first"), published("first", true)],
                usable(&["first.db", "first.cache"]),
            ],
        ),
        workload(
            "a Dot publishes all its Commits and goes",
            [
                shop(),
                vec![Step::Publish(Publish::Dot("shop", true)), commit("first", "shop")],
                usable(&["shop-initial.db", "first.db", "first.cache"]),
                vec![Step::Publish(Publish::Dot("shop", false))],
                all_gone(&["shop-initial.db", "first.cache"]),
                vec![Step::Publish(Publish::Dot("shop", true))],
                usable(&["first.db"]),
                end("app").to_vec(),
                vec![
                    delete("PersistentVolumeClaim", "db"),
                    delete("PersistentVolumeClaim", "cache"),
                    delete("Dot", "shop"),
                    gone("Dot", "shop"),
                ],
                all_gone(&["shop-initial.db", "first.db", "first.cache"]),
            ],
        ),
        workload(
            "what is published is deleted by hand",
            [
                shop(),
                vec![commit("first", "shop"), published("first", true)],
                usable(&["first.db", "first.cache"]),
                vec![
                    delete("VolumeSnapshot", "first.db"),
                    Step::Publish(Publish::DeleteContentOf("first.cache")),
                    Step::Quiet,
                ],
                usable(&["first.db", "first.cache"]),
                vec![
                    Step::Publish(Publish::DeleteContentOf("first.db")),
                    delete("VolumeSnapshot", "first.db"),
                    published("first", false),
                    Step::Quiet,
                ],
            ],
        ),
        workload(
            "a published Commit's object is removed",
            [
                shop(),
                vec![Step::Publish(Publish::Dot("shop", true)), commit("first", "shop")],
                usable(&["first.db", "first.cache"]),
                vec![Step::Vanish("Commit", "first"), Step::Quiet],
                usable(&["first.db", "first.cache"]),
            ],
        ),
        workload(
            "a namespace goes with what is published",
            [
                shop(),
                vec![Step::Publish(Publish::Dot("shop", true)), commit("first", "shop")],
                usable(&["first.db"]),
                end("app").to_vec(),
                vec![
                    delete("PersistentVolumeClaim", "db"),
                    delete("PersistentVolumeClaim", "cache"),
                    Step::Quiet,
                    Step::Undo(Undo::DeleteNamespace),
                    gone("Dot", "shop"),
                ],
                all_gone(&["first.db", "first.cache"]),
            ],
        ),
        workload(
            "a claim begins with what is published",
            [
                shop(),
                vec![commit("first", "shop"), published("first", true)],
                vec![super::copies::copy("then", "VolumeSnapshot", "first.db")],
                super::pod("look", &["then"]).to_vec(),
                vec![delete("Commit", "first"), gone("Commit", "first")],
                all_gone(&["first.db", "first.cache"]),
            ],
        ),
        workload(
            "the name of what is published is taken",
            [
                shop(),
                vec![
                    Step::Publish(Publish::Other("first.db")),
                    commit("first", "shop"),
                    published("first", true),
                ],
                usable(&["first.cache"]),
                vec![Step::Quiet, delete("VolumeSnapshot", "first.db")],
                usable(&["first.db", "first.cache"]),
            ],
        ),
    ]
}
