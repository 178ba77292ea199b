//! What goes out for a command, and what is taken for a reply.

use lockgate_config::Problems;
use lockgate_proto::command::Field;
use lockgate_proto::time::MonoTime;
use proptest::prelude::*;

use super::*;
use crate::output::Output;
use crate::reader::Context;

const THERMOSTAT: &str = r##"
framing = "lines"
checksum = { kind = "xor", written = "hex-upper", after = "*" }
decode = { kind = "key-value", between = " ", bare = "position" }
device = "hall"

[[command]]
name = "set-point"
idempotent = true
timeout = "2s"
write = "SET $id SP=$celsius"
argument = [{ name = "celsius", type = "number", range = [5, 30], step = 0.5, unit = "Cel" }]

[[command]]
name = "say"
write = "SAY $text"
reply = false
argument = [{ name = "text", type = "text" }]

[[command]]
name = "heat"
write = "HEAT $on"
argument = [{ name = "on", type = "bool", default = true, written = { true = 1, false = 0 } }]

[[reply]]
starts = "OK "
id = "#1"
says = "success"
result = { celsius = "SP" }

[[reply]]
starts = "NO "
id = "#1"
says = "refused"
reason = "WHY"

[[reply]]
starts = "WAIT"
says = "busy"
retry_after = "S"
read = true

[[value]]
key = "S"
metric = "seconds"
"##;

const ROOM: &str = r#"
decode = "json"

[[route]]
topic = "sim/{device}"
value = [{ key = "t", metric = "temperature" }]

[[command]]
name = "calibrate"
topic = "sim/$device/set"
write = { do = "calibrate", id = "$id", command = "$command_id", to = "$to", note = "for $device", deep = [1, "$to"] }
argument = [{ name = "to", type = "number", required = false }]

[[reply]]
topic = "sim/{device}/reply"
when = { key = "state", is = "busy" }
id = "id"
says = "progress"
percent = "percent"
text = "text"

[[reply]]
topic = "sim/{device}/reply"
id = "id"
says = "success"
result = { error = { path = "$.result.error" }, done = "done" }
"#;

fn profile(text: &str) -> Arc<Profile> {
    let problems = Problems::new();
    let profile = Profile::parse("test", text, &problems);
    assert!(problems.is_empty(), "{problems}");
    profile.unwrap()
}

fn faults(text: &str) -> String {
    let problems = Problems::new();
    Profile::parse("test", text, &problems);
    problems.to_string()
}

fn fields(pairs: &[(&str, Value)]) -> Fields {
    let field = |(name, value): &(&str, Value)| Field { name: FieldName::new(name).unwrap(), value: value.clone() };
    Fields::new(pairs.iter().map(field)).unwrap()
}

fn write(profile: &Profile, name: &str, arguments: &Fields) -> Result<Written, WriteError> {
    let (device, name) = (DeviceName::new("hall").unwrap(), CommandName::new(name).unwrap());
    profile.write(&Outgoing { device: &device, name: &name, arguments, command_id: "c-1", id: 7 })
}

fn text(profile: &Profile, name: &str, arguments: &[(&str, Value)]) -> String {
    String::from_utf8(write(profile, name, &fields(arguments)).unwrap().bytes).unwrap()
}

fn replies(outputs: Vec<Output>) -> Vec<Reply> {
    let reply = |output| if let Output::Reply(reply) = output { Some(reply) } else { None };
    outputs.into_iter().filter_map(reply).collect()
}

#[test]
fn a_line_goes_out_with_its_arguments_checksum_and_end() {
    let profile = profile(THERMOSTAT);
    assert_eq!(text(&profile, "set-point", &[("celsius", Value::Number(21.5))]), "SET 7 SP=21.5*53\n");
    assert_eq!(text(&profile, "set-point", &[("celsius", Value::Integer(21))]), "SET 7 SP=21*48\n");
    assert_eq!(text(&profile, "heat", &[]), "HEAT 1*09\n");
    assert_eq!(text(&profile, "heat", &[("on", Value::Flag(false))]), "HEAT 0*08\n");
    let written = write(&profile, "say", &fields(&[("text", Value::Text("hi".into()))])).unwrap();
    assert!(!written.expects_reply && written.topic.is_none());
    assert_eq!(write(&profile, "set-point", &fields(&[("celsius", Value::Integer(9))])).unwrap().timeout.as_secs(), 2);
}

