use super::*;

fn names(list: &[&str]) -> Vec<String> {
    list.iter().map(|name| (*name).to_owned()).collect()
}

#[test]
fn every_message_of_the_programs_has_its_kind() {
    let held = "cannot destroy snapshot p/a@x: it's being held. Run 'zfs holds -r p/a@x' to see holders.\n";
    let children =
        "cannot destroy 'p/a': filesystem has children\nuse '-r' to destroy the following datasets:\np/a@x\np/a/b\n";
    let clones =
        "cannot destroy 'p/a@x': snapshot has dependent clones\nuse '-R' to destroy the following datasets:\np/c\n";
    let newer = "cannot rollback to 'p/a@x': more recent snapshots or bookmarks exist\nuse '-r' to force deletion of the following snapshots and bookmarks:\np/a@y\n";
    let modules = "The ZFS modules are not loaded.\nTry running 'modprobe zfs' as root to load them.\n";
    let devices = "/dev/zfs and /proc/self/mounts are required.\nTry running 'udevadm trigger' and 'mount -t proc proc /proc' as root.\n";
    let in_use =
        "invalid vdev specification\nuse '-f' to override the following errors:\n/f is part of exported pool 'p'\n";
    let filesystem = "invalid vdev specification\nuse '-f' to override the following errors:\n/dev/x contains a filesystem of type 'ext4'\n";
    let mounted = "/dev/x is in use and contains a ext4 filesystem.\n";
    let other_host =
        "cannot import 'p': pool was previously in use from another system.\nLast accessed by h (hostid=1) at Sun\n";
    let table: &[(&str, ErrorKind)] = &[
        (
            "cannot open 'p/a': dataset does not exist\n",
            ErrorKind::DatasetNotFound,
        ),
        (
            "cannot open 'p/a@x': dataset does not exist\n",
            ErrorKind::SnapshotNotFound,
        ),
        (
            "cannot hold snapshot 'p/a@x': dataset does not exist\n",
            ErrorKind::SnapshotNotFound,
        ),
        (
            "could not find any snapshots to destroy; check snapshot names.\n",
            ErrorKind::SnapshotNotFound,
        ),
        (
            "cannot create 'p/a/b': parent does not exist\n",
            ErrorKind::ParentNotFound,
        ),
        (
            "cannot create 'p/a/b': no such parent 'p/a'\n",
            ErrorKind::ParentNotFound,
        ),
        (
            "cannot create 'p/a': dataset already exists\n",
            ErrorKind::DatasetExists,
        ),
        (
            "cannot create snapshot 'p/a@x': dataset already exists\nno snapshots were created\n",
            ErrorKind::SnapshotExists,
        ),
        ("cannot destroy 'p/a': dataset is busy\n", ErrorKind::Busy),
        ("cannot unmount '/a': pool or dataset is busy\n", ErrorKind::Busy),
        ("cannot export 'p': pool is busy\n", ErrorKind::Busy),
        (held, ErrorKind::Busy),
        (children, ErrorKind::HasChildren(names(&["p/a@x", "p/a/b"]))),
        (clones, ErrorKind::HasClones(names(&["p/c"]))),
        (
            "cannot destroy snapshot p/a@x: snapshot is cloned\n",
            ErrorKind::HasClones(vec![]),
        ),
        (newer, ErrorKind::NewerSnapshots),
        (
            "cannot hold snapshot 'p/a@x': tag already exists on this dataset\n",
            ErrorKind::HoldExists,
        ),
        (
            "cannot release hold from snapshot 'p/a@x': no such tag on this dataset\n",
            ErrorKind::HoldNotFound,
        ),
        ("cannot create 'p/a': out of space\n", ErrorKind::OutOfSpace),
        (
            "cannot set property for 'p/v': size is greater than available space\n",
            ErrorKind::OutOfSpace,
        ),
        (
            "cannot set property for 'p/a': size is less than current used or reserved space\n",
            ErrorKind::QuotaBelowUsed,
        ),
        ("cannot open 'p': no such pool\n", ErrorKind::PoolMissing),
        (
            "Cannot get properties of p: no such pool available.\n",
            ErrorKind::PoolMissing,
        ),
        ("cannot create 'p/a': no such pool 'p'\n", ErrorKind::PoolMissing),
        ("cannot import 'p': no such pool available\n", ErrorKind::PoolMissing),
        ("cannot create 'p': pool already exists\n", ErrorKind::PoolExists),
        (
            "cannot import 'p': a pool with that name already exists\nuse the form 'zpool import <pool | id> <newpool>' to give it a new name\n",
            ErrorKind::PoolExists,
        ),
        (
            "cannot import 'p': a pool with that name is already created/imported,\nand no additional pools with that name were found\n",
            ErrorKind::PoolExists,
        ),
        (
            "cannot create 'p/a': pool I/O is currently suspended\n",
            ErrorKind::PoolSuspended,
        ),
        ("cannot open 'p': pool is unavailable\n", ErrorKind::PoolUnavailable),
        (
            "cannot import 'p': one or more devices is currently unavailable\n",
            ErrorKind::PoolUnavailable,
        ),
        (other_host, ErrorKind::PoolOfOtherHost),
        (
            "cannot import 'p': pool is imported on a different host\n",
            ErrorKind::PoolOfOtherHost,
        ),
        ("cannot create 'p/a': pool is read-only\n", ErrorKind::ReadOnly),
        (in_use, ErrorKind::DeviceInUse),
        (filesystem, ErrorKind::DeviceInUse),
        (mounted, ErrorKind::DeviceInUse),
        ("/dev/x contains a corrupt primary EFI label.\n", ErrorKind::DeviceInUse),
        (
            "cannot open '/f': No such file or directory\n",
            ErrorKind::DeviceMissing,
        ),
        ("cannot resolve path '/dev/x'\n", ErrorKind::DeviceMissing),
        ("couldn't find device \"/f\" in pool \"p\"\n", ErrorKind::DeviceMissing),
        ("cannot online /f: no such device in pool\n", ErrorKind::DeviceMissing),
        (
            "cannot create 'p': one or more devices is less than the minimum size (64M)\n",
            ErrorKind::DeviceTooSmall,
        ),
        (
            "cannot create 'p/a': dataset name is too long\n",
            ErrorKind::NameTooLong,
        ),
        (
            "cannot create 'p/a': maximum name nesting depth exceeded\n",
            ErrorKind::NameTooLong,
        ),
        (
            "cannot create 'p/$': invalid character '$' in name\n",
            ErrorKind::InvalidName,
        ),
        (
            "cannot open 'p/a@x': snapshot delimiter '@' is not expected here\n",
            ErrorKind::InvalidName,
        ),
        ("cannot create 'p': missing dataset name\n", ErrorKind::InvalidName),
        ("used property is read-only\n", ErrorKind::InvalidProperty),
        (
            "cannot create 'p/a': invalid property 'sizze'\n",
            ErrorKind::InvalidProperty,
        ),
        (
            "cannot set property for 'p/a': 'used' is readonly\n",
            ErrorKind::InvalidProperty,
        ),
        (
            "bad property list: invalid property 'sizze'\n",
            ErrorKind::InvalidProperty,
        ),
        (
            "cannot create 'p/v': volume size must be a multiple of volume block size\n",
            ErrorKind::InvalidProperty,
        ),
        (
            "cannot set property for 'p/a': 'atime' must be one of 'on | off'\n",
            ErrorKind::InvalidProperty,
        ),
        (
            "cannot open 'p/a': operation not applicable to datasets of this type\n",
            ErrorKind::WrongType,
        ),
        (
            "cannot create 'p/v/a': parent is not a filesystem\n",
            ErrorKind::WrongType,
        ),
        (
            "cannot destroy 'p': operation does not apply to pools\nuse 'zfs destroy -r p' to destroy all datasets in the pool\n",
            ErrorKind::WrongType,
        ),
        ("cannot create 'p/a': permission denied\n", ErrorKind::PermissionDenied),
        (
            "Permission denied the ZFS utilities must be run as root.\n",
            ErrorKind::PermissionDenied,
        ),
        (modules, ErrorKind::ModuleMissing),
        (devices, ErrorKind::ModuleMissing),
        (
            "zfs_version_kernel() failed: No such file or directory\n",
            ErrorKind::ModuleMissing,
        ),
        ("cannot open 'p/a': I/O error\n", ErrorKind::Io),
        ("something new\n", ErrorKind::Other),
        ("", ErrorKind::Other),
    ];
    for (stderr, kind) in table {
        assert_eq!(classify(stderr), *kind, "{stderr}");
    }
}

