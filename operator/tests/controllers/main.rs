//! The controllers over an API and nodes in memory.

mod branches;
mod commits;
mod deletion;
mod dots;
mod faults;
mod own_dots;
mod pools;
mod world;
