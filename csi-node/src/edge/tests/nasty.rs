//! Whatever a request says, by chance: nothing panics, and nothing is looked for or touched but what is ours and the
//! paths that the request names.

mod wire;

use std::path::{Path, PathBuf};

use dotmesh_csi_proto::csi;
use dotmesh_csi_proto::node as proto;
use dotmesh_csi_proto::node::VolumeFormat;
use dotmesh_csi_proto::node::ensure_pool_request::Source;
use dotmesh_mount::{Mount, ZfsMount};
use dotmesh_zfs::{CreateKind, CreateRequest, PoolSpec, Properties, Zfs};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use prost::Message;
use tonic::Code;

use super::story::{Dot, POOL, Step, capability, create, expand, of_clones, of_dot, of_snapshots, target, told_id};
use super::{Call, Program, STATE, World, each_call, quiet};
use crate::edge::csi::first;
use wire::Change;

/// Strings that other programs have come to grief with.
const NASTY: [&str; 34] = [
    "",
    "/",
    ".",
    "..",
    "../../../etc/passwd",
    "/var/lib/../../etc",
    "/srv/theirs",
    "/mnt/theirs",
    "/proc/self/root",
    "/dev/sda",
    "-r",
    "--help",
    "first",
    "first/other",
    "first/other@theirs",
    "first/dotmesh",
    "foreign",
    "foreign/data",
    "foreign/data@theirs",
    "a/b@c#d",
    "%2e%2e",
    "\0",
    "/pods/a\0b",
    "ü",
    "\u{202e}𝕏",
    " ",
    "a\nb",
    "a\tb",
    "$(reboot)",
    "`id`",
    "'\"\\",
    "*",
    "1....",
    "1.-.-.-",
];

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => select(&NASTY[..]).prop_map(str::to_owned),
        1 => "\\PC{0,64}",
        1 => "[a-z0-9/@.-]{0,64}",
        1 => "/[a-z]{1,4}(/[a-z.]{0,3}){0,4}",
        1 => (select(&NASTY[..]), 1_usize..10_000).prop_map(|(text, times)| text.repeat(times)),
    ]
}

/// What is made of a valid call.
#[derive(Debug, Clone)]
struct Asked {
    /// Which valid one.
    base: Index,
    /// Of which call it is taken to be: mostly of its own.
    of: Option<Index>,
    changes: Vec<(Vec<Index>, Change)>,
    /// Fields that have the value of a field of another valid call.
    taken: Vec<(Vec<Index>, Index, Vec<Index>)>,
}

fn change() -> impl Strategy<Value = Change> {
    let numbers = prop_oneof![Just(0), Just(1), Just(u64::MAX), Just(1 << 63), any::<u64>()];
    prop_oneof![
        6 => text().prop_map(|text| Change::Is(text.into_bytes())),
        1 => vec(any::<u8>(), 0..64).prop_map(Change::Is),
        1 => vec(any::<u8>(), 0..64).prop_map(Change::More),
        3 => numbers.prop_map(Change::Counts),
        1 => Just(Change::Gone),
        1 => Just(Change::Twice),
    ]
}

fn way() -> impl Strategy<Value = Vec<Index>> {
    vec(any::<Index>(), 0..4)
}

prop_compose! {
    fn asked()(
        base in any::<Index>(),
        of in proptest::option::weighted(0.1, any::<Index>()),
        changes in vec((way(), change()), 0..3),
        taken in vec((way(), any::<Index>(), way()), 0..2),
    ) -> Asked {
        Asked { base, of, changes, taken }
    }
}

macro_rules! calls {
    ($($name:ident($request:ty),)*) => {
        const DECODE: &[fn(&[u8]) -> Option<Call>] = &[
            $(|bytes| <$request>::decode(bytes).ok().map(Call::$name)),*
        ];

        /// The bytes of a request, and which of [`DECODE`] takes them.
        fn encode(call: &Call) -> (Vec<u8>, usize) {
            let mut number = 0;
            $(if let Call::$name(request) = call {
                return (request.encode_to_vec(), number);
            }
            number += 1;)*
            (Vec::new(), number)
        }
    };
}

each_call!(calls);

/// A value somewhere in a message.
fn part(message: &[u8], way: &[usize]) -> Vec<u8> {
    wire::find(message, way).unwrap_or_else(|| message.to_vec())
}

