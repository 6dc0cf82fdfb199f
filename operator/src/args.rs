//! Flags and environment of the operator; values travel by argument after this.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Parser, Subcommand};
use dotmesh_crds::pool::PoolFile;
use dotmesh_telemetry::LogFormat;

use crate::dot::import::observe::Importer;
use crate::pool::discover::PoolSource;

/// Dotmesh's operator: the controllers, and the CSI sockets for the standard sidecars.
#[derive(Debug, Clone, Parser)]
#[command(version, about)]
pub struct Args {
    /// What to do instead of being the operator.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// Namespace of the installation: csi-node's pods and the authority are looked for here.
    #[arg(long, env = "POD_NAMESPACE", default_value = "dotmesh-system")]
    pub namespace: String,
    /// Name of this replica's pod: by it replicas agree which of them leads.
    #[arg(long, env = "POD_NAME", default_value = "operator")]
    pub pod_name: String,
    /// Socket of the CSI controller façade.
    #[arg(long, default_value = "/csi/csi.sock")]
    pub csi_socket: PathBuf,
    /// Where a node's pool lies, when nobody made a Pool object for the node.
    #[command(flatten)]
    pub pool: PoolArgs,
    /// For how long the data of a deleted Dot can come back, for example 24h, 90m or 30s; 0: it is destroyed at once.
    #[arg(long, default_value = "24h", value_parser = parse_period)]
    pub grace_period: u64,
    /// Image that copies the data of claims into volumes. Without it nothing is imported.
    #[arg(long)]
    pub importer_image: Option<String>,
    /// When that image is pulled: Always, IfNotPresent or Never.
    #[arg(long, default_value = "IfNotPresent", requires = "importer_image")]
    pub importer_pull_policy: String,
    /// Serve snapshots on the façade, for csi-snapshotter: VolumeSnapshots become Commits, and Commits can be published as
    /// VolumeSnapshots.
    #[arg(long)]
    pub csi_snapshots: bool,
    /// Port of csi-node's `dotmesh.node.v1`.
    #[arg(long, default_value_t = 9808)]
    pub node_port: u16,
    /// Where nodes ask for their certificates.
    #[arg(long, default_value = "0.0.0.0:9443")]
    pub enroll_listen: SocketAddr,
    /// Where `/healthz`, `/readyz` and `/metrics` are served.
    #[arg(long, default_value = "0.0.0.0:8080")]
    pub http_listen: SocketAddr,
    /// How log lines look: human or json.
    #[arg(long, env = "DOTMESH_LOG_FORMAT", default_value = "human")]
    pub log_format: LogFormat,
    /// Which log lines appear, for example info,dotmesh_operator=debug.
    #[arg(long, env = "DOTMESH_LOG", default_value = "info")]
    pub log_filter: String,
    /// A file with such a filter, which wins while it is there and not empty. It is looked at every few seconds.
    #[arg(long, env = "DOTMESH_LOG_FILE")]
    pub log_filter_file: Option<PathBuf>,
}

impl Args {
    /// What copies the data of claims into volumes.
    #[must_use]
    pub fn importer(&self) -> Option<Importer> {
        Some(Importer {
            image: self.importer_image.clone()?,
            pull_policy: self.importer_pull_policy.clone(),
        })
    }
}

/// A file, devices, or a pool that is there.
#[derive(Debug, Clone, clap::Args)]
pub struct PoolArgs {
    /// File that the pool of a node is made in, when nobody made a Pool object for the node.
    #[arg(long, default_value = "/var/lib/dotmesh/pool.img")]
    pub pool_file_path: String,
    /// Size of that file, as a quantity.
    #[arg(long, default_value = "20Gi")]
    pub pool_file_size: String,
    /// Block device that the pool of a node is made on, instead of in a file; for each device once.
    #[arg(long, conflicts_with_all = ["pool_file_path", "pool_file_size"])]
    pub pool_device: Vec<String>,
    /// Name of the pool that somebody made on each node, to be used instead of making one.
    #[arg(long, conflicts_with_all = ["pool_file_path", "pool_file_size", "pool_device"])]
    pub pool_existing: Option<String>,
}

