//! A YubiKey keeps what every backend keeps: a virtual one, behind a real pcscd, through its helper.

use std::collections::BTreeMap;

use backend::card::{CardFacts, CardOptions, PinPolicy, SlotId, Touch};
use backend::conformance::{Ask, Subject};
use backend::pkcs11::{Card as Asked, CardConfig, Pkcs11Token, Settle, Tally};
use backend::{
    Backend, BackendError, ImportedKey, KeyName, KeyOptions, StoredKey, TokenInfo, TokenState,
    UnverifiedSignature,
};
use secmem::SecretBytes;
use softhsm::{Pcsc, Pcscd};
use tuf::key::{KeyType, PublicKey, Scheme};
use tuf::preimage::{Signable, Statement, StatementKind};
use virtual_yubikey::{Card, Fault, Root, State};

use crate::Case;
use crate::lab::{secret, wait_for};
use crate::real::need;

/// As its first word, and with a socket as the second, this program connects to vpcd for the others.
pub const DIAL: &str = "dial-vpcd";

pub const CASES: &[Case] = &[
    ("a_yubikey_keeps_what_every_backend_keeps", a_yubikey_keeps_what_every_backend_keeps),
    (
        "a_management_key_behind_the_pin_is_not_lost_wherever_its_change_is_cut_off",
        a_management_key_behind_the_pin_is_not_lost_wherever_its_change_is_cut_off,
    ),
    (
        "a_puk_that_has_lost_its_tries_by_now_is_presented_only_where_a_last_try_was_agreed_to",
        a_puk_that_has_lost_its_tries_by_now_is_presented_only_where_a_last_try_was_agreed_to,
    ),
    (
        "a_pin_that_no_card_looks_at_is_none_that_it_accepted",
        a_pin_that_no_card_looks_at_is_none_that_it_accepted,
    ),
];

fn a_yubikey_keeps_what_every_backend_keeps() {
    let old = [KeyType::EcdsaP256, KeyType::EcdsaP384, KeyType::Rsa2048];
    let new = [&old[..], &[KeyType::Ed25519, KeyType::Rsa3072]].concat();
    let lacks = [KeyType::Ed25519, KeyType::Rsa3072, KeyType::Rsa4096];
    let lacks: Vec<_> = lacks.into_iter().flat_map(|kind| [Ask::Generate(kind), Ask::Import(kind)]).collect();
    let lacks = [&lacks[..], &[Ask::Remove]].concat();
    for (firmware, types, cannot) in [([5, 4, 3], &old[..], &lacks[..]), ([5, 7, 1], &new[..], &[])] {
        let Some(bench) = Bench::new(firmware) else { return };
        let slots = bench.slots();
        let subject = Subject {
            backend: &slots,
            secret: secret(PIN),
            wrong_secret: secret("wrongpin"),
            generates: types,
            imports: types,
            cannot,
            proves_origin: true,
            wrong_secrets: 3,
            signatures: 20,
        };
        subject.run();
        let pull = || {
            bench.card.remove();
            wait_for(&bench.token, TokenState::Absent);
        };
        let put_back = || {
            bench.card.insert();
            wait_for(&bench.token, TokenState::Locked);
        };
        subject.what_is_pulled_out_comes_back(pull, put_back);
        let facts: CardFacts = bench.token.card_facts().unwrap();
        assert_eq!(
            facts.pin_tries_left,
            Some(3),
            "what the suite got wrong on purpose was made good by what was right"
        );
    }
}

/// Pulled before each command, and after each that writes, before it has answered.
fn a_management_key_behind_the_pin_is_not_lost_wherever_its_change_is_cut_off() {
    for (firmware, at_each) in [([5, 4, 3], false), ([5, 7, 1], true)] {
        // The first time the key of the factory was given, and the new one is nowhere but on the card.
        let Some(bench) = Bench::set_up(firmware) else { return };
        bench.cut_off(Some(FACTORY_KEY), |card| card.fail_at(SET_MANAGEMENT_KEY, 1, Fault::RemoveAfter));
        bench.changes_its_management_key();
        let before = bench.card.apdus();
        bench.changes_its_management_key();
        let commands = bench.card.apdus() - before;
        for nth in (1..=commands).filter(|_| at_each) {
            bench.cut_off(None, |card| card.fail(nth, Fault::Remove));
            bench.changes_its_management_key();
        }
        for (ins, times) in [(PUT_DATA, 2), (SET_MANAGEMENT_KEY, 1)] {
            for nth in 1..=times {
                bench.cut_off(None, |card| card.fail_at(ins, nth, Fault::RemoveAfter));
                bench.changes_its_management_key();
            }
        }
    }
}

