//! Where a probe works: sessions, logins with a PIN that was taken before, keys that are gone afterwards.

use std::cell::{Cell, RefCell};
use std::ops::Deref;
use std::rc::Rc;

use cryptoki::context::Pkcs11;
use cryptoki::error::{Error, RvError};
use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, AttributeType};
use cryptoki::session::{Session, SessionState, UserType};
use cryptoki::slot::Slot;
use cryptoki::types::RawAuthPin;

use super::answers::{cannot, telling};
use super::pair::Pair;
use super::{Probe, Stop};
use crate::doctor::{Facts, NotMeasured, Place};
use crate::host::always::has_no_context_login;
use crate::host::attributes::attributes;
use crate::host::codec::Curve;
use crate::host::faults::told;
use crate::host::find::find_exactly;
use crate::host::keys::{private_key, public_key, template_is_refused};
use crate::host::line::Line;
use crate::host::live::open;
use crate::host::login::not_traced;
use crate::host::objects::what_is_odd;
use crate::host::protocol::{HostError, HostErrorKind, Wanted};
use crate::host::search::status;
use crate::host::single::SingleSign;

/// One probe's place to work.
pub(super) struct Bench<'a> {
    pub(super) pkcs11: &'a Pkcs11,
    pub(super) single: &'a SingleSign,
    pub(super) slot: Slot,
    pub(super) place: Place,
    pub(super) probe: Probe,
    pin: &'a [u8],
    line: &'a Line<'a>,
    meant: &'a Wanted,
    /// CKA_ID of the pairs of this probe, which no other key has. Long: where ids name the slots of a card, none is meant.
    id: [u8; ID_LEN],
    /// Counts logouts: a handle of before may be that of another object after the next login (PKCS#11 v2.40, 2.5).
    logouts: Rc<Cell<u32>>,
    pub(super) missed: Rc<RefCell<Vec<NotMeasured>>>,
}

impl<'a> Bench<'a> {
    pub(super) fn new(
        pkcs11: &'a Pkcs11,
        single: &'a SingleSign,
        slot: Slot,
        (probe, place): (Probe, Place),
        (pin, line, meant): (&'a [u8], &'a Line<'a>, &'a Wanted),
    ) -> Result<Self, HostError> {
        let mut id = [0; ID_LEN];
        getrandom::fill(&mut id).map_err(|e| {
            HostError::new(HostErrorKind::Device, format!("the system gives no random bytes: {e}"))
        })?;
        let (logouts, missed) = (Rc::default(), Rc::default());
        Ok(Self { pkcs11, single, slot, place, probe, pin, line, meant, id, logouts, missed })
    }

    /// What could not be measured, beside what was.
    pub(super) fn missed(self) -> Vec<NotMeasured> {
        self.missed.take()
    }

    /// A session as it comes; read-write where the token allows it.
    pub(super) fn open(&self) -> Result<Session, Error> {
        open(self.pkcs11, self.slot)
    }

    /// A session that is logged in.
    pub(super) fn session(&self) -> Result<Session, Stop> {
        let session = self.open()?;
        self.log_in(&session)?;
        Ok(session)
    }

    /// Logs in where nobody is.
    pub(super) fn log_in(&self, session: &Session) -> Result<(), Stop> {
        if is_user(session)? {
            return Ok(());
        }
        if self.pin.is_empty() {
            return match self.pkcs11.get_token_info(self.slot)?.login_required() {
                false => Ok(()),
                true => Err(Stop::Why("it needs a login, and there is no PIN".to_owned())),
            };
        }
        self.present(session, UserType::User)
    }

    /// C_Logout and C_Login. Handles of before are worth nothing afterwards.
    pub(super) fn log_in_anew(&self, session: &Session) -> Result<(), Stop> {
        self.log_out(session)?;
        self.present(session, UserType::User)
    }

    pub(super) fn log_out(&self, session: &Session) -> Result<(), Stop> {
        // First: one that is told to have failed may have taken place.
        self.logouts.set(self.logouts.get().wrapping_add(1));
        Ok(session.logout()?)
    }

