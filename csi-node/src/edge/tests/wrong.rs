//! What is wrong with a call of `dotmesh.node.v1` is told by its code, by the reason of its `Failure` and by the
//! field's name, and changes nothing: no dataset, no property, no mount, no file.

use dotmesh_csi_proto::node as proto;
use dotmesh_csi_proto::node::ensure_pool_request::Source;
use dotmesh_csi_proto::node::{Failure, Reason};
use prost::Message;
use tonic::Code;

use super::story::{Dot, POOL, Step, of_dot, uuid};
use super::{Call, Program, World, quiet};

/// A call that is wrong, the reason, and a word of the message.
type Wrong = (Call, Reason, &'static str);

/// Texts that are no id as it is written.
fn no_ids() -> [String; 9] {
    let id = uuid(0xabc).to_string();
    [
        String::new(),
        "x".to_owned(),
        id.to_uppercase(),
        id.replace('-', ""),
        format!("{{{id}}}"),
        format!("urn:uuid:{id}"),
        format!("{id}/.."),
        format!("{id}\n"),
        format!("{id}@x"),
    ]
}

/// The request with a field that is no id; for each field, the text may be empty when that means something.
macro_rules! with_wrong_ids {
    ($wrong:ident, $call:path, $request:expr, $(($($field:ident).+, $name:literal, $may_be_empty:literal)),* $(,)?) => {
        $(for text in no_ids().into_iter().filter(|text| !($may_be_empty && text.is_empty())) {
            let mut request = $request.clone();
            request.$($field).+ = text;
            $wrong.push(($call(request), Reason::Invalid, $name));
        })*
    };
}

/// Each id of each request.
fn wrong_ids(world: &World, dot: Dot) -> Vec<Wrong> {
    let mut wrong = Vec::new();
    with_wrong_ids!(wrong, Call::EnsureDot, dot.ensure(), (dot_id, "dot_id", false));
    with_wrong_ids!(
        wrong,
        Call::EnsureBranch,
        dot.branch(0),
        (dot_id, "dot_id", false),
        (branch_id, "branch_id", false),
        (head_id, "head_id", false),
    );
    with_wrong_ids!(
        wrong,
        Call::Commit,
        dot.commit(5),
        (dot_id, "dot_id", false),
        (branch_id, "branch_id", false),
        (head_id, "head_id", false),
        (commit_id, "commit_id", false),
    );
    with_wrong_ids!(
        wrong,
        Call::Attach,
        dot.attach(0),
        (dot_id, "dot_id", false),
        (claim_uid, "claim_uid", false),
        (volume_id, "volume_id", false),
        (branch_id, "branch_id", true),
    );
    with_wrong_ids!(
        wrong,
        Call::Detach,
        dot.detach(0),
        (dot_id, "dot_id", false),
        (claim_uid, "claim_uid", false),
    );
    with_wrong_ids!(
        wrong,
        Call::DeleteCommit,
        dot.delete_commit(0),
        (dot_id, "dot_id", false),
        (commit_id, "commit_id", false),
        (head_id, "head_id", false),
    );
    with_wrong_ids!(
        wrong,
        Call::DeleteBranch,
        dot.delete_branch(0),
        (dot_id, "dot_id", false),
        (branch_id, "branch_id", false),
    );
    with_wrong_ids!(wrong, Call::DeleteDot, dot.delete(), (dot_id, "dot_id", false));
    let describe = proto::DescribeDotRequest {
        dot_id: dot.id().to_string(),
        after_commit_id: String::new(),
        pool_guid: dot.pool,
    };
    with_wrong_ids!(
        wrong,
        Call::DescribeDot,
        describe,
        (dot_id, "dot_id", false),
        (after_commit_id, "after_commit_id", true),
    );
    for text in no_ids() {
        wrong.extend(wrong_listed_ids(world, dot, &text));
    }
    wrong
}

/// Ids in lists and in messages within others.
fn wrong_listed_ids(world: &World, dot: Dot, text: &str) -> Vec<Wrong> {
    let text = || text.to_owned();
    let branch = |change: &dyn Fn(&mut proto::EnsureBranchRequest)| {
        let mut request = dot.fork(world, POOL, 5, 0);
        change(&mut request);
        Call::EnsureBranch(request)
    };
    fn origin(request: &mut proto::EnsureBranchRequest) -> &mut proto::Origin {
        request.origin.as_mut().unwrap()
    }
    let newest = |change: &dyn Fn(&mut proto::NewestCommit)| {
        let mut newest = proto::NewestCommit {
            dot_id: dot.id().to_string(),
            head_id: dot.branch_id(0),
            commit_id: dot.commit_id(0),
            createtxg: 1,
            object: String::new(),
        };
        change(&mut newest);
        Call::EnsurePool(proto::EnsurePoolRequest {
            newest: Some(newest),
            ..world.pool_request(POOL)
        })
    };
    let recorded = |change: &dyn Fn(&mut proto::Recorded)| {
        let volume = proto::RecordedVolume {
            id: dot.volume_id("zfs").to_string(),
            guid: 1,
        };
        let mut recorded = proto::Recorded {
            dot_id: dot.id().to_string(),
            head_id: dot.branch_id(0),
            commit_id: dot.commit_id(0),
            volumes: vec![volume],
        };
        change(&mut recorded);
        Call::FindMissing(proto::FindMissingRequest {
            recorded: vec![recorded],
            pool_guid: dot.pool,
        })
    };
    let mut heads = dot.delete_branch(0);
    heads.head_ids.push(text());
    let mut volumes = dot.commit(5);
    volumes.volume_ids.push(text());
    let mut wrong = vec![
        (Call::DeleteBranch(heads), "head_ids"),
        (Call::Commit(volumes), "volume_ids"),
        (branch(&|r| r.volumes[1].id = text()), "volumes.id"),
        (branch(&|r| origin(r).commit_id = text()), "origin.commit_id"),
        (branch(&|r| origin(r).head_id = text()), "origin.head_id"),
        (
            branch(&|r| origin(r).snapshot_guids.extend([(text(), 1)])),
            "origin.snapshot_guids",
        ),
        (newest(&|n| n.dot_id = text()), "newest.dot_id"),
        (newest(&|n| n.head_id = text()), "newest.head_id"),
        (newest(&|n| n.commit_id = text()), "newest.commit_id"),
        (recorded(&|r| r.dot_id = text()), "recorded.dot_id"),
        (recorded(&|r| r.head_id = text()), "recorded.head_id"),
        (recorded(&|r| r.volumes[0].id = text()), "recorded.volumes.id"),
    ];
    // None is recorded: it is of the head.
    if !text().is_empty() {
        wrong.push((recorded(&|r| r.commit_id = text()), "recorded.commit_id"));
    }
    let wrong = wrong.into_iter();
    wrong.map(|(call, word)| (call, Reason::Invalid, word)).collect()
}

/// Each request that says in which pool, of no pool and of none that is here.
fn wrong_pools(world: &World, dot: Dot) -> Vec<Wrong> {
    let of = |pool: u64| {
        let dot = Dot { pool, ..dot };
        [
            Call::EnsureDot(dot.ensure()),
            Call::EnsureBranch(dot.fork(world, POOL, 5, 0)),
            Call::Commit(dot.commit(5)),
            Call::Attach(dot.attach(0)),
            Call::Detach(dot.detach(0)),
            Call::DeleteCommit(dot.delete_commit(0)),
            Call::DeleteBranch(dot.delete_branch(0)),
            Call::DeleteDot(dot.delete()),
            Call::DescribeDot(proto::DescribeDotRequest {
                dot_id: dot.id().to_string(),
                after_commit_id: String::new(),
                pool_guid: pool,
            }),
            Call::FindMissing(proto::FindMissingRequest {
                recorded: Vec::new(),
                pool_guid: pool,
            }),
        ]
    };
    let missing = of(0).map(|call| (call, Reason::Invalid, "pool_guid"));
    let elsewhere = of(4711).map(|call| (call, Reason::PoolMissing, "4711"));
    missing.into_iter().chain(elsewhere).collect()
}

fn wrong_pool_requests(world: &World) -> Vec<Wrong> {
    let with = |change: &dyn Fn(&mut proto::EnsurePoolRequest)| {
        let mut request = world.pool_request(POOL);
        change(&mut request);
        Call::EnsurePool(request)
    };
    let at = |name: &'static str, path: &str, size_bytes: u64| {
        with(&move |r| {
            r.name = name.to_owned();
            r.source = Some(Source::File(proto::PoolFile {
                path: path.to_owned(),
                size_bytes,
            }));
        })
    };
    let on = |paths: &[&str]| {
        with(&|r| {
            let paths = paths.iter().map(ToString::to_string).collect();
            r.name = "third".to_owned();
            r.source = Some(Source::Devices(proto::PoolDevices { paths }));
        })
    };
    let large = 64 << 30;
    let invalid = Reason::Invalid;
    let mut wrong = vec![
        (with(&|r| r.source = None), invalid, "source"),
        (with(&|r| r.known_guid = 4711), Reason::PoolForeign, "4711"),
        (
            at(POOL, "/elsewhere/pool.img", large),
            Reason::Conflict,
            "/elsewhere/pool.img",
        ),
        (
            at("third", &format!("/var/lib/dotmesh/{POOL}.img"), large),
            Reason::Conflict,
            POOL,
        ),
        (at("third", "/third.img", 0), invalid, "too small"),
        (at("third", "/third.img", (1 << 30) - 1), invalid, "too small"),
        (on(&[]), invalid, "device"),
        (on(&["/dev/nowhere"]), invalid, "/dev/nowhere"),
        (
            with(&|r| {
                r.name = "third".to_owned();
                r.source = Some(Source::Existing(proto::PoolExisting {}));
            }),
            Reason::PoolMissing,
            "third",
        ),
    ];
    for path in ["", "relative", "/", "/a/../b", "/a/./b/..", "../x"] {
        wrong.push((at("third", path, large), invalid, "path"));
    }
    for path in [
        "",
        "sda",
        "/etc/passwd",
        "/dev",
        "/dev/",
        "/dev/../etc/passwd",
        "/devil",
    ] {
        wrong.push((on(&[path]), invalid, "/dev"));
    }
    for name in [
        "", "-f", "a/b", "a@b", "1st", "mirror", "raidz", "..", "ü", "a\n", "a\0",
    ] {
        wrong.push((with(&|r| r.name = name.to_owned()), invalid, "name"));
    }
    wrong.push((with(&|r| r.name = "x".repeat(300)), invalid, "name"));
    wrong
}

