//! What a description says holds of each value; and what is no description never becomes one.

use bytes::Bytes;
use proptest::prelude::*;
use prost::Message;

use super::*;
use crate::command::{Field, Fields};
use crate::convert::{ConvertError, decode_record, description_from_bytes, description_to_bytes, encode_record};
use crate::reading::Value;
use crate::record::Record;
use crate::wire;

fn field_name(text: &str) -> FieldName {
    FieldName::new(text).unwrap()
}

fn argument(name: &str, kind: ArgumentKind) -> ArgumentDescription {
    ArgumentDescription { name: field_name(name), label: None, unit: None, required: false, default: None, kind }
}

fn command(name: &str, arguments: Vec<ArgumentDescription>) -> CommandDescription {
    CommandDescription {
        name: CommandName::new(name).unwrap(),
        label: None,
        arguments,
        confirm: false,
        idempotent: false,
        at_once: 1,
        timeout: None,
    }
}

fn metric(name: &str) -> MetricDescription {
    MetricDescription { name: MetricName::new(name).unwrap(), unit: None, kind: None, label: None }
}

fn described(commands: Vec<CommandDescription>) -> Result<Description, DescriptionError> {
    Description::new(DeviceName::new("pump-7").unwrap(), vec![metric("level")], commands, Vec::new())
}

fn fields(fields: &[(&str, Value)]) -> Fields {
    Fields::new(fields.iter().map(|(name, value)| Field { name: field_name(name), value: value.clone() })).unwrap()
}

/// A pump that can be told its speed.
fn pump() -> Description {
    let speed = ArgumentDescription {
        required: true,
        ..argument("speed", ArgumentKind::Number { min: Some(0.5), max: Some(3.0), step: Some(0.1) })
    };
    let mode = ArgumentKind::Choice { of: vec!["eco".into(), "boost".into()] };
    let mode = ArgumentDescription { default: Some(Value::Text("eco".into())), ..argument("mode", mode) };
    let runs = argument("runs", ArgumentKind::Integer { min: Some(1), max: Some(9) });
    let note = argument("note", ArgumentKind::Text { bytes_max: 8 });
    let dry = argument("dry", ArgumentKind::Flag);
    described(vec![command("run", vec![speed, mode, runs, note, dry]), command("stop", Vec::new())]).unwrap()
}

fn check(given: &[(&str, Value)]) -> Result<Fields, String> {
    let run = CommandName::new("run").unwrap();
    pump().check(&run, &fields(given)).map_err(|error| format!("{}: {error}", error.field()))
}

#[test]
fn what_is_not_given_gets_its_default_and_numbers_get_their_kind() {
    let eco = ("mode", Value::Text("eco".into()));
    let speed = |value| ("speed", value);
    assert_eq!(check(&[speed(Value::Number(1.2))]), Ok(fields(&[speed(Value::Number(1.2)), eco.clone()])));
    assert_eq!(check(&[speed(Value::Number(0.7))]), Ok(fields(&[speed(Value::Number(0.7)), eco.clone()])));
    let boost = ("mode", Value::Text("boost".into()));
    let given = [speed(Value::Integer(2)), ("runs", Value::Number(3.0)), boost.clone()];
    assert_eq!(check(&given), Ok(fields(&[speed(Value::Number(2.0)), ("runs", Value::Integer(3)), boost])));
}

