//! A control file, read.

use cryptoki_sys::*;

use crate::attempt::Attempt;
use crate::names;
use crate::rule::{Bend, Lie, Rule};

/// All that a control file says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Script {
    pub(crate) rules: Vec<Rule>,
    pub(crate) gone: Option<CK_RV>,
    pub(crate) serial: Option<String>,
    pub(crate) label: Option<String>,
    pub(crate) manufacturer: Option<String>,
    pub(crate) model: Option<String>,
    pub(crate) tries: Option<u64>,
    pub(crate) flags_set: CK_FLAGS,
    pub(crate) flags_cleared: CK_FLAGS,
    pub(crate) session_limit: Option<usize>,
    pub(crate) sessions_told: Option<CK_ULONG>,
    pub(crate) bad_slots: Option<(CK_ULONG, CK_RV)>,
    pub(crate) blank_slots: CK_ULONG,
    pub(crate) hung_slots: CK_ULONG,
    pub(crate) twin_slots: bool,
    pub(crate) mechanisms: Vec<Mechanism>,
    pub(crate) attributes: Vec<AttributeLie>,
    pub(crate) objects: Vec<(CK_RV, Meant)>,
    pub(crate) finds_all: bool,
    pub(crate) handles_renewed: bool,
    pub(crate) always_authenticate: Option<(EachTime, Meant)>,
    pub(crate) made_always: bool,
    pub(crate) multipart: Option<bool>,
    pub(crate) tables_each: bool,
    pub(crate) ecdsa_der: bool,
    pub(crate) attempts: Vec<Attempt>,
}

/// A mechanism that the module is without.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mechanism {
    pub(crate) mechanism: CK_MECHANISM_TYPE,
    pub(crate) unlisted: bool,
    pub(crate) refused: bool,
}

/// How a key wants its login for each signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EachTime {
    /// By CKU_CONTEXT_SPECIFIC.
    Context,
    /// By a new C_Login.
    Relogin,
}

/// What an attribute is said to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AttributeLie {
    pub(crate) attribute: CK_ATTRIBUTE_TYPE,
    pub(crate) value: Value,
    pub(crate) of: Meant,
}

/// A value in place of the real one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    Absent,
    Bytes(Vec<u8>),
    Raw,
    Huge,
    Grows,
}

/// Which objects.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Meant {
    pub(crate) class: Option<CK_OBJECT_CLASS>,
    pub(crate) label: Option<String>,
}

