//! The forms in which a new key can be asked for, and what an attempt that failed may have left (FAULTS D2, D3).
//!
//! Modules refuse attributes that they do not know, by codes that say little; some answer so though they have made the
//! key. Invariants: each attempt has a CKA_ID of its own, and is followed by another only when nothing of it is there;
//! nothing is destroyed that has another CKA_ID.

use cryptoki::context::Pkcs11;
use cryptoki::error::{Error, RvError};
use cryptoki::object::{Attribute, AttributeType, ObjectHandle};
use cryptoki::session::Session;

use super::attributes::attributes;
use super::faults::{Fault, outcome_unknown, told};
use super::find::find;
use super::live::Live;

/// How a key is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Form {
    /// With CKA_VERIFY on the public half. tpm2-pkcs11 takes none beside the other uses that are said here. Nothing is
    /// verified on a token, so a key without it is as good.
    pub(super) verify: bool,
    /// With CKA_COPYABLE false, which older modules do not know.
    pub(super) no_copies: bool,
    /// The curve by its name, in place of its OID: the module exists that knows no other way.
    pub(super) by_name: bool,
    /// There is such a choice.
    pub(super) named: bool,
}

impl Form {
    /// With all that is wanted.
    pub(super) const fn whole(named: bool) -> Self {
        Self { verify: true, no_copies: true, by_name: false, named }
    }

    /// The next one after it was refused so: at most four others. None: another form helps nothing.
    pub(super) fn after(self, error: &Error) -> Option<Self> {
        let Error::Pkcs11(code, _) = error else { return None };
        let named = self.named && !self.by_name;
        match code {
            RvError::CurveNotSupported | RvError::DomainParamsInvalid => match self {
                Self { verify: true, .. } => Some(Self { verify: false, ..self }),
                _ => named.then_some(Self { by_name: true, ..self }),
            },
            RvError::AttributeTypeInvalid | RvError::AttributeReadOnly => match self {
                Self { no_copies: true, .. } => Some(Self { no_copies: false, ..self }),
                Self { verify: true, .. } => Some(Self { verify: false, ..self }),
                _ => None,
            },
            // NSS says CKR_GENERAL_ERROR to CKA_COPYABLE.
            RvError::AttributeValueInvalid | RvError::TemplateInconsistent | RvError::GeneralError => {
                match self {
                    Self { verify: true, .. } => Some(Self { verify: false, ..self }),
                    Self { no_copies: true, .. } => Some(Self { no_copies: false, ..self }),
                    _ => named.then_some(Self { by_name: true, no_copies: true, ..self }),
                }
            }
            _ => None,
        }
    }
}

/// After an attempt that failed: the form of the next, once nothing of this one is there. Otherwise what the failure is.
pub(super) fn next_form(
    pkcs11: &Pkcs11,
    live: &mut Live,
    (form, id): (Form, &[u8]),
    error: Error,
    first: &mut Option<Error>,
) -> Result<Form, Fault> {
    let next = form.after(&error);
    match clear(pkcs11, live, id) {
        Ok(()) => {}
        Err(why) if next.is_some() || outcome_unknown(&error) => {
            let left = format!(
                "whether the token has made it is not known ({why}), and it is not done again by itself: objects with \
                 CKA_ID {} that lie there are of no use, and keep the name taken",
                hex::encode(id)
            );
            return Err(Fault::Left(error, left));
        }
        // Surely nothing was done.
        Err(_) => return Err(error.into()),
    }
    let Some(next) = next else {
        let unknown = outcome_unknown(&error);
        // What was said of the form that was wanted says more than what was said of the last.
        let error = if form.after_refusal(&error) { first.take().unwrap_or(error) } else { error };
        return Err(match unknown {
            true => Fault::Left(error, "nothing of it is left on the token".to_owned()),
            false => error.into(),
        });
    };
    first.get_or_insert(error);
    Ok(next)
}

impl Form {
    /// Whether an error is about the form.
    fn after_refusal(self, error: &Error) -> bool {
        Self::whole(true).after(error).is_some()
    }
}

/// Destroys all objects with this CKA_ID, which nobody but an attempt of ours has, in a session of its own. An error says why
/// nobody knows whether any is left.
pub(super) fn clear(pkcs11: &Pkcs11, live: &mut Live, id: &[u8]) -> Result<(), String> {
    live.drop_work();
    // Without a login private objects are not shown.
    if !live.shows_all() {
        return Err("its login is gone".to_owned());
    }
    let session = live.work(pkcs11).map_err(|error| told(&error))?;
    for handle in with_id(session, id).map_err(|error| told(&error))? {
        session.destroy_object(handle).map_err(|error| told(&error))?;
    }
    match with_id(session, id).map_err(|error| told(&error))?.len() {
        0 => Ok(()),
        left => Err(format!("it still shows {left} of its objects")),
    }
}

/// The objects that say themselves that they have this CKA_ID: not each module looks at all of what is searched for.
fn with_id(session: &Session, id: &[u8]) -> Result<Vec<ObjectHandle>, Error> {
    let searched = [Attribute::Token(true), Attribute::Id(id.to_vec())];
    let mut found = Vec::new();
    for handle in find(session, &searched)?.0 {
        if attributes(session, handle, &[AttributeType::Id])?.contains(&Attribute::Id(id.to_vec())) {
            found.push(handle);
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use cryptoki::context::Function;

    /// How often a key is asked for where each answer is one of these, in turn.
    fn attempts(named: bool, codes: &[RvError]) -> usize {
        let answers = codes.iter().cycle().map(|code| Error::Pkcs11(*code, Function::GenerateKeyPair));
        let mut form = Some(Form::whole(named));
        answers
            .take_while(|error| std::mem::take(&mut form).map(|now| form = now.after(error)).is_some())
            .count()
    }

    #[test]
    fn a_key_is_asked_for_in_five_forms_at_most_and_in_three_without_a_curve() {
        use RvError::{AttributeTypeInvalid, CurveNotSupported, GeneralError, TemplateInconsistent};
        assert_eq!(attempts(true, &[GeneralError]), 5);
        assert_eq!(attempts(false, &[GeneralError]), 3);
        assert_eq!(attempts(true, &[CurveNotSupported]), 3);
        assert_eq!(attempts(false, &[CurveNotSupported]), 2);
        assert_eq!(attempts(true, &[AttributeTypeInvalid]), 3);
        assert_eq!(attempts(true, &[RvError::DeviceError]), 1);
        let all = [GeneralError, AttributeTypeInvalid, CurveNotSupported, TemplateInconsistent];
        for first in 0..all.len() {
            let mut codes = all.to_vec();
            codes.rotate_left(first);
            assert!(attempts(true, &codes) <= 5, "{codes:?}");
        }
    }

    #[test]
    fn copies_stay_forbidden_where_something_else_was_refused() {
        let refused = Error::Pkcs11(RvError::CurveNotSupported, Function::GenerateKeyPair);
        let by_name = Form::whole(true).after(&refused).and_then(|form| form.after(&refused)).unwrap();
        assert!(by_name.by_name && by_name.no_copies, "{by_name:?}");
        let refused = Error::Pkcs11(RvError::AttributeValueInvalid, Function::GenerateKeyPair);
        assert!(Form::whole(true).after(&refused).unwrap().no_copies);
    }
}
