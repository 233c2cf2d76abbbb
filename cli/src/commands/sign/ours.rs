//! The keys that the agent holds, the tokens they lie on, and which of them a role still needs.

use std::collections::{BTreeMap, BTreeSet};

use tuf::key::{Key, KeyId, PublicKey};
use tuf::role::RoleName;
use tuf::word;
use tufagent_proto::v1;

use crate::args::SignArgs;
use crate::client::Agent;
use crate::commands::names::names_of;
use crate::commands::token::YUBIKEY;
use crate::error::{Failure, reason};
use crate::keys;
use crate::prompt::Terminal;
use crate::render::KeyNames;
use crate::shares;
use crate::workspace::{Authority, Workspace};

/// What `--role` and `--key` leave to be signed.
pub(super) struct Selection {
    roles: Vec<RoleName>,
    keys: Vec<String>,
    /// Snapshot and timestamp are signed as they always are, whatever was named: so that what is complete gets out.
    online: bool,
}

impl Selection {
    /// # Errors
    /// `ROLE_UNKNOWN` for a role that is not staged.
    pub(super) fn new(args: &SignArgs, workspace: &Workspace, online: bool) -> Result<Self, Failure> {
        let staged = workspace.staged_roles()?;
        let mut roles = Vec::new();
        for text in args.roles.iter().flatten() {
            let role =
                RoleName::parse(text).ok().filter(|role| staged.contains(role) || super::is_online(role));
            roles.push(role.ok_or_else(|| {
                let names: Vec<_> =
                    staged.iter().map(|role| word::word(&word::one_of_list(role.as_str()))).collect();
                Failure::new(reason::ROLE_UNKNOWN, format!("nothing is staged for {text}"))
                    .remedy(format!("staged, as --role takes it: {}", names.join(", ")))
                    .detail("role", text.as_str())
            })?);
        }
        Ok(Self { roles, keys: args.keys.clone(), online })
    }

    /// Whether this role is to be signed.
    pub(super) fn role(&self, role: &RoleName) -> bool {
        self.roles.is_empty() || self.roles.contains(role) || (self.online && super::is_online(role))
    }

    /// What it says of a role's keys.
    pub(super) fn of(&self, role: &RoleName) -> Option<&Self> {
        (!(self.online && super::is_online(role))).then_some(self)
    }

    /// Whether this key is to sign.
    pub(super) fn key(&self, name: &str) -> bool {
        self.keys.is_empty() || self.keys.iter().any(|key| key == name)
    }

    /// Whether keys were named at all: those sign also where the threshold is met.
    pub(super) fn names_keys(&self) -> bool {
        !self.keys.is_empty()
    }
}

/// Every key of the agent.
pub(super) struct Ours {
    keys: Vec<OurKey>,
    tokens: BTreeMap<String, v1::Token>,
    /// Tokens that could not be used though they should have unlocked themselves, or a person was asked; and why.
    refused: BTreeMap<String, Failure>,
    /// Keys that cannot sign while others on their tokens can, by name, and why: their tokens have them no more, or they
    /// were split and not every share of them is proven.
    barred: BTreeMap<String, Failure>,
    /// Which copies of keys on several tokens a person has said are to sign, by name.
    chosen: BTreeSet<String>,
    /// YubiKeys that were asked for because nobody knew what they hold, and came with no key of the roles.
    of_no_use: BTreeSet<String>,
}

/// A key of the agent.
pub(super) struct OurKey {
    pub(super) name: String,
    pub(super) token: String,
    pub(super) public: PublicKey,
    /// It takes no PIN, and signs though its token is locked.
    signs_locked: bool,
    /// It takes the PIN for each signature, and that unlocks its YubiKey, too.
    unlocks: bool,
}

/// A key of ours that a role has and that has not signed it yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Candidate {
    pub(super) keyid: KeyId,
    pub(super) name: String,
    pub(super) token: String,
}

impl Ours {
    /// Asks the agent anew which keys there are, for tokens that have come. What is known of those of before stays.
    pub(super) fn reload(&mut self, agent: &Agent) -> Result<(), Failure> {
        let Self { keys, tokens, barred, .. } = Self::load(agent)?;
        (self.keys, self.tokens) = (keys, tokens);
        self.barred.extend(barred);
        Ok(())
    }

