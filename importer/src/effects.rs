//! Everything that is done to the target passes here, so that a test can end a copy at each of its steps.

use std::io;

use crate::error::CopyError;

/// Asked before each effect, with what it is; an error ends the copy there, as its death would.
pub type Before<'a> = &'a dyn Fn(&'static str) -> io::Result<()>;

/// The way to the target.
#[derive(Clone, Copy)]
pub struct Effects<'a>(pub Before<'a>);

impl Effects<'_> {
    /// One effect on what lies at `path` in the target.
    ///
    /// # Errors
    /// The effect's, with what was done and where.
    pub fn run<T, E: Into<io::Error>>(
        &self,
        what: &'static str,
        path: &[u8],
        effect: impl FnOnce() -> Result<T, E>,
    ) -> Result<T, CopyError> {
        (self.0)(what)
            .and_then(|()| effect().map_err(Into::into))
            .map_err(|error| CopyError::target(what, path, error))
    }
}
