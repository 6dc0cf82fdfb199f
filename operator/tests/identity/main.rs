//! Who a node is, over real connections: the operator's enrolment, its calls of nodes and csi-node's servers as they
//! are in production, over the API in memory and the loopback interface. Time passes only when a test says so.

#![expect(clippy::unwrap_used, reason = "what goes wrong here is a failed test")]

mod away;
mod foreign;
mod renewal;
mod revoked;
mod stolen;
mod world;
