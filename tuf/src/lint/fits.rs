//! Rules over what files say of each other: roots of the next root, lists of the files that they list. Each is the check
//! that the client workflow makes, made for every pair that is there.

use super::{File, Finding, Repository, Severity};
use crate::{
    forms,
    private::{Publics, private_key_in},
    trust::{check_listed_bytes, check_listed_version},
    verify::check_signatures,
};

/// Each root that follows another must be signed by the keys of both (5.3.4).
pub(super) fn roots(repository: &Repository, found: &mut Vec<Finding>) {
    for pair in repository.roots.windows(2) {
        let [old, new] = pair else { continue };
        let Some(by) = old.content.as_root() else { continue };
        if old.content.version().next() != Some(new.content.version()) {
            // A gap, or a wrong version: told as such.
            continue;
        }
        let report = check_signatures(&new.content, &by.keys, &by.root);
        if !report.met() {
            let message = format!(
                "{} of {} signatures needed by keys of version {} of root: clients that trust that one go no further",
                report.have(),
                report.need,
                old.content.version()
            );
            found.push(Finding::new("root-chain", Severity::Error, new, message).remedy(SIGN));
        }
    }
    // The newest is looked at as everything that is signed.
    for root in repository.roots.iter().rev().skip(1) {
        let Some(own) = root.content.as_root() else { continue };
        let report = check_signatures(&root.content, &own.keys, &own.root);
        if !report.met() {
            let message = format!("{} of {} signatures needed by its own keys", report.have(), report.need);
            found.push(Finding::new("root-chain", Severity::Error, root, message).remedy(SIGN));
        }
    }
}

/// Length, digests and version of the snapshot by the timestamp (5.5.2, 5.5.4), of targets roles by the snapshot (5.6.2,
/// 5.6.4).
pub(super) fn listed(repository: &Repository, found: &mut Vec<Finding>) {
    let timestamp =
        repository.timestamp.iter().filter_map(|file| file.content.as_timestamp().map(|it| (file, it)));
    for (by, list) in timestamp {
        repository.snapshot.iter().for_each(|file| one(file, &list.snapshot, by, found));
    }
    let snapshot =
        repository.snapshot.iter().filter_map(|file| file.content.as_snapshot().map(|it| (file, it)));
    for (by, list) in snapshot {
        let files = repository.targets.iter().filter_map(|(role, file)| Some((file, list.meta.get(role)?)));
        files.for_each(|(file, entry)| one(file, entry, by, found));
    }
}

fn one(file: &File, entry: &crate::metadata::MetaFile, by: &File, found: &mut Vec<Finding>) {
    let bytes = check_listed_bytes(file.content.bytes(), entry, &file.role, &by.role, "");
    let version = check_listed_version(&file.content, entry.version, &file.role, &by.role, "");
    for error in [bytes, version].into_iter().filter_map(Result::err) {
        found.push(
            Finding::new("listed", Severity::Error, file, error.kind.to_string()).remedy(
                "restore the file that is listed, or publish both anew: tufctl bump, then tufctl sign",
            ),
        );
    }
}

/// Forms that the specification does not allow, in every file.
pub(super) fn forms(repository: &Repository, found: &mut Vec<Finding>) {
    for file in repository.files() {
        for fault in forms::faults(&file.content) {
            let message = format!("{} (specification {})", fault.message, fault.spec);
            let severity = if fault.rule == forms::ROOT_LISTED { Severity::Warning } else { Severity::Error };
            let finding = Finding::new(fault.rule, severity, file, message);
            let finding = finding.remedy("put it right in the next version, and sign that");
            found.push(if fault.clients.is_empty() { finding.by_none() } else { finding.by(fault.clients) });
        }
    }
}

/// Private keys, in every file: an old root keeps what was in it for ever.
pub(super) fn private_keys(repository: &Repository, found: &mut Vec<Finding>) {
    let mut publics = Publics::default();
    repository.files().for_each(|file| publics.add(&file.content));
    for file in repository.files() {
        if let Some(place) = private_key_in(file.content.document().root(), &publics) {
            let message = format!("a private key stands at {place}: all can read it now");
            found.push(
                Finding::new("private-key", Severity::Error, file, message)
                    .remedy("replace the key: tufctl root replace-key, or tufctl delegation edit"),
            );
        }
    }
}

const SIGN: &str =
    "merge the signatures that are missing: tufctl sign --from; or restore the file from a good copy";
