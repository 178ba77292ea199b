//! Compiles the `.proto` files with protox, so that no `protoc` need be installed.

use std::path::Path;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let root = Path::new("proto");
    let files = ["record", "entry", "edge", "client", "ledger", "attendance", "command"]
        .map(|name| root.join(format!("lockgate/v1/{name}.proto")));
    println!("cargo:rerun-if-changed=proto");
    #[cfg(feature = "json")]
    json(root)?;
    let descriptors = protox::compile(&files, [root])?;
    prost_build::Config::new().bytes(["."]).compile_fds(descriptors)?;
    Ok(())
}

/// What the client link carries, as proto3 JSON. What a newer client says beyond this version is passed
/// over, as in Protobuf.
#[cfg(feature = "json")]
fn json(root: &Path) -> Result<(), Box<dyn std::error::Error>> {
    let mut builder = pbjson_build::Builder::new();
    for file in protox::compile([root.join("lockgate/v1/client.proto")], [root])?.file {
        builder.register_file_descriptor(file);
    }
    builder.ignore_unknown_fields().ignore_unknown_enum_variants().build(&[".lockgate.v1"])?;
    Ok(())
}
