//! The importer: copies the files of one mounted volume into another, for a claim's data that becomes a Dot's.
//!
//! It knows nothing of Kubernetes or Dots: a source that it only reads, a target that nobody else writes, and a folder
//! of its own in the target, gone at the end, by which an interrupted copy goes on. Folders are walked by descriptors
//! and names are never followed through links, so nothing outside the two is reached, whatever is in the source.
//!
//! A file is complete under its own name or not there: it is made in the importer's folder, gets its attributes, its
//! modification time last, and is then renamed. So name, size and modification time say what an earlier run has done.

pub mod args;
pub mod attributes;
pub mod copy;
pub mod data;
pub mod effects;
pub mod error;
pub mod meta;
pub mod progress;
pub mod state;
pub mod tree;
pub mod verify;
