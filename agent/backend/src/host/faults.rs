//! What each answer of a module means for session, handles and login (FAULTS D2).

use cryptoki::error::{Error, RvError};

use super::protocol::{HostError, HostErrorKind};

/// Why a job did not succeed.
pub(crate) enum Fault {
    /// Ours: an answer for the agent.
    Host(HostError),
    /// The module's.
    Module(Error),
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

/// What to do after an error; the session is dropped in every case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// A handle or the token went away: look for both again and try once more.
    Refind,
    /// The login is gone.
    LoginLost,
    /// The token cannot do that.
    Unsupported,
    /// Tell it.
    Report,
}

/// The table.
pub(crate) fn action(error: &Error) -> Action {
    let Error::Pkcs11(code, _) = error else {
        return match error {
            Error::NotSupported | Error::NullFunctionPointer => Action::Unsupported,
            _ => Action::Report,
        };
    };
    match code {
        RvError::ObjectHandleInvalid
        | RvError::KeyHandleInvalid
        | RvError::SessionHandleInvalid
        | RvError::SessionClosed
        | RvError::OperationActive
        | RvError::OperationNotInitialized
        | RvError::TokenNotPresent
        | RvError::TokenNotRecognized
        | RvError::DeviceRemoved
        | RvError::SlotIdInvalid
        | RvError::CryptokiNotInitialized => Action::Refind,
        RvError::UserNotLoggedIn => Action::LoginLost,
        RvError::MechanismInvalid
        | RvError::MechanismParamInvalid
        | RvError::CurveNotSupported
        | RvError::FunctionNotSupported
        | RvError::KeySizeRange
        | RvError::TemplateInconsistent
        | RvError::TemplateIncomplete
        | RvError::AttributeTypeInvalid
        | RvError::AttributeValueInvalid
        | RvError::TokenWriteProtected
        | RvError::SessionReadOnly => Action::Unsupported,
        _ => Action::Report,
    }
}

/// An answer of the module, as the agent hears it.
pub(crate) fn device(error: Error) -> HostError {
    HostError::new(HostErrorKind::Device, format!("the module's {}", told(&error)))
}

/// An error by the names of the standard (`C_Sign gave CKR_DEVICE_ERROR`): its texts are long and help nobody.
pub(crate) fn told(error: &Error) -> String {
    let Error::Pkcs11(code, function) = error else { return format!("library said: {error}") };
    let mut name = String::from("CKR");
    for c in format!("{code:?}").chars() {
        if c.is_ascii_uppercase() {
            name.push('_');
        }
        name.push(c.to_ascii_uppercase());
    }
    format!("C_{function:?} gave {name}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use cryptoki::context::Function;

    #[test]
    fn an_error_is_told_by_the_names_of_the_standard() {
        let error = Error::Pkcs11(RvError::GeneralError, Function::Initialize);
        assert_eq!(told(&error), "C_Initialize gave CKR_GENERAL_ERROR");
    }

    #[test]
    fn each_code_leads_to_its_action() {
        for (code, expected) in [
            (RvError::ObjectHandleInvalid, Action::Refind),
            (RvError::KeyHandleInvalid, Action::Refind),
            (RvError::SessionHandleInvalid, Action::Refind),
            (RvError::OperationActive, Action::Refind),
            (RvError::DeviceRemoved, Action::Refind),
            (RvError::UserNotLoggedIn, Action::LoginLost),
            (RvError::MechanismInvalid, Action::Unsupported),
            (RvError::CurveNotSupported, Action::Unsupported),
            (RvError::GeneralError, Action::Report),
            (RvError::DeviceError, Action::Report),
            (RvError::HostMemory, Action::Report),
        ] {
            assert_eq!(action(&Error::Pkcs11(code, Function::Sign)), expected, "{code:?}");
        }
        assert_eq!(action(&Error::NullFunctionPointer), Action::Unsupported);
        assert_eq!(action(&Error::InvalidValue), Action::Report);
    }
}
