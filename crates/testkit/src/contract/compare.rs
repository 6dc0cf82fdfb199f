//! A real server and the API in memory play the same sequences; the first difference is told, as short as it gets.

use std::time::Duration;

use kube::Client;
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use tokio::time::Instant;

use super::generate::sequence;
use super::normal::difference;
use super::operation::Operation;
use super::{Stage, play, scripts};
use crate::FakeApi;

/// Calls of a generated sequence at most.
const CALLS_MAX: usize = 30;
/// Attempts to shorten a sequence that shows a difference.
const SHORTER_MAX: usize = 200;

/// What was compared so far.
#[derive(Debug, Default)]
pub struct Compared {
    /// Sequences played to their end.
    pub sequences: usize,
    /// Calls in them.
    pub calls: usize,
}

/// A server, and a namespace on it that may be used.
#[derive(Clone)]
pub struct Real {
    /// Reaches the server.
    pub client: Client,
    /// Exists already.
    pub namespace: String,
    /// Distinguishes this comparison from earlier ones on the same server; a few letters or digits.
    pub prefix: String,
}

impl Compared {
    /// Plays a sequence on both.
    ///
    /// # Errors
    /// With the first difference: `<` is the server, `>` the API in memory.
    async fn sequence(&mut self, real: &Real, operations: &[Operation]) -> Result<(), String> {
        self.sequences += 1;
        self.calls += operations.len();
        let stage = Stage {
            namespace: real.namespace.clone(),
            run: format!("{}{}", real.prefix, self.sequences),
        };
        let heard = play(real.client.clone(), &stage, operations).await;
        let expected = play(FakeApi::default().client(), &stage, operations).await;
        difference(&heard, &expected).map_or(Ok(()), Err)
    }

    /// Plays all scripts.
    ///
    /// # Errors
    /// With every script's first difference.
    pub async fn scripts(&mut self, real: &Real) -> Result<(), String> {
        let mut wrong = Vec::new();
        for (name, script) in scripts::all() {
            if let Err(difference) = self.sequence(real, &script).await {
                wrong.push(format!("{name}:\n{difference}"));
            }
        }
        if wrong.is_empty() {
            Ok(())
        } else {
            Err(wrong.join("\n\n"))
        }
    }

    /// Plays generated sequences until the time is over, the same ones for the same seed.
    ///
    /// # Errors
    /// With the first difference there is, of a sequence that was made shorter.
    pub async fn generated(&mut self, real: &Real, seed: u8, time: Duration) -> Result<(), String> {
        let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[seed; 32]);
        let mut runner = TestRunner::new_with_rng(Config::default(), rng);
        let end = Instant::now() + time;
        while Instant::now() < end {
            let tree = sequence(CALLS_MAX).new_tree(&mut runner);
            let mut tree = tree.map_err(|reason| reason.to_string())?;
            let Err(mut shortest) = self.sequence(real, &tree.current()).await else {
                continue;
            };
            for _ in 0..SHORTER_MAX {
                if !tree.simplify() {
                    break;
                }
                let mut differs = self.sequence(real, &tree.current()).await;
                while differs.is_ok() && tree.complicate() {
                    differs = self.sequence(real, &tree.current()).await;
                }
                let Err(difference) = differs else { break };
                shortest = difference;
            }
            return Err(shortest);
        }
        Ok(())
    }
}
