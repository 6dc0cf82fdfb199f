//! The Dot's dataset: reading it, making it, and writing its properties.

use std::collections::BTreeMap;
use std::sync::Arc;

use dotmesh_model::id::DotId;
use dotmesh_mount::Mount;
use dotmesh_mutant::{Mutant, is_planted};
use dotmesh_zfs::{
    CreateKind, CreateRequest, ErrorKind, GetRequest, ObjectName, PropName, PropValue, Properties, Source, Zfs,
};

use super::{Error, KnownPool, Ops};
use crate::layout::{DotIdentity, DotState, encode_deleted, encode_identity};

impl<Z: Zfs, M: Mount> Ops<Z, M> {
    /// Reads a Dot's properties, from disk, by one `zfs get`. Nothing when the Dot is certainly not there.
    pub(crate) async fn read_dot(&self, pool: &KnownPool, dot: DotId) -> Result<Option<Arc<DotState>>, Error> {
        let Some(state) = self.fetch_dot(pool, dot).await? else {
            self.index.remove(dot);
            return Ok(None);
        };
        let state = Arc::new(state);
        self.index.add(dot);
        self.cache.put_dot(dot, Arc::clone(&state));
        Ok(Some(state))
    }

    /// The same for whoever does not have the Dot's lock: nothing of it is remembered.
    ///
    /// # Errors
    /// What cannot be read.
    pub(crate) async fn fetch_dot(&self, pool: &KnownPool, dot: DotId) -> Result<Option<DotState>, Error> {
        let request = GetRequest::local(vec![ObjectName::from(pool.layout.dot(dot))], Vec::new());
        let rows = match self.host.zfs.get(&request).await {
            Ok(rows) => rows,
            Err(_) if is_planted(Mutant::AnyErrorMeansAbsentFromThePool) => return Ok(None),
            Err(error) => {
                let absent = self.failed(pool, &format!("reading Dot {dot}"), "", &error).await;
                absent.absent_as(())?;
                return Ok(None);
            }
        };
        let local = rows.iter().filter(|row| row.source == Source::Local);
        Ok(Some(DotState::decode(
            local.map(|row| (&row.property, row.value.as_str())),
        )?))
    }

    /// What a Dot's dataset says; nothing when the Dot is certainly not there.
    ///
    /// # Errors
    /// What cannot be read.
    pub async fn dot_state(&self, dot: DotId) -> Result<Option<Arc<DotState>>, Error> {
        let pool = self.known_pool()?;
        let _guard = self.host.dots.shared(dot).await;
        self.read_dot(&pool, dot).await
    }

    /// What the dataset of each Dot says. One that cannot be read is left out.
    ///
    /// # Errors
    /// Those of the pool.
    pub async fn dot_states(&self) -> Result<BTreeMap<DotId, DotState>, Error> {
        let pool = self.known_pool()?;
        let states = self.read_dots(&pool).await;
        states.map_err(|error| Error::zfs("reading Dots", &error))
    }

    /// A Dot that is there and not deleted, from disk.
    pub(crate) async fn living_dot(&self, pool: &KnownPool, dot: DotId) -> Result<Arc<DotState>, Error> {
        living(dot, self.read_dot(pool, dot).await?)
    }

    /// The same, from the copy in memory when there is one.
    pub(crate) async fn living_dot_cached(&self, pool: &KnownPool, dot: DotId) -> Result<Arc<DotState>, Error> {
        match self.cache.dot(dot) {
            Some(state) => living(dot, Some(state)),
            None => self.living_dot(pool, dot).await,
        }
    }

    /// Writes properties of a Dot in one transaction. The caller has the Dot's lock exclusively.
    pub(crate) async fn set_dot(
        &self,
        pool: &KnownPool,
        dot: DotId,
        properties: impl IntoIterator<Item = (PropName, PropValue)>,
    ) -> Result<(), Error> {
        self.cache.drop_dot(dot);
        let properties: Properties = properties.into_iter().collect();
        match self.host.zfs.set(&pool.layout.dot(dot), &properties).await {
            Ok(()) => Ok(()),
            Err(error) => Err(self
                .failed(pool, &format!("writing Dot {dot}"), &format!("Dot {dot}"), &error)
                .await),
        }
    }

