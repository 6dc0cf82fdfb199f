//! What volumes cost, beside the bare commands in the same run, alternating; and what many of them cost. Nothing is
//! judged here: `cargo xtask campaign volumes` prints it.

use std::path::PathBuf;
use std::time::Instant;

use dotmesh_csi_proto::csi::controller_client::ControllerClient;
use dotmesh_csi_proto::csi::{CapacityRange, ControllerExpandVolumeRequest, DeleteVolumeRequest};
use dotmesh_csi_proto::node::VolumeFormat;
use dotmesh_model::handle::Handle;
use tonic::transport::Channel;

use crate::csi;
use crate::load::{branch, claimed};
use crate::machine::{Dot, Machine, SIZE, run, until};

/// How often each time is taken.
const SAMPLES: usize = 15;
/// How many volumes there are in the end; `DOTMESH_FIGURES_VOLUMES` says another number.
const VOLUMES: usize = 1000;
/// Volumes of a Dot.
const OF_EACH_DOT: usize = 100;
/// Mounts that have nothing to do with us.
const MOUNTS: usize = 1000;

/// Milliseconds of each sample, and commands of ZFS that csi-node started for it.
#[derive(Default)]
struct Samples {
    times: Vec<f64>,
    processes: usize,
}

impl Samples {
    async fn take<T>(&mut self, machine: &Machine, work: impl Future<Output = T>) -> T {
        let (before, start) = (processes(machine), Instant::now());
        let done = work.await;
        self.times.push(start.elapsed().as_secs_f64() * 1e3);
        self.processes += processes(machine) - before;
        done
    }

    fn bare(&mut self, words: &[&str]) {
        let start = Instant::now();
        run(words);
        self.times.push(start.elapsed().as_secs_f64() * 1e3);
    }

    fn median(&self) -> f64 {
        let mut sorted = self.times.clone();
        sorted.sort_by(f64::total_cmp);
        sorted[sorted.len() / 2]
    }

    /// Median and extremes.
    fn shown(&self) -> String {
        let least = self.times.iter().copied().fold(f64::INFINITY, f64::min);
        let most = self.times.iter().copied().fold(0.0, f64::max);
        format!("{:.0} ({least:.0}–{most:.0})", self.median())
    }

    fn row(&self, what: &str, floor: &Self) {
        #[expect(clippy::cast_precision_loss, reason = "small counts")]
        let each = self.processes as f64 / self.times.len() as f64;
        println!(
            "| {what} | {each:.1} | {} | {} | {:.2} |",
            self.shown(),
            floor.shown(),
            self.median() / floor.median()
        );
    }
}

/// Commands of ZFS that the program has started, but for its looks at the pool's health.
fn processes(machine: &Machine) -> usize {
    let is_command = |line: &str| line.contains("command succeeded") || line.contains("command failed");
    let said = machine.said();
    said.lines()
        .filter(|line| is_command(line) && !line.contains("zpool"))
        .count()
}

/// Resident memory of the program, in MiB.
fn memory(machine: &Machine) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", machine.process())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap() / 1024.0
}

async fn create(controller: &mut ControllerClient<Channel>, name: &str) -> Handle {
    let made = controller
        .create_volume(csi::create(name, SIZE))
        .await
        .unwrap()
        .into_inner();
    made.volume.unwrap().volume_id.parse().unwrap()
}

fn bytes(size: u64) -> CapacityRange {
    CapacityRange {
        required_bytes: size.try_into().unwrap(),
        limit_bytes: 0,
    }
}

#[tokio::test]
#[ignore = "measures: cargo xtask campaign volumes"]
async fn what_volumes_cost() {
    let machine = Machine::with_pool().await;
    let mut controller = ControllerClient::new(machine.csi().await);
    calls(&machine, &mut controller).await;
    mounts(&machine, &mut controller).await;
    many(&machine).await;
}

/// Create, expand and delete.
async fn calls(machine: &Machine, controller: &mut ControllerClient<Channel>) {
    let [
        mut create_ours,
        mut create_bare,
        mut expand_ours,
        mut expand_bare,
        mut delete_ours,
        mut delete_bare,
    ] = std::array::from_fn(|_| Samples::default());
    let bare = format!("{}/bare", machine.pool);
    for sample in 0..SAMPLES {
        create_bare.bare(&["zfs", "create", "-o", "mountpoint=legacy", "-o", "refquota=64M", &bare]);
        let name = format!("sample-{sample}");
        let handle = create_ours.take(machine, create(controller, &name)).await;
        expand_bare.bare(&["zfs", "set", "refquota=128M", &bare]);
        let expand = ControllerExpandVolumeRequest {
            volume_id: handle.to_string(),
            capacity_range: Some(bytes(2 * SIZE)),
            ..ControllerExpandVolumeRequest::default()
        };
        expand_ours
            .take(machine, controller.controller_expand_volume(expand))
            .await
            .unwrap();
        delete_bare.bare(&["zfs", "destroy", &bare]);
        let delete = DeleteVolumeRequest {
            volume_id: handle.to_string(),
            ..DeleteVolumeRequest::default()
        };
        delete_ours
            .take(machine, controller.delete_volume(delete))
            .await
            .unwrap();
        machine.wait_empty().await;
    }
    println!("\n| call | commands until it answers | ms | bare command | ratio |\n| --- | --- | --- | --- | --- |");
    create_ours.row("CreateVolume, beside `zfs create`", &create_bare);
    expand_ours.row("ControllerExpandVolume, beside `zfs set`", &expand_bare);
    delete_ours.row("DeleteVolume, beside `zfs destroy`", &delete_bare);
}

