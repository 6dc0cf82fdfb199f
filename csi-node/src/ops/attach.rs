//! Attachments: what a claim's handle stands for.

use dotmesh_model::id::{BranchId, ClaimUid, DotId, VolumeId};
use dotmesh_mount::Mount;
use dotmesh_zfs::Zfs;

use super::{Error, Ops};
use crate::layout::{Attachment, BranchRecord, Follows, claim_property, encode_attachment};

/// What a claim shall follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AttachRequest {
    /// The Dot.
    pub dot: DotId,
    /// The claim.
    pub claim: ClaimUid,
    /// Which volume it gets.
    pub volume: VolumeId,
    /// Of which branch; absent: of the one the Dot has checked out.
    pub branch: Option<BranchId>,
}

impl<Z: Zfs, M: Mount> Ops<Z, M> {
    /// Writes the attachment; from then on the claim's handle can be published.
    ///
    /// # Errors
    /// [`Error::NotFound`] and [`Error::Deleted`] of Dot and branch; [`Error::Conflict`] when the claim is attached to
    /// another volume.
    pub async fn attach(&self, request: &AttachRequest) -> Result<(), Error> {
        let &AttachRequest {
            dot,
            claim,
            volume,
            branch,
        } = request;
        let pool = self.known_pool()?;
        let _guard = self.host.dots.exclusive(dot).await;
        let state = self.living_dot(&pool, dot).await?;
        let follows = match branch {
            None => Follows::Checkout,
            Some(branch) => match state.branches.get(&branch) {
                Some(BranchRecord::Live { .. }) => Follows::Branch(branch),
                Some(BranchRecord::Dead { .. }) => {
                    return Err(Error::Deleted(format!("branch {branch} of Dot {dot} is being deleted")));
                }
                None => return Err(Error::NotFound(format!("branch {branch} is not in Dot {dot}"))),
            },
        };
        let wanted = Attachment { volume, follows };
        match state.claims.get(&claim) {
            Some(current) if *current == wanted => Ok(()),
            Some(current) if current.volume != volume => Err(Error::Conflict(format!(
                "claim {claim} is attached to volume {}, not {volume}",
                current.volume
            ))),
            Some(_) | None => self.set_dot(&pool, dot, [encode_attachment(claim, wanted)]).await,
        }
    }

    /// Removes the attachment. No data is touched, and what is mounted stays mounted.
    ///
    /// # Errors
    /// Those of the pool; a Dot or attachment that is not there is fine.
    pub async fn detach(&self, dot: DotId, claim: ClaimUid) -> Result<(), Error> {
        let pool = self.known_pool()?;
        let _guard = self.host.dots.exclusive(dot).await;
        match self.read_dot(&pool, dot).await? {
            Some(state) if state.claims.contains_key(&claim) => {
                self.unset_dot(&pool, dot, &claim_property(claim)).await
            }
            Some(_) | None => Ok(()),
        }
    }
}
