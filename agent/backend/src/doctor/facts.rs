//! What was measured of a module: facts, no opinions.
//!
//! The helper answers each probe with the facts that it found; the agent puts them together. All of it may be
//! absent: not measured, because there was no PIN, or because the module died or refused.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The answer to a question that has two, or none yet.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Finding {
    /// It was tried, and it is so.
    Yes,
    /// It was tried, and it is not: what the module answered.
    No(String),
    /// It was not tried, or not to its end.
    #[default]
    Unknown,
}

impl Finding {
    /// Tried, and so.
    #[must_use]
    pub fn is_yes(&self) -> bool {
        *self == Self::Yes
    }

    /// Tried, and not so.
    #[must_use]
    pub fn is_no(&self) -> bool {
        matches!(self, Self::No(_))
    }

    /// What the module answered when it was not so.
    #[must_use]
    pub fn why_not(&self) -> &str {
        match self {
            Self::No(why) => why,
            Self::Yes | Self::Unknown => "",
        }
    }
}

/// All that is known of a module and its token.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Facts {
    /// The library's words about itself.
    pub library: Option<Library>,
    /// The token's words about itself.
    pub token: Option<TokenFacts>,
    /// The mechanisms that it lists.
    pub mechanisms: Option<Vec<MechanismFacts>>,
    /// How many sessions there can be.
    pub sessions: Option<SessionFacts>,
    /// It was logged in for the measuring, or needs no login.
    pub logged_in: bool,
    /// What is wrong with objects that are there.
    pub odd_objects: Option<String>,
    /// Which keys that are there cannot be used.
    #[serde(default)]
    pub unfit_keys: Option<String>,
    /// Where keys that are made to measure can lie.
    pub place: Option<Place>,
    /// What was found of each curve: `ed25519`, `ecdsa-p256`, `ecdsa-p384`.
    pub curves: BTreeMap<String, CurveFacts>,
    /// Lengths of a digest under P-256 that it signed; only 32 is right. Others were refused.
    pub digest_lengths: Option<Vec<u32>>,
    /// More about Ed25519.
    pub eddsa: EddsaFacts,
    /// RSA of 3072 bits.
    pub rsa: Option<RsaFacts>,
    /// What it says of a key that was made there.
    pub generated: Option<OriginFacts>,
    /// What it says of a key that was brought in; none when it takes none.
    pub imported: Option<OriginFacts>,
    /// Whether a private key can be brought in.
    pub import: Finding,
    /// Whether two keys can have the same label and id.
    pub duplicates: Finding,
    /// Keys that demand a login for each signature.
    pub always: Option<AlwaysFacts>,
    /// What login and logout do.
    pub logins: Option<LoginFacts>,
    /// Objects of a run that was killed, which were found and removed.
    pub removed: u32,
    /// Objects that doctor made and could not remove: their labels.
    pub left: Vec<String>,
    /// Probes that the module did not survive.
    pub troubles: Vec<Trouble>,
    /// Probes that were not made or gave nothing, and why.
    pub not_measured: Vec<NotMeasured>,
}

impl Facts {
    /// Takes over what another probe found.
    pub(crate) fn add(&mut self, more: Self) {
        take(&mut self.library, more.library);
        take(&mut self.token, more.token);
        take(&mut self.mechanisms, more.mechanisms);
        take(&mut self.sessions, more.sessions);
        self.logged_in |= more.logged_in;
        take(&mut self.odd_objects, more.odd_objects);
        take(&mut self.unfit_keys, more.unfit_keys);
        take(&mut self.place, more.place);
        self.curves.extend(more.curves);
        take(&mut self.digest_lengths, more.digest_lengths);
        self.eddsa.add(more.eddsa);
        take(&mut self.rsa, more.rsa);
        take(&mut self.generated, more.generated);
        take(&mut self.imported, more.imported);
        find(&mut self.import, more.import);
        find(&mut self.duplicates, more.duplicates);
        match (&mut self.always, more.always) {
            (Some(own), Some(more)) => own.add(more),
            (own, more) => take(own, more),
        }
        take(&mut self.logins, more.logins);
        self.removed = self.removed.saturating_add(more.removed);
        self.left.extend(more.left);
        self.troubles.extend(more.troubles);
        self.not_measured.extend(more.not_measured);
    }

    /// Whether the module lists a mechanism, by its name in the standard; `None` when it gave no list.
    #[must_use]
    pub fn lists(&self, mechanism: &str) -> Option<bool> {
        Some(self.mechanisms.as_ref()?.iter().any(|listed| listed.name == mechanism))
    }
}

