//! A round of signatures: unlock what is needed, let the agent inspect, sign.

use tuf::diff::Difference;
use tuf::digest::Sha256Digest;
use tuf::key::KeyId;
use tuf::metadata::{Metadata, SignatureEntry};
use tuf::role::{RoleKind, RoleName};
use tufagent_proto::v1::{self, sign_waiting::For};

use super::ours::{Candidate, Ours};
use super::unsigned::Unsigned;
use super::{Session, outcome, record};
use crate::client::{SignCall, SignStep, WireFile};
use crate::commands::token::{described, described_device};
use crate::error::{Failure, reason};
use crate::prompt::{Terminal, confirm};
use crate::render::{difference, now, visible};
use crate::shares::Gathering;

/// A role that keys of ours are to sign.
pub(super) struct Pending<'a> {
    pub(super) role: RoleName,
    pub(super) version: u64,
    /// What people are shown: the agent's own reading, or ours where its turn has not come.
    pub(super) difference: Difference,
    pub(super) warnings: Vec<String>,
    /// A person has said yes to what no `--yes` answers.
    pub(super) person: bool,
    pub(super) keys: Vec<Candidate>,
    /// The call that the agent has inspected; the roles beyond [`MOST_OPEN`] are inspected again when their turn comes.
    pub(super) call: Option<SignCall<'a>>,
}

impl Pending<'_> {
    /// Concerns of the agent that nobody was shown.
    pub(super) fn not_shown<'i>(&self, inspected: &'i v1::SignInspected) -> Vec<&'i String> {
        inspected.warnings.iter().filter(|warning| !self.warnings.contains(warning)).collect()
    }
}

/// What came of a key.
pub(super) enum Came {
    Signed(outcome::Signed),
    Unsigned(Unsigned),
}

