//! `tufctl repo adopt`: a published repository, whoever made it.

use std::collections::{BTreeMap, HashMap};

use serde_json::json;
use tuf::metadata::Metadata;
use tuf::role::{RoleKind, RoleName};
use tuf::trust::{Options, TrustedSet};
use tuf::word;
use tufagent_proto::v1;

use super::super::verify::failure as verification;
use super::whole;
use crate::args::{AdoptArgs, List};
use crate::client::WireFile;
use crate::context::Context;
use crate::error::{Failure, reason};
use crate::prompt::confirm;
use crate::render::{self, Report, count, typed_path, visible};
use crate::workspace::{Waiting, Workspace, default_days, read_any};

/// Runs `tufctl repo adopt`.
pub(crate) fn run(args: &AdoptArgs, context: &Context) -> Result<Report, Failure> {
    let missing = ["metadata", "targets"].into_iter().find(|name| !args.dir.join(name).is_dir());
    if let Some(name) = missing {
        return Err(Failure::new(
            reason::REPOSITORY_INVALID,
            format!("{} has no folder {name}/", args.dir.display()),
        )
        .remedy("name a folder that holds metadata/ and targets/ as they are published"));
    }
    if let Some(link) =
        ["metadata", "targets"].map(|name| args.dir.join(name)).iter().find(|it| it.is_symlink())
    {
        // Publishing exchanges metadata/ and goes below targets/ by folders alone.
        let message = format!("{} is a symbolic link, and nothing is published through one", link.display());
        return Err(Failure::new(reason::REPOSITORY_INVALID, message)
            .remedy("put the folder itself in its place, or adopt the folder that the link leads to")
            .detail("file", link.display().to_string()));
    }
    let mut workspace = Workspace::open_for_writing(&args.dir)?;
    if workspace.root_versions()?.is_empty() {
        return Err(Failure::new(
            reason::REPOSITORY_INVALID,
            "metadata/ holds no N.root.json: this is not the published layout, perhaps the one of a git working tree",
        )
        .remedy("adopt the repository as it is published, with versions in its file names"));
    }
    let bytes = read_any(&args.root, MOST_ROOT)?.ok_or_else(|| {
        Failure::io("read", &args.root, &std::io::Error::from(std::io::ErrorKind::NotFound))
    })?;
    let (_, waiting) = trust(&mut workspace, &bytes, &args.root)?;
    let all = workspace.published_all()?;
    warn_of_expired(&all, args, context);
    for (role, metadata) in &all {
        for oddity in metadata.oddities().told() {
            context.screen.warn(format!(
                "{role} version {} {}; it is kept as it stands, and verify refuses it",
                metadata.version(),
                oddity.what
            ));
        }
    }
    let without = List::all(&args.without);
    whole::check(&workspace, &without)?;
    // All roots: by the older ones the agent knows the chain again, whichever of them it is adopted with.
    let roots = all.iter().filter(|(role, _)| role.kind() == RoleKind::Root);
    let registration = v1::RegisterRepositoryRequest {
        name: args.name.clone(),
        expiry_days: days(&all),
        root: bytes,
        shared_key: args.shared_key,
        root_digests: roots.map(|(_, root)| root.digest().to_string()).collect(),
    };
    let acknowledge = look(&registration, args, context)?;
    let files = all.iter().map(|(role, m)| WireFile::subject(role.as_str(), m.bytes().clone()));
    let seen = context.agent()?.adopt(registration, (acknowledge, &without), files.collect())?;
    for alarm in &seen.alarms {
        context.screen.warn(alarm);
    }
    let held = held(&all, &seen.verified);
    let roles: Vec<_> =
        held.iter().map(|(role, version)| json!({"role": role, "version": version})).collect();
    let mut text = text(&held);
    for (role, version) in &held {
        let newest = seen.verified.get(*role).copied().unwrap_or(0);
        if newest > *version {
            let role = visible(role);
            context
                .screen
                .warn(format!("this agent has seen {role} v{newest} before, and goes on from there"));
        }
    }
    if !seen.standing.is_empty() {
        return Err(stands(&text, &seen.standing, context));
    }
    let mut document = json!({"name": args.name, "roles": roles, "alarms": seen.alarms});
    let Some(waiting) = waiting else { return Ok(Report::new(document, text)) };
    let (version, state) = (waiting.root.version(), workspace.stage_waiting(&waiting, &args.name)?);
    let (have, need, dir) = (state.have, state.need, typed_path(&args.dir));
    text.push_str(&format!("root v{version} has {have} of {need} signatures and waits in staged/\n"));
    if let Some(members) = document.as_object_mut() {
        let waits = json!({"role": "root", "version": version.get(), "have": have, "need": need});
        members.insert("staged".into(), json!([waits]));
    }
    Ok(Report::new(document, text)
        .hint(format!("see it with: tufctl diff {dir}; sign it with: tufctl sign {dir}")))
}

