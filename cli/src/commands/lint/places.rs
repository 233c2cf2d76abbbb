//! Where the files of targets lie: missing ones, and the second names that tough asks for.

use std::path::Path;

use tuf::lint::{Client, File, Finding, Repository, Severity};
use tuf::metadata::{Hashes, TargetFile};

use crate::render::{count, visible};
use crate::workspace::target_places;

/// Looks for the files of all targets by name; `verify` looks into them.
pub(super) fn look(dir: &Path, repository: &Repository, found: &mut Vec<Finding>) {
    let newest = repository.roots.last().and_then(|file| file.content.as_root());
    let consistent = newest.is_none_or(|root| root.consistent_snapshot);
    let folder = dir.join("targets");
    for file in repository.targets.values() {
        let (mut missing, mut nameless) = (Seen::default(), Seen::default());
        for (path, listed) in file.content.as_targets().iter().flat_map(|targets| targets.targets()) {
            if !tuf::target::stays_inside(&path) || !listed.hashes.is_understood() {
                continue;
            }
            let places = |tough| target_places(&path, &understood(&listed), consistent, tough);
            let first = places(false);
            if !first.iter().all(|place| folder.join(place).exists()) {
                missing.note(&path);
            } else if consistent
                && path.contains('/')
                && !places(true).iter().skip(first.len()).all(|place| folder.join(place).exists())
            {
                nameless.note(&path);
            }
        }
        tell(file, &missing, &nameless, found);
    }
}

fn tell(file: &File, missing: &Seen, nameless: &Seen, found: &mut Vec<Finding>) {
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

fn understood(listed: &TargetFile<'_>) -> Hashes {
    Hashes { other: Vec::new(), ..listed.hashes.clone() }
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
