//! What a Dot's status tells of its imports, read from their pods. Pure.

use dotmesh_crds::Dot;
use dotmesh_crds::condition::Reason;
use dotmesh_crds::dot::{DotImport, ImportState};
use dotmesh_model::import::{Ending, FailureKind, Progress};
use dotmesh_mutant::{Mutant, is_planted};
use k8s_openapi::api::core::v1::{ContainerStateTerminated, ContainerStatus, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt;

use super::is_importing;
use super::observe::{Import, Imports};

/// Whether the pod's program came to a good end.
pub fn is_done(pod: &Pod) -> bool {
    phase(pod) == Some("Succeeded")
        || (phase(pod) == Some("Failed") && is_planted(Mutant::AnImportIsDoneWhenItsPodHasEnded))
}

fn phase(pod: &Pod) -> Option<&str> {
    pod.status.as_ref()?.phase.as_deref()
}

fn container(pod: &Pod) -> Option<&ContainerStatus> {
    pod.status.as_ref()?.container_statuses.as_ref()?.first()
}

/// The last end of the container, while no further run is under way.
fn last_end(pod: &Pod) -> Option<&ContainerStateTerminated> {
    let container = container(pod)?;
    let now = container.state.as_ref();
    if now.is_some_and(|state| state.running.is_some()) {
        return None;
    }
    let ended = now.and_then(|state| state.terminated.as_ref());
    ended.or_else(|| container.last_state.as_ref()?.terminated.as_ref())
}

/// Why the last run of the copy failed, until the next one runs.
pub fn failure_of(pod: &Pod) -> Option<(Reason, String)> {
    if let Some(end) = last_end(pod).filter(|end| end.exit_code != 0) {
        let told = end.message.as_deref().map(serde_json::from_str::<Ending>);
        return Some(match told {
            Some(Ok(Ending::Failed { kind, message })) => match kind {
                FailureKind::OutOfSpace => {
                    let helps = "raise the volume's size in spec.volumes";
                    (Reason::OutOfSpace, format!("{message}; {helps}"))
                }
                FailureKind::Other => (Reason::ImportFailed, message),
            },
            _ => {
                let why = end.reason.as_deref().unwrap_or("it ended");
                let why = format!("its container ended with code {}: {why}", end.exit_code);
                (Reason::ImportFailed, why)
            }
        });
    }
    if phase(pod) != Some("Failed") {
        return None;
    }
    let status = pod.status.as_ref();
    let why = status.and_then(|status| status.message.clone().or_else(|| status.reason.clone()));
    let why = why.unwrap_or_else(|| "its pod failed".to_owned());
    Some((Reason::ImportFailed, why))
}

/// What a pod waits for that has not begun yet.
fn waits_for(pod: &Pod) -> Option<String> {
    let status = pod.status.as_ref()?;
    let mut conditions = status.conditions.iter().flatten();
    let scheduled = conditions.find(|condition| condition.type_ == "PodScheduled" && condition.status == "False");
    let waiting = || container(pod)?.state.as_ref()?.waiting.as_ref()?.message.clone();
    scheduled
        .and_then(|condition| condition.message.clone())
        .or_else(waiting)
}

/// Bytes in the unit that people think in.
fn human(bytes: u64) -> String {
    for (shift, unit) in [(40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")] {
        if bytes >> shift > 0 {
            let tenths = (u128::from(bytes) * 10) >> shift;
            return format!("{}.{} {unit}", tenths / 10, tenths % 10);
        }
    }
    format!("{bytes} bytes")
}

/// How far a copy is, for people.
pub fn tell_progress(import: &Import, pod: &Pod) -> String {
    let Import { volume, claim, .. } = import;
    if phase(pod) != Some("Running") {
        let why = waits_for(pod).map_or_else(String::new, |why| format!(": {why}"));
        return format!(
            "{volume}: Pod {:?}, which copies claim {claim:?}, has not begun{why}",
            pod.name_any()
        );
    }
    match import.progress {
        Some(Progress {
            bytes_copied,
            bytes_total,
            ..
        }) if bytes_total > 0 => {
            let (copied, total) = (human(bytes_copied), human(bytes_total));
            format!("{volume}: {copied} of {total} from claim {claim:?}")
        }
        Some(_) | None => format!("{volume}: being copied from claim {claim:?}"),
    }
}

/// The status of all imports after this pass.
pub fn build_imports(dot: &Dot, imports: &Imports) -> Vec<DotImport> {
    let before = dot.status.as_ref().map_or(&[][..], |status| &status.imports);
    if !is_importing(dot) {
        return before.to_vec();
    }
    let known = |import: &Import| before.iter().find(|known| known.volume == import.volume);
    let all = imports.all.iter().map(|import| build_import(import, known(import)));
    let is_left = |import: &DotImport| {
        let mut all = imports.all.iter();
        all.any(|known| {
            known.volume == import.volume && (known.is_wanted || known.pod.is_some() || known.target.is_some())
        })
    };
    let mut all: Vec<DotImport> = all.filter(is_left).collect();
    all.sort_by(|one, other| one.volume.cmp(&other.volume));
    all
}

fn build_import(import: &Import, before: Option<&DotImport>) -> DotImport {
    let mut now = before.cloned().unwrap_or_default();
    if now.state == ImportState::Done {
        return now;
    }
    now.volume.clone_from(&import.volume);
    now.claim.clone_from(&import.claim);
    let Some(pod) = &import.pod else {
        now.state = ImportState::Waiting;
        return now;
    };
    let end = last_end(pod);
    let told = end.and_then(|end| serde_json::from_str(end.message.as_deref()?).ok());
    let done = match told {
        Some(Ending::Done(progress)) => Some(progress),
        Some(Ending::Failed { .. }) | None => None,
    };
    if let Some(progress) = done.or(import.progress) {
        let number = |number: u64| Some(i64::try_from(number).unwrap_or(i64::MAX));
        now.bytes_copied = number(progress.bytes_copied);
        now.bytes_total = number(progress.bytes_total);
        now.files = number(progress.files);
        now.skipped = number(progress.skipped).filter(|skipped| *skipped > 0);
    }
    now.start_time = now.start_time.or_else(|| begun_at(pod));
    now.state = if is_done(pod) {
        now.completion_time = end.and_then(|end| end.finished_at.clone());
        ImportState::Done
    } else if failure_of(pod).is_some() {
        ImportState::Failed
    } else if phase(pod) == Some("Running") {
        ImportState::Copying
    } else {
        ImportState::Waiting
    };
    now
}

/// When the container first ran, as far as its pod knows.
fn begun_at(pod: &Pod) -> Option<Time> {
    let container = container(pod)?;
    let states = [container.last_state.as_ref(), container.state.as_ref()];
    states.into_iter().flatten().find_map(|state| {
        let ended = state.terminated.as_ref().and_then(|end| end.started_at.clone());
        ended.or_else(|| state.running.as_ref().and_then(|running| running.started_at.clone()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_told_in_tenths() {
        let all = [0, 1023, 1024, 1536, 1_288_490_189, 10 << 30, 5 << 40].map(human);
        assert_eq!(
            all,
            [
                "0 bytes",
                "1023 bytes",
                "1.0 KiB",
                "1.5 KiB",
                "1.2 GiB",
                "10.0 GiB",
                "5.0 TiB"
            ]
        );
    }
}
