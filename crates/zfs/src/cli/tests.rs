//! Which command each request becomes.
use super::*;

#[test]
fn placeholder() {}
