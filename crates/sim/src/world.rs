//! One history: a cluster of one node is put up, people follow a workload, faults strike by the schedule, and when all
//! is quiet the world is judged.

mod classes;
mod deletions;
mod others;
mod published;

use std::collections::BTreeMap;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Duration;

use dotmesh_crds::{Branch, Commit, Dot, Pool};
use dotmesh_mount::MountEntry;
use dotmesh_operator::api::{Api, Guard, Key};
use dotmesh_testkit::FakeApi;
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use kube::ResourceExt;
use serde_json::{Value, json};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::timeout;

use crate::fault::{Class, Fault};
use crate::kubernetes::inline::token;
use crate::kubernetes::{Kubernetes, Replicas};
use crate::machine::Machine;
use crate::names::{Names, without_passing};
use crate::oracle::{Oracle, Violation};
use crate::replica::{Cluster, Replica};
use crate::stage::{Actor, Crash, Line, Schedule, Stage};
use crate::tamper;
use crate::workload::{Step, Until, Workload, commit_object};

/// How long a step may take, with whatever failed before it: several back-offs of a minute each.
const STEP_MAX: Duration = Duration::from_secs(900);
/// Quiet that means "settled": longer than every back-off and every period.
const QUIET: Duration = Duration::from_secs(70);
/// How long after the last step the world may take to settle.
const SETTLE_MAX: Duration = Duration::from_secs(900);
/// Turns that a world may take in a virtual minute, on average over a history.
const TURNS_PER_MINUTE: usize = 2_000;

/// What a history was like.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// Rules that did not hold.
    pub violations: Vec<Violation>,
    /// Effects in all.
    pub effects: usize,
    /// Effects at which faults can strike: those before all was done and the world had to become quiet.
    pub reach: usize,
    /// Turns of reconcilers.
    pub turns: usize,
    /// Who did what, in order.
    pub trace: Vec<Line>,
    /// Names for the ids in it.
    pub names: Names,
    /// Faults that struck.
    pub struck: BTreeMap<usize, Fault>,
    /// Of the trace.
    pub hash: u64,
    /// Everything there was in the end, with names for ids.
    pub end: Vec<String>,
    /// How long it took in its own time.
    pub lasted: Duration,
}

impl Outcome {
    /// The class of each effect.
    #[must_use]
    pub fn classes(&self) -> Vec<Class> {
        self.trace
            .iter()
            .filter_map(|line| line.effect)
            .map(|(_, class)| class)
            .collect()
    }
}

/// Runs one history from its beginning to its end, and writes down what happens.
///
/// # Panics
/// When no runtime can be made.
#[must_use]
pub fn run(workload: &Workload, schedule: &Schedule) -> Outcome {
    run_traced(workload, schedule, true)
}

/// As [`run`], but only a history in which a rule does not hold is written down: for that it runs once more.
///
/// # Panics
/// When no runtime can be made.
#[must_use]
pub fn run_untraced(workload: &Workload, schedule: &Schedule) -> Outcome {
    let outcome = run_traced(workload, schedule, false);
    if outcome.violations.is_empty() {
        return outcome;
    }
    let traced = run(workload, schedule);
    if traced.violations.is_empty() { outcome } else { traced }
}

fn run_traced(workload: &Workload, schedule: &Schedule, traced: bool) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap_or_else(|error| panic!("{error}"));
    runtime.block_on(async {
        let world = World::new(workload, schedule, traced);
        let reached = world.follow(workload).await;
        if reached {
            world.end().await;
        }
        let outcome = world.outcome();
        world.cluster.machines.iter().for_each(Machine::close);
        outcome
    })
}

#[derive(Clone)]
struct World {
    cluster: Cluster,
    replicas: Replicas,
    kubernetes: Kubernetes,
}

fn csi_node(node: u8) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": { "name": format!("csi-node-{node}"), "namespace": "dotmesh-system", "uid": format!("uid-csi-{node}") },
        "spec": { "nodeName": format!("n{node}"), "containers": [] }, "status": { "phase": "Running" },
    })
}

