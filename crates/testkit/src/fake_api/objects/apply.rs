//! Server-side apply of a status, by force: merging what is applied into what is there, and taking out what its
//! manager applied before and nobody applies now. After `structured-merge-diff`.

use std::collections::{BTreeMap, BTreeSet};

use dotmesh_crds::names::{MANAGER, MANAGER_CLAIMS};
use serde_json::{Map, Value, json};

use super::fields::{Fields, Step, parts};
use super::structure::{List, Structure};

/// What each manager applied last to one object.
pub(crate) type Managers = BTreeMap<String, Fields>;

/// The managers of a status that was not applied: as if the operator's had.
pub(crate) fn managers_of(structure: &Structure, status: &Value) -> Managers {
    let mut rest = status.clone();
    let claims = rest.as_object_mut().and_then(|fields| fields.remove("claims"));
    let claims = claims.map(|claims| json!({ "claims": claims }));
    let managers = [(MANAGER, Some(rest)), (MANAGER_CLAIMS, claims)];
    managers
        .into_iter()
        .filter_map(|(manager, status)| Some((manager.to_owned(), Fields::of(structure, &status?))))
        .collect()
}

/// The status after `manager` applied `config`; notes what is owned by whom from then on.
pub(crate) fn apply(
    structure: &Structure,
    managers: &mut Managers,
    manager: &str,
    live: &Value,
    config: &Value,
) -> Value {
    let merged = merge(structure, live, config);
    let fields = Fields::of(structure, config);
    for (_, others) in managers.iter_mut().filter(|(name, _)| *name != manager) {
        others.forget_changed(structure, live, &merged);
    }
    let takes_back = managers.get(manager).is_some_and(|last| !last.are_within(&fields));
    let last = managers.insert(manager.to_owned(), fields).unwrap_or_default();
    if !takes_back {
        return merged;
    }
    let mut owned = Fields::default();
    managers.values().for_each(|fields| owned.extend(fields));
    remove(structure, merged, &last, &owned)
}

/// Maps and lists with keys are merged, anything else is taken as applied.
fn merge(structure: &Structure, live: &Value, config: &Value) -> Value {
    match (live, config) {
        (Value::Object(live), Value::Object(config)) => {
            let stays = live.iter().filter(|(name, _)| !config.contains_key(*name));
            let stays = stays.map(|(name, value)| (name.clone(), value.clone()));
            let applied = config.iter().map(|(name, value)| {
                let value = merge(structure.at(name), live.get(name).unwrap_or(&Value::Null), value);
                (name.clone(), value)
            });
            Value::Object(stays.chain(applied).collect())
        }
        (Value::Array(live), Value::Array(config)) if structure.list != List::Atomic => {
            Value::Array(merge_items(structure, live, config))
        }
        _ => config.clone(),
    }
}

/// Items keep the order of what is applied; those that are only there stay behind their predecessors.
fn merge_items(structure: &Structure, live: &[Value], config: &[Value]) -> Vec<Value> {
    let name = |item: &Value| structure.name_of_item(item).unwrap_or_default();
    let names = |items: &[Value]| items.iter().map(name).collect::<Vec<_>>();
    let (of_live, of_config) = (names(live), names(config));
    let merged = |at: usize| {
        let there = of_live.iter().position(|name| *name == of_config[at]);
        let there = there.map_or(&Value::Null, |there| &live[there]);
        merge(structure.items(), there, &config[at])
    };
    let mut shared = of_config.iter().filter(|name| of_live.contains(name));
    let mut next_shared = shared.next();
    let mut done = BTreeSet::new();
    let mut result = Vec::new();
    let (mut l, mut c) = (0, 0);
    while l < live.len() || c < config.len() {
        if l < live.len() && c < config.len() {
            if of_live[l] == of_config[c] {
                done.insert(&of_live[l]);
                result.push(merged(c));
                (l, c) = (l + 1, c + 1);
                next_shared = shared.next();
                continue;
            }
            if of_config.contains(&of_live[l]) && next_shared.is_some_and(|next| *next != of_live[l]) {
                l += 1;
                continue;
            }
        }
        if l < live.len() {
            if !of_config.contains(&of_live[l]) {
                result.push(live[l].clone());
                l += 1;
                continue;
            }
            if done.contains(&of_live[l]) {
                l += 1;
            }
        }
        if c < config.len() {
            done.insert(&of_config[c]);
            result.push(merged(c));
            if next_shared == Some(&of_config[c]) {
                next_shared = shared.next();
            }
            c += 1;
        }
    }
    result
}

/// Takes out what is in `last` and not in `owned`.
fn remove(structure: &Structure, value: Value, last: &Fields, owned: &Fields) -> Value {
    let Some(parts) = parts(structure, &value) else {
        return value;
    };
    let kept = parts.into_iter().filter_map(|(step, structure, part)| {
        let part = match (last.at(&step), owned.at(&step)) {
            (Some(_), None) => return None,
            (Some(last), Some(owned)) => remove(structure, part.clone(), last, owned),
            (None, _) => part.clone(),
        };
        Some((step, part))
    });
    if value.is_array() {
        return kept.map(|(_, item)| item).collect();
    }
    let fields = kept.filter_map(|(step, field)| match step {
        Step::Field(name) => Some((name, field)),
        Step::Item(_) => None,
    });
    Value::Object(fields.collect::<Map<_, _>>())
}
