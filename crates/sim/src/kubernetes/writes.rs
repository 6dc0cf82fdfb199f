//! What pods do with their volumes.

use std::path::Path;

use dotmesh_mount::MountEntry;

use super::Kubernetes;

impl Kubernetes {
    /// A pod writes to all its volumes.
    pub fn write(&self, pod: &str) {
        let folder = format!("/var/lib/kubelet/pods/{pod}/");
        for machine in self.cluster.machines.iter() {
            let table = machine.mount.table();
            let of_pod = |entry: &&MountEntry| entry.target.starts_with(Path::new(&folder));
            for entry in table.iter().filter(of_pod) {
                let volume = machine.mount.volume_at(&entry.target);
                if let Ok(dataset) = volume.as_ref().unwrap_or(&entry.source).parse() {
                    let _ = machine.zfs.write(&dataset, 4096);
                }
            }
        }
    }
}
