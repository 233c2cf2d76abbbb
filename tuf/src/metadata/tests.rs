use super::*;
use crate::{key::KeyId, role::RoleName};
use serde_json::{Value as Json, json};

macro_rules! file {
    ($name:literal) => {
        include_bytes!(concat!("../../tests/vectors/repo/", $name))
    };
}

fn parse(value: &Json) -> Result<Metadata, MetadataError> {
    Metadata::parse(value.to_string().into_bytes(), &Limits::agent())
}

fn root() -> Json {
    serde_json::from_slice(file!("1.root.json")).unwrap()
}

fn targets() -> Json {
    serde_json::from_slice(file!("1.targets.json")).unwrap()
}

/// What is said when `change` is done to `value`.
fn complaint(mut value: Json, change: impl FnOnce(&mut Json)) -> String {
    change(&mut value);
    parse(&value).map(|_| ()).expect_err("must be refused").to_string()
}

#[test]
fn the_four_kinds_of_metadata_of_python_tuf_are_read() {
    let read = |bytes: &'static [u8]| Metadata::parse(bytes, &Limits::stock()).unwrap();
    let root = read(file!("2.root.json"));
    assert_eq!((root.kind(), root.version().get(), root.spec_version()), (RoleKind::Root, 2, "1.0.31"));
    assert_eq!(root.expires().to_string(), "2030-01-01T00:00:00Z");
    let view = root.as_root().unwrap();
    assert!(view.consistent_snapshot && view.wrong_keyids().is_empty());
    assert_eq!((view.root.threshold.get(), view.root.keyids.len(), view.keys.len()), (2, 3, 6));
    let timestamp = read(file!("timestamp.json"));
    assert_eq!(
        timestamp.as_timestamp().unwrap().snapshot.length,
        u64::try_from(file!("1.snapshot.json").len()).ok()
    );
    let snapshot = read(file!("1.snapshot.json"));
    let entry = &snapshot.as_snapshot().unwrap().meta[&RoleName::parse("one").unwrap()];
    assert!(entry.hashes.as_ref().unwrap().match_bytes(file!("1.one.json")));
    let targets = read(file!("1.targets.json"));
    let view = targets.as_targets().unwrap();
    assert_eq!((view.len(), view.find("a.txt").unwrap().length), (1, 1));
    let (path, file) = view.targets().next().unwrap();
    assert_eq!(path, "a.txt");
    assert!(file.hashes.match_bytes(b"a") && !file.hashes.match_bytes(b"b"));
    assert_eq!(view.delegations.as_ref().unwrap().roles.len(), 3);
    let two = read(file!("1.two.json"));
    let bins = two.as_targets().unwrap().delegations.as_ref().unwrap().succinct.clone().unwrap();
    assert_eq!((bins.bit_length, bins.name_prefix.as_str(), bins.count()), (5, "bin", 32));
}

