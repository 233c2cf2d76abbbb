//! What only a YubiKey can do: attest its keys, and change its PUK and its management key.

use secmem::SecretBytes;
use tuf::key::PublicKey;

use super::present::{Presented, Spent};
use super::{Pkcs11Token, nonsense};
use crate::card::CardFacts;
use crate::host::protocol::{Reply, Request};
use crate::{BackendError, KeyOptions};

/// By what a YubiKey says that a key was made on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attestation {
    /// The key's own certificate, DER.
    pub certificate: Vec<u8>,
    /// That of the card's key which signed it, DER.
    pub signer: Vec<u8>,
}

impl Pkcs11Token {
    /// Whether it is a YubiKey.
    #[must_use]
    pub fn is_card(&self) -> bool {
        self.shared.config.is_card()
    }

    /// The management key that was given; none, and the one that the PIN protects is taken.
    pub(super) fn management_key<'a>(&self, options: &'a KeyOptions) -> Result<&'a [u8], BackendError> {
        if !self.is_card() {
            options.none()?;
        }
        Ok(options.management_key.as_ref().map(SecretBytes::reveal_secret_bytes).unwrap_or_default())
    }

    /// The card's word on where a key was made. Needs no PIN.
    ///
    /// # Errors
    /// [`BackendError::KeyNotFound`]; [`BackendError::Unsupported`] for a key that was imported.
    pub fn attest(&self, key: &PublicKey) -> Result<Attestation, BackendError> {
        let request = Request::Attest { public: hex::encode(key.spki_der()) };
        let (reply, tail) = self.call_card("attesting a key", &request, &[])?;
        let Reply::Certificates { first_len } = reply else { return Err(nonsense()) };
        let (certificate, signer) = tail.split_at_checked(first_len).ok_or_else(nonsense)?;
        Ok(Attestation { certificate: certificate.to_vec(), signer: signer.to_vec() })
    }

    /// What the card says of itself. Needs no PIN. What is told of the token from here on is what was seen now: whoever is
    /// asked for its PIN is told the tries that it has left.
    ///
    /// # Errors
    /// When it is not there, or does not answer.
    pub fn card_facts(&self) -> Result<CardFacts, BackendError> {
        let answer = self.call_card("looking at the card", &Request::CardFacts, &[])?.0;
        self.note_what_was_seen();
        match answer {
            Reply::Card { facts } => Ok(facts),
            _ => Err(nonsense()),
        }
    }

    /// Takes note of what its helper knows of the card since it was last asked; the card itself is not asked for that.
    pub(super) fn note_what_was_seen(&self) {
        // Whatever is wrong with the card is noted, too.
        let _ = self.shared.poll(&mut self.shared.link());
    }

    /// One attempt with the old PUK, at the card of this serial number; one that could be the last where that was agreed to alone.
    pub fn present_puk_change(
        &self,
        old: &SecretBytes,
        new: &SecretBytes,
        (serial, last_try): (Option<String>, bool),
    ) -> Presented {
        let (old, new) = (old.reveal_secret_bytes(), new.reveal_secret_bytes());
        let request = Request::ChangePuk { old_len: old.len(), last_try, serial };
        self.present_puk("changing the PUK", &request, &[old, new])
    }

    /// The same with the PUK: the PIN is then a new one, with all its tries.
    pub fn present_unblock(
        &self,
        puk: &SecretBytes,
        pin: &SecretBytes,
        (serial, last_try): (Option<String>, bool),
    ) -> Presented {
        let (puk, pin) = (puk.reveal_secret_bytes(), pin.reveal_secret_bytes());
        let request = Request::Unblock { puk_len: puk.len(), last_try, serial };
        self.present_puk("unblocking the PIN", &request, &[puk, pin])
    }

    fn present_puk(&self, what: &str, request: &Request, tail: &[&[u8]]) -> Presented {
        match self.call_card(what, request, tail) {
            Ok(_) => Presented { spent: Spent::Accepted, result: Ok(()) },
            Err(error) => Presented { spent: Spent::by(&error), result: Err(error) },
        }
    }

    /// Gives the card a new management key: the one given, otherwise one at random that the PIN protects. `old` is the
    /// one that it has; none: the one that the PIN protects. Needs the token unlocked.
    ///
    /// # Errors
    /// [`BackendError::ManagementKey`], [`BackendError::Locked`] and others.
    pub fn change_management_key(
        &self,
        old: Option<&SecretBytes>,
        new: Option<&SecretBytes>,
        protect: bool,
    ) -> Result<(), BackendError> {
        let [old, new] = [old, new].map(|key| key.map(SecretBytes::reveal_secret_bytes).unwrap_or_default());
        let request = Request::ChangeManagementKey { old_len: old.len(), protect };
        let limit = self.shared.config.deadline;
        match self.call_unlocked("changing the management key", &request, &[old, new], limit)?.0 {
            Reply::Done => Ok(()),
            _ => Err(nonsense()),
        }
    }

    /// For what needs no login.
    fn call_card(
        &self,
        what: &str,
        request: &Request,
        tail: &[&[u8]],
    ) -> Result<super::link::Answer, BackendError> {
        let shared = &self.shared;
        if !self.is_card() {
            let what = "do that: it is no YubiKey".to_owned();
            return Err(BackendError::Unsupported { what });
        }
        let mut link = shared.link();
        shared.call(&mut link, what, request, tail, shared.config.deadline)
    }
}
