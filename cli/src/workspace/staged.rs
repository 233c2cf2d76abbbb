//! `staged/`: what waits for signatures, the name of the repository, and where added target files come from.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tuf::key::KeyId;
use tuf::metadata::{Limits, Metadata, SignatureEntry};
use tuf::role::{RoleKind, RoleName, Version};
use tuf::verify::has_signed;

use super::read::{MOST_BYTES, invalid, parse};
use super::{Workspace, files, layout, roots};
use crate::error::{Failure, reason};

/// `staged/repository.json`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    /// Higher than [`FORMAT`] when a newer tufctl wrote it.
    #[serde(default)]
    pub(super) format: u32,
    /// The name by which the agent knows the repository.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(super) name: Option<String>,
    /// Sources of added targets by path.
    #[serde(default)]
    pub(super) files: BTreeMap<String, Source>,
    /// What keys are called, by keyid: for people alone.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", default)]
    pub(super) names: BTreeMap<String, String>,
}

/// Where an added target's file lies until it is published.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Source {
    /// An absolute path.
    pub(super) source: PathBuf,
}

impl Record {
    pub(super) fn read(path: &Path) -> Result<Self, Failure> {
        let Some(bytes) = files::read(path, MOST_BYTES)? else { return Ok(Self::default()) };
        let unusable = |why: &dyn std::fmt::Display, remedy: &str| {
            Failure::new(reason::REPOSITORY_INVALID, format!("{}: {why}", path.display()))
                .remedy(remedy)
                .detail("file", path.display().to_string())
        };
        let record: Self = serde_json::from_slice(&bytes)
            .map_err(|e| unusable(&e, "restore the file, or remove staged/ and stage the changes again"))?;
        if record.format > FORMAT {
            return Err(unusable(
                &format!("it has format {}", record.format),
                "use the tufctl that wrote it, or a newer one",
            ));
        }
        Ok(record)
    }
}

/// What came in with a colleague's copy.
#[derive(Debug, Default)]
pub(crate) struct Merged {
    /// Signatures that were added.
    pub(crate) signatures: Vec<(RoleName, KeyId)>,
    /// Signed roles that are staged there, and neither staged nor published here.
    pub(crate) elsewhere: Vec<(RoleName, Version)>,
    /// Roles whose content there is not what is staged here.
    pub(crate) other_content: Vec<RoleName>,
    /// The next root was taken on, with the signatures that it has.
    pub(crate) root_taken: bool,
    /// Signatures there that do not verify.
    pub(crate) invalid: Vec<(RoleName, KeyId)>,
}

impl Workspace {
    /// The repository's name, as `staged/` has it.
    pub(crate) fn staged_name(&self) -> Option<&str> {
        self.record.name.as_deref()
    }

    /// The staged metadata of a role.
    pub(crate) fn staged(&self, role: &RoleName) -> Result<Option<Metadata>, Failure> {
        if let Some(known) = self.staged.borrow().get(role) {
            return Ok(known.clone());
        }
        let path = self.staged_path(role);
        let found = files::read(&path, MOST_BYTES)?.map(|bytes| parse(role, &path, bytes)).transpose();
        let found = found.map_err(|failure| self.damaged(role, &path, failure))?;
        self.staged.borrow_mut().insert(role.clone(), found.clone());
        Ok(found)
    }

    /// The staged metadata of a role, else the published one.
    pub(crate) fn current(&self, role: &RoleName) -> Result<Option<Metadata>, Failure> {
        Ok(match self.staged(role)? {
            Some(staged) => Some(staged),
            None => self.published(role)?,
        })
    }

    /// Roles with a staged file in the order of signing: root, targets, delegated roles (parents first), snapshot,
    /// timestamp. What no delegation leads to comes last among the delegated ones.
    pub(crate) fn staged_roles(&self) -> Result<Vec<RoleName>, Failure> {
        let mut left: BTreeSet<RoleName> = self.staged_files()?.into_iter().collect();
        let mut roles = Vec::with_capacity(left.len());
        roles.extend(left.take(&RoleKind::Root.role()));
        let online = [RoleKind::Snapshot, RoleKind::Timestamp].map(|kind| left.take(&kind.role()));
        if !left.is_empty() {
            for node in self.near()?.iter() {
                roles.extend(left.take(&node.role));
            }
        }
        if !left.is_empty() {
            // Below a published bin, or below nothing at all.
            for node in self.tree()?.iter() {
                roles.extend(left.take(&node.role));
            }
        }
        roles.extend(left);
        roles.extend(online.into_iter().flatten());
        Ok(roles)
    }

