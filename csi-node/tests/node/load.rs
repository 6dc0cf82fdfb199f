//! Published and unpublished again and again while others write; and everything of one Dot at once.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use dotmesh_csi_proto::csi::node_client::NodeClient;
use dotmesh_csi_proto::csi::{NodePublishVolumeRequest, NodeUnpublishVolumeRequest};
use dotmesh_csi_proto::node::{AttachRequest, EnsureBranchRequest, Volume, VolumeFormat};
use dotmesh_model::handle::Handle;
use futures::future::{join_all, try_join_all};
use tonic::Status;
use uuid::Uuid;

use crate::devices::asked;
use crate::machine::{Dot, Machine, SIZE, guids, run};
use crate::targets::mounts;

/// Bytes that a writer writes at a time.
const BLOCK: usize = 64 << 10;
/// How many of them its file has.
const BLOCKS: u64 = 128;

/// How often all guests together come and go; `DOTMESH_PUBLISH_TIMES` says another number.
const TIMES: usize = 100;

/// A branch with volumes of these names and formats.
pub(crate) fn branch(dot: &Dot, volumes: &[(&str, VolumeFormat)]) -> EnsureBranchRequest {
    let volume = |(name, format): &(&str, VolumeFormat)| Volume {
        id: dot.volume(name).to_string(),
        name: (*name).into(),
        size_bytes: SIZE,
        format: (*format).into(),
        ..Volume::default()
    };
    EnsureBranchRequest {
        volumes: volumes.iter().map(volume).collect(),
        ..dot.branch(dot.main)
    }
}

pub(crate) async fn claimed(machine: &Machine, dot: &Dot, name: &str, branch: &str) -> Handle {
    let claim = Uuid::new_v4();
    let attach = AttachRequest {
        dot_id: dot.id.to_string(),
        claim_uid: claim.to_string(),
        volume_id: dot.volume(name).to_string(),
        branch_id: branch.to_owned(),
        pool_guid: dot.pool,
    };
    machine.node().await.attach(attach).await.unwrap();
    dot.handle(name, claim)
}

/// A pod that overwrites a file of its volume again and again, durably.
struct Writer {
    stop: Arc<AtomicBool>,
    /// Returns how many blocks were written.
    thread: JoinHandle<std::io::Result<u64>>,
}

fn block(number: u64) -> Vec<u8> {
    number.to_le_bytes().repeat(BLOCK / 8)
}

impl Writer {
    fn begin(folder: &Path) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (path, stopped) = (folder.join("written"), Arc::clone(&stop));
        let thread = std::thread::spawn(move || {
            let mut file = File::create(path)?;
            let mut number = 0;
            while !stopped.load(Ordering::SeqCst) {
                file.seek(SeekFrom::Start(number % BLOCKS * BLOCK as u64))?;
                file.write_all(&block(number))?;
                file.sync_all()?;
                number += 1;
            }
            Ok(number)
        });
        Self { stop, thread }
    }

    fn end(self) -> u64 {
        self.stop.store(true, Ordering::SeqCst);
        self.thread.join().unwrap().unwrap()
    }
}

/// The file has of each block what was written last.
fn verify(folder: &Path, written: u64) {
    let mut file = File::open(folder.join("written")).unwrap();
    for number in written.saturating_sub(BLOCKS)..written {
        let mut found = vec![0; BLOCK];
        file.seek(SeekFrom::Start(number % BLOCKS * BLOCK as u64)).unwrap();
        file.read_exact(&mut found).unwrap();
        assert!(found == block(number), "block {number} of {written} is another");
    }
}

/// A pod that comes and goes.
struct Guest {
    handle: Handle,
    target: PathBuf,
    format: VolumeFormat,
    times: usize,
}