/// Another program took them after they were looked at, say.
fn a_puk_that_has_lost_its_tries_by_now_is_presented_only_where_a_last_try_was_agreed_to() {
    let Some(bench) = Bench::new([5, 7, 1]) else { return };
    let wrong =
        |last_try| bench.token.present_unblock(&secret("00000000"), &secret(PIN), (None, last_try)).result;
    for left in [2, 1] {
        assert_eq!(wrong(false).unwrap_err().reason(), "PIN_INCORRECT");
        assert_eq!(bench.card.tries_left(), (3, left));
    }
    let change =
        bench.token.present_puk_change(&secret("00000000"), &secret("27182818"), (None, false)).result;
    for refused in [wrong(false), change] {
        let error = refused.unwrap_err();
        assert_eq!(error.reason(), "PIN_BLOCKED", "{error}");
        assert!(error.remedy().contains("token unblock NAME --last-try"), "{}", error.remedy());
        assert_eq!(bench.card.tries_left(), (3, 1), "{error}");
    }
    bench.token.present_unblock(&secret("12345678"), &secret(PIN), (None, true)).result.unwrap();
    assert_eq!(bench.card.tries_left(), (3, 3));
}

/// As where another program has put the same key into its slot again, under a policy that wants no PIN for each signature.
fn a_pin_that_no_card_looks_at_is_none_that_it_accepted() {
    let Some(bench) = Bench::new([5, 7, 1]) else { return };
    bench.token.unlock(&secret(PIN)).unwrap();
    for (name, pin) in [("often", PinPolicy::Never), ("once", PinPolicy::Once)] {
        let slot = bench.slots().options().unwrap().card.slot;
        let card = CardOptions { slot, pin: Some(pin), ..CardOptions::default() };
        let options = KeyOptions { card, management_key: None };
        let key = bench.token.generate_with(&name.parse().unwrap(), KeyType::EcdsaP256, &options).unwrap();
        let before = bench.card.counters();
        let what = Statement::new(StatementKind::Drill, "a PIN for nothing");
        let (scheme, what) = (Scheme::EcdsaP256, Signable::Statement(&what));
        let made =
            bench.token.make_signature_with_pin(&key.public, scheme, what, &secret("wrongpin")).unwrap();
        assert!(made.left_the_pin(), "what was not presented costs and proves nothing");
        made.verify(&key.public, scheme, what).unwrap();
        // That of the other lets the card look at its PIN once, which it has forgotten when the key was made.
        assert!(bench.card.counters().verifies <= before.verifies + 1);
        assert_eq!(bench.card.tries_left(), (3, 3));
    }
    let slot = bench.slots().options().unwrap().card.slot;
    let card = CardOptions { slot, pin: Some(PinPolicy::Always), ..CardOptions::default() };
    let options = KeyOptions { card, management_key: None };
    let key = bench.token.generate_with(&"each".parse().unwrap(), KeyType::EcdsaP256, &options).unwrap();
    let what = Statement::new(StatementKind::Drill, "a PIN for each");
    let what = Signable::Statement(&what);
    let made =
        bench.token.make_signature_with_pin(&key.public, Scheme::EcdsaP256, what, &secret(PIN)).unwrap();
    assert!(!made.left_the_pin());
    // A touch that does not come says that the PIN before it was accepted, where one was presented.
    bench.card.touch_within(std::time::Duration::from_millis(200));
    for (name, pin) in [("touch", PinPolicy::Never), ("touch-each", PinPolicy::Always)] {
        let slot = bench.slots().options().unwrap().card.slot;
        let card = CardOptions { slot, pin: Some(pin), touch: Some(Touch::Always), ..CardOptions::default() };
        let options = KeyOptions { card, management_key: None };
        let key = bench.token.generate_with(&name.parse().unwrap(), KeyType::EcdsaP256, &options).unwrap();
        let made = bench.token.make_signature_with_pin(&key.public, Scheme::EcdsaP256, what, &secret(PIN));
        let Err(missed) = made else { panic!("nobody touched it") };
        let says_so = matches!(missed, BackendError::TouchTimeout);
        assert_eq!(says_so, pin == PinPolicy::Always, "{missed}");
    }
}

impl Bench {
    /// Begins to change the management key, and pulls the card out where `plan` says.
    fn cut_off(&self, old: Option<&str>, plan: impl FnOnce(&Card)) {
        plan(&self.card);
        // What it says is of no matter: the card may have done it.
        drop(self.token.change_management_key(old.map(secret).as_ref(), None, true));
        wait_for(&self.token, TokenState::Absent);
        self.card.insert();
        wait_for(&self.token, TokenState::Locked);
        self.token.unlock(&secret(PIN)).unwrap();
    }

    /// The card's management key is known: it is taken, and a new one takes its place.
    #[track_caller]
    fn changes_its_management_key(&self) {
        self.token.change_management_key(None, None, true).unwrap();
    }
}

/// Lets the PIN be presented again where the card has forgotten it.
struct NoLedger;

impl Tally for NoLedger {
    fn count(&self, _: &Asked) -> Option<Settle> {
        Some(Box::new(drop))
    }
}

