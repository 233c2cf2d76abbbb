//! `tufctl bump`: the same content under the next version, with a new expiry.

use std::num::NonZeroU64;

use serde_json::json;
use tuf::metadata::Metadata;
use tuf::role::RoleName;

use super::staging::{Staging, role_name, unknown_role};
use crate::args::BumpArgs;
use crate::context::Context;
use crate::error::Failure;
use crate::prompt::confirm;
use crate::render::{self, Report, visible};

/// Runs `tufctl bump`.
pub(crate) fn run(args: &BumpArgs, context: &Context) -> Result<Report, Failure> {
    let mut staging = Staging::open(context, &args.dir, args.yes.yes)?;
    if staging.behind.is_some() {
        confirm("Go on from a folder that is older than what was published?", args.yes.yes)?;
    }
    let mut roles = Vec::new();
    for name in &args.roles {
        roles.extend(meant(&staging, name)?);
    }
    for role in &roles {
        staging.facts.check_base(context, &staging.workspace, role)?;
    }
    if let Some(days) = args.expires {
        staging.set_length(&roles, days.0)?;
    }
    let (mut skipped, mut text) = (Vec::new(), String::new());
    for role in roles {
        let current = staging.current(&role)?;
        let left = current.expires().unix().saturating_sub(render::now());
        if args.if_within.is_some_and(|span| left > span.seconds) {
            let away = render::expiry(current.expires().unix(), render::now());
            text.push_str(&format!(
                "{} v{} stays: it expires {away}\n",
                visible(role.as_str()),
                current.version()
            ));
            skipped.push(json!({"role": role.as_str(), "expires": current.expires().to_string()}));
            continue;
        }
        staging.renew_above(&role, args.above.map_or(0, NonZeroU64::get))?;
    }
    staging.commit()?;
    Ok(staging.report(json!({"skipped": skipped}), text))
}

/// The role of this name, or all bins with this prefix.
fn meant(staging: &Staging<'_>, name: &str) -> Result<Vec<RoleName>, Failure> {
    let role = role_name(name)?;
    if staging.workspace.current(&role)?.is_some() {
        return Ok(vec![role]);
    }
    for node in staging.workspace.tree()?.iter().filter(|node| node.delegates) {
        let metadata = staging.workspace.current(&node.role)?;
        let delegations =
            metadata.as_ref().and_then(Metadata::as_targets).and_then(|t| t.delegations.as_ref());
        let bins = delegations.and_then(|d| d.succinct.as_ref());
        if let (Some(metadata), true) = (&metadata, bins.is_some_and(|b| b.name_prefix == name)) {
            return staging.workspace.children(metadata);
        }
    }
    Err(unknown_role(&role))
}
