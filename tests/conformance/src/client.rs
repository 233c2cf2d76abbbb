//! The client workflow of section 5: what to fetch next, and what to keep. Whether it is trusted, `tuf` says.

use anyhow::{Context, Result, bail};
use tuf::json::Text;
use tuf::metadata::{Limits, MetaFile, Metadata, TargetFile};
use tuf::role::{RoleKind, RoleName, Version};
use tuf::time::UtcTime;
use tuf::trust::{Options, Previous, Search, TimestampStep, TrustedSet};

use crate::store::Store;
use crate::web::{Web, below_encoded};

/// A client of one repository, at one moment.
pub(crate) struct Client {
    store: Store,
    web: Web,
    metadata_url: String,
    set: TrustedSet,
}

/// How this client judges: as the specification says, but for keyids that are not the hash of their key, which are in
/// repositories that the conformance suite holds.
pub(crate) const fn options(now: Option<UtcTime>) -> Options {
    Options { accept_wrong_keyids: true, max_delegations: MOST_ROLES, ..Options::new(now) }
}

impl Client {
    /// A client that trusts what the store holds (5.2).
    pub(crate) fn remembering(store: Store, metadata_url: &str, now: UtcTime) -> Result<Self> {
        let options = options(Some(now));
        let root = store.read(&RoleKind::Root.role())?;
        let root = root.context("no root is trusted yet; begin with `init ROOT`")?;
        let previous = Previous {
            timestamp: remembered(&store, RoleKind::Timestamp, &options)?,
            snapshot: remembered(&store, RoleKind::Snapshot, &options)?,
        };
        let set = TrustedSet::from_root(root, &options)
            .and_then(|set| set.with_previous(previous))
            .context("what was trusted before")?;
        Ok(Self { store, web: Web::new(), metadata_url: metadata_url.to_owned(), set })
    }

    /// Brings the four top-level roles up to date (5.3 to 5.6).
    pub(crate) fn refresh(&mut self) -> Result<()> {
        self.roots()?;
        self.timestamp()?;
        self.snapshot()?;
        self.targets(&RoleKind::Targets.role(), &RoleKind::Root.role())
    }

