//! Publication: target files, root, targets roles, snapshot, `timestamp.json` last; each written, flushed and renamed.
//! Where that would show clients a mixture, `metadata/` is made anew beside itself and swapped whole.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tuf::metadata::Metadata;
use tuf::role::{RoleKind, RoleName, Version};
use tuf::word;

use super::authority::Authority;
use super::beneath::Folder;
use super::read::MOST_BYTES;
use super::sources::{Notice, Progress};
use super::swap::can_exchange;
use super::{Workspace, carried, files, layout};
use crate::error::{Failure, reason};
use crate::render::typed_path;

/// Said before `metadata/` is swapped in two steps.
pub(super) const TWO_STEPS: &str =
    "this file system cannot swap metadata/ at once: for a moment clients will find no metadata, and retry";
/// Said before files are replaced one after the other.
pub(super) const MIXED: &str = "metadata/ cannot be swapped here: for a moment clients will find old and new files side by side, and retry";

/// How to publish; kept in `staged/` so that a publication that was cut off is finished alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PublishOptions {
    /// Give nested targets a second name for clients of the kind of tough.
    pub(crate) tough_names: bool,
}

/// What was published.
#[derive(Debug)]
pub(crate) struct Published {
    /// The roles and their versions, in the order in which they were published.
    pub(crate) roles: Vec<(RoleName, Version)>,
    /// Target files that were new or different.
    pub(crate) target_files: u64,
    /// What was published, in the same order.
    pub(crate) files: Vec<(RoleName, Metadata)>,
}

impl Workspace {
    /// Publishes all that is staged and takes `staged/` away. `notice` is told before anything is written when the file
    /// system cannot swap folders at once.
    ///
    /// # Errors
    /// `THRESHOLD_MISSING` when a role, staged or published, would not meet a threshold; `WATERMARK` when something newer
    /// is published already; `SNAPSHOT_INVALID` when the snapshot lists something else than what is staged;
    /// `TARGET_CHANGED` when a source is gone or changed. Clients see nothing of it then.
    pub(crate) fn publish(
        &mut self,
        options: &PublishOptions,
        progress: Progress<'_>,
        notice: Notice<'_>,
    ) -> Result<Published, Failure> {
        self.check_thresholds()?;
        self.check_goes_on(&self.staged_roles()?)?;
        self.check_file_names()?;
        self.check_listed()?;
        self.check_folders()?;
        let swap = self.must_swap()?;
        if swap {
            carried::check(&Folder::of_repository(&self.dir)?)?;
        }
        let at_once = !swap || can_exchange(&self.dir);
        if !at_once {
            notice(TWO_STEPS);
        }
        let marker = self.staged_folder().join(layout::PUBLISHING);
        let text = serde_json::to_vec(options)
            .map_err(|e| Failure::new(reason::INTERNAL, format!("cannot write {}: {e}", marker.display())))?;
        files::write(&marker, &text)?;
        let repository = Folder::of_repository(&self.dir)?;
        let was_there = repository.about(layout::METADATA.as_ref())?.is_some();
        let brought = match self.bring_targets(options.tough_names, progress, notice) {
            Ok(brought) => brought,
            Err(failure) => {
                // No metadata was touched, unless this finishes what was cut off: whoever does that says what is out.
                files::remove(&marker)?;
                return Err(failure);
            }
        };
        let staged = self.staged_metadata()?;
        let written = if swap {
            self.publish_by_swap(&staged, &brought, at_once, notice)
        } else {
            brought.replace().and_then(|()| brought.sync()).and_then(|()| {
                // The targets have made durable what was in the repository's folder.
                self.publish_in_order(&staged, was_there && brought.flushed_repository())
            })
        };
        if let Err(failure) = written {
            // Tried again, it would end there again.
            if failure.is_of_long_name() && !self.is_out()? {
                files::remove(&marker)?;
            }
            return Err(failure);
        }
        self.keep_key_names()?;
        self.drop_staged()?;
        Ok(Published {
            roles: staged.iter().map(|(role, metadata)| (role.clone(), metadata.version())).collect(),
            target_files: brought.number(),
            files: staged,
        })
    }

