//! Generated sequences of mounts on the kernel and on the fake side by side, step by step, with the mount table after
//! each. Needs root, and a mount namespace of its own: the test starts itself again in one.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

use dotmesh_mount::{FakeMount, LinuxMount, Mount, MountError, MountOption, ZfsMount};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::{Config, TestRunner};

/// Paths below the base, those that mostly exist more often. `link` is a link to nothing, `f` a file, [`FOLDERS`] are
/// there at the beginning; the rest may come.
const PATHS: &[&str] = &[
    "a", "a", "a/x", "a/x", "a/x", "b", "b", "b/x", "b/x", "c", "c", "c/x", "c/x", "d", "d", "d/x", "a/x/y", "f",
    "link", "link/x", "f/x", "no/x",
];
const FOLDERS: &[&str] = &["a/x", "b/x", "c", "d"];

#[derive(Debug, Clone)]
enum Operation {
    MakeDir(&'static str),
    RemoveDir(&'static str),
    IsEmpty(&'static str),
    Write(&'static str),
    /// A new filesystem, where there is an empty folder.
    Filesystem(&'static str),
    Bind(&'static str, &'static str, bool, Option<MountOption>),
    Remount(&'static str, bool),
    Unmount(&'static str, bool),
    /// Somebody begins or ends using what is mounted there.
    Use(&'static str, bool),
}

fn restriction() -> impl Strategy<Value = Option<MountOption>> {
    prop::option::weighted(0.2, select(MountOption::ALL.as_slice()))
}

fn operation() -> impl Strategy<Value = Operation> {
    let path = || select(PATHS);
    prop_oneof![
        4 => path().prop_map(Operation::MakeDir),
        2 => path().prop_map(Operation::RemoveDir),
        2 => path().prop_map(Operation::IsEmpty),
        1 => path().prop_map(Operation::Write),
        4 => path().prop_map(Operation::Filesystem),
        8 => (path(), path(), prop::bool::weighted(0.3), restriction())
            .prop_map(|(from, to, ro, option)| Operation::Bind(from, to, ro, option)),
        2 => (path(), any::<bool>()).prop_map(|(path, ro)| Operation::Remount(path, ro)),
        4 => (path(), prop::bool::weighted(0.3)).prop_map(|(path, lazy)| Operation::Unmount(path, lazy)),
        3 => (path(), any::<bool>()).prop_map(|(path, used)| Operation::Use(path, used)),
    ]
}

/// What programs do beside the trait.
trait Around {
    fn write(&self, path: &Path) -> bool;
    fn filesystem(&self, path: &Path, source: &str);
    fn set_used(&self, path: &Path, used: bool);
}

impl Around for FakeMount {
    fn write(&self, path: &Path) -> bool {
        Self::write(self, path).is_ok()
    }

    fn filesystem(&self, path: &Path, source: &str) {
        let request = ZfsMount {
            source: source.to_owned(),
            target: path.to_owned(),
            readonly: false,
            context: None,
        };
        let work = self.mount_zfs(&request);
        let runtime = tokio::runtime::Handle::current();
        tokio::task::block_in_place(|| runtime.block_on(work)).expect("an empty folder");
    }

    fn set_used(&self, path: &Path, used: bool) {
        self.set_busy(path, used);
    }
}

#[derive(Default)]
struct Kernel {
    used: Mutex<BTreeMap<PathBuf, File>>,
}

impl Around for Kernel {
    fn write(&self, path: &Path) -> bool {
        fs::write(path, "x").is_ok()
    }

    fn filesystem(&self, path: &Path, source: &str) {
        mount(Some(source), path, Some("tmpfs"), MsFlags::empty(), None::<&str>).expect("an empty folder");
    }

    fn set_used(&self, path: &Path, used: bool) {
        let mut all = self.used.lock().expect("no panic before");
        if used {
            all.insert(path.to_owned(), File::open(path).expect("a folder"));
        } else {
            all.remove(path);
        }
    }
}

/// Mounts below a base, and the answers that operations have there.
struct World<'a, M, A> {
    mount: &'a M,
    around: &'a A,
    base: PathBuf,
    filesystems: usize,
}

fn told<T: Debug>(result: Result<T, MountError>) -> String {
    match result {
        Ok(value) => format!("{value:?}"),
        Err(error) => error.kind.to_string(),
    }
}

impl<M: Mount, A: Around> World<'_, M, A> {
    async fn is_mountpoint(&self, path: &Path) -> bool {
        self.mount.list().await.expect("a table").at(path).is_some()
    }

    async fn perform(&mut self, operation: &Operation) -> String {
        let at = |path: &str| self.base.join(path);
        match *operation {
            Operation::MakeDir(path) => told(self.mount.make_dir(&at(path)).await),
            Operation::RemoveDir(path) => {
                // A folder that is bound elsewhere can be removed and lives on there, without a name: not in the fake.
                let (path, table) = (at(path), self.mount.list().await.expect("a table"));
                if table
                    .below(&self.base)
                    .any(|entry| entry.root.file_name() == path.file_name())
                {
                    return "skipped".to_owned();
                }
                told(self.mount.remove_dir(&path).await)
            }
            Operation::IsEmpty(path) => told(self.mount.is_empty_dir(&at(path)).await),
            Operation::Write(path) => self.around.write(&at(path)).to_string(),
            Operation::Filesystem(path) => {
                let path = at(path);
                let empty = self.mount.is_empty_dir(&path).await.is_ok_and(|empty| empty);
                if !empty || self.is_mountpoint(&path).await {
                    return "skipped".to_owned();
                }
                self.filesystems += 1;
                self.around.filesystem(&path, &format!("fs{}", self.filesystems));
                "mounted".to_owned()
            }
            Operation::Bind(from, to, readonly, option) => {
                let options: Vec<MountOption> = option.into_iter().collect();
                told(self.mount.bind(&at(from), &at(to), readonly, &options).await)
            }
            Operation::Remount(path, readonly) => told(self.mount.remount_bind(&at(path), readonly).await),
            Operation::Unmount(path, lazy) => told(self.mount.unmount(&at(path), lazy).await),
            Operation::Use(path, used) => {
                let path = at(path);
                if used && !self.is_mountpoint(&path).await {
                    return "skipped".to_owned();
                }
                // Once at a time: what is mounted there may have changed.
                self.around.set_used(&path, false);
                self.around.set_used(&path, used);
                "done".to_owned()
            }
        }
    }

    /// What the table shows below the base, by path.
    async fn table(&self) -> Vec<String> {
        let table = self.mount.list().await.expect("a table");
        let lines = table.below(&self.base).map(|entry| {
            let target = entry.target.strip_prefix(&self.base).unwrap_or(&entry.target);
            let (readonly, shared) = (if entry.readonly { "ro" } else { "rw" }, entry.shared);
            let options: Vec<MountOption> = MountOption::ALL
                .into_iter()
                .filter(|option| entry.has(*option))
                .collect();
            format!(
                "{target:?} shows {:?} of {}, {readonly}, {options:?}, shared {shared}",
                entry.root, entry.source
            )
        });
        let mut lines: Vec<_> = lines.collect();
        lines.sort();
        lines
    }
}

/// Prepares the base: a filesystem of its own.
fn begin(around: &impl Around, base: &Path) {
    around.filesystem(base, "base");
}

async fn compare(base: &Path, shared: bool, operations: &[Operation]) -> Result<(), TestCaseError> {
    let (linux, kernel) = (LinuxMount::new(), Kernel::default());
    begin(&kernel, base);
    let flag = if shared {
        MsFlags::MS_SHARED
    } else {
        MsFlags::MS_PRIVATE
    };
    mount(None::<&str>, base, None::<&str>, flag, None::<&str>).expect("sharing");
    let fake = FakeMount::new();
    fake.make_dir(base).await.expect("folders");
    begin(&fake, base);
    fake.set_shared(base, shared);
    for folder in FOLDERS {
        linux.make_dir(&base.join(folder)).await.expect("folders");
        fake.make_dir(&base.join(folder)).await.expect("folders");
    }
    fs::write(base.join("f"), "x").expect("a file");
    fake.put_file(&base.join("f"));
    std::os::unix::fs::symlink("/no/such/folder", base.join("link")).expect("a link");
    fake.put_link(&base.join("link"));

    let mut real = World {
        mount: &linux,
        around: &kernel,
        base: base.to_owned(),
        filesystems: 0,
    };
    let mut model = World {
        mount: &fake,
        around: &fake,
        base: base.to_owned(),
        filesystems: 0,
    };
    let mut result = Ok(());
    for (index, operation) in operations.iter().enumerate() {
        let found = (real.perform(operation).await, real.table().await);
        let wanted = (model.perform(operation).await, model.table().await);
        if found != wanted {
            let text = format!("step {index}, {operation:?}:\nthe kernel {found:#?}\nthe fake {wanted:#?}");
            result = Err(TestCaseError::fail(text));
            break;
        }
    }
    kernel.used.lock().expect("no panic before").clear();
    umount2(base, MntFlags::MNT_DETACH).expect("the base");
    result
}

fn compare_many() {
    let folder = tempfile::tempdir().expect("a folder");
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_time()
        .build()
        .expect("a runtime");
    let config = Config {
        failure_persistence: None,
        ..Config::default()
    };
    let sequences = (any::<bool>(), proptest::collection::vec(operation(), 1..60));
    let result = TestRunner::new(config).run(&sequences, |(shared, operations)| {
        runtime.block_on(async {
            let base = folder.path().to_owned();
            let work = async move { compare(&base, shared, &operations).await };
            tokio::spawn(work).await.expect("no panic")
        })
    });
    if let Err(error) = result {
        panic!("{error}");
    }
}

#[test]
fn the_fake_mounts_as_the_kernel_does() {
    if std::env::var_os("MOUNT_GENERATED_INSIDE").is_some() {
        return compare_many();
    }
    let allowed = Command::new("unshare").args(["-m", "true"]).status();
    if !allowed.is_ok_and(|status| status.success()) {
        assert!(
            std::env::var_os("CI").is_none(),
            "CI must be able to make a mount namespace"
        );
        eprintln!("SKIPPED: mounts on the real kernel need root");
        return;
    }
    let this = std::env::current_exe().expect("this program");
    let status = Command::new("unshare")
        .args(["-m", "--propagation", "private"])
        .arg(this)
        .args(["--exact", "the_fake_mounts_as_the_kernel_does", "--nocapture"])
        .env("MOUNT_GENERATED_INSIDE", "1")
        .status()
        .expect("unshare");
    assert!(status.success());
}
