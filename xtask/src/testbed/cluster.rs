//! Instances come up, go down, and are found again after a crash.

use std::cell::Cell;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::controlplane::{self, ControlPlane};
use super::gotools::Tool;
use super::instance::{Instance, Record};
use super::nodeimage::{self, NodeDisk};
use super::qemu::{Accel, Machine};
use super::{cache, evidence, host, node};
use crate::process::{self, Cmd, Daemon, wait_for};
use crate::report;

/// Memory of a node in MiB.
const NODE_MEMORY: u32 = 4096;

/// Logs of what failed longer ago are removed.
const LOGS_KEPT: Duration = Duration::from_secs(3 * 24 * 3600);

/// Node addresses are one byte, and a laptop has so much memory.
const MOST_NODES: u8 = 9;

/// What is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Options {
    /// Nodes; none is a control plane alone.
    pub(crate) nodes: u8,
    /// Whether there is a control plane; without it the nodes are machines with OpenZFS, reached by ssh.
    pub(crate) kubernetes: bool,
    /// How nodes run; found out when not given.
    pub(crate) accel: Option<Accel>,
    /// Whether it goes when this program goes.
    pub(crate) ephemeral: bool,
    /// Words more for the nodes' kernel.
    pub(crate) kernel: &'static str,
}

/// What an instance is made from.
struct Artefacts {
    disk: Option<NodeDisk>,
    kubernetes: Option<std::path::PathBuf>,
    accel: Option<Accel>,
}

/// Brings the instance up; one that is up already, the same way, is left as it is.
pub(crate) fn up(instance: &Instance, options: Options) -> Result<()> {
    if options.nodes > MOST_NODES || (options.nodes == 0 && !options.kubernetes) {
        bail!("an instance has a control plane or 1–{MOST_NODES} nodes, or both");
    }
    host::ensure()?;
    sweep()?;
    let begin = Instant::now();
    let artefacts = build(options)?;
    let _lock = instance.lock()?;
    if let Some(record) = instance.record() {
        let same = (record.nodes, record.kubernetes) == (options.nodes, options.kubernetes);
        if same && record.owner.is_none() && broken(instance).is_none() {
            println!("instance {} is up already", instance.name);
            return Ok(());
        }
    }
    take_down(instance, Logs::Discard)?;
    match start(instance, options, &artefacts) {
        Ok(()) => {
            println!(
                "instance {} is up after {}",
                instance.name,
                report::seconds(begin.elapsed())
            );
            Ok(())
        }
        Err(error) => {
            if let Err(second) = take_down(instance, Logs::Keep) {
                eprintln!("and taking {} down again failed: {second:#}", instance.name);
            }
            Err(error.context(format!("logs are in {}", instance.logs().display())))
        }
    }
}

/// Takes the instance down; nothing but its logs stays.
pub(crate) fn down(instance: &Instance) -> Result<()> {
    let _lock = instance.lock()?;
    report::step(&format!("take {} down", instance.name), || {
        take_down(instance, Logs::Keep)
    })
}

/// Takes down what belonged to runs that are no more, and removes old logs.
pub(crate) fn sweep() -> Result<()> {
    for instance in Instance::all()? {
        if instance.record().is_none() && instance.idle_for().is_some_and(|time| time > LOGS_KEPT) {
            let _lock = instance.lock()?;
            cache::remove_tree(instance.folder())?;
            continue;
        }
        let abandoned = |i: &Instance| i.record().is_some_and(|r| r.owner.is_some_and(|owner| !owner.alive()));
        if abandoned(&instance) {
            let _lock = instance.lock()?;
            if abandoned(&instance) {
                report::step(&format!("clean up {}, left by a run that ended", instance.name), || {
                    take_down(&instance, Logs::Discard)
                })?;
            }
        }
    }
    Ok(())
}

/// Why an instance is not whole, if so.
pub(crate) fn broken(instance: &Instance) -> Option<String> {
    if !instance.namespace().exists() {
        return Some("its network namespace is gone".to_owned());
    }
    instance
        .daemons()
        .into_iter()
        .find_map(|(name, daemon)| daemon.check(&name).err())
        .map(|e| format!("{e:#}"))
}

/// The control plane of an instance.
fn control_plane(instance: &Instance) -> ControlPlane {
    ControlPlane {
        namespace: instance.namespace(),
        pki: instance.pki(),
        data: instance.state().join("etcd"),
        logs: instance.logs(),
        records: instance.state(),
    }
}

