//! Whether a pool and the objects account for each other: every dataset and snapshot has an object that stands for it,
//! and every object has its datasets and snapshots. Pure.

use std::collections::{BTreeMap, BTreeSet};

/// A dataset or snapshot below the root.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Entry {
    /// Name below the root: `DOT/HEAD/VOLUME` or `DOT/HEAD@COMMIT`.
    pub name: String,
    /// Its GUID, decimal.
    pub guid: String,
    /// The snapshot it is a clone of, named as above.
    pub origin: Option<String>,
}

/// What must be in the pool by the objects.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Expected {
    /// Names of datasets.
    pub datasets: BTreeSet<String>,
    /// Names of snapshots, with the GUID where the object tells it.
    pub snapshots: BTreeMap<String, Option<String>>,
    /// Datasets that may be there because commits are of them.
    pub heads: BTreeSet<String>,
    /// Dots of which everything is accounted for.
    pub whole: BTreeSet<String>,
}

impl Expected {
    /// A Dot that lies somewhere.
    pub fn add_dot(&mut self, dot: &str) {
        self.datasets.insert(dot.to_owned());
    }

    /// A Dot that is gone, and can come back with all that is in it.
    pub fn add_remnant(&mut self, dot: &str) {
        self.add_dot(dot);
        self.whole.insert(dot.to_owned());
    }

    /// A branch's head with its volumes.
    pub fn add_head<'a>(&mut self, dot: &str, head: &str, volumes: impl IntoIterator<Item = &'a str>) {
        self.datasets.insert(format!("{dot}/{head}"));
        let volumes = volumes.into_iter().map(|volume| format!("{dot}/{head}/{volume}"));
        self.datasets.extend(volumes);
    }

    /// A commit of a head, with its volumes and the GUIDs of their snapshots.
    pub fn add_commit<'a>(
        &mut self,
        dot: &str,
        head: &str,
        commit: &str,
        volumes: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) {
        self.heads.insert(format!("{dot}/{head}"));
        self.snapshots.insert(format!("{dot}/{head}@{commit}"), None);
        for (volume, guid) in volumes {
            self.heads.insert(format!("{dot}/{head}/{volume}"));
            let snapshot = format!("{dot}/{head}/{volume}@{commit}");
            self.snapshots.insert(snapshot, Some(guid.to_owned()));
        }
    }
}

/// What objects and pool do not agree on, a sentence each; empty when each accounts for the other.
pub fn compare(expected: &Expected, found: &[Entry]) -> Vec<String> {
    let by_name: BTreeMap<&str, &Entry> = found.iter().map(|entry| (entry.name.as_str(), entry)).collect();
    let origins: BTreeSet<&str> = found.iter().filter_map(|entry| entry.origin.as_deref()).collect();
    // A clone keeps the datasets alive that its origin is a snapshot of, also of a Dot that is gone.
    let pinned = |name: &str| {
        origins.iter().any(|origin| {
            let dataset = origin.split('@').next().unwrap_or_default();
            dataset == name || dataset.strip_prefix(name).is_some_and(|below| below.starts_with('/'))
        })
    };
    let missing = expected.datasets.iter().chain(expected.snapshots.keys());
    let missing = missing.filter(|name| !by_name.contains_key(name.as_str()));
    let mut differences: Vec<String> = missing.map(|name| format!("{name} is missing in the pool")).collect();
    for entry in found {
        let name = entry.name.as_str();
        if name
            .split(['/', '@'])
            .next()
            .is_some_and(|dot| expected.whole.contains(dot))
        {
            continue;
        }
        let accounted = match expected.snapshots.get(name) {
            Some(Some(guid)) if *guid != entry.guid => {
                differences.push(format!("{name} has GUID {} where its Commit says {guid}", entry.guid));
                true
            }
            Some(_) => true,
            None if name.contains('@') => origins.contains(name),
            None => expected.datasets.contains(name) || expected.heads.contains(name) || pinned(name),
        };
        if !accounted {
            differences.push(format!("{name} has no object"));
        }
    }
    differences
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(name: &str, origin: Option<&str>) -> Entry {
        Entry {
            name: name.to_owned(),
            guid: "1".to_owned(),
            origin: origin.map(str::to_owned),
        }
    }

    #[test]
    fn what_lacks_an_object_and_what_lacks_a_dataset_is_named() {
        let mut expected = Expected::default();
        expected.add_dot("d");
        expected.add_head("d", "h", ["v", "w"]);
        expected.add_commit("d", "h", "c", [("v", "2")]);
        let found = [
            entry("d", None),
            entry("d/h", None),
            entry("d/h@c", None),
            entry("d/h/v", None),
            entry("d/h/v@c", None),
            entry("d/x", None),
        ];
        assert_eq!(
            compare(&expected, &found),
            [
                "d/h/w is missing in the pool",
                "d/h/v@c has GUID 1 where its Commit says 2",
                "d/x has no object",
            ]
        );
    }

    #[test]
    fn a_remnant_accounts_for_all_of_its_dot_and_for_nothing_else() {
        let mut expected = Expected::default();
        expected.add_remnant("d");
        let found = [
            entry("d", None),
            entry("d/h", None),
            entry("d/h@c", None),
            entry("e", None),
        ];
        assert_eq!(compare(&expected, &found), ["e has no object"]);
        assert_eq!(compare(&expected, &[]), ["d is missing in the pool"]);
    }

    #[test]
    fn what_a_branch_was_cloned_from_may_outlive_its_commit() {
        let mut expected = Expected::default();
        expected.add_dot("d");
        expected.add_head("d", "h", ["v"]);
        let found = [
            entry("d", None),
            entry("d/g", None),
            entry("d/g/v", None),
            entry("d/g/v@c", None),
            entry("d/h", None),
            entry("d/h/v", Some("d/g/v@c")),
        ];
        assert_eq!(compare(&expected, &found), Vec::<String>::new());
    }
}
