//! Watches that end, and go on where they cannot: nothing is lost, neither in the cache nor among those who are told.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use dotmesh_crds::Dot;
use dotmesh_operator::api::Key;
use dotmesh_operator::run::watches::follow;
use dotmesh_testkit::{Answer, FakeApi};
use kube::ResourceExt;
use kube::runtime::reflector::{self, ObjectRef, Store};
use kube::runtime::watcher;
use tokio::task::JoinHandle;

use crate::{key, put_dot};

/// Long enough for any back-off; the clock is virtual.
const PATIENCE: Duration = Duration::from_secs(300);

/// One kind, followed as in production.
struct Followed {
    fake: FakeApi,
    cache: Store<Dot>,
    /// Names of those that were told, and whether the cache showed them as they were told.
    told: Arc<Mutex<Vec<(String, bool)>>>,
    running: JoinHandle<()>,
}

impl Followed {
    fn start(fake: &FakeApi) -> Self {
        let (cache, writer) = reflector::store();
        let told = Arc::new(Mutex::new(Vec::new()));
        let config = watcher::Config::default().page_size(2);
        let note = {
            let (told, cache): (_, Store<Dot>) = (told.clone(), cache.clone());
            move |dot: &Dot| {
                let shown = cache.get(&ObjectRef::from_obj(dot));
                let is_shown = shown.is_some_and(|shown| shown.resource_version() == dot.resource_version());
                told.lock().unwrap().push((dot.name_any(), is_shown));
            }
        };
        let api = kube::Api::all(fake.client());
        let running = tokio::spawn(async move {
            let ended = follow(api, config, writer, |_| (), note).await;
            panic!("{ended:?}");
        });
        Self {
            fake: fake.clone(),
            cache,
            told,
            running,
        }
    }

    /// Until the cache shows exactly what the API holds.
    async fn settled(&self) {
        let expected = || {
            let names = ["a", "b", "c", "d", "e"];
            let there = names.iter().filter(|name| self.fake.exists::<Dot>(&key(name)));
            let version = |name: &&str| self.fake.must_get::<Dot>(&key(name)).resource_version();
            there.map(version).collect::<std::collections::BTreeSet<_>>()
        };
        let shown = || self.cache.state().iter().map(|dot| dot.resource_version()).collect();
        let waiting = async {
            let mut ticks = tokio::time::interval(Duration::from_millis(100));
            while expected() != shown() {
                ticks.tick().await;
                assert!(!self.running.is_finished(), "the watch ended");
            }
        };
        if tokio::time::timeout(PATIENCE, waiting).await.is_err() {
            panic!("the cache shows {:?} instead of {:?}", shown(), expected());
        }
    }

    fn take_told(&self) -> Vec<String> {
        let mut names: Vec<_> = std::mem::take(&mut *self.told.lock().unwrap());
        names.sort();
        names
            .into_iter()
            .map(|(name, is_shown)| if is_shown { name } else { format!("{name} gone") })
            .collect()
    }
}

impl Drop for Followed {
    fn drop(&mut self) {
        self.running.abort();
    }
}

/// Until every task waits: only then does the virtual clock move.
async fn idle() {
    tokio::time::sleep(Duration::from_millis(1)).await;
}

fn remove(fake: &FakeApi, name: &str) {
    fake.remove::<Dot>(&key(name));
}

async fn three() -> (FakeApi, Followed) {
    let fake = FakeApi::default();
    for name in ["a", "b", "c"] {
        put_dot(&fake, name, "{}");
    }
    let followed = Followed::start(&fake);
    followed.settled().await;
    assert_eq!(followed.take_told(), ["a", "b", "c"]);
    (fake, followed)
}

/// What changes while nobody watches: one goes, one is replaced, one changes, one comes.
fn change_all(fake: &FakeApi) {
    remove(fake, "a");
    remove(fake, "b");
    put_dot(fake, "b", "{}");
    put_dot(fake, "c", "{volumes: [{name: db, size: 1Gi}]}");
    put_dot(fake, "d", "{}");
}

#[tokio::test(start_paused = true)]
async fn changes_are_told_as_they_come() {
    let (fake, followed) = three().await;
    remove(&fake, "a");
    put_dot(&fake, "b", "{volumes: [{name: db, size: 1Gi}]}");
    followed.settled().await;
    assert_eq!(followed.take_told(), ["a gone", "b"]);
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_ends_goes_on_from_where_it_was() {
    let (fake, followed) = three().await;
    fake.end_watches();
    change_all(&fake);
    followed.settled().await;
    assert_eq!(followed.take_told(), ["a gone", "b gone", "b", "c", "d"]);
}

#[tokio::test(start_paused = true)]
async fn after_410_all_is_listed_again_and_nothing_is_lost() {
    let (fake, followed) = three().await;
    fake.end_watches();
    change_all(&fake);
    fake.compact();
    followed.settled().await;
    assert_eq!(followed.take_told(), ["a gone", "b gone", "b", "c", "d"]);
    // The new watch is as good as the first.
    put_dot(&fake, "e", "{}");
    followed.settled().await;
    assert_eq!(followed.take_told(), ["e"]);
}

/// With a bookmark the watch knows a revision that compaction has not reached.
#[tokio::test(start_paused = true)]
async fn bookmarks_spare_a_list() {
    let (fake, followed) = three().await;
    fake.put("{apiVersion: v1, kind: Node, metadata: {name: n1}}");
    fake.send_bookmarks();
    idle().await;
    fake.compact();
    fake.end_watches();
    put_dot(&fake, "d", "{}");
    followed.settled().await;
    assert_eq!(followed.take_told(), ["d"], "a new list would have told all");
}

/// A list whose later pages are gone begins anew; a server that does not answer is asked again.
#[tokio::test(start_paused = true)]
async fn failures_of_lists_and_watches_are_tried_again() {
    let (fake, followed) = three().await;
    for code in [500, 503, 410, 429, 403] {
        fake.answer_next(Answer {
            code,
            reason: "",
            retry_after: None,
        });
    }
    fake.end_watches();
    change_all(&fake);
    fake.compact();
    followed.settled().await;
    assert_eq!(followed.take_told(), ["a gone", "b gone", "b", "c", "d"]);
}

#[tokio::test]
async fn pages_show_one_revision_until_it_is_compacted() {
    let (fake, page) = (FakeApi::default(), kube::api::ListParams::default().limit(2));
    for name in ["a", "b", "c"] {
        put_dot(&fake, name, "{}");
    }
    let api = kube::Api::<Dot>::all(fake.client());
    let first = api.list(&page).await.unwrap();
    let names = |dots: &[Dot]| dots.iter().map(ResourceExt::name_any).collect::<Vec<_>>();
    assert_eq!(names(&first.items), ["a", "b"]);
    change_all(&fake);
    let next = page.clone().continue_token(&first.metadata.continue_.unwrap());
    let second = api.list(&next).await.unwrap();
    assert_eq!(names(&second.items), ["c"]);
    assert_eq!(second.items[0].spec.volumes, None, "as it was");
    assert_eq!(second.metadata.resource_version, first.metadata.resource_version);
    fake.compact();
    let Err(kube::Error::Api(status)) = api.list(&next).await else {
        panic!("the token is expired");
    };
    assert_eq!((status.code, status.reason.as_str()), (410, "Expired"));
    assert!(fake.exists::<Dot>(&Key::namespaced("dev", "d")));
}