/// kubectl as administrator of the instance.
pub(crate) fn kubectl(instance: &Instance) -> Result<Cmd> {
    control_plane(instance).kubectl()
}

/// helm as administrator of the instance.
pub(crate) fn helm(instance: &Instance) -> Result<Cmd> {
    Ok(instance
        .namespace()
        .exec(Tool::Helm.path()?)
        .env("KUBECONFIG", instance.kubeconfig()))
}

/// What tests and the demo are told about the instance.
pub(crate) fn environment(instance: &Instance) -> Result<Vec<(String, String)>> {
    let mut env = vec![("DOTMESH_TEST_INSTANCE".to_owned(), instance.name.clone())];
    let mut add = |key: &str, value: String| env.push((key.to_owned(), value));
    let record = instance
        .record()
        .with_context(|| format!("{} is not up", instance.name))?;
    if record.kubernetes {
        add("KUBECONFIG", instance.kubeconfig().display().to_string());
        let tools = [Tool::Kubectl.path()?, Tool::Helm.path()?];
        let folders = tools
            .iter()
            .filter_map(|tool| tool.parent())
            .map(|folder| folder.display().to_string());
        add("DOTMESH_BIN", folders.collect::<Vec<_>>().join(":"));
        add("DOTMESH_DATABASE_IMAGE", super::dbimage::NAME.to_owned());
    }
    if record.nodes == 1 {
        add(
            "DOTMESH_TEST_SSH",
            serde_json::to_string(&instance.node(1).ssh_argv()?)?,
        );
    } else if record.nodes > 1 {
        let each = (1..=record.nodes).map(|index| Ok((format!("n{index}"), instance.node(index).ssh_argv()?)));
        add(
            "DOTMESH_TEST_SSH",
            serde_json::to_string(&each.collect::<Result<std::collections::BTreeMap<_, _>>>()?)?,
        );
    }
    if record.nodes > 0 {
        add("DOTMESH_TEST_NODE_ADDRESS", super::net::node_address(1).to_string());
    }
    Ok(env)
}

fn build(options: Options) -> Result<Artefacts> {
    node::ssh_key()?;
    let Options { nodes, kubernetes, .. } = options;
    let disk = std::thread::scope(|scope| {
        let disk = (nodes > 0).then(|| scope.spawn(move || build_debian(kubernetes)));
        if kubernetes {
            build_tools()?;
        }
        disk.map(|disk| {
            disk.join()
                .unwrap_or_else(|_| bail!("building the node's disk panicked"))
        })
        .transpose()
    })?;
    let Some(disk) = disk else {
        return Ok(Artefacts {
            disk: None,
            kubernetes: None,
            accel: None,
        });
    };
    let kubernetes = kubernetes.then(nodeimage::kubernetes_disk).transpose()?;
    let accel = Accel::choose(options.accel, &disk)?;
    println!("nodes run with {accel:?}");
    Ok(Artefacts {
        disk: Some(disk),
        kubernetes,
        accel: Some(accel),
    })
}

/// What is made by Go.
fn build_tools() -> Result<()> {
    for tool in controlplane::TOOLS {
        tool.path()?;
    }
    Tool::Kubectl.path().map(drop)
}

/// What is made from Debian: much of it is waiting for disks and archives, so it goes well beside a compiler. Whoever
/// needs any of it meanwhile waits for that.
pub(crate) fn build_debian(kubernetes: bool) -> Result<NodeDisk> {
    let disk = nodeimage::node_disk()?;
    if kubernetes {
        super::dbimage::image()?;
    }
    Ok(disk)
}

fn start(instance: &Instance, options: Options, artefacts: &Artefacts) -> Result<()> {
    for folder in [instance.logs(), instance.state(), instance.sockets()] {
        fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
    }
    let owner = options.ephemeral.then(process::myself);
    let Options { nodes, kubernetes, .. } = options;
    instance.write_record(&Record {
        nodes,
        kubernetes,
        accel: artefacts.accel,
        owner,
    })?;
    report::step("make the network and certificates", || {
        instance.namespace().create(nodes)?;
        if kubernetes {
            instance.pki().create(nodes)
        } else {
            Ok(())
        }
    })?;
    let machines = match (&artefacts.disk, artefacts.accel) {
        (Some(disk), Some(accel)) => report::step("start the machines", || {
            (1..=nodes)
                .map(|index| {
                    boot(
                        instance,
                        index,
                        disk,
                        artefacts.kubernetes.as_deref(),
                        (accel, options.kernel),
                    )
                })
                .collect::<Result<Vec<_>>>()
        })?,
        _ => Vec::new(),
    };
    if kubernetes {
        report::step("start the control plane", || control_plane(instance).start())?;
    }
    for (index, machine) in (1..=nodes).zip(&machines) {
        report::step(&format!("wait for ssh on n{index}"), || {
            instance
                .node(index)
                .wait_for_ssh(machine, &instance.logs().join(format!("n{index}-console.log")))
        })?;
    }
    if kubernetes && nodes > 0 {
        report::step("wait for the nodes to be ready", || wait_for_nodes(instance, nodes)).map_err(|error| {
            let kubelets = evidence::kubelets(instance).unwrap_or_default();
            error.context(kubelets)
        })?;
    }
    Ok(())
}

