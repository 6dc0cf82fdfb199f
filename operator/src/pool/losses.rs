//! Data that something else than Dotmesh destroyed, and data without objects: each node that is followed is asked now and
//! then, pool by pool, for what was recorded there, and objects whose data is not there, or is there again, are looked at.
//!
//! What is asked for was recorded before the node looks, so that nothing is missing because it is only being made. It
//! comes from caches: that an object is not about to go with its data is looked at before its loss is told.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use dotmesh_crds::{Branch, Commit, Condition, Dot, Pool};
use dotmesh_csi_proto::node::{FindMissingRequest, PoolState, Recorded, RecordedVolume};
use dotmesh_mutant::{Mutant, is_planted};
use kube::ResourceExt;
use tokio::time::Instant;

use crate::api::{Api, Key};
use crate::commit::validate::is_taken;
use crate::context::Context;
use crate::loss::{Data, told};
use crate::meta::{is_deleting, owner_dot, uid};
use crate::nodes::{NodeError, Nodes};
use crate::pool::observe::lies_on;
use crate::pool::suspects;
use crate::pool::{guid_of, is_usable, zpool_name};
use crate::wake::Wake;

/// How often a node is asked. It looks at its whole pool, some ten microseconds for each snapshot.
const PERIOD: Duration = Duration::from_secs(300);
/// After the first look, which may have come while what an earlier leader had begun was under way.
const SECOND: Duration = Duration::from_secs(30);
/// How much longer than the last look, at least: a thousandth of a core is spent on looking.
const REST: u32 = 1000;
/// After a look that failed.
const RETRY: Duration = Duration::from_secs(60);
/// How often it is seen whether it is time, and whether the pool can be looked at.
const TICK: Duration = Duration::from_secs(10);

/// Names in one question: few enough for a message of gRPC (4 MiB).
const NAMES_MAX: usize = 20_000;

/// Asks again and again, for ever: at once, after each import of the pool, and every few minutes.
pub async fn keep_looking<A: Api, N: Nodes>(context: &Context<A, N>, node: &str, send: &impl Fn(Wake)) {
    // By Pool. Those that cannot be looked at now are due as soon as they can.
    let mut due: BTreeMap<String, Instant> = BTreeMap::new();
    let mut looked: BTreeSet<String> = BTreeSet::new();
    loop {
        let mut pools = context.api.cached_where::<Pool>(|pool| pool.spec.node_name == node);
        pools.retain(|pool| {
            let state = context.memory.pool(node, &zpool_name(&pool.spec));
            state.is_some_and(|state| can_be_looked_at(&state))
        });
        let is_there = |name: &String| pools.iter().any(|pool| pool.name_any() == *name);
        due.retain(|name, _| is_there(name));
        looked.retain(is_there);
        let now = Instant::now();
        pools.retain(|pool| due.get(&pool.name_any()).is_none_or(|due| *due <= now));
        // All at once: one that does not answer keeps none of the others waiting for their first look.
        let looks = pools.iter().map(|pool| async {
            let wait = match look(context, pool).await {
                Ok(wake) => {
                    send(wake);
                    let period = match looked.contains(&pool.name_any()) {
                        true => PERIOD,
                        false => SECOND,
                    };
                    Ok(period.max(now.elapsed() * REST))
                }
                Err(error) => {
                    tracing::info!(%error, "not looked whether all data is there");
                    Err(RETRY)
                }
            };
            (pool.name_any(), wait)
        });
        for (name, wait) in futures::future::join_all(looks).await {
            due.insert(name.clone(), Instant::now() + wait.unwrap_or_else(|retry| retry));
            if wait.is_ok() {
                looked.insert(name);
            }
        }
        tokio::time::sleep(TICK).await;
    }
}

fn can_be_looked_at(pool: &PoolState) -> bool {
    pool.compared && is_usable(pool)
}

