//! `--state`: what was last trusted, so that nothing goes back behind it (5.3 to 5.6).
//!
//! The folder holds root, timestamp and snapshot as they were, a list of targets roles with version and digest, and a mark
//! with the digest of each of these files. Format 1, which older versions wrote, has no list.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};

use tuf::digest::Sha256Digest;
use tuf::metadata::{Limits, Metadata};
use tuf::role::{RoleKind, RoleName, Version};
use tuf::trust::{Previous, TrustedSet};

use super::refusal::{failure, refused};
use crate::error::{Failure, reason};
use crate::workspace::{lock, make_folder, read_file, write_file};

/// The targets roles that were trusted: version, and digest of what was signed.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Known(BTreeMap<RoleName, (Version, Sha256Digest)>);

impl Known {
    /// A role must not go back, and not say something else under one version.
    ///
    /// # Errors
    /// It does.
    pub(super) fn hold(&self, role: &RoleName, now: &Metadata, file: &str) -> Result<(), Failure> {
        let Some((version, digest)) = self.0.get(role) else { return Ok(()) };
        if now.version() < *version {
            let why = format!(
                "{role}: version {} is lower than version {version}, which was trusted before: a rollback",
                now.version()
            );
            return Err(refused(role, file, "5.5.5", why));
        }
        if now.version() == *version && now.digest() != *digest {
            let why = format!("{role}: version {version} has other content than was trusted before");
            return Err(refused(role, file, "5.6.4", why));
        }
        Ok(())
    }

    fn text(&self) -> String {
        let line = |(role, (version, digest)): (&RoleName, &(Version, Sha256Digest))| {
            // As a JSON string: a name may hold a line break.
            format!("{version} {digest} {}\n", serde_json::Value::from(role.as_str()))
        };
        self.0.iter().map(line).collect()
    }

    /// Reads what [`Known::text`] wrote; `None` for anything else.
    fn parse(bytes: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(bytes).ok()?;
        let line = |line: &str| {
            let (version, rest) = line.split_once(' ')?;
            let (digest, role) = rest.split_once(' ')?;
            let role = RoleName::parse(&serde_json::from_str::<String>(role).ok()?).ok()?;
            Some((role, (Version::new(version.parse().ok()?)?, digest.parse().ok()?)))
        };
        let known = Self(text.split_terminator('\n').map(line).collect::<Option<_>>()?);
        (known.text() == text).then_some(known)
    }
}

/// The folder of what was last trusted; made when absent, written only after a good run.
pub(super) struct State {
    folder: PathBuf,
    /// Two runs at once could put back what the later one has seen.
    _lock: Option<File>,
}

