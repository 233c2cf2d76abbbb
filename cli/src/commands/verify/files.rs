//! Every target that a role lists, where clients look for it.

use std::borrow::Cow;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use tuf::json::Value;
use tuf::metadata::{Hashes, Metadata, TargetFile, Targets};
use tuf::role::RoleName;
use tuf::trust::TrustedSet;

use super::Check;
use super::refusal::{refused, unusable};
use crate::error::Failure;
use crate::render::{Progress, count};
use crate::workspace::{hash_within, target_places};

/// What target files were seen.
#[derive(Debug, Default)]
pub(super) struct Files {
    /// Targets listed.
    pub(super) number: u64,
    /// Bytes of them.
    pub(super) bytes: u64,
    /// Nested targets that have a second name for tough, and those that have none.
    tough: u64,
    without_tough: u64,
}

/// One target of a role.
pub(in crate::commands) struct Target<'t> {
    pub(in crate::commands) role: &'t RoleName,
    pub(in crate::commands) path: &'t str,
    pub(in crate::commands) listed: &'t TargetFile<'t>,
    /// The digest that is listed first, where it is not one that tough asks for.
    pub(in crate::commands) first: Option<&'t str>,
}

impl Target<'_> {
    /// The digests that clients begin the name of the file with: SHA-256 and SHA-512, and the one that is listed first,
    /// which python-tuf and tuf-js take whatever it is.
    pub(in crate::commands) fn asked_for(&self) -> Hashes {
        let first = self.first.map(|digest| (String::new(), digest.to_owned()));
        Hashes { other: first.into_iter().collect(), ..self.listed.hashes.clone() }
    }
}

impl Check<'_> {
    /// Looks at all of them.
    ///
    /// # Errors
    /// One is missing, differs or lies elsewhere (5.7.2), or has a name that leads out of `targets/` (4.5).
    pub(super) fn target_files(&self, set: &TrustedSet) -> Result<Files, Failure> {
        let consistent = self.consistent(set);
        let listed = set.all_targets().flat_map(|(_, m)| m.as_targets()).flat_map(|t| t.targets());
        let total = listed.fold(0_u64, |sum, (_, file)| sum.saturating_add(file.length));
        let mut files = Files::default();
        let mut progress = Progress::new(self.context.screen, "verifying");
        for (role, metadata) in set.all_targets() {
            let targets = metadata.as_targets().into_iter();
            for (path, listed, first) in targets.flat_map(entries) {
                let target = Target { role, path: &path, listed: &listed, first: first.as_deref() };
                self.target_file(&target, consistent, &mut |more| {
                    files.bytes = files.bytes.saturating_add(more);
                    progress.update(files.bytes, total);
                })?;
                files.number = files.number.saturating_add(1);
                if consistent && path.contains('/') {
                    let found = self.tough_copies(&target)?;
                    let counter = if found { &mut files.tough } else { &mut files.without_tough };
                    *counter = counter.saturating_add(1);
                }
            }
        }
        if files.tough > 0 && files.without_tough > 0 {
            let without = count(files.without_tough, "nested target");
            self.context
                .screen
                .warn(format!("{without} without the second name that tough asks for, HASH.FOLDER/NAME"));
        }
        Ok(files)
    }

    /// Looks at one of them.
    ///
    /// # Errors
    /// As [`Check::target_files`].
    pub(in crate::commands) fn target_file(
        &self,
        target: &Target<'_>,
        consistent: bool,
        tick: &mut dyn FnMut(u64),
    ) -> Result<(), Failure> {
        let (role, path) = (target.role, target.path);
        if !tuf::target::stays_inside(path) {
            let why = format!("{role}: target {path:?} would leave the folder of targets");
            return Err(refused(role, path, "4.5", why).detail("path", path));
        }
        if !target.listed.hashes.is_understood() {
            let why = format!("{role}: target {path} has no digest that can be checked and counts");
            return Err(refused(role, path, "5.7.2", why).detail("path", path));
        }
        let places = target_places(path, &target.asked_for(), consistent, false);
        if places.is_empty() {
            let why = format!("{role}: target {path} has no digest that can begin the name of its file");
            return Err(refused(role, path, "6.2.2", why).detail("path", path));
        }
        for (index, place) in places.iter().enumerate() {
            let silent = &mut |_| {};
            self.same_file(target, place, if index == 0 { &mut *tick } else { silent })?;
        }
        Ok(())
    }

    /// Whether a nested target has its second names, which must be the same file then. Nothing in the metadata says
    /// that a publisher writes them; an empty folder in their place says that they were there.
    fn tough_copies(&self, target: &Target<'_>) -> Result<bool, Failure> {
        let hashes = understood(target.listed);
        let first = target_places(target.path, &hashes, true, false);
        let all = target_places(target.path, &hashes, true, true);
        let inode = |place: &Path| {
            let about = std::fs::symlink_metadata(self.dir.join("targets").join(place)).ok()?;
            Some((about.dev(), about.ino()))
        };
        let checked: Vec<_> = first.iter().filter_map(|place| inode(place)).collect();
        let mut found = false;
        for place in all.iter().skip(first.len()) {
            let folder = self.dir.join("targets").join(place.parent().unwrap_or(place));
            let emptied = || std::fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_none());
            match inode(place) {
                Some(inode) if checked.contains(&inode) => found = true,
                None if !emptied() => {}
                _ => {
                    self.same_file(target, place, &mut |_| {})?;
                    found = true;
                }
            }
        }
        Ok(found)
    }

    /// The file at one place below `targets/` must be what is listed.
    fn same_file(&self, target: &Target<'_>, place: &Path, tick: &mut dyn FnMut(u64)) -> Result<(), Failure> {
        let below = Path::new("targets").join(place);
        let full = self.dir.join(&below);
        let problem = match hash_within(self.dir, &below, &target.listed.hashes.algorithms(), tick) {
            Ok(found) => differs(target.listed, &found),
            Err(e) => Some(unusable(&full, &e).ok_or_else(|| Failure::io("read", &full, &e))?),
        };
        let Some(problem) = problem else { return Ok(()) };
        let (file, path) = (format!("targets/{}", place.display()), target.path);
        let why = format!("{}: the file of target {path} {problem}", target.role);
        Err(refused(target.role, &file, "5.7.2", why).detail("path", path))
    }
}

