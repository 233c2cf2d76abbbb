//! Where a module is odd, what that means, and what the agent does about it: from the facts alone.

mod keys;
mod signing;

use keys::{always, origin};
use signing::{curves, digests, eddsa, rsa};

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
            "opens two, more only as `sessions` in its entry says, and works with one where there is no second",
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
        "opens two, more only as `sessions` in its entry says, and works with one where there is no second",
    );
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
    if let Some(odd) = &facts.odd_objects {
        push(
            found,
            "objects-odd",
            odd.clone(),
            "a key whose object cannot be read is not seen",
            "passes over what cannot be read, says so in tufctl token list, and uses the others",
        );
    }
    if let Some(unfit) = &facts.unfit_keys {
        push(
            found,
            "keys-unfit",
            unfit.clone(),
            "TUF has no such keys",
            "leaves them alone, says so in tufctl token list, and uses the others",
        );
    }
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
