//! The files of targets: missing ones, others than are listed, and the second names that tough asks for.

use std::path::PathBuf;

use tuf::lint::{Client, File, Finding, Repository, Severity};
use tuf::metadata::{Hashes, TargetFile};

use crate::commands::verify::Check;
use crate::commands::verify::files::{Target, entries};
use crate::render::{Progress, count, visible};
use crate::workspace::target_places;

/// Looks for the files of all targets, and into them as `verify` does unless `by_name` is enough.
pub(super) fn look(check: &Check<'_>, by_name: bool, repository: &Repository, found: &mut Vec<Finding>) {
    let newest = repository.roots.last().and_then(|file| file.content.as_root());
    let consistent = newest.is_none_or(|root| root.consistent_snapshot);
    let folder = check.dir.join("targets");
    let mut progress = Progress::new(check.context.screen, "reading targets");
    let all = repository.targets.values().filter_map(|file| file.content.as_targets());
    let all = all.flat_map(|targets| targets.targets());
    let total = all.fold(0_u64, |sum, (_, listed)| sum.saturating_add(listed.length));
    let mut bytes = 0_u64;
    for file in repository.targets.values() {
        let (mut missing, mut nameless, mut other) = (Seen::default(), Seen::default(), Seen::default());
        for (path, listed, own) in file.content.as_targets().into_iter().flat_map(entries) {
            if !tuf::target::stays_inside(&path) || !listed.hashes.is_understood() {
                continue;
            }
            let target = Target { role: &file.role, path: &path, listed: &listed, first: own.as_deref() };
            let first = target_places(&path, &target.asked_for(), consistent, false);
            if !first.iter().all(|place| folder.join(place).exists()) {
                missing.note(&path);
                continue;
            }
            let mut tick = |more: u64| {
                bytes = bytes.saturating_add(more);
                progress.update(bytes, total);
            };
            if !by_name && let Err(failure) = check.target_file(&target, consistent, &mut tick) {
                other.note(failure.message());
            }
            if consistent
                && path.contains('/')
                && !for_tough(&path, &listed).iter().all(|place| folder.join(place).exists())
            {
                nameless.note(&path);
            }
        }
        tell(file, &missing, &nameless, &other, found);
    }
}

fn tell(file: &File, missing: &Seen, nameless: &Seen, other: &Seen, found: &mut Vec<Finding>) {
    if other.count > 0 {
        let message = format!("{} not what is listed: {}", count(other.count, "target file"), other.first);
        found.push(
            Finding::new("target-file", Severity::Error, file, message)
                .remedy("put the right files back, or add them anew: tufctl target add DIR FILE"),
        );
    }
    if let Some(told) = missing.told() {
        let message = format!("the files of {told} are not in targets/");
        found.push(
            Finding::new("target-file", Severity::Error, file, message)
                .remedy("put them back, or remove the targets: tufctl target remove DIR PATH"),
        );
    }
    if let Some(told) = nameless.told() {
        let message =
            format!("{told} in folders without the second name HASH.FOLDER/NAME that tough asks for");
        found.push(
            Finding::new("tough-names", Severity::Warning, file, message).by(&[Client::Tough]).remedy(
                "publish the role once more with tufctl, which links them; or keep target names flat",
            ),
        );
    }
}

/// The second names of a nested target, which tough asks for: none without a SHA-256, as it reads none of the file then.
fn for_tough(path: &str, listed: &TargetFile<'_>) -> Vec<PathBuf> {
    let hashes = listed.hashes.sha256.map(Hashes::sha256).unwrap_or_default();
    let places = |tough| target_places(path, &hashes, true, tough);
    places(true).split_off(places(false).len())
}

#[derive(Default)]
struct Seen {
    count: u64,
    first: String,
}

impl Seen {
    fn note(&mut self, path: &str) {
        if self.count == 0 {
            self.first = visible(path).into_owned();
        }
        self.count = self.count.saturating_add(1);
    }

    fn told(&self) -> Option<String> {
        (self.count > 0).then(|| format!("{} (such as {})", count(self.count, "target"), self.first))
    }
}