#[test]
fn nothing_is_absent_when_anything_else_is_complained_of() {
    let text = "cannot open 'p/a': dataset does not exist\ncannot open 'p/b': pool I/O is currently suspended\n";
    assert_eq!(classify(text), ErrorKind::PoolSuspended);
    let text = "cannot open 'p/a': dataset does not exist\ncannot open 'p/b': I/O error\n";
    assert_eq!(classify(text), ErrorKind::Io);
}

#[test]
fn a_phrase_inside_a_name_means_nothing() {
    assert_eq!(
        classify("cannot destroy 'p/no such pool': dataset is busy\n"),
        ErrorKind::Busy
    );
    assert_eq!(
        classify("cannot open 'p/is busy': dataset does not exist\n"),
        ErrorKind::DatasetNotFound
    );
}

#[test]
fn the_display_is_one_line_with_the_command_and_what_it_said() {
    let error = ZfsError::from_stderr(Verb::Destroy, "cannot destroy 'p/a': dataset is busy\n".into());
    assert_eq!(
        error.to_string(),
        "zfs destroy: dataset or pool is busy: cannot destroy 'p/a': dataset is busy"
    );
    assert_eq!(error.category(), "Busy");
    assert_eq!(
        ZfsError::new(Verb::List, ErrorKind::Timeout).to_string(),
        "zfs list: no answer before the deadline"
    );
}

#[test]
fn a_usage_text_after_the_error_is_cut_off() {
    let text =
        "cannot open 'p/a': dataset does not exist\nusage:\n\tsnapshot [-r] …\nFor the permission denied list, …\n";
    let error = ZfsError::from_stderr(Verb::Snapshot, text.into());
    assert_eq!(error.stderr, "cannot open 'p/a': dataset does not exist\n");
    assert_eq!(error.kind, ErrorKind::DatasetNotFound);
}
