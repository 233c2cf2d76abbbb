//! `tufctl sign`: asks the agent for every signature that is ours to give, and publishes what is complete.
//!
//! The way: finish an interrupted publish · merge a colleague's signatures · show the agent what is published ·
//! check the sources of added targets · inspect each staged role · show all differences, ask once · sign · and, when
//! every changed role has its threshold, snapshot, timestamp, publish. Each signature lies in `staged/` as soon as it is
//! there, so that cutting it off anywhere loses nothing; running it again goes on.

mod absent;
mod advice;
mod aside;
mod asking;
mod copies;
mod foreseen;
mod held;
mod key_line;
mod many;
mod merge;
mod missing;
mod online;
mod ours;
mod outcome;
mod person;
pub(super) mod record;
mod round;
mod shares;
mod theirs;
mod unlocking;
mod unsigned;
mod unusable;

pub(super) use self::ours::serves;

use std::collections::{BTreeMap, BTreeSet};

use tuf::diff::Difference;
use tuf::role::{RoleKind, RoleName};
use tuf::time::UtcTime;
use tufagent_proto::v1;

use self::held::Held;
use self::online::Fate;
use self::ours::{Ours, Selection};
use self::round::Pending;
use self::unsigned::Unsigned;
use crate::args::SignArgs;
use crate::client::Agent;
use crate::commands::limits;
use crate::commands::names::given_up;
use crate::context::Context;
use crate::error::{Failure, reason};
use crate::prompt::Terminal;
use crate::render::{KeyNames, Progress, Report, now, typed_path};
use crate::shares::Gathering;
use crate::workspace::{Facts, Merged, PublishOptions, Published, Workspace};

/// Runs `tufctl sign`.
pub(crate) fn run(args: &SignArgs, context: &Context) -> Result<Report, Failure> {
    run_with(args, None, context)
}

/// The same, with shares of a split key at hand.
pub(super) fn run_with<'a>(
    args: &'a SignArgs,
    gathering: Option<&'a mut Gathering>,
    context: &'a Context,
) -> Result<Report, Failure> {
    let interrupted = Workspace::open(&args.dir)?.interrupted().is_some();
    if interrupted {
        context.screen.note("finishing a publication that was cut off");
    }
    let mut workspace = Workspace::open_for_writing(&args.dir)?;
    let recalled = workspace.recall(&|request| context.agent()?.recall(request));
    workspace.read_large()?;
    let merged = match &args.from {
        Some(other) => merge::merge(&mut workspace, other)?,
        None => Merged::default(),
    };
    if workspace.staged_roles()?.is_empty() {
        if interrupted {
            record::tell_finished(&workspace, context);
        }
        let facts = Facts::find_if_reachable(context, &workspace)?;
        if let Some(lost) = facts.lost_root(&workspace)? {
            context.screen.warn(lost.sentence(workspace.dir()));
        }
        return Ok(outcome::nothing_staged(interrupted));
    }
    let mut session = Session::begin(args, context, workspace, merged, recalled, gathering)?;
    session.go().map_err(|failure| outcome::cut_off(&session, going_back(failure, session.is_behind)))
}

/// One run: what is known, and what was signed so far.
struct Session<'a> {
    args: &'a SignArgs,
    context: &'a Context,
    agent: &'a Agent,
    workspace: Workspace,
    record: v1::Repository,
    /// The same, to judge by.
    facts: Facts,
    ours: Ours,
    names: KeyNames,
    selection: Selection,
    merged: Merged,
    signed: Vec<outcome::Signed>,
    /// Keys that the agent passed over.
    unsigned: Vec<Unsigned>,
    /// Roles that wait for what is above them.
    held: Held,
    /// Why snapshot or timestamp, which this run was not asked to sign, cannot be made now.
    blocked: Option<Failure>,
    /// Roles that this run has signed: the agent knows them, and to sign bins it need not be shown whose they are.
    noted: BTreeSet<RoleName>,
    /// Shares that were brought for a split key. Without them people at this terminal are asked.
    gathering: Option<&'a mut Gathering>,
    /// The person goes on without devices that are not there.
    uninvited: bool,
    /// This folder is older than what the agent has verified.
    is_behind: bool,
}

