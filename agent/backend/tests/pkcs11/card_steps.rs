//! Each command of what is done with a YubiKey goes wrong in each way that there is (FAULTS C1, C7, D1): one entry is at most one
//! attempt, no fault is taken for a wrong PIN, no try is lost, and the card serves again.

use backend::card::{CardOptions, SlotId, Touch};
use backend::pkcs11::{Asking, Spent, Wanted};
use backend::{Backend as _, BackendError, KeyName, KeyOptions, StoredKey, TokenState};
use tuf::key::{KeyType, PublicKey, Scheme};
use tuf::preimage::{Signable, Statement, StatementKind};
use virtual_yubikey::{Fault, Root};

use crate::Case;
use crate::card::{Bench, PIN, SERIAL};
use crate::lab::{secret, wait_until};

pub const CASES: &[Case] = &[
    ("at_each_command_of_an_unlock_no_fault_is_a_wrong_pin", || all(&UNLOCK)),
    ("at_each_command_of_a_signature_no_fault_is_a_wrong_pin", || all(&SIGN)),
    ("at_each_command_of_a_signature_with_its_pin_no_fault_is_a_wrong_one", || all(&SIGN_EACH)),
    ("at_each_command_of_a_change_of_the_pin_no_fault_is_a_wrong_one", || all(&CHANGE)),
    ("at_each_command_of_an_unblock_no_fault_is_a_wrong_puk", || all(&UNBLOCK)),
    ("at_each_command_of_making_a_key_no_fault_is_a_wrong_pin", || all(&GENERATE)),
    ("at_each_command_of_importing_a_key_no_fault_is_a_wrong_pin", || all(&IMPORT)),
    ("at_each_command_of_removing_a_key_no_fault_is_a_wrong_pin", || all(&REMOVE)),
    ("at_each_command_of_an_attestation_no_fault_is_a_wrong_pin", || all(&ATTEST)),
];

/// Something that is done with a card.
struct Flow {
    name: &'static str,
    /// Attempts that it may cost: one for a PIN that was given, and one for each time that the card forgot the one it accepted.
    most: u64,
    /// The key that it is done with.
    key: Option<&'static str>,
    ready: fn(&Bench),
    run: fn(&Bench, Option<&PublicKey>) -> Result<(), BackendError>,
}

const UNLOCK: Flow = Flow {
    name: "unlock",
    key: None,
    most: 1,
    ready: |bench| {
        bench.token.lock();
        // Done, and not in the middle of what is asked next.
        bench.token.card().unwrap();
    },
    run: |bench, _| bench.token.unlock(&secret(PIN)),
};
const SIGN: Flow = Flow {
    name: "sign",
    key: Some("signs"),
    most: 1,
    ready: |bench| {
        bench.put("signs", "83", CardOptions::default());
        bench.card.forget_its_pin();
    },
    run: |bench, key| bench.sign(key.unwrap(), false),
};
const SIGN_EACH: Flow = Flow {
    name: "sign with the PIN",
    key: Some("each"),
    most: 1,
    ready: |bench| {
        let each = CardOptions { pin: Some(backend::card::PinPolicy::Always), ..CardOptions::default() };
        bench.put("each", "85", each);
    },
    run: |bench, key| bench.sign(key.unwrap(), true),
};
// The new one is the old one: whether it was changed before it went wrong is of no matter.
const CHANGE: Flow = Flow {
    name: "change the PIN",
    key: None,
    most: 1,
    ready: |_| {},
    run: |bench, _| {
        let asking = Asking {
            last_try: false,
            meant: Wanted { serial: Some(SERIAL.to_string()), ..Wanted::default() },
        };
        bench.token.present_change(&secret(PIN), &secret(PIN), &asking).result
    },
};
const UNBLOCK: Flow = Flow {
    name: "unblock",
    key: None,
    most: 1,
    ready: |_| {},
    run: |bench, _| {
        bench
            .token
            .present_unblock(&secret("12345678"), &secret(PIN), (Some(SERIAL.to_string()), true))
            .result
    },
};
const GENERATE: Flow = Flow {
    name: "generate",
    key: None,
    most: 1,
    ready: |bench| bench.card.forget_its_pin(),
    run: |bench, _| {
        let options = of("84", CardOptions { overwrite: true, ..CardOptions::default() });
        bench.token.generate_with(&name("made"), KeyType::EcdsaP256, &options).map(drop)
    },
};
const IMPORT: Flow = Flow {
    name: "import",
    key: None,
    // The management key is behind the PIN; the card forgets it with that, and then the new key signs to be tried.
    most: 2,
    ready: |bench| {
        bench.empty("82");
        bench.card.forget_its_pin();
    },
    run: |bench, _| {
        let options =
            of("82", CardOptions { overwrite: true, touch: Some(Touch::Never), ..CardOptions::default() });
        let key = backend::import::parse_private_key(&secret(KEY), None).unwrap();
        bench.token.import_with(&name("brought"), key, &options).map(drop)
    },
};
const REMOVE: Flow = Flow {
    name: "remove",
    key: Some("goes"),
    most: 1,
    ready: |bench| {
        bench.put("goes", "86", CardOptions::default());
        bench.card.forget_its_pin();
    },
    run: |bench, key| bench.token.remove(key.unwrap()),
};
const ATTEST: Flow = Flow {
    name: "attest",
    key: Some("signs"),
    most: 0,
    ready: |bench| bench.put("signs", "83", CardOptions::default()),
    run: |bench, key| bench.token.attest(key.unwrap()).map(drop),
};

