//! Canonical JSON against two other libraries (FAULTS E1): securesystemslib and olpc-cjson.

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use serde::Serialize;
use serde_json::Value;
use tuf::canonical::canonical;
use tuf::json::Document;
use tufagent_tests::{need, oracle};

/// JSON without floats. `name` and `text` are regular expressions for member names and strings.
fn json(name: &'static str, text: &'static str) -> impl Strategy<Value = Value> {
    let number = prop_oneof![Just(0_i64), -100_i64..100, -(1_i64 << 53) + 1..1 << 53];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        number.prop_map(Value::from),
        text.prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 40, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::btree_map(name, inner, 0..6).prop_map(|map| map.into_iter().collect()),
        ]
    })
}

/// The same documents in every run.
fn documents(name: &'static str, text: &'static str, count: usize) -> Vec<Value> {
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[7; 32]);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    let strategy = json(name, text);
    (0..count).map(|_| strategy.new_tree(&mut runner).unwrap().current()).collect()
}

fn ours(text: &str) -> Vec<u8> {
    let document = Document::parse(text.as_bytes(), 1 << 20).unwrap_or_else(|e| panic!("{e}: {text}"));
    canonical(document.root())
}

#[track_caller]
fn same(text: &str, ours: &[u8], theirs: &[u8]) {
    let show = String::from_utf8_lossy;
    assert_eq!(show(ours), show(theirs), "the canonical forms differ for {text}");
    assert_eq!(ours, theirs);
}

/// Written tightly, and with spaces, escapes and line breaks wherever JSON allows them.
fn spellings(value: &Value) -> [String; 2] {
    let pretty = serde_json::to_string_pretty(value).unwrap();
    [value.to_string(), pretty.replace('\u{e9}', "\\u00e9").replace('/', "\\/")]
}

#[test]
fn canonical_forms_are_those_of_securesystemslib() {
    // Control characters, quotes, backslashes, letters of two to four bytes, a decomposed accent.
    let text = "[ -~\u{1}-\u{1f}\u{7f}é\u{301}\u{2028}漢\u{ffee}𝄞\"\\\\/]{0,8}";
    let documents = documents(text, text, 300);
    let texts: Vec<String> = documents.iter().flat_map(spellings).collect();
    let Some(theirs) = need(oracle::python_canonical(&texts)) else { return };
    assert_eq!(theirs.len(), texts.len());
    for (text, theirs) in texts.iter().zip(theirs) {
        same(text, &ours(text), &theirs);
    }
}

#[test]
fn canonical_forms_are_those_of_olpc_cjson_where_it_changes_no_text() {
    // Nothing that its Unicode normalisation would touch. It sorts member names with their quotes on, so
    // names hold nothing below a quote, and nothing escaped: there securesystemslib is the judge.
    let text = "[ -~\u{1}-\u{1f}\u{7f}é漢\u{ffee}𝄞\"\\\\/]{0,8}";
    for document in documents("[#-Z_a-zé漢\u{ffee}𝄞/]{0,8}", text, 300) {
        let mut theirs = Vec::new();
        let mut serializer =
            serde_json::Serializer::with_formatter(&mut theirs, olpc_cjson::CanonicalFormatter::new());
        document.serialize(&mut serializer).unwrap();
        for text in spellings(&document) {
            same(&text, &ours(&text), &theirs);
        }
    }
}

#[test]
fn what_other_libraries_take_and_tuf_forbids_is_refused() {
    for text in [
        r#"{"a": 1, "a": 2}"#,
        r#"{"version": 1.0}"#,
        r#"{"version": 1e3}"#,
        r#"{"version": -0}"#,
        r#"{"a": "\ud800"}"#,
        "{} {}",
        "{\"a\": \"\u{1}\"}",
        "[1,]",
        "",
    ] {
        let read = Document::parse(text.as_bytes(), 1 << 20);
        assert!(read.is_err(), "accepted: {text}");
    }
    let deep = format!("{}{}", "[".repeat(100), "]".repeat(100));
    assert!(Document::parse(deep.as_bytes(), 1 << 20).is_err());
}
