//! Data that was there and is not any more: what a look at the pool says of it, and what people are told.
//!
//! Nothing is made anew or deleted because of it. The object says so until the data is found again, or is deleted by
//! somebody.

use std::collections::BTreeMap;

use dotmesh_crds::condition::{Condition, Reason};

use crate::status::{Verdict, ready_condition};

/// What the last look at its pool told of an object's data.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Data {
    /// Nothing: it was not looked for, or that was before a node's connection ended.
    #[default]
    Unknown,
    /// All of it is there.
    Found,
    /// It is not there, or is another than the recorded one: ids of the volumes; none when only that is missing which
    /// holds them together.
    Missing(Vec<String>),
}

impl Data {
    /// Whether it was looked for and is not there.
    #[must_use]
    pub fn is_missing(&self) -> bool {
        matches!(self, Self::Missing(_))
    }
}

/// What to tell of an object that has lost its data; nothing: it has not. What was told stands until the next look.
pub fn lost(data: &Data, before: &[Condition], message: impl FnOnce(&[String]) -> String) -> Option<Verdict> {
    match data {
        Data::Missing(volumes) => Some(Verdict::new(Reason::DataLost, message(volumes))),
        Data::Unknown => told(before).map(|told| Verdict::new(Reason::DataLost, told.message.clone())),
        Data::Found => None,
    }
}

/// The condition that says that the data is lost.
pub fn told(conditions: &[Condition]) -> Option<&Condition> {
    ready_condition(conditions).filter(|ready| ready.reason == Reason::DataLost.as_str())
}

/// What a person can do about it, of an object of that kind.
pub fn what_helps(kind: &str, node: Option<&str>) -> String {
    format!(
        "not in the pool of node {:?}, or not what was recorded; bring the pool's newest state back, or delete this \
         {kind} (docs/operations.md)",
        node.unwrap_or_default()
    )
}

/// The names of the volumes of these ids, for people.
pub fn named<'a>(ids: &[String], volumes: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let names: BTreeMap<&str, &str> = volumes.into_iter().collect();
    let quoted = |id: &String| format!("{:?}", names.get(id.as_str()).copied().unwrap_or(id));
    let mut all: Vec<String> = ids.iter().map(quoted).collect();
    all.sort();
    all.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::jiff::Timestamp;

    #[test]
    fn what_was_told_stands_until_the_data_is_looked_for_again() {
        let say = |ids: &[String]| format!("lost {}", named(ids, [("1", "db"), ("2", "cache")]));
        let missing = Data::Missing(vec!["1".to_owned(), "2".to_owned()]);
        assert_eq!(lost(&Data::Unknown, &[], say), None);
        assert_eq!(lost(&Data::Found, &[], say), None);
        let told = lost(&missing, &[], say).unwrap();
        assert_eq!(told, Verdict::new(Reason::DataLost, "lost \"cache\", \"db\""));
        let before = told.conditions(&[], Some(1), Timestamp::UNIX_EPOCH);
        assert_eq!(lost(&Data::Unknown, &before, say), Some(told));
        assert_eq!(lost(&Data::Found, &before, say), None);
        let other = Verdict::new(Reason::NodeUnreachable, "").conditions(&[], Some(1), Timestamp::UNIX_EPOCH);
        assert_eq!(lost(&Data::Unknown, &other, say), None);
    }
}
