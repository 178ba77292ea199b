//! What a command is written as: a text, or JSON.

use lockgate_proto::reading::Value;
use serde_json::Value as JsonValue;

use super::{WriteError, text_of};
use crate::mapping::{Names, Template};

/// How a command's bytes are put together.
#[derive(Clone, Debug)]
pub(crate) enum Body {
    /// A text with names in it.
    Text(Template),
    /// JSON, in which a text that is one name stands for its value.
    Json(Json),
}

/// A part of JSON.
#[derive(Clone, Debug)]
pub(crate) enum Json {
    /// The value of a name, as it is. An object leaves out one that is not given.
    Name(String),
    /// A text with names in it.
    Text(Template),
    /// As it stands in the profile.
    Fixed(JsonValue),
    /// A list.
    List(Vec<Json>),
    /// An object.
    Object(Vec<(String, Json)>),
}

/// The values in sight: arguments, and what every command has.
pub(super) struct Sight<'a> {
    pub(super) values: Vec<(&'a str, Value)>,
}

impl Sight<'_> {
    fn names(&self) -> Names<'_> {
        let mut names = Names::default();
        for (name, value) in &self.values {
            names.push(name, text_of(value).to_string());
        }
        names
    }

    pub(super) fn fill(&self, template: &Template) -> Result<String, WriteError> {
        template.fill(&self.names()).map_err(WriteError::NoName)
    }

    fn get(&self, wanted: &str) -> Option<&Value> {
        self.values.iter().rev().find(|(name, _)| *name == wanted).map(|(_, value)| value)
    }
}

impl Body {
    pub(super) fn put(&self, sight: &Sight<'_>) -> Result<String, WriteError> {
        match self {
            Body::Text(template) => sight.fill(template),
            Body::Json(json) => Ok(json.put(sight)?.unwrap_or(JsonValue::Null).to_string()),
        }
    }

    /// The names that it uses, and whether each may be missing.
    pub(crate) fn names(&self) -> Vec<(String, bool)> {
        let mut names = Vec::new();
        match self {
            Body::Text(template) => names.extend(template.names().map(|name| (name.to_owned(), false))),
            Body::Json(json) => json.names(false, &mut names),
        }
        names
    }
}

impl Json {
    /// `None`: it is a name whose value was not given.
    fn put(&self, sight: &Sight<'_>) -> Result<Option<JsonValue>, WriteError> {
        Ok(Some(match self {
            Json::Name(name) => return Ok(sight.get(name).map(json)),
            Json::Text(template) => JsonValue::String(sight.fill(template)?),
            Json::Fixed(value) => value.clone(),
            Json::List(parts) => {
                let part = |part: &Json| Ok(part.put(sight)?.unwrap_or(JsonValue::Null));
                JsonValue::Array(parts.iter().map(part).collect::<Result<_, WriteError>>()?)
            }
            Json::Object(parts) => {
                let mut object = serde_json::Map::new();
                for (key, part) in parts {
                    if let Some(value) = part.put(sight)? {
                        object.insert(key.clone(), value);
                    }
                }
                JsonValue::Object(object)
            }
        }))
    }

    fn names(&self, may_miss: bool, names: &mut Vec<(String, bool)>) {
        match self {
            Json::Name(name) => names.push((name.clone(), may_miss)),
            Json::Text(template) => names.extend(template.names().map(|name| (name.to_owned(), false))),
            Json::Fixed(_) => {}
            Json::List(parts) => parts.iter().for_each(|part| part.names(true, names)),
            Json::Object(parts) => parts.iter().for_each(|(_, part)| part.names(true, names)),
        }
    }
}

fn json(value: &Value) -> JsonValue {
    match value {
        Value::Number(number) => JsonValue::from(*number),
        Value::Integer(integer) => JsonValue::from(*integer),
        Value::Flag(flag) => JsonValue::from(*flag),
        Value::Text(_) | Value::Raw(_) => JsonValue::from(text_of(value).as_ref()),
    }
}