    /// One C_Login with a PIN that this token took before, while its flags tell of no wrong one since.
    pub(super) fn present(&self, session: &Session, user: UserType) -> Result<(), Stop> {
        match self.answer_to_login(session, user)? {
            Ok(()) | Err(Error::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// The same, with the module's own answer.
    pub(super) fn answer_to_login(
        &self,
        session: &Session,
        user: UserType,
    ) -> Result<Result<(), Error>, Stop> {
        if self.pin.is_empty() {
            return Err(Stop::Why("there is no PIN".to_owned()));
        }
        not_traced().map_err(|error| Stop::Why(error.message))?;
        self.tries_are_full()?;
        // Durably, before the token is asked (FAULTS C2).
        if !self.line.may_present() {
            return Err(Stop::Why("the PIN is not presented again, as that cannot be counted".to_owned()));
        }
        match session.login_with_raw(user, &RawAuthPin::new(Box::new(self.pin.to_vec()))) {
            Err(
                error @ Error::Pkcs11(
                    RvError::PinIncorrect | RvError::PinLocked | RvError::PinInvalid | RvError::PinLenRange,
                    _,
                ),
            ) => Err(Stop::Pin(format!("a PIN that the token had taken was refused: {}", told(&error)))),
            Ok(()) => {
                self.line.presented(true);
                Ok(Ok(()))
            }
            Err(error) => {
                // It has not looked at the PIN. After any other answer nobody knows.
                if has_no_context_login(&error) {
                    self.line.presented(false);
                }
                Ok(Err(error))
            }
        }
    }

    fn tries_are_full(&self) -> Result<(), Stop> {
        let info = self.pkcs11.get_token_info(self.slot)?;
        self.meant.check(&status(&info, false)).map_err(Stop::Swapped)?;
        if info.user_pin_count_low() || info.user_pin_final_try() || info.user_pin_locked() {
            return Err(Stop::Why(
                "the token tells of a wrong PIN, so the PIN is not presented again".to_owned(),
            ));
        }
        Ok(())
    }

    /// Makes a pair with the attributes that the agent's own keys have, and with `public` and `private` beside.
    pub(super) fn pair<'s>(
        &self,
        session: &'s Session,
        mechanism: &Mechanism<'_>,
        public: &[Attribute],
        private: &[Attribute],
    ) -> Result<Pair<'s>, Error> {
        let private = [self.private_template().as_slice(), private].concat();
        let mut public = [self.public_template().as_slice(), public].concat();
        let made = session.generate_key_pair(mechanism, &public, &private).or_else(|error| {
            if !template_is_refused(&error) {
                return Err(error);
            }
            // As the agent's own keys are made where CKA_VERIFY is not taken.
            public.retain(|attribute| !matches!(attribute, Attribute::Verify(_)));
            session.generate_key_pair(mechanism, &public, &private).map_err(|again| telling(error, again))
        });
        let mut pair = Pair::new(session, made?, self.id, &self.logouts);
        pair.always = match attributes(session, pair.private(), &[AttributeType::AlwaysAuthenticate]) {
            Ok(told) => told.contains(&Attribute::AlwaysAuthenticate(true)),
            Err(error) if cannot(&error) => false,
            Err(error) => return Err(error),
        };
        Ok(pair)
    }

    /// A pair of a curve, by its OID or else its name.
    pub(super) fn curve_pair<'s>(
        &self,
        session: &'s Session,
        curve: Curve,
        private: &[Attribute],
    ) -> Result<Pair<'s>, Error> {
        let with = |params: &[u8]| {
            let params = [Attribute::EcParams(params.to_vec())];
            self.pair(session, &generates(curve), &params, private)
        };
        with(curve.oid()).or_else(|error| with(curve.printable()).map_err(|again| telling(error, again)))
    }

    pub(super) fn public_template(&self) -> Vec<Attribute> {
        public_key(self.place == Place::Token, LABEL, &self.id)
    }

    /// What the agent asks for: what is measured is what it will have.
    pub(super) fn private_template(&self) -> Vec<Attribute> {
        private_key(self.place == Place::Token, LABEL, &self.id)
    }

    /// A session beside `home`; `home` itself where the token has no second one.
    pub(super) fn second<'s>(&self, home: &'s Session) -> Result<Second<'s>, Error> {
        match self.open() {
            Ok(session) => Ok(Second::Own(session)),
            Err(Error::Pkcs11(RvError::SessionCount, _)) => Ok(Second::Home(home)),
            Err(error) => Err(error),
        }
    }

    /// Removes what an earlier run left, or this one. Only token objects can be left: what lies in a session is gone.
    pub(super) fn sweep(&self, earlier: bool) -> Result<Facts, Stop> {
        Ok(sweep(&self.session()?, earlier)?)
    }

    /// Looks at what is there. Nothing of it is changed.
    pub(super) fn objects(&self) -> Result<Facts, Stop> {
        let (odd_objects, unfit_keys) = what_is_odd(&self.session()?)?;
        Ok(Facts { odd_objects, unfit_keys, ..Facts::default() })
    }

    /// Tries whether keys can lie in a session, else on the token, where they must be removable.
    pub(super) fn find_place(&self) -> Result<Facts, Stop> {
        let session = self.session()?;
        let mut answers = Vec::new();
        for place in [Place::Session, Place::Token] {
            let (logouts, missed) = (Rc::clone(&self.logouts), Rc::clone(&self.missed));
            let bench = Self { place, logouts, missed, ..*self };
            // Where keys can lie is not told by one answer that says nothing of it.
            let made = bench.any_pair(&session).or_else(|error| match cannot(&error) {
                true => Err(error),
                false => bench.any_pair(&session),
            });
            match made {
                Err(error) => answers.push(format!("{place:?}: {}", told(&error))),
                Ok(pair)
                    if place == Place::Session
                        && pair.always
                        && bench.wants_login_before(&session, &pair)? =>
                {
                    answers.push(format!("{place:?}: its keys want a login before each signature"));
                }
                Ok(pair) => {
                    // A module may take no notice of CKA_TOKEN.
                    let token = attributes(&session, pair.private(), &[AttributeType::Token])?;
                    let on_token = place == Place::Token || token.contains(&Attribute::Token(true));
                    drop(pair);
                    let left = sweep(&session, false)?.left;
                    let place = if on_token { Place::Token } else { Place::Session };
                    let usable = left.is_empty().then_some(place);
                    return Ok(Facts { place: usable, left, ..Facts::default() });
                }
            }
        }
        let why = format!("no key pair can be made ({})", answers.join("; "));
        let missing = NotMeasured { probe: super::Probe::Place.name().to_owned(), why };
        Ok(Facts { not_measured: vec![missing], ..Facts::default() })
    }

    /// A pair of whatever kind the module makes.
    fn any_pair<'s>(&self, session: &'s Session) -> Result<Pair<'s>, Error> {
        let rsa = [Attribute::ModulusBits(2048.into()), Attribute::PublicExponent(vec![1, 0, 1])];
        self.curve_pair(session, Curve::P256, &[])
            .or_else(|error| {
                self.curve_pair(session, Curve::Ed25519, &[]).map_err(|again| telling(error, again))
            })
            .or_else(|error| {
                self.pair(session, &Mechanism::RsaPkcsKeyPairGen, &rsa, &[])
                    .map_err(|again| telling(error, again))
            })
    }
}

