//! What may be typed, and which function does it.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::{Parser, Subcommand};

use crate::story::{Bench, Story};
use crate::test::{Contract, Part, Publish, Volumes};
use crate::testbed::cluster::{self, Options};
use crate::testbed::gotools::Tool;
use crate::testbed::instance::{self, Instance};
use crate::testbed::node::Node;
use crate::testbed::qemu::Accel;
use crate::testbed::sandbox::SandboxArgs;
use crate::{crds, images, sim, story, test, tidy};

/// Tasks of the Dotmesh project.
#[derive(Debug, Parser)]
#[command(bin_name = "cargo xtask")]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Which instance of the test bed.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Which {
    /// Name of the instance; several can be up side by side.
    #[arg(long, env = "DOTMESH_INSTANCE", default_value = instance::DEFAULT)]
    instance: String,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Bring up a Kubernetes with OpenZFS nodes, and keep it.
    Up {
        #[command(flatten)]
        which: Which,
        /// How many nodes; 0 is a control plane alone.
        #[arg(long, default_value_t = 1)]
        nodes: u8,
        /// Nodes without a Kubernetes: OpenZFS and ssh.
        #[arg(long)]
        node_only: bool,
        /// How nodes run; by default KVM when a probe works, else emulation.
        #[arg(long, env = "DOTMESH_ACCEL")]
        accel: Option<Accel>,
    },
    /// Take an instance down.
    Down {
        #[command(flatten)]
        which: Which,
    },
    /// Show the instances.
    Status,
    /// Run kubectl as the instance's administrator.
    Kubectl {
        #[command(flatten)]
        which: Which,
        /// Arguments of kubectl.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// Open a shell on a node, or run a command there.
    Ssh {
        #[command(flatten)]
        which: Which,
        /// Number of the node, from 1.
        #[arg(long, default_value_t = 1)]
        node: u8,
        /// The command; the node's shell reads it.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        command: Vec<String>,
    },
    /// Copy a file to a node.
    Push {
        #[command(flatten)]
        which: Which,
        /// Number of the node, from 1.
        #[arg(long, default_value_t = 1)]
        node: u8,
        /// The file here.
        file: PathBuf,
        /// Its path there.
        target: String,
    },
    /// Run a command inside an instance's network namespace, with the environment that tests get.
    Exec {
        #[command(flatten)]
        which: Which,
        /// The command.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
        command: Vec<String>,
    },
    /// Print the path of a program of the test bed, building it if need be.
    Tool {
        /// Its name, such as helm or csi-sanity.
        name: String,
    },
    /// Run the tests.
    Test {
        /// Only this part.
        #[arg(long)]
        only: Option<Part>,
        /// How nodes run; by default KVM when a probe works, else emulation.
        #[arg(long, env = "DOTMESH_ACCEL")]
        accel: Option<Accel>,
    },
    /// Show the whole story on a cluster of its own, from nothing to the end.
    Demo(Story),
    /// Measure against the floor, on a cluster of its own.
    Bench(Bench),
    /// Longer runs of what `test` does.
    Campaign {
        #[command(subcommand)]
        which: Campaign,
    },
    /// Plant each known defect and see that the simulator notices.
    Mutants {
        /// Only these, by what is wrong with them.
        names: Vec<String>,
    },
    /// Build the images of the programs, into a folder.
    Images {
        /// The folder.
        #[arg(default_value = "target/images")]
        folder: PathBuf,
    },
    /// Build the images, put them on an instance's nodes, and install or upgrade the chart there.
    Deploy {
        #[command(flatten)]
        which: Which,
    },
    /// Write the CRDs' YAML from the types.
    Crds,
    /// Check the shape of the workspace.
    Tidy,
    /// (Used by this program itself.)
    #[command(hide = true)]
    Sandbox(SandboxArgs),
}

/// The longer runs.
#[derive(Debug, Subcommand)]
pub(crate) enum Campaign {
    /// The demo with a hundred commits.
    Demo(Story),
    /// All scenarios on a cluster, also those that take long and show what shorter ones show together.
    E2e {
        /// How nodes run; by default KVM when a probe works, else emulation.
        #[arg(long, env = "DOTMESH_ACCEL")]
        accel: Option<Accel>,
        /// Only those with one of these words in their names.
        names: Vec<String>,
    },
    /// Scenarios that need two nodes.
    TwoNodes {
        /// How nodes run; by default KVM when a probe works, else emulation.
        #[arg(long, env = "DOTMESH_ACCEL")]
        accel: Option<Accel>,
    },
    /// Generated operations on OpenZFS and on its fake, side by side.
    Contract(Contract),
    /// Volumes published and unpublished a thousand times under load.
    Publish(Publish),
    /// What making, growing, publishing and deleting volumes costs beside the bare commands, and memory with many.
    Volumes(Volumes),
    /// Mounts with SELinux contexts, on a kernel that has SELinux.
    Selinux {
        /// How the node runs; by default KVM when a probe works, else emulation.
        #[arg(long, env = "DOTMESH_ACCEL")]
        accel: Option<Accel>,
    },
    /// VolumeSnapshots, with the real csi-snapshotter and snapshot-controller.
    Snapshots {
        /// How the node runs; by default KVM when a probe works, else emulation.
        #[arg(long, env = "DOTMESH_ACCEL")]
        accel: Option<Accel>,
        /// Only those with one of these words in their names.
        names: Vec<String>,
    },
    /// Histories of the simulator by chance; goes on where the last one stopped.
    Sim {
        /// How long.
        #[arg(long, default_value_t = 60)]
        minutes: u64,
    },
}