    /// Writes a role's file into `staged/`, after reading it back from the bytes.
    pub(crate) fn write_staged(&mut self, role: &RoleName, bytes: Vec<u8>) -> Result<Metadata, Failure> {
        let metadata = parse(role, &self.staged_path(role), bytes)?;
        self.write_many(vec![(role.clone(), metadata.clone())])?;
        self.forget_tree();
        self.settle_staged()?;
        Ok(metadata)
    }

    /// Writes the files of many roles into `staged/`, after reading each back from its bytes: durable after
    /// [`Self::settle_staged`].
    pub(crate) fn write_staged_many(
        &mut self,
        files: Vec<(RoleName, Vec<u8>)>,
    ) -> Result<Vec<Metadata>, Failure> {
        let read = files.into_iter().map(|(role, bytes)| {
            let metadata = parse(&role, &self.staged_path(&role), bytes)?;
            Ok((role, metadata))
        });
        let read = read.collect::<Result<Vec<_>, Failure>>()?;
        let written = read.iter().map(|(_, metadata)| metadata.clone()).collect();
        self.write_many(read)?;
        self.forget_tree();
        Ok(written)
    }

    fn write_many(&mut self, files: Vec<(RoleName, Metadata)>) -> Result<(), Failure> {
        files::make_folder(&self.staged_folder())?;
        let named = files.iter().map(|(role, file)| (self.staged_path(role), file.bytes().clone()));
        files::write_many(&named.collect::<Vec<_>>())?;
        for (role, metadata) in files {
            self.held.remove(&role);
            self.staged.borrow_mut().insert(role, Some(metadata));
        }
        Ok(())
    }

    /// Makes durable that the files written into `staged/` so far are there.
    pub(crate) fn settle_staged(&self) -> Result<(), Failure> {
        files::sync_folder(&self.staged_folder())
    }

    /// Takes a role's file out of `staged/`.
    pub(crate) fn remove_staged(&mut self, role: &RoleName) -> Result<(), Failure> {
        files::remove(&self.staged_path(role))?;
        self.staged.borrow_mut().insert(role.clone(), None);
        self.forget_tree();
        Ok(())
    }

    /// Adds signatures to staged files, in place of older ones of the same keyid; durable after
    /// [`Self::settle_staged`], and until then each file is the old one or the new one.
    pub(crate) fn add_signatures(
        &mut self,
        signed: &[(RoleName, Vec<SignatureEntry>)],
    ) -> Result<(), Failure> {
        if let [(role, new)] = signed {
            return self.add_signatures_beside(role, new, |_, _| Ok(()));
        }
        let together = signed.iter().map(|(role, new)| Ok((role.clone(), self.with_more(role, new)?)));
        let together = together.collect::<Result<Vec<_>, Failure>>()?;
        self.flushed.extend(signed.iter().map(|(role, _)| role.clone()));
        // Who delegates to whom is as it was: only the signatures are others.
        self.write_many(together)
    }

    /// The same for one role; `beside` gets it with its signatures, while they are written if it is a large one.
    pub(crate) fn add_signatures_beside(
        &mut self,
        role: &RoleName,
        new: &[SignatureEntry],
        beside: impl FnOnce(&Self, &Metadata) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let ahead = match self.staged(role)? {
            Some(staged) => self.signed_ahead(role, &staged, &together(staged.signatures(), new)),
            None => None,
        };
        let together = ahead.map_or_else(|| self.with_more(role, new), Ok)?;
        self.flushed.insert(role.clone());
        files::make_folder(&self.staged_folder())?;
        self.write_signed(role, &together, |workspace| beside(workspace, &together))?;
        self.held.remove(role);
        Ok(())
    }