impl PoolArgs {
    /// Where it lies.
    #[must_use]
    pub fn place(&self) -> PoolSource {
        match (&self.pool_existing, self.pool_device.as_slice()) {
            (Some(name), _) => PoolSource::Existing(name.clone()),
            (None, []) => PoolSource::File(PoolFile {
                path: self.pool_file_path.clone(),
                size: self.pool_file_size.clone(),
            }),
            (None, devices) => PoolSource::Devices(devices.to_vec()),
        }
    }
}

/// Seconds in a whole number of days, hours, minutes or seconds.
fn parse_period(text: &str) -> Result<u64, String> {
    let why = || format!("{text:?} is no period: write 24h, 90m, 30s, 7d or 0");
    if text == "0" {
        return Ok(0);
    }
    let unit = text.chars().next_back().ok_or_else(why)?;
    let seconds: u64 = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        'd' => 86_400,
        _ => return Err(why()),
    };
    let number: u64 = text[..text.len() - 1].parse().map_err(|_| why())?;
    number.checked_mul(seconds).ok_or_else(why)
}

/// What the program does besides being the operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Subcommand)]
pub enum Command {
    /// Succeed when every Pool is Ready, or say what is not as it should be.
    Check {
        /// How long to wait for that.
        #[arg(long, default_value_t = 120)]
        seconds: u64,
    },
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
    fn a_period_has_a_unit() {
        let all = ["0", "30s", "90m", "24h", "7d", "0h"].map(|text| parse_period(text).unwrap());
        assert_eq!(all, [0, 30, 5400, 86_400, 604_800, 0]);
        for wrong in [
            "",
            "h",
            "24",
            "-1h",
            "1.5h",
            "1w",
            "ü",
            "99999999999999999999s",
            "9999999999999999d",
        ] {
            assert!(parse_period(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn what_the_chart_types_is_understood() {
        let operator = Args::try_parse_from([
            "dotmesh-operator",
            "--csi-socket=/csi/csi.sock",
            "--log-format=json",
            "--log-filter-file=/etc/dotmesh/log/operator",
        ]);
        assert_eq!(operator.as_ref().unwrap().command, None);
        assert!(matches!(operator.unwrap().pool.place(), PoolSource::File(_)));
        let place = |flags: &[&str]| {
            let words = ["dotmesh-operator"].iter().chain(flags);
            Args::try_parse_from(words).map(|args| args.pool.place()).ok()
        };
        let file = PoolFile {
            path: "/var/lib/dotmesh/big.img".to_owned(),
            size: "1Ti".to_owned(),
        };
        let flags = ["--pool-file-path=/var/lib/dotmesh/big.img", "--pool-file-size=1Ti"];
        assert_eq!(place(&flags), Some(PoolSource::File(file)));
        let devices = vec!["/dev/vdb".to_owned(), "/dev/vdc".to_owned()];
        let flags = ["--pool-device=/dev/vdb", "--pool-device=/dev/vdc"];
        assert_eq!(place(&flags), Some(PoolSource::Devices(devices)));
        assert_eq!(
            place(&["--pool-existing=tank"]),
            Some(PoolSource::Existing("tank".to_owned()))
        );
        assert_eq!(place(&["--pool-existing=tank", "--pool-device=/dev/vdb"]), None);
        assert_eq!(place(&["--pool-existing=tank", "--pool-file-size=1Ti"]), None);
        let test = Args::try_parse_from(["dotmesh-operator", "check"]).unwrap();
        assert_eq!(test.command, Some(Command::Check { seconds: 120 }));
        assert!(Args::try_parse_from(["dotmesh-operator", "chekc"]).is_err());
    }
}
