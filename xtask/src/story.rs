//! `cargo xtask demo` and `bench`: a program of `dotmesh-e2e` on a cluster of its own, with the chart installed.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};

use crate::images;
use crate::process::Cmd;
use crate::report;
use crate::test::OUTSIDE;
use crate::testbed::cluster::{self, Ephemeral, Options};
use crate::testbed::evidence;
use crate::testbed::host;
use crate::testbed::instance::Instance;
use crate::testbed::qemu::Accel;
use crate::workspace;

/// How many commits a campaign makes.
const MANY_COMMITS: u32 = 100;

/// The longest that the benchmarks may take.
const BENCH_TIME: Duration = Duration::from_secs(3 * 3600);

/// What the demo is asked to do.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Story {
    /// How many commits to make while databases write; the program's own default when not given.
    #[arg(long)]
    commits: Option<u32>,
    /// Repeats a shuffle.
    #[arg(long)]
    seed: Option<u64>,
    /// Keep the cluster afterwards, as instance `demo`, for playing with.
    #[arg(long)]
    keep: bool,
    /// How the node runs; by default KVM when a probe works, else emulation.
    #[arg(long, env = "DOTMESH_ACCEL")]
    accel: Option<Accel>,
}

impl Story {
    /// The same, with more commits where nobody said how many.
    pub(crate) fn longer(self) -> Self {
        Self {
            commits: self.commits.or(Some(MANY_COMMITS)),
            ..self
        }
    }

    fn args(&self) -> Vec<String> {
        let mut args = Vec::new();
        if let Some(commits) = self.commits {
            args.extend(["--commits".to_owned(), commits.to_string()]);
        }
        if let Some(seed) = self.seed {
            args.extend(["--seed".to_owned(), seed.to_string()]);
        }
        if self.keep {
            args.push("--keep".to_owned());
        }
        args
    }
}

/// What the benchmarks are asked to do.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Bench {
    /// Write the figures, as Markdown, to this file as well.
    #[arg(long)]
    out: Option<PathBuf>,
    /// How the node runs; by default KVM when a probe works, else emulation.
    #[arg(long, env = "DOTMESH_ACCEL")]
    accel: Option<Accel>,
    /// Measure VolumeSnapshots alone, on a cluster with csi-snapshotter and snapshot-controller.
    #[arg(long)]
    snapshots: bool,
    /// Arguments of the benchmark program.
    #[arg(last = true)]
    args: Vec<String>,
}

/// Tells the story; the answer is the exit code.
pub(crate) fn tell(story: &Story) -> Result<u8> {
    let program = prepare("demo")?;
    if story.keep {
        let instance = Instance::new("demo")?;
        cluster::up(
            &instance,
            Options {
                nodes: 1,
                kubernetes: true,
                accel: story.accel,
                ephemeral: false,
                kernel: "",
            },
        )?;
        deploy(&instance)?;
        let code = inside(&instance, &program)?.args(story.args()).interactive()?;
        println!("the cluster stays: cargo xtask kubectl --instance demo get dots; cargo xtask down --instance demo");
        return Ok(code);
    }
    let bed = Ephemeral::up("demo", 1, true, story.accel)?;
    deploy(bed.instance())?;
    let code = inside(bed.instance(), &program)?.args(story.args()).interactive()?;
    if code == 0 {
        bed.succeed();
    } else {
        evidence::collect(bed.instance());
        println!("the cluster's logs are kept in {}", bed.instance().logs().display());
    }
    Ok(code)
}

/// Measures; the figures go to standard output and the file asked for.
pub(crate) fn measure(bench: &Bench) -> Result<u8> {
    let program = prepare("bench")?;
    let bed = Ephemeral::up("bench", 1, true, bench.accel)?;
    report::step("make a pool that has room for 1 TiB", || sparse_pool(bed.instance()))?;
    let only: &[&str] = match bench.snapshots {
        true => {
            images::import(bed.instance())?;
            images::install_chart_with_snapshots(bed.instance())?;
            &["--only", "snapshots"]
        }
        false => {
            deploy(bed.instance())?;
            &[]
        }
    };
    let figures = inside(bed.instance(), &program)?
        .args(only)
        .args(&bench.args)
        .within(BENCH_TIME)
        .visible_output()?;
    println!("{figures}");
    if let Some(out) = &bench.out {
        std::fs::write(out, figures).with_context(|| format!("write {}", out.display()))?;
    }
    bed.succeed();
    Ok(0)
}

/// Compiles everything before a machine starts, so that no compiler competes with it.
fn prepare(program: &str) -> Result<PathBuf> {
    host::ensure()?;
    let found = report::step(&format!("compile {program}"), || {
        workspace::executables(&["build", "--quiet", "--bin", program], "bin", program)
    })?;
    let found = found
        .into_values()
        .next()
        .with_context(|| format!("{OUTSIDE} has no program {program}"))?;
    images::build()?;
    Ok(found)
}

fn deploy(instance: &Instance) -> Result<()> {
    images::import(instance)?;
    images::install_chart(instance)
}

fn inside(instance: &Instance, program: &Path) -> Result<Cmd> {
    let cmd = instance.namespace().exec(program).dir(&workspace::root());
    Ok(cluster::environment(instance)?
        .into_iter()
        .fold(cmd, |cmd, (key, value)| cmd.env(key, value)))
}

/// Puts a pool on a sparse file where csi-node looks for its pool; it imports what it finds there.
fn sparse_pool(instance: &Instance) -> Result<()> {
    let script = "mkdir -p /var/lib/dotmesh && truncate -s 2T /var/lib/dotmesh/pool.img && \
                  zpool create -o ashift=12 -o cachefile=none -O mountpoint=none dotmesh /var/lib/dotmesh/pool.img && \
                  zpool export dotmesh";
    instance
        .node(1)
        .ssh()?
        .arg(script)
        .within(Duration::from_secs(300))
        .output()
        .map(drop)
}
