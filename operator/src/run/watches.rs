//! One watch per kind: it fills the cache, then wakes whom the change concerns.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use dotmesh_crds::names::{LABEL_COMMIT_UID, LABEL_IMPORT};
use dotmesh_crds::{Branch, Commit, Dot, Pool, Remnant};
use dotmesh_telemetry::Chain;
use futures::StreamExt;
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim, Pod};
use k8s_openapi::api::storage::v1::{CSIStorageCapacity, StorageClass};
use kube::runtime::reflector::ObjectRef;
use kube::runtime::reflector::store::Writer;
use kube::runtime::watcher::{self, Event, watcher};
use kube::runtime::{WatchStreamExt, reflector};
use kube::{Client, Resource};
use tokio::task::JoinSet;

use super::controllers::Queues;
use crate::api::{Caches, Kind, KubeApi};
use crate::meta::uid;
use crate::status::is_ready;
use crate::volume_snapshot::{VolumeSnapshot, VolumeSnapshotContent};
use crate::wake::{self, Woken};

/// Label of csi-node's pods.
const CSI_NODE: &str = "app.kubernetes.io/component=csi-node";

/// The writing ends of the caches.
pub struct Writers {
    pub(crate) dots: Writer<Dot>,
    branches: Writer<Branch>,
    commits: Writer<Commit>,
    pools: Writer<Pool>,
    remnants: Writer<Remnant>,
    pods: Writer<Pod>,
    claims: Writer<PersistentVolumeClaim>,
    volumes: Writer<PersistentVolume>,
    classes: Writer<StorageClass>,
    capacities: Writer<CSIStorageCapacity>,
    snapshots: Writer<VolumeSnapshot>,
    contents: Writer<VolumeSnapshotContent>,
}

/// Empty caches.
#[must_use]
pub fn caches() -> (Caches, Writers) {
    let (dots, write_dots) = reflector::store();
    let (branches, write_branches) = reflector::store();
    let (commits, write_commits) = reflector::store();
    let (pools, write_pools) = reflector::store();
    let (remnants, write_remnants) = reflector::store();
    let (pods, write_pods) = reflector::store();
    let (claims, write_claims) = reflector::store();
    let (volumes, write_volumes) = reflector::store();
    let (classes, write_classes) = reflector::store();
    let (capacities, write_capacities) = reflector::store();
    let (snapshots, write_snapshots) = reflector::store();
    let (contents, write_contents) = reflector::store();
    let caches = Caches {
        dots,
        branches,
        commits,
        pools,
        remnants,
        pods,
        claims,
        volumes,
        classes,
        capacities,
        snapshots,
        contents,
    };
    let writers = Writers {
        dots: write_dots,
        branches: write_branches,
        commits: write_commits,
        pools: write_pools,
        remnants: write_remnants,
        pods: write_pods,
        claims: write_claims,
        volumes: write_volumes,
        classes: write_classes,
        capacities: write_capacities,
        snapshots: write_snapshots,
        contents: write_contents,
    };
    (caches, writers)
}

/// How long the caches of what is published are waited for: without them all of it is read one by one, and where the
/// cluster does not know the kinds they stay empty.
const PUBLISHED_WAIT: Duration = Duration::from_secs(10);

/// Until each cache has seen its first list; `with_snapshots`: also those of what is published, if that can be.
///
/// # Errors
/// A watch ended.
pub async fn wait_until_ready(caches: &Caches, with_snapshots: bool) -> anyhow::Result<()> {
    let Caches {
        dots,
        branches,
        commits,
        pools,
        remnants,
        pods,
        claims,
        volumes,
        classes,
        capacities,
        snapshots,
        contents,
    } = caches;
    dots.wait_until_ready().await?;
    branches.wait_until_ready().await?;
    commits.wait_until_ready().await?;
    pools.wait_until_ready().await?;
    remnants.wait_until_ready().await?;
    pods.wait_until_ready().await?;
    claims.wait_until_ready().await?;
    volumes.wait_until_ready().await?;
    classes.wait_until_ready().await?;
    capacities.wait_until_ready().await?;
    if with_snapshots {
        let both = async { tokio::try_join!(snapshots.wait_until_ready(), contents.wait_until_ready()) };
        match tokio::time::timeout(PUBLISHED_WAIT, both).await {
            Ok(ready) => drop(ready?),
            Err(_) => {
                tracing::warn!("the cluster lists no VolumeSnapshots: its CustomResourceDefinitions may be missing")
            }
        }
    }
    Ok(())
}

