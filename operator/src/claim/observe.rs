//! Everything a claim's plan is made from, in one struct: consistent reads, because "there is no such Dot" is told to
//! people and the Dot's version guards what is written next.

use dotmesh_crds::names::{DRIVER, volume_object};
use dotmesh_crds::{Branch, Commit, Dot, Pool};
use dotmesh_model::size::parse_quantity;
use dotmesh_model::tuning::Tuning;
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use k8s_openapi::api::storage::v1::{StorageClass, VolumeAttributesClass};

use super::copy::error::CopyError;
use super::entries::{self, BranchNames};
use super::error::ClaimError;
use super::own::is_made_for;
use super::plan::World;
use super::validate::{Request, Source, has_source, is_unbound};
use crate::api::{Api, ApiError, Key};
use crate::context::Memory;
use crate::facade::modify::parse_mutable;
use crate::pool::pool_for;

/// The class of a claim that refers to our group.
pub async fn observe_class<A: Api>(api: &A, claim: &PersistentVolumeClaim) -> Result<Option<StorageClass>, ApiError> {
    let class = claim.spec.as_ref().and_then(|spec| spec.storage_class_name.as_deref());
    match class.filter(|name| !name.is_empty() && has_source(claim) && is_unbound(claim)) {
        Some(name) => api.get(&Key::cluster(name)).await,
        None => Ok(None),
    }
}

