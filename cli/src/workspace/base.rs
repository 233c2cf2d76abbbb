//! Whether what is published is what its keys have signed, and the newest that was seen.
//!
//! An edit goes on from published files, and they lie in a folder that others can write: a file whose signatures do not
//! hold would be signed by us as if we had written it, and a backup that was put back would undo what came after it.

use std::collections::BTreeMap;
use std::rc::Rc;

use tuf::key::KeyId;
use tuf::metadata::Metadata;
use tuf::role::{RoleKind, RoleName};
use tuf::word;
use tufagent_proto::v1;

use super::authority::{Authority, give_keys, plain_state};
use super::{Facts, Workspace, is_kept, layout};
use crate::context::Context;
use crate::error::{Failure, reason};

/// A published file that its keys have not signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Unsound {
    pub(crate) role: RoleName,
    version: u64,
    have: u32,
    need: u32,
    /// Its name in `metadata/`.
    file: String,
    /// A keyid of a key that the role has under another one already.
    again: Option<KeyId>,
    /// A delegated role that the agent never saw complete: there is no good copy that could be restored.
    never_whole: bool,
}

impl Unsound {
    /// What is wrong, for people.
    pub(crate) fn sentence(&self) -> String {
        let Self { role, version, have, need, file, .. } = self;
        let spec = self.spec();
        format!(
            "the published {role} version {version} does not verify: it has {have} of the {need} signatures that it \
             needs ({file}, specification {spec})"
        )
    }

    /// The refusal of whatever would go on from it: exit 6, with role, file and section as `verify` gives them.
    pub(crate) fn failure(&self) -> Failure {
        Failure::new(reason::VERIFICATION, self.sentence())
            .remedy(self.remedy())
            .detail("role", self.role.as_str())
            .detail("file", self.file.as_str())
            .detail("spec", self.spec())
    }

    fn remedy(&self) -> String {
        let file = &self.file;
        if self.role.kind() == RoleKind::Root {
            return format!(
                "restore metadata/{file} from a good copy; if it waits for signatures still, move it to staged/root.json and sign it there: tufctl sign DIR"
            );
        }
        if self.never_whole {
            let role = word::last(self.role.as_str());
            let way = match &self.again {
                Some(again) => give_keys(&self.role, Some(again), "DIR"),
                None => format!(
                    "sign it anew with its keys: tufctl bump DIR {role}; where they are too few, {}",
                    give_keys(&self.role, None, "DIR")
                ),
            };
            return format!(
                "{way}; then look at all that it lists (tufctl diff DIR) and sign it: tufctl sign DIR"
            );
        }
        format!(
            "restore metadata/{file} from a good copy; tufctl verify DIR --root ROOT.json looks at all of it"
        )
    }

    fn spec(&self) -> &'static str {
        match self.role.kind() {
            RoleKind::Root => "5.3.4",
            RoleKind::Timestamp => "5.4.2",
            RoleKind::Snapshot => "5.5.3",
            RoleKind::Targets => "5.6.3",
        }
    }
}

/// What was found out about published files; they do not change before the next publication.
#[derive(Debug, Default)]
pub(super) struct Judged {
    roles: BTreeMap<RoleName, Option<Unsound>>,
    /// By whether bins were looked into.
    parents: BTreeMap<bool, Rc<[RoleName]>>,
}

/// Whether somebody who can be believed has verified this very content of a role before.
type Vouched<'a> = &'a dyn Fn(&RoleName, &Metadata) -> Result<bool, Failure>;

impl Workspace {
    /// Takes it that the published files of these roles are sound.
    pub(super) fn believe(&self, roles: impl Iterator<Item = RoleName>) {
        self.judged.borrow_mut().roles.extend(roles.map(|role| (role, None)));
    }

    /// What is wrong with a role's published file, or with one that says which keys the role has. What the agent has
    /// verified is good whatever its signatures are worth now: a newer root may have replaced its keys.
    fn unsound(&self, role: &RoleName, vouched: Vouched<'_>) -> Result<Option<Unsound>, Failure> {
        if let Some(known) = self.judged.borrow().roles.get(role) {
            return Ok(known.clone());
        }
        // A circle of delegations ends here.
        self.judged.borrow_mut().roles.insert(role.clone(), None);
        let found = match self.published(role)? {
            None => None,
            Some(root) if role.kind() == RoleKind::Root => self.unsound_root(root, vouched)?,
            Some(metadata) => self.unsound_file(role, &metadata, vouched)?,
        };
        self.judged.borrow_mut().roles.insert(role.clone(), found.clone());
        Ok(found)
    }

