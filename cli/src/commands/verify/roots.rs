//! Every published root, whether this run begins with it or not: a new client begins with the first one.

use tuf::metadata::Metadata;
use tuf::role::{RoleKind, Version};
use tuf::trust::TrustedSet;

use super::refusal::{failure, refused};
use super::{Check, State};
use crate::error::Failure;
use crate::workspace::{published_name, published_roots};

/// The roots that are published: rising without a gap, each signed as its own and the one before it want.
pub(super) struct Roots(Vec<Metadata>);

impl Roots {
    /// Reads and checks them all. One older than the `given` root may be no root by
    /// the specification of today, as the first ones of old repositories are; the check begins after it, with a warning.
    ///
    /// # Errors
    /// A gap (6.2.1), a missing signature (5.3.4), another version than the file's name says (5.3.5).
    pub(super) fn read(given: &Metadata, check: &Check<'_>) -> Result<Self, Failure> {
        let role = RoleKind::Root.role();
        let mut roots = Vec::new();
        let mut chain: Option<TrustedSet> = None;
        for version in published_roots(&check.dir.join("metadata"))? {
            let file = name(version);
            if let Some(wanted) = chain.as_ref().and_then(|set| set.root().version().next())
                && wanted != version
            {
                return Err(gap(wanted, version));
            }
            let bytes = check.must_read(&role, &file, "5.3.3")?;
            if version < given.version()
                && let Err(error) = Metadata::parse(bytes.clone(), &check.options.limits)
            {
                let until = "a client that begins with it, or with one before it, cannot follow";
                check.context.screen.warn(format!("{file} is not checked: {error}; {until}"));
                chain = None;
                roots.clear();
                continue;
            }
            match &mut chain {
                Some(set) => set.update_root(bytes).map_err(|e| failure(&e, &file))?,
                None => {
                    let set = TrustedSet::from_root(bytes, &check.options).map_err(|e| failure(&e, &file))?;
                    chain = Some(set);
                }
            }
            let Some(root) = chain.as_ref().map(|set| set.root().clone()) else { continue };
            if root.version() != version {
                let why = format!("root: the file of version {version} holds version {}", root.version());
                return Err(refused(&role, &file, "5.3.5", why));
            }
            roots.push(root);
        }
        let first = roots.first().map(Metadata::version);
        if first.is_none_or(|first| first != Version::FIRST) {
            let found = first.map_or("no root is published".to_owned(), |first| {
                format!("the published roots begin with version {first}")
            });
            check.context.screen.warn(format!("{found}: clients that trust an earlier one cannot follow"));
        }
        Ok(Self(roots))
    }

    /// Begins a run: with the root that is remembered where the published ones lead on from it, else with the one that
    /// is given; then takes every newer one.
    ///
    /// # Errors
    /// Either is not the published root of its version (5.2), is newer than all published ones (5.3.5), or those that
    /// lead on from it are missing (5.3.3).
    pub(super) fn follow(
        &self,
        given: &Metadata,
        state: Option<&State>,
        check: &Check<'_>,
    ) -> Result<TrustedSet, Failure> {
        self.hold(given)?;
        let remembered = state.map(|state| state.root(given)).transpose()?.flatten();
        let start = remembered.filter(|old| old.version() > given.version() || self.lead_on_from(old));
        if let Some(old) = &start {
            self.hold(old)?;
        }
        let start = start.as_ref().unwrap_or(given);
        let mut set = TrustedSet::from_root(start.bytes().clone(), &check.options)
            .map_err(|e| failure(&e, &name(start.version())))?;
        if let Some(state) = state {
            set = state.remind(set)?;
        }
        for root in self.0.iter().filter(|root| root.version() > start.version()) {
            set.update_root(root.bytes().clone()).map_err(|e| failure(&e, &name(root.version())))?;
        }
        Ok(set)
    }

    /// All of them, rising.
    pub(super) fn all(&self) -> impl Iterator<Item = &Metadata> {
        self.0.iter()
    }

    /// The newest one.
    pub(super) fn newest(&self) -> Option<&Metadata> {
        self.0.last()
    }

    fn lead_on_from(&self, root: &Metadata) -> bool {
        let first = self.0.first().map(Metadata::version);
        first.is_some_and(|first| Some(first) <= root.version().next())
    }

    /// A trusted root must be one of the published ones, or the one before the first of them.
    fn hold(&self, trusted: &Metadata) -> Result<(), Failure> {
        let (Some(first), Some(newest)) = (self.0.first(), self.0.last()) else { return Ok(()) };
        let (role, version) = (RoleKind::Root.role(), trusted.version());
        if newest.version() < version {
            let why = format!(
                "root: version {} is the newest that is published, older than version {version}, which is trusted: a \
                 rollback",
                newest.version()
            );
            return Err(refused(&role, &name(newest.version()), "5.3.5", why));
        }
        if !self.lead_on_from(trusted) {
            return Err(gap(version.next().unwrap_or(version), first.version()));
        }
        match self.0.iter().find(|root| root.version() == version) {
            Some(published) if published.digest() != trusted.digest() => {
                let why = format!("root: the published version {version} is not the root that is trusted");
                Err(refused(&role, &name(version), "5.2", why))
            }
            _ => Ok(()),
        }
    }
}

fn name(version: Version) -> String {
    published_name(&RoleKind::Root.role(), version, true)
}

/// All roots must stay published (6.2.1): a newer one beyond a gap would never be found.
fn gap(missing: Version, before: Version) -> Failure {
    let why = format!("root: version {missing} is missing before version {before}");
    refused(&RoleKind::Root.role(), &name(missing), "5.3.3", why)
}