#[test]
fn what_a_command_can_not_be_written_with_is_told_by_its_name() {
    let profile = profile(THERMOSTAT);
    let told =
        |name: &str, arguments: &[(&str, Value)]| write(&profile, name, &fields(arguments)).unwrap_err().to_string();
    assert_eq!(
        told("set-point", &[("celsius", Value::Integer(31))]),
        "celsius is 31; it may be a number from 5 to 30, in steps of 0.5"
    );
    assert_eq!(told("dance", &[]), "the device has no command dance; it has set-point, say, heat");
    let two_lines = told("say", &[("text", Value::Text("hi\nHEAT 1".into()))]);
    assert_eq!(two_lines, "text has a control character, which a line can't carry; leave it out");
}

#[test]
fn a_message_goes_out_as_json_with_the_types_of_its_arguments() {
    let profile = profile(ROOM);
    let written = write(&profile, "calibrate", &fields(&[("to", Value::Number(20.5))])).unwrap();
    assert_eq!(written.topic.as_deref(), Some("sim/hall/set"));
    let json: serde_json::Value = serde_json::from_slice(&written.bytes).unwrap();
    let expected = serde_json::json!({
        "do": "calibrate", "id": 7, "command": "c-1", "to": 20.5, "note": "for hall", "deep": [1, 20.5]
    });
    assert_eq!(json, expected);
    let without = write(&profile, "calibrate", &Fields::default()).unwrap();
    let json: serde_json::Value = serde_json::from_slice(&without.bytes).unwrap();
    assert_eq!(json.get("to"), None, "what is not given is left out");
}

#[test]
fn a_device_whose_name_is_a_wildcard_is_not_published_to() {
    let profile = profile(ROOM);
    let (device, name) = (DeviceName::new("#").unwrap(), CommandName::new("calibrate").unwrap());
    let arguments = Fields::default();
    let order = Outgoing { device: &device, name: &name, arguments: &arguments, command_id: "c", id: 1 };
    assert_eq!(profile.write(&order), Err(WriteError::Topic { topic: "sim/#/set".to_owned() }));
}

#[test]
fn replies_on_a_line_are_told_apart_and_are_no_readings_unless_that_is_said() {
    let profile = profile(THERMOSTAT);
    let mut reader = profile.stream(Context::default()).unwrap();
    let mut outputs = Vec::new();
    let mut say = |line: &str| {
        let sum = line.bytes().fold(0, |sum, byte| sum ^ byte);
        reader.push(format!("{line}*{sum:02X}\n").as_bytes(), MonoTime::default(), &mut outputs);
    };
    for line in ["OK 7 SP=21.5", "NO 8 WHY=stuck", "WAIT S=2", "OK"] {
        say(line);
    }
    let readings = outputs.iter().filter(|output| matches!(output, Output::Reading(_))).count();
    assert_eq!(readings, 1, "only of the line that is read as well: {outputs:?}");
    let hall = DeviceName::new("hall").ok();
    let expected = [
        Reply {
            device: hall.clone(),
            id: Some("7".to_owned()),
            says: Says::Success(fields(&[("celsius", Value::Number(21.5))])),
        },
        Reply { device: hall.clone(), id: Some("8".to_owned()), says: Says::Refused("stuck".into()) },
        Reply { device: hall, id: None, says: Says::Busy { retry_after: Duration::from_secs(2) } },
    ];
    assert_eq!(replies(outputs), expected);
}