impl Asked {
    /// The call, when the bytes are one.
    fn of(&self, valid: &[Call]) -> Option<Call> {
        let turns = |way: &[Index]| way.iter().map(|turn| turn.index(1 << 16)).collect::<Vec<_>>();
        let (mut bytes, mut kind) = encode(self.base.get(valid));
        for (to, from, at) in &self.taken {
            let (other, _) = encode(from.get(valid));
            bytes = wire::change(&bytes, &turns(to), &Change::Is(part(&other, &turns(at))));
        }
        for (way, change) in &self.changes {
            bytes = wire::change(&bytes, &turns(way), change);
        }
        if let Some(of) = &self.of {
            kind = of.index(DECODE.len());
        }
        DECODE[kind](&bytes)
    }
}

/// What is there and not ours, and must stay as it is.
async fn put_foreign(world: &World) {
    let zfs = &world.zfs;
    let file = Path::new("/srv/foreign.img");
    world.disk.put(file, 1 << 30);
    let spec = PoolSpec {
        name: "foreign".parse().unwrap(),
        vdevs: vec![file.to_owned()],
        properties: Properties::new(),
        root_properties: Properties::new(),
    };
    zfs.pool_create(&spec).await.unwrap();
    for name in ["first/other", "foreign/data"] {
        let create = CreateRequest {
            dataset: name.parse().unwrap(),
            kind: CreateKind::Filesystem,
            properties: Properties::new(),
            parents: false,
        };
        zfs.create(&create).await.unwrap();
        let snapshot = format!("{name}@theirs").parse().unwrap();
        zfs.snapshot(&[snapshot], &Properties::new()).await.unwrap();
    }
    world.mount.put_file(Path::new("/srv/theirs/file"));
    world.mount.make_dir(Path::new("/mnt/theirs")).await.unwrap();
    let mount = ZfsMount {
        source: "foreign/data".to_owned(),
        target: "/mnt/theirs".into(),
        readonly: false,
        context: None,
    };
    world.mount.mount_zfs(&mount).await.unwrap();
}

/// What is there and not ours.
fn foreign(world: &World) -> (Vec<String>, bool, Option<String>) {
    let inventory = world.zfs.inventory();
    let theirs = inventory.iter().filter(|object| {
        let name = object.name.as_str();
        name == "first" || name.starts_with("first/other") || name == "foreign" || name.starts_with("foreign/data")
    });
    let theirs = theirs.map(|object| format!("{} {:?} {:?}", object.name, object.guid, object.local));
    let table = world.mount.table();
    let mounted = table.at(Path::new("/mnt/theirs")).map(|entry| entry.source.clone());
    (
        theirs.collect(),
        world.mount.exists(Path::new("/srv/theirs/file")),
        mounted,
    )
}

/// Each quoted string after this word, as it was before `Debug` wrote it.
fn quoted<'a>(text: &'a str, before: &'a str) -> impl Iterator<Item = String> + 'a {
    text.split(before).skip(1).map(unescaped)
}

/// What `Debug` has written of a string, up to the quote that ends it.
fn unescaped(rest: &str) -> String {
    let mut text = String::new();
    let mut rest = rest.chars();
    while let Some(next) = rest.next().filter(|next| *next != '"') {
        let escaped = (next == '\\').then(|| rest.next()).flatten();
        text.push(match escaped {
            None => next,
            Some('n') => '\n',
            Some('r') => '\r',
            Some('t') => '\t',
            Some('0') => '\0',
            Some('u') => {
                let code: String = rest.by_ref().skip(1).take_while(|digit| *digit != '}').collect();
                u32::from_str_radix(&code, 16)
                    .ok()
                    .and_then(char::from_u32)
                    .unwrap_or('\u{fffd}')
            }
            Some(other) => other,
        });
    }
    text
}

/// The paths that a call names, and the pool.
#[expect(clippy::wildcard_enum_match_arm, reason = "others name neither")]
fn named(call: &Call) -> (Vec<PathBuf>, Option<String>) {
    match call {
        Call::Publish(request) => (vec![PathBuf::from(&request.target_path)], None),
        Call::Unpublish(request) => (vec![PathBuf::from(&request.target_path)], None),
        Call::Stats(request) => (vec![PathBuf::from(&request.volume_path)], None),
        Call::VolumeHealth(request) => (vec![PathBuf::from(&request.volume_publish_path)], None),
        Call::EnsurePool(request) => {
            let paths = match &request.source {
                Some(Source::File(file)) => vec![PathBuf::from(&file.path)],
                Some(Source::Devices(devices)) => devices.paths.iter().map(PathBuf::from).collect(),
                Some(Source::Existing(_)) | None => Vec::new(),
            };
            (paths, Some(request.name.clone()))
        }
        _ => (Vec::new(), None),
    }
}