impl State {
    /// Opens a folder of ours, or one that does not exist yet. `dir` is the repository folder.
    ///
    /// # Errors
    /// `USAGE` (exit 2) when it is something else, or a part of what is published; another run uses it.
    pub(super) fn open(folder: &Path, dir: &Path) -> Result<Self, Failure> {
        let refused = |why: &str| {
            Failure::new(reason::USAGE, format!("{} {why}", folder.display()))
                .remedy("name a folder that is absent or empty, or one that an earlier run made")
        };
        let parts = ["metadata", "targets", "staged"].map(|part| whole(&dir.join(part)));
        if parts.iter().any(|part| whole(folder).starts_with(part)) {
            return Err(refused("lies in the repository itself"));
        }
        let marked = folder.join(MARK).is_file();
        let empty = std::fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_none());
        let absent = !folder.exists() && !folder.is_symlink();
        if marked || empty || absent {
            let lock = (!absent).then(|| lock(folder)).transpose()?;
            return Ok(Self { folder: folder.to_owned(), _lock: lock });
        }
        Err(refused("is no state folder of tufctl verify"))
    }

    /// The root that was trusted last, which must be the one that is given if it has its version.
    pub(super) fn root(&self, given: &Metadata) -> Result<Option<Metadata>, Failure> {
        let Some(root) = self.read(RoleKind::Root)? else { return Ok(None) };
        if root.version() == given.version() && root.digest() != given.digest() {
            let file = self.folder.join("root.json").display().to_string();
            let why =
                "root: the one that is given and the one that was trusted before differ under one version";
            return Err(refused(&RoleKind::Root.role(), &file, "5.2", why.to_owned())
                .remedy("find out which is right; a new --state begins anew"));
        }
        Ok(Some(root))
    }

    /// Gives a run what was trusted last, so that it does not fall behind it.
    pub(super) fn remind(&self, set: TrustedSet) -> Result<TrustedSet, Failure> {
        let previous =
            Previous { timestamp: self.read(RoleKind::Timestamp)?, snapshot: self.read(RoleKind::Snapshot)? };
        let name = self.folder.display().to_string();
        set.with_previous(previous).map_err(|e| failure(&e, &name))
    }

    /// The targets roles that were trusted last. Forgotten with timestamp and snapshot once a root has given these two new
    /// keys (5.3.11): versions may begin anew then.
    pub(super) fn targets(&self, set: &TrustedSet) -> Result<Known, Failure> {
        if set.has_previous() { self.known() } else { Ok(Known::default()) }
    }

    fn known(&self) -> Result<Known, Failure> {
        let Some(bytes) = self.bytes(KNOWN)? else { return Ok(Known::default()) };
        let wrong = || damaged(&self.folder.join(KNOWN), "it is no list of roles");
        Known::parse(&bytes).ok_or_else(wrong)
    }

    /// Remembers a good run. The root goes first: what follows is judged by it.
    pub(super) fn write(&self, set: &TrustedSet) -> Result<(), Failure> {
        make_folder(&self.folder)?;
        let mut known = self.targets(set)?;
        known.0.extend(set.all_targets().map(|(role, it)| (role.clone(), (it.version(), it.digest()))));
        let known = known.text();
        let new: Vec<(String, &[u8])> = [Some(set.root()), set.snapshot(), set.timestamp()]
            .into_iter()
            .flatten()
            .map(|metadata| (file_name(metadata.kind()), &**metadata.bytes()))
            .chain([(KNOWN.to_owned(), known.as_bytes())])
            .collect();
        // Of each file what it holds now and what it will: cut off anywhere, one of them is right.
        let mut before = String::new();
        for (name, _) in &new {
            if let Some(bytes) = read_file(&self.folder.join(name), super::MOST_BYTES)? {
                before.push_str(&line(name, &bytes));
            }
        }
        let after: String = new.iter().map(|(name, bytes)| line(name, bytes)).collect();
        let mark = self.folder.join(MARK);
        write_file(&mark, format!("{FORMAT}\n{before}{after}").as_bytes())?;
        for (name, bytes) in new {
            write_file(&self.folder.join(name), bytes)?;
        }
        write_file(&mark, format!("{FORMAT}\n{after}{WHOLE}\n").as_bytes())
    }

    fn read(&self, kind: RoleKind) -> Result<Option<Metadata>, Failure> {
        let name = file_name(kind);
        let parse = |bytes: Vec<u8>| {
            Metadata::parse(bytes, &Limits::agent())
                .map_err(|e| damaged(&self.folder.join(&name), &e.to_string()))
        };
        self.bytes(&name)?.map(parse).transpose()
    }

    /// A file as it was written, or `None` where a run of an older version or one that was cut off wrote none.
    fn bytes(&self, name: &str) -> Result<Option<Vec<u8>>, Failure> {
        let path = self.folder.join(name);
        let mark = self.mark()?;
        let Some(bytes) = read_file(&path, super::MOST_BYTES)? else {
            // Cut off in its first run, it may lack files.
            let wanted = mark.whole && (mark.lists(name).next().is_some() || mark.has(name));
            return if wanted { Err(damaged(&path, "it is gone")) } else { Ok(None) };
        };
        let digest = Sha256Digest::of(&bytes).to_string();
        if !mark.lists(name).any(|listed| *listed == *digest) {
            return Err(damaged(&path, "it is not what was written"));
        }
        Ok(Some(bytes))
    }

    fn mark(&self) -> Result<Mark, Failure> {
        let path = self.folder.join(MARK);
        let Some(bytes) = read_file(&path, super::MOST_BYTES)? else { return Ok(Mark::default()) };
        let text = String::from_utf8(bytes).map_err(|e| damaged(&path, &e.to_string()))?;
        Mark::parse(&text).ok_or_else(|| damaged(&path, "its format is not known"))
    }
}

/// What the mark says.
#[derive(Debug, Default)]
struct Mark {
    /// Whether the run that wrote it came to its end.
    whole: bool,
    /// Whether targets roles were listed.
    with_known: bool,
    /// Names of files, and digests that they may have.
    lines: Vec<(String, String)>,
}

impl Mark {
    fn parse(text: &str) -> Option<Self> {
        let (head, rest) = text.split_once('\n')?;
        let with_known = match head {
            FORMAT => true,
            FORMAT_1 => false,
            _ => return None,
        };
        let (rest, whole) =
            rest.strip_suffix(&format!("{WHOLE}\n")).map_or((rest, false), |rest| (rest, true));
        let line =
            |line: &str| line.split_once(' ').map(|(name, digest)| (name.to_owned(), digest.to_owned()));
        let lines = rest.split_terminator('\n').map(line).collect::<Option<_>>()?;
        Some(Self { whole, with_known, lines })
    }

    fn lists(&self, name: &str) -> impl Iterator<Item = &String> {
        self.lines.iter().filter(move |(file, _)| file == name).map(|(_, digest)| digest)
    }

    /// Whether a whole run writes the file.
    fn has(&self, name: &str) -> bool {
        self.with_known || name != KNOWN
    }
}

fn file_name(kind: RoleKind) -> String {
    format!("{kind}.json")
}

fn line(name: &str, bytes: &[u8]) -> String {
    format!("{name} {}\n", Sha256Digest::of(bytes))
}

fn damaged(path: &Path, why: &str) -> Failure {
    Failure::new(reason::STATE_CORRUPT, format!("{}: {why}", path.display()))
        .remedy("restore the folder, or begin anew with another --state")
        .detail("file", path.display().to_string())
}

/// A path without links as far as it exists, to compare it with others.
fn whole(path: &Path) -> PathBuf {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let mut there = path.ancestors();
    let found = there.find_map(|part| Some((part, std::fs::canonicalize(part).ok()?)));
    match found {
        Some((part, full)) => path.strip_prefix(part).map_or(full.clone(), |rest| full.join(rest)),
        None => path,
    }
}

const MARK: &str = ".tufctl-verify-state";
/// How the mark begins.
const FORMAT: &str = "What tufctl verify last trusted, format 2";
const FORMAT_1: &str = "What tufctl verify last trusted, format 1";
/// How it ends once all files that it lists are written.
const WHOLE: &str = "whole";
/// The list of targets roles.
const KNOWN: &str = "targets.known";

#[cfg(test)]
mod tests;
