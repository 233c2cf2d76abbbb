//! What it says of its keys.

use super::{Facts, Finding, Found, not, push, told};

pub(super) fn origin(facts: &Facts, found: &mut Found) {
    if let Some(made) = &facts.generated {
        if made.readable.is_yes() {
            push(
                found,
                "private-readable",
                "it gives out the private number of a key that is sensitive and not extractable",
                "keys are not safe on this token",
                "never asks for it; do not use this token",
            );
        }
        if !made.claims_to_be_made_there() {
            let seen = format!(
                "of a key that was made there: LOCAL {}, NEVER_EXTRACTABLE {}, ALWAYS_SENSITIVE {}",
                told(made.local),
                told(made.never_extractable),
                told(made.always_sensitive)
            );
            push(
                found,
                "origin-untold",
                seen,
                "by its words the key might have come from elsewhere",
                "a role that demands keys of the token's own refuses them",
            );
        }
        if made.copyable != Some(false) {
            let seen = format!(
                "CKA_COPYABLE false: {}; it reads as {}",
                not(&made.takes_copyable, "taken"),
                told(made.copyable)
            );
            push(
                found,
                "copyable",
                seen,
                "it does not say that the key has no copy",
                "a role that demands keys of the token's own refuses them",
            );
        }
        if made.can_be_copied.is_yes() {
            push(
                found,
                "copied-all-the-same",
                "C_CopyObject copies a key whose CKA_COPYABLE is false",
                "the attribute means nothing here",
                "never copies; count the attribute for nothing",
            );
        }
    }
    if facts.imported.as_ref().is_some_and(crate::doctor::OriginFacts::claims_to_be_made_there) {
        push(
            found,
            "imports-claim-origin",
            "of a key that was brought in it says that it was made there",
            "where a key comes from cannot be told on this token",
            "warns when a key is imported; watch who can log in",
        );
    }
    if let Finding::No(why) = &facts.import {
        push(
            found,
            "no-import",
            format!("C_CreateObject: {why}"),
            "keys are made there or not at all",
            "key import is refused by the token",
        );
    }
    if facts.duplicates.is_yes() {
        push(
            found,
            "duplicates",
            "two keys can have the same label and id",
            "a key cannot be chosen by its label",
            "chooses by public key, and refuses where two could be meant",
        );
    }
}

pub(super) fn always(facts: &Facts, found: &mut Found) {
    if facts.generated.as_ref().is_some_and(|made| made.always_authenticate == Some(true)) {
        push(
            found,
            "always-authenticate-made",
            "keys that are made there say CKA_ALWAYS_AUTHENTICATE, which nobody asked for",
            "each signature takes the PIN anew",
            "presents it for each: from its source, or as somebody types it each time",
        );
    }
    let Some(always) = &facts.always else { return };
    if let Finding::No(why) = &always.made {
        push(
            found,
            "no-always-authenticate",
            format!("CKA_ALWAYS_AUTHENTICATE: {why}"),
            "no key can demand a login for each signature",
            "nothing: the keys that it makes do not demand it",
        );
        return;
    }
    if let Finding::No(why) = &always.honoured {
        push(
            found,
            "always-authenticate-ignored",
            why.clone(),
            "a key that demands a login for each signature does not get one",
            "presents the PIN where the key demands it; the demand protects nothing here",
        );
        return;
    }
    if let Finding::No(why) = &always.session_lives {
        push(
            found,
            "stuck-after-refusal",
            format!("after a refused signature: {why}"),
            "a session is of no use after it",
            "drops a session after any error",
        );
    }
    if let (Finding::No(why), true) = (&always.context_digest, always.honoured.is_yes()) {
        let (means, agent) = match always.fresh_login.is_yes() {
            true => (
                "it knows no login between C_SignInit and C_Sign",
                "logs out and in again before each signature of such a key",
            ),
            false => (
                "how such keys sign was not found",
                "signs with such keys if it can, and says so where it cannot",
            ),
        };
        push(found, "no-context-login", why.clone(), means, agent);
    }
}
