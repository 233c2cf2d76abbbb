//! What the agent knows about the repository, and what it has to be told.

use std::collections::{BTreeSet, HashMap};

use tuf::metadata::Metadata;
use tuf::role::{RoleKind, RoleName};
use tuf::word;
use tufagent_proto::v1;

use crate::args::SignArgs;
use crate::client::{Agent, WireFile};
use crate::commands::observing::{self, observe};
use crate::context::Context;
use crate::error::{Failure, reason};
use crate::prompt::confirm;
use crate::render::{now, typed_path, visible};
use crate::workspace::{Authority, Facts, Workspace, default_days, is_kept};

/// The agent's record of this repository: by its published roots, else by the name it was staged under. A repository
/// that was never published and that this agent does not know (a colleague's) is taken on after a confirmation.
pub(super) fn find(
    agent: &Agent,
    workspace: &Workspace,
    args: &SignArgs,
    context: &Context,
) -> Result<v1::Repository, Failure> {
    let digests = workspace.root_digests()?;
    let published = !digests.is_empty();
    if published {
        match agent.repository_of_roots(digests) {
            Err(failure) if failure.reason() == reason::REPOSITORY_UNKNOWN => {}
            found => return found,
        }
    }
    let unknown = match workspace.staged_name().map(|name| (name, agent.repository(name))) {
        Some((_, Ok(record))) => return Ok(record),
        Some((name, Err(failure))) if failure.reason() == reason::REPOSITORY_UNKNOWN => Some(name.to_owned()),
        Some((_, Err(failure))) => return Err(failure),
        None => None,
    };
    match unknown {
        Some(name) if !published => take_on(agent, workspace, &name, args, context),
        None if !published => {
            let dir = typed_path(&args.dir);
            // Metadata does not say what its repository is called, and others have staged this.
            Err(Failure::new(
                reason::REPOSITORY_UNKNOWN,
                format!("nothing is published in {}, and what is staged there has no name", args.dir.display()),
            )
            .remedy(format!(
                "take the whole published folder, or give a new repository its name: echo '{{\"name\": \"NAME\"}}' > {dir}/staged/repository.json"
            )))
        }
        name => {
            let dir = typed_path(&args.dir);
            let name = name.unwrap_or_else(|| "NAME".into());
            Err(Failure::new(
                reason::REPOSITORY_UNKNOWN,
                format!("the agent does not know the repository in {}", args.dir.display()),
            )
            .remedy(format!(
                "tufctl repo adopt {dir} {} --root {dir}/metadata/1.root.json",
                word::option("--name", &name)
            )))
        }
    }
}

fn take_on(
    agent: &Agent,
    workspace: &Workspace,
    name: &str,
    args: &SignArgs,
    context: &Context,
) -> Result<v1::Repository, Failure> {
    let shown = visible(name);
    check_is_no_other(agent, workspace, name)?;
    context.screen.show(format!("this agent does not know the repository {shown}; it was never published"));
    let expiry_days = lengths(workspace)?;
    show_lengths(&expiry_days, context);
    confirm(&format!("Take {shown} on, as it is staged?"), args.yes.yes)?;
    let reply = agent.register(v1::RegisterRepositoryRequest {
        name: name.into(),
        expiry_days,
        root: Vec::new(),
        shared_key: args.shared_key,
        root_digests: Vec::new(),
    })?;
    for warning in &reply.warnings {
        context.screen.warn(warning);
    }
    reply.repository.ok_or_else(|| Failure::new(reason::INTERNAL, "the agent's answer is incomplete"))
}

/// Nothing is taken on under another name whose root the agent knows.
fn check_is_no_other(agent: &Agent, workspace: &Workspace, name: &str) -> Result<(), Failure> {
    let Some(root) = workspace.staged(&RoleKind::Root.role())? else { return Ok(()) };
    let known = match agent.repository_of_roots(vec![root.digest().to_string()]) {
        Err(failure) if failure.reason() == reason::REPOSITORY_UNKNOWN => return Ok(()),
        found => visible(&found?.name).into_owned(),
    };
    Err(Failure::new(
        reason::REPOSITORY_KNOWN,
        format!(
            "what is staged as {} is the root of {known}, to the letter: it is one repository",
            visible(name)
        ),
    )
    .remedy(format!("go on with {known} in its published folder, or take the newest published copy of it"))
    .detail("repository", known))
}

/// What is staged by others says for how long its roles are valid, also from now on: whoever says yes says it to that.
fn show_lengths(days: &HashMap<String, u32>, context: &Context) {
    let longest = days.iter().map(|(role, days)| (std::cmp::Reverse(*days), role)).collect::<BTreeSet<_>>();
    for (std::cmp::Reverse(days), role) in longest.iter().take(MOST_LENGTHS) {
        let usual = RoleName::parse(role).map_or(0, |role| default_days(role.kind()));
        context.screen.show(format!(
            "{} is valid for {days} days as it is staged, in place of {usual}, and so will later versions be",
            visible(role)
        ));
    }
    if let Some(more) = longest.len().checked_sub(MOST_LENGTHS).filter(|more| *more > 0) {
        context.screen.show(format!(
            "{more} more roles are valid for longer than is usual, none of them longer than these"
        ));
    }
}