/// One look at a Pool. Returns whom it concerns: what is missing, what was told to be, and what has no object.
///
/// # Errors
/// The node's; then nothing is known that was not known before.
pub async fn look<A: Api, N: Nodes>(context: &Context<A, N>, pool: &Pool) -> Result<Wake, NodeError> {
    let Some(pool_guid) = guid_of(pool).and_then(|guid| guid.parse().ok()) else {
        return Ok(Wake::default());
    };
    let node = &pool.spec.node_name;
    let all = recorded_on(&context.api, pool);
    let (mut known, mut dots) = (BTreeMap::new(), Vec::new());
    for part in parts(&all) {
        let request = FindMissingRequest {
            recorded: part.iter().map(|asked| asked.recorded.clone()).collect(),
            pool_guid,
        };
        let answer = context.nodes.find_missing(node, request).await?;
        dots = answer.dots;
        let told = part.iter().filter(|asked| asked.is_told);
        known.extend(told.map(|asked| (asked.id.clone(), Data::Found)));
        for missing in answer.missing {
            if let Some(asked) = usize::try_from(missing.index).ok().and_then(|index| part.get(index))
                && !is_planted(Mutant::ALossIsNotTold)
            {
                known.insert(asked.id.clone(), Data::Missing(missing.volume_ids));
            }
        }
    }
    let mut wake = Wake::default();
    for asked in all.into_iter().filter(|asked| known.contains_key(&asked.id)) {
        let of_kind = match asked.kind {
            Kind::Dot => &mut wake.dots,
            Kind::Branch => &mut wake.branches,
            Kind::Commit => &mut wake.commits,
        };
        of_kind.push(asked.key);
    }
    context.memory.set_data(pool, known);
    let suspects = suspects::find(&context.api, pool, &dots);
    if !suspects.unknown.is_empty() {
        wake.pools.push(Key::of(pool));
    }
    let is_suspect = |dot: &Dot| made_dot(dot).is_some_and(|id| suspects.incomplete.contains(id));
    let incomplete = context.api.cached_where::<Dot>(is_suspect);
    wake.dots.extend(incomplete.iter().map(|dot| Key::of(&**dot)));
    context.memory.set_suspects(pool, suspects);
    Ok(wake)
}

enum Kind {
    Dot,
    Branch,
    Commit,
}

/// An object, and what of it must be in the pool.
struct Asked {
    kind: Kind,
    key: Key,
    /// By which it is known what was found: the Dot's, the head's or the commit's.
    id: String,
    /// It says already that it is lost.
    is_told: bool,
    recorded: Recorded,
}

impl Asked {
    /// How many names it is looked for by.
    fn names(&self) -> usize {
        1 + self.recorded.volumes.len()
    }
}

/// As few questions as possible, none of them too long.
fn parts(all: &[Asked]) -> Vec<&[Asked]> {
    let (mut parts, mut begin, mut names) = (Vec::new(), 0, 0);
    for (index, asked) in all.iter().enumerate() {
        if names + asked.names() > NAMES_MAX && index > begin {
            parts.push(&all[begin..index]);
            (begin, names) = (index, 0);
        }
        names += asked.names();
    }
    // What nothing is recorded of is looked for as well.
    if begin < all.len() || all.is_empty() {
        parts.push(&all[begin..]);
    }
    parts
}

/// What was made on a Pool and not asked to go, by the objects' statuses.
fn recorded_on<A: Api>(api: &A, pool: &Pool) -> Vec<Asked> {
    let dots = api.cached_where::<Dot>(|dot| lies_on(dot, pool, false) && !is_deleting(dot));
    // By uid, as objects name their owner: the id on disk.
    let ids: BTreeMap<&str, &str> = dots
        .iter()
        .filter_map(|dot| Some((uid(&**dot), made_dot(dot)?)))
        .collect();
    let mut all: Vec<Asked> = dots.iter().filter_map(|dot| ask_dot(dot)).collect();
    let branches = api.cached_where::<Branch>(|branch| !is_deleting(branch));
    all.extend(branches.iter().filter_map(|branch| {
        let dot = ids.get(owner_dot(&**branch)?)?;
        ask_branch(branch, dot)
    }));
    let commits = api.cached_where::<Commit>(|commit| !is_deleting(commit));
    all.extend(commits.iter().filter_map(|commit| {
        let dot = ids.get(owner_dot(&**commit)?)?;
        ask_commit(commit, dot)
    }));
    all
}

