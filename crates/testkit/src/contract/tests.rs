//! The contract on the API in memory: what each script hears is kept beside it, and is what a real server says
//! (`dotmesh-e2e`'s target `control_plane` sees to that).

mod skins;

use std::collections::BTreeMap;

use proptest::prelude::{ProptestConfig, proptest};
use serde_json::Value;

use super::generate::sequence;
use super::normal::Line;
use super::{Stage, play, scripts};
use crate::FakeApi;

fn stage() -> Stage {
    Stage {
        namespace: "dev".to_owned(),
        run: "r1".to_owned(),
    }
}

#[tokio::test]
async fn scripts_hear_what_is_kept_of_them() {
    for (name, script) in scripts::all() {
        let lines = play(FakeApi::default().client(), &stage(), &script).await;
        let shown: Vec<_> = lines.iter().map(Line::to_string).collect();
        insta::assert_snapshot!(name.replace(' ', "-"), shown.join("\n"));
    }
}

/// What watches show, one after the other, ends at what a list shows.
fn assert_watched(lines: &[Line], api: &FakeApi) {
    let mut shown = BTreeMap::new();
    for line in lines {
        let Some(what) = line.call.strip_prefix("watch ") else {
            continue;
        };
        let (kind, what) = what.split_once(": ").expect("kind and event");
        let name = line.value["metadata"]["name"].as_str().expect("a name").to_owned();
        let place = (kind.to_owned(), name);
        let was = match what {
            "deleted" => shown.remove(&place).is_some(),
            _ => shown.insert(place.clone(), line.value.clone()).is_some(),
        };
        assert_eq!(was, what != "added", "{place:?} {what}");
        assert_ne!(line.value["metadata"]["resourceVersion"], Value::Null);
    }
    let revision = api.revision();
    assert!(revision > 0, "something happened");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_sequence_is_heard_twice_alike(operations in sequence(30)) {
        let api = FakeApi::default();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
        let heard_of = async |api: &FakeApi| play(api.client(), &stage(), &operations).await;
        let lines = runtime.block_on(heard_of(&api));
        assert_watched(&lines, &api);
        let again = runtime.block_on(heard_of(&FakeApi::default()));
        assert_eq!(lines, again);
    }
}
