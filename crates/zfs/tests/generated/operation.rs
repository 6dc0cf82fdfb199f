//! What a sequence is made of: the requests of [`dotmesh_zfs::Zfs`] over a few names, so that they collide, and what
//! befalls a pool from outside. Plain values: a sequence that is printed can be read and written down again.

use dotmesh_zfs::{DatasetName, Kind, ObjectName, PropName, Properties, SnapName, SnapshotName, SourceKind};

/// A dataset below the place of work; `.` is that place itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place(pub(crate) &'static str);

/// A snapshot of a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Snap(pub(crate) Place, pub(crate) &'static str);

/// A property and the value it shall get, legal or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Setting(pub(crate) &'static str, pub(crate) &'static str);

/// What a listing begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Object {
    Place(Place),
    Snap(Snap),
}

/// How a pool is named for an import.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum By {
    Name,
    /// By the identity it had when it was last looked at.
    Guid,
}

/// One step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Operation {
    Create {
        place: Place,
        volume: bool,
        parents: bool,
        settings: Vec<Setting>,
    },
    Clone {
        from: Snap,
        to: Place,
        settings: Vec<Setting>,
    },
    Snapshot(Vec<Snap>, Vec<Setting>),
    Hold(&'static str, Snap),
    Release(&'static str, Place, Vec<&'static str>),
    Destroy(Place),
    DestroySnapshots(Place, Vec<&'static str>),
    DestroyRecursive(Place, Vec<&'static str>),
    Rollback(Snap),
    Set(Place, Vec<Setting>),
    Inherit(Place, &'static str),
    Read(Read),
    Pool(OfPool),
    Outside(Outside),
    Others(Others),
}

/// Looks at datasets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Read {
    List {
        roots: Vec<Object>,
        depth: Option<u32>,
        kinds: Vec<Kind>,
    },
    Get {
        targets: Vec<Object>,
        properties: Vec<&'static str>,
        sources: Vec<SourceKind>,
    },
    Holds(Vec<Snap>),
    Written(Place, Option<&'static str>),
}

/// Looks at the pool, takes it away, brings it back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum OfPool {
    Status,
    Importable,
    Export,
    Import(By),
}

/// Who uses the pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outside {
    Write(Place),
    Mount(Object),
    Unmount(Object),
    Fill(bool),
}

/// What other tools do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Others {
    Hold(&'static str, Snap),
    Release(&'static str, Snap),
    Destroy(Snap),
    Checkpoint,
    Rewind,
    Reguid,
}

impl Place {
    pub(crate) fn under(self, root: &DatasetName) -> DatasetName {
        let parts = self.0.split('/').filter(|part| *part != ".");
        parts.fold(root.clone(), |name, part| name.child(part).expect("a legal name"))
    }
}

impl Snap {
    pub(crate) fn under(self, root: &DatasetName) -> SnapshotName {
        self.0.under(root).at(&snap_name(self.1)).expect("a legal name")
    }
}

impl Object {
    pub(crate) fn under(self, root: &DatasetName) -> ObjectName {
        match self {
            Self::Place(place) => place.under(root).into(),
            Self::Snap(snap) => snap.under(root).into(),
        }
    }
}

pub(crate) fn snap_name(text: &str) -> SnapName {
    text.parse().expect("a legal name")
}

pub(crate) fn property(text: &str) -> PropName {
    text.parse().expect("a legal name")
}

pub(crate) fn properties(settings: &[Setting]) -> Properties {
    let pairs = settings.iter().map(|Setting(name, value)| {
        let value = value.parse().expect("a legal value");
        (property(name), value)
    });
    pairs.collect()
}
