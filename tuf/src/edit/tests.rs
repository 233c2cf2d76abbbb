//! Edit, then parse: what was asked is there, and what was not asked stands as it stood.

mod properties;
mod splices;

use super::*;
use crate::key::PublicKey;
use crate::metadata::{Limits, Paths};

pub(super) fn parse(bytes: Vec<u8>) -> Metadata {
    Metadata::parse(bytes.clone(), &Limits::agent())
        .unwrap_or_else(|e| panic!("{e}\n{}", String::from_utf8_lossy(&bytes)))
}

/// A key for tests: any 32 bytes that are a point of the curve.
pub(super) fn key(seed: u8) -> Key {
    let mut bytes = [seed; 32];
    for tweak in 0..=255 {
        bytes[31] = tweak & 0x7f;
        if let Ok(public) = PublicKey::from_ed25519(bytes) {
            return public.to_key();
        }
    }
    panic!("no point for {seed}")
}

fn v(number: u64) -> Version {
    Version::new(number).unwrap()
}

fn later() -> UtcTime {
    UtcTime::from_unix(1_900_000_000)
}

fn role(name: &str) -> RoleName {
    RoleName::parse(name).unwrap()
}

fn fresh_root() -> Metadata {
    let one = |seed| NewRole { keys: vec![key(seed)], threshold: 1 };
    let root = NewRole { keys: vec![key(1), key(2), key(3)], threshold: 2 };
    let roles = NewRoles { root, targets: one(4), snapshot: one(5), timestamp: one(5) };
    parse(new_root(v(1), later(), true, &roles).unwrap())
}

fn delegation(name: &str, seed: u8, pattern: &str) -> NewDelegation {
    NewDelegation {
        name: role(name),
        keys: vec![key(seed)],
        threshold: 1,
        paths: Paths::Patterns(vec![pattern.to_owned()]),
        terminating: false,
    }
}

#[test]
fn a_fresh_root_says_what_was_asked() {
    let root = fresh_root();
    let view = root.as_root().unwrap();
    assert_eq!((root.version().get(), root.expires()), (1, later()));
    assert!(view.consistent_snapshot && view.wrong_keyids().is_empty());
    assert_eq!(view.keys.len(), 5);
    assert_eq!((view.root.keyids.len(), view.root.threshold.get()), (3, 2));
    assert_eq!(view.snapshot, view.timestamp);
}

#[test]
fn a_root_drops_the_key_that_no_role_uses_any_more() {
    let root = fresh_root();
    let mut edit = Editor::new(&root);
    edit.next_version().unwrap();
    let old = key(5).computed_keyid();
    edit.replace_key(RoleKind::Snapshot, &old, &key(6)).unwrap();
    let still = parse(edit.clone().finish().unwrap());
    assert!(still.as_root().unwrap().keys.contains_key(&old), "timestamp still uses it");
    edit.replace_key(RoleKind::Timestamp, &old, &key(6)).unwrap();
    let gone = parse(edit.finish().unwrap());
    assert!(!gone.as_root().unwrap().keys.contains_key(&old));
    assert_eq!(gone.version().get(), 2);
}

#[test]
fn a_threshold_that_cannot_be_met_is_refused() {
    let root = fresh_root();
    let mut edit = Editor::new(&root);
    assert!(matches!(edit.set_threshold(RoleKind::Root, 0), Err(EditError::Threshold { .. })));
    edit.set_threshold(RoleKind::Root, 4).unwrap();
    assert!(matches!(edit.clone().finish(), Err(EditError::Threshold { threshold: 4, keys: 3, .. })));
    edit.add_key(RoleKind::Root, &key(9)).unwrap();
    assert_eq!(parse(edit.finish().unwrap()).as_root().unwrap().root.threshold.get(), 4);
    let mut edit = Editor::new(&root);
    edit.remove_key(RoleKind::Targets, &key(4).computed_keyid()).unwrap();
    assert!(matches!(edit.finish(), Err(EditError::Threshold { keys: 0, .. })));
}

