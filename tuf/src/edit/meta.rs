//! Edits of snapshot and timestamp: the `meta` list.

use std::collections::BTreeMap;

use super::EditError;
use super::patch::ObjectPatch;
use super::targets::{check_hashes, hashes_json, says};
use super::text::Json;
use crate::MAX_INTEGER;
use crate::json::Value;
use crate::metadata::MetaFile;
use crate::role::RoleName;

/// Entries as they will be.
#[derive(Debug, Clone, Default)]
pub(super) struct MetaDraft {
    entries: BTreeMap<RoleName, MetaFile>,
}

impl MetaDraft {
    pub(super) fn set(&mut self, role: &RoleName, file: &MetaFile) -> Result<(), EditError> {
        check(file)?;
        self.entries.insert(role.clone(), file.clone());
        Ok(())
    }

    /// What changes the `signed` part; entries keep what else they say.
    pub(super) fn patch(&self, signed: Value<'_>, out: &mut ObjectPatch) {
        let mut patch = ObjectPatch::default();
        let meta = signed.get("meta");
        let mut left: BTreeMap<String, &MetaFile> =
            self.entries.iter().map(|(role, file)| (file_name(role), file)).collect();
        for (name, entry) in meta.map(Value::members).into_iter().flatten() {
            let Some((name, file)) = name.as_str().and_then(|n| left.remove_entry(n.as_ref())) else {
                continue;
            };
            patch.within(name, entry_patch(entry, file));
        }
        for (name, file) in left {
            patch.set(name, meta_json(file));
        }
        out.within("meta", patch);
    }
}

pub(super) fn check(file: &MetaFile) -> Result<(), EditError> {
    if let Some(length) = file.length.filter(|length| *length > MAX_INTEGER) {
        return Err(EditError::Number(length));
    }
    file.hashes.as_ref().map_or(Ok(()), check_hashes)
}

/// The name of a role in `meta`: never with a version before it (specification 6.2.1), never encoded.
pub(super) fn file_name(role: &RoleName) -> String {
    format!("{}.json", role.as_str())
}

pub(super) fn meta_json(file: &MetaFile) -> Json {
    let mut members = Vec::new();
    if let Some(hashes) = &file.hashes {
        members.push(("hashes".to_owned(), hashes_json(hashes)));
    }
    if let Some(length) = file.length {
        members.push(("length".to_owned(), Json::Number(length)));
    }
    members.push(("version".to_owned(), Json::Number(file.version.get())));
    Json::Inline(members)
}

fn entry_patch(entry: Value<'_>, file: &MetaFile) -> ObjectPatch {
    let mut patch = ObjectPatch::default();
    if entry.get("version").and_then(Value::as_u64) != Some(file.version.get()) {
        patch.set("version", Json::Number(file.version.get()));
    }
    match file.length {
        Some(length) if entry.get("length").and_then(Value::as_u64) == Some(length) => {}
        Some(length) => patch.set("length", Json::Number(length)),
        None => patch.remove("length"),
    }
    match &file.hashes {
        Some(hashes) if says(entry, hashes) => {}
        Some(hashes) => patch.set("hashes", hashes_json(hashes)),
        None => patch.remove("hashes"),
    }
    patch
}
