//! Half-signed roots of others: where their tools leave them, and how they come to `staged/root.json`.
//!
//! tuf-on-ci and python-tuf people leave `metadata/root.json` in a git working tree, tuftool people an unversioned file
//! somewhere or `N.root.json` beside the published ones, and by that versioned name it is copied into `staged/`. What is
//! signed and the signatures of others stay as they are to the byte; nothing is signed here that was not shown.

use std::path::{Path, PathBuf};

use tuf::metadata::{Limits, Metadata};
use tuf::role::{RoleKind, RoleName, Version};
use tuf::trust::{TrustError, TrustFault};
use tuf::verify::{ThresholdReport, check_signatures};

use super::authority::Authority;
use super::read::{MOST_BYTES, invalid, parse};
use super::staged::together;
use super::{SignatureState, Workspace, files, layout};
use crate::error::{Failure, reason};

/// A root that lies among the published ones and waits for signatures.
#[derive(Debug, Clone)]
pub(crate) struct Waiting {
    pub(crate) root: Metadata,
    /// Its versioned file, which clients stumble over; an unversioned one is read by none of them and stays.
    versioned: Option<PathBuf>,
}

impl Workspace {
    /// Takes the root that follows the published one on from a colleague's copy, if none is staged here: in memory, until
    /// [`Self::write_merged`]. Gives whether there was one.
    ///
    /// # Errors
    /// `METADATA_INVALID` for one that cannot be read, `REPOSITORY_INVALID` for a file with a root further on.
    pub(crate) fn take_root(&mut self, other: &Path) -> Result<bool, Failure> {
        let role = RoleKind::Root.role();
        let Some(published) = self.published(&role)?.filter(|_| !self.is_staged(&role)) else {
            return Ok(false);
        };
        let last = published.version();
        let found = if other.is_file() {
            Self::root_in(other)?.filter(|root| root.version() > last)
        } else {
            self.root_of_copy(other, &published)?
        };
        let Some(root) = found else { return Ok(false) };
        if Some(root.version()) != last.next() {
            return Err(Failure::new(
                reason::REPOSITORY_INVALID,
                format!(
                    "{} holds root v{}, and after the published v{last} comes v{}",
                    other.display(),
                    root.version(),
                    last.get().saturating_add(1)
                ),
            )
            .remedy("take the newest published copy of the repository first, with every root in between")
            .detail("role", role.as_str())
            .detail("version", root.version().get()));
        }
        self.hold(&role, root.bytes().to_vec())?;
        self.forget_tree();
        Ok(true)
    }

    /// The next root in a folder: staged, in a `staged/` by itself, or beside published files and half-signed. One that is
    /// published there came with more, which is merged in no piece.
    fn root_of_copy(&self, other: &Path, published: &Metadata) -> Result<Option<Metadata>, Failure> {
        let Some(next) = published.version().next() else { return Ok(None) };
        let plain = layout::plain_name(&RoleKind::Root.role());
        for folder in [other.join(layout::STAGED), other.to_owned()] {
            let path = match loose_root(&folder)? {
                Some(loose) => loose,
                None => folder.join(&plain),
            };
            if let Some(root) = Self::root_in(&path)?.filter(|root| root.version() == next) {
                return Ok(Some(root));
            }
        }
        let metadata = other.join(layout::METADATA);
        let is_tree = super::published_roots(&metadata)?.is_empty();
        for name in [layout::file_name(&RoleKind::Root.role(), next, true), plain] {
            let Some(root) = Self::root_in(&metadata.join(name))?.filter(|root| root.version() == next)
            else {
                continue;
            };
            if is_tree || !is_complete(published, &root) {
                return Ok(Some(root));
            }
        }
        Ok(None)
    }

    /// The root in a file; `None` when it is other metadata, or no file.
    fn root_in(path: &Path) -> Result<Option<Metadata>, Failure> {
        let Some(bytes) = files::read_any(path, MOST_BYTES)? else { return Ok(None) };
        let role = RoleKind::Root.role();
        let metadata =
            Metadata::parse(bytes, &Limits::agent()).map_err(|e| invalid(&role, path, &e.to_string()))?;
        Ok(Some(metadata).filter(|metadata| metadata.kind() == RoleKind::Root))
    }