#[test]
fn an_error_names_the_field_the_value_and_what_is_allowed() {
    let run = |extra: (&str, Value)| check(&[("speed", Value::Integer(1)), extra]).unwrap_err();
    let speed = "a number from 0.5 to 3, in steps of 0.1";
    assert_eq!(check(&[]).unwrap_err(), format!("arguments.speed: speed is missing; give it {speed}"));
    for (value, shown) in [
        (Value::Number(9.5), "9.5"),
        (Value::Number(1.25), "1.25"),
        (Value::Integer(0), "0"),
        (Value::Integer(i64::MAX), "9223372036854775807"),
        (Value::Text("1.2".into()), "\"1.2\""),
        (Value::Raw(Bytes::from_static(b"12")), "2 raw bytes"),
    ] {
        let error = check(&[("speed", value)]).unwrap_err();
        assert_eq!(error, format!("arguments.speed: speed is {shown}; it may be {speed}"));
    }
    assert_eq!(
        run(("mode", Value::Text("turbo".into()))),
        "arguments.mode: mode is \"turbo\"; it may be one of \"eco\", \"boost\""
    );
    assert_eq!(run(("runs", Value::Number(2.5))), "arguments.runs: runs is 2.5; it may be a whole number from 1 to 9");
    assert_eq!(run(("dry", Value::Integer(1))), "arguments.dry: dry is 1; it may be true or false");
    let long = run(("note", Value::Text("ö".repeat(1_000).into())));
    assert!(long.ends_with("… (2000 bytes); it may be text of at most 8 bytes") && long.len() < 300, "{long}");
    assert_eq!(
        run(("pressure", Value::Integer(1))),
        "arguments.pressure: pressure is no argument of run; it takes speed, mode, runs, note, dry"
    );
    let unknown = pump().check(&CommandName::new("fly").unwrap(), &Fields::default()).unwrap_err();
    assert_eq!(unknown.to_string(), "the device has no command fly; it has run, stop");
    assert_eq!(unknown.field(), "name");
}

#[test]
fn defaults_can_not_make_a_command_larger_than_one_may_be() {
    let large = Value::Text("x".repeat(10_000).into());
    let with = |name| ArgumentDescription {
        default: Some(large.clone()),
        ..argument(name, ArgumentKind::Text { bytes_max: 16_384 })
    };
    let described = described(vec![command("run", vec![with("a"), with("b")])]).unwrap();
    let error = described.check(&CommandName::new("run").unwrap(), &Fields::default()).unwrap_err();
    assert!(matches!(error, ArgumentError::TooMuch(_)) && error.field() == "arguments", "{error}");
}

#[test]
fn what_contradicts_itself_is_no_description_and_is_told_where() {
    let of = |kind| described(vec![command("run", vec![argument("a", kind)])]);
    let at = |result: Result<Description, DescriptionError>| result.unwrap_err().to_string();
    let place = "commands.run.arguments.a";
    let upside_down = at(of(ArgumentKind::Integer { min: Some(2), max: Some(1) }));
    assert_eq!(upside_down, format!("{place} has a min above its max; swap them"));
    for kind in [
        ArgumentKind::Number { min: Some(1.0), max: Some(0.0), step: None },
        ArgumentKind::Number { min: None, max: Some(f64::NAN), step: None },
        ArgumentKind::Number { min: None, max: None, step: Some(0.0) },
        ArgumentKind::Number { min: None, max: None, step: Some(f64::INFINITY) },
        ArgumentKind::Text { bytes_max: 0 },
        ArgumentKind::Text { bytes_max: u32::MAX },
        ArgumentKind::Choice { of: Vec::new() },
        ArgumentKind::Choice { of: vec!["a".into(), "a".into()] },
        ArgumentKind::Choice { of: vec!["".into()] },
        ArgumentKind::Choice { of: vec!["a\u{202e}b".into()] },
        ArgumentKind::Choice { of: (0..=64).map(|word: i32| word.to_string().into()).collect() },
    ] {
        let error = at(of(kind));
        assert!(error.starts_with(place), "{error}");
    }
    let default = |default, required| ArgumentDescription {
        default: Some(default),
        required,
        ..argument("a", ArgumentKind::Integer { min: None, max: Some(3) })
    };
    for wrong in [default(Value::Integer(4), false), default(Value::Integer(1), true)] {
        let error = at(described(vec![command("run", vec![wrong])]));
        assert!(error.starts_with(&format!("{place}.default")), "{error}");
    }
    let twice = at(described(vec![command("run", Vec::new()), command("run", Vec::new())]));
    assert_eq!(twice, "commands.run is described twice; describe it once");
    let never = at(described(vec![CommandDescription { at_once: 0, ..command("run", Vec::new()) }]));
    assert!(never.starts_with("commands.run.at_once"), "{never}");
    let many = (0..=FIELDS_MAX).map(|at| argument(&at.to_string(), ArgumentKind::Flag)).collect();
    assert!(at(described(vec![command("run", many)])).contains("at most 64"));
}