fn wrong_dots(dot: Dot) -> Vec<Wrong> {
    let with = |change: &dyn Fn(&mut proto::EnsureDotRequest)| {
        let mut request = dot.ensure();
        change(&mut request);
        Call::EnsureDot(request)
    };
    vec![
        (with(&|r| r.name = "other".to_owned()), Reason::Conflict, "shop"),
        (with(&|r| r.namespace = "other".to_owned()), Reason::Conflict, "dev"),
        (with(&|r| r.name = "x".repeat(254)), Reason::Invalid, "name"),
        (with(&|r| r.namespace = "x".repeat(254)), Reason::Invalid, "namespace"),
        (
            with(&|r| (r.dot_id, r.take_over) = (uuid(99).to_string(), true)),
            Reason::NotFound,
            "Dot",
        ),
    ]
}

/// What is said of how one of its volumes is kept.
fn tuned(request: &mut proto::EnsureBranchRequest, volume: usize) -> &mut proto::Tuning {
    request.volumes[volume].tuning.get_or_insert_default()
}

fn wrong_branches(world: &World, dot: Dot) -> Vec<Wrong> {
    let with = |change: &dyn Fn(&mut proto::EnsureBranchRequest)| {
        let mut request = dot.fork(world, POOL, 5, 0);
        change(&mut request);
        Call::EnsureBranch(request)
    };
    let of_main = |change: &dyn Fn(&mut proto::EnsureBranchRequest)| {
        let mut request = dot.branch(0);
        change(&mut request);
        Call::EnsureBranch(request)
    };
    let adopting = |name: &str| of_main(&|r| r.volumes[0].adopted_snapshot = name.to_owned());
    let of_commit = || proto::VolumeOrigin {
        convert: false,
        dot_id: uuid(98).to_string(),
        head_id: uuid(98).to_string(),
        volume_id: uuid(98).to_string(),
        commit_id: uuid(98).to_string(),
        snapshot_guid: 1,
    };
    let seeded = |change: &dyn Fn(&mut proto::VolumeOrigin)| {
        let mut origin = of_commit();
        change(&mut origin);
        of_main(&|r| r.volumes[0].origin = Some(origin.clone()))
    };
    let (invalid, conflict) = (Reason::Invalid, Reason::Conflict);
    let zfs = dot.volume_id("zfs").to_string();
    let mut wrong = vec![
        (with(&|r| r.dot_id = uuid(99).to_string()), Reason::NotFound, "Dot"),
        (with(&|r| r.object_name = "x".repeat(254)), invalid, "object_name"),
        (with(&|r| r.head_id = dot.branch_id(0)), conflict, "head"),
        (of_main(&|r| r.head_id = dot.branch_id(7)), conflict, "head"),
        (
            of_main(&|r| r.origin = dot.fork(world, POOL, 5, 0).origin),
            conflict,
            "began empty",
        ),
        (with(&|r| r.volumes[0].format = 0), invalid, "volumes.format"),
        (with(&|r| r.volumes[0].format = 99), invalid, "volumes.format"),
        (with(&|r| r.volumes[0].format = -1), invalid, "volumes.format"),
        (
            with(&|r| tuned(r, 0).compression = "best".to_owned()),
            invalid,
            "volumes.tuning.compression",
        ),
        (
            with(&|r| tuned(r, 0).recordsize = 7),
            invalid,
            "volumes.tuning.recordsize",
        ),
        (
            with(&|r| tuned(r, 1).volblocksize = 2048),
            invalid,
            "volumes.tuning.volblocksize",
        ),
        (of_main(&|r| tuned(r, 0).thin = true), invalid, "thin"),
        (adopting("../x@y"), invalid, "volumes.adopted_snapshot"),
        (adopting("dotmesh/x"), invalid, "volumes.adopted_snapshot"),
        (adopting("dotmesh/theirs@move"), conflict, "was cloned from nothing"),
        (
            with(&|r| r.volumes[0].adopted_snapshot = "dotmesh/theirs@move".to_owned()),
            invalid,
            "with what others have, not with both",
        ),
        (seeded(&|o| o.dot_id.clear()), invalid, "volumes.origin.dot_id"),
        (
            seeded(&|o| o.head_id = "..".to_owned()),
            invalid,
            "volumes.origin.head_id",
        ),
        (seeded(&|o| o.volume_id.push('x')), invalid, "volumes.origin.volume_id"),
        (
            seeded(&|o| o.commit_id = "a@b".to_owned()),
            invalid,
            "volumes.origin.commit_id",
        ),
        (seeded(&|_| {}), conflict, "was cloned from nothing"),
        (
            of_main(&|r| {
                r.volumes[0].origin = Some(of_commit());
                r.volumes[0].adopted_snapshot = "dotmesh/theirs@move".to_owned();
            }),
            invalid,
            "a volume begins with one of them",
        ),
        (
            with(&|r| r.volumes[0].origin = Some(of_commit())),
            invalid,
            "with what others have, not with both",
        ),
        (of_main(&|r| tuned(r, 0).volblocksize = 8192), invalid, "volblocksize"),
        (of_main(&|r| tuned(r, 1).recordsize = 8192), invalid, "recordsize"),
        (of_main(&|r| r.volumes[0].format = 2), conflict, "format"),
        (with(&|r| r.volumes[0].format = 2), conflict, "format"),
        (with(&|r| r.volumes[0].size_bytes = 0), invalid, "too small"),
        (
            with(&|r| r.volumes[0].size_bytes = u64::MAX),
            Reason::OutOfSpace,
            "larger",
        ),
        (
            with(&|r| r.volumes[3].size_bytes = u64::MAX),
            Reason::OutOfSpace,
            "larger",
        ),
        (with(&|r| r.volumes[1].id.clone_from(&zfs)), invalid, "twice"),
        (with(&|r| r.volumes[0].known_guid = 4711), Reason::NotFound, "zfs"),
        (of_main(&|r| r.volumes[0].known_guid = 4711), Reason::NotFound, "zfs"),
        (
            with(&|r| r.origin.as_mut().unwrap().commit_id = dot.commit_id(9)),
            Reason::NotFound,
            "commit",
        ),
        (
            with(&|r| r.origin.as_mut().unwrap().head_id = dot.branch_id(9)),
            Reason::NotFound,
            "head",
        ),
        (
            with(&|r| r.origin.as_mut().unwrap().snapshot_guids.extend([(zfs.clone(), 4711)])),
            conflict,
            "4711",
        ),
    ];
    for name in [
        "", "..", "-x", "a..b", "a@{b", "ü\0", "a b", "/a", "a/", "a.lock", "@", "a~1", "a^", "a:b",
    ] {
        wrong.push((with(&|r| r.branch_name = name.to_owned()), invalid, "branch_name"));
    }
    wrong.push((with(&|r| r.branch_name = "x".repeat(10_000)), invalid, "branch_name"));
    for name in ["", "..", "-x", "a/b", "a@b", "Ä", "A", "a_b", "a\n"] {
        wrong.push((with(&|r| r.volumes[0].name = name.to_owned()), invalid, "volumes.name"));
    }
    wrong
}

