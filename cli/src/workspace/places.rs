//! Whether the files of all targets can lie in `targets/` side by side.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use tuf::metadata::{Hashes, Metadata, TargetFile, Targets};
use tuf::role::{RoleKind, RoleName};
use tuf::word;

use super::{Workspace, beneath, layout};
use crate::error::{Failure, reason};

/// A target that a role is to list.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Listed<'t> {
    pub(crate) role: &'t RoleName,
    pub(crate) path: &'t str,
    pub(crate) file: &'t TargetFile<'static>,
}

/// Where the files of new targets lie, and what they are called.
struct Places<'t> {
    consistent: bool,
    tough_names: bool,
    as_file: HashMap<PathBuf, &'t str>,
    as_folder: HashMap<PathBuf, &'t str>,
}

impl<'t> Places<'t> {
    fn of(&self, path: &str, hashes: &Hashes) -> Vec<PathBuf> {
        layout::target_places(path, hashes, self.consistent, self.tough_names)
    }

    fn add(&mut self, new: &Listed<'t>) {
        for place in self.of(new.path, &new.file.hashes) {
            for above in place.ancestors().skip(1).filter(|above| *above != Path::new("")) {
                self.as_folder.entry(above.to_owned()).or_insert(new.path);
            }
            self.as_file.insert(place, new.path);
        }
    }

    /// Whether a target can lie beside all of these.
    fn judge(&self, path: &str, hashes: &Hashes) -> Result<(), Failure> {
        let collides = |place: &PathBuf| {
            let above = place.ancestors().skip(1).find_map(|above| self.as_file.get(above));
            self.as_folder.get(place).or(above).copied()
        };
        let other = self.of(path, hashes).iter().find_map(collides).filter(|other| *other != path);
        other.map_or(Ok(()), |other| Err(collision(path, other, self.consistent)))
    }

    /// Judges those targets of a role that may be in the way of a new one: the others of 100,000 cannot be.
    fn judge_near(&self, new: &Listed<'_>, targets: &Targets) -> Result<(), Failure> {
        let judge = |path: &str, file: &TargetFile<'_>| self.judge(path, &file.hashes);
        // Those that are a file where this one has a folder.
        for (at, _) in new.path.match_indices('/') {
            let (above, _) = new.path.split_at(at);
            for other in std::iter::once(above.to_owned()).chain(unhashed(above)) {
                targets.find(&other).map_or(Ok(()), |file| judge(&other, &file))?;
            }
        }
        // Those that have a folder where this one is a file.
        let place = self.of(new.path, &new.file.hashes).into_iter().next();
        let place = place.and_then(|place| place.to_str().map(ToOwned::to_owned));
        for folder in std::iter::once(new.path.to_owned()).chain(place) {
            targets.beginning_with(&format!("{folder}/")).try_for_each(|(path, file)| judge(&path, &file))?;
        }
        Ok(())
    }
}

/// The target whose file would lie at this path, if its last name is one of a digest: `a/b` for `a/DIGEST.b`.
fn unhashed(path: &str) -> Option<String> {
    let (folder, name) = path.rsplit_once('/').map_or(("", path), |(folder, name)| (folder, name));
    let (digest, rest) = name.split_once('.')?;
    let is_digest = !digest.is_empty() && digest.bytes().all(|b| b.is_ascii_hexdigit());
    is_digest.then(|| if folder.is_empty() { rest.to_owned() } else { format!("{folder}/{rest}") })
}

