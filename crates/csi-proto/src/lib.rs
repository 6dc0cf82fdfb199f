//! The wire: CSI, the kubelet's plugin registration, and `dotmesh.node.v1`, as tonic code. No logic but how lists are paged.

pub mod list;

/// Metadata of each call of `dotmesh.node.v1`: which time of leading its sender is in, a decimal number that only rises.
pub const TERM: &str = "dotmesh-term";

/// Metadata of the same calls: their number in that term, which rises with each.
pub const CALL: &str = "dotmesh-call";

macro_rules! generated {
    ($package:literal) => {
        #[expect(
            missing_docs,
            clippy::allow_attributes,
            clippy::allow_attributes_without_reason,
            reason = "generated from the .proto files, which carry the text"
        )]
        mod generated {
            tonic::include_proto!($package);
        }
        pub use generated::*;
    };
}

/// The Container Storage Interface, version 1.13 (`csi.v1`); what is older than that speaks the same.
pub mod csi {
    generated!("csi.v1");
}

/// The kubelet's plugin registration, v1.
pub mod registration {
    generated!("pluginregistration");
}

/// What operator and csi-node say to each other (`dotmesh.node.v1`).
pub mod node {
    generated!("dotmesh.node.v1");
}
