//! Wins the Lease, keeps it, gives it back.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;
use kube::api::ObjectMeta;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::plan::{Turn, decide, holder_of, term_of};
use super::{DURATION, HOLD, LEASE, Lead};
use crate::api::{Api, ApiError, ApiErrorKind, Guard, Key};
use crate::context::Clock;

/// How often a replica that does not lead looks at the Lease.
pub const RETRY: Duration = Duration::from_secs(2);
/// How often the leader renews it.
pub const RENEW_EVERY: Duration = Duration::from_secs(3);
/// How long giving it back may take.
const RESIGN: Duration = Duration::from_secs(5);

/// This replica's part in who leads.
pub struct Election<A> {
    api: A,
    key: Key,
    identity: String,
    clock: Clock,
    current: Mutex<Option<Arc<Lead>>>,
}

/// The Lease as it was read last, and since when it has looked like this.
struct Seen {
    version: Option<String>,
    since: Instant,
}

impl<A: Api> Election<A> {
    /// `identity`: the name of this replica's pod, which no other process has at the same time.
    pub fn new(api: A, namespace: &str, identity: String, clock: Clock) -> Self {
        Self {
            api,
            key: Key::namespaced(namespace, LEASE),
            identity,
            clock,
            current: Mutex::default(),
        }
    }

    /// Waits until this replica leads.
    pub async fn win(&self) -> Arc<Lead> {
        let mut seen: Option<Seen> = None;
        loop {
            match self.attempt(&mut seen).await {
                Ok(Some(lead)) => {
                    let lead = Arc::new(lead);
                    *self.current.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&lead));
                    tracing::info!(identity = self.identity, term = lead.term(), "leading");
                    return lead;
                }
                Ok(None) => {}
                Err(error) => tracing::warn!(%error, lease = %self.key, "cannot be taken"),
            }
            sleep(RETRY).await;
        }
    }

    async fn attempt(&self, seen: &mut Option<Seen>) -> Result<Option<Lead>, ApiError> {
        let lease: Option<Lease> = self.api.get(&self.key).await?;
        let version = lease.as_ref().and_then(ResourceExt::resource_version);
        let same = seen.take().filter(|seen| seen.version == version);
        let since = same.map_or_else(Instant::now, |seen| seen.since);
        *seen = Some(Seen { version, since });
        let sent = Instant::now();
        let taken: Result<Lease, ApiError> = match (decide(lease.as_ref(), &self.identity, since.elapsed()), &lease) {
            (Turn::Wait, _) => return Ok(None),
            (Turn::Take(term), Some(lease)) => {
                let transitions = lease.spec.as_ref().and_then(|spec| spec.lease_transitions).unwrap_or(0);
                let spec = json!({
                    "holderIdentity": self.identity,
                    "leaseDurationSeconds": DURATION.as_secs(),
                    "leaseTransitions": transitions.saturating_add(1),
                    "acquireTime": time(self.now().max(at(term))),
                    "renewTime": time(self.now()),
                });
                self.patch(&Guard::unchanged(lease), spec).await
            }
            (Turn::Create | Turn::Take(_), _) => self.api.create(&self.first()).await,
        };
        match taken {
            Ok(lease) => {
                let version = lease.resource_version().unwrap_or_default();
                let term = term_of(&lease).unwrap_or_default();
                Ok(Some(Lead::new(term, sent + HOLD, version)))
            }
            // Another replica was first.
            Err(error) if matches!(error.kind, ApiErrorKind::Conflict | ApiErrorKind::AlreadyExists) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Renews the Lease for as long as this replica leads.
    pub async fn keep(&self, lead: &Lead) {
        loop {
            sleep(RENEW_EVERY).await;
            let Some(until) = lead.until() else { break };
            match timeout_at(until, self.renew(lead)).await {
                Ok(Ok(true)) => {}
                Ok(Ok(false)) => break,
                // Not renewed, and not lost yet.
                Ok(Err(error)) => tracing::warn!(%error, lease = %self.key, "not renewed"),
                Err(_) => break,
            }
        }
        lead.end();
    }

    /// Whether this replica still leads.
    async fn renew(&self, lead: &Lead) -> Result<bool, ApiError> {
        match self.write_renewal(lead, &lead.guard()).await {
            Ok(()) => Ok(true),
            // Somebody wrote to it: this replica, whose answer was lost; a person; or another leader.
            Err(error) if matches!(error.kind, ApiErrorKind::Conflict | ApiErrorKind::NotFound) => {
                let lease: Option<Lease> = self.api.get(&self.key).await?;
                let is_ours = |lease: &Lease| holder_of(lease) == self.identity && term_of(lease) == Some(lead.term());
                let Some(lease) = lease.filter(is_ours) else {
                    return Ok(false);
                };
                self.write_renewal(lead, &Guard::unchanged(&lease)).await?;
                Ok(true)
            }
            Err(error) => Err(error),
        }
    }

    async fn write_renewal(&self, lead: &Lead, guard: &Guard) -> Result<(), ApiError> {
        let sent = Instant::now();
        let lease = self.patch(guard, json!({ "renewTime": time(self.now()) })).await?;
        lead.renewed(sent, lease.resource_version().unwrap_or_default());
        Ok(())
    }

    /// Stops leading and lets another replica follow at once; does nothing when this one does not lead.
    pub async fn resign(&self) {
        let current = self.current.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(lead) = current.filter(|lead| lead.holds()) else {
            return;
        };
        lead.end();
        let guard = lead.guard();
        let given_back = self.patch(&guard, json!({ "holderIdentity": null }));
        match timeout(RESIGN, given_back).await {
            Ok(Ok(_)) => tracing::info!("no longer leading"),
            Ok(Err(error)) => tracing::warn!(%error, lease = %self.key, "not given back; it ends by itself"),
            Err(_) => tracing::warn!(lease = %self.key, "not given back in time; it ends by itself"),
        }
    }

    fn first(&self) -> Lease {
        let now = self.now();
        Lease {
            metadata: ObjectMeta {
                namespace: self.key.namespace.clone(),
                name: Some(self.key.name.clone()),
                ..ObjectMeta::default()
            },
            spec: Some(LeaseSpec {
                holder_identity: Some(self.identity.clone()),
                lease_duration_seconds: i32::try_from(DURATION.as_secs()).ok(),
                lease_transitions: Some(0),
                acquire_time: Some(MicroTime(now)),
                renew_time: Some(MicroTime(now)),
                ..LeaseSpec::default()
            }),
        }
    }

    async fn patch(&self, guard: &Guard, spec: Value) -> Result<Lease, ApiError> {
        self.api.patch(&self.key, guard, json!({ "spec": spec })).await
    }

    fn now(&self) -> Timestamp {
        (self.clock)()
    }
}

fn at(term: u64) -> Timestamp {
    let term = i64::try_from(term).ok();
    term.and_then(|term| Timestamp::from_microsecond(term).ok())
        .unwrap_or(Timestamp::UNIX_EPOCH)
}

/// As the API server stores it.
fn time(at: Timestamp) -> Value {
    json!(MicroTime(at))
}
