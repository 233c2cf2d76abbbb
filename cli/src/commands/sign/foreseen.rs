//! What is refused whatever is typed or touched is refused before anybody is asked for that, over all roles of the run.

use tuf::metadata::Metadata;
use tuf::role::{RoleKind, RoleName};
use tufagent_proto::v1;

use super::Session;
use super::asking::by_role;
use super::online::Fate;
use super::ours::Candidate;
use super::round::{MOST_OPEN, Pending};
use crate::error::{Failure, reason};
use crate::prompt::Terminal;
use crate::render::{typed_path, visible};

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

    /// Keys that serve another repository, where nobody has said that they are shared.
    fn foresee_shared(&self, wanted: &[Wanted]) -> Result<(), Failure> {
        if self.args.shared_key {
            return Ok(());
        }
        let known = self.agent.repositories()?;
        let others: Vec<_> = known.iter().filter(|other| other.id != self.record.id).collect();
        for (_, keys) in wanted {
            self.check_not_shared(keys, &others)?;
        }
        self.foresee_shared_online(wanted)
    }

    /// A root that is signed is not taken back: nothing is signed where a key that the same run needs later is refused. That
    /// is one of snapshot or timestamp, which are made once the others are signed, or of a role that the agent has not
    /// inspected yet.
    ///
    /// # Errors
    /// `SHARED_KEY`.
    pub(super) fn foresee_unseen(
        &self,
        pending: &[Pending<'_>],
        content: &[RoleName],
    ) -> Result<(), Failure> {
        if self.args.shared_key {
            return Ok(());
        }
        let unseen = pending.iter().filter(|role| role.call.is_none()).flat_map(|role| &role.keys);
        let new: Vec<Candidate> = unseen.filter(|key| !self.has_served(key)).cloned().collect();
        if !new.is_empty() {
            let known = self.agent.repositories()?;
            let others: Vec<_> = known.iter().filter(|other| other.id != self.record.id).collect();
            self.check_not_shared(&new, &others)?;
        }
        let by_role = by_role(pending);
        let keys_of = |role| by_role.get(role).map(|pending| pending.keys.clone()).unwrap_or_default();
        let wanted: Vec<Wanted> = content.iter().map(|role| (role.clone(), keys_of(role))).collect();
        self.foresee_shared_online(&wanted)
    }

    /// The same of snapshot and timestamp alone, where the run comes to them once these keys have signed the others.
    fn foresee_shared_online(&self, content: &[Wanted]) -> Result<(), Failure> {
        let online = [RoleKind::Snapshot.role(), RoleKind::Timestamp.role()];
        let mut new = false;
        for role in &online {
            new |= self.signers_online(role)?.0.iter().any(|key| !self.has_served(key));
        }
        // Nearly always they have signed for this repository before: that costs nothing.
        if !new || self.args.no_publish || !self.completes(content)? {
            return Ok(());
        }
        let known = self.agent.repositories()?;
        let others: Vec<_> = known.iter().filter(|other| other.id != self.record.id).collect();
        let roles: Vec<RoleName> = content.iter().map(|(role, _)| role.clone()).collect();
        let is_idle = content.iter().all(|(_, keys)| keys.is_empty());
        for (role, fate) in self.plan_reached(is_idle, &roles)? {
            let is_left = match fate {
                Fate::Nothing => false,
                Fate::Kept => !self.workspace.signatures(&role)?.met,
                Fate::Made => true,
            };
            if !is_left {
                continue;
            }
            let (keys, suffice) = self.signers_online(&role)?;
            self.check_not_shared(&keys, &others).map_err(|failure| self.bound_by_root(failure))?;
            // The timestamp waits for others to sign the snapshot.
            if !suffice {
                break;
            }
        }
        Ok(())
    }

    /// Whether these roles have their thresholds once these keys have signed, and the shares of split ones that people here
    /// may bring.
    fn completes(&self, content: &[Wanted]) -> Result<bool, Failure> {
        let mut signing = content.to_vec();
        if self.gathering.is_some() || Terminal::open().is_some() {
            for (role, keys) in &mut signing {
                let mut split = self.candidates_checked(role, |_, _| Ok(()))?;
                split.retain(|key| self.ours.split(&key.token) && self.ours.can_sign(key));
                keys.extend(split);
            }
        }
        self.complete_with(signing.iter().map(|(role, keys)| (role, keys.as_slice())))
    }

    /// The keys of ours by which snapshot or timestamp, once made, is signed in this run, by the root that is staged: those
    /// that are ready, and where these do not suffice those that people may unlock, insert or bring together. And whether
    /// they reach the threshold.
    fn signers_online(&self, role: &RoleName) -> Result<(Vec<Candidate>, bool), Failure> {
        if !self.selection.role(role) {
            return Ok((Vec::new(), false));
        }
        let (mut signers, mut suffice) = (Vec::new(), true);
        for authority in self.workspace.authorities(role)? {
            let need = usize::try_from(authority.role.threshold.get()).unwrap_or(usize::MAX);
            let keys = self.ours.candidates(&[authority], &[], self.selection.of(role));
            let is_ready = |key: &Candidate| self.ours.can_sign(key) && !self.ours.split(&key.token);
            let (ready, rest): (Vec<_>, Vec<_>) = keys.into_iter().partition(is_ready);
            let by_people = |key: &Candidate| {
                let is_asked = self.ours.locked(&key.token) || self.ours.split(&key.token);
                (is_asked && (self.gathering.is_some() || Terminal::open().is_some()))
                    || (self.invites() && self.ours.may_come(&key.token))
            };
            let lacking = need.saturating_sub(ready.len());
            let asked = rest.into_iter().filter(by_people).take(lacking);
            let of_it: Vec<Candidate> = ready.into_iter().chain(asked).collect();
            suffice &= of_it.len() >= need;
            signers.extend(of_it);
        }
        Ok((signers, suffice))
    }

    /// Whether the agent's record has it that this key serves the repository already.
    fn has_served(&self, key: &Candidate) -> bool {
        self.ours.fingerprint(&key.name).is_none_or(|print| self.record.keys.contains(&print))
    }

    /// A root that has its threshold gives the key its role for good: another key comes with the next one alone.
    fn bound_by_root(&self, failure: Failure) -> Failure {
        let root = RoleKind::Root.role();
        let complete = |root: &Metadata| {
            let state = self.workspace.signatures(&RoleKind::Root.role());
            state.is_ok_and(|state| state.met).then(|| root.version().get())
        };
        let staged = self.workspace.staged(&root).ok().flatten();
        let Some(version) = staged.as_ref().and_then(complete) else { return failure };
        failure.remedy(format!(
            "root v{version}, which gives it the role, has all its signatures already: let the key sign for both \
             repositories, tufctl sign {} --shared-key; then give the role a key of its own with the next root",
            typed_path(&self.args.dir)
        ))
    }

    fn check_not_shared(&self, keys: &[Candidate], others: &[&v1::Repository]) -> Result<(), Failure> {
        for key in keys {
            let Some(print) = self.ours.fingerprint(&key.name) else { continue };
            if self.record.keys.contains(&print) {
                continue;
            }
            if let Some(other) = others.iter().find(|other| other.keys.contains(&print)) {
                let [own, other, name] =
                    [&self.record.name, &other.name, &key.name].map(|text| visible(text));
                // As the agent says it.
                let message = format!(
                    "{own}: the key {name} serves the repository {other}, which has another root chain"
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
    reason::REPOSITORY_KNOWN,
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