impl<'a> Session<'a> {
    /// Lets the agent read every role of `roles` that keys of ours can sign now.
    pub(super) fn inspect(&mut self, roles: &[RoleName]) -> Result<Vec<Pending<'a>>, Failure> {
        let mut pending: Vec<Pending<'a>> = Vec::new();
        for role in roles {
            let met = self.workspace.signatures(role)?.met;
            let mut keys = self.candidates(role)?;
            if !met {
                self.note_barred(role, &keys)?;
            }
            keys.retain(|key| self.ours.can_sign(key) && !self.ours.split(&key.token));
            if keys.is_empty() || (met && !self.selection.names_keys()) {
                continue;
            }
            let next = if pending.len() < MOST_OPEN {
                let call = loop {
                    // What is new in it is looked for before it is written, which keeps a processor busy.
                    let (begin, files) = self.request(role, &keys)?;
                    if self.args.yes.yes {
                        let keyids: Vec<KeyId> = keys.iter().map(|key| key.keyid.clone()).collect();
                        self.workspace.write_ahead(role, &keyids)?;
                    }
                    match SignCall::open(self.agent, begin, files) {
                        Err(failure) => self.go_on_without(failure, &mut keys)?,
                        Ok(call) => break Some(call),
                    }
                    if keys.is_empty() {
                        break None;
                    }
                };
                let Some(call) = call else { continue };
                let (difference, inspected) = (read_difference(call.inspected())?, call.inspected());
                let (version, warnings) = (inspected.version, inspected.warnings.clone());
                let person = false;
                Pending { role: role.clone(), version, difference, warnings, person, keys, call: Some(call) }
            } else {
                let Some(difference) = self.local_difference(role)? else { continue };
                let version = difference.to_version;
                let (warnings, person) = (Vec::new(), false);
                Pending { role: role.clone(), version, difference, warnings, person, keys, call: None }
            };
            pending.push(next);
        }
        // `--yes` has answered already.
        if !self.args.yes.yes {
            self.look_at(&mut pending)?;
        }
        Ok(pending)
    }

    /// A token that unlocks itself could not, or has a key no more: unless keys were named, the others sign without it.
    ///
    /// # Errors
    /// The failure itself where it is about something else.
    pub(super) fn go_on_without(
        &mut self,
        failure: Failure,
        keys: &mut Vec<Candidate>,
    ) -> Result<(), Failure> {
        let before = keys.len();
        if !self.selection.names_keys() && self.ours.refuse(&failure) {
            keys.retain(|key| self.ours.can_sign(key));
        }
        if keys.len() == before {
            return Err(failure);
        }
        self.context.screen.warn_once(failure.message());
        Ok(())
    }

    /// A token was pulled out while it was to sign, or does not work or is locked and there are others: unless its keys were
    /// named, those sign without it.
    ///
    /// # Errors
    /// The failure itself where it is about something else.
    fn go_on_after(&mut self, failure: Failure) -> Result<(), Failure> {
        if self.selection.names_keys() || !OF_ONE_TOKEN.contains(&failure.reason()) {
            return Err(failure);
        }
        let token = failure.text_detail("token").unwrap_or_default();
        // What it said first is why.
        if self.ours.is_refused(token) {
            return Ok(());
        }
        if failure.reason() != reason::TOKEN_ABSENT && !self.others_than(token)? {
            return Err(failure);
        }
        if let Ok(token) = self.agent.token(token) {
            self.ours.update(token);
        }
        if !self.ours.refuse(&failure) {
            return Err(failure);
        }
        self.context.screen.warn_once(failure.message());
        Ok(())
    }

    /// Whether another token than this has signed in this run, or may.
    fn others_than(&self, token: &str) -> Result<bool, Failure> {
        if self.signed.iter().any(|signed| signed.token != token) {
            return Ok(true);
        }
        let staged = self.workspace.staged_roles()?;
        for role in staged.iter().filter(|role| !super::is_online(role)) {
            let other = |key: &Candidate| key.token != token && self.ours.can_sign(key);
            if !self.workspace.signatures(role)?.met && self.candidates(role)?.iter().any(other) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Collects the signatures, role by role; each role's go to `staged/` before the next begins.
    pub(super) fn sign(&mut self, pending: Vec<Pending<'a>>) -> Result<(), Failure> {
        let before = self.signed.len();
        // What the agent has inspected comes first: with it those that say who signs the others.
        let (open, shown): (Vec<_>, Vec<_>) = pending.into_iter().partition(|role| role.call.is_some());
        let end = self.sign_each(open).and_then(|()| self.sign_many(shown));
        if self.signed.len() > before {
            self.workspace.settle_staged()?;
        }
        end
    }

    /// The same; that the files are in `staged/` is for the caller to make durable.
    pub(super) fn sign_each(&mut self, pending: Vec<Pending<'a>>) -> Result<(), Failure> {
        let alone = self.workspace.staged_roles()?.len() == 1;
        for mut role in pending {
            if self.is_held(&role)? {
                continue;
            }
            let mut call = match role.call.take() {
                Some(call) => call,
                None => match self.open_shown(&mut role)? {
                    Some(call) => call,
                    None => continue,
                },
            };
            // Whoever was inspected just now has not been asked yet.
            let person = role.person || self.ask_person(call.inspected())?;
            call.confirm(person)?;
            let mut entries = Vec::new();
            let end = self.collect(&role, &mut call, &mut entries);
            if !entries.is_empty() {
                let (agent, record, shown) = (self.agent, &self.record, alone && end.is_ok());
                self.workspace.add_signatures_beside(&role.role, &entries, |workspace, signed| {
                    if !shown {
                        return Ok(());
                    }
                    record::show_signed(agent, workspace, record, &role.role, signed)
                })?;
                self.noted.insert(role.role.clone());
            }
            if let Err(failure) = end
                && !self.hold(&role, &failure)?
            {
                self.go_on_after(failure)?;
            }
        }
        Ok(())
    }

    fn collect(
        &mut self,
        role: &Pending<'_>,
        call: &mut SignCall<'_>,
        entries: &mut Vec<SignatureEntry>,
    ) -> Result<(), Failure> {
        let mut people = Gathering::of_people();
        let mut next = None;
        loop {
            let step = match next.take() {
                Some(step) => step,
                None => call
                    .step()
                    .map_err(|failure| self.gathering.as_deref().unwrap_or(&people).ended(failure))?,
            };
            let Some(step) = step else { break };
            match &step {
                SignStep::Ask(asked) => self.give_pin(call, asked)?,
                SignStep::Collect(collection) => {
                    next = Some(self.see_through(&role.role, collection, &mut people, call)?);
                }
                _ => {}
            }
            match self.take_step(role, step, entries)? {
                Some(Came::Signed(signed)) => self.signed.push(signed),
                Some(Came::Unsigned(unsigned)) => self.unsigned.push(unsigned),
                None => {}
            }
        }
        Ok(())
    }

    /// Says what a step is, and gives what came of a key.
    pub(super) fn take_step(
        &self,
        role: &Pending<'_>,
        step: SignStep,
        entries: &mut Vec<SignatureEntry>,
    ) -> Result<Option<Came>, Failure> {
        match step {
            SignStep::Waiting(waiting) => self.announce(&waiting),
            // It was given.
            SignStep::Ask(_) | SignStep::Collect(_) => {}
            SignStep::Skipped(skipped) => {
                let (key, role_name) = (&skipped.key, role.role.as_str());
                self.context.screen.warn(format!("{key} did not sign {role_name}: {}", skipped.message));
                return Ok(Some(Came::Unsigned(Unsigned::skipped(&role.role, role.version, skipped))));
            }
            SignStep::Signature(signature) => {
                let keyid = KeyId::parse(&signature.keyid).map_err(|e| {
                    Failure::new(reason::INTERNAL, format!("the agent signed with a strange keyid: {e}"))
                })?;
                entries.push(SignatureEntry { keyid, sig: signature.sig.clone() });
                return Ok(Some(Came::Signed(outcome::Signed {
                    role: role.role.clone(),
                    version: role.version,
                    keyid: signature.keyid,
                    key: signature.key,
                    token: signature.token,
                })));
            }
        }
        Ok(None)
    }

    /// A wait for a person is said before it begins, with the device's name.
    fn announce(&self, waiting: &v1::SignWaiting) {
        let token =
            self.ours.token(&waiting.token).map_or_else(|| visible(&waiting.token).into_owned(), described);
        let key = visible(&waiting.key);
        let style = self.context.screen.err();
        let line = match waiting.what() {
            For::Touch => {
                let role = visible(&waiting.role);
                let what = if role.is_empty() {
                    String::new()
                } else {
                    format!(" to sign {role} version {} ({})", waiting.version, visible(&waiting.sha256))
                };
                // The tries of its PIN are none of touches.
                let device = self.ours.token(&waiting.token).map(described_device).unwrap_or(token);
                format!("{} {device}, for {key}{what} …", style.yellow("touch now:"))
            }
            For::Pin => format!("{} {token} asks for its PIN for {key} …", style.yellow("PIN:")),
            For::Confirmation => {
                format!("{} the agent asks for {key} on {token} …", style.yellow("confirm:"))
            }
            // Nothing else keeps it so long, and a person can do something about both.
            For::Token if self.ours.is_card(&waiting.token) => {
                format!(
                    "waiting for {token}: it is busy, maybe with another request that wants its touch, or with another \
                     program …"
                )
            }
            // A token that is ready answers at once: nothing that a person could do.
            For::Token if self.ours.ready(&waiting.token) => return,
            For::Token => format!("waiting for {token} …"),
        };
        self.context.screen.show(line);
    }

    /// Keys of ours that `--role` and `--key` leave and that have not signed the role.
    pub(super) fn candidates(&self, role: &RoleName) -> Result<Vec<Candidate>, Failure> {
        self.candidates_checked(role, Ours::only_copy)
    }

    /// The same; of each by which the role would be signed `check` says whether it may, and is refused with the command by
    /// which it does.
    pub(super) fn candidates_checked(
        &self,
        role: &RoleName,
        check: impl Fn(&Ours, &Candidate) -> Result<(), Failure>,
    ) -> Result<Vec<Candidate>, Failure> {
        if !self.selection.role(role) {
            return Ok(Vec::new());
        }
        let staged = self.workspace.staged(role)?.is_some();
        let (signed_by, met) = if staged {
            let state = self.workspace.signatures(role)?;
            (state.signed_by, state.met)
        } else {
            (Vec::new(), false)
        };
        let authorities = self.workspace.authorities(role)?;
        let all = self.ours.candidates(&authorities, &signed_by, self.selection.of(role));
        if !met && !self.selection.names_keys() {
            let checked = all.iter().try_for_each(|key| check(&self.ours, key));
            checked.or_else(|failure| Err(self.naming_one_copy(failure)?))?;
        }
        Ok(all)
    }

    pub(super) fn open(&self, role: &RoleName, keys: &[Candidate]) -> Result<SignCall<'a>, Failure> {
        let (begin, files) = self.request(role, keys)?;
        SignCall::open(self.agent, begin, files)
    }

    /// What the agent is asked for a role's signatures with.
    pub(super) fn request(
        &self,
        role: &RoleName,
        keys: &[Candidate],
    ) -> Result<(v1::SignBegin, Vec<WireFile>), Failure> {
        let begin = v1::SignBegin {
            repository: self.record.name.clone(),
            role: role.as_str().into(),
            keys: keys.iter().map(|key| key.name.clone()).collect(),
            signed_only: false,
            shared_key: self.args.shared_key,
            supersede: self.superseded(role).map(|digest| digest.to_string()).unwrap_or_default(),
            asks: Terminal::open().is_some(),
            collects: keys.iter().any(|key| self.ours.split(&key.token)),
            more: false,
            set_sha256: self.gathering.as_ref().map(|gathering| gathering.set_sha256()).unwrap_or_default(),
            look: false,
        };
        let subject = self.workspace.staged(role)?.ok_or_else(|| {
            Failure::new(reason::REPOSITORY_INVALID, format!("{} is not staged any more", role.as_str()))
        })?;
        // The subject comes last: with it the agent has all that it needs to judge.
        let parents = self.workspace.parents(role)?;
        let is_noted = |(name, file): &(RoleName, Metadata)| {
            let delegations = file.as_targets().and_then(|targets| targets.delegations.as_ref());
            parents.len() == 1 && self.noted.contains(name) && delegations.is_some_and(|to| to.is_bin(role))
        };
        let mut files: Vec<_> = self
            .workspace
            .staged_authorities(role)?
            .into_iter()
            .filter(|authority| !is_noted(authority))
            .map(|(role, file)| WireFile::authority(role.as_str(), file.bytes().clone()))
            .collect();
        files.push(record::wire(&self.workspace, &self.record, role, &subject)?);
        Ok((begin, files))
    }

    /// The digest of the root in whose place the staged one shall stand; nothing for other roles.
    fn superseded(&self, role: &RoleName) -> Option<Sha256Digest> {
        self.args.supersede.filter(|_| role.kind() == RoleKind::Root)
    }

    /// Asks for a role that was shown as we read it; where the agent reads it otherwise, it is shown and asked again.
    /// None: no key is left that could sign it.
    fn open_shown(&mut self, role: &mut Pending<'_>) -> Result<Option<SignCall<'a>>, Failure> {
        let call = loop {
            match self.open(&role.role, &role.keys) {
                Ok(call) => break call,
                Err(failure) => self.go_on_without(failure, &mut role.keys)?,
            }
            if role.keys.is_empty() {
                return Ok(None);
            }
        };
        let theirs = read_difference(call.inspected())?;
        let new = role.not_shown(call.inspected());
        let is_new = theirs != role.difference || !new.is_empty();
        if is_new {
            self.context.screen.show(difference(&theirs, &self.names, self.context.screen.err(), now()));
        }
        for warning in new {
            self.context.screen.warn(warning);
        }
        if is_new {
            let question = format!("The agent reads {} as above. Sign it?", role.role.as_str());
            confirm(&question, self.args.yes.yes)?;
        }
        Ok(Some(call))
    }
}

pub(super) fn read_difference(inspected: &v1::SignInspected) -> Result<Difference, Failure> {
    serde_json::from_str(&inspected.difference_json)
        .map_err(|e| Failure::new(reason::INTERNAL, format!("the agent's difference cannot be read: {e}")))
}

/// How many calls stay open while a person reads, well below the streams that the agent allows a connection; a
/// repository with hundreds of bins has the others looked at before, and inspected while they are signed.
pub(super) const MOST_OPEN: usize = 32;
/// What keeps one token from signing, and no other. That nobody touched one is a no.
const OF_ONE_TOKEN: &[&str] = &[
    reason::TOKEN_ABSENT,
    reason::TOKEN_FAILED,
    reason::TOKEN_LOCKED,
    reason::TOKEN_BUSY,
    reason::PIN_INCORRECT,
    reason::PIN_BLOCKED,
];
