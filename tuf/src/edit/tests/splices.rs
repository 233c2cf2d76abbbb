//! The text around an edit, byte for byte.

use super::*;
use crate::digest::Sha256Digest;
use crate::metadata::Hashes;

fn file(content: &[u8]) -> TargetFile<'static> {
    TargetFile::new(u64::try_from(content.len()).unwrap(), Hashes::sha256(Sha256Digest::of(content)))
}

fn path(text: &str) -> TargetPath {
    TargetPath::new_for_writing(text).unwrap()
}

fn text(metadata: &Metadata) -> String {
    String::from_utf8(metadata.bytes().to_vec()).unwrap()
}

const ODD: &str = r#"{ "x-file" : 1, "signatures": [ {"keyid": "aa", "sig": "00"} ],
  "signed":{"_type":"targets","spec_version":"1.0.0", "version":   7,
"expires":"2030-01-01T00:00:00Z" , "x-unknown": {"b":[1, 2],"a":null},
 "targets": {
   "one" : { "length": 3, "custom": {"k":  "v"}, "hashes": {"sha256":"ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"}},
   "two":{"length":1,"hashes":{"sha256":"ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},"x":1},
   "\u0074hree":{"length":1,"hashes":{"sha256":"ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"}}
 } , "y-last":"\u00e9" } }
"#;

#[test]
fn a_bump_changes_version_expiry_and_signatures_alone() {
    let base = parse(ODD.into());
    let mut edit = Editor::new(&base);
    edit.next_version().unwrap().set_expires(UtcTime::from_unix(1_900_000_000));
    let expected = ODD
        .replace(r#"[ {"keyid": "aa", "sig": "00"} ]"#, "[]")
        .replace("\"version\":   7", "\"version\":   8")
        .replace("2030-01-01T00:00:00Z", "2030-03-17T17:46:40Z");
    assert_eq!(text(&parse(edit.finish().unwrap())), expected);
}

#[test]
fn replacing_a_target_keeps_everything_else_that_its_entry_says() {
    let mut edit = Editor::new(&parse(ODD.into()));
    edit.add_target(&path("one"), &file(b"other")).unwrap();
    let unsigned = ODD.replace(r#"[ {"keyid": "aa", "sig": "00"} ]"#, "[]");
    let expected = unsigned.replace(
        r#""length": 3, "custom": {"k":  "v"}, "hashes": {"sha256":"ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"}"#,
        &format!(
            r#""length": 5, "custom": {{"k":  "v"}}, "hashes": {{"sha256": "{}"}}"#,
            Sha256Digest::of(b"other")
        ),
    );
    assert_eq!(text(&parse(edit.finish().unwrap())), expected);
}

#[test]
fn the_same_target_again_leaves_its_text_alone() {
    let mut edit = Editor::new(&parse(ODD.into()));
    edit.add_target(&path("one"), &file(b"abc")).unwrap();
    assert_eq!(
        text(&parse(edit.finish().unwrap())),
        ODD.replace(r#"[ {"keyid": "aa", "sig": "00"} ]"#, "[]")
    );
}

#[test]
fn targets_are_removed_from_every_place_and_all_at_once() {
    for gone in [
        &["one"][..],
        &["two"],
        &["three"],
        &["one", "two"],
        &["two", "three"],
        &["one", "three"],
        &["one", "two", "three"],
    ] {
        for added in [&[][..], &["new"], &["new", "newer"]] {
            let mut edit = Editor::new(&parse(ODD.into()));
            for name in gone {
                edit.remove_target(name).unwrap();
                assert!(edit.remove_target(name).is_err());
            }
            for name in added {
                edit.add_target(&path(name), &file(b"abc")).unwrap();
            }
            let after = parse(edit.finish().unwrap());
            let left: Vec<String> =
                after.as_targets().unwrap().targets().map(|(name, _)| name.into_owned()).collect();
            let kept = ["one", "two", "three"].iter().filter(|n| !gone.contains(n));
            let expected: Vec<&str> = kept.chain(added).copied().collect();
            assert_eq!(left, expected);
            let text = text(&after);
            assert!(
                text.contains(r#""x-unknown": {"b":[1, 2],"a":null}"#)
                    && text.contains(r#""y-last":"\u00e9""#)
            );
        }
    }
}

#[test]
fn additions_take_the_layout_of_what_stands_there() {
    let compact = r#"{"signatures":[],"signed":{"_type":"targets","expires":"2030-01-01T00:00:00Z","spec_version":"1.0.0","targets":{},"version":1}}"#;
    let mut edit = Editor::new(&parse(compact.into()));
    edit.add_target(&path("a"), &file(b"abc")).unwrap();
    edit.add_target(&path("b"), &file(b"abc")).unwrap();
    let after = text(&parse(edit.finish().unwrap()));
    assert!(!after.contains([' ', '\n']), "{after}");

    let mut edit = Editor::new(&parse(new_targets(Version::FIRST, UtcTime::from_unix(0))));
    edit.add_target(&path("a"), &file(b"abc")).unwrap();
    let one = parse(edit.finish().unwrap());
    let mut edit = Editor::new(&one);
    edit.add_target(&path("b"), &file(b"abc")).unwrap();
    edit.add_delegation(&delegation("x", 1, "x/*")).unwrap();
    let digest = Sha256Digest::of(b"abc");
    let id = key(1).computed_keyid();
    let expected = format!(
        r#"{{
 "signatures": [],
 "signed": {{
  "_type": "targets",
  "expires": "1970-01-01T00:00:00Z",
  "spec_version": "1.0.34",
  "targets": {{
   "a": {{"hashes": {{"sha256": "{digest}"}}, "length": 3}},
   "b": {{"hashes": {{"sha256": "{digest}"}}, "length": 3}}
  }},
  "version": 1,
  "delegations": {{
   "keys": {{
    "{id}": {}
   }},
   "roles": [
    {{"keyids": ["{id}"], "name": "x", "paths": ["x/*"], "terminating": false, "threshold": 1}}
   ]
  }}
 }}
}}
"#,
        key(1).json()
    );
    assert_eq!(text(&parse(edit.finish().unwrap())), expected);
}

#[test]
fn a_signed_part_alone_becomes_a_file() {
    let base = parse(ODD.into());
    let part =
        Metadata::parse_signed_part(base.signed_bytes().to_vec(), &crate::metadata::Limits::agent()).unwrap();
    let mut edit = Editor::new(&part);
    edit.next_version().unwrap();
    assert_eq!(parse(edit.finish().unwrap()).version().get(), 8);
}