impl Guest {
    /// Published, adds a line to a file, finds all earlier ones, unpublished.
    async fn visit(&self, machine: &Machine) -> Result<(), Status> {
        let mut csi = NodeClient::new(machine.csi().await);
        let publish = NodePublishVolumeRequest {
            volume_id: self.handle.to_string(),
            target_path: self.target.to_string_lossy().into_owned(),
            volume_capability: Some(asked(self.format)),
            ..NodePublishVolumeRequest::default()
        };
        let unpublish = NodeUnpublishVolumeRequest {
            volume_id: publish.volume_id.clone(),
            target_path: publish.target_path.clone(),
        };
        for time in 0..self.times {
            csi.node_publish_volume(publish.clone()).await?;
            assert_eq!(self.lines(), time);
            let mut file = File::options().create(true).append(true).open(self.path()).unwrap();
            writeln!(file, "{time}").unwrap();
            drop(file);
            csi.node_unpublish_volume(unpublish.clone()).await?;
            assert!(!self.target.exists());
        }
        Ok(())
    }

    fn path(&self) -> PathBuf {
        self.target.join("visits")
    }

    /// How many lines there are, each of which is the next.
    fn lines(&self) -> usize {
        let Ok(file) = File::open(self.path()) else { return 0 };
        let lines = BufReader::new(file).lines().map(|line| line.unwrap().parse().unwrap());
        let lines: Vec<usize> = lines.collect();
        assert!(lines.iter().copied().eq(0..lines.len()), "{lines:?}");
        lines.len()
    }
}

#[tokio::test]
async fn published_and_unpublished_again_and_again_under_load() {
    let times = std::env::var("DOTMESH_PUBLISH_TIMES").map_or(TIMES, |times| times.parse().unwrap());
    let machine = Machine::with_pool().await;
    let dots = [Dot::on(&machine), Dot::on(&machine)];
    let (zfs, ext4) = (VolumeFormat::Zfs, VolumeFormat::Ext4);
    let volumes = [[("db", zfs), ("cache", zfs)], [("alone", zfs), ("ext", ext4)]];
    let mut node = machine.node().await;
    for (dot, volumes) in dots.iter().zip(&volumes) {
        node.ensure_dot(dot.ensure()).await.unwrap();
        node.ensure_branch(branch(dot, volumes)).await.unwrap();
    }
    let before = mounts(&machine.folder);

    // Pods that stay write to the volume of the first guest and to another one.
    let mut writers = Vec::new();
    for name in ["db", "cache"] {
        let (handle, target) = (claimed(&machine, &dots[0], name, "").await, machine.target(name));
        machine.publish(handle, &target).await.unwrap();
        writers.push((handle, Writer::begin(&target), target));
    }
    let mut guests = Vec::new();
    for (dot, name, format, tenths) in [(0, "db", zfs, 5), (1, "alone", zfs, 4), (1, "ext", ext4, 1)] {
        guests.push(Guest {
            handle: claimed(&machine, &dots[dot], name, "").await,
            target: machine.target(&format!("guest/{name}")),
            format,
            times: times * tenths / 10,
        });
    }
    fs::create_dir_all(machine.target("guest")).unwrap();
    let began = std::time::Instant::now();
    try_join_all(guests.iter().map(|guest| guest.visit(&machine)))
        .await
        .unwrap();
    println!("{times} times in {:?}", began.elapsed());

    for (handle, writer, target) in writers {
        let written = writer.end();
        println!("{written} blocks were written to {}", target.display());
        verify(&target, written);
        machine.unpublish(handle, &target).await.unwrap();
        // The same by a new mount.
        machine.publish(handle, &target).await.unwrap();
        verify(&target, written);
        machine.unpublish(handle, &target).await.unwrap();
    }
    for guest in &guests {
        let capability = asked(guest.format);
        machine
            .publish_as(guest.handle, &guest.target, capability)
            .await
            .unwrap();
        assert_eq!(guest.lines(), guest.times);
        machine.unpublish(guest.handle, &guest.target).await.unwrap();
    }
    assert_eq!(mounts(&machine.folder), before);
    let private = fs::read_dir(machine.folder.join("data/mounts")).unwrap();
    assert_eq!(private.count(), 0, "no folder of a private mount is left");
}

