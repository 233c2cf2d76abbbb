//! `--state`: what was last trusted, so that nothing goes back behind it (5.3 to 5.5).

use std::fs::File;
use std::path::{Path, PathBuf};

use tuf::digest::Sha256Digest;
use tuf::metadata::{Limits, Metadata};
use tuf::role::RoleKind;
use tuf::trust::{Previous, TrustedSet};

use super::refusal::{failure, refused};
use crate::error::{Failure, reason};
use crate::workspace::{lock, make_folder, read_file, write_file};

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

    /// Remembers a good run. The root goes first: what follows is judged by it.
    pub(super) fn write(&self, set: &TrustedSet) -> Result<(), Failure> {
        make_folder(&self.folder)?;
        let new: Vec<&Metadata> =
            [Some(set.root()), set.snapshot(), set.timestamp()].into_iter().flatten().collect();
        // Of each file what it holds now and what it will: cut off anywhere, one of them is right.
        let mut before = String::new();
        for name in new.iter().map(|metadata| file_name(metadata.kind())) {
            if let Some(bytes) = read_file(&self.folder.join(&name), super::MOST_BYTES)? {
                before.push_str(&line(&name, &bytes));
            }
        }
        let after: String =
            new.iter().map(|metadata| line(&file_name(metadata.kind()), metadata.bytes())).collect();
        let mark = self.folder.join(MARK);
        write_file(&mark, format!("{FORMAT}\n{before}{after}").as_bytes())?;
        for metadata in new {
            write_file(&self.folder.join(file_name(metadata.kind())), metadata.bytes())?;
        }
        write_file(&mark, format!("{FORMAT}\n{after}{WHOLE}\n").as_bytes())
    }

    fn read(&self, kind: RoleKind) -> Result<Option<Metadata>, Failure> {
        let name = file_name(kind);
        let path = self.folder.join(&name);
        let (digests, whole) = self.digests(&name)?;
        let Some(bytes) = read_file(&path, super::MOST_BYTES)? else {
            // Cut off in its first run, it may lack files.
            return if digests.is_empty() || !whole { Ok(None) } else { Err(damaged(&path, "it is gone")) };
        };
        if !digests.contains(&Sha256Digest::of(&bytes).to_string()) {
            return Err(damaged(&path, "it is not what was written"));
        }
        let parsed = Metadata::parse(bytes, &Limits::agent()).map_err(|e| damaged(&path, &e.to_string()))?;
        Ok(Some(parsed))
    }

    /// What a file may hold, by the mark, and whether the run that wrote it came to its end.
    fn digests(&self, name: &str) -> Result<(Vec<String>, bool), Failure> {
        let path = self.folder.join(MARK);
        let Some(bytes) = read_file(&path, super::MOST_BYTES)? else { return Ok((Vec::new(), false)) };
        let text = String::from_utf8(bytes).map_err(|e| damaged(&path, &e.to_string()))?;
        let rest = text.strip_prefix(FORMAT).ok_or_else(|| damaged(&path, "its format is not known"))?;
        let words = rest.lines().filter_map(|line| line.split_once(' '));
        let digests = words.filter(|(file, _)| *file == name).map(|(_, digest)| digest.to_owned()).collect();
        Ok((digests, rest.lines().any(|line| line == WHOLE)))
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
const FORMAT: &str = "What tufctl verify last trusted, format 1";
/// How it ends once all files that it lists are written.
const WHOLE: &str = "whole";
