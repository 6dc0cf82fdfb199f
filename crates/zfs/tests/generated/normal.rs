//! Answers in a form that is the same for equal answers: identities by the order in which they were first seen,
//! transaction groups by rank, bytes in steps, names below the place of work.

use std::collections::BTreeSet;

use dotmesh_zfs::{DatasetName, ErrorKind, Hold, PropName, PropertyRow, Row, Source};

/// Bytes that one write adds. Metadata is less than half of it in all.
pub(crate) const WRITE: u64 = 8 << 20;

/// The columns of every listing.
pub(crate) const COLUMNS: [&str; 16] = [
    "type",
    "guid",
    "createtxg",
    "origin",
    "used",
    "referenced",
    "written",
    "userrefs",
    "defer_destroy",
    "clones",
    "compression",
    "refquota",
    "volsize",
    "mounted",
    "org.example:note",
    "org.example:id",
];

/// Identities seen so far.
#[derive(Debug, Default)]
pub(crate) struct Identities(Vec<String>);

impl Identities {
    /// The how-manieth this is.
    pub(crate) fn rank(&mut self, guid: &str) -> usize {
        let known = self.0.iter().position(|seen| seen == guid);
        known.unwrap_or_else(|| {
            self.0.push(guid.to_owned());
            self.0.len() - 1
        })
    }
}

/// Bytes as a number of writes.
pub(crate) fn steps(bytes: u64) -> u64 {
    (bytes + WRITE / 2) / WRITE
}

/// A name below the place of work.
pub(crate) fn relative(name: &str, root: &DatasetName) -> String {
    match name.strip_prefix(root.as_str()) {
        Some(rest) if rest.starts_with('@') => format!(".{rest}"),
        Some("") => ".".to_owned(),
        Some(rest) => rest.trim_start_matches('/').to_owned(),
        None => name.to_owned(),
    }
}

fn sorted<'a>(names: impl IntoIterator<Item = &'a str>, root: &DatasetName) -> String {
    let names: BTreeSet<String> = names.into_iter().map(|name| relative(name, root)).collect();
    names.into_iter().collect::<Vec<_>>().join(" ")
}

/// An error: its kind, and the names it tells.
pub(crate) fn error(kind: &ErrorKind, root: &DatasetName) -> String {
    let word = kind.category();
    if let ErrorKind::HasChildren(names) | ErrorKind::HasClones(names) = kind {
        format!("{word}: {}", sorted(names.iter().map(String::as_str), root))
    } else {
        format!("{word}: {kind}")
    }
}

/// The rows of a listing, in its order.
pub(crate) fn rows(rows: &[Row], root: &DatasetName, guids: &mut Identities) -> Vec<String> {
    let txg = PropName::from_static("createtxg");
    let groups: BTreeSet<u64> = rows.iter().filter_map(|row| row.number(&txg).ok()).collect();
    let lines = rows.iter().map(|row| {
        let cells = COLUMNS.iter().filter_map(|name| {
            let value = row.value(&super::operation::property(name))?;
            let number = || value.parse::<u64>().expect("a number");
            let value = match *name {
                "guid" => format!("#{}", guids.rank(value)),
                "createtxg" => groups.iter().position(|group| *group == number())?.to_string(),
                "used" | "referenced" | "written" => steps(number()).to_string(),
                "origin" => relative(value, root),
                "clones" if value.is_empty() => return None,
                "clones" => sorted(value.split(','), root),
                _ => value.to_owned(),
            };
            Some(format!("{name}={value}"))
        });
        let cells: Vec<_> = cells.collect();
        format!("{}: {}", relative(&row.name.to_string(), root), cells.join(", "))
    });
    lines.collect()
}

/// Properties with their sources, in the order of the answer.
pub(crate) fn property_rows(rows: &[PropertyRow], root: &DatasetName) -> Vec<String> {
    let lines = rows.iter().map(|row| {
        let name = relative(&row.name.to_string(), root);
        let value = relative(&row.value, root);
        let source = match &row.source {
            Source::Inherited(from) => format!("inherited from {}", relative(from.as_str(), root)),
            Source::Local | Source::Default | Source::Received | Source::Temporary | Source::None => {
                format!("{:?}", row.source)
            }
        };
        format!("{name}: {}={value} ({source})", row.property)
    });
    lines.collect()
}

/// Holds, sorted: their order is that of a hash.
pub(crate) fn holds(holds: &[Hold], root: &DatasetName) -> Vec<String> {
    let lines = holds
        .iter()
        .map(|hold| format!("{}: {}", relative(&hold.snapshot.to_string(), root), hold.tag));
    let mut lines: Vec<_> = lines.collect();
    lines.sort();
    lines
}
