//! A cluster as its users see it: typed reads by a client, writes by `kubectl apply`.

use std::fmt::Debug;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use dotmesh_crds::{Condition, Pool, Remnant};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::{Event, PersistentVolumeClaim, Pod, ServiceAccount};
use kube::api::{Api, DeleteParams, ListParams};
use kube::{Client, Resource, ResourceExt};
use serde_json::Value;

use crate::program::{Program, variable};
use crate::wait::{Look, until};

/// How long anything may take on an emulated node that other tests use as well.
pub const PATIENCE: Duration = Duration::from_secs(300);

/// How long the deletion of so many Dots, Branches and Commits may take there, all asked for at once.
#[must_use]
pub fn patience_for_deletions(count: usize) -> Duration {
    const EACH: Duration = Duration::from_secs(3);
    PATIENCE.max(EACH * u32::try_from(count).unwrap_or(u32::MAX))
}

/// A namespace of a cluster.
#[derive(Clone)]
pub struct Cluster {
    /// For reading.
    pub client: Client,
    /// Where everything happens.
    pub namespace: String,
}

/// Kinds with conditions.
pub trait Conditions {
    /// The conditions in the status.
    fn conditions(&self) -> &[Condition];
}

macro_rules! conditions {
    ($($kind:ident),*) => {$(
        impl Conditions for dotmesh_crds::$kind {
            fn conditions(&self) -> &[Condition] {
                self.status.as_ref().map_or(&[], |status| &status.conditions)
            }
        }
    )*};
}
conditions!(Dot, Branch, Commit, Pool);

/// Status, reason and message of the condition `Ready`, for people.
pub fn readiness(object: &impl Conditions) -> String {
    let ready = object
        .conditions()
        .iter()
        .find(|c| c.type_ == dotmesh_crds::condition::READY);
    ready.map_or_else(
        || "no condition Ready yet".to_owned(),
        |c| format!("Ready={} {}: {}", c.status, c.reason, c.message),
    )
}

/// Whether the object is Ready.
pub fn is_ready(object: &impl Conditions) -> bool {
    let mut conditions = object.conditions().iter();
    conditions.any(|c| c.type_ == dotmesh_crds::condition::READY && c.status == "True")
}

impl Cluster {
    /// The cluster of `KUBECONFIG`.
    ///
    /// # Errors
    /// When the variable is missing or the file cannot be used.
    pub async fn connect(namespace: &str) -> Result<Self> {
        variable("KUBECONFIG")?;
        Ok(Self {
            client: Client::try_default()
                .await
                .context("connect to the cluster of KUBECONFIG")?,
            namespace: namespace.to_owned(),
        })
    }

    /// Objects of a kind in the namespace.
    pub fn api<K>(&self) -> Api<K>
    where
        K: Resource<Scope = NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// Reads an object that must be there.
    ///
    /// # Errors
    /// When it is not, or cannot be read.
    pub async fn get<K>(&self, name: &str) -> Result<K>
    where
        K: Resource<Scope = NamespaceResourceScope> + Clone + Debug + serde::de::DeserializeOwned,
        K::DynamicType: Default,
    {
        let kind = K::kind(&K::DynamicType::default()).into_owned();
        self.api::<K>()
            .get(name)
            .await
            .with_context(|| format!("get {kind} {name}"))
    }

    /// All objects of a kind in the namespace.
    ///
    /// # Errors
    /// When they cannot be read.
    pub async fn list<K>(&self) -> Result<Vec<K>>
    where
        K: Resource<Scope = NamespaceResourceScope> + Clone + Debug + serde::de::DeserializeOwned,
        K::DynamicType: Default,
    {
        let kind = K::kind(&K::DynamicType::default()).into_owned();
        let list = self.api::<K>().list(&ListParams::default()).await;
        Ok(list.with_context(|| format!("list {kind}"))?.items)
    }

    /// What Dots of the namespace left.
    ///
    /// # Errors
    /// When they cannot be read.
    pub async fn remnants(&self) -> Result<Vec<Remnant>> {
        let all = Api::<Remnant>::all(self.client.clone())
            .list(&ListParams::default())
            .await;
        let mut all = all.context("list Remnant")?.items;
        all.retain(|remnant| remnant.spec.namespace.name == self.namespace);
        Ok(all)
    }

