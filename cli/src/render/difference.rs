//! A difference as people confirm it: everything that signing would change, digests in full.

use std::collections::BTreeMap;
use std::fmt::Display;

use tuf::diff::{Delegation, Difference, MetaChange, RoleKey, TargetChange};
use tuf::time::UtcTime;

use super::{Style, count, expiry, size, visible};

/// Names of keys by keyid, for those that have one here.
pub(crate) type KeyNames = BTreeMap<String, String>;

/// Several lines, the first naming role and version step; `now` in seconds since 1970.
pub(crate) fn difference(diff: &Difference, names: &KeyNames, style: Style, now: i64) -> String {
    let mut lines = Lines { out: String::new(), style };
    let step = match diff.from_version {
        Some(from) if from == diff.to_version => format!("v{from}"),
        Some(from) => format!("v{from} → v{}", diff.to_version),
        None => format!("v{} (new)", diff.to_version),
    };
    let unchanged = if diff.only_renews() { " · nothing but version and expiry" } else { "" };
    lines.push(&format!("{} {step}{unchanged}", style.bold(visible(&diff.role))));
    lines.push(&format!("  expires {}", expires(diff, now)));
    lines.push(&format!("  sha256  {}", visible(&diff.sha256)));
    for key in &diff.keys_added {
        lines.add(key_line(key, names));
    }
    for key in &diff.keys_removed {
        lines.remove(key_line(key, names));
    }
    for change in &diff.thresholds {
        let role = visible(&change.role);
        match change.from {
            Some(from) => lines.change(format!("threshold of {role}: {from} → {}", change.to)),
            None => lines.add(format!("threshold of {role}: {}", change.to)),
        }
    }
    delegations(&mut lines, diff, names);
    for entry in &diff.meta {
        meta(&mut lines, entry);
    }
    if let Some(consistent) = diff.consistent_snapshot {
        lines.change(format!("consistent_snapshot: {consistent}"));
    }
    targets(&mut lines, diff);
    for member in &diff.other {
        lines.change(format!("member {}", visible(member)));
    }
    lines.out
}

struct Lines {
    out: String,
    style: Style,
}

impl Lines {
    fn push(&mut self, line: &str) {
        self.out.push_str(line);
        self.out.push('\n');
    }

    fn add(&mut self, what: impl Display) {
        self.push(&format!("  {} {what}", self.style.green("+")));
    }

    fn remove(&mut self, what: impl Display) {
        self.push(&format!("  {} {what}", self.style.red("-")));
    }

    fn change(&mut self, what: impl Display) {
        self.push(&format!("  {} {what}", self.style.yellow("~")));
    }
}

fn expires(diff: &Difference, now: i64) -> String {
    let to = away(&diff.to_expires, now);
    match diff.from_expires.as_deref().filter(|from| *from != diff.to_expires) {
        Some(from) => format!("{to}, was {}", visible(from)),
        None => to,
    }
}

/// A time with how far away it is.
fn away(text: &str, now: i64) -> String {
    match text.parse::<UtcTime>() {
        Ok(time) => format!("{text} ({})", expiry(time.unix(), now)),
        Err(_) => visible(text).into_owned(),
    }
}

fn key_line(key: &RoleKey, names: &KeyNames) -> String {
    let name = names.get(&key.keyid).map(|name| format!("{} ", visible(name))).unwrap_or_default();
    let own = key.own_keyid.as_ref().map(|own| format!(" (another key: its own keyid is {})", visible(own)));
    let (role, kind, keyid) = (visible(&key.role), visible(&key.kind), visible(&key.keyid));
    format!("key of {role}: {name}{kind} {keyid}{}", own.unwrap_or_default())
}

fn delegations(lines: &mut Lines, diff: &Difference, names: &KeyNames) {
    for delegation in &diff.delegations_added {
        lines.add(format!("delegation {}", delegation_text(delegation, names)));
    }
    for changed in &diff.delegations_changed {
        let moved = if changed.moved { " · another place in the order" } else { "" };
        lines.change(format!("delegation {}{moved}", delegation_text(&changed.to, names)));
        lines.push(&format!("      was {}", delegation_text(&changed.from, names)));
    }
    for delegation in &diff.delegations_removed {
        lines.remove(format!("delegation {}", delegation_text(delegation, names)));
    }
}

fn delegation_text(delegation: &Delegation, names: &KeyNames) -> String {
    let scope = if let Some(bins) = delegation.succinct_bins {
        format!("{} by hash", count(bins, "bin"))
    } else if delegation.paths.is_empty() && !delegation.path_hash_prefixes.is_empty() {
        format!("paths whose hash begins with {}", joined(&delegation.path_hash_prefixes))
    } else {
        format!("paths {}", joined(&delegation.paths))
    };
    let keys = delegation.keyids.iter().map(|keyid| match names.get(keyid) {
        // A name is what somebody noted: the keyid is what counts.
        Some(name) => format!("{} {}", visible(name), super::short_keyid(keyid)),
        None => super::short_keyid(keyid),
    });
    let keys = keys.collect::<Vec<_>>().join(", ");
    let terminating = if delegation.terminating { " · terminating" } else { "" };
    format!(
        "{}: {scope} · {} of {} ({keys}){terminating}",
        visible(&delegation.name),
        delegation.threshold,
        count(u64::try_from(delegation.keyids.len()).unwrap_or(u64::MAX), "key"),
    )
}