#[test]
fn wrong_and_missing_members_are_named_with_their_place() {
    type Change = fn(&mut Json);
    let of_root: [(&str, Change); 17] = [
        ("signed.version: must be an integer of 1 or more", |f| f["signed"]["version"] = json!(0)),
        ("signed.version: must be an integer of 1 or more", |f| f["signed"]["version"] = json!("1")),
        ("signed._type: must be root,", |f| f["signed"]["_type"] = json!("mirrors")),
        ("signed.expires: \"2030-01-01\" is not", |f| f["signed"]["expires"] = json!("2030-01-01")),
        ("signed.spec_version: version \"2.0.0\"", |f| f["signed"]["spec_version"] = json!("2.0.0")),
        ("signed.spec_version: must be of the form", |f| f["signed"]["spec_version"] = json!("1")),
        ("signed.spec_version: must be of the form", |f| f["signed"]["spec_version"] = json!("1.0.x")),
        ("signed.roles.snapshot: is missing", |f| {
            drop(f["signed"]["roles"].as_object_mut().unwrap().remove("snapshot"))
        }),
        ("signed.roles.root.threshold: must be", |f| f["signed"]["roles"]["root"]["threshold"] = json!(0)),
        ("signed.roles.root.threshold: must be", |f| {
            f["signed"]["roles"]["root"]["threshold"] = json!(4294967296_u64)
        }),
        ("signed.roles.root.keyids: keyid aa is listed twice", |f| {
            f["signed"]["roles"]["root"]["keyids"] = json!(["aa", "aa"]);
        }),
        ("signed.roles.root.keyids[1]: must be a string", |f| {
            f["signed"]["roles"]["root"]["keyids"] = json!(["aa", 1])
        }),
        ("signed.keys[\"aa\"]: key object: `scheme`", |f| {
            f["signed"]["keys"] = json!({"aa": {"keytype": "x"}})
        }),
        ("signed.consistent_snapshot: must be true", |f| f["signed"]["consistent_snapshot"] = json!(1)),
        ("signatures[1]: keyid aa has signed twice", |f| {
            f["signatures"] = json!([{"keyid": "aa", "sig": ""}, {"keyid": "aa", "sig": "00"}]);
        }),
        ("signatures[0].sig: is missing", |f| f["signatures"] = json!([{"keyid": "aa"}])),
        ("signatures: is missing", |f| drop(f.as_object_mut().unwrap().remove("signatures"))),
    ];
    for (wanted, change) in of_root {
        let said = complaint(root(), change);
        assert!(said.starts_with(wanted), "{said}\n{wanted}");
    }
    let of_targets: [(&str, Change); 12] = [
        ("signed.targets[\"a.txt\"].length: must be", |f| {
            f["signed"]["targets"]["a.txt"]["length"] = json!(-1)
        }),
        ("signed.targets[\"a.txt\"].hashes: must hold", |f| {
            f["signed"]["targets"]["a.txt"]["hashes"] = json!({})
        }),
        ("signed.targets[\"a.txt\"].hashes.sha256: not a digest", |f| {
            f["signed"]["targets"]["a.txt"]["hashes"]["sha256"] = json!("00");
        }),
        ("signed.targets[\"a.txt\"].length: must be an integer of 0 or more", |f| {
            f["signed"]["targets"]["a.txt"]["length"] = json!(9_007_199_254_740_992_u64)
        }),
        ("signed.delegations.keys: is missing", |f| {
            drop(f["signed"]["delegations"].as_object_mut().unwrap().remove("keys"));
        }),
        ("signed.delegations.roles[0].name: a delegated role cannot", |f| {
            f["signed"]["delegations"]["roles"][0]["name"] = json!("targets");
        }),
        ("signed.delegations.roles[1]: the role one is delegated to twice", |f| {
            f["signed"]["delegations"]["roles"][1]["name"] = json!("one");
        }),
        ("signed.delegations.roles[0]: must have exactly one", |f| {
            f["signed"]["delegations"]["roles"][0]["path_hash_prefixes"] = json!(["0"]);
        }),
        ("signed.delegations.roles[0].terminating: is missing", |f| {
            drop(f["signed"]["delegations"]["roles"][0].as_object_mut().unwrap().remove("terminating"));
        }),
        ("signed.delegations: must not have both", |f| {
            f["signed"]["delegations"]["succinct_roles"] =
                json!({"keyids": [], "threshold": 1, "bit_length": 1, "name_prefix": "b"});
        }),
        ("signed.delegations.succinct_roles.bit_length: must be", |f| {
            f["signed"]["delegations"]["succinct_roles"] =
                json!({"keyids": [], "threshold": 1, "bit_length": 33, "name_prefix": "b"});
        }),
        ("signed.targets: must be an object", |f| f["signed"]["targets"] = json!([])),
    ];
    for (wanted, change) in of_targets {
        let said = complaint(targets(), change);
        assert!(said.starts_with(wanted), "{said}\n{wanted}");
    }
}

