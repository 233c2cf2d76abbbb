//! `tufctl key attest`: what the maker of a YubiKey vouches for.

use serde_json::{Value, json};
use tufagent_proto::v1::AttestKeyReply;

use super::json as key_json;
use crate::context::Context;
use crate::error::Failure;
use crate::render::{Report, Style, short_keyid, visible};

pub(super) fn attest(name: &str, context: &Context) -> Result<Report, Failure> {
    let reply = context.agent()?.attest_key(name)?;
    for warning in &reply.warnings {
        context.screen.warn(warning);
    }
    Ok(Report::new(document(name, &reply)?, text(name, &reply, context.screen.out())))
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
