//! Whether a token says that a key was made there and cannot leave it (FAULTS D9).

use super::facts::OriginFacts;

impl OriginFacts {
    /// Why the key may also be elsewhere, by the token's own words; `None` when it says that it was made there, that it
    /// never could leave and cannot now, and that it has no copy. What is not said counts as not so.
    #[must_use]
    pub fn fault(&self) -> Option<&'static str> {
        let says = |told: Option<bool>, wanted: bool| told == Some(wanted);
        if !says(self.local, true) {
            return Some("the token does not say that it was made there (CKA_LOCAL)");
        }
        if !says(self.extractable, false) || self.readable.is_yes() {
            return Some("the token would give it out (CKA_EXTRACTABLE)");
        }
        if !says(self.never_extractable, true) {
            return Some("the token does not say that it never could leave (CKA_NEVER_EXTRACTABLE)");
        }
        if !says(self.sensitive, true) || !says(self.always_sensitive, true) {
            return Some(
                "the token does not say that it was always kept secret (CKA_SENSITIVE, CKA_ALWAYS_SENSITIVE)",
            );
        }
        if !says(self.copyable, false) {
            return Some("the token does not say that it cannot be copied (CKA_COPYABLE)");
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Finding;

    fn own() -> OriginFacts {
        OriginFacts {
            local: Some(true),
            never_extractable: Some(true),
            always_sensitive: Some(true),
            sensitive: Some(true),
            extractable: Some(false),
            copyable: Some(false),
            ..OriginFacts::default()
        }
    }

    #[test]
    fn each_attribute_is_needed_and_what_is_not_said_is_not_believed() {
        assert_eq!(own().fault(), None);
        type Spoil = fn(&mut OriginFacts, Option<bool>);
        let spoil: [(&str, Spoil); 6] = [
            ("CKA_LOCAL", |facts, told| facts.local = told),
            ("CKA_NEVER_EXTRACTABLE", |facts, told| facts.never_extractable = told),
            ("CKA_ALWAYS_SENSITIVE", |facts, told| facts.always_sensitive = told),
            ("CKA_SENSITIVE", |facts, told| facts.sensitive = told),
            ("CKA_EXTRACTABLE", |facts, told| facts.extractable = told.map(|told| !told)),
            ("CKA_COPYABLE", |facts, told| facts.copyable = told.map(|told| !told)),
        ];
        for (name, spoil) in spoil {
            for told in [None, Some(false)] {
                let mut facts = own();
                spoil(&mut facts, told);
                let fault = facts.fault().unwrap_or_else(|| panic!("{name} {told:?} passed"));
                assert!(fault.contains(name), "{name}: {fault}");
            }
        }
        let readable = OriginFacts { readable: Finding::Yes, ..own() };
        assert!(readable.fault().is_some());
        assert!(OriginFacts::default().fault().is_some());
    }
}
