//! `cargo xtask demo`: the story of `dotmesh-e2e`'s program `demo`, on a cluster of its own.

use anyhow::Result;

use crate::images::{self, Program};
use crate::report;
use crate::test::OUTSIDE;
use crate::testbed::cluster::{self, Ephemeral, Options};
use crate::testbed::host;
use crate::testbed::instance::Instance;
use crate::testbed::qemu::Accel;
use crate::workspace;

/// How many commits a campaign makes.
const MANY_COMMITS: u32 = 100;

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
}

/// Tells it; the answer is the exit code.
pub(crate) fn tell(story: &Story) -> Result<u8> {
    host::ensure()?;
    let program = report::step("compile the demo", || {
        let found = workspace::executables(&["build", "--quiet", "--package", OUTSIDE, "--bin", "demo"])?;
        found
            .into_iter()
            .next_back()
            .ok_or_else(|| anyhow::anyhow!("{OUTSIDE} has no program `demo`"))
    })?;
    for built in Program::ALL {
        report::step(&format!("build {}", built.file()), || images::binary(built))?;
    }
    if story.keep {
        let instance = Instance::new("demo")?;
        cluster::up(
            &instance,
            Options {
                nodes: 1,
                kubernetes: true,
                accel: story.accel,
                ephemeral: false,
            },
        )?;
        let code = play(&instance, &program, story)?;
        println!("the cluster stays: cargo xtask kubectl --instance demo get dots; cargo xtask down --instance demo");
        return Ok(code);
    }
    let bed = Ephemeral::up("demo", 1, true, story.accel)?;
    let code = play(bed.instance(), &program, story)?;
    if code == 0 {
        bed.succeed();
    }
    Ok(code)
}

fn play(instance: &Instance, program: &std::path::Path, story: &Story) -> Result<u8> {
    images::import(instance)?;
    images::install_chart(instance)?;
    let mut cmd = instance.namespace().exec(program).dir(&workspace::root());
    for (key, value) in cluster::environment(instance)? {
        cmd = cmd.env(key, value);
    }
    if let Some(commits) = story.commits {
        cmd = cmd.args(["--commits", &commits.to_string()]);
    }
    if let Some(seed) = story.seed {
        cmd = cmd.args(["--seed", &seed.to_string()]);
    }
    if story.keep {
        cmd = cmd.arg("--keep");
    }
    cmd.interactive()
}