    /// Asks the agent.
    pub(super) fn load(agent: &Agent) -> Result<Self, Failure> {
        let tokens = agent.tokens()?.into_iter().map(|token| (token.name.clone(), token)).collect();
        let (mut ours, mut barred) = (Vec::new(), BTreeMap::new());
        for key in agent.keys_to_sign()? {
            let object = keys::of_agent(&key)?;
            if !key.unproven.is_empty() {
                barred.insert(key.name.clone(), shares::unproven(&key));
            }
            // A key of a kind that this build cannot read is not one it could ask to sign with.
            if let Ok(public) = object.public_key() {
                let unlocks = key.pin_policy == "always";
                let (name, token, signs_locked) = (key.name, key.token, key.signs_locked);
                ours.push(OurKey { name, token, public: public.clone(), signs_locked, unlocks });
            }
        }
        Ok(Self {
            keys: ours,
            tokens,
            refused: BTreeMap::new(),
            barred,
            chosen: BTreeSet::new(),
            of_no_use: BTreeSet::new(),
        })
    }

    /// Shares of this key were brought: it signs by them, though the file store may have a whole copy, which may be locked.
    pub(super) fn signs_by_shares(&mut self, public: &PublicKey, name: &str, token: &str) {
        for key in self.keys.iter_mut().filter(|key| key.public == *public) {
            (key.name, key.token) = (name.to_owned(), token.to_owned());
        }
    }

    /// The key of this name.
    pub(super) fn named(&self, name: &str) -> Result<&OurKey, Failure> {
        self.keys.iter().find(|key| key.name == name).ok_or_else(|| {
            Failure::new(reason::KEY_NOT_FOUND, format!("no such key: {name}"))
                .remedy("tufctl key list shows what is there")
                .detail("key", name)
        })
    }

    /// The name of a key of metadata, if it is ours.
    pub(super) fn name_of(&self, key: &Key) -> Option<&OurKey> {
        let public = key.public_key().ok()?;
        // One key under two names: the one that was chosen, or can sign, or is there is the one to speak of.
        let rank = |key: &&OurKey| {
            let chosen = self.is_there(&key.token) && self.chosen.contains(&key.name);
            (!chosen, !self.ready(&key.token), !self.is_there(&key.token))
        };
        self.keys.iter().filter(|ours| ours.public == *public).min_by_key(rank)
    }

    /// What the keys of all roles are called, by keyid.
    pub(super) fn names(&self, workspace: &Workspace) -> Result<KeyNames, Failure> {
        let taken = self.keys.iter().map(|key| key.name.as_str()).collect();
        names_of(workspace, &taken, &|_, key| Some(self.name_of(key)?.name.clone()))
    }

    /// The copy of a key that `--key` means; without it, as [`Self::name_of`].
    fn meant(&self, key: &Key, selection: Option<&Selection>) -> Option<&OurKey> {
        let Some(selection) = selection.filter(|selection| selection.names_keys()) else {
            return self.name_of(key);
        };
        let public = key.public_key().ok()?;
        self.keys.iter().find(|ours| ours.public == *public && selection.key(&ours.name))
    }

    /// A key that lies on two tokens signs when one is chosen: no copy takes the place of another silently.
    ///
    /// # Errors
    /// `DUPLICATE_KEY`, with both.
    pub(super) fn only_copy(&self, candidate: &Candidate) -> Result<(), Failure> {
        let (Some(one), Some(other)) = self.two_copies(candidate) else { return Ok(()) };
        let on = |key: &OurKey| format!("{} on token {}", key.name, key.token);
        let message = format!("one key is there twice, as {} and as {}: which is meant?", on(one), on(other));
        Err(Failure::new(reason::DUPLICATE_KEY, message)
            .detail("key", one.name.as_str())
            .detail("token", one.token.as_str())
            .detail("other_key", other.name.as_str())
            .detail("other_token", other.token.as_str()))
    }

    /// This key, and a copy of it that could as well be meant, where nobody has chosen one of them. Of a key on two
    /// YubiKeys the one that is away is not: whichever is in the reader signs.
    pub(super) fn two_copies(&self, candidate: &Candidate) -> (Option<&OurKey>, Option<&OurKey>) {
        if self.chosen.contains(&candidate.name) {
            return (None, None);
        }
        let is_out = |key: &OurKey| self.is_card(&candidate.token) && self.may_come(&key.token);
        let mut copies = self.copies(candidate);
        let one = self.keys.iter().find(|key| key.name == candidate.name);
        (one, copies.find(|key| key.token != candidate.token && !is_out(key)))
    }

