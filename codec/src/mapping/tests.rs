//! What mappings promise that no capture shows. Profiles are written as users write them.

use std::fmt::Write as _;

use lockgate_config::Problems;
use lockgate_proto::reading::Value;
use proptest::prelude::*;

use crate::{Context, Output, Profile};

/// Reads one message on the topic `t/dev/x` by a profile whose route takes `t/{device}/{id}`.
fn read(profile: &str, payload: &str) -> Vec<Output> {
    let problems = Problems::new();
    let text = format!("decode = 'json'\nroute = [{{ topic = 't/{{device}}/{{id}}' }}]\n{profile}");
    let profile = Profile::parse("test", &text, &problems);
    assert!(problems.is_empty(), "{problems}");
    let mut out = Vec::new();
    profile.unwrap().messages(Context::default()).message("t/dev/x", payload.as_bytes(), false, &mut out);
    out
}

/// One line an output: `device metric=value unit @time`.
fn show(outputs: &[Output]) -> Vec<String> {
    let show = |output: &Output| match output {
        Output::Reading(reading) => {
            let value = match &reading.value {
                Value::Number(number) => format!("{number:?}"),
                Value::Integer(integer) => integer.to_string(),
                Value::Flag(flag) => flag.to_string(),
                Value::Text(text) => format!("{text:?}"),
                Value::Raw(bytes) => format!("{bytes:?}"),
            };
            let mut line = format!("{} {}={value}", reading.device, reading.metric);
            if let Some(unit) = &reading.unit {
                write!(line, " {unit}").unwrap();
            }
            if let Some(time) = reading.time {
                write!(line, " @{}", time.0).unwrap();
            }
            line
        }
        Output::Presence { device, online, .. } => format!("{device} online={online}"),
        Output::Reply(reply) => format!("{:?} {}", reply.id, reply.says.as_str()),
        Output::DeadLetter(letter) => letter.reason.as_str().to_owned(),
    };
    outputs.iter().map(show).collect()
}

fn check(profile: &str, payload: &str, expected: &[&str]) {
    assert_eq!(show(&read(profile, payload)), expected, "{payload}");
}

