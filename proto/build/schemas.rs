//! JSON Schemas of messages as proto3 JSON has them, made of the descriptors that the code which writes them is made of.

use std::collections::HashMap;

use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{
    DescriptorProto, EnumDescriptorProto, EnumValueDescriptorProto, FieldDescriptorProto, FileDescriptorProto,
};
use serde_json::{Map, Value, json};

/// Numbers of the fields of descriptors, of which the paths of comments are made.
const MESSAGES_OF_FILE: i32 = 4;
const ENUMS_OF_FILE: i32 = 5;
const FIELDS: i32 = 2;
const NESTED: i32 = 3;
const ENUMS: i32 = 4;
const VALUES: i32 = 2;

type Comments<'f> = HashMap<&'f [i32], &'f str>;

/// All messages and enums, by name: one in another is `Outer.Inner`.
pub(crate) fn of(files: &[FileDescriptorProto]) -> Value {
    let mut schemas = Map::new();
    for file in files {
        let locations = file.source_code_info.iter().flat_map(|info| &info.location);
        let comments: Comments<'_> = locations
            .filter_map(|location| Some((location.path.as_slice(), location.leading_comments.as_deref()?)))
            .collect();
        for (at, message) in (0..).zip(&file.message_type) {
            add_message(&mut schemas, &comments, "", &[MESSAGES_OF_FILE, at], message);
        }
        for (at, words) in (0..).zip(&file.enum_type) {
            add_enum(&mut schemas, &comments, "", &[ENUMS_OF_FILE, at], words);
        }
    }
    Value::Object(schemas)
}

fn add_message(
    schemas: &mut Map<String, Value>,
    comments: &Comments<'_>,
    outer: &str,
    path: &[i32],
    message: &DescriptorProto,
) {
    let name = format!("{outer}{}", message.name());
    let mut properties = Map::new();
    for (at, field) in (0..).zip(&message.field) {
        let mut schema = of_field(field);
        describe(&mut schema, comments, &[path, &[FIELDS, at]].concat());
        properties.insert(field.json_name().to_owned(), schema);
    }
    let mut schema = json!({ "type": "object", "properties": properties });
    describe(&mut schema, comments, path);
    for (at, inner) in (0..).zip(&message.nested_type) {
        add_message(schemas, comments, &format!("{name}."), &[path, &[NESTED, at]].concat(), inner);
    }
    for (at, words) in (0..).zip(&message.enum_type) {
        add_enum(schemas, comments, &format!("{name}."), &[path, &[ENUMS, at]].concat(), words);
    }
    schemas.insert(name, schema);
}

fn add_enum(
    schemas: &mut Map<String, Value>,
    comments: &Comments<'_>,
    outer: &str,
    path: &[i32],
    words: &EnumDescriptorProto,
) {
    let names: Vec<&str> = words.value.iter().map(EnumValueDescriptorProto::name).collect();
    let about = (0..).zip(&names).filter_map(|(at, name)| {
        let comment = comments.get(&[path, &[VALUES, at]].concat()[..])?;
        Some(format!("{name}: {}", one_line(comment)))
    });
    let about: Vec<String> = about.collect();
    let mut schema = json!({ "type": "string", "enum": names });
    if !about.is_empty() {
        schema["description"] = about.join("\n\n").into();
    }
    describe(&mut schema, comments, path);
    schemas.insert(format!("{outer}{}", words.name()), schema);
}

fn of_field(field: &FieldDescriptorProto) -> Value {
    let item = match field.r#type() {
        Type::Double | Type::Float => json!({ "type": "number" }),
        Type::Int64 | Type::Sint64 | Type::Sfixed64 => json!({ "type": "string", "pattern": "^-?[0-9]{1,19}$" }),
        Type::Uint64 | Type::Fixed64 => json!({ "type": "string", "pattern": "^[0-9]{1,20}$" }),
        Type::Int32 | Type::Sint32 | Type::Sfixed32 => json!({ "type": "integer" }),
        Type::Uint32 | Type::Fixed32 => json!({ "type": "integer", "minimum": 0 }),
        Type::Bool => json!({ "type": "boolean" }),
        Type::String => json!({ "type": "string" }),
        Type::Bytes => json!({ "type": "string", "contentEncoding": "base64" }),
        Type::Group | Type::Message | Type::Enum => {
            let name = field.type_name().trim_start_matches(".lockgate.v1.");
            json!({ "$ref": format!("#/components/schemas/{name}") })
        }
    };
    if field.label() == Label::Repeated { json!({ "type": "array", "items": item }) } else { item }
}

fn describe(schema: &mut Value, comments: &Comments<'_>, path: &[i32]) {
    let Some(comment) = comments.get(path) else { return };
    let text = one_line(comment);
    let all = match schema["description"].as_str() {
        Some(more) => format!("{text}\n\n{more}"),
        None => text,
    };
    schema["description"] = all.into();
}

fn one_line(comment: &str) -> String {
    comment.split_whitespace().collect::<Vec<_>>().join(" ")
}
