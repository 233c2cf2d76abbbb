//! What every backend keeps, as a suite that each one runs in its tests.
//!
//! Signatures are judged by ring, which shares no code with the keys and formats here. A broken
//! promise panics with a sentence; this module is compiled for tests alone.
#![allow(
    clippy::panic,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test suite: to panic is how it reports"
)]

mod away;
mod judge;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use secmem::SecretBytes;
use tuf::key::{KeyType, PublicKey, Scheme};
use tuf::metadata::{Limits, Metadata};
use tuf::preimage::{Signable, Statement, StatementKind};

use crate::software::SoftwareKey;
use crate::{Backend, BackendError, ImportedKey, KeyName, Origin, TokenState};

/// A backend under test, and what it says that it can do.
pub struct Subject<'a> {
    /// Locked, and holding no keys but those of earlier runs.
    pub backend: &'a dyn Backend,
    /// The secret that unlocks it.
    pub secret: SecretBytes,
    /// A secret that does not.
    pub wrong_secret: SecretBytes,
    /// The types that it makes.
    pub generates: &'a [KeyType],
    /// The types that it takes; empty when it takes none.
    pub imports: &'a [KeyType],
    /// What it cannot do; each is asked for and must be refused.
    pub cannot: &'a [Ask],
    /// Whether it can say of a key that it was made there, never left and has no copy.
    pub proves_origin: bool,
    /// How many wrong secrets it bears before it locks for good.
    pub wrong_secrets: usize,
    /// How many signatures of each type are judged.
    pub signatures: usize,
}

/// Something that may be asked of a backend and that some cannot do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask {
    /// Make a key of this type.
    Generate(KeyType),
    /// Take a key of this type.
    Import(KeyType),
    /// Destroy a key.
    Remove,
    /// Sign by a scheme that is not the default one of any type.
    Sign(Scheme),
}