/// What a role lists: path, entry, and the digest that stands first if it is none of the usual ones.
pub(in crate::commands) fn entries(
    targets: &Targets,
) -> impl Iterator<Item = (Cow<'_, str>, TargetFile<'_>, Option<String>)> {
    // All were read before, so that none is missing in either walk.
    targets.targets().zip(targets.value().members()).map(|((path, listed), (_, entry))| {
        let first = first_other(&listed, entry);
        (path, listed, first)
    })
}

/// The digest that is listed first, if it is neither a SHA-256 nor a SHA-512 and can be a part of a file's name.
fn first_other(listed: &TargetFile<'_>, entry: Value<'_>) -> Option<String> {
    if listed.hashes.other.is_empty() {
        return None;
    }
    let (name, digest) = entry.get("hashes")?.members().next()?;
    let (name, digest) = (name.as_str()?, digest.as_str()?);
    let other = !matches!(&*name, "sha256" | "sha512");
    (other && digest.bytes().all(|byte| byte.is_ascii_hexdigit())).then(|| digest.into_owned())
}

/// Digests that every client knows.
fn understood(listed: &TargetFile<'_>) -> Hashes {
    Hashes { other: Vec::new(), ..listed.hashes.clone() }
}

fn differs(listed: &TargetFile<'_>, found: &TargetFile<'_>) -> Option<String> {
    if listed.length != found.length {
        return Some(format!("has {} bytes, not {}", found.length, listed.length));
    }
    let conflicts = listed.hashes.conflicts(&found.hashes);
    conflicts.first().map(|algorithm| format!("has another {algorithm} than is listed"))
}

/// How many targets roles list that were not looked at.
pub(super) fn listed(set: &TrustedSet) -> u64 {
    let roles = set.all_targets().filter_map(|(_, metadata): (_, &Metadata)| metadata.as_targets());
    roles.fold(0, |sum, targets| sum.saturating_add(u64::try_from(targets.len()).unwrap_or(u64::MAX)))
}
