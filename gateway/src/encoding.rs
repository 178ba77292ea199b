//! The two ways in which the client link is written, each with its subprotocol: told apart here, and by a
//! room for what it delivers.

use std::fmt;

use bytes::Bytes;
use lockgate_proto::wire;
use lockgate_proto::wire::server_frame::Body;
use lockgate_runtime::link::MessageKind;
use prost::Message;
use serde_json::Deserializer;

/// What is told of a fault in JSON; a close frame has room for about as much.
const PROBLEM_CHARS_MAX: usize = 80;

/// How the frames of a client session are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// Protobuf, in binary messages.
    Protobuf,
    /// The same messages in proto3 JSON, in text messages: for tools and scripts.
    Json,
}

/// Why a message of a client is no frame.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// Not Protobuf, or not of the fields that a frame has.
    #[error("no ClientFrame: {0}")]
    Protobuf(#[from] prost::DecodeError),
    /// The same in JSON. The place comes first: a close frame has no room for long words.
    #[error("no ClientFrame in JSON: line {line}, column {column}{}: {problem}", named(field))]
    Json {
        /// From 1.
        line: usize,
        /// From 1.
        column: usize,
        /// The path of the field at fault; empty: the text is no JSON, or the frame as a whole is at fault.
        field: String,
        /// What is wrong.
        problem: String,
    },
}

fn named(field: &str) -> String {
    if field.is_empty() { String::new() } else { format!(", {field}") }
}

impl Encoding {
    /// All of them, the one that costs least first.
    pub const ALL: [Encoding; 2] = [Encoding::Protobuf, Encoding::Json];

    /// The subprotocol by which a client asks for it.
    pub fn subprotocol(self) -> &'static str {
        match self {
            Encoding::Protobuf => "lockgate.client.v1",
            Encoding::Json => "lockgate.client.v1+json",
        }
    }

    /// What its WebSocket messages are.
    pub fn messages(self) -> MessageKind {
        match self {
            Encoding::Protobuf => MessageKind::Binary,
            Encoding::Json => MessageKind::Text,
        }
    }

    /// One frame, in answer to the request with this number.
    pub(crate) fn encode(self, id: u32, body: Body) -> Bytes {
        let frame = wire::ServerFrame { id, body: Some(body) };
        match self {
            Encoding::Protobuf => frame.encode_to_vec().into(),
            Encoding::Json => json(&frame).into(),
        }
    }

    /// The bytes that a part of a frame takes.
    pub(crate) fn size(self, subscribed: &wire::Subscribed) -> usize {
        match self {
            Encoding::Protobuf => subscribed.encoded_len(),
            Encoding::Json => json(subscribed).len(),
        }
    }

    /// Reads one frame.
    pub(crate) fn decode(self, bytes: Bytes) -> Result<wire::ClientFrame, FrameError> {
        match self {
            Encoding::Protobuf => Ok(wire::ClientFrame::decode(bytes)?),
            Encoding::Json => from_json(&bytes),
        }
    }
}

impl fmt::Display for Encoding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.subprotocol())
    }
}

/// What we make ourselves, of domain values.
fn json(message: &impl serde::Serialize) -> Vec<u8> {
    serde_json::to_vec(message).expect("all that JSON can't say is an enum that this version does not know")
}

fn from_json(bytes: &[u8]) -> Result<wire::ClientFrame, FrameError> {
    let mut reader = Deserializer::from_slice(bytes);
    let frame = serde_path_to_error::deserialize(&mut reader).map_err(|error| {
        let field = error.path().to_string();
        let is_named = field.contains(char::is_alphanumeric);
        refused(if is_named { field } else { String::new() }, error.inner())
    })?;
    reader.end().map_err(|error| refused(String::new(), &error))?;
    Ok(frame)
}

