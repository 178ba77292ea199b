//! Promises of the crate as a whole: every fault at once, drawn at its place, and no text that breaks it.

use std::time::Duration;

use proptest::prelude::*;

use super::{Document, Item, Problems, Raw, Table};

#[derive(Clone, Debug, PartialEq)]
enum Parity {
    Even,
    None,
}

#[derive(Debug, PartialEq)]
struct Serial {
    device: String,
    baud: u32,
    parity: Parity,
    silence: Duration,
}

#[derive(Debug, PartialEq)]
struct Config {
    name: String,
    budget: u64,
    serial: Vec<Serial>,
}

fn serial(table: &Table<'_>) -> Option<Serial> {
    let device = table.required("device", Item::text);
    let baud = table.or("baud", 9_600, |item| item.integer(300..=4_000_000));
    let parity = table.or("parity", Parity::None, |item| item.word(&[("none", Parity::None), ("even", Parity::Even)]));
    let silence = table.or("silence", Duration::from_secs(1), |item| {
        item.duration(Duration::from_millis(1)..=Duration::from_secs(60))
    });
    Some(Serial { device: device?.to_owned(), baud, parity, silence })
}

fn config(root: &Table<'_>) -> Option<Config> {
    let name = root.required("name", Item::text);
    let budget = root.section("queue", |queue| queue.required("budget", |item| item.bytes(1024..=1 << 40)));
    let serial = root.sections("serial", serial);
    Some(Config { name: name?.to_owned(), budget: budget?, serial })
}

fn read(text: &str) -> Result<Config, Problems> {
    let problems = Problems::new();
    let config = Document::parse("agent.toml", text, &problems).check(config);
    problems.into_result(config)
}

fn faults(text: &str) -> String {
    read(text).expect_err("the text has faults").render(false)
}

#[test]
fn a_good_file_gives_its_values() {
    let text = "name = 'shed'\nqueue = { budget = '1GiB' }\n[[serial]]\ndevice = '/dev/ttyUSB0'\nsilence = '250ms'\n";
    let serial = Serial {
        device: "/dev/ttyUSB0".to_owned(),
        baud: 9_600,
        parity: Parity::None,
        silence: Duration::from_millis(250),
    };
    assert_eq!(read(text).unwrap(), Config { name: "shed".to_owned(), budget: 1 << 30, serial: vec![serial] });
}

#[test]
fn all_faults_of_a_file_are_told_at_once() {
    let text = r#"
name = 7
[queue]
budget = 1024
[[serial]]
device = "/dev/ttyUSB0"
buad = 115200
parity = "evn"
silence = "5 minutes"
[[serial]]
baud = 5
colour = "red"
"#;
    insta::assert_snapshot!(faults(text));
}

#[test]
fn syntax_errors_are_told_with_what_can_still_be_checked() {
    let text = "name = shed\nname2 = 'x'\n[queue]\nbudget = [1\n[[serial]]\nbaud = 010\n";
    insta::assert_snapshot!(faults(text));
}

#[test]
fn an_empty_file_lacks_what_is_required() {
    insta::assert_snapshot!(faults(""));
}

#[test]
fn a_key_given_twice_is_told_where_it_is_repeated() {
    insta::assert_snapshot!(faults("name = 'a'\nname = 'b'\nqueue.budget = '1MiB'\n"));
}

#[test]
fn a_table_where_a_list_of_tables_is_wanted_says_how_to_write_it() {
    insta::assert_snapshot!(faults("name = 'a'\nqueue.budget = '1MiB'\n[serial]\nbaud = 300\n"));
}

#[test]
fn what_a_file_says_cannot_write_to_the_terminal() {
    let drawn = faults("name = 'a'\nqueue.budget = '1MiB'\n'\u{202e}key' = \"\\u001b[31m\"\n\"\\u001b]0;x\" = 1\n");
    assert!(drawn.chars().all(|character| character == '\n' || !character.is_control()), "{drawn:?}");
    assert!(!drawn.contains('\u{202e}'));
}

#[test]
fn the_example_of_a_size_is_a_possible_one_and_not_the_largest() {
    let examples = [(1 << 22, 1 << 40, "\"2GiB\""), (5, 7, "\"5B\""), (16, 65_536, "\"1KiB\""), (0, 1, "\"0B\"")];
    for (low, high, example) in examples {
        let problems = Problems::new();
        let document = Document::parse("a.toml", "size = 'much'\n", &problems);
        document.check(|root| root.optional("size", |item| item.bytes(low..=high)));
        assert!(problems.list()[0].fix.ends_with(example), "{:?}", problems.list());
    }
}

