//! Who must sign a role, and who has.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use tuf::key::{Key, KeyId};
use tuf::metadata::Metadata;
use tuf::role::{RoleKeys, RoleKind, RoleName};
use tuf::verify::check_signatures;
use tuf::word;

use super::Workspace;
use crate::error::Failure;
use crate::render::visible;

/// One set of keys whose threshold a role must meet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Authority {
    /// Whose keys they are: root, or a role that delegates.
    pub(crate) by: RoleName,
    /// The keys by the keyid that the authority gives them.
    pub(crate) keys: BTreeMap<KeyId, Key>,
    /// Which of them, and how many.
    pub(crate) role: RoleKeys,
}

impl Authority {
    /// The key of a keyid, when it is one of the role's.
    pub(crate) fn key(&self, keyid: &KeyId) -> Option<&Key> {
        self.role.contains(keyid).then(|| self.keys.get(keyid))?
    }

    /// The keys that a root or a delegating role gives to another one.
    pub(crate) fn of(file: &Metadata, role: &RoleName) -> Option<Self> {
        match file.as_root() {
            Some(_) => role.is_top_level().then(|| Self::of_root(file, role.kind()))?,
            None => Self::of_parent(&RoleKind::Targets.role(), file, role),
        }
    }

    /// Whether this keyid is one of the role's.
    pub(crate) fn has(&self, keyid: &KeyId) -> bool {
        self.role.contains(keyid)
    }

    /// A keyid under which a key of the role stands a second time, if there is one: the one that is not its own.
    pub(crate) fn counted_twice(&self) -> Option<&KeyId> {
        let mut seen: Vec<(&tuf::key::PublicKey, &KeyId)> = Vec::new();
        for keyid in &self.role.keyids {
            let Some(key) = self.keys.get(keyid) else { continue };
            let Ok(public) = key.public_key() else { continue };
            if let Some((_, first)) = seen.iter().find(|(known, _)| *known == public) {
                return Some(if *keyid == key.computed_keyid() { first } else { keyid });
            }
            seen.push((public, keyid));
        }
        None
    }

    pub(super) fn of_root(root: &Metadata, kind: RoleKind) -> Option<Self> {
        let view = root.as_root()?;
        let by = RoleKind::Root.role();
        Some(Self { by, keys: view.keys.clone(), role: view.role(kind).clone() })
    }

    pub(super) fn of_parent(by: &RoleName, metadata: &Metadata, role: &RoleName) -> Option<Self> {
        let delegations = metadata.as_targets()?.delegations.as_ref()?;
        let role = delegations.role_keys(role)?.clone();
        // Bins may be many and share their keys: only those of the role are taken along.
        let keys = role.keyids.iter().filter_map(|id| Some((id.clone(), delegations.keys.get(id)?.clone())));
        Some(Self { by: by.clone(), keys: keys.collect(), role })
    }
}

/// How far a role's signatures are.
#[derive(Debug, Clone, Default)]
pub(crate) struct SignatureState {
    /// Keyids whose signatures count somewhere.
    pub(crate) signed_by: Vec<KeyId>,
    /// Keyids that could still sign where signatures are missing.
    pub(crate) missing: Vec<KeyId>,
    /// Signatures where most are missing.
    pub(crate) have: u32,
    /// Signatures needed there.
    pub(crate) need: u32,
    /// Whether it can be published: every threshold is met, but for those by which clients cannot use it now either.
    pub(crate) met: bool,
    /// All keyids of the role: of root by the newest one, of others by all who have a say.
    pub(crate) keyids: Vec<KeyId>,
    /// One for each who has a say: the root before and the new one, every parent.
    pub(crate) parts: Vec<Part>,
}

impl SignatureState {
    /// Whether it could be published if these thresholds were met: one by which clients find it, and every one by which
    /// they find it now.
    pub(crate) fn would_meet(&self, met: impl Fn(&Part) -> bool) -> bool {
        self.parts.iter().any(&met) && self.parts.iter().all(|part| part.closed || met(part))
    }

    /// " for left", where each parent has keys of its own for the role.
    pub(crate) fn whose(&self) -> String {
        if !self.by_parents() {
            return String::new();
        }
        let names: Vec<_> = self.wanted().map(|part| visible(part.by.as_str())).collect();
        format!(" for {}", names.join(" and "))
    }

    /// Whether several parents delegate to it, and not with the same keys.
    pub(crate) fn by_parents(&self) -> bool {
        let same = |(one, two): (&Part, &Part)| (&one.keyids, one.need) == (&two.keyids, two.need);
        self.parts.iter().all(|part| part.by.kind() == RoleKind::Targets)
            && !self.parts.iter().zip(self.parts.iter().skip(1)).all(same)
    }

