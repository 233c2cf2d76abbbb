//! `tufctl key attest`: what the maker of a YubiKey vouches for.

use serde_json::{Value, json};
use tufagent_proto::v1::AttestKeyReply;

use super::json as key_json;
use crate::client::Agent;
use crate::commands::token::described_device;
use crate::context::Context;
use crate::error::Failure;
use crate::render::{Report, Style, short_keyid, visible};

pub(super) fn attest(name: &str, context: &Context) -> Result<Report, Failure> {
    let agent = context.agent()?;
    let device = device_of(name, agent)?;
    let slow = || {
        context.screen.note(format!(
            "waiting for {device}: another program may be using it (gpg's scdaemon, ssh-agent, ykman, a browser), or another \
             request waits for its touch …"
        ));
    };
    let reply = agent.attest_key(name, slow)?;
    for warning in &reply.warnings {
        context.screen.warn(warning);
    }
    Ok(Report::new(document(name, &reply)?, text(name, &reply, context.screen.out())))
}

/// The token that holds the key, as far as that is known without asking it.
fn device_of(name: &str, agent: &Agent) -> Result<String, Failure> {
    let key = agent.keys_to_sign()?.into_iter().find(|key| key.name == name);
    let token = key.and_then(|key| agent.token(&key.token).ok());
    Ok(token.map_or_else(|| "the YubiKey".to_owned(), |token| described_device(&token)))
}

fn document(name: &str, reply: &AttestKeyReply) -> Result<Value, Failure> {
    let key = reply.key.as_ref().map(key_json).transpose()?.unwrap_or_default();
    let of = |member: &str| key.get(member).cloned().unwrap_or_default();
    Ok(json!({
        "name": name,
        "token": of("token"),
        "type": of("type"),
        "keyid": of("keyid"),
        "serial": reply.serial,
        "firmware": reply.firmware,
        "slot": reply.slot,
        "pin_policy": reply.pin_policy,
        "touch_policy": reply.touch_policy,
        "form": reply.form,
        "made_on_device": true,
        "root": reply.root,
        "warnings": reply.warnings,
        "certificates": reply.certificates,
    }))
}

fn text(name: &str, reply: &AttestKeyReply, style: Style) -> String {
    let device = reply.form.as_deref().map(|form| format!(" ({})", visible(form))).unwrap_or_default();
    let keyid = reply.key.as_ref().map(|key| short_keyid(&key.keyid)).unwrap_or_default();
    format!(
        "{} was made on YubiKey {}{device} and cannot leave it\n\
         keyid     {keyid}\n\
         slot      {}\n\
         firmware  {}\n\
         PIN       {}\n\
         touch     {}\n\
         root      {}\n",
        style.bold(visible(name)),
        reply.serial,
        visible(&reply.slot),
        visible(&reply.firmware),
        visible(&reply.pin_policy),
        visible(&reply.touch_policy),
        visible(&reply.root),
    )
}