    fn staged_metadata(&self) -> Result<Vec<(RoleName, Metadata)>, Failure> {
        let roles = self.staged_roles()?.into_iter();
        roles.filter_map(|role| Some(self.staged(&role).transpose()?.map(|m| (role, m)))).collect()
    }

    /// Every role that clients will see must meet every threshold that will stand.
    fn check_thresholds(&self) -> Result<(), Failure> {
        let mut roles = self.staged_roles()?;
        if self.staged(&RoleKind::Root.role())?.is_some() {
            roles.extend([RoleKind::Targets, RoleKind::Snapshot, RoleKind::Timestamp].map(RoleKind::role));
        }
        for parent in roles.clone() {
            if let Some(metadata) = self.current(&parent)? {
                let before = self.published(&parent)?;
                let same = |child: &RoleName| same_keys(before.as_ref(), &metadata, child);
                roles.extend(self.children(&metadata)?.into_iter().filter(|child| !same(child)));
            }
            roles.extend(self.orphaned_by_reset(&parent)?);
        }
        roles.sort_unstable();
        roles.dedup();
        self.check_files_of_delegated()?;
        for role in roles {
            let state = self.signatures(&role)?;
            if !state.met && !self.is_still_to_come(&role)? {
                let (have, need) = (state.have, state.need);
                return Err(Failure::new(
                    reason::THRESHOLD_MISSING,
                    format!(
                        "{role} has {have} of {need} signatures{} and cannot be published",
                        state.whose()
                    ),
                )
                .remedy(self.how_to_complete(&role)?)
                .detail("role", role.as_str())
                .detail("have", have)
                .detail("need", need));
            }
        }
        Ok(())
    }

    /// Whether every role has a file to which what is staged delegates anew: without it nothing of it can be published.
    ///
    /// # Errors
    /// `THRESHOLD_MISSING` with `details.role`.
    pub(crate) fn check_files_of_delegated(&self) -> Result<(), Failure> {
        for parent in self.staged_roles()? {
            let Some(metadata) = self.staged(&parent)? else { continue };
            let before = self.published(&parent)?;
            let before = before.as_ref().and_then(Metadata::as_targets).and_then(|t| t.delegations.as_ref());
            let is_known = |child: &RoleName| before.is_some_and(|to| to.role_keys(child).is_some());
            for child in self.children(&metadata)?.into_iter().filter(|child| !is_known(child)) {
                if self.current(&child)?.is_none() && !self.is_still_to_come(&child)? {
                    return Err(without_file(&parent, &child));
                }
            }
        }
        Ok(())
    }

    /// What to do about a role that does not meet a threshold; an edit that was cut off may have left it behind.
    fn how_to_complete(&self, role: &RoleName) -> Result<String, Failure> {
        Ok(if self.authorities(role)?.is_empty() {
            let file = Path::new(layout::STAGED).join(layout::staged_name(role));
            format!("nobody delegates to it: add the delegation again, or remove {}", typed_path(&file))
        } else if self.staged(role)?.is_none() {
            format!(
                "stage it anew with the keys that it has now: tufctl bump DIR {}",
                word::last(role.as_str())
            )
        } else {
            "sign it: tufctl sign DIR".to_owned()
        })
    }

    /// Refuses to put anything in the place of what is newer, or other content under the same version: clients would refuse
    /// it. So it is when a folder was brought up to date from elsewhere while a publication waited to be finished.
    pub(crate) fn check_goes_on(&self, roles: &[RoleName]) -> Result<(), Failure> {
        for role in roles {
            let Some((staged, published)) = self.overtaken(role)? else { continue };
            let (here, new) = (published.version(), staged.version());
            return Err(Failure::new(
                reason::WATERMARK,
                format!(
                    "{role} version {new} is staged, and others have published version {here} with other content, which it \
                     would undo"
                ),
            )
            .remedy(format!(
                "see what it would change: tufctl diff DIR; go on from what is published: tufctl bump DIR {}, which \
                 gives up what is staged of {role}; then make your own change again and sign it: tufctl sign DIR",
                word::before(role.as_str(), "--yes")
            ))
            .detail("role", role.as_str())
            .detail("version", new.get()));
        }
        Ok(())
    }