impl Script {
    /// # Errors
    /// Which line is not understood.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut script = Self::default();
        for (number, line) in (1..).zip(text.lines()) {
            let line = line.split('#').next().unwrap_or_default().trim();
            if !line.is_empty() {
                script.line(line).ok_or_else(|| format!("line {number} is no lie: {line}"))?;
            }
        }
        Ok(script)
    }

    fn line(&mut self, line: &str) -> Option<()> {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            [word] if !word.starts_with("C_") => self.short_word(word),
            ["token", rest @ ..] => self.token(rest),
            ["sessions", "limit", n] => {
                self.session_limit = Some(n.parse().ok()?);
                Some(())
            }
            ["sessions", "told", n] => {
                self.sessions_told = Some(n.parse().ok()?);
                Some(())
            }
            ["slots", rest @ ..] => self.slots(rest),
            ["mechanism", mechanism, how] => self.mechanism(names::mechanism(mechanism)?, how),
            ["attribute", attribute, value, of @ ..] => {
                let lie = AttributeLie {
                    attribute: names::attribute(attribute)?,
                    value: Value::parse(value)?,
                    of: Meant::parse(of)?,
                };
                self.attributes.push(lie);
                Some(())
            }
            ["object", code, of @ ..] => {
                self.objects.push((names::code(code)?, Meant::parse(of)?));
                Some(())
            }
            ["search", "ignored"] => {
                self.finds_all = true;
                Some(())
            }
            ["handles", "renewed"] => {
                self.handles_renewed = true;
                Some(())
            }
            ["always-authenticate", "made"] => {
                self.made_always = true;
                Some(())
            }
            ["always-authenticate", how, of @ ..] => {
                let how = match *how {
                    "context" => EachTime::Context,
                    "relogin" => EachTime::Relogin,
                    _ => return None,
                };
                self.always_authenticate = Some((how, Meant::parse(of)?));
                Some(())
            }
            ["try", rest @ ..] => {
                self.attempts.push(Attempt::parse(rest)?);
                Some(())
            }
            ["tables", "each"] => {
                self.tables_each = true;
                Some(())
            }
            ["ecdsa", "der"] => {
                self.ecdsa_der = true;
                Some(())
            }
            ["multipart", how] => {
                self.multipart = Some(yes_or_no(how)?);
                Some(())
            }
            [call, rest @ ..] if call.starts_with("C_") || *call == "*" => {
                self.rules.push(Rule::parse(line, call, rest)?);
                Some(())
            }
            _ => None,
        }
    }

    /// Of signatures; what the first tests said.
    fn short_word(&mut self, word: &str) -> Option<()> {
        let lie = match word {
            "pass" => return Some(()),
            "crash-login" => {
                self.rules.push(Rule::always("C_Login", Lie::Abort));
                return Some(());
            }
            "wrong" => Lie::Bend(Bend::Wrong),
            "truncated" => Lie::Bend(Bend::Short),
            "other-key" => Lie::Bend(Bend::OtherKey),
            "crash" => Lie::Abort,
            "hang" => Lie::Hang,
            _ => return None,
        };
        self.rules.extend(["C_Sign", "C_SignFinal"].map(|call| Rule::always(call, lie)));
        Some(())
    }

    fn token(&mut self, words: &[&str]) -> Option<()> {
        match words {
            ["gone"] => self.gone = Some(CKR_DEVICE_REMOVED),
            ["gone", code] => self.gone = Some(names::code(code)?),
            ["serial", text] => self.serial = Some((*text).to_owned()),
            ["label", text @ ..] => self.label = Some(text.join(" ")),
            ["manufacturer", text @ ..] => self.manufacturer = Some(text.join(" ")),
            ["model", text @ ..] => self.model = Some(text.join(" ")),
            ["tries", n] => self.tries = Some(n.parse().ok()?),
            ["flags", words @ ..] => {
                for word in words {
                    self.flag(word)?;
                }
            }
            _ => return None,
        }
        Some(())
    }

    fn flag(&mut self, word: &str) -> Option<()> {
        if word == "none" {
            self.flags_cleared |= CKF_USER_PIN_COUNT_LOW
                | CKF_USER_PIN_FINAL_TRY
                | CKF_USER_PIN_LOCKED
                | CKF_USER_PIN_TO_BE_CHANGED;
        } else if let Some(name) = word.strip_prefix('-') {
            self.flags_cleared |= names::flag(name)?;
        } else {
            self.flags_set |= names::flag(word.strip_prefix('+').unwrap_or(word))?;
        }
        Some(())
    }

    fn slots(&mut self, words: &[&str]) -> Option<()> {
        match words {
            ["bad", n] => self.bad_slots = Some((n.parse().ok()?, CKR_DEVICE_ERROR)),
            ["bad", n, code] => self.bad_slots = Some((n.parse().ok()?, names::code(code)?)),
            ["blank", n] => self.blank_slots = n.parse().ok()?,
            ["hang", n] => self.hung_slots = n.parse().ok()?,
            ["twice"] => self.twin_slots = true,
            _ => return None,
        }
        Some(())
    }

    fn mechanism(&mut self, mechanism: CK_MECHANISM_TYPE, how: &str) -> Option<()> {
        let (unlisted, refused) = match how {
            "absent" => (true, true),
            "unlisted" => (true, false),
            "refused" => (false, true),
            _ => return None,
        };
        self.mechanisms.push(Mechanism { mechanism, unlisted, refused });
        Some(())
    }

    pub(crate) fn refuses_mechanism(&self, mechanism: CK_MECHANISM_TYPE) -> bool {
        self.mechanisms.iter().any(|it| it.refused && it.mechanism == mechanism)
    }
}

impl Value {
    fn parse(word: &str) -> Option<Self> {
        Some(match word {
            "true" => Self::Bytes(vec![CK_TRUE]),
            "false" => Self::Bytes(vec![CK_FALSE]),
            "absent" => Self::Absent,
            "raw" => Self::Raw,
            "huge" => Self::Huge,
            "grows" => Self::Grows,
            word => match word.split_once(':')? {
                ("text", text) => Self::Bytes(text.as_bytes().to_vec()),
                ("hex", digits) => Self::Bytes(from_hex(digits)?),
                _ => return None,
            },
        })
    }
}

