//! Everything a Remnant's plan looks at.

use std::sync::Arc;

use dotmesh_crds::remnant::RemnantKind;
use dotmesh_crds::{Branch, Dot, Pool, Remnant};
use dotmesh_csi_proto::node::PoolState;
use dotmesh_mutant::{Mutant, is_planted};
use k8s_openapi::jiff::Timestamp;

use crate::api::{Api, ApiError, Key, Kind};
use crate::context::Context;
use crate::meta::{is_deleting, uid};
use crate::nodes::Nodes;
use crate::pool::observe::is_left_on;
use crate::pool::{is_usable, pool_of, zpool_name};

/// Below this part of a pool, in percent, deleted data goes before its time.
const SHORT_PERCENT: u64 = 10;

/// A Dot or Branch that has to do with the data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Party {
    /// Where it is.
    pub key: Key,
    /// Its uid.
    pub uid: String,
    /// It is about to go.
    pub is_deleting: bool,
}

impl Party {
    fn of<K: Kind>(object: &K) -> Self {
        Self {
            key: Key::of(object),
            uid: uid(object).to_owned(),
            is_deleting: is_deleting(object),
        }
    }
}

/// What there is, and what was done in this pass.
#[derive(Debug, Clone)]
pub struct Observed {
    /// The Remnant.
    pub remnant: Remnant,
    /// The Remnant, and all that follows, is from consistent reads.
    pub is_fresh: bool,
    /// The Pool where the data lies.
    pub pool: Option<Arc<Pool>>,
    /// The object that has recorded the id.
    pub holder: Option<Party>,
    /// The object that the Remnant's status says takes it over, while it is there.
    pub taker: Option<Party>,
    /// Its pool is nearly full, and this is the next that goes early.
    pub is_to_go_early: bool,
    /// Seconds until one more may go early: what the last one frees takes its time.
    pub early_in: u64,
    /// Now.
    pub now: Timestamp,
    /// The node recorded the tombstone in this pass.
    pub is_tombstoned: bool,
    /// The Remnants of a Dot's Branches were asked to go in this pass.
    pub are_branches_ended: bool,
}

/// Whether a pool is so full that deleted data goes before its time. By what the pool itself says is in use: what new
/// data can use is 0 as well when it could not be read, and that must destroy nothing.
#[must_use]
pub fn is_short(pool: &PoolState) -> bool {
    let free = match is_planted(Mutant::WhatIsNotKnownIsNotFree) {
        true => pool.available_bytes,
        false => pool.size_bytes.saturating_sub(pool.allocated_bytes),
    };
    pool.compared && is_usable(pool) && pool.size_bytes > 0 && free < pool.size_bytes / 100 * SHORT_PERCENT
}

/// The Pool where the data lies.
pub fn pool_below<A: Api>(api: &A, remnant: &Remnant) -> Option<Arc<Pool>> {
    match &remnant.spec.pool {
        Some(name) => api.cached::<Pool>(&Key::cluster(name)),
        None => pool_of(api, &remnant.spec.node, &remnant.spec.pool_class),
    }
}

/// Of the Remnants on a Pool the one that goes first when space is short: the oldest that has an expiry.
pub fn first_to_go<A: Api>(api: &A, pool: &Pool) -> Option<Key> {
    let may_go = |remnant: &Remnant| {
        let is_taken = remnant.status.as_ref().is_some_and(|status| status.taken_by.is_some());
        is_left_on(remnant, pool) && remnant.spec.expires_at.is_some() && !is_taken
    };
    let all = api.cached_where(may_go);
    let age = |remnant: &&Arc<Remnant>| (remnant.spec.deleted_at.clone(), remnant.spec.id.clone());
    all.iter().min_by_key(age).map(|remnant| Key::of(&**remnant))
}

