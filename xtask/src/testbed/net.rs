//! The network of an instance: one network namespace with a bridge, a tap per node, and routes to the nodes' pods.
//!
//! Every instance uses the same addresses; it is the namespace, called after the instance, that keeps them apart.

use std::net::Ipv4Addr;
use std::os::fd::AsFd;

use anyhow::{Context, Result};
use nix::sched::{CloneFlags, setns};

use crate::process::{self, Cmd};

/// The bridge: the control plane listens here, and the nodes' default route leads here.
pub(crate) const HOST: Ipv4Addr = Ipv4Addr::new(192, 168, 77, 1);
/// Addresses of all pods.
pub(crate) const POD_RANGE: &str = "10.244.0.0/16";
/// Addresses of all services.
pub(crate) const SERVICE_RANGE: &str = "10.96.0.0/16";
/// The service of the API itself.
pub(crate) const API_SERVICE: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 1);
/// The API on the bridge.
pub(crate) const API_PORT: u16 = 6443;

/// Address of node `index` (from 1).
pub(crate) fn node_address(index: u8) -> Ipv4Addr {
    Ipv4Addr::new(192, 168, 77, 10 + index)
}

/// Addresses of the pods on node `index`.
pub(crate) fn pod_range(index: u8) -> String {
    format!("10.244.{index}.0/24")
}

/// Hardware address of node `index`.
pub(crate) fn mac(index: u8) -> String {
    format!("52:54:00:00:00:{:02x}", 0x10 + index)
}

/// A network namespace.
#[derive(Debug, Clone)]
pub(crate) struct Namespace {
    /// Its name, as `ip netns` knows it.
    pub(crate) name: String,
}

impl Namespace {
    /// A command that runs in it.
    pub(crate) fn exec(&self, program: impl AsRef<std::ffi::OsStr>) -> Cmd {
        Cmd::new("ip").args(["netns", "exec", &self.name]).arg(program)
    }

    /// Whether it exists.
    pub(crate) fn exists(&self) -> bool {
        self.file().exists()
    }

    /// Makes it, with bridge, taps and routes for `nodes` nodes.
    pub(crate) fn create(&self, nodes: u8) -> Result<()> {
        Cmd::new("ip").args(["netns", "add", &self.name]).run()?;
        self.ip("link set lo up")?;
        self.ip("link add br0 type bridge")?;
        self.ip(&format!("addr add {HOST}/24 dev br0"))?;
        self.ip("link set br0 up")?;
        self.exec("sysctl").args(["-q", "-w", "net.ipv4.ip_forward=1"]).run()?;
        for index in 1..=nodes {
            self.exec("ip")
                .args(["tuntap", "add", &tap(index), "mode", "tap"])
                .run()?;
            self.ip(&format!("link set {} master br0 up", tap(index)))?;
            self.ip(&format!("route add {} via {}", pod_range(index), node_address(index)))?;
        }
        if nodes > 0 {
            // Services answer to this machine too: the first node's kube-proxy translates.
            self.ip(&format!("route add {SERVICE_RANGE} via {}", node_address(1)))?;
        }
        Ok(())
    }

    /// Ends every process in it and removes it. It is ours alone, so whatever runs in it was started for this instance.
    pub(crate) fn destroy(&self) -> Result<()> {
        if !self.exists() {
            return Ok(());
        }
        for pid in Cmd::new("ip")
            .args(["netns", "pids", &self.name])
            .output()?
            .split_whitespace()
        {
            let pid = pid.parse().with_context(|| format!("process id {pid}"))?;
            process::kill_process(pid)?;
        }
        Cmd::new("ip").args(["netns", "delete", &self.name]).run()
    }

    /// Does `work` in a thread that is inside the namespace.
    pub(crate) fn inside<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        let file = std::fs::File::open(self.file()).with_context(|| format!("open network namespace {}", self.name))?;
        std::thread::scope(|scope| {
            let thread = scope.spawn(move || {
                setns(file.as_fd(), CloneFlags::CLONE_NEWNET).context("enter the network namespace")?;
                work()
            });
            thread
                .join()
                .map_err(|_| anyhow::anyhow!("the thread in the network namespace died"))?
        })
    }

    fn file(&self) -> std::path::PathBuf {
        std::path::Path::new("/run/netns").join(&self.name)
    }

    fn ip(&self, line: &str) -> Result<()> {
        Cmd::new("ip").args(["-n", &self.name]).args(line.split(' ')).run()
    }
}

/// Name of the tap device of node `index`.
pub(crate) fn tap(index: u8) -> String {
    format!("tap{index}")
}
