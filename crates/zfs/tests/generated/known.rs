//! Sequences written down because something surprising happens in them: where fakes drift first, and what generated
//! sequences found. Each is short and ends with nothing special; the answers of all steps are compared.

use dotmesh_zfs::Kind;

use super::operation::Operation::{
    self, Clone, Create, Destroy, DestroyRecursive, DestroySnapshots, Hold, Inherit, Read as Reads, Release, Rollback,
    Set, Snapshot,
};
use super::operation::{By, Object, OfPool, Others, Outside, Place, Read, Setting, Snap};

const A: Place = Place("a");
const AX: Place = Place("a/x");
const B: Place = Place("b");
const V: Place = Place("v");
const NOTE: Setting = Setting("org.example:note", "one");
const SMALL: Setting = Setting("refquota", "4M");

fn filesystem(place: Place) -> Operation {
    Create {
        place,
        volume: false,
        parents: false,
        settings: vec![],
    }
}

fn volume(place: Place) -> Operation {
    Create {
        place,
        volume: true,
        parents: false,
        settings: vec![],
    }
}

fn with_parents(place: Place, volume: bool) -> Operation {
    Create {
        place,
        volume,
        parents: true,
        settings: vec![],
    }
}

fn snapshot(places: &[Place], snap: &'static str) -> Operation {
    Snapshot(places.iter().map(|place| Snap(*place, snap)).collect(), vec![])
}

fn clone(place: Place, snap: &'static str, to: Place, settings: &[Setting]) -> Operation {
    Clone {
        from: Snap(place, snap),
        to,
        settings: settings.to_vec(),
    }
}

fn everything() -> Operation {
    list(
        vec![Object::Place(Place("."))],
        None,
        &[Kind::Filesystem, Kind::Volume, Kind::Snapshot],
    )
}

fn list(roots: Vec<Object>, depth: Option<u32>, kinds: &[Kind]) -> Operation {
    let kinds = kinds.to_vec();
    Reads(Read::List { roots, depth, kinds })
}

