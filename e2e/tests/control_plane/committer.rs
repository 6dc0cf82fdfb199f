//! Who asked for a Commit: what the server says, whatever people write.

use std::time::Duration;

use anyhow::Result;
use dotmesh_crds::Commit;
use dotmesh_e2e::chart;
use dotmesh_e2e::cluster::Cluster;
use dotmesh_e2e::objects::commit;
use dotmesh_e2e::program::{Ended, Program};
use dotmesh_e2e::wait::{Look, until};
use serde_json::{Value, json};

/// Within this a server carries out a policy that it was given.
const SOON: Duration = Duration::from_secs(60);

const ADA: &str = "ada";
const GRACE: &str = "grace@example.com";
const PROGRAM: &str = "system:serviceaccount:dotmesh-system:dotmesh-operator";

/// What a server that cannot write the field says to those who do.
const REFUSAL: &str = "spec.committer is for the API server to write";

/// A namespace of its own, in which these people may do anything with Commits.
async fn namespace() -> Cluster {
    super::cluster().await;
    let name = format!("committer-{:08x}", fastrand::u32(..));
    let cluster = Cluster::connect(&name).await.unwrap();
    let group = "rbac.authorization.k8s.io";
    let version = format!("{group}/v1");
    let people = [ADA, GRACE, PROGRAM].map(|name| json!({"apiGroup": group, "kind": "User", "name": name}));
    let objects = [
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}),
        json!({
            "apiVersion": version, "kind": "Role", "metadata": {"name": "committers"},
            "rules": [{"apiGroups": ["dotmesh.io"], "resources": ["commits"], "verbs": ["*"]}],
        }),
        json!({
            "apiVersion": version, "kind": "RoleBinding", "metadata": {"name": "committers"},
            "roleRef": {"apiGroup": group, "kind": "Role", "name": "committers"}, "subjects": people,
        }),
    ];
    cluster.apply(objects).await.unwrap();
    cluster
}

/// The chart's policy, as made with these arguments, holds there from now on.
async fn begin_policy(cluster: &Cluster, args: &[&str]) -> Result<()> {
    let args = [["--show-only", "templates/committer.yaml"].as_slice(), args].concat();
    let mut objects = chart::objects(&chart::template(&args)?.output().await?)?;
    for object in &mut objects {
        if object["kind"].as_str().is_some_and(|kind| kind.ends_with("Binding")) {
            // Other tests make Commits on this server, too.
            let here = json!({"kubernetes.io/metadata.name": cluster.namespace});
            object["metadata"]["name"] = json!(cluster.namespace);
            object["spec"]["matchResources"] = json!({"namespaceSelector": {"matchLabels": here}});
        }
    }
    let list = json!({"apiVersion": "v1", "kind": "List", "items": objects});
    let apply = Program::kubectl(["apply", "--server-side", "--force-conflicts", "-f", "-"])?;
    apply.input(list.to_string()).output().await?;
    until("the policy holds", SOON, async || {
        let ended = send(cluster, ADA, "create --dry-run=server", &by("nobody", "probe")).await;
        let holds = ended.stdout.contains(&format!("\"committer\": \"{ADA}\"")) || ended.stderr.contains(REFUSAL);
        Ok(Look::when(holds, format!("{ended:?}")))
    })
    .await
}

/// A Commit that says by whom it is.
fn by(committer: &str, name: &str) -> Value {
    let mut object = commit(name, "shop");
    object["spec"]["committer"] = json!(committer);
    object
}

/// What comes of an object that this person sends.
async fn send(cluster: &Cluster, person: &str, way: &str, object: &Value) -> Ended {
    let words: Vec<&str> = way.split(' ').chain(["-f", "-", "-o", "json"]).collect();
    let kubectl = cluster.kubectl(&words).unwrap().args([format!("--as={person}")]);
    kubectl.input(object.to_string()).ended().await.unwrap()
}

/// What comes of a patch by this person.
async fn patch(cluster: &Cluster, person: &str, name: &str, kind: &str, patch: &Value) -> Ended {
    let (kind, patch) = (format!("--type={kind}"), patch.to_string());
    let words = ["patch", "commit", name, &kind, "-p", &patch];
    let kubectl = cluster.kubectl(&words).unwrap().args([format!("--as={person}")]);
    kubectl.ended().await.unwrap()
}

async fn committer(cluster: &Cluster, name: &str) -> Option<String> {
    cluster.get::<Commit>(name).await.unwrap().spec.committer
}

#[track_caller]
fn assert_taken(ended: &Ended) {
    assert!(ended.success, "{ended:?}");
}

#[track_caller]
fn assert_refused(ended: &Ended, because: &str) {
    assert!(!ended.success && ended.stderr.contains(because), "{ended:?}");
}

#[tokio::test]
async fn everybodys_commits_name_them_whatever_they_write() {
    let cluster = namespace().await;
    begin_policy(&cluster, &chart::MUTATING_POLICIES).await.unwrap();
    let ways = ["create", "apply", "apply --server-side"];
    for (number, way) in ways.into_iter().enumerate() {
        for (person, other) in [(ADA, GRACE), (GRACE, ADA), (PROGRAM, ADA)] {
            let short: String = person.chars().take(3).collect();
            let [says_nothing, lies] = ["nothing", "other"].map(|what| format!("{short}-{what}-{number}"));
            assert_taken(&send(&cluster, person, way, &commit(&says_nothing, "shop")).await);
            assert_taken(&send(&cluster, person, way, &by(other, &lies)).await);
            for name in [says_nothing, lies] {
                let made: Commit = cluster.get(&name).await.unwrap();
                assert_eq!(made.spec.committer.as_deref(), Some(person), "{way} {name}");
                assert_eq!(made.spec.author.as_deref(), Some("Ada <ada@example.com>"));
            }
        }
    }
}

