//! Flags of the importer.

use std::path::PathBuf;

use clap::Parser;
use dotmesh_model::import::PROGRESS_PORT;

/// Copies the files of one mounted volume into another: owners, modes, times, extended attributes, links and holes are
/// kept. Started again after whatever ended it, it goes on.
#[derive(Debug, Clone, Parser)]
#[command(version, about)]
pub struct Args {
    /// Folder to copy from. It is only read.
    #[arg(long)]
    pub source: PathBuf,
    /// Folder to copy into: an empty one, or one that an earlier run was ended in.
    #[arg(long)]
    pub target: PathBuf,
    /// Port on which whoever connects is told how far the copy is.
    #[arg(long, default_value_t = PROGRESS_PORT)]
    pub progress_port: u16,
    /// File that is told how the copy ended: the container's termination message.
    #[arg(long, default_value = "/dev/termination-log")]
    pub ending: PathBuf,
}