/// A session beside another one, where there is one.
pub(super) enum Second<'s> {
    Own(Session),
    Home(&'s Session),
}

impl Deref for Second<'_> {
    type Target = Session;

    fn deref(&self) -> &Session {
        match self {
            Self::Own(session) => session,
            Self::Home(session) => session,
        }
    }
}

fn sweep(session: &Session, earlier: bool) -> Result<Facts, Error> {
    let ours = [Attribute::Label(LABEL.to_vec())];
    let found = find_exactly(session, &ours)?;
    for handle in &found {
        // A pair may go together; what is really left is looked for again.
        let _ = session.destroy_object(*handle);
    }
    let left = find_exactly(session, &ours)?;
    let gone = found.len().saturating_sub(left.len());
    Ok(Facts {
        removed: if earlier { u32::try_from(gone).unwrap_or(u32::MAX) } else { 0 },
        left: left.iter().map(|_| String::from_utf8_lossy(LABEL).into_owned()).collect(),
        ..Facts::default()
    })
}

/// How pairs of a curve are made.
pub(super) fn generates(curve: Curve) -> Mechanism<'static> {
    match curve {
        Curve::Ed25519 => Mechanism::EccEdwardsKeyPairGen,
        Curve::P256 | Curve::P384 => Mechanism::EccKeyPairGen,
    }
}

/// Whether a session is the user's.
pub(super) fn is_user(session: &Session) -> Result<bool, Error> {
    Ok(matches!(session.get_session_info()?.session_state(), SessionState::RoUser | SessionState::RwUser))
}

/// On all that doctor makes. No name of a key can be so: it has spaces.
pub(super) const LABEL: &[u8] = b"tuf-agent doctor, may be removed";
pub(super) const ID_LEN: usize = 16;
/// What is signed by keys that were made to be thrown away.
pub(super) const MESSAGE: &[u8] = b"tuf-agent token doctor: measured with a key that is gone";
