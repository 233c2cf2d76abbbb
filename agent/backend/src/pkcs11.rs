//! Tokens of PKCS#11 modules, and YubiKeys, each in a helper process.
//!
//! Duty: be a [`Backend`] whose keys lie on a token of a module that may crash, hang or lie, or on a card. Trust: none
//! in the module beyond its own token; it runs in [`crate::host`], and every signature is verified.
//! Invariants: one exec'd helper a token; a deadline on every call; one C_Login for each unlock; a
//! signature whose outcome is unknown is never asked for again; keys are chosen by public key.

mod bounded;
mod config;
mod digest;
mod doctor;
mod group;
mod helper;
mod keep;
mod lane;
mod link;
mod look;
mod meanwhile;
mod names;
mod place;
mod present;
mod profile;
mod restart;
mod said;
mod seen;
mod signing;
mod start;
mod stopping;
mod trouble;
mod trust;
mod uri;
mod yubikey;

pub use crate::host::Limits;
pub use crate::host::protocol::Wanted;
pub use config::{ConfigError, Pkcs11Config};
pub use digest::{ModuleDigest, Trusted};
pub use doctor::Step;
pub use lane::{Begun, Lane, Place, UnderWay};
pub use meanwhile::{Attempts, Settle, Tally};
pub use place::CardConfig;
pub use present::{Asking, Card, Presented, Spent};
pub use profile::Profile;
pub use seen::Loaded;
pub(crate) use signing::taken;
pub use trust::ModuleLook;
pub use uri::{UriError, check_uri, uri_names_serial};
pub use yubikey::Attestation;

use std::path::PathBuf;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use secmem::SecretBytes;
use tuf::digest::Sha256Digest;
use tuf::key::{KeyType, PublicKey, Scheme};
use tuf::preimage::{Signable, Statement, StatementKind};

use crate::card::{PinPolicy, Touch};
use crate::doctor::How;
use crate::host::protocol::{Reply, Request};
use crate::{
    Backend, BackendError, ImportedKey, KeyName, KeyOptions, Removed, StoredKey, TokenInfo, TokenState,
    UnverifiedSignature,
};
use link::Shared;

/// A token that a helper process hosts: one of a PKCS#11 module, or a YubiKey.
pub struct Pkcs11Token {
    shared: Arc<Shared>,
}

impl Pkcs11Token {
    /// Takes the token in and starts its helper (`helper_exe host-token NAME`) in the background; nothing
    /// is waited for. See [`Pkcs11Token::first_look`].
    ///
    /// # Errors
    /// When the entry makes no sense.
    pub fn new(config: Pkcs11Config, helper_exe: PathBuf) -> Result<Self, ConfigError> {
        let wanted = config.wanted()?;
        Ok(Self::host(Shared::new(config.into(), wanted, helper_exe)))
    }

    /// The same for a YubiKey.
    #[must_use]
    pub fn of_card(config: CardConfig, helper_exe: PathBuf) -> Self {
        let wanted = config.wanted();
        Self::host(Shared::new(config.into(), wanted, helper_exe))
    }

    fn host(shared: Shared) -> Self {
        let shared = Arc::new(shared);
        let background = Arc::clone(&shared);
        let thread = std::thread::Builder::new().name(format!("token {}", background.config.name));
        if let Err(error) = thread.spawn(move || watch(&background)) {
            // Without it calls still start the helper; only removal shows late.
            tracing::warn!(token = %shared.config.name, "the token is not watched: {error}");
        }
        Self { shared }
    }

    /// Waits until something is known of the token, at most `limit`. False: still nothing.
    pub fn first_look(&self, limit: Duration) -> bool {
        self.shared.first_look(limit)
    }

    /// What keeps the token from working as it is configured: its module cannot be loaded, or must not be.
    /// Not that it is absent, or that its devices leave no choice: that may change while the configuration stays.
    pub fn misconfigured(&self) -> Option<BackendError> {
        match self.shared.seen().trouble? {
            trouble::Trouble::Absent(_)
            | trouble::Trouble::InUse { .. }
            | trouble::Trouble::Device { .. } => None,
            trouble => Some(trouble.into()),
        }
    }

    /// What of its devices keeps the token from being used: several that fit its entry, say.
    pub fn device_trouble(&self) -> Option<BackendError> {
        let trouble = self.shared.with_seen(|seen| seen.trouble.clone());
        trouble.filter(|trouble| matches!(trouble, trouble::Trouble::Device { .. })).map(BackendError::from)
    }

    /// Counts how often it came, or another program was seen to have reset it; none while its keys were not read since.
    pub fn keys_since(&self) -> Option<u64> {
        self.shared.with_seen(seen::Seen::keys_since)
    }

