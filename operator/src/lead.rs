//! Which replica's controllers act: the holder of a Lease (`coordination.k8s.io/v1`), by the rules of client-go's leader
//! election. Caches, façade and enrolment run in every replica; controllers only in the one that leads.
//!
//! A leader that was held up (stopped, cut off) may still have an effect under way when another one leads. Three
//! things make that harmless: it stops before others may follow, and others wait by their own clocks; each of its calls
//! carries its [`Lead::term`], and a node that has heard of a later one refuses it; and what it writes to the API is
//! guarded by resourceVersions, as every write is.

mod election;
mod plan;

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::api::Guard;

pub use election::{Election, RENEW_EVERY, RETRY};

/// Name of the Lease, in the installation's namespace.
pub const LEASE: &str = "dotmesh-operator";
/// How long a Lease that is not renewed keeps others away (`leaseDurationSeconds`).
pub const DURATION: Duration = Duration::from_secs(15);
/// How long after its last renewal a leader goes on. What is under way then has the rest of [`DURATION`] to end.
pub const HOLD: Duration = Duration::from_secs(10);

/// One time of leading.
#[derive(Debug)]
pub struct Lead {
    term: u64,
    held: Mutex<Held>,
}

#[derive(Debug)]
struct Held {
    until: Option<Instant>,
    version: String,
}

impl Lead {
    fn new(term: u64, until: Instant, version: String) -> Self {
        let until = Some(until);
        Self {
            term,
            held: Mutex::new(Held { until, version }),
        }
    }

    /// That of somebody who never has a rival: for tests of one controller.
    #[must_use]
    pub fn unrivalled() -> Self {
        let never = Instant::now() + Duration::from_secs(100 * 365 * 24 * 3600);
        Self::new(0, never, String::new())
    }

    /// Microseconds since 1970 when it began; each is later than all before it of the same Lease.
    #[must_use]
    pub fn term(&self) -> u64 {
        self.term
    }

    /// Whether nobody else can lead yet.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.held().until.is_some_and(|until| Instant::now() < until)
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Until when, if it has not ended already.
    fn until(&self) -> Option<Instant> {
        self.held().until
    }

    /// The Lease is still as this replica knows it.
    fn guard(&self) -> Guard {
        Guard {
            uid: None,
            resource_version: Some(self.held().version.clone()),
        }
    }

    /// The Lease has this version now, written by a request that was sent at `sent`.
    fn renewed(&self, sent: Instant, version: String) {
        let mut held = self.held();
        held.version = version;
        if held.until.is_some() {
            held.until = Some(sent + HOLD);
        }
    }

    fn end(&self) {
        self.held().until = None;
    }
}
