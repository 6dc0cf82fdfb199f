//! A small cluster: one node with csi-node, and all controllers run by hand.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex};

use dotmesh_crds::condition::Condition;
use dotmesh_crds::names::MANAGER_CLAIMS;
use dotmesh_crds::pool::PoolFile;
use dotmesh_crds::{Branch, Commit, Dot, Pool, Remnant};
use dotmesh_operator::api::{Api, Guard, Key, Kind};
use dotmesh_operator::context::{Config, Context};
use dotmesh_operator::dot::import::observe::Importer;
use dotmesh_operator::lead::Lead;
use dotmesh_operator::metrics::Metrics;
use dotmesh_operator::nodes::NodeError;
use dotmesh_operator::pool::discover::PoolSource;
use dotmesh_operator::status::ready_condition;
use dotmesh_operator::volume_snapshot::VolumeSnapshotContent;
use dotmesh_operator::wake::Wake;
use dotmesh_operator::{branch, capacity, commit, dot, pool, publish, remnant};
use dotmesh_testkit::{FakeApi, FakeNodes};
use k8s_openapi::api::core::v1::{Namespace, Pod};
use k8s_openapi::jiff::Timestamp;
use serde_json::json;

/// Rounds after which a world that still writes is taken for one that never settles.
const ROUNDS_MAX: usize = 60;

const CSI_NODE: &str = "
apiVersion: v1
kind: Pod
metadata: {name: csi-node-1, namespace: dotmesh-system, labels: {app.kubernetes.io/component: csi-node}}
spec: {nodeName: n1, containers: []}
status: {phase: Running}
";

pub(crate) struct World {
    pub(crate) api: FakeApi,
    pub(crate) nodes: FakeNodes,
    context: Mutex<Arc<Context<FakeApi, FakeNodes>>>,
    grace: Mutex<u64>,
    snapshots: AtomicBool,
    /// Seconds since the epoch.
    pub(crate) now: Arc<AtomicI64>,
}

pub(crate) fn key(name: &str) -> Key {
    Key::namespaced("dev", name)
}

/// A claim's uid.
pub(crate) fn claim_uid(n: u32) -> String {
    format!("c1a10000-0000-4000-8000-{n:012}")
}

impl World {
    /// Without nodes.
    pub(crate) fn empty() -> Self {
        let (api, nodes) = (FakeApi::default(), FakeNodes::default());
        let now = Arc::new(AtomicI64::new(1_767_225_600));
        for name in ["dev", "prod"] {
            api.put(&format!("apiVersion: v1\nkind: Namespace\nmetadata: {{name: {name}}}"));
        }
        Self {
            context: Mutex::new(context((&api, &nodes), (0, true), &now)),
            api,
            nodes,
            grace: Mutex::new(0),
            snapshots: AtomicBool::new(true),
            now,
        }
    }

    /// csi-node runs on node n1.
    pub(crate) fn start_csi_node(&self) {
        self.api.put(CSI_NODE.trim());
    }

    /// With a Pool on node n1, which is ready.
    pub(crate) async fn new() -> Self {
        let world = Self::empty();
        world.start_csi_node();
        world.settle().await;
        world
    }

    /// And a Dot `shop` with volumes db and cache, on which a pod with a claim runs.
    pub(crate) async fn with_shop() -> Self {
        let world = Self::new().await;
        world.put_shop();
        world.settle().await;
        world.claim("shop", 1, "db", None).await;
        world.settle().await;
        world
    }

    pub(crate) fn put_shop(&self) {
        self.put(
            "Dot",
            "shop",
            "{volumes: [{name: db, size: 10Gi}, {name: cache, size: 1Gi}]}",
        );
    }

    pub(crate) fn put(&self, kind: &str, name: &str, spec: &str) {
        self.api.put(&format!(
            "apiVersion: dotmesh.io/v1alpha1\nkind: {kind}\nmetadata: {{name: {name}, namespace: dev}}\nspec: {spec}"
        ));
    }

    pub(crate) fn put_commit(&self, name: &str) {
        self.put("Commit", name, "{dot: shop, branch: main, message: \"a message\"}");
    }

    /// A person changes the list of volumes.
    pub(crate) async fn set_volumes(&self, dot: &str, volumes: serde_json::Value) {
        let patch = json!({ "spec": { "volumes": volumes } });
        self.api
            .patch::<Dot>(&key(dot), &Guard::default(), patch)
            .await
            .unwrap();
        self.api.take_writes();
    }

    /// A claim's entry, as the claims' controller writes it.
    pub(crate) async fn claim(&self, dot: &str, n: u32, volume: &str, branch: Option<&str>) {
        let mut entry = json!({
            "uid": claim_uid(n), "namespace": "dev", "name": format!("claim-{n}"), "volume": volume, "size": "1Gi",
            "selectedNode": "n1",
        });
        if let Some(branch) = branch {
            entry["branch"] = json!(branch);
        }
        self.write_claims(dot, |claims| {
            claims.retain(|other| other["uid"] != entry["uid"]);
            claims.push(entry.clone());
        })
        .await;
    }

