//! Metadata on its way to the agent, which verifies it and takes note of it: in several calls where it is much.

use std::collections::BTreeSet;

use tuf::metadata::{Delegations, Metadata};
use tuf::role::RoleName;
use tufagent_proto::v1;

use crate::client::{Agent, WireFile};
use crate::error::Failure;

type Named = (RoleName, Metadata);

/// Gives the agent complete metadata in the order root chain, targets roles (parents first), snapshot, timestamp.
pub(super) fn observe(
    agent: &Agent,
    repository: &str,
    published: bool,
    files: &[Named],
    wire: &dyn Fn(&RoleName, &Metadata) -> Result<WireFile, Failure>,
) -> Result<v1::ObserveReply, Failure> {
    let mut all = v1::ObserveReply::default();
    for part in parts(files) {
        let upload = part.into_iter().map(|(role, file)| wire(role, file)).collect::<Result<Vec<_>, _>>()?;
        let seen = agent.observe(repository, published, upload)?;
        all.verified.extend(seen.verified);
        for alarm in seen.alarms {
            if !all.alarms.contains(&alarm) {
                all.alarms.push(alarm);
            }
        }
    }
    Ok(all)
}

/// Those of `files` that the agent has not verified yet, in their order.
pub(super) fn missing(
    agent: &Agent,
    repository: &str,
    published: bool,
    files: Vec<Named>,
) -> Result<Vec<Named>, Failure> {
    let named = |(role, metadata): &Named| v1::FileDigest {
        role: role.as_str().into(),
        version: metadata.version().get(),
        sha256: metadata.digest().to_string(),
        file_sha256: metadata.file_digest().to_string(),
    };
    let mut wanted = BTreeSet::new();
    for some in files.chunks(MOST_NAMED) {
        let missing = agent.missing(repository, published, some.iter().map(named).collect())?.into_iter();
        wanted.extend(missing.map(|file| (file.role, file.version, file.sha256, file.file_sha256)));
    }
    let is_missing = |file: &Named| {
        let name = named(file);
        wanted.contains(&(name.role, name.version, name.sha256, name.file_sha256))
    };
    Ok(files.into_iter().filter(is_missing).collect())
}

/// Cuts a long list into what one call takes. Whoever delegates to a role of a part is in it, before that role: the agent
/// judges by what it is shown in the same call.
fn parts(files: &[Named]) -> Vec<Vec<&Named>> {
    let mut parts: Vec<Vec<&Named>> = Vec::new();
    let mut at = 0;
    while let Some(first) = files.get(at) {
        let (mut end, mut bytes) = (at.saturating_add(1), first.1.bytes().len());
        while let Some((_, next)) = files.get(end).filter(|_| end.saturating_sub(at) < MOST_FILES) {
            bytes = bytes.saturating_add(next.bytes().len());
            if bytes > MOST_BYTES {
                break;
            }
            end = end.saturating_add(1);
        }
        let (before, part) = (files.get(..at).unwrap_or_default(), files.get(at..end).unwrap_or_default());
        let leads_here = |(_, file): &&Named| {
            delegations(file).is_some_and(|to| part.iter().any(|(role, _)| to.role_keys(role).is_some()))
        };
        parts.push(before.iter().filter(leads_here).chain(part).collect());
        at = end;
    }
    parts
}

fn delegations(file: &Metadata) -> Option<&Delegations> {
    file.as_targets()?.delegations.as_ref()
}

/// The most files of a part, beside those that delegate to them; a quarter of what the agent takes in one call, so that
/// others have their turn.
const MOST_FILES: usize = 1024;
/// The most bytes of a part; the same.
const MOST_BYTES: usize = 64 << 20;
/// So many files are asked about at once: their names fill half a message.
const MOST_NAMED: usize = 8192;

#[cfg(test)]
mod tests {
    use tuf::edit::{Editor, new_targets};
    use tuf::key::Key;
    use tuf::metadata::{Limits, Metadata};
    use tuf::role::{RoleName, Version};
    use tuf::time::UtcTime;

    use super::{MOST_FILES, Named, parts};

    fn read(name: &str, bytes: Vec<u8>) -> Named {
        (RoleName::parse(name).unwrap(), Metadata::parse(bytes, &Limits::agent()).unwrap())
    }

    #[test]
    fn a_long_list_is_cut_and_each_part_begins_with_who_delegates_to_it() {
        let expires = UtcTime::from_unix(1_900_000_000);
        let blank = || new_targets(Version::FIRST, expires);
        let key = Key::from_json(
            br#"{"keytype": "ed25519", "scheme": "ed25519",
            "keyval": {"public": "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"}}"#,
        )
        .unwrap();
        let (_, top) = read("targets", blank());
        let mut edit = Editor::new(&top);
        edit.set_succinct(&RoleName::parse("bin").unwrap(), 4096, &[key], 1).unwrap();
        let mut files = vec![read("targets", edit.finish().unwrap()), read("other", blank())];
        files.extend((0..2 * MOST_FILES).map(|bin| read(&format!("bin-{bin:03x}"), blank())));
        files.push(read("snapshot-like", blank()));
        let names: Vec<Vec<&str>> =
            parts(&files).iter().map(|part| part.iter().map(|(role, _)| role.as_str()).collect()).collect();
        assert_eq!(names.iter().map(Vec::len).collect::<Vec<_>>(), [1024, 1025, 4]);
        assert_eq!(names[0][..3], ["targets", "other", "bin-000"]);
        assert_eq!(names[1][..2], ["targets", "bin-3fe"]);
        assert_eq!(names[2], ["targets", "bin-7fe", "bin-7ff", "snapshot-like"]);
        assert!(parts(&[]).is_empty());
    }
}