    /// All copies of a key, the candidate itself among them.
    pub(super) fn copies(&self, candidate: &Candidate) -> impl Iterator<Item = &OurKey> {
        let one = self.keys.iter().find(|key| key.name == candidate.name);
        self.keys.iter().filter(move |key| one.is_some_and(|one| key.public == one.public))
    }

    /// A person has said that this copy signs.
    pub(super) fn choose(&mut self, name: &str) {
        self.chosen.insert(name.to_owned());
    }

    /// Of the public half of the key of this name, as the agent's records have it.
    pub(super) fn fingerprint(&self, name: &str) -> Option<String> {
        let key = self.keys.iter().find(|key| key.name == name)?;
        Some(key.public.fingerprint().to_string())
    }

    /// What is to be said beside a key that signs because the card with its copy is away.
    pub(super) fn instead_of(&self, candidate: &Candidate) -> Option<&OurKey> {
        if !self.is_card(&candidate.token) {
            return None;
        }
        self.copies(candidate).find(|key| key.token != candidate.token && self.may_come(&key.token))
    }

    /// Keys of ours that these authorities give to the role, that `--key` leaves, and that have not signed.
    pub(super) fn candidates(
        &self,
        authorities: &[Authority],
        signed_by: &[KeyId],
        selection: Option<&Selection>,
    ) -> Vec<Candidate> {
        let mut out: Vec<Candidate> = Vec::new();
        for authority in authorities {
            for keyid in &authority.role.keyids {
                let seen = signed_by.contains(keyid) || out.iter().any(|c| c.keyid == *keyid);
                let Some(key) = authority.keys.get(keyid).filter(|_| !seen) else { continue };
                if let Some(ours) = self.meant(key, selection) {
                    let (name, token) = (ours.name.clone(), ours.token.clone());
                    out.push(Candidate { keyid: keyid.clone(), name, token });
                }
            }
        }
        out
    }

    /// The token of this name.
    pub(super) fn token(&self, name: &str) -> Option<&v1::Token> {
        self.tokens.get(name)
    }

    /// A YubiKey that came with no key of the roles: it is not asked for again.
    pub(super) fn rule_out(&mut self, token: &str) {
        self.of_no_use.insert(token.to_owned());
    }

    /// Whether that was said of it.
    pub(super) fn is_ruled_out(&self, token: &str) -> bool {
        self.of_no_use.contains(token)
    }

    /// Tokens that are not there, and of which no key was ever seen by this agent: what is missing may lie on them.
    pub(super) fn never_seen(&self) -> Vec<v1::Token> {
        let is_away = |token: &&v1::Token| token.state == "absent" || token.state == "failed";
        let unseen = |token: &&v1::Token| {
            !self.is_ruled_out(&token.name) && !self.keys.iter().any(|key| key.token == token.name)
        };
        self.tokens.values().filter(is_away).filter(unseen).cloned().collect()
    }

    /// Takes note of a token's new state: what was said of it before counts no more.
    pub(super) fn update(&mut self, token: v1::Token) {
        self.refused.remove(&token.name);
        self.tokens.insert(token.name.clone(), token);
    }

    /// Takes note of a token that the agent could not use, or of a key that its token has no more, when `failure` speaks of
    /// one: what it would have signed waits, and other keys sign. False: it speaks of something else.
    pub(super) fn refuse(&mut self, failure: &Failure) -> bool {
        let is_ours = |name: &&str| self.keys.iter().any(|key| key.name == **name);
        if [reason::KEY_NOT_FOUND, reason::SHARE_UNPROVEN].contains(&failure.reason())
            && let Some(key) = failure.text_detail("key").filter(is_ours)
        {
            self.barred.insert(key.to_owned(), failure.clone());
            return true;
        }
        let token = failure.text_detail("token").filter(|name| self.tokens.contains_key(*name));
        let Some(token) = token.filter(|_| failure.exit_code() == 5) else { return false };
        self.refused.insert(token.to_owned(), failure.clone());
        true
    }

    /// Why a token could not be used when it was wanted.
    pub(super) fn refusal(&self, token: &str) -> Option<&Failure> {
        self.refused.get(token)
    }

    /// Whether a token could not be used when it was wanted.
    pub(super) fn is_refused(&self, token: &str) -> bool {
        self.refused.contains_key(token)
    }

