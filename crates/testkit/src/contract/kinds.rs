//! From a subject to its type.

/// Evaluates an expression with `$kind` as the type of the subject.
macro_rules! of_kind {
    ($subject:expr, $kind:ident => $body:expr) => {
        match $subject {
            $crate::contract::operation::Subject::Dot => {
                type $kind = dotmesh_crds::Dot;
                $body
            }
            $crate::contract::operation::Subject::Branch => {
                type $kind = dotmesh_crds::Branch;
                $body
            }
            $crate::contract::operation::Subject::Commit => {
                type $kind = dotmesh_crds::Commit;
                $body
            }
            $crate::contract::operation::Subject::Pool => {
                type $kind = dotmesh_crds::Pool;
                $body
            }
            $crate::contract::operation::Subject::ConfigMap => {
                type $kind = k8s_openapi::api::core::v1::ConfigMap;
                $body
            }
            $crate::contract::operation::Subject::PersistentVolumeClaim => {
                type $kind = k8s_openapi::api::core::v1::PersistentVolumeClaim;
                $body
            }
        }
    };
}

pub(super) use of_kind;
