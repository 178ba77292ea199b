//! What topic patterns promise.

use proptest::prelude::*;

use super::{Topic, TopicError, fewest};

fn captures(pattern: &str, topic: &str) -> Option<Vec<(String, String)>> {
    let pattern = Topic::parse(pattern).unwrap();
    let mut captures = Vec::new();
    pattern.matches(topic, |name, text| captures.push((name.to_owned(), text.to_owned()))).then_some(captures)
}

fn check(pattern: &str, topic: &str, expected: Option<&[(&str, &str)]>) {
    let expected = expected.map(|pairs| pairs.iter().map(|(name, text)| ((*name).into(), (*text).into())).collect());
    assert_eq!(captures(pattern, topic), expected, "{pattern} on {topic}");
}

/// What a broker does with a filter.
fn broker_lets_through(filter: &str, topic: &str) -> bool {
    let (mut filter, mut topic) = (filter.split('/'), topic.split('/'));
    loop {
        match (filter.next(), topic.next()) {
            (Some("#"), _) | (None, None) => return true,
            (Some("+"), Some(_)) => {}
            (Some(filter), Some(level)) if filter == level => {}
            _ => return false,
        }
    }
}

#[test]
fn one_level_is_one_level() {
    check("tele/{device}/STATE", "tele/plug/STATE", Some(&[("device", "plug")]));
    check("tele/{device}/STATE", "tele/a/b/STATE", None);
    check("tele/+/STATE", "tele/plug/STATE", Some(&[]));
    check("tele/{device}/STATE", "tele/plug", None);
}

#[test]
fn several_levels_may_stand_anywhere() {
    check("z/{device...}", "z/ground floor/door", Some(&[("device", "ground floor/door")]));
    check("z/{device...}/availability", "z/a/b/availability", Some(&[("device", "a/b")]));
    check("z/{device...}/availability", "z/availability", None);
    check("{device...}/online", "shop/plug/online", Some(&[("device", "shop/plug")]));
    check(
        "N/{portal}/{service}/{path...}/Power",
        "N/1/pv/2/Ac/Power",
        Some(&[("portal", "1"), ("service", "pv"), ("path", "2/Ac")]),
    );
    check("z/bridge/#", "z/bridge", Some(&[]));
    check("z/bridge/#", "z/bridge/a/b", Some(&[]));
}

#[test]
fn what_could_not_be_told_apart_is_refused() {
    assert!(matches!(Topic::parse("a/x{b}"), Err(TopicError::Mixed { .. })));
    assert!(matches!(Topic::parse("a/{}"), Err(TopicError::Mixed { .. })));
    assert!(matches!(Topic::parse("{a...}/{b...}"), Err(TopicError::TwoSeveral)));
    assert!(matches!(Topic::parse("a/#/b"), Err(TopicError::RestInside)));
    assert!(matches!(Topic::parse("{a}/{a}"), Err(TopicError::Twice { .. })));
    assert!(matches!(Topic::parse(""), Err(TopicError::Empty)));
}

#[test]
fn subscriptions_do_not_overlap() {
    let filters = ["z/bridge/state", "z/+/availability", "z/#", "other/+/x", "other/a/x"].map(str::to_owned);
    assert_eq!(fewest(filters), ["z/#", "other/+/x"]);
}

fn level() -> impl Strategy<Value = String> {
    prop_oneof![Just("a".to_owned()), Just("b c".to_owned()), Just(String::new())]
}

fn pattern() -> impl Strategy<Value = String> {
    let part = prop_oneof![
        4 => level(),
        1 => Just("+".to_owned()),
        1 => Just("{one}".to_owned()),
        1 => Just("{many...}".to_owned()),
        1 => Just("#".to_owned()),
    ];
    prop::collection::vec(part, 1..5).prop_map(|levels| levels.join("/"))
}

proptest! {
    #[test]
    fn the_subscription_lets_through_whatever_the_pattern_means(
        pattern in pattern(),
        topic in prop::collection::vec(level(), 1..6),
    ) {
        let topic = topic.join("/");
        if let Ok(parsed) = Topic::parse(&pattern)
            && parsed.matches(&topic, |_, _| {})
        {
            prop_assert!(broker_lets_through(&parsed.filter(), &topic), "{} {}", parsed, topic);
        }
    }

    #[test]
    fn the_fewest_filters_still_let_everything_through(
        patterns in prop::collection::vec(pattern(), 1..5),
        topic in prop::collection::vec(level(), 1..6),
    ) {
        let topic = topic.join("/");
        let filters: Vec<String> =
            patterns.iter().filter_map(|text| Topic::parse(text).ok()).map(|topic| topic.filter()).collect();
        let any = |filters: &[String]| filters.iter().any(|filter| broker_lets_through(filter, &topic));
        prop_assert_eq!(any(&filters), any(&fewest(filters.clone())));
    }

    #[test]
    fn no_text_breaks_it(pattern: String, topic: String) {
        if let Ok(parsed) = Topic::parse(&pattern) {
            parsed.matches(&topic, |_, _| {});
        }
    }
}
