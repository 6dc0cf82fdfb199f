//! `cargo xtask tidy`: what the compiler and clippy do not see about the shape of the workspace.
//!
//! Each check returns all it finds as sentences; it knows file names and words, not what the code does.

mod layout;
mod named;
mod text;

use anyhow::{Result, bail};

/// Runs all checks.
///
/// # Errors
/// With everything that is wrong, one line each.
pub(crate) fn check() -> Result<()> {
    let mut wrong = layout::check()?;
    wrong.extend(text::check()?);
    wrong.extend(named::check()?);
    if wrong.is_empty() {
        return Ok(());
    }
    bail!("{} things are not tidy:\n{}", wrong.len(), wrong.join("\n"));
}