#[test]
fn the_version_tells_contents_apart_and_stays_with_the_same() {
    let one = pump();
    assert_eq!(one.version, pump().version);
    let other = described(one.commands.iter().rev().cloned().collect()).unwrap();
    assert_ne!(one.version, other.version);
    assert_eq!(
        one.version, 14_149_663_149_133_357_952,
        "what an agent told before must not look changed after an update"
    );
}

#[test]
fn an_argument_of_a_kind_of_later_is_left_to_the_agent() {
    // `speed` with a kind of number 21, as a later version may have it.
    let later = wire::ArgumentDescription { name: "speed".to_owned(), ..Default::default() };
    let mut bytes = later.encode_to_vec();
    bytes.extend([0xaa, 0x01, 0x00]);
    let later = wire::ArgumentDescription::decode(&*bytes).unwrap();
    let command = wire::CommandDescription {
        name: "run".to_owned(),
        arguments: vec![later],
        at_once: 1,
        ..wire::CommandDescription::default()
    };
    let told = wire::Description { device: "pump".to_owned(), commands: vec![command], ..Default::default() };
    let told = description_from_bytes(&told.encode_to_vec()).unwrap();
    let given = fields(&[("speed", Value::Raw(Bytes::from_static(b"any")))]);
    assert_eq!(told.check(&CommandName::new("run").unwrap(), &given), Ok(given));
}

#[test]
fn a_huge_description_is_a_clear_error() {
    let named = |name: String| wire::MetricDescription { name, ..Default::default() };
    let told = |metrics| wire::Description { device: "pump".to_owned(), metrics, ..Default::default() };
    let refused = |told: &wire::Description| description_from_bytes(&told.encode_to_vec()).unwrap_err();
    let many = told((0..=DESCRIPTION_METRICS_MAX).map(|at| named(at.to_string())).collect());
    assert_eq!(
        refused(&many),
        ConvertError::TooLarge { field: "description.metrics", got: 513, max: DESCRIPTION_METRICS_MAX }
    );
    let large = told((0..400).map(|at| named(format!("{at:0>200}"))).collect());
    assert!(matches!(refused(&large), ConvertError::TooLarge { field: "description", .. }));
    let record = wire::Record { body: Some(wire::record::Body::Description(large)) };
    let error = decode_record(record.encode_to_vec().into()).unwrap_err();
    assert!(error.to_string().contains("at most 65536"), "{error}");
}

fn any_value() -> impl Strategy<Value = Value> {
    prop_oneof![
        any::<f64>().prop_filter("finite", |number| number.is_finite()).prop_map(Value::Number),
        (-20.0..20.0_f64).prop_map(Value::Number),
        (-20_i64..20).prop_map(Value::Integer),
        any::<i64>().prop_map(Value::Integer),
        any::<bool>().prop_map(Value::Flag),
        "[a-c]{0,3}".prop_map(|text| Value::Text(text.into())),
        prop::collection::vec(any::<u8>(), 0..4).prop_map(|bytes| Value::Raw(bytes.into())),
    ]
}

