//! What is kept.

use std::fs;
use std::os::unix::fs::MetadataExt;

use dotmesh_importer::error::CopyError;

use crate::world::{Memory, World, access_list, attribute, is_root};

#[test]
fn everything_is_kept_and_nothing_is_left_behind() {
    if !is_root() {
        return;
    }
    let world = World::with_everything();
    let counters = world.run().unwrap();
    world.assert_same();
    let now = counters.now();
    assert_eq!(now.bytes_copied, now.bytes_total);
    assert_eq!(now.skipped, 1, "the socket");
    assert!(now.files > 80, "{now:?}");
    // What fsck found is of the source's filesystem.
    assert!(!world.target().join("lost+found").exists());
    // Once more: it is all there.
    world.run().unwrap();
    assert_eq!(*world.effects.borrow(), ["sync"]);
    world.assert_same();
}

#[test]
fn holes_stay_holes() {
    if !is_root() {
        return;
    }
    let world = World::with_everything();
    world.run().unwrap();
    for name in ["sparse", "nothing but a hole"] {
        let allocated = |top: std::path::PathBuf| fs::metadata(top.join(name)).unwrap().blocks() * 512;
        let (source, target) = (allocated(world.source()), allocated(world.target()));
        assert!(target <= source + (64 << 10), "{name}: {target} of {source}");
    }
}

#[test]
fn an_access_list_is_never_left_out() {
    if !is_root() {
        return;
    }
    let world = World::empty();
    let file = world.source().join("listed");
    fs::write(&file, "for user 1234").unwrap();
    attribute(&file, "system.posix_acl_access", &access_list());
    let _memory = Memory::without_attributes(&world.target());
    let error = world.run().err().unwrap();
    assert!(matches!(error, CopyError::NoAccessLists { .. }), "{error}");
    assert!(
        error.to_string().contains("\"listed\" has an access control list"),
        "{error}"
    );
}

#[test]
fn a_target_of_another_filesystem_is_as_good() {
    if !is_root() {
        return;
    }
    let world = World::empty();
    let _memory = Memory::on(&world.target(), "64m");
    fs::create_dir(world.source().join("a")).unwrap();
    fs::write(world.source().join("a/file"), "contents").unwrap();
    fs::hard_link(world.source().join("a/file"), world.source().join("link")).unwrap();
    world.run().unwrap();
    world.assert_same();
}
