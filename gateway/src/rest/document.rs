//! The OpenAPI document: of the handlers themselves, and of the messages that they answer with.

use std::collections::BTreeSet;
use std::sync::OnceLock;

use axum::body::Body;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Response};
use lockgate_proto::wire;
use serde_json::{Map, Value, json};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{ComponentsBuilder, InfoBuilder, OpenApi, OpenApiBuilder, RefOr, Schema, SecurityRequirement};
use utoipa::{PartialSchema, ToSchema};

/// By this name the document knows the token.
const TOKEN: &str = "token";

const REF: &str = "#/components/schemas/";

/// Characters that no name has: they are not seen, and move what stands beside them.
const NONE_OF: &str = r"\u0000-\u001f\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069";

/// A name of a path; how many bytes it may have, no schema can say.
pub(super) struct Name;

/// The id of a command, or of one of a group.
pub(super) struct CommandKey;

/// The id of a command that is ordered. A header has no more than these characters for certain.
pub(super) struct NewKey;

impl PartialSchema for Name {
    fn schema() -> RefOr<Schema> {
        text(256, &format!("^[^{NONE_OF}]+$"))
    }
}

impl PartialSchema for CommandKey {
    fn schema() -> RefOr<Schema> {
        text(64 + 1 + 256, &format!("^[^{NONE_OF}/]{{1,64}}(/[^{NONE_OF}]{{1,256}})?$"))
    }
}

impl PartialSchema for NewKey {
    fn schema() -> RefOr<Schema> {
        text(64, "^[!-.0-~]+$")
    }
}

impl ToSchema for Name {}
impl ToSchema for CommandKey {}
impl ToSchema for NewKey {}

fn text(length_max: usize, pattern: &str) -> RefOr<Schema> {
    let schema = json!({ "type": "string", "minLength": 1, "maxLength": length_max, "pattern": pattern });
    RefOr::T(serde_json::from_value(schema).expect("it is a schema"))
}

/// All of it but the pages.
pub(super) fn frame() -> OpenApi {
    let token = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).bearer_format("JWT").build();
    OpenApiBuilder::new()
        .info(
            InfoBuilder::new()
                .title("Lockgate")
                .version(env!("CARGO_PKG_VERSION"))
                .description(Some(
                    "A site's devices, its log and its commands. What is a stream is told over the WebSocket of the client link.",
                ))
                .build(),
        )
        .components(Some(ComponentsBuilder::new().security_scheme(TOKEN, SecurityScheme::Http(token)).build()))
        .security(Some([SecurityRequirement::new(TOKEN, [] as [String; 0])]))
        .build()
}

/// This document.
#[utoipa::path(
    get,
    path = "/v1/openapi.json",
    operation_id = "getOpenApi",
    tag = "document",
    security(()),
    responses((status = 200, description = "The OpenAPI document", body = Object)),
)]
pub(super) async fn openapi() -> Response<Body> {
    let mut response = Response::new(Body::from(document()));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// The document as it is served.
pub(super) fn document() -> &'static str {
    static DOCUMENT: OnceLock<String> = OnceLock::new();
    DOCUMENT.get_or_init(|| {
        let (_, pages) = super::pages().split_for_parts();
        let pages = serde_json::to_value(pages).expect("a document is JSON");
        let written = serde_json::to_string_pretty(&with_schemas(pages)).expect("a document is JSON");
        written + "\n"
    })
}

/// Adds the messages that the pages speak of, and those that these speak of.
fn with_schemas(mut document: Value) -> Value {
    let known: Map<String, Value> = serde_json::from_str(wire::JSON_SCHEMAS).expect("the build makes it");
    let mut wanted = BTreeSet::new();
    refs(&document, &mut wanted);
    wanted.extend(["CommandStatus", "GroupStatus"].map(str::to_owned));
    let mut schemas = document["components"]["schemas"].as_object().cloned().unwrap_or_default();
    while let Some(name) = wanted.pop_first() {
        if let (false, Some(schema)) = (schemas.contains_key(&name), known.get(&name)) {
            refs(schema, &mut wanted);
            schemas.insert(name, schema.clone());
        }
    }
    let either = ["CommandStatus", "GroupStatus"].map(|name| json!({ "$ref": format!("{REF}{name}") }));
    schemas.insert("CommandOrGroup".to_owned(), json!({ "description": "A group has `members`.", "anyOf": either }));
    // Of the two ways to say a deadline, one.
    schemas["NewCommand"]["not"] = json!({ "required": ["deadlineUs", "ttl"] });
    document["components"]["schemas"] = Value::Object(schemas);
    document
}

fn refs(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(object) => {
            let name = object.get("$ref").and_then(|to| to.as_str()?.strip_prefix(REF));
            found.extend(name.map(str::to_owned));
            object.values().for_each(|value| refs(value, found));
        }
        Value::Array(items) => items.iter().for_each(|value| refs(value, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rest::guard::PATHS;

    /// Made anew with the variable BLESS set.
    const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/openapi.json");

    #[test]
    fn the_document_in_the_repository_is_the_one_that_is_served() {
        if std::env::var_os("BLESS").is_some() {
            std::fs::write(GOLDEN, document()).unwrap();
        }
        let golden = std::fs::read_to_string(GOLDEN).unwrap();
        assert!(golden == document(), "the pages have changed; look at the difference after BLESS=1 cargo test");
    }

    #[test]
    fn every_page_is_counted_by_name_and_all_that_is_spoken_of_is_there() {
        let document: Value = serde_json::from_str(document()).unwrap();
        assert_eq!(document["openapi"], "3.1.0");
        let paths: Vec<&str> = document["paths"].as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(paths.iter().copied().collect::<BTreeSet<_>>(), PATHS.iter().copied().collect());
        let mut spoken_of = BTreeSet::new();
        refs(&document, &mut spoken_of);
        let missing: Vec<&String> =
            spoken_of.iter().filter(|name| document["components"]["schemas"].get(name.as_str()).is_none()).collect();
        assert!(spoken_of.contains("Value") && missing.is_empty(), "{missing:?}");
    }
}
