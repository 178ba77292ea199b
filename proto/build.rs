//! Compiles the `.proto` files with protox, so that no `protoc` need be installed.

use std::path::Path;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let root = Path::new("proto");
    let files =
        ["record", "entry", "edge", "client", "ledger"].map(|name| root.join(format!("lockgate/v1/{name}.proto")));
    println!("cargo:rerun-if-changed=proto");
    let descriptors = protox::compile(&files, [root])?;
    prost_build::Config::new().bytes(["."]).compile_fds(descriptors)?;
    Ok(())
}
