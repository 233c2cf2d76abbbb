//! What a person is asked before a token gets a PIN: of a YubiKey by what the card says just then.

use tufagent_proto::v1;

use super::{YUBIKEY, described, described_device, problem, unblocking, word};
use crate::client::Agent;
use crate::error::{Failure, reason};
use crate::prompt::{Terminal, confirm_by_person};
use crate::render::visible;
use crate::secret::Secret;

/// Unlocks one token: by the source that the agent's configuration names, or by a prompt.
///
/// # Errors
/// `PIN_REQUIRED` (exit 5) when it must be asked and no terminal is there; what the agent says otherwise.
pub(crate) fn unlock_asking(agent: &Agent, token: &v1::Token) -> Result<v1::Token, Failure> {
    if !is_typed(token) {
        return agent.unlock(&token.name, None, None, None);
    }
    let token = match Terminal::open() {
        Some(_) => looked_at(agent, token.clone())?,
        None => token.clone(),
    };
    let secret = ask_looked_at(&token)?;
    agent.unlock(&token.name, Some(&secret), None, token.serial.as_deref())
}

/// The same of one whose secret a person types, as it was looked at just now, because something is to be done with it.
///
/// # Errors
/// As [`unlock_asking`]; `TOKEN_LOCKED` when somebody says `lock` meanwhile.
pub(crate) fn unlock_for_use(agent: &Agent, token: &v1::Token) -> Result<v1::Token, Failure> {
    let secret = ask_looked_at(token)?;
    agent.unlock_for_use(token, &secret)
}

fn ask_looked_at(token: &v1::Token) -> Result<Secret, Failure> {
    check_is_no_stranger(token)?;
    check_is_there(token)?;
    check_is_not_last_try(token)?;
    ask(token, token.fresh)
}

/// Whether a person types its secret.
pub(super) fn is_typed(token: &v1::Token) -> bool {
    matches!(token.pin_source.as_str(), "prompt" | "")
}

/// A token as it is now, of which nothing keeps a person from typing its secret; `last_try`: also the last one.
///
/// # Errors
/// `TOKEN_ABSENT`, `PIN_BLOCKED`, `TOKEN_BUSY`.
pub(super) fn to_be_asked_for(agent: &Agent, token: v1::Token, last_try: bool) -> Result<v1::Token, Failure> {
    if Terminal::open().is_none() {
        return Ok(token);
    }
    let token = looked_at(agent, token)?;
    check_is_there(&token)?;
    if !last_try {
        check_is_not_last_try(&token)?;
    }
    Ok(token)
}

/// A YubiKey as it is now: since the agent looked at it another program may have used tries of its PIN, or have reset it.
///
/// # Errors
/// `TOKEN_ABSENT`, `TOKEN_BUSY`: what is typed would reach nobody.
pub(crate) fn looked_at(agent: &Agent, token: v1::Token) -> Result<v1::Token, Failure> {
    if token.kind != YUBIKEY {
        return Ok(token);
    }
    match agent.card_facts(&token.name) {
        Err(failure) if [reason::TOKEN_ABSENT, reason::TOKEN_BUSY].contains(&failure.reason()) => {
            Err(failure)
        }
        // Whatever else it is shows when it is to do something.
        _ => agent.token(&token.name),
    }
}

/// Nobody is asked for the PIN of a card that is not there: it would be for whichever comes (FAULTS C5). Nor for one that is
/// blocked.
///
/// # Errors
/// `TOKEN_ABSENT`, `TOKEN_BUSY`, `PIN_BLOCKED`.
pub(super) fn check_is_there(token: &v1::Token) -> Result<(), Failure> {
    let name = visible(&token.name);
    let failure = match token.state.as_str() {
        _ if Terminal::open().is_none() => return Ok(()),
        "absent" => Failure::new(reason::TOKEN_ABSENT, format!("{name} is not there{}", problem(token)))
            .remedy(match token.kind == YUBIKEY {
                true => "insert it, then run this again",
                false => "insert it, or bring its folder or service back, then run this again",
            }),
        _ if token.in_use => {
            Failure::new(reason::TOKEN_BUSY, format!("{name} cannot be used now{}", problem(token)))
                .remedy("run this again when the other program is done with it")
        }
        _ => return check_is_not_blocked(token),
    };
    Err(failure.detail("token", token.name.as_str()))
}

