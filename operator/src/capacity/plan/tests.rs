//! What is told, and what is written for that.

use serde::de::DeserializeOwned;

use super::*;

fn yaml<T: DeserializeOwned>(text: &str) -> Arc<T> {
    Arc::new(serde_yaml::from_str(text).unwrap())
}

fn class(name: &str, provisioner: &str, parameters: &str) -> Arc<StorageClass> {
    yaml(&format!(
        "{{metadata: {{name: {name}}}, provisioner: {provisioner}, parameters: {parameters}}}"
    ))
}

fn pool(name: &str, class: &str, available: &str, ready: &str) -> Pool {
    serde_yaml::from_str(&format!(
        "{{apiVersion: dotmesh.io/v1alpha1, kind: Pool, metadata: {{name: {name}}}, \
         spec: {{nodeName: n1, class: {class}}}, status: {{size: 20Gi, available: {available}, conditions: \
         [{{type: Ready, status: '{ready}', reason: Ready, message: '', lastTransitionTime: '2026-01-01T00:00:00Z'}}]}}}}"
    ))
    .unwrap()
}

/// Two StorageClasses of ours and one of somebody else, and Pools of two classes on a node.
fn world() -> Observed {
    Observed {
        classes: vec![
            class("dotmesh", DRIVER, "{}"),
            class("fast", DRIVER, "{poolClass: fast}"),
            class("other", "example.com", "{}"),
        ],
        pools: vec![
            Arc::new(pool("n1", "default", "19Gi", "True")),
            Arc::new(pool("n1-fast", "fast", "5Gi", "True")),
        ],
        capacities: Vec::new(),
    }
}

/// With everything written that the plan asks for.
fn written(mut seen: Observed) -> Observed {
    for step in plan(&seen) {
        match step {
            Step::Create { name, capacity } => {
                let mut object = build("dotmesh-system", &name, &capacity, "d1");
                object.metadata.uid = Some(format!("uid of {name}"));
                seen.capacities.push(Arc::new(object));
            }
            Step::Write { object, capacity } => {
                let new = build("dotmesh-system", &object.name_any(), &capacity, "d1");
                seen.capacities.retain(|old| old.name_any() != new.name_any());
                seen.capacities.push(Arc::new(new));
            }
            Step::Delete(object) => seen.capacities.retain(|old| old.name_any() != object.name_any()),
        }
    }
    assert_eq!(plan(&seen), [], "a second look has nothing to write");
    seen
}

fn told(seen: &Observed) -> Vec<String> {
    let mut all: Vec<String> = seen
        .capacities
        .iter()
        .map(|object| {
            let text = |quantity: &Option<Quantity>| quantity.clone().map_or_else(String::new, |quantity| quantity.0);
            let node = object.node_topology.clone().and_then(|topology| topology.match_labels);
            let node = node.and_then(|labels| labels.get(TOPOLOGY_NODE).cloned()).unwrap();
            let (free, largest) = (text(&object.capacity), text(&object.maximum_volume_size));
            format!("{} on {node}: {free} free, up to {largest}", object.storage_class_name)
        })
        .collect();
    all.sort();
    all
}

#[test]
fn each_storage_class_is_told_of_the_pools_of_its_class() {
    let seen = written(world());
    let expected = [
        "dotmesh on n1: 19Gi free, up to 20Gi",
        "fast on n1: 5Gi free, up to 20Gi",
    ];
    assert_eq!(told(&seen), expected);
}

#[test]
fn less_room_changes_what_is_free_and_not_how_large_a_volume_can_be() {
    let mut seen = written(world());
    seen.pools[1] = Arc::new(pool("n1-fast", "fast", "0", "True"));
    let steps = plan(&seen);
    let [Step::Write { object, capacity }] = steps.as_slice() else {
        panic!("{steps:?}");
    };
    assert_eq!((capacity.available, capacity.largest), (0, 20 << 30));
    let wanted = build("dotmesh-system", &object.name_any(), capacity, "d1");
    let patch = patch(&wanted);
    assert_eq!(patch["capacity"], "0");
    assert!(
        patch.get("storageClassName").is_none() && patch.get("nodeTopology").is_none(),
        "{patch}"
    );
    assert_eq!(told(&written(seen))[1], "fast on n1: 0 free, up to 20Gi");
}

