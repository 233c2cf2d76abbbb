//! Reads what is published without trusting any of it; what cannot be read becomes a finding.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::Path;

use tuf::json::Document;
use tuf::lint::{File, Finding, Repository};
use tuf::metadata::{Limits, Metadata};
use tuf::private::{Publics, private_key_in};
use tuf::role::{RoleKind, RoleName, Version};

use crate::error::Failure;
use crate::reading;
use crate::workspace::{open_published, published_names, published_roots};

/// All roots, the newest of everything else, every targets role that anything leads to.
pub(super) fn repository(dir: &Path, found: &mut Vec<Finding>) -> Result<Repository, Failure> {
    let metadata = dir.join("metadata");
    let mut reader = Reader { folder: &metadata, versions: versions(&metadata)?, consistent: true, found };
    let root = RoleKind::Root.role();
    let mut repository = Repository::default();
    for version in published_roots(&metadata)? {
        repository.roots.extend(reader.file(&root, version));
    }
    if repository.roots.is_empty() {
        reader.found.push(Finding::unreadable(
            &root,
            "1.root.json",
            "is missing, and so is every other root",
        ));
    }
    let newest = repository.roots.last().and_then(|file| file.content.as_root());
    reader.consistent = newest.is_none_or(|root| root.consistent_snapshot);
    let timestamp = RoleKind::Timestamp.role();
    repository.timestamp = reader.file(&timestamp, Version::FIRST);
    let listed = repository.timestamp.as_ref().and_then(|file| file.content.as_timestamp());
    let listed = listed.map(|timestamp| timestamp.snapshot.version);
    repository.snapshot = reader.role(&RoleKind::Snapshot.role(), listed);
    reader.targets(&mut repository);
    Ok(repository)
}

struct Reader<'r> {
    folder: &'r Path,
    /// The highest version of each `N.NAME.json`, by NAME.
    versions: BTreeMap<String, Version>,
    consistent: bool,
    found: &'r mut Vec<Finding>,
}

impl Reader<'_> {
    fn targets(&mut self, repository: &mut Repository) {
        let snapshot = repository.snapshot.as_ref().and_then(|file| file.content.as_snapshot()).cloned();
        let listed =
            |role: &RoleName| snapshot.as_ref().and_then(|s| s.meta.get(role)).map(|entry| entry.version);
        let mut waiting = VecDeque::from([RoleKind::Targets.role()]);
        let mut seen = BTreeSet::new();
        while let Some(role) = waiting.pop_front() {
            let version = listed(&role);
            let unlisted = snapshot.is_some() && version.is_none();
            // What the snapshot does not list is a finding of its own.
            if !seen.insert(role.clone()) || unlisted && !role.is_top_level() {
                continue;
            }
            let Some(file) = self.role(&role, version) else { continue };
            let delegations = file.content.as_targets().and_then(|targets| targets.delegations.as_ref());
            if let Some(delegations) = delegations {
                waiting.extend(delegations.roles.iter().map(|role| role.name.clone()));
                let bins = delegations.succinct.iter().flat_map(|bins| bins.names().take(MOST_BINS));
                waiting.extend(bins.filter(|bin| listed(bin).is_some() || snapshot.is_none()));
            }
            if let Some(decoded) = published_names(&role, file.content.version(), self.consistent).nth(1)
                && self.folder.join(decoded).exists()
            {
                repository.decoded.insert(role.clone());
            }
            repository.targets.insert(role, file);
        }
    }

    /// The file of a role in the version that is listed, or else the newest one there.
    fn role(&mut self, role: &RoleName, listed: Option<Version>) -> Option<File> {
        let stems = published_names(role, Version::FIRST, false);
        let newest =
            || stems.filter_map(|name| self.versions.get(name.strip_suffix(".json")?)).max().copied();
        let version = listed.or_else(newest).unwrap_or(Version::FIRST);
        self.file(role, version)
    }

    /// Looked for as `verify` looks for it.
    fn file(&mut self, role: &RoleName, version: Version) -> Option<File> {
        let names: Vec<_> = published_names(role, version, self.consistent).collect();
        let absent = |name: &&String| {
            let about = self.folder.join(name).symlink_metadata();
            about.is_err_and(|e| e.kind() == std::io::ErrorKind::NotFound)
        };
        let name = names.iter().find(|name| !absent(name)).or(names.first())?.clone();
        let path = self.folder.join(&name);
        let why = match open_published(&path).and_then(|file| reading::read_at_most(file, MOST_BYTES)) {
            Ok(Some(bytes)) => match Metadata::parse(bytes.clone(), &Limits::agent()) {
                Ok(content) if content.kind() == role.kind() => {
                    return Some(File { role: role.clone(), name, content });
                }
                Ok(content) => format!("holds {} metadata", content.kind()),
                Err(error) => {
                    self.secrets(role, &name, bytes);
                    format!("cannot be read: {error}")
                }
            },
            Ok(None) => format!("has more than {MOST_BYTES} bytes"),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => "is missing".to_owned(),
            Err(error) => format!("cannot be read: {error}"),
        };
        self.found.push(Finding::unreadable(role, &name, &why));
        None
    }

    /// A file that is no metadata may still give a private key away.
    fn secrets(&mut self, role: &RoleName, name: &str, bytes: Vec<u8>) {
        let document = Document::parse(bytes, usize::try_from(MOST_BYTES).unwrap_or(usize::MAX));
        let mut publics = Publics::default();
        let found = document.ok().and_then(|document| {
            publics.add_objects(document.root());
            private_key_in(document.root(), &publics)
        });
        if let Some(way) = found {
            let why = format!("holds a private key at {way}: all can read it now");
            self.found.push(Finding { rule: "private-key", ..Finding::unreadable(role, name, &why) });
        }
    }
}

fn versions(folder: &Path) -> Result<BTreeMap<String, Version>, Failure> {
    let entries = std::fs::read_dir(folder).map_err(|e| Failure::io("read", folder, &e))?;
    let mut versions = BTreeMap::new();
    for name in entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()) {
        let parts = name.strip_suffix(".json").and_then(|stem| stem.split_once('.'));
        let Some((number, stem)) = parts else { continue };
        if let Some(version) = number.parse().ok().and_then(Version::new) {
            let highest = versions.entry(stem.to_owned()).or_insert(version);
            *highest = version.max(*highest);
        }
    }
    Ok(versions)
}

/// Of one file.
pub(super) const MOST_BYTES: u64 = 64 << 20;
const MOST_BINS: usize = 1 << 16;
