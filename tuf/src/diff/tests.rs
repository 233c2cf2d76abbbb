//! What a difference says of what has no edit of its own; the rest is tested beside the edits.

use super::*;
use crate::metadata::Limits;

fn parse(text: &str) -> Metadata {
    Metadata::parse(text.as_bytes().to_vec(), &Limits::agent()).unwrap()
}

fn of(old: &str, new: &str) -> Difference {
    difference(&RoleName::parse("targets").unwrap(), Some(&parse(old)), &parse(new))
}

const BASE: &str = r#"{"signatures":[],"signed":{"_type":"targets","expires":"2030-01-01T00:00:00Z","spec_version":"1.0.0",
"targets":{"a":{"length":1,"hashes":{"sha256":"ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},"custom":{"v":1}}},
"delegations":{"keys":{},"roles":[
{"name":"x","keyids":["k1","k2"],"threshold":1,"terminating":false,"paths":["x/*"],"x-more":1},
{"name":"y","keyids":["k1"],"threshold":1,"terminating":false,"paths":["y/*"]}]},
"version":1,"x-days":7}}"#;

#[test]
fn layout_and_order_of_members_are_no_difference() {
    let other = BASE.replace('\n', "  ").replace(r#""version":1,"x-days":7"#, r#""x-days":7,"version":1"#);
    let same = of(BASE, &other);
    assert!(same.is_empty() && same.other.is_empty() && same.only_renews(), "{same:?}");
}

#[test]
fn members_without_a_word_are_named() {
    assert_eq!(of(BASE, &BASE.replace(r#""x-days":7"#, r#""x-days":8"#)).other, ["x-days"]);
    assert_eq!(of(BASE, &BASE.replace(r#","x-more":1"#, "")).other, ["delegations.x.x-more"]);
    assert_eq!(of(BASE, &BASE.replace("1.0.0", "1.0.1")).other, ["spec_version"]);
    let key = r#""keys":{"k9":{"keytype":"t","scheme":"s","keyval":{"public":"p"}}}"#;
    assert_eq!(of(BASE, &BASE.replace(r#""keys":{}"#, key)).other, ["keys.k9"]);
    let first = difference(&RoleName::parse("targets").unwrap(), None, &parse(BASE));
    assert_eq!(
        first.other,
        ["delegations.x.x-more", "x-days"].map(String::from).iter().rev().cloned().collect::<Vec<_>>()
    );
}

#[test]
fn other_bytes_to_sign_are_never_an_empty_difference() {
    let said = of(BASE, &BASE.replace(r#"["k1","k2"]"#, r#"["k2","k1"]"#));
    assert!(!said.is_empty());
    assert_eq!(said.other, ["signed"]);
}

#[test]
fn custom_data_of_a_target_counts_as_a_change() {
    let said = of(BASE, &BASE.replace(r#"{"v":1}"#, r#"{"v":2}"#));
    assert_eq!((said.targets_count.changed, said.targets_changed[0].other_changed), (1, true));
    let said = of(BASE, &BASE.replace(r#""targets":{"a""#, r#""targets":{"b""#));
    assert_eq!((&*said.targets_added[0].path, said.targets_added[0].other_changed), ("b", true));
    let plain = BASE.replace(r#","custom":{"v":1}"#, "").replace(r#""targets":{"a""#, r#""targets":{"b""#);
    assert!(!of(BASE, &plain).targets_added[0].other_changed);
}

#[test]
fn a_delegation_that_moves_is_told() {
    let mut value: serde_json::Value = serde_json::from_str(BASE).unwrap();
    value["signed"]["delegations"]["roles"].as_array_mut().unwrap().reverse();
    let swapped = value.to_string();
    let said = of(BASE, &swapped);
    assert_eq!(said.delegations_changed.len(), 2);
    assert!(said.delegations_changed.iter().all(|c| c.moved));
}

#[test]
fn keys_and_thresholds_of_delegations_are_told() {
    let said = of(BASE, &BASE.replace(r#"["k1","k2"],"threshold":1"#, r#"["k1","k3"],"threshold":2"#));
    assert_eq!(said.keys_added[0].keyid, "k3");
    assert_eq!(said.keys_removed[0].keyid, "k2");
    assert_eq!(said.thresholds, [ThresholdChange { role: "x".into(), from: Some(1), to: 2 }]);
}

#[test]
fn the_lists_are_capped_and_the_counts_are_not() {
    let digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    let many: Vec<String> =
        (0..2500).map(|i| format!(r#""t{i}":{{"length":1,"hashes":{{"sha256":"{digest}"}}}}"#)).collect();
    let big = BASE.replacen(r#""targets":{"#, &format!(r#""targets":{{{},"#, many.join(",")), 1);
    let said = of(BASE, &big);
    assert_eq!((said.targets_added.len(), said.targets_count.added), (MOST_LISTED, 2500));
    let full = full_difference(&RoleName::parse("targets").unwrap(), Some(&parse(BASE)), &parse(&big));
    assert_eq!((full.targets_added.len(), full.targets_count), (2500, said.targets_count));
    assert_eq!(of(&big, BASE).targets_count.removed, 2500);
}

#[test]
fn a_difference_survives_the_wire() {
    let said = of(BASE, &BASE.replace(r#"{"v":1}"#, r#"{"v":2}"#));
    let text = serde_json::to_string(&said).unwrap();
    assert_eq!(serde_json::from_str::<Difference>(&text).unwrap(), said);
}
