//! A node of its own for each test: folder, pool, and the program, which can be killed and started again.

use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use dotmesh_csi_proto::csi::node_client::NodeClient as CsiNode;
use dotmesh_csi_proto::csi::volume_capability::access_mode::Mode;
use dotmesh_csi_proto::csi::volume_capability::{AccessMode, AccessType, MountVolume};
use dotmesh_csi_proto::csi::{NodePublishVolumeRequest, NodeUnpublishVolumeRequest, VolumeCapability};
use dotmesh_csi_proto::node::ensure_pool_request::Source;
use dotmesh_csi_proto::node::node_client::NodeClient;
use dotmesh_csi_proto::node::{
    CommitRequest, CommitResponse, EnsureBranchRequest, EnsureDotRequest, EnsurePoolRequest, Failure, Origin, PoolFile,
    Reason, Volume, VolumeFormat,
};
use dotmesh_model::handle::Handle;
use dotmesh_model::id::{ClaimUid, DotId, VolumeId};
use prost::Message;
use tonic::Status;
use tonic::transport::{Channel, Endpoint};
use uuid::Uuid;

/// Bytes of each test's pool.
pub(crate) const POOL_SIZE: u64 = 1 << 30;
/// Bytes of each volume.
pub(crate) const SIZE: u64 = 64 << 20;
/// How long anything may take here: the machine may be emulated.
pub(crate) const PATIENCE: Duration = Duration::from_secs(180);

static COUNTER: AtomicU32 = AtomicU32::new(0);

/// A node.
pub(crate) struct Machine {
    pub(crate) pool: String,
    pub(crate) folder: PathBuf,
    /// What is said to the program beside what every machine says.
    flags: &'static [&'static str],
    /// In the order in which they were started.
    programs: VecDeque<Child>,
}

/// Runs a command and returns what it prints.
pub(crate) fn run(words: &[&str]) -> String {
    let output = Command::new(words[0]).args(&words[1..]).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{words:?}: {stderr}");
    String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
}

