//! Commits of one instant, of two Dots and of two branches.

use dotmesh_crds::commit::Group;

use super::{Step, Workload, branch, claim, commit_object, delete, dot, end, gone, pod, ready, shop, workload};

/// Makes a Commit of a branch, in a group of two.
fn member(name: &str, dot: &str, branch: &str) -> Step {
    let mut commit = commit_object(name, dot, branch);
    commit.spec.group = Some(Group {
        name: "release".to_owned(),
        members: 2,
    });
    Step::Commit(Box::new(commit))
}

/// Dot `stock` beside the shop, with a pod that writes to it.
fn stock() -> Vec<Step> {
    let mut steps = vec![dot("stock", &["items"]), claim("items", Some(("Dot", "stock")), None)];
    steps.extend(pod("keeper", &["items"]));
    steps
}

/// Its workloads.
#[must_use]
pub fn all() -> Vec<Workload> {
    vec![
        workload(
            "two Dots are committed at one instant",
            [
                shop(),
                stock(),
                vec![
                    member("one", "shop", "main"),
                    member("two", "stock", "main"),
                    Step::Write("app"),
                    ready("Commit", "one"),
                    ready("Commit", "two"),
                    delete("Commit", "one"),
                    gone("Commit", "one"),
                ],
            ],
        ),
        workload(
            "two branches are committed at one instant",
            [
                shop(),
                vec![
                    branch("other", "shop", "HEAD"),
                    member("one", "shop", "main"),
                    member("two", "shop", "other"),
                    ready("Commit", "one"),
                    ready("Commit", "two"),
                ],
            ],
        ),
        workload(
            "a Commit goes while its group is taken, and another takes its place",
            [
                shop(),
                stock(),
                vec![
                    member("two", "stock", "main"),
                    member("one", "shop", "main"),
                    delete("Commit", "two"),
                    gone("Commit", "two"),
                    Step::Quiet,
                    delete("Commit", "one"),
                    gone("Commit", "one"),
                    member("three", "shop", "main"),
                    member("four", "stock", "main"),
                    ready("Commit", "three"),
                    ready("Commit", "four"),
                ],
            ],
        ),
        workload(
            "a Dot goes while a group waits for it",
            [
                shop(),
                stock(),
                vec![member("one", "shop", "main")],
                end("keeper").to_vec(),
                vec![
                    delete("PersistentVolumeClaim", "items"),
                    gone("PersistentVolumeClaim", "items"),
                    member("two", "stock", "main"),
                    delete("Dot", "stock"),
                    gone("Dot", "stock"),
                    delete("Commit", "two"),
                    gone("Commit", "two"),
                    Step::Quiet,
                    delete("Commit", "one"),
                    gone("Commit", "one"),
                ],
            ],
        ),
    ]
}
