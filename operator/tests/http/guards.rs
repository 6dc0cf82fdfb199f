//! What a guard keeps from happening, on a server that overlooks some of it.

use dotmesh_crds::dot::DotStatus;
use dotmesh_crds::{Dot, DotSpec};
use dotmesh_operator::api::{Api, ApiErrorKind, Guard};
use dotmesh_operator::status::write_status;
use dotmesh_testkit::FakeApi;
use serde_json::json;

use crate::{key, kube_api};

/// Somebody deleted the object and made another of that name while the first one was worked on.
async fn replaced(fake: &FakeApi) -> (Dot, Dot) {
    let api = kube_api(fake.client());
    let mut dot = Dot::new("shop", DotSpec::default());
    dot.metadata.namespace = Some("dev".to_owned());
    let old: Dot = api.create(&dot).await.unwrap();
    api.delete::<Dot>(&key("shop"), &Guard::same(&old)).await.unwrap();
    let new: Dot = api.create(&dot).await.unwrap();
    assert_ne!(old.metadata.uid, new.metadata.uid);
    (old, new)
}

#[tokio::test]
async fn a_status_is_never_written_to_another_object_of_that_name() {
    let fake = FakeApi::default();
    let (old, new) = replaced(&fake).await;
    let status = DotStatus {
        node: Some("n1".to_owned()),
        ..DotStatus::default()
    };
    for kind in [
        write_status(&kube_api(fake.client()), &old, &DotStatus::default(), &status)
            .await
            .unwrap_err()
            .kind,
        write_status(&fake, &old, &DotStatus::default(), &status)
            .await
            .unwrap_err()
            .kind,
    ] {
        assert_eq!(kind, ApiErrorKind::Conflict);
    }
    let left: Dot = fake.must_get(&key("shop"));
    assert_eq!((left.metadata, left.status), (new.metadata, None));
}

/// Why a uid alone is no guard of a status: the server does not look at it.
#[tokio::test]
async fn a_uid_alone_guards_deletions_only() {
    let fake = FakeApi::default();
    let (old, _) = replaced(&fake).await;
    let api = kube_api(fake.client());
    let guard = Guard::same(&old);
    let refused = api.delete::<Dot>(&key("shop"), &guard).await.unwrap_err();
    assert_eq!(refused.kind, ApiErrorKind::Conflict);
    let patch = json!({"metadata": {"labels": {"a": "b"}}});
    let refused = api.patch::<Dot>(&key("shop"), &guard, patch).await.unwrap_err();
    assert_eq!(refused.kind, ApiErrorKind::Invalid);
    let applied = api
        .apply_status::<Dot>(&key("shop"), &guard, "m", json!({"node": "n1"}))
        .await;
    assert!(applied.is_ok(), "{applied:?}");
}
