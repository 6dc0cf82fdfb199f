//! The next step for a Dot's imports. Pure.

use std::collections::BTreeSet;
use std::time::Duration;

use dotmesh_crds::Dot;
use dotmesh_crds::condition::Reason;
use dotmesh_crds::dot::{DotImport, ImportState, VolumeImport};
use dotmesh_crds::names::import_object;
use dotmesh_mutant::{Mutant, is_planted};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use k8s_openapi::jiff::Timestamp;
use kube::{Resource, ResourceExt};

use super::build::{build_claim, build_pod, choose_class};
use super::observe::{Import, Imports, is_import_of};
use super::progress::INTERVAL;
use super::report::{failure_of, is_done, tell_progress};
use crate::meta::is_deleting;
use crate::status::Verdict;

/// How long a pod that came to its end is left before another one follows: what ends at once must not spin.
const PAUSE: i64 = 30;

/// Between two looks at a copy, and at who uses a claim, whose pods nobody is told of.
pub const WAITS: [Duration; 2] = [Duration::from_secs(INTERVAL.unsigned_abs()), Duration::from_secs(10)];

/// One effect.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// Make our claim on the volume.
    CreateClaim(Box<PersistentVolumeClaim>),
    /// Make the pod that fills it.
    CreatePod(Box<Pod>),
    /// End that pod.
    DeletePod(Box<Pod>),
    /// Let the volume go.
    DeleteClaim(Box<PersistentVolumeClaim>),
}

/// What imports need.
#[derive(Debug, Clone, PartialEq)]
pub enum Next {
    /// One effect.
    Do(Step),
    /// That a copy is complete is to be recorded, before anything of it goes.
    Record,
    /// Somebody else's turn.
    Wait(Verdict),
}

/// What a Dot's imports need before anything else of it is served; absent: nothing any more.
pub fn plan(dot: &Dot, imports: &Imports, now: Timestamp) -> Option<Next> {
    let mut waiting: Vec<Verdict> = Vec::new();
    for import in &imports.all {
        let next = match recorded(dot, &import.volume) {
            Some(ImportState::Done) => plan_cleanup(dot, import),
            _ if !import.is_wanted => plan_cleanup(dot, import),
            _ => plan_copy(dot, imports, import, now).map_or_else(|wait| Some(Next::Wait(wait)), Some),
        };
        match next {
            Some(Next::Wait(verdict)) => waiting.push(verdict),
            Some(next) => return Some(next),
            None => {}
        }
    }
    // What goes on by itself is the least news.
    let is_news = |verdict: &&Verdict| verdict.reason != Reason::Importing;
    let reason = waiting.iter().find(is_news).or(waiting.first())?.reason;
    let messages: Vec<String> = waiting.into_iter().map(|verdict| verdict.message).collect();
    Some(Next::Wait(Verdict::new(reason, messages.join("; "))))
}

/// What is left to be done for the imports of a Dot that is being deleted.
pub fn plan_end(dot: &Dot, imports: &Imports) -> Option<Next> {
    imports.all.iter().find_map(|import| plan_cleanup(dot, import))
}

/// When imports are to be looked at again although nobody tells of a change.
pub fn again(imports: &Imports) -> Option<Duration> {
    let [copy, users] = WAITS;
    let polled = imports.all.iter().filter(|import| import.is_wanted);
    let of_each = polled.filter_map(|import| match &import.pod {
        Some(_) => Some(copy),
        None => (!import.users.is_empty()).then_some(users),
    });
    of_each.min()
}

fn recorded(dot: &Dot, volume: &str) -> Option<ImportState> {
    let mut imports = dot.status.iter().flat_map(|status| &status.imports);
    imports
        .find(|import: &&DotImport| import.volume == volume)
        .map(|import| import.state)
}

fn is_own<K: Resource>(object: Option<&K>, dot: &Dot) -> bool {
    object.is_some_and(|object| is_import_of(object, dot))
}

/// First the pod, then the claim, then the claim's entry; other claims get the volume after that.
fn plan_cleanup(dot: &Dot, import: &Import) -> Option<Next> {
    let wait = |kind: &str, name: &str| {
        let why = format!("{}: waits for {kind} {name:?} to go", import.volume);
        Some(Next::Wait(Verdict::new(Reason::Importing, why)))
    };
    if let Some(pod) = import.pod.as_ref().filter(|pod| is_own(Some(*pod), dot)) {
        return match is_deleting(pod) {
            true => wait("Pod", &pod.name_any()),
            false => Some(Next::Do(Step::DeletePod(Box::new(pod.clone())))),
        };
    }
    let name = import_object(&dot.name_any(), &import.volume);
    if let Some(claim) = import.target.as_ref().filter(|claim| is_own(Some(*claim), dot)) {
        return match is_deleting(claim) {
            true => wait("PersistentVolumeClaim", &name),
            false => Some(Next::Do(Step::DeleteClaim(Box::new(claim.clone())))),
        };
    }
    let mut entries = dot.status.iter().flat_map(|status| &status.claims);
    match entries.any(|entry| entry.name == name && entry.volume == import.volume) {
        // Who deletes the Dot is told of entries in any case.
        true if !is_deleting(dot) => wait("the PersistentVolume of claim", &name),
        true | false => None,
    }
}

