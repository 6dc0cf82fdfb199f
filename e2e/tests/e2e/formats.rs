//! A Dot with a volume of each format: files in ZFS, ext4 and xfs, and a block device.

use anyhow::{Result, ensure};
use dotmesh_crds::{Branch, Commit, Dot};
use dotmesh_e2e::cluster::PATIENCE;
use dotmesh_e2e::objects::{branch, claim, commit, dot, holder, plain_claim};
use dotmesh_e2e::scenario::{Scenario, scenario};
use dotmesh_e2e::wait::{Look, until};
use kube::ResourceExt;
use serde_json::{Value, json};

/// Volumes and their sizes; an xfs has at least 300 MiB.
const VOLUMES: [(&str, &str); 4] = [("native", "64Mi"), ("ext", "64Mi"), ("xfs", "320Mi"), ("raw", "64Mi")];

/// Claims of all volumes, with a prefix, and a pod that has them: files at `/CLAIM`, the device at `/dev/raw`.
fn users(prefix: &str, kind: &str, source: &str, pod: &str) -> Vec<Value> {
    let claims = VOLUMES.map(|(volume, size)| claim(&format!("{prefix}{volume}"), size, kind, source, volume));
    with_pod(prefix, claims, pod)
}

/// These claims and a pod that has them.
fn with_pod(prefix: &str, claims: [Value; 4], pod: &str) -> Vec<Value> {
    let name = |volume: &str| format!("{prefix}{volume}");
    let mut objects = claims.to_vec();
    objects[3]["spec"]["volumeMode"] = json!("Block");
    let files = ["native", "ext", "xfs"].map(name);
    let mut holder = holder(pod, &files.each_ref().map(String::as_str));
    let device = json!({"name": "raw", "persistentVolumeClaim": {"claimName": name("raw")}});
    if let Some(volumes) = holder["spec"]["volumes"].as_array_mut() {
        volumes.push(device);
    }
    holder["spec"]["containers"][0]["volumeDevices"] = json!([{"name": "raw", "devicePath": "/dev/raw"}]);
    objects.push(holder);
    objects
}

/// Writes four letters to each volume and syncs nothing.
async fn write(s: &Scenario, pod: &str, text: &str) -> Result<()> {
    let script = format!(
        "for f in native ext xfs; do printf {text} > /$f/state; done; \
         printf {text} | dd of=/dev/raw bs=4 seek=1000 conv=notrunc 2>/dev/null"
    );
    s.cluster.bash(pod, &script).await.map(drop)
}

/// What each volume has, and of which filesystems they are.
async fn read(s: &Scenario, pod: &str, prefix: &str) -> Result<String> {
    let script = format!(
        "for f in native ext xfs; do cat /{prefix}$f/state; echo; stat -f -c %T /{prefix}$f; done; \
         dd if=/dev/raw bs=4 skip=1000 count=1 2>/dev/null"
    );
    let seen = s.cluster.bash(pod, &script).await?;
    Ok(seen.split_whitespace().collect::<Vec<_>>().join(" "))
}

fn expected(text: &str) -> String {
    format!("{text} zfs {text} ext2/ext3 {text} xfs {text}")
}

/// A Dot of all of them.
fn mixed() -> Value {
    let mut mixed = dot("mixed", &VOLUMES);
    mixed["spec"]["volumes"][1]["fsType"] = json!("ext4");
    mixed["spec"]["volumes"][2]["fsType"] = json!("xfs");
    mixed["spec"]["volumes"][3]["volumeMode"] = json!("Block");
    mixed
}

