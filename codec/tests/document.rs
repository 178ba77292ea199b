//! The examples of docs/mapping.md are without a fault.

use std::path::Path;

use lockgate_codec::Profile;
use lockgate_config::Problems;

/// The blocks of TOML in a Markdown text.
fn blocks(text: &str) -> Vec<&str> {
    text.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect()
}

/// An example with the keys that it leaves out because it is about others.
fn completed(example: &str) -> String {
    let mut text = String::new();
    if !example.contains("decode = ") {
        text.push_str("decode = 'json'\n");
    }
    if !example.contains("topic = ") && !example.contains("framing = ") {
        text.push_str("framing = 'lines'\n");
    }
    text + example
}

#[test]
fn the_examples_can_be_used_as_they_stand() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/mapping.md");
    let document = std::fs::read_to_string(file).expect("the document is there");
    let about_profiles = |example: &&str| !example.contains("[[serial]]");
    let examples: Vec<&str> = blocks(&document).into_iter().filter(about_profiles).collect();
    assert!(examples.len() >= 5);
    for example in examples {
        let problems = Problems::new();
        Profile::parse("example", &completed(example), &problems);
        assert!(problems.is_empty(), "{problems}");
    }
}
