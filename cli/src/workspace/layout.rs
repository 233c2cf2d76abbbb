//! Where things lie in a repository folder.

use std::path::{Path, PathBuf};

use tuf::metadata::Hashes;
use tuf::role::{RoleKind, RoleName, Version};

/// What is published: metadata.
pub(super) const METADATA: &str = "metadata";
/// What is published: target files.
pub(super) const TARGETS: &str = "targets";
/// What waits for signatures.
pub(super) const STAGED: &str = "staged";
/// Name, and sources of target files, of what is staged.
pub(super) const RECORD: &str = "repository.json";
/// The file in `staged/` of a role that is called `repository`.
const RECORD_ROLE: &str = "%72epository.json";
/// Stands in `staged/` from the first write of a publication until `staged/` is gone.
pub(super) const PUBLISHING: &str = ".publishing";
/// Stands in a `staged/` that cannot be moved, from the end of a publication until nothing else is in it.
pub(super) const EMPTYING: &str = ".emptying";
/// Stands in `staged/` while a new repository is begun.
pub(super) const BEGINNING: &str = ".beginning";
/// The next `metadata/` before the swap, the last one after it.
pub(super) const NEXT: &str = ".metadata.next";
/// The last `metadata/` where the file system cannot swap it with the next one in one step.
pub(super) const OLD: &str = ".metadata.next.old";
/// In `metadata/` while it is swapped: target files under the names that they have in `targets/`, which lead here then.
pub(super) const THROUGH: &str = ".tufctl.targets";
/// Two folders with which is tried whether it can.
pub(super) const TRIAL: [&str; 2] = [".tufctl.swap.a", ".tufctl.swap.b"];
/// What keys are called, beside `metadata/`.
pub(super) const NAMES: &str = ".key-names.json";
/// `staged/` on its way out.
pub(super) const DONE: &str = ".staged.done";

/// `N.ROLE.json`, or `ROLE.json` for a timestamp and without consistent snapshots; root is always numbered.
pub(crate) fn file_name(role: &RoleName, version: Version, consistent: bool) -> String {
    let numbered = match role.kind() {
        RoleKind::Root => true,
        RoleKind::Timestamp => false,
        RoleKind::Snapshot | RoleKind::Targets => consistent,
    };
    if numbered { format!("{version}.{}.json", role.file_stem()) } else { plain_name(role) }
}

/// `ROLE.json`.
pub(super) fn plain_name(role: &RoleName) -> String {
    format!("{}.json", role.file_stem())
}

/// The name that a web server looks for when a client asks it for [`file_name`]: the role's name as it stands. `None` where
/// that is the same, leads elsewhere, or could be the name of another role's file.
pub(super) fn served_name(role: &RoleName, version: Version, consistent: bool) -> Option<String> {
    let (name, encoded) = (role.as_str(), role.file_stem());
    let plain = name.split('/').all(|part| !matches!(part, "" | "." | ".."));
    if name == encoded || role_of(&format!("{name}.json")).is_some() || !plain {
        return None;
    }
    file_name(role, version, consistent)
        .strip_suffix(&format!("{encoded}.json"))
        .map(|v| format!("{v}{name}.json"))
}

/// The names that a published file of a role may have, in the order in which it is looked for: encoded, and the one that
/// web servers look for.
pub(crate) fn published_names(
    role: &RoleName,
    version: Version,
    consistent: bool,
) -> impl Iterator<Item = String> + use<> {
    let served = served_name(role, version, consistent);
    [Some(file_name(role, version, consistent)), served].into_iter().flatten()
}

/// The name of a role's file in `staged/`: `ROLE.json`, but for a role named as the record is.
pub(super) fn staged_name(role: &RoleName) -> String {
    let name = plain_name(role);
    if name == RECORD { RECORD_ROLE.to_owned() } else { name }
}

/// The role whose file in `staged/` has this name.
pub(super) fn staged_role(file_name: &str) -> Option<RoleName> {
    match file_name {
        RECORD => None,
        RECORD_ROLE => RoleName::parse("repository").ok(),
        name => role_of(name),
    }
}

/// The role whose file `NAME.json` is; the way back from [`plain_name`].
fn role_of(file_name: &str) -> Option<RoleName> {
    let stem = file_name.strip_suffix(".json")?;
    let role = RoleName::parse(&decode(stem)?).ok()?;
    (role.file_stem() == stem).then_some(role)
}