    /// The module that its helper has loaded, or the one before it.
    pub fn loaded(&self) -> Option<Arc<Loaded>> {
        self.shared.with_seen(|seen| seen.loaded.clone())
    }

    /// What is wrong with objects of the token, by its last list.
    pub fn odd_objects(&self) -> Option<String> {
        self.shared.with_seen(|seen| seen.odd.clone())
    }

    /// Calls `listener`, once and for all later changes, whenever the state or the module changes: with `Locked` after
    /// the token came back or its helper was restarted, so that the agent can present a PIN from a file
    /// again. It is called on the thread that saw the change, which may hold the token: the listener
    /// must not block and must not call the token; it sends a message. A second listener is ignored.
    pub fn on_change(&self, listener: impl Fn(&TokenInfo) + Send + Sync + 'static) {
        if self.shared.on_change.set(Box::new(listener)).is_ok()
            && let Some(listener) = self.shared.on_change.get()
        {
            listener(&self.shared.info());
        }
    }

    /// Has `tally` count each time that a YubiKey is presented again the PIN that it accepted. Without one that is not done.
    /// A second one is ignored.
    pub fn count_by(&self, tally: Box<dyn Tally>) {
        drop(self.shared.tally.set(tally));
    }

    /// The agent ends: whoever waits for a touch is told so, and the card's helper with it.
    pub fn stop_waiting(&self) {
        self.shared.stop_waiting();
    }

    /// Which file lies where its module is looked for, and what is trusted. Nothing of it is run, and the helper that serves
    /// is left alone.
    ///
    /// # Errors
    /// [`BackendError::Untrusted`] when others can write the module, and those of reading it.
    pub fn look_at_module(&self) -> Result<ModuleLook, BackendError> {
        self.shared.look_at_module()
    }

    /// Trusts the module of this digest, in place of what is recorded, and starts it. Gives what was trusted before, and where
    /// it lies.
    ///
    /// # Errors
    /// [`BackendError::NotAsShown`] when another file lies there, [`BackendError::Untrusted`] when the configuration pins
    /// another digest or others can write the module, and those of starting it: it is not trusted then.
    pub fn trust(&self, shown: Sha256Digest) -> Result<ModuleLook, BackendError> {
        self.shared.trust(&mut self.shared.link(), shown)
    }

    /// For calls that need the login: without one the token is not bothered.
    fn call_unlocked(
        &self,
        what: &str,
        request: &Request,
        tail: &[&[u8]],
        limit: Duration,
    ) -> Result<link::Answer, BackendError> {
        let shared = &self.shared;
        let lost = self.need_unlocked()?.logins_lost;
        let mut link = shared.link();
        // Whoever had the token before may have lost it, or `lock` was called.
        shared.ready(&mut link)?;
        match self.need_unlocked() {
            Ok(_) => {}
            // Not a lock that somebody wanted: the helper ended under this very call.
            Err(BackendError::Locked) if shared.seen().logins_lost != lost => {
                return Err(shared.lost_login(&link).into());
            }
            Err(error) => return Err(error),
        }
        shared.call(&mut link, what, request, tail, limit)
    }

    /// What an unlocked token has seen, of one moment: a `lock` that comes behind it is counted by none of it.
    fn need_unlocked(&self) -> Result<Unlocked, BackendError> {
        self.shared.with_seen(|seen| match (seen.state, &seen.trouble) {
            (Some(TokenState::Unlocked), _) => {
                Ok(Unlocked { logins_lost: seen.logins_lost, locks: seen.locks })
            }
            (Some(TokenState::Blocked), _) => Err(seen.blocked()),
            (Some(TokenState::Absent | TokenState::Failed), Some(trouble)) => Err(trouble.clone().into()),
            _ => Err(BackendError::Locked),
        })
    }

    /// The same of a token that need not be unlocked, but there.
    fn need_there(&self) -> Result<Unlocked, BackendError> {
        self.shared.with_seen(|seen| match (seen.state, &seen.trouble) {
            (Some(TokenState::Absent | TokenState::Failed), Some(trouble)) => Err(trouble.clone().into()),
            _ => Ok(Unlocked { logins_lost: seen.logins_lost, locks: seen.locks }),
        })
    }

