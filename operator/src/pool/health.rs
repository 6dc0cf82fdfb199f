//! What ails a pool: a condition of the Pool while it does, and an event on the Pool and on each Dot that lies there when
//! it begins and when it is over.

use std::collections::BTreeMap;

use dotmesh_crds::condition::{Condition, Reason};
use dotmesh_crds::{Dot, Pool, PoolStatus};
use dotmesh_model::size::parse_quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;

use super::observe::lies_on;
use super::room::FREE_PART;
use crate::api::{Api, Event, EventType};
use crate::status::publish;

const ACTION: &str = "Pool";

/// Space is low until this part of the pool is free again: a little more than where that begins.
const ENOUGH_PART: u64 = FREE_PART * 4 / 5;

/// Something that data in a pool suffers from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Ailment {
    /// It works on with less redundancy than it had, or with errors.
    Degraded,
    /// It does not answer.
    Suspended,
    /// Little is free.
    LowSpace,
}

impl Ailment {
    const ALL: [Self; 3] = [Self::Degraded, Self::Suspended, Self::LowSpace];

    /// The type of its condition.
    fn type_(self) -> &'static str {
        match self {
            Self::Degraded => "Degraded",
            Self::Suspended => "Suspended",
            Self::LowSpace => "LowSpace",
        }
    }

    fn reason(self) -> Reason {
        match self {
            Self::Degraded => Reason::PoolDegraded,
            Self::Suspended => Reason::PoolUnavailable,
            Self::LowSpace => Reason::LowSpace,
        }
    }

    fn message(self, status: &PoolStatus) -> String {
        match self {
            Self::Degraded => {
                "a device of the pool is away or has errors: `zpool status` on its node says which".to_owned()
            }
            Self::Suspended => format!(
                "ZFS says {}: pods that write there wait, and nothing is lost that was on disk",
                status.health.as_deref().unwrap_or_default()
            ),
            Self::LowSpace => {
                "less than a twentieth of the pool is free: no volume grows, and deleted data goes before \
                               its time; enlarge the pool, or delete what nobody needs"
                    .to_owned()
            }
        }
    }

    /// Whether it is there; absent: that is not known. What is low stays so for a while.
    fn is_there(self, status: &PoolStatus, was: bool) -> Option<bool> {
        let health = status.health.as_deref();
        match self {
            Self::Degraded => health.map(|health| health == "DEGRADED"),
            Self::Suspended => health.map(|health| !matches!(health, "ONLINE" | "DEGRADED")),
            Self::LowSpace => {
                let bytes = |quantity: &Option<String>| parse_quantity(quantity.as_deref()?).ok();
                let (size, available) = (bytes(&status.size)?, bytes(&status.available)?);
                let part = if was { ENOUGH_PART } else { FREE_PART };
                Some(available < size / part)
            }
        }
    }
}

fn find(conditions: &[Condition], ailment: Ailment) -> Option<&Condition> {
    conditions.iter().find(|condition| condition.type_ == ailment.type_())
}

/// The conditions of what ails a pool that was as `before` and is as `now`.
pub fn conditions(before: &[Condition], now: &PoolStatus, generation: Option<i64>, time: Timestamp) -> Vec<Condition> {
    let one = |ailment: Ailment| {
        let was = find(before, ailment);
        match ailment.is_there(now, was.is_some()) {
            None => was.cloned(),
            Some(false) => None,
            Some(true) => Some(Condition {
                type_: ailment.type_().to_owned(),
                status: "True".to_owned(),
                reason: ailment.reason().as_str().to_owned(),
                message: ailment.message(now),
                observed_generation: generation,
                last_transition_time: was.map_or(Time(time), |was| was.last_transition_time.clone()),
            }),
        }
    };
    Ailment::ALL.into_iter().filter_map(one).collect()
}

/// What has begun, and what is over.
fn changes(before: &[Condition], after: &[Condition]) -> BTreeMap<Ailment, bool> {
    let all = Ailment::ALL.into_iter();
    let changed = all.map(|ailment| {
        let (was, is) = (find(before, ailment).is_some(), find(after, ailment).is_some());
        (ailment, (was != is).then_some(is))
    });
    changed.filter_map(|(ailment, is)| Some((ailment, is?))).collect()
}

