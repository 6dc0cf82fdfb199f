//! Volumes that begin with the data of a claim: a claim of our own on the volume, a pod that copies from one into the
//! other, and nothing else of the Dot is served before it is done. Those that begin as clones come with the head
//! ([`clones`]).
//!
//! A pod, and no Job: one object has what is decided on (its phase), the reason of a failure and the address that tells how
//! far it is; its restarts are the kubelet's, with its back-off. Made anew after its end it goes on where it was.

pub mod build;
pub mod clones;
pub mod observe;
pub mod plan;
pub mod progress;
pub mod report;

use dotmesh_crds::Dot;
use dotmesh_crds::dot::ImportState;
use dotmesh_crds::names::import_object;
use kube::ResourceExt;

pub use observe::{Import, Imports};
pub use plan::{Next, Step, plan, plan_end};

/// Whether volumes of a Dot are still being filled: nothing of it is given to anybody. It ends with the initial commit,
/// which is the first that has all of it.
#[must_use]
pub fn is_importing(dot: &Dot) -> bool {
    let is_asked_for = dot
        .spec
        .volumes
        .iter()
        .flatten()
        .any(|volume| volume.import_from.is_some());
    let is_begun = |status: &dotmesh_crds::DotStatus| {
        let mut imports = status.imports.iter();
        imports.any(|import| import.state != ImportState::Done)
    };
    let status = dot.status.as_ref();
    let is_over = status.is_some_and(|status| status.initial_commit.is_some());
    !is_over && (is_asked_for || status.is_some_and(is_begun))
}

/// Whether a claim of this name in the Dot's namespace has to do with an import of it.
#[must_use]
pub fn concerns(dot: &Dot, claim: &str) -> bool {
    let volumes = dot.spec.volumes.iter().flatten();
    let mut imports = volumes.filter_map(|volume| Some((&volume.name, volume.copied_from()?)));
    is_importing(dot)
        && imports.any(|(volume, source)| source == claim || import_object(&dot.name_any(), volume) == claim)
}