    /// The claim's entry asks for another size.
    pub(crate) async fn resize(&self, dot: &str, n: u32, size: &str) {
        self.write_claims(dot, |claims| {
            let own = claims.iter_mut().find(|entry| entry["uid"] == json!(claim_uid(n)));
            own.unwrap()["size"] = json!(size);
        })
        .await;
    }

    /// The claim's entry goes.
    pub(crate) async fn unclaim(&self, dot: &str, n: u32) {
        self.write_claims(dot, |claims| claims.retain(|entry| entry["uid"] != json!(claim_uid(n))))
            .await;
    }

    pub(crate) async fn write_claims(&self, dot: &str, change: impl Fn(&mut Vec<serde_json::Value>)) {
        loop {
            let dot: Dot = self.api.must_get(&key(dot));
            let status = dot.status.clone().unwrap_or_default();
            let mut claims: Vec<_> = status.claims.iter().map(|claim| json!(claim)).collect();
            change(&mut claims);
            let (guard, status) = (Guard::unchanged(&dot), json!({ "claims": claims }));
            let written = self
                .api
                .apply_status::<Dot>(&Key::of(&dot), &guard, MANAGER_CLAIMS, status)
                .await;
            self.api.take_writes();
            if written.is_ok() {
                return;
            }
        }
    }

    pub(crate) async fn delete<K: Kind>(&self, name: &str) {
        while self.api.delete::<K>(&key(name), &Guard::default()).await.is_err() {}
        self.api.take_writes();
    }

    /// The operator starts again: what it only remembered is lost.
    pub(crate) fn restart(&self) {
        let config = (*self.grace.lock().unwrap(), self.snapshots.load(Ordering::SeqCst));
        *self.context.lock().unwrap() = context((&self.api, &self.nodes), config, &self.now);
    }

    /// From now on deleted data can come back for so many seconds.
    pub(crate) fn set_grace(&self, seconds: u64) {
        *self.grace.lock().unwrap() = seconds;
        self.restart();
    }

    /// From now on VolumeSnapshots are served, or not.
    pub(crate) fn serve_snapshots(&self, is_served: bool) {
        self.snapshots.store(is_served, Ordering::SeqCst);
        self.restart();
    }