/// A line for each role; bins by the thousand are told by their number.
fn text(held: &BTreeMap<&str, u64>) -> String {
    let line = |(role, version): (&&str, &u64)| format!("adopted {} v{version}\n", visible(role));
    let bins = held.len() > MOST_LINES;
    let told =
        held.iter().filter(|(role, _)| !bins || RoleKind::ALL.iter().any(|kind| kind.name() == **role));
    let told: Vec<String> = told.map(line).collect();
    let more = held.len().saturating_sub(told.len());
    let mut text = told.concat();
    if more > 0 {
        text.push_str(&format!("adopted {}\n", count(more.try_into().unwrap_or(u64::MAX), "more role")));
    }
    text
}

/// What the copy holds of each role, as far as it has verified.
fn held<'f>(all: &'f [(RoleName, Metadata)], verified: &HashMap<String, u64>) -> BTreeMap<&'f str, u64> {
    let mut held = BTreeMap::new();
    for (role, metadata) in all {
        let (role, version) = (role.as_str(), metadata.version().get());
        if verified.get(role).is_some_and(|newest| *newest >= version) {
            let newest = held.entry(role).or_insert(version);
            *newest = version.max(*newest);
        }
    }
    held
}

/// Adopted, and a person must look before all of it is signed again.
fn stands(adopted: &str, alarms: &[String], context: &Context) -> Failure {
    for line in adopted.lines() {
        context.screen.note(line);
    }
    let message = format!("it was adopted, and an alarm stands: {}", alarms.join("; "));
    Failure::new(reason::WATERMARK, message)
        .remedy("find out who signed what is published; then adopt the newest genuine copy again, which asks about it")
        .detail("alarms", json!(alarms))
}

/// Asks what the agent says to it, which notes nothing yet; gives whether a person has looked at the alarms of a repository
/// that is adopted again.
fn look(
    registration: &v1::RegisterRepositoryRequest,
    args: &AdoptArgs,
    context: &Context,
) -> Result<bool, Failure> {
    let reply = context.agent()?.register(registration.clone())?;
    for warning in &reply.warnings {
        context.screen.warn(warning);
    }
    if reply.alarms.is_empty() {
        return Ok(false);
    }
    for alarm in &reply.alarms {
        context.screen.warn(alarm);
    }
    confirm("Acknowledge this, and let these roles be signed again?", args.yes.yes)?;
    Ok(true)
}

