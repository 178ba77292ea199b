//! The generated Protobuf types, package `lockgate.v1`.
//!
//! Only `convert` and the shells that frame messages see these; everything else speaks domain types.
#![allow(missing_docs, clippy::pedantic, reason = "generated: its documentation is the comments of the .proto files")]

include!(concat!(env!("OUT_DIR"), "/lockgate.v1.rs"));

// `Serialize` and `Deserialize` as proto3 JSON, of what client.proto needs.
#[cfg(feature = "json")]
include!(concat!(env!("OUT_DIR"), "/lockgate.v1.serde.rs"));

/// An object with the JSON Schema of each message and enum in proto3 JSON; one in another is `Outer.Inner`. They
/// refer to each other by `#/components/schemas/NAME`.
#[cfg(feature = "json")]
pub const JSON_SCHEMAS: &str = include_str!(concat!(env!("OUT_DIR"), "/schemas.json"));
