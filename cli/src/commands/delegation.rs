//! `tufctl delegation …`: who else may sign which paths.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use tuf::edit::{DelegationChange, NewDelegation, new_targets};
use tuf::key::KeyId;
use tuf::metadata::{Delegations, Metadata, Paths};
use tuf::role::RoleName;

use super::names::key_names;
use super::staging::{Staging, edit_failure, role_name};
use crate::args::{DelegationAddArgs, DelegationCommand, DelegationEditArgs, List};
use crate::context::Context;
use crate::error::{Failure, reason};
use crate::render::{Report, Table, count, short_keyid, visible};
use crate::workspace::Workspace;

/// Runs a `delegation` command.
pub(crate) fn run(command: &DelegationCommand, context: &Context) -> Result<Report, Failure> {
    match command {
        DelegationCommand::Add(args) => add(args, context),
        DelegationCommand::Edit(args) => edit(args, context),
        DelegationCommand::Remove { dir, role, parent, yes } => {
            let mut staging = Staging::open(context, dir, yes.yes)?;
            remove(&mut staging, &role_name(role)?, parent.as_deref())
        }
        DelegationCommand::List { dir } => list(&Workspace::open(dir)?, context),
    }
}

fn add(args: &DelegationAddArgs, context: &Context) -> Result<Report, Failure> {
    let mut staging = Staging::open(context, &args.dir, args.yes.yes)?;
    let (parent, name) = (role_name(&args.parent)?, role_name(&args.role)?);
    let keys = staging.keys_for(staging.repository(), &name, &args.keys)?;
    let threshold = args.threshold.get();
    let before = staging.workspace.current(&parent)?;
    match args.succinct_bins {
        Some(bins) if bins > MOST_BINS => {
            return Err(Failure::new(reason::LIMIT, format!("{bins} bins are more files than tufctl makes"))
                .remedy(format!("take at most {MOST_BINS}")));
        }
        Some(bins) => {
            staging.edit(&parent, |edit| edit.set_succinct(&name, bins.into(), &keys, threshold))?;
        }
        None => {
            let paths = Paths::Patterns(List::all(&args.paths));
            let terminating = args.terminating;
            let new = NewDelegation { name: name.clone(), keys, threshold, paths, terminating };
            staging.edit(&parent, |edit| edit.add_delegation(&new))?;
        }
    }
    let roles = match args.succinct_bins {
        Some(bins) => bin_names(&name, bins)?,
        None => vec![name.clone()],
    };
    if let Some(days) = args.expires {
        staging.set_length(&roles, days.0)?;
    }
    let reached = before.is_some() && staging.workspace.tree()?.iter().any(|node| node.role == name);
    for role in roles.iter().filter(|_| !reached) {
        let version = staging.next_version(role)?;
        let expires = staging.facts.expires(role);
        staging.prepare(role.clone(), new_targets(version, expires));
    }
    staging.commit()?;
    staging.renew_unmet(&roles)?;
    Ok(staging.report(json!({"parent": parent.as_str(), "role": name.as_str()}), String::new()))
}

/// The names of succinct bins, as TAP 15 writes them.
fn bin_names(prefix: &RoleName, bins: u32) -> Result<Vec<RoleName>, Failure> {
    let width = format!("{:x}", bins.saturating_sub(1)).len();
    (0..bins).map(|bin| role_name(&format!("{prefix}-{bin:0width$x}"))).collect()
}

fn edit(args: &DelegationEditArgs, context: &Context) -> Result<Report, Failure> {
    let mut staging = Staging::open(context, &args.dir, args.yes.yes)?;
    let name = role_name(&args.role)?;
    let parent = parent_of(&staging.workspace, &name, args.parent.as_deref())?;
    let metadata = staging.current(&parent)?;
    let Some(delegations) = delegations(&metadata) else {
        return Err(edit_failure(&tuf::edit::EditError::NoDelegation(name)));
    };
    let nothing = args.add_keys.is_empty() && args.remove_keys.is_empty() && args.paths.is_empty();
    if nothing && args.threshold.is_none() {
        return Err(Failure::new(reason::USAGE, format!("nothing was asked to change in {name}"))
            .remedy("name --add-key, --remove-key, --threshold or --paths"));
    }
    let keyids = keyids_of(delegations, &name);
    let gone =
        args.remove_keys.iter().map(|key| staging.keyid_of(key, name.as_str(), &keyids, &delegations.keys));
    let change = DelegationChange {
        remove_keys: gone.collect::<Result<_, _>>()?,
        add_keys: staging.keys_for(staging.repository(), &name, &args.add_keys)?,
        threshold: args.threshold.map(std::num::NonZeroU32::get),
        paths: (!args.paths.is_empty()).then(|| Paths::Patterns(List::all(&args.paths))),
        terminating: None,
    };
    // A no leaves nothing behind, so it is said before the first file is staged.
    staging.ask_to_renew(&name)?;
    staging.edit(&parent, |edit| edit.edit_delegation(&name, &change))?;
    staging.commit()?;
    let parent_now = staging.current(&parent)?;
    let affected = staging.workspace.children(&parent_now)?;
    staging.renew_unmet(&affected)?;
    warn_of_targets_outside(&staging, &name)?;
    Ok(staging.report(json!({"parent": parent.as_str(), "role": name.as_str()}), String::new()))
}

