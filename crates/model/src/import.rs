//! What the importer tells of its copy, as JSON: how far it is, to whoever connects to it, and how it ended, in the
//! termination message of its container.

use serde::{Deserialize, Serialize};

/// TCP port on which the importer answers every connection with its [`Progress`] and nothing else.
pub const PROGRESS_PORT: u16 = 9810;

/// Bytes of an answer that are worth reading.
pub const PROGRESS_MAX: usize = 1024;

/// Bytes that the kubelet keeps of a termination message.
pub const ENDING_MAX: usize = 4096;

/// How far a copy is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Progress {
    /// Bytes of files that are in the target.
    pub bytes_copied: u64,
    /// Bytes of all files, holes left out; 0 until they are counted.
    pub bytes_total: u64,
    /// Files, folders, links and devices that are in the target.
    pub files: u64,
    /// What could not be kept: sockets, devices that may not be made, attributes of the source's filesystem alone.
    pub skipped: u64,
}

/// How a copy ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "result")]
pub enum Ending {
    /// The target has all that the source has, and it is on disk.
    Done(Progress),
    /// It goes on from where it ended when it is run again.
    Failed {
        /// What kind of failure.
        kind: FailureKind,
        /// For people.
        message: String,
    },
}

/// Failures that are told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum FailureKind {
    /// The target is full.
    OutOfSpace,
    /// Everything else.
    Other,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An operator reads what an importer of another version wrote.
    #[test]
    fn the_words_stay_what_they_are() {
        let progress = Progress {
            bytes_copied: 1,
            bytes_total: 2,
            files: 3,
            skipped: 4,
        };
        let done = r#"{"result":"Done","bytesCopied":1,"bytesTotal":2,"files":3,"skipped":4}"#;
        assert_eq!(serde_json::to_string(&Ending::Done(progress)).unwrap(), done);
        assert_eq!(serde_json::from_str::<Ending>(done).unwrap(), Ending::Done(progress));
        let failed = Ending::Failed {
            kind: FailureKind::OutOfSpace,
            message: "m".to_owned(),
        };
        let text = r#"{"result":"Failed","kind":"OutOfSpace","message":"m"}"#;
        assert_eq!(serde_json::to_string(&failed).unwrap(), text);
        assert_eq!(serde_json::from_str::<Ending>(text).unwrap(), failed);
    }
}
