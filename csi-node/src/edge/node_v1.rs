//! `dotmesh.node.v1`, for the operator.

pub(super) mod parse;
mod stored;

use std::future::Future;
use std::sync::Arc;

use dotmesh_csi_proto::node as proto;
use dotmesh_csi_proto::node::node_server::Node;
use dotmesh_model::id::{BranchId, ClaimUid, CommitId, DotId};
use dotmesh_mount::Mount;
use dotmesh_zfs::{Guid, Zfs};
use futures::StreamExt;
use tokio_stream::wrappers::WatchStream;
use tonic::codegen::BoxStream;
use tonic::{Request, Response, Status};
use uuid::Uuid;

use super::order::{Order, Sent};
use super::{Calls, invalid, parse};
use crate::ops::{Error, Ops, Pools, Stock};

/// The service.
#[derive(Debug)]
pub struct NodeService<Z, M> {
    pools: Arc<Pools<Z, M>>,
    calls: Calls,
    order: Order,
}

impl<Z, M> NodeService<Z, M> {
    /// The service over these operations.
    #[must_use]
    pub fn new(pools: Arc<Pools<Z, M>>, calls: Calls) -> Self {
        Self {
            pools,
            calls,
            order: Order::default(),
        }
    }
}

impl<Z: Zfs, M: Mount> NodeService<Z, M> {
    /// An operation on objects: in the turn of each, and on the pool that is meant, which was compared.
    async fn obey<T, F>(
        &self,
        rpc: &'static str,
        (sent, pool): (Option<Sent>, Guid),
        about: &[Uuid],
        operation: impl FnOnce(Arc<Ops<Z, M>>) -> F + Send + 'static,
    ) -> Result<T, Status>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, Error>> + Send + 'static,
    {
        for object in about {
            self.order.admit(sent, *object)?;
        }
        let pools = Arc::clone(&self.pools);
        let compared = async move {
            let ops = pools.of_guid(pool).await?;
            ops.check_compared()?;
            operation(ops).await
        };
        self.calls.run(rpc, compared).await
    }
}

/// When a call was sent, and which pool it means.
fn sent_to<Q>(request: &Request<Q>, pool: u64) -> Result<(Option<Sent>, Guid), Status> {
    Ok((Sent::of(request), pool_guid(pool)?))
}

fn pool_guid(guid: u64) -> Result<Guid, Status> {
    match guid {
        0 => Err(invalid("pool_guid is missing")),
        guid => Ok(Guid(guid)),
    }
}

impl<Z, M> Clone for NodeService<Z, M> {
    fn clone(&self) -> Self {
        Self {
            pools: Arc::clone(&self.pools),
            calls: self.calls.clone(),
            order: self.order.clone(),
        }
    }
}

#[tonic::async_trait]
impl<Z: Zfs, M: Mount> Node for NodeService<Z, M> {
    async fn watch(&self, _: Request<proto::WatchRequest>) -> Result<Response<BoxStream<proto::WatchEvent>>, Status> {
        let states = WatchStream::new(self.pools.watch());
        let events = states.filter_map(|states| async { states.map(|state| Ok(parse::node_state(state))) });
        Ok(Response::new(Box::pin(events)))
    }

    async fn ensure_pool(
        &self,
        request: Request<proto::EnsurePoolRequest>,
    ) -> Result<Response<proto::EnsurePoolResponse>, Status> {
        let request = parse::ensure_pool(request.into_inner())?;
        let pools = Arc::clone(&self.pools);
        let operation = async move { pools.ensure_pool(&request).await };
        let (state, created) = self.calls.run("EnsurePool", operation).await?;
        Ok(Response::new(proto::EnsurePoolResponse {
            pool: Some(parse::pool_state(state)),
            created,
        }))
    }

    async fn ensure_dot(
        &self,
        request: Request<proto::EnsureDotRequest>,
    ) -> Result<Response<proto::EnsureDotResponse>, Status> {
        let sent = sent_to(&request, request.get_ref().pool_guid)?;
        let take_over = request.get_ref().take_over;
        let (dot, identity) = parse::ensure_dot(request.into_inner())?;
        let operation = async move |ops: Arc<Ops<Z, M>>| match take_over {
            true => ops.take_over_dot(dot, &identity).await,
            false => ops.ensure_dot(dot, &identity).await,
        };
        self.obey("EnsureDot", sent, &[dot.uuid()], operation).await?;
        Ok(Response::new(proto::EnsureDotResponse {}))
    }

    async fn ensure_branch(
        &self,
        request: Request<proto::EnsureBranchRequest>,
    ) -> Result<Response<proto::EnsureBranchResponse>, Status> {
        let sent = sent_to(&request, request.get_ref().pool_guid)?;
        let request = parse::ensure_branch(request.into_inner())?;
        let branch = request.branch.uuid();
        let operation = async move |ops: Arc<Ops<Z, M>>| ops.ensure_branch(&request).await;
        let volumes = self.obey("EnsureBranch", sent, &[branch], operation).await?;
        Ok(Response::new(proto::EnsureBranchResponse {
            volumes: volumes.into_iter().map(parse::volume_state).collect(),
        }))
    }