impl<'a> Session<'a> {
    fn begin(
        args: &'a SignArgs,
        context: &'a Context,
        workspace: Workspace,
        merged: Merged,
        recalled: Option<v1::Repository>,
        gathering: Option<&'a mut Gathering>,
    ) -> Result<Self, Failure> {
        workspace.check_names()?;
        let agent = context.agent()?;
        let selection = Selection::new(args, &workspace, gathering.is_some())?;
        let record = match recalled {
            Some(record) => record,
            None => record::find(agent, &workspace, args, context)?,
        };
        workspace.heed(&record);
        let facts = Facts { record: Some(record.clone()) };
        let behind = facts.behind(&workspace)?;
        let is_behind = behind.is_some();
        if let Some(behind) = behind {
            context.screen.warn(format!("{behind}; take the newest published copy first"));
        }
        facts.check_root_is_here(&workspace)?;
        record::check_bases(&workspace, &record, context)?;
        workspace.check_staged_places(record.tough_names)?;
        record::show_published(agent, &workspace, &record, context)?;
        let mut content = workspace.staged_roles()?;
        content.retain(|role| !is_online(role));
        workspace.check_goes_on(&content)?;
        let selected: Vec<_> = content.iter().filter(|role| selection.role(role)).cloned().collect();
        for role in &selected {
            if let Some(sentence) = given_up(&workspace, role, context)? {
                context.screen.warn(sentence);
            }
        }
        workspace.check_delegates_after_reset(&selected)?;
        check_sources(&workspace, context)?;
        let mut ours = Ours::load(agent)?;
        if let Some((public, name, token)) = gathering.as_ref().and_then(|brought| brought.split_key()) {
            ours.signs_by_shares(public, name, token);
        }
        let names = ours.names(&workspace)?;
        let (signed, unsigned, blocked, noted) = (Vec::new(), Vec::new(), None, BTreeSet::new());
        let session = Self {
            args,
            context,
            agent,
            workspace,
            record,
            facts,
            ours,
            names,
            selection,
            merged,
            signed,
            unsigned,
            held: Held::default(),
            blocked,
            noted,
            gathering,
            uninvited: false,
            is_behind,
        };
        session.check_named_keys()?;
        session.check_superseding()?;
        session.tell_merged();
        Ok(session)
    }

    fn go(&mut self) -> Result<Report, Failure> {
        let staged = self.workspace.staged_roles()?;
        let content: Vec<_> = staged.iter().filter(|role| !is_online(role)).cloned().collect();
        self.choose_copies(&content)?;
        self.foresee_all(&content)?;
        self.unlock_for(&content)?;
        while self.invite(&content)? {
            self.unlock_for(&content)?;
        }
        record::show_complete_parents(self.agent, &self.workspace, &self.record, &content)?;
        let mut pending = self.inspect(&content)?;
        self.foresee_unseen(&pending, &content)?;
        let publishes = !self.args.no_publish && self.workspace.complete()?;
        let plan = self.plan(&pending, &content)?;
        if !self.args.no_publish && self.will_complete(&pending, &content)? {
            if self.may_publish()? {
                self.workspace.check_presence()?;
            }
            self.workspace.check_files_of_delegated()?;
            let wanted = plan.iter().filter(|(_, fate)| *fate != Fate::Nothing).map(|(role, _)| role.clone());
            self.unlock_for(&wanted.collect::<Vec<_>>())?;
        }
        self.judge_theirs(&pending, &content)?;
        let only_shares = self.gathering.is_some() && pending.is_empty() && !publishes;
        if only_shares {
            // What they are given for is shown with them.
        } else if !pending.is_empty() || publishes || content.len() < staged.len() || self.merged.root_taken {
            self.confirm(&pending, &content, &plan)?;
        }
        self.confirm_by_person(&mut pending)?;
        if !self.args.yes.yes {
            // A person may read for long, and a version that is signed cannot be given again.
            check_sources(&self.workspace, self.context)?;
        }
        self.workspace.write_merged(&self.merged)?;
        if self.merged.root_taken {
            self.workspace.set_name(&self.record.name)?;
        }
        let of = |role: &Pending<'_>| (role.difference.clone(), role.warnings.clone());
        let shown = pending.iter().map(|role| (role.role.clone(), of(role))).collect();
        self.sign(pending)?;
        self.sign_with_those_that_come(&content, &shown)?;
        self.collect_shares(&content)?;
        // What others have staged while shares were collected nobody here was shown.
        let may_finish = self.blocked.is_none() && self.workspace.complete()?;
        let published = if may_finish { self.finish()? } else { None };
        self.tell_unused_shares();
        self.report(published)
    }

