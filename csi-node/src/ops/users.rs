//! Who uses volumes, by the kernel's mount table: every mount of a volume of ours but the private one.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use dotmesh_model::id::{DotId, HeadId, VolumeId};
use dotmesh_mount::{Mount, MountTable};
use dotmesh_zfs::Zfs;

use super::publish::is_private;
use super::shown::shown;
use super::{Error, Host};

/// A volume of a head, and somebody who has it mounted.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct VolumeUser {
    /// The Dot.
    pub dot: DotId,
    /// The head.
    pub head: HeadId,
    /// The volume.
    pub volume: VolumeId,
    /// Who.
    pub user: User,
}

/// Somebody who has a volume mounted.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum User {
    /// The pod of this uid: mounted in its folder.
    Pod(String),
    /// Somebody else, at this path.
    Path(PathBuf),
}

impl User {
    /// By where it is mounted: the kubelet's folders are `…/pods/<uid>/volumes/…`, seen below the host's root, too. A
    /// block device is at `…/volumeDevices/publish/<volume>/<uid>` and, once more by the kubelet itself, at
    /// `…/volumeDevices/<volume>/dev/<uid>` (`pkg/volume/csi/csi_block.go`).
    fn at(target: &Path) -> Self {
        let parts: Vec<_> = target.iter().collect();
        let of_pod = |window: &&[&std::ffi::OsStr]| window[0] == "pods" && window[2] == "volumes";
        let files = parts.windows(3).find(of_pod).and_then(|window| window[1].to_str());
        let device = match parts[..] {
            [.., folder, publish, _, uid] if folder == "volumeDevices" && publish == "publish" => uid.to_str(),
            [.., folder, _, dev, uid] if folder == "volumeDevices" && dev == "dev" => uid.to_str(),
            _ => None,
        };
        let pod = files.or(device);
        pod.map_or_else(|| Self::Path(target.to_owned()), |uid| Self::Pod(uid.to_owned()))
    }
}

impl<Z: Zfs, M: Mount> Host<Z, M> {
    /// Mounts of volumes of ours that are not private, in any pool.
    fn used<'a>(&'a self, table: &'a MountTable) -> impl Iterator<Item = ((DotId, HeadId, VolumeId), &'a Path)> {
        table.iter().filter_map(|entry| {
            let ((dot, head, volume), _) = shown(entry)?;
            let target = entry.target.as_path();
            (!is_private(target, &self.private_dir(head, volume))).then_some(((dot, head, volume), target))
        })
    }

    /// Where pods see anything of a Dot's head.
    pub(crate) async fn users_of(&self, dot: DotId, head: HeadId) -> Result<Vec<PathBuf>, Error> {
        let table = self.mount_table().await?;
        let used = self
            .used(&table)
            .filter(|((of, shown, _), _)| (*of, *shown) == (dot, head));
        Ok(used.map(|(_, target)| target.to_owned()).collect())
    }

    /// Everybody who has a volume of ours mounted.
    pub(super) async fn all_users(&self) -> Result<BTreeSet<VolumeUser>, Error> {
        let table = self.mount_table().await?;
        let used = self.used(&table);
        Ok(used
            .map(|((dot, head, volume), target)| VolumeUser {
                dot,
                head,
                volume,
                user: User::at(target),
            })
            .collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_is_known_by_its_folder_wherever_that_is_seen() {
        let pod = |path: &str| User::at(Path::new(path));
        let uid = "0c5a6f6e-1111-4222-8333-444455556666";
        let folder = format!("/var/lib/kubelet/pods/{uid}/volumes/kubernetes.io~csi/pvc-1/mount");
        assert_eq!(pod(&folder), User::Pod(uid.to_owned()));
        assert_eq!(pod(&format!("/host{folder}")), User::Pod(uid.to_owned()));
        let devices = "/var/lib/kubelet/plugins/kubernetes.io/csi/volumeDevices";
        for folder in [
            format!("{devices}/publish/pvc-1/{uid}"),
            format!("/host{devices}/pvc-1/dev/{uid}"),
        ] {
            assert_eq!(pod(&folder), User::Pod(uid.to_owned()));
        }
        assert_eq!(pod("/mnt/pods"), User::Path("/mnt/pods".into()));
        assert_eq!(pod("/srv/data"), User::Path("/srv/data".into()));
    }
}
