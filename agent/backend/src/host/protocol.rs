//! What the agent and a token's helper say to each other, over one socket pair.
//!
//! Here is what is said; how it travels is in [`frame`].

mod frame;

pub(crate) use frame::{Caps, Frame, WireError, parse_head, read_frame, write_frame};

use serde::{Deserialize, Serialize};

use super::confine::{Confinement, Limits};
use super::doctor::Probe;
use crate::Origin;
use crate::card::{CardFacts, CardOptions, SlotFacts};
use crate::doctor::{Facts, How, OriginFacts, Place};

/// What the agent asks. Answers are in the comments; [`Reply::Error`] is possible for all.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "kebab-case")]
pub(crate) enum Request {
    /// Check, open and hash the module's file, load nothing yet. [`Reply::Opened`]
    Open(Setup),
    /// From here on touch nothing but this. [`Reply::Confined`]
    Confine(Limits),
    /// Load the file that was opened and initialise the module. [`Reply::Loaded`]
    Load,
    /// Host the YubiKey of this serial number, for the token of this name, and touch nothing but what that takes.
    /// [`Reply::Confined`]
    OpenCard { serial: u32, token: String },
    /// Look whether the token is there. [`Reply::Status`]
    Poll,
    /// The same, and what it tells of its tries now. [`Reply::Status`]
    Look,
    /// One C_Login; the tail is the PIN. [`Reply::Status`]
    Login {
        /// Also when the token says that this is the final try.
        last_try: bool,
        /// The token that the PIN is for: another one is not asked.
        meant: Wanted,
    },
    /// Use a token that wants no PIN, without a login. [`Reply::Status`]
    Enter {
        /// The token that is meant.
        serial: Option<String>,
    },
    /// C_Logout. [`Reply::Done`]
    Logout,
    /// Public keys. [`Reply::Keys`]
    List,
    /// Make a key pair. [`Reply::Key`]
    Generate {
        name: String,
        kind: String,
        /// The curve's name, for a module that was measured to take no OID.
        curve_name: Option<String>,
        /// Of a YubiKey; the tail is then its management key, or empty.
        #[serde(default)]
        card: CardOptions,
    },
    /// Store the private key in the tail: seed, scalar or PKCS#1 DER. For a YubiKey its management key comes first, of
    /// so many bytes. [`Reply::Key`]
    Import {
        name: String,
        public: String,
        #[serde(default)]
        card: CardOptions,
        #[serde(default)]
        management_len: usize,
    },
    /// Destroy the objects of a public key (SPKI, DER, hexadecimal). For a YubiKey the tail is its management key, or
    /// empty. [`Reply::Removed`], [`Reply::Done`] of a YubiKey
    Remove {
        public: String,
        /// By which scheme, and how, the private key signs first to show that it is that of the public one; none: it was made
        /// just now.
        #[serde(default)]
        proof: Option<(String, How)>,
    },
    /// The certificate by which a YubiKey says where a key was made, of so many bytes, and that of the key which signed
    /// it. [`Reply::Certificates`]
    Attest { public: String },
    /// What a YubiKey says of itself and of its PIN, PUK and management key. [`Reply::Card`]
    CardFacts,
    /// One attempt with the PUK, of so many bytes, and then a new one. [`Reply::Done`]
    ChangePuk {
        old_len: usize,
        /// Also when one try is left, or the card does not tell.
        #[serde(default)]
        last_try: bool,
        serial: Option<String>,
    },
    /// One attempt with the PUK, of so many bytes, and then a new PIN. [`Reply::Done`]
    Unblock {
        puk_len: usize,
        /// As in [`Request::ChangePuk`].
        #[serde(default)]
        last_try: bool,
        serial: Option<String>,
    },
    /// The management key, of so many bytes (none: the one that the PIN protects), and then a new one; none: the card's
    /// is made at random, and protected by the PIN. [`Reply::Done`]
    ChangeManagementKey { old_len: usize, protect: bool },
    /// C_SetPIN; the tail is the old PIN, of that many bytes, then the new one. [`Reply::Done`]
    ChangePin { old_len: usize, last_try: bool, meant: Wanted },
    /// Sign the tail, a digest for ECDSA and the whole message otherwise, with the private key of
    /// a public key (SPKI, DER, hexadecimal), by a scheme of metadata. Where `pin_len` is given, so many bytes of the
    /// tail come first: the PIN, for a key that takes it for each signature. [`Reply::Signature`]
    Sign {
        public: String,
        scheme: String,
        pin_len: Option<usize>,
        /// What the module was measured to want; the tail is then that.
        how: How,
        /// The PIN of one signature goes into a login before it, because the module was measured to know no other.
        login_before: bool,
        /// The token that the PIN is for.
        #[serde(default)]
        meant: Wanted,
    },
    /// What the token says of where a private key comes from and can go. [`Reply::Origin`]
    Origin { public: String },
    /// Whether a private key takes the PIN for each signature. [`Reply::EachUse`]
    EachUse { public: String },
    /// Comes after [`Reply::Presents`], while another request is carried out: whether that was counted.
    Present { counted: bool },
    /// One probe of `token doctor`; the tail is a PIN that the token took, or empty. [`Reply::Facts`]
    Probe {
        probe: Probe,
        /// Where keys can lie that are made to measure.
        place: Option<Place>,
        /// The module has so few sessions that none is kept beside.
        alone: bool,
        /// The token that is measured, and that the PIN is for.
        meant: Wanted,
    },
}

