//! What is typed: flags, and the environment variables that stand for them.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Parser;
use dotmesh_telemetry::LogFormat;

/// The hands of a Dotmesh node: pool, volumes and mounts.
#[derive(Debug, Clone, Parser)]
#[command(name = "dotmesh-csi-node", version)]
pub struct Args {
    /// This node's name in Kubernetes.
    #[arg(long, env = "NODE_NAME")]
    pub node_name: String,

    /// Where the host's root is mounted; its zfs programs are run from there. Absent: this runs on the host itself.
    #[arg(long, env = "DOTMESH_HOST_ROOT")]
    pub host_root: Option<PathBuf>,

    /// The host's folder that is ours, mounted at the same path: private mounts, and which pool is known.
    #[arg(long, env = "DOTMESH_DATA_DIR", default_value = "/var/lib/dotmesh")]
    pub data_dir: PathBuf,

    /// The kubelet's folder, mounted at the same path.
    #[arg(long, env = "DOTMESH_KUBELET_DIR", default_value = "/var/lib/kubelet")]
    pub kubelet_dir: PathBuf,

    /// The CSI socket, as the kubelet sees it too. [default: <kubelet-dir>/plugins/csi.dotmesh.io/csi.sock]
    #[arg(long, env = "DOTMESH_CSI_SOCKET")]
    pub csi_socket: Option<PathBuf>,

    /// Also serve the alpha parts of CSI 1.13: health of volumes and pools, and where snapshots are usable.
    #[arg(long, env = "DOTMESH_CSI_ALPHA")]
    pub csi_alpha: bool,

    /// Do not offer the driver to a kubelet.
    #[arg(long, env = "DOTMESH_NO_REGISTRATION")]
    pub no_registration: bool,

    /// Where the operator calls us, with mutual TLS. Needs --operator-address.
    #[arg(long, env = "DOTMESH_LISTEN", requires = "operator_address")]
    pub listen: Option<SocketAddr>,

    /// Host and port where the operator hands out certificates.
    #[arg(
        long,
        env = "DOTMESH_OPERATOR_ADDRESS",
        requires = "listen",
        requires = "ca_file",
        requires = "token_file"
    )]
    pub operator_address: Option<String>,

    /// The name that the operator's certificate must have.
    #[arg(long, env = "DOTMESH_OPERATOR_SERVER_NAME", default_value = crate::edge::tls::OPERATOR_IDENTITY)]
    pub operator_server_name: String,

    /// PEM of the authority that signs the operator's certificate.
    #[arg(long, env = "DOTMESH_CA_FILE")]
    pub ca_file: Option<PathBuf>,

    /// The service account's token for the operator, read anew each time.
    #[arg(long, env = "DOTMESH_TOKEN_FILE")]
    pub token_file: Option<PathBuf>,

    /// Also serve dotmesh.node.v1 on this unix socket, without TLS, to root alone: for debugging and conformance tests.
    #[arg(long, env = "DOTMESH_NODE_SOCKET")]
    pub node_socket: Option<PathBuf>,

    /// Where /metrics, /healthz and /readyz are served. Absent: nowhere.
    #[arg(long, env = "DOTMESH_HTTP_LISTEN")]
    pub http_listen: Option<SocketAddr>,

    /// How log lines look: human or json.
    #[arg(long, env = "DOTMESH_LOG_FORMAT", default_value_t = LogFormat::Human)]
    pub log_format: LogFormat,

    /// What is logged, as "info,dotmesh_zfs=debug".
    #[arg(long, env = "DOTMESH_LOG", default_value = "info")]
    pub log_filter: String,

    /// A file with such a filter, which wins while it is there and not empty. It is looked at every few seconds.
    #[arg(long, env = "DOTMESH_LOG_FILE")]
    pub log_filter_file: Option<PathBuf>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_flags_are_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn the_charts_flags_parse() {
        let args = Args::try_parse_from([
            "dotmesh-csi-node",
            "--node-name=n1",
            "--host-root=/host",
            "--kubelet-dir=/var/lib/kubelet",
            "--data-dir=/var/lib/dotmesh",
            "--operator-address=10.96.0.7:9443",
            "--ca-file=/etc/dotmesh/authority/ca.crt",
            "--token-file=/var/run/secrets/dotmesh/token",
            "--listen=0.0.0.0:9808",
            "--http-listen=0.0.0.0:8080",
            "--csi-alpha",
            "--log-format=json",
            "--log-filter-file=/etc/dotmesh/log/csi-node",
        ])
        .unwrap();
        assert_eq!(args.operator_server_name, "operator.dotmesh.io");
        assert!(args.csi_alpha);
        assert!(args.node_socket.is_none(), "off unless asked for");
        let args = Args::try_parse_from(["dotmesh-csi-node", "--node-name=n1"]).unwrap();
        assert!(!args.csi_alpha, "alpha is off unless asked for");
        assert!(Args::try_parse_from(["dotmesh-csi-node", "--node-name=n1", "--listen=0.0.0.0:9808"]).is_err());
    }
}
