//! The API in memory, which unit tests and the simulator stand on, does what a real server does.
//!
//! A difference is a defect of the one in memory: mend it there, and add a script that shows it.

use std::time::Duration;

use dotmesh_testkit::contract::compare::{Compared, Real};

use super::cluster;

/// For sequences by chance, after those that are written down.
const TIME: Duration = Duration::from_secs(15);

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
    let seed = fastrand::u8(..);
    let generated = compared.generated(&real, seed, TIME).await;
    assert!(
        generated.is_ok(),
        "seed {seed}; < is the server, > the one in memory\n{}",
        generated.unwrap_err()
    );
    println!(
        "{} sequences, {} calls, seed {seed}",
        compared.sequences, compared.calls
    );
}
