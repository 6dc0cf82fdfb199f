//! Volumes of ZFS for pods: the filesystem on one, by one private mount as for native ones, or the node of its device.

use std::path::Path;

use dotmesh_model::format::VolumeFormat;
use dotmesh_model::id::{DotId, HeadId, VolumeId};
use dotmesh_mount::{Mount, MountEntry, MountTable, Zvol, ZvolMount};
use dotmesh_zfs::{ErrorKind, GetRequest, ObjectName, Source, Zfs};

use super::{PublishRequest, check_alone, check_context, other_source};
use crate::layout::{DEVICES, Stage, VOLUME, VolumeRecord, decode_volume, device_node};
use crate::ops::branch::{filesystem, volume_device};
use crate::ops::shown::{Form, shown};
use crate::ops::{Error, Host, KnownPool, Ops};

impl<Z: Zfs, M: Mount> Ops<Z, M> {
    /// Shows the volume at the target. The caller has the Dot's lock, and nothing of another kind is asked for.
    pub(super) async fn publish_device(
        &self,
        pool: &KnownPool,
        request: &PublishRequest,
        head: HeadId,
    ) -> Result<(), Error> {
        let (dot, volume) = (request.volume.dot(), request.volume.volume());
        let target = request.target.as_path();
        let dataset = pool.layout.volume(dot, head, volume);
        let zvol = Zvol {
            volume: dataset.to_string(),
            node: device_node(dot, head, volume),
        };
        let on_device = filesystem(request.format);
        let form = if on_device.is_some() {
            Form::Filesystem
        } else {
            Form::Device
        };
        let is_it = |entry: &MountEntry| shown(entry) == Some(((dot, head, volume), form));
        let table = self.host.mount_table().await?;
        let private = self.host.private_dir(head, volume);
        check_alone(request, &table, (dot, head, volume), &private)?;
        if let Some(entry) = table.at(target) {
            if !is_it(entry) {
                return Err(other_source(target, &entry.source, dataset.as_str()));
            }
            check_context(request, entry)?;
            return self.host.change_bind(entry, request).await;
        }
        self.check_ready(pool, (dot, head, volume), request.format).await?;
        let doing = "mounting for the pod";
        match on_device {
            Some(_) => {
                self.ensure_filesystem(&table, &zvol, &private, request).await?;
                self.host.make_dir(target, "making the target").await?;
                let bound = self
                    .host
                    .mount
                    .bind(&private, target, request.readonly, &request.options)
                    .await;
                bound.map_err(|error| Error::mount(doing, &error))?;
            }
            None => {
                if let Some(above) = target.parent() {
                    self.host.make_dir(above, "making the folder of the target").await?;
                }
                let bound = self.host.mount.bind_zvol(&zvol, target, request.readonly).await;
                bound.map_err(|error| Error::mount(doing, &error))?;
            }
        }
        self.host.note_users();
        let table = self.host.mount_table().await?;
        match table.at(target) {
            Some(entry) if is_it(entry) && entry.readonly == request.readonly => Ok(()),
            Some(entry) => Err(other_source(target, &entry.source, dataset.as_str())),
            None => Err(Error::Internal(format!(
                "nothing is mounted at {} after mounting",
                target.display()
            ))),
        }
    }

    /// The private mount of the filesystem on the volume, as large as the device.
    async fn ensure_filesystem(
        &self,
        table: &MountTable,
        zvol: &Zvol,
        private: &Path,
        request: &PublishRequest,
    ) -> Result<(), Error> {
        let Some((kind, fs)) = filesystem(request.format) else {
            return Ok(());
        };
        let failed = |doing: &str, error| Error::mount(&format!("{doing} {}", zvol.volume), &error);
        match table.at(private) {
            Some(entry) if Path::new(&entry.source) == zvol.node && entry.fs_type == fs.as_str() => {
                check_context(request, entry)?;
            }
            Some(entry) => return Err(other_source(private, &entry.source, &zvol.volume)),
            None => {
                self.host.make_dir(private, "making the folder of a mount").await?;
                let found = self.host.mount.find_zvol(zvol).await;
                found.map_err(|error| failed("finding the device of", error))?;
                self.check_filesystem(zvol, kind).await?;
                let mount = ZvolMount {
                    zvol: zvol.clone(),
                    target: private.to_owned(),
                    filesystem: fs,
                    context: request.context.clone(),
                };
                let mounted = self.host.mount.mount_zvol(&mount).await;
                mounted.map_err(|error| failed("mounting", error))?;
            }
        }
        self.host.grow(private).await
    }

