//! One call, as a value.

use serde_json::Value;

/// A kind that sequences are about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subject {
    /// Ours, namespaced.
    Dot,
    /// Ours, never changes.
    Branch,
    /// Ours, never changes.
    Commit,
    /// Ours, of the cluster.
    Pool,
    /// Not ours.
    ConfigMap,
    /// Not ours; only in sequences that do not delete it, since controllers hold it for a while.
    PersistentVolumeClaim,
}

/// All that a generated sequence may use.
pub const SUBJECTS: [Subject; 5] = [
    Subject::Dot,
    Subject::Branch,
    Subject::Commit,
    Subject::Pool,
    Subject::ConfigMap,
];

/// An object, by a name that means something within its run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Object(pub Subject, pub &'static str);

/// What a write insists on, seen from what this session has heard of the object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Insist {
    /// On nothing.
    Nothing,
    /// That it is the object that was heard of last.
    Same,
    /// And in the version that was heard of last.
    Unchanged,
    /// That it is an object that never was.
    Another,
    /// That it is in the version that was heard of first.
    Old,
}

/// A field manager.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manager {
    /// The operator's.
    Operator,
    /// That of the claims.
    Claims,
}

/// One call.
#[derive(Debug, Clone, PartialEq)]
pub enum Operation {
    /// Creates an object; `extra` is merged into a good manifest of its kind.
    Create(Object, Value),
    /// Merges a patch.
    Patch(Object, Insist, Value),
    /// Applies a status by force.
    Apply(Object, Insist, Manager, Value),
    /// Asks for deletion, in the background.
    Delete(Object, Insist),
    /// Reads.
    Get(Object),
    /// Lists by the operator's client, of the run's namespace, by fields; `{run}` in them is the run's name.
    List(Subject, &'static str),
    /// Lists the run's objects in pages of so many, all of them.
    Pages(Subject, u32),
    /// Waits until the garbage collector is done with the object, and reads it: it is gone, marked for deletion, or owned
    /// by those only who are there.
    Collected(Object),
}

impl Operation {
    /// What it is about.
    #[must_use]
    pub fn subject(&self) -> Subject {
        match self {
            Self::Create(object, _)
            | Self::Patch(object, ..)
            | Self::Apply(object, ..)
            | Self::Delete(object, _)
            | Self::Get(object)
            | Self::Collected(object) => object.0,
            Self::List(subject, _) | Self::Pages(subject, _) => *subject,
        }
    }
}
