//! Who leads, over an API in memory and a clock that stands still: two replicas, and what goes wrong between them.

use std::sync::Arc;
use std::time::Duration;

use dotmesh_operator::api::{Api, ApiErrorKind, Guard, Key};
use dotmesh_operator::lead::{DURATION, Election, HOLD, LEASE, Lead, RENEW_EVERY, RETRY};
use dotmesh_testkit::{FakeApi, Fault};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::jiff::Timestamp;
use serde_json::json;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

const NAMESPACE: &str = "dotmesh-system";

/// Replicas' clocks are an hour apart: nothing may depend on that but the order of terms.
fn election(api: &FakeApi, name: &str) -> Arc<Election<FakeApi>> {
    let skew = if name == "a" { 3_600 } else { 0 };
    let began = Instant::now();
    let clock = Arc::new(move || {
        let passed = i64::try_from(began.elapsed().as_micros()).unwrap();
        Timestamp::from_microsecond((1_767_225_600 + skew) * 1_000_000 + passed).unwrap()
    });
    Arc::new(Election::new(api.clone(), NAMESPACE, name.to_owned(), clock))
}

fn keep(election: &Arc<Election<FakeApi>>, lead: &Arc<Lead>) -> JoinHandle<()> {
    let (election, lead) = (Arc::clone(election), Arc::clone(lead));
    tokio::spawn(async move { election.keep(&lead).await })
}

fn win(election: &Arc<Election<FakeApi>>) -> JoinHandle<Arc<Lead>> {
    let election = Arc::clone(election);
    tokio::spawn(async move { election.win().await })
}

fn key() -> Key {
    Key::namespaced(NAMESPACE, LEASE)
}

#[tokio::test(start_paused = true)]
async fn one_leads_for_as_long_as_it_renews() {
    let api = FakeApi::default();
    let (a, b) = (election(&api, "a"), election(&api, "b"));
    let first = a.win().await;
    let kept = keep(&a, &first);
    let second = win(&b);
    sleep(20 * DURATION).await;
    assert!(first.holds() && !kept.is_finished() && !second.is_finished());
    let lease: Lease = api.must_get(&key());
    assert_eq!(lease.spec.unwrap().holder_identity.as_deref(), Some("a"));
}

#[tokio::test(start_paused = true)]
async fn another_follows_within_seconds_of_a_resignation_and_in_a_later_term() {
    let api = FakeApi::default();
    let (a, b) = (election(&api, "a"), election(&api, "b"));
    let first = a.win().await;
    let kept = keep(&a, &first);
    let second = win(&b);
    sleep(Duration::from_secs(60)).await;
    a.resign().await;
    assert!(!first.holds());
    let second = timeout(2 * RETRY, second).await.unwrap().unwrap();
    assert!(second.holds() && second.term() > first.term());
    timeout(2 * RENEW_EVERY, kept).await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn one_that_renews_no_more_has_ended_before_another_leads() {
    let api = FakeApi::default();
    let (a, b) = (election(&api, "a"), election(&api, "b"));
    let first = a.win().await;
    let began = Instant::now();
    let second = win(&b).await.unwrap();
    assert!(!first.holds(), "nobody told it: its time is over by its own clock");
    assert!(second.term() > first.term());
    let waited = began.elapsed();
    assert!(waited >= DURATION && waited <= DURATION + 2 * RETRY, "{waited:?}");
    assert!(HOLD < DURATION);
    // What it tries then is too late.
    timeout(2 * RENEW_EVERY, keep(&a, &first)).await.unwrap().unwrap();
    assert!(second.holds());
}

#[tokio::test(start_paused = true)]
async fn a_process_that_begins_again_in_its_pod_leads_at_once() {
    let api = FakeApi::default();
    let first = election(&api, "a").win().await;
    let again = timeout(RETRY, election(&api, "a").win()).await.unwrap();
    assert!(again.term() > first.term());
}

#[tokio::test(start_paused = true)]
async fn a_renewal_may_fail_or_lose_its_answer_and_people_may_write_to_the_lease() {
    for after in [false, true] {
        let api = FakeApi::default();
        let a = election(&api, "a");
        let lead = a.win().await;
        let kept = keep(&a, &lead);
        api.fail(Fault {
            verb: "patch",
            kind: "Lease",
            error: ApiErrorKind::Unavailable,
            after,
        });
        sleep(4 * RENEW_EVERY).await;
        let note = json!({ "metadata": { "annotations": { "seen-by": "somebody" } } });
        api.patch::<Lease>(&key(), &Guard::default(), note).await.unwrap();
        sleep(DURATION).await;
        assert!(lead.holds() && !kept.is_finished());
    }
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_is_taken_or_deleted_ends_the_lead() {
    let api = FakeApi::default();
    let a = election(&api, "a");
    let lead = a.win().await;
    let stolen = json!({ "spec": { "holderIdentity": "b" } });
    api.patch::<Lease>(&key(), &Guard::default(), stolen).await.unwrap();
    timeout(2 * RENEW_EVERY, keep(&a, &lead)).await.unwrap().unwrap();
    assert!(!lead.holds());

    api.delete::<Lease>(&key(), &Guard::default()).await.unwrap();
    let lead = a.win().await;
    api.delete::<Lease>(&key(), &Guard::default()).await.unwrap();
    timeout(2 * RENEW_EVERY, keep(&a, &lead)).await.unwrap().unwrap();
    assert!(!lead.holds());
}
