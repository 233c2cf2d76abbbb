//! `tufctl status`: what runs, which tokens are there, what waits for a person.

use serde_json::json;

use super::token;
use crate::context::Context;
use crate::error::Failure;
use crate::render::{Report, visible};

/// Exit 0 as soon as the agent answers, 7 before.
pub(crate) fn run(context: &Context) -> Result<Report, Failure> {
    let status = context.agent()?.status()?;
    let style = context.screen.out();
    let mut text = format!("{} {} · pid {}\n", style.bold("tuf-agent"), visible(&status.version), status.pid);
    text.push_str(&token::table(&status.tokens, style));
    for alarm in &status.alarms {
        text.push_str(&format!("{} {}\n", style.red("alarm:"), visible(alarm)));
    }
    let tokens: Vec<_> = status.tokens.iter().map(token::json).collect();
    let json = json!({
        "version": status.version,
        "pid": status.pid,
        "tokens": tokens,
        "alarms": status.alarms,
    });
    Ok(Report::new(json, text))
}