#[test]
fn one_public_key_is_one_key_whatever_its_object_says() {
    let root = fresh_root();
    let mut edit = Editor::new(&root);
    assert!(matches!(edit.add_key(RoleKind::Root, &key(1)), Err(EditError::HasKey { .. })));
    // Another object of the same public key has another keyid, and still is the same key.
    let owned = key(1).json().replacen('{', "{\"x-owner\":\"@ann\",", 1);
    let twin = Key::from_json(owned.as_bytes()).unwrap();
    assert_ne!(twin.computed_keyid(), key(1).computed_keyid());
    assert!(matches!(edit.add_key(RoleKind::Root, &twin), Err(EditError::HasKey { .. })));
    let used = edit.add_key(RoleKind::Targets, &twin).unwrap();
    assert_eq!(used, key(1).computed_keyid());
}

#[test]
fn a_role_with_one_public_key_twice_is_not_written_again() {
    let mut value: serde_json::Value = serde_json::from_slice(fresh_root().bytes()).unwrap();
    let (id, twin) = (key(1).computed_keyid(), "ab".repeat(32));
    let signed = &mut value["signed"];
    signed["keys"][twin.as_str()] = signed["keys"][id.as_str()].clone();
    signed["roles"]["root"]["keyids"].as_array_mut().unwrap().push(twin.into());
    let bad = parse(value.to_string().into_bytes());
    let mut edit = Editor::new(&bad);
    edit.next_version().unwrap();
    parse(edit.clone().finish().unwrap());
    edit.add_key(RoleKind::Root, &key(7)).unwrap();
    assert!(matches!(edit.finish(), Err(EditError::SamePublicKey { .. })), "touching the role judges it");
}

#[test]
fn delegations_come_change_and_go() {
    let base = parse(new_targets(v(1), later()));
    let mut edit = Editor::new(&base);
    edit.add_delegation(&delegation("a", 1, "a/*")).unwrap();
    edit.add_delegation(&delegation("b", 2, "b/*")).unwrap();
    assert_eq!(edit.add_delegation(&delegation("a", 3, "c/*")), Err(EditError::DelegationExists(role("a"))));
    assert!(matches!(edit.add_delegation(&delegation("root", 3, "c/*")), Err(EditError::RoleName(_))));
    assert!(matches!(edit.add_delegation(&delegation("c", 3, "c/**")), Err(EditError::Pattern(_))));
    assert_eq!(edit.set_succinct(&role("bin"), 4, &[key(1)], 1), Err(EditError::MixedDelegations));
    let both = parse(edit.finish().unwrap());

    let mut edit = Editor::new(&both);
    let change = DelegationChange {
        add_keys: vec![key(3)],
        remove_keys: vec![key(1).computed_keyid()],
        paths: Some(Paths::HashPrefixes(vec!["0a".into()])),
        terminating: Some(true),
        ..Default::default()
    };
    edit.edit_delegation(&role("a"), &change).unwrap();
    edit.remove_delegation(&role("b")).unwrap();
    assert_eq!(edit.remove_delegation(&role("z")), Err(EditError::NoDelegation(role("z"))));
    let after = parse(edit.finish().unwrap());
    let view = after.as_targets().unwrap().delegations.as_ref().unwrap();
    assert_eq!(view.keys.keys().collect::<Vec<_>>(), [&key(3).computed_keyid()]);
    assert_eq!(view.roles.len(), 1);
    assert_eq!(view.roles[0].paths, Paths::HashPrefixes(vec!["0a".into()]));
    assert!(view.roles[0].terminating);
}