fn name(text: &str) -> KeyName {
    text.parse().unwrap()
}

fn of(slot: &str, card: CardOptions) -> KeyOptions {
    let slot: SlotId = slot.parse().unwrap();
    KeyOptions { card: CardOptions { slot: Some(slot), ..card }, management_key: None }
}

impl Bench {
    fn find(&self, name: &str) -> Option<PublicKey> {
        let keys = self.token.keys().unwrap();
        keys.into_iter().find(|key| key.name.as_str() == name).map(|key| key.public)
    }

    /// A key of this name is in this slot.
    fn put(&self, text: &str, slot: &str, card: CardOptions) {
        if self.find(text).is_none() {
            let options = of(slot, CardOptions { overwrite: true, ..card });
            self.token.generate_with(&name(text), KeyType::EcdsaP256, &options).unwrap();
        }
    }

    /// The slot is empty.
    fn empty(&self, slot: &str) {
        let slot: SlotId = slot.parse().unwrap();
        let is_there = |key: &StoredKey| key.place.is_some_and(|place| place.slot == slot);
        if let Some(key) = self.token.keys().unwrap().into_iter().find(is_there) {
            self.token.remove(&key.public).unwrap();
        }
    }

    /// What is needed for it is there.
    fn ready(&self, flow: &Flow) -> Option<PublicKey> {
        self.is_well();
        (flow.ready)(self);
        flow.key.map(|key| self.find(key).unwrap())
    }

    fn sign(&self, key: &PublicKey, with_pin: bool) -> Result<(), BackendError> {
        let what = Statement::new(StatementKind::Drill, "each step");
        let (scheme, what) = (Scheme::EcdsaP256, Signable::Statement(&what));
        let signed = match with_pin {
            true => self.token.sign_with_pin(key, scheme, what, &secret(PIN)),
            false => self.token.sign(key, scheme, what),
        };
        signed.map(drop)
    }

    /// The card is there, and unlocked.
    fn is_well(&self) {
        self.card.order("forgive", Root::shared()).unwrap();
        if !self.card.is_in() {
            self.card.insert();
            self.card.until_seen();
        }
        wait_until(
            || self.token.card().is_ok(),
            || format!("it does not come back: {:?}", self.token.info()),
        );
        if self.token.info().state != TokenState::Unlocked {
            self.token
                .unlock(&secret(PIN))
                .unwrap_or_else(|error| panic!("{error}; {:?}", self.token.info()));
        }
    }

