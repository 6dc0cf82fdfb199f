//! `dotmesh-operator check`, and so `helm test`.

use std::time::Duration;

use dotmesh_operator::check;
use dotmesh_testkit::FakeApi;

const TIME: Duration = Duration::from_secs(120);

/// A Pool whose condition says so.
fn put_pool(api: &FakeApi, name: &str, status: &str, reason: &str, message: &str) {
    api.put(&format!(
        "{{apiVersion: dotmesh.io/v1alpha1, kind: Pool, metadata: {{name: {name}}}, \
         spec: {{nodeName: {name}, file: {{path: /var/lib/dotmesh/pool.img, size: 2Gi}}}}, \
         status: {{conditions: [{{type: Ready, status: '{status}', reason: {reason}, message: '{message}', \
         lastTransitionTime: '2026-01-01T00:00:00Z'}}]}}}}"
    ));
}

#[tokio::test]
async fn an_installation_whose_pools_are_all_ready_passes() {
    let api = FakeApi::default();
    put_pool(&api, "n1", "True", "Ready", "");
    put_pool(&api, "n2", "True", "Ready", "");
    let text = check::run(api.client(), TIME).await.unwrap();
    assert_eq!(text, "Pool n1 on node n1: Ready\nPool n2 on node n2: Ready");
}

#[tokio::test(start_paused = true)]
async fn one_pool_that_is_not_ready_fails_with_its_reason() {
    let api = FakeApi::default();
    put_pool(&api, "n1", "True", "Ready", "");
    put_pool(&api, "n2", "False", "ZfsUnsupported", "OpenZFS 2.2.0 is too old");
    let text = check::run(api.client(), TIME).await.unwrap_err().to_string();
    assert!(
        text.contains("Pool n2 on node n2: ZfsUnsupported OpenZFS 2.2.0 is too old"),
        "{text}"
    );
}

#[tokio::test(start_paused = true)]
async fn an_installation_without_pools_fails() {
    let text = check::run(FakeApi::default().client(), TIME)
        .await
        .unwrap_err()
        .to_string();
    assert!(text.contains("there is no Pool"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn pools_that_become_ready_in_time_are_waited_for() {
    let api = FakeApi::default();
    let client = api.client();
    let checking = tokio::spawn(async move { check::run(client, TIME).await });
    tokio::time::sleep(TIME / 2).await;
    put_pool(&api, "n1", "True", "Ready", "");
    assert_eq!(checking.await.unwrap().unwrap(), "Pool n1 on node n1: Ready");
}
