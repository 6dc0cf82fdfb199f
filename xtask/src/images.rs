//! Our own programs as static binaries and as images.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};

use crate::process::Cmd;
use crate::report;
use crate::testbed::cache;
use crate::testbed::cluster;
use crate::testbed::evidence;
use crate::testbed::gotools::{self, KUBERNETES_VERSION, SNAPSHOTTER_VERSION, Tool};
use crate::testbed::instance::Instance;
use crate::testbed::nodeimage;
use crate::workspace;

/// The tag of what is built from the checkout.
pub(crate) const TAG: &str = "dev";

/// Given explicitly, so that the flags below hold for the programs and not for build scripts and macros.
const TARGET: &str = "x86_64-unknown-linux-gnu";

/// What compiling may take.
const COMPILING: Duration = Duration::from_secs(2400);

/// A program of ours that becomes an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Program {
    Operator,
    CsiNode,
    Importer,
}

impl Program {
    /// All of them.
    pub(crate) const ALL: [Self; 3] = [Self::Operator, Self::CsiNode, Self::Importer];

    /// The name of its crate and file.
    pub(crate) fn file(self) -> &'static str {
        match self {
            Self::Operator => "dotmesh-operator",
            Self::CsiNode => "dotmesh-csi-node",
            Self::Importer => "dotmesh-importer",
        }
    }

    /// The name of its image, without the tag.
    pub(crate) fn repository(self) -> &'static str {
        match self {
            Self::Operator => "dotmesh.io/operator",
            Self::CsiNode => "dotmesh.io/csi-node",
            Self::Importer => "dotmesh.io/importer",
        }
    }
}

/// The simulator, which is built with them.
const SIMULATOR: &str = "dotmesh-sim";

/// Builds the static binaries of all programs and the simulator, from the checkout as it is. One run of cargo for all of
/// them: with fewer at a time, crates that they share would be compiled again with other features.
pub(crate) fn build() -> Result<()> {
    report::step("build the static programs", || {
        let packages = Program::ALL.iter().map(|program| program.file()).chain([SIMULATOR]);
        let cargo = packages.fold(cargo("build")?, |cargo, package| cargo.args(["--package", package]));
        cargo.arg("--bins").within(COMPILING).run()
    })
}

/// The simulator, as [`build`] left it.
pub(crate) fn simulator() -> Result<PathBuf> {
    Ok(folder()?.join(TARGET).join("image").join(SIMULATOR))
}

/// Cargo, making optimised programs, as those in the images are.
pub(crate) fn cargo(command: &str) -> Result<Cmd> {
    take_over()?;
    plain_cargo(command)
}

/// The folder is shared by all checkouts, for what they have in common. What another one has built of its own goes first:
/// cargo would take it for this one's when it is younger than the files here.
fn take_over() -> Result<()> {
    let (owner, here) = (folder()?.join("checkout"), workspace::root().display().to_string());
    if std::fs::read_to_string(&owner).is_ok_and(|owner| owner == here) {
        return Ok(());
    }
    let packages = workspace::packages()?.into_iter();
    let args = packages.flat_map(|package| ["--package".to_owned(), package.name]);
    plain_cargo("clean")?.args(args).run()?;
    std::fs::create_dir_all(folder()?)?;
    std::fs::write(&owner, here).with_context(|| owner.display().to_string())
}

fn plain_cargo(command: &str) -> Result<Cmd> {
    let cargo = workspace::cargo().args([command, "--quiet", "--profile", "image", "--target", TARGET]);
    Ok(cargo
        .env("CARGO_TARGET_DIR", folder()?)
        .env("RUSTFLAGS", "-C target-feature=+crt-static"))
}

/// The static binary of a program, as [`build`] left it.
pub(crate) fn binary(program: Program) -> Result<PathBuf> {
    Ok(folder()?.join(TARGET).join("image").join(program.file()))
}

/// A target folder of its own: other flags would make the ordinary one start anew each time.
fn folder() -> Result<PathBuf> {
    Ok(cache::root()?.join("cargo/image"))
}

/// Writes all images into `folder`, and returns their files.
pub(crate) fn write(folder: &Path) -> Result<Vec<PathBuf>> {
    build()?;
    std::fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
    Program::ALL
        .into_iter()
        .map(|program| {
            let out = folder.join(format!("{}.tar", program.file()));
            nodeimage::write_program_image(&format!("{}:{TAG}", program.repository()), &binary(program)?, &out)?;
            Ok(out)
        })
        .collect()
}

/// Builds the images and puts them on every node of an instance.
pub(crate) fn import(instance: &Instance) -> Result<()> {
    let images = write(&instance.state().join("images"))?;
    let nodes = instance.record().map_or(0, |record| record.nodes);
    report::step("import the images", || {
        (1..=nodes).try_for_each(|index| images.iter().try_for_each(|image| instance.node(index).import(image)))
    })
}

