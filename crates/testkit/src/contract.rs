//! What the API in memory and a real API server must both do: sequences of calls, written and generated, and what is
//! heard of each.
//!
//! Everything goes through a `kube::Client` and, where it has the verb, through the operator's own client, so that the
//! requests and the classification of failures are the production ones. Two transcripts of one sequence are equal when
//! status codes, reasons, classified errors and objects are, after uids, versions, times and names of the run are
//! taken for what they are: see [`normal`].

mod bodies;
pub mod compare;
pub mod generate;
mod kinds;
pub mod normal;
pub mod operation;
pub mod scripts;
mod session;

use kube::Client;

use normal::Line;
use operation::Operation;
use session::Session;

/// Where a sequence is played: names of the run are its own, so that many share a server.
#[derive(Debug, Clone)]
pub struct Stage {
    /// Exists already.
    pub namespace: String,
    /// A DNS label of few letters; used once.
    pub run: String,
}

/// Plays a sequence and tells what was heard; then what a watch from the beginning shows.
///
/// # Panics
/// When there is no server, or it says what no server says.
pub async fn play(client: Client, stage: &Stage, operations: &[Operation]) -> Vec<Line> {
    let subjects = operations.iter().map(Operation::subject).collect();
    let mut session = Session::begin(client, stage.clone(), subjects).await;
    for operation in operations {
        session.perform(operation).await;
    }
    session.end().await
}

#[cfg(test)]
mod tests;
