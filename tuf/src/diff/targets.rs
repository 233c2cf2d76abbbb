//! Targets that come, change and go. What stands at the same place on both sides is compared as text, so that one
//! change among a hundred thousand costs one walk.

use std::collections::{BTreeMap, HashMap};

use super::{Difference, TargetBefore, TargetChange};
use crate::canonical::canonical;
use crate::json::Value;
use crate::metadata::{TargetFile, Targets};

/// At most `most` targets of each kind of change are listed.
pub(super) fn compare(out: &mut Difference, most: usize, old: Option<Value<'_>>, new: Option<Value<'_>>) {
    let mut befores = old.map(Value::members).into_iter().flatten();
    let mut afters = new.map(Value::members).into_iter().flatten();
    out.targets_count.total = new.map_or(0, |n| u64::try_from(n.len()).unwrap_or(u64::MAX));
    let mut gone: HashMap<Vec<u8>, Value<'_>> = HashMap::new();
    let mut come: Vec<(Value<'_>, Value<'_>)> = Vec::new();
    loop {
        match (befores.next(), afters.next()) {
            (None, None) => break,
            (Some(b), Some(a)) if b.0.raw() == a.0.raw() && b.1.raw() == a.1.raw() => {}
            (before, after) => {
                gone.extend(before.map(|(name, value)| (name.decoded().into_owned(), value)));
                come.extend(after);
            }
        }
    }
    for (name, value) in come {
        match gone.remove(name.decoded().as_ref()) {
            Some(before) => changed(out, most, name, before, value),
            None => {
                out.targets_count.added += 1;
                push(&mut out.targets_added, most, || {
                    let mut change = change(name, value);
                    change.other_changed = !rest(value).is_empty();
                    change
                });
            }
        }
    }
    let gone: BTreeMap<_, _> = gone.into_iter().collect();
    for (name, value) in gone {
        out.targets_count.removed += 1;
        let path = String::from_utf8_lossy(&name).into_owned();
        push(&mut out.targets_removed, most, || described(path, value));
    }
}

/// Targets that come, or whose text changes.
pub(super) fn come(old: Option<&Targets>, new: Option<&Targets>) -> Vec<(String, TargetFile<'static>)> {
    let Some(new) = new else { return Vec::new() };
    let mut befores = old.map(|old| old.value().members()).into_iter().flatten().peekable();
    let is_new = |(name, value): &(Value<'_>, Value<'_>)| {
        // Mostly the next one of the old version is the same: both are walked side by side.
        let alike =
            |before: &(Value<'_>, Value<'_>)| before.0.raw() == name.raw() && before.1.raw() == value.raw();
        if befores.peek().is_some_and(alike) {
            befores.next();
            return false;
        }
        // One that stands where it stood, and changes: both go on behind it.
        if befores.next_if(|before| before.0.raw() == name.raw()).is_some() {
            return true;
        }
        let path = name.as_str().unwrap_or_default();
        match old.and_then(|old| old.find_value(&path)) {
            Some(before) => {
                // Both have the name, so they go on behind it; one that went or moved is passed by on the way.
                while let Some(passed) = befores.next_if(|b| b.0.span().start <= before.span().start) {
                    if passed.1.index() == before.index() {
                        break;
                    }
                }
                before.raw() != value.raw()
            }
            None => true,
        }
    };
    let read = |(name, value): (Value<'_>, Value<'_>)| {
        Some((name.as_str()?.into_owned(), TargetFile::read(value).ok()?.into_owned()))
    };
    new.value().members().filter(is_new).filter_map(read).collect()
}

fn changed(out: &mut Difference, most: usize, name: Value<'_>, before: Value<'_>, after: Value<'_>) {
    if before.raw() == after.raw() || canonical(before) == canonical(after) {
        return;
    }
    out.targets_count.changed += 1;
    push(&mut out.targets_changed, most, || {
        let mut change = change(name, after);
        change.was = Some(TargetBefore { length: length(before), hashes: hashes(before) });
        change.other_changed = rest(before) != rest(after);
        change
    });
}

fn push(list: &mut Vec<TargetChange>, most: usize, change: impl FnOnce() -> TargetChange) {
    if list.len() < most {
        list.push(change());
    }
}

fn change(name: Value<'_>, value: Value<'_>) -> TargetChange {
    described(name.as_str().unwrap_or_default().into_owned(), value)
}

fn described(path: String, value: Value<'_>) -> TargetChange {
    TargetChange { path, length: length(value), hashes: hashes(value), was: None, other_changed: false }
}

fn length(value: Value<'_>) -> u64 {
    value.get("length").and_then(Value::as_u64).unwrap_or_default()
}

fn hashes(value: Value<'_>) -> BTreeMap<String, String> {
    let members = value.get("hashes").map(Value::members).into_iter().flatten();
    members
        .filter_map(|(name, hex)| Some((name.as_str()?.into_owned(), hex.as_str()?.into_owned())))
        .collect()
}

/// What an entry says beside length and digests, in canonical form.
fn rest(value: Value<'_>) -> BTreeMap<String, Vec<u8>> {
    let named = value.members().filter_map(|(name, value)| Some((name.as_str()?.into_owned(), value)));
    named.filter(|(name, _)| name != "length" && name != "hashes").map(|(n, v)| (n, canonical(v))).collect()
}
