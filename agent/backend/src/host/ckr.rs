//! The table of codes, `ckr.tsv`: what the helper does, and what is published of it in tuf-agent-pkcs11(7).

use cryptoki::error::RvError;

use super::faults::Action;

/// A line of the table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row {
    call: &'static str,
    code: &'static str,
    action: &'static str,
}

/// All lines.
pub(crate) fn rows() -> impl Iterator<Item = Row> {
    let lines = TABLE.lines().filter(|line| !line.starts_with('#')).skip(1);
    lines.filter_map(|line| {
        let mut fields = line.split('\t');
        Some(Row { call: fields.next()?, code: fields.next()?, action: fields.next()? })
    })
}

/// What is done at any call that has no row of its own.
pub(crate) fn action(code: RvError) -> Action {
    let name = name(code);
    // Vendors' own are one row.
    let name = name.split(' ').next().unwrap_or_default();
    let row = rows().find(|row| row.call == "*" && row.code.split(' ').any(|listed| listed == name));
    row.and_then(|row| Action::parse(row.action)).unwrap_or(Action::Report)
}

/// The name in the standard, such as `CKR_DEVICE_ERROR`. A vendor's own code has its number with it.
pub(crate) fn name(code: RvError) -> String {
    if let RvError::VendorDefined(number) = code {
        return format!("CKR_VENDOR_DEFINED ({number:#x})");
    }
    let mut name = String::from("CKR");
    for c in format!("{code:?}").chars() {
        if c.is_ascii_uppercase() {
            name.push('_');
        }
        name.push(c.to_ascii_uppercase());
    }
    name
}

const TABLE: &str = include_str!("ckr.tsv");

#[cfg(test)]
mod tests {
    use super::*;

    /// Of all calls, and of one.
    const ACTIONS: [&str; 9] =
        ["refind", "gone", "reload", "full", "login-lost", "pin", "unsupported", "renew", "report"];
    const MORE_ACTIONS: [&str; 9] =
        ["unknown", "less", "absent", "ignored", "look", "skipped", "wrong-pin", "pin-locked", "relogin"];

    #[test]
    fn names_are_those_of_the_standard() {
        assert_eq!(name(RvError::UserPinNotInitialized), "CKR_USER_PIN_NOT_INITIALIZED");
        assert_eq!(name(RvError::VendorDefined(0x8000_0123)), "CKR_VENDOR_DEFINED (0x80000123)");
    }

    #[test]
    fn the_table_is_whole_and_says_each_thing_once() {
        let reasons = include_str!("../../../../proto/reasons.tsv");
        let mut seen = std::collections::BTreeSet::new();
        for line in TABLE.lines().filter(|line| !line.starts_with('#')).skip(1) {
            let fields: Vec<&str> = line.split('\t').collect();
            let [calls, codes, action, once, always, words] = fields[..] else { panic!("{line}") };
            assert!(!words.is_empty(), "{line}");
            for answer in [once, always] {
                assert!(
                    answer == "ok" || reasons.lines().any(|it| it.starts_with(&format!("{answer}\t"))),
                    "{line}"
                );
            }
            let known = ACTIONS.contains(&action) || (calls != "*" && MORE_ACTIONS.contains(&action));
            assert!(known, "{line}");
            for (call, code) in
                calls.split(' ').flat_map(|call| codes.split(' ').map(move |code| (call, code)))
            {
                assert!(seen.insert((call, code)), "{call} {code} is there twice");
            }
        }
        assert!(seen.contains(&("*", "*")));
    }

    /// `tbl` rows of the page; run this test after the table was changed, and put what it wants into the page.
    #[test]
    fn the_page_prints_this_table() {
        let page = include_str!("../../../tuf-agent-pkcs11.7");
        let mut wanted = String::new();
        for line in TABLE.lines().filter(|line| !line.starts_with('#')).skip(1) {
            let fields: Vec<&str> = line.split('\t').collect();
            let [calls, codes, action, once, always, words] = fields[..] else { panic!("{line}") };
            let all =
                |list: &str, all: &str| if list == "*" { all.to_owned() } else { list.replace(' ', ", ") };
            wanted += &format!(
                ".TP\n\\fB{}\\fR at {}\n{action}: {words}. Told: {once}; each time: {always}.\n",
                all(codes, "Any other code"),
                all(calls, "all calls"),
            );
        }
        assert!(page.contains(&wanted), "the page lacks:\n{wanted}");
        for action in ACTIONS.iter().chain(&MORE_ACTIONS) {
            assert!(page.contains(&format!(".B {action}\n")), "the page does not explain {action}");
        }
    }
}
