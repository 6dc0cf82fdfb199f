//! Who gets a certificate, and for which node.

use super::*;

fn review(text: &str) -> TokenReviewStatus {
    serde_yaml::from_str(text).unwrap()
}

const GOOD: &str = "{authenticated: true, audiences: [dotmesh.io/enroll], user: {username: 'system:serviceaccount:dotmesh-system:dotmesh-csi-node', \
     extra: {authentication.kubernetes.io/pod-name: [csi-node-x], authentication.kubernetes.io/pod-uid: [u1], authentication.kubernetes.io/node-name: [n1]}}}";

fn refused(from: &str, to: &str) -> Code {
    assert!(GOOD.contains(from), "{from}");
    let error = parse_review("t", &review(&GOOD.replace(from, to)), "dotmesh-system").unwrap_err();
    Status::from(error).code()
}

#[test]
fn only_a_pod_of_csi_node_with_a_token_for_us_is_believed() {
    let bound = parse_review("t", &review(GOOD), "dotmesh-system").unwrap();
    assert_eq!(
        (bound.name.as_str(), bound.uid.as_str(), bound.node.as_deref()),
        ("csi-node-x", "u1", Some("n1"))
    );
    assert_eq!(
        refused("authenticated: true", "authenticated: false"),
        Code::Unauthenticated
    );
    assert_eq!(
        refused("dotmesh.io/enroll", "https://kubernetes.default.svc"),
        Code::Unauthenticated
    );
    assert_eq!(
        refused(":dotmesh-csi-node", ":dotmesh-operator"),
        Code::PermissionDenied
    );
    assert_eq!(refused(":dotmesh-system:", ":evil:"), Code::PermissionDenied);
    assert_eq!(refused("[u1]", "[]"), Code::PermissionDenied);
    assert_eq!(refused("[csi-node-x]", "[a, b]"), Code::PermissionDenied);
    assert!(parse_review("t", &TokenReviewStatus::default(), "dotmesh-system").is_err());
}

#[test]
fn the_node_is_the_pods_whatever_the_caller_wants() {
    let bound = parse_review("t", &review(GOOD), "dotmesh-system").unwrap();
    let pod = |uid: &str, node: &str| -> Pod {
        serde_yaml::from_str(&format!(
            "{{metadata: {{name: csi-node-x, uid: {uid}}}, spec: {{containers: []{node}}}}}"
        ))
        .unwrap()
    };
    assert_eq!(parse_pod(&bound, Some(&pod("u1", ", nodeName: n1"))).unwrap(), "n1");
    for wrong in [pod("u2", ", nodeName: n1"), pod("u1", ", nodeName: n2"), pod("u1", "")] {
        assert!(parse_pod(&bound, Some(&wrong)).is_err(), "{wrong:?}");
    }
    assert!(parse_pod(&bound, None).is_err());
}
