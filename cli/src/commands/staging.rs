//! What all editing commands share: the next version of a role, signatures that an edit drops, the report.

mod named;
mod overtaken;
mod refused;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::{Value, json};
use tuf::diff::difference;
use tuf::edit::{EditError, Editor, new_targets};
use tuf::key::KeyId;
use tuf::metadata::Metadata;
use tuf::role::{RoleKind, RoleName, Version};
use tufagent_proto::v1;

pub(super) use self::refused::{edit_failure, unknown_role};

use self::refused::after;
use super::busy;
use super::limits;
use super::names::key_name;
use super::signed_root::SignedRoot;
use crate::context::Context;
use crate::error::{Failure, reason};
use crate::prompt::confirm;
use crate::render::{self, Report, count, short_keyid, typed_path, visible};
use crate::workspace::{Facts, Unsound, Workspace, cut_off};

/// Edits of a repository folder: prepared first, written by [`Staging::commit`] once everything is judged.
pub(super) struct Staging<'c> {
    pub(super) context: &'c Context,
    pub(super) workspace: Workspace,
    pub(super) facts: Facts,
    /// That this folder is behind what the agent has verified, in a sentence.
    pub(super) behind: Option<String>,
    ours: Vec<v1::Key>,
    pub(super) yes: bool,
    prepared: Vec<(RoleName, Vec<u8>)>,
    removed: Vec<RoleName>,
    done: Vec<Staged>,
    /// What the keys of the command line are called.
    named: RefCell<BTreeMap<KeyId, String>>,
    /// Roles of which a person has said already that the signatures of others go, or that what is below its threshold goes on.
    agreed: BTreeSet<RoleName>,
}

/// A role that was staged.
struct Staged {
    role: RoleName,
    metadata: Metadata,
    dropped: Vec<String>,
}

impl<'c> Staging<'c> {
    /// Opens the folder for writing and asks the agent what it knows of the repository.
    pub(super) fn open(context: &'c Context, dir: &Path, yes: bool) -> Result<Self, Failure> {
        if cut_off(dir).is_some() {
            context.screen.note("finishing a publication that was cut off");
        }
        let workspace = Workspace::open_for_writing(dir)?;
        let facts = Facts::find(context, &workspace)?;
        if facts.record.is_none() && !workspace.root_versions()?.is_empty() {
            return Err(Failure::new(
                reason::REPOSITORY_UNKNOWN,
                format!("the agent does not know the repository in {}", dir.display()),
            )
            .remedy("make it known: tufctl repo adopt DIR --name NAME --root ROOT.json"));
        }
        Self::of(context, workspace, facts, yes)
    }

    /// Edits of a folder that is open already.
    pub(super) fn of(
        context: &'c Context,
        workspace: Workspace,
        facts: Facts,
        yes: bool,
    ) -> Result<Self, Failure> {
        let ours = context.agent()?.keys_to_sign()?;
        let behind = facts.behind(&workspace)?;
        if let Some(behind) = &behind {
            context.screen.warn(behind);
        }
        let (prepared, removed, done, named) = Default::default();
        Ok(Self {
            context,
            workspace,
            facts,
            behind,
            ours,
            yes,
            prepared,
            removed,
            done,
            named,
            agreed: BTreeSet::new(),
        })
    }

    /// What the agent calls the repository; nothing where it does not know it.
    pub(super) fn repository(&self) -> &str {
        self.facts.record.as_ref().map_or("", |record| record.name.as_str())
    }

    /// The current metadata of a role: what is prepared or staged, else what is published.
    pub(super) fn current(&self, role: &RoleName) -> Result<Metadata, Failure> {
        self.workspace.current(role)?.ok_or_else(|| unknown_role(role))
    }

    /// Prepares the next version of a role. Gives whether anything but version and expiry changes.
    pub(super) fn edit(
        &mut self,
        role: &RoleName,
        change: impl FnOnce(&mut Editor) -> Result<(), EditError>,
    ) -> Result<bool, Failure> {
        self.give_up_overtaken(role)?;
        let version = self.edited_version(role)?;
        self.edit_as(role, version, change)
    }

    /// Prepares the same content under the next version that is free, also when this folder is behind what the
    /// agent has signed.
    pub(super) fn renew(&mut self, role: &RoleName) -> Result<(), Failure> {
        self.renew_above(role, 0)
    }

    /// The same under a version above `above`.
    pub(super) fn renew_above(&mut self, role: &RoleName, above: u64) -> Result<(), Failure> {
        self.give_up_overtaken(role)?;
        let mut version = self.next_version(role)?;
        if version.get() <= above {
            if role.kind() == RoleKind::Root {
                return Err(Failure::new(reason::USAGE, "root versions follow one another without a gap")
                    .remedy("leave --above out"));
            }
            version = after(role, above)?;
        }
        self.edit_as(role, version, |_| Ok(())).map(drop)
    }