fn event(ailment: Ailment, begins: bool, status: &PoolStatus, whose: &str) -> Event {
    let message = match begins {
        true => format!("{whose}{}", ailment.message(status)),
        false => format!("{whose}{} no more", ailment.type_()),
    };
    Event {
        event_type: if begins { EventType::Warning } else { EventType::Normal },
        reason: ailment.reason().as_str(),
        action: ACTION,
        message,
    }
}

/// Tells what has begun and what is over: on the Pool, and on each Dot that lies there and has claims, whose owners know
/// nothing of Pools.
pub async fn tell<A: Api>(api: &A, pool: &Pool, before: &PoolStatus, after: &PoolStatus) {
    let changed = changes(&before.conditions, &after.conditions);
    if changed.is_empty() {
        return;
    }
    let has_claims = |dot: &Dot| dot.status.as_ref().is_some_and(|status| !status.claims.is_empty());
    let dots = api.cached_where::<Dot>(|dot| lies_on(dot, pool, true) && has_claims(dot));
    let whose = format!("Pool {:?}, where the data lies: ", pool.name_any());
    for (ailment, begins) in changed {
        publish(api, pool, event(ailment, begins, after, "")).await;
        for dot in &dots {
            publish(api, &**dot, event(ailment, begins, after, &whose)).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(health: &str, available: &str) -> PoolStatus {
        PoolStatus {
            health: Some(health.to_owned()).filter(|health| !health.is_empty()),
            size: Some("20Gi".to_owned()).filter(|_| !available.is_empty()),
            available: Some(available.to_owned()).filter(|available| !available.is_empty()),
            ..PoolStatus::default()
        }
    }

    fn types(conditions: &[Condition]) -> Vec<&str> {
        conditions.iter().map(|condition| condition.type_.as_str()).collect()
    }

    #[test]
    fn what_ails_a_pool_is_a_condition_while_it_does() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let first = conditions(&[], &status("DEGRADED", "10Gi"), Some(1), at(1));
        assert_eq!(types(&first), ["Degraded"]);
        let later = conditions(&first, &status("DEGRADED", "512Mi"), Some(1), at(2));
        assert_eq!(types(&later), ["Degraded", "LowSpace"]);
        assert_eq!(later[0].last_transition_time, Time(at(1)), "since then");
        let gone = conditions(&later, &status("SUSPENDED", ""), Some(1), at(3));
        assert_eq!(
            types(&gone),
            ["Suspended", "LowSpace"],
            "how much is free nobody knows now"
        );
        assert!(gone[0].message.contains("SUSPENDED"));
        assert_eq!(
            types(&conditions(&gone, &status("ONLINE", "10Gi"), Some(1), at(4))),
            [""; 0]
        );
        let unknown = conditions(&later, &status("", ""), Some(1), at(5));
        assert_eq!(unknown, later, "nothing is concluded from silence");
    }

    #[test]
    fn space_that_was_low_is_so_until_there_is_a_little_more() {
        let now = Timestamp::UNIX_EPOCH;
        let at = |before: &[Condition], available| conditions(before, &status("ONLINE", available), Some(1), now);
        assert_eq!(types(&at(&[], "1100Mi")), [""; 0]);
        let low = at(&[], "1000Mi");
        assert_eq!(types(&low), ["LowSpace"]);
        assert_eq!(types(&at(&low, "1100Mi")), ["LowSpace"], "it does not waver");
        assert_eq!(types(&at(&low, "1300Mi")), [""; 0]);
    }

    #[test]
    fn only_changes_are_told() {
        let now = Timestamp::UNIX_EPOCH;
        let ill = conditions(&[], &status("DEGRADED", "10Gi"), Some(1), now);
        assert_eq!(changes(&ill, &ill), BTreeMap::new());
        assert_eq!(changes(&[], &ill), [(Ailment::Degraded, true)].into());
        assert_eq!(changes(&ill, &[]), [(Ailment::Degraded, false)].into());
        let over = event(Ailment::Degraded, false, &status("ONLINE", "10Gi"), "");
        assert_eq!(
            (over.event_type, over.message.as_str()),
            (EventType::Normal, "Degraded no more")
        );
    }
}
