//! What can go wrong at an effect, by its class.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Kinds of effects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// A consistent read of the API.
    ApiRead,
    /// A write to the API.
    ApiWrite,
    /// A call of a node by the operator.
    Call,
    /// A `zfs` or `zpool` command that only looks.
    ZfsRead,
    /// One that changes something.
    ZfsWrite,
    /// A look at mounts or folders.
    MountRead,
    /// A change of mounts or folders.
    MountWrite,
    /// A look at a file.
    FileRead,
    /// A change of a file.
    FileWrite,
}

impl Class {
    /// Whether it changes something; a call's own effects are counted by themselves.
    #[must_use]
    pub const fn is_write(self) -> bool {
        matches!(
            self,
            Self::ApiWrite | Self::ZfsWrite | Self::MountWrite | Self::FileWrite
        )
    }

    /// What can go wrong at it.
    #[must_use]
    pub const fn faults(self) -> &'static [Fault] {
        use Fault::{Conflict, CrashAfter, CrashBefore, CrashStale, Delayed, Held, Late, Lost, Reboot, Refused, Twice};
        match self {
            Self::ApiRead => &[Refused],
            Self::ApiWrite => &[
                CrashBefore,
                CrashAfter,
                CrashStale,
                Lost,
                Refused,
                Conflict,
                Twice,
                Held,
            ],
            Self::Call => &[CrashBefore, CrashAfter, Lost, Refused, Late, Delayed, Twice, Held],
            Self::ZfsWrite => &[CrashBefore, CrashAfter, Lost, Refused, Reboot],
            Self::ZfsRead => &[CrashBefore, Refused],
            Self::MountWrite | Self::FileWrite => &[CrashBefore, CrashAfter, Lost, Refused],
            Self::MountRead | Self::FileRead => &[Refused],
        }
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::ApiRead => "api?",
            Self::ApiWrite => "api!",
            Self::Call => "call",
            Self::ZfsRead => "zfs?",
            Self::ZfsWrite => "zfs!",
            Self::MountRead => "mount?",
            Self::MountWrite => "mount!",
            Self::FileRead => "file?",
            Self::FileWrite => "file!",
        })
    }
}

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Fault {
    /// The actor crashes before the effect.
    CrashBefore,
    /// The actor crashes after the effect, without its answer.
    CrashAfter,
    /// As [`Fault::CrashAfter`]; the next incarnation begins with old caches.
    CrashStale,
    /// The node goes down before the effect: its mounts are gone and its pool is not imported.
    Reboot,
    /// It does not happen, and the answer is an error.
    Refused,
    /// It happens, and the answer is an error.
    Lost,
    /// It does not happen: the guard did not hold.
    Conflict,
    /// It happens, and the answer comes after the deadline.
    Late,
    /// The answer is an error; it happens later, perhaps after other calls.
    Delayed,
    /// The process is stopped for longer than its Lease lasts; then it happens.
    Held,
    /// It happens twice.
    Twice,
}

impl Fault {
    /// How long a stopped process stays so, at least: others follow a leader within a Lease's duration and two looks at it.
    pub const HELD: Duration = Duration::from_secs(18);
}

/// What the caller is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// It did not happen.
    NotDone,
    /// It may have happened.
    Unknown,
    /// The guard did not hold.
    Conflict,
    /// No answer in time.
    Late,
    /// It will happen later.
    Delayed,
}

impl Failure {
    /// Later than any deadline of a call.
    pub const LATE: Duration = Duration::from_secs(61);
    /// How much later a delayed call happens: after the first repeat.
    pub const DELAY: Duration = Duration::from_millis(1_500);
}
