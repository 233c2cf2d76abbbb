//! Rules over one file: its size, its expiry, its text.

use super::{Client, File, Finding, Many, Repository, Severity};
use crate::{
    json::{Kind, Value},
    metadata::{MetaFile, Metadata},
    role::RoleKind,
    time::UtcTime,
};
use unicode_normalization::is_nfc;

/// Sizes over a client's limit, or past 80 % of it.
pub(super) fn size(file: &File, repository: &Repository, found: &mut Vec<Finding>) {
    let kind = file.content.kind();
    let length = file.content.bytes().len();
    let listed = listed(file, repository).is_some_and(|entry| entry.length.is_some());
    for (client, others) in
        [(Client::PythonTuf, &[Client::PythonTuf, Client::TufJs][..]), (Client::Tough, &[Client::Tough])]
    {
        let limit = client.limits().of(kind);
        let near = limit.saturating_mul(4) / 5;
        if length <= near {
            continue;
        }
        // A length that another role lists takes the place of the limit in these two.
        let (severity, more) = match length > limit {
            true if listed && client == Client::PythonTuf => {
                (Severity::Warning, "; they read it only because its length is listed")
            }
            true => (Severity::Error, ": refused"),
            false => (Severity::Warning, ", past 80 %"),
        };
        let message = format!("{length} bytes of {kind} metadata, where the default limit is {limit}{more}");
        let remedy = match kind {
            RoleKind::Targets => {
                "spread the targets over bins: tufctl delegation add DIR NAME --succinct-bins N"
            }
            RoleKind::Snapshot => "use fewer roles; each takes a line in the snapshot",
            _ => "use fewer keys, and take out members that nobody reads",
        };
        found.push(Finding::new("size", severity, file, message).by(others).remedy(remedy));
    }
}

/// What another role lists of this file.
fn listed<'r>(file: &File, repository: &'r Repository) -> Option<&'r MetaFile> {
    match file.content.kind() {
        RoleKind::Snapshot => Some(&repository.timestamp.as_ref()?.content.as_timestamp()?.snapshot),
        RoleKind::Targets => repository.snapshot.as_ref()?.content.as_snapshot()?.meta.get(&file.role),
        _ => None,
    }
}

/// Expired, or soon.
pub(super) fn expiry(file: &File, now: UtcTime, found: &mut Vec<Finding>) {
    let soon = match file.content.kind() {
        RoleKind::Root => 30 * DAY,
        RoleKind::Targets => 14 * DAY,
        RoleKind::Snapshot => DAY,
        RoleKind::Timestamp => DAY / 12,
    };
    let expires = file.content.expires();
    if expires > UtcTime::from_unix(TOUGH_TIME) {
        let message =
            format!("expires at {expires}, and tough reads no time that is later than 9999-12-30T22:00:00Z");
        found.push(
            Finding::new("expiry", Severity::Error, file, message)
                .by(&[Client::Tough])
                .remedy("let it expire earlier: tufctl bump DIR ROLE, then tufctl sign DIR"),
        );
    }
    let (severity, message) = if expires <= now {
        (Severity::Error, format!("expired at {expires}"))
    } else if expires <= now.plus_seconds(soon) {
        (Severity::Warning, format!("expires soon, at {expires}"))
    } else {
        return;
    };
    found.push(Finding::new("expiry", severity, file, message).remedy(
        "renew it, best from a timer: tufctl bump DIR ROLE --if-within 3d, then tufctl sign DIR --yes",
    ));
}

/// The latest time of the library that tough reads times with.
const TOUGH_TIME: i64 = 253_402_207_200;

/// Texts that clients canonicalise differently, members that tough drops.
pub(super) fn text(file: &File, found: &mut Vec<Finding>) {
    let signed = file.content.signed();
    let mut texts = Texts::default();
    texts.walk(signed, 0);
    if let Some(told) = texts.not_nfc.told("text") {
        let message = format!("{told} not in Unicode normal form C: tough signs over another text");
        found.push(
            Finding::new("nfc", Severity::Error, file, message)
                .by(&[Client::Tough])
                .remedy("rename it to its NFC form, and sign the role anew"),
        );
    }
    if let Some(name) = texts.order {
        let message = format!(
            "member \"{name}\" lies beyond U+FFFF beside one between U+E000 and U+FFFF: tuf-js sorts them otherwise"
        );
        found.push(
            Finding::new("member-order", Severity::Error, file, message)
                .by(&[Client::TufJs])
                .remedy("rename one of them"),
        );
    }
    for oddity in file.content.oddities().told() {
        let (rule, clients): (_, &[Client]) = if oddity.spec == "4.5" {
            ("custom", &[Client::Tough])
        } else {
            ("large-integer", &[Client::TufJs, Client::Tough])
        };
        let message = format!("{} {}", file.role, oddity.what);
        found.push(
            Finding::new(rule, Severity::Error, file, message)
                .by(clients)
                .remedy("write it as a text, or as an object, and sign the role anew"),
        );
    }
    dropped_members(&file.content, file, found);
    spec_version(file, found);
    if file.content.as_root().is_some_and(|root| !root.consistent_snapshot) {
        let message =
            "no consistent snapshots: a client that comes while files change sees parts of two states"
                .to_owned();
        found.push(Finding::new("consistent-snapshot", Severity::Note, file, message));
    }
}

