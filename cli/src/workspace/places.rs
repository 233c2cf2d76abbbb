//! Whether the files of all targets can lie in `targets/` side by side.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use tuf::metadata::{Hashes, TargetFile};
use tuf::role::{RoleKind, RoleName};

use super::{Workspace, beneath, layout};
use crate::error::{Failure, reason};

impl Workspace {
    /// Judges targets that are to be listed, against each other and against all that is listed now. With consistent
    /// snapshots and names for tough, `p/q` and `p/q/r` of one content need `HASH.p/q` as a file and as a folder; without
    /// consistent snapshots `p` and `p/q` do.
    ///
    /// # Errors
    /// `TARGET_NAME` with both names.
    pub(crate) fn check_places<'t>(
        &self,
        new: impl Iterator<Item = (&'t str, &'t Hashes)> + Clone,
        tough_names: bool,
    ) -> Result<(), Failure> {
        let consistent = self.consistent_snapshot()?;
        let places =
            |path: &str, hashes: &Hashes| layout::target_places(path, hashes, consistent, tough_names);
        let (mut as_file, mut as_folder) = (HashMap::new(), HashMap::new());
        for (path, hashes) in new.clone() {
            for place in places(path, hashes) {
                for above in place.ancestors().skip(1).filter(|above| *above != Path::new("")) {
                    as_folder.entry(above.to_owned()).or_insert(path);
                }
                as_file.insert(place, path);
            }
        }
        if as_file.is_empty() {
            return Ok(());
        }
        let judge = |path: &str, hashes: &Hashes| {
            let collides = |place: &PathBuf| {
                let above = place.ancestors().skip(1).find_map(|above| as_file.get(above));
                as_folder.get(place).or(above).copied()
            };
            let other = places(path, hashes).iter().find_map(collides).filter(|other| *other != path);
            other.map_or(Ok(()), |other| Err(collision(path, other, consistent)))
        };
        new.clone().try_for_each(|(path, hashes)| judge(path, hashes))?;
        for node in self.tree()?.iter() {
            let Some(metadata) = self.current(&node.role)? else { continue };
            let targets = metadata.as_targets();
            targets
                .iter()
                .flat_map(|t| t.targets())
                .try_for_each(|(path, file)| judge(&path, &file.hashes))?;
        }
        Ok(())
    }

    /// The same of all targets that are staged and not published.
    ///
    /// # Errors
    /// `TARGET_NAME` with both names.
    pub(crate) fn check_staged_places(&self, tough_names: bool) -> Result<(), Failure> {
        let incoming = self.incoming()?;
        let new = incoming.iter().map(|one| (one.path.as_str(), &one.target.hashes));
        self.check_places(new, tough_names)
    }

    /// Whether a target's file can get its place below `targets/`. Another name of it may be taken, if by no link: then it
    /// goes without.
    pub(super) fn check_way(&self, place: &Path, others: &[PathBuf]) -> Result<(), Failure> {
        let targets = self.targets_folder();
        let links =
            others.iter().filter_map(|other| obstacle(&targets, other)).find(|found| found.is_symlink());
        obstacle(&targets, place).or(links).map_or(Ok(()), |found| Err(beneath::in_the_way(&found)))
    }

    /// Whether `metadata/` and `targets/` are folders of this repository, where they are at all.
    pub(super) fn check_folders(&self) -> Result<(), Failure> {
        for folder in [self.metadata_folder(), self.targets_folder()] {
            if std::fs::symlink_metadata(&folder).is_ok_and(|found| !found.is_dir()) {
                return Err(beneath::in_the_way(&folder));
            }
        }
        Ok(())
    }

    /// Targets that the staged roles list and the published ones do not, or not so.
    pub(super) fn listed_anew(&self) -> Result<Vec<(RoleName, String, TargetFile<'static>)>, Failure> {
        let mut all = Vec::new();
        for role in self.staged_roles()?.into_iter().filter(|role| role.kind() == RoleKind::Targets) {
            let Some(staged) = self.staged(&role)? else { continue };
            let new = tuf::diff::new_targets(self.published(&role)?.as_ref(), &staged);
            all.extend(new.into_iter().map(|(path, target)| (role.clone(), path, target)));
        }
        Ok(all)
    }
}

/// What keeps a file from its place below `targets/`: a folder there, or something that is none on the way to it.
pub(super) fn obstacle(targets: &Path, place: &Path) -> Option<PathBuf> {
    let about = |below: &Path| std::fs::symlink_metadata(targets.join(below)).ok();
    let on_the_way = |above: &&Path| *above != Path::new("") && about(above).is_some_and(|it| !it.is_dir());
    let found = place.ancestors().skip(1).find(on_the_way);
    found.or_else(|| about(place).is_some_and(|it| it.is_dir()).then_some(place)).map(|it| targets.join(it))
}

fn collision(path: &str, other: &str, consistent: bool) -> Failure {
    let why = if consistent {
        "they have the same content, and clients of the kind of tough look for a file of one where the other has a folder"
    } else {
        "one would be a file where the other has a folder"
    };
    Failure::new(
        reason::TARGET_NAME,
        format!("targets {path} and {other} cannot both be published: {why}"),
    )
    .remedy("give one of them another name with --path; one that is staged is taken out by: tufctl target remove")
    .detail("path", path)
    .detail("other", other)
}