impl World {
    fn new(workload: &Workload, schedule: &Schedule, traced: bool) -> Self {
        let server = FakeApi::default();
        server.collect_garbage_later();
        server.put_object(json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": "dev" } }));
        classes::installed()
            .into_iter()
            .for_each(|object| server.put_object(object));
        let numbers = 1..=workload.nodes;
        for node in numbers.clone() {
            server.put_object(csi_node(node));
            server
                .put_object(json!({ "apiVersion": "v1", "kind": "Node", "metadata": { "name": format!("n{node}") } }));
            let review = FakeApi::review_of_csi_node(
                &format!("csi-node-{node}"),
                &format!("uid-csi-{node}"),
                &format!("n{node}"),
            );
            server.put_token(&token(node), review);
        }
        let machines: Arc<Vec<Machine>> = Arc::new(numbers.map(Machine::new).collect());
        let oracle = Oracle::new(server.clone(), Arc::clone(&machines), workload.grace);
        let (stage, crashes) = Stage::new(schedule, oracle, traced);
        let cluster = Cluster {
            stage,
            server,
            leases: FakeApi::default(),
            machines,
            grace: workload.grace,
        };
        let replicas = Replicas::default();
        let world = Self {
            kubernetes: Kubernetes::new(cluster.clone(), Arc::clone(&replicas)),
            cluster,
            replicas,
        };
        for machine in world.cluster.machines.iter() {
            machine.borrow_from(Arc::new(world.kubernetes.lender(machine.number)));
            machine.start(&world.cluster.stage);
        }
        for number in 1..=workload.replicas {
            world.start_operator(number, false);
        }
        tokio::spawn(world.kubernetes.clone().run());
        tokio::spawn(world.kubernetes.clone().collect_garbage());
        tokio::spawn(world.supervisor(crashes));
        world
    }

    fn replicas(&self) -> MutexGuard<'_, BTreeMap<u8, Replica>> {
        self.replicas.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn start_operator(&self, number: u8, stale: bool) {
        let replica = Replica::start(&self.cluster, number, stale);
        self.replicas().insert(number, replica);
    }

    /// The replica that leads, or that will: there is always one.
    fn leader(&self) -> (u8, Replica) {
        let replicas = self.replicas();
        let leader = replicas.iter().find(|(_, replica)| replica.leads());
        let leader = leader.or_else(|| replicas.first_key_value());
        let (number, replica) = leader.unwrap_or_else(|| panic!("there is no replica"));
        (*number, replica.clone())
    }

    /// What was stopped goes on, and what was cut off is connected.
    fn mend(&self) {
        for replica in self.replicas().values() {
            replica.life.set_cut_off(false);
            replica.life.set_frozen(false);
        }
    }

    /// Begins again what crashed.
    fn supervisor(&self, mut crashes: UnboundedReceiver<Crash>) -> impl Future<Output = ()> + Send + 'static {
        let world = self.clone();
        async move {
            while let Some(Crash { actor, fault }) = crashes.recv().await {
                match actor {
                    Actor::Operator(number) => {
                        tokio::time::sleep(Duration::from_secs(2)).await;
                        world.start_operator(number, fault == Fault::CrashStale);
                    }
                    Actor::Node(number) => world.restart_node(number, fault == Fault::Reboot).await,
                    Actor::Kubernetes | Actor::Kubelet(_) | Actor::Person => {}
                }
            }
        }
    }

