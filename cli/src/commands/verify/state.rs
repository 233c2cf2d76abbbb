//! `--state`: what was last trusted, so that nothing goes back behind it (5.3 to 5.5).

use std::path::{Path, PathBuf};

use tuf::metadata::{Limits, Metadata};
use tuf::role::RoleKind;
use tuf::trust::{Options, Previous, TrustedSet};

use super::failure;
use crate::error::{Failure, reason};
use crate::workspace::{make_folder, read_file, write_file};

/// The folder of what was last trusted; made when absent, written only after a good run.
pub(super) struct State {
    folder: PathBuf,
}

impl State {
    /// Opens a folder of ours, or one that does not exist yet.
    ///
    /// # Errors
    /// `USAGE` (exit 2) when it is something else.
    pub(super) fn open(folder: &Path) -> Result<Self, Failure> {
        let marked = folder.join(MARK).is_file();
        let empty = std::fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_none());
        if marked || empty || !folder.exists() {
            return Ok(Self { folder: folder.to_owned() });
        }
        Err(Failure::new(reason::USAGE, format!("{} is no state folder of tufctl verify", folder.display()))
            .remedy("name a folder that is absent or empty, or one that an earlier run made"))
    }

    /// Goes on from what was trusted: from the newer of both roots, which must be of one chain.
    pub(super) fn apply(&self, set: TrustedSet, options: &Options) -> Result<TrustedSet, Failure> {
        let mut set = set;
        if let Some(root) = self.read(RoleKind::Root)? {
            let given = set.root();
            if root.version() == given.version() && root.digest() != given.digest() {
                return Err(Failure::new(
                    reason::VERIFICATION,
                    format!(
                        "the root that is given and the one in {} differ under one version",
                        self.folder.display()
                    ),
                )
                .remedy("find out which is right; a new --state begins anew")
                .detail("role", "root")
                .detail("file", self.folder.join("root.json").display().to_string())
                .detail("spec", "5.2"));
            }
            if root.version() > given.version() {
                let name = self.folder.join("root.json").display().to_string();
                set = TrustedSet::from_root(root.bytes().clone(), options).map_err(|e| failure(&e, &name))?;
            }
        }
        let previous =
            Previous { timestamp: self.read(RoleKind::Timestamp)?, snapshot: self.read(RoleKind::Snapshot)? };
        let name = self.folder.display().to_string();
        set.with_previous(previous).map_err(|e| failure(&e, &name))
    }

    /// Remembers a good run. The root goes first: what follows is judged by it.
    pub(super) fn write(&self, set: &TrustedSet) -> Result<(), Failure> {
        make_folder(&self.folder)?;
        write_file(&self.folder.join(MARK), b"What tufctl verify last trusted.\n")?;
        for metadata in [Some(set.root()), set.snapshot(), set.timestamp()].into_iter().flatten() {
            write_file(&self.folder.join(format!("{}.json", metadata.kind())), metadata.bytes())?;
        }
        Ok(())
    }

    fn read(&self, kind: RoleKind) -> Result<Option<Metadata>, Failure> {
        let path = self.folder.join(format!("{kind}.json"));
        let Some(bytes) = read_file(&path, super::MOST_BYTES)? else { return Ok(None) };
        let parsed = Metadata::parse(bytes, &Limits::agent()).map_err(|e| {
            Failure::new(reason::STATE_CORRUPT, format!("{}: {e}", path.display()))
                .remedy("restore it, or begin anew with another --state")
        })?;
        Ok(Some(parsed))
    }
}

const MARK: &str = ".tufctl-verify-state";
