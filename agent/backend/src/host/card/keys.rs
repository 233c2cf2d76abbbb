//! The keys of a card: found by their public halves, made, stored and removed, and what the card says of them.

use rsa::pkcs1::UintRef;
use tuf::key::{KeyType, PublicKey};
use zeroize::Zeroizing;

use super::apdu::{Data, Fault, Session};
use super::names::Names;
use super::piv::SlotKey;
use super::{Answer, CardHost, Held};
use crate::Origin;
use crate::card::{CardOptions, PinPolicy, SlotFacts, SlotId};
use crate::doctor::OriginFacts;
use crate::host::line::Line;
use crate::host::login::not_traced;
use crate::host::plain;
use crate::host::protocol::{HostError, HostErrorKind, Reply, WireKey};

impl CardHost {
    /// Makes a key in an empty slot, or in the place of the one that is there, when that was said.
    pub(super) fn generate(
        &mut self,
        name: &str,
        kind: KeyType,
        options: CardOptions,
        (management, line): (&[u8], &Line<'_>),
    ) -> Answer {
        not_traced()?;
        let key = self.with_card(|session, host| {
            host.takes(kind)?;
            host.put(session, name, options, (management, line), |session, facts| {
                Ok((session.generate(facts, kind)?, Origin::Generated))
            })
        })?;
        plain(Reply::Key { key })
    }

    /// Stores a private key that was made elsewhere.
    pub(super) fn import(
        &mut self,
        name: &str,
        public: &PublicKey,
        options: CardOptions,
        (management, secret): (&[u8], &[u8]),
        line: &Line<'_>,
    ) -> Answer {
        not_traced()?;
        let kind = public.key_type();
        let parts = parts(kind, secret)?;
        let key = self.with_card(|session, host| {
            host.takes(kind)?;
            let wanted = hex::encode(public.spki_der());
            if let Some(known) = host.list(session)?.into_iter().find(|known| known.public == wanted) {
                return Err(HostError::new(HostErrorKind::Duplicate, known.label).into());
            }
            host.put(session, name, options, (management, line), |session, facts| {
                session.import(facts, kind, &parts)?;
                // The card makes the public half of what it was given by itself.
                if session.slot(facts.slot)?.and_then(|key| key.public).as_ref() == Some(public) {
                    return Ok((public.clone(), Origin::Imported));
                }
                let message = format!("use that key: what lies in slot {} now is another one", facts.slot);
                Err(HostError::new(HostErrorKind::Unsupported, message).into())
            })
        })?;
        plain(Reply::Key { key })
    }

    pub(super) fn remove(&mut self, public: &PublicKey, management: &[u8], line: &Line<'_>) -> Answer {
        not_traced()?;
        self.with_card(|session, host| {
            let slot = host.key_of(session, public)?.facts.slot;
            host.needs([5, 7, 0], "removing a key")?;
            host.manage(session, (management, line), |session| {
                let names = Names::read_to_change(session)?;
                session.delete(slot)?;
                names.set(session, slot, None)
            })
        })?;
        plain(Reply::Done)
    }

    /// What the card says of where a key comes from: one that was made there never leaves it.
    pub(super) fn origin(&mut self, public: &PublicKey) -> Answer {
        let made = self.find(public)?.origin == Origin::Generated;
        let (made, never) = (Some(made), Some(false));
        let facts = OriginFacts {
            local: made,
            never_extractable: made,
            always_sensitive: made,
            sensitive: Some(true),
            extractable: never,
            copyable: never,
            ..OriginFacts::default()
        };
        plain(Reply::Origin { facts })
    }

    pub(super) fn attest(&mut self, public: &PublicKey) -> Answer {
        let (first, second) = self.with_card(|session, host| {
            let key = host.key_of(session, public)?;
            let certificate = session.attest(key.facts.slot)?.ok_or_else(|| {
                let message = "attest that key: it was not made on it";
                HostError::new(HostErrorKind::Unsupported, message)
            })?;
            let signer = session
                .object(ATTESTATION)?
                .and_then(|object| super::tlv::value_of(&[0x70], &object).map(<[u8]>::to_vec));
            let signer = signer.ok_or_else(|| {
                HostError::new(HostErrorKind::Unsupported, "attest keys: its attestation certificate is gone")
            })?;
            Ok((certificate, signer))
        })?;
        let reply = Reply::Certificates { first_len: first.len() };
        Ok((reply, Zeroizing::new([first.as_slice(), &second].concat())))
    }
}

impl Held<'_> {
    /// All keys, as people are told of them.
    pub(super) fn list(&self, session: &Session<'_>) -> Result<Vec<WireKey>, Fault> {
        let keys = self.keys(session)?;
        let names = if keys.is_empty() { Names::default() } else { Names::read(session)? };
        let wire = |key: SlotKey| {
            let public = key.public?;
            let name = names.of(key.facts.slot, &public).map(str::to_owned);
            let label = name.unwrap_or_else(|| format!("{}-{}", self.token, key.facts.slot));
            let public = hex::encode(public.spki_der());
            Some(WireKey { label, public, origin: key.origin, place: Some(key.facts) })
        };
        Ok(keys.into_iter().filter_map(wire).collect())
    }