#[test]
fn types_are_what_json_says_unless_the_rule_says_otherwise() {
    let all = "value = [{ keys = '.*' }]";
    check(
        all,
        r#"{"a":1,"b":1.0,"c":"1","d":true,"e":null,"f":"","g":[]}"#,
        &["dev a=1", "dev b=1.0", "dev c=\"1\"", "dev d=true"],
    );
    let number = "value = [{ keys = '.*', type = 'number' }]";
    check(
        number,
        r#"{"a":1,"b":"2.5","c":"nan","d":true,"e":"x","f":"inf","g":{}}"#,
        &["dev a=1.0", "dev b=2.5", "bad_type", "bad_number", "not_finite", "bad_type"],
    );
    let integer = "value = [{ keys = '.*', type = 'integer' }]";
    check(
        integer,
        r#"{"a":9223372036854775807,"b":2.5,"c":"0042","d":4e1}"#,
        &["dev a=9223372036854775807", "bad_type", "dev c=42", "dev d=40"],
    );
    let text = "value = [{ keys = '.*', type = 'text' }]";
    check(text, r#"{"a":1.50,"b":"on"}"#, &["dev a=\"1.50\"", "dev b=\"on\""]);
    let flag = "value = [{ keys = '.*', type = 'bool' }]";
    check(flag, r#"{"a":1,"b":"FALSE","c":"maybe"}"#, &["dev a=true", "dev b=false", "bad_type"]);
}

#[test]
fn no_value_is_no_reading_and_no_dead_letter() {
    let rule = "value = [{ keys = '.*', type = 'number', none = [30000, '---'], scale = 0.01 }]";
    check(rule, r#"{"a":30000,"b":"30000.0","c":"---","d":" ","e":2143}"#, &["dev e=21.43"]);
}

#[test]
fn a_value_map_keeps_refuses_or_leaves_out_what_it_does_not_know() {
    let rule = |unmapped: &str| {
        format!("value = [{{ key = 's', map = {{ ON = true, 3 = 'bulk' }}, unmapped = '{unmapped}' }}]")
    };
    check(&rule("refuse"), r#"{"s":"ON"}"#, &["dev s=true"]);
    check(&rule("refuse"), r#"{"s":3}"#, &["dev s=\"bulk\""]);
    check(&rule("refuse"), r#"{"s":"odd"}"#, &["unmapped"]);
    check(&rule("keep"), r#"{"s":"odd"}"#, &["dev s=\"odd\""]);
    check(&rule("none"), r#"{"s":"odd"}"#, &[]);
}

#[test]
fn scale_offset_and_range_apply_in_this_order() {
    let rule = "value = [{ key = 'v', scale = '1/60', offset = 1, range = [0, 10], unit = 'Wh' }]";
    check(rule, r#"{"v":120}"#, &["dev v=3.0 Wh"]);
    check(rule, r#"{"v":-600}"#, &["out_of_range"]);
}

#[test]
fn the_first_rule_that_makes_a_metric_of_a_node_wins() {
    let rules = "value = [
        { key = 'voltage', devices = 'other', unit = 'mV' },
        { key = 'secret', ignore = true },
        { key = 'voltage', when = { key = 'battery', present = true }, scale = 0.001, unit = 'V' },
        { keys = '.*' },
        { key = 'voltage', metric = 'raw' },
    ]";
    check(rules, r#"{"voltage":2995,"secret":1,"battery":null}"#, &["dev voltage=2.995 V", "dev raw=2995"]);
    check(rules, r#"{"voltage":228}"#, &["dev voltage=228", "dev raw=228"]);
}

#[test]
fn names_come_from_topics_patterns_and_fields() {
    let rules = "
        [[group]]
        with = { kind = 'type', nr = { path = '$.ids[0]' } }
        device = '$kind-$nr'
        value = [{ keys = 'P(?<phase>\\d)', metric = '${id}_p$1_$phase' }]";
    check(rules, r#"{"type":"meter","ids":["0007"],"P1":5}"#, &["meter-0007 x_p1_1=5"]);
    check(rules, r#"{"ids":["0007"],"P1":5}"#, &["bad_name"]);
}

#[test]
fn units_come_from_the_rule_a_sibling_or_the_table() {
    let rules = "
        units = { 'volt.*' = 'V' }
        value = [
            { path = '$.BME.T', metric = 't', unit = { key = 'TempUnit', map = { C = 'Cel' } } },
            { key = 'voltage' },
            { key = 'volts', unit = '' },
        ]";
    check(
        rules,
        r#"{"BME":{"T":64.8},"TempUnit":"F","voltage":1,"volts":2}"#,
        &["dev t=64.8 F", "dev voltage=1 V", "dev volts=2"],
    );
    check(rules, r#"{"BME":{"T":18.3},"TempUnit":"C"}"#, &["dev t=18.3 Cel"]);
    check(rules, r#"{"BME":{"T":18.3},"TempUnit":"C\u0007"}"#, &["bad_name"]);
}

#[test]
fn groups_open_scopes_of_their_own_at_each_element() {
    let rules = "
        time = { key = 'time', form = 'epoch-s' }
        value = [{ path = '$.object.temperature', metric = 'temperature' }]
        [[group]]
        path = '$.object.history[*]'
        time = { key = 'at', form = 'epoch-ms' }
        value = [{ key = 'temperature', metric = 'past_$index' }]
        [[group]]
        keys = 'DS18B20-(\\d+)'
        with = { probe = 'Id' }
        when = { key = 'Temperature', present = true }
        value = [{ key = 'Temperature', metric = 'temperature_$probe' }]";
    let payload = r#"{"time":2,"object":{"history":[{"at":1000,"temperature":-18.6},{"at":1500,"temperature":-18.5}],
        "temperature":-18.45},"DS18B20-1":{"Id":"01","Temperature":17.9},"DS18B20-2":{"Id":"02"}}"#;
    check(
        rules,
        payload,
        &[
            "dev past_0=-18.6 @1000000",
            "dev past_1=-18.5 @1500000",
            "dev temperature=-18.45 @2000000",
            "dev temperature_01=17.9 @2000000",
        ],
    );
}

#[test]
fn a_bad_time_costs_only_the_time() {
    let rules = "time = { key = 'at', form = ['iso', 'epoch-ms'] }\nvalue = [{ key = 'v' }]";
    check(rules, r#"{"at":"yesterday","v":1}"#, &["bad_time", "dev v=1"]);
    check(rules, r#"{"at":null,"v":1}"#, &["dev v=1"]);
    check(rules, r#"{"v":1,"at":1000}"#, &["dev v=1 @1000000"]);
}

#[test]
fn a_bad_value_costs_only_itself_or_by_choice_all() {
    let payload = r#"{"a":1,"b":"x","c":3}"#;
    let rules = "value = [{ keys = '.*', type = 'number' }]";
    check(rules, payload, &["dev a=1.0", "bad_number", "dev c=3.0"]);
    check(&format!("refuse = 'whole'\n{rules}"), payload, &["bad_number"]);
}

#[test]
fn presence_must_be_true_or_false() {
    let rules = "value = [{ key = 'state', presence = true, map = { online = true, offline = false, odd = 3 } }]";
    check(rules, r#"{"state":"online"}"#, &["dev online=true"]);
    check(rules, r#"{"state":"odd"}"#, &["bad_type"]);
    check("value = [{ key = 'up', presence = true }]", r#"{"up":0}"#, &["dev online=false"]);
}

#[test]
fn a_wide_object_is_walked_by_paths_in_its_order() {
    let entries: Vec<String> = (0..100).map(|key| format!("\"k{key}\":{key}")).collect();
    let out = show(&read("value = [{ path = '$.*' }]", &format!("{{{}}}", entries.join(","))));
    assert_eq!((out.len(), out[0].as_str(), out[99].as_str()), (100, "dev k0=0", "dev k99=99"));
}

#[test]
fn what_one_input_gives_is_bounded() {
    let payload = format!("{{\"a\":[{}0]}}", "0,".repeat(16_000));
    let out = read("value = [{ path = '$.a[*]', metric = 'm$index' }]", &payload);
    assert_eq!(out.len(), 4096);
    assert_eq!(show(&out[4095..]), ["too_complex"]);
    let out = read("value = [{ path = '$..*', metric = 'a' }, { path = '$..*', metric = 'b' }]", &payload);
    assert!(out.len() <= 4096);
}

fn any_payload() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("null".to_owned()),
        Just("\"\"".to_owned()),
        Just("true".to_owned()),
        any::<f64>()
            .prop_filter("JSON has no others", |number| number.is_finite())
            .prop_map(|number| number.to_string()),
        "[a-zA-Z0-9.+-]{0,8}".prop_map(|text| format!("\"{text}\"")),
        Just("\"2025-05-20T07:01:12Z\"".to_owned()),
        Just("1e999".to_owned()),
    ];
    let key = prop::sample::select(vec!["a", "b", "P1", "time", "unit", "list"]);
    leaf.prop_recursive(4, 60, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(|items| format!("[{}]", items.join(","))),
            prop::collection::vec((key.clone(), inner), 0..6).prop_map(|entries| {
                let entries: Vec<String> = entries.iter().map(|(key, value)| format!("\"{key}\":{value}")).collect();
                format!("{{{}}}", entries.join(","))
            }),
        ]
    })
}

proptest! {
    #[test]
    fn no_payload_breaks_a_mapping(payload in any_payload()) {
        let rules = "
            time = { key = 'time', form = ['iso', 'epoch-s'] }
            with = { b = 'b' }
            value = [
                { key = 'a', unit = { key = 'unit' }, scale = '1/3', offset = 0.1, range = [-1e300, 1e300] },
                { keys = '(P)\\d', metric = '$1-$b', type = 'integer' },
                { path = '$.list[0].a', device = '$b', map = { x = 1 }, unmapped = 'keep' },
            ]
            group = [{ path = '$..list[?@.a]', time = { path = '$.time' }, value = [{ keys = '.*' }] }]";
        let out = read(rules, &payload);
        for output in out {
            if let Output::Reading(reading) = output
                && let Value::Number(number) = reading.value
            {
                prop_assert!(number.is_finite());
            }
        }
    }
}