    /// The namespace is being deleted; what is in it is not yet.
    pub(crate) fn go_namespace(&self, name: &str) {
        let mut namespace: serde_json::Value = json!(self.api.must_get::<Namespace>(&Key::cluster(name)));
        namespace["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        namespace["metadata"]["finalizers"] = json!(["kubernetes"]);
        self.api.put_object(namespace);
    }

    /// A call, and the controllers at work until it is answered.
    pub(crate) async fn beside<T>(&self, call: impl Future<Output = T>) -> T {
        let work = async {
            loop {
                self.round().await;
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            biased;
            answer = call => answer,
            () = work => unreachable!("the controllers never end"),
        }
    }

    /// Time passes.
    pub(crate) fn pass(&self, seconds: i64) {
        self.now.fetch_add(seconds, Ordering::SeqCst);
    }

    pub(crate) fn memory(&self) -> Arc<Context<FakeApi, FakeNodes>> {
        self.context()
    }

    pub(crate) fn remnants(&self) -> Vec<Remnant> {
        let all = self.api.cached_where::<Remnant>(|_| true);
        all.into_iter().map(Arc::unwrap_or_clone).collect()
    }

    fn context(&self) -> Arc<Context<FakeApi, FakeNodes>> {
        self.context.lock().unwrap().clone()
    }

    /// Looks at every object once. Whether all of it went without an error.
    pub(crate) async fn round(&self) -> bool {
        let mut clean = true;
        for object in self.api.cached_where::<Pod>(|_| true) {
            clean &= pool::discover::reconcile(object, self.context()).await.is_ok();
        }
        for object in self.api.cached_where::<Pool>(|_| true) {
            clean &= pool::reconcile(object, self.context()).await.is_ok();
        }
        for object in self.api.cached_where::<Dot>(|_| true) {
            clean &= dot::reconcile(object, self.context()).await.is_ok();
        }
        for object in self.api.cached_where::<Remnant>(|_| true) {
            clean &= remnant::reconcile(object, self.context()).await.is_ok();
        }
        for object in self.api.cached_where::<Branch>(|_| true) {
            clean &= branch::reconcile(object, self.context()).await.is_ok();
        }
        for object in self.api.cached_where::<Commit>(|_| true) {
            clean &= commit::reconcile(object, self.context()).await.is_ok();
        }
        for object in self.api.cached_where::<Commit>(|_| true) {
            clean &= publish::reconcile(object, self.context()).await.is_ok();
        }
        if self.snapshots.load(Ordering::SeqCst) {
            for object in self.api.cached_where::<VolumeSnapshotContent>(|_| true) {
                clean &= publish::sweep::reconcile(object, self.context()).await.is_ok();
            }
        }
        clean &= capacity::reconcile(&self.context()).await.is_ok();
        clean
    }

    pub(crate) async fn delete_pool(&self) {
        self.api
            .delete::<Pool>(&Key::cluster("n1"), &Guard::default())
            .await
            .unwrap();
    }

    /// One look at one object, if it is there: 0 is a pod, then Pool, Dot, Branch, Commit.
    pub(crate) async fn look(&self, kind: u8, key: &Key) {
        let context = self.context();
        let result = match kind {
            0 => match self.api.cached::<Pod>(key) {
                Some(pod) => pool::discover::reconcile(pod, context).await,
                None => return,
            },
            1 => match self.api.cached::<Pool>(key) {
                Some(pool) => pool::reconcile(pool, context).await,
                None => return,
            },
            2 => match self.api.cached::<Dot>(key) {
                Some(dot) => dot::reconcile(dot, context).await,
                None => return,
            },
            3 => match self.api.cached::<Branch>(key) {
                Some(branch) => branch::reconcile(branch, context).await,
                None => return,
            },
            _ => match self.api.cached::<Commit>(key) {
                Some(commit) => commit::reconcile(commit, context).await,
                None => return,
            },
        };
        result.expect("nothing fails in this world");
    }

    /// One look at a Commit as an old cache would show it.
    pub(crate) async fn reconcile_commit(&self, old: Commit) {
        let _ = commit::reconcile(Arc::new(old), self.context()).await;
    }

    /// The node is asked what is missing. Whom that concerns.
    pub(crate) async fn look_for_losses(&self) -> Result<Wake, NodeError> {
        pool::losses::look(&self.context(), &self.pool()).await
    }

    /// Until a round writes nothing; then what the rounds wrote. A settled world without failures makes no calls
    /// either (I9).
    pub(crate) async fn settle(&self) -> Vec<String> {
        let mut all = Vec::new();
        for _ in 0..ROUNDS_MAX {
            self.nodes.take_calls();
            let clean = self.round().await;
            let writes = self.api.take_writes();
            let calls = self.nodes.take_calls();
            if writes.is_empty() && (!clean || calls.is_empty()) {
                return all;
            }
            all.extend(writes);
        }
        panic!("never settles: {all:#?}");
    }

    /// As [`Self::settle`], with a restart after every round that met an error.
    pub(crate) async fn settle_restarting(&self) {
        for _ in 0..ROUNDS_MAX {
            if !self.round().await {
                self.restart();
                continue;
            }
            if self.api.take_writes().is_empty() && self.nodes.take_calls().is_empty() {
                return;
            }
        }
        panic!("never settles");
    }

    pub(crate) fn dot(&self, name: &str) -> Dot {
        self.api.must_get(&key(name))
    }

    pub(crate) fn branch(&self, name: &str) -> Branch {
        self.api.must_get(&key(name))
    }

    pub(crate) fn commit(&self, name: &str) -> Commit {
        self.api.must_get(&key(name))
    }

    pub(crate) fn pool(&self) -> Pool {
        self.api.must_get(&Key::cluster("n1"))
    }
}

fn context(
    (api, nodes): (&FakeApi, &FakeNodes),
    (grace, snapshots): (u64, bool),
    now: &Arc<AtomicI64>,
) -> Arc<Context<FakeApi, FakeNodes>> {
    let config = Config {
        namespace: "dotmesh-system".to_owned(),
        pool: PoolSource::File(PoolFile {
            path: "/var/lib/dotmesh/pool.img".to_owned(),
            size: "20Gi".to_owned(),
        }),
        grace,
        importer: Some(Importer {
            image: "dotmesh.io/importer:dev".to_owned(),
            pull_policy: "IfNotPresent".to_owned(),
        }),
        snapshots,
    };
    let now = now.clone();
    let clock = Arc::new(move || Timestamp::from_second(now.load(Ordering::SeqCst)).unwrap());
    Arc::new(Context::new(
        api.clone(),
        nodes.clone(),
        config,
        clock,
        Metrics::default(),
        Arc::new(Lead::unrivalled()),
    ))
}

/// Reason of the `Ready` condition, and its message.
pub(crate) fn why(conditions: &[Condition]) -> (String, String) {
    let ready = ready_condition(conditions).expect("a Ready condition");
    (ready.reason.clone(), ready.message.clone())
}

macro_rules! reason {
    ($object:expr) => {
        $crate::world::why(&$object.status.expect("a status").conditions).0
    };
}
macro_rules! message {
    ($object:expr) => {
        $crate::world::why(&$object.status.expect("a status").conditions).1
    };
}
pub(crate) use {message, reason};