    /// As the kubelet does for disks: what can be repaired is, and a node without the program goes without.
    async fn check_filesystem(&self, zvol: &Zvol, kind: dotmesh_zfs::BlockFilesystem) -> Result<(), Error> {
        let dataset = zvol.volume.parse();
        let dataset = dataset.map_err(|error| Error::Internal(format!("{}: {error}", zvol.volume)))?;
        let device = volume_device(zvol, &dataset);
        match self.host.zfs.check_filesystem(&device, kind).await {
            Ok(()) => Ok(()),
            Err(error) if error.kind == ErrorKind::ProgramMissing => {
                tracing::warn!(volume = zvol.volume, %error, "mounted without a check");
                Ok(())
            }
            Err(error) => Err(Error::zfs(&format!("checking {}", zvol.volume), &error)),
        }
    }

    /// What a volume's dataset says of itself, from disk.
    pub(in crate::ops) async fn volume_record(
        &self,
        pool: &KnownPool,
        (dot, head, volume): (DotId, HeadId, VolumeId),
    ) -> Result<VolumeRecord, Error> {
        let dataset = pool.layout.volume(dot, head, volume);
        let request = GetRequest::local(vec![ObjectName::from(dataset.clone())], vec![VOLUME]);
        let doing = format!("reading {dataset}");
        let rows = match self.host.zfs.get(&request).await {
            Ok(rows) => rows,
            Err(error) => return Err(self.failed(pool, &doing, dataset.as_str(), &error).await),
        };
        let local = rows.iter().find(|row| row.source == Source::Local);
        let row = local.ok_or_else(|| Error::Busy(format!("{dataset} is not complete yet")))?;
        Ok(decode_volume(&row.value)?)
    }

    /// Whether the volume may be shown as of this format.
    async fn check_ready(
        &self,
        pool: &KnownPool,
        volume: (DotId, HeadId, VolumeId),
        format: VolumeFormat,
    ) -> Result<(), Error> {
        let record = self.volume_record(pool, volume).await?;
        if record.format != format {
            return Err(other_format(&record, format));
        }
        if record.stage != Stage::Ready {
            return Err(Error::Busy(format!("volume {} has no filesystem yet", record.name)));
        }
        Ok(())
    }
}

/// A volume is asked for as something that it is not.
pub(super) fn other_format(record: &VolumeRecord, asked: VolumeFormat) -> Error {
    Error::Conflict(format!(
        "volume {} has format {}, not {asked}: its claim's volumeMode, or its PersistentVolume's fsType, is another",
        record.name, record.format
    ))
}

impl<Z: Zfs, M: Mount> Host<Z, M> {
    pub(super) async fn make_dir(&self, path: &Path, doing: &str) -> Result<(), Error> {
        let made = self.mount.make_dir(path).await;
        made.map_err(|error| Error::mount(doing, &error))
    }

    /// The filesystem at a private mount becomes as large as its device.
    pub(in crate::ops) async fn grow(&self, private: &Path) -> Result<(), Error> {
        let grown = self.mount.grow_filesystem(private).await;
        grown.map_err(|error| Error::mount("growing the filesystem", &error))
    }

    /// The node of a device that nothing shows any more goes.
    pub(in crate::ops) async fn forget_device(
        &self,
        (dot, head, volume): (DotId, HeadId, VolumeId),
    ) -> Result<(), Error> {
        let node = device_node(dot, head, volume);
        let gone = self.mount.forget_zvol(&node, Path::new(DEVICES)).await;
        gone.map_err(|error| Error::mount("removing the node of a device", &error))
    }
}
