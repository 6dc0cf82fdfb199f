//! Data of a claim of another driver, and of a dataset that is not Dotmesh's, becomes a Dot's.

use anyhow::{Context, Result, ensure};
use dotmesh_crds::dot::ImportState;
use dotmesh_crds::{Branch, Commit, Dot, Pool, Reason};
use dotmesh_e2e::cluster::PATIENCE;
use dotmesh_e2e::objects::{branch, claim, commit, dot, holder, pod};
use dotmesh_e2e::pool::ROOT;
use dotmesh_e2e::scenario::{Scenario, scenario};
use dotmesh_e2e::wait::{Look, until};
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim, Pod};
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, ListParams};
use serde_json::{Value, json};

/// Writes what is hard to keep, into its claim `old`.
const WRITE: &str = "set -e
mkdir -p /old/base
head -c 5000000 /dev/urandom > /old/base/data
truncate -s 40M /old/sparse; printf end >> /old/sparse
ln /old/base/data /old/linked; ln -s base/data /old/symbolic; mkfifo /old/pipe
chown 999:998 /old/base/data; chmod 4640 /old/base/data
chmod 1777 /old/base; chown -h 12:13 /old/symbolic
perl -e '$p = \"/old/base/data\"; $n = \"user.kept\"; $v = \"yes\"; syscall(188, $p, $n, $v, 3, 0) == 0 or die $!'
printf listed > /old/listed
perl -e '$p = \"/old/listed\"; $n = \"system.posix_acl_access\"; $o = 0xffffffff;
  $v = pack(\"V(vvV)*\", 2, 1, 6, $o, 2, 7, 1234, 4, 4, $o, 16, 7, $o, 32, 0, $o);
  syscall(188, $p, $n, $v, length $v, 0) == 0 or die $!'
touch -d '2020-02-02 02:02:02.123456789' /old/base/data /old/sparse
touch -h -d '2021-01-01 01:01:01.5' /old/symbolic; touch -d '2022-01-01 01:01:01.25' /old/base
touch /old/written; exec sleep infinity";

/// Tells of everything in a folder.
fn tell(folder: &str) -> String {
    format!(
        "set -e; cd {folder}; find . -not -type d -not -name pipe | sort | xargs sha256sum; find . | sort | xargs stat -c '%n %f %u:%g %y %h'; \
         stat -c '%n %s' base/data sparse; test $(stat -c %b sparse) -lt 1000; readlink symbolic; \
         perl -e '$p = \"base/data\"; $n = \"user.kept\"; $v = \"...\"; syscall(191, $p, $n, $v, 3) == 3 or die $!; print $v; \
         $p = \"listed\"; $n = \"system.posix_acl_access\"; $v = \".\" x 100; print syscall(191, $p, $n, $v, 100)'"
    )
}

/// A volume of the node's own filesystem and the claim that has it, as somebody else's driver might serve them.
fn foreign(s: &Scenario) -> [Value; 2] {
    let (name, class) = (volume_name(s), "somebody-elses");
    let capacity = json!({"storage": "64Mi"});
    [
        json!({
            "apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": name},
            "spec": {
                "capacity": capacity, "accessModes": ["ReadWriteOnce"], "storageClassName": class,
                "hostPath": {"path": folder(s), "type": "DirectoryOrCreate"},
            },
        }),
        json!({
            "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "old"},
            "spec": {
                "accessModes": ["ReadWriteOnce"], "storageClassName": class, "volumeName": name,
                "resources": {"requests": capacity},
            },
        }),
    ]
}

fn volume_name(s: &Scenario) -> String {
    format!("theirs-{}", s.cluster.namespace)
}

fn folder(s: &Scenario) -> String {
    format!("/var/lib/{}", volume_name(s))
}

