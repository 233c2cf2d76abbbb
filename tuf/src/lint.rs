//! Lint: what a stock client would stumble over in a repository, and what its people will be sorry for.
//!
//! *Duty*: rules over metadata that was read, each with a name, a severity, the clients that it concerns and what to do.
//! *Trust*: the metadata is anybody's, and need not verify. *Invariant*: no I/O and no clock; whoever calls reads the
//! files, says which moment it is, and tells of files that cannot be read with [`Finding::unreadable`].
//!
//! Limits and behaviour are those of python-tuf 7, tuf-js 5 and tough 0.24, each tried.

mod clients;
mod files;
mod fits;
mod keys;
mod paths;
mod whole;

use crate::{
    metadata::Metadata,
    role::{RoleKind, RoleName},
    time::UtcTime,
};
pub use clients::Client;
use std::collections::{BTreeMap, BTreeSet};

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// Some client refuses the repository, a file or a target, or a secret lies open.
    Error,
    /// It works today, and will not for long, or not for everybody.
    Warning,
    /// Good to know.
    Note,
}

impl Severity {
    /// The word in JSON and on the screen.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Note => "note",
        }
    }
}

/// One thing that a rule found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The rule's name, such as `pattern`; stable.
    pub rule: &'static str,
    /// How bad it is.
    pub severity: Severity,
    /// The role that it is about.
    pub role: RoleName,
    /// The file that says so, as it is named below `metadata/`.
    pub file: String,
    /// Who stumbles.
    pub clients: Vec<Client>,
    /// What was found: one sentence. May quote the metadata as it stands: show it escaped.
    pub message: String,
    /// What to do about it.
    pub remedy: &'static str,
}

impl Finding {
    /// A finding that concerns everybody; see [`Finding::by`].
    pub fn new(rule: &'static str, severity: Severity, file: &File, message: String) -> Self {
        let (role, file) = (file.role.clone(), file.name.clone());
        Self { rule, severity, role, file, clients: Client::ALL.to_vec(), message, remedy: "" }
    }

    /// A file that is not there or cannot be read; `why` is a sentence's end, such as "is missing".
    pub fn unreadable(role: &RoleName, file: &str, why: &str) -> Self {
        Self {
            rule: "unreadable",
            severity: Severity::Error,
            role: role.clone(),
            file: file.to_owned(),
            clients: Client::ALL.to_vec(),
            message: format!("{file} {why}"),
            remedy: "restore it from a good copy, or publish the role anew",
        }
    }

    /// The same, for these clients alone; for everybody where none is named.
    #[must_use]
    pub fn by(mut self, clients: &[Client]) -> Self {
        if !clients.is_empty() {
            self.clients = clients.to_vec();
        }
        self
    }

    /// The same, for no stock client: `verify` alone refuses it.
    #[must_use]
    pub fn by_none(mut self) -> Self {
        self.clients.clear();
        self
    }

    /// The same, with what to do.
    #[must_use]
    pub const fn remedy(mut self, remedy: &'static str) -> Self {
        self.remedy = remedy;
        self
    }
}

/// A metadata file as it is published.
#[derive(Clone, Debug)]
pub struct File {
    /// Whose it is: by its name, not by what is in it.
    pub role: RoleName,
    /// Its name below `metadata/`.
    pub name: String,
    /// What is in it.
    pub content: Metadata,
}

/// What is published, as far as it could be read.
#[derive(Clone, Debug, Default)]
pub struct Repository {
    /// All roots, rising by the version in their names.
    pub roots: Vec<File>,
    /// The timestamp.
    pub timestamp: Option<File>,
    /// The snapshot that the timestamp lists, or else the newest.
    pub snapshot: Option<File>,
    /// Every targets role that could be read.
    pub targets: BTreeMap<RoleName, File>,
    /// Those of them whose names need encoding in a URL and whose files lie under the name as it stands: alone, or beside
    /// the encoded one.
    pub decoded: BTreeSet<RoleName>,
}

impl Repository {
    /// Every file, all roots first.
    pub fn files(&self) -> impl Iterator<Item = &File> {
        self.roots
            .iter()
            .chain(self.timestamp.iter())
            .chain(self.snapshot.iter())
            .chain(self.targets.values())
    }

    fn root(&self) -> Option<&File> {
        self.roots.last()
    }

    /// The newest files: what a client ends with.
    fn newest(&self) -> impl Iterator<Item = &File> {
        let tops = [self.root(), self.timestamp.as_ref(), self.snapshot.as_ref()];
        tops.into_iter().flatten().chain(self.targets.values())
    }

    /// Targets roles that delegate: looked for once, since bins come by the thousand.
    fn parents(&self) -> Vec<&File> {
        let delegates =
            |file: &&File| file.content.as_targets().is_some_and(|targets| targets.delegations.is_some());
        self.targets.values().filter(delegates).collect()
    }
}

/// Judges a repository as of `now` by every rule, the worst findings first.
pub fn lint(repository: &Repository, now: UtcTime) -> Vec<Finding> {
    let mut found = Vec::new();
    fits::private_keys(repository, &mut found);
    fits::forms(repository, &mut found);
    fits::roots(repository, &mut found);
    fits::listed(repository, &mut found);
    whole::roots(repository, &mut found);
    whole::listing(repository, &mut found);
    let parents = repository.parents();
    whole::signatures(repository, &parents, &mut found);
    whole::searches(repository, &mut found);
    keys::shared(repository, &mut found);
    for file in repository.newest() {
        files::size(file, repository, &mut found);
        files::expiry(file, now, &mut found);
        files::text(file, &mut found);
        keys::of_file(file, &mut found);
        if file.content.kind() == RoleKind::Targets {
            paths::role_names(file, repository, &mut found);
            paths::patterns(file, &mut found);
            paths::targets(file, &parents, &mut found);
        }
    }
    found.sort_by_key(|finding| finding.severity);
    found
}

/// Many things of one kind, told as one: how many, and the first.
#[derive(Default)]
struct Many {
    count: usize,
    first: Option<String>,
}

impl Many {
    fn note(&mut self, text: &str) {
        self.count = self.count.saturating_add(1);
        self.first.get_or_insert_with(|| text.to_owned());
    }

    /// `3 targets, such as "a"`; `None` for none.
    fn told(&self, what: &str) -> Option<String> {
        let first = self.first.as_ref()?;
        Some(match self.count {
            1 => format!("{what} \"{first}\""),
            count => format!("{count} {what}s, such as \"{first}\","),
        })
    }
}

#[cfg(test)]
mod tests;
