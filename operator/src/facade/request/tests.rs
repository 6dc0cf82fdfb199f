//! Requests as external-provisioner sends them, and as nobody should.

use dotmesh_csi_proto::csi::volume_capability::{AccessMode, BlockVolume, MountVolume};
use dotmesh_csi_proto::csi::{CapacityRange, Topology, VolumeContentSource};
use dotmesh_model::format::VolumeFormat;

use super::*;

const UID: &str = "0c5a6f6e-1111-4222-8333-444455556666";

fn wire() -> CreateVolumeRequest {
    let here = |node: &str| Topology {
        segments: HashMap::from([(TOPOLOGY_NODE.to_owned(), node.to_owned())]),
    };
    CreateVolumeRequest {
        name: format!("pvc-{UID}"),
        capacity_range: Some(CapacityRange {
            required_bytes: 1 << 30,
            limit_bytes: 0,
        }),
        volume_capabilities: vec![VolumeCapability {
            access_mode: Some(AccessMode {
                mode: Mode::SingleNodeWriter.into(),
            }),
            access_type: Some(AccessType::Mount(MountVolume::default())),
        }],
        parameters: [
            (PARAMETER_CLAIM, "data"),
            (PARAMETER_NAMESPACE, "dev"),
            ("csi.storage.k8s.io/pv/name", "pvc-x"),
        ]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into(),
        accessibility_requirements: Some(TopologyRequirement {
            requisite: vec![here("n1"), here("n2")],
            preferred: vec![here("n2"), here("n1")],
        }),
        ..CreateVolumeRequest::default()
    }
}

fn refused(change: impl FnOnce(&mut CreateVolumeRequest)) -> RequestError {
    let mut request = wire();
    change(&mut request);
    CreateVolume::try_from(request).unwrap_err()
}

#[test]
fn a_plain_claim_is_read_whole() {
    let request = CreateVolume::try_from(wire()).unwrap();
    assert_eq!(
        request,
        CreateVolume {
            claim: UID.parse().unwrap(),
            namespace: "dev".to_owned(),
            name: "data".to_owned(),
            size_bytes: 1 << 30,
            limit_bytes: None,
            node: "n2".to_owned(),
            pool_class: "default".to_owned(),
            format: VolumeFormat::Zfs,
            tuning: Tuning::default(),
            source: None,
        }
    );
}

#[test]
fn the_storage_class_says_how_data_is_kept() {
    let asked = |fs_type: &str, parameters: &[(&str, &str)]| {
        let mut request = wire();
        let parameters = parameters
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        request.parameters.extend(parameters);
        request.volume_capabilities[0].access_type = Some(AccessType::Mount(MountVolume {
            fs_type: fs_type.to_owned(),
            ..MountVolume::default()
        }));
        CreateVolume::try_from(request).map(|request| request.tuning)
    };
    let all = [
        ("compression", "zstd"),
        ("recordsize", "16Ki"),
        ("volblocksize", "8Ki"),
        ("thin", "true"),
    ];
    let files = asked("zfs", &all).unwrap();
    assert_eq!(files.recordsize.map(|size| size.bytes()), Some(16 << 10));
    assert_eq!((files.volblocksize, files.thin), (None, None), "of devices");
    let device = asked("xfs", &all).unwrap();
    assert_eq!(device.volblocksize.map(|size| size.bytes()), Some(8 << 10));
    assert_eq!((device.recordsize, device.thin), (None, Some(true)));
    for (key, _) in all {
        let refused = asked("", &[(key, "much")]).unwrap_err();
        assert!(matches!(&refused, RequestError::Tuning(_)), "{refused:?}");
        assert!(
            refused.to_string().starts_with(&format!("the class: {key} \"much\"")),
            "{refused}"
        );
    }
}

#[test]
fn the_storage_class_names_the_pools_class() {
    let asked = |class: &str| {
        let mut request = wire();
        request
            .parameters
            .insert(PARAMETER_POOL_CLASS.to_owned(), class.to_owned());
        CreateVolume::try_from(request).map(|request| request.pool_class)
    };
    assert_eq!(asked("fast-2"), Ok("fast-2".to_owned()));
    for class in ["", "Fast", "-fast", "fast-", "a/b", &"a".repeat(57)] {
        assert_eq!(asked(class), Err(RequestError::PoolClass(class.to_owned())));
    }
}

#[test]
fn sizes_are_rounded_up_and_never_down() {
    let size = |required_bytes, limit_bytes| {
        let mut request = wire();
        request.capacity_range = Some(CapacityRange {
            required_bytes,
            limit_bytes,
        });
        CreateVolume::try_from(request).map(|request| (request.size_bytes, request.limit_bytes))
    };
    assert_eq!(size(1, 0), Ok((1 << 20, None)));
    assert_eq!(size(0, 0), Ok((1 << 30, None)));
    assert_eq!(size(0, 5 << 20), Ok((5 << 20, Some(5 << 20))));
    assert_eq!(size(-1, 0), Err(RequestError::Capacity));
    assert_eq!(size(0, -1), Err(RequestError::Capacity));
    assert_eq!(size(2 << 30, 1 << 30), Err(RequestError::Capacity));
    assert_eq!(size(1, 1000), Err(RequestError::LimitTooSmall(1 << 20)));
}

#[test]
fn what_cannot_be_served_names_its_field() {
    let capability = |access_type, mode: Mode| {
        vec![VolumeCapability {
            access_mode: Some(AccessMode { mode: mode.into() }),
            access_type,
        }]
    };
    let mount = |fs_type: &str| {
        Some(AccessType::Mount(MountVolume {
            fs_type: fs_type.to_owned(),
            ..MountVolume::default()
        }))
    };
    for name in ["", "pvc-", "pvc-x", "vol-1", &format!("pvc-{}", UID.to_uppercase())] {
        assert_eq!(
            refused(|request| request.name = name.to_owned()),
            RequestError::Name(name.to_owned())
        );
    }
    assert_eq!(
        refused(|request| drop(request.parameters.remove(PARAMETER_CLAIM))),
        RequestError::MissingParameter(PARAMETER_CLAIM)
    );
    assert_eq!(
        refused(|request| drop(request.parameters.insert("sise".to_owned(), "1".to_owned()))),
        RequestError::UnknownParameter("sise".to_owned())
    );
    assert_eq!(
        refused(|request| request.volume_capabilities.clear()),
        RequestError::NoCapability
    );
    let block = Some(AccessType::Block(BlockVolume {}));
    let both = [
        capability(block, Mode::SingleNodeWriter),
        capability(mount("xfs"), Mode::SingleNodeWriter),
    ]
    .concat();
    assert_eq!(
        refused(|request| request.volume_capabilities = both.clone()),
        RequestError::TwoFormats(VolumeFormat::Block, VolumeFormat::Xfs)
    );
    assert_eq!(
        refused(|request| request.volume_capabilities = capability(mount("btrfs"), Mode::SingleNodeWriter)),
        RequestError::FsType("btrfs".to_owned())
    );
    assert_eq!(
        refused(|request| request.volume_capabilities = capability(mount(""), Mode::MultiNodeMultiWriter)),
        RequestError::MultiNode
    );
    let readers = capability(mount(""), Mode::MultiNodeReaderOnly);
    assert_eq!(parse_capability(&readers[0]), Ok(VolumeFormat::Zfs));
    assert_eq!(
        refused(|request| request.volume_content_source = Some(VolumeContentSource::default())),
        RequestError::ContentSource
    );
    assert_eq!(
        refused(|request| request.accessibility_requirements = None),
        RequestError::NoTopology
    );
}