#[tokio::test]
async fn a_claim_of_another_driver_becomes_a_dots_volume() {
    scenario("import", async |s| {
        s.cluster.apply(foreign(s)).await?;
        s.cluster.apply([pod("writer", &["old"], WRITE)]).await?;
        s.cluster.wait_pod("writer").await?;
        s.cluster
            .bash("writer", "while ! test -e /old/written; do sleep 0.1; done")
            .await?;
        let before = s.cluster.bash("writer", &tell("/old")).await?;

        // All at once, as it is installed: the application waits for the import, and that for the old application.
        let mut moved = dot("moved", &[("db", "64Mi"), ("cache", "16Mi")]);
        moved["spec"]["volumes"][0]["importFrom"] = json!({"persistentVolumeClaim": "old"});
        let objects = [moved, claim("db", "64Mi", "Dot", "moved", "db"), holder("app", &["db"])];
        s.cluster.apply(objects).await?;
        let dot: Dot = s.cluster.wait_reason("moved", Reason::InUse).await?;
        let told = format!("{:?}", dot.status);
        ensure!(told.contains("writer"), "{told}");
        s.cluster
            .wait_refused("db", Reason::Importing, &["moved", "under way"])
            .await?;
        s.cluster.delete::<Pod>("writer").await?;

        s.cluster.wait_pod("app").await?;
        let dot: Dot = s.cluster.wait_ready("moved").await?;
        let import = dot.status.and_then(|status| status.imports.first().cloned());
        let import = import.context("a status of the import")?;
        ensure!(
            import.state == ImportState::Done && import.skipped.is_none(),
            "{import:?}"
        );
        ensure!(
            import.bytes_copied == import.bytes_total && import.completion_time.is_some(),
            "{import:?}"
        );
        ensure!(import.bytes_total.is_some_and(|bytes| bytes > 5_000_000), "{import:?}");
        let after = s.cluster.bash("app", &tell("/db")).await?;
        ensure!(before == after, "before:\n{before}\nafter:\n{after}");
        let first: Commit = s.cluster.wait_ready("moved-initial").await?;
        ensure!(
            first.spec.message.as_deref() == Some("Imported from claim old"),
            "{:?}",
            first.spec
        );

        // Nothing of it is left, and the old claim is as it was.
        let own = "moved-import-db";
        s.cluster.wait_gone::<Pod>(own).await?;
        s.cluster.wait_gone::<PersistentVolumeClaim>(own).await?;
        s.cluster.apply([holder("reader", &["old"])]).await?;
        s.cluster.wait_pod("reader").await?;
        let untouched = s.cluster.bash("reader", &tell("/old")).await?;
        ensure!(before == untouched, "before:\n{before}\nuntouched:\n{untouched}");
        s.cluster.delete::<Pod>("reader").await?;
        s.cluster.wait_gone::<Pod>("reader").await?;
        clean_up(s).await
    })
    .await;
}

/// What lies outside the namespace.
async fn clean_up(s: &Scenario) -> Result<()> {
    s.cluster.delete::<PersistentVolumeClaim>("old").await?;
    s.cluster.wait_gone::<PersistentVolumeClaim>("old").await?;
    let volumes: Api<PersistentVolume> = Api::all(s.cluster.client.clone());
    volumes.delete(&volume_name(s), &DeleteParams::default()).await?;
    let node = s.nodes.names().next().context("there is a node")?.to_owned();
    let remove = ["rm", "-rf", &folder(s)];
    s.nodes.run_within(PATIENCE, &node, &remove).await.map(drop)
}

/// Runs a command on the node.
async fn on_node(s: &Scenario, words: &[&str]) -> Result<String> {
    let node = s.nodes.names().next().context("there is a node")?.to_owned();
    s.nodes.run(&node, words).await
}

#[tokio::test]
async fn a_dataset_of_the_nodes_owner_becomes_a_dots_volume() {
    scenario("adoption", async |s| {
        let (dataset, folder) = (format!("dotmesh/{}", volume_name(s)), folder(s));
        let mountpoint = format!("mountpoint={folder}");
        on_node(s, &["zfs", "create", "-o", &mountpoint, &dataset]).await?;
        let result = adopt(s, &dataset, &folder).await;
        if result.is_err() {
            // What stands on it goes with the namespace; this would be left.
            let _ = on_node(s, &["zfs", "destroy", "-r", &dataset]).await;
        }
        result
    })
    .await;
}