    /// Removes a property of a Dot. The caller has the Dot's lock exclusively.
    pub(crate) async fn unset_dot(&self, pool: &KnownPool, dot: DotId, property: &PropName) -> Result<(), Error> {
        self.cache.drop_dot(dot);
        match self.host.zfs.inherit(&pool.layout.dot(dot), property).await {
            Ok(()) => Ok(()),
            Err(error) => Err(self
                .failed(pool, &format!("writing Dot {dot}"), &format!("Dot {dot}"), &error)
                .await),
        }
    }

    /// Takes back a Dot that was made and never used, because what should have been in it could not be made. One that
    /// has a branch or a claim stays.
    ///
    /// # Errors
    /// Those of the pool; a Dot that is not there is fine.
    pub async fn withdraw_dot(self: &Arc<Self>, dot: DotId) -> Result<(), Error> {
        let pool = self.known_pool()?;
        let guard = self.host.dots.exclusive(dot).await;
        match self.read_dot(&pool, dot).await? {
            Some(state) if state.branches.is_empty() && state.claims.is_empty() && !state.deleted => {
                self.set_dot(&pool, dot, [encode_deleted()]).await?;
                drop(guard);
                self.delete_dot(dot).await.map(drop)
            }
            Some(_) | None => Ok(()),
        }
    }

    /// A Dot that is there becomes another's: it is not made, and says from now on who it is.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Deleted`].
    pub async fn take_over_dot(&self, dot: DotId, identity: &DotIdentity) -> Result<(), Error> {
        let pool = self.known_pool()?;
        let _guard = self.host.dots.exclusive(dot).await;
        let state = self.living_dot(&pool, dot).await?;
        if state.identity.as_ref() == Some(identity) {
            return Ok(());
        }
        self.set_dot(&pool, dot, [encode_identity(identity)]).await
    }

    /// The Dot's dataset is there and says who it is.
    ///
    /// # Errors
    /// [`Error::Deleted`]; [`Error::Conflict`] when it says that it is another.
    pub async fn ensure_dot(&self, dot: DotId, identity: &DotIdentity) -> Result<(), Error> {
        let pool = self.known_pool()?;
        let _guard = self.host.dots.exclusive(dot).await;
        let (name, value) = encode_identity(identity);
        let Some(state) = self.read_dot(&pool, dot).await? else {
            let create = CreateRequest {
                dataset: pool.layout.dot(dot),
                kind: CreateKind::Filesystem,
                properties: Properties::new().with(name, value),
                parents: false,
            };
            self.note_usage();
            return match self.host.zfs.create(&create).await {
                Ok(()) => {
                    self.index.add(dot);
                    Ok(())
                }
                Err(error) if error.kind == ErrorKind::ParentNotFound => {
                    Err(self.absent(&pool, &format!("{}", pool.layout.root())).await)
                }
                Err(error) => Err(Error::zfs(&format!("creating Dot {dot}"), &error)),
            };
        };
        if state.deleted {
            return Err(deleted(dot));
        }
        match &state.identity {
            Some(current) if current == identity => Ok(()),
            Some(current) => Err(Error::Conflict(format!(
                "Dot {dot} is {}/{} in the pool, not {}/{}",
                current.namespace, current.name, identity.namespace, identity.name
            ))),
            None => self.set_dot(&pool, dot, [(name, value)]).await,
        }
    }
}

fn living(dot: DotId, state: Option<Arc<DotState>>) -> Result<Arc<DotState>, Error> {
    match state {
        None => Err(Error::NotFound(format!("Dot {dot} is not in the pool"))),
        Some(state) if state.deleted => Err(deleted(dot)),
        Some(state) => Ok(state),
    }
}

fn deleted(dot: DotId) -> Error {
    Error::Deleted(format!("Dot {dot} is being deleted"))
}