fn get(targets: Vec<Object>, properties: &[&'static str]) -> Operation {
    Reads(Read::Get {
        targets,
        properties: properties.to_vec(),
        sources: vec![],
    })
}

fn mount(object: Object) -> Operation {
    Operation::Outside(Outside::Mount(object))
}

fn unmount(object: Object) -> Operation {
    Operation::Outside(Outside::Unmount(object))
}

fn write(place: Place) -> Operation {
    Operation::Outside(Outside::Write(place))
}

fn fill(full: bool) -> Operation {
    Operation::Outside(Outside::Fill(full))
}

fn others(what: Others) -> Operation {
    Operation::Others(what)
}

fn pool(what: OfPool) -> Operation {
    Operation::Pool(what)
}

/// All of them, each with what it is about.
pub(crate) fn known() -> Vec<(&'static str, Vec<Operation>)> {
    vec![
        ("a hold that is on one snapshot is put on no other", partial_holds()),
        ("a deferred destroy ends with the last hold or clone", deferred()),
        ("a size that is refused keeps nothing else from being set", sizes()),
        ("what is mounted is rolled back, not destroyed or exported", mounted()),
        ("existing things of the other kind are no parents", kinds()),
        ("a full pool complains of that before of names", full()),
        ("a rewound pool has lost and revived snapshots", rewound()),
    ]
}

fn partial_holds() -> Vec<Operation> {
    vec![
        filesystem(A),
        filesystem(AX),
        snapshot(&[A, AX], "s"),
        others(Others::Hold("keep", Snap(AX, "s"))),
        Hold("keep", Snap(A, "s")),
        Reads(Read::Holds(vec![Snap(A, "s"), Snap(AX, "s")])),
        Release("keep", A, vec!["s"]),
        Release("keep", A, vec!["s"]),
        others(Others::Destroy(Snap(AX, "s"))),
        Release("keep", A, vec!["s"]),
    ]
}

fn deferred() -> Vec<Operation> {
    vec![
        filesystem(A),
        snapshot(&[A], "s"),
        Hold("keep", Snap(A, "s")),
        clone(A, "s", B, &[]),
        DestroyRecursive(A, vec!["s"]),
        // What waits to go can be held and cloned again.
        Hold("mine", Snap(A, "s")),
        clone(A, "s", AX, &[NOTE]),
        others(Others::Destroy(Snap(A, "s"))),
        Destroy(A),
        Release("keep", A, vec!["s"]),
        Release("mine", A, vec!["s"]),
        mount(Object::Snap(Snap(A, "s"))),
        Destroy(AX),
        Destroy(B),
        unmount(Object::Snap(Snap(A, "s"))),
        Destroy(B),
        everything(),
    ]
}

fn sizes() -> Vec<Operation> {
    vec![
        filesystem(A),
        write(A),
        Set(A, vec![SMALL, NOTE]),
        everything(),
        Set(A, vec![Setting("refquota", "1G")]),
        Set(A, vec![Setting("refquota", "none")]),
        get(vec![Object::Place(A)], &["refquota", "compression"]),
        snapshot(&[A], "s"),
        clone(A, "s", B, &[SMALL]),
        Inherit(Place("v"), "refquota"),
        volume(V),
        Set(V, vec![Setting("volsize", "1000")]),
        snapshot(&[V], "s"),
        Set(V, vec![Setting("volsize", "32M")]),
        clone(V, "s", B, &[]),
        Rollback(Snap(V, "s")),
        everything(),
    ]
}

fn mounted() -> Vec<Operation> {
    vec![
        filesystem(A),
        snapshot(&[A], "s"),
        mount(Object::Place(A)),
        write(A),
        Rollback(Snap(A, "s")),
        Reads(Read::Written(A, None)),
        DestroySnapshots(A, vec!["s", "t"]),
        Destroy(A),
        pool(OfPool::Export),
        unmount(Object::Place(A)),
        snapshot(&[A], "t"),
        mount(Object::Snap(Snap(A, "t"))),
        DestroySnapshots(A, vec!["t"]),
        pool(OfPool::Export),
        unmount(Object::Snap(Snap(A, "t"))),
    ]
}

fn kinds() -> Vec<Operation> {
    vec![
        filesystem(A),
        with_parents(A, true),
        volume(V),
        with_parents(V, false),
        with_parents(Place("v/z"), false),
        clone(V, "s", Place("v/z"), &[]),
        Create {
            place: AX,
            volume: false,
            parents: true,
            settings: vec![Setting("recordsizes", "two")],
        },
        list(vec![Object::Place(V)], Some(1), &[Kind::Filesystem]),
        list(
            vec![Object::Place(B), Object::Snap(Snap(A, "s"))],
            Some(0),
            &[Kind::Filesystem],
        ),
        get(vec![Object::Place(B), Object::Snap(Snap(A, "s"))], &["recordsizes"]),
    ]
}

fn full() -> Vec<Operation> {
    vec![
        filesystem(A),
        snapshot(&[A], "s"),
        fill(true),
        snapshot(&[A], "s"),
        clone(A, "s", A, &[]),
        clone(A, "s", B, &[]),
        with_parents(Place("b/y"), false),
        Set(A, vec![NOTE]),
        Hold("keep", Snap(A, "s")),
        Release("keep", A, vec!["s"]),
        Rollback(Snap(A, "s")),
        write(A),
        DestroyRecursive(A, vec!["s"]),
        Destroy(A),
        fill(false),
    ]
}

fn rewound() -> Vec<Operation> {
    vec![
        filesystem(A),
        snapshot(&[A], "s"),
        pool(OfPool::Status),
        others(Others::Checkpoint),
        snapshot(&[A], "t"),
        DestroySnapshots(A, vec!["s"]),
        filesystem(B),
        others(Others::Rewind),
        everything(),
        pool(OfPool::Status),
        snapshot(&[A], "t"),
        others(Others::Reguid),
        pool(OfPool::Export),
        pool(OfPool::Import(By::Guid)),
        pool(OfPool::Importable),
        Reads(Read::Written(A, None)),
        pool(OfPool::Import(By::Name)),
        everything(),
    ]
}
