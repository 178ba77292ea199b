//! Reads MQTT captures: JSON lines with `topic`, `payload` or `payload_base64`, and `retain`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use crate::publisher::Message;

#[derive(Deserialize)]
struct Line {
    topic: String,
    payload: Option<String>,
    payload_base64: Option<String>,
    #[serde(default)]
    retain: bool,
}

/// A line of a capture is not a message.
#[derive(Debug, thiserror::Error)]
pub enum BadMessage {
    /// No JSON, or not with these keys.
    #[error("line {number}: not a message")]
    Json {
        /// Counted from 1.
        number: usize,
        /// Why.
        source: serde_json::Error,
    },
    /// `payload_base64` is not base64.
    #[error("line {number}: payload_base64 is not base64")]
    Base64 {
        /// Counted from 1.
        number: usize,
        /// Why.
        source: base64::DecodeError,
    },
    /// Both payloads, or none.
    #[error("line {number}: exactly one of payload and payload_base64 is needed")]
    Payload {
        /// Counted from 1.
        number: usize,
    },
    /// No broker takes it.
    #[error("line {number}: {topic:?} is no topic to publish to")]
    Topic {
        /// Counted from 1.
        number: usize,
        /// As it stands there.
        topic: String,
    },
}

/// The messages of a capture, in order. Empty lines are left out.
pub fn messages(text: &str) -> Result<Vec<Message>, BadMessage> {
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    lines.map(|(index, line)| message(index + 1, line)).collect()
}

fn message(number: usize, line: &str) -> Result<Message, BadMessage> {
    let line: Line = serde_json::from_str(line).map_err(|source| BadMessage::Json { number, source })?;
    let payload = match (line.payload, line.payload_base64) {
        (Some(text), None) => text.into_bytes(),
        (None, Some(text)) => STANDARD.decode(text).map_err(|source| BadMessage::Base64 { number, source })?,
        (Some(_), Some(_)) | (None, None) => return Err(BadMessage::Payload { number }),
    };
    if line.topic.is_empty() || line.topic.contains(['+', '#', '\0']) {
        return Err(BadMessage::Topic { number, topic: line.topic });
    }
    Ok(Message { topic: line.topic, payload, retain: line.retain })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_bytes_and_retained_messages_are_read() {
        let read = messages(concat!(
            "{\"topic\":\"a/b\",\"payload\":\"21.5\",\"retain\":true}\n\n",
            "{\"topic\":\"c\",\"payload_base64\":\"AP8=\"}\n",
        ));
        let message =
            |topic: &str, payload: &[u8], retain| Message { topic: topic.into(), payload: payload.into(), retain };
        assert_eq!(read.unwrap(), [message("a/b", b"21.5", true), message("c", &[0, 255], false)]);
    }

    #[test]
    fn a_bad_line_is_named() {
        for bad in ["{}", "nonsense", r#"{"topic":"a","payload":"x","payload_base64":"eA=="}"#] {
            let text = format!("{{\"topic\":\"a\",\"payload\":\"\"}}\n{bad}\n");
            assert!(messages(&text).unwrap_err().to_string().starts_with("line 2: "), "{bad}");
        }
        assert!(messages(r#"{"topic":"a/#","payload":""}"#).is_err());
        assert!(messages(r#"{"topic":"a","payload_base64":"?"}"#).is_err());
    }
}