/// Walks from the root that is trusted to the newest complete one; gives the first, and the one after the last if it only
/// waits for signatures. Expiry does not count: this is how a repository that has expired is saved.
fn trust(
    workspace: &mut Workspace,
    bytes: &[u8],
    file: &std::path::Path,
) -> Result<(Metadata, Option<Waiting>), Failure> {
    let options = Options { accept_wrong_keyids: true, ..Options::new(None) };
    let name = file.display().to_string();
    let mut set = TrustedSet::from_root(bytes.to_vec(), &options).map_err(|e| verification(&e, &name))?;
    let first = set.root().clone();
    if let Some(published) = workspace.published_root(first.version())?
        && published.digest() != first.digest()
    {
        return Err(Failure::new(
            reason::VERIFICATION,
            format!("{name} is another root than the published {}.root.json", first.version()),
        )
        .remedy("take a root of this repository; if this is one, the published one was replaced")
        .detail("role", "root")
        .detail("file", name)
        .detail("spec", "5.2"));
    }
    while let Some(next) = set.root().version().next() {
        let Some(root) = workspace.published_root(next)? else { break };
        if let Err(fault) = set.update_root(root.bytes().clone()) {
            let is_last = workspace.root_versions()?.last() == Some(&next);
            let waiting = if is_last { workspace.waiting_root(set.root(), Some(&fault))? } else { None };
            let Some(waiting) = waiting else {
                return Err(verification(&fault, &format!("{next}.root.json")));
            };
            workspace.end_chain(set.root().version());
            return Ok((first, Some(waiting)));
        }
    }
    let newest = workspace.root_versions()?.last().copied();
    if let Some(newest) = newest.filter(|newest| *newest > set.root().version()) {
        let missing = set.root().version().get().saturating_add(1);
        return Err(Failure::new(
            reason::VERIFICATION,
            format!(
                "the root chain ends at version {}: {missing}.root.json is missing before version {newest}",
                set.root().version()
            ),
        )
        .remedy("restore the missing root: every version must stay published")
        .detail("role", "root")
        .detail("file", format!("{missing}.root.json"))
        .detail("spec", "5.3.3"));
    }
    let waiting = workspace.waiting_root(set.root(), None)?;
    Ok((first, waiting))
}

fn warn_of_expired(all: &[(RoleName, Metadata)], args: &AdoptArgs, context: &Context) {
    let dir = typed_path(&args.dir);
    let newest_root =
        all.iter().filter(|(role, _)| role.kind() == RoleKind::Root).map(|(_, m)| m.version()).max();
    let is_old = |role: &RoleName, file: &Metadata| {
        role.kind() == RoleKind::Root && Some(file.version()) != newest_root
    };
    let expired: Vec<_> =
        all.iter().filter(|(role, m)| !is_old(role, m) && m.expires().unix() <= render::now()).collect();
    for (role, metadata) in expired.iter().take(MOST_LINES) {
        let expires = metadata.expires();
        let again = word::last(role.as_str());
        context
            .screen
            .warn(format!("{role} has expired ({expires}); renew it with: tufctl bump {dir} {again}"));
    }
    if let Some(more) = expired.len().checked_sub(MOST_LINES).filter(|more| *more > 0) {
        let more = count(more.try_into().unwrap_or(u64::MAX), "more role");
        context.screen.warn(format!("{more} expired; tufctl repo show {dir} lists them"));
    }
}

/// For how many days roles are valid from now on: their own word, else the default and never less than they have left.
/// Delegated roles (bins come by the thousand) that get the default are left out.
fn days(all: &[(RoleName, Metadata)]) -> HashMap<String, u32> {
    let mut days = HashMap::new();
    for (role, metadata) in all {
        let left = metadata.expires().unix().saturating_sub(render::now()).max(0);
        let left = u32::try_from(left.saturating_add(86_399) / 86_400).unwrap_or(u32::MAX).min(36_500);
        let default = default_days(role.kind());
        let own = period(metadata.signed()).unwrap_or(default.max(left));
        if role.is_top_level() || own != default {
            days.insert(role.to_string(), own);
        }
    }
    let newest = all.iter().rev().find(|(role, _)| role.kind() == RoleKind::Root);
    let roles = newest.and_then(|(_, root)| root.signed().get("roles"));
    for kind in [RoleKind::Snapshot, RoleKind::Timestamp] {
        if let Some(own) = roles.and_then(|roles| roles.get(kind.name())).and_then(period) {
            days.insert(kind.name().to_owned(), own);
        }
    }
    days
}

fn period(value: tuf::json::Value<'_>) -> Option<u32> {
    let days = value.get("x-tuf-on-ci-expiry-period")?.as_u64()?;
    u32::try_from(days).ok().filter(|days| (1..=36_500).contains(days))
}

const MOST_ROOT: u64 = 64 << 20;
/// More roles than this are told by their number.
const MOST_LINES: usize = 40;
