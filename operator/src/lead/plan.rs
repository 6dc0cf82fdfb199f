//! What a replica that does not lead does about the Lease as it reads it. Pure.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;

use super::DURATION;

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    /// There is no Lease: make it.
    Create,
    /// Nobody holds it any more: take it, with this term at least.
    Take(u64),
    /// Somebody holds it.
    Wait,
}

/// `unchanged`: for how long, by its own clock, this replica has seen the Lease as it is. Times in the Lease are of
/// other clocks and are not compared with.
pub(super) fn decide(lease: Option<&Lease>, identity: &str, unchanged: Duration) -> Turn {
    let Some(lease) = lease else {
        return Turn::Create;
    };
    let spec = lease.spec.as_ref();
    let next = term_of(lease).map_or(0, |term| term + 1);
    let holder = holder_of(lease);
    let seconds = spec.and_then(|spec| spec.lease_duration_seconds);
    let lasts = seconds.map_or(DURATION, |seconds| {
        Duration::from_secs(seconds.max(0).unsigned_abs().into())
    });
    // Under this replica's own name it was held by a process that ended before this one began.
    if holder.is_empty() || holder == identity || unchanged >= lasts {
        Turn::Take(next)
    } else {
        Turn::Wait
    }
}

/// Who holds the Lease; empty: nobody.
pub(super) fn holder_of(lease: &Lease) -> &str {
    let spec = lease.spec.as_ref();
    spec.and_then(|spec| spec.holder_identity.as_deref())
        .unwrap_or_default()
}

/// When the Lease was taken, in microseconds since 1970.
pub(super) fn term_of(lease: &Lease) -> Option<u64> {
    let taken = lease.spec.as_ref()?.acquire_time.as_ref()?;
    u64::try_from(taken.0.as_microsecond()).ok()
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::coordination::v1::LeaseSpec;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
    use k8s_openapi::jiff::Timestamp;

    use super::*;

    fn lease(holder: Option<&str>) -> Lease {
        let taken = Timestamp::from_microsecond(1_767_225_600_000_007).unwrap();
        let spec = LeaseSpec {
            holder_identity: holder.map(str::to_owned),
            lease_duration_seconds: Some(20),
            acquire_time: Some(MicroTime(taken)),
            ..LeaseSpec::default()
        };
        Lease {
            spec: Some(spec),
            ..Lease::default()
        }
    }

    #[test]
    fn a_lease_is_taken_when_nobody_holds_it_any_more() {
        let take = Turn::Take(1_767_225_600_000_008);
        let (fresh, old) = (Duration::from_secs(19), Duration::from_secs(20));
        assert_eq!(decide(None, "a", fresh), Turn::Create);
        assert_eq!(decide(Some(&lease(None)), "a", fresh), take);
        assert_eq!(decide(Some(&lease(Some(""))), "a", fresh), take);
        assert_eq!(decide(Some(&lease(Some("a"))), "a", fresh), take);
        assert_eq!(decide(Some(&lease(Some("b"))), "a", fresh), Turn::Wait);
        assert_eq!(decide(Some(&lease(Some("b"))), "a", old), take);
        assert_eq!(decide(Some(&Lease::default()), "a", fresh), Turn::Take(0));
    }
}