impl Request {
    /// Whether a PIN is presented to the token.
    pub(crate) const fn presents_pin(&self) -> bool {
        matches!(
            self,
            Self::Login { .. }
                | Self::ChangePin { .. }
                | Self::ChangePuk { .. }
                | Self::Unblock { .. }
                | Self::Sign { pin_len: Some(_), .. }
        )
    }

    /// Whether a PIN or a private key is in its tail.
    pub(crate) const fn carries_secret(&self) -> bool {
        self.presents_pin()
            || matches!(
                self,
                Self::Generate { .. }
                    | Self::Import { .. }
                    | Self::Remove { .. }
                    | Self::ChangeManagementKey { .. }
                    | Self::Probe { .. }
            )
    }
}

/// What the helper answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "kebab-case")]
pub(crate) enum Reply {
    /// The module's file: where it really lies and its SHA-256 in hexadecimal.
    Opened { path: String, sha256: String },
    /// What it keeps to.
    Confined(Confinement),
    /// The module's own name for itself.
    Loaded { library: String },
    /// What the token says about itself.
    Status(TokenStatus),
    /// The keys; `all`: their private halves were seen, too. Otherwise some may have none there.
    /// `odd`: what is wrong with objects of the token. `unfit`: which keys of it cannot be used. `of`: what the module's token whose keys they are says about itself.
    Keys {
        keys: Vec<WireKey>,
        all: bool,
        odd: Option<String>,
        unfit: Option<String>,
        of: Option<Box<TokenStatus>>,
    },
    /// The key that was made.
    Key { key: WireKey },
    /// Comes before the answer: this slot of the module is asked now for its token; none: no slot any more.
    AsksSlot { slot: Option<u64> },
    /// Comes before the answer, from a YubiKey that is asked now for what wants a touch.
    Asked,
    /// Comes before the answer, from a YubiKey that has forgotten the PIN that it accepted: it is to be presented again, once
    /// the agent has counted that ([`Request::Present`]).
    Presents,
    /// Comes after that: the card has accepted it, or says that it has counted nothing.
    Presented { accepted: bool },
    /// The tail is the signature as the token gave it.
    Signature {
        /// The PIN that came with the request was presented.
        presented: bool,
    },
    /// What the token says of a private key.
    Origin { facts: OriginFacts },
    /// Whether the private key takes the PIN for each signature.
    EachUse { pin: bool },
    /// The tail is two certificates, DER; the first has so many bytes.
    Certificates { first_len: usize },
    /// What a YubiKey says of itself.
    Card { facts: CardFacts },
    /// What a probe found.
    Facts { facts: Box<Facts> },
    /// The objects of a key were destroyed; `private`: the private one, too. Otherwise it stays, as it is not of that key, or
    /// cannot show that it is.
    Removed { private: bool },
    /// It was done.
    Done,
    /// It was not done.
    Error(HostError),
}

/// What the helper must know to find module and token.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Setup {
    /// Absolute path of the module.
    pub(crate) module: String,
    /// C_Initialize's reserved string (NSS).
    pub(crate) reserved: Option<String>,
    /// Which of the module's tokens it is.
    pub(crate) wanted: Wanted,
    /// So many signatures may be made at once.
    pub(crate) sessions: usize,
    /// Slots that are asked last, as a helper before has hung in them.
    #[serde(default)]
    pub(crate) last: Vec<u64>,
    /// Keys (SPKI, DER, hexadecimal) whose signatures failed until the module was started anew for it.
    #[serde(default)]
    pub(crate) unwell: Vec<String>,
}

