//! Calls about one object are obeyed in the order in which they were sent: one that was held up on its way arrives after
//! others and is refused, because what it asks for may have been taken back since. A late call that makes an object
//! would make it anew when it has been deleted; a late attachment would outlive its claim.
//!
//! Memory is enough. A call can only be on its way to the process that was there when it was sent; the next one has
//! other connections.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use dotmesh_csi_proto::{CALL, TERM};
use dotmesh_mutant::{Mutant, is_planted};
use tokio::time::Instant;
use tonic::{Request, Status};
use uuid::Uuid;

use super::status::superseded;

/// How long an object is remembered after a call about it: far longer than any call waits for its answer.
const KEPT: Duration = Duration::from_secs(3600);

/// When a call was sent, by its sender's count: terms first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Sent {
    /// Its sender's time of leading.
    pub term: u64,
    /// Its number in that.
    pub call: u64,
}

impl Sent {
    /// What the call says; absent for callers that do not count, such as those of a socket without an operator.
    #[must_use]
    pub fn of<T>(request: &Request<T>) -> Option<Self> {
        let number = |key| request.metadata().get(key)?.to_str().ok()?.parse().ok();
        Some(Self {
            term: number(TERM)?,
            call: number(CALL)?,
        })
    }
}

#[derive(Debug, Default)]
struct Seen {
    newest: BTreeMap<Uuid, (Sent, Instant)>,
    /// The same objects by the time of a call, oldest first; one that was called about again stands here again.
    arrivals: VecDeque<(Instant, Uuid)>,
}

/// The newest call about each object; shared by cloning.
#[derive(Debug, Clone, Default)]
pub struct Order(Arc<Mutex<Seen>>);

impl Order {
    /// Lets a call about this object pass.
    ///
    /// # Errors
    /// One that was sent later has passed already.
    pub fn admit(&self, sent: Option<Sent>, about: Uuid) -> Result<(), Status> {
        let Some(sent) = sent else { return Ok(()) };
        let now = Instant::now();
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some(&(at, id)) = seen.arrivals.front()
            && now.duration_since(at) > KEPT
        {
            seen.arrivals.pop_front();
            if seen.newest.get(&id).is_some_and(|(_, last)| *last == at) {
                seen.newest.remove(&id);
            }
        }
        let is_late = seen.newest.get(&about).is_some_and(|(newest, _)| sent < *newest);
        if is_late && !is_planted(Mutant::LateCallsAreObeyed) {
            return Err(superseded(format!("a later call about {about} came before this one")));
        }
        seen.newest.insert(about, (sent, now));
        seen.arrivals.push_back((now, about));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_call_that_others_overtook_is_refused_for_an_hour() {
        let order = Order::default();
        let (one, other) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let sent = |term, call| Some(Sent { term, call });
        order.admit(sent(5, 2), one).unwrap();
        order.admit(sent(5, 2), one).unwrap();
        order.admit(sent(5, 1), other).unwrap();
        order.admit(None, one).unwrap();
        assert!(order.admit(sent(5, 1), one).is_err());
        order.admit(sent(6, 0), one).unwrap();
        assert!(order.admit(sent(5, 9), one).is_err());
        tokio::time::advance(KEPT + Duration::from_secs(1)).await;
        order.admit(sent(5, 9), one).unwrap();
        let seen = order.0.lock().unwrap();
        assert_eq!((seen.newest.len(), seen.arrivals.len()), (1, 1));
    }
}