    fn edit_as(
        &mut self,
        role: &RoleName,
        version: Version,
        change: impl FnOnce(&mut Editor) -> Result<(), EditError>,
    ) -> Result<bool, Failure> {
        if let Some(fault) = self.facts.check_base(self.context, &self.workspace, role)?
            && self.workspace.staged(role)?.is_none()
        {
            self.vouch(role, &fault)?;
        }
        self.refuse_complete_root(role)?;
        if !role.is_top_level() && self.workspace.parents(role)?.is_empty() {
            return Err(Failure::new(reason::ROLE_UNKNOWN, format!("no role delegates to {role} any more"))
                .remedy("tufctl delegation list DIR shows the delegations; bring it back with: tufctl delegation add")
                .detail("role", role.as_str()));
        }
        let base = self.current(role)?;
        let mut editor = Editor::new(&base);
        let refused = |error: EditError| refused::in_its_place(&error, &base, self.workspace.dir());
        change(&mut editor).map_err(refused)?;
        editor.set_version(version).set_expires(self.facts.expires(role));
        let bytes = editor.finish().map_err(refused)?;
        let next = Metadata::parse(bytes.clone(), &tuf::metadata::Limits::agent()).map_err(|e| {
            Failure::new(reason::INTERNAL, format!("the next version of {role} is not readable: {e}"))
        })?;
        self.prepared.push((role.clone(), bytes));
        Ok(!difference(role, Some(&base), &next).only_renews())
    }

    /// A person goes on from published metadata that is below its threshold.
    fn vouch(&mut self, role: &RoleName, fault: &Unsound) -> Result<(), Failure> {
        if self.agreed.contains(role) {
            return Ok(());
        }
        self.context.screen.warn(fault.sentence());
        confirm(&format!("Go on from it, and vouch for all that {role} lists?"), self.yes)?;
        self.agreed.insert(role.clone());
        Ok(())
    }

    /// Asks before anything is staged what the renewal of a role would ask, which other metadata may make needful.
    pub(super) fn ask_to_renew(&mut self, role: &RoleName) -> Result<(), Failure> {
        if self.workspace.staged(role)?.is_some() || self.workspace.published(role)?.is_none() {
            return Ok(());
        }
        match self.facts.check_base(self.context, &self.workspace, role)? {
            Some(fault) => self.vouch(role, &fault),
            None => Ok(()),
        }
    }

    /// Asks before anything is staged whether what others have signed of these roles may go.
    pub(super) fn ask_to_drop(&mut self, roles: &[RoleName]) -> Result<(), Failure> {
        let mut signed = Vec::new();
        for role in roles {
            let (_, others) = self.signers(role)?;
            if !others.is_empty() {
                signed.push(format!("{role} ({})", others.join(", ")));
            }
        }
        if !signed.is_empty() {
            confirm(&format!("Drop the signatures of others on {}?", signed.join("; ")), self.yes)?;
        }
        self.agreed.extend(roles.iter().cloned());
        Ok(())
    }

    /// The root that is prepared, if one is.
    pub(super) fn prepared_root(&self) -> Result<Option<Metadata>, Failure> {
        let found = self.prepared.iter().rev().find(|(role, _)| role.kind() == RoleKind::Root);
        let root = found.map(|(_, bytes)| Metadata::parse(bytes.clone(), &tuf::metadata::Limits::agent()));
        root.transpose()
            .map_err(|e| Failure::new(reason::INTERNAL, format!("the next root is not readable: {e}")))
    }

    /// Lets an edit go that changed nothing.
    pub(super) fn forget(&mut self, role: &RoleName) {
        self.prepared.retain(|(prepared, _)| prepared != role);
    }

    /// Prepares metadata that was made anew.
    pub(super) fn prepare(&mut self, role: RoleName, bytes: Vec<u8>) {
        self.prepared.push((role, bytes));
    }

    /// Stages the first version of a delegated role that has no metadata yet.
    pub(super) fn begin(&mut self, role: &RoleName) -> Result<(), Failure> {
        let version = self.next_version(role)?;
        let expires = self.facts.expires(role);
        self.prepare(role.clone(), new_targets(version, expires));
        self.commit()
    }

    /// Prepares the removal of a role's staged file.
    pub(super) fn unstage(&mut self, role: RoleName) {
        self.removed.push(role);
    }

