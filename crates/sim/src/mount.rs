//! csi-node's [`Mount`] on the stage.

use std::path::Path;

use dotmesh_mount::{
    FakeMount, FsUsage, Mount, MountError, MountErrorKind, MountOption, MountTable, ZfsMount, Zvol, ZvolMount,
};

use crate::fault::{Class, Failure};
use crate::stage::{Life, Stage};

/// One incarnation's way to the machine's mounts.
#[derive(Clone)]
pub struct SimMount {
    stage: Stage,
    life: Life,
    mount: FakeMount,
}

impl SimMount {
    /// For an incarnation of csi-node.
    #[must_use]
    pub fn new(stage: Stage, life: Life, mount: FakeMount) -> Self {
        Self { stage, life, mount }
    }

    async fn call<T: Send, F>(
        &self,
        class: Class,
        (operation, path): (&'static str, &Path),
        perform: impl FnMut() -> F + Send,
    ) -> Result<T, MountError>
    where
        F: Future<Output = Result<T, MountError>> + Send,
    {
        let failed = |failure| match failure {
            Failure::NotDone | Failure::Conflict => {
                MountError::new(operation, path, MountErrorKind::Other("on purpose".to_owned()))
            }
            Failure::Unknown | Failure::Late | Failure::Delayed => {
                MountError::new(operation, path, MountErrorKind::Timeout)
            }
        };
        let text = || format!("{operation} {}", path.display());
        self.stage.effect(&self.life, class, text, failed, perform).await
    }
}

impl Mount for SimMount {
    async fn mount_zfs(&self, mount: &ZfsMount) -> Result<(), MountError> {
        let what = ("mount at", mount.target.as_path());
        let perform = || self.mount.mount_zfs(mount);
        self.call(Class::MountWrite, what, perform).await
    }

    async fn mount_zvol(&self, mount: &ZvolMount) -> Result<(), MountError> {
        let what = ("mount volume at", mount.target.as_path());
        let perform = || self.mount.mount_zvol(mount);
        self.call(Class::MountWrite, what, perform).await
    }

    async fn bind_zvol(&self, zvol: &Zvol, target: &Path, readonly: bool) -> Result<(), MountError> {
        let perform = || self.mount.bind_zvol(zvol, target, readonly);
        self.call(Class::MountWrite, ("bind device to", target), perform).await
    }

    async fn find_zvol(&self, zvol: &Zvol) -> Result<(), MountError> {
        let what = ("find device for", zvol.node.as_path());
        self.call(Class::MountWrite, what, || self.mount.find_zvol(zvol)).await
    }

    async fn is_zvol_blank(&self, zvol: &Zvol) -> Result<bool, MountError> {
        let what = ("read device", zvol.node.as_path());
        self.call(Class::MountRead, what, || self.mount.is_zvol_blank(zvol))
            .await
    }

    async fn flush_zvol(&self, zvol: &Zvol) -> Result<(), MountError> {
        let what = ("flush device", zvol.node.as_path());
        self.call(Class::MountWrite, what, || self.mount.flush_zvol(zvol)).await
    }

    async fn forget_zvol(&self, node: &Path, keep: &Path) -> Result<(), MountError> {
        let perform = || self.mount.forget_zvol(node, keep);
        self.call(Class::MountWrite, ("forget device", node), perform).await
    }

    async fn grow_filesystem(&self, target: &Path) -> Result<(), MountError> {
        let perform = || self.mount.grow_filesystem(target);
        self.call(Class::MountWrite, ("grow filesystem at", target), perform)
            .await
    }

    async fn device_bytes(&self, path: &Path) -> Result<u64, MountError> {
        let perform = || self.mount.device_bytes(path);
        self.call(Class::MountRead, ("size of device at", path), perform).await
    }

    async fn remove_file(&self, path: &Path) -> Result<(), MountError> {
        let perform = || self.mount.remove_file(path);
        self.call(Class::MountWrite, ("remove file", path), perform).await
    }

    async fn bind(
        &self,
        source: &Path,
        target: &Path,
        readonly: bool,
        options: &[MountOption],
    ) -> Result<(), MountError> {
        let perform = || self.mount.bind(source, target, readonly, options);
        self.call(Class::MountWrite, ("bind to", target), perform).await
    }

    async fn remount_bind(&self, target: &Path, readonly: bool) -> Result<(), MountError> {
        let perform = || self.mount.remount_bind(target, readonly);
        self.call(Class::MountWrite, ("remount", target), perform).await
    }

    async fn unmount(&self, target: &Path, lazy: bool) -> Result<(), MountError> {
        let perform = || self.mount.unmount(target, lazy);
        self.call(Class::MountWrite, ("unmount", target), perform).await
    }

    async fn list(&self) -> Result<MountTable, MountError> {
        let what = ("read the mount table", Path::new(""));
        self.call(Class::MountRead, what, || self.mount.list()).await
    }

    async fn statfs(&self, path: &Path) -> Result<FsUsage, MountError> {
        self.call(Class::MountRead, ("statfs", path), || self.mount.statfs(path))
            .await
    }

    async fn make_dir(&self, path: &Path) -> Result<(), MountError> {
        self.call(Class::MountWrite, ("make folder", path), || self.mount.make_dir(path))
            .await
    }

    async fn remove_dir(&self, path: &Path) -> Result<(), MountError> {
        let perform = || self.mount.remove_dir(path);
        self.call(Class::MountWrite, ("remove folder", path), perform).await
    }

    async fn is_empty_dir(&self, path: &Path) -> Result<bool, MountError> {
        let perform = || self.mount.is_empty_dir(path);
        self.call(Class::MountRead, ("read folder", path), perform).await
    }

    async fn syncfs(&self, path: &Path) -> Result<(), MountError> {
        self.call(Class::MountWrite, ("sync", path), || self.mount.syncfs(path))
            .await
    }
}
