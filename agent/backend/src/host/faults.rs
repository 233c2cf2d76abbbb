//! What each answer of a module means for session, handles and login (FAULTS D2, D3).

use cryptoki::context::Function;
use cryptoki::error::Error;

use super::ckr;
use super::protocol::{HostError, HostErrorKind};

/// Why a job did not succeed.
pub(crate) enum Fault {
    /// Ours: an answer for the agent.
    Host(HostError),
    /// The module's.
    Module(Error),
    /// The same, of a key that was to be made, and what of it lies on the token.
    Left(Error, String),
}

impl From<HostError> for Fault {
    fn from(error: HostError) -> Self {
        Self::Host(error)
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Self::Module(error)
    }
}

/// What is done after an answer that is not CKR_OK. The session in which it came is dropped in every case, and what was
/// found in it is forgotten; "again" is once at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// A handle has become stale, and nothing was done: session and key are looked up anew, and it is done again.
    Refind,
    /// The token went away under the call. As [`Action::Refind`] where the call changes nothing; one that may have been
    /// carried out (a signature, a new key) is told of and never done again.
    Gone,
    /// The module has forgotten that it was initialised: it is initialised again, at most once in 30 s.
    Reload,
    /// The token has no session left: the one that holds the login is worked in.
    Full,
    /// The login is gone: the token is locked.
    LoginLost,
    /// About a PIN: the token is looked at, and the module is not initialised again.
    Pin,
    /// The token cannot do that.
    Unsupported,
    /// As [`Action::Report`]. Where it comes at signatures, two in a row, the module has lost what it works with: it is
    /// started anew, in a new helper, at most once in 30 s.
    Renew,
    /// It is told. Where the token does not answer to a look any more either, the module is initialised again, at most
    /// once in 30 s.
    Report,
}

impl Action {
    /// By its word in the table.
    pub(crate) fn parse(word: &str) -> Option<Self> {
        Some(match word {
            "refind" => Self::Refind,
            "gone" => Self::Gone,
            "reload" => Self::Reload,
            "full" => Self::Full,
            "login-lost" => Self::LoginLost,
            "pin" => Self::Pin,
            "unsupported" => Self::Unsupported,
            "renew" => Self::Renew,
            "report" => Self::Report,
            _ => return None,
        })
    }
}

/// What the table (`ckr.tsv`) says to an error.
pub(crate) fn action(error: &Error) -> Action {
    match error {
        Error::Pkcs11(code, _) => ckr::action(*code),
        Error::NotSupported | Error::NullFunctionPointer => Action::Unsupported,
        _ => Action::Report,
    }
}

/// Whether what was asked may be done once more: surely nothing has been carried out.
pub(crate) fn may_repeat(error: &Error) -> bool {
    match (action(error), error) {
        (Action::Refind, _) => true,
        (Action::Gone, Error::Pkcs11(_, function)) => !has_effect(*function),
        _ => false,
    }
}

/// Whether nobody knows, after this error, if the token has done what was asked.
pub(crate) fn outcome_unknown(error: &Error) -> bool {
    match (action(error), error) {
        (Action::Gone | Action::Renew | Action::Report, Error::Pkcs11(_, function)) => has_effect(*function),
        _ => false,
    }
}

/// Whether a signature failed in a way that says nothing of what was signed, and may say something of the module.
pub(crate) fn may_be_worn(error: &Error) -> bool {
    let signs = |function| matches!(function, Function::SignInit | Function::Sign | Function::SignFinal);
    matches!(error, Error::Pkcs11(_, function) if signs(*function)) && action(error) == Action::Renew
}

/// Functions that leave something behind: a signature that was made, a key.
const fn has_effect(function: Function) -> bool {
    matches!(
        function,
        Function::Sign
            | Function::SignFinal
            | Function::GenerateKeyPair
            | Function::CreateObject
            | Function::DestroyObject
            | Function::SetPIN
    )
}

/// An answer of the module, as the agent hears it.
pub(crate) fn device(error: Error) -> HostError {
    let doubt = match outcome_unknown(&error) {
        true => "; whether the token has done it is not known, and it is not done again by itself",
        false => "",
    };
    HostError::new(HostErrorKind::Device, format!("the module's {}{doubt}", told(&error)))
}

/// An error by the names of the standard (`C_Sign gave CKR_DEVICE_ERROR`): its texts are long and help nobody.
pub(crate) fn told(error: &Error) -> String {
    match error {
        Error::Pkcs11(code, function) => format!("C_{function:?} gave {}", ckr::name(*code)),
        // Its own words for this help nobody.
        Error::InvalidValue => "library gave a value or a length that cannot be".to_owned(),
        other => format!("library said: {other}"),
    }
}

#[cfg(test)]
mod tests {
    use cryptoki::error::RvError;

    use super::*;

    #[test]
    fn an_error_is_told_by_the_names_of_the_standard() {
        let error = Error::Pkcs11(RvError::GeneralError, Function::Initialize);
        assert_eq!(told(&error), "C_Initialize gave CKR_GENERAL_ERROR");
    }

    #[test]
    fn the_table_leads_each_code_to_its_action() {
        for (code, expected) in [
            (RvError::KeyHandleInvalid, Action::Refind),
            (RvError::DeviceRemoved, Action::Gone),
            (RvError::CryptokiNotInitialized, Action::Reload),
            (RvError::SessionCount, Action::Full),
            (RvError::UserNotLoggedIn, Action::LoginLost),
            (RvError::PinLocked, Action::Pin),
            (RvError::MechanismInvalid, Action::Unsupported),
            (RvError::GeneralError, Action::Renew),
            (RvError::VendorDefined(0x8000_0001), Action::Renew),
            (RvError::DataLenRange, Action::Report),
        ] {
            assert_eq!(action(&Error::Pkcs11(code, Function::Sign)), expected, "{code:?}");
        }
        assert_eq!(action(&Error::NullFunctionPointer), Action::Unsupported);
        assert_eq!(action(&Error::InvalidValue), Action::Report);
    }

    #[test]
    fn what_may_have_been_carried_out_is_never_done_again() {
        for code in [
            RvError::ObjectHandleInvalid,
            RvError::SessionHandleInvalid,
            RvError::DeviceRemoved,
            RvError::TokenNotPresent,
            RvError::SessionClosed,
            RvError::CryptokiNotInitialized,
            RvError::UserNotLoggedIn,
            RvError::MechanismInvalid,
            RvError::GeneralError,
            RvError::DeviceError,
        ] {
            for function in [Function::Sign, Function::GenerateKeyPair, Function::CreateObject] {
                let error = Error::Pkcs11(code, function);
                assert!(!(may_repeat(&error) && outcome_unknown(&error)), "{}", told(&error));
            }
            assert!(!outcome_unknown(&Error::Pkcs11(code, Function::FindObjectsInit)));
        }
        let removed = |function| Error::Pkcs11(RvError::DeviceRemoved, function);
        assert!(may_repeat(&removed(Function::SignInit)) && !may_repeat(&removed(Function::Sign)));
        assert!(outcome_unknown(&removed(Function::Sign)));
        assert!(device(removed(Function::Sign)).message.contains("not known"));
        assert!(!may_repeat(&Error::Pkcs11(RvError::PinIncorrect, Function::Login)));
    }
}
