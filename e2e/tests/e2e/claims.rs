//! Claims get their volumes.

use anyhow::{Context, ensure};
use dotmesh_crds::{Branch, Commit, Dot, names};
use dotmesh_e2e::cluster::readiness;
use dotmesh_e2e::objects::{branch, claim, commit, dot, holder, plain_claim, pod};
use dotmesh_e2e::scenario::scenario;
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim, Pod};
use kube::ResourceExt;
use kube::api::Api;
use serde_json::json;

use super::{count, entries, used};

#[tokio::test]
async fn a_plain_claim_gets_a_dot_of_its_own() {
    scenario("plain claim", async |s| {
        let script = "echo hello > /data/word; sync; exec sleep infinity";
        s.cluster
            .apply([plain_claim("data", "64Mi"), pod("writer", &["data"], script)])
            .await?;
        s.cluster.wait_pod("writer").await?;
        let claim: PersistentVolumeClaim = s.cluster.wait_bound("data").await?;
        let uid = claim.uid().context("a claim has a uid")?;
        let name = names::volume_object(&uid);
        ensure!(claim.spec.and_then(|spec| spec.volume_name).as_deref() == Some(name.as_str()));

        let own: Dot = s.cluster.wait_ready(&name).await?;
        ensure!(
            own.labels().get(names::LABEL_CLAIM_UID) == Some(&uid),
            "{:?}",
            own.labels()
        );
        ensure!(own.annotations().get(names::ANNOTATION_CLAIM).map(String::as_str) == Some("data"));

        // It can be committed like any other Dot.
        s.cluster.apply([commit("saved", &name)]).await?;
        s.cluster.wait_ready::<Commit>("saved").await?;
        s.settled().await?;
        ensure!(
            count(&entries(s).await?) == (1, 4),
            "a volume, two commits: {:?}",
            entries(s).await?
        );

        // A pod that comes later finds the data.
        s.cluster.delete::<Pod>("writer").await?;
        s.cluster.wait_gone::<Pod>("writer").await?;
        s.cluster.apply([holder("reader", &["data"])]).await?;
        s.cluster.wait_pod("reader").await?;
        ensure!(s.cluster.bash("reader", "cat /data/word").await?.trim() == "hello");

        // With the claim goes the live data; what a person committed stays until that goes too.
        s.cluster.delete::<Pod>("reader").await?;
        s.cluster.delete::<PersistentVolumeClaim>("data").await?;
        s.cluster.wait_gone::<PersistentVolumeClaim>("data").await?;
        s.cluster
            .wait_gone::<Branch>(&names::default_branch_object(&name))
            .await?;
        s.cluster.wait_ready::<Commit>("saved").await?;
        s.settled().await?;
        s.cluster.delete::<Commit>("saved").await?;
        s.cluster.wait_gone::<Dot>(&name).await
    })
    .await;
}

