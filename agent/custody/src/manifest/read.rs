//! How a manifest is read: strictly, so that one set has one manifest.

use std::collections::BTreeSet;

use tuf::digest::Sha256Digest;
use tuf::json::{Document, Kind, Value};
use tuf::key::{Key, KeyType};

use super::write::TYPE;
use super::{Facts, Fields, ManifestError, SetId, SignedManifest, SignedText, fields};
use crate::key::SplitKind;
use crate::share::IterationExponent;
use crate::slip39::COUNT_MAX;
use crate::terms::{CustodianName, GroupTerms, Terms};

/// What the text says, once its signature was verified.
pub(super) fn read(bytes: &[u8]) -> Result<(Facts, SignedText), ManifestError> {
    let document = Document::parse(bytes, SignedManifest::MAX_BYTES)?;
    let body = document.root().get(SignedText::MANIFEST.0);
    let body = body.ok_or(ManifestError::Sort { what: "the manifest of a set of shares" })?;
    check_sort(body, TYPE, "the manifest of a set of shares")?;
    let facts = facts(body)?;
    let text = SignedText::verified(&document, SignedText::MANIFEST, facts.key.public_key()?)?;
    Ok((facts, text))
}

/// Type and version come first: of another version nothing else is known.
pub(crate) fn check_sort(body: Value<'_>, sort: &str, what: &'static str) -> Result<(), ManifestError> {
    if body.get("type").and_then(Value::as_str).as_deref() != Some(sort) {
        return Err(ManifestError::Sort { what });
    }
    match body.get("version") {
        Some(version) if version.as_u64() == Some(SignedManifest::VERSION) => Ok(()),
        Some(other) => Err(ManifestError::Version { found: other.raw_str().chars().take(40).collect() }),
        None => Err(ManifestError::Member { path: "version".to_owned() }),
    }
}

fn facts(body: Value<'_>) -> Result<Facts, ManifestError> {
    const PATH: &str = SignedText::MANIFEST.0;
    let [
        _,
        _,
        key_name,
        sequence,
        made_at,
        kind,
        keyid,
        key,
        set_id,
        identifier,
        extendable,
        exponent,
        threshold,
        groups,
        previous,
    ] = fields(body, PATH, MEMBERS)?;
    let of = Fields { path: PATH };
    let key = Key::parse(key)?;
    let kind = of.text(kind, "kind", |text| SplitKind::of(text.parse::<KeyType>().ok()?))?;
    let public = key.public_key()?;
    // Written as this program writes it, so that one key has one keyid.
    if public.key_type() != kind.key_type() || public.to_key() != key {
        return Err(of.wrong("key"));
    }
    of.text(keyid, "keyid", |text| (text == key.computed_keyid().as_str()).then_some(()))?;
    if extendable.as_bool() != Some(true) {
        return Err(of.wrong("extendable"));
    }
    let exponent = IterationExponent::try_from(of.number::<u8>(exponent, "iteration_exponent")?);
    let exponent = exponent.map_err(|_| of.wrong("iteration_exponent"))?;
    let identifier = of.number::<u16>(identifier, "identifier")?;
    let sequence = of.number::<u64>(sequence, "sequence")?;
    let previous = previous_of(&of, previous)?;
    if identifier > 0x7FFF {
        return Err(of.wrong("identifier"));
    }
    if sequence == 0 || (sequence == 1) != previous.is_none() {
        return Err(of.wrong("sequence"));
    }
    let (groups, fingerprints) = groups_of(&of, groups)?;
    Ok(Facts {
        set_id: of.text(set_id, "set_id", |text| text.parse::<SetId>().ok())?,
        identifier,
        exponent,
        key_name: of.text(key_name, "key_name", |text| is_key_name(text).then(|| text.to_owned()))?,
        kind,
        terms: Terms::groups(of.number(threshold, "group_threshold")?, groups)?,
        fingerprints,
        made_at: of.text(made_at, "made_at", |text| text.parse().ok())?,
        sequence,
        previous,
        key,
    })
}

fn previous_of(of: &Fields<'_>, previous: Value<'_>) -> Result<Option<Sha256Digest>, ManifestError> {
    if previous.kind() == Kind::Null {
        return Ok(None);
    }
    of.text(previous, "previous", |text| text.parse().ok()).map(Some)
}

fn groups_of(
    of: &Fields<'_>,
    groups: Value<'_>,
) -> Result<(Vec<GroupTerms>, Vec<Sha256Digest>), ManifestError> {
    let too_many = |list: Value<'_>| list.kind() != Kind::Array || list.len() > COUNT_MAX;
    if too_many(groups) {
        return Err(of.wrong("groups"));
    }
    let (mut terms, mut fingerprints) = (Vec::new(), Vec::new());
    for group in groups.items() {
        let of = Fields { path: "groups" };
        let [name, threshold, members] = fields(group, of.path, ["name", "threshold", "members"])?;
        if too_many(members) {
            return Err(of.wrong("members"));
        }
        let mut custodians = Vec::new();
        for member in members.items() {
            let of = Fields { path: "members" };
            let [custodian, fingerprint] = fields(member, of.path, ["custodian", "fingerprint"])?;
            custodians.push(of.text(custodian, "custodian", |text| text.parse::<CustodianName>().ok())?);
            fingerprints.push(of.text(fingerprint, "fingerprint", |text| text.parse().ok())?);
        }
        let name = of.text(name, "name", |text| text.parse().ok())?;
        terms.push(GroupTerms { name, threshold: of.number(threshold, "threshold")?, custodians });
    }
    let different: BTreeSet<&Sha256Digest> = fingerprints.iter().collect();
    if different.len() != fingerprints.len() {
        return Err(of.wrong("groups"));
    }
    Ok((terms, fingerprints))
}

/// As keys are named in the agent.
pub(crate) fn is_key_name(text: &str) -> bool {
    let fine = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    (1..=100).contains(&text.len()) && text.bytes().all(fine)
}

const MEMBERS: [&str; 15] = [
    "type",
    "version",
    "key_name",
    "sequence",
    "made_at",
    "kind",
    "keyid",
    "key",
    "set_id",
    "identifier",
    "extendable",
    "iteration_exponent",
    "group_threshold",
    "groups",
    "previous",
];
