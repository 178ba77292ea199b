//! Compiles the `.proto` files with protox, so that no `protoc` need be installed.

use std::path::Path;

#[cfg(feature = "json")]
#[path = "build/schemas.rs"]
mod schemas;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let root = Path::new("proto");
    let files = ["record", "entry", "edge", "client", "ledger", "attendance", "command", "rest"]
        .map(|name| root.join(format!("lockgate/v1/{name}.proto")));
    println!("cargo:rerun-if-changed=proto");
    println!("cargo:rerun-if-changed=build");
    #[cfg(feature = "json")]
    json(root)?;
    let descriptors = protox::compile(&files, [root])?;
    prost_build::Config::new().bytes(["."]).compile_fds(descriptors)?;
    Ok(())
}

/// What the client link and REST carry, as proto3 JSON, and what that looks like. What a newer client says beyond this version is passed
/// over, as in Protobuf.
#[cfg(feature = "json")]
fn json(root: &Path) -> Result<(), Box<dyn std::error::Error>> {
    let mut builder = pbjson_build::Builder::new();
    let descriptors = protox::compile([root.join("lockgate/v1/rest.proto")], [root])?;
    let schemas = schemas::of(&descriptors.file);
    std::fs::write(Path::new(&std::env::var("OUT_DIR")?).join("schemas.json"), serde_json::to_vec(&schemas)?)?;
    for file in descriptors.file {
        builder.register_file_descriptor(file);
    }
    builder.ignore_unknown_fields().ignore_unknown_enum_variants().build(&[".lockgate.v1"])?;
    Ok(())
}
