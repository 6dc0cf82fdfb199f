//! Each effect of each call is held up: the caller goes away, the program is killed, the pool answers nothing. What was
//! begun ends, what is asked again is answered the same, and nothing else waits.

use std::time::Duration;

use dotmesh_csi_proto::csi::node_client::NodeClient;
use tokio::time::Instant;
use tonic::transport::Endpoint;
use tonic::{Code, Request};

use super::stage::{Held, IsDone};
use super::story::{Dot, POOL, Step, stories, target};
use super::{Call, Program, World, quiet};
use crate::ops;

/// A step with those before it, and what it does undisturbed.
struct Case {
    before: Vec<Step>,
    step: Step,
    effects: usize,
    answer: String,
    again: String,
    state: std::collections::BTreeMap<String, String>,
}

/// Each step of each story.
async fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for story in stories() {
        for (number, step) in story.iter().enumerate() {
            let before = &story[..number];
            let (world, program) = World::after(before).await;
            let call = step.call(&world).await;
            let answer = program.call(call.clone()).await.unwrap();
            quiet().await;
            let effects = world.stage.log().len();
            let again = program.call(call).await.unwrap();
            quiet().await;
            cases.push(Case {
                before: before.to_vec(),
                step: *step,
                effects,
                answer,
                again,
                state: world.state(),
            });
        }
    }
    cases
}

/// The ways to hold up each effect of a case.
fn held(case: &Case) -> impl Iterator<Item = (usize, IsDone)> {
    let all = (0..case.effects).flat_map(|effect| [(effect, IsDone::No), (effect, IsDone::Yes)]);
    all.collect::<Vec<_>>().into_iter()
}

/// What was answered but the moment: the pool's time goes on with each transaction group, and another history has others.
fn timeless(answer: &str) -> String {
    ["seconds: ", "createtxg: ", "created_unix: "]
        .iter()
        .fold(answer.to_owned(), |answer, key| {
            let mut parts = answer.split(key);
            let first = parts.next().unwrap_or_default().to_owned();
            parts.fold(first, |told, rest| {
                told + rest.trim_start_matches(|c: char| c.is_ascii_digit())
            })
        })
}

/// The same as without what happened: state, and what is answered to who asks again.
async fn check(case: &Case, world: &World, program: &Program, call: Call, how: &str) {
    let again = program.call(call).await;
    quiet().await;
    let step = case.step;
    let known = [&case.answer, &case.again].map(|answer| timeless(answer));
    let is_same = again.as_ref().is_ok_and(|again| known.contains(&timeless(again)));
    assert!(
        is_same,
        "{step:?} {how}: {again:?} instead of {} or {}",
        case.answer, case.again
    );
    assert_eq!(world.state(), case.state, "{step:?} {how}");
}

