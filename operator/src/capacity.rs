//! Controller of CSIStorageCapacities: what the scheduler of Kubernetes knows of the Pools. One object for each StorageClass
//! of ours and each Pool of its class that can be used, and for nothing else.
//!
//! All of them are one subject: they are subtracted from what StorageClasses and Pools ask for. They belong to the
//! CSIDriver, which is what makes the scheduler look at them, and go with it when the chart is uninstalled.

pub mod plan;

use std::sync::Arc;

use dotmesh_crds::Pool;
use dotmesh_crds::names::DRIVER;
use k8s_openapi::api::storage::v1::{CSIDriver, CSIStorageCapacity, StorageClass};
use kube::ResourceExt;

use crate::api::{Api, Guard, Key};
use crate::context::{Context, ReconcileError};
use crate::meta::uid;
use crate::nodes::Nodes;
use plan::Step;

/// Everything the plan looks at.
#[derive(Debug, Clone, Default)]
pub struct Observed {
    /// The StorageClasses, of whichever provisioner.
    pub classes: Vec<Arc<StorageClass>>,
    /// The Pools.
    pub pools: Vec<Arc<Pool>>,
    /// The objects in the installation's namespace, whoever wrote them.
    pub capacities: Vec<Arc<CSIStorageCapacity>>,
}

fn observe<A: Api, N: Nodes>(context: &Context<A, N>) -> Observed {
    let namespace = &context.config.namespace;
    let is_here = |capacity: &CSIStorageCapacity| capacity.metadata.namespace.as_ref() == Some(namespace);
    Observed {
        classes: context.api.cached_where(|_| true),
        pools: context.api.cached_where(|_| true),
        capacities: context.api.cached_where(is_here),
    }
}

/// Brings all of them to where they should be. One that cannot be written keeps no other from it.
///
/// # Errors
/// The first of what is to be repeated.
pub async fn reconcile<A: Api, N: Nodes>(context: &Context<A, N>) -> Result<(), ReconcileError> {
    let steps = plan::plan(&observe(context));
    if steps.is_empty() {
        return Ok(());
    }
    let driver: Option<CSIDriver> = context.api.get(&Key::cluster(DRIVER)).await?;
    let mut first = Ok(());
    for step in steps {
        context.must_lead()?;
        let applied = apply(context, driver.as_ref(), step).await;
        first = first.and(applied);
    }
    first
}

/// Does it. Without a CSIDriver nobody looks at capacities, and nothing is written that would stay.
async fn apply<A: Api, N: Nodes>(
    context: &Context<A, N>,
    driver: Option<&CSIDriver>,
    step: Step,
) -> Result<(), ReconcileError> {
    let (api, namespace) = (&context.api, &context.config.namespace);
    match (step, driver.map(uid)) {
        (Step::Create { name, capacity }, Some(driver)) => {
            api.create(&plan::build(namespace, &name, &capacity, driver)).await?;
        }
        (Step::Write { object, capacity }, Some(driver)) => {
            let wanted = plan::build(namespace, &object.name_any(), &capacity, driver);
            let patch = plan::patch(&wanted);
            let guard = Guard::unchanged(&*object);
            api.patch::<CSIStorageCapacity>(&Key::of(&*object), &guard, patch)
                .await?;
        }
        (Step::Delete(object), _) => {
            api.delete::<CSIStorageCapacity>(&Key::of(&*object), &Guard::same(&*object))
                .await?;
        }
        (Step::Create { .. } | Step::Write { .. }, None) => {}
    }
    Ok(())
}
