//! Tokens that are not those of a csi-node pod that is there: each is refused, with the reason and without the token.

use std::io::Write;
use std::sync::{Arc, Mutex};

use dotmesh_operator::api::Key;
use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};
use tonic::Code;

use crate::world::{Clock, Cluster, NAMESPACE, in_still_time, review, token};

/// What is logged, by all tasks of a test.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Log {
    fn begin(&self) -> tracing::subscriber::DefaultGuard {
        let log = self.clone();
        let subscriber = tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE);
        let subscriber = subscriber.with_ansi(false).with_writer(move || log.clone()).finish();
        tracing::subscriber::set_default(subscriber)
    }

    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

/// The token is refused with this code, for this reason and without being shown; the same once more in the log.
async fn refused(cluster: &Cluster, token: &str, code: Code, why: &str) {
    let log = Log::default();
    let logging = log.begin();
    let status = cluster.enroll(token, None).await.unwrap_err();
    drop(logging);
    assert_eq!((status.code(), status.message()), (code, why));
    let log = log.text();
    let told: Vec<&str> = log.lines().filter(|line| line.contains("enrollment refused")).collect();
    assert_eq!(told.len(), 1, "{log}");
    assert!(told[0].contains(&format!("error={why}")), "{told:?}");
    assert!(!log.contains("certificate issued"), "{log}");
    if !token.is_empty() {
        assert!(!format!("{status:?}").contains(token), "{status:?}");
        let ours = log.lines().filter(|line| line.contains(" dotmesh"));
        ours.for_each(|line| assert!(!line.contains(token), "{line}"));
    }
}

async fn cluster() -> (Cluster, crate::world::Operator) {
    let cluster = Cluster::new(Clock::default());
    cluster.join("n1");
    let operator = cluster.serve_enrollment().await;
    cluster.enroll(&token("n1"), None).await.unwrap();
    (cluster, operator)
}

/// A review that differs from that of n1's pod in one place.
fn but(path: &str, value: Value) -> Value {
    let mut review = review("n1");
    *review.pointer_mut(path).unwrap() = value;
    review
}

#[tokio::test(start_paused = true)]
async fn a_token_of_somebody_else_is_refused_by_what_it_is() {
    in_still_time(async {
        let (cluster, _operator) = cluster().await;
        let of = |who: &str| format!("the token belongs to {who:?}, which is not csi-node");
        let default = format!("system:serviceaccount:{NAMESPACE}:default");
        let elsewhere = "system:serviceaccount:evil:dotmesh-csi-node";
        let api = "https://kubernetes.default.svc";
        let audience = "the token is not for audience dotmesh.io/enroll";
        let unbound = "the token is not bound to a pod";
        let extra = |key: &str| format!("/user/extra/authentication.kubernetes.io~1{key}");
        for (told, code, why) in [
            (
                but("/user/username", json!(default)),
                Code::PermissionDenied,
                of(&default),
            ),
            (
                but("/user/username", json!(elsewhere)),
                Code::PermissionDenied,
                of(elsewhere),
            ),
            (but("/user/username", json!("root")), Code::PermissionDenied, of("root")),
            (but("/user", json!(null)), Code::PermissionDenied, of("")),
            (
                but("/audiences", json!([api])),
                Code::Unauthenticated,
                audience.to_owned(),
            ),
            (
                but("/audiences", json!(null)),
                Code::Unauthenticated,
                audience.to_owned(),
            ),
            (
                but(&extra("pod-name"), json!([])),
                Code::PermissionDenied,
                unbound.to_owned(),
            ),
            (
                but(&extra("pod-uid"), json!(["a", "b"])),
                Code::PermissionDenied,
                unbound.to_owned(),
            ),
        ] {
            cluster.api.put_token("foreign.token.of-them", told);
            refused(&cluster, "foreign.token.of-them", code, &why).await;
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_token_whose_pod_is_not_there_or_not_itself_is_refused() {
    in_still_time(async {
        let (cluster, _operator) = cluster().await;
        let pod = |uid: &str, more: &str, spec: &str| {
            format!(
                "{{apiVersion: v1, kind: Pod, metadata: {{name: csi-n1, namespace: {NAMESPACE}, uid: {uid}{more}}}, \
                 spec: {{containers: []{spec}}}}}"
            )
        };
        let ending = ", deletionTimestamp: '2026-01-01T00:00:00Z', finalizers: [a/b]";
        for (pod, why) in [
            (
                pod("other", "", ", nodeName: n1"),
                "the token's pod \"csi-n1\" is gone; another one has its name",
            ),
            (
                pod("uid-n1", ending, ", nodeName: n1"),
                "the token's pod \"csi-n1\" is being deleted",
            ),
            (pod("uid-n1", "", ""), "the token's pod \"csi-n1\" is on no node"),
            (
                pod("uid-n1", "", ", nodeName: n2"),
                "the token's pod \"csi-n1\" is on node \"n2\", and the token says \"n1\"",
            ),
        ] {
            cluster.api.put(&pod);
            refused(&cluster, &token("n1"), Code::PermissionDenied, why).await;
        }
        cluster.api.remove::<Pod>(&Key::namespaced(NAMESPACE, "csi-n1"));
        let why = "the token's pod \"csi-n1\" is gone";
        refused(&cluster, &token("n1"), Code::PermissionDenied, why).await;
        // A pod of that name, uid and all, in another namespace is not it.
        let elsewhere = pod("uid-n1", "", ", nodeName: n1").replace(NAMESPACE, "evil");
        cluster.api.put(&elsewhere);
        refused(&cluster, &token("n1"), Code::PermissionDenied, why).await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn what_is_no_token_is_refused_and_the_api_server_is_spared_the_longest() {
    in_still_time(async {
        let (cluster, _operator) = cluster().await;
        let unknown = "the token is not valid for audience dotmesh.io/enroll: the API server does not know it";
        refused(
            &cluster,
            "garbage \u{1F980} of-no-meaning",
            Code::Unauthenticated,
            unknown,
        )
        .await;
        let spoken = json!({"authenticated": false, "error": "[invalid bearer token, my.old.token: has expired]"});
        cluster.api.put_token("my.old.token", spoken);
        let why =
            "the token is not valid for audience dotmesh.io/enroll: [invalid bearer token, (the token): has expired]";
        refused(&cluster, "my.old.token", Code::Unauthenticated, why).await;

        cluster.api.take_writes();
        refused(&cluster, "", Code::Unauthenticated, "the request has no token").await;
        let why = "the token has 10240 bytes; more than 8192 are not looked at";
        refused(&cluster, &"x".repeat(10 << 10), Code::InvalidArgument, why).await;
        assert_eq!(cluster.api.take_writes(), [""; 0]);
    })
    .await;
}
