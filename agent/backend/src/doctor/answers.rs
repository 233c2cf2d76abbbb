//! Which answers of a module say that it cannot do what was tried. All others say nothing of it: a device that was busy, or
//! gone for a moment, or a login that was lost.

use super::facts::Finding;

/// Whether a code, by its name in the standard, is about what was asked for, and would come again.
pub(crate) fn says_cannot(code: &str) -> bool {
    CANNOT.contains(&code)
}

impl Finding {
    /// Tried, and the module can not: what an earlier version kept may name a code that does not say so.
    pub(crate) fn is_cannot(&self) -> bool {
        match self {
            Self::No(why) => code_in(why).is_none_or(says_cannot),
            Self::Yes | Self::Unknown => false,
        }
    }
}

/// The code that a text names, such as `C_Sign gave CKR_DEVICE_ERROR`.
fn code_in(text: &str) -> Option<&str> {
    let from = text.get(text.find("CKR_")?..)?;
    let is_of_name = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
    from.split(|c| !is_of_name(c)).next()
}

const CANNOT: [&str; 17] = [
    "CKR_MECHANISM_INVALID",
    "CKR_MECHANISM_PARAM_INVALID",
    "CKR_FUNCTION_NOT_SUPPORTED",
    "CKR_KEY_TYPE_INCONSISTENT",
    "CKR_KEY_FUNCTION_NOT_PERMITTED",
    "CKR_KEY_SIZE_RANGE",
    "CKR_CURVE_NOT_SUPPORTED",
    "CKR_DOMAIN_PARAMS_INVALID",
    "CKR_DATA_INVALID",
    "CKR_DATA_LEN_RANGE",
    "CKR_ACTION_PROHIBITED",
    "CKR_ARGUMENTS_BAD",
    "CKR_TEMPLATE_INCOMPLETE",
    "CKR_TEMPLATE_INCONSISTENT",
    "CKR_ATTRIBUTE_READ_ONLY",
    "CKR_ATTRIBUTE_TYPE_INVALID",
    "CKR_ATTRIBUTE_VALUE_INVALID",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_kept_refuses_by_a_code_that_says_so_and_by_no_other() {
        let no = |why: &str| Finding::No(why.to_owned());
        for why in [
            "C_SignInit gave CKR_MECHANISM_INVALID",
            "C_Sign gave CKR_DATA_LEN_RANGE; twice",
            "a signature that does not verify",
        ] {
            assert!(no(why).is_cannot(), "{why}");
        }
        for why in [
            "C_Sign gave CKR_DEVICE_ERROR",
            "C_Sign gave CKR_USER_NOT_LOGGED_IN",
            "C_Sign gave CKR_VENDOR_DEFINED (0x80000001)",
            "C_OpenSession gave CKR_SESSION_COUNT",
            "C_SignInit gave CKR_MECHANISM_INVALID_PERHAPS",
        ] {
            assert!(!no(why).is_cannot(), "{why}");
        }
        assert!(!Finding::Yes.is_cannot() && !Finding::Unknown.is_cannot());
    }
}