/// A card in a pcscd of its own, and its token: locked, and with its management key behind the PIN, so that keys are made
/// with the token's secret alone, as everywhere else.
pub(crate) struct Bench {
    pub(crate) token: Pkcs11Token,
    pub(crate) card: Card,
    _pcscd: Pcscd,
    _dir: tempfile::TempDir,
}

impl Bench {
    pub(crate) fn new(firmware: [u8; 3]) -> Option<Self> {
        let bench = Self::set_up(firmware)?;
        bench.token.change_management_key(Some(&secret(FACTORY_KEY)), None, true).unwrap();
        bench.token.lock();
        Some(bench)
    }

    /// Unlocked, and with the management key of the factory.
    fn set_up(firmware: [u8; 3]) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let pcsc = need(softhsm::third_party_dir().and_then(|folder| Pcsc::find_or_fetch_in(&folder)), ALL)?;
        let pcscd = need(pcsc.start(dir.path(), (&std::env::current_exe().unwrap(), DIAL)), ALL)?;
        let card = Card::with_state(State::new(SERIAL, firmware, Root::shared()).with_pin(PIN));
        card.plug_in_through(&pcscd.dialer(), pcscd.ports()[0]);
        card.until_seen();
        let variable = |name: &str, path: &std::path::Path| (name.to_owned(), path.display().to_string());
        let socket = variable("PCSCLITE_CSOCK_NAME", &pcscd.socket());
        let library = pcsc.client_library().map(|folder| variable("LD_LIBRARY_PATH", folder));
        let env: BTreeMap<_, _> = library.into_iter().chain([socket]).collect();
        let config = CardConfig { name: "card".parse().unwrap(), serial: SERIAL, env };
        let token = Pkcs11Token::of_card(config, std::env::current_exe().unwrap());
        token.count_by(Box::new(NoLedger));
        wait_for(&token, TokenState::Locked);
        token.unlock(&secret(PIN)).unwrap();
        Some(Self { token, card, _pcscd: pcscd, _dir: dir })
    }

    fn slots(&self) -> NextSlot<'_> {
        NextSlot { token: &self.token }
    }
}

/// Each key goes into the first slot that is empty, where a person would say which.
struct NextSlot<'a> {
    token: &'a Pkcs11Token,
}

impl NextSlot<'_> {
    fn options(&self) -> Result<KeyOptions, BackendError> {
        let taken = self.token.keys()?;
        let is_free =
            |slot: &SlotId| taken.iter().all(|key| key.place.is_none_or(|place| place.slot != *slot));
        let slot = SlotId::all().find(is_free);
        Ok(KeyOptions { card: CardOptions { slot, ..CardOptions::default() }, management_key: None })
    }
}

impl Backend for NextSlot<'_> {
    fn info(&self) -> TokenInfo {
        self.token.info()
    }

    fn unlock(&self, secret: &SecretBytes) -> Result<(), BackendError> {
        self.token.unlock(secret)
    }

    fn lock(&self) {
        self.token.lock();
    }

    fn keys(&self) -> Result<Vec<StoredKey>, BackendError> {
        self.token.keys()
    }

    fn generate(&self, name: &KeyName, kind: KeyType) -> Result<StoredKey, BackendError> {
        self.token.generate_with(name, kind, &self.options()?)
    }

    fn import(&self, name: &KeyName, key: ImportedKey) -> Result<StoredKey, BackendError> {
        self.token.import_with(name, key, &self.options()?)
    }

    fn remove(&self, key: &PublicKey) -> Result<(), BackendError> {
        self.token.remove(key)
    }

    fn change_secret(&self, old: &SecretBytes, new: &SecretBytes) -> Result<(), BackendError> {
        self.token.change_secret(old, new)
    }

    fn make_signature(
        &self,
        key: &PublicKey,
        scheme: Scheme,
        what: Signable<'_>,
    ) -> Result<UnverifiedSignature, BackendError> {
        self.token.make_signature(key, scheme, what)
    }

    fn make_signature_with_pin(
        &self,
        key: &PublicKey,
        scheme: Scheme,
        what: Signable<'_>,
        pin: &SecretBytes,
    ) -> Result<UnverifiedSignature, BackendError> {
        self.token.make_signature_with_pin(key, scheme, what, pin)
    }

    fn made_here(&self, key: &PublicKey) -> Result<(), BackendError> {
        self.token.made_here(key)
    }

    fn shutdown(&self) {
        self.token.shutdown();
    }
}

const ALL: &str = "TUFAGENT_REQUIRE_ALL";
const PUT_DATA: u8 = 0xdb;
const SET_MANAGEMENT_KEY: u8 = 0xff;
pub(crate) const SERIAL: u32 = 15_350_077;
pub(crate) const PIN: &str = "47110815";
/// It is in every manual.
const FACTORY_KEY: &str =
    "\x01\x02\x03\x04\x05\x06\x07\x08\x01\x02\x03\x04\x05\x06\x07\x08\x01\x02\x03\x04\x05\x06\x07\x08";