#[tokio::test(start_paused = true)]
async fn what_was_begun_ends_although_the_caller_is_gone() {
    for case in cases().await {
        for (effect, done) in held(&case) {
            let (world, program) = World::after(&case.before).await;
            let call = case.step.call(&world).await;
            world.stage.hold(Held::From(effect, done));
            let asked = tokio::time::timeout(Duration::from_secs(1), program.call(call.clone()));
            let answered = asked.await;
            // Some goes on behind the answer.
            let how = format!("{effect} {done:?}: {answered:?}");
            world.stage.release();
            quiet().await;
            assert_eq!(world.state(), case.state, "{:?} {how}", case.step);
            check(&case, &world, &program, call, &how).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn killed_at_any_effect_it_ends_the_same() {
    for case in cases().await {
        for (effect, done) in held(&case) {
            let (world, program) = World::after(&case.before).await;
            let call = case.step.call(&world).await;
            world.stage.hold(Held::From(effect, done));
            let asked = tokio::time::timeout(Duration::from_secs(1), program.call(call.clone()));
            let answered = asked.await;
            let how = format!("{effect} {done:?}: {answered:?}");
            // Nothing that it waits for is ever answered.
            drop(program);
            let world = world.without_the_program();
            let program = world.start();
            let pool = Step::EnsurePool.call(&world).await;
            program.call(pool).await.unwrap();
            let again = program.call(call.clone()).await;
            assert!(again.is_ok(), "{:?} {how}, then {again:?}", case.step);
            quiet().await;
            check(&case, &world, &program, call, &how).await;
        }
    }
}

/// A pool that answers nothing names itself in each command.
fn silent(effect: usize, done: IsDone) -> Held {
    let names = [format!("\"{POOL}\""), format!("\"{POOL}/")];
    Held::Naming(names.into(), effect, done)
}

/// Another pool of the host.
const OTHER: &str = "second";

/// Another pool, with a Dot and a claim on its native volume.
async fn with_another_pool(world: &World, program: &Program) -> Dot {
    let call = Call::EnsurePool(world.pool_request(OTHER));
    program.call(call).await.unwrap();
    let dot = Dot {
        number: 2,
        pool: world.guid(OTHER).await,
    };
    for call in [
        Call::EnsureDot(dot.ensure()),
        Call::EnsureBranch(dot.branch(0)),
        Call::Attach(dot.attach(0)),
    ] {
        program.call(call).await.unwrap();
    }
    world.stage.clear();
    dot
}

/// What is done there all the time. Returns what it took.
async fn work_on(dot: Dot, program: &Program) -> Duration {
    let began = Instant::now();
    let target = target(OTHER);
    for call in [
        Call::Publish(dot.publish(0, &target)),
        Call::Commit(dot.commit(0)),
        Call::Unpublish(dot.unpublish(0, &target)),
        Call::DeleteCommit(dot.delete_commit(0)),
    ] {
        program.call(call).await.unwrap();
    }
    began.elapsed()
}

#[tokio::test(start_paused = true)]
async fn a_pool_that_answers_nothing_ends_calls_in_time_and_holds_up_no_other() {
    for case in cases().await {
        for (effect, done) in held(&case) {
            let (world, program) = World::after(&case.before).await;
            let other = with_another_pool(&world, &program).await;
            let call = case.step.call(&world).await;
            world.stage.hold(silent(effect, done));
            let began = Instant::now();
            // One more asks for the same, and has to wait for the first.
            let asked = [program.call(call.clone()), program.call(call.clone())];
            let (answers, worked) = futures::join!(futures::future::join_all(asked), work_on(other, &program));
            let (took, step) = (began.elapsed(), case.step);
            let how = format!("{effect} {done:?}: {answers:?} after {took:?}");
            assert!(
                worked < Duration::from_secs(1),
                "{step:?} {how}: another pool waited {worked:?}"
            );
            assert!(took <= ops::DEADLINE + Duration::from_secs(1), "{step:?} {how}");
            for status in answers.iter().filter_map(|answer| answer.as_ref().err()) {
                assert_eq!(status.code(), Code::DeadlineExceeded, "{step:?} {how}");
            }
            world.stage.release();
            quiet().await;
            let again = program.call(call.clone()).await;
            assert!(again.is_ok(), "{step:?} {how}, then {again:?}");
            quiet().await;
            let mut state = world.state();
            state.retain(|name, what| !name.contains(OTHER) && !what.contains(OTHER));
            assert_eq!(state, case.state, "{step:?} {how}");
        }
    }
}

/// Waits for what comes soon, by the real clock.
async fn until(what: &str, condition: impl Fn() -> bool) {
    let end = Instant::now() + Duration::from_secs(30);
    while !condition() {
        assert!(Instant::now() < end, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test]
async fn who_closes_the_connection_or_waits_no_longer_ends_nothing() {
    let folder = tempfile::tempdir().unwrap();
    for is_closed in [true, false] {
        let (world, program) = World::after(&[Step::EnsurePool, Step::Create(1)]).await;
        let path = folder.path().join(format!("{is_closed}.sock"));
        let listener = tokio::net::UnixListener::bind(&path).unwrap();
        let server = tokio::spawn(program.csi.clone().serve(listener));
        let Call::Publish(request) = Step::PublishPlain(1).call(&world).await else {
            unreachable!("it is a call of that kind");
        };
        let target = request.target_path.clone();
        world.stage.hold(Held::From(3, IsDone::No));
        let endpoint = Endpoint::from_shared(format!("unix://{}", path.display())).unwrap();
        let mut client = NodeClient::new(endpoint.connect().await.unwrap());
        let mut request = Request::new(request);
        if !is_closed {
            request.set_timeout(Duration::from_millis(50));
        }
        let asked = tokio::spawn(async move { client.node_publish_volume(request).await });
        until("it is in the middle", || world.stage.log().len() > 3).await;
        if is_closed {
            // The connection goes with it.
            asked.abort();
            assert!(asked.await.unwrap_err().is_cancelled());
        } else {
            let status = asked.await.unwrap().unwrap_err();
            let waits_no_longer = matches!(status.code(), Code::Cancelled | Code::DeadlineExceeded);
            assert!(waits_no_longer, "{status:?}");
        }
        assert!(world.mount.table().at(target.as_ref()).is_none());
        world.stage.release();
        until("it is done", || world.mount.table().at(target.as_ref()).is_some()).await;
        let before = world.mount.table();
        let again = Step::PublishPlain(1).call(&world).await;
        program.call(again).await.unwrap();
        assert_eq!(world.mount.table(), before);
        server.abort();
    }
}