    /// A token may take a private key in a form that it then understands otherwise: one that does not sign goes again.
    fn try_imported(&self, public: &PublicKey, options: &KeyOptions) -> Result<(), BackendError> {
        let kind = public.key_type();
        let proof = Statement::new(StatementKind::Possession, &format!("import {}\n", public.fingerprint()));
        let Err(error) = self.sign(public, kind.default_scheme(), Signable::Statement(&proof)) else {
            return Ok(());
        };
        if let Err(left) = self.destroy(public, options, None) {
            return Err(BackendError::Failed {
                why: format!("the imported key does not sign ({error}), and lies there still ({left})"),
                remedy: match self.is_card() {
                    true => {
                        "use it for nothing: remove it, or put another key into its place with --overwrite"
                    }
                    false => {
                        "use it for nothing: remove it (tufctl key remove), or with the token's own tool"
                    }
                }
                .to_owned(),
            });
        }
        Err(match error {
            BackendError::BadSignature => BackendError::Unsupported {
                what: format!("use the imported {kind} key; it was removed again"),
            },
            error => error,
        })
    }

    /// Destroys the objects of a key; see [`Request::Remove`].
    fn destroy(
        &self,
        key: &PublicKey,
        options: &KeyOptions,
        proof: Option<(String, How)>,
    ) -> Result<Removed, BackendError> {
        let management = self.management_key(options)?;
        let request = Request::Remove { public: hex::encode(key.spki_der()), proof };
        let (reply, _) =
            self.call_unlocked("removing a key", &request, &[management], self.shared.config.deadline)?;
        self.shared.note(|seen| seen.removed(key));
        Ok(match reply {
            Reply::Removed { private: false } => Removed::PublicHalf,
            _ => Removed::Whole,
        })
    }

    /// The key that was asked for, under the name that was asked for.
    fn made(&self, name: &KeyName, reply: Reply) -> Result<StoredKey, BackendError> {
        let Reply::Key { key } = reply else { return Err(nonsense()) };
        let public = names::public_key(&key).ok_or_else(nonsense)?;
        let stored = StoredKey { name: name.clone(), public, origin: key.origin, place: key.place };
        self.shared.note(|seen| seen.keys.push(stored.clone()));
        Ok(stored)
    }
}

/// [`seen::Seen`] of an unlocked token.
struct Unlocked {
    logins_lost: u64,
    locks: u64,
}

impl Backend for Pkcs11Token {
    fn info(&self) -> TokenInfo {
        self.shared.info()
    }

    fn state(&self) -> TokenState {
        self.shared.state()
    }

    fn unlock(&self, secret: &SecretBytes) -> Result<(), BackendError> {
        self.present(secret, &Asking::default()).result
    }

    fn lock(&self) {
        self.shared.note(|seen| {
            seen.locks = seen.locks.wrapping_add(1);
            seen.lost_login = None;
            if seen.state == Some(TokenState::Unlocked) {
                seen.state = Some(TokenState::Locked);
            }
        });
        // No key is used from here on. The logout itself is the background thread's: a module that hangs must not
        // keep whoever says `lock` from locking other tokens too.
        self.shared.rouse();
    }

    /// Locked, all public keys that the token shows. Absent or failed, those last seen, when there are any.
    fn keys(&self) -> Result<Vec<StoredKey>, BackendError> {
        let shared = &self.shared;
        let known = || shared.with_seen(|seen| seen.knows_keys().then(|| seen.keys.clone()));
        let mut link = match shared.try_link() {
            Some(link) => link,
            // It may wait for a touch.
            None if self.is_card() => match known() {
                Some(keys) => return Ok(keys),
                None => shared.link(),
            },
            None => shared.link(),
        };
        match shared.call(&mut link, "listing its keys", &Request::List, &[], shared.config.deadline) {
            Ok((Reply::Keys { keys, all, odd, unfit, of }, _)) => {
                let (keys, odd) = bounded::keys(keys, &shared.seen().keys, odd);
                shared.heard_of_objects(odd);
                shared.heard_of_unfit(unfit);
                if let Some(status) = of {
                    // Another token may be in its place since it was looked at last.
                    shared.note_status(*status, &link);
                }
                let keys = names::stored_keys(keys);
                let missing = shared.note(|seen| seen.shown(keys.clone(), all));
                Ok(if missing { shared.look_for_missing(&mut link).unwrap_or(keys) } else { keys })
            }
            Ok(_) => Err(nonsense()),
            Err(
                error @ (BackendError::Absent { .. }
                | BackendError::InUse { .. }
                | BackendError::Failed { .. }
                | BackendError::HelperEnded { .. }),
            ) => {
                let known = shared.seen().keys;
                if known.is_empty() { Err(error) } else { Ok(known) }
            }
            Err(error) => Err(error),
        }
    }

    fn generate(&self, name: &KeyName, kind: KeyType) -> Result<StoredKey, BackendError> {
        self.generate_with(name, kind, &KeyOptions::default())
    }