    /// A staged file with signatures in place of older ones of the same keyid.
    fn with_more(&self, role: &RoleName, signatures: &[SignatureEntry]) -> Result<Metadata, Failure> {
        let Some(staged) = self.staged(role)? else {
            return Err(Failure::new(reason::ROLE_UNKNOWN, format!("{role} is not staged")));
        };
        let all = together(staged.signatures(), signatures);
        staged.resigned(&all).map_err(|e| invalid(role, &self.staged_path(role), &e.to_string()))
    }

    /// Writes the roles whose signatures were merged.
    pub(crate) fn write_merged(&mut self, merged: &Merged) -> Result<(), Failure> {
        if merged.root_taken {
            self.write_held(&RoleKind::Root.role())?;
        }
        let roles: BTreeSet<&RoleName> = merged.signatures.iter().map(|(role, _)| role).collect();
        for role in roles {
            if let Some(metadata) = self.staged(role)? {
                files::write(&self.staged_path(role), metadata.bytes())?;
            }
        }
        Ok(())
    }

    /// What a colleague's copy holds of the roles that are staged here: a repository folder, a `staged/` alone, or one
    /// file. Where the colleague has published already, or keeps files without versions as in a git working tree, those
    /// of the same versions.
    pub(crate) fn read_copy(&self, other: &Path) -> Result<Vec<(RoleName, Metadata)>, Failure> {
        if other.is_file() {
            return self.read_one(other);
        }
        let inner = other.join(layout::STAGED);
        let is_repository = inner.is_dir() || other.join(layout::METADATA).is_dir();
        let folder = if is_repository { inner } else { other.to_owned() };
        let mut found = if folder.is_dir() { staged_in(&folder)? } else { Vec::new() };
        for role in self.staged_roles()? {
            let online = matches!(role.kind(), RoleKind::Snapshot | RoleKind::Timestamp);
            if online || found.iter().any(|(name, _)| *name == role) {
                continue;
            }
            let Some(ours) = self.staged(&role)? else { continue };
            let versioned = layout::file_name(&role, ours.version(), self.consistent_snapshot()?);
            for name in [versioned, layout::plain_name(&role)] {
                let path = other.join(layout::METADATA).join(name);
                let Some(bytes) = files::read(&path, MOST_BYTES)? else { continue };
                let theirs = parse(&role, &path, bytes)?;
                if theirs.version() == ours.version() {
                    found.push((role.clone(), theirs));
                    break;
                }
            }
        }
        if !found.is_empty() {
            return Ok(found);
        }
        Err(Failure::new(
            reason::REPOSITORY_INVALID,
            format!("{} holds nothing that is staged here", other.display()),
        )
        .remedy("name a colleague's repository folder, or the staged/ of one"))
    }

    /// One file, as its `_type` or else its name says; with or without a version before it.
    fn read_one(&self, path: &Path) -> Result<Vec<(RoleName, Metadata)>, Failure> {
        let bytes = files::read_any(path, MOST_BYTES)?.unwrap_or_default();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let unversioned =
            name.split_once('.').filter(|(v, _)| v.bytes().all(|b| b.is_ascii_digit())).map(|(_, name)| name);
        let named: Vec<RoleName> =
            [Some(name), unversioned].into_iter().flatten().filter_map(layout::staged_role).collect();
        let staged = self.staged_roles()?;
        let kind = Metadata::parse(bytes.clone(), &Limits::agent()).map_or(RoleKind::Root, |m| m.kind());
        let role = named
            .into_iter()
            .find(|role| role.kind() == kind && staged.contains(role))
            .unwrap_or(kind.role());
        Ok(vec![(role.clone(), parse(&role, path, bytes)?)])
    }

