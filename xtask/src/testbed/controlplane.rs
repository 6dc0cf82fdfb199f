//! The control plane: etcd, kube-apiserver, kube-controller-manager and kube-scheduler, natively in the instance's namespace.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;

use super::gotools::Tool;
use super::net::{self, Namespace};
use super::pki::Pki;
use crate::process::{Cmd, wait_for};

/// Its programs, in the order they start.
pub(crate) const TOOLS: [Tool; 4] = [
    Tool::Etcd,
    Tool::KubeApiserver,
    Tool::KubeControllerManager,
    Tool::KubeScheduler,
];

/// The control plane of one instance.
pub(crate) struct ControlPlane {
    pub(crate) namespace: Namespace,
    pub(crate) pki: Pki,
    /// Where etcd's data lies.
    pub(crate) data: PathBuf,
    /// Where logs go.
    pub(crate) logs: PathBuf,
    /// Where records of processes go.
    pub(crate) records: PathBuf,
}

impl ControlPlane {
    /// Starts everything and waits until the API answers.
    pub(crate) fn start(&self) -> Result<()> {
        let etcd = "http://127.0.0.1:2379";
        let peers = "http://127.0.0.1:2380";
        self.daemon(
            Tool::Etcd,
            vec![
                format!("--data-dir={}", self.data.display()),
                format!("--listen-client-urls={etcd}"),
                format!("--advertise-client-urls={etcd}"),
                format!("--listen-peer-urls={peers}"),
                format!("--initial-advertise-peer-urls={peers}"),
                format!("--initial-cluster=default={peers}"),
                "--unsafe-no-fsync".to_owned(),
            ],
        )?;
        self.daemon(Tool::KubeApiserver, self.apiserver(etcd))?;
        let api = self.records.join("kube-apiserver.json");
        wait_for("the Kubernetes API", Duration::from_secs(120), || {
            if let Some(daemon) = crate::process::Daemon::read(&api) {
                daemon.check("kube-apiserver")?;
            }
            let ready = self.kubectl()?.args(["get", "--raw", "/readyz"]).output();
            Ok(ready.err().map(|e| format!("{e:#}")))
        })?;
        let file = |name: &str| self.pki.path(name).display().to_string();
        self.daemon(
            Tool::KubeControllerManager,
            vec![
                format!("--kubeconfig={}", file("controller-manager.conf")),
                "--leader-elect=false".to_owned(),
                "--use-service-account-credentials=true".to_owned(),
                format!("--service-account-private-key-file={}", file("sa.key")),
                format!("--root-ca-file={}", file("ca.crt")),
                "--allocate-node-cidrs=false".to_owned(),
                format!("--cluster-cidr={}", net::POD_RANGE),
                format!("--service-cluster-ip-range={}", net::SERVICE_RANGE),
                format!("--cluster-signing-cert-file={}", file("ca.crt")),
                format!("--cluster-signing-key-file={}", file("ca.key")),
            ],
        )?;
        let scheduler = vec![
            format!("--kubeconfig={}", file("scheduler.conf")),
            "--leader-elect=false".to_owned(),
        ];
        self.daemon(Tool::KubeScheduler, scheduler)
    }

    /// kubectl as the administrator, inside the namespace.
    pub(crate) fn kubectl(&self) -> Result<Cmd> {
        let cmd = self.namespace.exec(Tool::Kubectl.path()?);
        Ok(cmd.arg("--kubeconfig").arg(self.pki.path("admin.conf")))
    }

    fn apiserver(&self, etcd: &str) -> Vec<String> {
        let file = |name: &str| self.pki.path(name).display().to_string();
        vec![
            format!("--etcd-servers={etcd}"),
            format!("--bind-address={}", net::HOST),
            format!("--advertise-address={}", net::HOST),
            format!("--secure-port={}", net::API_PORT),
            format!("--service-cluster-ip-range={}", net::SERVICE_RANGE),
            "--authorization-mode=Node,RBAC".to_owned(),
            "--enable-admission-plugins=NodeRestriction".to_owned(),
            "--allow-privileged=true".to_owned(),
            format!("--client-ca-file={}", file("ca.crt")),
            format!("--tls-cert-file={}", file("apiserver.crt")),
            format!("--tls-private-key-file={}", file("apiserver.key")),
            "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
            format!("--service-account-key-file={}", file("sa.pub")),
            format!("--service-account-signing-key-file={}", file("sa.key")),
            format!("--kubelet-client-certificate={}", file("kubelet-client.crt")),
            format!("--kubelet-client-key={}", file("kubelet-client.key")),
            format!("--kubelet-certificate-authority={}", file("ca.crt")),
            "--kubelet-preferred-address-types=InternalIP".to_owned(),
            format!("--requestheader-client-ca-file={}", file("ca.crt")),
            "--requestheader-allowed-names=front-proxy".to_owned(),
            "--requestheader-extra-headers-prefix=X-Remote-Extra-".to_owned(),
            "--requestheader-group-headers=X-Remote-Group".to_owned(),
            "--requestheader-username-headers=X-Remote-User".to_owned(),
            format!("--proxy-client-cert-file={}", file("front-proxy.crt")),
            format!("--proxy-client-key-file={}", file("front-proxy.key")),
            "--enable-aggregator-routing=true".to_owned(),
        ]
    }

    fn daemon(&self, tool: Tool, args: Vec<String>) -> Result<()> {
        let name = tool.name();
        let cmd = self
            .namespace
            .exec(tool.path()?)
            .args(args)
            .log(&self.logs.join(format!("{name}.log")));
        cmd.daemon(&self.records.join(format!("{name}.json")))?;
        Ok(())
    }
}