/// Reads it, from caches.
pub fn observe<A: Api, N: Nodes>(context: &Context<A, N>, remnant: Remnant) -> Observed {
    let api = &context.api;
    let id = &remnant.spec.id;
    let holder = match remnant.spec.kind {
        RemnantKind::Dot => {
            let has_id = |dot: &Dot| dot.status.as_ref().and_then(|status| status.id.as_ref()) == Some(id);
            api.cached_where(has_id).first().map(|dot| Party::of(&**dot))
        }
        RemnantKind::Branch => {
            let has_id = |branch: &Branch| branch.status.as_ref().and_then(|status| status.id.as_ref()) == Some(id);
            api.cached_where(has_id).first().map(|branch| Party::of(&**branch))
        }
    };
    let taker = taker_key(&remnant).and_then(|(key, uid)| {
        let found = match remnant.spec.kind {
            RemnantKind::Dot => api.cached::<Dot>(&key).map(|dot| Party::of(&*dot)),
            RemnantKind::Branch => api.cached::<Branch>(&key).map(|branch| Party::of(&*branch)),
        };
        found.filter(|party| party.uid == uid)
    });
    let pool = pool_below(api, &remnant);
    let is_to_go_early = |pool: &Pool| {
        let state = context.memory.pool(&pool.spec.node_name, &zpool_name(&pool.spec));
        state.is_some_and(|state| is_short(&state)) && first_to_go(api, pool) == Some(Key::of(&remnant))
    };
    Observed {
        is_to_go_early: pool.as_deref().is_some_and(is_to_go_early),
        early_in: pool
            .as_deref()
            .map_or(0, |pool| context.memory.early_in(pool, context.now())),
        now: context.now(),
        pool,
        remnant,
        holder,
        taker,
        is_fresh: false,
        is_tombstoned: false,
        are_branches_ended: false,
    }
}

fn taker_key(remnant: &Remnant) -> Option<(Key, String)> {
    let taker = remnant.status.as_ref()?.taken_by.as_ref()?;
    Some((Key::namespaced(&taker.namespace, &taker.name), taker.uid.clone()))
}

/// The Remnant as it is now, and who has to do with it, by consistent reads. The taker first: one that is about to go
/// before it has recorded the id never does, and one that recorded it before that is found by its id.
///
/// # Errors
/// Those of the API.
pub async fn observe_owners<A: Api>(api: &A, seen: &mut Observed, found: Remnant) -> Result<(), ApiError> {
    seen.taker = match taker_key(&found) {
        None => None,
        Some((key, taker)) => {
            let party = match found.spec.kind {
                RemnantKind::Dot => api.get::<Dot>(&key).await?.as_ref().map(Party::of),
                RemnantKind::Branch => api.get::<Branch>(&key).await?.as_ref().map(Party::of),
            };
            party.filter(|party| party.uid == taker)
        }
    };
    let mut holders = holders(api, found.spec.kind, &found.spec.id).await?;
    seen.holder = holders.drain(..).next();
    seen.remnant = found;
    seen.is_fresh = true;
    Ok(())
}

/// The objects of a kind that have recorded an id: one, or none.
///
/// # Errors
/// Those of the API.
pub async fn holders<A: Api>(api: &A, kind: RemnantKind, id: &str) -> Result<Vec<Party>, ApiError> {
    async fn of_kind<A: Api, K: Kind>(api: &A, id: &str) -> Result<Vec<Party>, ApiError> {
        let found: Vec<K> = api.list(None, Some(&format!("status.id={id}"))).await?;
        Ok(found.iter().map(Party::of).collect())
    }
    match kind {
        RemnantKind::Dot => of_kind::<_, Dot>(api, id).await,
        RemnantKind::Branch => of_kind::<_, Branch>(api, id).await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_pool_that_is_known_to_be_full_is_short_of_space() {
        let pool = |allocated_bytes, health: &str| PoolState {
            size_bytes: 1000 << 20,
            allocated_bytes,
            compared: true,
            health: health.to_owned(),
            ..PoolState::default()
        };
        assert!(is_short(&pool(901 << 20, "ONLINE")));
        assert!(!is_short(&pool(899 << 20, "ONLINE")));
        assert!(is_short(&pool(901 << 20, "DEGRADED")));
        for unknown in [
            PoolState::default(),
            pool(0, "ONLINE"),
            pool(901 << 20, "UNAVAIL"),
            PoolState {
                compared: false,
                ..pool(901 << 20, "ONLINE")
            },
        ] {
            assert!(!is_short(&unknown), "{unknown:?}");
        }
    }
}
