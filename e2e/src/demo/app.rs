//! What writes to the databases: a counter in both, and pgbench.

use anyhow::{Context, Result, bail, ensure};
use serde_json::json;

use super::databases::{Names, POSTGRES, REDIS, address};
use crate::cluster::{Cluster, PATIENCE};
use crate::objects;
use crate::wait::{Look, until};

const POD: &str = "app";

/// Transactions of pgbench per second: enough to keep data dirty, few enough to leave an emulated node some time.
const PGBENCH_RATE: u32 = 10;

const PREPARE: &str = r#"
set -eu
until pg_isready -q; do sleep 0.5; done
psql -X -q -v ON_ERROR_STOP=1 <<'SQL'
CREATE TABLE IF NOT EXISTS counter (n bigint NOT NULL);
INSERT INTO counter SELECT 0 WHERE NOT EXISTS (SELECT FROM counter);
CREATE EXTENSION IF NOT EXISTS amcheck;
SQL
exec pgbench -q -i -s 1
"#;

/// One session each, no program per increment, a pause of 20 ms after each so that a slow node has time for others. Prints twice a second: the counter in PostgreSQL, in Redis, and the
/// longest time between two increments since the line before, in microseconds.
const WRITER: &str = r#"
set -u
export LC_ALL=C
coproc PG { exec psql -X -q -A -t; }
exec {NOTHING}<> <(:)
exec 3<>"/dev/tcp/$REDIS_HOST/$REDIS_PORT"
last=${EPOCHREALTIME/./}
shown=$last
longest=0
while :; do
    echo 'UPDATE counter SET n = n + 1 RETURNING n;' >&"${PG[1]}"
    read -r -t 60 postgres <&"${PG[0]}" || { echo 'BROKEN PostgreSQL does not answer'; exit 1; }
    printf 'INCR counter\r\n' >&3
    read -r -t 60 answer <&3 || { echo 'BROKEN Redis does not answer'; exit 1; }
    redis=${answer//[!0-9]/}
    if [ "$postgres" != "$redis" ]; then echo "BROKEN $postgres in PostgreSQL, $answer in Redis"; exit 1; fi
    now=${EPOCHREALTIME/./}
    if ((now - last > longest)); then longest=$((now - last)); fi
    last=$now
    read -r -t 0.02 <&"$NOTHING"
    if ((now - shown >= 500000)); then
        echo "$postgres $redis $longest"
        shown=$now
        longest=0
    fi
done
"#;

/// A line of the writer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Tick {
    /// The counter in PostgreSQL, acknowledged.
    pub(super) postgres: u64,
    /// The longest time between two increments since the line before, in microseconds.
    longest: u64,
}

/// The pod with the writer and pgbench.
pub(super) struct App<'a> {
    cluster: &'a Cluster,
}

impl<'a> App<'a> {
    /// Makes pgbench's tables and starts both.
    pub(super) async fn start(cluster: &'a Cluster, databases: &Names) -> Result<Self> {
        let environment = json!([
            {"name": "PGHOST", "value": address(cluster, &databases.db).await?},
            {"name": "PGPORT", "value": POSTGRES.to_string()},
            {"name": "PGUSER", "value": "postgres"},
            {"name": "PGDATABASE", "value": "postgres"},
            {"name": "REDIS_HOST", "value": address(cluster, &databases.cache).await?},
            {"name": "REDIS_PORT", "value": REDIS.to_string()},
        ]);
        let mut pod = objects::pod(POD, &[], WRITER);
        let mut writer = pod["spec"]["containers"][0].clone();
        writer["env"] = environment;
        writer["name"] = json!("writer");
        let (mut prepare, mut pgbench) = (writer.clone(), writer.clone());
        prepare["name"] = json!("prepare");
        prepare["command"] = json!(["bash", "-c", PREPARE]);
        pgbench["name"] = json!("pgbench");
        pgbench["command"] = json!([
            "bash",
            "-c",
            format!("exec pgbench -n -c 2 -T 1000000 -R {PGBENCH_RATE} -P 5 2>&1")
        ]);
        pod["spec"]["initContainers"] = json!([prepare]);
        pod["spec"]["containers"] = json!([writer, pgbench]);
        cluster.apply([pod]).await?;
        cluster.wait_pod(POD).await?;
        Ok(Self { cluster })
    }

    /// Everything the writer said.
    pub(super) async fn ticks(&self) -> Result<Vec<Tick>> {
        let log = self.cluster.kubectl(&["logs", POD, "-c", "writer"])?.output().await?;
        parse_ticks(&log)
    }

    /// The last thing the writer said.
    pub(super) async fn last(&self) -> Result<Tick> {
        self.ticks()
            .await?
            .last()
            .copied()
            .context("the writer said nothing yet")
    }

    /// Waits until the counter is past a value.
    pub(super) async fn wait_for(&self, value: u64) -> Result<()> {
        until(&format!("counter past {value}"), PATIENCE, async || {
            let now = self.ticks().await?.last().map_or(0, |tick| tick.postgres);
            Ok(Look::when(now > value, format!("counter {now}")))
        })
        .await
    }

    /// Waits until the writer went on from here, and returns all it said. Two lines more: the first may have been on its way already.
    pub(super) async fn next(&self) -> Result<Vec<Tick>> {
        let before = self.ticks().await?.len();
        until("the writer went on", PATIENCE, async || {
            let ticks = self.ticks().await?;
            let state = format!("{} lines, as before", ticks.len());
            Ok(Look::some((ticks.len() >= before + 2).then_some(ticks), state))
        })
        .await
    }

    /// The last thing pgbench said.
    pub(super) async fn pgbench(&self) -> Result<String> {
        let log = self
            .cluster
            .kubectl(&["logs", POD, "-c", "pgbench", "--tail=1"])?
            .output()
            .await?;
        ensure!(
            !log.contains("ABORT") && !log.to_lowercase().contains("error"),
            "pgbench: {log}"
        );
        Ok(log.trim().to_owned())
    }
}

fn parse_ticks(log: &str) -> Result<Vec<Tick>> {
    let mut ticks = Vec::new();
    for line in log.lines() {
        let fields: Vec<&str> = line.split(' ').collect();
        match fields.as_slice() {
            [postgres, _redis, longest] if fields.iter().all(|f| f.bytes().all(|b| b.is_ascii_digit())) => {
                let (postgres, longest) = (postgres.parse()?, longest.parse()?);
                ticks.push(Tick { postgres, longest });
            }
            _ => bail!("the writer: {line}"),
        }
    }
    Ok(ticks)
}

/// For people: how many increments, and the longest gap before the commits and during them.
pub(super) fn summary(quiet: &[Tick], all: &[Tick]) -> String {
    let longest = |ticks: &[Tick]| ticks.iter().map(|tick| tick.longest).max().unwrap_or(0) / 1000;
    let count = all.last().map_or(0, |tick| tick.postgres);
    let during = all.get(quiet.len()..).unwrap_or_default();
    format!(
        "{count} increments in each database; longest gap {} ms, before the first commit {} ms",
        longest(during),
        longest(quiet)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_gap_is_told_for_before_and_after() {
        let ticks = parse_ticks("10 10 40000\n20 20 30000\n30 30 90999\n").unwrap();
        assert_eq!(
            summary(&ticks[..2], &ticks),
            "30 increments in each database; longest gap 90 ms, before the first commit 40 ms"
        );
    }

    #[test]
    fn a_broken_writer_is_no_number() {
        assert!(parse_ticks("1 1 5\nBROKEN 2 in PostgreSQL, :4 in Redis\n").is_err());
    }
}
