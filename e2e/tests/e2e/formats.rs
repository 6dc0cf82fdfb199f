//! A Dot with a volume of each format: files in ZFS, ext4 and xfs, and a block device.

use anyhow::{Result, ensure};
use dotmesh_crds::{Branch, Commit, Dot};
use dotmesh_e2e::cluster::PATIENCE;
use dotmesh_e2e::objects::{branch, claim, commit, dot, holder};
use dotmesh_e2e::scenario::{Scenario, scenario};
use dotmesh_e2e::wait::{Look, until};
use serde_json::{Value, json};

/// Volumes and their sizes; an xfs has at least 300 MiB.
const VOLUMES: [(&str, &str); 4] = [("native", "64Mi"), ("ext", "64Mi"), ("xfs", "320Mi"), ("raw", "64Mi")];

/// Claims of all volumes, with a prefix, and a pod that has them: files at `/CLAIM`, the device at `/dev/raw`.
fn users(prefix: &str, kind: &str, source: &str, pod: &str) -> Vec<Value> {
    let name = |volume: &str| format!("{prefix}{volume}");
    let mut objects: Vec<Value> = VOLUMES
        .iter()
        .map(|(volume, size)| claim(&name(volume), size, kind, source, volume))
        .collect();
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

#[tokio::test]
async fn volumes_of_every_format_are_one_commit() {
    scenario("every format", async |s| {
        let mut mixed = dot("mixed", &VOLUMES);
        mixed["spec"]["volumes"][1]["fsType"] = json!("ext4");
        mixed["spec"]["volumes"][2]["fsType"] = json!("xfs");
        mixed["spec"]["volumes"][3]["volumeMode"] = json!("Block");
        s.cluster.apply([mixed]).await?;
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
