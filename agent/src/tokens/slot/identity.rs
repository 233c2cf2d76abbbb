//! Names under which the PINs of cards are counted (FAULTS C2).

use backend::pkcs11::Card;
use ledger::FormerNames;
use sha2::{Digest as _, Sha256};

use crate::config::TokenKind;

/// By what a token is known whose PIN is counted: serial number, label and maker, as serial numbers are a maker's own. Not by
/// its model, which may be another one after an update, unless it has no serial number (or zeros, as tpm2-pkcs11 and NSS give
/// to every token): then by the place, too, from which its module takes it. A YubiKey's number is its alone.
pub(super) fn identity(card: &Card, place: &str) -> String {
    let Card { serial, label, model, manufacturer, .. } = card;
    if model.is_empty() && manufacturer.is_empty() {
        return first_identity(card);
    }
    if card.has_no_serial() {
        return format!("{}, by the module and settings {place}", without_place(card));
    }
    format!("serial {serial:?}, label {label:?} of {manufacturer:?}")
}

/// One without a serial number.
fn without_place(card: &Card) -> String {
    let Card { serial, label, model, manufacturer, .. } = card;
    format!("serial {serial:?}, label {label:?}, model {model:?} of {manufacturer:?}")
}

/// By what an entry of the configuration comes to a token, where the token itself does not tell it from others: the module and
/// what that is told. Where libraries lie says nothing of that.
pub(super) fn place(kind: &TokenKind) -> String {
    let TokenKind::Pkcs11(module) = kind else { return String::new() };
    let mut hash = Sha256::new();
    let mut part = |text: &[u8]| {
        hash.update(u64::try_from(text.len()).unwrap_or(u64::MAX).to_be_bytes());
        hash.update(text);
    };
    part(module.path.as_os_str().as_encoded_bytes());
    part(module.reserved.as_deref().unwrap_or_default().as_bytes());
    for (name, value) in module.env.iter().filter(|(name, _)| !name.starts_with("LD_")) {
        part(name.as_bytes());
        part(value.as_bytes());
    }
    let digest = hex::encode(hash.finalize());
    digest.get(..16).unwrap_or(&digest).to_owned()
}

/// As earlier versions knew it: by its model, too, and before that by less.
pub(super) fn former_names(card: &Card) -> FormerNames {
    let Card { serial, label, manufacturer, .. } = card;
    let of_models =
        || (format!("serial {serial:?}, label {label:?}, model \""), format!("\" of {manufacturer:?}"));
    let mut shared = vec![first_identity(card)];
    if card.has_no_serial() && !(card.model.is_empty() && manufacturer.is_empty()) {
        shared.push(without_place(card));
    }
    FormerNames { around: (!card.has_no_serial()).then(of_models), shared }
}

/// The serial number as people are shown it, who give a PIN to the card that they were shown. Where it tells no token from
/// others, model and maker stand beside it.
pub(super) fn shown_as(card: &Card) -> String {
    let Card { serial, model, manufacturer, .. } = card;
    if !card.has_no_serial() || (model.is_empty() && manufacturer.is_empty()) {
        return serial.clone();
    }
    let serial = if serial.is_empty() { "none" } else { serial };
    format!("{serial} (model {model:?} of {manufacturer:?})")
}

/// As the first versions knew it: its serial number, or its label where the module gives none.
fn first_identity(card: &Card) -> String {
    let Card { serial, label, .. } = card;
    if card.has_no_serial() { format!("label {label}") } else { format!("serial {serial}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn card(serial: &str, label: &str, model: &str, manufacturer: &str) -> Card {
        let (serial, label) = (serial.to_owned(), label.to_owned());
        let (model, manufacturer) = (model.to_owned(), manufacturer.to_owned());
        Card { serial, label, model, manufacturer, ..Card::default() }
    }

    #[test]
    fn a_card_is_known_by_what_tells_it_from_others_and_by_its_model_only_where_it_has_no_serial_number() {
        let known = |words: [&str; 4]| identity(&card(words[0], words[1], words[2], words[3]), "here");
        let one = ["0000000000000000", "build", "swtpm", "IBM"];
        for (at, other) in [(0, "1"), (1, "release"), (2, "v2"), (3, "Infineon")] {
            let mut words = one;
            words[at] = other;
            assert_ne!(known(words), known(one), "{words:?}");
            let (mut words, one) = (words, ["8f31c2", "build", "swtpm", "IBM"]);
            words[0] = if at == 0 { "8f31c3" } else { one[0] };
            assert_eq!(known(words) == known(one), at == 2, "{words:?}");
        }
        let at = |serial: &str, place: &str| identity(&card(serial, "build", "NSS 3", "Mozilla"), place);
        assert_ne!(at("0000000000000000", "one"), at("0000000000000000", "other"), "one of two databases");
        assert_eq!(at("8f31c2", "one"), at("8f31c2", "other"));
        assert_ne!(known(["1\", label \"a", "b", "", "x"]), known(["1", "a\", label \"b", "", "x"]));
        assert_eq!(known(["31415926", "YubiKey", "", ""]), "serial 31415926", "a YubiKey's name stays");
    }

    #[test]
    fn before_it_was_known_by_its_serial_or_by_its_label_where_it_has_none() {
        let known = |serial: &str| first_identity(&card(serial, "build", "m", "x"));
        let (begin, end) = former_names(&card("8f31c2", "build", "m", "x")).around.unwrap();
        let before = "serial \"8f31c2\", label \"build\", model \"m2\" of \"x\"";
        assert!(before.starts_with(&begin) && before.ends_with(&end), "of any model");
        let of_zeros = former_names(&card("000", "build", "m", "x"));
        let before = "serial \"000\", label \"build\", model \"m\" of \"x\"";
        assert_eq!(
            (of_zeros.around, of_zeros.shared),
            (None, vec!["label build".to_owned(), before.to_owned()])
        );
        assert_eq!(known("8f31c2"), "serial 8f31c2");
        assert_eq!(known("0000000000000000"), "label build");
        assert_eq!(known(""), "label build");
    }
}