/// Targets that the role and those below it still list and new paths no longer allow are found by no client.
fn warn_of_targets_outside(staging: &Staging<'_>, name: &RoleName) -> Result<(), Failure> {
    let (mut below, mut seen) = (vec![name.clone()], BTreeSet::new());
    while let Some(role) = below.pop() {
        let Some(metadata) = staging.workspace.current(&role)?.filter(|_| seen.insert(role.clone())) else {
            continue;
        };
        below.extend(staging.workspace.children(&metadata)?);
        let Some(targets) = metadata.as_targets() else { continue };
        let ways = staging.workspace.scopes(&role)?;
        let allowed = |path: &str| ways.iter().any(|way| way.iter().all(|scope| scope.allows(path)));
        let outside = targets.targets().filter(|(path, _)| !allowed(path)).count();
        if outside > 0 {
            staging.context.screen.warn(format!(
                "{role} lists {} that the paths of {name} no longer allow; clients will not find them, and some \
                 refuse the repository",
                count(u64::try_from(outside).unwrap_or(u64::MAX), "target")
            ));
        }
    }
    Ok(())
}

fn remove(staging: &mut Staging<'_>, name: &RoleName, parent: Option<&str>) -> Result<Report, Failure> {
    let parent = parent_of(&staging.workspace, name, parent)?;
    // A no leaves nothing behind, so it is said before the first file is staged.
    let below = below(&staging.workspace, name)?;
    staging.ask_to_drop(&below)?;
    staging.edit(&parent, |edit| edit.remove_delegation(name))?;
    let before: Vec<RoleName> = staging.workspace.tree()?.iter().map(|node| node.role.clone()).collect();
    staging.commit()?;
    let after: BTreeSet<RoleName> = staging.workspace.tree()?.iter().map(|node| node.role.clone()).collect();
    // What nothing leads to any more need not be signed; the snapshot goes on listing what was published (5.5.5).
    for role in before.into_iter().filter(|role| !after.contains(role)) {
        if staging.workspace.staged(&role)?.is_some() {
            staging.unstage(role);
        }
    }
    staging.commit()?;
    Ok(staging.report(json!({"parent": parent.as_str(), "removed": name.as_str()}), String::new()))
}

/// The role, or the bins of this prefix, and all that is below them.
fn below(workspace: &Workspace, name: &RoleName) -> Result<Vec<RoleName>, Failure> {
    let (mut waiting, mut found) = (vec![name.clone()], BTreeSet::new());
    for node in workspace.tree()?.iter().filter(|node| node.delegates) {
        let Some(metadata) = workspace.current(&node.role)? else { continue };
        let bins = delegations(&metadata).and_then(|all| all.succinct.as_ref());
        if bins.is_some_and(|bins| bins.name_prefix == name.as_str()) {
            waiting.extend(workspace.children(&metadata)?);
        }
    }
    while let Some(role) = waiting.pop() {
        if let Some(metadata) = workspace.current(&role)?
            && found.insert(role)
        {
            waiting.extend(workspace.children(&metadata)?);
        }
    }
    Ok(found.into_iter().collect())
}

