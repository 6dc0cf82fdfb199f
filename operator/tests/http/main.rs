//! The operator's own client, caches and watches against an API server in memory, over HTTP.
//!
//! The clock is virtual: what waits for a back-off or a `Retry-After` waits for no one.

#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

mod check;
mod classification;
mod guards;
mod throttling;
mod watches;

use dotmesh_operator::api::{Key, KubeApi};
use dotmesh_operator::metrics::Metrics;
use dotmesh_operator::run::watches::caches;
use dotmesh_testkit::FakeApi;

/// The production client, without anything in its caches.
fn kube_api(client: kube::Client) -> KubeApi {
    KubeApi::new(client, caches().0, Metrics::default())
}

fn put_dot(api: &FakeApi, name: &str, spec: &str) {
    api.put(&format!(
        "{{apiVersion: dotmesh.io/v1alpha1, kind: Dot, metadata: {{name: {name}, namespace: dev}}, spec: {spec}}}"
    ));
}

fn key(name: &str) -> Key {
    Key::namespaced("dev", name)
}
