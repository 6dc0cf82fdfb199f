//! The demo is a test.

use dotmesh_e2e::demo::{self, Options, Story};
use dotmesh_e2e::scenario::scenario_alone;

#[tokio::test]
async fn the_demo_with_five_commits() {
    scenario_alone("demo", async |s| {
        demo::run(s, Options { commits: 5, seed: 5 }, &mut Story::new()).await
    })
    .await;
}