async fn adopt(s: &Scenario, dataset: &str, folder: &str) -> Result<()> {
    on_node(s, &["cp", "-a", "/etc", folder]).await?;
    let sum = |folder: &str| format!("cd {folder}/etc && find . -type f | sort | xargs sha256sum | sha256sum");
    let before = on_node(s, &[&sum(folder)]).await?;
    let pools: Api<Pool> = Api::all(s.cluster.client.clone());
    let pools = pools.list(&ListParams::default()).await?.items;
    let pool = pools
        .iter()
        .find(|pool| pool.spec.class == "default")
        .context("there is a Pool")?;

    // The Dot says what to do; nothing of it is anywhere else.
    let mut adopted = dot("adopted", &[("db", "64Mi"), ("cache", "16Mi")]);
    let snapshot = format!("{dataset}@move");
    adopted["spec"]["volumes"][0]["importFrom"] = json!({"zfsSnapshot": {"pool": pool.name_any(), "name": snapshot}});
    let objects = [
        adopted,
        claim("db", "64Mi", "Dot", "adopted", "db"),
        holder("app", &["db"]),
    ];
    s.cluster.apply(objects).await?;
    let mut told = String::new();
    until("the Dot says what to do", PATIENCE, async || {
        let dot: Dot = s.cluster.get("adopted").await?;
        let conditions = dot.status.map(|status| status.conditions).unwrap_or_default();
        told = conditions
            .first()
            .map(|ready| ready.message.clone())
            .unwrap_or_default();
        Ok(Look::when(told.contains("on its node: "), told.clone()))
    })
    .await?;
    let (_, command) = told.split_once("on its node: ").context(told.clone())?;
    let command: Vec<&str> = command.split(' ').collect();
    on_node(s, &command).await.with_context(|| format!("{command:?}"))?;

    s.cluster.wait_pod("app").await?;
    let inside = s.cluster.bash("app", &sum("/db")).await?;
    ensure!(before == inside, "before {before}, inside {inside}");
    let first: Commit = s.cluster.wait_ready("adopted-initial").await?;
    let message = first.spec.message.clone().unwrap_or_default();
    ensure!(message == format!("Imported from snapshot {snapshot}"), "{message}");
    s.cluster.bash("app", "touch /db/etc/ours && sync").await?;
    let outside = on_node(s, &[&sum(folder)]).await?;
    ensure!(before == outside, "before {before}, outside {outside}");

    // Its owner is rid of the old one, while the pod works on.
    let (dot, main): (Dot, Branch) = (s.cluster.get("adopted").await?, s.cluster.get("adopted-main").await?);
    let id = dot.status.and_then(|status| status.id).context("an id")?;
    let main = main.status.context("a status")?;
    let volume = main
        .volumes
        .iter()
        .find(|volume| volume.name == "db")
        .context("volume db")?;
    let head = main.head.context("a head")?;
    let ours = format!("{ROOT}/{id}/{head}/{}", volume.id);
    on_node(s, &["zfs", "promote", &ours]).await?;
    on_node(s, &["zfs", "destroy", dataset]).await?;
    on_node(s, &["zfs", "destroy", &format!("{ours}@move")]).await?;
    s.cluster.apply([commit("after", "adopted")]).await?;
    s.cluster.wait_ready::<Commit>("after").await?;
    s.cluster
        .apply([
            branch("try", "adopted", "adopted-initial"),
            claim("tried", "64Mi", "Branch", "try", "db"),
            holder("trial", &["tried"]),
        ])
        .await?;
    s.cluster.wait_pod("trial").await?;
    let tried = s.cluster.bash("trial", &sum("/tried")).await?;
    ensure!(before == tried, "before {before}, tried {tried}");
    s.cluster.wait_ready::<Dot>("adopted").await?;
    s.cluster.wait_ready::<Branch>("adopted-main").await.map(drop)
}
