//! A node: the machine with its ZFS, mounts and disk, which outlives csi-node, and the csi-node that runs on it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use dotmesh_csi_node::edge::Calls;
use dotmesh_csi_node::edge::csi::{Csi, Lend};
use dotmesh_csi_node::edge::fence::Fence;
use dotmesh_csi_node::edge::node_v1::NodeService;
use dotmesh_csi_node::metrics::Rpcs;
use dotmesh_csi_node::ops::{Config, Pools};
use dotmesh_csi_proto::{CALL, TERM};
use dotmesh_mount::{FakeMount, FakeZvol};
use dotmesh_zfs::{FakeVolume, FakeZfs, Health, PoolName};
use futures::FutureExt;
use tonic::service::Interceptor;
use tonic::{Request, Status};

use crate::disk::{Disk, SimFiles};
use crate::mount::SimMount;
use crate::stage::{Actor, Life, Stage};
use crate::zfs::SimZfs;

/// Where csi-node keeps what it remembers.
pub const STATE_DIR: &str = "/var/lib/dotmesh";
/// Where the pool's file lies.
pub const POOL_FILE: &str = "/var/lib/dotmesh/pool.img";
/// The zpool's name.
pub const POOL: &str = "dotmesh";
/// The name of the zpool of class `fast`, which some workloads make as well.
pub const FAST: &str = "dotmesh-fast";

fn pool_name(name: &str) -> PoolName {
    name.parse().unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// A machine; shared by cloning.
#[derive(Clone)]
pub struct Machine {
    /// Its number.
    pub number: u8,
    /// Its ZFS.
    pub zfs: FakeZfs,
    /// Its mounts.
    pub mount: FakeMount,
    /// Its files.
    pub disk: Disk,
    running: Arc<Mutex<Option<Running>>>,
    lender: Arc<Mutex<Option<Arc<dyn Lend>>>>,
}

/// csi-node, as it runs.
#[derive(Clone)]
pub struct Running {
    /// This incarnation.
    pub life: Life,
    /// What the operator calls.
    pub node: NodeService<SimZfs, SimMount>,
    /// What the kubelet calls.
    pub csi: Csi<SimZfs, SimMount>,
    fence: Fence,
}

/// What a machine's volumes of ZFS are to its mounts.
fn told_volumes(zfs: &FakeZfs) -> impl Fn(&str) -> Option<FakeZvol> + Send + Sync + 'static {
    let told = zfs.tell_volumes();
    move |name| {
        let FakeVolume {
            identity,
            bytes,
            filesystem,
            is_blank,
        } = told(name)?;
        Some(FakeZvol {
            identity,
            bytes,
            filesystem,
            is_blank,
        })
    }
}

impl Running {
    /// The call of that number in a leader's term, as it passes the edge.
    ///
    /// # Errors
    /// A later leader has called.
    pub fn admit<Q>(&self, message: Q, (term, call): (u64, u64)) -> Result<Request<Q>, Status> {
        let mut request = Request::new(());
        request.metadata_mut().insert(TERM, term.into());
        request.metadata_mut().insert(CALL, call.into());
        let admitted = self.fence.clone().call(request)?;
        Ok(admitted.map(|()| message))
    }
}

impl Machine {
    /// A machine on which nothing runs yet.
    #[must_use]
    pub fn new(number: u8) -> Self {
        // What is mounted is busy for ZFS, and what ZFS has not cannot be mounted.
        let (zfs, mount) = (FakeZfs::of_host(number), FakeMount::new());
        zfs.watch_mounts(mount.tell_sources());
        mount.watch_datasets(zfs.tell_mountable());
        mount.watch_volumes(told_volumes(&zfs));
        let disk = Disk::default();
        zfs.watch_devices(disk.tell_lengths());
        Self {
            number,
            zfs,
            mount,
            disk,
            running: Arc::default(),
            lender: Arc::default(),
        }
    }

    /// Whom its csi-node asks for what inline volumes show, from the next time that it begins.
    pub fn borrow_from(&self, lender: Arc<dyn Lend>) {
        *self.lender.lock().unwrap_or_else(PoisonError::into_inner) = Some(lender);
    }

    /// Its name in Kubernetes.
    #[must_use]
    pub fn name(&self) -> String {
        format!("n{}", self.number)
    }

    /// csi-node, if it runs.
    #[must_use]
    pub fn running(&self) -> Option<Running> {
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.clone().filter(|running| !running.life.is_over())
    }

    /// csi-node begins.
    pub fn start(&self, stage: &Stage) {
        // It may have crashed while the machine went down: then both bring it up.
        self.stop();
        let life = Life::new(Actor::Node(self.number));
        let zfs = SimZfs::new(stage.clone(), life.clone(), self.zfs.clone());
        let mount = SimMount::new(stage.clone(), life.clone(), self.mount.clone());
        let files = SimFiles::new(stage.clone(), life.clone(), self.disk.clone());
        let config = Config {
            state_dir: PathBuf::from(STATE_DIR),
            host_root: None,
            files: Arc::new(files),
        };
        let pools = Pools::new(zfs, mount, config);
        let csi = Csi::new(Arc::clone(&pools), Calls::of_csi(Rpcs::default()), self.name());
        let running = Running {
            node: NodeService::new(Arc::clone(&pools), Calls::of_operator(Rpcs::default())),
            csi: match self.lender.lock().unwrap_or_else(PoisonError::into_inner).clone() {
                Some(lender) => csi.with_lender(lender),
                None => csi,
            },
            fence: Fence::default(),
            life: life.clone(),
        };
        *self.running.lock().unwrap_or_else(PoisonError::into_inner) = Some(running);
        stage.say(life.actor(), "begins");
        spawn_until_over(life.clone(), Arc::clone(&pools).watch_pools());
        spawn_until_over(life, pools.collect());
    }

    /// csi-node ends, with nothing cleaned up.
    pub fn stop(&self) {
        if let Some(running) = self.running() {
            running.life.end();
        }
    }

    /// The history is over. What ran here holds the stage, and the stage this machine, which the lender holds, too:
    /// nothing would ever be freed.
    pub fn close(&self) {
        *self.lender.lock().unwrap_or_else(PoisonError::into_inner) = None;
        *self.running.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// The machine goes down: mounts are gone, and pools are not imported when it comes up.
    pub fn go_down(&self) {
        self.stop();
        self.mount.reboot();
        self.zfs.reboot();
    }

    /// The device of the zpool of that name goes away, or comes back.
    pub fn set_pool_there(&self, zpool: &str, there: bool) {
        self.zfs.set_health(
            &pool_name(zpool),
            if there { Health::Online } else { Health::Suspended },
        );
    }

    /// Somebody copies the devices of pool `dotmesh`.
    pub fn copy_pool(&self) {
        self.zfs.copy_devices(&pool_name(POOL));
    }

    /// The copy takes the pool's place, or makes room for it again. The machine is down.
    pub fn exchange_pool(&self) {
        self.zfs.exchange_devices(&pool_name(POOL));
    }

    /// GUIDs by name of everything in its pools.
    #[must_use]
    pub fn guids(&self) -> BTreeMap<String, u64> {
        let all = self.zfs.inventory();
        all.iter().map(|object| (object.name.clone(), object.guid.0)).collect()
    }
}

/// Runs a part of an actor until that crashes.
pub fn spawn_until_over(life: Life, part: impl Future<Output = ()> + Send + 'static) {
    // Boxed, because a task is copied several times until it runs.
    let part = part.boxed();
    tokio::spawn(async move {
        tokio::select! {
            biased;
            () = life.over() => {}
            () = part => {}
        }
    });
}