impl Workspace {
    /// Judges targets that are to be listed, against each other and against all that is listed now. With consistent
    /// snapshots and names for tough, `p/q` and `p/q/r` of one content need `HASH.p/q` as a file and as a folder; without
    /// consistent snapshots `p` and `p/q` do, and two roles that list one path share one file.
    ///
    /// # Errors
    /// `TARGET_NAME` with both names, or with both roles.
    pub(crate) fn check_places<'t>(
        &self,
        new: impl Iterator<Item = Listed<'t>> + Clone,
        tough_names: bool,
    ) -> Result<(), Failure> {
        let consistent = self.consistent_snapshot()?;
        let (as_file, as_folder) = (HashMap::new(), HashMap::new());
        let mut places = Places { consistent, tough_names, as_file, as_folder };
        new.clone().for_each(|one| places.add(&one));
        if places.as_file.is_empty() {
            return Ok(());
        }
        new.clone().try_for_each(|one| places.judge(one.path, &one.file.hashes))?;
        let near = self.near()?;
        for node in near.iter().filter(|node| !node.bin) {
            let Some(metadata) = self.current(&node.role)? else { continue };
            let Some(targets) = metadata.as_targets() else { continue };
            new.clone().try_for_each(|one| places.judge_near(&one, targets))?;
        }
        for one in new.clone().filter(|_| near.iter().any(|node| node.bin)) {
            // Which bins list what is in its way only a look into all of them would tell, or one at the files.
            let place = places.of(one.path, &one.file.hashes).into_iter().next().unwrap_or_default();
            if let Some(found) = obstacle(&self.targets_folder(), &place) {
                return Err(beneath::in_the_way(&found));
            }
        }
        if consistent { Ok(()) } else { self.check_shared(new) }
    }

    /// Without consistent snapshots, whoever lists the same path means the same file.
    fn check_shared<'t>(&self, new: impl Iterator<Item = Listed<'t>>) -> Result<(), Failure> {
        let mut before: HashMap<&str, Listed<'t>> = HashMap::new();
        for one in new {
            if let Some(other) = before.insert(one.path, one).filter(|other| !same_file(one.file, other.file))
            {
                return Err(two_files(&one, other.role));
            }
            for role in self.roles_near(one.path)?.into_iter().filter(|role| role != one.role) {
                let current = self.current(&role)?;
                let there = current.as_ref().and_then(Metadata::as_targets).and_then(|t| t.find(one.path));
                if there.is_some_and(|there| !same_file(one.file, &there)) {
                    return Err(two_files(&one, &role));
                }
            }
        }
        Ok(())
    }

    /// The same of all targets that are staged and not published.
    ///
    /// # Errors
    /// `TARGET_NAME` with both names, or with both roles.
    pub(crate) fn check_staged_places(&self, tough_names: bool) -> Result<(), Failure> {
        let anew = self.listed_anew()?;
        let new = anew.iter().map(|(role, path, file)| Listed { role, path, file });
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

    /// The paths that staged roles list and their published versions do not.
    pub(crate) fn new_paths(&self) -> Result<BTreeMap<RoleName, Vec<String>>, Failure> {
        let mut all: BTreeMap<RoleName, Vec<String>> = BTreeMap::new();
        for (role, path, _) in self.listed_anew()?.iter() {
            let published = self.published(role)?;
            let before = published.as_ref().and_then(Metadata::as_targets);
            if before.is_none_or(|targets| targets.find(path).is_none()) {
                all.entry(role.clone()).or_default().push(path.clone());
            }
        }
        Ok(all)
    }

    /// Targets that the staged roles list and the published ones do not, or not so.
    pub(super) fn listed_anew(&self) -> Result<Rc<[ListedAnew]>, Failure> {
        if let Some(known) = &*self.anew.borrow() {
            return Ok(Rc::clone(known));
        }
        let mut all = Vec::new();
        for role in self.staged_roles()?.into_iter().filter(|role| role.kind() == RoleKind::Targets) {
            let Some(staged) = self.staged(&role)? else { continue };
            let new = tuf::diff::new_targets(self.published(&role)?.as_ref(), &staged);
            all.extend(new.into_iter().map(|(path, target)| (role.clone(), path, target)));
        }
        let all: Rc<[ListedAnew]> = all.into();
        *self.anew.borrow_mut() = Some(Rc::clone(&all));
        Ok(all)
    }
}

/// A target that a role lists anew: of a large role they are looked for once.
pub(super) type ListedAnew = (RoleName, String, TargetFile<'static>);

/// What keeps a file from its place below `targets/`: a folder there, or something that is none on the way to it.
pub(super) fn obstacle(targets: &Path, place: &Path) -> Option<PathBuf> {
    let about = |below: &Path| std::fs::symlink_metadata(targets.join(below)).ok();
    let on_the_way = |above: &&Path| *above != Path::new("") && about(above).is_some_and(|it| !it.is_dir());
    let found = place.ancestors().skip(1).find(on_the_way);
    found.or_else(|| about(place).is_some_and(|it| it.is_dir()).then_some(place)).map(|it| targets.join(it))
}

/// Whether two entries may be of one file: alike in length, and in every digest that both have.
fn same_file(one: &TargetFile<'_>, other: &TargetFile<'_>) -> bool {
    one.length == other.length && one.hashes.conflicts(&other.hashes).is_empty()
}

fn two_files(new: &Listed<'_>, other: &RoleName) -> Failure {
    let (path, role) = (new.path, new.role);
    Failure::new(
        reason::TARGET_NAME,
        format!(
            "{other} lists target {path} with other content than {role} would: this repository has no consistent \
             snapshots, so both would be the one file targets/{path}"
        ),
    )
    .remedy(format!(
        "take it out of the other role first: tufctl target remove DIR {}",
        word::before(path, &word::option("--role", other.as_str()))
    ))
    .detail("path", path)
    .detail("role", other.as_str())
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