fn take<T>(own: &mut Option<T>, more: Option<T>) {
    if more.is_some() {
        *own = more;
    }
}

fn find(own: &mut Finding, more: Finding) {
    if more != Finding::Unknown {
        *own = more;
    }
}

/// C_GetInfo.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Library {
    /// Who made it.
    pub manufacturer: String,
    /// Its name for itself.
    pub description: String,
    /// Its version.
    pub version: String,
    /// The version of PKCS#11 that it speaks.
    pub cryptoki: String,
}

/// C_GetTokenInfo and C_GetSlotInfo.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenFacts {
    /// Its label.
    pub label: String,
    /// Its serial number.
    pub serial: String,
    /// Who made it.
    pub manufacturer: String,
    /// What it is.
    pub model: String,
    /// Version of its firmware.
    pub firmware: String,
    /// CKF_HW_SLOT: the slot is a device, says the module.
    pub hardware: bool,
    /// CKF_LOGIN_REQUIRED.
    pub login_required: bool,
    /// CKF_PROTECTED_AUTHENTICATION_PATH: the PIN is typed at the device itself.
    pub pin_pad: bool,
    /// CKF_WRITE_PROTECTED.
    pub write_protected: bool,
    /// CKF_USER_PIN_COUNT_LOW: a wrong PIN was given since the last right one.
    pub count_low: bool,
    /// CKF_USER_PIN_FINAL_TRY.
    pub final_try: bool,
    /// CKF_USER_PIN_LOCKED.
    pub pin_locked: bool,
    /// CKF_USER_PIN_TO_BE_CHANGED.
    pub pin_to_be_changed: bool,
    /// CKF_ERROR_STATE.
    pub error_state: bool,
    /// ulMaxSessionCount.
    pub sessions: Told,
    /// ulMaxRwSessionCount.
    pub rw_sessions: Told,
}

/// A limit as a token tells it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Told {
    /// CK_UNAVAILABLE_INFORMATION.
    #[default]
    Nothing,
    /// CK_EFFECTIVELY_INFINITE.
    NoLimit,
    /// So many.
    Most(u64),
}

/// One entry of C_GetMechanismList.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MechanismFacts {
    /// Such as `CKM_ECDSA`; of one that the standard does not name, its number.
    pub name: String,
    /// CKF_SIGN.
    pub sign: bool,
    /// CKF_GENERATE_KEY_PAIR.
    pub generate: bool,
    /// CKF_HW.
    pub hardware: bool,
    /// Smallest key, in the mechanism's own unit.
    pub smallest: u64,
    /// Largest key.
    pub largest: u64,
}

/// How many sessions could be opened.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionFacts {
    /// So many were open at once.
    pub opened: u32,
    /// What the module answered to the next one; none when the probe ended before the module did.
    pub refused: Option<String>,
}

/// Where a key lies that is made to measure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Place {
    /// In the session: gone with it, whatever happens.
    Session,
    /// On the token: doctor removes it again.
    Token,
}

/// One curve.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CurveFacts {
    /// Forms of CKA_EC_PARAMS that C_GenerateKeyPair takes: `oid`, or a curve's name.
    pub accepted: Vec<String>,
    /// Forms that it refuses, and its answers.
    pub refused: BTreeMap<String, String>,
    /// The form in which CKA_EC_PARAMS is read, for each form that was accepted.
    pub returned: BTreeMap<String, String>,
    /// `raw`, `wrapped` in an OCTET STRING, or what else CKA_EC_POINT is.
    pub point: Option<String>,
    /// Bytes of CKA_EC_POINT.
    pub point_len: u32,
    /// Whether the private object shows the point, too.
    pub point_on_private: Finding,
    /// Ed25519: whether CKM_EC_KEY_PAIR_GEN and the key type CKK_EC are taken, too.
    pub plain_key_type: Finding,
    /// CKM_ECDSA over a digest, or CKM_EDDSA over a whole message: the signature verifies.
    pub signs: Finding,
    /// CKM_ECDSA_SHA256 or CKM_ECDSA_SHA384 over a whole message.
    pub hash_and_sign: Finding,
    /// What CKM_ECDSA gives is DER (RFC 3279), where PKCS#11 says r || s.
    pub signs_in_der: bool,
    /// What CKM_ECDSA_SHA256 or CKM_ECDSA_SHA384 gives is.
    pub hash_and_sign_in_der: bool,
}

