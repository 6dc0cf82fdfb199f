//! The commits of one Dot as a graph, and what a reference in it means.
//!
//! Commits may be deleted in any order. A commit whose parent is gone continues with the newest commit that is
//! still there before it on the same head, else with that head's origin: history never breaks at a deletion.

use std::collections::BTreeMap;

use crate::id::{CommitId, HeadId};
use crate::reference::{Base, MIN_PREFIX, Reference};

/// What history needs to know of a Ready commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// The commit.
    pub id: CommitId,
    /// Name of its object, by which people refer to it.
    pub name: String,
    /// The head it was taken of.
    pub head: HeadId,
    /// Transaction group of its snapshots; orders commits of one head.
    pub createtxg: u64,
    /// The commit before it, when it was made.
    pub parent: Option<CommitId>,
}

/// A branch as history sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BranchTip {
    /// The head that the branch points at.
    pub head: HeadId,
    /// The commit that the head was cloned from.
    pub origin: Option<CommitId>,
}

/// All commits and branches of one Dot.
#[derive(Debug, Clone, Default)]
pub struct History {
    commits: BTreeMap<CommitId, Node>,
    branches: BTreeMap<String, BranchTip>,
}

/// Why a reference names nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unresolved {
    /// Neither a branch, a commit's name, nor an id prefix.
    #[error("{name:?} is neither a branch nor a commit of this Dot")]
    Unknown {
        /// What was looked for.
        name: String,
    },
    /// The branch has no commit, and neither has what it was made from.
    #[error("branch {branch:?} has no commit yet")]
    NoCommit {
        /// The branch.
        branch: String,
    },
    /// History is shorter than asked for.
    #[error("{reference} goes back further than the {available} commits there are")]
    TooShort {
        /// The reference as normalised.
        reference: String,
        /// How many steps back are possible.
        available: u32,
    },
    /// More than one commit's id begins so.
    #[error("{prefix:?} is the beginning of {count} commits' ids; write more of it")]
    Ambiguous {
        /// The prefix.
        prefix: String,
        /// Number of matches.
        count: usize,
    },
}

impl History {
    /// Collects commits and branches (by name) of one Dot.
    pub fn new(
        commits: impl IntoIterator<Item = Node>,
        branches: impl IntoIterator<Item = (String, BranchTip)>,
    ) -> Self {
        Self {
            commits: commits.into_iter().map(|node| (node.id, node)).collect(),
            branches: branches.into_iter().collect(),
        }
    }

    /// The newest commit of a branch: of its head, else the one its head was cloned from.
    pub fn head_of(&self, branch: &str) -> Option<&Node> {
        let tip = self.branches.get(branch)?;
        self.newest_on(tip.head, u64::MAX)
            .or_else(|| self.commits.get(&tip.origin?))
    }

    /// The commit before this one.
    pub fn parent(&self, of: &Node) -> Option<&Node> {
        if let Some(parent) = of.parent.and_then(|id| self.commits.get(&id)) {
            return Some(parent);
        }
        of.parent?;
        self.newest_on(of.head, of.createtxg).or_else(|| {
            let origin = self.branches.values().find(|tip| tip.head == of.head)?.origin?;
            self.commits.get(&origin)
        })
    }

    /// The commit that a reference means; `HEAD` is that of `checked_out`.
    pub fn resolve(&self, reference: &Reference, checked_out: &str) -> Result<&Node, Unresolved> {
        let mut node = match &reference.base {
            Base::Head => self.branch_head(checked_out)?,
            Base::Name(name) if self.branches.contains_key(name) => self.branch_head(name)?,
            Base::Name(name) => self.by_name_or_prefix(name)?,
        };
        for available in 0..reference.steps {
            node = self.parent(node).ok_or_else(|| Unresolved::TooShort {
                reference: reference.to_string(),
                available,
            })?;
        }
        Ok(node)
    }

    fn branch_head(&self, branch: &str) -> Result<&Node, Unresolved> {
        if !self.branches.contains_key(branch) {
            return Err(Unresolved::Unknown {
                name: branch.to_owned(),
            });
        }
        self.head_of(branch).ok_or_else(|| Unresolved::NoCommit {
            branch: branch.to_owned(),
        })
    }

