//! What a Dot leaves when it goes.

use dotmesh_crds::dot::DeletionPolicy;
use dotmesh_crds::names::{FINALIZER, dot_remnant};
use dotmesh_crds::remnant::{RemnantKind, RemnantNamespace};
use dotmesh_crds::{Dot, Remnant, RemnantSpec};
use k8s_openapi::jiff::Timestamp;
use kube::{Resource, ResourceExt};

use crate::meta::{dot_id, uid};

/// When data is destroyed that was deleted now: after that many seconds, or never. As in manifests.
#[must_use]
pub fn expiry(policy: DeletionPolicy, now: Timestamp, grace: u64) -> Option<String> {
    let after = |grace: u64| now.as_second().saturating_add(i64::try_from(grace).unwrap_or(i64::MAX));
    match policy {
        DeletionPolicy::Retain => None,
        // A time that no clock shows is never.
        DeletionPolicy::Delete => Timestamp::from_second(after(grace)).ok().map(|time| time.to_string()),
    }
}

/// Whether a Dot has recorded that its data lies somewhere: of one that takes data over, that is with its id.
#[must_use]
pub fn has_data(dot: &Dot) -> bool {
    let is_restored = dot.spec.restore_from.is_some();
    let status = dot.status.as_ref();
    status.is_some_and(|status| status.node.is_some() && (status.pool.is_some() || is_restored))
}

/// The Remnant of a Dot that goes, in its namespace of that uid; nothing when the Dot lies nowhere.
#[must_use]
pub fn build_remnant(dot: &Dot, namespace_uid: &str, now: Timestamp, grace: u64) -> Option<Remnant> {
    let status = dot.status.as_ref()?;
    let id = dot_id(dot).to_owned();
    let deleted_at = dot.meta().deletion_timestamp.as_ref().map_or(now, |time| time.0);
    let spec = RemnantSpec {
        kind: RemnantKind::Dot,
        dot: id.clone(),
        name: dot.name_any(),
        uid: uid(dot).to_owned(),
        namespace: RemnantNamespace {
            name: dot.namespace().unwrap_or_default(),
            uid: namespace_uid.to_owned(),
        },
        node: status.node.clone()?,
        pool: status.pool.clone(),
        pool_class: dot.spec.pool_class().to_owned(),
        branch: String::new(),
        head: String::new(),
        volumes: status.volumes.clone(),
        deleted_at: deleted_at.to_string(),
        // The time of grace begins when the object goes, which is later when claims used it.
        expires_at: expiry(dot.spec.deletion_policy, now, grace),
        id: id.clone(),
    };
    let mut remnant = Remnant::new(&dot_remnant(&id), spec);
    remnant.metadata.finalizers = Some(vec![FINALIZER.to_owned()]);
    Some(remnant)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_retained_never_expires_and_the_rest_after_the_grace_period() {
        let now = Timestamp::from_second(1_767_225_600).unwrap();
        assert_eq!(expiry(DeletionPolicy::Retain, now, 60), None);
        let at = expiry(DeletionPolicy::Delete, now, 86_400);
        assert_eq!(at.as_deref(), Some("2026-01-02T00:00:00Z"));
        assert_eq!(expiry(DeletionPolicy::Delete, now, u64::MAX), None);
    }
}