    /// Of a root whose keys, or their number, are not those of the root before it: what each of the two asks for.
    pub(crate) fn of_two_roots(&self) -> Option<(&Part, &Part)> {
        let [before, own] = self.parts.as_slice() else { return None };
        ((&before.keyids, before.need) != (&own.keyids, own.need)).then_some((before, own))
    }

    /// The part where most signatures are missing.
    fn shown(&self) -> Option<&Part> {
        self.wanted().rev().max_by_key(|part| part.lacking())
    }

    /// Of how many keys those that are needed there must be.
    pub(crate) fn needed_of(&self) -> usize {
        self.shown().map_or(self.keyids.len(), |part| part.keyids.len())
    }

    /// Whose signatures it waits for; where all ways to it are closed, of any one of them.
    pub(crate) fn wanted(&self) -> impl DoubleEndedIterator<Item = &Part> {
        let only_closed = !self.parts.iter().any(|part| part.met() || part.is_waited_for());
        self.parts.iter().filter(move |part| part.is_waited_for() || (only_closed && !part.met()))
    }
}

/// How far a role's signatures are by one authority.
#[derive(Debug, Clone)]
pub(crate) struct Part {
    /// Whose keys they are.
    pub(crate) by: RoleName,
    /// All keyids that it gives to the role.
    pub(crate) keyids: Vec<KeyId>,
    /// Keyids whose signatures count.
    pub(crate) signed_by: Vec<KeyId>,
    /// Keyids that could still sign; also those whose signature there is no good one.
    pub(crate) missing: Vec<KeyId>,
    /// Signatures that count.
    pub(crate) have: u32,
    /// Signatures needed.
    pub(crate) need: u32,
    /// Clients that come by it cannot use what is published either, and nobody changes that: it is not waited for.
    pub(crate) closed: bool,
}

impl Part {
    fn new(metadata: &Metadata, authority: &Authority) -> Self {
        let report = check_signatures(metadata, &authority.keys, &authority.role);
        Self {
            by: authority.by.clone(),
            keyids: authority.role.keyids.clone(),
            have: report.have(),
            need: report.need,
            missing: report.missing.iter().chain(&report.invalid).cloned().collect(),
            signed_by: report.signed_by,
            closed: false,
        }
    }

    /// As `--json` has it.
    pub(crate) fn json(&self) -> Value {
        let texts = |ids: &[KeyId]| ids.iter().map(ToString::to_string).collect::<Vec<_>>();
        json!({
            "parent": self.by.as_str(),
            "threshold": self.need,
            "have": self.have,
            "keyids": texts(&self.keyids),
            "signed_by": texts(&self.signed_by),
            "missing": if self.met() { Vec::new() } else { texts(&self.missing) },
            "complete": self.met(),
            "usable_before": !self.closed,
        })
    }

    /// Whether its threshold is met.
    pub(crate) fn met(&self) -> bool {
        self.lacking() == 0
    }

    /// How many signatures are missing.
    pub(crate) fn lacking(&self) -> u32 {
        self.need.saturating_sub(self.have)
    }

    /// Whether it stands in the way of publishing.
    pub(crate) fn is_waited_for(&self) -> bool {
        !self.met() && !self.closed
    }
}

impl Workspace {
    /// Every set of keys whose threshold a role's current file must meet: of a root those of the root before and its own,
    /// of a delegated role those of every parent. Staged authorities go before published ones.
    pub(crate) fn authorities(&self, role: &RoleName) -> Result<Vec<Authority>, Failure> {
        let root_role = RoleKind::Root.role();
        if role.kind() == RoleKind::Root {
            let published = self.published(&root_role)?;
            let staged = self.staged(&root_role)?;
            let both = published.iter().chain(&staged);
            return Ok(both.filter_map(|root| Authority::of_root(root, RoleKind::Root)).collect());
        }
        if role.is_top_level() {
            let root = self.current(&root_role)?;
            return Ok(root.iter().filter_map(|root| Authority::of_root(root, role.kind())).collect());
        }
        let parents = self.parents(role)?;
        Ok(parents.iter().filter_map(|(name, parent)| Authority::of_parent(name, parent, role)).collect())
    }

    /// How far the signatures of a role's current file are.
    pub(crate) fn signatures(&self, role: &RoleName) -> Result<SignatureState, Failure> {
        match self.current(role)? {
            Some(metadata) => self.signatures_on(role, &metadata),
            None => Ok(SignatureState::default()),
        }
    }

    /// How far the signatures of some file of a role are, by those who have a say now.
    pub(super) fn signatures_on(
        &self,
        role: &RoleName,
        metadata: &Metadata,
    ) -> Result<SignatureState, Failure> {
        let authorities = self.authorities(role)?;
        let mut parts: Vec<Part> = authorities.iter().map(|one| Part::new(metadata, one)).collect();
        // What some clients can use does not wait for a way that is closed to the others.
        if role.kind() == RoleKind::Targets && parts.len() > 1 {
            for (part, authority) in parts.iter_mut().zip(&authorities) {
                part.closed = !part.met() && self.is_closed(role, authority)?;
            }
        }
        Ok(state(role, parts))
    }

