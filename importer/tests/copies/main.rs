//! Copies on this machine's own filesystem, by root: every kind of entry, and every way to end before the end.

#![expect(clippy::unwrap_used, reason = "what goes wrong here is a failed test")]

mod ends;
mod kinds;
mod world;
