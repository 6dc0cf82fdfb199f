//! `VolumeCapability`: how a volume is to be used.

use std::path::PathBuf;

use dotmesh_csi_proto::csi::VolumeCapability;
use dotmesh_csi_proto::csi::volume_capability::AccessType;
use dotmesh_csi_proto::csi::volume_capability::access_mode::Mode;
use dotmesh_model::format::VolumeFormat;
use dotmesh_mount::{MountOption, SelinuxContext};

use crate::ops::{PublishRequest, Wanted};

/// A capability that this driver gives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Capability {
    /// What it is asked for as.
    pub format: VolumeFormat,
    /// The mode, or the mount option, lets nobody write.
    pub readonly: bool,
    /// One target at a time.
    pub exclusive: bool,
    /// What else the mount options restrict.
    pub options: Vec<MountOption>,
    /// The SELinux context of the files.
    pub context: Option<SelinuxContext>,
}

impl Capability {
    /// The request that shows a volume so.
    pub(super) fn publish(self, volume: Wanted, target: PathBuf, readonly: bool) -> PublishRequest {
        PublishRequest {
            volume,
            namespace: None,
            target,
            format: self.format,
            readonly: readonly || self.readonly,
            options: self.options,
            context: self.context,
            exclusive: self.exclusive,
        }
    }
}

/// What is asked for, if it is possible.
///
/// # Errors
/// A sentence that says what is not.
pub(super) fn parse_capability(capability: Option<&VolumeCapability>) -> Result<Capability, String> {
    let capability = capability.ok_or("the volume capability is missing")?;
    let (format, flags) = match &capability.access_type {
        None => return Err("the access type is missing".into()),
        Some(AccessType::Block(_)) => (VolumeFormat::Block, &[][..]),
        Some(AccessType::Mount(mount)) => {
            let format = VolumeFormat::of_fs_type(&mount.fs_type).map_err(|_| {
                format!(
                    "filesystem {:?} is not supported: it is zfs (also when none is said), ext4 or xfs",
                    mount.fs_type
                )
            })?;
            (format, mount.mount_flags.as_slice())
        }
    };
    let (mut options, mut readonly_flag, mut context) = (Vec::new(), false, None);
    for flag in flags {
        if let Some(said) = SelinuxContext::of_option(flag) {
            context = Some(said.map_err(|error| format!("mount option {flag:?}: {error}"))?);
            continue;
        }
        match (MountOption::of(flag), flag.as_str()) {
            (Some(option), _) => options.push(option),
            (None, "ro") => readonly_flag = true,
            (None, "rw") => {}
            (None, _) => {
                let known = MountOption::ALL.map(MountOption::as_str).join(", ");
                return Err(format!(
                    "mount option {flag:?} is not supported: there are ro, rw, {known}"
                ));
            }
        }
    }
    let mode = capability
        .access_mode
        .as_ref()
        .map_or(Mode::Unknown, |mode| mode.mode());
    let readonly_mode = match mode {
        Mode::Unknown => return Err("the access mode is missing".into()),
        // A Dot lies on one node, so all its users are there.
        Mode::SingleNodeReaderOnly | Mode::MultiNodeReaderOnly => true,
        Mode::SingleNodeWriter
        | Mode::SingleNodeSingleWriter
        | Mode::SingleNodeMultiWriter
        | Mode::MultiNodeSingleWriter
        | Mode::MultiNodeMultiWriter => false,
    };
    Ok(Capability {
        format,
        readonly: readonly_flag || readonly_mode,
        exclusive: mode == Mode::SingleNodeSingleWriter,
        options,
        context,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use dotmesh_csi_proto::csi::volume_capability::{AccessMode, BlockVolume, MountVolume};

    fn capability(access_type: Option<AccessType>, mode: Mode) -> VolumeCapability {
        VolumeCapability {
            access_type,
            access_mode: Some(AccessMode { mode: mode.into() }),
        }
    }

    fn mount(fs_type: &str, flags: &[&str]) -> Option<AccessType> {
        Some(AccessType::Mount(MountVolume {
            fs_type: fs_type.into(),
            mount_flags: flags.iter().map(ToString::to_string).collect(),
            volume_mount_group: String::new(),
        }))
    }

    #[test]
    fn what_is_not_possible_is_said() {
        for (asked, part) in [
            (capability(None, Mode::SingleNodeWriter), "access type"),
            (capability(mount("btrfs", &[]), Mode::SingleNodeWriter), "btrfs"),
            (capability(mount("block", &[]), Mode::SingleNodeWriter), "block"),
            (capability(mount("", &["discard"]), Mode::SingleNodeWriter), "discard"),
            (capability(mount("", &[]), Mode::Unknown), "access mode"),
        ] {
            let error = parse_capability(Some(&asked)).unwrap_err();
            assert!(error.contains(part), "{error}");
        }
        assert!(parse_capability(None).is_err());
    }

    #[test]
    fn modes_and_options_say_who_may_write() {
        let format = VolumeFormat::Zfs;
        for (asked, readonly) in [
            (capability(mount("", &[]), Mode::SingleNodeWriter), false),
            (capability(mount("zfs", &["rw"]), Mode::MultiNodeMultiWriter), false),
            (capability(mount("", &[]), Mode::SingleNodeReaderOnly), true),
            (capability(mount("", &["ro"]), Mode::SingleNodeWriter), true),
        ] {
            let wanted = Capability {
                format,
                readonly,
                exclusive: false,
                options: Vec::new(),
                context: None,
            };
            assert_eq!(parse_capability(Some(&asked)), Ok(wanted));
        }
        let asked = capability(mount("", &["noatime", "rw", "nosuid"]), Mode::SingleNodeSingleWriter);
        let parsed = parse_capability(Some(&asked)).unwrap();
        assert!(parsed.exclusive && !parsed.readonly);
        assert_eq!(parsed.options, [MountOption::NoAtime, MountOption::NoSuid]);
    }

    #[test]
    fn a_context_is_taken_as_the_kubelet_says_it() {
        let of = |option: &str| parse_capability(Some(&capability(mount("", &[option]), Mode::SingleNodeWriter)));
        let context = of("context=\"system_u:object_r:container_file_t:s0:c1,c2\"")
            .unwrap()
            .context;
        let context = context.map(|context| context.to_string());
        assert_eq!(context.as_deref(), Some("system_u:object_r:container_file_t:s0:c1,c2"));
        assert!(
            of("context=\"u:r:t:s0\",suid").unwrap_err().contains("context"),
            "one option, not two"
        );
        assert!(of("rootcontext=u:r:t:s0").unwrap_err().contains("rootcontext"));
    }

    #[test]
    fn the_format_is_that_of_the_filesystem_or_block() {
        let block = Some(AccessType::Block(BlockVolume {}));
        for (asked, format) in [
            (mount("", &[]), VolumeFormat::Zfs),
            (mount("ext4", &[]), VolumeFormat::Ext4),
            (mount("xfs", &[]), VolumeFormat::Xfs),
            (block, VolumeFormat::Block),
        ] {
            let parsed = parse_capability(Some(&capability(asked, Mode::SingleNodeWriter)));
            assert_eq!(parsed.map(|parsed| parsed.format), Ok(format));
        }
    }
}