    fn by_name_or_prefix(&self, name: &str) -> Result<&Node, Unresolved> {
        if let Some(node) = self.commits.values().find(|node| node.name == name) {
            return Ok(node);
        }
        let unknown = || Unresolved::Unknown { name: name.to_owned() };
        if name.len() < MIN_PREFIX {
            return Err(unknown());
        }
        let mut matches = self
            .commits
            .values()
            .filter(|node| node.id.to_string().starts_with(name));
        let first = matches.next().ok_or_else(unknown)?;
        match matches.count() {
            0 => Ok(first),
            more => Err(Unresolved::Ambiguous {
                prefix: name.to_owned(),
                count: more + 1,
            }),
        }
    }

    fn newest_on(&self, head: HeadId, before: u64) -> Option<&Node> {
        self.commits
            .values()
            .filter(|node| node.head == head && node.createtxg < before)
            .max_by_key(|node| node.createtxg)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    fn commit(n: u128) -> CommitId {
        CommitId::new(Uuid::from_u128(n << 96))
    }

    fn head(n: u128) -> HeadId {
        HeadId::new(Uuid::from_u128(n))
    }

    fn node(n: u128, on: u128, parent: Option<u128>) -> Node {
        Node {
            id: commit(n),
            name: format!("c{n}"),
            head: head(on),
            createtxg: n as u64,
            parent: parent.map(commit),
        }
    }

    /// main: c1 c2 c3; side, from c2: c4.
    fn history(without: &[u128]) -> History {
        let all = [
            node(1, 1, None),
            node(2, 1, Some(1)),
            node(3, 1, Some(2)),
            node(4, 2, Some(2)),
        ];
        let kept = all.into_iter().filter(|n| !without.iter().any(|w| commit(*w) == n.id));
        History::new(
            kept,
            [
                (
                    "main".to_owned(),
                    BranchTip {
                        head: head(1),
                        origin: None,
                    },
                ),
                (
                    "side".to_owned(),
                    BranchTip {
                        head: head(2),
                        origin: Some(commit(2)),
                    },
                ),
                (
                    "empty".to_owned(),
                    BranchTip {
                        head: head(3),
                        origin: None,
                    },
                ),
                (
                    "fresh".to_owned(),
                    BranchTip {
                        head: head(4),
                        origin: Some(commit(3)),
                    },
                ),
            ],
        )
    }

    fn resolve(history: &History, text: &str) -> Result<String, Unresolved> {
        history
            .resolve(&text.parse().unwrap(), "main")
            .map(|node| node.name.clone())
    }

    #[test]
    fn references_resolve_along_parents_and_origins() {
        let h = history(&[]);
        for (text, name) in [
            ("HEAD", "c3"),
            ("HEAD^", "c2"),
            ("main~2", "c1"),
            ("side", "c4"),
            ("side~1", "c2"),
            ("side~2", "c1"),
            ("fresh", "c3"),
            ("c2^", "c1"),
            ("00000003", "c3"),
        ] {
            assert_eq!(resolve(&h, text).as_deref(), Ok(name), "{text}");
        }
        assert!(matches!(
            resolve(&h, "HEAD~3"),
            Err(Unresolved::TooShort { available: 2, .. })
        ));
        assert!(matches!(resolve(&h, "empty"), Err(Unresolved::NoCommit { .. })));
        assert!(matches!(
            resolve(&h, "0000"),
            Err(Unresolved::Ambiguous { count: 4, .. })
        ));
        assert!(matches!(resolve(&h, "nope"), Err(Unresolved::Unknown { .. })));
    }

    #[test]
    fn history_never_breaks_at_a_deleted_commit() {
        let h = history(&[2]);
        assert_eq!(resolve(&h, "HEAD~1").as_deref(), Ok("c1"));
        assert_eq!(resolve(&history(&[3]), "HEAD").as_deref(), Ok("c2"));
    }
}
