//! csi-resizer: has claims that ask for more than they have made larger. What can never be, by the answer's code, is
//! not asked for again until the claim asks for something else.

use dotmesh_csi_proto::csi::controller_server::Controller;
use dotmesh_csi_proto::csi::{CapacityRange, ControllerExpandVolumeRequest};
use dotmesh_model::size::{format_quantity, parse_quantity};
use dotmesh_operator::api::{Api, Guard, Key};
use dotmesh_operator::facade::controller::ControllerService;
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::ResourceExt;
use serde_json::json;
use tonic::{Code, Request};

use super::{Kubernetes, World, capability, claim_of, handle_of, is_bound};
use crate::stage::Actor;

/// Bytes.
pub(super) fn size(quantity: Option<&Quantity>) -> u64 {
    quantity.map_or(0, |quantity| parse_quantity(&quantity.0).unwrap_or(0))
}

/// Bytes that a claim asks for.
pub(super) fn asked_by(claim: &PersistentVolumeClaim) -> u64 {
    let resources = claim.spec.as_ref().and_then(|spec| spec.resources.as_ref());
    size(resources.and_then(|all| all.requests.as_ref()?.get("storage")))
}

/// How large a PersistentVolume says that it is, in bytes.
fn capacity_of(volume: &PersistentVolume) -> u64 {
    let spec = volume.spec.as_ref();
    size(spec.and_then(|spec| spec.capacity.as_ref()?.get("storage")))
}

impl Kubernetes {
    /// Whether a claim is to be asked for, or is being asked for.
    pub(super) fn resize(&self, world: &World, claim: &PersistentVolumeClaim) -> bool {
        let (uid, bytes) = (claim.uid().unwrap_or_default(), asked_by(claim));
        let volume = world.volumes.iter().find(|volume| claim_of(volume) == uid);
        let Some(volume) = volume.filter(|volume| is_bound(claim) && capacity_of(volume) < bytes) else {
            return false;
        };
        if self.lock().impossible.contains(&(uid.clone(), bytes)) {
            return false;
        }
        self.ask(format!("growth of {uid}"), self.clone().expand(volume.clone(), bytes));
        true
    }

    async fn expand(self, volume: PersistentVolume, bytes: u64) {
        let Some(replica) = self.facade() else { return };
        let request = ControllerExpandVolumeRequest {
            volume_id: handle_of(&volume).to_owned(),
            capacity_range: Some(CapacityRange {
                required_bytes: i64::try_from(bytes).unwrap_or(i64::MAX),
                limit_bytes: 0,
            }),
            volume_capability: Some(capability()),
            ..ControllerExpandVolumeRequest::default()
        };
        let stage = &self.cluster.stage;
        let key = Key::of(&volume);
        stage.say(
            Actor::Kubernetes,
            format_args!("ControllerExpandVolume {key} to {}", format_quantity(bytes)),
        );
        let service = ControllerService::new(replica.api.clone(), replica.api.clone(), false);
        let answer = tokio::select! {
            biased;
            () = replica.life.over() => return,
            answer = service.controller_expand_volume(Request::new(request)) => answer,
        };
        match answer.map(|response| response.into_inner().capacity_bytes) {
            Ok(bytes) => {
                let size = format_quantity(u64::try_from(bytes).unwrap_or(0));
                stage.say(Actor::Kubernetes, format_args!("patch PersistentVolume {key}: {size}"));
                let patch = json!({ "spec": { "capacity": { "storage": size } } });
                let guard = Guard::default();
                let _ = self.cluster.server.patch::<PersistentVolume>(&key, &guard, patch).await;
                stage.wrote();
            }
            Err(status) => {
                if matches!(status.code(), Code::OutOfRange | Code::InvalidArgument | Code::NotFound) {
                    let claim = claim_of(&volume).to_owned();
                    self.lock().impossible.insert((claim, bytes));
                }
                stage.say(Actor::Kubernetes, format_args!("  not larger: {}", status.message()));
            }
        }
    }
}
