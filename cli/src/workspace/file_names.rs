//! Whether the files of staged roles can lie in `metadata/`: no delegate's role has the name of a root, nor one that file
//! systems do not hold.

use std::path::Path;

use tuf::metadata::Metadata;
use tuf::role::RoleName;
use tuf::word;

use super::{Workspace, layout};
use crate::error::{Failure, reason};
use crate::render::typed_path;

impl Workspace {
    /// Judges the names under which staged roles would be published, which those who delegate to them have chosen.
    ///
    /// # Errors
    /// `POLICY` with `details.role` and `details.file`.
    pub(super) fn check_file_names(&self) -> Result<(), Failure> {
        for role in self.staged_files()?.into_iter().filter(|role| !role.is_top_level()) {
            let plain = layout::plain_name(&role);
            let is_short = plain.len() <= SHORT;
            let is_root = layout::root_version(&plain.to_ascii_lowercase()).is_some();
            if is_short && !is_root {
                continue;
            }
            let consistent = self.consistent_snapshot()?;
            let Some(staged) = self.staged(&role)? else { continue };
            if is_root && !consistent {
                let why = format!("its file would be metadata/{plain}, which is the name of a root");
                return Err(self.unfit(&role, &plain, &why)?);
            }
            if !is_short && !self.fits(&role, &staged, consistent)? {
                let why = "its name, percent-encoded and with a version before it, is longer than a file name can be";
                return Err(self.unfit(&role, &plain, why)?);
            }
        }
        Ok(())
    }

    /// Whether file systems hold the name: that of a new role with every version that there can be.
    fn fits(&self, role: &RoleName, staged: &Metadata, consistent: bool) -> Result<bool, Failure> {
        if self.published(role)?.is_none() {
            let version = if consistent { LONGEST_VERSION } else { 0 };
            return Ok(version + layout::plain_name(role).len() <= MOST_BYTES);
        }
        let holds = |name: &str| Path::new(name).iter().all(|part| part.len() <= MOST_BYTES);
        Ok(layout::published_names(role, staged.version(), consistent).any(|name| holds(&name)))
    }

    fn unfit(&self, role: &RoleName, file: &str, why: &str) -> Result<Failure, Failure> {
        let parents = self.parents(role)?;
        let by = parents.first().map(|(parent, _)| parent.clone());
        let (whose, remedy) = match &by {
            Some(parent) => {
                let of_parent = Path::new(layout::STAGED).join(layout::staged_name(parent));
                let parent_is_theirs = format!(
                    "whoever holds the keys of {parent} gives it another name in a new {}",
                    typed_path(&of_parent)
                );
                let out = format!(
                    "tufctl delegation remove DIR {}",
                    word::before(role.as_str(), &word::option("--parent", parent.as_str()))
                );
                (
                    format!(", to which {parent} delegates,"),
                    format!("{parent_is_theirs}, or takes the delegation out: {out}"),
                )
            }
            None => (String::new(), "nobody delegates to it".to_owned()),
        };
        let staged = Path::new(layout::STAGED).join(layout::staged_name(role));
        Ok(Failure::new(reason::POLICY, format!("role {role}{whose} cannot be published: {why}"))
            .remedy(format!("{remedy}; then remove {}", typed_path(&staged)))
            .detail("role", role.as_str())
            .detail("file", file))
    }
}

/// What file systems hold.
const MOST_BYTES: usize = 255;
/// A version of 20 digits, and the dot behind it.
const LONGEST_VERSION: usize = 21;
/// A file name to which no version adds too much.
const SHORT: usize = MOST_BYTES - LONGEST_VERSION;