/// The role whose published file this is, with a version or without.
pub(crate) fn published_role(file_name: &str) -> Option<RoleName> {
    let versioned = file_name.split_once('.').filter(|(number, _)| number.parse::<u64>().is_ok());
    role_of(versioned.map_or(file_name, |(_, name)| name))
}

/// The version in `N.root.json`.
pub(super) fn root_version(file_name: &str) -> Option<Version> {
    version_of(&RoleKind::Root.role(), file_name)
}

/// The version in `N.ROLE.json` of a role.
pub(super) fn version_of(role: &RoleName, file_name: &str) -> Option<Version> {
    let number = file_name.strip_suffix(".json")?.strip_suffix(&role.file_stem())?.strip_suffix('.')?;
    let version = Version::new(number.parse().ok()?)?;
    (version.to_string() == number).then_some(version)
}

/// Where the file of a target lies below `targets/`: first the place that gets the copy, then the others that are
/// links to it.
pub(crate) fn target_places(
    path: &str,
    hashes: &Hashes,
    consistent: bool,
    tough_names: bool,
) -> Vec<PathBuf> {
    if !consistent {
        return vec![PathBuf::from(path)];
    }
    let (folder, name) = path.rsplit_once('/').map_or((None, path), |(folder, name)| (Some(folder), name));
    let mut places = Vec::new();
    for (_, digest) in hashes.iter() {
        let file = format!("{digest}.{name}");
        places.push(folder.map_or_else(|| PathBuf::from(&file), |folder| Path::new(folder).join(&file)));
    }
    if tough_names && folder.is_some() {
        places.extend(hashes.iter().map(|(_, digest)| PathBuf::from(format!("{digest}.{path}"))));
    }
    places
}

/// Percent-decoding of a file name's stem.
fn decode(stem: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(stem.len());
    let mut rest = stem.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        if *first == b'%' {
            let digits = std::str::from_utf8(tail.get(..2)?).ok()?;
            bytes.push(u8::from_str_radix(digits, 16).ok()?);
            rest = tail.get(2..)?;
        } else {
            bytes.push(*first);
            rest = tail;
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_names_lead_back_to_their_roles() {
        for name in ["targets", "a/b", "ü x", "..", "bin-0f"] {
            let role = RoleName::parse(name).unwrap();
            assert_eq!(role_of(&plain_name(&role)), Some(role));
        }
        let odd = RoleName::parse("repository").unwrap();
        assert_ne!(staged_name(&odd), RECORD);
        assert_eq!((staged_role(&staged_name(&odd)), staged_role(RECORD)), (Some(odd), None));
        assert_eq!(role_of("a%2fb.json"), None, "another spelling is another file");
        assert_eq!(role_of("x"), None);
        assert_eq!(root_version("12.root.json"), Version::new(12));
        assert_eq!(root_version("012.root.json"), None);
    }

    #[test]
    fn a_name_that_needs_encoding_has_a_second_name_on_web_servers() {
        let name = |role: &str| served_name(&RoleName::parse(role).unwrap(), Version::new(7).unwrap(), true);
        assert_eq!(name("a role/é").as_deref(), Some("7.a role/é.json"));
        assert_eq!(name("100% sure").as_deref(), Some("7.100% sure.json"));
        for same in ["role", "a%20role", "a/../b", "a//b", "/a"] {
            assert_eq!(name(same), None, "{same}");
        }
        assert_eq!(
            served_name(&RoleName::parse("ü").unwrap(), Version::FIRST, false).as_deref(),
            Some("ü.json")
        );
    }

    #[test]
    fn a_nested_target_lies_where_both_kinds_of_client_look() {
        let hashes = Hashes::sha256(tuf::digest::Sha256Digest::of(b""));
        let digest = tuf::digest::Sha256Digest::of(b"");
        let places = target_places("a/b/c", &hashes, true, true);
        assert_eq!(places, [PathBuf::from(format!("a/b/{digest}.c")), format!("{digest}.a/b/c").into()]);
        assert_eq!(target_places("c", &hashes, true, true), [PathBuf::from(format!("{digest}.c"))]);
        assert_eq!(target_places("a/c", &hashes, false, true), [PathBuf::from("a/c")]);
    }
}