    /// Whether a token signs without asking anybody: unlocked, or unlocked by the agent when it is needed.
    pub(super) fn ready(&self, token: &str) -> bool {
        !self.refused.contains_key(token)
            && self.token(token).is_some_and(|token| match token.state.as_str() {
                "unlocked" => true,
                "locked" => !asks(token),
                _ => false,
            })
    }

    /// Whether a token is there and could sign, maybe once a person has unlocked it.
    pub(super) fn is_there(&self, token: &str) -> bool {
        self.ready(token) || self.locked(token)
    }

    /// Whether a key is there and signs without anybody being asked before.
    pub(super) fn can_sign(&self, key: &Candidate) -> bool {
        (self.ready(&key.token) || self.signs_locked(&key.name, &key.token))
            && self.barred(&key.name).is_none()
    }

    /// The same, and its token takes shares where it is a split one.
    pub(super) fn may_sign(&self, key: &Candidate) -> bool {
        let takes_shares = self.token(&key.token).is_none_or(|token| token.state != "locked");
        self.can_sign(key) && (takes_shares || !self.split(&key.token))
    }

    /// Whether a key signs though its token is locked: it takes no PIN, or one that is asked for when it is to sign.
    fn signs_locked(&self, key: &str, token: &str) -> bool {
        let Some(key) = self.keys.iter().find(|ours| ours.name == key) else { return false };
        self.locked(token) && (key.signs_locked || key.unlocks && Terminal::open().is_some())
    }

    /// Why a key cannot sign, whatever its token can.
    pub(super) fn barred(&self, key: &str) -> Option<&Failure> {
        self.barred.get(key)
    }

    /// Whether keys of a token are split: they sign when their custodians come together, not with the others.
    pub(super) fn split(&self, token: &str) -> bool {
        self.token(token).is_some_and(|token| token.kind == "shares")
    }

    /// Whether a token is locked and a person must unlock it.
    pub(super) fn locked(&self, token: &str) -> bool {
        !self.refused.contains_key(token)
            && self.token(token).is_some_and(|token| token.state == "locked" && asks(token))
    }

    /// Whether there is a token that a person may have to unlock, or to touch.
    pub(super) fn may_ask_people(&self) -> bool {
        self.tokens.values().any(|token| self.locked(&token.name) || token.kind == YUBIKEY)
    }

    /// Takes note that a person did not unlock this token; it is not asked for again.
    pub(super) fn pass_over(&mut self, token: &str, failure: Failure) {
        self.refused.insert(token.to_owned(), failure);
    }

    /// Whether a token is a YubiKey.
    pub(super) fn is_card(&self, token: &str) -> bool {
        self.token(token).is_some_and(|token| token.kind == YUBIKEY)
    }

    /// Whether a token is a YubiKey that a person may insert.
    pub(super) fn may_come(&self, token: &str) -> bool {
        self.token(token).is_some_and(|token| token.kind == YUBIKEY && token.state == "absent")
    }

    /// A key that was named must be able to sign: exit 5 when its token is locked (and nobody can be asked) or not there.
    pub(super) fn check_token(&self, key: &OurKey) -> Result<(), Failure> {
        if let Some(failure) = self.barred(&key.name) {
            return Err(failure.clone());
        }
        let is_ready = self.ready(&key.token) || self.signs_locked(&key.name, &key.token);
        if is_ready || (self.locked(&key.token) && Terminal::open().is_some()) {
            return Ok(());
        }
        Err(self.unusable(&key.token, &key.name))
    }

    /// Whether a token is a YubiKey whose PIN has one try left, which nothing but `--last-try` spends.
    pub(super) fn is_at_last_try(&self, token: &str) -> bool {
        self.is_card(token) && self.token(token).is_some_and(|token| token.pin_tries_left == Some(1))
    }

    /// Why a key of a token that is there did not sign, as far as the token is why.
    pub(super) fn why_not(&self, token: &str, key: &str) -> Option<Failure> {
        (self.is_refused(token) || self.locked(token)).then(|| self.unusable(token, key))
    }
}

/// Whether the role that these authorities speak of has this public key.
pub(in crate::commands) fn serves(authorities: &[Authority], public: &PublicKey) -> bool {
    authorities.iter().any(|authority| {
        let keys = authority.role.keyids.iter().filter_map(|keyid| authority.keys.get(keyid));
        keys.filter_map(|key| key.public_key().ok()).any(|key| key == public)
    })
}

/// Whether a person gives the token's secret.
pub(super) fn asks(token: &v1::Token) -> bool {
    matches!(token.pin_source.as_str(), "prompt" | "")
}
