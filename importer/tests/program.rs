//! The program itself: killed, run again, asked how far it is. Apart from the other tests: a program that one starts has, until it
//! runs, the files that the others have open, and so the locks on them.

#![expect(clippy::unwrap_used, reason = "what goes wrong here is a failed test")]

#[path = "copies/world.rs"]
#[expect(dead_code, reason = "the other tests use the rest")]
mod world;

use std::io::Read;
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use dotmesh_model::import::{Ending, Progress};
use world::{World, is_root, write_big};

const BOUND: Duration = Duration::from_secs(60);

struct Program {
    child: Child,
    port: u16,
}

impl Program {
    fn start(world: &World, ending: &std::path::Path) -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let child = Command::new(env!("CARGO_BIN_EXE_dotmesh-importer"))
            .arg("--source")
            .arg(world.source())
            .arg("--target")
            .arg(world.target())
            .args(["--progress-port", &port.to_string()])
            .arg("--ending")
            .arg(ending)
            .spawn()
            .unwrap();
        Self { child, port }
    }

    fn progress(&self) -> Option<Progress> {
        let mut text = String::new();
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).ok()?;
        stream.read_to_string(&mut text).ok()?;
        serde_json::from_str(&text).ok()
    }
}

#[test]
fn the_program_is_killed_goes_on_and_tells_how_it_ended() {
    if !is_root() {
        return;
    }
    let world = World::empty();
    for number in 0..40 {
        write_big(&world.source().join(format!("file {number}")), 5);
    }
    let folder = tempfile::tempdir().unwrap();
    let ending = folder.path().join("ending");
    let mut program = Program::start(&world, &ending);
    let begun = Instant::now();
    let seen = loop {
        assert!(begun.elapsed() < BOUND);
        match program.progress() {
            Some(seen) if seen.bytes_copied > 20 << 20 => break seen,
            Some(_) | None => std::thread::yield_now(),
        }
    };
    assert_eq!(seen.bytes_total, 200 << 20);
    program.child.kill().unwrap();
    program.child.wait().unwrap();
    assert!(!ending.exists(), "it was killed before its end");

    let mut program = Program::start(&world, &ending);
    assert!(program.child.wait().unwrap().success());
    world.assert_same();
    let told: Ending = serde_json::from_slice(&std::fs::read(&ending).unwrap()).unwrap();
    let Ending::Done(done) = told else { panic!("{told:?}") };
    assert_eq!((done.bytes_copied, done.bytes_total), (200 << 20, 200 << 20));

    std::fs::write(world.target().join("theirs"), "x").unwrap();
    let mut program = Program::start(&world, &ending);
    assert!(!program.child.wait().unwrap().success());
    let told: Ending = serde_json::from_slice(&std::fs::read(&ending).unwrap()).unwrap();
    let Ending::Failed { message, .. } = told else {
        panic!("{told:?}")
    };
    assert!(message.contains("import into a new volume"), "{message}");
}
