//! What each answer of a server is to the controllers.

use dotmesh_crds::Dot;
use dotmesh_operator::api::ApiErrorKind::{self, AlreadyExists, Conflict, Forbidden, Invalid, NotFound, Unavailable};
use dotmesh_operator::api::{Api, ApiError, Guard};
use dotmesh_testkit::{Answer, FakeApi};
use serde_json::json;

use crate::{key, kube_api, put_dot};

const ANSWERS: [(u16, &str, ApiErrorKind); 17] = [
    (400, "BadRequest", Invalid),
    (401, "Unauthorized", Unavailable),
    (403, "Forbidden", Forbidden),
    (404, "NotFound", NotFound),
    (404, "", NotFound),
    (405, "MethodNotAllowed", Unavailable),
    (409, "AlreadyExists", AlreadyExists),
    (409, "Conflict", Conflict),
    (410, "Expired", Unavailable),
    (413, "RequestEntityTooLarge", Unavailable),
    (422, "Invalid", Invalid),
    (429, "TooManyRequests", Unavailable),
    (500, "InternalError", Unavailable),
    (500, "", Unavailable),
    (502, "", Unavailable),
    (503, "ServiceUnavailable", Unavailable),
    (504, "Timeout", Unavailable),
];

#[tokio::test]
async fn every_status_has_a_kind() {
    let fake = FakeApi::default();
    put_dot(&fake, "shop", "{}");
    let api = kube_api(fake.client());
    let kind = |result: Result<Dot, ApiError>| result.unwrap_err().kind;
    for (code, reason, wanted) in ANSWERS {
        let answer = Answer {
            code,
            reason,
            retry_after: None,
        };
        let next = || fake.answer_next(answer.clone());
        let (key, guard) = (key("shop"), Guard::default());
        next();
        assert_eq!(kind(api.patch(&key, &guard, json!({})).await), wanted, "{answer:?}");
        next();
        let applied = api.apply_status(&key, &guard, "m", json!({"node": "n1"})).await;
        assert_eq!(kind(applied), wanted, "{answer:?}");
        next();
        assert_eq!(
            kind(api.create(&Dot::new("other", Default::default())).await),
            wanted,
            "{answer:?}"
        );
        next();
        let listed = api.list::<Dot>(None, None).await.map(|_| unreachable!());
        assert_eq!(kind(listed), wanted, "{answer:?}");

        // What is not there is no failure of a read or a deletion.
        let expected = (wanted != NotFound).then_some(wanted);
        next();
        let got = api.get::<Dot>(&key).await;
        assert_eq!(got.err().map(|error| error.kind), expected, "{answer:?}");
        next();
        let deleted = api.delete::<Dot>(&key, &guard).await;
        assert_eq!(deleted.err().map(|error| error.kind), expected, "{answer:?}");
    }
    assert!(fake.exists::<Dot>(&key("shop")), "nothing of all this happened");
    assert_eq!(fake.take_writes(), Vec::<String>::new());
}

/// A connection that breaks says nothing about what happened.
#[tokio::test]
async fn no_answer_is_unavailable() {
    let service = tower::service_fn(|_: http::Request<kube::client::Body>| async {
        Err::<http::Response<kube::client::Body>, _>(std::io::Error::from(std::io::ErrorKind::ConnectionReset))
    });
    let api = kube_api(kube::Client::new(service, "dev"));
    let error = api.get::<Dot>(&key("shop")).await.unwrap_err();
    assert_eq!(error.kind, Unavailable);
    assert!(error.message.contains("connection reset"), "{}", error.message);
}
