//! How a manifest is written.

use super::{Facts, SignedManifest};

/// The object that is signed. Names have no character that JSON escapes.
pub(super) fn written(facts: &Facts) -> String {
    let mut fingerprints = facts.fingerprints.iter();
    let groups: Vec<_> = facts
        .terms
        .group_terms()
        .iter()
        .map(|group| {
            let members: Vec<_> = group
                .custodians
                .iter()
                .zip(fingerprints.by_ref())
                .map(|(name, fingerprint)| {
                    format!(r#"{{"custodian":"{name}","fingerprint":"{fingerprint}"}}"#)
                })
                .collect();
            format!(
                r#"{{"name":"{}","threshold":{},"members":[{}]}}"#,
                group.name,
                group.threshold,
                members.join(",")
            )
        })
        .collect();
    let previous = facts.previous.map_or_else(|| "null".to_owned(), |digest| format!(r#""{digest}""#));
    format!(
        r#"{{"type":"{TYPE}","version":{},"key_name":"{}","sequence":{},"made_at":"{}","kind":"{}","keyid":"{}","key":{},"set_id":"{}","identifier":{},"extendable":true,"iteration_exponent":{},"group_threshold":{},"groups":[{}],"previous":{previous}}}"#,
        SignedManifest::VERSION,
        facts.key_name,
        facts.sequence,
        facts.made_at,
        facts.kind,
        facts.key.computed_keyid(),
        facts.key.json(),
        facts.set_id,
        facts.identifier,
        facts.exponent.get(),
        facts.terms.group_threshold(),
        groups.join(","),
    )
}

/// What the file says it is.
pub(super) const TYPE: &str = "tuf-agent-share-set";
