//! The program that runs on every node; see the library.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser;
use dotmesh_csi_node::args::Args;

fn main() -> ExitCode {
    // Started by ourselves to run a program of the host: nothing else may happen before.
    let mut words = std::env::args_os().skip(1);
    if words.next() == Some(OsString::from(dotmesh_zfs::cmd::CHROOT_EXEC)) {
        std::process::exit(dotmesh_zfs::cmd::chroot_exec_main(words));
    }
    let args = Args::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build();
    let result = match runtime {
        Ok(runtime) => runtime.block_on(dotmesh_csi_node::run::run(args)),
        Err(error) => Err(error.into()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("dotmesh-csi-node: {error:#}");
            ExitCode::FAILURE
        }
    }
}
