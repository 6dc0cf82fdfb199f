//! At which times a node asks, by a clock that stands still but for what is waited for.

use std::sync::Mutex;

use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::PrivateKeyDer;

use super::*;
use crate::edge::tls::server_config;

const HOUR: Duration = Duration::from_secs(3600);
const LIFE: Duration = Duration::from_secs(24 * 3600);

/// The time of day that stands still with tokio's, beginning at 1970; `lead` is how far it has run ahead of the timers.
fn clock(lead: Arc<Mutex<Duration>>) -> Clock {
    let began = Instant::now();
    Arc::new(move || SystemTime::UNIX_EPOCH + began.elapsed() + *lead.lock().unwrap())
}

fn config() -> ServerConfig {
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec!["n1".into()]).unwrap().self_signed(&key);
    let certificate = certificate.unwrap().der().clone();
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    server_config(vec![certificate.clone()], key, vec![certificate]).unwrap()
}

/// An operator that is away from one hour to another, and what it and the node saw.
struct Story {
    away: std::ops::Range<Duration>,
    asked: Mutex<Vec<Duration>>,
    readiness: Readiness,
    configs: watch::Sender<Option<Arc<ServerConfig>>>,
    lead: Arc<Mutex<Duration>>,
}

impl Story {
    fn new(away: std::ops::Range<Duration>) -> Self {
        let (asked, readiness, lead) = (Mutex::default(), Readiness::new(), Arc::default());
        let configs = watch::channel(None).0;
        Self {
            away,
            asked,
            readiness,
            configs,
            lead,
        }
    }

    /// Lives through it until then.
    async fn run(&self, chance: fn() -> f64, until: Duration) {
        let pace = Pace {
            clock: clock(self.lead.clone()),
            chance,
        };
        let clock = pace.clock.clone();
        let ask = || {
            let now = clock();
            let since = now.duration_since(SystemTime::UNIX_EPOCH).unwrap();
            self.asked.lock().unwrap().push(since);
            let away = self.away.contains(&since);
            async move {
                if away {
                    return Err(EnrollError::Deadline);
                }
                let (config, until) = (config(), now + LIFE);
                Ok(Issued { config, until })
            }
        };
        let kept = keep(ask, &self.configs, &self.readiness, &pace);
        assert!(tokio::time::timeout(until, kept).await.is_err());
    }

    fn asked(&self) -> Vec<Duration> {
        std::mem::take(&mut self.asked.lock().unwrap())
    }
}

#[tokio::test(start_paused = true)]
async fn a_certificate_is_replaced_between_half_and_two_thirds_of_its_life() {
    let story = Story::new(HOUR * 1000..HOUR * 1000);
    let mut configs = story.configs.subscribe();
    story.run(|| 1.0, HOUR * 40).await;
    assert_eq!(story.asked(), [Duration::ZERO, HOUR * 16, HOUR * 32]);
    assert!(configs.has_changed().unwrap() && configs.borrow_and_update().is_some());
    story.run(|| 0.0, HOUR * 40).await;
    assert_eq!(story.asked(), [Duration::ZERO, HOUR * 12, HOUR * 24, HOUR * 36]);
    assert_eq!(
        renew_after(Duration::ZERO, 0.5),
        LEAST_LIFE,
        "never without a pause, whatever the clocks say"
    );
}

#[tokio::test(start_paused = true)]
async fn an_operator_that_is_away_is_asked_again_with_pauses_that_grow_to_a_minute() {
    let story = Story::new(Duration::ZERO..HOUR);
    story.run(|| 1.0, HOUR * 2).await;
    let asked = story.asked();
    let seconds: Vec<u64> = asked.iter().take(9).map(Duration::as_secs).collect();
    assert_eq!(seconds, [0, 1, 3, 7, 15, 31, 63, 123, 183]);
    let last = *asked.last().unwrap();
    assert!(last >= HOUR && last <= HOUR + LAST_RETRY, "{last:?}");
    assert!(story.readiness.is_ready());
    assert_eq!(spread(LAST_RETRY, 0.0), LAST_RETRY / 2);
    assert_eq!(spread(LAST_RETRY, 1.0), LAST_RETRY);
}

#[tokio::test(start_paused = true)]
async fn a_certificate_that_expired_is_told_and_replaced_when_the_operator_is_back() {
    let story = Story::new(HOUR..HOUR * 50);
    story.run(|| 1.0, HOUR * 23).await;
    assert!(story.readiness.is_ready(), "it is valid for an hour more");
    story.run(|| 1.0, HOUR * 49).await;
    assert_eq!(
        story.readiness.missing(),
        ["certificate: it has expired: nothing came of it within 45 s"]
    );
    assert!(
        story.configs.borrow().is_some(),
        "who serves goes on with what there is"
    );
    story.asked();
    story.run(|| 1.0, HOUR * 51).await;
    let asked = story.asked();
    let back = asked.iter().find(|at| **at >= HOUR * 50).unwrap();
    assert!(*back <= HOUR * 50 + LAST_RETRY, "{back:?}");
    assert_eq!(asked.last(), Some(back), "and then not for hours");
    assert!(story.readiness.is_ready());
}

#[tokio::test(start_paused = true)]
async fn a_machine_that_was_suspended_asks_within_a_minute() {
    let story = Story::new(HOUR * 1000..HOUR * 1000);
    let suspend = async {
        sleep(HOUR).await;
        *story.lead.lock().unwrap() = HOUR * 30;
    };
    tokio::join!(suspend, story.run(|| 1.0, HOUR * 2));
    let asked = story.asked();
    assert_eq!(asked.len(), 2);
    assert!(
        asked[1] >= HOUR * 31 && asked[1] <= HOUR * 31 + LOOK,
        "one hour and the thirty it slept: {asked:?}"
    );
}