    fn unsound_file(
        &self,
        role: &RoleName,
        metadata: &Metadata,
        vouched: Vouched<'_>,
    ) -> Result<Option<Unsound>, Failure> {
        let parents = self.published_authorities(role)?;
        let mut fault = None;
        for (parent, _) in &parents {
            fault = fault.or(self.unsound(parent, vouched)?);
        }
        // The agent's word costs one digest of a large file, its signatures as much each, and the digest is needed anyway.
        if metadata.bytes().len() > LARGE && vouched(role, metadata)? {
            return Ok(None);
        }
        let authorities: Vec<Authority> = parents.into_iter().map(|(_, authority)| authority).collect();
        let state = plain_state(role, metadata, &authorities);
        // What nobody delegates to is seen by no client, and nothing goes on from it.
        let holds = fault.is_none() && (state.met || authorities.is_empty());
        if holds || vouched(role, metadata)? {
            return Ok(None);
        }
        Ok(fault.or(Some(Unsound {
            role: role.clone(),
            version: metadata.version().get(),
            have: state.have,
            need: state.need,
            again: authorities.iter().find_map(Authority::counted_twice).cloned(),
            never_whole: false,
            file: layout::file_name(role, metadata.version(), self.published_consistently()?),
        })))
    }

    /// Follows the chain of roots down to one that is known.
    fn unsound_root(&self, newest: Metadata, vouched: Vouched<'_>) -> Result<Option<Unsound>, Failure> {
        let role = RoleKind::Root.role();
        let versions = self.root_versions()?;
        let mut root = newest;
        while !vouched(&role, &root)? {
            let before = versions.iter().rev().find(|version| **version < root.version());
            let before = before.map(|version| self.published_root(*version)).transpose()?.flatten();
            let both = before.iter().chain([&root]);
            let authorities: Vec<Authority> =
                both.filter_map(|root| Authority::of_root(root, RoleKind::Root)).collect();
            let state = plain_state(&role, &root, &authorities);
            if !state.met {
                return Ok(Some(Unsound {
                    version: root.version().get(),
                    have: state.have,
                    need: state.need,
                    again: None,
                    never_whole: false,
                    file: layout::file_name(&role, root.version(), true),
                    role,
                }));
            }
            let Some(before) = before else { break };
            root = before;
        }
        Ok(None)
    }

    /// Who has to have signed a role's published file, by what is published itself.
    fn published_authorities(&self, role: &RoleName) -> Result<Vec<(RoleName, Authority)>, Failure> {
        if role.is_top_level() {
            let parent = RoleKind::Root.role();
            let root = self.published(&parent)?;
            let authority = root.and_then(|root| Authority::of_root(&root, role.kind()));
            return Ok(authority.map(|authority| (parent, authority)).into_iter().collect());
        }
        // Bins are only asked where no other role delegates to this one.
        for bins_too in [false, true] {
            let mut found = Vec::new();
            for parent in self.published_parents(bins_too)?.iter() {
                let authority = self.published(parent)?.and_then(|m| Authority::of_parent(parent, &m, role));
                found.extend(authority.map(|authority| (parent.clone(), authority)));
            }
            if !found.is_empty() {
                return Ok(found);
            }
        }
        Ok(Vec::new())
    }

    /// Published roles that delegate; those among bins only if asked for.
    fn published_parents(&self, bins_too: bool) -> Result<Rc<[RoleName]>, Failure> {
        if let Some(known) = self.judged.borrow().parents.get(&bins_too) {
            return Ok(Rc::clone(known));
        }
        let parents = self.published_delegating(bins_too)?;
        self.judged.borrow_mut().parents.insert(bins_too, Rc::clone(&parents));
        Ok(parents)
    }

    /// The newest version of a role that lies here complete or on its way: published, or staged with a signature.
    fn newest_here(&self, role: &RoleName) -> Result<u64, Failure> {
        let staged = self.staged(role)?.filter(|m| m.signatures().iter().any(|entry| !entry.sig.is_empty()));
        let both = [self.published(role)?, staged];
        Ok(both.iter().flatten().map(|metadata| metadata.version().get()).max().unwrap_or(0))
    }
}

impl Facts {
    /// What is wrong with a role's published file; see [`Unsound`].
    ///
    /// # Errors
    /// A file that cannot be read; the agent's.
    pub(crate) fn unsound(
        &self,
        context: &Context,
        workspace: &Workspace,
        role: &RoleName,
    ) -> Result<Option<Unsound>, Failure> {
        let Some(record) = &self.record else { return workspace.unsound(role, &|_, _| Ok(false)) };
        if role.kind() == RoleKind::Snapshot && workspace.was_reset(role) {
            // Its keys have gone; what it lists the agent holds against what it has verified itself.
            return Ok(None);
        }
        let found = workspace.unsound(role, &|role, metadata| vouched(context, record, role, metadata))?;
        Ok(found.map(|fault| {
            let was_whole = record.verified.contains_key(fault.role.as_str());
            Unsound { never_whole: !was_whole && !fault.role.is_top_level(), ..fault }
        }))
    }