#[tokio::test]
async fn nobody_changes_it_and_applying_again_is_no_error() {
    let cluster = namespace().await;
    begin_policy(&cluster, &chart::MUTATING_POLICIES).await.unwrap();
    assert_taken(&send(&cluster, ADA, "apply", &commit("kept", "shop")).await);
    let plain = commit("kept", "shop");
    for person in [ADA, GRACE] {
        for (way, object) in [
            ("apply", &plain),
            ("apply", &by(GRACE, "kept")),
            ("apply", &plain),
            ("apply --server-side --force-conflicts", &by(GRACE, "kept")),
            ("apply --server-side --force-conflicts", &plain),
            ("replace", &plain),
            ("replace", &by(GRACE, "kept")),
        ] {
            assert_taken(&send(&cluster, person, way, object).await);
            assert_eq!(
                committer(&cluster, "kept").await.as_deref(),
                Some(ADA),
                "{person} {way}"
            );
        }
        for (kind, change) in [
            ("merge", json!({"spec": {"committer": GRACE}})),
            ("merge", json!({"spec": {"committer": null}})),
            ("json", json!([{"op": "remove", "path": "/spec/committer"}])),
            ("merge", json!({"metadata": {"labels": {"seen-by": "people"}}})),
        ] {
            assert_taken(&patch(&cluster, person, "kept", kind, &change).await);
            assert_eq!(
                committer(&cluster, "kept").await.as_deref(),
                Some(ADA),
                "{person} {change}"
            );
        }
        for change in [
            json!({"spec": {"message": "other"}}),
            json!({"spec": {"message": "other", "committer": GRACE}}),
        ] {
            let ended = patch(&cluster, person, "kept", "merge", &change).await;
            assert_refused(&ended, "a Commit cannot be changed");
        }
    }
    let kept: Commit = cluster.get("kept").await.unwrap();
    assert_eq!(kept.metadata.generation, Some(1), "its spec was never changed");
    assert_eq!(kept.metadata.labels.unwrap()["seen-by"], "people");
}

#[tokio::test]
async fn a_commit_from_before_keeps_having_none() {
    let cluster = namespace().await;
    let plain = commit("before", "shop");
    cluster.apply([plain.clone()]).await.unwrap();
    begin_policy(&cluster, &chart::MUTATING_POLICIES).await.unwrap();
    for way in ["apply", "replace", "apply --server-side --force-conflicts"] {
        assert_taken(&send(&cluster, ADA, way, &plain).await);
    }
    let label = json!({"metadata": {"labels": {"seen-by": "people"}}});
    assert_taken(&patch(&cluster, ADA, "before", "merge", &label).await);
    let named = send(&cluster, ADA, "apply", &by(ADA, "before")).await;
    assert_refused(&named, "a Commit cannot be changed");
    assert_eq!(committer(&cluster, "before").await, None);
}

#[tokio::test]
async fn what_is_wrong_with_a_commit_is_said_as_without_the_policy() {
    let cluster = namespace().await;
    begin_policy(&cluster, &chart::MUTATING_POLICIES).await.unwrap();
    let mut empty = commit("empty", "shop");
    empty.as_object_mut().unwrap().remove("spec");
    assert_refused(&send(&cluster, ADA, "create", &empty).await, "spec: Required value");
    let mut nothing = commit("nothing", "shop");
    nothing["spec"] = json!({});
    assert_refused(
        &send(&cluster, ADA, "create", &nothing).await,
        "spec.dot: Required value",
    );
}

#[tokio::test]
async fn where_the_server_cannot_write_it_nobody_can_and_the_rest_passes() {
    let cluster = namespace().await;
    cluster.apply([by(ADA, "before")]).await.unwrap();
    begin_policy(&cluster, &[]).await.unwrap();
    for person in [ADA, GRACE, PROGRAM] {
        for way in ["create", "apply", "apply --server-side"] {
            assert_refused(&send(&cluster, person, way, &by(person, "named")).await, REFUSAL);
        }
    }
    for way in ["create", "apply", "apply --server-side --force-conflicts", "replace"] {
        assert_taken(&send(&cluster, ADA, way, &commit("plain", "shop")).await);
    }
    assert_eq!(committer(&cluster, "plain").await, None);
    let named = send(&cluster, ADA, "apply", &by(ADA, "plain")).await;
    assert_refused(&named, "a Commit cannot be changed");

    // One that has it already, by whatever way, is no captive of the policy.
    let protect = |finalizers: &[&str]| json!({"metadata": {"finalizers": finalizers}});
    let protected = protect(&["dotmesh.io/protect"]);
    assert_taken(&patch(&cluster, PROGRAM, "before", "merge", &protected).await);
    cluster.delete::<Commit>("before").await.unwrap();
    assert_eq!(committer(&cluster, "before").await.as_deref(), Some(ADA));
    assert_taken(&patch(&cluster, PROGRAM, "before", "merge", &protect(&[])).await);
    cluster.wait_gone::<Commit>("before").await.unwrap();
}