    /// The root that follows `trusted`, the newest complete one, and only lacks signatures: `fault` is why its versioned
    /// file is not trusted, if there is one. A signature that does not verify is another matter.
    ///
    /// # Errors
    /// `REPOSITORY_INVALID` when other content is staged already, or lies there under both names.
    pub(crate) fn waiting_root(
        &self,
        trusted: &Metadata,
        fault: Option<&TrustError>,
    ) -> Result<Option<Waiting>, Failure> {
        let role = RoleKind::Root.role();
        let Some(next) = trusted.version().next() else { return Ok(None) };
        let versioned = self.metadata_folder().join(layout::file_name(&role, next, true));
        let plain = self.metadata_folder().join(layout::plain_name(&role));
        let lacks = fault.is_some_and(|fault| matches!(*fault.kind, TrustFault::Threshold { .. }));
        let named = if lacks { Self::root_in(&versioned)? } else { None };
        let named = named.filter(|root| is_clean(trusted, root));
        let loose = match Self::root_in(&plain) {
            Ok(found) => found.filter(|root| root.version() == next && is_clean(trusted, root)),
            // No client reads it: whatever it is, it is in nobody's way.
            Err(_) => None,
        };
        let (root, versioned) = match (named, loose) {
            (None, None) => return Ok(None),
            (None, Some(loose)) if fault.is_none() => (loose, None),
            (None, Some(_)) => return Ok(None),
            (Some(named), Some(loose)) if named.digest() == loose.digest() => {
                (both(&named, &loose, &versioned)?, Some(versioned))
            }
            (Some(_), Some(_)) => return Err(two_roots(&versioned, &plain)),
            (Some(named), None) => (named, Some(versioned)),
        };
        match self.staged(&role)? {
            Some(staged) if staged.digest() != root.digest() => {
                Err(two_roots(versioned.as_deref().unwrap_or(&plain), &self.staged_path(&role)))
            }
            Some(staged) => Ok(Some(Waiting { root: both(&staged, &root, &plain)?, versioned })),
            None => Ok(Some(Waiting { root, versioned })),
        }
    }

    /// From now on roots above this version count as not published.
    pub(crate) fn end_chain(&mut self, last: Version) {
        self.last_root = Some(last);
        self.forget();
    }

    /// Brings a waiting root to `staged/`, under the repository's name; gives how far its signatures are.
    pub(crate) fn stage_waiting(&mut self, waiting: &Waiting, name: &str) -> Result<SignatureState, Failure> {
        let role = RoleKind::Root.role();
        self.set_name(name)?;
        self.write_staged(&role, waiting.root.bytes().to_vec())?;
        if let Some(file) = &waiting.versioned {
            files::remove(file)?;
            files::sync_folder(&self.metadata_folder())?;
        }
        self.signatures(&role)
    }

    fn is_staged(&self, role: &RoleName) -> bool {
        self.staged_path(role).exists()
    }
}

/// A root in `staged/` that others have called `N.root.json`; `None` where there is a `root.json`. A delegated role may
/// have such a name too, so what it holds decides.
///
/// # Errors
/// `REPOSITORY_INVALID` when there is more than one.
pub(super) fn loose_root(staged: &Path) -> Result<Option<PathBuf>, Failure> {
    if staged.join(layout::plain_name(&RoleKind::Root.role())).exists() {
        return Ok(None);
    }
    let mut found: Option<PathBuf> = None;
    for version in super::published_roots(staged)? {
        let path = staged.join(layout::file_name(&RoleKind::Root.role(), version, true));
        let Some(bytes) = files::read(&path, MOST_BYTES)? else { continue };
        // What cannot be read is told of as the role that its name says.
        if !Metadata::parse(bytes, &Limits::agent()).is_ok_and(|metadata| metadata.kind() == RoleKind::Root) {
            continue;
        }
        if let Some(other) = found.replace(path) {
            return Err(two_roots(
                &other,
                &staged.join(layout::file_name(&RoleKind::Root.role(), version, true)),
            ));
        }
    }
    Ok(found)
}

/// Gives a root that others have staged under a versioned name the name that it has here.
pub(super) fn name_root(staged: &Path) -> Result<(), Failure> {
    match loose_root(staged)? {
        Some(loose) => files::rename(&loose, &staged.join(layout::plain_name(&RoleKind::Root.role()))),
        None => Ok(()),
    }
}

/// Whether a root has its thresholds, by the root before and by itself (specification 5.3.4).
fn is_complete(before: &Metadata, root: &Metadata) -> bool {
    reports(before, root).iter().all(ThresholdReport::met)
}

fn reports(before: &Metadata, root: &Metadata) -> Vec<ThresholdReport> {
    let both = [before, root].into_iter().filter_map(|by| Authority::of_root(by, RoleKind::Root));
    both.map(|by| check_signatures(root, &by.keys, &by.role)).collect()
}

/// Whether every signature that is there is a good one: it lacks some, and nobody has changed it.
fn is_clean(before: &Metadata, root: &Metadata) -> bool {
    reports(before, root).iter().all(|report| report.invalid.is_empty())
}

/// One content with the signatures of two files.
fn both(one: &Metadata, other: &Metadata, path: &Path) -> Result<Metadata, Failure> {
    let signed = |metadata: &Metadata| -> Vec<_> {
        metadata.signatures().iter().filter(|entry| !entry.sig.is_empty()).cloned().collect()
    };
    let has = signed(one);
    let new: Vec<_> =
        signed(other).into_iter().filter(|entry| has.iter().all(|own| own.keyid != entry.keyid)).collect();
    let role = RoleKind::Root.role();
    let bytes = one.with_signatures(&together(one.signatures(), &new));
    parse(&role, path, bytes)
}

fn two_roots(one: &Path, other: &Path) -> Failure {
    let (one, other) = (one.display(), other.display());
    Failure::new(reason::REPOSITORY_INVALID, format!("{one} and {other} are both the next root"))
        .remedy("agree on one of them, take the other away, and run this again")
        .detail("role", RoleKind::Root.name())
        .detail("file", one.to_string())
}
