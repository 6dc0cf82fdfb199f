//! Why a claim stays Pending, as an event on it; said again only when it changed.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use dotmesh_crds::names::DRIVER;
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::Resource;

use super::error::ClaimError;
use crate::api::{Api, ApiError, ApiErrorKind, Event, EventType};

/// What was last said about each claim, by uid. Losing it repeats an event, nothing more.
#[derive(Debug, Default)]
pub struct Said(Mutex<BTreeMap<String, ClaimError>>);

impl Said {
    /// Tells people, unless it is what they were told last.
    pub async fn tell<A: Api>(
        &self,
        api: &A,
        claim: &PersistentVolumeClaim,
        error: &ClaimError,
    ) -> Result<(), ApiError> {
        let uid = claim.metadata.uid.clone().unwrap_or_default();
        if self.lock().get(&uid) == Some(error) {
            return Ok(());
        }
        tracing::info!(driver = DRIVER, claim = claim.metadata.name, reason = %error.reason(), error = %error, "claim cannot be served");
        let event = Event {
            event_type: EventType::Warning,
            reason: error.reason().as_str(),
            action: "Provision",
            message: error.to_string(),
        };
        match api.event(claim.object_ref(&()), event).await {
            // A namespace that is going away takes no events.
            Err(error) if error.kind == ApiErrorKind::Forbidden => {
                tracing::info!(error = %error, "event not published");
            }
            result => result?,
        }
        self.lock().insert(uid, error.clone());
        Ok(())
    }

    /// Nothing is wrong with the claim any more, or it is gone.
    pub fn forget(&self, uid: &str) {
        self.lock().remove(uid);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, ClaimError>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
