//! What is published: followed from `timestamp.json`, as a client does.

use std::collections::{BTreeSet, HashMap};

use tuf::metadata::{Limits, Metadata};
use tuf::role::{RoleKind, RoleName, Version};

use super::past::Found;
use super::{Workspace, files, layout};
use crate::error::{Failure, reason};
use crate::render::typed_path;

impl Workspace {
    /// The newest published metadata of a role: the highest root, what `timestamp.json` leads to of all others.
    pub(crate) fn published(&self, role: &RoleName) -> Result<Option<Metadata>, Failure> {
        if let Some(known) = self.published.borrow().get(role) {
            return Ok(known.clone());
        }
        let found = self.find_published(role)?;
        self.published.borrow_mut().insert(role.clone(), found.clone());
        Ok(found)
    }

    /// The published root of one version.
    pub(crate) fn published_root(&self, version: Version) -> Result<Option<Metadata>, Failure> {
        let role = RoleKind::Root.role();
        let newest = self.published.borrow().get(&role).cloned().flatten();
        match newest.filter(|newest| newest.version() == version) {
            Some(newest) => Ok(Some(newest)),
            None => self.read_metadata(&role, &layout::file_name(&role, version, true)),
        }
    }

    /// Versions of all published roots, rising.
    pub(crate) fn root_versions(&self) -> Result<Vec<Version>, Failure> {
        let mut versions = published_roots(&self.metadata_folder())?;
        versions.retain(|version| self.last_root.is_none_or(|last| *version <= last));
        Ok(versions)
    }

    /// The published roots that can be read, rising, up to the newest one: where an old root is not what the
    /// specification of today calls a root (repositories older than it have such), the chain begins after it.
    ///
    /// # Errors
    /// The newest one cannot be read, or a file of them not at all.
    pub(crate) fn published_chain(&self) -> Result<Vec<Metadata>, Failure> {
        let mut chain = Vec::new();
        for version in self.root_versions()?.into_iter().rev() {
            match self.published_root(version) {
                Ok(root) => chain.extend(root),
                Err(failure) if failure.reason() == reason::METADATA_INVALID && !chain.is_empty() => break,
                Err(failure) => return Err(failure),
            }
        }
        chain.reverse();
        Ok(chain)
    }

    /// SHA-256 (lowercase hex, of the canonical `signed` part) of every published root: the repository's identity.
    pub(crate) fn root_digests(&self) -> Result<Vec<String>, Failure> {
        Ok(self.published_chain()?.iter().map(|root| root.digest().to_string()).collect())
    }

    /// All that is published: every root rising, targets, delegated roles (parents first), snapshot, timestamp.
    pub(crate) fn published_all(&self) -> Result<Vec<(RoleName, Metadata)>, Failure> {
        let roots = self.published_chain()?;
        let mut all: Vec<_> = roots.into_iter().map(|root| (RoleKind::Root.role(), root)).collect();
        for role in self.published_targets_roles()? {
            all.extend(self.published(&role)?.map(|metadata| (role, metadata)));
        }
        for kind in [RoleKind::Snapshot, RoleKind::Timestamp] {
            all.extend(self.published(&kind.role())?.map(|metadata| (kind.role(), metadata)));
        }
        Ok(all)
    }

    /// What is published that the staged roles go on from, in the same order: roots, the published files of those roles and
    /// of whoever delegates to them, snapshot and timestamp; but for those of which is known that the agent has verified them.
    /// The snapshot stands by itself as well.
    pub(crate) fn published_for_staged(&self) -> Result<ForStaged, Failure> {
        let top = RoleKind::Targets.role();
        let mut wanted: BTreeSet<RoleName> = [top].into_iter().chain(self.staged_roles()?).collect();
        wanted.extend(self.published_delegating(false)?.iter().cloned());
        let mut files = Vec::new();
        // Whose newest root the agent has, of that it has the others too.
        let roots = if self.is_recalled() { Vec::new() } else { self.root_versions()? };
        for version in roots {
            files.extend(self.published_root(version)?.map(|root| (RoleKind::Root.role(), root)));
        }
        // Parents first: the others of these are bins, or below one.
        let first = self.published_delegating(false)?;
        let rest = wanted.iter().filter(|role| role.kind() == RoleKind::Targets && !first.contains(role));
        for role in first.iter().chain(rest) {
            files.extend(self.published(role)?.map(|metadata| (role.clone(), metadata)));
        }
        for kind in [RoleKind::Snapshot, RoleKind::Timestamp] {
            files.extend(self.published(&kind.role())?.map(|metadata| (kind.role(), metadata)));
        }
        let files = self.not_recalled(files);
        Ok(ForStaged { snapshot: self.published(&RoleKind::Snapshot.role())?, files })
    }