/// Publishing, beside few mounts and beside many.
async fn mounts(machine: &Machine, controller: &mut ControllerClient<Channel>) {
    let handle = create(controller, "published").await;
    let (first, second) = (machine.target("first"), machine.target("second"));
    let plain = format!("{}/plain", machine.pool);
    run(&["zfs", "create", "-o", "mountpoint=legacy", &plain]);
    let (source, bound) = (machine.folder.join("source"), machine.folder.join("bound"));
    [&source, &bound]
        .iter()
        .for_each(|folder| std::fs::create_dir(folder).unwrap());
    let (source, bound) = (
        source.to_string_lossy().into_owned(),
        bound.to_string_lossy().into_owned(),
    );
    println!(
        "\n| mounts on the node | first publish, ms | another one | unpublish | `mount` and `mount --bind` |\n| --- | --- | --- | --- | --- |"
    );
    let mut strangers: Vec<PathBuf> = Vec::new();
    for wanted in [1, MOUNTS] {
        while strangers.len() < wanted {
            let folder = machine.folder.join(format!("stranger-{}", strangers.len()));
            std::fs::create_dir(&folder).unwrap();
            let path = folder.to_string_lossy().into_owned();
            run(&["mount", "--bind", &path, &path]);
            strangers.push(folder);
        }
        let [mut one, mut another, mut back, mut floor] = std::array::from_fn(|_| Samples::default());
        for _ in 0..SAMPLES {
            let start = Instant::now();
            run(&["mount", "-t", "zfs", &plain, &source]);
            run(&["mount", "--bind", &source, &bound]);
            floor.times.push(start.elapsed().as_secs_f64() * 1e3);
            run(&["umount", &bound]);
            run(&["umount", &source]);
            one.take(machine, machine.publish(handle, &first)).await.unwrap();
            another.take(machine, machine.publish(handle, &second)).await.unwrap();
            back.take(machine, machine.unpublish(handle, &second)).await.unwrap();
            machine.unpublish(handle, &first).await.unwrap();
        }
        println!(
            "| {wanted} more than the system's | {} | {} | {} | {} |",
            one.shown(),
            another.shown(),
            back.shown(),
            floor.shown()
        );
    }
    for folder in strangers {
        run(&["umount", &folder.to_string_lossy()]);
    }
}

/// Memory of the program with many volumes, a hundred of each Dot, each with a claim and published.
async fn many(machine: &Machine) {
    let wanted = std::env::var("DOTMESH_FIGURES_VOLUMES").ok();
    let wanted = wanted.map_or(VOLUMES, |text| text.parse().unwrap());
    println!("\n| state | csi-node, MiB |\n| --- | --- |");
    println!("| two volumes | {:.1} |", memory(machine));
    let (mut handles, mut took) = (Vec::new(), [0.0; 2]);
    let names: Vec<String> = (0..OF_EACH_DOT).map(|number| format!("v{number}")).collect();
    while handles.len() < wanted {
        let names = &names[..names.len().min(wanted - handles.len())];
        let volumes: Vec<(&str, VolumeFormat)> = names.iter().map(|name| (name.as_str(), VolumeFormat::Zfs)).collect();
        let dot = Dot::on(machine);
        let mut node = machine.node().await;
        node.ensure_dot(dot.ensure()).await.unwrap();
        let start = Instant::now();
        // One call makes as many as it can in its time; the next one goes on.
        until("the volumes are there", async || {
            let made = machine.node().await.ensure_branch(branch(&dot, &volumes)).await;
            made.is_ok()
        })
        .await;
        took[0] += start.elapsed().as_secs_f64();
        for name in names {
            handles.push(claimed(machine, &dot, name, "").await);
        }
    }
    println!("| {wanted} volumes more | {:.1} |", memory(machine));
    let start = Instant::now();
    for (number, handle) in handles.iter().enumerate() {
        let target = machine.target(&format!("many-{number}"));
        machine.publish(*handle, &target).await.unwrap();
    }
    took[1] = start.elapsed().as_secs_f64();
    println!("| each of them published | {:.1} |", memory(machine));
    #[expect(clippy::cast_precision_loss, reason = "thousands")]
    let each = took.map(|seconds| seconds / wanted as f64 * 1e3);
    println!("\n{:.0} ms to make each, {:.0} ms to publish it.", each[0], each[1]);
}
