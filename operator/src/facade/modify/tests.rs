use dotmesh_crds::Branch;
use dotmesh_model::id::{DotId, VolumeId};
use tonic::{Code, Status};

use super::*;

const CLAIM: &str = "0c5a6f6e-1111-4222-8333-0000000000c1";
const DOT: &str = "0c5a6f6e-1111-4222-8333-0000000000d1";

fn handle() -> Handle {
    let dot: DotId = DOT.parse().unwrap();
    Handle {
        dot,
        volume: VolumeId::derive(dot, "db"),
        claim: CLAIM.parse().unwrap(),
    }
}

fn parse(parameters: &[(&str, &str)]) -> Result<ModifyVolume, ModifyError> {
    let parameters = parameters
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    ModifyVolume::try_from(ControllerModifyVolumeRequest {
        volume_id: handle().to_string(),
        mutable_parameters: parameters.collect(),
        ..ControllerModifyVolumeRequest::default()
    })
}

/// The list of volumes, the claim's wish, and the branch's volume, each with these properties.
fn world(listed: &str, wish: &str, there: &str) -> World {
    let id = handle().volume;
    let dot: Dot = serde_yaml::from_str(&format!(
        "{{apiVersion: dotmesh.io/v1alpha1, kind: Dot, metadata: {{name: shop, namespace: dev, uid: {DOT}}}, \
         spec: {{volumes: [{{name: db, size: 1Gi, zfs: {listed}}}]}}, \
         status: {{id: {DOT}, node: n1, checkout: main, volumes: [{{name: db, id: {id}, size: 1Gi}}], claims: [\
         {{uid: {CLAIM}, namespace: dev, name: pg, volume: db, size: 1Gi, attributes: {wish}}}, \
         {{uid: other, namespace: dev, name: on-branch, volume: db, size: 1Gi, attributes: {{compression: gzip}}}}, \
         {{uid: third, namespace: dev, name: cache, volume: cache, size: 1Gi, attributes: {{compression: gzip}}}}]}}}}"
    ))
    .unwrap();
    let branch: Branch = serde_yaml::from_str(&format!(
        "{{apiVersion: dotmesh.io/v1alpha1, kind: Branch, metadata: {{name: shop-main, namespace: dev}}, spec: {{dot: shop, name: main}}, \
         status: {{volumes: [{{name: db, id: {id}, guid: '7', size: 1Gi, cloned: false, zfs: {there}}}]}}}}"
    ))
    .unwrap();
    World {
        dot: Some(dot),
        branch: Some(branch),
        pool: None,
        has_asked: false,
    }
}

#[test]
fn what_is_asked_for_is_recorded_waited_for_and_answered() {
    let request = parse(&[("compression", "zstd"), ("recordsize", "16Ki")]).unwrap();
    let wish = "{compression: zstd, recordsize: 16Ki}";
    let Ok(Step::Write(all)) = plan(&request, &world("null", "null", "null")) else {
        panic!("it is recorded")
    };
    let said: Vec<bool> = all.iter().map(|entry| entry.attributes.is_some()).collect();
    assert_eq!(
        said,
        [true, false, true],
        "the other claim of the volume says nothing any more"
    );
    assert_eq!(all[0].attributes, ZfsProperties::of(&request.tuning));
    assert_eq!(
        plan(&request, &world("null", wish, "{compression: lz4}")),
        Ok(Step::Wait)
    );
    assert_eq!(plan(&request, &world("null", wish, wish)), Ok(Step::Answer(())));
    assert_eq!(
        plan(&request, &world(wish, "null", wish)),
        Ok(Step::Answer(())),
        "the Dot says the same"
    );
    let mut asked = world("null", "{compression: lz4}", "null");
    asked.has_asked = true;
    assert_eq!(plan(&request, &asked), Err(Refusal::Superseded));
}

#[test]
fn what_cannot_be_is_told() {
    let code = |error: ModifyError| Status::from(error).code();
    for (parameters, message) in [
        (vec![("iops", "7")], "\"iops\""),
        (vec![("poolClass", "fast")], "\"poolClass\""),
        (vec![("recordsize", "7")], "recordsize \"7\""),
        (vec![("volblocksize", "8Ki")], "decided when a volume is made"),
    ] {
        let error = parse(&parameters).unwrap_err();
        assert!(error.to_string().contains(message), "{error}");
        assert_eq!(code(error), Code::InvalidArgument);
    }
    let request = parse(&[("compression", "zstd")]).unwrap();
    let refused = plan(&request, &world("{compression: lz4}", "null", "{compression: lz4}")).unwrap_err();
    assert!(refused.to_string().contains("change it there"), "{refused}");
    assert_eq!(code(refused.into()), Code::InvalidArgument);
    let thin = parse(&[("thin", "true")]).unwrap();
    let refused = plan(&thin, &world("null", "null", "null")).unwrap_err();
    assert!(matches!(refused, Refusal::OtherFormat { .. }), "{refused}");
    let gone = plan(&request, &World::default()).unwrap_err();
    assert_eq!(code(gone.into()), Code::NotFound);
    let mut branchless = world("null", "null", "null");
    branchless.branch = None;
    assert_eq!(plan(&request, &branchless), Err(Refusal::Going("shop".to_owned())));
}