#[test]
fn where_no_volume_can_be_made_nothing_is_told() {
    let left = ["dotmesh on n1: 19Gi free, up to 20Gi"];
    let deleting = Pool {
        metadata: ObjectMeta {
            deletion_timestamp: yaml::<ObjectMeta>("{deletionTimestamp: '2026-01-01T00:00:00Z'}")
                .deletion_timestamp
                .clone(),
            ..pool("n1-fast", "fast", "5Gi", "True").metadata
        },
        ..pool("n1-fast", "fast", "5Gi", "True")
    };
    let unseen = Pool {
        status: None,
        ..pool("n1-fast", "fast", "5Gi", "True")
    };
    for unusable in [deleting, unseen, pool("n1-fast", "fast", "5Gi", "False")] {
        let mut seen = written(world());
        seen.pools[1] = Arc::new(unusable);
        assert_eq!(told(&written(seen)), left);
    }
    let mut without_class = written(world());
    without_class.classes.remove(1);
    assert_eq!(told(&written(without_class)), left);
    let mut without_pool = written(world());
    without_pool.pools.remove(1);
    assert_eq!(told(&written(without_pool)), left);
}

/// What another hand did to an object, and how many effects mend it.
fn mended(change: impl Fn(&mut CSIStorageCapacity)) -> usize {
    let mut seen = written(world());
    let mut object = CSIStorageCapacity::clone(&seen.capacities[0]);
    change(&mut object);
    seen.capacities[0] = Arc::new(object);
    let steps = plan(&seen).len();
    assert_eq!(told(&written(seen)), told(&written(world())));
    steps
}

#[test]
fn what_others_change_is_mended() {
    assert_eq!(mended(|object| object.capacity = Some(Quantity("1Gi".to_owned()))), 1);
    assert_eq!(mended(|object| object.capacity = Some(Quantity("none".to_owned()))), 1);
    assert_eq!(mended(|object| object.maximum_volume_size = None), 1);
    assert_eq!(mended(|object| object.metadata.labels = None), 1);
    assert_eq!(mended(|object| object.metadata.owner_references = None), 1);
    // These cannot be changed; somebody made it anew.
    assert_eq!(mended(|object| object.node_topology = Some(topology("n2"))), 2);
    assert_eq!(mended(|object| object.storage_class_name = "other".to_owned()), 2);
}

#[test]
fn the_same_in_other_words_is_the_same() {
    let mut seen = written(world());
    let mut object = CSIStorageCapacity::clone(&seen.capacities[0]);
    object.maximum_volume_size = Some(Quantity("20480Mi".to_owned()));
    seen.capacities[0] = Arc::new(object);
    assert_eq!(plan(&seen), []);
}

#[test]
fn objects_of_other_drivers_are_left_alone_and_those_that_go_are_waited_for() {
    let mut seen = written(world());
    let mut other = CSIStorageCapacity::clone(&seen.capacities[0]);
    other.metadata.name = Some("csisc-x".to_owned());
    other.metadata.owner_references = None;
    other.metadata.labels = yaml::<ObjectMeta>("{labels: {csi.storage.k8s.io/drivername: example.com}}")
        .labels
        .clone();
    seen.capacities.push(Arc::new(other));
    assert_eq!(plan(&seen), []);

    let mut bare = written(world());
    let mut object = CSIStorageCapacity::clone(&bare.capacities[0]);
    object.metadata.labels = None;
    bare.capacities[0] = Arc::new(object);
    bare.pools.clear();
    assert_eq!(
        told(&written(bare)),
        Vec::<String>::new(),
        "its owner tells that it is ours"
    );

    let mut goes = CSIStorageCapacity::clone(&seen.capacities[0]);
    goes.metadata.deletion_timestamp = yaml::<ObjectMeta>("{deletionTimestamp: '2026-01-01T00:00:00Z'}")
        .deletion_timestamp
        .clone();
    seen.capacities[0] = Arc::new(goes);
    assert_eq!(plan(&seen), []);
}

#[test]
fn names_tell_of_class_and_pool_are_different_and_fit() {
    let name = object_name("dotmesh", "n1");
    assert!(name.starts_with("dotmesh-n1-"), "{name}");
    assert_eq!(name, object_name("dotmesh", "n1"));
    assert_ne!(object_name("a-b", "c"), object_name("a", "b-c"));
    let long = |last: char| format!("{}.{last}", "a".repeat(250));
    let (one, other) = (object_name(&long('x'), &long('y')), object_name(&long('x'), &long('z')));
    assert_ne!(one, other);
    assert!(one.len() <= 253, "{}", one.len());
    let cut = format!("{}.rest", "a".repeat(PART_MAX - 1));
    assert!(!object_name(&cut, "n1").contains(".-"));
}