    /// Refuses to sign what would leave a delegated role without its signatures, which it had by what a reset has thrown away.
    ///
    /// # Errors
    /// `THRESHOLD_MISSING`.
    pub(crate) fn check_delegates_after_reset(&self, roles: &[RoleName]) -> Result<(), Failure> {
        for parent in roles {
            let Some(child) = self.orphaned_by_reset(parent)?.into_iter().next() else { continue };
            if self.staged(&child)?.is_some() {
                continue;
            }
            let published = self.published(&child)?.map_or(0, |file| file.version().get());
            return Err(Failure::new(
                reason::THRESHOLD_MISSING,
                format!(
                    "{parent} was put back behind a change of its delegation to {child}: the keys that it names again have not signed {child} version {published}, so clients would find nothing in it"
                ),
            )
            .remedy(format!(
                "change the delegation again as it was (tufctl delegation edit DIR {}), or renew the role with the keys that {parent} names: tufctl bump DIR {}",
                word::before(child.as_str(), "--add-key KEY --remove-key KEY"),
                word::last(child.as_str())
            ))
            .detail("role", child.as_str()));
        }
        Ok(())
    }

    /// What is staged of a role, and what is published of it, where that is newer or other content under the same version.
    pub(crate) fn overtaken(&self, role: &RoleName) -> Result<Option<(Metadata, Metadata)>, Failure> {
        let Some((staged, published)) = self.staged(role)?.zip(self.published(role)?) else {
            return Ok(None);
        };
        let same = published.version() == staged.version() && published.digest() == staged.digest();
        let is_next = published.version() < staged.version();
        Ok((!is_next && !same).then_some((staged, published)))
    }

