//! `tufctl token unblock`: a new PIN by the PUK.

use tufagent_proto::v1;

use super::{YUBIKEY, described, one, tries};
use crate::args::UnblockArgs;
use crate::context::Context;
use crate::error::{Failure, reason};
use crate::prompt::{Terminal, confirm_by_person};
use crate::render::{Report, visible};
use crate::secret::Secret;

pub(super) fn unblock(args: &UnblockArgs, context: &Context) -> Result<Report, Failure> {
    let agent = context.agent()?;
    let token = agent.token(&args.name)?;
    let left = agent.card_facts(&args.name)?.puk_tries_left;
    let which = described(&v1::Token { pin_tries_left: None, ..token.clone() });
    check_tries(&which, &token, left, args.last_try)?;
    let of_puk = left.map(|left| format!(", {}", tries(left))).unwrap_or_default();
    let shown = match args.last_try {
        false => None,
        true => {
            confirm_by_person(&format!(
                "Try a PUK of {which}{of_puk}? When its tries are used up, nothing but a reset that destroys its keys goes on"
            ))?;
            let serial = token.serial.clone().unwrap_or_default();
            Some(v1::LastTryShown { serial, pin_tries_left: left, pins_wrong: 0 })
        }
    };
    let puk = match &args.puk_file {
        Some(path) => Secret::from_pin_file(path)?,
        None => terminal(&args.name)?.secret(&format!("PUK of {which}{of_puk}"))?,
    };
    let pin = match &args.new_pin_file {
        Some(path) => Secret::from_pin_file(path)?,
        None => terminal(&args.name)?.new_secret(&format!("PIN of {which}"))?,
    };
    // The card that was looked at, and no other.
    let now = agent.unblock(&args.name, (&puk, &pin), token.serial.as_deref(), shown)?;
    context.screen.note(format!("{which} has its new PIN, and all its tries"));
    one(&now, context)
}

/// What goes on from a PIN that is blocked.
pub(crate) fn unblocking(token: &v1::Token) -> String {
    match (token.kind.as_str(), token.puk_blocked) {
        (YUBIKEY, false) => {
            format!("give it a new PIN by its PUK: tufctl token unblock {}", visible(&token.name))
        }
        (YUBIKEY, true) => RESET.to_owned(),
        _ => "unblock it with its own tools".to_owned(),
    }
}

/// Nobody types a PUK that is not presented then.
///
/// # Errors
/// `PIN_BLOCKED`.
fn check_tries(which: &str, token: &v1::Token, left: Option<u32>, last_try: bool) -> Result<(), Failure> {
    let name = token.name.as_str();
    let (message, remedy) = match left {
        Some(0) if token.state == "blocked" => {
            (format!("PIN and PUK of {which} are both blocked after wrong ones"), RESET.to_owned())
        }
        Some(0) => (
            format!("the PUK of {which} is blocked after wrong ones"),
            format!("its keys sign on with the PIN, so keep that; once it is blocked, too, {RESET}"),
        ),
        Some(1) if !last_try => (
            format!("one more wrong PUK of {which} blocks it for ever; 1 try left"),
            format!(
                "make sure of the PUK, then at a terminal: tufctl token unblock {} --last-try",
                visible(name)
            ),
        ),
        _ => return Ok(()),
    };
    let failure = Failure::new(reason::PIN_BLOCKED, message).remedy(remedy).detail("token", name);
    Err(failure.detail("tries_left", left.unwrap_or_default()))
}

fn terminal(name: &str) -> Result<Terminal, Failure> {
    Terminal::open().ok_or_else(|| {
        Failure::new(
            reason::PIN_REQUIRED,
            format!("PUK and new PIN of {name} are needed and there is no terminal to ask at"),
        )
        .remedy(format!("tufctl token unblock {name} --puk-file PUK --new-pin-file NEW"))
        .detail("token", name)
    })
}

/// The way out of a YubiKey whose PUK is blocked as its PIN is.
const RESET: &str = "only a reset of its PIV application goes on from here (ykman piv reset; after it, take the YubiKey out and insert \
                     it again, or its old state is still shown): it destroys every key and certificate there, so give their roles other keys (tufctl root replace-key, tufctl delegation edit)";
