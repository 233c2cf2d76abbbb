use super::*;
use crate::json::Document;
use proptest::prelude::*;
use serde_json::Value as Json;

fn canon(text: &str) -> Vec<u8> {
    canonical(Document::parse(text.as_bytes(), 1 << 20).unwrap().root())
}

/// The same by another way: a tree, sorted, written by rule.
fn reference(value: &Json, out: &mut String) {
    match value {
        Json::Object(members) => {
            let mut names: Vec<_> = members.keys().collect();
            names.sort_by_key(|name| name.chars().collect::<Vec<_>>());
            let parts = names.iter().map(|name| {
                let mut part = String::new();
                reference(&Json::String((*name).clone()), &mut part);
                part.push(':');
                reference(&members[*name], &mut part);
                part
            });
            *out += &format!("{{{}}}", parts.collect::<Vec<_>>().join(","));
        }
        Json::Array(items) => {
            let parts = items.iter().map(|item| {
                let mut part = String::new();
                reference(item, &mut part);
                part
            });
            *out += &format!("[{}]", parts.collect::<Vec<_>>().join(","));
        }
        Json::String(text) => *out += &format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"")),
        other => *out += &other.to_string(),
    }
}

#[test]
fn canonical_json_is_that_of_securesystemslib() {
    let vectors: Json = serde_json::from_str(include_str!("../../tests/vectors/canonical.json")).unwrap();
    for vector in vectors.as_array().unwrap() {
        let json = vector["json"].as_str().unwrap();
        assert_eq!(hex::encode(canon(json)), vector["canonical_hex"].as_str().unwrap(), "{json}");
    }
}

#[test]
fn members_are_sorted_by_code_point_and_not_by_utf16_unit() {
    let text = "{\"\u{1f600}\":1,\"\u{e000}\":2,\"\u{ffff}\":3}";
    assert_eq!(canon(text), "{\"\u{e000}\":2,\"\u{ffff}\":3,\"\u{1f600}\":1}".as_bytes());
}

#[test]
fn only_quotes_and_backslashes_are_escaped_and_nothing_is_normalised() {
    let text = r#""\u0000\n\u007f\/\u00e9e\u0301\"\\\u2028""#;
    assert_eq!(canon(text), "\"\u{0}\n\u{7f}/ée\u{301}\\\"\\\\\u{2028}\"".as_bytes());
}

#[test]
fn space_and_order_do_not_matter_at_any_level() {
    let neat = r#"{"a":{"x":[],"y":{}},"b":[1,{"c":null,"d":true}]}"#;
    let untidy = " {\n \"b\" : [ 1 ,{\"d\":true , \"c\":null}] ,\t\"a\":{ \"y\":{ } ,\"x\":[ ]}}\r\n";
    assert_eq!(canon(neat), neat.as_bytes());
    assert_eq!(canon(untidy), neat.as_bytes());
}

/// JSON values as TUF allows them, with names and texts that need every kind of care.
fn value() -> impl Strategy<Value = Json> {
    let text = proptest::string::string_regex("[a-c\"\\\\\n\u{0}é\u{e000}\u{1f600}]{0,6}").unwrap().boxed();
    let leaf = prop_oneof![
        Just(Json::Null),
        any::<bool>().prop_map(Json::from),
        (-9_007_199_254_740_991_i64..=9_007_199_254_740_991).prop_map(Json::from),
        text.clone().prop_map(Json::from),
    ];
    leaf.prop_recursive(4, 40, 6, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..6).prop_map(Json::from),
            proptest::collection::vec((text.clone(), inner), 0..6)
                .prop_map(|members| members.into_iter().collect()),
        ]
    })
}

proptest! {
    #[test]
    fn the_canonical_form_is_that_of_a_reference_however_the_text_is_spaced(value in value()) {
        let mut wanted = String::new();
        reference(&value, &mut wanted);
        let compact = serde_json::to_string(&value).unwrap();
        let pretty = serde_json::to_string_pretty(&value).unwrap();
        prop_assert_eq!(canon(&compact), wanted.as_bytes());
        prop_assert_eq!(canon(&pretty), wanted.as_bytes());
    }

    #[test]
    fn the_canonical_form_of_a_canonical_form_is_itself(value in value()) {
        let mut once = String::new();
        reference(&value, &mut once);
        let again = Document::parse_with_raw_controls(once.as_bytes().into(), 1 << 20).unwrap();
        prop_assert!(again.root().is_canonical());
        prop_assert_eq!(canonical(again.root()), once.as_bytes());
    }
}