/// Nor is anybody asked whether a PIN is to be tried that is blocked, at a terminal or elsewhere.
///
/// # Errors
/// `PIN_BLOCKED`.
pub(super) fn check_is_not_blocked(token: &v1::Token) -> Result<(), Failure> {
    if token.kind != YUBIKEY || token.state != "blocked" {
        return Ok(());
    }
    let (which, and_puk) =
        (described_device(token), if token.puk_blocked { ", and its PUK is, too" } else { "" });
    Err(Failure::new(reason::PIN_BLOCKED, format!("the PIN of {which} is blocked after wrong ones{and_puk}"))
        .remedy(unblocking(token))
        .detail("token", token.name.as_str())
        .detail("tries_left", 0))
}

/// Nor for that of another card than the one that is meant, as far as is known: whoever means this one names the token.
///
/// # Errors
/// `TOKEN_SWAPPED`.
fn check_is_no_stranger(token: &v1::Token) -> Result<(), Failure> {
    if !token.swapped {
        return Ok(());
    }
    let name = visible(&token.name);
    Err(Failure::new(
        reason::TOKEN_SWAPPED,
        format!("another card is in the place of {name}{}", problem(token)),
    )
    .remedy(format!("put the other one back, or say that this one is meant: tufctl token unlock {name}"))
    .detail("token", token.name.as_str()))
}

/// Nobody types a PIN that is not presented then.
///
/// # Errors
/// `PIN_BLOCKED`.
fn check_is_not_last_try(token: &v1::Token) -> Result<(), Failure> {
    if token.kind != YUBIKEY || token.pin_tries_left != Some(1) || Terminal::open().is_none() {
        return Ok(());
    }
    let message = format!("{} blocks its PIN when the next one is wrong", described(token));
    Err(Failure::new(reason::PIN_BLOCKED, message)
        .remedy(format!(
            "make sure of the PIN, then: tufctl token unlock {} --last-try",
            visible(&token.name)
        ))
        .detail("token", token.name.as_str())
        .detail("tries_left", 1))
}

/// Asks the person for it; what they were shown is what the agent compares the card with.
pub(super) fn agree_to_last_try(token: &v1::Token) -> Result<v1::LastTryShown, Failure> {
    let wrong = token.pins_wrong.unwrap_or_default();
    let before = match wrong {
        0 => String::new(),
        1 => " It did not accept the last one.".to_owned(),
        more => format!(" It did not accept the last {more}."),
    };
    let (word, which) = (word(token), described(token));
    confirm_by_person(&format!("Try a {word} of {which} even if it is the last try that is left?{before}"))?;
    let serial = token.serial.clone().unwrap_or_default();
    Ok(v1::LastTryShown { serial, pin_tries_left: token.pin_tries_left, pins_wrong: wrong })
}

/// Asks for a token's secret, saying which device it is for; twice when it is new.
///
/// # Errors
/// `PIN_REQUIRED` where nobody is there to type it, or nothing was typed.
pub(crate) fn ask(token: &v1::Token, new: bool) -> Result<Secret, Failure> {
    let name = &token.name;
    let Some(terminal) = Terminal::open() else {
        return Err(Failure::new(
            reason::PIN_REQUIRED,
            format!("the {} of {name} is needed and there is no terminal to ask at", word(token)),
        )
        .remedy(format!("tufctl token unlock {name} --pin-file FILE"))
        .detail("token", token.name.as_str()));
    };
    let label = |which: String| format!("{} of {which}", word(token));
    let missing = || format!("no {} of {} was typed", word(token), visible(name));
    for _ in 0..MOST_ASKED {
        // A new one is not tried.
        let typed = match new {
            true => terminal.new_secret(&label(described_device(token))),
            false => terminal.secret(&label(described(token))),
        };
        let typed = typed.map_err(|failure| match failure.reason() {
            reason::PIN_REQUIRED if !new => failure.saying(missing()),
            _ => failure,
        })?;
        // What is none by its form is typed again: the agent would refuse it, and a command of several steps would end.
        if token.kind != YUBIKEY || (6..=8).contains(&typed.reveal_secret_bytes().len()) {
            return Ok(typed);
        }
        terminal.write("a YubiKey's PIN has six to eight characters, so this is none; again\n")?;
    }
    Err(Failure::new(reason::PIN_REQUIRED, missing()).detail("token", token.name.as_str()))
}

/// So often somebody types what cannot be a PIN.
const MOST_ASKED: u32 = 3;
