//! An instance: its name, its folders, and what is recorded about it between runs of this program.

use std::fs::{self, File};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use super::cache;
use super::net::Namespace;
use super::node::Node;
use super::pki::Pki;
use super::qemu::Accel;
use crate::process::Daemon;

/// The name used when nobody gives one.
pub(crate) const DEFAULT: &str = "default";

/// A named test bed on this machine.
#[derive(Debug, Clone)]
pub(crate) struct Instance {
    /// Its name.
    pub(crate) name: String,
    folder: PathBuf,
}

/// What an instance was started as.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Record {
    /// How many nodes it has.
    pub(crate) nodes: u8,
    /// Whether it has a control plane.
    pub(crate) kubernetes: bool,
    /// How its nodes run.
    pub(crate) accel: Option<Accel>,
    /// The run that it must not outlive; none for an instance that stays until `down`.
    pub(crate) owner: Option<Daemon>,
}

impl Instance {
    /// The instance called `name`.
    ///
    /// # Errors
    /// When the name is not 1–20 of a–z, 0–9 and dashes.
    pub(crate) fn new(name: &str) -> Result<Self> {
        let legal = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if name.is_empty() || name.len() > 20 || !name.chars().all(legal) {
            bail!("an instance's name is 1–20 of a–z, 0–9 and -, not {name:?}");
        }
        Ok(Self {
            name: name.to_owned(),
            folder: cache::root()?.join("run").join(name),
        })
    }

    /// All instances that have a folder.
    pub(crate) fn all() -> Result<Vec<Self>> {
        let Ok(entries) = fs::read_dir(cache::root()?.join("run")) else {
            return Ok(Vec::new());
        };
        let names = entries
            .filter_map(Result::ok)
            .filter(|e| e.path().is_dir())
            .map(|e| e.file_name());
        let mut all: Vec<_> = names
            .filter_map(|name| Self::new(&name.to_string_lossy()).ok())
            .collect();
        all.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(all)
    }

    /// Takes its lock, for the time of a change.
    pub(crate) fn lock(&self) -> Result<File> {
        cache::lock(&self.folder.with_extension("lock"))
    }

    /// Its network namespace.
    pub(crate) fn namespace(&self) -> Namespace {
        Namespace {
            name: format!("dotmesh-{}", self.name),
        }
    }

    /// Its certificates.
    pub(crate) fn pki(&self) -> Pki {
        Pki::at(self.folder.join("pki"))
    }

    /// Its logs, kept by `down` until the next `up`.
    pub(crate) fn logs(&self) -> PathBuf {
        self.folder.join("logs")
    }

    /// Everything that `down` removes.
    pub(crate) fn state(&self) -> PathBuf {
        self.folder.join("state")
    }

    /// Its folder with everything.
    pub(crate) fn folder(&self) -> &PathBuf {
        &self.folder
    }

    /// Sockets; under /run because their paths are limited to 107 bytes.
    pub(crate) fn sockets(&self) -> PathBuf {
        PathBuf::from("/run").join(format!("dotmesh-{}", self.name))
    }

    /// The administrator's kubeconfig.
    pub(crate) fn kubeconfig(&self) -> PathBuf {
        self.pki().path("admin.conf")
    }

    /// The folder of a node's disks and records.
    pub(crate) fn node_folder(&self, index: u8) -> PathBuf {
        self.state().join(format!("n{index}"))
    }

    /// Node `index`, from 1.
    pub(crate) fn node(&self, index: u8) -> Node {
        Node {
            index,
            namespace: self.namespace(),
            sockets: self.sockets(),
        }
    }

    /// How long ago its folder changed last.
    pub(crate) fn idle_for(&self) -> Option<Duration> {
        fs::metadata(&self.folder).ok()?.modified().ok()?.elapsed().ok()
    }

    /// What is recorded; none when it is not up.
    pub(crate) fn record(&self) -> Option<Record> {
        serde_json::from_slice(&fs::read(self.record_file()).ok()?).ok()
    }

    /// Records what it is.
    pub(crate) fn write_record(&self, record: &Record) -> Result<()> {
        fs::write(self.record_file(), serde_json::to_vec(record)?).with_context(|| format!("record {}", self.name))
    }

    /// The records of its processes, as (name, process).
    pub(crate) fn daemons(&self) -> Vec<(String, Daemon)> {
        let mut folders = vec![self.state()];
        folders.extend(
            (1..=u8::MAX)
                .map(|index| self.node_folder(index))
                .take_while(|folder| folder.is_dir()),
        );
        let mut found = Vec::new();
        for folder in folders {
            for entry in fs::read_dir(&folder).into_iter().flatten().filter_map(Result::ok) {
                if let Some(daemon) = Daemon::read(&entry.path()) {
                    let name = entry
                        .path()
                        .strip_prefix(self.state())
                        .map(|p| p.with_extension(""))
                        .unwrap_or_default();
                    found.push((name.display().to_string(), daemon));
                }
            }
        }
        found.sort_by(|a, b| a.0.cmp(&b.0));
        found
    }

    fn record_file(&self) -> PathBuf {
        self.folder.join("instance.json")
    }
}
