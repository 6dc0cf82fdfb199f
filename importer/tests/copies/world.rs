//! A source with everything in it, an empty target, and pictures of both.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::ffi::{CString, OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use dotmesh_importer::copy::{Request, copy};
use dotmesh_importer::effects::Effects;
use dotmesh_importer::error::CopyError;
use dotmesh_importer::progress::Counters;
use rustix::fs::{
    AtFlags, CWD, FileType, Mode, Timespec, Timestamps, XattrFlags, lgetxattr, llistxattr, lsetxattr, makedev, mknodat,
    utimensat,
};
use rustix::mount::{MountFlags, UnmountFlags, mount, mount_remount, unmount};
use tempfile::TempDir;

/// One run of a machine.
pub(crate) const BOOT: &str = "boot-1";

/// What is to be copied, and where to.
pub(crate) struct World {
    /// Goes before the folder that it is on.
    _memory: Option<Memory>,
    folder: TempDir,
    /// What is done to the target in a run, in order.
    pub(crate) effects: RefCell<Vec<&'static str>>,
    /// As in the request.
    pub(crate) record_interval: Cell<Option<u64>>,
    /// As in the request.
    pub(crate) boot: Cell<&'static str>,
}

/// Whether this is root; elsewhere owners cannot be kept.
pub(crate) fn is_root() -> bool {
    let is_root = rustix::process::geteuid().is_root();
    if !is_root {
        assert!(std::env::var_os("CI").is_none(), "CI must run this as root");
        eprintln!("SKIPPED: owners, devices and mounts need root");
    }
    is_root
}

impl World {
    pub(crate) fn empty() -> Self {
        Self::new(false)
    }

    /// Where nothing waits for a disk, for what is done many times.
    pub(crate) fn with_everything_in_memory() -> Self {
        let world = Self::new(true);
        fill(&world.source());
        world
    }

    fn new(in_memory: bool) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let memory = in_memory.then(|| Memory::on(folder.path(), "512m"));
        for name in ["source", "target"] {
            fs::create_dir(folder.path().join(name)).unwrap();
        }
        Self {
            _memory: memory,
            folder,
            effects: RefCell::default(),
            record_interval: Cell::new(None),
            boot: Cell::new(BOOT),
        }
    }

    pub(crate) fn with_everything() -> Self {
        let world = Self::empty();
        fill(&world.source());
        world
    }

    pub(crate) fn source(&self) -> PathBuf {
        self.folder.path().join("source")
    }

    pub(crate) fn target(&self) -> PathBuf {
        self.folder.path().join("target")
    }

    /// A run, with something that happens before each effect.
    pub(crate) fn run_with(&self, before: &dyn Fn(&'static str) -> io::Result<()>) -> Result<Counters, CopyError> {
        self.effects.borrow_mut().clear();
        let counters = Counters::default();
        let (source, target) = (self.source(), self.target());
        let noted = |what: &'static str| {
            before(what)?;
            self.effects.borrow_mut().push(what);
            Ok(())
        };
        let request = Request {
            source: &source,
            target: &target,
            boot: self.boot.get(),
            record_interval: self.record_interval.get(),
            effects: Effects(&noted),
            counters: &counters,
        };
        copy(&request).map(|()| counters)
    }

    pub(crate) fn run(&self) -> Result<Counters, CopyError> {
        self.run_with(&|_| Ok(()))
    }

    /// A run that dies before the effect of this number. Whether it lived.
    pub(crate) fn run_until(&self, number: usize) -> bool {
        let left = Cell::new(number);
        let result = self.run_with(&|_| match left.get() {
            0 => Err(io::Error::other("killed")),
            more => {
                left.set(more - 1);
                Ok(())
            }
        });
        match result {
            Ok(_) => true,
            Err(CopyError::Target { source, .. }) if source.to_string() == "killed" => false,
            Err(error) => panic!("{error}"),
        }
    }

    pub(crate) fn assert_same(&self) {
        let (source, target) = (picture(&self.source()), picture(&self.target()));
        let names = |all: &BTreeMap<OsString, String>| all.keys().cloned().collect::<Vec<_>>();
        assert_eq!(names(&source), names(&target));
        for (name, line) in &source {
            assert_eq!(Some(line), target.get(name), "{name:?}");
        }
    }
}

/// A filesystem in memory, of a size, on the target.
pub(crate) struct Memory(PathBuf);

impl Memory {
    pub(crate) fn on(path: &Path, size: &str) -> Self {
        let options = CString::new(format!("size={size},mode=755")).unwrap();
        mount("memory", path, "tmpfs", MountFlags::empty(), options.as_c_str()).unwrap();
        Self(path.to_owned())
    }

