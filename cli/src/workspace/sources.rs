//! Files of targets: hashed, and checked against what was added.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use tuf::digest::OtherHasher;
use tuf::metadata::{Algorithms, Metadata, TargetFile};
use tuf::role::RoleName;
use tuf::target::{TargetPath, stays_inside};
use tuf::word;

use super::beneath::Folder;
use super::within::open_within;
use super::{Workspace, carried, layout};
use crate::error::{Failure, reason};
use crate::reading;
use crate::render::typed_path;

/// Told in a sentence of what a person should know.
pub(crate) type Notice<'n> = &'n mut dyn FnMut(&str);

/// Told how many bytes are done, and of how many.
pub(crate) type Progress<'p> = &'p mut dyn FnMut(u64, u64);

/// A target that a publication brings, and the file that it comes from, if one was named.
pub(super) struct Incoming {
    pub(super) role: RoleName,
    pub(super) path: String,
    pub(super) target: TargetFile<'static>,
    pub(super) source: Option<PathBuf>,
}

impl Workspace {
    /// Compares every source of an added target with what was added. A source that is not on this machine is fine: a
    /// colleague signs.
    ///
    /// # Errors
    /// `TARGET_CHANGED` with `details.path`.
    pub(crate) fn check_sources(&self, progress: Progress<'_>) -> Result<(), Failure> {
        let incoming = self.incoming()?;
        let here = |one: &&Incoming| one.source.as_ref().is_some_and(|source| source.exists());
        let total =
            incoming.iter().filter(here).fold(0_u64, |sum, one| sum.saturating_add(one.target.length));
        let mut done = 0;
        for one in incoming.iter().filter(here) {
            let Some(source) = &one.source else { continue };
            let found = hash_file(source, &one.target.hashes.algorithms(), &mut |more| {
                done += more;
                progress(done, total);
            })?;
            if !matches(&one.target, &found) {
                return Err(changed(one, source));
            }
        }
        Ok(())
    }

    /// Judges the names of targets that are staged and not published. What `target add` refuses is refused as well when
    /// other hands staged it: nobody could fetch it, or it would lie outside the repository.
    ///
    /// # Errors
    /// `TARGET_NAME` with `details.path`; `POLICY` with `details.role` for the name of a role, see
    /// [`Self::check_file_names`].
    pub(crate) fn check_names(&self) -> Result<(), Failure> {
        self.check_file_names()?;
        for (role, path, _) in self.listed_anew()?.iter() {
            let Err(error) = TargetPath::new_for_writing(path) else { continue };
            let published = self.published(role)?;
            let before = published.as_ref().and_then(Metadata::as_targets);
            let is_listed = before.is_some_and(|targets| targets.find(path).is_some());
            // Others have published it under this name: it may get another content.
            if !(is_listed && stays_inside(path)) {
                return Err(bad_name(path, role, &error));
            }
        }
        Ok(())
    }

    /// Whether a publication can bring every target that it lists anew: its file is in `targets/` or where its source lies,
    /// and nothing stands in its way; and whether what is published already can be swapped with the next, where it must.
    ///
    /// # Errors
    /// `TARGET_CHANGED` with `details.path` for the first that is not at hand; `REPOSITORY_INVALID` for a link where a
    /// folder belongs, and for what cannot be published with `metadata/`.
    pub(crate) fn check_presence(&self) -> Result<(), Failure> {
        self.check_folders()?;
        if self.must_swap()? {
            carried::check(&Folder::of_repository(self.dir())?)?;
        }
        let consistent = self.consistent_snapshot()?;
        for one in self.incoming()? {
            let places = layout::target_places(&one.path, &one.target.hashes, consistent, true);
            let Some((place, others)) = places.split_first() else { return Err(gone(&one)) };
            self.check_way(place, others)?;
            let has_source = one.source.as_ref().is_some_and(|source| source.is_file());
            if !has_source && !is_there(self.dir(), place, &one.target)? {
                return Err(gone(&one));
            }
        }
        Ok(())
    }

    /// Targets that the staged roles list and the published ones do not, or not so.
    pub(super) fn incoming(&self) -> Result<Vec<Incoming>, Failure> {
        let mut all: BTreeMap<String, Incoming> = BTreeMap::new();
        for (role, path, target) in self.listed_anew()?.iter().cloned() {
            let source = self.record.files.get(&path).map(|file| file.source.clone());
            all.insert(format!("{path}\0{role}"), Incoming { role, path, target, source });
        }
        Ok(all.into_values().collect())
    }
}