fn joined(texts: &[String]) -> String {
    texts.iter().map(|text| visible(text)).collect::<Vec<_>>().join(", ")
}

fn meta(lines: &mut Lines, entry: &MetaChange) {
    let role = visible(&entry.role);
    match (entry.from, entry.to) {
        (Some(from), Some(to)) => lines.change(format!("lists {role} v{from} → v{to}")),
        (None, Some(to)) => lines.add(format!("lists {role} v{to}")),
        (Some(from), None) => lines.remove(format!("lists {role} v{from} no more")),
        (None, None) => {}
    }
}

fn targets(lines: &mut Lines, diff: &Difference) {
    for target in &diff.targets_added {
        lines.add(target_text(target));
        if target.other_changed {
            lines.push("      with custom data");
        }
    }
    for target in &diff.targets_changed {
        lines.change(target_text(target));
        if let Some(was) = &target.was {
            let hashes = hashes_text(&was.hashes);
            lines.push(&format!("      was {} {hashes}", length(was.length)));
        }
        if target.other_changed {
            lines.push("      and its custom data");
        }
    }
    for target in &diff.targets_removed {
        lines.remove(target_text(target));
    }
    let counts = diff.targets_count;
    let listed = [&diff.targets_added, &diff.targets_changed, &diff.targets_removed]
        .iter()
        .map(|list| u64::try_from(list.len()).unwrap_or(u64::MAX))
        .fold(0, u64::saturating_add);
    let all = counts.added.saturating_add(counts.changed).saturating_add(counts.removed);
    if all > listed {
        lines.push(&format!(
            "  … and {}, not listed here: tufctl diff DIR lists them all",
            count(all.saturating_sub(listed), "more change")
        ));
    }
    if all > 1 {
        lines.push(&format!(
            "  targets: {} added, {} changed, {} removed, {} in all",
            counts.added, counts.changed, counts.removed, counts.total
        ));
    }
}

fn target_text(target: &TargetChange) -> String {
    format!("target {} {} {}", visible(&target.path), length(target.length), hashes_text(&target.hashes))
}

/// Exact, and for the eye where that is not the same.
fn length(bytes: u64) -> String {
    if bytes < 1024 { format!("{bytes} B") } else { format!("{bytes} B ({})", size(bytes)) }
}

fn hashes_text(hashes: &BTreeMap<String, String>) -> String {
    let texts = hashes.iter().map(|(name, hex)| format!("{} {}", visible(name), visible(hex)));
    texts.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::{KeyNames, Style, difference};
    use tuf::diff::Difference;

    #[test]
    fn everything_that_changes_is_said_and_others_text_cannot_forge_it() {
        let diff: Difference = serde_json::from_value(serde_json::json!({
            "role": "targets", "from_version": 6, "to_version": 7,
            "from_expires": "2026-11-01T00:00:00Z", "to_expires": "2027-01-30T00:00:00Z", "sha256": "5be0",
            "thresholds": [{"role": "docs", "from": 1, "to": 2}],
            "keys_added": [{"role": "docs", "keyid": "77aa", "type": "ed25519"}],
            "delegations_added": [{"name": "docs", "paths": ["docs/*"], "keyids": ["77aa"], "threshold": 2}],
            "targets_added": [{"path": "app/\u{202e}gz.exe", "length": 2048, "hashes": {"sha256": "ab"},
                "other_changed": true}],
            "targets_changed": [{"path": "b", "length": 1, "hashes": {"sha256": "cd"},
                "was": {"length": 2, "hashes": {"sha256": "ef"}}, "other_changed": true}],
            "targets_removed": [{"path": "c", "length": 3, "hashes": {"sha256": "01"}}],
            "targets_count": {"added": 1, "changed": 1, "removed": 4, "total": 9},
        }))
        .unwrap();
        let names = KeyNames::from([("77aa".into(), "carol".into())]);
        let text = difference(&diff, &names, Style::new(false), 1_795_219_200);
        assert_eq!(
            text,
            "targets v6 → v7\n\
             \x20 expires 2027-01-30T00:00:00Z (in 70 days), was 2026-11-01T00:00:00Z\n\
             \x20 sha256  5be0\n\
             \x20 + key of docs: carol ed25519 77aa\n\
             \x20 ~ threshold of docs: 1 → 2\n\
             \x20 + delegation docs: paths docs/* · 2 of 1 key (carol 77aa)\n\
             \x20 + target app/\\u{202e}gz.exe 2048 B (2.0 KiB) sha256 ab\n\
             \x20     with custom data\n\
             \x20 ~ target b 1 B sha256 cd\n\
             \x20     was 2 B sha256 ef\n\
             \x20     and its custom data\n\
             \x20 - target c 3 B sha256 01\n\
             \x20 … and 3 more changes, not listed here: tufctl diff DIR lists them all\n\
             \x20 targets: 1 added, 1 changed, 4 removed, 9 in all\n"
        );
    }
}
