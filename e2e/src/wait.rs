//! Waits: always for a condition, always with a bound, and the last thing seen is part of the error.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// How often a condition is looked at.
const POLL: Duration = Duration::from_millis(200);

/// How much longer than a look the pause after it is, at least: looks by programs on an emulated node would else keep
/// it from what they wait for.
const REST: u32 = 3;

/// What one look at a condition said.
pub enum Look<T> {
    /// It holds.
    Done(T),
    /// It does not hold yet; how things are instead.
    NotYet(String),
}

impl<T> Look<T> {
    /// Done when there is a value.
    pub fn some(value: Option<T>, otherwise: impl Into<String>) -> Self {
        value.map_or_else(|| Self::NotYet(otherwise.into()), Self::Done)
    }
}

impl Look<()> {
    /// Done when it is true.
    pub fn when(condition: bool, otherwise: impl Into<String>) -> Self {
        Self::some(condition.then_some(()), otherwise)
    }
}

/// Looks again and again until the condition holds. A look that fails ends the wait at once.
///
/// # Errors
/// When it takes longer than `within`, with what was seen last; when a look fails.
pub async fn until<T>(what: &str, within: Duration, mut look: impl AsyncFnMut() -> Result<Look<T>>) -> Result<T> {
    let start = Instant::now();
    loop {
        let began = Instant::now();
        match look().await? {
            Look::Done(value) => return Ok(value),
            Look::NotYet(state) if start.elapsed() > within => {
                bail!("{what}: not within {within:?}; at last: {state}")
            }
            Look::NotYet(_) => tokio::time::sleep(POLL.max(began.elapsed() * REST)).await,
        }
    }
}