fn refused(field: String, error: &serde_json::Error) -> FrameError {
    let (line, column) = (error.line(), error.column());
    let text = error.to_string();
    let mut problem = text.strip_suffix(&format!(" at line {line} column {column}")).unwrap_or(&text);
    // What the generated reader says of a number that is none, or not of the field's kind.
    if problem.contains("untagged enum") {
        problem = "a whole number was expected, from 0, as a number or a string";
    }
    // It may quote what came, a token even.
    FrameError::Json { line, column, field, problem: problem.chars().take(PROBLEM_CHARS_MAX).collect() }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn read(text: &str) -> Result<wire::ClientFrame, String> {
        Encoding::Json.decode(Bytes::copy_from_slice(text.as_bytes())).map_err(|error| error.to_string())
    }

    fn position(offset: u64, stamp: u64) -> wire::Position {
        wire::Position { offset, stamp }
    }

    fn subscribe(text: &str) -> wire::Subscribe {
        match read(&format!(r#"{{"id":1,"subscribe":{text}}}"#)).unwrap().request {
            Some(wire::client_frame::Request::Subscribe(subscribe)) => subscribe,
            other => panic!("a subscribe was expected: {other:?}"),
        }
    }

    #[test]
    fn numbers_of_64_bits_are_read_from_strings_and_from_numbers_and_lose_nothing() {
        let expected = Some(wire::subscribe::Start::Since(position(7, u64::MAX)));
        let text = r#"{"site":"plant","since":{"offset":"7","stamp":"18446744073709551615"}}"#;
        assert_eq!(subscribe(text).start, expected);
        assert_eq!(
            subscribe(&text.replace("\"7\"", "7").replace("\"18446744073709551615\"", "18446744073709551615")).start,
            expected
        );
    }

    #[test]
    fn fields_have_two_spellings_and_unknown_ones_are_passed_over() {
        let get = |name: &str| {
            read(&format!(r#"{{"id":1,"{name}":{{"site":"plant","later":[1,{{}}]}},"new":null}}"#)).unwrap()
        };
        assert_eq!(get("getLoss"), get("get_loss"));
        let Some(wire::client_frame::Request::GetLoss(asked)) = get("getLoss").request else { panic!("a question") };
        assert_eq!(asked.site, "plant");
        assert_eq!(get("brewCoffee"), wire::ClientFrame { id: 1, request: None });
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place_and_its_field() {
        let told = |text: &str| read(text).unwrap_err();
        assert_eq!(
            told("{\"id\": 1,\n \"subscribe\": {\"site\": 7}}"),
            "no ClientFrame in JSON: line 2, column 24, subscribe.site: invalid type: integer `7`, expected a string"
        );
        assert_eq!(told("{\"id\": 1"), "no ClientFrame in JSON: line 1, column 8: EOF while parsing an object");
        let broken = told(r#"{"id":1,"subscribe":{"last":2.5}}"#);
        assert!(
            broken.ends_with("subscribe.last: a whole number was expected, from 0, as a number or a string"),
            "{broken}"
        );
        assert_eq!(told("{} {}"), "no ClientFrame in JSON: line 1, column 4: trailing characters");
        let filter = told(r#"{"id":1,"subscribe":{"filter":{"devices":["a",{}]}}}"#);
        assert!(filter.contains("subscribe.filter.devices[1]: "), "{filter}");
        let twice = told(r#"{"id":1,"subscribe":{"last":3,"live":{}}}"#);
        assert!(twice.contains("duplicate field"), "{twice}");
    }

    #[test]
    fn frames_are_written_as_proto3_json_has_it() {
        let subscribed = wire::Subscribed {
            site: "plant".into(),
            position: Some(position(7, u64::MAX)),
            reason: wire::NotRecovered::Trimmed.into(),
            ..wire::Subscribed::default()
        };
        let text = Encoding::Json.encode(3, Body::Subscribed(subscribed));
        let expected = json!({ "id": 3, "subscribed": {
            "site": "plant",
            "position": { "offset": "7", "stamp": "18446744073709551615" },
            "reason": "NOT_RECOVERED_TRIMMED",
        }});
        assert_eq!(serde_json::from_slice::<Value>(&text).unwrap(), expected);
    }

    #[test]
    fn what_came_is_not_echoed_at_length() {
        let told = read(&format!(r#"{{"id":1,"connect":"{}"}}"#, "ey".repeat(1_000))).unwrap_err();
        assert!(told.contains("column 2020, connect: invalid type: string \"eyey"), "{told}");
        assert!(told.len() < 160, "{told}");
    }

    #[test]
    fn the_size_told_is_the_size_written() {
        let device = wire::DeviceShadow { device: "pump \u{1}".into(), online: Some(false), ..Default::default() };
        let subscribed = wire::Subscribed { snapshot: vec![device; 3], ..Default::default() };
        for encoding in Encoding::ALL {
            let written = encoding.encode(u32::MAX, Body::Subscribed(subscribed.clone())).len();
            let around = written.checked_sub(encoding.size(&subscribed));
            assert!(around.is_some_and(|bytes| bytes < 40), "{encoding}: {around:?}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_the_reader_panic(text in r#"[ -~]{0,60}|\{"(id|subscribe)":[\{\["0-9a-z:]{0,30}\}?"#) {
            drop(read(&text));
        }

        #[test]
        fn what_one_encoding_says_the_other_says_too(
            id in 1_u32..,
            site in any::<String>(),
            devices in prop::collection::vec(any::<String>(), 0..4),
            kinds in prop::collection::vec(1..=6, 0..4),
            metrics in prop::collection::vec(any::<String>(), 0..4),
            offset in any::<u64>(),
            stamp in any::<u64>(),
            snapshot in any::<bool>(),
        ) {
            let start = Some(wire::subscribe::Start::Since(position(offset, stamp)));
            let filter = wire::Filter { devices, kinds, metrics };
            let subscribe = wire::Subscribe { site, filter: Some(filter), start, snapshot, conflate_ms: None };
            let frame = wire::ClientFrame { id, request: Some(wire::client_frame::Request::Subscribe(subscribe)) };
            prop_assert_eq!(&Encoding::Protobuf.decode(frame.encode_to_vec().into()).unwrap(), &frame);
            prop_assert_eq!(&Encoding::Json.decode(serde_json::to_vec(&frame).unwrap().into()).unwrap(), &frame);
        }
    }
}