    /// Published targets roles, parents first, that the published snapshot lists above these versions.
    pub(crate) fn published_beyond(
        &self,
        verified: &HashMap<String, u64>,
    ) -> Result<Vec<(RoleName, Metadata)>, Failure> {
        let snapshot = self.published(&RoleKind::Snapshot.role())?;
        let entries = snapshot.as_ref().and_then(Metadata::as_snapshot).map(|listing| &listing.meta);
        let seen = |role: &RoleName| verified.get(role.as_str()).copied().unwrap_or(0);
        let mut beyond: BTreeSet<&RoleName> = BTreeSet::new();
        for (role, entry) in entries.into_iter().flatten() {
            if role.kind() == RoleKind::Targets && seen(role) < entry.version.get() {
                beyond.insert(role);
            }
        }
        if beyond.is_empty() {
            return Ok(Vec::new());
        }
        let mut files = Vec::new();
        for role in self.published_targets_roles()?.into_iter().filter(|role| beyond.contains(role)) {
            files.extend(self.published(&role)?.map(|metadata| (role, metadata)));
        }
        Ok(files)
    }

    /// All published targets roles that delegate.
    pub(crate) fn published_parents_of_all(&self) -> Result<Vec<Metadata>, Failure> {
        let roles = self.published_delegating(true)?;
        let found = roles.iter().map(|role| self.published(role));
        found.filter_map(Result::transpose).collect()
    }

    /// The name of a published file of a role to which nothing leads, if there is one.
    pub(crate) fn leftover(&self, role: &RoleName) -> Result<Option<String>, Failure> {
        let folder = self.metadata_folder();
        let newest = numbered(&folder, &|name| layout::version_of(role, name))?.pop();
        let plain = layout::plain_name(role);
        let is_plain = || folder.join(&plain).symlink_metadata().is_ok();
        Ok(newest
            .map(|version| layout::file_name(role, version, true))
            .or_else(|| is_plain().then_some(plain.clone())))
    }

    /// Whether files are published under versioned and hashed names, by the newest root.
    pub(crate) fn consistent_snapshot(&self) -> Result<bool, Failure> {
        let root = self.current(&RoleKind::Root.role())?;
        Ok(root.as_ref().and_then(Metadata::as_root).is_none_or(|root| root.consistent_snapshot))
    }

    /// Whether what is published has versioned and hashed names, by the newest published root.
    pub(super) fn published_consistently(&self) -> Result<bool, Failure> {
        let root = self.published(&RoleKind::Root.role())?;
        Ok(root.as_ref().and_then(Metadata::as_root).is_none_or(|root| root.consistent_snapshot))
    }

    fn find_published(&self, role: &RoleName) -> Result<Option<Metadata>, Failure> {
        let timestamp = RoleKind::Timestamp.role();
        match role.kind() {
            RoleKind::Root => match self.root_versions()?.last() {
                Some(newest) => self.published_root(*newest),
                None => Ok(None),
            },
            RoleKind::Timestamp => Ok(self.read_unless_void(role, &layout::plain_name(role))?.file()),
            RoleKind::Snapshot => match self.read_unless_void(&timestamp, &layout::plain_name(&timestamp))? {
                Found::Void => self.newest_left(role),
                Found::Absent => Ok(None),
                Found::File(file) => {
                    let listed = file.as_timestamp().map(|timestamp| timestamp.snapshot.version);
                    self.read_listed(role, listed)
                }
            },
            RoleKind::Targets => {
                let snapshot = self.published(&RoleKind::Snapshot.role())?;
                let is_left = self.is_cut()? || (snapshot.is_none() && self.past.borrow().is_reset());
                if is_left && let Some(left) = self.newest_left(role)? {
                    return Ok(Some(left));
                }
                let Some(snapshot) = snapshot else { return Ok(None) };
                let listed = snapshot.as_snapshot().and_then(|s| s.meta.get(role)).map(|file| file.version);
                self.read_listed(role, listed)
            }
        }
    }

    fn read_listed(&self, role: &RoleName, listed: Option<Version>) -> Result<Option<Metadata>, Failure> {
        let Some(version) = listed else { return Ok(None) };
        let consistent = self.published_consistently()?;
        let mut found = Found::Absent;
        for name in layout::published_names(role, version, consistent) {
            found = self.read_unless_void(role, &name)?;
            if !matches!(found, Found::Absent) {
                break;
            }
        }
        match found {
            Found::Void => self.newest_left(role),
            found => Ok(found.file()),
        }
    }