/// Who is told of changes: nobody until this replica leads.
pub type Listeners = Arc<OnceLock<Queues>>;

/// Tells of everything that is in the caches.
pub fn tell_all(caches: &Caches, api: &KubeApi, queues: &Queues) {
    let Caches {
        dots,
        branches,
        commits,
        pools,
        remnants,
        pods,
        claims,
        volumes,
        classes,
        capacities,
        snapshots,
        contents,
    } = caches;
    macro_rules! tell {
        ($($store:ident: $kind:ident,)*) => {$(
            for object in $store.state() {
                queues.send(wake::wakes(api, Woken::$kind(&object)));
            }
        )*};
    }
    tell! {
        dots: Dot, branches: Branch, commits: Commit, pools: Pool, remnants: Remnant, pods: Pod, claims: Claim, volumes: Volume,
        classes: Class, capacities: Capacity, snapshots: Snapshot, contents: Content,
    }
}

/// Which watches there are.
#[derive(Debug, Clone, Copy)]
pub struct Which<'a> {
    /// The installation's namespace.
    pub namespace: &'a str,
    /// Also that of pods which fill volumes.
    pub importing: bool,
    /// Also those of VolumeSnapshots that are published.
    pub publishing: bool,
}

/// Starts the watches.
pub fn spawn(
    parts: &mut JoinSet<anyhow::Result<()>>,
    client: &Client,
    which: Which<'_>,
    writers: Writers,
    api: KubeApi,
    listeners: &Listeners,
) {
    let Which {
        namespace,
        importing,
        publishing,
    } = which;
    let everything = watcher::Config::default();
    let waker = Waker {
        api,
        listeners: Arc::clone(listeners),
    };
    let pods = kube::Api::<Pod>::namespaced(client.clone(), namespace);
    let csi_node = everything.clone().labels(CSI_NODE);
    let told = kube::Api::<CSIStorageCapacity>::namespaced(client.clone(), namespace);
    let Writers {
        dots,
        branches,
        commits,
        pools,
        remnants,
        pods: write_pods,
        claims,
        volumes,
        classes,
        capacities,
        snapshots,
        contents,
    } = writers;
    macro_rules! watch {
        ($api:expr, $config:expr, $writer:expr, $prune:expr, $kind:ident) => {{
            let waker = waker.clone();
            parts.spawn(follow($api, $config, $writer, $prune, move |object| {
                waker.wake(Woken::$kind(object))
            }))
        }};
    }
    watch!(kube::Api::all(client.clone()), everything.clone(), dots, prune, Dot);
    watch!(
        kube::Api::all(client.clone()),
        everything.clone(),
        branches,
        prune,
        Branch
    );
    watch!(
        kube::Api::all(client.clone()),
        everything.clone(),
        commits,
        prune_commit,
        Commit
    );
    watch!(kube::Api::all(client.clone()), everything.clone(), pools, prune, Pool);
    watch!(
        kube::Api::all(client.clone()),
        everything.clone(),
        remnants,
        prune,
        Remnant
    );
    watch!(kube::Api::all(client.clone()), everything.clone(), claims, prune, Claim);
    watch!(
        kube::Api::all(client.clone()),
        everything.clone(),
        volumes,
        prune,
        Volume
    );
    watch!(
        kube::Api::all(client.clone()),
        everything.clone(),
        classes,
        prune,
        Class
    );
    watch!(told, everything, capacities, prune, Capacity);
    watch!(pods, csi_node, write_pods, prune, Pod);
    if importing {
        // They lie in everybody's namespaces, and whoever looks for csi-node's pods must not find them.
        let (_, importers) = reflector::store();
        let of_imports = watcher::Config::default().labels(LABEL_IMPORT);
        watch!(kube::Api::all(client.clone()), of_imports, importers, prune, Importer);
    }
    if publishing {
        // Of those of other people and drivers there may be many, and they are nothing to us.
        let published = watcher::Config::default().labels(LABEL_COMMIT_UID);
        let of_commits = published.clone();
        watch!(kube::Api::all(client.clone()), of_commits, snapshots, prune, Snapshot);
        watch!(kube::Api::all(client.clone()), published, contents, prune, Content);
    }
}