/// Installs the chart, with our images, and waits until everything in it is ready.
pub(crate) fn install_chart(instance: &Instance) -> Result<()> {
    install_chart_with(instance, &[])
}

/// The same with csi-snapshotter and snapshot-controller, and before them what they watch.
pub(crate) fn install_chart_with_snapshots(instance: &Instance) -> Result<()> {
    let mut values = Vec::new();
    for (value, tool) in [
        ("csiSnapshotter", Tool::CsiSnapshotter),
        ("snapshotController", Tool::SnapshotController),
    ] {
        let repository = format!("dotmesh.io/testbed/{}", tool.name());
        import_program(instance, tool, &format!("{repository}:{SNAPSHOTTER_VERSION}"))?;
        values.extend([
            format!("{value}.enabled=true"),
            format!("{value}.image.registry="),
            format!("{value}.image.repository={repository}"),
            format!("{value}.image.tag={SNAPSHOTTER_VERSION}"),
            format!("{value}.image.pullPolicy=Never"),
        ]);
    }
    values.push("csiSnapshotter.groups=true".to_owned());
    // That of the documentation's CronJob, under its public name.
    let kubectl = format!("registry.k8s.io/kubectl:{KUBERNETES_VERSION}");
    import_program(instance, Tool::Kubectl, &kubectl)?;
    let crds = gotools::snapshot_crds()?;
    for kind in [
        "snapshot.storage.k8s.io_volumesnapshotclasses",
        "snapshot.storage.k8s.io_volumesnapshotcontents",
        "snapshot.storage.k8s.io_volumesnapshots",
        "groupsnapshot.storage.k8s.io_volumegroupsnapshotclasses",
        "groupsnapshot.storage.k8s.io_volumegroupsnapshotcontents",
        "groupsnapshot.storage.k8s.io_volumegroupsnapshots",
    ] {
        let file = crds.join(format!("{kind}.yaml"));
        cluster::kubectl(instance)?.args(["apply", "-f"]).arg(file).run()?;
    }
    let wait = ["wait", "crd", "--all", "--for=condition=Established", "--timeout=60s"];
    cluster::kubectl(instance)?.args(wait).output()?;
    install_chart_with(instance, &values)
}

/// Puts a program onto all nodes as an image of this name.
fn import_program(instance: &Instance, tool: Tool, image: &str) -> Result<()> {
    let file = instance.state().join(format!("{}.tar", tool.name()));
    nodeimage::write_program_image(image, &tool.path()?, &file)?;
    let nodes = instance.record().map_or(0, |record| record.nodes);
    (1..=nodes).try_for_each(|index| instance.node(index).import(&file))
}

fn install_chart_with(instance: &Instance, more: &[String]) -> Result<()> {
    report::step("install the chart", || {
        let (provisioner, provisioner_tag) = nodeimage::provisioner_image();
        let (resizer, resizer_tag) = nodeimage::resizer_image();
        let values = [
            "operator.image.registry=".to_owned(),
            format!("operator.image.repository={}", Program::Operator.repository()),
            format!("operator.image.tag={TAG}"),
            "operator.image.pullPolicy=Never".to_owned(),
            "csiNode.image.registry=".to_owned(),
            format!("csiNode.image.repository={}", Program::CsiNode.repository()),
            format!("csiNode.image.tag={TAG}"),
            "csiNode.image.pullPolicy=Never".to_owned(),
            "importer.image.registry=".to_owned(),
            format!("importer.image.repository={}", Program::Importer.repository()),
            format!("importer.image.tag={TAG}"),
            "importer.image.pullPolicy=Never".to_owned(),
            "csiProvisioner.image.registry=".to_owned(),
            format!("csiProvisioner.image.repository={provisioner}"),
            format!("csiProvisioner.image.tag={provisioner_tag}"),
            "csiProvisioner.image.pullPolicy=Never".to_owned(),
            "csiResizer.image.registry=".to_owned(),
            format!("csiResizer.image.repository={resizer}"),
            format!("csiResizer.image.tag={resizer_tag}"),
            "csiResizer.image.pullPolicy=Never".to_owned(),
            "pool.file.size=4Gi".to_owned(),
            // Tests look whether all is gone that was deleted.
            "gracePeriod=0".to_owned(),
        ];
        let helm = cluster::helm(instance)?.args(["upgrade", "--install", "dotmesh"]);
        let helm = helm.arg(workspace::root().join("charts/dotmesh")).args([
            "--namespace",
            "dotmesh-system",
            "--create-namespace",
        ]);
        let helm = helm
            .args(values.iter().chain(more).flat_map(|value| ["--set", value]))
            .args(["--wait", "--timeout", "5m"]);
        let installed = helm.within(Duration::from_secs(360)).output();
        installed
            .map(drop)
            .map_err(|error| error.context(evidence::summary(instance)))
    })
}