    /// The version that an edit of a role gets. It goes on from what lies in this folder: where that is older than
    /// what the agent has signed, the edit would silently undo what it does not know, so the version stays low and
    /// `sign` refuses it (WATERMARK), until a person takes the next one with `bump`. What lies here unsigned because `sign`
    /// was cut off is not older: nothing is undone.
    fn edited_version(&self, role: &RoleName) -> Result<Version, Failure> {
        let staged = self.workspace.staged(role)?;
        match &staged {
            Some(staged) if is_signed(staged) || self.facts.was_signed(self.context, role, staged)? => {
                self.next_version(role)
            }
            Some(staged) => Ok(staged.version()),
            None => after(role, self.last_known(role)?),
        }
    }

    /// The version that the next content of a role has: that of what is staged, unless somebody has signed it already;
    /// otherwise the one after everything that was published, listed or signed.
    pub(super) fn next_version(&self, role: &RoleName) -> Result<Version, Failure> {
        if role.kind() == RoleKind::Root {
            // Roots follow one another without a gap: the next one has this number, signed before or not.
            return after(role, self.last_known(role)?);
        }
        let signed = self.facts.signed(role).unwrap_or(0);
        let staged = self.workspace.staged(role)?;
        // What somebody has signed, their agent will not sign again with other content.
        let used = staged.as_ref().filter(|staged| is_signed(staged)).map_or(0, |m| m.version().get());
        match staged {
            Some(staged) if staged.version().get() > signed.max(used) => Ok(staged.version()),
            _ => after(role, self.last_known(role)?.max(signed).max(used).max(self.dropped(role)?)),
        }
    }

    /// The newest version that this folder has published or listed; 0 for none.
    fn last_known(&self, role: &RoleName) -> Result<u64, Failure> {
        let published = self.workspace.published(role)?.map_or(0, |m| m.version().get());
        let snapshot = self.workspace.published(&RoleKind::Snapshot.role())?;
        let entries = snapshot.as_ref().and_then(Metadata::as_snapshot);
        let listed = entries.and_then(|s| s.meta.get(role)).map_or(0, |file| file.version.get());
        Ok(published.max(listed))
    }

    /// Writes what is prepared. Signatures that this drops are named first, and those of others only go after a yes.
    pub(super) fn commit(&mut self) -> Result<(), Failure> {
        if let Some(name) = self.facts.name() {
            let roles = self.prepared.iter().map(|(role, _)| role).chain(&self.removed);
            busy::check_not_collected(roles, name, self.workspace.dir(), self.context)?;
        }
        let mut dropped = BTreeMap::new();
        let mut questions = Vec::new();
        for role in self.prepared.iter().map(|(role, _)| role).chain(&self.removed) {
            let (ours, others) = self.signers(role)?;
            if !others.is_empty() && !self.agreed.contains(role) {
                questions.push(format!("{role} ({})", others.join(", ")));
            }
            dropped.insert(role.clone(), ours.into_iter().chain(others).collect::<Vec<_>>());
        }
        if !questions.is_empty() {
            confirm(&format!("Drop the signatures of others on {}?", questions.join("; ")), self.yes)?;
        }
        let name = self.facts.name().filter(|_| !self.prepared.is_empty()).map(ToOwned::to_owned);
        if let Some(name) = name {
            self.workspace.set_name(&name)?;
        }
        let mut files = Vec::new();
        // Prepared twice, the last counts.
        for (role, bytes) in std::mem::take(&mut self.prepared).into_iter().rev() {
            files.extend(dropped.remove(&role).map(|dropped| (role, bytes, dropped)));
        }
        // New roles before the one that delegates to them: if cut off, the command can be given again.
        let parent = files.len().checked_sub(1).map(|last| files.split_off(last)).unwrap_or_default();
        let mut written = Vec::new();
        for files in [files, parent] {
            written.extend(self.write(files)?);
        }
        let again: BTreeSet<&RoleName> = written.iter().map(|new| &new.role).collect();
        self.done.retain(|staged| !again.contains(&staged.role));
        self.done.extend(written.into_iter().rev());
        for role in std::mem::take(&mut self.removed) {
            self.workspace.remove_staged(&role)?;
        }
        self.workspace.note_key_names(self.named.take())
    }

    /// Writes staged files, and says what a person should know of them.
    fn write(&mut self, files: Vec<(RoleName, Vec<u8>, Vec<String>)>) -> Result<Vec<Staged>, Failure> {
        if files.is_empty() {
            return Ok(Vec::new());
        }
        let replaced =
            files.iter().map(|(role, ..)| self.signed_root(role)).collect::<Result<Vec<_>, _>>()?;
        let (files, dropped): (Vec<_>, Vec<_>) =
            files.into_iter().map(|(role, bytes, dropped)| ((role, bytes), dropped)).unzip();
        let roles: Vec<RoleName> = files.iter().map(|(role, _)| role.clone()).collect();
        let metadata = self.workspace.write_staged_many(files)?;
        self.workspace.settle_staged()?;
        let all = roles.into_iter().zip(metadata).zip(dropped).zip(replaced);
        let written = all.map(|(((role, metadata), dropped), replaced)| {
            if let Some(warning) = limits::warning(&role, byte_count(&metadata)) {
                self.context.screen.warn(warning);
            }
            if let Some(SignedRoot { sha256, surely }) =
                replaced.filter(|root| root.sha256 != metadata.digest().to_string())
            {
                let how = if surely { "was signed before with" } else { "was signed here, or was to be, with" };
                self.context.screen.warn(format!(
                    "root v{} {how} other content; whoever signed it signs this one only in its place, at a terminal: tufctl sign {} --supersede {sha256}",
                    metadata.version(),
                    typed_path(self.workspace.dir()),
                ));
            }
            Staged { role, metadata, dropped }
        });
        Ok(written.collect())
    }

