//! Files in `metadata/` that nothing leads to any more: no client reads them, and everybody can.

use std::collections::BTreeSet;
use std::path::Path;

use tuf::json::Document;
use tuf::lint::{File, Finding, Repository, Severity};
use tuf::metadata::{Limits, Metadata};
use tuf::private::{Publics, private_key_in};
use tuf::role::RoleKind;

use super::read::MOST_BYTES;
use crate::reading;
use crate::workspace::{open_published, published_role};

/// Looks into them for private keys, of the repository's keys and of their own.
pub(super) fn look(dir: &Path, repository: &Repository, found: &mut Vec<Finding>) {
    let mut publics = Publics::default();
    repository.files().for_each(|file| publics.add(&file.content));
    // What cannot be read has been told and looked into.
    let known = repository.files().map(|File { name, .. }| name.clone());
    let known: BTreeSet<String> = known.chain(found.iter().map(|finding| finding.file.clone())).collect();
    let metadata = dir.join("metadata");
    let Ok(entries) = std::fs::read_dir(&metadata) else { return };
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let mut names: Vec<String> =
        names.filter(|name| name.ends_with(".json") && !known.contains(name)).collect();
    names.sort();
    for name in names {
        if let Some(place) = private_key_of(&metadata.join(&name), publics.clone()) {
            found.push(finding(name, &place));
        }
    }
}

/// Without consistent snapshots some read `root.json`, which `verify` wants to be the newest root.
pub(super) fn plain_root(dir: &Path, repository: &Repository, found: &mut Vec<Finding>) {
    let Some(newest) = repository.roots.last().map(|file| &file.content) else { return };
    if newest.as_root().is_none_or(|root| root.consistent_snapshot) {
        return;
    }
    let file = open_published(&dir.join("metadata").join(PLAIN_ROOT));
    let Ok(Some(bytes)) = file.and_then(|file| reading::read_at_most(file, MOST_BYTES)) else { return };
    if Metadata::parse(bytes, &Limits::agent()).is_ok_and(|root| root.digest() == newest.digest()) {
        return;
    }
    found.push(Finding {
        rule: "stale-root",
        severity: Severity::Warning,
        role: RoleKind::Root.role(),
        clients: Vec::new(),
        message: format!(
            "{PLAIN_ROOT} is not the newest root, version {}: who reads it has older keys, and verify refuses it",
            newest.version()
        ),
        file: PLAIN_ROOT.to_owned(),
        remedy: "publish anything anew, which puts the newest root there: tufctl bump DIR timestamp, then tufctl sign DIR",
    });
}

const PLAIN_ROOT: &str = "root.json";

fn private_key_of(path: &Path, mut publics: Publics) -> Option<String> {
    let bytes = open_published(path).and_then(|file| reading::read_at_most(file, MOST_BYTES)).ok()??;
    let document = Document::parse(bytes, usize::try_from(MOST_BYTES).unwrap_or(usize::MAX)).ok()?;
    publics.add_objects(document.root());
    private_key_in(document.root(), &publics)
}

fn finding(name: String, place: &str) -> Finding {
    let role = published_role(&name).unwrap_or_else(|| RoleKind::Targets.role());
    Finding {
        rule: "private-key",
        severity: Severity::Error,
        role,
        clients: Vec::new(),
        message: format!(
            "a private key stands at {place} of {name}, which is published though nothing leads to it: all can read it now"
        ),
        file: name,
        remedy: "replace the key: tufctl root replace-key, or tufctl delegation edit",
    }
}
