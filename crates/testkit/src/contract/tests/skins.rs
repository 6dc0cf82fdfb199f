//! The two skins of the API in memory say the same: the trait, and the operator's client over HTTP.

use dotmesh_crds::names::{MANAGER, MANAGER_CLAIMS};
use dotmesh_operator::api::{Api, ApiError, Guard, Key, Kind, KubeApi};
use dotmesh_operator::metrics::Metrics;
use dotmesh_operator::run::watches::caches;
use proptest::prelude::{ProptestConfig, proptest};
use serde::Serialize;
use serde_json::{Value, json};

use super::super::bodies::{manifest, merged};
use super::super::generate::sequence;
use super::super::kinds::of_kind;
use super::super::operation::{Insist, Manager, Object, Operation, Subject};
use crate::FakeApi;

fn key(Object(subject, name): Object) -> Key {
    Key {
        namespace: (subject != Subject::Pool).then(|| "dev".to_owned()),
        name: name.to_owned(),
    }
}

/// As the object is now.
async fn guard<K: Kind>(api: &FakeApi, key: &Key, insist: Insist) -> Guard {
    let found: Option<K> = api.get(key).await.expect("a read never fails");
    let found = found.map_or_else(Guard::default, |found| Guard::unchanged(&found));
    let version = |version: &str| Some(version.to_owned());
    match insist {
        Insist::Nothing => Guard::default(),
        Insist::Unchanged => found,
        Insist::Same => Guard {
            resource_version: None,
            ..found
        },
        Insist::Another => Guard {
            uid: version("ffffffff-0000-4000-8000-00000000dead"),
            resource_version: None,
        },
        Insist::Old => Guard {
            uid: None,
            resource_version: version("1"),
        },
    }
}

fn shown<T: Serialize>(result: Result<T, ApiError>) -> Value {
    match result {
        Ok(value) => json!(value),
        Err(error) => json!(error.kind.as_str()),
    }
}

async fn call<A: Api, K: Kind>(api: &A, state: &FakeApi, operation: &Operation) -> Value {
    match operation {
        Operation::Create(object, extra) => {
            let key = key(*object);
            let mut body = manifest(object.0, "r1");
            body["metadata"] = json!({"name": key.name, "namespace": key.namespace});
            merged(&mut body, extra);
            let object: K = serde_json::from_value(body).expect("a manifest");
            shown(api.create(&object).await)
        }
        Operation::Patch(object, insist, patch) => {
            let key = key(*object);
            let guard = guard::<K>(state, &key, *insist).await;
            shown(api.patch::<K>(&key, &guard, patch.clone()).await)
        }
        Operation::Apply(object, insist, manager, status) => {
            let key = key(*object);
            let guard = guard::<K>(state, &key, *insist).await;
            let manager = match manager {
                Manager::Operator => MANAGER,
                Manager::Claims => MANAGER_CLAIMS,
            };
            shown(api.apply_status::<K>(&key, &guard, manager, status.clone()).await)
        }
        Operation::Delete(object, insist) => {
            let key = key(*object);
            let guard = guard::<K>(state, &key, *insist).await;
            shown(api.delete::<K>(&key, &guard).await)
        }
        Operation::Get(object) | Operation::Collected(object) => shown(api.get::<K>(&key(*object)).await),
        Operation::List(_, fields) => shown(api.list::<K>(Some("dev"), Some(&fields.replace("{run}", "r1"))).await),
        Operation::Pages(subject, _) => {
            let namespace = (*subject != Subject::Pool).then_some("dev");
            shown(api.list::<K>(namespace, None).await)
        }
    }
}

async fn play_both(operations: &[Operation]) {
    let (direct, served) = (FakeApi::default(), FakeApi::default());
    let client = KubeApi::new(served.client(), caches().0, Metrics::default());
    for operation in operations {
        let (one, other) = of_kind!(operation.subject(), K => (
            call::<_, K>(&direct, &direct, operation).await,
            call::<_, K>(&client, &served, operation).await,
        ));
        assert_eq!(one, other, "{operation:?}");
    }
    assert_eq!(direct.revision(), served.revision());
    assert_eq!(direct.take_writes(), served.take_writes());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn both_skins_say_the_same(operations in sequence(30)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
        runtime.expect("a runtime").block_on(play_both(&operations));
    }
}
