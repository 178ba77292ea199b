//! What readers promise: routing, presence by empty payloads, silence, and the same result however bytes come.

use std::sync::Arc;
use std::time::Duration;

use lockgate_config::Problems;
use lockgate_proto::time::MonoTime;
use proptest::prelude::*;

use crate::{Context, Counters, DeadLetterReason, Output, Profile};

fn profile(text: &str) -> Arc<Profile> {
    let problems = Problems::new();
    let profile = Profile::parse("test", text, &problems);
    assert!(problems.is_empty(), "{problems}");
    profile.unwrap()
}

fn messages(text: &str, messages: &[(&str, &str)]) -> (Vec<String>, Counters) {
    let mut reader = profile(text).messages(Context::default());
    let mut out = Vec::new();
    for (topic, payload) in messages {
        reader.message(topic, payload.as_bytes(), true, &mut out);
    }
    (out.iter().map(show).collect(), reader.counters())
}

fn show(output: &Output) -> String {
    match output {
        Output::Reading(reading) => format!("{} {} {:?}", reading.device, reading.metric, reading.value),
        Output::Presence { device, online, .. } => format!("{device} online {online}"),
        Output::Reply(reply) => format!("{:?} {}", reply.id, reply.says.as_str()),
        Output::DeadLetter(letter) => letter.reason.to_string(),
    }
}

fn at(seconds: u64) -> MonoTime {
    MonoTime(Duration::from_secs(seconds))
}

#[test]
fn the_first_route_that_takes_a_message_decides() {
    let text = "
        decode = 'json'
        [[route]]
        topic = 'd/{device}'
        when = { key = 'type', is = 'log' }
        ignore = true
        [[route]]
        topic = 'd/{device}'
        when = { key = 'type', like = 't.*' }
        value = [{ key = 'v', metric = 't' }]
        [[route]]
        topic = 'd/{device}'
        shape = '.*}'
        value = [{ key = 'v', metric = 'other' }]";
    let inputs = [
        ("d/a", r#"{"type":"log","v":1}"#),
        ("d/a", r#"{"type":"temp","v":2}"#),
        ("d/a", r#"{"v":3}"#),
        ("d/a", "{\"v\":4} "),
        ("d/a/b", r#"{"v":5}"#),
        ("d/a", "{"),
        ("d/a", ""),
    ];
    let (out, counters) = messages(text, &inputs);
    assert_eq!(out, ["a t Integer(2)", "a other Integer(3)", "shape", "syntax"]);
    assert_eq!((counters.inputs, counters.ignored), (7, 3));
}

#[test]
fn an_empty_payload_is_what_the_route_says() {
    let text = |empty: &str| {
        format!("decode = 'json'\n[[route]]\ntopic = 'N/{{device}}'\nempty = '{empty}'\nvalue = [{{ key = 'v' }}]")
    };
    assert_eq!(messages(&text("ignore"), &[("N/pv", "")]).0, [""; 0]);
    assert_eq!(messages(&text("offline"), &[("N/pv", "")]).0, ["pv online false"]);
    assert_eq!(messages(&text("decode"), &[("N/pv", "")]).0, ["syntax"]);
}

#[test]
fn a_long_silence_ends_a_frame_whenever_it_is_noticed() {
    let profile = profile(
        "framing = { kind = 'lines', silence = '1s' }\ndecode = 'text'\ndevice = 'd'\nvalue = [{ metric = 'v' }]",
    );
    let mut reader = profile.stream(Context::default()).unwrap();
    let mut out = Vec::new();
    reader.push(b"1\n2", at(10), &mut out);
    assert_eq!(reader.deadline(), Some(at(11)));
    reader.push(b"3\n", at(12), &mut out);
    assert_eq!(out.iter().map(show).collect::<Vec<_>>(), ["d v Integer(1)", "frame_incomplete", "d v Integer(3)"]);
    assert_eq!(reader.deadline(), None);
}

#[test]
fn a_first_frame_that_is_cut_is_no_dead_letter_and_later_ones_are() {
    let profile = profile(
        "framing = 'lines'\nchecksum = { kind = 'xor', written = 'hex', after = '*' }\ndecode = 'text'\ndevice = 'd'\nvalue = [{ metric = 'v' }]",
    );
    let mut reader = profile.stream(Context::default()).unwrap();
    let mut out = Vec::new();
    reader.push(b"5*01\n5*02\n5*35\n", at(0), &mut out);
    assert_eq!(out.iter().map(show).collect::<Vec<_>>(), ["checksum", "d v Integer(5)"]);
    assert_eq!(reader.counters(), Counters { inputs: 1, ignored: 0, absent: 0, joined_bytes: 4 });
}

#[test]
fn the_source_names_the_device_where_nothing_in_the_payload_does() {
    let profile = profile("framing = 'lines'\ndecode = 'text'\nvalue = [{ metric = 'v' }]");
    assert!(!profile.names_devices());
    let mut out = Vec::new();
    profile.stream(Context::default()).unwrap().push(b"1\n", at(0), &mut out);
    let context = Context { device: Some("tank".parse().unwrap()), ..Context::default() };
    profile.stream(context).unwrap().push(b"1\n", at(0), &mut out);
    assert_eq!(out.iter().map(show).collect::<Vec<_>>(), ["bad_name", "tank v Integer(1)"]);
}

const STREAMS: [&str; 3] = [
    "framing = { kind = 'lines', start = '$!', frame_max = '64B' }
    checksum = { kind = 'xor', written = 'hex', after = '*', skip = 1, optional = true }
    decode = { kind = 'key-value', between = ',', assign = ':' }
    device = 'd'
    value = [{ keys = '.*', type = 'number' }]",
    "framing = { kind = 'telegram', frame_max = '64B' }
    decode = 'obis'
    device = 'd'
    value = [{ keys = '.*', type = 'number' }]",
    "framing = { kind = 'cobs', frame_max = '64B' }
    decode = 'json'
    device = 'd'
    value = [{ keys = '.*' }]",
];

fn noise() -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![
        2 => any::<u8>(),
        5 => prop::sample::select(b"\r\n/!$\0*:,()1a{}\"\x03".to_vec()),
    ];
    prop::collection::vec(byte, 0..300)
}

proptest! {
    #[test]
    fn the_outputs_do_not_depend_on_the_pieces(bytes in noise(), size in 1..40_usize) {
        for text in STREAMS {
            let profile = profile(text);
            let feed = |size: usize| {
                let mut reader = profile.stream(Context::default()).unwrap();
                let mut out = Vec::new();
                bytes.chunks(size).for_each(|piece| reader.push(piece, at(0), &mut out));
                reader.silence(&mut out);
                (out, reader.counters())
            };
            let whole = feed(usize::MAX);
            prop_assert_eq!(&feed(1), &whole);
            prop_assert_eq!(&feed(size), &whole);
        }
    }

    #[test]
    fn every_dead_letter_is_bounded_and_has_a_reason(bytes in noise()) {
        for text in STREAMS {
            let mut reader = profile(text).stream(Context::default()).unwrap();
            let mut out = Vec::new();
            reader.push(&bytes, at(0), &mut out);
            reader.silence(&mut out);
            for output in out {
                if let Output::DeadLetter(letter) = output {
                    prop_assert!(letter.input.len() <= crate::DEAD_LETTER_INPUT_BYTES_MAX);
                    prop_assert!(DeadLetterReason::ALL.contains(&letter.reason) && !letter.detail.is_empty());
                }
            }
        }
    }
}
