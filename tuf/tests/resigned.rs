//! The same metadata with other signatures is what reading the written file gives, and no verdict outlives its text.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

mod common;

use common::{TestKey, file, tuf};
use serde_json::{Value as Json, json};
use std::collections::BTreeMap;
use tuf::diff::{difference, new_targets};
use tuf::key::{Key, KeyId};
use tuf::metadata::{Limits, Metadata, SignatureEntry};
use tuf::role::{RoleKeys, RoleKind, Threshold};
use tuf::verify::check_signatures;

fn parse(bytes: Vec<u8>) -> Metadata {
    Metadata::parse(bytes, &Limits::agent()).unwrap()
}

fn targets(version: u64, paths: &[&str]) -> Json {
    let entry = |path: &&str| {
        let digest = tuf::digest::Sha256Digest::of(path.as_bytes()).to_string();
        ((*path).to_owned(), json!({"hashes": {"sha256": digest}, "length": path.len()}))
    };
    let files: serde_json::Map<String, Json> = paths.iter().map(entry).collect();
    json!({
        "_type": "targets", "spec_version": "1.0.31", "version": version, "expires": "2030-01-01T00:00:00Z",
        "targets": files,
    })
}

fn entry(key: &TestKey, metadata: &Metadata) -> SignatureEntry {
    SignatureEntry { keyid: key.id().parse().unwrap(), sig: key.sign(&metadata.canonical_signed()) }
}

fn authority(keys: &[&TestKey], threshold: u32) -> (BTreeMap<KeyId, Key>, RoleKeys) {
    let key = |key: &&TestKey| {
        (key.id().parse().unwrap(), Key::from_json(key.object().to_string().as_bytes()).unwrap())
    };
    let table: BTreeMap<KeyId, Key> = keys.iter().map(key).collect();
    let role = RoleKeys::new(table.keys().cloned().collect(), Threshold::new(threshold).unwrap()).unwrap();
    (table, role)
}

#[track_caller]
fn same(at: &Metadata, written: &Metadata) {
    assert_eq!((at.bytes(), at.signatures()), (written.bytes(), written.signatures()));
    assert_eq!((at.digest(), at.signed_bytes()), (written.digest(), written.signed_bytes()));
    assert_eq!(at.canonical_signed(), written.canonical_signed());
    assert_eq!(at.file_digest(), tuf::digest::Sha256Digest::of(written.bytes()));
    let (ours, theirs) = (at.as_targets().unwrap(), written.as_targets().unwrap());
    assert_eq!(ours.targets().collect::<Vec<_>>(), theirs.targets().collect::<Vec<_>>());
    assert_eq!(ours.find("b/c"), theirs.find("b/c"));
    assert!(ours.find("b/c").is_some() && ours.find("b").is_none());
}

#[test]
fn signatures_of_another_length_or_that_no_file_may_have_are_not_written_in_place() {
    let [one, two] = [1, 2].map(TestKey::new);
    let plain = parse(file(&targets(1, &["a", "b/c", "d"]), &[]));
    let by = |key: &TestKey, sig: &str| SignatureEntry { keyid: key.id().parse().unwrap(), sig: sig.into() };
    let made = || plain.resigned(&[by(&one, "00"), by(&two, "11")]).unwrap();
    let more = [vec![], vec![by(&one, "0000")], vec![by(&two, ""), by(&one, "0123")], vec![by(&two, "00")]];
    for entries in more {
        let written = parse(plain.with_signatures(&entries));
        same(&made().resigned_in_place(&entries).unwrap(), &written);
    }
    made().resigned_in_place(&[by(&one, "00"), by(&one, "11")]).unwrap_err();
    let (keys, role) = authority(&[&one, &two], 1);
    assert!(!check_signatures(&made(), &keys, &role).met());
    let good = [entry(&one, &plain), by(&two, "")];
    let places = good.clone().map(|good| SignatureEntry { sig: "0".repeat(good.sig.len()), ..good });
    let signed = plain.resigned(&places).unwrap();
    assert!(!check_signatures(&signed, &keys, &role).met());
    let signed = signed.resigned_in_place(&good).unwrap();
    assert!(check_signatures(&signed, &keys, &role).met());
}

