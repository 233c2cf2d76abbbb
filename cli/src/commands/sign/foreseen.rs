//! What is refused whatever is typed or touched is refused before anybody is asked for that, over all roles of the run.

use tuf::role::{RoleKind, RoleName};
use tufagent_proto::v1;

use super::Session;
use super::ours::Candidate;
use super::round::MOST_OPEN;
use crate::error::{Failure, reason};
use crate::render::visible;

/// A role, and the keys of ours that are to sign it.
type Wanted = (RoleName, Vec<Candidate>);

impl Session<'_> {
    /// Nobody types a PIN or touches a card for one role where another one is refused anyway.
    ///
    /// # Errors
    /// What the agent says of one of these roles, or would say of snapshot or timestamp, which are made once the others are
    /// signed.
    pub(super) fn foresee_all(&self, roles: &[RoleName]) -> Result<(), Failure> {
        if !self.ours.may_ask_people() {
            return Ok(());
        }
        let mut wanted = Vec::new();
        for role in roles {
            wanted.push((role.clone(), self.to_sign(role)?));
        }
        let keys = || wanted.iter().flat_map(|(_, keys)| keys);
        let types = keys().any(|key| !self.ours.can_sign(key));
        if !types && !keys().any(|key| self.ours.is_card(&key.token)) {
            return Ok(());
        }
        self.foresee_shared(&wanted)?;
        if types && wanted.len() > 1 {
            // The others are judged when their turn comes.
            for (role, keys) in wanted.iter().filter(|(_, keys)| !keys.is_empty()).take(MOST_OPEN) {
                self.foresee_by(role, keys)?;
            }
        }
        Ok(())
    }

    /// The keys of ours that sign a role, as far as that is known before anybody was asked: those that are ready, and of
    /// locked tokens those that are asked for first.
    fn to_sign(&self, role: &RoleName) -> Result<Vec<Candidate>, Failure> {
        if self.workspace.signatures(role)?.met && !self.selection.names_keys() {
            return Ok(Vec::new());
        }
        let needs = self.needs(role)?;
        let is_needed =
            |key: &Candidate| needs.iter().any(|need| need.first().any(|token| *token == key.token));
        let mut keys = self.candidates(role)?;
        keys.retain(|key| !self.ours.split(&key.token) && (self.ours.can_sign(key) || is_needed(key)));
        Ok(keys)
    }

    /// Keys that have signed for another repository, where nobody has said that they are shared.
    fn foresee_shared(&self, wanted: &[Wanted]) -> Result<(), Failure> {
        if self.args.shared_key {
            return Ok(());
        }
        let known = self.agent.repositories()?;
        let others: Vec<_> = known.iter().filter(|other| other.id != self.record.id).collect();
        for (_, keys) in wanted {
            self.check_not_shared(keys, &others)?;
        }
        let keys_of = wanted.iter().map(|(role, keys)| (role, keys.as_slice()));
        if self.args.no_publish || !self.complete_with(keys_of)? || !self.may_publish()? {
            return Ok(());
        }
        for role in [RoleKind::Snapshot.role(), RoleKind::Timestamp.role()] {
            if self.selection.role(&role) {
                let authorities = self.workspace.authorities(&role)?;
                let mut keys = self.ours.candidates(&authorities, &[], self.selection.of(&role));
                keys.retain(|key| self.ours.can_sign(key));
                self.check_not_shared(&keys, &others)?;
            }
        }
        Ok(())
    }

    fn check_not_shared(&self, keys: &[Candidate], others: &[&v1::Repository]) -> Result<(), Failure> {
        for key in keys {
            let Some(print) = self.ours.fingerprint(&key.name) else { continue };
            if self.record.used_keys.contains(&print) {
                continue;
            }
            if let Some(other) = others.iter().find(|other| other.used_keys.contains(&print)) {
                let [own, other, name] =
                    [&self.record.name, &other.name, &key.name].map(|text| visible(text));
                // As the agent says it.
                let message = format!(
                    "{own}: the key {name} has signed for the repository {other}, which has another root chain"
                );
                return Err(Failure::new(reason::SHARED_KEY, message)
                    .remedy("use a key of its own, or say --shared-key")
                    .detail("key", key.name.as_str())
                    .detail("repository", self.record.name.as_str()));
            }
        }
        Ok(())
    }

    /// Nobody types a secret for what the agent will refuse whatever is typed: it judges before it looks whether tokens are
    /// locked.
    pub(super) fn foresee(&self, role: &RoleName, token: &v1::Token) -> Result<(), Failure> {
        let mut keys = self.candidates(role)?;
        keys.retain(|key| self.ours.can_sign(key) || key.token == token.name);
        self.foresee_by(role, &keys)
    }

    /// What the agent says of a role that these keys are to sign, where that is what it says whoever unlocks them.
    ///
    /// # Errors
    /// Those of [`FORESEEN`].
    pub(super) fn foresee_by(&self, role: &RoleName, keys: &[Candidate]) -> Result<(), Failure> {
        if self.workspace.staged(role)?.is_none() {
            return Ok(());
        }
        match self.open(role, keys) {
            Err(failure) if FORESEEN.contains(&failure.reason()) => Err(failure),
            _ => Ok(()),
        }
    }
}

/// What is refused whoever unlocks.
const FORESEEN: &[&str] = &[
    reason::SHARED_KEY,
    reason::WATERMARK,
    reason::ORIGIN,
    reason::EXPIRY,
    reason::POLICY,
    reason::VERSION_JUMP,
    reason::SNAPSHOT_INVALID,
    reason::METADATA_INVALID,
    reason::TARGET_NAME,
];