impl Subject<'_> {
    /// Runs everything. The backend ends unlocked, with the keys that the suite made and kept.
    ///
    /// # Panics
    /// At the first promise that the backend does not keep.
    pub fn run(&self) {
        self.a_locked_token_refuses_and_says_so();
        self.a_wrong_secret_is_refused();
        self.unlocking_twice_is_fine();
        for kind in self.generates {
            self.a_generated_key_signs(*kind);
        }
        for kind in self.imports {
            self.an_imported_key_signs(*kind);
        }
        self.what_it_cannot_do_is_refused();
        self.a_key_that_takes_no_pin_looks_at_none();
        self.keys_are_chosen_by_public_key();
        self.an_unknown_key_is_not_found();
        self.names_are_taken_once();
        self.many_threads_sign_at_a_time();
        self.locking_ends_use_at_once();
        self.keys_outlive_a_lock();
        self.a_removed_key_is_gone();
        self.the_secret_can_be_changed();
    }

    fn a_locked_token_refuses_and_says_so(&self) {
        let backend = self.backend;
        assert_eq!(backend.state(), TokenState::Locked, "the suite begins with a locked token");
        assert_eq!(backend.info().state, TokenState::Locked, "and says so with all else");
        let made = backend.generate(&name("conf-locked"), KeyType::EcdsaP256);
        assert!(matches!(made, Err(BackendError::Locked)), "generate on a locked token: {made:?}");
        let signed = backend.sign(
            &stranger(),
            stranger().key_type().default_scheme(),
            Signable::Statement(&statement(0)),
        );
        assert!(
            matches!(signed, Err(BackendError::Locked | BackendError::KeyNotFound)),
            "sign on a locked token: {signed:?}"
        );
    }

    fn a_wrong_secret_is_refused(&self) {
        // A store that was never used takes any first secret.
        self.unlock();
        self.backend.lock();
        assert_eq!(self.backend.state(), TokenState::Locked, "after lock");
        let wrong = self.backend.unlock(&self.wrong_secret);
        assert!(matches!(wrong, Err(BackendError::SecretIncorrect { .. })), "a wrong secret: {wrong:?}");
        assert_ne!(self.backend.state(), TokenState::Unlocked, "after a wrong secret");
    }

    fn unlocking_twice_is_fine(&self) {
        self.unlock();
        self.unlock();
        let info = self.backend.info();
        assert!(!info.fresh && info.problem.is_none(), "after unlock: {info:?}");
        assert_eq!(info.state, TokenState::Unlocked, "after unlock, with all else");
    }

    fn a_generated_key_signs(&self, kind: KeyType) {
        let name = name(&format!("conf-made-{kind}"));
        let made = self.backend.generate(&name, kind).unwrap_or_else(|e| panic!("generate {kind}: {e}"));
        assert_eq!((&made.name, made.public.key_type()), (&name, kind));
        assert_eq!(made.origin, Origin::Generated, "where a made {kind} key was made");
        let listed = self.backend.keys().unwrap();
        let found: Vec<_> = listed.iter().filter(|key| key.public == made.public).collect();
        assert_eq!(found.len(), 1, "a made {kind} key is listed once");
        assert_eq!(*found[0], made, "as it is listed");
        self.signatures_are_right(&made.public);
        let told = self.backend.made_here(&made.public);
        match self.proves_origin {
            true => told.unwrap_or_else(|e| panic!("a made {kind} key: {e}")),
            false => {
                assert!(matches!(told, Err(BackendError::Foreign { .. })), "a made {kind} key: {told:?}")
            }
        }
    }

    fn an_imported_key_signs(&self, kind: KeyType) {
        let key = new_key(kind);
        let (public, copy) = (key.public().clone(), copy_of(&key));
        let taken = name(&format!("conf-brought-{kind}"));
        let stored = self.backend.import(&taken, key).unwrap_or_else(|e| panic!("import {kind}: {e}"));
        assert_eq!(stored.public, public);
        assert_ne!(stored.origin, Origin::Generated, "an imported key is not told to be made here");
        self.signatures_are_right(&public);
        let told = self.backend.made_here(&public);
        assert!(matches!(told, Err(BackendError::Foreign { .. })), "an imported {kind} key: {told:?}");
        let again = self.backend.import(&name(&format!("conf-again-{kind}")), copy);
        assert!(
            matches!(&again, Err(BackendError::DuplicateKey { name }) if *name == taken),
            "the same {kind} key under a second name: {again:?}"
        );
    }

    /// Each with UNSUPPORTED, and without a trace.
    fn what_it_cannot_do_is_refused(&self) {
        let before = self.backend.keys().unwrap().len();
        for ask in self.cannot {
            let outcome = match ask {
                Ask::Generate(kind) => self.backend.generate(&name(&format!("conf-never-{kind}")), *kind),
                Ask::Import(kind) => {
                    self.backend.import(&name(&format!("conf-never-{kind}")), new_key(*kind))
                }
                // See `a_removed_key_is_gone`.
                Ask::Remove => continue,
                // With a key that it can make, where there is one: see `signatures_are_right`.
                Ask::Sign(_) => continue,
            };
            assert!(matches!(outcome, Err(BackendError::Unsupported { .. })), "{ask:?}: {outcome:?}");
            assert!(!outcome.unwrap_err().remedy().is_empty());
        }
        assert_eq!(self.backend.keys().unwrap().len(), before, "what was refused leaves nothing");
        if let Some(key) = self.backend.keys().unwrap().first() {
            self.sign_and_judge(&key.public, 9).unwrap();
        }
    }

    /// It would be a wrong one, and cost a try.
    fn a_key_that_takes_no_pin_looks_at_none(&self) {
        let (key, statement) = (self.first_key(), statement(8));
        let (scheme, what) = (self.scheme_of(&key), Signable::Statement(&statement));
        let signature = self.backend.sign_with_pin(&key, scheme, what, &self.wrong_secret).unwrap();
        judge::check(&key, scheme, statement.bytes(), signature.as_bytes());
        assert_eq!(self.backend.state(), TokenState::Unlocked, "after a signature with a PIN");
    }

    fn signatures_are_right(&self, key: &PublicKey) {
        let metadata = Metadata::parse(TIMESTAMP.as_bytes().to_vec(), &Limits::agent()).unwrap();
        let preimage = metadata.preimage();
        let signable = Signable::Metadata(&preimage);
        for scheme in Scheme::ALL.into_iter().filter(|scheme| scheme.fits(key.key_type())) {
            let signed = self.backend.sign(key, scheme, signable);
            match (self.cannot.contains(&Ask::Sign(scheme)), signed) {
                (false, Ok(signature)) => judge::check(key, scheme, signable.bytes(), signature.as_bytes()),
                (true, Err(BackendError::Unsupported { .. })) => {}
                (cannot, other) => {
                    panic!("{scheme}, which it {}: {other:?}", if cannot { "cannot" } else { "can" })
                }
            }
        }
        // Many, for the one in 256 whose r or s begins with a zero.
        for n in 0..self.signatures {
            self.sign_and_judge(key, n).unwrap();
        }
    }

    fn keys_are_chosen_by_public_key(&self) {
        let Some(kind) = self.generates.first() else { return };
        let keys: Vec<_> = ["conf-pair-a", "conf-pair-b"]
            .map(|n| self.backend.generate(&name(n), *kind).unwrap().public)
            .into_iter()
            .collect();
        assert_ne!(keys[0], keys[1]);
        for key in &keys {
            self.sign_and_judge(key, 7).unwrap();
        }
    }

    fn an_unknown_key_is_not_found(&self) {
        let signed = self.backend.sign(
            &stranger(),
            stranger().key_type().default_scheme(),
            Signable::Statement(&statement(0)),
        );
        assert!(matches!(signed, Err(BackendError::KeyNotFound)), "an unknown key: {signed:?}");
        let removed = self.backend.remove(&stranger());
        assert!(matches!(removed, Err(BackendError::KeyNotFound)), "removing an unknown key: {removed:?}");
    }

    fn names_are_taken_once(&self) {
        let Some(kind) = self.generates.first() else { return };
        let before = self.backend.keys().unwrap().len();
        let again = self.backend.generate(&name("conf-pair-a"), *kind);
        assert!(matches!(again, Err(BackendError::NameTaken { .. })), "a taken name: {again:?}");
        if let Some(kind) = self.imports.first() {
            let again = self.backend.import(&name("conf-pair-a"), new_key(*kind));
            assert!(matches!(again, Err(BackendError::NameTaken { .. })), "a taken name: {again:?}");
        }
        assert_eq!(self.backend.keys().unwrap().len(), before, "a refusal adds nothing");
    }

    fn many_threads_sign_at_a_time(&self) {
        let keys = self.backend.keys().unwrap();
        std::thread::scope(|scope| {
            for thread in 0..8 {
                let key = &keys[thread % keys.len()].public;
                scope.spawn(move || {
                    for n in 0..10 {
                        self.sign_and_judge(key, thread * 100 + n).unwrap();
                    }
                });
            }
        });
    }

    fn locking_ends_use_at_once(&self) {
        let key = self.first_key();
        let (stop, signed) = (AtomicBool::new(false), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let (key, stop, signed) = (&key, &stop, &signed);
                scope.spawn(move || {
                    for n in 0.. {
                        match self.sign_and_judge(key, thread * 1_000_000 + n) {
                            Ok(()) => signed.fetch_add(1, Ordering::SeqCst),
                            Err(
                                BackendError::Locked
                                | BackendError::LockedMeanwhile
                                | BackendError::LoginLost,
                            ) => break,
                            Err(other) => panic!("while locking: {other}"),
                        };
                        assert!(!stop.load(Ordering::SeqCst) || n < 1_000_000, "signs although locked");
                    }
                });
            }
            while signed.load(Ordering::SeqCst) < 8 {
                std::thread::yield_now();
            }
            self.backend.lock();
            stop.store(true, Ordering::SeqCst);
            let after = self.backend.sign(&key, self.scheme_of(&key), Signable::Statement(&statement(1)));
            assert!(
                matches!(after, Err(BackendError::Locked | BackendError::LoginLost)),
                "sign after lock: {after:?}"
            );
        });
        assert_eq!(self.backend.state(), TokenState::Locked);
    }

    fn keys_outlive_a_lock(&self) {
        let names = |backend: &dyn Backend| {
            let mut names: Vec<_> = backend.keys().unwrap().into_iter().map(|k| (k.name, k.public)).collect();
            names.sort();
            names
        };
        self.unlock();
        let before = names(self.backend);
        self.backend.lock();
        assert_eq!(names(self.backend), before, "public parts can be listed while locked");
        self.unlock();
        assert_eq!(names(self.backend), before);
        self.sign_and_judge(&self.first_key(), 3).unwrap();
    }

    fn a_removed_key_is_gone(&self) {
        let Some(kind) = self.generates.first() else { return };
        let kept = self.first_key();
        let doomed = self.backend.generate(&name("conf-doomed"), *kind).unwrap().public;
        if self.cannot.contains(&Ask::Remove) {
            let removed = self.backend.remove(&doomed);
            assert!(matches!(removed, Err(BackendError::Unsupported { .. })), "removing a key: {removed:?}");
            return self.sign_and_judge(&doomed, 4).unwrap();
        }
        self.backend.remove(&doomed).unwrap();
        let signed = self.backend.sign(&doomed, self.scheme_of(&doomed), Signable::Statement(&statement(0)));
        assert!(matches!(signed, Err(BackendError::KeyNotFound)), "a removed key: {signed:?}");
        assert!(self.backend.keys().unwrap().iter().all(|key| key.public != doomed));
        self.sign_and_judge(&kept, 4).unwrap();
        // Its name is free again.
        let next = self.backend.generate(&name("conf-doomed"), *kind).unwrap().public;
        assert_ne!(next, doomed);
        self.backend.remove(&next).unwrap();
    }

    fn the_secret_can_be_changed(&self) {
        let new = SecretBytes::copy_from(b"85236914");
        // One wrong secret was given before, and one more is needed below.
        if self.wrong_secrets > 2 {
            let wrong = self.backend.change_secret(&self.wrong_secret, &new);
            assert!(
                matches!(wrong, Err(BackendError::SecretIncorrect { .. })),
                "changing with a wrong one: {wrong:?}"
            );
        }
        self.backend.change_secret(&self.secret, &new).unwrap();
        self.backend.lock();
        let old = self.backend.unlock(&self.secret);
        assert!(matches!(old, Err(BackendError::SecretIncorrect { .. })), "the old secret: {old:?}");
        self.backend.unlock(&new).unwrap();
        self.sign_and_judge(&self.first_key(), 5).unwrap();
        self.backend.change_secret(&new, &self.secret).unwrap();
        self.backend.lock();
        self.unlock();
    }

    fn unlock(&self) {
        self.backend.unlock(&self.secret).unwrap_or_else(|e| panic!("unlock: {e}"));
        assert_eq!(self.backend.state(), TokenState::Unlocked, "after unlock");
    }

    fn first_key(&self) -> PublicKey {
        self.backend.keys().unwrap().swap_remove(0).public
    }

    fn sign_and_judge(&self, key: &PublicKey, n: usize) -> Result<(), BackendError> {
        let (statement, scheme) = (statement(n), self.scheme_of(key));
        let signature = self.backend.sign(key, scheme, Signable::Statement(&statement))?;
        judge::check(key, scheme, statement.bytes(), signature.as_bytes());
        Ok(())
    }

    /// The scheme that new keys get, or the first that the backend can do.
    fn scheme_of(&self, key: &PublicKey) -> Scheme {
        let schemes = std::iter::once(key.key_type().default_scheme()).chain(Scheme::ALL);
        let mut can = schemes.filter(|it| it.fits(key.key_type()) && !self.cannot.contains(&Ask::Sign(*it)));
        can.next().expect("a key that signs by no scheme is no key that it makes")
    }
}

/// A key made in software, as if read from a file.
#[must_use]
pub fn new_key(kind: KeyType) -> ImportedKey {
    ImportedKey::from(SoftwareKey::generate(kind).unwrap())
}

fn copy_of(key: &ImportedKey) -> ImportedKey {
    let der = key.to_pkcs8_der().unwrap();
    ImportedKey::from(SoftwareKey::from_pkcs8(der.reveal_secret_bytes()).unwrap())
}

fn stranger() -> PublicKey {
    new_key(KeyType::EcdsaP256).public().clone()
}

fn statement(n: usize) -> Statement {
    Statement::new(StatementKind::Possession, &format!("conformance {n}"))
}

fn name(text: &str) -> KeyName {
    text.parse().unwrap()
}

const TIMESTAMP: &str = r#"{"signatures": [], "signed": {"_type": "timestamp", "spec_version": "1.0.34",
"version": 1, "expires": "2030-01-01T00:00:00Z", "meta": {"snapshot.json": {"version": 1}}}}"#;
