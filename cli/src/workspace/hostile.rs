//! Files beside the metadata that hold anything at all are an error or are read, and never a panic.

use std::fs;

use proptest::prelude::*;

use super::{Workspace, layout};

/// Where bytes are put, below the folder.
const PLACES: [(&str, &str); 6] = [
    (layout::STAGED, layout::RECORD),
    (layout::STAGED, layout::PUBLISHING),
    (layout::STAGED, "root.json"),
    (layout::STAGED, "targets.json"),
    ("", layout::NAMES),
    (layout::METADATA, "1.root.json"),
];

/// Bytes, text, and JSON of about the right form.
fn content() -> impl Strategy<Value = Vec<u8>> {
    let word =
        || prop_oneof![Just("format"), Just("name"), Just("files"), Just("names"), Just("source"), Just("x")];
    let leaf =
        prop_oneof!["[0-9]{1,22}", "\"[^\"\\\\]{0,8}\"", Just("null".to_owned()), Just("true".to_owned())];
    let object = move |inner: BoxedStrategy<String>| {
        proptest::collection::vec((word(), inner), 0..4).prop_map(|members| {
            let members: Vec<_> = members.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
            format!("{{{}}}", members.join(","))
        })
    };
    let json = leaf.prop_recursive(3, 12, 4, move |inner| object(inner.boxed()));
    prop_oneof![
        any::<Vec<u8>>(),
        any::<String>().prop_map(String::into_bytes),
        json.prop_map(String::into_bytes)
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_files_beside_the_metadata_are_never_a_panic(
        files in proptest::collection::vec((0..PLACES.len(), content()), 1..4),
    ) {
        let folder = tempfile::tempdir().unwrap();
        for name in [layout::METADATA, layout::TARGETS, layout::STAGED] {
            fs::create_dir(folder.path().join(name)).unwrap();
        }
        for (place, bytes) in &files {
            let (below, name) = PLACES[*place];
            fs::write(folder.path().join(below).join(name), bytes).unwrap();
        }
        if let Err(failure) = Workspace::open(folder.path()) {
            prop_assert!(!failure.message().is_empty() && !failure.remedy_text().is_empty());
        }
        if let Err(failure) = Workspace::open_for_writing(folder.path()) {
            prop_assert!(!failure.message().is_empty() && !failure.remedy_text().is_empty());
        }
    }
}