/// Length and digests of a file. Told of every piece.
pub(crate) fn hash_file(
    path: &Path,
    wanted: &Algorithms,
    tick: &mut dyn FnMut(u64),
) -> Result<TargetFile<'static>, Failure> {
    let mut file = reading::open_file(path).map_err(|e| Failure::io("read", path, &e))?;
    hash(&mut file, wanted, tick, |_| Ok(())).map_err(|e| Failure::io("read", path, &e))
}

/// The same of a file below a published folder, which others may write.
pub(crate) fn hash_within(
    dir: &Path,
    below: &Path,
    wanted: &Algorithms,
    tick: &mut dyn FnMut(u64),
) -> std::io::Result<TargetFile<'static>> {
    hash(&mut open_within(dir, below)?, wanted, tick, |_| Ok(()))
}

/// Reads a file to its end: length and digests, and each piece for the caller.
pub(super) fn hash(
    from: &mut impl Read,
    wanted: &Algorithms,
    tick: &mut dyn FnMut(u64),
    mut each: impl FnMut(&[u8]) -> std::io::Result<()>,
) -> std::io::Result<TargetFile<'static>> {
    let mut hasher = wanted.start();
    let mut length = 0_u64;
    let mut buffer = vec![0; PIECE];
    loop {
        let read = from.read(&mut buffer)?;
        let piece = buffer.get(..read).unwrap_or_default();
        if piece.is_empty() {
            break;
        }
        hasher.update(piece);
        each(piece)?;
        let more = u64::try_from(read).unwrap_or(u64::MAX);
        length = length.saturating_add(more);
        tick(more);
    }
    Ok(TargetFile::new(length, hasher.finish()))
}

/// Whether a file is what metadata says, by every digest that is known.
pub(super) fn matches(listed: &TargetFile<'_>, found: &TargetFile<'_>) -> bool {
    let (wanted, have) = (&listed.hashes, &found.hashes);
    let same = |one: &(String, String)| OtherHasher::new(&one.0).is_none() || have.other.contains(one);
    listed.length == found.length
        && wanted.is_understood()
        && wanted.sha256.is_none_or(|digest| have.sha256 == Some(digest))
        && wanted.sha512.is_none_or(|digest| have.sha512 == Some(digest))
        && wanted.other.iter().all(same)
}

/// Whether the right file is at its place already.
fn is_there(dir: &Path, place: &Path, target: &TargetFile<'_>) -> Result<bool, Failure> {
    let below = Path::new("targets").join(place);
    let full = dir.join(&below);
    match std::fs::symlink_metadata(&full) {
        Ok(found) if found.is_file() && found.len() == target.length => {
            let found = hash_within(dir, &below, &target.hashes.algorithms(), &mut |_| {});
            Ok(matches(target, &found.map_err(|e| Failure::io("read", &full, &e))?))
        }
        _ => Ok(false),
    }
}

pub(super) fn gone(one: &Incoming) -> Failure {
    let message = match &one.source {
        Some(source) => {
            format!("the file of target {} is neither in targets/ nor at {}", one.path, source.display())
        }
        None => format!("the file of target {} is not in targets/, and nothing says where it lies", one.path),
    };
    Failure::new(reason::TARGET_CHANGED, message)
        .remedy(format!(
            "put it back or {}; or sign with --no-publish, and publish where the file is",
            add_again(one)
        ))
        .detail("path", one.path.as_str())
}

pub(super) fn outside(path: &str) -> Failure {
    Failure::new(
        reason::TARGET_NAME,
        format!("target {path} would leave the folder of targets (specification 4.5)"),
    )
    .remedy("take it out: tufctl target remove")
    .detail("path", path)
}

fn bad_name(path: &str, role: &RoleName, error: &dyn std::fmt::Display) -> Failure {
    Failure::new(
        reason::TARGET_NAME,
        format!("{error}; {role} was staged with it by hand or by another tool"),
    )
    .remedy(format!(
        "take it out: tufctl target remove DIR {}; and add it under another name",
        word::before(path, &word::option("--role", role.as_str()))
    ))
    .detail("path", path)
    .detail("role", role.as_str())
}

/// How the file of a target is added in place of what was added before.
fn add_again(one: &Incoming) -> String {
    let file = one.source.as_deref().map_or_else(|| "FILE".to_owned(), typed_path);
    let (role, path) = (word::option("--role", one.role.as_str()), word::option("--path", &one.path));
    format!("add it again: tufctl target add DIR {file} {role} {path}")
}

pub(super) fn changed(one: &Incoming, found: &Path) -> Failure {
    let path = one.path.as_str();
    Failure::new(
        reason::TARGET_CHANGED,
        format!("{} is not the file any more that was added as target {path}", found.display()),
    )
    .remedy(add_again(one))
    .detail("path", path)
    .detail("file", found.display().to_string())
}

const PIECE: usize = 1 << 17;
