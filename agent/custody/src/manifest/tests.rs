use super::*;
use crate::test_sets::{new_set, simple};
use tuf::json::ErrorKind;

fn made() -> SignedManifest {
    new_set(SplitKind::Ed25519, &simple(2, 3)).into_parts().0
}

fn error_of(text: &str) -> ManifestError {
    SignedManifest::parse(text.as_bytes()).unwrap_err()
}

#[test]
fn a_manifest_reads_back_what_it_says_whatever_the_spaces() {
    for kind in [SplitKind::Ed25519, SplitKind::EcdsaP256] {
        let set = new_set(kind, &simple(2, 3));
        let manifest = set.manifest();
        assert_eq!((manifest.sequence(), manifest.previous(), manifest.need()), (1, None, 2));
        assert_eq!((manifest.kind(), manifest.key_name(), manifest.word_count()), (kind, "root-s", 33));
        assert_eq!(manifest.public_key().key_type(), kind.key_type());
        assert_eq!(manifest.made_at().to_string(), "2026-11-20T10:00:00Z");
        assert_eq!(manifest.set_id().to_string().parse(), Ok(manifest.set_id()));
        assert!(manifest.weaknesses().is_empty());
        let compact: serde_json::Value = serde_json::from_str(manifest.to_json()).unwrap();
        let again = SignedManifest::parse(compact.to_string().as_bytes()).unwrap();
        assert!(again == *manifest && again.to_json() != manifest.to_json());
        for (member, new) in manifest.members().iter().zip(set.shares()) {
            assert_eq!(member.custodian, new.custodian);
            assert_eq!(again.who_has(&new.share).as_ref(), Ok(&member.custodian));
            assert_eq!(new.share.fingerprint(), Ok(member.fingerprint));
        }
    }
}

#[test]
fn every_changed_byte_of_a_manifest_is_noticed() {
    let manifest = made();
    let text = manifest.to_json();
    for at in 0..text.len() {
        for bit in [0, 1, 5] {
            let mut bytes = text.as_bytes().to_vec();
            bytes[at] ^= 1 << bit;
            if let Ok(other) = SignedManifest::parse(&bytes) {
                assert_eq!(other, manifest, "only a space may turn into another: byte {at}");
                assert!(text.as_bytes()[at].is_ascii_whitespace());
            }
        }
    }
    for end in 0..text.trim_end().len() {
        assert!(SignedManifest::parse(&text.as_bytes()[..end]).is_err());
    }
}

#[test]
fn what_version_1_does_not_have_is_refused_by_name() {
    let text = made().to_json().to_owned();
    let version = text.replacen("\"version\": 1", "\"version\": 2", 1);
    assert_eq!(error_of(&version), ManifestError::Version { found: "2".to_owned() });
    let more = text.replacen("\"version\": 1", "\"version\": 1, \"more\": 1", 1);
    assert!(matches!(error_of(&more), ManifestError::Unknown { name, .. } if name == "more"));
    let outside = text.replacen("{", "{\"more\": 1,", 1);
    assert!(matches!(error_of(&outside), ManifestError::Unknown { .. }));
    let twice = text.replacen("\"version\": 1", "\"version\": 1, \"version\": 1", 1);
    assert!(
        matches!(error_of(&twice), ManifestError::Json(e) if matches!(e.kind, ErrorKind::Duplicate { .. }))
    );
    let float = text.replacen("\"version\": 1", "\"version\": 1.0", 1);
    assert!(matches!(error_of(&float), ManifestError::Json(e) if e.kind == ErrorKind::Float));
    let missing = text.replacen("\"sequence\": 1,", "", 1);
    assert_eq!(error_of(&missing), ManifestError::Member { path: "manifest.sequence".to_owned() });
    let sequence = text.replacen("\"sequence\": 1,", "\"sequence\": 2,", 1);
    assert_eq!(error_of(&sequence), ManifestError::Member { path: "manifest.sequence".to_owned() });
    let signed = text.replacen("root-s", "root-t", 1);
    assert_eq!(error_of(&signed), ManifestError::Signature);
    for other in ["{}", "[]", "1", r#"{"manifest":{}}"#, r#"{"signed":{"_type":"root"},"signatures":[]}"#] {
        assert!(matches!(error_of(other), ManifestError::Sort { .. }), "{other}");
    }
    assert!(SignedManifest::parse(&vec![b' '; SignedManifest::MAX_BYTES + 1]).is_err());
}

#[test]
fn the_largest_set_has_a_manifest_that_can_be_read() {
    let group = |at: usize| crate::GroupTerms {
        name: format!("{at:x}{}", "g".repeat(63)).parse().unwrap(),
        threshold: 2,
        custodians: (0..16).map(|n| format!("{at:x}{n:x}{}", "c".repeat(62)).parse().unwrap()).collect(),
    };
    let terms = Terms::groups(16, (0..16).map(group).collect()).unwrap();
    let set = new_set(SplitKind::Ed25519, &terms.agreed(crate::Weak::Allowed).unwrap());
    assert_eq!(set.shares().len(), 256);
    assert!(set.manifest().to_json().len() < SignedManifest::MAX_BYTES / 2 + 1024);
}
