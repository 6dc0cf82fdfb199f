//! `dotmesh-operator check`: whether an installation can take data. `helm test` runs it.
//!
//! It asks the Pools, because one is Ready only when all that comes before it works: the API knows our kinds, the
//! operator runs, the node's csi-node has its certificate, OpenZFS answers there. It only reads.

use std::time::Duration;

use anyhow::{Context as _, bail};
use dotmesh_crds::{Condition, Pool};
use kube::api::{Api, ListParams};
use kube::{Client, ResourceExt};
use tokio::time::{Instant, sleep};

use crate::status::{is_ready, ready_condition};

/// Between two looks.
const PAUSE: Duration = Duration::from_secs(2);

/// A line for each Pool, once all of them are Ready.
///
/// # Errors
/// What is not as it should be when that time is over.
pub async fn run(client: Client, within: Duration) -> anyhow::Result<String> {
    let pools = Api::<Pool>::all(client);
    let end = Instant::now() + within;
    loop {
        let listed = pools.list(&ListParams::default()).await.context("listing the Pools");
        match listed.and_then(|list| judge(&list.items)) {
            Err(_) if Instant::now() < end => sleep(PAUSE).await,
            judged => return judged,
        }
    }
}

/// A line for each Pool, as an error unless all are Ready.
fn judge(pools: &[Pool]) -> anyhow::Result<String> {
    if pools.is_empty() {
        bail!("there is no Pool: no pod of csi-node runs, or the operator does not");
    }
    let lines: Vec<String> = pools.iter().map(describe).collect();
    let text = lines.join("\n");
    if !pools.iter().all(|pool| is_ready(conditions(pool))) {
        bail!("not every Pool is Ready\n{text}");
    }
    Ok(text)
}

fn conditions(pool: &Pool) -> &[Condition] {
    pool.status.as_ref().map_or(&[], |status| &status.conditions)
}

fn describe(pool: &Pool) -> String {
    let found = match ready_condition(conditions(pool)) {
        Some(condition) => format!("{} {}", condition.reason, condition.message),
        None => "nothing known of it yet".to_owned(),
    };
    let of = format!("Pool {} on node {}: {found}", pool.name_any(), pool.spec.node_name);
    of.trim_end().to_owned()
}
