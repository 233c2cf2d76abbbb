//! Names under which the PINs of cards are counted (FAULTS C2).

use backend::pkcs11::Card;
use ledger::FormerNames;

/// By what a token is known whose PIN is counted: serial number, label and maker, as serial numbers are a maker's own. Not by
/// its model, which may be another one after an update, unless it has no serial number (or zeros, as tpm2-pkcs11 and NSS give
/// to every token), and nothing else tells it from others. A YubiKey's number is its alone.
pub(super) fn identity(card: &Card) -> String {
    let Card { serial, label, model, manufacturer, .. } = card;
    if model.is_empty() && manufacturer.is_empty() {
        return first_identity(card);
    }
    if card.has_no_serial() {
        return format!("serial {serial:?}, label {label:?}, model {model:?} of {manufacturer:?}");
    }
    format!("serial {serial:?}, label {label:?} of {manufacturer:?}")
}

/// As earlier versions knew it: by its model, too, and before that by less.
pub(super) fn former_names(card: &Card) -> FormerNames {
    let Card { serial, label, manufacturer, .. } = card;
    let of_models =
        || (format!("serial {serial:?}, label {label:?}, model \""), format!("\" of {manufacturer:?}"));
    FormerNames { around: (!card.has_no_serial()).then(of_models), shared: first_identity(card) }
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
        let known = |words: [&str; 4]| identity(&card(words[0], words[1], words[2], words[3]));
        let one = ["0000000000000000", "build", "swtpm", "IBM"];
        for (at, other) in [(0, "1"), (1, "release"), (2, "v2"), (3, "Infineon")] {
            let mut words = one;
            words[at] = other;
            assert_ne!(known(words), known(one), "{words:?}");
            let (mut words, one) = (words, ["8f31c2", "build", "swtpm", "IBM"]);
            words[0] = if at == 0 { "8f31c3" } else { one[0] };
            assert_eq!(known(words) == known(one), at == 2, "{words:?}");
        }
        assert_ne!(known(["1\", label \"a", "b", "", "x"]), known(["1", "a\", label \"b", "", "x"]));
        assert_eq!(known(["31415926", "YubiKey", "", ""]), "serial 31415926", "a YubiKey's name stays");
    }

    #[test]
    fn before_it_was_known_by_its_serial_or_by_its_label_where_it_has_none() {
        let known = |serial: &str| first_identity(&card(serial, "build", "m", "x"));
        let (begin, end) = former_names(&card("8f31c2", "build", "m", "x")).around.unwrap();
        let before = "serial \"8f31c2\", label \"build\", model \"m2\" of \"x\"";
        assert!(before.starts_with(&begin) && before.ends_with(&end), "of any model");
        assert_eq!(former_names(&card("000", "build", "m", "x")).around, None, "that is its name still");
        assert_eq!(known("8f31c2"), "serial 8f31c2");
        assert_eq!(known("0000000000000000"), "label build");
        assert_eq!(known(""), "label build");
    }
}
