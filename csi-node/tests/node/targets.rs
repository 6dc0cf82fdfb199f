//! What lies at a pod's target and is not ours to use: told, and left as it is. Nothing but an empty folder or file ever
//! goes from there.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use dotmesh_csi_proto::node::{AttachRequest, EnsureBranchRequest, Volume, VolumeFormat};
use dotmesh_model::handle::Handle;
use tonic::{Code, Status};
use uuid::Uuid;

use crate::devices::asked;
use crate::machine::{Dot, Machine, SIZE, run};

/// What a case prepares at the target.
type Prepare = fn(&Case<'_>);

/// A target, and what belongs there.
struct Case<'a> {
    target: &'a Path,
    /// Another volume of ours.
    other: &'a str,
}

impl Case<'_> {
    fn mount(&self, words: &[&str]) {
        fs::create_dir_all(self.target).unwrap();
        let target = self.target.to_string_lossy();
        run(&[&["mount"], words, &[&*target]].concat());
    }

    /// A folder beside the target's with something in it.
    fn precious(&self) -> PathBuf {
        let folder = self.target.parent().unwrap().with_extension("precious");
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("file"), "data").unwrap();
        folder
    }
}

/// The files below a folder with what is in them, and the mounts there.
fn look(folder: &Path) -> (String, Vec<String>) {
    let text = folder.to_string_lossy();
    let files = run(&["find", &text, "-printf", "%p %y %m %l %s %T@\n"]);
    (files, mounts(folder))
}

/// The lines of the mount table about what is mounted at this path and below it.
pub(crate) fn mounts(path: &Path) -> Vec<String> {
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let is_below = |line: &&str| line.split(' ').nth(4).is_some_and(|at| Path::new(at).starts_with(path));
    table.lines().filter(is_below).map(str::to_owned).collect()
}

/// A branch with a native volume `db`, another one `cache`, and a block device `raw`.
fn branch(dot: &Dot) -> EnsureBranchRequest {
    let mut request = dot.branch(dot.main);
    request.volumes.push(Volume {
        id: dot.volume("raw").to_string(),
        name: "raw".into(),
        size_bytes: SIZE,
        format: VolumeFormat::Block.into(),
        ..Volume::default()
    });
    request
}

/// The Dot, and a claim on its volume of that name.
async fn claimed(machine: &Machine, dot: &Dot, name: &str) -> Handle {
    let claim = Uuid::new_v4();
    let attach = AttachRequest {
        dot_id: dot.id.to_string(),
        claim_uid: claim.to_string(),
        volume_id: dot.volume(name).to_string(),
        branch_id: String::new(),
        pool_guid: dot.pool,
    };
    machine.node().await.attach(attach).await.unwrap();
    dot.handle(name, claim)
}

async fn with_dot() -> (Machine, Dot) {
    let machine = Machine::with_pool().await;
    let dot = Dot::on(&machine);
    let mut node = machine.node().await;
    node.ensure_dot(dot.ensure()).await.unwrap();
    node.ensure_branch(branch(&dot)).await.unwrap();
    (machine, dot)
}

/// What a call said: its code, when the text has that word in it.
fn said(result: Result<(), Status>, word: &str) -> Result<Code, String> {
    match result {
        Err(status) if status.message().contains(word) => Ok(status.code()),
        other => Err(format!("{other:?}")),
    }
}