    /// Others, where a token did not sign after all; and one device after another, where they are inserted when they are
    /// asked for. What was shown and said yes to is not
    /// asked about again.
    fn sign_with_those_that_come(
        &mut self,
        content: &[RoleName],
        shown: &BTreeMap<RoleName, (Difference, Vec<String>)>,
    ) -> Result<(), Failure> {
        // A PIN that goes with its signature may have been wrong: others are asked for as after any other.
        while self.unlock_for(content)? || self.invite(content)? {
            self.unlock_for(content)?;
            let mut pending = self.inspect(content)?;
            self.foresee_unseen(&pending, content)?;
            let is_known = |role: &Pending<'_>| {
                shown.get(&role.role).is_some_and(|(difference, concerns)| {
                    *difference == role.difference && role.warnings.iter().all(|one| concerns.contains(one))
                })
            };
            if !pending.iter().all(is_known) {
                let plan = self.plan(&pending, content)?;
                self.confirm(&pending, content, &plan)?;
            }
            self.confirm_by_person(&mut pending)?;
            self.sign(pending)?;
        }
        Ok(())
    }

    /// Snapshot and timestamp, then out with it. `None` when signatures are missing or nothing shall be published.
    fn finish(&mut self) -> Result<Option<(outcome::RoleLines, Published)>, Failure> {
        record::show_staged(self.agent, &self.workspace, &self.record)?;
        for kind in [RoleKind::Snapshot, RoleKind::Timestamp] {
            if !self.online(kind)? {
                return Ok(None);
            }
        }
        if self.args.no_publish {
            return Ok(None);
        }
        let lines = outcome::role_lines(&self.workspace, &self.ours, &self.names, &self.record.used_keys)?;
        let screen = self.context.screen;
        let mut progress = Progress::new(screen, "publishing");
        let mut published = self.workspace.publish(
            &PublishOptions { tough_names: self.record.tough_names },
            &mut |done, total| progress.update(done, total),
            &mut |notice| screen.warn(notice),
        )?;
        drop(progress);
        record::tell_published(
            &self.workspace,
            &self.record,
            std::mem::take(&mut published.files),
            self.context,
        );
        Ok(Some((lines, published)))
    }

    /// Makes and signs snapshot or timestamp where one is needed; false when its threshold is not met.
    fn online(&mut self, kind: RoleKind) -> Result<bool, Failure> {
        let role = kind.role();
        let made = if self.args.no_publish {
            self.workspace.staged(&role)?
        } else {
            let expires = self.expires(&role);
            let signed = self.record.signed.get(role.as_str()).copied();
            let made = match kind {
                RoleKind::Snapshot => self.workspace.make_snapshot(expires, signed),
                _ => self.workspace.make_timestamp(expires, signed),
            };
            match made {
                // Nobody asked for it: what was asked for is signed, and the rest waits.
                Err(failure) if !self.selection.role(&role) => {
                    self.blocked = Some(failure.in_folder(&self.args.dir));
                    return Ok(false);
                }
                made => made?,
            }
        };
        let Some(made) = made else { return Ok(true) };
        let bytes = u64::try_from(made.bytes().len()).unwrap_or(u64::MAX);
        if let Some(warning) = limits::warning(&role, bytes) {
            self.context.screen.warn(warning);
        }
        let roles = [role.clone()];
        self.unlock_for(&roles)?;
        while self.invite(&roles)? {
            self.unlock_for(&roles)?;
        }
        let pending = self.inspect(&roles)?;
        let signed = self.sign_each(pending).and_then(|()| self.collect_shares_online(&role));
        let met = signed.is_ok() && self.workspace.signatures(&role)?.met;
        // The publication that follows flushes the folder with its first step.
        if !met || self.args.no_publish {
            self.workspace.settle_staged()?;
        }
        signed?;
        self.workspace.write_held(&role)?;
        if !met {
            return Ok(false);
        }
        record::show_staged(self.agent, &self.workspace, &self.record)?;
        Ok(true)
    }

    /// When a role that is made now shall expire: by the length that the agent's record keeps for it.
    fn expires(&self, role: &RoleName) -> UtcTime {
        let default = if role.kind() == RoleKind::Snapshot { 7 } else { 1 };
        let days = self.record.expiry_days.get(role.as_str()).copied().unwrap_or(default);
        UtcTime::from_unix(now()).plus_seconds(i64::from(days).saturating_mul(86_400))
    }

    /// `--key` names keys that are there, that are not locked away from us, and that serve a role to be signed.
    fn check_named_keys(&self) -> Result<(), Failure> {
        let mut roles = self.workspace.staged_roles()?;
        for online in [RoleKind::Snapshot.role(), RoleKind::Timestamp.role()] {
            if !roles.contains(&online) {
                roles.push(online);
            }
        }
        for name in &self.args.keys {
            let key = self.ours.named(name)?;
            let mut serves = false;
            for role in roles.iter().filter(|role| self.selection.role(role)) {
                serves |= ours::serves(&self.workspace.authorities(role)?, &key.public);
            }
            if !serves {
                let asked = roles.iter().filter(|role| self.selection.role(role));
                let roles: Vec<_> = asked.map(RoleName::as_str).collect();
                return Err(Failure::new(
                    reason::KEY_NOT_OF_ROLE,
                    format!("{name} is a key of none of the roles to be signed ({})", roles.join(", ")),
                )
                .remedy(format!(
                    "tufctl repo show {} lists the keys of each role",
                    typed_path(&self.args.dir)
                ))
                .detail("key", name.as_str()));
            }
            let invites = !self.args.yes.yes && Terminal::open().is_some();
            if !(invites && self.ours.may_come(&key.token))
                && let Err(failure) = self.ours.check_token(key)
            {
                // What unlocking it would not help is said first.
                for role in roles.iter().filter(|role| self.selection.role(role)) {
                    let mut of_it = self.candidates(role)?;
                    of_it.retain(|candidate| candidate.name == key.name);
                    if !of_it.is_empty() {
                        self.foresee_by(role, &of_it)?;
                    }
                }
                return Err(failure);
            }
            self.check_shares(key)?;
        }
        Ok(())
    }

    fn report(&self, published: Option<(outcome::RoleLines, Published)>) -> Result<Report, Failure> {
        if let Some((lines, published)) = published {
            return Ok(outcome::published(self, &lines, &published));
        }
        outcome::not_published(self)
    }
}

/// Whether the files of added targets are what was added.
fn check_sources(workspace: &Workspace, context: &Context) -> Result<(), Failure> {
    let mut progress = Progress::new(context.screen, "checking targets");
    workspace.check_sources(&mut |done, total| progress.update(done, total))
}

/// In a folder that is behind, the next version that is free would undo what others have published since.
fn going_back(failure: Failure, is_behind: bool) -> Failure {
    // Where it was not a version that was signed before, the remedy is none of the next one.
    let is_taken = failure.reason() == reason::WATERMARK && failure.text_detail("signed_role").is_some();
    if !is_behind || !is_taken {
        return failure;
    }
    failure.remedy("take the newest published copy first, and make your own change in it again")
}

fn is_online(role: &RoleName) -> bool {
    matches!(role.kind(), RoleKind::Snapshot | RoleKind::Timestamp)
}
