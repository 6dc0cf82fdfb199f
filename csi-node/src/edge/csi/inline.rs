//! Inline volumes: those that stand in their pod's spec itself and name a commit. Which branch such a volume shows, the
//! operator says; it is the one thing of publishing for which it is needed.

use std::collections::HashMap;

use dotmesh_csi_proto::csi::NodePublishVolumeRequest;
use dotmesh_csi_proto::csi::volume_capability::AccessType;
use dotmesh_csi_proto::node::inline_client::InlineClient;
use dotmesh_csi_proto::node::{LendRequest, LendResponse};
use dotmesh_model::format::VolumeFormat;
use dotmesh_model::handle::VolumeRef;
use dotmesh_telemetry::Chain;
use tonic::Status;

use super::capability::parse_capability;
use super::{KUBERNETES, invalid, node::parse_path};
use crate::edge::node_v1::parse::parse_format;
use crate::operator::Operator;
use crate::ops::{PublishRequest, Wanted};

/// Whether a volume stands in its pod's spec itself, as the kubelet tells when the CSIDriver has `podInfoOnMount`.
const EPHEMERAL: &str = "csi.storage.k8s.io/ephemeral";
/// Whether the kubelet asks for an inline volume.
pub(super) fn is_inline(request: &NodePublishVolumeRequest) -> bool {
    request.volume_context.get(EPHEMERAL).is_some_and(|said| said == "true")
}

/// Who says which branch an inline volume shows.
#[tonic::async_trait]
pub trait Lend: std::fmt::Debug + Send + Sync {
    /// The branch for this volume; the same one whenever it is asked for. The token is filled in here.
    ///
    /// # Errors
    /// What the kubelet shall be told.
    async fn lend(&self, request: LendRequest) -> Result<LendResponse, Status>;
}

#[tonic::async_trait]
impl Lend for Operator {
    async fn lend(&self, request: LendRequest) -> Result<LendResponse, Status> {
        let unavailable = |error: &dyn std::error::Error| {
            Status::unavailable(format!(
                "the operator says what an inline volume shows, and it cannot be asked: {}",
                Chain(error)
            ))
        };
        let token = self.token().await.map_err(|error| unavailable(&error))?;
        let channel = self.connect().await.map_err(|error| unavailable(&error))?;
        let lent = InlineClient::new(channel)
            .lend(LendRequest { token, ..request })
            .await?;
        Ok(lent.into_inner())
    }
}

/// What is asked of the operator.
fn parse_request(request: &NodePublishVolumeRequest) -> Result<LendRequest, Status> {
    match request.volume_id.parse() {
        Ok(VolumeRef::Inline) => {}
        Ok(VolumeRef::Claim(_)) | Err(_) => {
            return Err(invalid(format!(
                "volume_id {:?} is none that the kubelet gives to inline volumes",
                request.volume_id
            )));
        }
    }
    let said = |key: &str| {
        let key = format!("{KUBERNETES}{key}");
        let value = request.volume_context.get(&key).filter(|value| !value.is_empty());
        value.cloned().ok_or_else(|| {
            invalid(format!(
                "volume_context has no {key}: the CSIDriver needs podInfoOnMount"
            ))
        })
    };
    let attributes = request.volume_context.iter();
    let attributes: HashMap<String, String> = attributes
        .filter(|(key, _)| !key.starts_with(KUBERNETES))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    Ok(LendRequest {
        token: String::new(),
        pod_namespace: said("pod.namespace")?,
        pod_name: said("pod.name")?,
        pod_uid: said("pod.uid")?,
        volume_id: request.volume_id.clone(),
        attributes,
    })
}

fn parse_lent(lent: &LendResponse) -> Result<(Wanted, VolumeFormat), Status> {
    let malformed = |error: &dyn std::fmt::Display| Status::internal(format!("what the operator lends: {error}"));
    let wanted = Wanted::Lent {
        dot: lent.dot_id.parse().map_err(|error| malformed(&error))?,
        branch: lent.branch_id.parse().map_err(|error| malformed(&error))?,
        volume: lent.volume_id.parse().map_err(|error| malformed(&error))?,
    };
    let format = parse_format(lent.format).ok_or_else(|| malformed(&"no format of ours"))?;
    Ok((wanted, format))
}

/// What is to be published, when the operator has said of what.
///
/// # Errors
/// What is wrong with the request, and what the operator says.
pub(super) async fn borrow(
    request: NodePublishVolumeRequest,
    lender: Option<&dyn Lend>,
) -> Result<PublishRequest, Status> {
    let asked = parse_request(&request)?;
    let target = parse_path("target_path", request.target_path)?;
    let capability = request.volume_capability.as_ref();
    let said = match capability.and_then(|capability| capability.access_type.as_ref()) {
        Some(AccessType::Mount(mount)) => !mount.fs_type.is_empty(),
        Some(AccessType::Block(_)) | None => true,
    };
    let mut capability = parse_capability(capability).map_err(invalid)?;
    if capability.format == VolumeFormat::Block {
        return Err(invalid("an inline volume is no block device"));
    }
    let lender = lender.ok_or_else(|| {
        Status::unimplemented("inline volumes come from the operator, and this node works without one")
    })?;
    let (volume, format) = parse_lent(&lender.lend(asked).await?)?;
    // Nobody has to say what the volume is; who does has to be right.
    if !said {
        capability.format = format;
    }
    Ok(capability.publish(volume, target, request.readonly))
}
