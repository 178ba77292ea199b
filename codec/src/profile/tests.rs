//! What checking a profile promises: every fault at once, and layers that lie over one another.

use lockgate_config::{Document, Problems};
use proptest::prelude::*;

use super::{Input, Profile};
use crate::{Context, Output};

fn faults(text: &str) -> Vec<String> {
    let problems = Problems::new();
    Profile::parse("p.toml", text, &problems);
    problems.list().iter().map(|problem| format!("{}: {}; {}", problem.title(), problem.fix, problem.line)).collect()
}

fn check(text: &str, expected: &[&str]) {
    let faults = faults(text);
    assert_eq!(faults.len(), expected.len(), "{faults:#?}");
    for (fault, expected) in faults.iter().zip(expected) {
        assert!(fault.contains(expected), "{fault} has no {expected}");
    }
}

#[test]
fn all_faults_of_a_profile_are_told_at_once() {
    check(
        "framing = { kind = 'lins', end = ';' }
checksum = { kind = 'crc16-arc', written = 'HEX' }
decode = 'jason'
units = { '(' = 'V' }
[[value]]
key = 'a'
path = '$.b'
[[value]]
keys = 'P(\\d'
[[value]]
key = 'c'
metric = 'power_$2'
scale = '1/0'
range = [5, 1]
when = { key = 'd' }
[[value]]
unit = 'V'
time = { key = 't', form = 'is', zone = 'Mars/Base' }
",
        &[
            "did you mean \"lines\"",
            "\"HEX\" is not one of the words",
            "did you mean \"json\"",
            "is no regular expression",
            "value[0]: has several places",
            "value[1].keys: is no regular expression",
            "uses `$2`, which nothing defines",
            "is no fraction",
            "is no range",
            "asks nothing",
            "metric: is missing",
            "did you mean \"iso\"",
            "is no time zone",
        ],
    );
}

#[test]
fn a_fault_brings_no_others_with_it() {
    let value = |keys: &str| format!("framing = 'lines'\ndecode = 'json'\n[[value]]\n{keys}\n");
    let rest = "metric = 'm_$1_$name'\nunit = 'V'\ntype = 'number'\nscale = 2";
    check(&value(&format!("keys = 'T(\\d+'\n{rest}")), &["value[0].keys: is no regular expression"]);
    check(&value("key = 'a'\npath = '$.a'\nmetric = 'm'\nunit = 'V'"), &["value[0]: has several places"]);
    check(&value("key = 'a'\nkeys = '(a)'\nmetric = 'm_$1'"), &["value[0]: has several places"]);
    let when = "when = { key = 'b', like = '(?<name>' }";
    check(&value(&format!("key = 'a'\n{when}\nmetric = '$name'")), &["value[0].when.like: is no regular"]);
    check(
        &value("key = 'a'\nwhen = { key = 'a', equals = 'x' }"),
        &["when.equals: is no key that is known here: did you mean `is`?"],
    );
    check(&value("key = 'a'\nwhen = { key = 'a', presnt = true }"), &["did you mean `present`?"]);
    check("decode = 'json'\n[[route]]\ntopic = 'a/{plant'\ndevice = '$plant'\n", &["mixes text and a wildcard"]);
}

#[test]
fn what_a_source_cannot_do_without_is_missed() {
    check("decode = 'json'", &["route: is missing"]);
    check("framing = 'lines'", &["decode: is missing"]);
    check("decode = 'json'\n[[route]]\nstarts = '{'\n", &["route: is missing"]);
    check("decode = 'json'\n[[route]]\ntopic = 'a/{b'\n", &["mixes text and a wildcard"]);
    check("decode = 'json'\n[[route]]\ntopic = '$base/x'\n", &["no constant"]);
    check("framing = 'cobs'\ndecode = 'json'\ndevices = 'x'\n", &["did you mean `device`"]);
}

#[test]
fn a_name_that_has_a_meaning_gets_no_other() {
    check(
        "decode = 'json'
names = { topic = 'z' }
with = { index = 'i' }
[[route]]
topic = 'a/{key}'
[[value]]
keys = '(?<key>b)'
",
        &["gives `topic`", "gives `index`", "gives `key`", "gives `key`"],
    );
}

#[test]
fn names_of_topics_patterns_and_fields_may_be_used() {
    check(
        "decode = 'json'
names = { base = 'z' }
with = { id = 'ID' }
[[route]]
topic = '$base/{device...}'
[[value]]
keys = '(a)(?<b>b)'
metric = '$base $device $id $1 $b $key $topic'
",
        &[],
    );
}

/// A source's own block over a profile.
fn layered(own: &str, base: &str, topic: &str, payload: &str) -> Vec<String> {
    let problems = Problems::new();
    let base = Document::parse("base.toml", base, &problems);
    let own = Document::parse("agent.toml", own, &problems);
    let profile = own.check(|own| Profile::check(Input::Messages, own, Some(&base.root())));
    assert!(problems.is_empty(), "{problems}");
    let mut out = Vec::new();
    profile.unwrap().messages(Context::default()).message(topic, payload.as_bytes(), false, &mut out);
    out.iter()
        .map(|output| match output {
            Output::Reading(reading) => format!("{reading:?}"),
            other => format!("{other:?}"),
        })
        .collect()
}

#[test]
fn what_a_source_says_stands_before_its_profile() {
    let base = "
        decode = 'json'
        names = { base = 'z' }
        units = { v = 'V' }
        [[route]]
        topic = '$base/{device}'
        [[value]]
        key = 'v'
        scale = 0.001";
    let own = "names = { base = 'mine' }\nvalue = [{ key = 'v', devices = 'plug' }]\nunits = { v = 'mV' }";
    let out = layered(own, base, "mine/plug", "{\"v\":228}");
    assert!(out[0].contains("Integer(228)") && out[0].contains("mV"), "{out:?}");
    let out = layered(own, base, "mine/fridge", "{\"v\":2995}");
    assert!(out[0].contains("Number(2.995)"), "{out:?}");
    assert!(layered(own, base, "z/fridge", "{\"v\":2995}").is_empty());
}

proptest! {
    #[test]
    fn no_text_breaks_the_check(text: String) {
        faults(&text);
    }

    #[test]
    fn no_value_in_any_key_breaks_the_check(
        key in prop::sample::select(vec![
            "framing", "checksum", "decode", "device", "names", "units", "time", "with", "value", "group", "route",
            "refuse", "route.topic", "value.keys", "framing.kind",
        ]),
        value in prop::sample::select(vec![
            "1", "'$x'", "[]", "{}", "[{}]", "[[1]]", "{ kind = 'lines' }", "{ a = { b = 1 } }", "'{'", "'(('",
            "[{ key = 'a', path = 'b' }]", "{ key = '$$', form = '%Q', zone = 'x' }", "nan", "1979-05-27",
        ]),
    ) {
        faults(&format!("framing = 'lines'\ndecode = 'text'\n{key} = {value}\n"));
        faults(&format!("{key} = {value}\n"));
    }
}