    /// One that keeps no extended attributes.
    pub(crate) fn without_attributes(path: &Path) -> Self {
        mount("memory", path, "ramfs", MountFlags::empty(), None).unwrap();
        Self(path.to_owned())
    }

    pub(crate) fn change(&self, size: &str, flags: MountFlags) {
        mount_remount(&self.0, flags, format!("size={size}")).unwrap();
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        unmount(&self.0, UnmountFlags::DETACH).unwrap();
    }
}

fn date(path: &Path, seconds: i64, nanoseconds: i64) {
    let time = Timespec {
        tv_sec: seconds,
        tv_nsec: nanoseconds,
    };
    let times = Timestamps {
        last_access: time,
        last_modification: time,
    };
    utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
}

fn own(path: &Path, uid: u32, gid: u32) {
    std::os::unix::fs::lchown(path, Some(uid), Some(gid)).unwrap();
}

fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

pub(crate) fn attribute(path: &Path, name: &str, value: &[u8]) {
    lsetxattr(path, name, value, XattrFlags::empty()).unwrap_or_else(|error| panic!("{name}: {error}"));
}

/// An access control list: user 1234 may do more than others.
pub(crate) fn access_list() -> Vec<u8> {
    let mut list = 2_u32.to_le_bytes().to_vec();
    let none = u32::MAX;
    for (tag, permissions, id) in [
        (1, 6, none),
        (2, 7, 1234),
        (4, 4, none),
        (0x10, 7, none),
        (0x20, 0, none),
    ] {
        list.extend(u16::to_le_bytes(tag));
        list.extend(u16::to_le_bytes(permissions));
        list.extend(u32::to_le_bytes(id));
    }
    list
}

/// May bind ports below 1024.
fn capability() -> Vec<u8> {
    [0x0200_0001_u32, 1 << 10, 0, 0, 0]
        .iter()
        .flat_map(|word| word.to_le_bytes())
        .collect()
}

/// Everything that a volume may have in it.
fn fill(top: &Path) {
    let at = |name: &str| top.join(name);
    let bytes = |name: &[u8]| top.join(OsStr::from_bytes(name));
    fs::write(at("plain"), "contents").unwrap();
    own(&at("plain"), 1000, 1001);
    mode(&at("plain"), 0o640);
    fs::write(at("empty"), "").unwrap();
    fs::write(at("nobody may read it"), "secret").unwrap();
    mode(&at("nobody may read it"), 0o000);
    fs::write(at("-rf"), "a name").unwrap();
    fs::write(bytes(b"not \xff\xfe utf-8"), "a name").unwrap();
    fs::write(at("two\nlines"), "a name").unwrap();
    fs::write(at(&"x".repeat(255)), "a name").unwrap();
    fs::write(at("setuid"), "program").unwrap();
    own(&at("setuid"), 33, 33);
    mode(&at("setuid"), 0o6755);
    fs::write(at("capable"), "program").unwrap();
    own(&at("capable"), 1000, 1000);
    attribute(&at("capable"), "security.capability", &capability());
    attribute(&at("plain"), "user.one", b"value");
    attribute(&at("plain"), "user.none", b"");
    attribute(&at("plain"), "trusted.of", &[0, 255, 10]);
    fs::write(at("listed"), "for user 1234").unwrap();
    attribute(&at("listed"), "system.posix_acl_access", &access_list());

    let sparse = File::create(at("sparse")).unwrap();
    sparse.write_all_at(&[1; 5000], 0).unwrap();
    sparse.write_all_at(&[2; 5000], 2 << 20).unwrap();
    sparse.set_len(3 << 20).unwrap();
    File::create(at("nothing but a hole"))
        .unwrap()
        .set_len(1 << 20)
        .unwrap();

    for folder in [
        "folder",
        "folder/inner",
        "sticky",
        "group",
        "closed",
        ".dotmesh-import",
        "lost+found",
    ] {
        fs::create_dir(at(folder)).unwrap();
    }
    fs::write(at("lost+found/#12"), "found by fsck").unwrap();
    fs::write(at(".dotmesh-import/state"), "not ours").unwrap();
    fs::write(at("folder/inner/file"), "deep").unwrap();
    fs::write(at("closed/file"), "inside").unwrap();
    attribute(&at("folder"), "user.of a folder", b"value");
    attribute(&at("folder/inner"), "system.posix_acl_default", &access_list());
    fs::write(at("folder/inner/inherits"), "").unwrap();
    own(&at("folder"), 7, 8);
    mode(&at("sticky"), 0o1777);
    mode(&at("group"), 0o2775);
    mode(&at("closed"), 0o000);
    let mut deep = at("folder");
    for depth in 0..50 {
        deep.push(format!("level {depth}"));
        fs::create_dir(&deep).unwrap();
    }
    fs::write(deep.join("bottom"), "here").unwrap();

    fs::hard_link(at("plain"), at("folder/plain again")).unwrap();
    fs::hard_link(at("plain"), at("a third name")).unwrap();
    for (name, to) in [
        ("relative", "folder/inner/file"),
        ("absolute", "/etc/passwd"),
        ("dangling", "no/where"),
    ] {
        symlink(to, at(name)).unwrap();
        own(&at(name), 12, 13);
        date(&at(name), 1_000_000_000, 123_456_789);
    }
    symlink(OsStr::from_bytes(&[b'l'; 4000]), at("long link")).unwrap();
    symlink("folder", at("to a folder")).unwrap();
    fs::hard_link(at("dangling"), at("folder/dangling again")).unwrap();
    for (name, kind, device, mode) in [
        ("pipe", FileType::Fifo, 0, 0o622),
        ("null", FileType::CharacterDevice, makedev(1, 3), 0o666),
        ("disk", FileType::BlockDevice, makedev(7, 200), 0o660),
    ] {
        mknodat(CWD, at(name), kind, Mode::from_raw_mode(mode), device).unwrap();
        own(&at(name), 5, 6);
    }
    drop(UnixListener::bind(at("socket")).unwrap());

    let dates = [
        "plain",
        "sparse",
        "pipe",
        "null",
        "closed/file",
        "folder/inner",
        "folder",
        "closed",
        "sticky",
    ];
    for (number, name) in (1..).zip(dates) {
        date(&at(name), 1_234_567_890 - number * 86_400, 987_654_321 - number);
    }
    date(&at("empty"), -1000, 1);
    own(top, 21, 22);
    mode(top, 0o770);
    date(top, 1_111_111_111, 222_222_222);
}