fn any_kind() -> impl Strategy<Value = ArgumentKind> {
    let bound = || prop::option::of(-20_i32..20);
    prop_oneof![
        Just(ArgumentKind::Flag),
        Just(ArgumentKind::Any),
        (bound(), bound())
            .prop_map(|(min, max)| ArgumentKind::Integer { min: min.map(Into::into), max: max.map(Into::into) }),
        (bound(), bound(), prop::option::of(1_u8..4)).prop_map(|(min, max, step)| ArgumentKind::Number {
            min: min.map(Into::into),
            max: max.map(Into::into),
            step: step.map(|step| f64::from(step) / 10.0),
        }),
        (1_u32..5).prop_map(|bytes_max| ArgumentKind::Text { bytes_max }),
        prop::collection::btree_set("[a-c]{1,2}", 1..4)
            .prop_map(|of| ArgumentKind::Choice { of: of.into_iter().map(Into::into).collect() }),
    ]
}

fn any_argument() -> impl Strategy<Value = ArgumentDescription> {
    ("[a-d]", any_kind(), any::<bool>(), prop::option::of(any_value()))
        .prop_map(|(name, kind, required, default)| ArgumentDescription { required, default, ..argument(&name, kind) })
}

fn any_given() -> impl Strategy<Value = Fields> {
    prop::collection::btree_map("[a-e]", any_value(), 0..4).prop_map(|given| {
        Fields::new(given.into_iter().map(|(name, value)| Field { name: field_name(&name), value })).unwrap()
    })
}

proptest! {
    #[test]
    fn what_is_checked_is_allowed_complete_and_stays_as_it_is(
        arguments in prop::collection::vec(any_argument(), 0..4),
        given in any_given(),
    ) {
        let Ok(described) = described(vec![command("run", arguments)]) else { return Ok(()) };
        let run = &described.commands[0];
        match run.check(&given) {
            Ok(checked) => {
                for argument in &run.arguments {
                    let value = checked.get(argument.name.as_str());
                    let must = argument.required || argument.default.is_some();
                    prop_assert!(value.is_some() || !must);
                    prop_assert!(value.is_none_or(|value| argument.kind.admit(value).as_ref() == Some(value)));
                    prop_assert!(value.is_some() || given.get(argument.name.as_str()).is_none());
                }
                prop_assert!(checked.iter().all(|field| run.argument(&field.name).is_some()));
                prop_assert_eq!(run.check(&checked), Ok(checked.clone()), "checking again changes nothing");
            }
            Err(error) => prop_assert!(!error.to_string().is_empty() && !error.field().is_empty()),
        }
    }

    #[test]
    fn every_description_comes_back_as_it_was(
        arguments in prop::collection::vec(any_argument(), 0..4),
        label in prop::option::of("[a-zäöü ]{1,9}"),
        timeout in prop::option::of(1_u64..600_000),
        (confirm, idempotent, at_once) in any::<(bool, bool, u32)>(),
        tags in prop::collection::btree_set("[a-z]{1,3}", 0..4),
    ) {
        let label = label.map(Arc::from);
        let timeout = timeout.map(Duration::from_millis);
        let run = CommandDescription { label: label.clone(), confirm, idempotent, at_once, timeout, ..command("run", arguments) };
        let level = MetricDescription { unit: Some("m".into()), kind: Some(ValueKind::Number), label, ..metric("level") };
        let tags = tags.into_iter().map(|tag| Tag::new(tag).unwrap()).collect();
        let Ok(described) = Description::new(DeviceName::new("d").unwrap(), vec![level], vec![run], tags) else { return Ok(()) };
        prop_assert_eq!(description_from_bytes(&description_to_bytes(&described)), Ok(described.clone()));
        let record = Record::Description(described);
        prop_assert_eq!(decode_record(encode_record(&record)), Ok(record));
    }

    #[test]
    fn no_bytes_break_the_reading_of_a_description(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _read = description_from_bytes(&bytes).and_then(|told| {
            for command in &told.commands {
                let _checked = command.check(&Fields::default());
            }
            description_from_bytes(&description_to_bytes(&told))
        });
    }
}
