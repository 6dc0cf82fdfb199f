//! What there is of a Dot's imports: consistent reads, because who uses a claim decides whether it is copied.

use std::collections::BTreeSet;
use std::sync::Arc;

use dotmesh_crds::Dot;
use dotmesh_crds::dot::ImportState;
use dotmesh_crds::names::{DRIVER, LABEL_IMPORT, import_object};
use dotmesh_model::format::VolumeFormat;
use dotmesh_model::import::Progress;
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim, Pod};
use k8s_openapi::api::storage::v1::StorageClass;
use kube::ResourceExt;

use super::is_importing;
use super::progress::progress;
use crate::api::{Api, ApiError, Key};
use crate::context::Context;
use crate::meta::uid;
use crate::nodes::Nodes;

/// All imports of a Dot, while there are any.
#[derive(Debug, Clone, Default)]
pub struct Imports {
    /// Each of them.
    pub all: Vec<Import>,
    /// The StorageClasses that claims can have.
    pub classes: Vec<Arc<StorageClass>>,
    /// The image that copies; absent: this installation imports nothing.
    pub importer: Option<Importer>,
}

/// What the pod of an import runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Importer {
    /// The image.
    pub image: String,
    /// When it is pulled, as in a container.
    pub pull_policy: String,
}

/// An import.
#[derive(Debug, Clone)]
pub struct Import {
    /// The Dot's volume.
    pub volume: String,
    /// How much that holds, as a quantity.
    pub size: String,
    /// What it is to pods.
    pub format: VolumeFormat,
    /// The name of the claim that it is copied from.
    pub claim: String,
    /// The Dot asks for it still.
    pub is_wanted: bool,
    /// That claim.
    pub source: Option<PersistentVolumeClaim>,
    /// What is behind that is a Dot already.
    pub is_ours: bool,
    /// Pods that use it.
    pub users: BTreeSet<String>,
    /// The object that has the name of our claim on the volume.
    pub target: Option<PersistentVolumeClaim>,
    /// The object that has the name of our pod.
    pub pod: Option<Pod>,
    /// How far that says it is.
    pub progress: Option<Progress>,
}

/// Reads them. None of a Dot that has none, or whose imports are over.
///
/// # Errors
/// Those of the API.
pub async fn observe<A: Api, N: Nodes>(context: &Context<A, N>, dot: &Dot) -> Result<Imports, ApiError> {
    if !is_importing(dot) {
        return Ok(Imports::default());
    }
    let api = &context.api;
    let namespace = dot.namespace().unwrap_or_default();
    let pods: Vec<Pod> = api.list(Some(&namespace), None).await?;
    let mut all = wanted(dot);
    for import in &mut all {
        let own = Key::namespaced(&namespace, import_object(&dot.name_any(), &import.volume));
        import.target = api.get(&own).await?;
        import.pod = pods.iter().find(|pod| pod.name_any() == own.name).cloned();
        import.source = api.get(&Key::namespaced(&namespace, &import.claim)).await?;
        let volume = import.source.as_ref().and_then(volume_of);
        if let Some(volume) = volume.filter(|name| !name.is_empty()) {
            let volume: Option<PersistentVolume> = api.get(&Key::cluster(volume)).await?;
            let csi = volume.and_then(|volume| volume.spec?.csi);
            import.is_ours = csi.is_some_and(|csi| csi.driver == DRIVER);
        }
        let others = pods.iter().filter(|pod| !is_import_of(*pod, dot));
        let users = others.filter(|pod| is_at_work(pod) && uses(pod, &import.claim));
        import.users = users.map(ResourceExt::name_any).collect();
        if let Some(pod) = &import.pod {
            import.progress = progress(context, pod).await;
        }
    }
    Ok(Imports {
        all,
        classes: api.cached_where::<StorageClass>(|class| class.provisioner == DRIVER),
        importer: context.config.importer.clone(),
    })
}

/// What the spec asks for, and what was begun and is not asked for any more.
fn wanted(dot: &Dot) -> Vec<Import> {
    let import = |volume: &str, claim: &str| Import {
        volume: volume.to_owned(),
        size: String::new(),
        format: VolumeFormat::default(),
        claim: claim.to_owned(),
        is_wanted: false,
        source: None,
        is_ours: false,
        users: BTreeSet::new(),
        target: None,
        pod: None,
        progress: None,
    };
    let listed = dot.spec.volumes.iter().flatten();
    let mut all: Vec<Import> = listed
        .filter_map(|volume| {
            Some(Import {
                size: volume.size.clone(),
                format: volume.format(),
                is_wanted: true,
                ..import(&volume.name, volume.copied_from()?)
            })
        })
        .collect();
    for begun in dot.status.iter().flat_map(|status| &status.imports) {
        let is_listed = all.iter().any(|import| import.volume == begun.volume);
        if !is_listed && begun.state != ImportState::Done {
            all.push(import(&begun.volume, &begun.claim));
        }
    }
    all
}

fn volume_of(claim: &PersistentVolumeClaim) -> Option<&String> {
    claim.spec.as_ref()?.volume_name.as_ref()
}

/// Whether an object was made for an import of this Dot.
pub fn is_import_of<K: kube::Resource>(object: &K, dot: &Dot) -> bool {
    object.labels().get(LABEL_IMPORT).is_some_and(|of| of == uid(dot))
}

fn is_at_work(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    !matches!(phase, Some("Succeeded" | "Failed"))
}

fn uses(pod: &Pod, claim: &str) -> bool {
    let volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
    let mut claims = volumes.filter_map(|volume| {
        let named = volume.persistent_volume_claim.as_ref();
        // A generic ephemeral volume is a claim named after the pod and the volume.
        let ephemeral = volume
            .ephemeral
            .as_ref()
            .map(|_| format!("{}-{}", pod.name_any(), volume.name));
        named.map(|named| named.claim_name.clone()).or(ephemeral)
    });
    claims.any(|used| used == claim)
}
