//! A node from outside: the files that are its own, ssh to it, and images for its containerd.

use std::fs::File;
use std::io::Read;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::json;

use super::cache::Recipe;
use super::net::{self, Namespace};
use super::pki::Pki;
use crate::process::{Cmd, Daemon, tail, wait_for};

/// Where its ssh server listens.
const SSH_PORT: u16 = 22;

/// The key that opens every node; made once per machine.
pub(crate) fn ssh_key() -> Result<PathBuf> {
    let done = Recipe::new("ssh-key").with("ed25519").build(|out| {
        Cmd::new("ssh-keygen")
            .args(["-q", "-t", "ed25519", "-N", "", "-C", "dotmesh test bed", "-f"])
            .arg(out.join("key"))
            .run()
    })?;
    Ok(done.join("key"))
}

/// One node of an instance.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    /// Its number, from 1.
    pub(crate) index: u8,
    pub(crate) namespace: Namespace,
    /// Folder for sockets of shared ssh connections; short, because socket paths are limited to 107 bytes.
    pub(crate) sockets: PathBuf,
}

impl Node {
    /// `n1`, `n2` …
    pub(crate) fn name(&self) -> String {
        format!("n{}", self.index)
    }

    /// The words that, put before a command for the node, run it there.
    pub(crate) fn ssh_argv(&self) -> Result<Vec<String>> {
        let control = self.sockets.join(self.name());
        let mut argv: Vec<_> = ["ip", "netns", "exec", &self.namespace.name, "ssh"]
            .map(str::to_owned)
            .into();
        argv.extend(["-i".to_owned(), ssh_key()?.display().to_string()]);
        for option in [
            "BatchMode=yes",
            "StrictHostKeyChecking=no",
            "UserKnownHostsFile=/dev/null",
            "LogLevel=ERROR",
            "ConnectTimeout=20",
            "ServerAliveInterval=15",
            "ControlMaster=auto",
            "ControlPersist=3600",
            &format!("ControlPath={}", control.display()),
        ] {
            argv.extend(["-o".to_owned(), option.to_owned()]);
        }
        argv.push(format!("root@{}", net::node_address(self.index)));
        Ok(argv)
    }

    /// A command for the node; its words are joined with blanks and read by the node's shell, as ssh does.
    pub(crate) fn ssh(&self) -> Result<Cmd> {
        Ok(Cmd::from_argv(&self.ssh_argv()?))
    }

    /// Copies a file to the node, executable when it is here.
    pub(crate) fn push(&self, file: &Path, target: &str) -> Result<()> {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = file
            .metadata()
            .with_context(|| format!("look at {}", file.display()))?
            .permissions()
            .mode()
            & 0o777;
        // Written beside and renamed, so that a running program can be replaced.
        let script = format!("cat > {target}.new && chmod {mode:o} {target}.new && mv {target}.new {target}");
        self.ssh()?
            .arg(script)
            .stdin(file)
            .within(Duration::from_secs(300))
            .run()
    }

    /// Lets its containerd import the images in the file `image`.
    pub(crate) fn import(&self, image: &Path) -> Result<()> {
        let cmd = self.ssh()?.arg("ctr -n k8s.io images import -").stdin(image);
        cmd.within(Duration::from_secs(600)).output().map(drop)
    }

    /// Waits until its ssh server answers.
    pub(crate) fn wait_for_ssh(&self, machine: &Daemon, console: &Path) -> Result<()> {
        let name = self.name();
        let address = SocketAddr::from((net::node_address(self.index), SSH_PORT));
        let result = wait_for(&format!("ssh on node {name}"), Duration::from_secs(600), || {
            machine.check(&format!("the machine of node {name}"))?;
            Ok(self
                .namespace
                .inside(|| greeting(address))
                .err()
                .map(|e| format!("{e:#}")))
        });
        result.with_context(|| format!("console of {name}:\n{}", tail(console)))
    }

    /// Writes the tar with what is its own. With `pki` it becomes a node of the Kubernetes.
    pub(crate) fn write_config(&self, pki: Option<&Pki>, out: &Path) -> Result<()> {
        let (name, address) = (self.name(), net::node_address(self.index));
        let file = File::create(out).with_context(|| format!("create {}", out.display()))?;
        let mut tar = tar::Builder::new(file);
        let mut add = |path: &str, mode: u32, content: &[u8]| {
            let mut header = tar::Header::new_gnu();
            header.set_size(content.len() as u64);
            header.set_mode(mode);
            tar.append_data(&mut header, path, content)
                .with_context(|| format!("add {path}"))
        };
        let network = format!(
            "[Match]\nMACAddress={}\n[Network]\nAddress={address}/24\nGateway={}\nLinkLocalAddressing=no\nIPv6AcceptRA=no\n",
            net::mac(self.index),
            net::HOST
        );
        add("etc/systemd/network/10-node.network", 0o644, network.as_bytes())?;
        add("etc/hostname", 0o644, format!("{name}\n").as_bytes())?;
        add(
            "etc/hosts",
            0o644,
            format!("127.0.0.1 localhost\n{address} {name}\n").as_bytes(),
        )?;
        add(
            "etc/resolv.conf",
            0o644,
            format!("nameserver {}\n", net::HOST).as_bytes(),
        )?;
        let key = std::fs::read(ssh_key()?.with_extension("pub")).context("read the ssh key")?;
        add("root/.ssh/authorized_keys", 0o600, &key)?;
        if let Some(pki) = pki {
            let read = |file: &str| std::fs::read(pki.path(file)).with_context(|| format!("read {file}"));
            add(
                "etc/kubernetes/node.env",
                0o644,
                format!("NODE_NAME={name}\nNODE_ADDRESS={address}\n").as_bytes(),
            )?;
            add("etc/kubernetes/ca.crt", 0o644, &read("ca.crt")?)?;
            add("etc/kubernetes/kubelet.crt", 0o644, &read(&format!("{name}.crt"))?)?;
            add("etc/kubernetes/kubelet.key", 0o600, &read(&format!("{name}.key"))?)?;
            add("etc/kubernetes/kubelet.conf", 0o600, &read(&format!("{name}.conf"))?)?;
            add("etc/kubernetes/kube-proxy.conf", 0o600, &read("kube-proxy.conf")?)?;
            add(
                "etc/cni/net.d/10-pods.conflist",
                0o644,
                &serde_json::to_vec(&pod_network(self.index))?,
            )?;
        }
        tar.into_inner().with_context(|| format!("write {}", out.display()))?;
        Ok(())
    }
}

fn greeting(address: SocketAddr) -> Result<()> {
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(2)).context("connect")?;
    stream.set_read_timeout(Some(Duration::from_secs(2)))?;
    let mut start = [0; 4];
    stream.read_exact(&mut start).context("read its greeting")?;
    anyhow::ensure!(&start == b"SSH-", "something else answers");
    Ok(())
}

/// The CNI configuration: a bridge per node. Pod addresses are routed everywhere, so nothing is masqueraded.
fn pod_network(index: u8) -> serde_json::Value {
    json!({"cniVersion": "1.0.0", "name": "pods", "plugins": [
        {"type": "bridge", "bridge": "cni0", "isGateway": true, "ipMasq": false, "hairpinMode": true, "ipam": {
            "type": "host-local",
            "ranges": [[{"subnet": net::pod_range(index)}]],
            "routes": [{"dst": "0.0.0.0/0"}],
        }},
        {"type": "portmap", "capabilities": {"portMappings": true}},
    ]})
}