#[test]
fn a_role_may_list_a_keyid_that_has_no_key() {
    let mut file = root();
    file["signed"]["roles"]["root"]["keyids"] = json!(["unknown"]);
    assert!(parse(&file).is_ok());
}

#[test]
fn unknown_members_are_kept_and_signed_over() {
    let mut file = targets();
    let plain = parse(&file).unwrap().digest();
    file["signed"]["x-unknown"] = json!({"deep": [1]});
    file["signed"]["delegations"]["x"] = json!("y");
    let metadata = parse(&file).unwrap();
    let canonical = String::from_utf8(metadata.canonical_signed()).unwrap();
    assert!(canonical.contains(r#""x-unknown":{"deep":[1]}"#) && canonical.contains(r#""x":"y""#));
    assert_ne!(metadata.digest(), plain);
    assert_eq!(metadata.preimage().bytes(), canonical.as_bytes());
    assert_eq!(metadata.preimage().digest(), metadata.digest());
}

#[test]
fn a_keyid_that_is_not_the_hash_of_its_key_is_told_with_the_right_one() {
    let mut file = root();
    let (right, key) = file["signed"]["keys"]
        .as_object()
        .unwrap()
        .iter()
        .next()
        .map(|(k, v)| (k.clone(), v.clone()))
        .unwrap();
    file["signed"]["keys"] = json!({"beef": key});
    let metadata = parse(&file).unwrap();
    let wrong = metadata.as_root().unwrap().wrong_keyids();
    assert_eq!(wrong, [(KeyId::parse("beef").unwrap(), KeyId::parse(&right).unwrap())]);
}

#[test]
fn each_kind_has_its_own_limit() {
    let limits = Limits { targets: 100, ..Limits::agent() };
    let error = Metadata::parse(&file!("1.targets.json")[..], &limits).unwrap_err();
    assert!(matches!(error, MetadataError::TooLong { kind: RoleKind::Targets, limit: 100, .. }));
    assert!(Metadata::parse(&file!("1.root.json")[..], &limits).is_ok());
}

fn entry(keyid: &str, sig: &str) -> SignatureEntry {
    SignatureEntry { keyid: KeyId::parse(keyid).unwrap(), sig: sig.to_owned() }
}

#[test]
fn new_signatures_leave_what_is_signed_untouched_to_the_byte() {
    let pretty = "{\n \"signatures\": [\n  {\"keyid\": \"aa\", \"sig\": \"00\", \"x\": 1}\n ],\n \"signed\": {\"version\" : 1,\n\t\"_type\":\"timestamp\", \"spec_version\": \"1.0\",\"expires\":\"2030-01-01T00:00:00Z\", \"meta\":{\"snapshot.json\":{\"version\":\t1}},\"u\":\"\\u00e9\"}\n}\n";
    let metadata = Metadata::parse(pretty.as_bytes(), &Limits::agent()).unwrap();
    assert_eq!(metadata.with_signatures(metadata.signatures()), pretty.as_bytes());
    let signed = metadata.signed_bytes();
    let written = metadata.with_signatures(&[entry("bb", "11"), entry("aa", "00")]);
    let text = String::from_utf8(written.clone()).unwrap();
    let wanted = "{\n \"signatures\": [\n  {\n   \"keyid\": \"bb\",\n   \"sig\": \"11\"\n  },\n  {\"keyid\": \"aa\", \"sig\": \"00\", \"x\": 1}\n ],\n \"signed\"";
    assert!(text.starts_with(wanted), "{text}");
    let again = Metadata::parse(written, &Limits::agent()).unwrap();
    assert_eq!((again.signed_bytes(), again.signatures().len()), (signed, 2));
    let none = metadata.with_signatures(&[]);
    assert!(
        String::from_utf8(none)
            .unwrap()
            .starts_with("{\n \"signatures\": [],\n \"signed\": {\"version\" : 1,\n\t")
    );
}

#[test]
fn a_compact_file_stays_compact_and_the_order_of_its_members_too() {
    let text = r#"{"signed":{"_type":"timestamp","spec_version":"1.0","version":1,"expires":"2030-01-01T00:00:00Z","meta":{"snapshot.json":{"version":1}}},"signatures":[]}"#;
    let metadata = Metadata::parse(text.as_bytes(), &Limits::agent()).unwrap();
    let written = String::from_utf8(metadata.with_signatures(&[entry("aa", "00")])).unwrap();
    assert_eq!(written, text.replace("[]", r#"[{"keyid":"aa","sig":"00"}]"#));
}

#[test]
fn a_signed_part_alone_has_the_digest_of_the_file_it_comes_from() {
    let mut file = targets();
    file["signed"]["note"] = json!("line\nline \"quoted\" \u{1}");
    let whole = parse(&file).unwrap();
    // The form with escapes, and the canonical form with raw control characters.
    for part in [whole.signed_bytes().to_vec(), whole.canonical_signed()] {
        let alone = Metadata::parse_signed_part(part, &Limits::agent()).unwrap();
        assert_eq!((alone.digest(), alone.version()), (whole.digest(), whole.version()));
        assert!(alone.signatures().is_empty() && alone.is_signed_part());
        let made = alone.with_signatures(&[entry("aa", "00")]);
        assert!(serde_json::from_slice::<Json>(&made).is_ok());
        assert_eq!(Metadata::parse(made, &Limits::agent()).unwrap().digest(), whole.digest());
    }
    let mut untidy = whole.canonical_signed();
    untidy.insert(1, b' ');
    assert!(
        Metadata::parse_signed_part(untidy, &Limits::agent()).is_err(),
        "raw controls outside the canonical form"
    );
}

#[test]
fn succinct_bins_are_those_of_python_tuf() {
    let keys = || crate::role::RoleKeys::new(Vec::new(), crate::role::Threshold::ONE).unwrap();
    let bins = |bits| SuccinctRoles::new(keys(), bits, "bin").unwrap();
    for (bits, path, name) in [
        (5, "a", "bin-19"),
        (5, "b/c", "bin-17"),
        (5, "ü", "bin-0c"),
        (32, "a", "bin-ca978112"),
        (1, "a", "bin-1"),
    ] {
        let role = bins(bits).role_for(path);
        assert_eq!(role.as_str(), name);
        assert!(bins(bits).contains(&role));
    }
    let names: Vec<_> = bins(4).names().map(|name| name.to_string()).collect();
    assert_eq!((names.len(), names[0].as_str(), names[15].as_str()), (16, "bin-0", "bin-f"));
    for other in ["bin-20", "bin-1F", "bin-1", "bin-001", "bin", "bin-+1", "x-00"] {
        assert!(!bins(5).contains(&RoleName::parse(other).unwrap()), "{other}");
    }
    assert!(
        SuccinctRoles::new(keys(), 0, "bin").is_none() && SuccinctRoles::new(keys(), 33, "bin").is_none()
    );
    assert!(SuccinctRoles::new(keys(), 1, "a\0").is_none());
}

#[test]
fn hash_prefixes_choose_by_the_digest_of_the_path() {
    let digest = crate::digest::Sha256Digest::of("dir/file".as_bytes()).to_string();
    let matches = |prefix: &str| Paths::HashPrefixes(vec![prefix.to_owned()]).matches("dir/file");
    assert!(matches(&digest[..3]) && matches(&digest) && !matches("zz"));
}

proptest::proptest! {
    #[test]
    fn no_change_of_one_byte_makes_the_reader_panic(at in 0_usize..1963, byte: u8) {
        let mut bytes = file!("1.targets.json").to_vec();
        bytes[at] = byte;
        if let Ok(metadata) = Metadata::parse(bytes, &Limits::agent()) {
            let _ = (metadata.digest(), metadata.with_signatures(&[]), metadata.as_targets().map(|t| t.targets().count()));
        }
    }
}