impl Args {
    /// Does it; the answer is the exit code.
    pub(crate) fn run(self) -> Result<u8> {
        match self.command {
            Command::Up {
                which,
                nodes,
                node_only,
                accel,
            } => {
                let instance = Instance::new(&which.instance)?;
                cluster::up(
                    &instance,
                    Options {
                        nodes,
                        kubernetes: !node_only,
                        accel,
                        ephemeral: false,
                        kernel: "",
                    },
                )?;
                Ok(0)
            }
            Command::Down { which } => cluster::down(&Instance::new(&which.instance)?).map(|()| 0),
            Command::Status => status(),
            Command::Kubectl { which, args } => cluster::kubectl(&running(&which)?)?.args(args).interactive(),
            Command::Ssh { which, node, command } => node_of(&which, node)?.ssh()?.args(command).interactive(),
            Command::Push {
                which,
                node,
                file,
                target,
            } => node_of(&which, node)?.push(&file, &target).map(|()| 0),
            Command::Exec { which, command } => {
                let instance = running(&which)?;
                let cmd = instance.namespace().exec(&command[0]).args(&command[1..]);
                let env = cluster::environment(&instance)?.into_iter();
                env.fold(cmd, |cmd, (key, value)| cmd.env(key, value)).interactive()
            }
            Command::Tool { name } => {
                let tool = Tool::ALL.into_iter().find(|t| t.name() == name);
                println!(
                    "{}",
                    tool.with_context(|| format!("no program {name}"))?.path()?.display()
                );
                Ok(0)
            }
            Command::Test { only, accel } => test::run(only, accel),
            Command::Demo(story) => story::tell(&story),
            Command::Bench(bench) => story::measure(&bench),
            Command::Campaign {
                which: Campaign::Demo(story),
            } => story::tell(&story.longer()),
            Command::Campaign {
                which: Campaign::E2e { accel, names },
            } => test::all_of_e2e(accel, &names),
            Command::Campaign {
                which: Campaign::TwoNodes { accel },
            } => test::two_nodes(accel),
            Command::Campaign {
                which: Campaign::Contract(contract),
            } => test::contract(&contract),
            Command::Campaign {
                which: Campaign::Publish(publish),
            } => test::publish(&publish),
            Command::Campaign {
                which: Campaign::Volumes(volumes),
            } => test::volumes(&volumes),
            Command::Campaign {
                which: Campaign::Selinux { accel },
            } => test::selinux(accel),
            Command::Campaign {
                which: Campaign::Snapshots { accel, names },
            } => test::snapshots(accel, &names),
            Command::Campaign {
                which: Campaign::Sim { minutes },
            } => sim::campaign(minutes),
            Command::Mutants { names } => sim::mutants(&names),
            Command::Images { folder } => {
                images::write(&folder)?
                    .iter()
                    .for_each(|image| println!("{}", image.display()));
                Ok(0)
            }
            Command::Deploy { which } => {
                let instance = running(&which)?;
                images::import(&instance)?;
                images::install_chart(&instance)?;
                Ok(0)
            }
            Command::Crds => crds::write().map(|()| 0),
            Command::Tidy => tidy::check().map(|()| 0),
            Command::Sandbox(_) => bail!("the sandbox is entered before anything else"),
        }
    }
}

fn running(which: &Which) -> Result<Instance> {
    let instance = Instance::new(&which.instance)?;
    if instance.record().is_none() {
        bail!(
            "instance {} is not up; start it with `cargo xtask up --instance {0}`",
            instance.name
        );
    }
    Ok(instance)
}

fn node_of(which: &Which, index: u8) -> Result<Node> {
    let instance = running(which)?;
    let nodes = instance.record().map_or(0, |record| record.nodes);
    if index == 0 || index > nodes {
        bail!("instance {} has nodes 1–{nodes}", instance.name);
    }
    Ok(instance.node(index))
}

fn status() -> Result<u8> {
    let mut any = false;
    for instance in Instance::all()? {
        let Some(record) = instance.record() else { continue };
        any = true;
        let kind = if record.kubernetes {
            "control plane"
        } else {
            "no control plane"
        };
        let state = cluster::broken(&instance).map_or_else(|| "up".to_owned(), |reason| format!("broken: {reason}"));
        println!("{}: {kind}, {} nodes, {state}", instance.name, record.nodes);
        for (name, daemon) in instance.daemons() {
            println!("  {name}: {}", if daemon.alive() { "runs" } else { "ended" });
        }
        if record.kubernetes {
            println!(
                "  KUBECONFIG={} (inside `ip netns exec {}`)",
                instance.kubeconfig().display(),
                instance.namespace().name
            );
        }
    }
    if !any {
        println!("no instance is up");
    }
    Ok(0)
}
