use super::*;
use crate::MountTable;

#[test]
fn flags_of_a_bind_are_kept_when_it_is_remounted() {
    let line = b"41 22 0:45 / /pods/t rw,nosuid,nodev,noatime - zfs p/a rw,xattr\n";
    let table = MountTable::parse(line).unwrap();
    let entry = table.at(Path::new("/pods/t")).unwrap();
    assert_eq!(
        kept_flags(entry),
        MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOATIME
    );
}

#[tokio::test]
async fn a_call_that_blocks_ends_at_the_deadline() {
    let mount = LinuxMount::with_deadline(Duration::from_millis(50));
    let (_never, wait) = std::sync::mpsc::channel::<()>();
    let blocked = mount.blocking("block on", Path::new("/x"), move |_| {
        // Ends when the test does and drops the sender.
        let _ = wait.recv();
        Ok(())
    });
    assert_eq!(blocked.await.unwrap_err().kind, MountErrorKind::Timeout);
}
