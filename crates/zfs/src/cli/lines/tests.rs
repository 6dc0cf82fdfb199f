use std::fmt::Write;

use super::*;

fn dataset(name: &str) -> DatasetName {
    name.parse().unwrap()
}

fn snapshot(name: &str) -> SnapshotName {
    name.parse().unwrap()
}

fn note() -> Properties {
    let name = PropName::from_static("org.example:note");
    Properties::new()
        .with(name, crate::PropValue::from_static("a b"))
        .with(PropName::from_static("atime"), 1)
}

/// Arguments in brackets, so that a space inside one shows.
fn all_lines() -> Vec<Line> {
    let tag = HoldTag::from_static("tag");
    let (a, x) = (dataset("p/a"), snapshot("p/a@x"));
    let create = |kind, parents| CreateRequest {
        dataset: a.clone(),
        kind,
        properties: note(),
        parents,
    };
    let list = |depth, kinds: &[Kind]| ListRequest {
        roots: vec![a.clone().into(), x.clone().into()],
        depth,
        kinds: kinds.to_vec(),
        columns: vec![PropName::from_static("guid"), PropName::from_static("written")],
    };
    let get = GetRequest::local(vec![a.clone().into()], vec![PropName::from_static("org.example:note")]);
    let get_all = GetRequest {
        properties: vec![],
        sources: vec![],
        depth: None,
        kinds: vec![Kind::Filesystem, Kind::Volume],
        ..get.clone()
    };
    let spec = PoolSpec {
        name: "p".parse().unwrap(),
        vdevs: vec!["/f 1".into(), "/f2".into()],
        properties: Properties::new().with(PropName::from_static("ashift"), 12),
        root_properties: note(),
    };
    let device = VolumeDevice {
        dataset: a.clone(),
        node: "/dev/dir/p/a".into(),
    };
    let import = |pool| ImportRequest {
        pool,
        search: vec!["/dir".into()],
    };
    vec![
        build_version(),
        build_pool_create(&spec),
        build_pool_import(&import(PoolSelector::Name("p".parse().unwrap()))),
        build_pool_import(&import(PoolSelector::Guid(crate::Guid(17)))),
        build_pool_search(&[]),
        build_pool_search(&["/dir".into()]),
        build_pool_get(&"p".parse().unwrap()),
        build_pool_expand(&"p".parse().unwrap(), "/f 1".as_ref()),
        build_pool_export(&"p".parse().unwrap()),
        build_create(&create(CreateKind::Filesystem, true)),
        build_create(&create(
            CreateKind::Volume {
                size: 1024,
                sparse: false,
                block_size: None,
            },
            false,
        )),
        build_create(&create(
            CreateKind::Volume {
                size: 1024,
                sparse: true,
                block_size: Some(512),
            },
            false,
        )),
        build_clone(&CloneRequest {
            snapshot: x.clone(),
            dataset: dataset("p/b"),
            properties: note(),
        }),
        build_snapshot(&[x.clone(), snapshot("p/b@x")], &note()),
        build_hold(&tag, &x),
        build_release(&tag, &a, &["x".parse().unwrap(), "y".parse().unwrap()]),
        build_destroy_dataset(&a),
        build_destroy_snapshots(&a, &["x".parse().unwrap(), "y".parse().unwrap()]),
        build_destroy_recursive(&a, &["x".parse().unwrap(), "y".parse().unwrap()]),
        build_rollback(&x),
        build_set(&a, &note()),
        build_inherit(&a, &PropName::from_static("org.example:note")),
        build_list(&list(Some(0), &[Kind::Filesystem, Kind::Snapshot])),
        build_list(&list(None, &[Kind::Volume])),
        build_get(&get),
        build_get(&get_all),
        build_holds(&[x.clone(), snapshot("p/b@x")]),
        build_written(&a, &PropName::from_static("written@x")),
        build_make_filesystem(&device, BlockFilesystem::Ext4),
        build_make_filesystem(&device, BlockFilesystem::Xfs),
        build_check_filesystem(&device, BlockFilesystem::Ext4).unwrap(),
    ]
}

#[test]
fn each_request_is_this_command() {
    let mut text = String::new();
    for line in all_lines() {
        write!(text, "{}", line.program).unwrap();
        for argument in &line.arguments {
            write!(text, " [{}]", argument.to_str().unwrap()).unwrap();
        }
        text.push('\n');
    }
    insta::assert_snapshot!(text);
}

#[test]
fn nothing_is_forced_and_recursion_is_of_snapshots_only() {
    for line in all_lines() {
        let flags: Vec<&str> = line
            .arguments
            .iter()
            .map(|argument| argument.to_str().unwrap())
            .collect();
        // What makes filesystems is told only of volumes that hold nothing.
        if line.verb == Verb::MakeFilesystem {
            continue;
        }
        for forbidden in ["-f", "-F", "-R", "-n"] {
            assert!(!flags.contains(&forbidden), "{line:?}");
        }
        let changes = matches!(line.verb, Verb::Destroy | Verb::Rollback | Verb::Inherit);
        if changes && flags.contains(&"-r") {
            assert!(
                flags.contains(&"-d") && flags.iter().any(|flag| flag.contains('@')),
                "{line:?}"
            );
        }
    }
}

#[test]
fn options_come_before_names() {
    // A name never begins with a dash, so what follows the first name cannot be an option.
    for line in all_lines() {
        let is_name = |argument: &&OsString| argument.to_str().is_some_and(|text| text.starts_with("p/"));
        if let Some(first) = line.arguments.iter().position(|argument| is_name(&argument)) {
            let after = &line.arguments[first..];
            assert!(
                after
                    .iter()
                    .all(|argument| !argument.to_str().unwrap().starts_with('-')),
                "{line:?}"
            );
        }
    }
}