/// Waits for a condition.
pub(crate) async fn until(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !condition().await {
        assert!(Instant::now() < end, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// What a status says to the operator.
pub(crate) fn reason(status: &Status) -> Reason {
    Failure::decode(status.details()).unwrap().reason()
}

impl Machine {
    /// A node without a pool, and the program running.
    pub(crate) async fn new() -> Self {
        Self::with_flags(&[]).await
    }

    /// The same, with the program running under these flags, too.
    async fn with_flags(flags: &'static [&'static str]) -> Self {
        assert_eq!(
            std::env::var("DOTMESH_TEST_NODE").as_deref(),
            Ok("1"),
            "these tests need a test machine: cargo xtask test --only node"
        );
        let number = COUNTER.fetch_add(1, Ordering::SeqCst);
        let pool = format!("node-test-{}-{number}", std::process::id());
        let folder = std::env::temp_dir().join(&pool);
        std::fs::create_dir(&folder).unwrap();
        let mut machine = Self {
            pool,
            folder,
            flags,
            programs: VecDeque::new(),
        };
        machine.start().await;
        machine
    }

    /// A node with a pool.
    pub(crate) async fn with_pool() -> Self {
        Self::with_pool_and(&[]).await
    }

    /// The same, with the program running under these flags, too.
    pub(crate) async fn with_pool_and(flags: &'static [&'static str]) -> Self {
        let machine = Self::with_flags(flags).await;
        let response = machine.node().await.ensure_pool(machine.pool_request()).await;
        assert!(response.unwrap().into_inner().created);
        machine
    }

    pub(crate) fn pool_file(&self) -> PathBuf {
        self.folder.join("pool.img")
    }

    pub(crate) fn pool_request(&self) -> EnsurePoolRequest {
        EnsurePoolRequest {
            name: self.pool.clone(),
            known_guid: 0,
            source: Some(Source::File(PoolFile {
                path: self.pool_file().to_string_lossy().into_owned(),
                size_bytes: POOL_SIZE,
            })),
            newest: None,
        }
    }

    /// Starts the program and waits until it serves.
    pub(crate) async fn start(&mut self) {
        self.spawn();
        let socket = self.socket();
        until("the program serves", async || {
            std::os::unix::net::UnixStream::connect(&socket).is_ok()
        })
        .await;
    }

    /// Starts the program.
    pub(crate) fn spawn(&mut self) {
        let program = std::env::var("DOTMESH_CSI_NODE").expect("DOTMESH_CSI_NODE names the program");
        let log = File::options().create(true).append(true).open(self.log()).unwrap();
        let child = Command::new(program)
            .arg("--node-name=node-1")
            .arg(format!("--data-dir={}", self.folder.join("data").display()))
            .arg(format!("--kubelet-dir={}", self.folder.join("kubelet").display()))
            .arg(format!("--node-socket={}", self.socket().display()))
            .arg("--host-root=/")
            .args(self.flags)
            .arg("--log-filter=info,dotmesh_csi_node=debug,dotmesh_zfs=debug")
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        self.programs.push_back(child);
    }

    /// Waits until the program ends by itself; whether it was content.
    pub(crate) async fn ended(&mut self) -> bool {
        let mut child = self.programs.pop_front().unwrap();
        let mut status = None;
        until("the program ends", async || {
            status = child.try_wait().unwrap();
            status.is_some()
        })
        .await;
        status.unwrap().success()
    }

    /// Ends the program at once, as a crash does: the oldest, if there are several.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.programs.pop_front() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// The program's process: the oldest, if there are several.
    pub(crate) fn process(&self) -> u32 {
        self.programs.front().unwrap().id()
    }

    /// Everything that the programs said.
    pub(crate) fn said(&self) -> String {
        std::fs::read_to_string(self.log()).unwrap()
    }

    fn log(&self) -> PathBuf {
        self.folder.join("log")
    }

    fn socket(&self) -> PathBuf {
        self.folder.join("node.sock")
    }

    async fn connect(path: &Path) -> Channel {
        let endpoint = Endpoint::from_shared(format!("unix://{}", path.display())).unwrap();
        endpoint.connect().await.unwrap()
    }

    /// The operator's way in.
    pub(crate) async fn node(&self) -> NodeClient<Channel> {
        NodeClient::new(Self::connect(&self.socket()).await)
    }

    /// The kubelet's way in.
    pub(crate) async fn csi(&self) -> Channel {
        Self::connect(&self.csi_socket()).await
    }

    pub(crate) fn csi_socket(&self) -> PathBuf {
        self.folder.join("kubelet/plugins/csi.dotmesh.io/csi.sock")
    }

    /// A pod's folder.
    pub(crate) fn target(&self, name: &str) -> PathBuf {
        self.folder.join("kubelet/pods").join(name)
    }

    /// Everything in the pool.
    pub(crate) fn names(&self) -> Vec<String> {
        let list = run(&["zfs", "list", "-H", "-r", "-t", "all", "-o", "name", &self.pool]);
        list.lines().map(str::to_owned).collect()
    }

    /// Nothing is left of any Dot.
    pub(crate) async fn wait_empty(&self) {
        let wanted = [self.pool.clone(), format!("{}/dotmesh", self.pool)];
        until("the pool is empty", async || self.names() == wanted).await;
    }

    pub(crate) fn property(&self, name: &str, property: &str) -> String {
        run(&["zfs", "get", "-Hp", "-o", "value", property, name])
    }

    pub(crate) async fn publish(&self, handle: Handle, target: &Path) -> Result<(), Status> {
        self.publish_as(handle, target, capability()).await
    }

    pub(crate) async fn publish_as(
        &self,
        handle: Handle,
        target: &Path,
        capability: VolumeCapability,
    ) -> Result<(), Status> {
        std::fs::create_dir_all(target.parent().unwrap()).unwrap();
        let request = NodePublishVolumeRequest {
            volume_id: handle.to_string(),
            target_path: target.to_string_lossy().into_owned(),
            volume_capability: Some(capability),
            ..NodePublishVolumeRequest::default()
        };
        let mut client = CsiNode::new(self.csi().await);
        client.node_publish_volume(request).await.map(drop)
    }

    pub(crate) async fn unpublish(&self, handle: Handle, target: &Path) -> Result<(), Status> {
        let request = NodeUnpublishVolumeRequest {
            volume_id: handle.to_string(),
            target_path: target.to_string_lossy().into_owned(),
        };
        let mut client = CsiNode::new(self.csi().await);
        client.node_unpublish_volume(request).await.map(drop)
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        while !self.programs.is_empty() {
            self.kill();
        }
        if std::thread::panicking() {
            let log = std::fs::read_to_string(self.log()).unwrap_or_default();
            let from = log.len().saturating_sub(8000);
            eprintln!("the end of the program's log:\n{}", log.get(from..).unwrap_or(&log));
        }
        let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        let below = self.folder.to_string_lossy().into_owned();
        let targets = mounts.lines().filter_map(|line| line.split(' ').nth(1));
        for target in targets.filter(|target| target.starts_with(&below)) {
            let _ = Command::new("umount").args(["-l", target]).status();
        }
        let _ = Command::new("zpool").args(["destroy", "-f", &self.pool]).output();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

pub(crate) fn capability() -> VolumeCapability {
    VolumeCapability {
        access_type: Some(AccessType::Mount(MountVolume::default())),
        access_mode: Some(AccessMode {
            mode: Mode::SingleNodeWriter.into(),
        }),
    }
}

/// A Dot with volumes `cache` and `db`, and what is asked about it.
pub(crate) struct Dot {
    pub(crate) id: DotId,
    pub(crate) main: Uuid,
    /// The GUID of the pool where it lies.
    pub(crate) pool: u64,
}

impl Dot {
    /// On the machine's pool.
    pub(crate) fn on(machine: &Machine) -> Self {
        Self::in_pool(&machine.pool)
    }

    /// In the zpool of that name.
    pub(crate) fn in_pool(name: &str) -> Self {
        let guid = run(&["zpool", "get", "-Hp", "-o", "value", "guid", name]);
        Self {
            id: DotId::new(Uuid::new_v4()),
            main: Uuid::new_v4(),
            pool: guid.parse().unwrap(),
        }
    }

    pub(crate) fn ensure(&self) -> EnsureDotRequest {
        EnsureDotRequest {
            dot_id: self.id.to_string(),
            namespace: "dev".into(),
            name: "shop".into(),
            pool_guid: self.pool,
            take_over: false,
        }
    }

    pub(crate) fn volume(&self, name: &str) -> VolumeId {
        VolumeId::derive(self.id, name)
    }

    pub(crate) fn branch(&self, branch: Uuid) -> EnsureBranchRequest {
        let volumes = ["cache", "db"].map(|name| Volume {
            id: self.volume(name).to_string(),
            name: name.into(),
            size_bytes: SIZE,
            format: VolumeFormat::Zfs.into(),
            ..Volume::default()
        });
        EnsureBranchRequest {
            dot_id: self.id.to_string(),
            branch_id: branch.to_string(),
            branch_name: if branch == self.main {
                "main".into()
            } else {
                format!("fork-{branch}")
            },
            head_id: branch.to_string(),
            volumes: volumes.into(),
            origin: None,
            checkout: branch == self.main,
            pool_guid: self.pool,
            object_name: if branch == self.main {
                "shop-main".into()
            } else {
                "shop-fork".into()
            },
        }
    }

    pub(crate) fn fork(&self, branch: Uuid, commit: Uuid, of: Uuid, taken: &CommitResponse) -> EnsureBranchRequest {
        let guids = taken.snapshots.iter();
        EnsureBranchRequest {
            origin: Some(Origin {
                commit_id: commit.to_string(),
                head_id: of.to_string(),
                snapshot_guids: guids
                    .map(|snapshot| (snapshot.volume_id.clone(), snapshot.guid))
                    .collect(),
            }),
            ..self.branch(branch)
        }
    }

    pub(crate) fn commit(&self, commit: Uuid, branch: Uuid) -> CommitRequest {
        CommitRequest {
            dot_id: self.id.to_string(),
            branch_id: branch.to_string(),
            head_id: branch.to_string(),
            commit_id: commit.to_string(),
            volume_ids: ["cache", "db"].map(|name| self.volume(name).to_string()).into(),
            record: None,
            pool_guid: self.pool,
            together: Vec::new(),
        }
    }

    pub(crate) fn handle(&self, name: &str, claim: Uuid) -> Handle {
        Handle {
            dot: self.id,
            volume: self.volume(name),
            claim: ClaimUid::new(claim),
        }
    }

    /// The name of a volume's dataset, or of the head's when the volume is empty.
    pub(crate) fn dataset(&self, machine: &Machine, head: Uuid, volume: &str) -> String {
        let head = format!("{}/dotmesh/{}/{head}", machine.pool, self.id);
        if volume.is_empty() {
            head
        } else {
            format!("{head}/{}", self.volume(volume))
        }
    }
}

/// GUIDs by volume id.
pub(crate) fn guids(taken: &CommitResponse) -> BTreeMap<String, u64> {
    let snapshots = taken.snapshots.iter();
    snapshots
        .map(|snapshot| (snapshot.volume_id.clone(), snapshot.guid))
        .collect()
}