#[tokio::test]
async fn commits_clones_and_publishing_of_one_dot_at_once() {
    let machine = Machine::with_pool().await;
    let dot = Dot::on(&machine);
    let mut node = machine.node().await;
    node.ensure_dot(dot.ensure()).await.unwrap();
    let (zfs, ext4) = (VolumeFormat::Zfs, VolumeFormat::Ext4);
    let volumes = [("db", zfs), ("cache", ext4)];
    let main = branch(&dot, &volumes);
    node.ensure_branch(main.clone()).await.unwrap();
    let before = mounts(&machine.folder);
    let claims = [
        (claimed(&machine, &dot, "db", "").await, zfs),
        (claimed(&machine, &dot, "cache", "").await, ext4),
    ];
    let target = |volume: usize, pod: usize| machine.target(&format!("{volume}-{pod}"));
    fs::create_dir_all(machine.target("")).unwrap();
    let commit = Uuid::new_v4();
    let first = node.commit(dot.commit(commit, dot.main)).await.unwrap().into_inner();
    let forks: Vec<Uuid> = (0..3).map(|_| Uuid::new_v4()).collect();

    // Each of them three times at the same moment.
    for (round, fork) in forks.iter().enumerate() {
        let publish = (0..6).flat_map(|n| (0..3).map(move |_| n));
        let publish = publish.map(async |n: usize| {
            let (handle, format) = claims[n % 2];
            machine.publish_as(handle, &target(n % 2, n / 2), asked(format)).await
        });
        let new = Uuid::new_v4();
        let commits = (0..3).map(async |_| {
            let mut node = machine.node().await;
            node.commit(dot.commit(new, dot.main))
                .await
                .map(tonic::Response::into_inner)
        });
        let clones = (0..3).map(async |_| {
            let mut node = machine.node().await;
            let request = EnsureBranchRequest {
                volumes: main.volumes.clone(),
                ..dot.fork(*fork, commit, dot.main, &first)
            };
            node.ensure_branch(request).await.map(tonic::Response::into_inner)
        });
        let (published, taken, made) = futures::join!(join_all(publish), try_join_all(commits), try_join_all(clones));
        for result in published {
            result.unwrap();
        }
        let (taken, made) = (taken.unwrap(), made.unwrap());
        assert!(taken.iter().all(|one| *one == taken[0]), "{taken:?}");
        assert!(made.iter().all(|one| *one == made[0]), "{made:?}");
        assert!(made[0].volumes.iter().all(|volume| volume.cloned));
        let named = |suffix: &str| {
            machine
                .names()
                .into_iter()
                .filter(|name| name.ends_with(suffix))
                .count()
        };
        assert_eq!(named(&format!("@{new}")), 3);
        assert_eq!(guids(&taken[0]).len(), 2);
        for (volume, pod) in [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2)] {
            let target = target(volume, pod);
            assert_eq!(mounts(&target).len(), 1, "{}", target.display());
            fs::write(target.join(format!("{round}-{pod}")), "data").unwrap();
        }
        // Gone at once, while one more asks for each of them.
        let gone = (0..6).flat_map(|n| (0..3).map(move |_| n));
        let gone = gone.map(async |n: usize| machine.unpublish(claims[n % 2].0, &target(n % 2, n / 2)).await);
        for result in join_all(gone).await {
            result.unwrap();
        }
        assert_eq!(mounts(&machine.folder), before, "after round {round}");
    }
    // Of one target both at once: one of the two comes last, and what is there then is whole.
    for (handle, format) in claims {
        let target = machine.target("both");
        let both = (0..6).map(async |n: usize| match n % 2 {
            0 => machine.publish_as(handle, &target, asked(format)).await,
            _ => machine.unpublish(handle, &target).await,
        });
        for result in join_all(both).await {
            result.unwrap();
        }
        match mounts(&target).len() {
            0 => assert!(!target.exists()),
            found => {
                assert_eq!(found, 1);
                assert!(target.join("2-2").exists());
            }
        }
        machine.unpublish(handle, &target).await.unwrap();
        assert_eq!(mounts(&machine.folder), before);
    }
    let clones = run(&["zfs", "list", "-H", "-r", "-o", "origin", &machine.pool]);
    assert_eq!(
        clones.lines().filter(|origin| origin.contains('@')).count(),
        2 * forks.len()
    );
}
