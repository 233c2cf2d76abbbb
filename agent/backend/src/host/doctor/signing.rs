//! Signatures by keys that doctor made, also by those that want a login for each (FAULTS C7).

use cryptoki::mechanism::Mechanism;
use cryptoki::mechanism::eddsa::{EddsaParams, EddsaSignatureScheme};
use cryptoki::session::{Session, UserType};
use tuf::key::KeyType;

use super::Stop;
use super::bench::{Bench, Second};
use super::pair::Pair;
use crate::doctor::Place;
use crate::host::always::has_no_context_login;

impl Bench<'_> {
    /// Signs in a session of its own, so that an operation that gets stuck harms no other; in `home`, where there is no
    /// second session.
    pub(super) fn sign(
        &self,
        home: &Session,
        mechanism: &Mechanism<'_>,
        pair: &Pair<'_>,
        data: &[u8],
    ) -> Result<Vec<u8>, Stop> {
        if pair.always {
            return Ok(self.single.sign(&*self.begin(home, mechanism, pair)?, data)?);
        }
        Ok(self.single.sign_whole(&*self.second(home)?, mechanism, pair.private(), data)?)
    }

    /// C_SignInit, and the login that the key wants for this signature: within, or else before it, as the agent signs
    /// (FAULTS C7).
    pub(super) fn begin<'s>(
        &self,
        home: &'s Session,
        mechanism: &Mechanism<'_>,
        pair: &Pair<'_>,
    ) -> Result<Second<'s>, Stop> {
        let session = self.second(home)?;
        session.sign_init(mechanism, pair.private())?;
        if !pair.always || self.logs_in_context(&session)? {
            return Ok(session);
        }
        if matches!(session, Second::Home(_)) {
            return Err(Stop::Why(
                "the key wants a login before each signature, and the operation that was begun has the only session"
                    .to_owned(),
            ));
        }
        // The operation that was begun goes with its session.
        drop(session);
        self.log_in_before(home, pair)?;
        home.sign_init(mechanism, pair.private())?;
        Ok(Second::Home(home))
    }

    /// C_Login(CKU_CONTEXT_SPECIFIC). False: the module knows none, and has not looked at the PIN.
    fn logs_in_context(&self, session: &Session) -> Result<bool, Stop> {
        match self.answer_to_login(session, UserType::ContextSpecific)? {
            Ok(()) => Ok(true),
            Err(error) if has_no_context_login(&error) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// C_Logout and C_Login, after which the pair has other handles.
    fn log_in_before(&self, home: &Session, pair: &Pair<'_>) -> Result<(), Stop> {
        if self.place == Place::Session {
            return Err(Stop::Why(
                "the key wants a login before each signature, and one that lies in a session does not outlive it"
                    .to_owned(),
            ));
        }
        self.log_in_anew(home)?;
        pair.find_again()
    }

    /// Whether such a pair in a session cannot sign, as it wants a login before C_SignInit.
    pub(super) fn wants_login_before(&self, home: &Session, pair: &Pair<'_>) -> Result<bool, Stop> {
        let mechanism = match pair.key()?.key_type() {
            KeyType::EcdsaP256 => Mechanism::Ecdsa,
            KeyType::Ed25519 => Mechanism::Eddsa(EddsaParams::new(EddsaSignatureScheme::Pure)),
            _ => Mechanism::Sha256RsaPkcs,
        };
        let session = self.second(home)?;
        if matches!(session, Second::Home(_)) || session.sign_init(&mechanism, pair.private()).is_err() {
            return Ok(false);
        }
        Ok(!self.logs_in_context(&session)?)
    }
}