    /// The target `path`, by the first role of the search that lists it (5.6.7).
    pub(crate) fn find(&mut self, path: &str) -> Result<TargetFile<'static>> {
        // Each role is loaded once on the way of one search; the bound is for what should not happen.
        for _ in 0..=2 * MOST_ROLES {
            match self.set.find_target(path) {
                Search::Found { file, .. } => return Ok(file.into_owned()),
                Search::Needs { role, parent } => self.targets(&role, &parent)?,
                Search::NotFound { limit_reached: true, visited } => {
                    bail!(
                        "target {path:?} is in none of the first {visited} roles; the search ends here (5.6.7.1)"
                    )
                }
                Search::NotFound { .. } => bail!("target {path:?} is in no role (5.6.7)"),
            }
        }
        bail!("the search for {path:?} does not end")
    }

    /// Whether names carry versions and digests (6.2).
    pub(crate) fn consistent_snapshot(&self) -> bool {
        self.set.root().as_root().is_none_or(|root| root.consistent_snapshot)
    }

    pub(crate) fn web(&self) -> &Web {
        &self.web
    }

    /// 5.3: one root after the other, each kept as soon as it is trusted.
    fn roots(&mut self) -> Result<()> {
        let role = RoleKind::Root.role();
        for _ in 0..MOST_ROOTS {
            let Some(next) = self.set.root().version().next() else { break };
            let Some(bytes) = self.fetch(&format!("{next}.root.json"), default_limit(RoleKind::Root))? else {
                break;
            };
            let bytes: Text = bytes.into();
            let remembered = self.set.has_previous();
            self.set.update_root(bytes.clone())?;
            if remembered && !self.set.has_previous() {
                // 5.3.11, before the root is kept: after a crash in between, the same step comes again.
                self.store.forget(&RoleKind::Timestamp.role())?;
                self.store.forget(&RoleKind::Snapshot.role())?;
            }
            self.store.write(&role, &bytes)?;
        }
        Ok(self.set.check_root_expiry()?)
    }

    /// 5.4.
    fn timestamp(&mut self) -> Result<()> {
        let role = RoleKind::Timestamp.role();
        let bytes: Text = self.must_fetch("timestamp.json", default_limit(RoleKind::Timestamp))?.into();
        match self.set.update_timestamp(bytes.clone())? {
            TimestampStep::Newer => self.store.write(&role, &bytes),
            TimestampStep::Same => Ok(()),
        }
    }

    /// 5.5; what is kept already is not fetched again.
    fn snapshot(&mut self) -> Result<()> {
        let role = RoleKind::Snapshot.role();
        let timestamp = self.set.timestamp().and_then(Metadata::as_timestamp);
        let listed =
            timestamp.map(|timestamp| timestamp.snapshot.clone()).context("no timestamp is trusted")?;
        if let Some(kept) = self.store.read(&role)?
            && self.set.update_snapshot(kept).is_ok()
        {
            return Ok(());
        }
        let bytes: Text = self.fetch_listed(&role, &listed)?.into();
        self.set.update_snapshot(bytes.clone())?;
        self.store.write(&role, &bytes)
    }

    /// 5.6 for one targets role, vouched for by `parent`; what is kept already is not fetched again.
    fn targets(&mut self, role: &RoleName, parent: &RoleName) -> Result<()> {
        let snapshot = self.set.snapshot().and_then(Metadata::as_snapshot);
        let listed = snapshot.and_then(|snapshot| snapshot.meta.get(role)).cloned();
        let listed = listed.with_context(|| format!("{role}: the snapshot does not list it (5.6.1)"))?;
        if let Some(kept) = self.store.read(role)?
            && self.set.update_targets(role, parent, kept).is_ok()
        {
            return Ok(());
        }
        let bytes: Text = self.fetch_listed(role, &listed)?.into();
        self.set.update_targets(role, parent, bytes.clone())?;
        self.store.write(role, &bytes)
    }

    fn fetch_listed(&self, role: &RoleName, listed: &MetaFile) -> Result<Vec<u8>> {
        let limit = listed.length.unwrap_or_else(|| default_limit(role.kind())).min(MOST_BYTES);
        self.must_fetch(&published_name(role, listed.version, self.consistent_snapshot()), limit)
    }

    fn must_fetch(&self, name: &str, limit: u64) -> Result<Vec<u8>> {
        self.fetch(name, limit)?.with_context(|| format!("the repository has no {name}"))
    }

    fn fetch(&self, name: &str, limit: u64) -> Result<Option<Vec<u8>>> {
        self.web.get(&below_encoded(&self.metadata_url, name), limit)
    }
}

/// The file kept of an earlier run. One that cannot be read stops the client: without it a rollback goes unnoticed.
fn remembered(store: &Store, kind: RoleKind, options: &Options) -> Result<Option<Metadata>> {
    let Some(bytes) = store.read(&kind.role())? else { return Ok(None) };
    let path = store.path(&kind.role());
    let damaged = || format!("{} is damaged; remove it to trust the repository's own", path.display());
    Metadata::parse(bytes, &options.limits).map(Some).with_context(damaged)
}

/// The name that a role's file is published under, percent-encoded (6.2.1).
fn published_name(role: &RoleName, version: Version, consistent: bool) -> String {
    let stem = role.file_stem();
    if consistent { format!("{version}.{stem}.json") } else { format!("{stem}.json") }
}

/// How many bytes are read of a file whose length nothing lists.
fn default_limit(kind: RoleKind) -> u64 {
    u64::try_from(Limits::stock().of(kind)).unwrap_or(u64::MAX)
}

/// More than the house reads of any metadata is not asked for, whatever is listed.
const MOST_BYTES: u64 = 64 << 20;
/// Roots taken in one run (5.3.3).
const MOST_ROOTS: usize = 256;
/// Roles visited in one search (5.6.7.1): targets, and 32 delegated ones.
const MOST_ROLES: usize = 33;
