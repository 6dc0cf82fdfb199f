//! `cargo xtask test`: the parts, what each runs, and the count at the end.
//!
//! Tests are compiled first and run afterwards, so that no compiler competes with an emulated node. A part that finds
//! nothing to run has failed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::images::{self, Program};
use crate::process::Cmd;
use crate::testbed::cluster::{self, Ephemeral};
use crate::testbed::evidence;
use crate::testbed::gotools::Tool;
use crate::testbed::host;
use crate::testbed::instance::Instance;
use crate::testbed::qemu::Accel;
use crate::{interrupt, report, sim, tidy, wire, workspace};
use count::Count;

mod count;

/// The crate with the tests from outside.
pub(crate) const OUTSIDE: &str = "dotmesh-e2e";

/// The longest that the tests of one part may take from outside.
const OUTSIDE_TIME: Duration = Duration::from_secs(3000);

/// The longest that one operation of a campaign may take on average, on an emulated node.
const OPERATION_TIME: Duration = Duration::from_secs(3);

/// A longer comparison of the fake with OpenZFS.
#[derive(Debug, clap::Args)]
pub(crate) struct Contract {
    /// About how many generated operations.
    #[arg(long, default_value_t = 2000)]
    ops: u32,
    /// Repeats the sequences of an earlier run.
    #[arg(long)]
    seed: Option<u64>,
    /// How the node runs; by default KVM when a probe works, else emulation.
    #[arg(long, env = "DOTMESH_ACCEL")]
    accel: Option<Accel>,
}

/// Pods' mounts made and taken away more often than `test` does.
#[derive(Debug, clap::Args)]
pub(crate) struct Publish {
    /// How often.
    #[arg(long, default_value_t = 1000)]
    times: u32,
    /// How the node runs; by default KVM when a probe works, else emulation.
    #[arg(long, env = "DOTMESH_ACCEL")]
    accel: Option<Accel>,
}

/// What volumes cost, and many of them.
#[derive(Debug, clap::Args)]
pub(crate) struct Volumes {
    /// How many there are in the end.
    #[arg(long, default_value_t = 1000)]
    count: u32,
    /// How the node runs; by default KVM when a probe works, else emulation.
    #[arg(long, env = "DOTMESH_ACCEL")]
    accel: Option<Accel>,
}

/// A part of the tests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Part {
    /// Formatting, clippy, tidy, and all tests that need nothing.
    Unit,
    /// The API and the chart against a real control plane without nodes.
    ControlPlane,
    /// ZFS, mounts and csi-node on a machine with real OpenZFS, without Kubernetes.
    Node,
    /// Everything together.
    E2e,
}

impl Part {
    /// All of them, in the order they run.
    const ALL: [Self; 4] = [Self::Unit, Self::ControlPlane, Self::Node, Self::E2e];

    fn name(self) -> &'static str {
        match self {
            Self::Unit => "unit",
            Self::ControlPlane => "control-plane",
            Self::Node => "node",
            Self::E2e => "e2e",
        }
    }

    fn run(self, accel: Option<Accel>) -> Result<Count> {
        match self {
            Self::Unit => unit(),
            Self::ControlPlane => control_plane(),
            Self::Node => node(accel),
            Self::E2e => e2e(accel, &[]),
        }
    }
}

/// Names of test targets that are no ordinary tests: each belongs to a part or a campaign.
pub(crate) const TARGETS: [&str; 5] = ["control_plane", "node", "e2e", "snapshots", "two_nodes"];

/// Runs the parts; the answer is the exit code.
pub(crate) fn run(only: Option<Part>, accel: Option<Accel>) -> Result<u8> {
    if only.is_some() {
        return run_parts(only, accel);
    }
    std::thread::scope(|scope| {
        // Takes minutes on a machine that has none of it yet. Should it fail, the part that needs it tries again and says so.
        scope.spawn(build_once);
        run_parts(only, accel)
    })
}

/// What test beds are made of, as far as it is not there yet.
fn build_once() -> Result<()> {
    host::ensure()?;
    cluster::build_debian(true)?;
    Tool::ALL.into_iter().try_for_each(|tool| tool.path().map(drop))
}