#[tokio::test]
async fn what_lies_at_a_target_is_told_and_left_as_it_is() {
    let (machine, dot) = with_dot().await;
    let cache = dot.dataset(&machine, dot.main, "cache");
    let other_volume: Prepare = |case| case.mount(&["-t", "zfs", case.other]);
    let tmpfs: Prepare = |case| case.mount(&["-t", "tmpfs", "tmpfs"]);
    let bind: Prepare = |case| {
        let folder = case.precious();
        case.mount(&["--bind", &folder.to_string_lossy()]);
    };
    let full: Prepare = |case| {
        fs::create_dir_all(case.target.join("folder")).unwrap();
        fs::write(case.target.join("folder/file"), "data").unwrap();
    };
    let link: Prepare = |case| symlink(case.precious(), case.target).unwrap();
    let dangling: Prepare = |case| symlink("/nowhere", case.target).unwrap();
    let link_above: Prepare = |case| {
        let parent = case.target.parent().unwrap();
        fs::remove_dir(parent).unwrap();
        symlink(case.precious(), parent).unwrap();
    };
    let file: Prepare = |case| fs::write(case.target, "data").unwrap();
    let (taken, invalid) = (Code::AlreadyExists, Code::InvalidArgument);
    // What lies there; code and word of publishing; of unpublishing.
    let of_files = [
        ("volume", other_volume, (taken, "shows"), (taken, "shows")),
        ("tmpfs", tmpfs, (taken, "shows tmpfs"), (taken, "shows tmpfs")),
        ("bind", bind, (taken, "shows"), (taken, "shows")),
        ("full", full, (invalid, "not empty"), (invalid, "not empty")),
        ("link", link, (invalid, "link"), (invalid, "link")),
        ("dangling", dangling, (invalid, "link"), (invalid, "link")),
        ("above", link_above, (invalid, "link"), (invalid, "link")),
        ("file", file, (invalid, "not a directory"), (invalid, "not empty")),
    ];
    // Of a block device the target is a file.
    let of_devices = of_files.map(|(name, prepare, publish, unpublish)| match name {
        "file" => (name, prepare, (invalid, "not empty"), unpublish),
        _ => (name, prepare, publish, unpublish),
    });
    for (volume, format, cases) in [
        ("db", VolumeFormat::Zfs, of_files),
        ("raw", VolumeFormat::Block, of_devices),
    ] {
        let handle = claimed(&machine, &dot, volume).await;
        for (name, prepare, publish, unpublish) in cases {
            let target = machine.target(&format!("{volume}-{name}/mount"));
            fs::create_dir_all(target.parent().unwrap()).unwrap();
            let case = Case {
                target: &target,
                other: &cache,
            };
            prepare(&case);
            // What is mounted for csi-node itself may come.
            let pods = machine.target("");
            let before = look(&pods);
            let result = machine.publish_as(handle, &target, asked(format)).await;
            assert_eq!(said(result, publish.1), Ok(publish.0), "publishing {volume} at {name}");
            assert_eq!(look(&pods), before, "publishing {volume} at {name}");
            let result = machine.unpublish(handle, &target).await;
            assert_eq!(
                said(result, unpublish.1),
                Ok(unpublish.0),
                "unpublishing {volume} at {name}"
            );
            assert_eq!(look(&pods), before, "unpublishing {volume} at {name}");
        }
        // And a good target is as good as before.
        let good = machine.target(&format!("{volume}-good/mount"));
        machine.publish_as(handle, &good, asked(format)).await.unwrap();
        machine.unpublish(handle, &good).await.unwrap();
        assert!(!good.exists());
    }
}

#[tokio::test]
async fn what_appears_below_a_target_outlives_unpublishing() {
    let (machine, dot) = with_dot().await;
    let handle = claimed(&machine, &dot, "db").await;
    let target = machine.target("pod/mount");
    let folder = target.parent().unwrap();

    // Beneath the mount, where nobody sees it meanwhile.
    machine.publish(handle, &target).await.unwrap();
    fs::write(target.join("data"), "the volume's").unwrap();
    let beneath = machine.folder.join("beneath");
    fs::create_dir(&beneath).unwrap();
    run(&["mount", "--bind", &folder.to_string_lossy(), &beneath.to_string_lossy()]);
    fs::write(beneath.join("mount/file"), "somebody's").unwrap();
    let refused = machine.unpublish(handle, &target).await;
    assert_eq!(said(refused, "not empty"), Ok(Code::InvalidArgument));
    assert_eq!(mounts(&target), Vec::<String>::new(), "the volume is away");
    assert_eq!(fs::read_to_string(target.join("file")).unwrap(), "somebody's");

    // After it was unmounted by somebody else.
    fs::remove_file(target.join("file")).unwrap();
    machine.publish(handle, &target).await.unwrap();
    run(&["umount", &target.to_string_lossy()]);
    fs::create_dir(target.join("folder")).unwrap();
    fs::write(target.join("folder/file"), "somebody's").unwrap();
    for _ in 0..2 {
        let refused = machine.unpublish(handle, &target).await;
        assert_eq!(said(refused, "not empty"), Ok(Code::InvalidArgument));
        assert_eq!(fs::read_to_string(target.join("folder/file")).unwrap(), "somebody's");
    }
    // Nor is it covered by the volume.
    machine.publish(handle, &target).await.unwrap_err();
    fs::remove_dir_all(target.join("folder")).unwrap();
    machine.publish(handle, &target).await.unwrap();
    assert_eq!(fs::read_to_string(target.join("data")).unwrap(), "the volume's");
    machine.unpublish(handle, &target).await.unwrap();
    assert!(!target.exists());
    run(&["umount", &beneath.to_string_lossy()]);
}