fn wrong_commits(dot: Dot) -> Vec<Wrong> {
    let with = |change: &dyn Fn(&mut proto::CommitRequest)| {
        let mut request = dot.commit(5);
        change(&mut request);
        Call::Commit(request)
    };
    let long = |record: proto::CommitRecord| with(&move |r: &mut proto::CommitRequest| r.record = Some(record.clone()));
    let text = "x".repeat(1 << 20);
    let together = |change: &dyn Fn(&mut proto::CommitRequest)| {
        let mut other = dot.commit(6);
        change(&mut other);
        with(&|r| r.together.push(other.clone()))
    };
    vec![
        (together(&|_| {}), Reason::Invalid, "one head"),
        (together(&|r| r.pool_guid += 1), Reason::Invalid, "together"),
        (
            together(&|r| r.together.push(dot.commit(7))),
            Reason::Invalid,
            "together",
        ),
        (together(&|r| r.head_id = dot.branch_id(9)), Reason::Conflict, "head"),
        (
            together(&|r| r.branch_id = "x".to_owned()),
            Reason::Invalid,
            "branch_id",
        ),
        (with(&|r| r.dot_id = uuid(99).to_string()), Reason::NotFound, "Dot"),
        (with(&|r| r.branch_id = dot.branch_id(9)), Reason::NotFound, "branch"),
        (with(&|r| r.head_id = dot.branch_id(9)), Reason::Conflict, "head"),
        (with(&|r| r.volume_ids.clear()), Reason::Invalid, "volumes"),
        (with(&|r| drop(r.volume_ids.pop())), Reason::Conflict, "volumes"),
        (
            with(&|r| r.volume_ids.push(dot.volume_id("other").to_string())),
            Reason::Conflict,
            "volumes",
        ),
        (
            long(proto::CommitRecord {
                message: text.clone(),
                ..proto::CommitRecord::default()
            }),
            Reason::Invalid,
            "message",
        ),
        (
            long(proto::CommitRecord {
                metadata: [("key".to_owned(), text)].into(),
                ..proto::CommitRecord::default()
            }),
            Reason::Invalid,
            "metadata",
        ),
    ]
}