    async fn restart_node(&self, number: u8, whole: bool) {
        let machine = &self.cluster.machines[usize::from(number) - 1];
        machine.stop();
        if whole {
            machine.go_down();
            self.cluster.stage.say(Actor::Node(number), "the machine goes down");
            self.kubernetes.node_came_up(number);
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
        machine.start(&self.cluster.stage);
    }

    /// Takes all steps. Whether the last was reached.
    async fn follow(&self, workload: &Workload) -> bool {
        for (number, step) in workload.steps.iter().enumerate() {
            self.cluster.stage.say(Actor::Person, format_args!("{step:?}"));
            if timeout(STEP_MAX, self.take(step)).await.is_err() {
                let what = format!("step {number} is not done within {STEP_MAX:?}: {step:?}");
                self.cluster
                    .stage
                    .with_oracle(|oracle| oracle.violated("convergence", what));
                return false;
            }
            self.cluster.stage.wrote();
        }
        true
    }

    async fn take(&self, step: &Step) {
        let api = &self.cluster.server;
        let done = match step {
            Step::Dot(dot) => api.create::<Dot>(dot).await.map(drop),
            Step::Branch(branch) => api.create::<Branch>(branch).await.map(drop),
            Step::Commit(commit) => api.create::<Commit>(commit).await.map(drop),
            Step::Claim(claim) => api.create::<PersistentVolumeClaim>(claim).await.map(drop),
            Step::CommitOfClaim(name, claim) => {
                let key = Key::namespaced("dev", *claim);
                let uid = api.must_get::<PersistentVolumeClaim>(&key).uid().unwrap_or_default();
                let commit = commit_object(name, &format!("pvc-{uid}"), "main");
                api.create::<Commit>(&commit).await.map(drop)
            }
            Step::RemoveVolumeOf(claim) => {
                self.remove_volume_of(claim).await;
                Ok(())
            }
            Step::Volumes(dot, volumes) => {
                let patch = json!({ "spec": { "volumes": volumes } });
                let key = Key::namespaced("dev", *dot);
                api.patch::<Dot>(&key, &Guard::default(), patch).await.map(drop)
            }
            Step::Resize(claim, size) => {
                let patch = json!({ "spec": { "resources": { "requests": { "storage": size } } } });
                let key = Key::namespaced("dev", *claim);
                let claim = api.patch::<PersistentVolumeClaim>(&key, &Guard::default(), patch).await;
                claim.map(drop)
            }
            Step::GrowPool(pool, size) => {
                let patch = json!({ "spec": { "file": { "size": size } } });
                let key = Key::cluster(*pool);
                api.patch::<Pool>(&key, &Guard::default(), patch).await.map(drop)
            }
            Step::Class(name, class) => self.make_class(name, class).await,
            Step::SpoilCapacities => self.spoil_capacities().await,
            Step::Delete(kind, name) => self.delete(kind, name).await,
            Step::Undo(undo) => self.undo_or_delete(undo).await,
            Step::RunPod(name, claims, node) => {
                self.kubernetes.run_pod(name, claims, *node);
                Ok(())
            }
            Step::RunInlinePod(name, volume, commit) => {
                self.kubernetes.run_inline_pod(name, volume, commit, 1);
                Ok(())
            }
            Step::EndPod(name) => {
                self.kubernetes.end_pod(name);
                Ok(())
            }
            Step::Write(pod) => {
                self.kubernetes.write(pod);
                Ok(())
            }
            Step::Until(until) => {
                self.until(until).await;
                Ok(())
            }
            Step::Quiet => {
                self.quiet().await;
                Ok(())
            }
            Step::Wait(time) => {
                tokio::time::sleep(*time).await;
                Ok(())
            }
            Step::RestartNode => {
                self.restart_node(1, false).await;
                Ok(())
            }
            Step::Reboot => {
                self.restart_node(1, true).await;
                Ok(())
            }
            Step::RestartOperator(is_stale) => {
                let (number, replica) = self.leader();
                replica.life.end();
                tokio::time::sleep(Duration::from_secs(1)).await;
                self.start_operator(number, *is_stale);
                Ok(())
            }
            Step::FreezeLeader => {
                self.leader().1.life.set_frozen(true);
                Ok(())
            }
            Step::CutOffLeader => {
                self.leader().1.life.set_cut_off(true);
                Ok(())
            }
            Step::Mend => {
                self.mend();
                Ok(())
            }
            Step::Pool(pool) => api.create::<Pool>(pool).await.map(drop),
            Step::PoolThere(zpool, there) => {
                self.cluster.machines[0].set_pool_there(zpool, *there);
                Ok(())
            }
            Step::CopyPool => {
                self.cluster.machines[0].copy_pool();
                Ok(())
            }
            Step::ExchangePool => {
                self.exchange_pool().await;
                Ok(())
            }
            Step::Destroy(kind, name) => {
                let Cluster { server, machines, .. } = &self.cluster;
                let stage = &self.cluster.stage;
                tamper::pool_is_there(&machines[0]).await;
                stage.with_oracle(|oracle| tamper::destroy(server, &machines[0], oracle, kind, name));
                Ok(())
            }
            Step::Vanish(kind, name) => {
                self.vanish(kind, name);
                Ok(())
            }
            Step::Publish(publish) => self.publish(publish).await,
            Step::Foreign(foreign) => self.change_foreign(foreign).await,
            Step::ForeignDataset => {
                self.make_foreign().await;
                Ok(())
            }
        };
        if let Err(error) = done {
            let what = format!("{step:?}: {error}");
            self.cluster
                .stage
                .with_oracle(|oracle| oracle.violated("workload", what));
        }
    }

    /// By hand, and not because csi-provisioner has deleted what is behind it.
    async fn remove_volume_of(&self, claim: &str) {
        let server = &self.cluster.server;
        let volumes: Vec<PersistentVolume> = server.list(None, None).await.unwrap_or_default();
        for volume in volumes {
            let spec = volume.spec.as_ref();
            let reference = spec.and_then(|spec| spec.claim_ref.as_ref()?.name.as_deref());
            if reference == Some(claim) {
                server.remove::<PersistentVolume>(&Key::of(&volume));
            }
        }
    }

    async fn until(&self, until: &Until) {
        let mut changes = 0;
        while !self.is_so(until) {
            tokio::select! {
                biased;
                now = self.cluster.server.changes(changes) => changes = now,
                () = tokio::time::sleep(Duration::from_secs(1)) => {}
            }
        }
    }

    fn is_so(&self, until: &Until) -> bool {
        let find = |kind: &str, name: &str| {
            let all = self.cluster.server.all(kind).into_iter();
            all.into_iter().find(|object| object["metadata"]["name"] == name)
        };
        let is_ready = |object: &Value| {
            let conditions = object["status"]["conditions"].as_array();
            conditions.is_some_and(|all| all.iter().any(|one| one["type"] == "Ready" && one["status"] == "True"))
        };
        match until {
            Until::Ready(kind, name) => find(kind, name).is_some_and(|object| is_ready(&object)),
            Until::Sized(pool, size) => {
                find("Pool", pool).is_some_and(|object| is_ready(&object) && object["status"]["size"] == **size)
            }
            Until::Grown(claim, size) => {
                let all = self.cluster.server.all("PersistentVolume");
                let has = all.iter().find(|volume| volume["spec"]["claimRef"]["name"] == **claim);
                has.is_some_and(|volume| volume["spec"]["capacity"]["storage"] == **size)
            }
            Until::NotReady(kind, name, reason) => find(kind, name).is_some_and(|object| {
                let conditions = object["status"]["conditions"].as_array();
                conditions.is_some_and(|all| {
                    all.iter()
                        .any(|one| one["type"] == "Ready" && one["reason"] == reason.as_str())
                })
            }),
            Until::Protected(kind, name) => {
                find(kind, name).is_some_and(|object| object["metadata"]["finalizers"].as_array().is_some())
            }
            Until::Gone(kind, name) => find(kind, name).is_none(),
            Until::LeftOf(dot) => {
                let id = self.id_of("Dot", dot);
                self.cluster
                    .server
                    .all("Remnant")
                    .iter()
                    .any(|object| object["spec"]["id"] == id)
            }
            Until::Left(dot) => self.remnant_of(dot).is_some(),
            Until::Destroyed(dot) => self.remnant_of(dot).is_none(),
            Until::Usable(name) => {
                find("VolumeSnapshot", name).is_some_and(|object| object["status"]["readyToUse"] == true)
            }
            Until::Runs(pod) => self.kubernetes.is_running(pod),
            Until::Ended(pod) => self.kubernetes.is_ended(pod),
        }
    }

    /// Until nothing was written for long.
    async fn quiet(&self) {
        while self.cluster.stage.quiet_for() < QUIET || !self.kubernetes.is_settled() {
            tokio::time::sleep(Duration::from_secs(5)).await;
        }
    }

    /// No faults any more: all becomes quiet, stays so, and is judged.
    async fn end(&self) {
        self.cluster.stage.stop_faults();
        self.mend();
        if timeout(SETTLE_MAX, self.quiet()).await.is_err() {
            let what = format!("not quiet within {SETTLE_MAX:?}");
            self.cluster
                .stage
                .with_oracle(|oracle| oracle.violated("convergence", what));
            return;
        }
        let (writes, since) = (self.cluster.stage.writes(), self.cluster.stage.history_len());
        let numbers: Vec<u8> = self.replicas().keys().copied().collect();
        self.replicas().values().for_each(|replica| replica.life.end());
        for number in numbers {
            self.start_operator(number, false);
        }
        tokio::time::sleep(Duration::from_secs(70)).await;
        let more = self.cluster.stage.writes() - writes;
        if more > 0 {
            let what = format!(
                "{more} writes in a settled world: {}",
                self.cluster.stage.writes_after(since).join("; ")
            );
            self.cluster
                .stage
                .with_oracle(|oracle| oracle.violated("I9 silence", what));
        }
        self.cluster.stage.with_oracle(Oracle::judge_settled);
        let minutes = usize::try_from(self.cluster.stage.now().as_secs() / 60 + 1).unwrap_or(1);
        self.cluster.stage.with_oracle(|oracle| {
            let turns = oracle.turns();
            if turns > minutes * TURNS_PER_MINUTE {
                oracle.violated("progress", format!("{turns} turns in {minutes} minutes"));
            }
        });
    }

    /// Everything there is, without what differs from history to history.
    fn picture(&self, names: &Names) -> Vec<String> {
        let mut lines = Vec::new();
        for kind in [
            "Pool",
            "Dot",
            "Branch",
            "Commit",
            "Remnant",
            "PersistentVolumeClaim",
            "PersistentVolume",
        ] {
            for object in self.cluster.server.all(kind) {
                lines.push(without_passing(&object, names).to_string());
            }
        }
        for machine in self.cluster.machines.iter() {
            for object in machine.zfs.inventory().iter() {
                let properties = object
                    .local
                    .keys()
                    .map(|property| format!("{} has {property}", object.name));
                lines.extend(properties);
                lines.push(format!(
                    "{} origin {:?} holds {:?}",
                    object.name, object.origin, object.holds
                ));
            }
            let shown = |entry: &MountEntry| format!("{} at {}", entry.source, entry.target.display());
            lines.extend(machine.mount.table().iter().map(shown));
        }
        let is_one_of_many = self.cluster.machines.len() > 1;
        let mut named: Vec<String> = lines
            .iter()
            .map(|line| without_numbers(&names.of(line)))
            .map(|line| if is_one_of_many { without_node(&line) } else { line })
            .collect();
        named.sort();
        named
    }

    fn outcome(&self) -> Outcome {
        let (names, violations, turns) = self
            .cluster
            .stage
            .with_oracle(|oracle| (oracle.names.clone(), oracle.violations().to_vec(), oracle.turns()));
        let end = self.picture(&names);
        let (effects, lasted) = (self.cluster.stage.effects(), self.cluster.stage.now());
        let (trace, struck, hash) = self.cluster.stage.history();
        Outcome {
            violations,
            effects,
            reach: self.cluster.stage.reach(),
            turns,
            trace,
            names,
            struck,
            hash,
            end,
            lasted,
        }
    }
}

/// On which of several nodes something is, the order of things decides.
fn without_node(line: &str) -> String {
    line.replace("\"n1\"", "\"n\"").replace("\"n2\"", "\"n\"")
}

/// Whether an object is the first or second of its name is history too: what was taken back is made again.
fn without_numbers(line: &str) -> String {
    let mut parts = line.split('#');
    let mut kept = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        kept.push_str(part.trim_start_matches(|char: char| char.is_ascii_digit()));
    }
    kept
}