/// All there is below a folder, but for what no copy has.
fn picture(top: &Path) -> BTreeMap<OsString, String> {
    let mut all = BTreeMap::new();
    let mut inodes = BTreeMap::new();
    look(top, top, &mut all, &mut inodes);
    all
}

fn look(top: &Path, path: &Path, all: &mut BTreeMap<OsString, String>, inodes: &mut BTreeMap<u64, OsString>) {
    let meta = fs::symlink_metadata(path).unwrap();
    let name = path.strip_prefix(top).unwrap().as_os_str().to_owned();
    if meta.file_type().is_socket() || name == "lost+found" {
        return;
    }
    let mut line = format!(
        "{:o} {}:{} {}.{:09}",
        meta.mode(),
        meta.uid(),
        meta.gid(),
        meta.mtime(),
        meta.mtime_nsec()
    );
    if meta.is_file() {
        let contents = fs::read(path).unwrap();
        let sum = contents
            .iter()
            .fold(7_u64, |sum, byte| sum.wrapping_mul(31).wrapping_add(u64::from(*byte)));
        line += &format!(" {} bytes {sum:x}", contents.len());
    }
    if meta.is_symlink() {
        line += &format!(" to {:?}", fs::read_link(path).unwrap());
    }
    if !meta.is_dir() {
        let first = inodes.entry(meta.ino()).or_insert_with(|| name.clone());
        line += &format!(" device {:x} of {} names, first {first:?}", meta.rdev(), meta.nlink());
    }
    let mut list = vec![0; 4096];
    let length = llistxattr(path, &mut list[..]).unwrap();
    let mut names: Vec<&[u8]> = list[..length]
        .split(|byte| *byte == 0)
        .filter(|name| !name.is_empty())
        .collect();
    names.sort();
    for name in names.into_iter().filter(|name| *name != b"security.selinux") {
        let mut value = vec![0; 4096];
        let length = lgetxattr(path, name, &mut value[..]).unwrap();
        line += &format!(" {}={:?}", String::from_utf8_lossy(name), &value[..length]);
    }
    all.insert(name, line);
    if meta.is_dir() {
        let mut entries: Vec<PathBuf> = fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()).collect();
        entries.sort();
        for entry in entries {
            look(top, &entry, all, inodes);
        }
    }
}

/// A file of so many MiB, each other than the one before.
pub(crate) fn write_big(path: &Path, mebibytes: u8) {
    let mut file = File::create(path).unwrap();
    for number in 0..mebibytes {
        file.write_all(&vec![number + 1; 1 << 20]).unwrap();
    }
}