    fn keys(&self, session: &Session<'_>) -> Result<Vec<SlotKey>, Fault> {
        self.needs([5, 3, 0], "listing keys")?;
        let mut keys = Vec::new();
        for slot in SlotId::all() {
            keys.extend(session.slot(slot)?);
        }
        Ok(keys)
    }

    /// The key whose public half that is.
    pub(super) fn key_of(&mut self, session: &Session<'_>, public: &PublicKey) -> Result<SlotKey, Fault> {
        let is_meant = |key: &SlotKey| key.public.as_ref() == Some(public);
        if let Some(slot) = self.slots.get(public)
            && let Some(key) = session.slot(*slot)?.filter(is_meant)
        {
            return Ok(key);
        }
        let found = self.keys(session)?.into_iter().find(is_meant);
        let key =
            found.ok_or_else(|| HostError::new(HostErrorKind::KeyNotFound, "no slot holds that key"))?;
        self.slots.insert(public.clone(), key.facts.slot);
        Ok(key)
    }

    /// Whether the firmware has keys of this type.
    fn takes(&self, kind: KeyType) -> Result<(), HostError> {
        match kind {
            KeyType::Ed25519 | KeyType::Rsa3072 | KeyType::Rsa4096 => {
                self.needs([5, 7, 0], &format!("a key of type {kind}"))
            }
            _ => Ok(()),
        }
    }

    /// Puts a key into its slot by `put`, and its name beside it.
    fn put(
        &mut self,
        session: &Session<'_>,
        name: &str,
        options: CardOptions,
        (management, line): (&[u8], &Line<'_>),
        put: impl FnOnce(&Session<'_>, SlotFacts) -> Result<(PublicKey, Origin), Fault>,
    ) -> Result<WireKey, Fault> {
        self.needs([5, 3, 0], "keeping keys for signatures")?;
        let facts = SlotFacts {
            slot: options.slot.unwrap_or_default(),
            touch: options.touch.unwrap_or_default(),
            pin: options.pin.unwrap_or(PinPolicy::Once),
        };
        if !options.overwrite && session.slot(facts.slot)?.is_some() {
            return Err(HostError::new(HostErrorKind::SlotOccupied, facts.slot.to_string()).into());
        }
        let is_elsewhere = |key: &WireKey| key.place.is_none_or(|place| place.slot != facts.slot);
        if self.list(session)?.iter().any(|key| key.label == name && is_elsewhere(key)) {
            return Err(HostError::new(HostErrorKind::NameTaken, name).into());
        }
        let (public, origin) = self.manage(session, (management, line), |session| {
            let names = Names::read_to_change(session)?;
            let made = put(session, facts)?;
            names.set(session, facts.slot, Some((&made.0, name)))?;
            Ok(made)
        })?;
        let public = hex::encode(public.spki_der());
        Ok(WireKey { label: name.to_owned(), public, origin, place: Some(facts) })
    }

    /// Does `work` with the management key proven, and leaves nothing of that to others.
    fn manage<T>(
        &mut self,
        session: &Session<'_>,
        (management, line): (&[u8], &Line<'_>),
        work: impl FnOnce(&Session<'_>) -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        if management.is_empty() {
            // The PIN opens it.
            self.verified(session, line)?;
        }
        session.authenticate(management, line)?;
        let done = work(session);
        self.leave(session)?;
        done
    }
}

/// The parts of a private key as the card takes them.
fn parts(kind: KeyType, secret: &[u8]) -> Result<Vec<Data>, HostError> {
    match kind {
        KeyType::Ed25519 | KeyType::EcdsaP256 | KeyType::EcdsaP384 => {
            Ok(vec![Zeroizing::new(secret.to_vec())])
        }
        KeyType::Rsa2048 | KeyType::Rsa3072 | KeyType::Rsa4096 => rsa_parts(secret),
        kind => Err(HostError::new(HostErrorKind::Unsupported, format!("a YubiKey has no {kind} keys"))),
    }
}

/// Two primes, what the private exponent is for each, and the coefficient; each half as long as the modulus.
fn rsa_parts(pkcs1: &[u8]) -> Result<Vec<Data>, HostError> {
    let broken = || HostError::new(HostErrorKind::Protocol, "that is no RSA key");
    let key = rsa::pkcs1::RsaPrivateKeyRef::try_from(pkcs1).map_err(|_| broken())?;
    if key.public_exponent.as_bytes() != EXPONENT {
        let message = "a YubiKey takes RSA keys whose public exponent is 65537, and no others";
        return Err(HostError::new(HostErrorKind::Unsupported, message));
    }
    let half = key.modulus.as_bytes().len() / 2;
    let numbers = [key.prime1, key.prime2, key.exponent1, key.exponent2, key.coefficient];
    let padded = |number: UintRef<'_>| {
        let mut part = Zeroizing::new(vec![0; half]);
        let at = half.checked_sub(number.as_bytes().len()).ok_or_else(broken)?;
        part.get_mut(at..).ok_or_else(broken)?.copy_from_slice(number.as_bytes());
        Ok(part)
    };
    numbers.into_iter().map(padded).collect()
}

const EXPONENT: [u8; 3] = [1, 0, 1];
/// Where the certificate lies of the key that attests others.
const ATTESTATION: [u8; 3] = [0x5f, 0xff, 0x01];