#[test]
fn metadata_with_other_signatures_is_what_its_file_reads_as() {
    let [one, two] = [1, 2].map(TestKey::new);
    let signed = targets(3, &["a", "b/c", "ü \" \\ x"]);
    let compact = json!({"signatures": [], "signed": signed}).to_string();
    let reversed = format!("{{\"signed\":{signed},\"signatures\":[]}}");
    let pretty =
        serde_json::to_string_pretty(&json!({"signatures": [], "signed": signed, "zz": [1]})).unwrap();
    for text in [compact, reversed, pretty] {
        let plain = parse(text.into_bytes());
        let all = [entry(&one, &plain), entry(&two, &plain)];
        let mut at = plain;
        for entries in [&all[..1], &all[..], &all[1..], &[], &all[..]] {
            let written = parse(at.with_signatures(entries));
            let read = at.resigned_as(written.bytes()).unwrap();
            assert_eq!((read.bytes(), read.signatures()), (written.bytes(), entries));
            assert_eq!((read.digest(), read.as_targets().unwrap().len()), (written.digest(), 3));
            let place = |entry: &SignatureEntry| SignatureEntry { sig: "0".repeat(128), ..entry.clone() };
            let places = at.resigned(&entries.iter().map(place).collect::<Vec<_>>()).unwrap();
            let held = places.clone();
            let slowly = places.resigned_in_place(entries).unwrap();
            let (start, quickly) = (held.bytes().as_ptr(), held.resigned_in_place(entries).unwrap());
            assert_eq!(quickly.bytes().as_ptr(), start, "it is written in its place");
            same(&slowly, &written);
            same(&quickly, &written);
            at = at.resigned(entries).unwrap();
            same(&at, &written);
        }
    }
}

