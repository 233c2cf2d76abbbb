//! Random edits of random roles.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::diff::difference;
use crate::digest::Sha256Digest;
use crate::metadata::Hashes;

/// What a run of edits does to a path: `None` removes, otherwise the content.
type Edits = BTreeMap<String, Option<u8>>;

fn name() -> impl Strategy<Value = String> {
    prop::sample::select(vec!["a", "b", "c/d", "é", "x y", "long/er/path.tgz", "q\"uote", "日本"])
        .prop_map(str::to_owned)
}

fn contents() -> impl Strategy<Value = BTreeMap<String, u8>> {
    prop::collection::btree_map(name(), any::<u8>(), 0..8)
}

fn file(content: u8) -> TargetFile<'static> {
    TargetFile::new(u64::from(content), Hashes::sha256(Sha256Digest::of(&[content])))
}

/// A targets role as others write them: any layout, unknown members, custom data.
fn foreign(targets: &BTreeMap<String, u8>, pretty: bool) -> Metadata {
    let entries: serde_json::Map<_, _> = targets
        .iter()
        .map(|(name, content)| {
            let sha256 = Sha256Digest::of(&[*content]).to_string();
            let entry = serde_json::json!({"length": content, "hashes": {"sha256": sha256}, "custom": {"n": [content]}, "x": {}});
            (name.clone(), entry)
        })
        .collect();
    let whole = serde_json::json!({
        "signatures": [{"keyid": "ab", "sig": "", "x": 1}],
        "signed": {
            "_type": "targets", "version": 4, "spec_version": "1.0.0", "expires": "2030-01-01T00:00:00Z",
            "targets": entries, "x-more": [{"y": null}], "x-days": 7,
        },
    });
    parse(if pretty { serde_json::to_vec_pretty(&whole) } else { serde_json::to_vec(&whole) }.unwrap())
}

fn apply(base: &Metadata, before: &BTreeMap<String, u8>, edits: &Edits) -> Metadata {
    let mut edit = Editor::new(base);
    edit.next_version().unwrap();
    for (name, content) in edits {
        match content {
            Some(content) => {
                edit.add_target(&TargetPath::new_for_writing(name).unwrap(), &file(*content)).unwrap();
            }
            None if before.contains_key(name) => edit.remove_target(name).unwrap(),
            None => drop(edit.remove_target(name).unwrap_err()),
        }
    }
    parse(edit.finish().unwrap())
}

proptest! {
    #[test]
    fn editing_targets_gives_what_was_asked_and_nothing_else(
        before in contents(),
        edits in prop::collection::btree_map(name(), prop::option::of(any::<u8>()), 0..6),
        pretty: bool,
    ) {
        let base = foreign(&before, pretty);
        let after = apply(&base, &before, &edits);
        let mut expected = before.clone();
        for (name, content) in &edits {
            match content {
                Some(content) => drop(expected.insert(name.clone(), *content)),
                None => drop(expected.remove(name)),
            }
        }
        let found: BTreeMap<String, TargetFile<'static>> =
            after.as_targets().unwrap().targets().map(|(n, f)| (n.into_owned(), f.into_owned())).collect();
        prop_assert_eq!(found.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>());
        for (name, content) in &expected {
            prop_assert_eq!(found[name].length, u64::from(*content));
            prop_assert_eq!(&found[name].hashes, &file(*content).hashes);
            prop_assert_eq!(found[name].custom.is_some(), before.contains_key(name));
        }
        // Everything that was not asked for is the same value.
        let strip = |metadata: &Metadata| {
            let mut value: serde_json::Value = serde_json::from_slice(metadata.signed_bytes()).unwrap();
            let object = value.as_object_mut().unwrap();
            object.remove("version");
            object.remove("targets");
            value
        };
        prop_assert_eq!(strip(&base), strip(&after));
        prop_assert!(after.signatures().is_empty());
    }

    #[test]
    fn a_difference_lists_exactly_what_the_edits_did(
        before in contents(),
        edits in prop::collection::btree_map(name(), prop::option::of(any::<u8>()), 0..6),
    ) {
        let base = foreign(&before, false);
        let after = apply(&base, &before, &edits);
        let said = difference(&role("targets"), Some(&base), &after);
        let paths = |list: &[crate::diff::TargetChange]| -> Vec<String> {
            let mut paths: Vec<String> = list.iter().map(|c| c.path.clone()).collect();
            paths.sort();
            paths
        };
        let asked = |wanted: &dyn Fn(&String, &Option<u8>) -> bool| -> Vec<String> {
            edits.iter().filter(|(n, c)| wanted(n, c)).map(|(n, _)| n.clone()).collect()
        };
        prop_assert_eq!(paths(&said.targets_added), asked(&|n, c| c.is_some() && !before.contains_key(n)));
        prop_assert_eq!(paths(&said.targets_removed), asked(&|n, c| c.is_none() && before.contains_key(n)));
        prop_assert_eq!(
            paths(&said.targets_changed),
            asked(&|n, c| c.is_some() && before.contains_key(n) && before.get(n) != c.as_ref())
        );
        prop_assert!(said.other.is_empty() && said.keys_added.is_empty() && said.thresholds.is_empty());
        prop_assert_eq!((said.from_version, said.to_version), (Some(4), 5));
        let none = difference(&role("targets"), Some(&after), &after);
        prop_assert!(none.is_empty() && none.only_renews());
    }

    #[test]
    fn root_edits_hold_their_rules_or_are_refused(
        steps in prop::collection::vec((0_u8..4, 0_usize..4, 1_u8..9, 0_u32..5), 0..12),
    ) {
        let base = fresh_root();
        let mut edit = Editor::new(&base);
        for (what, kind, seed, threshold) in steps {
            let kind = RoleKind::ALL[kind];
            // Refusals are fine: what matters is what comes out at the end.
            match what {
                0 => drop(edit.add_key(kind, &key(seed))),
                1 => drop(edit.remove_key(kind, &key(seed).computed_keyid())),
                2 => drop(edit.replace_key(kind, &key(seed).computed_keyid(), &key(seed % 8 + 1))),
                _ => drop(edit.set_threshold(kind, threshold)),
            }
        }
        let Ok(bytes) = edit.finish() else { return Ok(()) };
        let after = parse(bytes);
        let view = after.as_root().unwrap();
        let used: std::collections::BTreeSet<_> =
            RoleKind::ALL.iter().flat_map(|k| view.role(*k).keyids.iter()).collect();
        prop_assert_eq!(used, view.keys.keys().collect());
        for kind in RoleKind::ALL {
            let role = view.role(kind);
            prop_assert!(usize::try_from(role.threshold.get()).unwrap() <= role.keyids.len());
        }
        let said = difference(&role("root"), Some(&base), &after);
        for kind in RoleKind::ALL {
            let (old, new) = (base.as_root().unwrap().role(kind), view.role(kind));
            let added = said.keys_added.iter().filter(|k| k.role == kind.name()).count();
            prop_assert_eq!(added, new.keyids.iter().filter(|k| !old.contains(k)).count());
            let changed = said.thresholds.iter().any(|t| t.role == kind.name());
            prop_assert_eq!(changed, old.threshold != new.threshold);
        }
    }
}
