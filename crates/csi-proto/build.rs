//! Compiles the `.proto` files with protox, so that nobody needs `protoc`.

use std::error::Error;

const PROTOS: [&str; 3] = ["proto/csi.proto", "proto/node.proto", "proto/pluginregistration.proto"];

fn main() -> Result<(), Box<dyn Error>> {
    for proto in PROTOS {
        println!("cargo::rerun-if-changed={proto}");
    }
    let descriptors = protox::compile(PROTOS, ["proto"])?;
    // Servers state the calls they serve; every other one answers UNIMPLEMENTED.
    tonic_prost_build::configure()
        .generate_default_stubs(true)
        .compile_fds(descriptors)?;
    Ok(())
}
