//! What is alpha in CSI 1.13: served when it is switched on, and then the truth.

use super::*;

fn of_node(id: &str, path: &str) -> proto::NodeGetVolumeHealthRequest {
    proto::NodeGetVolumeHealthRequest {
        volume_id: id.to_owned(),
        volume_publish_path: path.to_owned(),
        ..proto::NodeGetVolumeHealthRequest::default()
    }
}

fn of_controller(id: &str) -> proto::ControllerGetVolumeHealthRequest {
    proto::ControllerGetVolumeHealthRequest {
        volume_id: id.to_owned(),
        ..proto::ControllerGetVolumeHealthRequest::default()
    }
}

/// Status and reason of each entry.
fn told(health: Option<proto::VolumeHealth>) -> Vec<(i32, String)> {
    let entries = health.unwrap().health_statuses.into_iter();
    entries.map(|entry| (entry.status, entry.reason)).collect()
}

impl World {
    /// What each of the four calls says, and that those about one volume agree.
    async fn health(&self) -> (Vec<(i32, String)>, Vec<(i32, String)>) {
        let csi = &self.csi;
        let asked = csi
            .node_get_volume_health(Request::new(of_node(&self.volume_id, TARGET)))
            .await;
        let of_node = told(asked.unwrap().into_inner().volume_health);
        let asked = csi
            .controller_get_volume_health(Request::new(of_controller(&self.volume_id)))
            .await;
        assert_eq!(told(asked.unwrap().into_inner().volume_health), of_node);
        if let Ok(listed) = csi
            .controller_list_volume_health(Request::new(Default::default()))
            .await
        {
            let mut listed = listed.into_inner().entries;
            assert_eq!(listed.len(), usize::from(!of_node.is_empty()));
            assert!(listed.pop().is_none_or(|health| told(Some(health)) == of_node));
        }
        let storage = csi
            .node_get_storage_health(Request::new(Default::default()))
            .await
            .unwrap()
            .into_inner();
        let storage = storage.backend_health.into_iter().map(|one| (one.status, one.reason));
        (of_node, storage.collect())
    }
}

#[tokio::test]
async fn what_is_wrong_with_a_pool_is_wrong_with_its_volumes() {
    use dotmesh_csi_proto::csi::{StorageHealthErrorType as Storage, VolumeHealthErrorType as Volume};
    use dotmesh_zfs::Health;
    let world = World::new().await;
    assert_eq!(world.health().await, (Vec::new(), Vec::new()));
    for (health, volume, storage, reason) in [
        (
            Health::Degraded,
            Volume::Degraded,
            Storage::StorageDegraded,
            "PoolDegraded",
        ),
        (
            Health::Suspended,
            Volume::Inaccessible,
            Storage::StorageUnreachable,
            "PoolSuspended",
        ),
        (
            Health::Faulted,
            Volume::Inaccessible,
            Storage::StorageUnreachable,
            "PoolFaulted",
        ),
        (
            Health::Unavailable,
            Volume::Inaccessible,
            Storage::StorageUnreachable,
            "PoolUnavailable",
        ),
    ] {
        world.zfs.set_health(&"dotmesh".parse().unwrap(), health);
        let reason = reason.to_owned();
        let wanted = (vec![(volume.into(), reason.clone())], vec![(storage.into(), reason)]);
        assert_eq!(world.health().await, wanted, "{health}");
    }
    world.zfs.set_health(&"dotmesh".parse().unwrap(), Health::Online);
    assert_eq!(world.health().await, (Vec::new(), Vec::new()));
}

#[tokio::test]
async fn wrong_calls_are_told_and_off_means_off() {
    let world = World::new().await;
    let other = "1.0c5a6f6e-1111-4222-8333-444455556666.0c5a6f6e-1111-4222-8333-444455556667.0c5a6f6e-1111-4222-8333-444455556668";
    for (id, code) in [
        ("", Code::InvalidArgument),
        ("x", Code::NotFound),
        (other, Code::NotFound),
    ] {
        let asked = world.csi.node_get_volume_health(Request::new(of_node(id, ""))).await;
        assert_eq!(asked.unwrap_err().code(), code, "{id}");
        let asked = world
            .csi
            .controller_get_volume_health(Request::new(of_controller(id)))
            .await;
        assert_eq!(asked.unwrap_err().code(), code, "{id}");
    }
    let relative = of_node(&world.volume_id, "a/b");
    let refused = world
        .csi
        .node_get_volume_health(Request::new(relative))
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    let asked = proto::ControllerListVolumeHealthRequest {
        starting_token: "x".to_owned(),
        ..Default::default()
    };
    let refused = world
        .csi
        .controller_list_volume_health(Request::new(asked))
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Code::Aborted);
    let capabilities = async |csi: &Csi<FakeZfs, FakeMount>| {
        let node = csi
            .node_get_capabilities(Request::new(Default::default()))
            .await
            .unwrap()
            .into_inner();
        let controller = csi
            .controller_get_capabilities(Request::new(Default::default()))
            .await
            .unwrap()
            .into_inner();
        node.capabilities.len() + controller.capabilities.len()
    };
    let off = world.csi.clone().with_alpha(false);
    assert_eq!(capabilities(&world.csi).await, capabilities(&off).await + 4);
    let id = &world.volume_id;
    let codes = [
        off.node_get_volume_health(Request::new(of_node(id, "")))
            .await
            .unwrap_err()
            .code(),
        off.node_get_storage_health(Request::new(Default::default()))
            .await
            .unwrap_err()
            .code(),
        off.controller_get_volume_health(Request::new(of_controller(id)))
            .await
            .unwrap_err()
            .code(),
        off.controller_list_volume_health(Request::new(Default::default()))
            .await
            .unwrap_err()
            .code(),
    ];
    assert_eq!(codes, [Code::Unimplemented; 4]);
}