    /// Whether a role is delegated to already, and neither has metadata nor is listed: clients do without it now, too.
    fn is_still_to_come(&self, role: &RoleName) -> Result<bool, Failure> {
        let snapshot = self.published(&RoleKind::Snapshot.role())?;
        let listed =
            snapshot.as_ref().and_then(Metadata::as_snapshot).is_none_or(|s| s.meta.contains_key(role));
        if listed || role.is_top_level() || self.current(role)?.is_some() {
            return Ok(false);
        }
        for parent in self.published_targets_roles()? {
            let parent = self.published(&parent)?;
            let delegations =
                parent.as_ref().and_then(Metadata::as_targets).and_then(|t| t.delegations.as_ref());
            if delegations.is_some_and(|delegations| delegations.role_keys(role).is_some()) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether files renamed one after the other would show clients a mixture that they refuse: without consistent
    /// snapshots, or when a root takes keys from roles whose new files come after it.
    pub(super) fn must_swap(&self) -> Result<bool, Failure> {
        let role = RoleKind::Root.role();
        let (published, staged) = (self.published(&role)?, self.staged(&role)?);
        let Some(before) = published.as_ref().and_then(Metadata::as_root) else { return Ok(false) };
        let Some(after) = staged.as_ref().and_then(Metadata::as_root) else {
            return Ok(!before.consistent_snapshot);
        };
        let online = [RoleKind::Timestamp, RoleKind::Snapshot, RoleKind::Targets];
        let keys_change = online.iter().any(|kind| before.role(*kind) != after.role(*kind));
        Ok(keys_change || !before.consistent_snapshot || !after.consistent_snapshot)
    }

    /// Writes all files in their order; `settled` where it is durable that their folder is there.
    pub(super) fn publish_in_order(
        &self,
        staged: &[(RoleName, Metadata)],
        settled: bool,
    ) -> Result<(), Failure> {
        let repository = Folder::of_repository(&self.dir)?;
        let folder = repository.make(Path::new(layout::METADATA))?;
        if !settled {
            repository.sync()?;
        }
        for (role, metadata) in staged {
            // What the timestamp leads to is durable before clients see it.
            if role.kind() == RoleKind::Timestamp {
                folder.sync()?;
            }
            self.write_published(&folder, role, metadata)?;
        }
        self.renew_plain_root(&folder)?;
        folder.sync()
    }

    /// Without consistent snapshots some read `root.json`: one that others have left behind becomes the newest root.
    pub(super) fn renew_plain_root(&self, folder: &Folder) -> Result<(), Failure> {
        let role = RoleKind::Root.role();
        let name = layout::plain_name(&role);
        if self.consistent_snapshot()? || folder.about(name.as_ref())?.is_none() {
            return Ok(());
        }
        let Some(newest) = self.current(&role)? else { return Ok(()) };
        let there = files::read(&folder.path_of(name.as_ref()), MOST_BYTES).ok().flatten();
        if there.is_some_and(|there| *there == **newest.bytes()) {
            return Ok(());
        }
        folder.write(name.as_ref(), newest.bytes())
    }

    /// Writes one published file, and beside it the names that repositories without consistent snapshots have.
    pub(super) fn write_published(
        &self,
        folder: &Folder,
        role: &RoleName,
        metadata: &Metadata,
    ) -> Result<(), Failure> {
        let consistent = self.consistent_snapshot()?;
        let (encoded, served) = self.spellings(role)?;
        let name = layout::file_name(role, metadata.version(), consistent);
        let is_flushed = self.flushed.contains(role);
        let is_adopted = encoded && (is_flushed || metadata.bytes().len() >= LARGE) && {
            let staged = Folder::of_repository(&self.dir)?.open(Path::new(layout::STAGED))?;
            let here = layout::staged_name(role);
            folder.adopt(&staged, here.as_ref(), name.as_ref(), metadata.bytes(), is_flushed)?
        };
        if encoded && !is_adopted {
            folder.write(name.as_ref(), metadata.bytes())?;
        }
        let name = layout::served_name(role, metadata.version(), consistent).map(PathBuf::from);
        if let Some((above, name)) =
            name.filter(|_| served).as_deref().and_then(|n| n.parent().zip(n.file_name()))
        {
            let folder = folder.make(above)?;
            folder.write(name, metadata.bytes())?;
            folder.sync()?;
        }
        if role.kind() == RoleKind::Root && !consistent {
            folder.write(layout::plain_name(role).as_ref(), metadata.bytes())?;
        }
        Ok(())
    }

    /// Under which names a role is published whose name needs encoding: encoded, and as it stands. Those that the last
    /// version has; what its clients ask for depends on how the repository is served.
    fn spellings(&self, role: &RoleName) -> Result<(bool, bool), Failure> {
        if layout::served_name(role, Version::FIRST, true).is_none() {
            return Ok((true, false));
        }
        let Some(published) = self.published(role)? else { return Ok((true, false)) };
        let (version, consistent) = (published.version(), self.published_consistently()?);
        let there = |name: &String| self.metadata_folder().join(name).exists();
        let served = layout::served_name(role, version, consistent).is_some_and(|name| there(&name));
        Ok((!served || there(&layout::file_name(role, version, consistent)), served))
    }
}

fn without_file(parent: &RoleName, role: &RoleName) -> Failure {
    let file = Path::new(layout::STAGED).join(layout::staged_name(role));
    let named = word::before(role.as_str(), &word::option("--parent", parent.as_str()));
    Failure::new(
        reason::THRESHOLD_MISSING,
        format!("{parent} delegates to {role}, which has no file, so {parent} cannot be published"),
    )
    .remedy(format!(
        "whoever holds its keys stages version 1 ({}), or take the delegation out: tufctl delegation remove DIR {named}",
        typed_path(&file)
    ))
    .detail("role", role.as_str())
    .detail("parent", parent.as_str())
}

/// Whether a delegated role has the same keys and threshold by both versions of its parent: then what is published of
/// it holds as it did. Of many bins none is read.
fn same_keys(before: Option<&Metadata>, after: &Metadata, child: &RoleName) -> bool {
    let by = RoleKind::Targets.role();
    let authority = |parent: &Metadata| Authority::of_parent(&by, parent, child);
    before.and_then(authority).zip(authority(after)).is_some_and(|(before, after)| before == after)
}

/// From this size on, bytes, the staged file itself is published, not a copy of it; so is one that this run has flushed.
const LARGE: usize = 1 << 20;