    async fn commit(&self, request: Request<proto::CommitRequest>) -> Result<Response<proto::CommitResponse>, Status> {
        let sent = sent_to(&request, request.get_ref().pool_guid)?;
        let requests = parse::commits(request.into_inner())?;
        let commits: Vec<Uuid> = requests.iter().map(|request| request.commit.uuid()).collect();
        let operation = async move |ops: Arc<Ops<Z, M>>| ops.commit_together(&requests).await;
        let taken = self.obey("Commit", sent, &commits, operation).await?;
        // It is the first of those that were asked for.
        let state = taken.into_iter().next();
        let state = state.ok_or_else(|| Status::internal("a commit without an answer; repeat"))?;
        Ok(Response::new(parse::commit_state(state)))
    }

    async fn attach(&self, request: Request<proto::AttachRequest>) -> Result<Response<proto::AttachResponse>, Status> {
        let sent = sent_to(&request, request.get_ref().pool_guid)?;
        let request = parse::attach(&request.into_inner())?;
        let operation = async move |ops: Arc<Ops<Z, M>>| ops.attach(&request).await;
        self.obey("Attach", sent, &[request.claim.uuid()], operation).await?;
        Ok(Response::new(proto::AttachResponse {}))
    }

    async fn detach(&self, request: Request<proto::DetachRequest>) -> Result<Response<proto::DetachResponse>, Status> {
        let sent = sent_to(&request, request.get_ref().pool_guid)?;
        let proto::DetachRequest {
            dot_id,
            claim_uid,
            pool_guid: _,
        } = request.into_inner();
        let (dot, claim): (_, ClaimUid) = (parse("dot_id", &dot_id)?, parse("claim_uid", &claim_uid)?);
        let operation = async move |ops: Arc<Ops<Z, M>>| ops.detach(dot, claim).await;
        self.obey("Detach", sent, &[claim.uuid()], operation).await?;
        Ok(Response::new(proto::DetachResponse {}))
    }

    async fn delete_commit(
        &self,
        request: Request<proto::DeleteCommitRequest>,
    ) -> Result<Response<proto::DeleteResponse>, Status> {
        let sent = sent_to(&request, request.get_ref().pool_guid)?;
        let proto::DeleteCommitRequest {
            dot_id,
            commit_id,
            head_id,
            pool_guid: _,
        } = request.into_inner();
        let (dot, commit): (_, CommitId) = (parse("dot_id", &dot_id)?, parse("commit_id", &commit_id)?);
        let head = parse("head_id", &head_id)?;
        let operation = async move |ops: Arc<Ops<Z, M>>| ops.delete_commit(dot, commit, head).await;
        let collected = self.obey("DeleteCommit", sent, &[commit.uuid()], operation).await?;
        Ok(Response::new(proto::DeleteResponse { collected }))
    }

    async fn delete_branch(
        &self,
        request: Request<proto::DeleteBranchRequest>,
    ) -> Result<Response<proto::DeleteResponse>, Status> {
        let sent = sent_to(&request, request.get_ref().pool_guid)?;
        let proto::DeleteBranchRequest {
            dot_id,
            branch_id,
            head_ids,
            pool_guid: _,
        } = request.into_inner();
        let (dot, branch): (_, BranchId) = (parse("dot_id", &dot_id)?, parse("branch_id", &branch_id)?);
        let heads: Result<Vec<_>, Status> = head_ids.iter().map(|head| parse("head_ids", head)).collect();
        let heads = heads?;
        let operation = async move |ops: Arc<Ops<Z, M>>| ops.delete_branch(dot, branch, &heads).await;
        let collected = self.obey("DeleteBranch", sent, &[branch.uuid()], operation).await?;
        Ok(Response::new(proto::DeleteResponse { collected }))
    }

    async fn delete_dot(
        &self,
        request: Request<proto::DeleteDotRequest>,
    ) -> Result<Response<proto::DeleteResponse>, Status> {
        let sent = sent_to(&request, request.get_ref().pool_guid)?;
        let dot: DotId = parse("dot_id", &request.into_inner().dot_id)?;
        let operation = async move |ops: Arc<Ops<Z, M>>| ops.delete_dot(dot).await;
        let collected = self.obey("DeleteDot", sent, &[dot.uuid()], operation).await?;
        Ok(Response::new(proto::DeleteResponse { collected }))
    }

    async fn describe_dot(
        &self,
        request: Request<proto::DescribeDotRequest>,
    ) -> Result<Response<proto::DescribeDotResponse>, Status> {
        let request = request.into_inner();
        let pool = pool_guid(request.pool_guid)?;
        let (dot, after) = parse::describe_dot(&request)?;
        let pools = Arc::clone(&self.pools);
        let operation = async move {
            let ops = pools.of_guid(pool).await?;
            ops.check_compared()?;
            ops.describe_dot(dot).await
        };
        let description = self.calls.run("DescribeDot", operation).await?;
        Ok(Response::new(stored::description(description, after)))
    }

    async fn find_missing(
        &self,
        request: Request<proto::FindMissingRequest>,
    ) -> Result<Response<proto::FindMissingResponse>, Status> {
        let request = request.into_inner();
        let pool = pool_guid(request.pool_guid)?;
        let recorded = parse::recorded(&request)?;
        let pools = Arc::clone(&self.pools);
        let operation = async move { pools.of_guid(pool).await?.find_missing(&recorded).await };
        let Stock { missing, dots } = self.calls.run("FindMissing", operation).await?;
        Ok(Response::new(proto::FindMissingResponse {
            missing: missing.into_iter().map(parse::missing).collect(),
            dots: dots.into_iter().map(stored::dot_in_pool).collect(),
        }))
    }
}