/// Which token; what is given must all be equal.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wanted {
    /// Its label.
    pub label: Option<String>,
    /// Its serial number.
    pub serial: Option<String>,
    /// Who made it.
    pub manufacturer: Option<String>,
    /// Its model.
    pub model: Option<String>,
}

impl Wanted {
    /// This very token, by what tells it from others: serial number, label and maker. Its model may be another one after an
    /// update, and counts only where it has no serial number.
    pub(crate) fn only([serial, label, manufacturer, model]: [&str; 4]) -> Self {
        let text = |text: &str| Some(text.to_owned());
        if manufacturer.is_empty() && model.is_empty() && !has_no_serial(serial) {
            // A YubiKey's number is its alone.
            return Self { serial: text(serial), ..Self::default() };
        }
        Self {
            label: text(label),
            serial: text(serial),
            manufacturer: text(manufacturer),
            model: text(model).filter(|_| has_no_serial(serial)),
        }
    }

    /// Whether a token is the one that is meant.
    pub(crate) fn fits(&self, status: &TokenStatus) -> bool {
        let fits = |wanted: &Option<String>, is: &str| wanted.as_deref().is_none_or(|wanted| wanted == is);
        fits(&self.label, &status.label)
            && fits(&self.serial, &status.serial)
            && fits(&self.manufacturer, &status.manufacturer)
            && fits(&self.model, &status.model)
    }

    /// # Errors
    /// `Swapped`: another one is there, which is not to be asked with the PIN.
    pub(crate) fn check(&self, status: &TokenStatus) -> Result<(), HostError> {
        if self.fits(status) {
            return Ok(());
        }
        let TokenStatus { serial: there, label, manufacturer, model, .. } = status;
        let message = match &self.serial {
            Some(serial) if serial != there => {
                format!("the PIN is for serial {serial:?}, and serial {there:?} is there")
            }
            _ => format!(
                "the PIN is for another token than the one that is there: serial {there:?}, label {label:?}, model {model:?} of \
                 {manufacturer:?}"
            ),
        };
        Err(HostError::new(HostErrorKind::Swapped, message))
    }
}

/// Whether a serial number is none: empty, or the zeros that some modules give to every token.
pub(crate) fn has_no_serial(serial: &str) -> bool {
    serial.chars().all(|c| matches!(c, '0' | ' '))
}

impl TokenStatus {
    /// This very token.
    pub(crate) fn only(&self) -> Wanted {
        Wanted::only([&self.serial, &self.label, &self.manufacturer, &self.model])
    }
}

/// What the token says about itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TokenStatus {
    pub(crate) label: String,
    pub(crate) serial: String,
    /// Of a module's token.
    #[serde(default)]
    pub(crate) model: String,
    /// Of a module's token.
    #[serde(default)]
    pub(crate) manufacturer: String,
    /// Some tries are gone; some modules say so for ever after the first wrong PIN.
    pub(crate) count_low: bool,
    /// One try is left before the PIN is blocked.
    pub(crate) final_try: bool,
    /// The PIN is blocked.
    pub(crate) blocked: bool,
    /// The PIN is typed at the device itself.
    #[serde(default)]
    pub(crate) pin_pad: bool,
    /// By its own words nobody needs to log in.
    #[serde(default)]
    pub(crate) open: bool,
    /// The helper is logged in.
    pub(crate) logged_in: bool,
    /// In the answer to a login: the token has looked at the PIN and accepted it.
    #[serde(default)]
    pub(crate) proven: bool,
    /// The last signature failed in a way that may be the module's: no PIN is presented to it before it was started anew.
    #[serde(default)]
    pub(crate) worn: bool,
    /// Tries that are left, where the token tells.
    #[serde(default)]
    pub(crate) tries_left: Option<u32>,
    /// Of a YubiKey, how many are gone since it accepted its PIN.
    #[serde(default)]
    pub(crate) tries_gone: Option<u32>,
    /// Of a YubiKey, such as "5.7.1".
    #[serde(default)]
    pub(crate) firmware: Option<String>,
    /// Of a YubiKey whose PIN is blocked: its PUK is, too.
    #[serde(default)]
    pub(crate) puk_blocked: bool,
    /// Of a YubiKey, how often it came, or another program was seen to have reset it, since the helper was started.
    #[serde(default)]
    pub(crate) arrivals: u64,
}

impl TokenStatus {
    /// Whether it says of itself what this one says. Its label and model may be others after an update: then it is looked at
    /// as another one.
    pub(crate) fn is_same_token(&self, other: &Self) -> bool {
        let words = |status: &Self| {
            let Self { serial, label, manufacturer, model, .. } = status;
            [serial, label, manufacturer, model].map(String::clone)
        };
        words(self) == words(other)
    }
}