    /// Does it once while nothing goes wrong, to know its commands: each by its instruction, and which one of those it is.
    fn commands(&self, flow: &Flow) -> Vec<(u8, u64)> {
        let key = self.ready(flow);
        let before = self.card.apdus();
        (flow.run)(self, key.as_ref()).unwrap_or_else(|error| panic!("{}: {error}", flow.name));
        let count = usize::try_from(self.card.apdus() - before).unwrap();
        let log = self.card.log();
        let mut commands = Vec::new();
        for entry in &log[log.len() - count..] {
            let nth = commands.iter().filter(|(ins, _)| *ins == entry.ins).count() + 1;
            if nth <= MOST_OF_ONE {
                commands.push((entry.ins, u64::try_from(nth).unwrap()));
            }
        }
        commands
    }

    /// Does it while this goes wrong.
    fn goes_wrong(&self, flow: &Flow, (ins, nth): (u8, u64), fault: &Fault) {
        let key = self.ready(flow);
        let at = format!("{} with {fault:x?} at {ins:02x} number {nth}", flow.name);
        let attempts = || {
            let log = self.card.log();
            let sent = log.iter().filter(|entry| matches!(entry.ins, 0x24 | 0x2c)).count();
            (self.card.counters().verifies, sent)
        };
        let before = attempts();
        self.card.fail_at(ins, nth, fault.clone());
        let end = (flow.run)(self, key.as_ref());
        let after = attempts();
        assert!(after.0 <= before.0 + flow.most && after.1 <= before.1 + 1, "{at}: {before:?}, {after:?}");
        assert_eq!(self.card.tries_left(), (3, 3), "{at}");
        let Err(error) = end else { return };
        assert!(
            !["PIN_INCORRECT", "PIN_BLOCKED", "TOUCH_TIMEOUT"].contains(&error.reason()),
            "{at}: {error}"
        );
        // What was not sent is not counted, whatever the card said before.
        let sent = after != before || matches!(ins, 0x20 | 0x24 | 0x2c);
        assert!(sent || Spent::by(&error) == Spent::Nothing, "{at}: {error}");
        assert_ne!(self.token.info().state, TokenState::Blocked, "{at}");
    }
}

fn all(flow: &Flow) {
    let Some(bench) = Bench::new([5, 7, 1]) else { return };
    let commands = bench.commands(flow);
    assert!(commands.len() > 1, "{}", flow.name);
    for (ins, nth) in commands {
        let goes_wrong = |fault| bench.goes_wrong(flow, (ins, nth), &fault);
        WORDS.iter().for_each(|word| goes_wrong(Fault::Sw(*word)));
        goes_wrong(Fault::Answer(vec![0x90, 0]));
        let changing = CHANGING.contains(&ins);
        if changing {
            DONE_ALL_THE_SAME.iter().for_each(|word| goes_wrong(Fault::SwAfter(*word)));
        }
        if nth == 1 {
            goes_wrong(Fault::Close);
            goes_wrong(Fault::Remove);
        }
        if nth == 1 && changing {
            goes_wrong(Fault::RemoveAfter);
        }
    }
    let key = bench.ready(flow);
    (flow.run)(&bench, key.as_ref()).unwrap_or_else(|error| panic!("{} after all: {error}", flow.name));
}

const KEY: &str = include_str!("../vectors/import/ecdsa-p256.pem");
/// Of commands with one instruction so many are met.
const MOST_OF_ONE: usize = 2;
/// What cards answer: no right, blocked, wrong with two tries and with none left, and others.
const WORDS: &[u16] =
    &[0x6982, 0x6983, 0x63c2, 0x63c0, 0x6985, 0x6a80, 0x6a82, 0x6a88, 0x6d00, 0x6700, 0x6581, 0x6f00];
/// Those of them that are tried where the card has done what it was told.
const DONE_ALL_THE_SAME: &[u16] = &[0x6982, 0x6983, 0x63c2, 0x6f00];
/// Instructions that may be done though they fail.
const CHANGING: &[u8] = &[0x20, 0x24, 0x2c, 0x47, 0x87, 0xdb, 0xf6, 0xfe];
