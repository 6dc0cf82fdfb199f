//! What a branch must show: both databases of one instant, consistent in themselves.

use std::fmt;
use std::ops::RangeInclusive;

use anyhow::{Context, Result, ensure};

use super::databases::Names;
use crate::cluster::Cluster;

/// Sums of pgbench's tables, and amcheck over every table and every B-tree index there is, each index with its table.
const POSTGRES: &str = r#"
set -eu
export PGHOST=127.0.0.1 PGUSER=postgres PGDATABASE=postgres
until pg_isready -q; do sleep 0.5; done
exec psql -X -A -t -q -v ON_ERROR_STOP=1 <<'SQL'
SELECT 'counter', n FROM counter;
SELECT 'sum', sum(abalance) FROM pgbench_accounts;
SELECT 'sum', sum(tbalance) FROM pgbench_tellers;
SELECT 'sum', sum(bbalance) FROM pgbench_branches;
SELECT 'sum', coalesce(sum(delta), 0) FROM pgbench_history;
SELECT 'history', count(*) FROM pgbench_history;
SELECT 'damage', c.relname, v.msg FROM pg_class c, LATERAL verify_heapam(c.oid) v
  WHERE c.relkind IN ('r', 'm', 't') AND c.relpersistence = 'p';
SELECT 'table', count(*) FROM pg_class WHERE relkind IN ('r', 'm', 't') AND relpersistence = 'p';
SELECT 'index', c.relname, bt_index_check(c.oid, true)
  FROM pg_class c JOIN pg_am a ON a.oid = c.relam JOIN pg_index i ON i.indexrelid = c.oid
  WHERE a.amname = 'btree' AND c.relkind = 'i' AND c.relpersistence = 'p' AND i.indisvalid AND i.indisready;
SQL
"#;

const REDIS: &str = "until [ \"$(redis-cli ping)\" = PONG ]; do sleep 0.5; done; exec redis-cli get counter";

/// What was found on a branch.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Findings {
    postgres: u64,
    redis: u64,
    sums: Vec<i64>,
    history: u64,
    damage: Vec<String>,
    tables: u64,
    indexes: u64,
}

/// Asks both databases.
pub(super) async fn examine(cluster: &Cluster, names: &Names) -> Result<Findings> {
    let mut findings = parse_findings(&cluster.bash(&names.db, POSTGRES).await?)?;
    let redis = cluster.bash(&names.cache, REDIS).await?;
    findings.redis = redis
        .trim()
        .parse()
        .with_context(|| format!("Redis' counter: {redis}"))?;
    Ok(findings)
}

fn parse_findings(text: &str) -> Result<Findings> {
    let mut findings = Findings::default();
    for line in text.lines() {
        let (what, rest) = line.split_once('|').with_context(|| format!("psql printed {line:?}"))?;
        match what {
            "counter" => findings.postgres = rest.parse()?,
            "sum" => findings.sums.push(rest.parse()?),
            "history" => findings.history = rest.parse()?,
            "damage" => findings.damage.push(rest.to_owned()),
            "table" => findings.tables = rest.parse()?,
            "index" => findings.indexes += 1,
            other => anyhow::bail!("psql printed {other:?}"),
        }
    }
    Ok(findings)
}

impl Findings {
    /// Whether all of it is as it must be. `range`: the counter before the commit was asked for, and some time after.
    pub(super) fn judge(&self, range: RangeInclusive<u64>) -> Result<()> {
        let (postgres, redis) = (self.postgres, self.redis);
        ensure!(
            redis <= postgres && postgres <= redis + 1,
            "the volumes are not of one instant: counter {postgres} in PostgreSQL, {redis} in Redis"
        );
        ensure!(range.contains(&postgres), "the counter is {postgres}, not in {range:?}");
        let agree = self.sums.len() == 4 && self.sums.iter().all(|sum| *sum == self.sums[0]);
        ensure!(
            agree,
            "pgbench's sums (accounts, tellers, branches, history) differ: {:?}",
            self.sums
        );
        ensure!(self.damage.is_empty(), "amcheck: {}", self.damage.join("; "));
        ensure!(self.tables > 0 && self.indexes > 0, "amcheck looked at nothing");
        Ok(())
    }
}

impl fmt::Display for Findings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "counter {} in PostgreSQL, {} in Redis; sums agree over {} transactions; amcheck: {} tables and {} indexes clean",
            self.postgres, self.redis, self.history, self.tables, self.indexes
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "counter|7\nsum|5\nsum|5\nsum|5\nsum|5\nhistory|3\ntable|70\nindex|pg_class_oid_index|\n";

    fn findings(text: &str, redis: u64) -> Findings {
        let mut findings = parse_findings(text).unwrap();
        findings.redis = redis;
        findings
    }

    #[test]
    fn both_counters_of_one_instant_pass() {
        findings(GOOD, 7).judge(5..=9).unwrap();
        findings(GOOD, 6).judge(5..=9).unwrap();
    }

    #[test]
    fn each_fault_is_found() {
        assert!(findings(GOOD, 8).judge(5..=9).is_err(), "Redis is younger");
        assert!(findings(GOOD, 5).judge(5..=9).is_err(), "Redis is older");
        assert!(findings(GOOD, 7).judge(8..=9).is_err(), "older than the commit");
        assert!(
            findings(&GOOD.replace("sum|5\nh", "sum|4\nh"), 7).judge(5..=9).is_err(),
            "sums"
        );
        assert!(
            findings(&format!("{GOOD}damage|t|bad\n"), 7).judge(5..=9).is_err(),
            "amcheck"
        );
        assert!(findings("counter|7\n", 7).judge(5..=9).is_err(), "nothing checked");
    }
}
