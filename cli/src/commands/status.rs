//! `tufctl status`: what runs, which tokens are there, what waits for a person.

use serde_json::json;

use super::token;
use crate::context::Context;
use crate::error::Failure;
use crate::render::{Report, visible};
use crate::shares::{collection_json, standing};

/// Exit 0 as soon as the agent is ready, 7 before, and 7 again while it could sign nothing.
pub(crate) fn run(context: &Context) -> Result<Report, Failure> {
    let status = context.agent()?.status()?;
    let style = context.screen.out();
    let mut text = format!("{} {} · pid {}\n", style.bold("tuf-agent"), visible(&status.version), status.pid);
    text.push_str(&token::table(&status.tokens, style));
    for alarm in &status.alarms {
        text.push_str(&format!("{} {}\n", style.red("alarm:"), visible(alarm)));
    }
    for trouble in &status.troubles {
        text.push_str(&format!("{} {}\n", style.red("not ready:"), visible(trouble)));
    }
    // Where the agent is in trouble that is what is to be told; it takes no shares then either.
    let collections = context.agent()?.collections().unwrap_or_default();
    for open in &collections {
        text.push_str(&format!("{} {}\n", style.yellow("waits for shares:"), standing(open)));
        let (id, until) = (visible(&open.id), visible(&open.deadline));
        text.push_str(&format!("  until {until}: tufctl share give --collection {id}\n"));
    }
    let ready = status.troubles.is_empty();
    let tokens: Vec<_> = status.tokens.iter().map(token::json).collect();
    let json = json!({
        "version": status.version,
        "pid": status.pid,
        "tokens": tokens,
        "alarms": status.alarms,
        "collections": collections.iter().map(collection_json).collect::<Vec<_>>(),
        "ready": ready,
        "troubles": status.troubles,
    });
    Ok(Report::new(json, text).exit(if ready { 0 } else { NOT_READY }))
}

/// As when there is no agent: whoever waits for one waits on.
const NOT_READY: u8 = 7;