fn run_parts(only: Option<Part>, accel: Option<Accel>) -> Result<u8> {
    let mut total = Count::default();
    let mut lines = Vec::new();
    for part in Part::ALL
        .into_iter()
        .filter(|part| only.is_none_or(|only| only == *part))
    {
        println!("\n=== {} ===", part.name());
        let begin = Instant::now();
        let count = part.run(accel).unwrap_or_else(|error| {
            eprintln!("error: {error:#}");
            Count::failure(format!("{}: {error:#}", part.name()))
        });
        interrupt::check()?;
        let time = report::seconds(begin.elapsed());
        lines.push(format!(
            "{}: {} passed, {} failed, {time}",
            part.name(),
            count.passed,
            count.failed
        ));
        println!("=== {} took {time} ===", part.name());
        total.add(count);
    }
    println!("\n{}", lines.join("\n"));
    Ok(total.conclude())
}

fn unit() -> Result<Count> {
    let mut count = Count::default();
    for (name, args) in [
        ("fmt", ["fmt", "--all", "--", "--check"].as_slice()),
        (
            "clippy",
            &[
                "clippy",
                "--quiet",
                "--workspace",
                "--all-targets",
                "--",
                "-D",
                "warnings",
            ],
        ),
        // Targets that plain `cargo test` skips are not among "all targets".
        (
            "clippy of the test bed's tests",
            &[
                "clippy",
                "--quiet",
                "--workspace",
                "--test",
                "*",
                "--",
                "-D",
                "warnings",
            ],
        ),
    ] {
        count.add(Count::of(
            name,
            report::step(name, || workspace::cargo().args(args).run()),
        ));
    }
    count.add(Count::of("tidy", report::step("tidy", tidy::check)));
    count.add(report::step("cargo test", || {
        counted(workspace::cargo().args(["test", "--workspace", "--no-fail-fast"]))
    })?);
    count.add(Count::of("simulator", sim::test()));
    Ok(count)
}

fn control_plane() -> Result<Count> {
    host::ensure()?;
    let mut count = Count::of("wire", report::step("the wire is the official one", wire::check));
    let tests = compile_outside("control_plane")?;
    let bed = Ephemeral::up("api", 0, true, None)?;
    count.add(finish(bed, |instance| run_here(instance, &tests, &[], &[]))?);
    Ok(count)
}

fn node(accel: Option<Accel>) -> Result<Count> {
    host::ensure()?;
    let mut inside = compile("node")?;
    let outside = inside.remove(OUTSIDE);
    images::build()?;
    let csi_node = images::binary(Program::CsiNode)?;
    let sanity = Tool::CsiSanity.path()?;
    let bed = Ephemeral::up("node", 1, false, accel)?;
    finish(bed, |instance| {
        report::step("copy programs to the node", || {
            let node = instance.node(1);
            node.ssh()?.arg("mkdir -p /opt/dotmesh").run()?;
            node.push(&csi_node, CSI_NODE)?;
            node.push(&sanity, "/opt/dotmesh/csi-sanity")?;
            inside
                .iter()
                .try_for_each(|(name, tests)| node.push(tests, &inside_path(name)))
        })?;
        let mut count = Count::default();
        for name in inside.keys() {
            println!("--- {name} on the node ---");
            let env = format!("DOTMESH_CSI_NODE={CSI_NODE} DOTMESH_CSI_SANITY=/opt/dotmesh/csi-sanity");
            count.add(counted(on_node(instance, name, &env, "")?)?);
        }
        let env = [("DOTMESH_TEST_CSI_NODE".to_owned(), csi_node.display().to_string())];
        outside
            .iter()
            .try_for_each(|tests| run_here(instance, tests, &[], &env).map(|more| count.add(more)))?;
        Ok(count)
    })
}

/// Where csi-node lies on a node without Kubernetes.
const CSI_NODE: &str = "/opt/dotmesh/dotmesh-csi-node";

/// Where a crate's tests lie on the node.
fn inside_path(name: &str) -> String {
    format!("/opt/dotmesh/{name}-tests")
}

/// Tests of a crate that lie on the node, those with this in their names, run there as root in an empty folder.
fn on_node(instance: &Instance, name: &str, env: &str, filter: &str) -> Result<Cmd> {
    let script = format!(
        "mkdir -p /var/tmp/{name} && cd /var/tmp/{name} && \
         exec env DOTMESH_TEST_NODE=1 RUST_BACKTRACE=1 {env} {} {filter} 2>&1",
        inside_path(name)
    );
    Ok(instance.node(1).ssh()?.arg(script))
}

