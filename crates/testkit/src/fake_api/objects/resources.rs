//! The kinds that the fake knows, as a table. Any other is a panic that names it: nobody decided yet how it behaves.

/// A kind, and how the server treats it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Resource {
    /// As in manifests.
    pub(crate) kind: &'static str,
    /// Empty for the core group.
    pub(crate) group: &'static str,
    /// Of the group.
    pub(crate) version: &'static str,
    /// As in addresses.
    pub(crate) plural: &'static str,
    /// Whether objects lie in namespaces.
    pub(crate) namespaced: bool,
    /// Whether status is written by itself and generation counts changes of the spec: true of ours.
    pub(crate) custom: bool,
    /// `status.phase` at birth, where the server sets one.
    pub(crate) phase: Option<&'static str>,
    /// What field selectors may name besides name and namespace.
    pub(crate) fields: &'static [&'static str],
}

const CORE: Resource = Resource {
    kind: "",
    group: "",
    version: "v1",
    plural: "",
    namespaced: true,
    custom: false,
    phase: None,
    fields: &[],
};

const OURS: Resource = Resource {
    group: "dotmesh.io",
    version: "v1alpha1",
    custom: true,
    ..CORE
};

const RESOURCES: [Resource; 23] = [
    Resource {
        kind: "Dot",
        plural: "dots",
        fields: &["status.id"],
        ..OURS
    },
    Resource {
        kind: "Branch",
        plural: "branches",
        fields: &["spec.dot", "status.id"],
        ..OURS
    },
    Resource {
        kind: "Commit",
        plural: "commits",
        fields: &["spec.dot", "status.node"],
        ..OURS
    },
    Resource {
        kind: "Pool",
        plural: "pools",
        namespaced: false,
        ..OURS
    },
    Resource {
        kind: "Remnant",
        plural: "remnants",
        namespaced: false,
        fields: &["spec.dot"],
        ..OURS
    },
    Resource {
        kind: "PersistentVolumeClaim",
        plural: "persistentvolumeclaims",
        phase: Some("Pending"),
        ..CORE
    },
    Resource {
        kind: "PersistentVolume",
        plural: "persistentvolumes",
        namespaced: false,
        phase: Some("Pending"),
        ..CORE
    },
    Resource {
        kind: "Pod",
        plural: "pods",
        phase: Some("Pending"),
        fields: &["spec.nodeName", "status.phase"],
        ..CORE
    },
    Resource {
        kind: "ConfigMap",
        plural: "configmaps",
        ..CORE
    },
    Resource {
        kind: "Secret",
        plural: "secrets",
        ..CORE
    },
    Resource {
        kind: "Node",
        plural: "nodes",
        namespaced: false,
        ..CORE
    },
    Resource {
        kind: "Namespace",
        plural: "namespaces",
        namespaced: false,
        ..CORE
    },
    Resource {
        kind: "Lease",
        group: "coordination.k8s.io",
        plural: "leases",
        ..CORE
    },
    Resource {
        kind: "StorageClass",
        group: "storage.k8s.io",
        plural: "storageclasses",
        namespaced: false,
        ..CORE
    },
    Resource {
        kind: "VolumeAttributesClass",
        group: "storage.k8s.io",
        plural: "volumeattributesclasses",
        namespaced: false,
        ..CORE
    },
    Resource {
        kind: "VolumeSnapshot",
        group: "snapshot.storage.k8s.io",
        plural: "volumesnapshots",
        ..CORE
    },
    Resource {
        kind: "VolumeGroupSnapshot",
        group: "groupsnapshot.storage.k8s.io",
        plural: "volumegroupsnapshots",
        ..CORE
    },
    Resource {
        kind: "VolumeSnapshotContent",
        group: "snapshot.storage.k8s.io",
        plural: "volumesnapshotcontents",
        namespaced: false,
        ..CORE
    },
    Resource {
        kind: "VolumeGroupSnapshotContent",
        group: "groupsnapshot.storage.k8s.io",
        plural: "volumegroupsnapshotcontents",
        namespaced: false,
        ..CORE
    },
    Resource {
        kind: "CSIDriver",
        group: "storage.k8s.io",
        plural: "csidrivers",
        namespaced: false,
        ..CORE
    },
    Resource {
        kind: "CSIStorageCapacity",
        group: "storage.k8s.io",
        plural: "csistoragecapacities",
        ..CORE
    },
    Resource {
        kind: "Event",
        group: "events.k8s.io",
        plural: "events",
        ..CORE
    },
    Resource {
        kind: "TokenReview",
        group: "authentication.k8s.io",
        plural: "tokenreviews",
        namespaced: false,
        ..CORE
    },
];

impl Resource {
    /// The kind of that name.
    ///
    /// # Panics
    /// When the table has none.
    pub(crate) fn of_kind(kind: &str) -> &'static Self {
        Self::find(kind).unwrap_or_else(|| panic!("the fake API does not know the kind {kind}"))
    }

    /// The kind of that name, if the table has it.
    pub(crate) fn find(kind: &str) -> Option<&'static Self> {
        RESOURCES.iter().find(|resource| resource.kind == kind)
    }

    /// The kind at an address.
    pub(crate) fn at(group: &str, version: &str, plural: &str) -> Option<&'static Self> {
        RESOURCES
            .iter()
            .find(|resource| resource.group == group && resource.version == version && resource.plural == plural)
    }

    /// As in `apiVersion`.
    pub(crate) fn api_version(&self) -> String {
        if self.group.is_empty() {
            self.version.to_owned()
        } else {
            format!("{}/{}", self.group, self.version)
        }
    }

    /// As in messages: `dots.dotmesh.io`.
    pub(crate) fn qualified(&self) -> String {
        if self.group.is_empty() {
            self.plural.to_owned()
        } else {
            format!("{}.{}", self.plural, self.group)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ours_are_as_their_definitions_say() {
        for crd in dotmesh_crds::yaml::crds() {
            let resource = Resource::of_kind(&crd.spec.names.kind);
            let version = &crd.spec.versions[0];
            assert_eq!(resource.group, crd.spec.group);
            assert_eq!(resource.version, version.name);
            assert_eq!(resource.plural, crd.spec.names.plural);
            assert_eq!(resource.namespaced, crd.spec.scope == "Namespaced");
            let subresources = version.subresources.as_ref();
            assert_eq!(resource.custom, subresources.is_some_and(|all| all.status.is_some()));
            let selectable = version.selectable_fields.iter().flatten();
            let fields: Vec<_> = selectable
                .map(|field| field.json_path.trim_start_matches('.'))
                .collect();
            assert_eq!(resource.fields, fields);
        }
    }
}