    /// kubectl for the namespace.
    ///
    /// # Errors
    /// When there is no kubectl.
    pub fn kubectl(&self, args: &[&str]) -> Result<Program> {
        Ok(Program::kubectl(["--namespace", &self.namespace])?.args(args.iter().copied()))
    }

    /// `kubectl apply` of objects.
    ///
    /// # Errors
    /// When kubectl or the server refuses one of them.
    pub async fn apply(&self, objects: impl IntoIterator<Item = Value>) -> Result<()> {
        let items: Vec<Value> = objects.into_iter().collect();
        let list = serde_json::json!({"apiVersion": "v1", "kind": "List", "items": items});
        self.kubectl(&["apply", "-f", "-"])?
            .input(list.to_string())
            .output()
            .await
            .map(drop)
    }

    /// Asks for the deletion of an object; that it is gone already is fine.
    ///
    /// # Errors
    /// When the server refuses.
    pub async fn delete<K>(&self, name: &str) -> Result<()>
    where
        K: Resource<Scope = NamespaceResourceScope> + Clone + Debug + serde::de::DeserializeOwned,
        K::DynamicType: Default,
    {
        match self.api::<K>().delete(name, &DeleteParams::default()).await {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
            Err(error) => Err(error).with_context(|| format!("delete {name}")),
        }
    }

    /// Waits until an object is gone.
    ///
    /// # Errors
    /// When it is not in time.
    pub async fn wait_gone<K>(&self, name: &str) -> Result<()>
    where
        K: Resource<Scope = NamespaceResourceScope> + Clone + Debug + serde::de::DeserializeOwned,
        K::DynamicType: Default,
    {
        until(&format!("{name} gone"), PATIENCE, async || {
            let left = self.api::<K>().get_opt(name).await?;
            Ok(Look::when(left.is_none(), format!("{left:?}")))
        })
        .await
    }

    /// Waits until an object of ours is Ready, and returns it.
    ///
    /// # Errors
    /// When it is not in time, with its condition.
    pub async fn wait_ready<K>(&self, name: &str) -> Result<K>
    where
        K: Resource<Scope = NamespaceResourceScope> + Clone + Debug + serde::de::DeserializeOwned + Conditions,
        K::DynamicType: Default,
    {
        until(&format!("{name} Ready"), PATIENCE, async || {
            let object: Option<K> = self.api().get_opt(name).await?;
            let state = object
                .as_ref()
                .map_or_else(|| "it does not exist".to_owned(), readiness);
            Ok(Look::some(object.filter(is_ready), state))
        })
        .await
    }

    /// Waits until an object of ours is not Ready for this reason.
    ///
    /// # Errors
    /// When it is not in time, with its condition.
    pub async fn wait_reason<K>(&self, name: &str, reason: dotmesh_crds::Reason) -> Result<K>
    where
        K: Resource<Scope = NamespaceResourceScope> + Clone + Debug + serde::de::DeserializeOwned + Conditions,
        K::DynamicType: Default,
    {
        until(&format!("{name} {reason}"), PATIENCE, async || {
            let object: K = self.get(name).await?;
            let state = readiness(&object);
            let holds = !is_ready(&object) && object.conditions().iter().any(|c| c.reason == reason.as_str());
            Ok(Look::some(holds.then_some(object), state))
        })
        .await
    }

    /// Waits until a pod is ready, and returns it. Fails at once when it failed.
    ///
    /// # Errors
    /// When it is not ready in time.
    pub async fn wait_pod(&self, name: &str) -> Result<Pod> {
        until(&format!("pod {name} ready"), PATIENCE, async || {
            // What makes it may not have yet.
            let Some(pod) = self.api::<Pod>().get_opt(name).await? else {
                return Ok(Look::some(None, "it is not there".to_owned()));
            };
            let status = pod.status.clone().unwrap_or_default();
            if status.phase.as_deref() == Some("Failed") {
                let log = self
                    .kubectl(&["logs", name, "--all-containers", "--tail=20"])?
                    .ended()
                    .await?;
                bail!("pod {name} failed: {}{}", log.stdout, log.stderr);
            }
            let ready = status
                .conditions
                .iter()
                .flatten()
                .any(|c| c.type_ == "Ready" && c.status == "True");
            let state = serde_json::to_string(&status.conditions)?;
            Ok(Look::some(ready.then_some(pod), state))
        })
        .await
    }