    fn generate_with(
        &self,
        name: &KeyName,
        kind: KeyType,
        options: &KeyOptions,
    ) -> Result<StoredKey, BackendError> {
        let management = self.management_key(options)?;
        let curve_name = self.shared.seen().hints()?.curve_name(kind);
        let card = options.card;
        let request = Request::Generate { name: name.to_string(), kind: kind.to_string(), curve_name, card };
        let limit = self.shared.config.deadline.max(GENERATE_DEADLINE);
        let (reply, _) = self.call_unlocked("making a key", &request, &[management], limit)?;
        self.made(name, reply)
    }

    fn import(&self, name: &KeyName, key: ImportedKey) -> Result<StoredKey, BackendError> {
        self.import_with(name, key, &KeyOptions::default())
    }

    fn import_with(
        &self,
        name: &KeyName,
        key: ImportedKey,
        options: &KeyOptions,
    ) -> Result<StoredKey, BackendError> {
        let management = self.management_key(options)?;
        let public = key.public().clone();
        let request = Request::Import {
            name: name.to_string(),
            public: hex::encode(public.spki_der()),
            card: options.card,
            management_len: management.len(),
        };
        let tail = [management, key.secret().reveal_secret_bytes()];
        let (reply, _) =
            self.call_unlocked("importing a key", &request, &tail, self.shared.config.deadline)?;
        let stored = self.made(name, reply)?;
        if tried_at_once(&stored) {
            self.try_imported(&public, options)?;
        }
        tracing::warn!(token = %self.shared.config.name, key = %name, "imported: a copy of the key may exist elsewhere");
        Ok(stored)
    }

    fn remove(&self, key: &PublicKey) -> Result<(), BackendError> {
        self.remove_with(key, &KeyOptions::default()).map(drop)
    }

    fn remove_with(&self, key: &PublicKey, options: &KeyOptions) -> Result<Removed, BackendError> {
        let scheme = key.key_type().default_scheme();
        // What it was measured to be unable to do it is asked for all the same: nothing else shows whose the private key is.
        let how =
            self.shared.seen().hints().ok().and_then(|hints| hints.how(scheme).ok()).unwrap_or_default();
        self.destroy(key, options, Some((scheme.to_string(), how)))
    }

    fn change_secret(&self, old: &SecretBytes, new: &SecretBytes) -> Result<(), BackendError> {
        self.present_change(old, new, &Asking::default()).result
    }

    fn make_signature(
        &self,
        key: &PublicKey,
        scheme: Scheme,
        what: Signable<'_>,
    ) -> Result<UnverifiedSignature, BackendError> {
        self.signature(key, scheme, what, None)
    }

    fn make_signature_with_pin(
        &self,
        key: &PublicKey,
        scheme: Scheme,
        what: Signable<'_>,
        pin: &SecretBytes,
    ) -> Result<UnverifiedSignature, BackendError> {
        let made = self.signature(key, scheme, what, Some((pin, &Asking::default())));
        made.map_err(BackendError::without_pin)
    }

    fn when_asked(&self, tell: Box<dyn Fn() + Send>) {
        if !self.is_card() {
            return tell();
        }
        *self.shared.asked.lock().unwrap_or_else(PoisonError::into_inner) = Some(tell);
    }

    fn made_here(&self, key: &PublicKey) -> Result<(), BackendError> {
        let request = Request::Origin { public: hex::encode(key.spki_der()) };
        let limit = self.shared.config.deadline;
        let (reply, _) = self.call_unlocked("looking at a key", &request, &[], limit)?;
        let Reply::Origin { facts } = reply else { return Err(nonsense()) };
        facts.fault().map_or(Ok(()), |why| Err(BackendError::Foreign { why: why.to_owned() }))
    }

    fn shutdown(&self) {
        self.lock();
        self.shared.shutdown();
    }
}

impl Drop for Pkcs11Token {
    fn drop(&mut self) {
        self.shared.shutdown();
    }
}

/// Keeps what is known of the token fresh, and its helper alive, while nobody else talks to it.
fn watch(shared: &Shared) {
    loop {
        if let Some(mut link) = shared.try_link() {
            // What is wrong is noted, and told to whoever asks.
            let _ = shared.ready(&mut link).and_then(|()| shared.look(&mut link));
        }
        if !shared.wait_for_work() {
            return;
        }
    }
}

fn nonsense() -> BackendError {
    BackendError::Failed {
        why: "the helper gave an answer that does not belong to the question".to_owned(),
        remedy: "report this".to_owned(),
    }
}

const GENERATE_DEADLINE: Duration = Duration::from_secs(180);

/// Whether a key that was imported signs without anybody at hand. A card that wants a touch, or the PIN each time, has said
/// that the private key belongs to the public one.
fn tried_at_once(key: &StoredKey) -> bool {
    key.place.is_none_or(|place| place.touch == Touch::Never && place.pin != PinPolicy::Always)
}