    /// Merges every signature of a colleague's copy that verifies for the same content: here, not yet on the disk (see
    /// [`Self::write_merged`]), so that a person may still say no.
    pub(crate) fn merge_from(&mut self, other: &Path) -> Result<Merged, Failure> {
        let mut merged = Merged::default();
        for (role, theirs) in self.read_copy(other)? {
            let Some(ours) = self.staged(&role)? else {
                let signed = theirs.signatures().iter().any(|entry| !entry.sig.is_empty());
                if signed && self.published(&role)?.is_none_or(|m| m.version() < theirs.version()) {
                    merged.elsewhere.push((role, theirs.version()));
                }
                continue;
            };
            if ours.digest() != theirs.digest() {
                merged.other_content.push(role);
                continue;
            }
            let authorities = self.authorities(&role)?;
            let mut new = Vec::new();
            for entry in theirs.signatures().iter().filter(|entry| !entry.sig.is_empty()) {
                let known = ours.signatures().iter().any(|e| e.keyid == entry.keyid && e.sig == entry.sig);
                match authorities.iter().find_map(|a| a.key(&entry.keyid)) {
                    Some(_) if known => {}
                    Some(key) if has_signed(&ours, key, entry) => new.push(entry.clone()),
                    Some(_) => merged.invalid.push((role.clone(), entry.keyid.clone())),
                    // A key that the role does not have: its signature is of no use.
                    None => {}
                }
            }
            if !new.is_empty() {
                let together = self.with_more(&role, &new)?;
                self.staged.borrow_mut().insert(role.clone(), Some(together));
                merged.signatures.extend(new.into_iter().map(|entry| (role.clone(), entry.keyid)));
            }
        }
        Ok(merged)
    }

    /// Sets the repository's name in `staged/`.
    pub(crate) fn set_name(&mut self, name: &str) -> Result<(), Failure> {
        if self.record.name.as_deref() == Some(name) {
            return Ok(());
        }
        self.record.name = Some(name.to_owned());
        self.write_record()
    }

    /// Notes where the files of added targets lie; forgets those of removed ones.
    pub(crate) fn set_sources(
        &mut self,
        added: impl IntoIterator<Item = (String, PathBuf)>,
        removed: &[String],
    ) -> Result<(), Failure> {
        let before = self.record.files.clone();
        for path in removed {
            self.record.files.remove(path);
        }
        self.record.files.extend(added.into_iter().map(|(path, source)| (path, Source { source })));
        if self.record.files == before { Ok(()) } else { self.write_record() }
    }

    pub(super) fn write_record(&self) -> Result<(), Failure> {
        let folder = self.staged_folder();
        files::make_folder(&folder)?;
        let record = Record { format: FORMAT, ..self.record.clone() };
        let mut text = serde_json::to_vec_pretty(&record)
            .map_err(|e| Failure::new(reason::INTERNAL, format!("cannot write the record: {e}")))?;
        text.push(b'\n');
        files::write(&folder.join(layout::RECORD), &text)
    }

    pub(super) fn staged_path(&self, role: &RoleName) -> PathBuf {
        let loose = self.loose_root.as_ref().filter(|_| role.kind() == RoleKind::Root);
        loose.cloned().unwrap_or_else(|| self.staged_folder().join(layout::staged_name(role)))
    }
}

/// New signatures in the places of older ones of the same keyid, empty ones too, and behind them.
pub(super) fn together(old: &[SignatureEntry], new: &[SignatureEntry]) -> Vec<SignatureEntry> {
    let at_its_place =
        |entry: &SignatureEntry| new.iter().find(|new| new.keyid == entry.keyid).unwrap_or(entry).clone();
    let is_more = |entry: &&SignatureEntry| old.iter().all(|old| old.keyid != entry.keyid);
    old.iter().map(at_its_place).chain(new.iter().filter(is_more).cloned()).collect()
}

/// All metadata in a `staged/`.
fn staged_in(folder: &Path) -> Result<Vec<(RoleName, Metadata)>, Failure> {
    let entries = std::fs::read_dir(folder).map_err(|e| Failure::io("read", folder, &e))?;
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let loose = roots::loose_root(folder)?;
    let mut found = Vec::new();
    for name in names {
        let path = folder.join(&name);
        let role = if loose.as_ref() == Some(&path) {
            Some(RoleKind::Root.role())
        } else {
            layout::staged_role(&name)
        };
        let Some(role) = role else { continue };
        let Some(bytes) = files::read(&path, MOST_BYTES)? else { continue };
        found.push((role.clone(), parse(&role, &path, bytes)?));
    }
    found.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(found)
}

/// The format of `staged/repository.json` that this program writes.
const FORMAT: u32 = 1;
