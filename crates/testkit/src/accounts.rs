//! What objects say must be in the pool, for [`dotmesh_model::bijection`].

use std::collections::BTreeMap;

use dotmesh_crds::{Branch, Commit, Condition, Dot, Remnant};
use dotmesh_model::bijection::Expected;
use dotmesh_operator::loss::told;
use dotmesh_operator::status::is_ready;

fn ready(conditions: Option<&Vec<Condition>>) -> bool {
    conditions.is_some_and(|conditions| is_ready(conditions))
}

/// What these objects account for; those that are not Ready, and Dots that are lost, account for nothing.
pub fn expected(dots: &[Dot], branches: &[Branch], commits: &[Commit], remnants: &[Remnant]) -> Expected {
    let mut expected = Expected::default();
    for remnant in remnants {
        let volumes = remnant.spec.volumes.iter().map(|volume| volume.id.as_str());
        match &remnant.spec.branch {
            None => expected.add_remnant(&remnant.spec.id),
            Some(branch) => expected.add_head(&remnant.spec.dot, &branch.head, volumes),
        }
    }
    let mut ids: BTreeMap<(Option<&str>, &str), &str> = BTreeMap::new();
    for dot in dots {
        let Some(status) = &dot.status else { continue };
        let placed = status.pool.is_some() && !status.volumes.is_empty() && told(&status.conditions).is_none();
        if let (Some(name), Some(id)) = (dot.metadata.name.as_deref(), status.id.as_deref().filter(|_| placed)) {
            ids.insert((dot.metadata.namespace.as_deref(), name), id);
            expected.add_dot(id);
        }
    }
    for branch in branches {
        let place = (branch.metadata.namespace.as_deref(), branch.spec.dot.as_str());
        let (Some(status), Some(dot)) = (&branch.status, ids.get(&place)) else {
            continue;
        };
        if let Some(head) = status.head.as_ref().filter(|_| ready(Some(&status.conditions))) {
            expected.add_head(dot, head, status.volumes.iter().map(|volume| volume.id.as_str()));
        }
    }
    for commit in commits {
        let place = (commit.metadata.namespace.as_deref(), commit.spec.dot.as_str());
        let (Some(status), Some(dot)) = (&commit.status, ids.get(&place)) else {
            continue;
        };
        if let (Some(head), Some(id), true) = (&status.head, &status.id, ready(Some(&status.conditions))) {
            let volumes = status.volumes.iter();
            let volumes = volumes.map(|volume| (volume.id.as_str(), volume.guid.as_str()));
            expected.add_commit(dot, head, id, volumes);
        }
    }
    expected
}