/// The id of a Dot whose dataset was made.
fn made_dot(dot: &Dot) -> Option<&str> {
    let status = dot.status.as_ref()?;
    status.pool.as_ref()?;
    status.id.as_deref()
}

fn ask_dot(dot: &Dot) -> Option<Asked> {
    let id = made_dot(dot)?.to_owned();
    Some(Asked {
        kind: Kind::Dot,
        key: Key::of(dot),
        is_told: is_told(dot.status.as_ref().map(|status| &status.conditions)),
        recorded: Recorded {
            dot_id: id.clone(),
            ..Recorded::default()
        },
        id,
    })
}

fn ask_branch(branch: &Branch, dot: &str) -> Option<Asked> {
    let status = branch.status.as_ref()?;
    let volumes = status.volumes.iter().map(|volume| (&volume.id, &volume.guid));
    let volumes = recorded_volumes(volumes)?;
    let head = status.head.clone().filter(|_| !volumes.is_empty())?;
    Some(Asked {
        kind: Kind::Branch,
        key: Key::of(branch),
        is_told: is_told(Some(&status.conditions)),
        recorded: Recorded {
            dot_id: dot.to_owned(),
            head_id: head.clone(),
            commit_id: String::new(),
            volumes,
        },
        id: head,
    })
}

fn ask_commit(commit: &Commit, dot: &str) -> Option<Asked> {
    let status = commit.status.as_ref().filter(|status| is_taken(status))?;
    let id = status.id.clone()?;
    let volumes = status.volumes.iter().map(|volume| (&volume.id, &volume.guid));
    Some(Asked {
        kind: Kind::Commit,
        key: Key::of(commit),
        is_told: is_told(Some(&status.conditions)),
        recorded: Recorded {
            dot_id: dot.to_owned(),
            head_id: status.head.clone()?,
            commit_id: id.clone(),
            volumes: recorded_volumes(volumes)?,
        },
        id,
    })
}

fn is_told(conditions: Option<&Vec<Condition>>) -> bool {
    conditions.is_some_and(|conditions| told(conditions).is_some())
}

/// Nothing when a GUID cannot be read: that is no loss.
fn recorded_volumes<'a>(volumes: impl Iterator<Item = (&'a String, &'a String)>) -> Option<Vec<RecordedVolume>> {
    let one = |(id, guid): (&String, &String)| {
        let guid = guid.parse().ok()?;
        Some(RecordedVolume { id: id.clone(), guid })
    };
    volumes.map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_is_never_longer_than_a_message_may_be() {
        let asked = |volumes: usize| Asked {
            kind: Kind::Commit,
            key: Key::cluster("c"),
            id: String::new(),
            is_told: false,
            recorded: Recorded {
                volumes: vec![RecordedVolume::default(); volumes],
                ..Recorded::default()
            },
        };
        let all: Vec<Asked> = (0..10_000)
            .map(|_| asked(2))
            .chain([asked(NAMES_MAX + 5), asked(1)])
            .collect();
        let parts = parts(&all);
        let names = |part: &[Asked]| part.iter().map(Asked::names).sum::<usize>();
        assert_eq!(
            parts.iter().map(|part| part.len()).collect::<Vec<_>>(),
            [6666, 3334, 1, 1]
        );
        assert!(parts.iter().all(|part| names(part) <= NAMES_MAX || part.len() == 1));
        assert_eq!(super::parts(&[]).len(), 1);
        // The longest that the ids of so many names can be.
        let id = "0c5a6f6e-1111-4222-8333-444455556666".to_owned();
        let volume = RecordedVolume {
            id: id.clone(),
            guid: u64::MAX,
        };
        let commit = Recorded {
            dot_id: id.clone(),
            head_id: id.clone(),
            commit_id: id,
            volumes: vec![volume; 1],
        };
        let request = FindMissingRequest {
            recorded: vec![commit; NAMES_MAX / 2],
            pool_guid: u64::MAX,
        };
        assert!(prost::Message::encoded_len(&request) < 4 << 20);
    }
}
