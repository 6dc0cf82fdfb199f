//! Mounts with an SELinux context, on a kernel that has SELinux: `cargo xtask campaign selinux`.

use std::path::Path;

use dotmesh_csi_proto::csi::VolumeCapability;
use dotmesh_csi_proto::csi::volume_capability::AccessType;
use dotmesh_csi_proto::node::VolumeFormat;
use tonic::Code;

use crate::devices::asked;
use crate::load::{branch, claimed};
use crate::machine::{Dot, Machine, run};

const SELINUXFS: &str = "/sys/fs/selinux";

/// The policy becomes the kernel's: without one no filesystem has a context.
fn load_policy() {
    let policy = std::env::var("DOTMESH_SELINUX_POLICY").expect("DOTMESH_SELINUX_POLICY names a policy");
    if !Path::new(SELINUXFS).join("load").exists() {
        run(&["mount", "-t", "selinuxfs", "selinuxfs", SELINUXFS]);
    }
    // One write: the kernel takes a policy as a whole.
    std::fs::write(Path::new(SELINUXFS).join("load"), std::fs::read(policy).unwrap()).unwrap();
}

fn labelled(format: VolumeFormat, context: &str) -> VolumeCapability {
    let mut capability = asked(format);
    if let Some(AccessType::Mount(mount)) = &mut capability.access_type {
        mount.mount_flags = vec![format!("context=\"{context}\"")];
    }
    capability
}

fn label(path: &Path) -> String {
    run(&["stat", "-c", "%C", &path.to_string_lossy()])
}

#[tokio::test]
#[ignore = "needs a kernel with SELinux: cargo xtask campaign selinux"]
async fn the_files_of_a_volume_have_the_context_that_its_pods_ask_for() {
    load_policy();
    let machine = Machine::with_pool().await;
    let dot = Dot::on(&machine);
    let mut node = machine.node().await;
    node.ensure_dot(dot.ensure()).await.unwrap();
    let volumes = [
        ("native", VolumeFormat::Zfs),
        ("old", VolumeFormat::Ext4),
        ("big", VolumeFormat::Xfs),
    ];
    let mut request = branch(&dot, &volumes);
    // The least that an xfs has.
    request.volumes[2].size_bytes = 320 << 20;
    node.ensure_branch(request).await.unwrap();
    let (one, other) = ("u:object_r:pod_t:s0:c1,c2", "u:object_r:pod_t:s0:c0,c3");
    for (name, format) in volumes {
        let handle = claimed(&machine, &dot, name, "").await;
        let target = |pod: &str| machine.target(&format!("{name}-{pod}"));
        let (first, second) = (target("first"), target("second"));
        machine.publish_as(handle, &first, labelled(format, one)).await.unwrap();
        machine.publish_as(handle, &first, labelled(format, one)).await.unwrap();
        std::fs::write(first.join("file"), "data").unwrap();
        assert_eq!(label(&first.join("file")), one, "{name}");
        let refused = machine.publish_as(handle, &second, labelled(format, other)).await;
        let refused = refused.unwrap_err();
        assert_eq!(refused.code(), Code::FailedPrecondition, "{refused}");
        assert!(
            refused.message().contains(one) && refused.message().contains(other),
            "{refused}"
        );
        machine
            .publish_as(handle, &second, labelled(format, one))
            .await
            .unwrap();
        assert_eq!(label(&second.join("file")), one, "{name}");
        for target in [&first, &second] {
            machine.unpublish(handle, target).await.unwrap();
        }
        machine
            .publish_as(handle, &second, labelled(format, other))
            .await
            .unwrap();
        assert_eq!(
            label(&second.join("file")),
            other,
            "{name}: what is written has no label of its own"
        );
        machine.unpublish(handle, &second).await.unwrap();
        machine.publish_as(handle, &second, asked(format)).await.unwrap();
        assert_ne!(label(&second.join("file")), other, "{name}");
        machine.unpublish(handle, &second).await.unwrap();
    }
}
