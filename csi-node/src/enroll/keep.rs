//! When to ask: long before the certificate ends, and again and again while the operator is away.
//!
//! Knows neither files nor connections. Instants are those of a [`Clock`] and of tokio; chance spreads the nodes of a
//! cluster, which may have begun together, over time.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use dotmesh_telemetry::{Chain, Readiness};
use rustls::ServerConfig;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use super::EnrollError;

const FIRST_RETRY: Duration = Duration::from_secs(1);
const LAST_RETRY: Duration = Duration::from_secs(60);
/// A certificate is never asked for more often than this.
const LEAST_LIFE: Duration = Duration::from_secs(30);
/// How often the clock is looked at: while a machine is suspended, timers stand still and certificates end.
const LOOK: Duration = Duration::from_secs(60);
/// As `/readyz` shows it.
const PART: &str = "certificate";

/// The time of day.
pub type Clock = Arc<dyn Fn() -> SystemTime + Send + Sync>;

/// What to serve with, and until when others believe it.
pub(super) struct Issued {
    pub(super) config: ServerConfig,
    pub(super) until: SystemTime,
}

/// Time and chance, from outside.
pub(super) struct Pace {
    pub(super) clock: Clock,
    /// Evenly from 0 to 1.
    pub(super) chance: fn() -> f64,
}

/// Asks for ever, and shows each new certificate to those who serve with it. The last one stays until there is a newer
/// one, also when it has expired: that it has is for the operator to judge.
pub(super) async fn keep<F, R>(
    mut ask: F,
    configs: &watch::Sender<Option<Arc<ServerConfig>>>,
    readiness: &Readiness,
    pace: &Pace,
) where
    F: FnMut() -> R,
    R: Future<Output = Result<Issued, EnrollError>>,
{
    readiness.waiting(PART, "asking the operator for a certificate");
    let mut retry = FIRST_RETRY;
    let mut last = None;
    loop {
        match ask().await {
            Ok(Issued { config, until }) => {
                configs.send_replace(Some(Arc::new(config)));
                readiness.ready(PART);
                let life = until.duration_since((pace.clock)()).unwrap_or_default();
                let next = renew_after(life, (pace.chance)());
                tracing::info!(?life, ?next, "the node has a certificate");
                retry = FIRST_RETRY;
                last = Some(until);
                wait(next, pace).await;
            }
            Err(error) => {
                let pause = spread(retry, (pace.chance)());
                tracing::warn!(?pause, error = %Chain(&error), "no new certificate yet");
                match last {
                    None => readiness.waiting(PART, format!("none yet: {}", Chain(&error))),
                    Some(until) if until <= (pace.clock)() => {
                        readiness.waiting(PART, format!("it has expired: {}", Chain(&error)));
                    }
                    Some(_) => {}
                }
                sleep(pause).await;
                retry = (retry * 2).min(LAST_RETRY);
            }
        }
    }
}

/// Between a half and two thirds of what it has to live: a third is left for an operator that is away.
fn renew_after(life: Duration, chance: f64) -> Duration {
    life.mul_f64(0.5 + chance / 6.0).max(LEAST_LIFE)
}

/// From a half to the whole.
fn spread(retry: Duration, chance: f64) -> Duration {
    retry.mul_f64(0.5 + chance / 2.0)
}

/// Until so much time has passed by the clock or by tokio's timer, whichever is first.
async fn wait(pause: Duration, pace: &Pace) {
    let (began, at) = (Instant::now(), (pace.clock)() + pause);
    while let Some(left) = pause.checked_sub(began.elapsed()).filter(|left| !left.is_zero()) {
        if at <= (pace.clock)() {
            return;
        }
        sleep(left.min(LOOK)).await;
    }
}

#[cfg(test)]
mod tests;