    pub(super) fn read_metadata(&self, role: &RoleName, name: &str) -> Result<Option<Metadata>, Failure> {
        let path = self.metadata_folder().join(name);
        files::read(&path, MOST_BYTES)?.map(|bytes| parse(role, &path, bytes)).transpose()
    }
}

/// See [`Workspace::published_for_staged`].
pub(crate) struct ForStaged {
    pub(crate) snapshot: Option<Metadata>,
    pub(crate) files: Vec<(RoleName, Metadata)>,
}

/// Versions of all `N.root.json` in a folder, rising.
pub(crate) fn published_roots(folder: &std::path::Path) -> Result<Vec<Version>, Failure> {
    numbered(folder, &layout::root_version)
}

/// The versions in the names of a folder's files, rising.
pub(super) fn numbered(
    folder: &std::path::Path,
    version: &dyn Fn(&str) -> Option<Version>,
) -> Result<Vec<Version>, Failure> {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(Failure::io("read", folder, &e)),
    };
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let mut versions: Vec<Version> = names.filter_map(|name| version(&name)).collect();
    versions.sort_unstable();
    Ok(versions)
}

impl Workspace {
    /// What is staged can be made again, unless a publication that was cut off needs it.
    pub(super) fn damaged(&self, role: &RoleName, path: &std::path::Path, failure: Failure) -> Failure {
        let is_unreadable = [reason::METADATA_INVALID, reason::LIMIT].contains(&failure.reason());
        let bytes = files::read(path, MOST_BYTES).ok().flatten();
        // One of another kind is not damaged: it lies in a wrong place.
        let is_whole = bytes.is_some_and(|bytes| Metadata::parse(bytes, &Limits::agent()).is_ok());
        if !is_unreadable || is_whole || self.interrupted().is_some() {
            return failure;
        }
        let (file, dir) = (typed_path(path), typed_path(self.dir()));
        let is_published = self.published(role).is_ok_and(|published| published.is_some());
        failure.remedy(match role.kind() {
            RoleKind::Snapshot | RoleKind::Timestamp => {
                format!("nothing that is published rests on it: remove {file}, and it is made anew: tufctl sign {dir}")
            }
            RoleKind::Root if is_published => format!(
                "nothing that is published rests on it: remove {file}, then bring back what was signed of it (tufctl root \
                 restage {dir}), or else make the change again"
            ),
            _ if is_published => format!(
                "nothing that is published rests on it: remove {file} and make the change again"
            ),
            _ => format!(
                "restore the file from a copy; or, as it was never published, remove {dir}/staged and make again what waits \
                 there (a root that was signed comes back with: tufctl root restage {dir})"
            ),
        })
    }
}

/// Reads metadata of a role from the bytes of a file.
pub(super) fn parse(role: &RoleName, path: &std::path::Path, bytes: Vec<u8>) -> Result<Metadata, Failure> {
    let metadata =
        Metadata::parse(bytes, &Limits::agent()).map_err(|e| invalid(role, path, &e.to_string()))?;
    if metadata.kind() == role.kind() {
        return Ok(metadata);
    }
    let why = format!("it is {} metadata where {} metadata belongs", metadata.kind(), role.kind());
    let failure = invalid(role, path, &why);
    let is_versioned =
        path.file_name().and_then(|name| name.to_str()).and_then(layout::root_version).is_some();
    Err(if metadata.kind() == RoleKind::Root && is_versioned {
        failure
            .remedy("the next root is called root.json in staged/: keep one file of it there, by that name")
    } else {
        failure
    })
}

pub(super) fn invalid(role: &RoleName, path: &std::path::Path, why: &str) -> Failure {
    // Where the specification says what such a file holds.
    let spec = match role.kind() {
        RoleKind::Root => "4.3",
        RoleKind::Snapshot => "4.4",
        RoleKind::Targets => "4.5",
        RoleKind::Timestamp => "4.6",
    };
    Failure::new(reason::METADATA_INVALID, format!("{}: {why} (specification {spec})", path.display()))
        .remedy("restore the file from a copy, or look with: tufctl verify DIR --root ROOT.json")
        .detail("role", role.as_str())
        .detail("file", path.display().to_string())
        .detail("spec", spec)
}

/// No metadata that we read is larger.
pub(super) const MOST_BYTES: u64 = 64 << 20;