#[test]
fn succinct_bins_are_a_power_of_two() {
    let base = parse(new_targets(v(1), later()));
    for bad in [0, 1, 3, 255, 1 << 33] {
        let end = Editor::new(&base).set_succinct(&role("bin"), bad, &[key(1)], 1);
        assert_eq!(end, Err(EditError::Bins(bad)));
    }
    let mut edit = Editor::new(&base);
    edit.set_succinct(&role("bin"), 256, &[key(1)], 1).unwrap();
    let binned = parse(edit.finish().unwrap());
    let bins = binned.as_targets().unwrap().delegations.as_ref().unwrap().succinct.clone().unwrap();
    assert_eq!((bins.bit_length, bins.names().next().unwrap().as_str()), (8, "bin-00"));
    let mut edit = Editor::new(&binned);
    let change = DelegationChange { add_keys: vec![key(2)], threshold: Some(2), ..Default::default() };
    edit.edit_delegation(&role("bin"), &change).unwrap();
    let edited = parse(edit.finish().unwrap());
    let view = edited.as_targets().unwrap().delegations.as_ref().unwrap();
    assert_eq!(view.succinct.as_ref().unwrap().keys.threshold.get(), 2);
    let mut edit = Editor::new(&edited);
    edit.remove_delegation(&role("bin")).unwrap();
    edit.add_delegation(&delegation("a", 1, "a/*")).unwrap();
    let named = parse(edit.finish().unwrap());
    assert_eq!(named.as_targets().unwrap().delegations.as_ref().unwrap().roles.len(), 1);
}

#[test]
fn a_target_outside_the_paths_of_its_chain_is_refused() {
    let base = parse(new_targets(v(1), later()));
    let mut parent = Editor::new(&base);
    parent.add_delegation(&delegation("a", 1, "a/*")).unwrap();
    let parent = parse(parent.finish().unwrap());
    let scope = PathScope::of(&parent.as_targets().unwrap().delegations.as_ref().unwrap().roles[0]);
    let mut edit = Editor::new(&base);
    edit.within(vec![scope]).unwrap();
    let file = TargetFile::new(3, crate::metadata::Hashes::sha256(crate::digest::Sha256Digest::of(b"abc")));
    edit.add_target(&TargetPath::new_for_writing("a/x").unwrap(), &file).unwrap();
    let end = edit.add_target(&TargetPath::new_for_writing("b/x").unwrap(), &file);
    assert_eq!(end, Err(EditError::PathNotAllowed { role: role("a"), path: "b/x".into() }));
}

#[test]
fn an_edit_of_another_kind_of_role_is_refused() {
    let mut edit = Editor::new(&fresh_root());
    assert!(matches!(edit.remove_target("x"), Err(EditError::WrongKind { kind: "root", .. })));
    let mut edit = Editor::new(&parse(new_targets(v(1), later())));
    assert!(matches!(
        edit.add_key(RoleKind::Root, &key(1)),
        Err(EditError::WrongKind { kind: "targets", .. })
    ));
    assert_eq!(edit.remove_target("x"), Err(EditError::NoTarget("x".into())));
}

#[test]
fn snapshot_and_timestamp_list_what_they_are_given() {
    let file = |n| MetaFile::of_version(v(n));
    let entries = [(role("targets"), file(1)), (role("a/b"), file(2))].into_iter().collect();
    let snapshot = parse(new_snapshot(v(1), later(), &entries).unwrap());
    let mut edit = Editor::new(&snapshot);
    let full = MetaFile {
        length: Some(9),
        hashes: Some(crate::metadata::Hashes::sha256(crate::digest::Sha256Digest::of(b"x"))),
        ..file(3)
    };
    edit.set_meta(&role("targets"), &full).unwrap();
    edit.set_meta(&role("new"), &file(1)).unwrap();
    let next = parse(edit.finish().unwrap());
    let meta = &next.as_snapshot().unwrap().meta;
    assert_eq!(meta.len(), 3, "an entry that nothing was said of stays");
    assert_eq!(meta[&role("targets")], full);
    let timestamp = parse(new_timestamp(v(1), later(), &file(1)).unwrap());
    let mut edit = Editor::new(&timestamp);
    edit.set_snapshot(&full).unwrap();
    assert_eq!(parse(edit.finish().unwrap()).as_timestamp().unwrap().snapshot, full);
}
