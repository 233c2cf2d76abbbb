//! `tufctl repo reset-watermark`: after a fast-forward attack, the versions of a role start anew.
//!
//! Whoever had the keys of timestamp and snapshot could give them versions so high that nothing can follow. Clients forget
//! both roles once root has given them other keys (specification 5.3.11); then, and only then, the agent may forget too.

use serde_json::{Value, json};
use tuf::role::{RoleKind, RoleName};
use tuf::word;
use tufagent_proto::v1::Repository;

use super::super::names::given_up;
use super::super::sign::record;
use super::super::staging::{Staging, role_name};
use crate::args::ResetArgs;
use crate::context::Context;
use crate::error::{Failure, reason};
use crate::prompt::confirm;
use crate::render::{Report, typed_path, visible};
use crate::workspace::{Facts, Workspace};

/// Runs `tufctl repo reset-watermark`.
pub(crate) fn run(args: &ResetArgs, context: &Context) -> Result<Report, Failure> {
    let role = role_name(&args.role)?;
    let agent = context.agent()?;
    let workspace = Workspace::open_for_writing(&args.dir)?;
    let record = Facts::find(context, &workspace)?.record.ok_or_else(|| unknown(args))?;
    record::show_published(agent, &workspace, &record, context)?;
    record::show_staged_root(agent, &workspace, &record)?;
    let found = agent.reset_watermark(&record.name, role.as_str(), "")?;
    let (name, shown) = (visible(&record.name), visible(role.as_str()));
    if found.done {
        return done_before(args, context, workspace, &record, &role, found.to_version);
    }
    let to = match found.to_version {
        0 => "no version at all: this agent had signed none before it".to_owned(),
        to => format!("version {to}, the newest that this agent had signed before it"),
    };
    context.screen.note(format!(
        "{shown} of {name} goes back\n  from version {} (sha256 {})\n  to {to}\n\
         What is published above it counts as never published. Clients that still trust an older root refuse what comes \
         next until they have the new one.",
        found.from_version, found.from_sha256
    ));
    confirm(&format!("Let the versions of {shown} of {name} start anew?"), args.yes.yes)?;
    let done = agent.reset_watermark(&record.name, role.as_str(), &found.from_sha256)?;
    drop(workspace);
    let staging = restage(args, context, &role, false)?;
    let document = json!({
        "repository": record.name, "role": role.as_str(),
        "from": {"version": done.from_version, "sha256": done.from_sha256}, "to": done.to_version,
    });
    let text = format!("{shown} of {name} goes on from version {}\n", done.to_version);
    Ok(staging.report(document, text))
}

/// The agent put the role back when it was asked before: the rest is done again, in case that command was cut off.
fn done_before(
    args: &ResetArgs,
    context: &Context,
    workspace: Workspace,
    record: &Repository,
    role: &RoleName,
    to: u64,
) -> Result<Report, Failure> {
    let (name, shown) = (visible(&record.name), visible(role.as_str()));
    drop(workspace);
    let staging = restage(args, context, role, true)?;
    let document = json!({"repository": record.name, "role": role.as_str(), "from": Value::Null, "to": to});
    let text = format!(
        "{shown} of {name} was put back before, and nothing came since: it goes on from version {to}\n"
    );
    Ok(staging.report(document, text))
}

/// What was staged went on from what counts no more. Snapshot and timestamp are made anew when signing; a targets role is
/// staged again from the newest file that is left of it. `again`: what is staged may be that already.
fn restage<'c>(
    args: &ResetArgs,
    context: &'c Context,
    role: &RoleName,
    again: bool,
) -> Result<Staging<'c>, Failure> {
    let mut staging = Staging::open(context, &args.dir, args.yes.yes)?;
    let staged = staging.workspace.staged(role)?.map(|staged| staged.version());
    let left = staging.workspace.published(role)?.and_then(|left| left.version().next());
    if again && staged.is_some() && staged == left {
        return tell_given_up(staging, role);
    }
    if staged.is_some() {
        staging.unstage(role.clone());
        staging.commit()?;
    }
    if role.kind() != RoleKind::Targets {
        return Ok(staging);
    }
    match staging.workspace.published(role)? {
        Some(left) => {
            context.screen.note(format!("what is staged goes on from {role} version {}", left.version()));
            staging.renew(role)?;
            staging.commit()?;
        }
        None => context.screen.warn(format!(
            "metadata/ holds no {role} from before the attack: put it back from a good copy, then: tufctl bump {} {}",
            typed_path(&args.dir),
            word::last(role.as_str())
        )),
    }
    tell_given_up(staging, role)
}

/// Says what of the published content is not in what is staged now.
fn tell_given_up<'c>(staging: Staging<'c>, role: &RoleName) -> Result<Staging<'c>, Failure> {
    if let Some(sentence) = given_up(&staging.workspace, role, staging.context)? {
        staging.context.screen.warn(sentence);
    }
    Ok(staging)
}

fn unknown(args: &ResetArgs) -> Failure {
    let dir = args.dir.display();
    Failure::new(reason::REPOSITORY_UNKNOWN, format!("the agent does not know the repository in {dir}"))
        .remedy("make it known: tufctl repo adopt DIR --name NAME --root ROOT.json")
}