    /// Whether what is published of a role lacks signatures by an authority that stays as it is: the search of clients that
    /// come by it ends there with an error (specification 5.6.3), before and after.
    pub(crate) fn is_closed(&self, role: &RoleName, authority: &Authority) -> Result<bool, Failure> {
        let (parent, file) = (self.published(&authority.by)?, self.published(role)?);
        let before = parent.as_ref().and_then(|parent| Authority::of_parent(&authority.by, parent, role));
        Ok(before.as_ref() == Some(authority) && file.is_some_and(|file| !Part::new(&file, authority).met()))
    }

    /// Whether nobody could use what is published of a role before, and nothing that is staged changes that.
    pub(crate) fn was_lost(&self, role: &RoleName) -> Result<bool, Failure> {
        for authority in self.authorities(role)? {
            if !self.is_closed(role, &authority)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Staged files that say which keys a role has, outermost first: what the agent needs to judge it by.
    pub(crate) fn staged_authorities(&self, role: &RoleName) -> Result<Vec<(RoleName, Metadata)>, Failure> {
        let root = RoleKind::Root.role();
        if *role == root {
            return Ok(Vec::new());
        }
        let mut found: Vec<(RoleName, Metadata)> =
            self.staged(&root)?.map(|m| (root, m)).into_iter().collect();
        if role.is_top_level() {
            return Ok(found);
        }
        let (mut above, mut names) = (BTreeSet::from([role.clone()]), Vec::new());
        let mut waiting = vec![role.clone()];
        while let Some(at) = waiting.pop() {
            for (parent, _) in self.parents(&at)? {
                if above.insert(parent.clone()) {
                    names.push(parent.clone());
                    waiting.push(parent);
                }
            }
        }
        for name in names.into_iter().rev() {
            found.extend(self.staged(&name)?.map(|metadata| (name, metadata)));
        }
        Ok(found)
    }

    /// Whether every staged role but snapshot and timestamp meets all its thresholds.
    pub(crate) fn complete(&self) -> Result<bool, Failure> {
        for role in self.staged_roles()? {
            let online = matches!(role.kind(), RoleKind::Snapshot | RoleKind::Timestamp);
            if !online && !self.signatures(&role)?.met {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// How a role comes to enough keys; `again` is a keyid of a key that it has under another one already.
pub(crate) fn give_keys(role: &RoleName, again: Option<&KeyId>, dir: &str) -> String {
    let again = again.map(|keyid| word::word(keyid.as_str()));
    if role.is_top_level() {
        return match again {
            Some(again) => format!(
                "one key stands there under two keyids; give it another in its place: tufctl root replace-key {dir} {role} --old {again} --new KEY"
            ),
            None => format!("give it one more: tufctl root add-key {dir} {role} --key KEY"),
        };
    }
    let (role, edit) = (role.as_str(), format!("tufctl delegation edit {dir}"));
    match again {
        Some(again) => format!(
            "one key stands there under two keyids; give it another in its place: {edit} {}",
            word::before(role, &format!("--add-key KEY --remove-key {again}"))
        ),
        None => format!("give it one more: {edit} {}", word::before(role, "--add-key KEY")),
    }
}

/// What the authorities of a role say together.
pub(super) fn state(role: &RoleName, parts: Vec<Part>) -> SignatureState {
    let mut all = SignatureState { parts, ..SignatureState::default() };
    all.met = all.would_meet(|part| part.met());
    // Of a root that has all its signatures its own keys are told.
    let shown = all.shown().or_else(|| all.parts.iter().rev().find(|part| part.met()));
    (all.have, all.need) = shown.map_or((0, 0), |part| (part.have, part.need));
    let (mut missing, mut signed_by, mut keyids) = (Vec::new(), Vec::new(), Vec::new());
    all.wanted().for_each(|part| extend(&mut missing, &part.missing));
    for part in &all.parts {
        extend(&mut signed_by, &part.signed_by);
        if role.kind() == RoleKind::Root {
            keyids.clone_from(&part.keyids);
        } else {
            extend(&mut keyids, &part.keyids);
        }
    }
    (all.missing, all.signed_by, all.keyids) = (missing, signed_by, keyids);
    all
}

/// The signatures of `metadata` against these authorities, none of which is let off.
pub(super) fn plain_state(role: &RoleName, metadata: &Metadata, authorities: &[Authority]) -> SignatureState {
    state(role, authorities.iter().map(|one| Part::new(metadata, one)).collect())
}

fn extend(list: &mut Vec<KeyId>, more: &[KeyId]) {
    for keyid in more {
        if !list.contains(keyid) {
            list.push(keyid.clone());
        }
    }
}
