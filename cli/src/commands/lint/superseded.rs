//! Files in `metadata/` that nothing leads to any more: no client reads them, and everybody can.

use std::collections::BTreeSet;
use std::path::Path;

use tuf::json::Document;
use tuf::lint::{File, Finding, Repository, Severity};
use tuf::private::{Publics, private_key_in};
use tuf::role::RoleKind;

use super::read::MOST_BYTES;
use crate::reading;
use crate::workspace::published_role;

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

fn private_key_of(path: &Path, mut publics: Publics) -> Option<String> {
    let bytes = reading::open_file(path).and_then(|file| reading::read_at_most(file, MOST_BYTES)).ok()??;
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
