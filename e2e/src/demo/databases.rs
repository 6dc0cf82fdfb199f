//! PostgreSQL and Redis as pods.
//!
//! Both write as databases in production do: fsync on, the append-only file synced before each answer. A database on a
//! branch starts from the files as they were at the commit, as after a power cut.

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};

use super::VOLUMES;
use crate::cluster::Cluster;
use crate::objects;

/// PostgreSQL's port.
pub(super) const POSTGRES: i32 = 5432;
/// Redis' port.
pub(super) const REDIS: i32 = 6379;

/// Users of the databases in the image.
const POSTGRES_USER: i64 = 999;
const REDIS_USER: i64 = 998;

const POSTGRES_SCRIPT: &str = r#"
set -eu
export PGDATA=/data/pgdata
if [ ! -s "$PGDATA/PG_VERSION" ]; then
    rm -rf "$PGDATA" "$PGDATA.new"
    initdb -D "$PGDATA.new" -U postgres -A trust -E UTF8 --locale=C
    echo 'host all all all trust' >> "$PGDATA.new/pg_hba.conf"
    sync
    mv "$PGDATA.new" "$PGDATA"
fi
exec postgres -c listen_addresses='*' -c unix_socket_directories=/tmp -c shared_buffers=64MB
"#;

const REDIS_SCRIPT: &str =
    "exec redis-server --dir /data --bind 0.0.0.0 --protected-mode no --appendonly yes --appendfsync always --save ''";

/// Names of a pair of databases: of the pods, and of the claims they mount.
pub(super) struct Names {
    /// PostgreSQL's.
    pub(super) db: String,
    /// Redis'.
    pub(super) cache: String,
}

/// The names of the first pair, or of the one on a branch.
pub(super) fn names(branch: Option<u32>) -> Names {
    let suffix = branch.map_or_else(String::new, |number| format!("-{number}"));
    let [(db, _), (cache, _)] = VOLUMES;
    Names {
        db: format!("{db}{suffix}"),
        cache: format!("{cache}{suffix}"),
    }
}

/// Claims and pods of a pair on a Dot or a Branch.
pub(super) fn manifests(names: &Names, kind: &str, source: &str) -> Vec<Value> {
    let [(db, db_size), (cache, cache_size)] = VOLUMES;
    vec![
        objects::claim(&names.db, db_size, kind, source, db),
        objects::claim(&names.cache, cache_size, kind, source, cache),
        pod(&names.db, POSTGRES_USER, POSTGRES, POSTGRES_SCRIPT),
        pod(&names.cache, REDIS_USER, REDIS, REDIS_SCRIPT),
    ]
}

fn pod(name: &str, user: i64, port: i32, script: &str) -> Value {
    let mut pod = objects::pod(name, &[name], script);
    let spec = &mut pod["spec"];
    spec["terminationGracePeriodSeconds"] = json!(30);
    spec["restartPolicy"] = json!("Always");
    // The owner of a volume's root is set once, on an empty volume: a branch finds it as it was.
    spec["securityContext"] = json!({
        "runAsUser": user, "runAsGroup": user, "fsGroup": user, "fsGroupChangePolicy": "OnRootMismatch",
    });
    let container = &mut spec["containers"][0];
    container["volumeMounts"] = json!([{"name": name, "mountPath": "/data"}]);
    // A connection, not a program: starting programs is dear on an emulated node.
    container["readinessProbe"] = json!({"tcpSocket": {"port": port}, "periodSeconds": 1});
    pod
}

/// Waits until both are ready.
pub(super) async fn wait(cluster: &Cluster, names: &Names) -> Result<()> {
    cluster.wait_pod(&names.db).await?;
    cluster.wait_pod(&names.cache).await.map(drop)
}

/// A ready pod's address.
pub(super) async fn address(cluster: &Cluster, pod: &str) -> Result<String> {
    let pod: Pod = cluster.get(pod).await?;
    pod.status
        .and_then(|status| status.pod_ip)
        .context("a ready pod has an address")
}
