//! Which of the slots of a module holds the token that is meant.
//!
//! A slot that cannot be read, or hangs, never spoils the others: the agent hears which one is asked, and the helper after
//! one that hung asks that slot last. Who names a token wrongly is told which there are.

use cryptoki::error::Error;
use cryptoki::slot::{Slot, TokenInfo};

use super::faults::{Fault, told};
use super::live::Live;
use super::protocol::{HostError, HostErrorKind, TokenStatus, Wanted};
use super::token::TokenHost;

impl TokenHost {
    /// Finds the token among all slots; one that cannot be read never spoils the others.
    pub(super) fn search(&mut self) -> Result<(), Fault> {
        let (mut found, mut others, mut unread) = (Vec::new(), Others::default(), None);
        let mut slots = self.pkcs11.get_slots_with_token()?;
        slots.sort_by_key(|slot| (self.last.contains(&slot.id()), slot.id()));
        // A module may name one twice.
        slots.dedup_by_key(|slot| slot.id());
        for slot in slots {
            // What hangs is not asked for what is there already.
            if self.last.contains(&slot.id()) && !found.is_empty() {
                break;
            }
            match self.read_slot(slot) {
                Ok(info) if info.token_initialized() && matches(&self.wanted, &info) => {
                    found.push((slot, info))
                }
                Ok(info) => others.add(&info),
                Err(error) => unread = Some(error),
            }
        }
        let (slot, info) = match (found.pop(), unread) {
            (Some(one), _) => one,
            (None, None) => {
                let absent = self.absent();
                return Err(HostError { message: absent.message + &others.told(), ..absent }.into());
            }
            (None, Some(error)) => {
                let mut absent = self.absent();
                absent.message.push_str(&others.told());
                absent.message.push_str(&format!(", as far as its slots can be read ({})", told(&error)));
                return Err(absent.into());
            }
        };
        if !found.is_empty() {
            let all: Vec<_> = found.iter().map(|(_, info)| info).chain([&info]).collect();
            let serials: Vec<_> =
                all.iter().map(|info| format!("{:?}", text(info.serial_number()))).collect();
            let message = format!(
                "the module has more than one token {}; their serials are {}",
                describe(&self.wanted),
                serials.join(", ")
            );
            let several = HostError::new(HostErrorKind::Several, message);
            let says = |info: &TokenInfo| {
                let words = [info.serial_number(), info.label(), info.manufacturer_id(), info.model()];
                words.map(|word| text(word).to_owned())
            };
            let told_apart = all.iter().any(|other| says(other) != says(&info));
            return Err(if told_apart { several } else { several.remedy(THE_SAME) }.into());
        }
        self.live = Some(Live::open(&self.pkcs11, slot, &info, status(&info, false), self.pool())?);
        Ok(())
    }

    /// One that does not come back is known to the agent by then.
    fn read_slot(&self, slot: Slot) -> Result<TokenInfo, Error> {
        let tell = |slot| {
            if let Some(teller) = &self.teller {
                teller.asks(slot);
            }
        };
        tell(Some(slot.id()));
        let info = self.pkcs11.get_token_info(slot);
        tell(None);
        info
    }

    pub(super) fn absent(&self) -> HostError {
        HostError::new(HostErrorKind::Absent, format!("the module has no token {}", describe(&self.wanted)))
    }
}

pub(super) fn matches(wanted: &Wanted, info: &TokenInfo) -> bool {
    let fits =
        |wanted: &Option<String>, is: &str| wanted.as_deref().is_none_or(|wanted| text(wanted) == text(is));
    fits(&wanted.label, info.label())
        && fits(&wanted.serial, info.serial_number())
        && fits(&wanted.manufacturer, info.manufacturer_id())
        && fits(&wanted.model, info.model())
}

/// Without what fills it up: blanks by the standard, zero bytes by some makers.
pub(super) fn text(text: &str) -> &str {
    text.trim_end_matches(['\0', ' '])
}

/// The tokens that are not the one that is meant, for whoever has to name one of them.
#[derive(Default)]
struct Others {
    named: Vec<String>,
    more: usize,
}

impl Others {
    fn add(&mut self, info: &TokenInfo) {
        if self.named.len() >= MOST_NAMED {
            self.more += 1;
            return;
        }
        let (label, serial, maker) =
            (text(info.label()), text(info.serial_number()), text(info.manufacturer_id()));
        self.named.push(match info.token_initialized() {
            true => format!("label {label:?}, serial {serial:?}, manufacturer {maker:?}"),
            false => format!("serial {serial:?}, not initialised"),
        });
    }

    fn told(&self) -> String {
        let more = if self.more == 0 { String::new() } else { format!("; and {} more", self.more) };
        match self.named.as_slice() {
            [] => "; it shows none".to_owned(),
            named => format!("; it shows: {}{more}", named.join("; ")),
        }
    }
}

const MOST_NAMED: usize = 8;

/// What helps where nothing that can stand in the configuration tells tokens apart.
const THE_SAME: &str = "they say all the same of themselves, so no entry can mean one of them: have the module show one alone, in its own \
                        configuration, or give one of them another label";

pub(super) fn status(info: &TokenInfo, logged_in: bool) -> TokenStatus {
    TokenStatus {
        label: text(info.label()).to_owned(),
        serial: text(info.serial_number()).to_owned(),
        model: text(info.model()).to_owned(),
        manufacturer: text(info.manufacturer_id()).to_owned(),
        final_try: info.user_pin_final_try(),
        count_low: info.user_pin_count_low(),
        blocked: info.user_pin_locked(),
        pin_pad: info.protected_authentication_path(),
        open: !info.login_required(),
        logged_in,
        ..TokenStatus::default()
    }
}

fn describe(wanted: &Wanted) -> String {
    let parts = [
        ("label", &wanted.label),
        ("serial", &wanted.serial),
        ("manufacturer", &wanted.manufacturer),
        ("model", &wanted.model),
    ];
    let named: Vec<String> =
        parts.iter().filter_map(|(what, value)| Some(format!("with {what} {:?}", value.as_ref()?))).collect();
    named.join(" and ")
}
