//! What ends a copy, and what the next run makes of it.

use std::cell::Cell;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;

use dotmesh_importer::error::CopyError;
use dotmesh_model::import::FailureKind;
use rustix::mount::MountFlags;

use crate::world::{Memory, World, is_root, write_big};

#[test]
fn ended_at_any_effect_it_goes_on() {
    if !is_root() {
        return;
    }
    let whole = World::with_everything_in_memory();
    whole.run().unwrap();
    let effects = whole.effects.borrow().len();
    assert!(effects > 150, "{effects}");
    for number in 0..effects {
        let world = World::with_everything_in_memory();
        assert!(!world.run_until(number), "{number}");
        world.run().unwrap_or_else(|error| panic!("after {number}: {error}"));
        world.assert_same();
    }
}

#[test]
fn ended_again_and_again_it_comes_to_its_end() {
    if !is_root() {
        return;
    }
    let world = World::with_everything();
    let boots = ["one", "two", "three", "four"];
    let runs = (1..1000).find(|run| {
        // Now and then the machine goes down, too.
        world.boot.set(boots[run / 10 % boots.len()]);
        world.run_until(25)
    });
    assert!(runs.is_some_and(|runs| runs > 5), "{runs:?}");
    world.assert_same();
}

#[test]
fn a_large_file_goes_on_where_it_was_recorded() {
    if !is_root() {
        return;
    }
    let world = World::empty();
    world.record_interval.set(Some(2 << 20));
    write_big(&world.source().join("big"), 9);
    let writes = |world: &World| world.effects.borrow().iter().filter(|what| **what == "write").count();
    let left = Cell::new(7);
    let ended = world.run_with(&|what| {
        left.set(left.get() - usize::from(what == "write"));
        match left.get() {
            0 => Err(std::io::Error::other("killed")),
            _ => Ok(()),
        }
    });
    assert!(ended.is_err());
    assert_eq!(writes(&world), 6);
    world.run().unwrap();
    assert_eq!(writes(&world), 3, "six MiB were recorded");
    world.assert_same();
}

#[test]
fn a_large_file_that_became_another_begins_anew() {
    if !is_root() {
        return;
    }
    let world = World::empty();
    world.record_interval.set(Some(2 << 20));
    let big = world.source().join("big");
    write_big(&big, 9);
    let whole = World::empty();
    fs::copy(&big, whole.source().join("big")).unwrap();
    whole.record_interval.set(Some(2 << 20));
    whole.run().unwrap();
    // Without its folder there is nothing more to copy.
    let effects = whole
        .effects
        .borrow()
        .iter()
        .rposition(|what| *what == "remove")
        .unwrap();
    for number in 0..effects {
        let world = World::empty();
        world.record_interval.set(Some(2 << 20));
        let big = world.source().join("big");
        write_big(&big, 9);
        assert!(!world.run_until(number));
        File::options()
            .write(true)
            .open(&big)
            .unwrap()
            .write_all_at(b"changed", 100)
            .unwrap();
        write_big(&world.source().join("another"), 3);
        world.run().unwrap();
        world.assert_same();
    }
}

#[test]
fn what_the_machines_end_may_have_torn_is_copied_again() {
    if !is_root() {
        return;
    }
    for number in [60, 120] {
        let world = World::with_everything();
        assert!(!world.run_until(number));
        // As after a power cut: the size and the times are there, the contents are not.
        let mut torn = 0;
        for entry in fs::read_dir(world.target()).unwrap() {
            let path = entry.unwrap().path();
            let meta = fs::symlink_metadata(&path).unwrap();
            if meta.is_file() && meta.len() > 0 && meta.len() < 4096 {
                let file = File::options().write(true).open(&path).unwrap();
                file.write_all_at(&vec![0; usize::try_from(meta.len()).unwrap()], 0)
                    .unwrap();
                file.set_modified(meta.modified().unwrap()).unwrap();
                torn += 1;
            }
        }
        assert!(torn > 0);
        world.boot.set("another boot");
        assert!(!world.run_until(20), "and once more");
        world.run().unwrap();
        world.assert_same();
    }
}

