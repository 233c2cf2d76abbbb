//! Targets metadata (specification 4.5).

use super::{
    delegations::Delegations,
    error::{self, Read, inside, member, object, optional},
    files::Hashes,
};
use crate::{
    json::{Document, Kind, Value},
    key::KeyId,
};
use std::{
    borrow::Cow,
    ops::Range,
    sync::{Arc, OnceLock},
};

/// What a targets role says: its files, read anew from the text on each walk, and its delegations.
#[derive(Clone)]
#[non_exhaustive]
pub struct Targets {
    document: Arc<Document>,
    /// Index of the object `targets`.
    files: u32,
    count: usize,
    /// Indexes of all paths, by the order of the paths; made when one is looked for.
    index: OnceLock<Arc<[u32]>>,
    /// The delegations, if the role has any.
    pub delegations: Option<Delegations>,
}

impl Targets {
    /// Reads and checks every target once, but for those at `checked`, rising; what is kept is a place in the text.
    pub(super) fn read(document: &Arc<Document>, signed: Value<'_>, checked: &[Range<u32>]) -> Read<Self> {
        let files = member(signed, "targets", |files| {
            let (mut members, mut checked) = (object(files)?.members(), checked.iter().peekable());
            while let Some((path, file)) = members.next() {
                if let Some(same) = checked.next_if(|range| range.start == path.index()) {
                    members.skip_to(same.end);
                    continue;
                }
                if TargetFile::is_plain(file) {
                    continue;
                }
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
            index: OnceLock::new(),
            delegations: optional(signed, "delegations", Delegations::read)?,
        })
    }

    /// Paths and files in the order of the text.
    pub fn targets(&self) -> impl Iterator<Item = (Cow<'_, str>, TargetFile<'_>)> {
        let members = self.value().members();
        members.filter_map(|(path, file)| Some((path.as_str()?, TargetFile::read(file).ok()?)))
    }

    /// The same role in another document, where the object `targets` has another index and says the same.
    pub(super) fn moved(&self, document: &Arc<Document>, files: u32) -> Self {
        let (count, delegations) = (self.count, self.delegations.clone());
        Self { document: Arc::clone(document), files, count, index: OnceLock::new(), delegations }
    }

    /// What is kept of the role beside its document.
    pub(super) fn without_document(self) -> impl FnOnce(&Arc<Document>) -> Self {
        let Self { files, count, delegations, .. } = self;
        move |document| Self {
            document: Arc::clone(document),
            files,
            count,
            index: OnceLock::new(),
            delegations,
        }
    }

    /// The file at `path`. The first call walks over all of them, later ones take a binary search.
    pub fn find(&self, path: &str) -> Option<TargetFile<'_>> {
        TargetFile::read(self.find_value(path)?).ok()
    }

    /// The files whose paths begin with `prefix`, in the order of the paths.
    pub fn beginning_with(&self, prefix: &str) -> impl Iterator<Item = (Cow<'_, str>, TargetFile<'_>)> {
        let index = self.index();
        let first = index.partition_point(|at| self.name(*at).as_ref() < prefix.as_bytes());
        let rest =
            index.iter().skip(first).take_while(move |at| self.name(**at).starts_with(prefix.as_bytes()));
        rest.filter_map(|at| {
            let file = TargetFile::read(self.document.value_after(*at)).ok()?;
            Some((self.document.value_at(*at).as_str()?, file))
        })
    }

    /// The entry at `path`, as it stands.
    pub(crate) fn find_value(&self, path: &str) -> Option<Value<'_>> {
        let index = self.index();
        let at = index.binary_search_by(|at| self.name(*at).as_ref().cmp(path.as_bytes())).ok()?;
        Some(self.document.value_after(*index.get(at)?))
    }

    fn index(&self) -> &[u32] {
        self.index.get_or_init(|| self.value().name_indexes())
    }

    fn name(&self, at: u32) -> Cow<'_, [u8]> {
        self.document.value_at(at).decoded()
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
    /// The text of `custom` as it stands: an object of the application, or what others have put there instead.
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

    /// Whether an entry is of the usual form, so that [`TargetFile::read`] has nothing to say against it: looked at
    /// without making anything of it, as this is done for each of 100,000 targets.
    fn is_plain(value: Value<'_>) -> bool {
        let (mut length, mut hashes) = (false, false);
        for (name, value) in value.members() {
            match name.raw_str() {
                // Numbers that may be too large have more digits, and are read.
                "\"length\"" => {
                    let text = value.raw();
                    length = value.kind() == Kind::Integer && text.len() <= 15 && !text.starts_with(b"-");
                }
                "\"hashes\"" => hashes = Hashes::is_plain(value),
                // All others, and names that are written with escapes, are read.
                _ => return false,
            }
        }
        length && hashes
    }

    /// Reads one entry of `targets`.
    pub(crate) fn read(value: Value<'d>) -> Read<Self> {
        let (mut length, mut hashes, mut custom) = (None, None, None);
        // One walk over the members, as this is done for each of 100,000 targets.
        for (name, value) in object(value)?.members() {
            match name.raw_str() {
                "\"length\"" => length = Some(inside(value, "length", error::count)?),
                "\"hashes\"" => hashes = Some(inside(value, "hashes", Hashes::read)?),
                "\"custom\"" => custom = Some(Cow::Borrowed(value.raw_str())),
                _ => {}
            }
        }
        // Names written with escapes end here, where they are looked for once more.
        Ok(Self {
            length: length.map_or_else(|| member(value, "length", error::count), Ok)?,
            hashes: hashes.map_or_else(|| member(value, "hashes", Hashes::read), Ok)?,
            custom: match custom {
                Some(text) => Some(text),
                None => value.get("custom").map(|custom| Cow::Borrowed(custom.raw_str())),
            },
        })
    }
}