fn spec_version(file: &File, found: &mut Vec<Finding>) {
    let version = file.content.spec_version();
    if version.split('.').count() != 3 {
        let message =
            format!("spec_version \"{version}\" is not of the three-part form that the specification gives");
        found.push(
            Finding::new("spec-version", Severity::Note, file, message)
                .remedy("write 1.0.34 at the next version"),
        );
    }
}

/// tough keeps unknown members everywhere but in delegations, so that its canonical form is another one there.
fn dropped_members(content: &Metadata, file: &File, found: &mut Vec<Finding>) {
    let mut empty = Many::default();
    for (path, target) in content.as_targets().into_iter().flat_map(|targets| targets.targets()) {
        let inside = target.custom.as_deref().and_then(|text| text.strip_prefix('{')?.strip_suffix('}'));
        if inside.is_some_and(|inside| inside.trim().is_empty()) {
            empty.note(&path);
        }
    }
    if let Some(told) = empty.told("target") {
        let message = format!(
            "{told} whose `custom` is an empty object: tough drops it, and then the signatures do not verify"
        );
        found.push(
            Finding::new("custom", Severity::Error, file, message)
                .by(&[Client::Tough])
                .remedy("take such a `custom` out, or put something in, and sign the role anew"),
        );
    }
    let Some(delegations) = content.signed().get("delegations") else { return };
    if delegations.get("succinct_roles").is_some() {
        let message = "succinct bins (TAP 15): tough cannot read them".to_owned();
        found.push(
            Finding::new("succinct-bins", Severity::Error, file, message)
                .by(&[Client::Tough])
                .remedy("use path_hash_prefixes bins if users of tough matter"),
        );
    }
    let mut many = Many::default();
    let mut unknown = |of: Value<'_>, known: &[&str]| {
        for (name, _) in of.members() {
            let name = name.as_str().unwrap_or_default();
            if !known.contains(&&*name) {
                many.note(&name);
            }
        }
    };
    unknown(delegations, &["keys", "roles", "succinct_roles"]);
    for role in delegations.get("roles").iter().flat_map(|roles| roles.items()) {
        unknown(role, &["name", "keyids", "threshold", "paths", "path_hash_prefixes", "terminating"]);
    }
    if let Some(told) = many.told("member") {
        let message =
            format!("{told} in the delegations: tough drops it, and then the signatures do not verify");
        found.push(
            Finding::new("unknown-members", Severity::Error, file, message)
                .by(&[Client::Tough])
                .remedy("take such members out of delegations; elsewhere they are fine"),
        );
    }
}

/// What a walk over all texts finds.
#[derive(Default)]
struct Texts {
    not_nfc: Many,
    order: Option<String>,
}

impl Texts {
    fn walk(&mut self, value: Value<'_>, depth: u8) {
        if depth > 64 {
            return;
        }
        let deeper = depth.saturating_add(1);
        match value.kind() {
            Kind::String => self.text(value),
            Kind::Array => value.items().for_each(|item| self.walk(item, deeper)),
            Kind::Object => {
                let (mut high, mut beyond) = (false, None);
                for (name, inner) in value.members() {
                    self.text(name);
                    if !name.raw().is_ascii()
                        && let Some(name) = name.as_str()
                    {
                        high |= name.chars().any(|c| ('\u{e000}'..='\u{ffff}').contains(&c));
                        beyond = beyond
                            .or_else(|| name.chars().any(|c| c > '\u{ffff}').then(|| name.into_owned()));
                    }
                    self.walk(inner, deeper);
                }
                if high && self.order.is_none() {
                    self.order = beyond;
                }
            }
            _ => {}
        }
    }

    fn text(&mut self, value: Value<'_>) {
        // Escapes are ASCII too, so a backslash is looked at as well.
        if value.raw().is_ascii() && !value.raw().contains(&b'\\') {
            return;
        }
        if let Some(text) = value.as_str().filter(|text| !is_nfc(text)) {
            self.not_nfc.note(&text);
        }
    }
}

const DAY: i64 = 86_400;