fn boot(
    instance: &Instance,
    index: u8,
    disk: &NodeDisk,
    kubernetes: Option<&Path>,
    (accel, kernel): (Accel, &str),
) -> Result<Daemon> {
    let folder = instance.node_folder(index);
    fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
    let config = folder.join("config.tar");
    let pki = instance.pki();
    instance.node(index).write_config(kubernetes.map(|_| &pki), &config)?;
    let namespace = instance.namespace();
    let machine = Machine {
        index,
        namespace: &namespace,
        accel,
        kernel,
        disk,
        kubernetes,
        config: &config,
        logs: instance.logs(),
        folder,
        memory: NODE_MEMORY,
    };
    machine.start()
}

fn wait_for_nodes(instance: &Instance, nodes: u8) -> Result<()> {
    let ready = "jsonpath={range .items[*]}{.status.conditions[?(@.type==\"Ready\")].status} {end}";
    wait_for("all nodes to be Ready", Duration::from_secs(300), || {
        let answer = kubectl(instance)?.args(["get", "nodes", "-o", ready]).output();
        Ok(match answer {
            Ok(text) if text.split_whitespace().filter(|s| *s == "True").count() == usize::from(nodes) => None,
            Ok(text) => Some(format!(
                "Ready: {}",
                if text.trim().is_empty() {
                    "no node yet"
                } else {
                    text.trim()
                }
            )),
            Err(error) => Some(format!("{error:#}")),
        })
    })
}

/// What becomes of the logs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Logs {
    Keep,
    Discard,
}

fn take_down(instance: &Instance, logs: Logs) -> Result<()> {
    for (_, daemon) in instance.daemons() {
        daemon.kill()?;
    }
    instance.namespace().destroy()?;
    cache::remove_tree(&instance.sockets())?;
    if logs == Logs::Discard {
        return cache::remove_tree(instance.folder());
    }
    cache::remove_tree(&instance.state())?;
    cache::remove_tree(&instance.folder().join("pki"))?;
    match fs::remove_file(instance.folder().join("instance.json")) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error).context("remove the record"),
        _ => Ok(()),
    }
}

/// An instance that goes when the value goes: for tests and the demo.
pub(crate) struct Ephemeral {
    instance: Instance,
    logs: Cell<Logs>,
}

impl Ephemeral {
    /// Brings up an instance of its own, called after `purpose` and this process.
    pub(crate) fn up(purpose: &str, nodes: u8, kubernetes: bool, accel: Option<Accel>) -> Result<Self> {
        Self::up_with(
            purpose,
            Options {
                nodes,
                kubernetes,
                accel,
                ephemeral: true,
                kernel: "",
            },
        )
    }

    /// The same, in all that can be said.
    pub(crate) fn up_with(purpose: &str, options: Options) -> Result<Self> {
        let instance = Instance::new(&format!("{purpose}-{}", std::process::id()))?;
        up(&instance, options)?;
        Ok(Self {
            instance,
            logs: Cell::new(Logs::Keep),
        })
    }

    /// The instance.
    pub(crate) fn instance(&self) -> &Instance {
        &self.instance
    }

    /// Its logs need not be kept.
    pub(crate) fn succeed(&self) {
        self.logs.set(Logs::Discard);
    }
}

impl Drop for Ephemeral {
    fn drop(&mut self) {
        let begin = Instant::now();
        match self
            .instance
            .lock()
            .and_then(|_lock| take_down(&self.instance, self.logs.get()))
        {
            Ok(()) => println!(
                "✓ take {} down: {}",
                self.instance.name,
                report::seconds(begin.elapsed())
            ),
            Err(error) => eprintln!("taking {} down failed: {error:#}", self.instance.name),
        }
    }
}