#[tokio::test]
async fn an_own_dot_that_nobody_committed_goes_with_its_claim() {
    scenario("own dot goes", async |s| {
        s.cluster
            .apply([plain_claim("data", "64Mi"), holder("holder", &["data"])])
            .await?;
        s.cluster.wait_pod("holder").await?;
        let name = names::volume_object(&s.cluster.uid::<PersistentVolumeClaim>("data").await?);
        s.cluster.wait_ready::<Dot>(&name).await?;
        s.cluster.delete::<Pod>("holder").await?;
        s.cluster.delete::<PersistentVolumeClaim>("data").await?;
        s.cluster.wait_gone::<Dot>(&name).await?;
        s.settled().await?;
        let left = entries(s).await?;
        ensure!(left.is_empty(), "{left:?}");
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn two_claims_on_one_dot_get_two_volumes_on_one_node() {
    scenario("two claims", async |s| {
        let script = |claim: &str| format!("echo {claim} > /{claim}/word; sync; exec sleep infinity");
        s.cluster
            .apply([
                dot("shop", &[("db", "64Mi"), ("cache", "32Mi")]),
                claim("db", "64Mi", "Dot", "shop", "db"),
                claim("cache", "32Mi", "Dot", "shop", "cache"),
                pod("first", &["db"], &script("db")),
                pod("second", &["cache"], &script("cache")),
            ])
            .await?;
        let first = s.cluster.wait_pod("first").await?;
        let second = s.cluster.wait_pod("second").await?;
        let node = |pod: &Pod| pod.spec.as_ref().and_then(|spec| spec.node_name.clone());
        ensure!(node(&first).is_some() && node(&first) == node(&second));
        let shop: Dot = s.cluster.wait_ready("shop").await?;
        let status = shop.status.context("a Ready Dot has a status")?;
        ensure!(status.node == node(&first) && status.claims.len() == 2, "{status:?}");

        // Each volume has its size, and the volume's node is the volume's for ever.
        let df = s
            .cluster
            .bash("second", "cat /cache/word; df --output=size -B1M /cache | tail -1")
            .await?;
        let fields: Vec<&str> = df.split_whitespace().collect();
        ensure!(fields == ["cache", "32"], "{df}");
        let volume = names::volume_object(&s.cluster.uid::<PersistentVolumeClaim>("db").await?);
        let volume = Api::<PersistentVolume>::all(s.cluster.client.clone())
            .get(&volume)
            .await?;
        let affinity = serde_json::to_string(&volume.spec.and_then(|spec| spec.node_affinity))?;
        ensure!(affinity.contains(names::TOPOLOGY_NODE), "{affinity}");

        // One commit has both.
        s.cluster.apply([commit("both", "shop")]).await?;
        let both: Commit = s.cluster.wait_ready("both").await?;
        let volumes = both.status.context("a Ready Commit has a status")?.volumes;
        let volumes: Vec<&str> = volumes.iter().map(|volume| volume.name.as_str()).collect();
        ensure!(volumes == ["cache", "db"] || volumes == ["db", "cache"], "{volumes:?}");
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_full_volume_is_full_for_its_pod_only() {
    scenario("full volume", async |s| {
        s.cluster
            .apply([
                dot("shop", &[("small", "8Mi"), ("other", "8Mi")]),
                claim("small", "8Mi", "Dot", "shop", "small"),
                claim("other", "8Mi", "Dot", "shop", "other"),
                holder("pod", &["small", "other"]),
            ])
            .await?;
        s.cluster.wait_pod("pod").await?;
        let fill = "head -c 64M /dev/urandom > /small/big 2>/tmp/error; grep -c -i -e 'quota' -e 'no space' /tmp/error; \
                    echo fine > /other/word && cat /other/word";
        let said = s.cluster.bash("pod", fill).await?;
        ensure!(said.split_whitespace().eq(["1", "fine"]), "{said}");
        s.cluster.apply([commit("full", "shop")]).await?;
        s.cluster.wait_ready::<Commit>("full").await.map(drop)
    })
    .await;
}

#[tokio::test]
async fn claims_see_what_they_name_and_leave_the_rest_alone() {
    scenario("claims of each kind", async |s| {
        let script = "echo one > /data/word; sync; exec sleep infinity";
        // By annotations: csi-provisioner takes it for a plain claim and asks for a volume.
        let mut data = plain_claim("data", "64Mi");
        data["metadata"]["annotations"] = json!({names::ANNOTATION_DOT: "shop", names::ANNOTATION_SHARED: "true"});
        s.cluster
            .apply([dot("shop", &[("data", "64Mi")]), data, pod("main", &["data"], script)])
            .await?;
        s.cluster.wait_pod("main").await?;
        s.cluster.wait_ready::<Dot>("shop").await?;
        let dots = s.cluster.list::<Dot>().await?;
        ensure!(dots.len() == 1, "the claim has no Dot of its own: {dots:?}");
        s.cluster.bash("main", "test \"$(cat /data/word)\" = one").await?;
        s.cluster.apply([commit("one", "shop")]).await?;
        s.cluster.wait_ready::<Commit>("one").await?;
        s.cluster.bash("main", "echo two > /data/word").await?;

        let mut aside = plain_claim("aside", "64Mi");
        aside["metadata"]["annotations"] = json!({names::ANNOTATION_BRANCH: "side", names::ANNOTATION_VOLUME: "data"});
        let mut shared = claim("shared", "64Mi", "Dot", "shop", "data");
        shared["metadata"]["annotations"][names::ANNOTATION_SHARED] = "true".into();
        let mut frozen = claim("frozen", "64Mi", "Commit", "one", "data");
        frozen["spec"]["accessModes"] = json!(["ReadOnlyMany"]);
        s.cluster
            .apply([
                branch("side", "shop", "one"),
                aside,
                claim("seen", "64Mi", "Commit", "one", "data"),
                shared,
                holder("viewer", &["aside", "seen", "shared", "frozen"]),
                frozen,
                holder("second", &["frozen"]),
            ])
            .await?;
        for reader in ["viewer", "second"] {
            s.cluster.wait_pod(reader).await?;
            let seen = s
                .cluster
                .bash(reader, "touch /frozen/new 2>&1; cat /frozen/word")
                .await?;
            ensure!(
                seen.contains("Read-only file system") && seen.ends_with("one\n"),
                "{seen}"
            );
        }
        used(s, "side", "data by pod viewer").await?;
        let seen = s
            .cluster
            .bash(
                "viewer",
                "cat /aside/word /seen/word /shared/word; echo three > /aside/word; echo four > /seen/word; \
                 cat /aside/word /seen/word; echo five > /shared/other; sync",
            )
            .await?;
        ensure!(
            seen.split_whitespace().eq(["one", "one", "two", "three", "four"]),
            "{seen}"
        );
        let seen = s.cluster.bash("main", "cat /data/word /data/other").await?;
        ensure!(seen.split_whitespace().eq(["two", "five"]), "{seen}");

        // A branch in use waits with its deletion, and says for whom.
        s.cluster.delete::<Branch>("side").await?;
        let waiting: Branch = s.cluster.wait_reason("side", dotmesh_crds::Reason::InUse).await?;
        let why = readiness(&waiting);
        ensure!(
            why.contains("/aside") && why.contains("pod viewer"),
            "claim and pod are named: {why}"
        );
        ensure!(s.cluster.bash("viewer", "cat /aside/word").await?.trim() == "three");
        let mut own = Vec::new();
        for claim in ["seen", "frozen"] {
            own.push(names::volume_object(
                &s.cluster.uid::<PersistentVolumeClaim>(claim).await?,
            ));
        }
        for branch in &own {
            s.cluster.wait_ready::<Branch>(branch).await?;
        }
        for reader in ["viewer", "second"] {
            s.cluster.delete::<Pod>(reader).await?;
        }
        for claim in ["aside", "seen", "shared", "frozen"] {
            s.cluster.delete::<PersistentVolumeClaim>(claim).await?;
        }
        s.cluster.wait_gone::<Branch>("side").await?;
        // The claim of a Commit takes its Branch along, and leaves the Commit.
        for branch in &own {
            s.cluster.wait_gone::<Branch>(branch).await?;
        }
        s.cluster.wait_ready::<Commit>("one").await?;
        s.settled().await?;
        ensure!(count(&entries(s).await?) == (1, 4), "{:?}", entries(s).await?);
        ensure!(s.cluster.bash("main", "cat /data/other").await?.trim() == "five");
        Ok(())
    })
    .await;
}

#[tokio::test]
#[ignore = "takes long: cargo xtask campaign e2e"]
async fn a_stateful_sets_claims_get_a_volume_each_of_one_dot() {
    scenario("stateful set", async |s| {
        let template = |name: &str, dot: &str| {
            let mut claim = plain_claim("data", "32Mi");
            claim["spec"]["dataSourceRef"] = json!({"apiGroup": "dotmesh.io", "kind": "Dot", "name": dot});
            let mut pod = holder(name, &["data"]);
            pod["spec"]["volumes"] = json!([]);
            pod["spec"]["restartPolicy"] = "Always".into();
            json!({
                "apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": name},
                "spec": {
                    "replicas": 3, "serviceName": name, "podManagementPolicy": "Parallel",
                    "selector": {"matchLabels": {"app": name}},
                    "template": {"metadata": {"labels": {"app": name}}, "spec": pod["spec"]},
                    "volumeClaimTemplates": [claim],
                },
            })
        };
        s.cluster
            .apply([
                dot("open", &[]),
                template("many", "open"),
                dot("closed", &[("data", "32Mi")]),
                template("one", "closed"),
            ])
            .await?;
        for replica in 0..3 {
            s.cluster.wait_pod(&format!("many-{replica}")).await?;
        }
        let open: Dot = s.cluster.wait_ready("open").await?;
        let volumes = open.status.context("a Ready Dot has a status")?.volumes;
        let volumes: Vec<&str> = volumes.iter().map(|volume| volume.name.as_str()).collect();
        ensure!(volumes == ["data-many-0", "data-many-1", "data-many-2"], "{volumes:?}");
        // A Dot of one volume has it for one of them, and tells the others.
        let closed: Dot = s.cluster.wait_ready("closed").await?;
        let claims = closed.status.context("a Ready Dot has a status")?.claims;
        ensure!(claims.len() == 1, "{claims:?}");
        for claim in ["data-one-0", "data-one-1", "data-one-2"] {
            if claims[0].name != claim {
                s.cluster
                    .wait_refused(claim, dotmesh_crds::Reason::VolumeHeld, &["data", "closed"])
                    .await?;
            }
        }
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_claim_that_waited_for_its_dot_gets_it() {
    scenario("dot comes later", async |s| {
        s.cluster
            .apply([claim("data", "32Mi", "Dot", "later", "data"), holder("pod", &["data"])])
            .await?;
        s.cluster
            .wait_refused("data", dotmesh_crds::Reason::DotNotFound, &["later"])
            .await?;
        s.cluster.apply([dot("later", &[("data", "32Mi")])]).await?;
        s.cluster.wait_pod("pod").await.map(drop)
    })
    .await;
}
