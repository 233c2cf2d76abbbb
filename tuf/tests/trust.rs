//! The client workflow: everything in order is accepted, everything else is refused with its section.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use common::{
    client::{at, keys, name, options},
    common as base, file, file_named, root, snapshot, targets, timestamp, tuf,
};
use serde_json::{Value as Json, json};
use tuf::{
    metadata::{Limits, Metadata},
    role::RoleKind,
    trust::{Options, Previous, Search, TimestampStep, TrustFault, TrustedSet},
};

macro_rules! vector {
    ($name:literal) => {
        &include_bytes!(concat!("vectors/repo/", $name))[..]
    };
}

#[test]
fn a_repository_made_by_python_tuf_is_trusted_from_root_to_the_last_bin() {
    let mut set = TrustedSet::from_root(vector!("1.root.json"), &options()).unwrap();
    set.update_root(vector!("2.root.json")).unwrap();
    assert_eq!(set.update_timestamp(vector!("timestamp.json")), Ok(TimestampStep::Newer));
    set.update_snapshot(vector!("1.snapshot.json")).unwrap();
    let mut asked = Vec::new();
    let found = loop {
        match set.find_target("y/binned") {
            Search::Needs { role, parent } => {
                let bytes = match role.as_str() {
                    "targets" => vector!("1.targets.json"),
                    "two" => vector!("1.two.json"),
                    "bin-07" => vector!("1.bin-07.json"),
                    other => panic!("asked for {other}"),
                };
                asked.push(role.to_string());
                set.update_targets(&role, &parent, bytes).unwrap();
            }
            Search::Found { role, file } => break (role.to_string(), file.length),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(asked, ["targets", "two", "bin-07"]);
    assert_eq!(found, ("bin-07".to_owned(), 1));
    set.update_targets(&name("one"), &name("targets"), vector!("1.one.json")).unwrap();
    assert!(matches!(set.find_target("x/one"), Search::Found { role, .. } if role.as_str() == "one"));
    // `two` is terminating, so the later sibling `never` is not asked.
    assert!(
        matches!(set.find_target("x/never"), Search::Needs { role, .. } if role.as_str().starts_with("bin-"))
    );
}

#[test]
fn a_root_needs_its_own_threshold_even_when_it_is_the_first() {
    let keys = keys();
    let short = file(&keys.root(1), &[&keys.root[0]]);
    assert!(matches!(
        at(TrustedSet::from_root(short, &options()), "root", "5.2"),
        TrustFault::Threshold { .. }
    ));
    let stranger = file(&keys.root(1), &[&keys.root[0], &keys.other[0]]);
    at(TrustedSet::from_root(stranger, &options()), "root", "5.2");
    at(TrustedSet::from_root(keys.timestamp(1, 1), &options()), "root", "5.2");
    at(TrustedSet::from_root(&b"{"[..], &options()), "root", "5.2");
}

#[test]
fn a_root_goes_up_by_one_version_under_both_thresholds() {
    let keys = keys();
    let mut set = keys.set();
    for version in [1, 3, 4] {
        let fault = at(set.update_root(keys.root_file(version)), "root", "5.3.5");
        assert!(matches!(fault, TrustFault::NotNext { .. }));
    }
    let [a, b, c] = &keys.root;
    let [x, y] = &keys.other;
    let moved = root(2, &[c, x, y], 2, &keys.timestamp, &keys.snapshot, &keys.targets);
    at(set.update_root(file(&moved, &[x, y])), "root", "5.3.4");
    at(set.update_root(file(&moved, &[a, b])), "root", "5.3.4");
    at(set.update_root(file(&moved, &[a, x])), "root", "5.3.4");
    assert_eq!(set.root().version().get(), 1, "a refused root leaves the set as it was");
    set.clone().update_root(file(&moved, &[a, b, x, y])).unwrap();
    // One signature counts for both roots if both have the key.
    set.update_root(file(&moved, &[a, c, x])).unwrap();
    at(set.update_root(keys.root_file(3)), "root", "5.3.4");
}

#[test]
fn only_the_last_root_must_not_have_expired() {
    let keys = keys();
    let mut expired = keys.root(2);
    expired["expires"] = json!("2029-01-01T00:00:00Z");
    let mut set = keys.set();
    set.update_root(file(&expired, &[&keys.root[0], &keys.root[1]])).unwrap();
    assert!(matches!(
        at(set.update_timestamp(keys.timestamp(1, 1)), "root", "5.3.10"),
        TrustFault::Expired { .. }
    ));
    set.update_root(keys.root_file(3)).unwrap();
    set.update_timestamp(keys.timestamp(1, 1)).unwrap();
    at(set.update_root(keys.root_file(4)), "root", "5.3");
}

#[test]
fn without_a_reference_time_nothing_expires() {
    let keys = keys();
    let mut old = timestamp(1, json!({"version": 1}));
    old["expires"] = json!("1999-01-01T00:00:00Z");
    let old = file(&old, &[&keys.timestamp]);
    at(keys.set().update_timestamp(old.clone()), "timestamp", "5.4.4");
    let mut set = TrustedSet::from_root(keys.root_file(1), &Options::new(None)).unwrap();
    set.update_timestamp(old).unwrap();
}

#[test]
fn a_timestamp_is_refused_when_it_is_unsigned_expired_or_older() {
    let keys = keys();
    let unsigned = file(&timestamp(1, json!({"version": 1})), &[&keys.snapshot]);
    at(keys.set().update_timestamp(unsigned), "timestamp", "5.4.2");
    at(keys.set().update_timestamp(keys.snapshot(1, json!({}))), "timestamp", "5.4.1");
    let previous = keys.previous(5, 7, json!({}));
    let remembering = || keys.set().with_previous(previous.clone()).unwrap();
    assert!(matches!(
        at(remembering().update_timestamp(keys.timestamp(4, 7)), "timestamp", "5.4.3.1"),
        TrustFault::Rollback { .. }
    ));
    assert!(matches!(
        at(remembering().update_timestamp(keys.timestamp(6, 6)), "timestamp", "5.4.3.2"),
        TrustFault::ListedRollback { .. }
    ));
    let mut set = remembering();
    assert_eq!(set.update_timestamp(keys.timestamp(5, 9)), Ok(TimestampStep::Same));
    let listed = set.timestamp().unwrap().as_timestamp().unwrap().snapshot.version.get();
    assert_eq!(listed, 7, "the new file of the same version is let go");
    assert_eq!(remembering().update_timestamp(keys.timestamp(6, 7)), Ok(TimestampStep::Newer));
}

#[test]
fn a_refusal_says_which_key_counts_for_nothing_and_why() {
    let keys = keys();
    let mut root = keys.root(1);
    root["keys"][keys.timestamp.id()]["scheme"] = json!("of-tomorrow");
    let first = file(&root, &[&keys.root[0], &keys.root[1]]);
    let mut set = TrustedSet::from_root(first, &Options { accept_wrong_keyids: true, ..options() }).unwrap();
    let said = set.update_timestamp(keys.timestamp(1, 1)).unwrap_err().to_string();
    assert!(said.contains("has 0 of 1 signatures needed; key"), "{said}");
    assert!(said.contains("counts for nothing: keytype \"ed25519\" with scheme \"of-tomorrow\""), "{said}");
    assert!(!said.contains("not verify"), "{said}");
}

#[test]
fn a_version_that_clients_read_differently_is_told_as_that() {
    let keys = keys();
    let huge = String::from_utf8(keys.timestamp(7, 1))
        .unwrap()
        .replace("\"version\":7", "\"version\":9007199254740992");
    let said = keys.set().update_timestamp(huge.into_bytes()).unwrap_err().to_string();
    assert!(said.contains("is beyond 2^53 - 1"), "{said}");
}

#[test]
fn a_snapshot_must_be_the_one_that_the_timestamp_lists() {
    let keys = keys();
    let good = keys.snapshot(3, json!({"targets.json": {"version": 1}}));
    let digest = tuf::digest::Sha256Digest::of(&good).to_string();
    let with = |entry: Json| {
        let mut set = keys.set();
        set.update_timestamp(file(&timestamp(1, entry), &[&keys.timestamp])).unwrap();
        set.update_snapshot(good.clone())
    };
    let beside = |algorithm: &str| {
        with(json!({"version": 3, "length": good.len(), "hashes": {"sha256": digest, algorithm: "x"}}))
    };
    // Nobody can check the one; python-tuf and tuf-js check the other beside a good one.
    beside("nobody-knows").unwrap();
    assert!(matches!(at(beside("md5"), "snapshot", "5.5.2"), TrustFault::OtherDigest { .. }));
    assert!(matches!(at(with(json!({"version": 2})), "snapshot", "5.5.4"), TrustFault::OtherVersion { .. }));
    at(with(json!({"version": 4})), "snapshot", "5.5.4");
    let longer = json!({"version": 3, "length": good.len() + 1});
    assert!(matches!(at(with(longer), "snapshot", "5.5.2"), TrustFault::OtherLength { .. }));
    let other = json!({"version": 3, "hashes": {"sha256": "00".repeat(32)}});
    assert!(matches!(at(with(other), "snapshot", "5.5.2"), TrustFault::OtherDigest { .. }));
    let unknown = json!({"version": 3, "hashes": {"md5": "x"}});
    assert!(matches!(at(with(unknown), "snapshot", "5.5.2"), TrustFault::UnknownDigests { .. }));
    at(keys.set().update_snapshot(good.clone()), "snapshot", "5.5");
    let mut set = keys.set();
    set.update_timestamp(keys.timestamp(1, 3)).unwrap();
    at(set.update_snapshot(file(&snapshot(3, json!({})), &[&keys.timestamp])), "snapshot", "5.5.3");
    let mut expired = snapshot(3, json!({}));
    expired["expires"] = json!("2028-12-31T23:59:59Z");
    at(set.update_snapshot(file(&expired, &[&keys.snapshot])), "snapshot", "5.5.6");
}

#[test]
fn no_entry_of_the_snapshot_vanishes_or_goes_down() {
    let keys = keys();
    let before = json!({"targets.json": {"version": 4}, "a.json": {"version": 2}});
    let with = |meta: Json| {
        let mut set = keys.set().with_previous(keys.previous(1, 1, before.clone())).unwrap();
        set.update_timestamp(keys.timestamp(2, 2)).unwrap();
        set.update_snapshot(keys.snapshot(2, meta))
    };
    with(json!({"targets.json": {"version": 4}, "a.json": {"version": 3}, "b.json": {"version": 1}}))
        .unwrap();
    let gone = at(with(json!({"targets.json": {"version": 4}})), "snapshot", "5.5.5");
    assert!(matches!(gone, TrustFault::Vanished { of } if of == name("a")));
    let down =
        at(with(json!({"targets.json": {"version": 3}, "a.json": {"version": 2}})), "snapshot", "5.5.5");
    assert!(matches!(down, TrustFault::ListedRollback { of, .. } if of == name("targets")));
}

#[test]
fn new_keys_of_timestamp_or_snapshot_end_what_was_remembered() {
    let keys = keys();
    let [a, b, c] = &keys.root;
    let before =
        || keys.set().with_previous(keys.previous(90, 90, json!({"a.json": {"version": 9}}))).unwrap();
    // The attacker's fast-forward stays in force while the keys do.
    let mut same = before();
    same.update_root(keys.root_file(2)).unwrap();
    at(same.update_timestamp(keys.timestamp(3, 3)), "timestamp", "5.4.3.1");
    // Another snapshot key drops timestamp and snapshot both.
    let fresh = root(2, &[a, b, c], 2, &keys.timestamp, &keys.other[0], &keys.targets);
    let mut moved = before();
    moved.update_root(file(&fresh, &[a, b])).unwrap();
    moved.update_timestamp(keys.timestamp(3, 3)).unwrap();
    moved.update_snapshot(file(&snapshot(3, json!({})), &[&keys.other[0]])).unwrap();
    // A key that is added takes nothing away.
    let mut more = keys.root(2);
    more["keys"][keys.other[0].id()] = keys.other[0].object();
    more["roles"]["timestamp"]["keyids"] = json!([keys.timestamp.id(), keys.other[0].id()]);
    let mut added = before();
    added.update_root(file(&more, &[a, b])).unwrap();
    at(added.update_timestamp(keys.timestamp(3, 3)), "timestamp", "5.4.3.1");
}

#[test]
fn what_the_keys_that_are_left_vouch_for_is_not_gone_behind() {
    let keys = keys();
    let [a, b, c] = &keys.root;
    let two = |version: u64| {
        let mut root = keys.root(version);
        root["keys"][keys.other[0].id()] = keys.other[0].object();
        for role in ["timestamp", "snapshot"] {
            let own = if role == "timestamp" { &keys.timestamp } else { &keys.snapshot };
            root["roles"][role]["keyids"] = json!([own.id(), keys.other[0].id()]);
        }
        root
    };
    // Each role has a key of its own and one that goes.
    let by = |file: Vec<u8>| Some(Metadata::parse(file, &Limits::agent()).unwrap());
    let remembering = |own: bool| {
        let signers = |key| if own { vec![key, &keys.other[0]] } else { vec![&keys.other[0]] };
        let stamp = file(&timestamp(10, json!({"version": 10})), &signers(&keys.timestamp));
        let snap = file(&snapshot(10, json!({"a.json": {"version": 9}})), &signers(&keys.snapshot));
        let set = TrustedSet::from_root(file(&two(1), &[a, b]), &options()).unwrap();
        set.with_previous(Previous { timestamp: by(stamp), snapshot: by(snap) }).unwrap()
    };
    let next = file(&keys.root(2), &[a, b, c]);
    // Signed by both, they still meet their threshold.
    let mut set = remembering(true);
    set.update_root(next.clone()).unwrap();
    assert!(set.has_previous());
    at(set.clone().update_timestamp(keys.timestamp(5, 5)), "timestamp", "5.4.3.1");
    set.update_timestamp(keys.timestamp(11, 11)).unwrap();
    at(set.update_snapshot(keys.snapshot(11, json!({}))), "snapshot", "5.5.5");
    // Signed by the key that went alone, as by whoever stole it.
    let mut set = remembering(false);
    set.update_root(next.clone()).unwrap();
    assert!(!set.has_previous());
    set.update_timestamp(keys.timestamp(5, 5)).unwrap();
    // Of a role of which nothing is remembered the number of keys that are left decides.
    let mut set = remembering(true);
    set = set
        .with_previous(Previous {
            timestamp: remembering(true).last_trusted(RoleKind::Timestamp),
            snapshot: None,
        })
        .unwrap();
    set.update_root(next).unwrap();
    at(set.update_timestamp(keys.timestamp(5, 5)), "timestamp", "5.4.3.1");
}

#[test]
fn what_is_remembered_counts_only_with_good_signatures() {
    let keys = keys();
    let mut previous = keys.previous(90, 90, json!({}));
    let forged = file(&timestamp(90, json!({"version": 90})), &[&keys.other[0]]);
    previous.timestamp = Some(Metadata::parse(forged, &Limits::agent()).unwrap());
    let mut set = keys.set().with_previous(previous.clone()).unwrap();
    set.update_timestamp(keys.timestamp(3, 3)).unwrap();
    previous.timestamp = previous.snapshot.clone();
    assert!(keys.set().with_previous(previous).is_err(), "a snapshot is no timestamp");
}

#[test]
fn targets_must_be_signed_as_root_says_and_be_what_the_snapshot_lists() {
    let keys = keys();
    let (role, parent) = (name("targets"), name("root"));
    let good = file(&targets(1, &["f"]), &[&keys.targets]);
    let mut set = keys.listed(&["targets"]);
    set.update_targets(&role, &parent, good.clone()).unwrap();
    assert!(matches!(set.find_target("f"), Search::Found { .. }));
    let mut set = keys.listed(&["targets"]);
    at(set.update_targets(&role, &parent, file(&targets(2, &[]), &[&keys.targets])), "targets", "5.6.4");
    at(set.update_targets(&role, &parent, file(&targets(1, &[]), &[&keys.other[0]])), "targets", "5.6.3");
    let mut expired = targets(1, &[]);
    expired["expires"] = json!("2000-01-01T00:00:00Z");
    at(set.update_targets(&role, &parent, file(&expired, &[&keys.targets])), "targets", "5.6.5");
    at(set.update_targets(&name("x"), &role, good.clone()), "x", "5.6.1");
    at(keys.listed(&[]).update_targets(&role, &parent, good.clone()), "targets", "5.6.1");
    at(keys.set().update_targets(&role, &parent, good.clone()), "targets", "5.6");
    // An agent that has only root and targets.
    let mut partial = keys.set();
    partial.update_targets_unlisted(&role, &parent, good).unwrap();
    at(partial.update_targets_unlisted(&role, &parent, file(&targets(1, &[]), &[])), "targets", "5.6.3");
    at(
        partial.update_targets_unlisted(&name("snapshot"), &parent, keys.snapshot(1, json!({}))),
        "snapshot",
        "5.6",
    );
}

#[test]
fn one_key_under_two_keyids_or_listed_by_two_names_counts_once() {
    let keys = keys();
    let [a, b, c] = &keys.root;
    let mut twice = keys.root(1);
    let mut object = a.object();
    object["x"] = json!("another keyid for the same key");
    let unsigned = serde_json::to_vec(&object).unwrap();
    let second = tuf::key::Key::from_json(&unsigned).unwrap().computed_keyid().to_string();
    twice["keys"][&second] = object;
    twice["roles"]["root"]["keyids"] = json!([a.id(), second, b.id(), c.id()]);
    let signed = file_named(&twice, &[(a.id(), a), (second.clone(), a)]);
    let fault = at(TrustedSet::from_root(signed, &options()), "root", "5.2");
    let TrustFault::Threshold { report, .. } = fault else { panic!("{fault}") };
    assert_eq!((report.have(), report.same_key.len(), report.missing.len()), (1, 1, 2));
    // Its other keyid is missing no more: signing again would add nothing.
    let fault =
        at(TrustedSet::from_root(file_named(&twice, &[(second.clone(), a)]), &options()), "root", "5.2");
    let TrustFault::Threshold { report, .. } = fault else { panic!("{fault}") };
    let others = [b.id(), c.id()].map(|keyid| keyid.parse().unwrap());
    assert_eq!((report.have(), report.same_key.len(), report.missing), (1, 0, others.to_vec()));
    TrustedSet::from_root(file_named(&twice, &[(second, a), (b.id(), b)]), &options()).unwrap();
}

#[test]
fn bad_signatures_beside_enough_good_ones_do_no_harm_and_a_keyid_twice_does() {
    let keys = keys();
    let [a, b, c] = &keys.root;
    let good = Metadata::parse(file(&keys.root(1), &[a, b]), &Limits::agent()).unwrap();
    let entry = |keyid: String, sig: &str| tuf::metadata::SignatureEntry {
        keyid: keyid.parse().unwrap(),
        sig: sig.to_owned(),
    };
    for bad in ["", "00", "zz", &"00".repeat(64)] {
        let mut signatures = good.signatures().to_vec();
        signatures.insert(0, entry(c.id(), bad));
        signatures.push(entry("unknown".into(), bad));
        TrustedSet::from_root(good.with_signatures(&signatures), &options()).unwrap();
    }
    let mut signatures = good.signatures().to_vec();
    signatures.push(signatures[0].clone());
    let fault = at(TrustedSet::from_root(good.with_signatures(&signatures), &options()), "root", "5.2");
    assert!(matches!(fault, TrustFault::Unreadable(_)));
}

#[test]
fn a_wrong_keyid_is_refused_unless_the_caller_takes_it() {
    let keys = keys();
    let mut wrong = base("root", 1);
    let one = json!({"keyids": ["beef"], "threshold": 1});
    wrong["keys"] = json!({"beef": keys.root[0].object()});
    wrong["roles"] = json!({"root": one, "timestamp": one, "snapshot": one, "targets": one});
    let signed = file_named(&wrong, &[("beef".into(), &keys.root[0])]);
    let fault = at(TrustedSet::from_root(signed.clone(), &options()), "root", "4.2.1");
    assert!(matches!(fault, TrustFault::WrongKeyid { .. }));
    let lenient = Options { accept_wrong_keyids: true, ..options() };
    TrustedSet::from_root(signed, &lenient).unwrap();
}

#[test]
fn every_refusal_is_one_sentence_with_role_and_section() {
    let keys = keys();
    let error = keys.set().update_root(file(&keys.root(2), &[&keys.root[0]])).unwrap_err();
    assert_eq!(
        error.to_string(),
        "root: has 1 of 2 signatures needed by keys of version 1 of root (specification 5.3.4)"
    );
    let error = keys.set().update_root(keys.root_file(5)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "root: version 5 cannot follow version 1; a root goes up by exactly one (specification 5.3.5)"
    );
}
