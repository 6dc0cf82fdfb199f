//! Whether our `.proto` files say what the official ones say: services, calls, messages, fields and enums, by name,
//! number, type and label. The official ones come with the Go modules that the test bed's programs are built from, so
//! that the kubelet, csi-provisioner and csi-sanity of the tests speak what is compared here.
//!
//! Of CSI the sidecars speak an older version than ours: all of that must be in ours as it was, but what was taken out.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use prost_types::{DescriptorProto, EnumDescriptorProto, FileDescriptorProto, FileDescriptorSet};

use crate::process::Cmd;
use crate::workspace;

/// A file of ours, and where the official one lies.
struct Pair {
    ours: &'static str,
    /// Below `xtask/testbed`: whose modules name the version.
    modules: &'static str,
    module: &'static str,
    file: &'static str,
    says: Says,
}

/// How much of ours the official file says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Says {
    /// All of it, and no more.
    Same,
    /// It is older: ours says more. What has one of these words in its name was taken out since.
    Less(&'static [&'static str]),
}

const PAIRS: [Pair; 3] = [
    Pair {
        ours: "csi.proto",
        modules: "csi",
        module: "github.com/container-storage-interface/spec",
        file: "csi.proto",
        says: Says::Same,
    },
    Pair {
        ours: "csi.proto",
        modules: "kubernetes",
        module: "github.com/container-storage-interface/spec",
        file: "csi.proto",
        says: Says::Less(&["VolumeCondition", "volume_condition", "VOLUME_CONDITION"]),
    },
    Pair {
        ours: "pluginregistration.proto",
        modules: "kubernetes",
        module: "k8s.io/kubelet",
        file: "pkg/apis/pluginregistration/v1/api.proto",
        says: Says::Same,
    },
];

/// Compares all of them.
///
/// # Errors
/// Names every difference.
pub(crate) fn check() -> Result<()> {
    let mut differences = Vec::new();
    for pair in &PAIRS {
        let official = module_folder(pair.modules, pair.module)?.join(pair.file);
        let ours = workspace::root().join("crates/csi-proto/proto").join(pair.ours);
        let (ours, official) = (facts(&ours)?, facts(&official)?);
        println!(
            "{}: {} facts, {} in {} of {}",
            pair.ours,
            ours.len(),
            official.len(),
            pair.module,
            pair.modules
        );
        differences
            .extend(compare(&ours, &official, pair.says).map(|difference| format!("{}: {difference}", pair.ours)));
    }
    if differences.is_empty() {
        return Ok(());
    }
    bail!("the wire differs from what is official:\n{}", differences.join("\n"))
}

/// Where the Go toolchain keeps a module that the test bed uses; it fetches it when it is not there.
fn module_folder(modules: &str, module: &str) -> Result<PathBuf> {
    #[derive(serde::Deserialize)]
    struct Downloaded {
        #[serde(rename = "Dir")]
        dir: PathBuf,
    }
    let folder = workspace::root().join("xtask/testbed").join(modules);
    let go = |args: &[&str]| {
        let go = Cmd::new("go").args(args).dir(&folder).env("GOTOOLCHAIN", "auto");
        let go = go.env("GOFLAGS", "").env("GOWORK", "off");
        go.within(Duration::from_secs(600)).output()
    };
    go(&["mod", "download", module])?;
    let said = go(&["list", "-m", "-json", module])?;
    let Downloaded { dir } = serde_json::from_str(&said).with_context(|| format!("what go says of {module}"))?;
    Ok(dir)
}

/// What a file says, by the name of each thing: a message is there, a field is that number and type, and so on.
fn facts(path: &Path) -> Result<BTreeMap<String, String>> {
    let (folder, name) = (path.parent().context("a file lies in a folder")?, path.file_name());
    let name = name.context("a file has a name")?;
    let compiled: FileDescriptorSet = protox::compile([name], [folder])?;
    let mut facts = BTreeMap::new();
    let file = compiled.file.iter().find(|file| Some(file.name()) == name.to_str());
    let file = file.with_context(|| format!("{} was not compiled", path.display()))?;
    add_file(&mut facts, file);
    Ok(facts)
}

fn add_file(facts: &mut BTreeMap<String, String>, file: &FileDescriptorProto) {
    for service in &file.service {
        for method in &service.method {
            let name = format!("call {}.{}", service.name(), method.name());
            let streams = (method.client_streaming(), method.server_streaming());
            let says = format!(
                "{} returns {}, streams {streams:?}",
                method.input_type(),
                method.output_type()
            );
            facts.insert(name, says);
        }
    }
    for message in &file.message_type {
        add_message(facts, message.name(), message);
    }
    for kind in &file.enum_type {
        add_enum(facts, kind.name(), kind);
    }
    facts.insert("package".to_owned(), file.package().to_owned());
}