impl Meant {
    fn parse(words: &[&str]) -> Option<Self> {
        let mut meant = Self::default();
        for word in words {
            match *word {
                "private" => meant.class = Some(CKO_PRIVATE_KEY),
                "public" => meant.class = Some(CKO_PUBLIC_KEY),
                word => meant.label = Some(word.strip_prefix("label=")?.to_owned()),
            }
        }
        Some(meant)
    }
}

fn yes_or_no(word: &str) -> Option<bool> {
    match word {
        "yes" => Some(true),
        "no" => Some(false),
        _ => None,
    }
}

fn from_hex(digits: &str) -> Option<Vec<u8>> {
    if !digits.is_ascii() || !digits.len().is_multiple_of(2) {
        return None;
    }
    (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(digits.get(at..at + 2)?, 16).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_of_a_rule_are_read_in_their_order() {
        let script =
            Script::parse("C_Sign 3- once after until-restart CKR_DEVICE_ERROR # late\n\nC_Login sleep 20")
                .unwrap();
        let [sign, login] = script.rules.as_slice() else { panic!("{script:?}") };
        assert_eq!((sign.lie, sign.after, sign.once.is_some()), (Lie::Code(CKR_DEVICE_ERROR), true, true));
        assert!(sign.until_restart && !login.until_restart);
        assert!(sign.is_of("C_Sign") && !sign.is_of("C_Sign?") && !sign.holds_at(2) && sign.holds_at(9));
        assert!(login.is_of("C_Login") && login.holds_at(1) && !login.after);
        let each = Script::parse("* %4 hang").unwrap();
        assert!(each.rules[0].is_of("C_Logout") && each.rules[0].holds_at(8) && !each.rules[0].holds_at(9));
    }

    #[test]
    fn what_is_no_lie_is_an_error_with_its_line() {
        for text in [
            "nonsense",
            "C_Sign",
            "C_Sign CKR_NONE",
            "C_Sign %0 hang",
            "token flags +strange",
            "attribute CKA_LOCAL maybe",
            "attribute CKA_ID hex:0",
            "sessions limit -1",
            "slots",
            "mechanism CKM_EDDSA",
            "multipart perhaps",
        ] {
            let error = Script::parse(&format!("pass\n{text}")).unwrap_err();
            assert!(error.starts_with("line 2"), "{error}");
        }
    }

    #[test]
    fn every_form_of_the_documentation_is_understood() {
        let text = "token gone CKR_TOKEN_NOT_PRESENT\ntoken serial 17\ntoken label a b\ntoken tries 3\n\
            token flags none +locked -initialized\nsessions limit 1\nsessions told 0\nslots bad 2 CKR_GENERAL_ERROR\n\
            slots blank 1\nslots hang 1\nslots twice\nmechanism CKM_EDDSA absent\nmechanism 0x1041 unlisted\n\
            attribute CKA_ID hex:0a1B private label=k\nattribute CKA_EC_POINT raw public\nattribute CKA_LABEL text:x\nattribute CKA_ID grows\n\
            always-authenticate context label=k\nmultipart yes\nobject CKR_OBJECT_HANDLE_INVALID label=k\nsearch ignored\nhandles renewed\ntables each\ntry read /x\ntry connect 127.0.0.1:1\nC_Sign? huge\nC_FindObjects 1 twice\nC_Sign stuck 0x30";
        let script = Script::parse(text).unwrap();
        assert_eq!(script.gone, Some(CKR_TOKEN_NOT_PRESENT));
        assert_eq!(script.label.as_deref(), Some("a b"));
        assert!(script.refuses_mechanism(CKM_EDDSA) && !script.refuses_mechanism(CKM_ECDSA));
        assert_eq!(script.attributes[0].value, Value::Bytes(vec![0x0a, 0x1b]));
        assert_eq!(script.attempts.len(), 2);
        assert_eq!(script.rules[2].lie, Lie::Stuck(CKR_DEVICE_ERROR));
    }
}
