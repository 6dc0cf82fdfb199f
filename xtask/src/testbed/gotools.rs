//! Kubernetes and its companions, built by the Go toolchain from the modules under `xtask/testbed/`.
//!
//! Each program is an artefact of its own, so an interrupted build goes on where it stopped; Go's own build cache does
//! the same within a program. One set of flags for all of them lets them share compiled packages.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;

use super::cache::{self, Recipe};
use crate::process::Cmd;
use crate::workspace;

/// What the kube-* programs call themselves; the version their module has in go.mod.
pub(crate) const KUBERNETES_VERSION: &str = "v1.36.3";

/// Version of the csi-provisioner module in go.mod.
pub(crate) const PROVISIONER_VERSION: &str = "v6.3.0";

/// Version of the csi-resizer module in go.mod.
pub(crate) const RESIZER_VERSION: &str = "v2.2.0";

/// The module of csi-snapshotter and snapshot-controller, and the one that has their CustomResourceDefinitions.
const SNAPSHOTTER: &str = "github.com/kubernetes-csi/external-snapshotter/v8";
const SNAPSHOT_CRDS: &str = "github.com/kubernetes-csi/external-snapshotter/client/v8";

/// Version of the former in go.mod.
pub(crate) const SNAPSHOTTER_VERSION: &str = "v8.7.0";

/// The folder with the CustomResourceDefinitions of VolumeSnapshots.
///
/// # Errors
/// When the Go toolchain fails.
pub(crate) fn snapshot_crds() -> Result<PathBuf> {
    let module = workspace::root().join("xtask/testbed/snapshots");
    let list = Cmd::new("go").args(["list", "-m", "-f", "{{.Dir}}", SNAPSHOT_CRDS]);
    let list = list.dir(&module).env("GOTOOLCHAIN", "auto").env("GOWORK", "off");
    let folder = list.within(Duration::from_secs(300)).output()?;
    Ok(PathBuf::from(folder.trim()).join("config/crd"))
}

/// A program built from Go modules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tool {
    KubeApiserver,
    KubeControllerManager,
    KubeScheduler,
    Kubelet,
    KubeProxy,
    Kubectl,
    Etcd,
    Helm,
    CsiProvisioner,
    CsiResizer,
    CsiSanity,
    CsiSnapshotter,
    SnapshotController,
}

impl Tool {
    /// Those that `test` needs.
    pub(crate) const ALL: [Self; 11] = [
        Self::Kubelet,
        Self::KubeApiserver,
        Self::KubeControllerManager,
        Self::KubeScheduler,
        Self::KubeProxy,
        Self::Kubectl,
        Self::Etcd,
        Self::Helm,
        Self::CsiProvisioner,
        Self::CsiResizer,
        Self::CsiSanity,
    ];

    /// Its file name.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::KubeApiserver => "kube-apiserver",
            Self::KubeControllerManager => "kube-controller-manager",
            Self::KubeScheduler => "kube-scheduler",
            Self::Kubelet => "kubelet",
            Self::KubeProxy => "kube-proxy",
            Self::Kubectl => "kubectl",
            Self::Etcd => "etcd",
            Self::Helm => "helm",
            Self::CsiProvisioner => "csi-provisioner",
            Self::CsiResizer => "csi-resizer",
            Self::CsiSanity => "csi-sanity",
            Self::CsiSnapshotter => "csi-snapshotter",
            Self::SnapshotController => "snapshot-controller",
        }
    }

    /// (folder of its module under `xtask/testbed`, its package).
    fn package(self) -> (&'static str, String) {
        match self {
            Self::Etcd => ("kubernetes", "go.etcd.io/etcd/server/v3".to_owned()),
            Self::Helm => ("kubernetes", "helm.sh/helm/v4/cmd/helm".to_owned()),
            Self::CsiProvisioner => (
                "kubernetes",
                "github.com/kubernetes-csi/external-provisioner/v6/cmd/csi-provisioner".to_owned(),
            ),
            Self::CsiResizer => (
                "kubernetes",
                "github.com/kubernetes-csi/external-resizer/v2/cmd/csi-resizer".to_owned(),
            ),
            Self::CsiSnapshotter | Self::SnapshotController => {
                ("snapshots", format!("{SNAPSHOTTER}/cmd/{}", self.name()))
            }
            Self::CsiSanity => ("csi", "github.com/kubernetes-csi/csi-test/v5/cmd/csi-sanity".to_owned()),
            Self::KubeApiserver
            | Self::KubeControllerManager
            | Self::KubeScheduler
            | Self::Kubelet
            | Self::KubeProxy
            | Self::Kubectl => ("kubernetes", format!("k8s.io/kubernetes/cmd/{}", self.name())),
        }
    }

    /// The path of the built program; builds it when it is not there.
    ///
    /// # Errors
    /// When the Go toolchain fails; its log is shown.
    pub(crate) fn path(self) -> Result<PathBuf> {
        let (folder, package) = self.package();
        let module = workspace::root().join("xtask/testbed").join(folder);
        let flags = linker_flags();
        let recipe = Recipe::new(self.name()).with(&package).with(&flags);
        let recipe = recipe
            .with_file(&module.join("go.mod"))?
            .with_file(&module.join("go.sum"))?;
        let done = recipe.build(|out| {
            let build = Cmd::new("go").args(["build", "-trimpath", "-ldflags", &flags, "-o"]);
            let build = build.arg(out.join(self.name())).arg(&package).dir(&module);
            // An older go fetches the release that go.mod asks for.
            let build = build
                .env("GOTOOLCHAIN", "auto")
                .env("CGO_ENABLED", "0")
                .env("GOFLAGS", "")
                .env("GOWORK", "off");
            build
                .log(&cache::build_log(self.name())?)
                .within(Duration::from_secs(3600))
                .run()
        })?;
        Ok(done.join(self.name()))
    }
}

fn linker_flags() -> String {
    let version = "k8s.io/component-base/version";
    let mut parts = KUBERNETES_VERSION.trim_start_matches('v').split('.');
    let (major, minor) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    format!(
        "-s -w -X {version}.gitVersion={KUBERNETES_VERSION} -X {version}.gitMajor={major} -X {version}.gitMinor={minor}"
    )
}
