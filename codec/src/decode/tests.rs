//! What decoders promise: the tree says what the bytes say, and no bytes break them.

use proptest::prelude::*;
use serde_json::Value;

use super::{Bare, Decoder, KeyValue};
use crate::output::DeadLetterReason;
use crate::tree::Node;

fn json(text: &str) -> Result<Node<'_>, DeadLetterReason> {
    Decoder::Json.decode(text.as_bytes()).map_err(|part| part.reason)
}

fn key_value(between: &str, assign: &str, bare: Bare) -> Decoder {
    Decoder::KeyValue(KeyValue { between: between.to_owned(), assign: assign.to_owned(), bare })
}

fn scalars(node: &Node<'_>) -> Vec<(String, String)> {
    let scalar = |node: &Node<'_>| node.scalar().unwrap_or("?").to_owned();
    node.entries().iter().map(|(key, node)| (key.as_ref().to_owned(), scalar(node))).collect()
}

fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    expected.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

#[test]
fn json_keeps_order_and_the_text_of_numbers() {
    let tree = json(r#"{"z": 1732521123.41, "a": 18446744073709551616, "t": "caf\u00e9 \ud83d\ude00\n"}"#).unwrap();
    assert_eq!(scalars(&tree), pairs(&[("z", "1732521123.41"), ("a", "18446744073709551616"), ("t", "café 😀\n")]));
}

#[test]
fn broken_json_is_refused() {
    for text in [
        "",
        "{",
        "{\"a\":1,}",
        "[1 2]",
        "01",
        "1.",
        "-",
        "\"\\x\"",
        "\"\\ud800\"",
        "nul",
        "{} x",
        "\"a\nb\"",
        "\"\\é\"",
    ] {
        assert_eq!(json(text), Err(DeadLetterReason::Syntax), "{text}");
    }
    assert_eq!(json(&"[".repeat(100)), Err(DeadLetterReason::TooComplex));
    assert_eq!(json(&format!("[{}0]", "0,".repeat(20_000))), Err(DeadLetterReason::TooComplex));
    assert_eq!(Decoder::Json.decode(b"\"\xFF\"").unwrap_err().reason, DeadLetterReason::Encoding);
}

#[test]
fn pieces_with_any_separators_are_read() {
    let tree = key_value(",", ":", Bare::Refuse);
    let tree = tree.decode(b"MSG:2,Vrms:,P2:nan").unwrap();
    assert_eq!(scalars(&tree), pairs(&[("MSG", "2"), ("Vrms", ""), ("P2", "nan")]));
    let tree = key_value(";", "=", Bare::Position);
    let tree = tree.decode(b"20;2D;UPM/Esic;ID=0003;").unwrap();
    assert_eq!(scalars(&tree), pairs(&[("#0", "20"), ("#1", "2D"), ("#2", "UPM/Esic"), ("ID", "0003")]));
    let tree = key_value(" ", "=", Bare::Refuse);
    let tree = tree.decode(b"T=21.5  junk =3").unwrap();
    assert_eq!(scalars(&tree), pairs(&[("T", "21.5"), ("", "?"), ("", "?")]));
}

#[test]
fn meter_lines_give_values_units_and_groups() {
    let text = b"/LGT5\\2SIM\r\n\r\n1-0:1.8.1(004512.317*kWh)\r\n0-0:96.13.0()\r\n0-1:24.2.1(250629140006S)(03210.448*m3)\r\nbroken(1\r\n0-1:24.3.0(12)\r\n(00124.477)\r\n";
    let tree = Decoder::Obis.decode(text).unwrap();
    assert_eq!(
        scalars(&tree),
        pairs(&[
            ("/", "LGT5\\2SIM"),
            ("1-0:1.8.1", "004512.317"),
            ("0-0:96.13.0", ""),
            ("0-1:24.2.1", "?"),
            ("", "?"),
            ("0-1:24.3.0", "?"),
        ])
    );
    let gas = tree.get("0-1:24.2.1").unwrap();
    assert_eq!(gas.element(0).unwrap().scalar(), Some("250629140006S"));
    assert!(matches!(gas.element(1), Some(Node::Quantity(quantity)) if quantity.unit == "m3"));
    assert_eq!(tree.get("0-1:24.3.0").unwrap().element(1).unwrap().scalar(), Some("00124.477"));
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (-1e12..1e12_f64).prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 40, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::btree_map(any::<String>(), inner, 0..6)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

/// Doubles are compared with a tolerance: serde_json reads them less exactly than we do.
fn alike(ours: &Value, theirs: &Value) -> bool {
    match (ours, theirs) {
        (Value::Array(ours), Value::Array(theirs)) => {
            ours.len() == theirs.len() && ours.iter().zip(theirs).all(|(ours, theirs)| alike(ours, theirs))
        }
        (Value::Object(ours), Value::Object(theirs)) => {
            ours.len() == theirs.len()
                && ours.iter().all(|(key, ours)| theirs.get(key).is_some_and(|theirs| alike(ours, theirs)))
        }
        (Value::Number(ours), Value::Number(theirs)) => {
            let (ours, theirs) = (ours.as_f64().unwrap(), theirs.as_f64().unwrap());
            (ours - theirs).abs() <= theirs.abs() * 1e-15
        }
        _ => ours == theirs,
    }
}

proptest! {
    #[test]
    fn json_is_read_as_by_serde_json(value in any_json(), pretty: bool) {
        let text = if pretty { serde_json::to_string_pretty(&value) } else { serde_json::to_string(&value) };
        let text = text.unwrap();
        prop_assert!(alike(&json(&text).unwrap().to_json(), &value));
    }

    #[test]
    fn what_serde_json_refuses_is_refused(text in "[\\[\\]{}\",:0-9a-ftrulsn.eE+\\\\ -]{0,24}") {
        let theirs = serde_json::from_str::<Value>(&text);
        match json(&text) {
            Ok(tree) => {
                // Numbers beyond a double are a matter of the mapping here, a fault there.
                if let Ok(theirs) = theirs {
                    prop_assert!(alike(&tree.to_json(), &theirs));
                } else {
                    prop_assert!(theirs.unwrap_err().to_string().contains("out of range"));
                }
            }
            Err(_) => prop_assert!(theirs.is_err()),
        }
    }

    #[test]
    fn no_bytes_break_a_decoder(bytes: Vec<u8>, text in "[0-9:.()*/=;, \r\na-z-]{0,80}") {
        let decoders = [
            Decoder::Json,
            Decoder::Text,
            Decoder::Obis,
            key_value(",", ":", Bare::Refuse),
            key_value(";", "=", Bare::Position),
            key_value(" ", "=", Bare::Ignore),
        ];
        for decoder in decoders {
            if let Ok(tree) = decoder.decode(&bytes) {
                tree.to_json();
            }
            if let Ok(tree) = decoder.decode(text.as_bytes()) {
                tree.to_json();
            }
        }
    }
}
