//! The authority's objects: made once, taken over by whoever comes second, never replaced.

#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

use dotmesh_operator::api::{ApiErrorKind, Key};
use dotmesh_operator::enroll::authority::{AuthorityError, ensure};
use dotmesh_testkit::{FakeApi, Fault};
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use time::OffsetDateTime;

fn key() -> Key {
    Key::namespaced("dotmesh-system", "dotmesh-authority")
}

async fn certificate(api: &FakeApi) -> String {
    let authority = ensure(api, "dotmesh-system", OffsetDateTime::now_utc()).await.unwrap();
    authority.certificate_pem().to_owned()
}

#[tokio::test]
async fn everybody_gets_the_same_authority() {
    let api = FakeApi::default();
    let first = certificate(&api).await;
    assert_eq!(certificate(&api).await, first);
    let published: ConfigMap = api.must_get(&key());
    assert_eq!(published.data.unwrap()["ca.crt"], first);
    api.take_writes();
    certificate(&api).await;
    assert_eq!(api.take_writes(), [""; 0]);
}

#[tokio::test]
async fn a_start_that_is_cut_and_a_replica_that_was_faster_end_in_one_authority() {
    for (verb, kind) in [("create", "Secret"), ("create", "ConfigMap"), ("get", "Secret")] {
        for after in [false, true] {
            let api = FakeApi::default();
            api.fail(Fault {
                verb,
                kind,
                error: ApiErrorKind::Unavailable,
                after,
            });
            assert!(ensure(&api, "dotmesh-system", OffsetDateTime::now_utc()).await.is_err());
            let first = certificate(&api).await;
            assert_eq!(certificate(&api).await, first, "{verb} {kind} {after}");
        }
    }
    let api = FakeApi::default();
    let (one, other) = tokio::join!(certificate(&api), certificate(&api));
    assert_eq!(one, other);
}

#[tokio::test]
async fn a_lost_publication_is_repeated_and_a_broken_secret_is_left_alone() {
    let api = FakeApi::default();
    let first = certificate(&api).await;
    api.remove::<ConfigMap>(&key());
    assert_eq!(certificate(&api).await, first);
    assert_eq!(api.must_get::<ConfigMap>(&key()).data.unwrap()["ca.crt"], first);
    api.put("{apiVersion: v1, kind: Secret, metadata: {name: dotmesh-authority, namespace: dotmesh-system}, data: {ca.crt: aGVsbG8=}}");
    api.take_writes();
    let broken = ensure(&api, "dotmesh-system", OffsetDateTime::now_utc()).await;
    assert!(matches!(broken, Err(AuthorityError::Stored { .. })));
    assert_eq!(api.take_writes(), [""; 0]);
    assert!(api.exists::<Secret>(&key()));
}