#[derive(Clone)]
struct Waker {
    api: KubeApi,
    listeners: Listeners,
}

impl Waker {
    fn wake(&self, woken: Woken<'_>) {
        if let Some(queues) = self.listeners.get() {
            queues.send(wake::wakes(&self.api, woken));
        }
    }
}

/// Follows one kind: fills its cache, then tells of each object that came, changed or went.
///
/// A watch that cannot go on from where it was lists again. What went in between is told as well, and nothing of the
/// new list is told before the cache shows all of it: who is woken looks into the cache, once.
///
/// # Errors
/// The watch ended.
pub async fn follow<K: Kind>(
    api: kube::Api<K>,
    config: watcher::Config,
    writer: Writer<K>,
    prune: fn(&mut K),
    changed: impl Fn(&K),
) -> anyhow::Result<()>
where
    <K as Resource>::DynamicType: std::hash::Hash + Eq,
{
    let cache = writer.as_reader();
    let events = watcher(api, config).default_backoff().modify(prune).reflect(writer);
    let mut events = std::pin::pin!(events);
    let mut known = Vec::new();
    while let Some(event) = events.next().await {
        match event {
            Ok(Event::Apply(object) | Event::Delete(object)) => changed(&object),
            Ok(Event::Init) => known = cache.state(),
            Ok(Event::InitApply(_)) => {}
            Ok(Event::InitDone) => {
                let is_gone = |old: &Arc<K>| {
                    let now = cache.get(&ObjectRef::from_obj(&**old));
                    now.is_none_or(|now| uid(&*now) != uid(&**old))
                };
                known.drain(..).filter(is_gone).for_each(|old| changed(&old));
                cache.state().iter().for_each(|object| changed(object));
            }
            Err(error) => tracing::warn!(kind = %K::kind(&()), error = %Chain(&error), "watch failed; trying again"),
        }
    }
    anyhow::bail!("the watch of {} ended", K::kind(&()))
}

/// Nobody decides on who wrote which field.
pub fn prune<K: Resource>(object: &mut K) {
    object.meta_mut().managed_fields = None;
}

/// A Commit's text is needed once, before it is Ready.
pub fn prune_commit(commit: &mut Commit) {
    prune(commit);
    if commit
        .status
        .as_ref()
        .is_some_and(|status| is_ready(&status.conditions))
    {
        commit.spec.message = None;
        commit.spec.author = None;
        commit.spec.committer = None;
        commit.spec.metadata.clear();
    }
}

#[cfg(test)]
mod tests {
    use dotmesh_crds::CommitSpec;

    use super::*;

    #[test]
    fn of_a_commit_that_is_ready_only_what_decides_is_kept() {
        let commit = |status: &str| -> Commit {
            serde_yaml::from_str(&format!(
                "{{apiVersion: dotmesh.io/v1alpha1, kind: Commit, metadata: {{name: c1, managedFields: []}}, \
                 spec: {{dot: shop, branch: b, message: why, author: Ada, committer: ada, metadata: {{build: '512'}}}}, \
                 status: {{conditions: [{{type: Ready, status: '{status}', reason: NotReady, message: '', \
                 lastTransitionTime: '2026-01-01T00:00:00Z'}}]}}}}"
            ))
            .unwrap()
        };
        let (mut waiting, mut ready) = (commit("False"), commit("True"));
        prune_commit(&mut waiting);
        prune_commit(&mut ready);
        assert_eq!(waiting.spec, commit("False").spec);
        assert_eq!(
            (waiting.metadata.managed_fields, ready.metadata.managed_fields),
            (None, None)
        );
        let kept = CommitSpec {
            dot: "shop".to_owned(),
            branch: Some("b".to_owned()),
            ..CommitSpec::default()
        };
        assert_eq!(ready.spec, kept);
    }
}
