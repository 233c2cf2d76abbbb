//! Where a module is odd, what that means, and what the agent does about it: from the facts alone.

use super::facts::{Facts, Finding, Place, Told};

/// An oddity.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Quirk {
    /// A word for machines, which keeps its meaning.
    pub id: &'static str,
    /// What was seen.
    pub seen: String,
    /// What it means.
    pub means: &'static str,
    /// What the agent does about it, or a person should.
    pub agent: &'static str,
}

/// All of them, in the order of the table below.
#[must_use]
pub fn quirks(facts: &Facts) -> Vec<Quirk> {
    let mut found = Vec::new();
    let parts = [words, sessions, curves, digests, eddsa, rsa, origin, always, logins, leftovers];
    parts.iter().for_each(|part| part(facts, &mut found));
    found
}

type Found = Vec<Quirk>;

fn push(
    found: &mut Found,
    id: &'static str,
    seen: impl Into<String>,
    means: &'static str,
    agent: &'static str,
) {
    found.push(Quirk { id, seen: seen.into(), means, agent });
}

fn words(facts: &Facts, found: &mut Found) {
    for trouble in &facts.troubles {
        let seen = format!("{}: the helper {}", trouble.probe, trouble.how);
        push(
            found,
            "does-not-survive",
            seen,
            "a call of this kind ends the process that the module runs in",
            "the helper is started again; the agent and other tokens do not notice",
        );
    }
    let Some(token) = &facts.token else { return };
    if token.pin_locked {
        push(
            found,
            "pin-locked",
            "CKF_USER_PIN_LOCKED is set",
            "no PIN is taken any more",
            "presents none; unblock it with the tool of its vendor",
        );
    } else if token.final_try {
        push(
            found,
            "pin-final-try",
            "CKF_USER_PIN_FINAL_TRY is set",
            "one more wrong PIN locks the token",
            "presents no PIN unless --last-try is given",
        );
    } else if token.count_low {
        push(
            found,
            "pin-count-low",
            "CKF_USER_PIN_COUNT_LOW is set",
            "a wrong PIN was given since the last right one",
            "presents a PIN once for each entry; doctor logs in once and no more",
        );
    }
    if token.pin_to_be_changed {
        push(
            found,
            "pin-to-be-changed",
            "CKF_USER_PIN_TO_BE_CHANGED is set",
            "the token wants another PIN before it works",
            "nothing by itself: tufctl token change-pin",
        );
    }
    if token.error_state {
        push(
            found,
            "error-state",
            "CKF_ERROR_STATE is set",
            "a self-test of the token has failed",
            "nothing by itself: see its vendor's tool",
        );
    }
    if !token.hardware {
        push(
            found,
            "software",
            "CKF_HW_SLOT is not set",
            "by its own words it is no device: keys lie in files or behind another module",
            "counts it for nothing; prefer a device for root keys",
        );
    }
    if token.sessions == Told::Nothing && token.rw_sessions == Told::Nothing {
        push(
            found,
            "session-limit-untold",
            "it tells no limit of sessions",
            "how many there are is known by trying alone",
            "opens two at most, and works with one where there is no second",
        );
    }
}

fn sessions(facts: &Facts, found: &mut Found) {
    let Some(sessions) = &facts.sessions else { return };
    let Some(refused) = &sessions.refused else { return };
    let told = facts.token.as_ref().map(|token| token.sessions).unwrap_or_default();
    let told = match told {
        Told::Most(most) => format!("{most} are told"),
        Told::NoLimit => "it tells that there is no limit".to_owned(),
        Told::Nothing => "it tells no limit".to_owned(),
    };
    let seen = format!("{} sessions can be open, then {refused}; {told}", sessions.opened);
    push(
        found,
        "session-limit",
        seen,
        "more requests at a time than that wait for each other",
        "opens two at most, and works with one where there is no second",
    );
}

fn curves(facts: &Facts, found: &mut Found) {
    for (name, curve) in &facts.curves {
        if curve.accepted.is_empty() {
            continue;
        }
        if !curve.accepted.iter().any(|form| form == "oid") {
            let seen =
                format!("{name}: CKA_EC_PARAMS is taken as {}, not as an OID", curve.accepted.join(", "));
            push(
                found,
                "curve-by-name",
                seen,
                "the standard allows both since version 3.0",
                "makes keys with the name that is taken",
            );
        }
        let odd: Vec<String> = curve
            .returned
            .iter()
            .filter(|(_, returned)| *returned != "oid")
            .map(|(form, returned)| format!("{returned} for {form}"))
            .collect();
        if !odd.is_empty() {
            let seen = format!("{name}: CKA_EC_PARAMS reads as {}", odd.join(", "));
            push(
                found,
                "curve-reads-as",
                seen,
                "the same curve is written in more than one way",
                "reads OID and names, and refuses the rest",
            );
        }
        match curve.point.as_deref() {
            Some("raw") => push(
                found,
                "point-raw",
                format!(
                    "{name}: CKA_EC_POINT is {} bytes, without an OCTET STRING around it",
                    curve.point_len
                ),
                "the standard wants it wrapped",
                "reads both, by length",
            ),
            Some("wrapped") | None => {}
            Some(other) => push(
                found,
                "point-odd",
                format!("{name}: CKA_EC_POINT is {other} ({} bytes)", curve.point_len),
                "the public key cannot be read from it",
                "does not use such keys",
            ),
        }
        if curve.plain_key_type.is_yes() {
            push(
                found,
                "ed25519-as-ec",
                "Ed25519 keys can be made as CKK_EC",
                "other programs may have made keys of that type",
                "makes CKK_EC_EDWARDS keys",
            );
        }
        if name.starts_with("ecdsa") && curve.signs.is_yes() && !curve.hash_and_sign.is_yes() {
            let seen = format!("{name}: {}", not(&curve.hash_and_sign, "hash-and-sign was not tried"));
            push(
                found,
                "digest-only",
                seen,
                "it signs digests and hashes nothing itself",
                "hashes, and has the digest signed",
            );
        }
        if name.starts_with("ecdsa") && curve.hash_and_sign.is_yes() && !curve.signs.is_yes() {
            let seen = format!("{name}: {}", not(&curve.signs, "digests were not tried"));
            push(found, "hash-and-sign-only", seen, "it signs no digests", "gives it the whole message");
        }
    }
}

