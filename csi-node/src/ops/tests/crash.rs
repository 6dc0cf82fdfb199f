//! The program is killed after each command in turn, started again, and asked again: the end is always the same.

use super::killed::Killed;
use super::*;

impl Host {
    fn start_killed_after(&self, commands: i64) -> Arc<Ops<Killed, FakeMount>> {
        only_pool(Killed::after(&self.zfs, commands), self.mount.clone(), self.config())
    }
}

async fn build<Z: Zfs>(host: &Host, ops: &Arc<Ops<Z, FakeMount>>) -> Result<(), Error> {
    ops.ensure_pool(&host.pool_request()).await?;
    ops.ensure_dot(dot(), &identity()).await?;
    ops.ensure_branch(&main()).await?;
    let state = ops.commit(&commit(0, 0)).await?;
    ops.ensure_branch(&fork(1, 0, 0, &state)).await?;
    ops.commit(&commit(1, 1)).await?;
    let attach = AttachRequest {
        dot: dot(),
        claim: claim(),
        volume: volume_id("db"),
        branch: Some(branch_id(1)),
    };
    ops.attach(&attach).await?;
    let publish = PublishRequest {
        format: VolumeFormat::Zfs,
        volume: Wanted::Claim(handle()),
        namespace: None,
        target: "/pods/a/mount".into(),
        readonly: false,
        options: Vec::new(),
        context: None,
        exclusive: false,
    };
    ops.publish(&publish).await
}

async fn destroy<Z: Zfs>(host: &Host, ops: &Arc<Ops<Z, FakeMount>>) -> Result<(), Error> {
    ops.ensure_pool(&host.pool_request()).await?;
    let unpublish = UnpublishRequest {
        volume: VolumeRef::Claim(handle()),
        target: "/pods/a/mount".into(),
    };
    ops.host.unpublish(&unpublish).await?;
    ops.delete_commit(dot(), commit_id(0), head_id(0)).await?;
    ops.delete_branch(dot(), branch_id(0), &[head_id(0)]).await?;
    ops.delete_branch(dot(), branch_id(1), &[head_id(1)]).await?;
    ops.delete_commit(dot(), commit_id(1), head_id(1)).await?;
    ops.delete_dot(dot()).await?;
    let pool = ops.known_pool()?;
    ops.collect_dot(&pool, dot()).await.map(drop)
}

#[tokio::test]
async fn building_ends_the_same_wherever_it_was_killed() {
    let undisturbed = Host::new();
    build(&undisturbed, &undisturbed.start()).await.unwrap();
    let wanted = undisturbed.zfs.all_names();
    assert_eq!(wanted.iter().filter(|name| name.contains('@')).count(), 6);
    let commands = i64::try_from(undisturbed.zfs.counts().total()).unwrap();
    for killed_after in 0..commands {
        let host = Host::new();
        let first = build(&host, &host.start_killed_after(killed_after)).await;
        let again = build(&host, &host.start()).await;
        assert!(again.is_ok(), "killed after {killed_after}: {first:?}, then {again:?}");
        assert_eq!(host.zfs.all_names(), wanted, "killed after {killed_after}: {first:?}");
        assert_eq!(host.mount.table().iter().count(), 2);
    }
}

#[tokio::test]
async fn deleting_ends_with_nothing_wherever_it_was_killed() {
    let undisturbed = Host::new();
    build(&undisturbed, &undisturbed.start()).await.unwrap();
    let before = undisturbed.zfs.counts().total();
    destroy(&undisturbed, &undisturbed.start()).await.unwrap();
    assert_eq!(undisturbed.zfs.all_names(), ["dotmesh", "dotmesh/dotmesh"]);
    let commands = i64::try_from(undisturbed.zfs.counts().total() - before).unwrap();
    for killed_after in 0..commands {
        let host = Host::new();
        build(&host, &host.start()).await.unwrap();
        let first = destroy(&host, &host.start_killed_after(killed_after)).await;
        let again = destroy(&host, &host.start()).await;
        assert!(again.is_ok(), "killed after {killed_after}: {first:?}, then {again:?}");
        assert_eq!(
            host.zfs.all_names(),
            ["dotmesh", "dotmesh/dotmesh"],
            "killed after {killed_after}"
        );
        assert_eq!(host.mount.table().iter().count(), 0);
        assert!(host.zfs.destroyed_while_mounted().is_empty());
    }
}