/// A key as the helper found it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct WireKey {
    /// The label, as it stands on the token.
    pub(crate) label: String,
    /// SPKI, DER, hexadecimal.
    pub(crate) public: String,
    /// Where it was made.
    pub(crate) origin: Origin,
    /// Where it lies on a YubiKey, and what it wants.
    #[serde(default)]
    pub(crate) place: Option<SlotFacts>,
}

/// Why the helper did not do it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct HostError {
    pub(crate) kind: HostErrorKind,
    pub(crate) message: String,
    /// What to do, where that is not plain from the kind.
    #[serde(default)]
    pub(crate) remedy: Option<String>,
    /// Tries that are left, where the token tells.
    #[serde(default)]
    pub(crate) tries_left: Option<u32>,
    /// Whose signature it was after which the module is started anew: SPKI, DER, hexadecimal.
    #[serde(default)]
    pub(crate) unwell: Option<String>,
    /// Of a PIN that is blocked: that was seen before one was presented, and none was.
    #[serde(default)]
    pub(crate) unasked: bool,
    /// Of a signature: its PIN was accepted, and it failed after that.
    #[serde(default)]
    pub(crate) accepted: bool,
}

impl HostError {
    pub(crate) fn new(kind: HostErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            remedy: None,
            tries_left: None,
            unwell: None,
            unasked: false,
            accepted: false,
        }
    }

    /// No PIN was presented.
    pub(crate) fn unasked(self) -> Self {
        Self { unasked: true, ..self }
    }

    /// The PIN was accepted before that.
    pub(crate) fn accepted(self) -> Self {
        Self { accepted: true, ..self }
    }

    pub(crate) fn remedy(self, remedy: impl Into<String>) -> Self {
        Self { remedy: Some(remedy.into()), ..self }
    }

    pub(crate) fn tries_left(self, tries: Option<u32>) -> Self {
        Self { tries_left: tries, ..self }
    }
}

/// The kinds that the agent tells apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum HostErrorKind {
    /// The module cannot be trusted, opened or loaded.
    Module,
    /// Others could replace the module.
    Insecure,
    /// The module cannot be confined as its entry says.
    Confinement,
    /// The token is not there.
    Absent,
    /// More than one token could be meant.
    Several,
    /// The token wants a login first.
    NotLoggedIn,
    /// Not tried: the key takes the PIN for each signature, and there was none.
    PinEachUse,
    /// Not tried: somebody traces the helper.
    Traced,
    /// A wrong PIN.
    PinIncorrect,
    /// A wrong PIN, and one try is left.
    PinIncorrectFinalTry,
    /// A PIN that the card had accepted, and does not accept any more.
    PinChanged,
    /// The PIN was presented, and what the module answered does not say whether it was counted as wrong.
    PinUnclear,
    /// Not presented, as the token takes none from programs.
    PinUnasked,
    /// As [`Self::PinUnclear`], and the module is of no use before it is started anew, or has somebody logged in for all that was done.
    PinWorn,
    /// Not tried: it would be the final try.
    FinalTry,
    /// The PIN is blocked.
    PinLocked,
    /// Not tried: another token is in the place of the one that is meant.
    Swapped,
    /// The new PIN is not one that the token takes.
    PinRefused,
    /// A wrong PUK.
    PukIncorrect,
    /// Not tried: the PUK may have one try left.
    PukFinalTry,
    /// The PUK is blocked, and the PIN is not.
    PukLocked,
    /// PIN and PUK are both blocked.
    BothLocked,
    /// The management key was not given, or the card does not take it.
    ManagementKey,
    /// Nobody touched the card, which takes its management key only with a touch.
    ManagementTouch,
    /// Nobody touched the card.
    TouchTimeout,
    /// The slot holds a key.
    SlotOccupied,
    /// The reader, the smart card service or another program keeps the card from answering.
    Reader,
    /// Another program has the card, which was not asked.
    Busy,
    /// The same of a card that came since it was last looked: whether it is the one that is meant cannot be seen.
    Held,
    /// No private key belongs to that public key.
    KeyNotFound,
    /// More than one private key could be meant.
    Ambiguous,
    /// The label is in use.
    NameTaken,
    /// The public key is there already.
    Duplicate,
    /// The token cannot do that.
    Unsupported,
    /// Anything else that the module said.
    Device,
    /// The same, and the module is of no use before it is started anew. Nobody is logged in any more, as far as it can help it.
    Worn,
    /// The request made no sense.
    Protocol,
}