#[test]
fn replies_of_a_broker_come_by_their_topic_and_a_retained_one_is_none() {
    let profile = profile(ROOM);
    assert_eq!(profile.topics(), ["sim/+", "sim/+/reply"]);
    let mut reader = profile.messages(Context::default());
    let mut outputs = Vec::new();
    let topic = "sim/hall/reply";
    reader.message(topic, br#"{"id":7,"state":"busy","percent":49.6,"text":"heating"}"#, false, &mut outputs);
    reader.message(topic, br#"{"id":"c-1","result":{"error":0.1},"done":true}"#, false, &mut outputs);
    reader.message(topic, br#"{"id":7}"#, true, &mut outputs);
    reader.message(topic, br#"{"no":"id"}"#, false, &mut outputs);
    let hall = DeviceName::new("hall").ok();
    let progress = Says::Progress { percent: Some(50), text: "heating".into() };
    let done = Says::Success(fields(&[("done", Value::Flag(true)), ("error", Value::Number(0.1))]));
    let expected = [
        Reply { device: hall.clone(), id: Some("7".to_owned()), says: progress },
        Reply { device: hall, id: Some("c-1".to_owned()), says: done },
    ];
    assert_eq!(replies(outputs), expected);
}

#[test]
fn what_is_wrong_with_a_command_is_told_where_it_stands() {
    let with = |command: &str| {
        faults(&format!("framing = \"lines\"\ndecode = \"json\"\n[[command]]\nname = \"a\"\n{command}"))
    };
    assert!(with("write = \"$speed\"").contains("uses `$speed`, which nothing defines"));
    let optional = with("write = \"$x\"\nargument = [{ name = \"x\", type = \"bool\", required = false }]");
    assert!(optional.contains("uses `$x`, which need not be given"), "{optional}");
    let taken = with("write = \"$id\"\nargument = [{ name = \"id\", type = \"bool\" }]");
    assert!(taken.contains("has one of its own"), "{taken}");
    let default =
        with("write = \"$x\"\nargument = [{ name = \"x\", type = \"integer\", range = [0, 5], default = 9 }]");
    assert!(default.contains("is not among what is allowed"), "{default}");
    assert!(with("write = \"x\"\ntopic = \"a\"").contains("with a topic, which a line has not"));
    let place = faults(&ROOM.replace("sim/$device/set", "sim/$to/set"));
    assert!(place.contains("where it goes no sender decides"), "{place}");
}

proptest! {
    #[test]
    fn what_is_guarded_and_framed_by_cobs_is_read_again(body in prop::collection::vec(0_u8..3, 0..600), delimiter: u8) {
        let coded = crate::framing::cobs_encode(&body, delimiter);
        prop_assert_eq!(coded.iter().position(|byte| *byte == delimiter), Some(coded.len() - 1), "only at the end");
        let mut frames = Vec::new();
        let mut framer = crate::framing::Cobs::new(delimiter, 1024);
        for byte in coded {
            framer.push(byte, &mut |cut| {
                if let crate::framing::Cut::Frame(frame) = cut {
                    frames.push(frame.to_vec());
                }
            });
        }
        prop_assert_eq!(frames, [body]);
    }

    #[test]
    fn a_guarded_body_is_proven(
        body in "[a-z0-9 ]{0,40}",
        family in 0_usize..6,
        written in 0_usize..5,
        after in prop::sample::select(vec!["", "*"]),
        covers_mark: bool,
        skip in 0_usize..3,
    ) {
        use crate::checksum::{Checksum, Family, Written};
        let (family, written) = (Family::WORDS[family].1, Written::WORDS[written].1);
        // A sum in bytes may look like a mark; nobody writes the two together.
        let is_text = !matches!(written, Written::BigEndian | Written::LittleEndian);
        let after: Vec<u8> = if is_text { after.into() } else { Vec::new() };
        let checksum = Checksum { family, written, after, covers_mark, skip, optional: false };
        let guarded = checksum.guard(body.clone().into_bytes());
        prop_assert_eq!(checksum.prove(&guarded), Ok(body.as_bytes()));
    }
}
