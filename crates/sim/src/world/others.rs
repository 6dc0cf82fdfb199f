//! What other people and tools do on a machine.

use dotmesh_zfs::{CreateKind, CreateRequest, Properties, Zfs};

use super::World;

impl World {
    /// Another pool takes the place of ours.
    pub(super) async fn exchange_pool(&self) {
        let machine = &self.cluster.machines[0];
        machine.go_down();
        self.cluster
            .stage
            .with_oracle(|oracle| oracle.pool_is_exchanged(0, || machine.exchange_pool()));
        self.restart_node(1, true).await;
    }

    /// A dataset and a snapshot beside ours.
    pub(super) async fn make_foreign(&self) {
        let zfs = &self.cluster.machines[0].zfs;
        let request = CreateRequest {
            dataset: "dotmesh/theirs".parse().unwrap_or_else(|error| panic!("{error}")),
            kind: CreateKind::Filesystem,
            properties: Properties::new(),
            parents: false,
        };
        let _ = zfs.create(&request).await;
        let theirs = "dotmesh/theirs@dotmesh"
            .parse()
            .unwrap_or_else(|error| panic!("{error}"));
        let _ = zfs.snapshot(&[theirs], &Properties::new()).await;
    }
}