/// More about CKM_EDDSA.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct EddsaFacts {
    /// Parameters that ask for Ed25519ph give something else than a pure signature.
    pub heeds_parameters: Finding,
    /// C_SignUpdate and C_SignFinal give the same as C_Sign.
    pub multi_part: Finding,
    /// The longest message that was tried and signed, bytes.
    pub longest: Option<u64>,
    /// A longer one was refused so.
    pub too_long: Option<String>,
}

impl EddsaFacts {
    fn add(&mut self, more: Self) {
        find(&mut self.heeds_parameters, more.heeds_parameters);
        find(&mut self.multi_part, more.multi_part);
        take(&mut self.longest, more.longest);
        take(&mut self.too_long, more.too_long);
    }
}

/// RSA of 3072 bits.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RsaFacts {
    /// A key pair can be made.
    pub generate: Finding,
    /// CKM_SHA256_RSA_PKCS_PSS over a whole message.
    pub pss_whole: Finding,
    /// CKM_RSA_PKCS_PSS over a digest.
    pub pss_digest: Finding,
    /// CKM_SHA256_RSA_PKCS over a whole message.
    pub pkcs1_whole: Finding,
    /// CKM_RSA_PKCS over a DigestInfo.
    pub pkcs1_digest: Finding,
}

/// What attributes say of where a private key comes from and where it can go.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct OriginFacts {
    /// CKA_LOCAL.
    pub local: Option<bool>,
    /// CKA_NEVER_EXTRACTABLE.
    pub never_extractable: Option<bool>,
    /// CKA_ALWAYS_SENSITIVE.
    pub always_sensitive: Option<bool>,
    /// CKA_SENSITIVE.
    pub sensitive: Option<bool>,
    /// CKA_EXTRACTABLE.
    pub extractable: Option<bool>,
    /// CKA_COPYABLE, where false was asked for.
    pub copyable: Option<bool>,
    /// CKA_ALWAYS_AUTHENTICATE, of a key that was made there without it: each signature takes a login of its own.
    pub always_authenticate: Option<bool>,
    /// A template with CKA_COPYABLE is taken.
    pub takes_copyable: Finding,
    /// C_CopyObject makes a copy although CKA_COPYABLE is false.
    pub can_be_copied: Finding,
    /// The module gives out the length of the private number, as it does where it would give the number.
    pub readable: Finding,
}

/// Keys with CKA_ALWAYS_AUTHENTICATE.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct AlwaysFacts {
    /// Such a key can be made, and says so afterwards.
    pub made: Finding,
    /// It does not sign without a login of its own.
    pub honoured: Finding,
    /// After that refusal the session can still be used.
    pub session_lives: Finding,
    /// C_SignInit, C_Login(CKU_CONTEXT_SPECIFIC), C_Sign under CKM_ECDSA.
    pub context_digest: Finding,
    /// The same under CKM_ECDSA_SHA256.
    pub context_hash: Finding,
    /// C_Logout and C_Login, then C_Sign.
    pub fresh_login: Finding,
}

impl AlwaysFacts {
    fn add(&mut self, more: Self) {
        find(&mut self.made, more.made);
        find(&mut self.honoured, more.honoured);
        find(&mut self.session_lives, more.session_lives);
        find(&mut self.context_digest, more.context_digest);
        find(&mut self.context_hash, more.context_hash);
        find(&mut self.fresh_login, more.fresh_login);
    }
}

/// What login and logout do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LoginFacts {
    /// A second session of the process is logged in with the first.
    pub shared: Finding,
    /// What a second C_Login answers; `CKR_OK` is an answer, too.
    pub second: Option<String>,
    /// Logged out, private keys are not shown.
    pub hides_private: Finding,
    /// The handle of a session's own key still signs after logout and login.
    pub session_handle: Finding,
    /// The handle of a key of the token is still that key after logout and login; it was only looked at.
    pub token_handle: Finding,
}

/// A probe that the module did not survive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trouble {
    /// What was tried.
    pub probe: String,
    /// What its helper did, such as "died (signal: 6 (SIGABRT))".
    pub how: String,
}

/// What is not known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotMeasured {
    /// What would have been tried.
    pub probe: String,
    /// Why it was not, or what the module answered.
    pub why: String,
}

impl NotMeasured {
    /// Whether it is this probe, or a part of it.
    pub(crate) fn is_of(&self, probe: &str) -> bool {
        self.probe.strip_prefix(probe).is_some_and(|part| part.is_empty() || part.starts_with(": "))
    }
}