/// The role that delegates to `name` (or to bins with that prefix): the one that was named, or the only one.
fn parent_of(workspace: &Workspace, name: &RoleName, named: Option<&str>) -> Result<RoleName, Failure> {
    if let Some(named) = named {
        return role_name(named);
    }
    let mut parents = Vec::new();
    for node in workspace.tree()?.iter().filter(|node| node.delegates) {
        let metadata = workspace.current(&node.role)?;
        if metadata.as_ref().and_then(delegations).is_some_and(|d| has(d, name)) {
            parents.push(node.role.clone());
        }
    }
    match parents.as_slice() {
        [one] => Ok(one.clone()),
        [] => Err(edit_failure(&tuf::edit::EditError::NoDelegation(name.clone()))),
        several => {
            let names: Vec<&str> = several.iter().map(RoleName::as_str).collect();
            Err(Failure::new(
                reason::USAGE,
                format!("several roles delegate to {name}: {}", names.join(", ")),
            )
            .remedy("name one with --parent"))
        }
    }
}

fn delegations(metadata: &Metadata) -> Option<&Delegations> {
    metadata.as_targets()?.delegations.as_ref()
}

fn has(delegations: &Delegations, name: &RoleName) -> bool {
    delegations.succinct.as_ref().is_some_and(|bins| bins.name_prefix == name.as_str())
        || delegations.roles.iter().any(|role| role.name == *name)
}

fn keyids_of(delegations: &Delegations, name: &RoleName) -> Vec<KeyId> {
    let bins = delegations.succinct.iter().filter(|bins| bins.name_prefix == name.as_str()).map(|b| &b.keys);
    let roles = delegations.roles.iter().filter(|role| role.name == *name).map(|role| &role.keys);
    bins.chain(roles).flat_map(|keys| keys.keyids.iter().cloned()).collect()
}

fn list(workspace: &Workspace, context: &Context) -> Result<Report, Failure> {
    let mut entries = Vec::new();
    let names = key_names(workspace, context)?;
    let named = |keyid: &String| {
        names.get(keyid).map_or_else(|| short_keyid(keyid), |name| visible(name).into_owned())
    };
    let mut table = Table::new(&["ROLE", "BY", "KEYS", "PATHS"]);
    for node in workspace.tree()?.iter().filter(|node| node.delegates) {
        let metadata = workspace.current(&node.role)?;
        let Some(delegations) = metadata.as_ref().and_then(delegations) else { continue };
        for entry in rows(delegations) {
            let keys: Vec<String> = entry.keyids.iter().map(named).collect();
            let last = if entry.terminating { " · terminating" } else { "" };
            table.row([
                visible(&entry.name).into_owned(),
                visible(node.role.as_str()).into_owned(),
                format!("{} of {}: {}", entry.threshold, keys.len(), keys.join(", ")),
                format!("{}{last}", visible(&entry.reach)),
            ]);
            entries.push(entry.json(&node.role));
        }
    }
    let style = context.screen.out();
    let text = if entries.is_empty() { "no delegations\n".to_owned() } else { table.render(style) };
    Ok(Report::new(json!({"delegations": entries}), text))
}

/// A delegation as `list` shows it.
struct Row {
    name: String,
    keyids: Vec<String>,
    threshold: u32,
    terminating: bool,
    reach: String,
    member: (&'static str, Value),
}

impl Row {
    fn json(&self, parent: &RoleName) -> Value {
        let (member, value) = &self.member;
        json!({
            "role": self.name,
            "parent": parent.as_str(),
            "keyids": self.keyids,
            "threshold": self.threshold,
            "terminating": self.terminating,
            *member: value,
        })
    }
}

fn rows(delegations: &Delegations) -> Vec<Row> {
    let texts = |keyids: &[KeyId]| keyids.iter().map(ToString::to_string).collect();
    let named = delegations.roles.iter().map(|role| {
        let (member, paths) = match &role.paths {
            Paths::Patterns(patterns) => ("paths", patterns),
            Paths::HashPrefixes(prefixes) => ("path_hash_prefixes", prefixes),
        };
        let hashes = if member == "paths" { "" } else { "hashes " };
        Row {
            name: role.name.to_string(),
            keyids: texts(&role.keys.keyids),
            threshold: role.keys.threshold.get(),
            terminating: role.terminating,
            reach: format!("{hashes}{}", paths.join(", ")),
            member: (member, json!(paths)),
        }
    });
    let bins = delegations.succinct.iter().map(|bins| Row {
        name: bins.name_prefix.clone(),
        keyids: texts(&bins.keys.keyids),
        threshold: bins.keys.threshold.get(),
        terminating: true,
        reach: format!("all, in {} bins", bins.count()),
        member: ("succinct_bins", json!(bins.count())),
    });
    named.chain(bins).collect()
}

/// Each bin is a file to sign and to publish.
const MOST_BINS: u32 = 16_384;
