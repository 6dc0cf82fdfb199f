//! Parsers of what the programs print with `-H -p`: one line per row, columns separated by one tab, numbers exact.
//!
//! A line that does not have the columns asked for is an error, never skipped.

use std::collections::BTreeMap;

use crate::{
    ErrorKind, Guid, Health, Hold, ImportablePool, PoolStatus, PropName, PropertyRow, Release, Row, Source, Verb,
    Versions, ZfsError,
};

fn malformed(verb: Verb, what: impl Into<String>) -> ZfsError {
    ZfsError::new(verb, ErrorKind::Malformed(what.into()))
}

/// `zfs version`: two lines, `zfs-<release>` and `zfs-kmod-<release>`.
pub(super) fn parse_version(output: &str) -> Result<Versions, ZfsError> {
    let bad = || malformed(Verb::Version, output);
    let mut lines = output.lines();
    let userland: Release = lines.next().and_then(|line| line.parse().ok()).ok_or_else(bad)?;
    let kernel = lines.next().filter(|line| line.starts_with("zfs-kmod-"));
    let kernel: Release = kernel.and_then(|line| line.parse().ok()).ok_or_else(bad)?;
    Ok(Versions { userland, kernel })
}

/// What [`parse_pool_status`] needs.
pub(super) const POOL_PROPERTIES: &str = "guid,load_guid,health,size,allocated,free,freeing,fragmentation,readonly";

/// `zpool get -H -p -o property,value`: columns property, value; one row for each of [`POOL_PROPERTIES`]. `-` is "not
/// known" (a suspended pool knows little).
pub(super) fn parse_pool_status(output: &str) -> Result<PoolStatus, ZfsError> {
    let rows: BTreeMap<&str, &str> = output.lines().filter_map(|line| line.split_once('\t')).collect();
    let value = |name: &str| {
        rows.get(name)
            .copied()
            .ok_or_else(|| malformed(Verb::PoolGet, format!("no {name}")))
    };
    let number = |name: &str| -> Result<u64, ZfsError> {
        let text = value(name)?;
        if text == "-" {
            return Ok(0);
        }
        text.parse()
            .map_err(|_| malformed(Verb::PoolGet, format!("{name}={text}")))
    };
    let guid = |name: &str| -> Result<Guid, ZfsError> {
        let text = value(name)?;
        text.parse()
            .map_err(|_| malformed(Verb::PoolGet, format!("{name}={text}")))
    };
    Ok(PoolStatus {
        guid: guid("guid")?,
        load_guid: guid("load_guid")?,
        health: Health::parse(value("health")?),
        size: number("size")?,
        allocated: number("allocated")?,
        free: number("free")?,
        freeing: number("freeing")?,
        fragmentation: value("fragmentation")?.trim_end_matches('%').parse().ok(),
        readonly: value("readonly")? == "on",
    })
}

/// `zpool import` without a pool: for people only, so by its labels. Each pool begins with `pool: <name>` and has lines
/// `id: <guid>` and `state: <health>`.
pub(super) fn parse_importable(output: &str) -> Result<Vec<ImportablePool>, ZfsError> {
    let mut pools = Vec::new();
    let mut name = None;
    let mut guid = None;
    for line in output.lines() {
        let line = line.trim_start();
        if let Some(text) = line.strip_prefix("pool: ") {
            name = Some(text.parse().map_err(|_| malformed(Verb::PoolSearch, line))?);
            guid = None;
        } else if let Some(text) = line.strip_prefix("id: ") {
            guid = Some(text.trim().parse().map_err(|_| malformed(Verb::PoolSearch, line))?);
        } else if let Some(text) = line.strip_prefix("state: ")
            && let (Some(name), Some(guid)) = (name.take(), guid.take())
        {
            let word = text.split_whitespace().next().unwrap_or_default();
            pools.push(ImportablePool {
                name,
                guid,
                health: Health::parse(word),
            });
        }
    }
    Ok(pools)
}

/// What `zpool import` says, failing, when there is nothing to import.
pub(super) fn is_none_importable(stderr: &str) -> bool {
    stderr.contains("no pools available to import")
}

/// `zfs list -H -p -o name,<columns>`: columns name and those asked for; `-` is "unset".
pub(super) fn parse_rows(output: &str, columns: &[PropName]) -> Result<Vec<Row>, ZfsError> {
    let parse = |line: &str| -> Option<Row> {
        let mut cells = line.split('\t');
        let name = cells.next()?.parse().ok()?;
        let mut values = BTreeMap::new();
        for column in columns {
            let cell = cells.next()?;
            if cell != "-" {
                values.insert(column.clone(), cell.to_owned());
            }
        }
        cells.next().is_none().then_some(Row { name, values })
    };
    output
        .lines()
        .map(|line| parse(line).ok_or_else(|| malformed(Verb::List, line)))
        .collect()
}

/// `zfs get -H -p -o name,property,value,source`. The source is `local`, `default`, `received`, `temporary`,
/// `inherited from <dataset>` or `-`.
pub(super) fn parse_properties(output: &str) -> Result<Vec<PropertyRow>, ZfsError> {
    let parse = |line: &str| -> Option<PropertyRow> {
        let cells: Vec<&str> = line.split('\t').collect();
        let [name, property, value, source] = cells[..] else {
            return None;
        };
        Some(PropertyRow {
            name: name.parse().ok()?,
            property: property.parse().ok()?,
            value: value.to_owned(),
            source: parse_source(source)?,
        })
    };
    output
        .lines()
        .map(|line| parse(line).ok_or_else(|| malformed(Verb::Get, line)))
        .collect()
}

fn parse_source(text: &str) -> Option<Source> {
    Some(match text {
        "local" => Source::Local,
        "default" => Source::Default,
        "received" => Source::Received,
        "temporary" => Source::Temporary,
        "-" | "none" => Source::None,
        _ => Source::Inherited(text.strip_prefix("inherited from ")?.parse().ok()?),
    })
}

/// `zfs holds -H`: columns name, tag, time. The time is for people; a foreign tag may itself contain a tab.
pub(super) fn parse_holds(output: &str) -> Result<Vec<Hold>, ZfsError> {
    let parse = |line: &str| -> Option<Hold> {
        let (name, rest) = line.split_once('\t')?;
        let (tag, _time) = rest.rsplit_once('\t')?;
        Some(Hold {
            snapshot: name.parse().ok()?,
            tag: tag.to_owned(),
        })
    };
    output
        .lines()
        .map(|line| parse(line).ok_or_else(|| malformed(Verb::Holds, line)))
        .collect()
}

/// `zfs get -H -p -o value written` (or `written@snap`): one number. `-` means that there is no such snapshot.
pub(super) fn parse_written(output: &str) -> Result<u64, ZfsError> {
    match output.trim() {
        "-" => Err(ZfsError::new(Verb::Get, ErrorKind::SnapshotNotFound)),
        text => text.parse().map_err(|_| malformed(Verb::Get, text)),
    }
}

#[cfg(test)]
mod tests;
