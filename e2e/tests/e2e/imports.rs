//! Data of a claim of another driver becomes a Dot's.

use anyhow::{Context, Result, ensure};
use dotmesh_crds::dot::ImportState;
use dotmesh_crds::{Commit, Dot, Reason};
use dotmesh_e2e::cluster::PATIENCE;
use dotmesh_e2e::objects::{claim, dot, holder, pod};
use dotmesh_e2e::scenario::{Scenario, scenario};
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim, Pod};
use kube::api::{Api, DeleteParams};
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
