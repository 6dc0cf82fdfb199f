//! Calls at the same moment: those that ask for the same have one effect, and what excludes itself comes one after the
//! other.

use std::collections::BTreeMap;

use dotmesh_zfs::{Verb, Zfs};
use futures::future::join_all;
use tonic::Code;

use super::story::{
    Dot, POOL, Step, VOLUMES, create, of_clones, of_snapshots, publish, stories, target, told_id, unpublish,
};
use super::{Call, World, quiet};

/// How many ask for the same.
const N: usize = 5;

/// The commands that make or destroy something, and how often they did. Properties may be written more or less often.
fn changes(world: &World) -> BTreeMap<Verb, u64> {
    let looks = [
        Verb::Version,
        Verb::PoolSearch,
        Verb::PoolGet,
        Verb::List,
        Verb::Get,
        Verb::Holds,
    ];
    let others = [&looks[..], &[Verb::Set, Verb::Inherit]].concat();
    let counts = world.zfs.counts().snapshot().into_iter();
    let counts = counts.map(|(verb, count)| (verb, count.count - count.failures));
    counts
        .filter(|(verb, count)| !others.contains(verb) && *count > 0)
        .collect()
}

#[tokio::test(start_paused = true)]
async fn the_same_call_many_times_at_once_has_one_effect() {
    // Snapshots and clones of devices, too.
    for story in stories().into_iter().chain([of_snapshots(3), of_clones(3)]) {
        for (number, step) in story.iter().enumerate() {
            let (alone, program) = World::after(&story[..number]).await;
            let call = step.call(&alone).await;
            let once = program.call(call.clone()).await.unwrap();
            let again = program.call(call).await.unwrap();
            quiet().await;

            let (world, program) = World::after(&story[..number]).await;
            let call = step.call(&world).await;
            let answers = join_all((0..N).map(|_| program.call(call.clone()))).await;
            quiet().await;
            let answers: Vec<String> = answers.into_iter().map(Result::unwrap).collect();
            // Who comes later may be told that it was there already.
            let known = |answer: &String| [&once, &again].contains(&answer);
            assert!(answers.iter().all(known), "{step:?}: {answers:?}");
            if once != again {
                assert!(
                    answers.iter().filter(|answer| **answer == once).count() <= 1,
                    "{answers:?}"
                );
            }
            assert_eq!(world.state(), alone.state(), "{step:?}");
            assert_eq!(changes(&world), changes(&alone), "{step:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_volume_is_published_to_many_targets_at_once() {
    for volume in 0..4 {
        let steps = [
            Step::EnsurePool,
            Step::EnsureDot,
            Step::EnsureBranch,
            Step::Attach(volume),
        ];
        let (world, program) = World::after(&steps).await;
        let dot = the_dot(&world).await;
        let before = world.state();
        let targets: Vec<String> = (0..N).map(target).collect();
        let published = targets
            .iter()
            .map(|target| program.call(Call::Publish(dot.publish(volume, target))));
        join_all(published)
            .await
            .into_iter()
            .for_each(|answer| drop(answer.unwrap()));
        let table = world.mount.table();
        let private = usize::from(VOLUMES[usize::try_from(volume).unwrap()].0 != "raw");
        assert_eq!(table.iter().count(), N + private);
        for target in &targets {
            assert!(table.at(target.as_ref()).is_some(), "{target}");
        }
        let gone = targets
            .iter()
            .map(|target| program.call(Call::Unpublish(dot.unpublish(volume, target))));
        join_all(gone)
            .await
            .into_iter()
            .for_each(|answer| drop(answer.unwrap()));
        assert_eq!(world.state(), before);
    }
}

async fn the_dot(world: &World) -> Dot {
    Dot {
        number: 1,
        pool: world.guid(POOL).await,
    }
}

#[tokio::test(start_paused = true)]
async fn of_one_target_publishing_and_unpublishing_leave_all_or_nothing() {
    for volume in 0..4 {
        let steps = [
            Step::EnsurePool,
            Step::EnsureDot,
            Step::EnsureBranch,
            Step::Attach(volume),
        ];
        // Who asks first is another one each time.
        for order in 0..4 {
            let (world, program) = World::after(&steps).await;
            let dot = the_dot(&world).await;
            let target = target("one");
            let unpublished = world.state();
            let calls = (0..4).map(|n| match (n + order) % 4 {
                0 | 1 => Call::Publish(dot.publish(volume, &target)),
                _ => Call::Unpublish(dot.unpublish(volume, &target)),
            });
            let answers = join_all(calls.map(|call| program.call(call))).await;
            assert!(answers.iter().all(Result::is_ok), "{answers:?}");
            let left = world.state();
            if left == unpublished {
                assert!(!world.mount.exists(target.as_ref()));
            }
            let publish = Call::Publish(dot.publish(volume, &target));
            program.call(publish).await.unwrap();
            let published = world.state();
            assert!(left == published || left == unpublished, "{left:?}");
            program
                .call(Call::Unpublish(dot.unpublish(volume, &target)))
                .await
                .unwrap();
            assert_eq!(world.state(), unpublished);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn commits_clones_and_publishing_at_once_are_as_one_after_the_other() {
    let begin = [
        Step::EnsurePool,
        Step::EnsureDot,
        Step::EnsureBranch,
        Step::Commit(0),
        Step::Attach(0),
        Step::Attach(1),
        Step::Attach(3),
    ];
    let at_once = [
        Step::Publish(0),
        Step::Commit(1),
        Step::Fork(1),
        Step::Publish(1),
        Step::EnsureBranch,
        Step::Fork(2),
        Step::Publish(3),
    ];
    let after: Vec<Step> = begin.iter().chain(&at_once).copied().collect();
    let (one_by_one, _) = World::after(&after).await;
    quiet().await;
    for first in 0..at_once.len() {
        let (world, program) = World::after(&begin).await;
        let mut calls = Vec::new();
        for n in 0..at_once.len() {
            let call = at_once[(first + n) % at_once.len()].call(&world).await;
            calls.extend([call.clone(), call]);
        }
        let answers = join_all(calls.into_iter().map(|call| program.call(call))).await;
        quiet().await;
        assert!(answers.iter().all(Result::is_ok), "{answers:?}");
        assert_eq!(world.state(), one_by_one.state(), "beginning with {:?}", at_once[first]);
    }
}

#[tokio::test(start_paused = true)]
async fn of_volumes_of_one_name_and_different_sizes_one_is_made() {
    for volume in 0..VOLUMES.len() {
        let (_world, program) = World::after(&[Step::EnsurePool]).await;
        let calls = [1, 2, 1, 2].map(|times| program.call(Call::Create(create("one", volume, times))));
        let answers = join_all(calls).await;
        let (made, refused): (Vec<_>, Vec<_>) = answers.iter().partition(|answer| answer.is_ok());
        assert_eq!((made.len(), refused.len()), (2, 2), "{answers:?}");
        assert_eq!(made[0].as_ref().unwrap(), made[1].as_ref().unwrap());
        for answer in refused {
            assert_eq!(answer.as_ref().unwrap_err().code(), Code::AlreadyExists, "{answer:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn of_two_volumes_at_one_target_one_is_shown() {
    for formats in [[0, 0], [0, 1], [1, 2], [3, 3], [3, 0]] {
        let (world, program) = World::after(&[Step::EnsurePool]).await;
        let mut volumes = Vec::new();
        for (name, format) in ["one", "other"].into_iter().zip(formats) {
            let made = program.call(Call::Create(create(name, format, 1))).await.unwrap();
            volumes.push((told_id(&made), VOLUMES[format].1));
        }
        let target = target("one");
        let calls = volumes.iter().map(|(id, format)| {
            let publish = Call::Publish(publish(id, &target, *format));
            program.call(publish)
        });
        let answers = join_all(calls).await;
        let codes: Vec<Code> = answers
            .iter()
            .filter_map(|answer| Some(answer.as_ref().err()?.code()))
            .collect();
        assert_eq!(codes, [Code::AlreadyExists], "{answers:?}");
        let table = world.mount.table();
        assert_eq!(
            table.iter().filter(|entry| entry.target.starts_with("/pods")).count(),
            1
        );
        let shown = answers.iter().position(Result::is_ok).unwrap();
        let (id, _) = &volumes[shown];
        let again = publish(id, &target, volumes[shown].1);
        program.call(Call::Publish(again)).await.unwrap();
        program.call(Call::Unpublish(unpublish(id, &target))).await.unwrap();
        assert!(!world.mount.exists(target.as_ref()));
    }
}
