//! Targets metadata (specification 4.5).

use super::{
    delegations::Delegations,
    error::{self, Read, inside, member, object, optional},
    files::Hashes,
};
use crate::{
    json::{Document, Value},
    key::KeyId,
};
use std::{borrow::Cow, sync::Arc};

/// What a targets role says: its files, read anew from the text on each walk, and its delegations.
#[derive(Clone)]
#[non_exhaustive]
pub struct Targets {
    document: Arc<Document>,
    /// Index of the object `targets`.
    files: u32,
    count: usize,
    /// The delegations, if the role has any.
    pub delegations: Option<Delegations>,
}

impl Targets {
    /// Reads and checks every target once; what is kept is a place in the text.
    pub(super) fn read(document: &Arc<Document>, signed: Value<'_>) -> Read<Self> {
        let files = member(signed, "targets", |files| {
            for (path, file) in object(files)?.members() {
                // The path is only needed for the error, and unescaping it for each of 100,000 costs.
                TargetFile::read(file)
                    .map_err(|error| error.within(&error::subscript(&path.as_str().unwrap_or_default())))?;
            }
            Ok(files)
        })?;
        Ok(Self {
            document: Arc::clone(document),
            files: files.index(),
            count: files.len(),
            delegations: optional(signed, "delegations", Delegations::read)?,
        })
    }

    /// Paths and files in the order of the text.
    pub fn targets(&self) -> impl Iterator<Item = (Cow<'_, str>, TargetFile<'_>)> {
        let members = self.value().members();
        members.filter_map(|(path, file)| Some((path.as_str()?, TargetFile::read(file).ok()?)))
    }

    /// The file at `path`. Walks over all of them: take [`Targets::targets`] for many.
    pub fn find(&self, path: &str) -> Option<TargetFile<'_>> {
        TargetFile::read(self.value().get(path)?).ok()
    }

    /// How many files there are.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there are no files.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The object `targets` itself.
    pub fn value(&self) -> Value<'_> {
        self.document.value_at(self.files)
    }

    /// Keyids of the delegations that are not the hash of their key; see [`super::Root::wrong_keyids`].
    pub fn wrong_keyids(&self) -> Vec<(KeyId, KeyId)> {
        self.delegations.as_ref().map(Delegations::wrong_keyids).unwrap_or_default()
    }
}

impl std::fmt::Debug for Targets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Targets").field("count", &self.count).field("delegations", &self.delegations).finish()
    }
}

/// What metadata says of one target file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetFile<'d> {
    /// Its exact length in bytes.
    pub length: u64,
    /// Its digests.
    pub hashes: Hashes,
    /// The text of `custom`, an object of the application, as it stands.
    pub custom: Option<Cow<'d, str>>,
}

impl<'d> TargetFile<'d> {
    /// A file with its length and digests and nothing else.
    pub const fn new(length: u64, hashes: Hashes) -> Self {
        Self { length, hashes, custom: None }
    }

    /// The same, holding on to nothing.
    pub fn into_owned(self) -> TargetFile<'static> {
        let custom = self.custom.map(|text| Cow::Owned(text.into_owned()));
        TargetFile { length: self.length, hashes: self.hashes, custom }
    }

    /// Reads one entry of `targets`.
    pub(crate) fn read(value: Value<'d>) -> Read<Self> {
        let (mut length, mut hashes, mut custom) = (None, None, None);
        // One walk over the members, as this is done for each of 100,000 targets.
        for (name, value) in object(value)?.members() {
            match name.raw_str() {
                "\"length\"" => length = Some(inside(value, "length", error::count)?),
                "\"hashes\"" => hashes = Some(inside(value, "hashes", Hashes::read)?),
                "\"custom\"" => custom = Some(Cow::Borrowed(inside(value, "custom", object)?.raw_str())),
                _ => {}
            }
        }
        // Names written with escapes end here, where they are looked for once more.
        Ok(Self {
            length: length.map_or_else(|| member(value, "length", error::count), Ok)?,
            hashes: hashes.map_or_else(|| member(value, "hashes", Hashes::read), Ok)?,
            custom: match custom {
                Some(text) => Some(text),
                None => optional(value, "custom", object)?.map(|custom| Cow::Borrowed(custom.raw_str())),
            },
        })
    }
}
