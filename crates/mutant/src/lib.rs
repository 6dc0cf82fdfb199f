//! Planted defects: places in the programs where a decision can be made wrongly on purpose, to prove that the
//! simulator's oracles notice.
//!
//! Without the feature `planted`, [`is_planted`] is the constant `false` and the wrong branch is compiled away.

#[cfg(feature = "planted")]
mod choice {
    use std::sync::Mutex;

    static PLANTED: Mutex<Option<&'static str>> = Mutex::new(None);

    /// From now on this defect is there, and no other.
    pub fn plant(name: Option<&'static str>) {
        *PLANTED.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = name;
    }

    /// Whether the decision of this name is to be made wrongly.
    #[must_use]
    pub fn is_planted(name: &str) -> bool {
        *PLANTED.lock().unwrap_or_else(std::sync::PoisonError::into_inner) == Some(name)
    }
}

#[cfg(feature = "planted")]
pub use choice::{is_planted, plant};

/// Whether the decision of this name is to be made wrongly: never.
#[cfg(not(feature = "planted"))]
#[must_use]
#[inline(always)]
#[expect(clippy::inline_always, reason = "nothing of it may be left in what ships")]
pub const fn is_planted(_: &str) -> bool {
    false
}