/// So many of them are shown one by one, the longest first.
const MOST_LENGTHS: usize = 8;

/// For how long the staged roles are valid, where that is longer than the defaults.
fn lengths(workspace: &Workspace) -> Result<HashMap<String, u32>, Failure> {
    let mut out = HashMap::new();
    for role in workspace.staged_roles()? {
        let Some(metadata) = workspace.staged(&role)? else { continue };
        let seconds = metadata.expires().unix().saturating_sub(now());
        let days = u32::try_from(seconds.saturating_add(86_399) / 86_400).unwrap_or(0);
        if days > default_days(role.kind()) {
            out.insert(role.as_str().to_owned(), days);
        }
    }
    Ok(out)
}

/// What is signed now goes on from published files: those must be what their keys have signed. Snapshot and timestamp
/// are made anew from the published ones, and no client gets past a root that does not verify.
pub(super) fn check_bases(
    workspace: &Workspace,
    record: &v1::Repository,
    context: &Context,
) -> Result<(), Failure> {
    let facts = Facts { record: Some(record.clone()) };
    let always = [RoleKind::Root, RoleKind::Snapshot, RoleKind::Timestamp].map(RoleKind::role);
    for role in always.iter().chain(&workspace.staged_roles()?) {
        if let Some(fault) = facts.check_base(context, workspace, role)? {
            let so = "whoever signs what is staged in its place vouches for all of it";
            context.screen.warn(format!("{}; {so}", fault.sentence()));
        }
    }
    Ok(())
}

/// Gives the agent the published files that it has not verified yet. Where it has verified the very snapshot, it has had
/// its say on what that lists: then only what is signed now goes on from files that it must know.
pub(in crate::commands) fn show_published(
    agent: &Agent,
    workspace: &Workspace,
    record: &v1::Repository,
    context: &Context,
) -> Result<(), Failure> {
    let near = workspace.published_for_staged()?;
    let snapshot: Vec<_> = near.snapshot.into_iter().map(|file| (RoleKind::Snapshot.role(), file)).collect();
    let is_known = workspace.is_recalled()
        || (!snapshot.is_empty() && missing(agent, record, true, snapshot)?.is_empty());
    let files = if is_known { near.files } else { workspace.published_all()? };
    for alarm in show(agent, workspace, record, true, files)? {
        context.screen.warn(alarm);
    }
    for fault in workspace.other_than_listed()? {
        context.screen.warn(fault);
    }
    if !is_known {
        // A snapshot that is news to the agent may list less than the one before it.
        workspace.heed(&agent.repository(&record.name)?);
        if let Some(told) = workspace.dropped_entries()? {
            context.screen.warn(told);
        }
    }
    Ok(())
}

/// After publishing: the agent is told what is out now. What fails here is made up for by the next `sign`.
pub(super) fn tell_published(
    workspace: &Workspace,
    record: &v1::Repository,
    published: Vec<(RoleName, Metadata)>,
    context: &Context,
) {
    warn_of(context.agent().and_then(|agent| show(agent, workspace, record, true, published)), context);
}

/// The same when a publication was finished that another run began: what it published is read again.
pub(super) fn tell_finished(workspace: &Workspace, context: &Context) {
    let told = context.agent().and_then(|agent| {
        let found = agent.repository_of_roots(workspace.root_digests()?)?;
        show(agent, workspace, &found, true, workspace.published_all()?)
    });
    warn_of(told, context);
}

fn warn_of(told: Result<Vec<String>, Failure>, context: &Context) {
    for alarm in told.as_deref().unwrap_or_default() {
        context.screen.warn(alarm);
    }
    if let Err(failure) = told {
        context.screen.warn(format!("published, but the agent took no note of it: {failure}"));
    }
}

/// Gives the agent the staged files that have their thresholds, so that snapshot and timestamp may name them, and what the
/// published snapshot lists that it has not verified.
pub(super) fn show_staged(
    agent: &Agent,
    workspace: &Workspace,
    record: &v1::Repository,
) -> Result<(), Failure> {
    let mut files = Vec::new();
    for role in workspace.staged_roles()? {
        let met = workspace.signatures(&role)?.met;
        if let Some(metadata) = workspace.staged(&role)?.filter(|_| met) {
            files.push((role, metadata));
        }
    }
    show(agent, workspace, record, false, files)?;
    // A role below one that is complete only now: its file is out, and nobody vouched for it so far.
    let unseen = workspace.published_beyond(&record.verified)?;
    show(agent, workspace, record, true, unseen).map(drop)
}

