//! What a staged role lacks, for programs and in words.

use serde_json::{Value, json};
use tuf::key::KeyId;
use tuf::role::RoleKind;

use super::key_line::{HOW, KeyLine};
use super::outcome::RoleLine;
use crate::render::{count, visible};
use crate::workspace::{Part, give_keys};

impl RoleLine {
    /// What it lacks, as `missing` has it: one entry; of a root that waits for keys of the root before and for others of its
    /// own, one for each of them.
    pub(super) fn json(&self) -> Vec<Value> {
        if let Some((before, own)) = self.both() {
            let one = |part: &Part, root: u64| {
                let mut entry = self.entry((part.have, part.need), &part.missing);
                if let Some(members) = entry.as_object_mut() {
                    members.insert("root_version".into(), root.into());
                }
                entry
            };
            return vec![one(before, self.version.saturating_sub(1)), one(own, self.version)];
        }
        let mut missing = self.entry((self.state.have, self.state.need), &self.state.missing);
        if let Some(members) = missing.as_object_mut().filter(|_| self.state.by_parents()) {
            members.insert("parents".into(), self.state.wanted().map(Part::json).collect());
        }
        vec![missing]
    }

    fn entry(&self, (have, need): (u32, u32), missing: &[KeyId]) -> Value {
        let keys: Vec<_> = self.keys.iter().filter(|key| missing.contains(&key.keyid)).collect();
        let mut entry = json!({
            "role": self.role.as_str(),
            "version": self.version,
            "have": have,
            "need": need,
            "keyids": missing.iter().map(KeyId::as_str).collect::<Vec<_>>(),
            "keys": keys.iter().map(|key| key.json()).collect::<Vec<_>>(),
        });
        if let Some(members) = entry.as_object_mut().filter(|_| keys.iter().any(|key| key.collects())) {
            members.insert("how".into(), HOW.into());
        }
        entry
    }

    /// `root needs 1 more signature (bob or carol)`; of a role with several parents who have keys of their own for it, as
    /// much for each of them.
    pub(super) fn needs(&self) -> String {
        if self.state.by_parents() {
            let needs = self.state.wanted().map(|part| {
                let who = self.keys.iter().filter(|key| part.missing.contains(&key.keyid));
                let mut who = who.map(KeyLine::called).collect::<Vec<_>>().join(" or ");
                if part.missing.is_empty() {
                    NO_KEY_LEFT.clone_into(&mut who);
                }
                let more = count(part.lacking().into(), "more signature");
                format!("{more} for {} ({who})", visible(part.by.as_str()))
            });
            let needs = needs.collect::<Vec<_>>().join(" and ");
            return format!("{} needs {needs}", visible(self.role.as_str()));
        }
        if let Some(needs) = self.needs_of_both() {
            return needs;
        }
        let more = u64::from(self.state.need.saturating_sub(self.state.have));
        let who = self.keys.iter().filter(|key| self.state.missing.contains(&key.keyid)).map(KeyLine::called);
        let mut who = who.collect::<Vec<_>>().join(" or ");
        if self.lacks_keys() {
            NO_KEY_LEFT.clone_into(&mut who);
        }
        format!("{} needs {} ({who})", visible(self.role.as_str()), count(more, "more signature"))
    }

    /// Whether all its keys have signed and it needs more than they are.
    pub(super) fn lacks_keys(&self) -> bool {
        !self.state.met && self.state.missing.is_empty()
    }

    /// How that ends, for people.
    pub(super) fn give_keys(&self, dir: &str) -> String {
        give_keys(&self.role, self.again.as_ref(), dir)
    }

    /// How many of which keys it needs: of a root whose keys are not those of the root before it as much for both.
    pub(super) fn needed(&self) -> String {
        let keys = |number: usize| count(u64::try_from(number).unwrap_or(u64::MAX), "key");
        let of = |part: &Part| format!("{} of {}", part.need, keys(part.keyids.len()));
        if self.state.by_parents() {
            let by = |part: &Part| format!("{} by {}", of(part), visible(part.by.as_str()));
            return self.state.parts.iter().map(by).collect::<Vec<_>>().join(", ");
        }
        if let Some((before, own)) = self.state.of_two_roots().filter(|_| self.role.kind() == RoleKind::Root)
        {
            let before_it = self.version.saturating_sub(1);
            return format!("{} of root v{before_it} and {} of its own", of(before), of(own));
        }
        format!("{} of {}", self.state.need, keys(self.state.needed_of()))
    }

    /// Whether it needs just what another one does, by the same words.
    pub(super) fn needs_as(&self, other: &Self) -> bool {
        let need = |line: &Self| {
            let needs = line.needs();
            needs.strip_prefix(&*visible(line.role.as_str())).map(str::to_owned).unwrap_or(needs)
        };
        !self.state.met && !other.state.met && need(self) == need(other)
    }

    /// Of a root that waits for keys of the root before and for others of its own: both.
    pub(super) fn both(&self) -> Option<(&Part, &Part)> {
        let wanted: Vec<_> = self.state.wanted().collect();
        let [before, own] = wanted.as_slice() else { return None };
        (self.role.kind() == RoleKind::Root && before.missing != own.missing).then_some((before, own))
    }

    fn needs_of_both(&self) -> Option<String> {
        let (before, own) = self.both()?;
        let needs = |part: &Part| {
            let who = self.keys.iter().filter(|key| part.missing.contains(&key.keyid)).map(KeyLine::called);
            (count(part.lacking().into(), "more signature"), who.collect::<Vec<_>>().join(" or "))
        };
        let ((before, old), (own, new)) = (needs(before), needs(own));
        Some(format!(
            "root needs {before} by keys of the root before it ({old}) and {own} by its own ({new})"
        ))
    }
}

/// All its keys have signed, and they are too few.
const NO_KEY_LEFT: &str = "and has no key left for it";

/// What several roles need, in one sentence; of many that need the same (bins) the first is named.
pub(super) fn needs_of_all(missing: &[&RoleLine]) -> String {
    let runs = missing.chunk_by(|one, other| one.needs_as(other));
    let said = runs.flat_map(|run| match run {
        [first, rest @ ..] if rest.len() >= MANY_ALIKE => {
            let more = count(u64::try_from(rest.len()).unwrap_or(u64::MAX), "more role");
            vec![format!("{}, and so do {more}", first.needs())]
        }
        run => run.iter().map(|line| line.needs()).collect(),
    });
    said.collect::<Vec<_>>().join("; ")
}

/// So many roles that need the same as the one before are told by their number.
pub(super) const MANY_ALIKE: usize = 4;