    /// Waits until a claim is bound, and returns it.
    ///
    /// # Errors
    /// When it is not in time.
    pub async fn wait_bound(&self, name: &str) -> Result<PersistentVolumeClaim> {
        until(&format!("claim {name} Bound"), PATIENCE, async || {
            let claim: PersistentVolumeClaim = self.get(name).await?;
            let phase = claim.status.as_ref().and_then(|s| s.phase.clone()).unwrap_or_default();
            Ok(Look::some((phase == "Bound").then_some(claim), phase))
        })
        .await
    }

    /// Waits for a warning on a claim whose reason is this and whose message has all of these words; the claim is still
    /// Pending then.
    ///
    /// # Errors
    /// When it does not come in time, with all events there are.
    pub async fn wait_refused(&self, claim: &str, reason: dotmesh_crds::Reason, words: &[&str]) -> Result<()> {
        self.wait_warning(claim, Some(reason), words).await?;
        let claim: PersistentVolumeClaim = self.get(claim).await?;
        let phase = claim.status.and_then(|status| status.phase).unwrap_or_default();
        anyhow::ensure!(phase == "Pending", "the claim is {phase}");
        Ok(())
    }

    /// Waits for a warning on an object whose message has all of these words.
    ///
    /// # Errors
    /// When it does not come in time, with all events there are.
    pub async fn wait_event(&self, object: &str, words: &[&str]) -> Result<()> {
        self.wait_warning(object, None, words).await
    }

    async fn wait_warning(&self, object: &str, reason: Option<dotmesh_crds::Reason>, words: &[&str]) -> Result<()> {
        let of = reason.map_or_else(String::new, |reason| format!("{reason} "));
        until(
            &format!("a warning {of}on {object} with {words:?}"),
            PATIENCE,
            async || {
                let events = self.events_of(object).await?;
                let said = events.iter().any(|event| {
                    let message = event.message.as_deref().unwrap_or_default();
                    event.type_.as_deref() == Some("Warning")
                        && reason.is_none_or(|reason| event.reason.as_deref() == Some(reason.as_str()))
                        && words.iter().all(|word| message.contains(word))
                });
                let state: Vec<_> = events.iter().map(|e| (&e.reason, &e.message)).collect();
                Ok(Look::when(said, format!("{state:?}")))
            },
        )
        .await
    }

    async fn events_of(&self, object: &str) -> Result<Vec<Event>> {
        let all = self.list::<Event>().await?;
        Ok(all
            .into_iter()
            .filter(|e| e.involved_object.name.as_deref() == Some(object))
            .collect())
    }

    /// Runs a bash script in a pod's first container and returns what it printed.
    ///
    /// # Errors
    /// When it fails.
    pub async fn bash(&self, pod: &str, script: &str) -> Result<String> {
        self.kubectl(&["exec", pod, "--", "bash", "-c", script])?
            .within(PATIENCE)
            .output()
            .await
    }

    /// Waits for the namespace's default service account: no pod can be made before a controller made it.
    ///
    /// # Errors
    /// When it does not come in time.
    pub async fn wait_account(&self) -> Result<()> {
        until("the namespace's default service account", PATIENCE, async || {
            let account = self.api::<ServiceAccount>().get_opt("default").await?;
            Ok(Look::when(account.is_some(), "none yet"))
        })
        .await
    }

    /// Waits until each of so many nodes has a pool: after an installation, that is when claims can be served.
    ///
    /// # Errors
    /// When they are not Ready in time.
    pub async fn wait_pools(&self, nodes: usize) -> Result<()> {
        let api: Api<Pool> = Api::all(self.client.clone());
        until("each node's Pool ready", PATIENCE, async || {
            let pools = api.list(&ListParams::default()).await?.items;
            let state: Vec<_> = pools
                .iter()
                .map(|pool| format!("{}: {}", pool.name_any(), readiness(pool)))
                .collect();
            let ready = pools.iter().filter(|pool| is_ready(*pool)).count();
            Ok(Look::when(ready >= nodes, format!("{state:?}")))
        })
        .await
    }

    /// The uid of an object.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn uid<K>(&self, name: &str) -> Result<String>
    where
        K: Resource<Scope = NamespaceResourceScope> + Clone + Debug + serde::de::DeserializeOwned,
        K::DynamicType: Default,
    {
        self.get::<K>(name).await?.uid().context("an object has a uid")
    }
}