/// Compares the fake with OpenZFS for longer than `test` does; the answer is the exit code.
pub(crate) fn contract(contract: &Contract) -> Result<u8> {
    const CRATE: &str = "dotmesh-zfs";
    host::ensure()?;
    let tests = compile_of(CRATE, "node")?;
    let seed = contract.seed.unwrap_or_else(|| u64::from(std::process::id()));
    println!("seed {seed}");
    let bed = Ephemeral::up("contract", 1, false, contract.accel)?;
    let count = finish(bed, |instance| {
        let node = instance.node(1);
        node.ssh()?.arg("mkdir -p /opt/dotmesh").run()?;
        node.push(&tests, &inside_path(CRATE))?;
        let env = format!("DOTMESH_CONTRACT_OPS={} DOTMESH_CONTRACT_SEED={seed}", contract.ops);
        counted(on_node(instance, CRATE, &env, "")?.within(OPERATION_TIME * contract.ops))
    })?;
    Ok(count.conclude())
}

/// Publishes and unpublishes more often than `test` does; the answer is the exit code.
pub(crate) fn publish(publish: &Publish) -> Result<u8> {
    let env = format!("DOTMESH_PUBLISH_TIMES={}", publish.times);
    let time = OPERATION_TIME * publish.times.max(100);
    let bed = alone("publish", publish.accel, "");
    csi_node_alone(bed, &[], (&env, "load::published"), time)
}

/// Measures what volumes cost, and prints it; the answer is the exit code.
pub(crate) fn volumes(volumes: &Volumes) -> Result<u8> {
    let env = format!("DOTMESH_FIGURES_VOLUMES={}", volumes.count);
    let filter = "figures:: --include-ignored --nocapture";
    let time = OPERATION_TIME * volumes.count.max(100);
    csi_node_alone(alone("volumes", volumes.accel, ""), &[], (&env, filter), time)
}

/// Mounts with SELinux contexts, on a kernel that has SELinux and a policy of a few lines; the answer is the exit code.
pub(crate) fn selinux(accel: Option<Accel>) -> Result<u8> {
    const POLICY: &str = "/opt/dotmesh/policy";
    host::ensure_program("secilc", "secilc")?;
    let policy = std::env::temp_dir().join(format!("dotmesh-policy-{}", std::process::id()));
    let contexts = policy.with_extension("contexts");
    Cmd::new("secilc")
        .args(["-M", "true", "-c", "33", "-o"])
        .arg(&policy)
        .arg("-f")
        .arg(&contexts)
        .arg(workspace::root().join("xtask/selinux/policy.cil"))
        .run()?;
    let env = format!("DOTMESH_SELINUX_POLICY={POLICY}");
    let bed = alone("selinux", accel, "security=selinux selinux=1 enforcing=0");
    let files = [(policy.as_path(), POLICY)];
    let ended = csi_node_alone(bed, &files, (&env, "selinux:: --include-ignored"), OPERATION_TIME * 100);
    for file in [&policy, &contexts] {
        std::fs::remove_file(file).with_context(|| format!("remove {}", file.display()))?;
    }
    ended
}

/// A machine with OpenZFS and nothing else.
fn alone(purpose: &'static str, accel: Option<Accel>, kernel: &'static str) -> impl FnOnce() -> Result<Ephemeral> {
    let options = cluster::Options {
        nodes: 1,
        kubernetes: false,
        accel,
        ephemeral: true,
        kernel,
    };
    move || Ephemeral::up_with(purpose, options)
}

/// Runs some of csi-node's tests on a machine of its own, without Kubernetes.
fn csi_node_alone(
    bed: impl FnOnce() -> Result<Ephemeral>,
    files: &[(&Path, &str)],
    (env, filter): (&str, &str),
    time: Duration,
) -> Result<u8> {
    const CRATE: &str = "dotmesh-csi-node";
    host::ensure()?;
    let tests = compile_of(CRATE, "node")?;
    images::build()?;
    let csi_node = images::binary(Program::CsiNode)?;
    let count = finish(bed()?, |instance| {
        let node = instance.node(1);
        node.ssh()?.arg("mkdir -p /opt/dotmesh").run()?;
        node.push(&csi_node, CSI_NODE)?;
        node.push(&tests, &inside_path(CRATE))?;
        files.iter().try_for_each(|(from, to)| node.push(from, to))?;
        let env = format!("DOTMESH_CSI_NODE={CSI_NODE} {env}");
        counted(on_node(instance, CRATE, &env, filter)?.within(time))
    })?;
    Ok(count.conclude())
}

/// The scenarios of `test`, and those that it leaves out, or those of them that have one of these words in their names;
/// the answer is the exit code.
pub(crate) fn all_of_e2e(accel: Option<Accel>, names: &[String]) -> Result<u8> {
    let mut args = vec!["--include-ignored"];
    args.extend(names.iter().map(String::as_str));
    let count = e2e(accel, &args)?;
    Ok(count.conclude())
}