fn wrong_others(dot: Dot) -> Vec<Wrong> {
    let nowhere = Dot { number: 9, ..dot };
    let mut elsewhere = dot.attach(0);
    elsewhere.branch_id = dot.branch_id(9);
    let mut another = dot.attach(0);
    another.volume_id = dot.volume_id("raw").to_string();
    let mut heads = dot.delete_branch(1);
    heads.head_ids.push(dot.branch_id(0));
    let describe = proto::DescribeDotRequest {
        dot_id: nowhere.id().to_string(),
        after_commit_id: String::new(),
        pool_guid: dot.pool,
    };
    vec![
        (Call::Attach(nowhere.attach(0)), Reason::NotFound, "Dot"),
        (Call::Attach(elsewhere), Reason::NotFound, "branch"),
        (Call::Attach(another), Reason::Conflict, "attached"),
        (Call::DeleteBranch(heads), Reason::Conflict, "head"),
        (Call::DescribeDot(describe), Reason::NotFound, "Dot"),
    ]
}

/// The code that belongs to a reason.
#[expect(clippy::wildcard_enum_match_arm, reason = "others are nobody's fault")]
fn code_of(reason: Reason) -> Code {
    match reason {
        Reason::NotFound => Code::NotFound,
        Reason::Conflict => Code::AlreadyExists,
        Reason::Invalid => Code::InvalidArgument,
        Reason::OutOfSpace => Code::ResourceExhausted,
        Reason::PoolMissing | Reason::PoolForeign => Code::FailedPrecondition,
        other => panic!("{other:?} is nobody's fault"),
    }
}

