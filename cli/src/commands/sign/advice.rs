//! What `sign` says at its end of what to do about signatures that are missing.

use std::collections::BTreeSet;

use tuf::word;
use tufagent_proto::v1;

use super::key_line::KeyLine;
use super::outcome::RoleLine;
use crate::commands::token::unblocking;
use crate::error::Failure;
use crate::render::visible;

/// What to do about what is missing: colleagues, and tokens of ours.
pub(super) fn advice(
    missing: &[&RoleLine],
    dir: &str,
    known: &dyn Fn(&RoleLine, &KeyLine) -> Option<String>,
    find: &dyn Fn(&str) -> Option<v1::Token>,
) -> String {
    let (mut tokens, mut others) = (BTreeSet::new(), false);
    for line in missing {
        if line.lacks_keys() {
            let role = visible(line.role.as_str());
            tokens.insert(format!("{role} has too few keys: {}\n", line.give_keys(dir)));
        }
        for key in line.keys.iter().filter(|key| line.state.missing.contains(&key.keyid)) {
            if let Some(remedy) = known(line, key) {
                tokens.insert(format!("{}: {}\n", key.called(), visible(&remedy)));
                continue;
            }
            match &key.token {
                Some(_) if key.barred.is_some() => {
                    let remedy = key.barred.as_ref().map(Failure::remedy_text).unwrap_or_default();
                    tokens.insert(format!("{}: {}\n", key.called(), visible(remedy)));
                }
                Some((token, state))
                    if state == "locked" && find(token).is_some_and(|token| token.unlocks_itself) =>
                {
                    tokens.insert(format!("{} is unlocked again by itself: sign again\n", visible(token)));
                }
                Some((token, state)) if state == "locked" => {
                    tokens.insert(format!(
                        "unlock {0} and sign again: tufctl token unlock {0}\n",
                        visible(token)
                    ));
                }
                Some((token, state)) if state == "blocked" => {
                    let way = find(token).as_ref().map(unblocking).unwrap_or_default();
                    tokens.insert(format!("token {} is blocked; {way}\n", visible(token)));
                }
                Some((token, state)) if state != "unlocked" => {
                    let in_use = find(token).is_some_and(|token| token.in_use);
                    let state = if in_use { "held by another program" } else { state };
                    tokens.insert(format!("token {} is {state}: tufctl token list\n", visible(token)));
                }
                Some(_) if key.split => {
                    tokens.insert(format!(
                        "bring shares of {} together: tufctl share collect {dir} {} --manifest set.json\n",
                        key.called(),
                        word::option("--role", line.role.as_str())
                    ));
                }
                Some(_) => {}
                None if key.gone => {
                    let called = key.called();
                    tokens.insert(match key.maybe_on_in_words() {
                        Some(devices) => format!(
                            "{called} has signed here before and may lie on {devices}: {}\n",
                            key.way_back()
                        ),
                        None => format!(
                            "{called} has signed here before and is on no token any more: bring it back, or replace the key\n"
                        ),
                    });
                }
                None => others = true,
            }
        }
    }
    let mut text: String = tokens.into_iter().collect();
    if others {
        text.push_str(&format!("Give them {dir}/staged, then: tufctl sign {dir} --from THEIR_COPY\n"));
    }
    text
}