#[test]
fn an_alias_is_told_as_the_key_that_was_meant() {
    let problems = Problems::new();
    let document = Document::parse("a.toml", "equals = 1\nother = 2\n", &problems);
    let root = document.root();
    root.aliases(&[("equals", "is")]);
    assert!(!root.has("is"));
    assert_eq!(root.unknown(), ["equals", "other"]);
    root.finish();
    let fixes: Vec<String> = problems.list().into_iter().map(|problem| problem.fix).collect();
    assert_eq!(fixes, ["did you mean `is`?", "remove it; known here: is"]);
}

#[test]
fn a_problem_knows_its_line_and_column() {
    let problems = read("name = 'ä'\nqueue = { budget = 'ä', x = 1 }\n").unwrap_err().list();
    let places: Vec<_> = problems.iter().map(|p| (p.key.as_str(), p.line, p.column)).collect();
    assert_eq!(places, [("queue.budget", 2, 20), ("queue.x", 2, 25)]);
}

#[test]
fn a_closure_s_error_becomes_fault_and_fix() {
    let problems = Problems::new();
    let document = Document::parse("a.toml", "name = 'x y'\n", &problems);
    let name = document.check(|root| root.required("name", |item| item.parse(|_| Err::<(), _>("has a blank; use -"))));
    assert_eq!(name, None);
    let problem = &problems.list()[0];
    assert_eq!((problem.what.as_str(), problem.fix.as_str()), ("has a blank", "use -"));
}

#[test]
fn keys_of_a_map_come_in_the_order_of_the_text() {
    let problems = Problems::new();
    let document = Document::parse("a.toml", "z = 1\na = [2, 'b']\nm = { k = true }\n", &problems);
    let root = document.root();
    let keys: Vec<_> = root.items().into_iter().map(|(key, _)| key).collect();
    assert_eq!(keys, ["z", "a", "m"]);
    root.finish();
    assert!(problems.is_empty());
    assert!(matches!(root.item("z").and_then(|item| item.raw()), Some(Raw::Integer(1))));
}

/// Calls every reader on every value.
fn walk(item: &Item<'_>) {
    let _text = (item.text(), item.any_text(), item.boolean(), item.file());
    let _numbers = (item.integer(0..=u64::MAX), item.integer(i32::MIN..=-1), item.number(-1.0..=1.0));
    let _units = (item.duration(Duration::ZERO..=Duration::from_secs(9)), item.bytes(5..=7));
    let _word = (item.word(&[("a", 1), ("none", 2)]), item.parse(str::parse::<u8>));
    let _nested = (item.tables(serial), item.one_or_many(Item::text), item.table(serial));
    match item.raw() {
        Some(Raw::Array(items)) => items.iter().for_each(walk),
        Some(Raw::Table(table)) => walk_table(&table),
        Some(Raw::Text(_) | Raw::Integer(_) | Raw::Float(_) | Raw::Bool(_) | Raw::Datetime(_)) | None => {}
    }
}

fn walk_table(table: &Table<'_>) {
    let _checked = config(table);
    table.finish();
    table.items().iter().for_each(|(_, item)| walk(item));
}

fn check_never_panics(text: &str) {
    let problems = Problems::new();
    walk_table(&Document::parse("any.toml", text, &problems).root());
    assert!(problems.render(false).contains("found"));
    assert!(problems.render(true).contains("found"));
}

proptest! {
    #[test]
    fn no_text_breaks_it(text in any::<String>()) {
        check_never_panics(&text);
    }

    #[test]
    fn no_text_that_looks_like_toml_breaks_it(
        parts in proptest::collection::vec(
            prop_oneof![
                Just("[["), Just("]]"), Just("["), Just("]"), Just("{"), Just("}"), Just("="), Just(","), Just("."),
                Just("\n"), Just("\r\n"), Just("\r"), Just("\t"), Just("'"), Just("\""), Just("\"\"\""), Just("'''"),
                Just("serial"), Just("queue"), Just("name"), Just("device"), Just("baud"), Just("x"), Just("ä漢\u{202e}"),
                Just("\\u001b"), Just("1"), Just("-0x1"), Just("1e999"), Just("inf"), Just("99999999999999999999"),
                Just("'10s'"), Just("2020-01-01"), Just("#"), Just(" "), Just("true"), Just("\u{0}"), Just("name = 1\n"),
                Just("[[serial]]\n"), Just("baud = 3\n"), Just("queue.budget = 1\n"), Just("\u{feff}"),
            ],
            0..40,
        )
    ) {
        check_never_panics(&parts.concat());
    }
}