    /// Refuses to go on from a published file that its keys have not signed. A delegated role that never was complete in front
    /// of the agent is given back: clients do without it, and a person may vouch for what it lists.
    ///
    /// # Errors
    /// `VERIFICATION` (exit 6).
    pub(crate) fn check_base(
        &self,
        context: &Context,
        workspace: &Workspace,
        role: &RoleName,
    ) -> Result<Option<Unsound>, Failure> {
        let Some(fault) = self.unsound(context, workspace, role)? else { return Ok(None) };
        let seen = self.record.as_ref().is_none_or(|record| record.verified.contains_key(role.as_str()));
        if seen || role.is_top_level() || fault.role != *role {
            return Err(fault.failure());
        }
        Ok(Some(fault))
    }

    /// Says in one sentence that this folder is behind what the agent has verified; `None` when it is not. Only a newer
    /// timestamp tells it, and a root that was out, with which no timestamp changes: other roles may have been verified
    /// complete and never been published.
    pub(crate) fn behind(&self, workspace: &Workspace) -> Result<Option<String>, Failure> {
        let Some(record) = &self.record else { return Ok(None) };
        let timestamp = RoleKind::Timestamp.role();
        let seen = record.verified.get(timestamp.as_str()).copied().unwrap_or(0);
        let published = workspace.published(&timestamp)?.is_some() && workspace.interrupted().is_none();
        let is_behind = published && seen > workspace.newest_here(&timestamp)?;
        let lacks_root = self.lacking_root(workspace)?;
        if !is_behind && lacks_root.is_none() {
            return Ok(None);
        }
        let mut older = Vec::new();
        let of_root = lacks_root.map(|(_, seen)| (RoleKind::Root.name().to_owned(), seen));
        let seen = if is_behind { record.verified.clone() } else { of_root.into_iter().collect() };
        for (name, seen) in seen.iter().collect::<BTreeMap<_, _>>() {
            let Ok(role) = RoleName::parse(name) else { continue };
            let here = workspace.newest_here(&role)?;
            if here < *seen {
                older.push(format!("{role} version {here} in place of {seen}"));
            }
        }
        let more = match older.len().saturating_sub(MOST_NAMED) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        older.truncate(MOST_NAMED);
        Ok(Some(format!(
            "this folder is older than what the agent has seen of {}: {}{more}; what came after it would be undone",
            record.name,
            older.join(", ")
        )))
    }
}

impl Facts {
    /// The newest root that is here and the newest that the agent has found published, where it is not here.
    fn lacking_root(&self, workspace: &Workspace) -> Result<Option<(u64, u64)>, Failure> {
        let Some(record) = &self.record else { return Ok(None) };
        let role = RoleKind::Root.role();
        let seen = record.published.get(role.as_str()).copied().unwrap_or(0);
        let here = workspace.newest_here(&role)?;
        let lacks = here > 0 && here < seen && workspace.interrupted().is_none();
        Ok(lacks.then_some((here, seen)))
    }

    /// Refuses to sign in a folder that lacks a root which was out: keys that it has taken away would count here again, and
    /// who verifies what is published from here finds a rollback (specification 5.3.5).
    ///
    /// # Errors
    /// `WATERMARK`.
    pub(crate) fn check_root_is_here(&self, workspace: &Workspace) -> Result<(), Failure> {
        let Some((here, seen)) = self.lacking_root(workspace)? else { return Ok(()) };
        let remedy = if here.checked_add(1) == Some(seen) {
            "take the newest published copy; or bring that root back (tufctl root restage DIR), and sign again: tufctl sign DIR"
        } else {
            "take the newest published copy, and make the change in it again"
        };
        Err(Failure::new(
            reason::WATERMARK,
            format!("root version {seen} was published, and the newest one in this folder is version {here}"),
        )
        .remedy(remedy)
        .detail("role", RoleKind::Root.name())
        .detail("version", here)
        .detail("published_version", seen))
    }
}

/// Whether the agent has verified this very content.
fn vouched(
    context: &Context,
    record: &v1::Repository,
    role: &RoleName,
    metadata: &Metadata,
) -> Result<bool, Failure> {
    if is_kept(record, role, metadata) {
        return Ok(true);
    }
    let newest = record.verified.get(role.as_str()).copied().unwrap_or(0);
    let (agent, version, digest) =
        (context.agent()?, metadata.version().get(), metadata.digest().to_string());
    if role.kind() == RoleKind::Root {
        if version > newest {
            return Ok(false);
        }
        return match agent.repository_of_roots(vec![digest]) {
            Ok(found) => Ok(found.id == record.id),
            Err(failure) if failure.reason() == reason::REPOSITORY_UNKNOWN => Ok(false),
            Err(failure) => Err(failure),
        };
    }
    // Of older versions the agent does not say which content they had.
    if version != newest {
        return Ok(false);
    }
    let file = v1::FileDigest { role: role.to_string(), version, sha256: digest, file_sha256: String::new() };
    Ok(agent.missing(&record.name, false, vec![file])?.is_empty())
}

/// From this size on, bytes, the agent is asked before signatures are verified.
const LARGE: usize = 1 << 20;
/// More roles than this are told by their number.
const MOST_NAMED: usize = 4;