/// Why the world of a claim could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ObserveError {
    /// What the claim names is not there.
    #[error(transparent)]
    Claim(#[from] ClaimError),
    /// The API did not answer.
    #[error(transparent)]
    Api(#[from] ApiError),
}

impl From<CopyError> for ObserveError {
    fn from(error: CopyError) -> Self {
        Self::Claim(error.into())
    }
}

/// What a claim names, as it is there.
#[derive(Debug, Default)]
struct Target {
    dot: String,
    branch: Option<Branch>,
    origin: Option<Commit>,
}

async fn observe_target<A: Api>(api: &A, request: &Request) -> Result<Target, ObserveError> {
    let namespace = &request.namespace;
    match &request.source {
        Source::Dot(dot) => Ok(Target {
            dot: dot.clone(),
            ..Target::default()
        }),
        Source::Branch { name, dot } => {
            let branch: Option<Branch> = api.get(&Key::namespaced(namespace, name)).await?;
            let branch = branch.ok_or_else(|| ClaimError::BranchNotFound {
                branch: name.clone(),
                namespace: namespace.clone(),
            })?;
            if let Some(dot) = dot.as_ref().filter(|dot| **dot != branch.spec.dot) {
                return Err(ObserveError::Claim(ClaimError::BranchOfOtherDot {
                    branch: name.clone(),
                    of: branch.spec.dot,
                    dot: dot.clone(),
                }));
            }
            Ok(Target {
                dot: branch.spec.dot.clone(),
                branch: Some(branch),
                origin: None,
            })
        }
        Source::Commit(name) => observe_own_branch(api, request, name).await,
        Source::Snapshot(_) | Source::Claim(_) => Ok(Target {
            dot: volume_object(&request.uid.to_string()),
            ..Target::default()
        }),
    }
}

/// The Branch that was made for the claim, else the Commit that it is to be made from.
async fn observe_own_branch<A: Api>(api: &A, request: &Request, commit: &str) -> Result<Target, ObserveError> {
    let namespace = &request.namespace;
    let uid = request.uid.to_string();
    let own: Option<Branch> = api.get(&Key::namespaced(namespace, volume_object(&uid))).await?;
    match own {
        Some(branch) if is_made_for(&branch, &uid) => {
            return Ok(Target {
                dot: branch.spec.dot.clone(),
                branch: Some(branch),
                origin: None,
            });
        }
        Some(_) => {
            return Err(ObserveError::Claim(ClaimError::Conflict {
                kind: "Branch",
                name: volume_object(&uid),
            }));
        }
        None => {}
    }
    let found: Option<Commit> = api.get(&Key::namespaced(namespace, commit)).await?;
    let found = found.ok_or_else(|| ClaimError::CommitNotFound {
        commit: commit.to_owned(),
        namespace: namespace.clone(),
    })?;
    Ok(Target {
        dot: found.spec.dot.clone(),
        branch: None,
        origin: Some(found),
    })
}

/// What the claim's VolumeAttributesClass says.
async fn observe_attributes<A: Api>(api: &A, request: &Request) -> Result<Tuning, ObserveError> {
    let Some(name) = &request.attributes_class else {
        return Ok(Tuning::default());
    };
    let found: Option<VolumeAttributesClass> = api.get(&Key::cluster(name.as_str())).await?;
    let class = name.clone();
    let Some(found) = found else {
        return Err(ClaimError::AttributesClassNotFound { class }.into());
    };
    if found.driver_name != DRIVER {
        let why = format!("it is of driver {:?}, and not of {DRIVER}", found.driver_name);
        return Err(ClaimError::AttributesClass { class, why }.into());
    }
    let parameters = found.parameters.unwrap_or_default().into_iter().collect();
    parse_mutable(&parameters).map_err(|why| {
        let why = why.to_string();
        ClaimError::AttributesClass { class, why }.into()
    })
}

/// The Dot, Branch, PersistentVolume and pool that matter for the request.
pub async fn observe_world<A: Api>(api: &A, memory: &Memory, request: &Request) -> Result<World, ObserveError> {
    let namespace = &request.namespace;
    let Target {
        dot: dot_name,
        branch,
        origin,
    } = observe_target(api, request).await?;
    let dot: Dot = api
        .get(&Key::namespaced(namespace, &dot_name))
        .await?
        .ok_or_else(|| ClaimError::DotNotFound {
            dot: dot_name,
            namespace: namespace.clone(),
        })?;
    let branch_names = observe_branch_names(api, &dot, branch.as_ref()).await?;
    let node = dot.status.as_ref().and_then(|status| status.node.as_deref());
    let node = node.or(request.selected_node.as_deref());
    let pool_bytes = pool_for(api, &dot, node).as_deref().and_then(pool_size);
    Ok(World {
        attributes: observe_attributes(api, request).await?,
        volume: api
            .get::<PersistentVolume>(&Key::cluster(volume_object(&request.uid.to_string())))
            .await?,
        retiring: dot.metadata.uid.as_deref().is_some_and(|uid| memory.is_retiring(uid)),
        dot,
        branch,
        origin,
        branch_names,
        pool_bytes,
    })
}

/// Names of the branches that the Dot's entries, and the claim itself, are pinned to. A Branch's spec never changes,
/// so the cache is good enough where it has the object.
async fn observe_branch_names<A: Api>(api: &A, dot: &Dot, own: Option<&Branch>) -> Result<BranchNames, ApiError> {
    let mut names = BranchNames::new();
    if let Some(own) = own {
        names.insert(own.metadata.name.clone().unwrap_or_default(), own.spec.name.clone());
    }
    for object in entries::entries(dot).iter().filter_map(|entry| entry.branch.as_ref()) {
        if names.contains_key(object) {
            continue;
        }
        let key = Key {
            namespace: dot.metadata.namespace.clone(),
            name: object.clone(),
        };
        let name = match api.cached::<Branch>(&key) {
            Some(branch) => Some(branch.spec.name.clone()),
            None => api.get::<Branch>(&key).await?.map(|branch| branch.spec.name),
        };
        names.extend(name.map(|name| (object.clone(), name)));
    }
    Ok(names)
}

/// Size of a pool in bytes, if it is known.
fn pool_size(pool: &Pool) -> Option<u64> {
    parse_quantity(pool.status.as_ref()?.size.as_deref()?).ok()
}