/// What needs two nodes; the answer is the exit code.
pub(crate) fn two_nodes(accel: Option<Accel>) -> Result<u8> {
    let count = scenarios("two_nodes", 2, accel, &[])?;
    Ok(count.conclude())
}

fn e2e(accel: Option<Accel>, args: &[&str]) -> Result<Count> {
    scenarios("e2e", 1, accel, args)
}

/// VolumeSnapshots, with the real csi-snapshotter and snapshot-controller: all scenarios, or those that have one of these words
/// in their names; the answer is the exit code.
pub(crate) fn snapshots(accel: Option<Accel>, names: &[String]) -> Result<u8> {
    // Built before the machine starts; installing finds it done.
    Tool::CsiSnapshotter.path()?;
    // The cluster has one by the chart; tests also start it otherwise.
    let programs = [("DOTMESH_SNAPSHOT_CONTROLLER", Tool::SnapshotController)];
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let count = on_cluster(
        "snapshots",
        1,
        accel,
        &programs,
        &names,
        images::install_chart_with_snapshots,
    )?;
    Ok(count.conclude())
}

/// Runs the tests from outside of that name on a cluster with so many nodes and the chart installed.
fn scenarios(target: &str, nodes: u8, accel: Option<Accel>, args: &[&str]) -> Result<Count> {
    let programs = [("DOTMESH_CSI_SANITY", Tool::CsiSanity)];
    on_cluster(target, nodes, accel, &programs, args, images::install_chart)
}

/// The same with programs that tests are told of, and another way to install.
fn on_cluster(
    target: &str,
    nodes: u8,
    accel: Option<Accel>,
    programs: &[(&str, Tool)],
    args: &[&str],
    install: impl Fn(&Instance) -> Result<()>,
) -> Result<Count> {
    host::ensure()?;
    let tests = compile_outside(target)?;
    // Built before the machine starts; importing finds them done.
    images::build()?;
    let mut env = Vec::new();
    for (name, tool) in programs {
        env.push(((*name).to_owned(), tool.path()?.to_string_lossy().into_owned()));
    }
    let bed = Ephemeral::up("e2e", nodes, true, accel)?;
    finish(bed, |instance| {
        images::import(instance)?;
        install(instance)?;
        run_here(instance, &tests, args, &env)
    })
}

/// Runs `tests` on the bed; its logs are kept when they fail.
fn finish(bed: Ephemeral, tests: impl FnOnce(&Instance) -> Result<Count>) -> Result<Count> {
    let count = tests(bed.instance());
    if count.as_ref().is_ok_and(|count| count.failed == 0) {
        bed.succeed();
    } else if !interrupt::seen() {
        evidence::collect(bed.instance());
        println!("the test bed's logs are kept in {}", bed.instance().logs().display());
    }
    count
}

/// Compiles the test targets of that name and returns their programs by crate.
fn compile(target: &str) -> Result<BTreeMap<String, PathBuf>> {
    let programs = report::step(&format!("compile the tests {target}"), || {
        workspace::executables(&["test", "--quiet", "--no-run", "--test", target], "test", target)
    })?;
    let packages = workspace::packages()?.into_iter();
    let of = |folder: &PathBuf| programs.get(folder).cloned();
    Ok(packages
        .filter_map(|package| Some((package.name, of(&package.folder)?)))
        .collect())
}

/// Compiles the test target of that name of the tests from outside.
fn compile_outside(target: &str) -> Result<PathBuf> {
    compile_of(OUTSIDE, target)
}

/// Compiles the test target of that name of one crate.
fn compile_of(package: &str, target: &str) -> Result<PathBuf> {
    compile(target)?
        .remove(package)
        .with_context(|| format!("{package} has no test target {target}"))
}

/// Runs a test program in the instance's network namespace.
fn run_here(instance: &Instance, program: &Path, args: &[&str], env: &[(String, String)]) -> Result<Count> {
    // Most of what these tests do is waiting for the node, so more of them run than there are processors.
    let cmd = instance.namespace().exec(program).args(["--test-threads", "4"]);
    let mut cmd = cmd.args(args).dir(&workspace::root()).within(OUTSIDE_TIME);
    for (key, value) in cluster::environment(instance)?.iter().chain(env) {
        cmd = cmd.env(key, value);
    }
    counted(cmd)
}

/// Runs test programs, shows their output, and counts.
fn counted(cmd: Cmd) -> Result<Count> {
    let (success, output) = cmd.shown_and_kept()?;
    let count = Count::parse(&output, success);
    if success && count.passed == 0 {
        bail!("no test ran");
    }
    Ok(count)
}