/// What an effect looks at or changes beside what is ours and what the call names.
fn strayed(effect: &str, call: &Call) -> Option<String> {
    let (paths, pool) = named(call);
    let pools = [POOL, pool.as_deref().unwrap_or(POOL)];
    let ours = |name: &str| {
        let mut parts = name.splitn(3, '/');
        let (pool, root) = (parts.next().unwrap_or_default(), parts.next());
        pools.contains(&pool) && matches!(root, None | Some("dotmesh"))
    };
    let is_known = |path: &str| {
        let path = Path::new(path);
        let is_plain = !path.components().any(|part| part.as_os_str() == "..");
        let is_named = paths.iter().any(|named| named == path || named.parent() == Some(path));
        is_named || is_plain && (path.starts_with(STATE) || path.starts_with("/dev/dotmesh"))
    };
    let names = ["PoolName(\"", "DatasetName(\"", "volume: \"", "source: \""];
    let mut names = names.iter().flat_map(|before| quoted(effect, before));
    let mut of_paths = ["(\"", ", \"", "target: \"", "node: \""]
        .iter()
        .flat_map(|before| quoted(effect, before));
    let is_path = |text: &str| text.starts_with('/');
    names
        .find(|name| !ours(name))
        .or_else(|| of_paths.find(|text| is_path(text) && !is_known(text)))
}

/// The calls that change nothing.
fn looks(world: &World, dot: Dot) -> Vec<Call> {
    let head = proto::Recorded {
        dot_id: dot.id().to_string(),
        head_id: dot.branch_id(0),
        commit_id: dot.commit_id(0),
        volumes: Vec::new(),
    };
    vec![
        Call::Stats(csi::NodeGetVolumeStatsRequest {
            volume_id: dot.handle(0),
            volume_path: target(0),
            ..csi::NodeGetVolumeStatsRequest::default()
        }),
        Call::Validate(csi::ValidateVolumeCapabilitiesRequest {
            volume_id: dot.handle(0),
            volume_capabilities: vec![capability(VolumeFormat::Zfs)],
            ..csi::ValidateVolumeCapabilitiesRequest::default()
        }),
        Call::DescribeDot(proto::DescribeDotRequest {
            dot_id: dot.id().to_string(),
            after_commit_id: dot.commit_id(0),
            pool_guid: dot.pool,
        }),
        Call::FindMissing(proto::FindMissingRequest {
            recorded: vec![head],
            pool_guid: dot.pool,
        }),
        Call::EnsureBranch(dot.fork(world, POOL, 5, 0)),
        Call::ListVolumes(csi::ListVolumesRequest {
            max_entries: 1,
            starting_token: dot.handle(0),
        }),
        Call::ListSnapshots(csi::ListSnapshotsRequest {
            max_entries: 1,
            source_volume_id: dot.handle(0),
            ..csi::ListSnapshotsRequest::default()
        }),
        Call::GetSnapshot(csi::GetSnapshotRequest {
            snapshot_id: first::snapshot("snapshot", "plain-0"),
            ..csi::GetSnapshotRequest::default()
        }),
        Call::GetGroup(csi::GetVolumeGroupSnapshotRequest {
            group_snapshot_id: first::group("group"),
            ..csi::GetVolumeGroupSnapshotRequest::default()
        }),
        Call::VolumeHealth(csi::NodeGetVolumeHealthRequest {
            volume_id: dot.handle(0),
            volume_publish_path: target(0),
            ..csi::NodeGetVolumeHealthRequest::default()
        }),
        Call::StorageHealth(csi::NodeGetStorageHealthRequest::default()),
        Call::GetVolumeHealth(csi::ControllerGetVolumeHealthRequest {
            volume_id: first::volume("plain-0", "plain-0"),
            ..csi::ControllerGetVolumeHealthRequest::default()
        }),
        Call::ListVolumeHealth(csi::ControllerListVolumeHealthRequest::default()),
        Call::Capacity(csi::GetCapacityRequest {
            volume_capabilities: vec![capability(VolumeFormat::Zfs)],
            ..csi::GetCapacityRequest::default()
        }),
    ]
}

