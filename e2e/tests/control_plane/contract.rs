//! The API in memory, which unit tests and the simulator stand on, does what a real server does.
//!
//! A difference is a defect of the one in memory: mend it there, and add a script that shows it.

use std::time::Duration;

use dotmesh_testkit::contract::compare::{Compared, Real};

use super::cluster;

/// For generated sequences, after those that are written down.
const TIME: Duration = Duration::from_secs(15);

/// Of the generated sequences, so that a red run can be repeated.
const SEED: u8 = 1;

#[tokio::test]
async fn the_api_in_memory_is_held_to_the_servers_word() {
    let cluster = cluster().await;
    let real = Real {
        client: cluster.client,
        namespace: cluster.namespace,
        prefix: format!("r{:04x}x", fastrand::u16(..)),
    };
    let mut compared = Compared::default();
    let scripts = compared.scripts(&real).await;
    assert!(
        scripts.is_ok(),
        "< is the server, > the one in memory\n{}",
        scripts.unwrap_err()
    );
    let generated = compared.generated(&real, SEED, TIME).await;
    assert!(
        generated.is_ok(),
        "seed {SEED}; < is the server, > the one in memory\n{}",
        generated.unwrap_err()
    );
    println!(
        "{} sequences, {} calls, seed {SEED}",
        compared.sequences, compared.calls
    );
}