fn digests(facts: &Facts, found: &mut Found) {
    let wrong: Vec<String> =
        facts.digest_lengths.iter().flatten().filter(|len| **len != 32).map(u32::to_string).collect();
    if !wrong.is_empty() {
        let seen = format!("under P-256 it signs \"digests\" of {} bytes", wrong.join(", "));
        push(
            found,
            "digest-length-unchecked",
            seen,
            "a caller's mistake becomes a signature of something else",
            "gives digests of the right length alone, and verifies each signature",
        );
    }
}

fn eddsa(facts: &Facts, found: &mut Found) {
    if let Finding::No(why) = &facts.eddsa.heeds_parameters {
        push(
            found,
            "eddsa-parameters-ignored",
            why.clone(),
            "who asks for another variant is not told that it was not made",
            "asks for pure Ed25519 alone, which is what TUF means",
        );
    }
    if let Finding::No(why) = &facts.eddsa.multi_part {
        push(
            found,
            "eddsa-one-shot",
            format!("C_SignUpdate: {why}"),
            "a message is signed in one call or not at all",
            "gives each message whole, in one call",
        );
    }
    if let Some(why) = &facts.eddsa.too_long {
        let seen = format!("messages up to {} bytes, then {why}", facts.eddsa.longest.unwrap_or(0));
        push(
            found,
            "eddsa-short-messages",
            seen,
            "large metadata cannot be signed by Ed25519 keys of this token",
            "is told by the token and says so; use P-256 for large roles",
        );
    }
}

fn rsa(facts: &Facts, found: &mut Found) {
    let Some(rsa) = &facts.rsa else { return };
    if rsa.pss_whole.is_yes() && facts.lists("CKM_SHA256_RSA_PKCS_PSS") == Some(false) {
        push(
            found,
            "pss-unlisted",
            "CKM_SHA256_RSA_PKCS_PSS signs and is not listed",
            "the list of mechanisms is not whole",
            "tries, whatever is listed",
        );
    }
    if rsa.pss_whole.is_no() && rsa.pss_digest.is_yes() {
        push(
            found,
            "pss-digest-only",
            not(&rsa.pss_whole, ""),
            "it signs digests by PSS and hashes nothing itself",
            "hashes, and has the digest signed",
        );
    }
    if rsa.pss_whole.is_no() && rsa.pss_digest.is_no() && rsa.generate.is_yes() {
        push(
            found,
            "no-pss",
            not(&rsa.pss_whole, ""),
            "RSA keys of this token sign by PKCS#1 v1.5 alone",
            "refuses roles whose metadata names PSS for such a key",
        );
    }
}

fn origin(facts: &Facts, found: &mut Found) {
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
    if facts.imported.as_ref().is_some_and(super::OriginFacts::claims_to_be_made_there) {
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

fn always(facts: &Facts, found: &mut Found) {
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

fn logins(facts: &Facts, found: &mut Found) {
    let Some(logins) = &facts.logins else { return };
    if let Finding::No(why) = &logins.shared {
        push(
            found,
            "login-per-session",
            why.clone(),
            "a login is the session's, not the process's",
            "says that it is not logged in where it works with several sessions; report this module",
        );
    }
    if logins.second.as_deref().is_some_and(|code| code != "CKR_USER_ALREADY_LOGGED_IN") {
        let seen = format!("a second login answers {}", logins.second.as_deref().unwrap_or_default());
        push(
            found,
            "second-login",
            seen,
            "the standard wants CKR_USER_ALREADY_LOGGED_IN",
            "logs out before it logs in again",
        );
    }
    if let Finding::No(why) = &logins.hides_private {
        push(
            found,
            "private-keys-shown",
            why.clone(),
            "logged out, private keys are still seen",
            "lists public keys alone while it is locked",
        );
    }
    if let Finding::No(why) = &logins.token_handle {
        push(
            found,
            "handles-end-with-login",
            format!("an old handle after logout and login: {why}"),
            "handles of keys live as long as the login",
            "looks keys up again after each login",
        );
    }
}

fn leftovers(facts: &Facts, found: &mut Found) {
    if facts.place == Some(Place::Token) {
        push(
            found,
            "no-session-keys",
            "keys cannot lie in a session",
            "doctor measured with keys on the token, and has removed them",
            "nothing: its keys lie on the token",
        );
    }
    if facts.removed > 0 {
        let seen = format!("{} objects of an earlier run were there", facts.removed);
        push(found, "leftovers-removed", seen, "a run of doctor was killed", "doctor has removed them");
    }
    if let Some(label) = facts.left.first() {
        let seen = format!("objects labelled {label:?} cannot be removed");
        push(
            found,
            "leftovers",
            seen,
            "what doctor made is still there",
            "nothing more: remove it with the tool of the token",
        );
    }
}

fn not(finding: &Finding, otherwise: &str) -> String {
    match finding {
        Finding::No(why) => why.clone(),
        Finding::Yes | Finding::Unknown => otherwise.to_owned(),
    }
}

const fn told(value: Option<bool>) -> &'static str {
    match value {
        Some(true) => "true",
        Some(false) => "false",
        None => "not told",
    }
}