/// A host with a Dot whose claims are published, a plain volume, and what is not ours.
async fn host() -> (World, Program, Vec<Call>) {
    let story = of_dot();
    let end = story
        .iter()
        .position(|step| matches!(step, Step::Unpublish(_)))
        .unwrap();
    let (world, program) = World::after(&story[..end]).await;
    put_foreign(&world).await;
    program.call(Call::Create(create("plain", 0, 1))).await.unwrap();
    let mut valid = Vec::new();
    for step in story {
        valid.push(step.call(&world).await);
    }
    valid.extend(looks(
        &world,
        Dot {
            number: 1,
            pool: world.guid(POOL).await,
        },
    ));
    let mut of_plain = Vec::new();
    for step in [of_snapshots(0), of_clones(0)].concat() {
        let call = step.call(&world).await;
        let is_end = matches!(call, Call::DeleteGroup(_) | Call::Delete(_) | Call::DeleteSnapshot(_));
        if !is_end {
            program.call(call.clone()).await.unwrap();
        }
        of_plain.push(call);
    }
    valid.extend(of_plain);
    let made = told_id(&program.call(Call::Create(create("another", 1, 1))).await.unwrap());
    valid.extend([
        Call::Create(create("plain", 0, 1)),
        Call::Create(create("one more", 1, 1)),
        Call::Expand(expand(&made, 2)),
        Call::Delete(csi::DeleteVolumeRequest {
            volume_id: made,
            ..csi::DeleteVolumeRequest::default()
        }),
    ]);
    world.stage.clear();
    (world, program, valid)
}

async fn ask(asked: &[Asked]) -> Result<(), TestCaseError> {
    let (world, program, valid) = Box::pin(host()).await;
    let before = foreign(&world);
    for call in asked.iter().filter_map(|asked| asked.of(&valid)) {
        world.stage.clear();
        let answer = program.call(call.clone()).await;
        quiet().await;
        if let Err(status) = answer {
            let panicked = status.code() == Code::Internal && status.message().contains("panic");
            prop_assert!(!panicked, "{call:?}: {status:?}");
        }
        for effect in world.stage.log() {
            let stray = strayed(&effect, &call);
            prop_assert!(stray.is_none(), "{call:?} did {effect}: {stray:?}");
        }
        prop_assert_eq!(&foreign(&world), &before, "{:?}", call);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_is_asked_nothing_of_others_is_touched(all in vec(asked(), 1..16)) {
        let runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = { runtime }.enable_all().start_paused(true).build().unwrap();
        runtime.block_on(Box::pin(ask(&all)))?;
    }
}

#[test]
fn what_strays_is_seen() {
    let publish = |target: &str| Call::Publish(super::story::publish("1.x", target, VolumeFormat::Zfs));
    for (effect, is_stray) in [
        ("destroy_dataset (DatasetName(\"first/dotmesh/a/b\"),)", false),
        ("destroy_dataset (DatasetName(\"first/dotmesh\"),)", false),
        ("destroy_dataset (DatasetName(\"first/other\"),)", true),
        ("pool_get (PoolName(\"foreign\"),)", true),
        (
            "mount_zfs (ZfsMount { source: \"foreign/dotmesh/a\", target: \"/pods/a\" },)",
            true,
        ),
        ("bind (\"/var/lib/dotmesh/mounts/a\", \"/pods/a\", false)", false),
        ("bind (\"/var/lib/dotmesh/../a\", \"/pods/a\", false)", true),
        ("bind (\"/var/lib/dotmesh/mounts/a\", \"/pods/b\", false)", true),
        ("forget_zvol (\"/dev/dotmesh/a\", \"/dev\")", true),
        ("remove_dir (\"/pods/a/..\",)", true),
    ] {
        assert_eq!(strayed(effect, &publish("/pods/a")).is_some(), is_stray, "{effect}");
    }
    // Whatever `Debug` makes of a path.
    for path in ["/\"", "/\\", "/\u{eb1}\u{202e}", "/a\nb\t\0"] {
        let effect = format!("remove_dir ({path:?},)");
        assert_eq!(strayed(&effect, &publish(path)), None, "{effect}");
        assert_eq!(strayed(&effect, &publish("/pods/a")).as_deref(), Some(path), "{effect}");
    }
}