#[test]
fn a_file_that_differs_in_more_than_its_signatures_is_not_taken_for_the_same() {
    let one = TestKey::new(1);
    let base = parse(file(&targets(3, &["a", "b"]), &[&one]));
    let text = String::from_utf8(base.bytes().to_vec()).unwrap();
    let twice = text.replace(
        r#""signatures":["#,
        &format!(r#""signatures":[{},"#, serde_json::json!({"keyid": one.id(), "sig": ""})),
    );
    for other in [
        text.replace(r#""version":3"#, r#""version":4"#),
        text.replace(r#""signatures":["#, r#""signatures":[],"more":["#),
        text.replace(r#""signatures":["#, r#""signatures":[7,"#),
        text.replace(r#""signatures":["#, r#""signatures":{},["#),
        format!("{text} "),
        text[..text.len() - 1].to_owned(),
        twice,
        String::new(),
    ] {
        assert_ne!(other, text);
        assert!(base.resigned_as(&other.as_bytes().into()).is_none(), "{other}");
    }
    assert!(base.resigned_as(&text.as_bytes().into()).is_some());
}

#[test]
fn what_is_known_of_a_signature_is_not_said_of_another_key_text_or_signature() {
    let [one, two] = [1, 2].map(TestKey::new);
    let metadata = parse(file(&targets(1, &["a"]), &[&one]));
    let (keys, role) = authority(&[&one, &two], 1);
    for _ in 0..2 {
        assert!(check_signatures(&metadata, &keys, &role).met());
    }
    // The same signature under the other key's name, and a spoilt one under its own.
    let good = metadata.signatures()[0].clone();
    let other = SignatureEntry { keyid: two.id().parse().unwrap(), sig: good.sig.clone() };
    let spoilt = SignatureEntry { sig: format!("00{}", &good.sig[2..]), ..good.clone() };
    for wrong in [other, spoilt] {
        let resigned = metadata.resigned(&[wrong]).unwrap();
        for _ in 0..2 {
            let report = check_signatures(&resigned, &keys, &role);
            assert!(!report.met() && report.invalid.len() == 1);
        }
        // And none of it sticks to the good one.
        assert!(
            check_signatures(&resigned.resigned(std::slice::from_ref(&good)).unwrap(), &keys, &role).met()
        );
    }
    // Another text never inherits a verdict.
    let next = parse(json!({"signatures": [], "signed": targets(2, &["a"])}).to_string().into_bytes());
    assert!(!check_signatures(&next.resigned(&[good]).unwrap(), &keys, &role).met());
}

#[test]
fn new_targets_are_found_whatever_comes_goes_or_moves() {
    let texts = |paths: &[&str]| -> String {
        let entries: Vec<String> = paths
            .iter()
            .map(|path| {
                let (name, length) = path.split_once('=').unwrap_or((path, "1"));
                let digest = tuf::digest::Sha256Digest::of(name.as_bytes());
                format!(r#""{name}":{{"hashes":{{"sha256":"{digest}"}},"length":{length}}}"#)
            })
            .collect();
        format!(
            r#"{{"signatures":[],"signed":{{"_type":"targets","expires":"2030-01-01T00:00:00Z","spec_version":"1.0.31","targets":{{{}}},"version":1}}}}"#,
            entries.join(",")
        )
    };
    let read = |paths: &[&str]| parse(texts(paths).into_bytes());
    for (before, after, expected) in [
        (&["a", "b", "c"][..], &["a", "b", "c"][..], &[][..]),
        (&["a", "b", "c"], &["a", "b=2", "c"], &["b"]),
        (&["a", "b", "c"], &["b", "c"], &[]),
        (&["a", "b", "c"], &["a", "aa", "b", "c", "d"], &["aa", "d"]),
        (&["c", "a", "b"], &["b", "a=3", "c", "x"], &["a", "x"]),
        (&["a", "b", "c", "d"], &["d", "a", "b=2", "c"], &["b"]),
        (&[], &["z", "a"], &["z", "a"]),
        (&["a"], &[], &[]),
    ] {
        let (old, new) = (read(before), read(after));
        let found: Vec<_> = new_targets(Some(&old), &new).into_iter().map(|(path, _)| path).collect();
        assert_eq!(found, expected, "{before:?} {after:?}");
        let count = difference(&RoleKind::Targets.role(), Some(&old), &new).targets_count;
        assert_eq!(count.added + count.changed, u64::try_from(expected.len()).unwrap());
    }
    assert_eq!(new_targets(None, &read(&["a"])).len(), 1);
}

#[test]
fn a_file_read_near_another_version_is_what_reading_it_gives() {
    let one = TestKey::new(1);
    let paths: Vec<String> = (0..200).map(|n| format!("dir/file-{n:04}")).collect();
    let with = |more: &[&'static str]| {
        let mut all: Vec<&str> = paths.iter().map(String::as_str).collect();
        all.extend(more);
        all.sort_unstable();
        all
    };
    let base = parse(file(&targets(3, &with(&[])), &[&one]));
    for new in [with(&[]), with(&["dir/file-0100a"]), with(&["a", "dir/file-0199z", "z"])] {
        let bytes = file(&targets(4, &new), &[&one]);
        let (near, read) = (base.parse_near(bytes.clone(), &Limits::agent()).unwrap(), parse(bytes));
        assert_eq!((near.bytes(), near.digest()), (read.bytes(), read.digest()));
        assert_eq!(near.canonical_signed(), read.canonical_signed());
        let (ours, theirs) = (near.as_targets().unwrap(), read.as_targets().unwrap());
        assert_eq!(ours.targets().collect::<Vec<_>>(), theirs.targets().collect::<Vec<_>>());
        assert_eq!(ours.find("dir/file-0150"), theirs.find("dir/file-0150"));
        assert_eq!(
            difference(&RoleKind::Targets.role(), Some(&base), &near),
            difference(&RoleKind::Targets.role(), Some(&base), &read)
        );
    }
    // What is wrong with the new one is found, also where the older one has nothing to say against it.
    let text = String::from_utf8(file(&targets(4, &with(&[])), &[&one])).unwrap();
    let last = text.rfind("\"dir/file-0199\"").unwrap();
    for wrong in [
        text.replacen("\"length\":13", "\"length\":-13", 1),
        text.replacen("\"dir/file-0199\"", "\"dir/file-0198\"", 1),
        format!("{}\"dir/file-0007\":{{}},{}", &text[..last], &text[last..]),
        text.replacen("\"version\":4", "\"version\":0", 1),
        text.replacen("\"targets\":{", "\"target\":{", 1),
        text[..last].to_owned(),
    ] {
        assert_ne!(wrong, text);
        let read = Metadata::parse(wrong.as_bytes(), &Limits::agent()).unwrap_err();
        let near = base.parse_near(wrong.as_bytes(), &Limits::agent()).unwrap_err();
        assert_eq!(near.to_string(), read.to_string());
    }
}
