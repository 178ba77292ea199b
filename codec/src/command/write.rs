//! From a command to the bytes that go out: values, body, checksum, frame.

use lockgate_proto::reading::Value;

use super::body::Sight;
use super::{Body, CommandRule, Outgoing, WriteError, Written, text_of};
use crate::checksum::Checksum;
use crate::framing::cobs_encode;
use crate::profile::Profile;

/// LIMIT: bytes of an MQTT topic.
const TOPIC_BYTES_MAX: usize = 65_535;

/// How what goes out is framed and guarded; of a source.
#[derive(Clone, Debug)]
pub(crate) struct Writing {
    pub(crate) frame: Frame,
    pub(crate) checksum: Option<Checksum>,
    /// How many commands one device carries out at once.
    pub(crate) at_once: u32,
}

/// How a frame is told from the next one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Frame {
    /// By nothing: messages, or as the text itself says.
    Bare,
    /// By a mark behind it.
    End(Vec<u8>),
    /// By COBS.
    Cobs { delimiter: u8 },
}

pub(super) fn write(profile: &Profile, rule: &CommandRule, order: &Outgoing<'_>) -> Result<Written, WriteError> {
    let arguments = rule.description.check(order.arguments)?;
    let mut values: Vec<(&str, Value)> = Vec::new();
    values.extend(profile.constants.iter().map(|(name, text)| (name.as_str(), Value::Text(text.as_str().into()))));
    values.push(("device", Value::Text(order.device.as_str().into())));
    values.push(("command_id", Value::Text(order.command_id.into())));
    values.push(("id", Value::Integer(order.id.into())));
    // Where they are published they may name devices and constants alone: no sender chooses the place.
    let topic = rule.topic.as_ref().map(|topic| Sight { values: values.clone() }.fill(topic)).transpose()?;
    if let Some(topic) = topic.as_ref().filter(|topic| !is_topic(topic)) {
        return Err(WriteError::Topic { topic: topic.clone() });
    }
    for field in arguments.iter() {
        let is_of_text = matches!(rule.write, Body::Text(_)) && topic.is_none();
        if is_of_text && matches!(&field.value, Value::Text(text) if text.chars().any(char::is_control)) {
            return Err(WriteError::Control { argument: field.name.clone() });
        }
        let map = rule.written.iter().find(|(name, _)| *name == field.name).map(|(_, map)| map);
        let text = text_of(&field.value);
        let mapped = map.and_then(|map| map.iter().find(|(key, _)| **key == *text)).map(|(_, value)| value.clone());
        values.push((field.name.as_str(), mapped.unwrap_or_else(|| field.value.clone())));
    }
    let body = rule.write.put(&Sight { values })?.into_bytes();
    let bytes = profile.writing.frame(body)?;
    Ok(Written { topic, bytes, timeout: rule.timeout, expects_reply: rule.expects_reply })
}

impl Writing {
    fn frame(&self, mut bytes: Vec<u8>) -> Result<Vec<u8>, WriteError> {
        if let Some(checksum) = &self.checksum {
            bytes = checksum.guard(bytes);
        }
        match &self.frame {
            Frame::Bare => {}
            Frame::End(end) => {
                if bytes.windows(end.len()).any(|window| window == end) {
                    return Err(WriteError::EndMark);
                }
                bytes.extend_from_slice(end);
            }
            Frame::Cobs { delimiter } => bytes = cobs_encode(&bytes, *delimiter),
        }
        Ok(bytes)
    }
}

fn is_topic(topic: &str) -> bool {
    !topic.is_empty() && topic.len() <= TOPIC_BYTES_MAX && !topic.contains(['+', '#', '\0'])
}