    /// Stages the same content anew for those roles that no longer meet a threshold, now that staged metadata gives
    /// them other keys. Snapshot and timestamp are made anew when signing.
    pub(super) fn renew_unmet(&mut self, roles: &[RoleName]) -> Result<(), Failure> {
        for role in roles {
            if self.workspace.staged(role)?.is_some() {
                continue;
            }
            let published = self.workspace.published(role)?;
            let lost = published.is_some() && !self.workspace.still_good(role, published.as_ref())?;
            if lost && !self.workspace.was_lost(role)? {
                self.renew(role)?;
            }
        }
        self.commit()
    }

    /// The result: what is staged now, and what to do next.
    pub(super) fn report(&self, mut extra: Value, mut text: String) -> Report {
        let staged: Vec<Value> = self.done.iter().map(Staged::json).collect();
        if self.done.len() > MOST_LINES {
            text.push_str(&format!(
                "staged {}\n",
                count(self.done.len().try_into().unwrap_or(u64::MAX), "role")
            ));
        }
        for one in self.done.iter().take(MOST_LINES) {
            text.push_str(&one.line());
        }
        if let Some(object) = extra.as_object_mut() {
            object.insert("staged".into(), staged.into());
        }
        let report = Report::new(extra, text);
        if self.done.is_empty() {
            return report;
        }
        let dir = typed_path(self.workspace.dir());
        report.hint(format!("see it with: tufctl diff {dir}; sign it with: tufctl sign {dir}"))
    }

    /// Who has signed what is staged of a role: we, and others.
    fn signers(&self, role: &RoleName) -> Result<(Vec<String>, Vec<String>), Failure> {
        let Some(staged) = self.workspace.staged(role)? else { return Ok(Default::default()) };
        let authorities = self.workspace.authorities(role)?;
        let (mut ours, mut others) = (Vec::new(), Vec::new());
        for entry in staged.signatures().iter().filter(|entry| !entry.sig.is_empty()) {
            let key = authorities.iter().find_map(|a| a.key(&entry.keyid));
            match key_name(&self.ours, &entry.keyid, key) {
                Some(name) => ours.push(name),
                None => others.push(self.label(&entry.keyid)),
            }
        }
        Ok((ours, others))
    }

    /// What somebody else's key is called on the screen.
    fn label(&self, keyid: &KeyId) -> String {
        let noted = self.workspace.key_labels().get(keyid.as_str());
        let noted = noted.filter(|name| self.ours.iter().all(|key| key.name != **name));
        noted.map_or_else(|| short_keyid(keyid.as_str()), |name| visible(name).into_owned())
    }
}

impl Staged {
    fn json(&self) -> Value {
        json!({
            "role": self.role.as_str(),
            "version": self.metadata.version().get(),
            "expires": self.metadata.expires().to_string(),
            "signatures_dropped": self.dropped,
        })
    }

    fn line(&self) -> String {
        let expires = self.metadata.expires();
        let away = render::expiry(expires.unix(), render::now());
        let dropped = match self.dropped.as_slice() {
            [] => String::new(),
            names => format!(" · signatures dropped: {}", names.join(", ")),
        };
        let (role, version) = (visible(self.role.as_str()), self.metadata.version());
        format!("staged {role} v{version} · expires {expires} ({away}){dropped}\n")
    }
}

fn byte_count(metadata: &Metadata) -> u64 {
    u64::try_from(metadata.bytes().len()).unwrap_or(u64::MAX)
}

/// Whether anybody has signed it.
pub(super) fn is_signed(metadata: &Metadata) -> bool {
    metadata.signatures().iter().any(|entry| !entry.sig.is_empty())
}

/// A role's name from the command line.
pub(super) fn role_name(text: &str) -> Result<RoleName, Failure> {
    RoleName::parse(text).map_err(|e| Failure::new(reason::NAME_INVALID, e.to_string()).detail("role", text))
}

/// More staged roles than this are told by their number.
const MOST_LINES: usize = 12;