fn plan_copy(dot: &Dot, imports: &Imports, import: &Import, now: Timestamp) -> Result<Next, Verdict> {
    let name = import_object(&dot.name_any(), &import.volume);
    let taken = |kind: &str| {
        let why = format!("the import needs the name of {kind} {name:?}, which is something else; delete that one");
        Verdict::new(Reason::Conflict, why)
    };
    if let Some(pod) = &import.pod {
        if !is_own(Some(pod), dot) {
            return Err(taken("Pod"));
        }
        return plan_pod(import, pod, now);
    }
    check_source(import)?;
    let Some(importer) = &imports.importer else {
        let why = "this installation imports nothing: the chart's value importer.enabled is false";
        return Err(Verdict::new(Reason::ImportFailed, why));
    };
    match &import.target {
        None => {
            let classes = imports.classes.iter().map(AsRef::as_ref);
            let Some(class) = choose_class(classes, dot, import.format) else {
                let why = format!(
                    "the import needs a StorageClass of csi.dotmesh.io for Pools of class {:?} that waits for the first consumer and deletes \
                     its volumes; make one",
                    dot.spec.pool_class()
                );
                return Err(Verdict::new(Reason::NotReady, why));
            };
            Ok(Next::Do(Step::CreateClaim(Box::new(build_claim(dot, import, class)))))
        }
        Some(claim) if !is_own(Some(claim), dot) => Err(taken("PersistentVolumeClaim")),
        Some(claim) if is_deleting(claim) => {
            let why = format!("{}: waits for PersistentVolumeClaim {name:?} to go", import.volume);
            Err(Verdict::new(Reason::Importing, why))
        }
        Some(_) => Ok(Next::Do(Step::CreatePod(Box::new(build_pod(dot, import, importer))))),
    }
}

/// Whether the claim can be copied now.
fn check_source(import: &Import) -> Result<(), Verdict> {
    let Import { volume, claim, .. } = import;
    let refused = |reason, why: String| Err(Verdict::new(reason, format!("{volume}: claim {claim:?} {why}")));
    let Some(source) = &import.source else {
        return refused(
            Reason::ClaimNotFound,
            "does not exist in this namespace; make the Dot where it is".to_owned(),
        );
    };
    if is_deleting(source) {
        return refused(Reason::NotReady, "is being deleted".to_owned());
    }
    let spec = source.spec.as_ref();
    if spec.is_some_and(|spec| spec.volume_mode.as_deref() == Some("Block")) {
        let why = "is a block device; only files can be imported: copy it with a pod that has both";
        return refused(Reason::Invalid, why.to_owned());
    }
    if spec
        .and_then(|spec| spec.volume_name.as_deref())
        .is_none_or(str::is_empty)
    {
        let why = "is not bound to a volume, so that there is nothing to copy; run a pod that uses it";
        return refused(Reason::NotReady, why.to_owned());
    }
    if import.is_ours {
        let why = "is a volume of Dotmesh already; make a Branch of its Dot and a claim on that";
        return refused(Reason::Invalid, why.to_owned());
    }
    check_unused(import)
}

/// A copy of files that are written meanwhile is of no moment.
fn check_unused(import: &Import) -> Result<(), Verdict> {
    if import.users.is_empty() || is_planted(Mutant::AnImportBeginsUnderAPod) {
        return Ok(());
    }
    let Import {
        volume, claim, users, ..
    } = import;
    let names: Vec<&str> = users.iter().map(String::as_str).collect();
    let why = format!(
        "{volume}: claim {claim:?} is used by pods: {}; it is copied when they are gone",
        names.join(", ")
    );
    Err(Verdict::new(Reason::InUse, why))
}

fn plan_pod(import: &Import, pod: &Pod, now: Timestamp) -> Result<Next, Verdict> {
    if is_done(pod) {
        return Ok(Next::Record);
    }
    if is_deleting(pod) {
        let why = format!("{}: waits for Pod {:?} to go", import.volume, pod.name_any());
        return Err(Verdict::new(Reason::Importing, why));
    }
    // Whoever came meanwhile was first; the next pod goes on where this one was.
    if check_unused(import).is_err() {
        return Ok(Next::Do(Step::DeletePod(Box::new(pod.clone()))));
    }
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    if phase == Some("Failed") {
        let made = pod.creation_timestamp().map_or(0, |made| made.0.as_second());
        if now.as_second() - made >= PAUSE {
            return Ok(Next::Do(Step::DeletePod(Box::new(pod.clone()))));
        }
    }
    match failure_of(pod) {
        Some((reason, why)) => {
            let why = format!("{}: import from claim {:?}: {why}", import.volume, import.claim);
            Err(Verdict::new(reason, why))
        }
        None => Err(Verdict::new(Reason::Importing, tell_progress(import, pod))),
    }
}

/// What volumes began with, for the initial commit's message.
pub fn sources(dot: &Dot) -> BTreeSet<String> {
    let volumes = dot.spec.volumes.iter().flatten();
    let imports = volumes.filter_map(|volume| volume.import_from.as_ref());
    imports.map(VolumeImport::describe).collect()
}