/// Gives the agent the staged files by which others are judged and that others have completed. Keys that serve several
/// roles sign by what the agent has signed or verified, and by nothing that it is only told.
pub(super) fn show_complete_parents(
    agent: &Agent,
    workspace: &Workspace,
    record: &v1::Repository,
    staged: &[RoleName],
) -> Result<(), Failure> {
    let says_who = |file: &Metadata| {
        let targets = file.as_targets();
        file.kind() == RoleKind::Root || targets.is_some_and(|targets| targets.delegations.is_some())
    };
    let (mut files, mut waiting) = (Vec::new(), BTreeSet::new());
    for role in staged {
        if !workspace.signatures(role)?.met {
            waiting.insert(role.clone());
            continue;
        }
        let Some(parent) = workspace.staged(role)?.filter(says_who) else { continue };
        // By what waits for signatures itself nobody can verify it yet.
        let below = if role.is_top_level() {
            BTreeSet::from([RoleKind::Root.role()])
        } else {
            parents_of(workspace, role)?
        };
        if below.is_disjoint(&waiting) {
            files.push((role.clone(), parent));
        } else {
            waiting.insert(role.clone());
        }
    }
    if waiting.is_empty() {
        return Ok(());
    }
    show(agent, workspace, record, false, files).map(drop)
}

fn parents_of(workspace: &Workspace, role: &RoleName) -> Result<BTreeSet<RoleName>, Failure> {
    Ok(workspace.parents(role)?.into_iter().map(|(parent, _)| parent).collect())
}

/// Gives the agent a large role that was signed just now, the only one that is staged, and verifies it meanwhile: both take
/// a while, and [`show_staged`] finds it done. Whatever is wrong with it is told there.
pub(super) fn show_signed(
    agent: &Agent,
    workspace: &Workspace,
    record: &v1::Repository,
    role: &RoleName,
    signed: &Metadata,
) -> Result<(), Failure> {
    let authorities = workspace.authorities(role)?;
    let enough = |authority: &Authority| {
        signed.signatures().len() >= authority.role.threshold.get().try_into().unwrap_or(usize::MAX)
    };
    if signed.bytes().len() < LARGE || !authorities.iter().all(enough) {
        return Ok(());
    }
    let file = wire(workspace, record, role, signed)?;
    std::thread::scope(|scope| {
        // The new thread is the one that mostly waits: it is started on another processor, where the agent has to work.
        scope.spawn(|| {
            let _ = agent.observe(&record.name, false, vec![file]);
        });
        let _ = signed.file_digest();
        for authority in &authorities {
            let _ = tuf::verify::check_signatures(signed, &authority.keys, &authority.role);
        }
    });
    Ok(())
}

/// Gives the agent the staged root, if it has its thresholds: from then on it says whose signatures count.
pub(in crate::commands) fn show_staged_root(
    agent: &Agent,
    workspace: &Workspace,
    record: &v1::Repository,
) -> Result<(), Failure> {
    let role = RoleKind::Root.role();
    let met = workspace.signatures(&role)?.met;
    let root = workspace.staged(&role)?.filter(|_| met).map(|root| (role, root));
    show(agent, workspace, record, false, root.into_iter().collect()).map(drop)
}

/// Sends those of `files` that the agent is missing, in their order; gives its alarms.
fn show(
    agent: &Agent,
    workspace: &Workspace,
    record: &v1::Repository,
    published: bool,
    files: Vec<(RoleName, Metadata)>,
) -> Result<Vec<String>, Failure> {
    let wanted = missing(agent, record, published, files)?;
    let wire = |role: &RoleName, file: &Metadata| wire(workspace, record, role, file);
    Ok(observe(agent, &record.name, published, &wanted, &wire)?.alarms)
}

/// A file for the agent: of a large one only what is new, where the agent has the published version at hand.
pub(super) fn wire(
    workspace: &Workspace,
    record: &v1::Repository,
    role: &RoleName,
    file: &Metadata,
) -> Result<WireFile, Failure> {
    let whole = WireFile::subject(role.as_str(), file.bytes().clone());
    let base = workspace.published(role)?.filter(|base| is_kept(record, role, base));
    Ok(match base {
        Some(base) => whole.against(base.bytes(), base.file_digest()),
        None => whole,
    })
}

/// Those of `files` that the agent has not verified yet, in their order. Of the others it hears whether they are published.
fn missing(
    agent: &Agent,
    record: &v1::Repository,
    published: bool,
    mut files: Vec<(RoleName, Metadata)>,
) -> Result<Vec<(RoleName, Metadata)>, Failure> {
    let is_told = |role: &RoleName, file: &Metadata| {
        !published
            || record.published.get(role.as_str()).is_some_and(|newest| *newest >= file.version().get())
    };
    files.retain(|(role, file)| !is_told(role, file) || !is_kept(record, role, file));
    observing::missing(agent, &record.name, published, files)
}

/// From this size on, bytes, a role is verified while the agent verifies it.
const LARGE: usize = 1 << 20;
