//! A server that has too much to do is left alone for as long as it asks.

use std::time::Duration;

use dotmesh_crds::Dot;
use dotmesh_operator::api::{Api, ApiErrorKind};
use dotmesh_testkit::{Answer, FakeApi};
use kube::client::retry::RetryPolicy;
use tokio::time::Instant;
use tower::ServiceExt;
use tower::retry::Retry;

use crate::{key, kube_api, put_dot};

/// A client with the layer that `Client::try_default` has, as `Config::default_retry` says.
fn patient(fake: &FakeApi) -> kube::Client {
    let inner = fake.client();
    let service = tower::service_fn(move |request| {
        let inner = inner.clone();
        async move { inner.send(request).await.map_err(tower::BoxError::from) }
    });
    kube::Client::new(Retry::new(RetryPolicy::server_retry(), service).boxed(), "dev")
}

#[tokio::test(start_paused = true)]
async fn requests_wait_as_long_as_the_server_says() {
    let config = kube::Config::new(http::Uri::from_static("https://dotmesh.invalid"));
    assert!(config.default_retry, "the production client would not wait");
    let fake = FakeApi::default();
    put_dot(&fake, "shop", "{}");
    for _ in 0..2 {
        fake.answer_next(Answer {
            code: 429,
            reason: "TooManyRequests",
            retry_after: Some(7),
        });
    }
    let before = Instant::now();
    let found = kube_api(patient(&fake)).get::<Dot>(&key("shop")).await.unwrap();
    assert!(found.is_some());
    let waited = before.elapsed();
    assert!(waited >= Duration::from_secs(14), "asked again after {waited:?}");
    assert!(waited < Duration::from_secs(20), "asked again after {waited:?}");
}

#[tokio::test(start_paused = true)]
async fn a_server_that_never_recovers_is_given_up_on_in_time() {
    let fake = FakeApi::default();
    for _ in 0..100 {
        fake.answer_next(Answer {
            code: 503,
            reason: "ServiceUnavailable",
            retry_after: Some(30),
        });
    }
    let before = Instant::now();
    let error = kube_api(patient(&fake)).get::<Dot>(&key("shop")).await.unwrap_err();
    assert_eq!(error.kind, ApiErrorKind::Unavailable);
    assert!(error.message.contains("GET"), "{error}");
    let waited = before.elapsed();
    assert!(waited <= Duration::from_secs(61), "given up after {waited:?}");
}