#[test]
fn what_the_source_has_no_more_goes() {
    if !is_root() {
        return;
    }
    let world = World::with_everything();
    assert!(!world.run_until(140));
    let source = world.source();
    fs::remove_dir_all(source.join("folder")).unwrap();
    fs::write(source.join("folder"), "a file now").unwrap();
    fs::remove_file(source.join("empty")).unwrap();
    fs::create_dir(source.join("empty")).unwrap();
    fs::remove_file(source.join("a third name")).unwrap();
    fs::write(source.join("a third name"), "no link any more").unwrap();
    fs::remove_file(source.join("-rf")).unwrap();
    world.run().unwrap();
    world.assert_same();
}

#[test]
fn a_source_that_changes_meanwhile_is_no_success() {
    if !is_root() {
        return;
    }
    let world = World::with_everything();
    let done = Cell::new(0);
    let changed = world.run_with(&|_| {
        done.set(done.get() + 1);
        if done.get() == 100 {
            fs::write(world.source().join("-rf"), "written meanwhile").unwrap();
        }
        Ok(())
    });
    let Err(error) = changed else {
        panic!("a copy of a moving source")
    };
    assert!(matches!(error, CopyError::Differs { .. }), "{error}");
    assert!(error.to_string().contains("-rf"), "{error}");
    world.run().unwrap();
    world.assert_same();
}

#[test]
fn a_full_target_says_so_and_goes_on_when_there_is_room() {
    if !is_root() {
        return;
    }
    let world = World::empty();
    write_big(&world.source().join("big"), 4);
    let memory = Memory::on(&world.target(), "2m");
    for _ in 0..2 {
        let error = world.run().err().unwrap();
        assert_eq!(error.kind(), FailureKind::OutOfSpace, "{error}");
        assert!(error.to_string().contains("big"), "{error}");
    }
    memory.change("8m", MountFlags::empty());
    world.run().unwrap();
    world.assert_same();
}

#[test]
fn a_target_that_cannot_be_written_is_told() {
    if !is_root() {
        return;
    }
    let world = World::empty();
    let memory = Memory::on(&world.target(), "2m");
    memory.change("2m", MountFlags::RDONLY);
    let error = world.run().err().unwrap();
    assert_eq!(error.kind(), FailureKind::Other);
    assert!(error.to_string().starts_with("cannot make"), "{error}");
}

#[test]
fn what_somebody_else_put_there_is_not_touched() {
    if !is_root() {
        return;
    }
    let world = World::with_everything();
    let theirs = world.target().join("theirs");
    fs::write(&theirs, "precious").unwrap();
    let error = world.run().err().unwrap();
    assert!(matches!(error, CopyError::NotEmpty { .. }), "{error}");
    assert!(error.to_string().contains("theirs"), "{error}");
    assert_eq!(fs::read(&theirs).unwrap(), b"precious");
    assert!(world.effects.borrow().is_empty());
    // What mkfs makes is nobody's.
    fs::remove_file(theirs).unwrap();
    fs::create_dir(world.target().join("lost+found")).unwrap();
    world.run().unwrap();
    world.assert_same();
    assert!(world.target().join("lost+found").exists());
}

#[test]
fn of_two_at_once_one_works() {
    if !is_root() {
        return;
    }
    let world = World::with_everything();
    let second = World::empty();
    let tried = Cell::new(0);
    world
        .run_with(&|_| {
            tried.set(tried.get() + 1);
            if tried.get() == 50 {
                let counters = dotmesh_importer::progress::Counters::default();
                let result = dotmesh_importer::copy::copy(&dotmesh_importer::copy::Request {
                    source: &world.source(),
                    target: &world.target(),
                    boot: second.boot.get(),
                    record_interval: None,
                    effects: dotmesh_importer::effects::Effects(&|_| Ok(())),
                    counters: &counters,
                });
                assert!(matches!(result, Err(CopyError::Locked)), "{result:?}");
            }
            Ok(())
        })
        .unwrap();
    world.assert_same();
}