/// What was said instead of what is to be said; nothing: it was just that.
async fn said_otherwise(program: &Program, (call, reason, word): &Wrong) -> Option<String> {
    let status = match program.call(call.clone()).await {
        Ok(answer) => return Some(answer),
        Err(status) => status,
    };
    let failure = Failure::decode(status.details()).unwrap_or_default();
    let is_it = status.code() == code_of(*reason)
        && failure.reason() == *reason
        && failure.message == status.message()
        && status.message().contains(word);
    let said = || format!("{:?}, {:?}: {}", status.code(), failure.reason(), status.message());
    (!is_it).then(said)
}

#[tokio::test(start_paused = true)]
async fn what_is_wrong_is_told_and_changes_nothing() {
    // A Dot with commits, a fork and claims that are published.
    let story = of_dot();
    let end = story
        .iter()
        .position(|step| matches!(step, Step::Unpublish(_)))
        .unwrap();
    let (world, program) = World::after(&story[..end]).await;
    quiet().await;
    let dot = Dot {
        number: 1,
        pool: world.guid(POOL).await,
    };
    let all = [
        wrong_ids(&world, dot),
        wrong_pools(&world, dot),
        wrong_pool_requests(&world),
        wrong_dots(dot),
        wrong_branches(&world, dot),
        wrong_commits(dot),
        wrong_others(dot),
    ];
    let before = world.all();
    let mut wrong = Vec::new();
    for call in all.iter().flatten() {
        if let Some(said) = said_otherwise(&program, call).await {
            let (call, reason, word) = call;
            let text: String = format!("{call:?}").chars().take(500).collect();
            wrong.push(format!("{text}\n  is to say {reason:?} with {word:?}, said {said}"));
        }
        if world.all() != before {
            wrong.push(format!("{call:?} changed something"));
            break;
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(all.iter().map(Vec::len).sum::<usize>() > 300);
}