/// Claims that are copies of those of Dot `mixed`, some of them larger, and a pod that has them.
#[tokio::test]
async fn claims_of_every_format_are_cloned() {
    scenario("clones", async |s| {
        s.cluster.apply([mixed()]).await?;
        s.cluster.apply(users("", "Dot", "mixed", "app")).await?;
        s.cluster.wait_pod("app").await?;
        write(s, "app", "then").await?;
        let clones = VOLUMES.map(|(volume, _)| {
            let size = if volume == "xfs" { "512Mi" } else { "128Mi" };
            let mut claim = plain_claim(&format!("c-{volume}"), size);
            claim["spec"]["dataSource"] = json!({"kind": "PersistentVolumeClaim", "name": volume});
            claim
        });
        let [mut wrong, ..] = clones.clone();
        wrong["metadata"]["name"] = json!("device");
        wrong["spec"]["volumeMode"] = json!("Block");
        s.cluster.apply(with_pod("c-", clones, "copy")).await?;
        s.cluster.apply([wrong]).await?;
        s.cluster.wait_pod("copy").await?;
        write(s, "app", "late").await?;
        let (seen, own) = (read(s, "copy", "c-").await?, read(s, "app", "").await?);
        ensure!(seen == expected("then"), "the copies have {seen}");
        ensure!(own == expected("late"), "the originals have {own}");
        let script = "df --output=size -B1M /c-native /c-ext /c-xfs | tail -n +2; blockdev --getsize64 /dev/raw";
        let seen = s.cluster.bash("copy", script).await?;
        let sizes: Vec<u64> = seen.split_whitespace().filter_map(|size| size.parse().ok()).collect();
        let are_larger =
            matches!(sizes[..], [zfs, ext, xfs, raw] if zfs == 128 && ext > 100 && xfs > 400 && raw == 128 << 20);
        ensure!(are_larger, "{seen}");
        s.cluster
            .wait_event("device", &["is a zfs filesystem", "ask for a block device"])
            .await?;

        // A claim that waits for another one keeps it. The Commits that were taken for them are gone, and so can be what they came from.
        s.cluster.kubectl(&["delete", "pvc", "device"])?.output().await?;
        until("the Commits of the clones are gone", PATIENCE, async || {
            let commits: Vec<Commit> = s.cluster.list().await?;
            let left: Vec<String> = commits.iter().map(ResourceExt::name_any).collect();
            let is_so = left.iter().all(|name| !name.starts_with("snap-"));
            Ok(Look::when(is_so, left.join(" ")))
        })
        .await?;
        let claims = ["pod/app", "pvc/native", "pvc/ext", "pvc/xfs", "pvc/raw", "dot/mixed"];
        let args: Vec<&str> = ["delete"].into_iter().chain(claims).collect();
        s.cluster.kubectl(&args)?.within(PATIENCE).output().await?;
        s.cluster.wait_gone::<Dot>("mixed").await?;
        let seen = read(s, "copy", "c-").await?;
        ensure!(seen == expected("then"), "alone they have {seen}");
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn volumes_of_every_format_are_one_commit() {
    scenario("every format", async |s| {
        s.cluster.apply([mixed()]).await?;
        s.cluster.apply(users("", "Dot", "mixed", "app")).await?;
        s.cluster.wait_pod("app").await?;
        s.cluster.wait_ready::<Dot>("mixed").await?;

        write(s, "app", "then").await?;
        s.cluster.apply([commit("first", "mixed")]).await?;
        s.cluster.wait_ready::<Commit>("first").await?;
        write(s, "app", "late").await?;
        s.cluster.apply([branch("side", "mixed", "first")]).await?;
        s.cluster.apply(users("b-", "Branch", "side", "viewer")).await?;
        s.cluster.wait_pod("viewer").await?;
        s.cluster.wait_ready::<Branch>("side").await?;
        let (seen, own) = (read(s, "viewer", "b-").await?, read(s, "app", "").await?);
        ensure!(seen == expected("then"), "the branch has {seen}");
        ensure!(own == expected("late"), "the origin has {own}");

        // On the claim's branch first, then on the others, under running pods.
        for (claim, size) in [("ext", "128Mi"), ("xfs", "512Mi"), ("raw", "128Mi")] {
            let patch = format!(r#"{{"spec":{{"resources":{{"requests":{{"storage":"{size}"}}}}}}}}"#);
            let args = ["patch", "pvc", claim, "--type=merge", "-p", &patch];
            s.cluster.kubectl(&args)?.output().await?;
        }
        for (pod, prefix) in [("app", ""), ("viewer", "b-")] {
            until(&format!("the volumes of {pod} grow"), PATIENCE, async || {
                let script = format!(
                    "df --output=size -B1M /{prefix}ext /{prefix}xfs | tail -n +2; blockdev --getsize64 /dev/raw"
                );
                let seen = s.cluster.bash(pod, &script).await?;
                let sizes: Vec<u64> = seen.split_whitespace().filter_map(|size| size.parse().ok()).collect();
                let is_so = matches!(sizes[..], [ext, xfs, raw] if ext > 100 && xfs > 400 && raw == 128 << 20);
                Ok(Look::when(is_so, seen))
            })
            .await?;
        }
        let own = read(s, "app", "").await?;
        ensure!(own == expected("late"), "after growing it has {own}");
        Ok(())
    })
    .await;
}