fn add_message(facts: &mut BTreeMap<String, String>, name: &str, message: &DescriptorProto) {
    facts.insert(format!("message {name}"), String::new());
    for field in &message.field {
        let oneof = field
            .oneof_index
            .and_then(|index| message.oneof_decl.get(usize::try_from(index).ok()?));
        let says = format!(
            "number {}, {:?} {:?} {}, in {:?}",
            field.number(),
            field.label(),
            field.r#type(),
            field.type_name(),
            oneof.map(|oneof| oneof.name())
        );
        facts.insert(format!("field {name}.{}", field.name()), says);
    }
    for nested in &message.nested_type {
        add_message(facts, &format!("{name}.{}", nested.name()), nested);
    }
    for kind in &message.enum_type {
        add_enum(facts, &format!("{name}.{}", kind.name()), kind);
    }
}

fn add_enum(facts: &mut BTreeMap<String, String>, name: &str, kind: &EnumDescriptorProto) {
    for value in &kind.value {
        facts.insert(
            format!("value {name}.{}", value.name()),
            format!("number {}", value.number()),
        );
    }
}

/// What one says and the other does not, or otherwise.
fn compare(
    ours: &BTreeMap<String, String>,
    official: &BTreeMap<String, String>,
    says: Says,
) -> impl Iterator<Item = String> {
    let is_gone = |name: &str| match says {
        Says::Same => false,
        Says::Less(words) => words.iter().any(|word| name.contains(word)),
    };
    let names: BTreeSet<&String> = ours.keys().chain(official.keys()).collect();
    let differences = names
        .into_iter()
        .filter_map(|name| match (ours.get(name), official.get(name)) {
            (Some(ours), Some(official)) if ours == official => None,
            (Some(ours), Some(official)) => Some(format!("{name} is {ours:?}, and officially {official:?}")),
            (None, _) if is_gone(name) => None,
            (None, _) => Some(format!("{name} is missing")),
            (_, None) if says != Says::Same => None,
            (_, None) => Some(format!("{name} is not official")),
        });
    differences.collect::<Vec<_>>().into_iter()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_of_any_kind_is_told() {
        let file = |body: &str| {
            let folder = std::env::temp_dir().join(format!("dotmesh-wire-{}", std::process::id()));
            std::fs::create_dir_all(&folder).unwrap();
            let path = folder.join("a.proto");
            std::fs::write(&path, format!("syntax = \"proto3\"; package a; {body}")).unwrap();
            facts(&path).unwrap()
        };
        let official = file(
            "message M { string a = 1; repeated E e = 2; enum E { NONE = 0; } } service S { rpc C(M) returns (M); }",
        );
        assert_eq!(compare(&official, &official, Says::Same).count(), 0);
        for (other, wanted) in [
            (
                "message M { string a = 3; repeated E e = 2; enum E { NONE = 0; } } service S { rpc C(M) returns (M); }",
                "field M.a is",
            ),
            (
                "message M { bytes a = 1; repeated E e = 2; enum E { NONE = 0; } } service S { rpc C(M) returns (M); }",
                "field M.a is",
            ),
            (
                "message M { string a = 1; E e = 2; enum E { NONE = 0; } } service S { rpc C(M) returns (M); }",
                "field M.e is",
            ),
            (
                "message M { string a = 1; repeated E e = 2; enum E { ONE = 0; } } service S { rpc C(M) returns (M); }",
                "value M.E.NONE is missing",
            ),
            (
                "message M { repeated E e = 2; enum E { NONE = 0; } } service S { rpc C(M) returns (M); }",
                "field M.a is missing",
            ),
            (
                "message M { string a = 1; repeated E e = 2; enum E { NONE = 0; } } service S { rpc C(M) returns (stream M); }",
                "call S.C is",
            ),
            (
                "message M { string a = 1; repeated E e = 2; enum E { NONE = 0; } } message N {} service S { rpc C(M) returns (M); }",
                "message N is not official",
            ),
        ] {
            let told: Vec<String> = compare(&file(other), &official, Says::Same).collect();
            assert!(told.iter().any(|told| told.starts_with(wanted)), "{told:?}");
        }
    }

    #[test]
    fn of_an_older_file_all_is_kept_but_what_was_taken_out() {
        let facts = |all: &[(&str, &str)]| {
            let all = all.iter().map(|(name, says)| ((*name).to_owned(), (*says).to_owned()));
            all.collect::<BTreeMap<String, String>>()
        };
        let older = facts(&[("field M.a", "number 1"), ("field M.old", "number 2")]);
        let told = |ours: &[(&str, &str)]| compare(&facts(ours), &older, Says::Less(&["old"])).collect::<Vec<_>>();
        assert!(told(&[("field M.a", "number 1"), ("field M.new", "number 3")]).is_empty());
        assert_eq!(told(&[]), ["field M.a is missing"]);
        assert_eq!(told(&[("field M.a", "number 2")]).len(), 1);
        assert_eq!(told(&[("field M.a", "number 1"), ("field M.old", "number 3")]).len(), 1);
    }
}
