//! Why metadata was refused, and the small readers that say where.

use crate::{
    json::{self, Kind, Value},
    role::{RoleKind, Version},
};
use std::borrow::Cow;

/// Why a text is not metadata.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MetadataError {
    /// Not JSON as TUF allows it.
    #[error("not JSON as TUF allows it: {0}")]
    Json(#[from] json::Error),
    /// A member is missing or wrong.
    #[error("{member}: {problem} (line {line}, column {column})")]
    Member {
        /// The way to the member, such as `signed.roles.root.threshold`.
        member: String,
        /// What is wrong with it.
        problem: String,
        /// Offset in bytes of the value, or of the object that should have it.
        position: usize,
        /// Its line, from 1.
        line: usize,
        /// Its column in characters, from 1.
        column: usize,
    },
    /// Longer than its kind may be.
    #[error("{length} bytes of {kind} metadata, more than the {limit} allowed")]
    TooLong {
        /// The kind of metadata.
        kind: RoleKind,
        /// Its length in bytes.
        length: usize,
        /// The limit in bytes.
        limit: usize,
    },
}

impl MetadataError {
    /// Puts `parent` before the way to the member.
    pub(super) fn within(mut self, parent: &str) -> Self {
        if let Self::Member { member, .. } = &mut self {
            let dot = if member.is_empty() || member.starts_with('[') { "" } else { "." };
            *member = format!("{parent}{dot}{member}");
        }
        self
    }
}

/// A name that the file gives, as a subscript: shortened, with whatever could deceive a reader escaped.
pub(super) fn subscript(name: &str) -> String {
    let short: String = name.chars().take(80).collect();
    format!("[{short:?}]")
}

pub(super) type Read<T> = Result<T, MetadataError>;

/// The error that `problem` is wrong with `value` itself; callers put the names before it.
pub(super) fn wrong<T>(value: Value<'_>, problem: impl std::fmt::Display) -> Read<T> {
    let (line, column) = value.line_and_column();
    let position = value.span().start;
    Err(MetadataError::Member { member: String::new(), problem: problem.to_string(), position, line, column })
}

/// Reads a value by `read`, and names `member` in its errors.
pub(super) fn inside<'d, T>(
    value: Value<'d>,
    member: &str,
    read: impl FnOnce(Value<'d>) -> Read<T>,
) -> Read<T> {
    read(value).map_err(|error| error.within(member))
}

/// Reads the member `name` of `object` by `read`.
pub(super) fn member<'d, T>(
    object: Value<'d>,
    name: &str,
    read: impl FnOnce(Value<'d>) -> Read<T>,
) -> Read<T> {
    match object.get(name) {
        Some(value) => inside(value, name, read),
        None => wrong(object, "is missing").map_err(|error| error.within(name)),
    }
}

/// Reads the member `name` of `object` if it is there.
pub(super) fn optional<'d, T>(
    object: Value<'d>,
    name: &str,
    read: impl FnOnce(Value<'d>) -> Read<T>,
) -> Read<Option<T>> {
    object.get(name).map(|value| inside(value, name, read)).transpose()
}

/// `value`, if it is an object.
pub(super) fn object(value: Value<'_>) -> Read<Value<'_>> {
    if value.kind() == Kind::Object { Ok(value) } else { wrong(value, "must be an object") }
}

/// `value`, if it is an array.
pub(super) fn array(value: Value<'_>) -> Read<Value<'_>> {
    if value.kind() == Kind::Array { Ok(value) } else { wrong(value, "must be an array") }
}

/// `value` as text.
pub(super) fn text(value: Value<'_>) -> Read<Cow<'_, str>> {
    value.as_str().map_or_else(|| wrong(value, "must be a string"), Ok)
}

/// `value` as `true` or `false`.
pub(super) fn boolean(value: Value<'_>) -> Read<bool> {
    value.as_bool().map_or_else(|| wrong(value, "must be true or false"), Ok)
}

/// `value` as an integer of 0 or more.
pub(super) fn count(value: Value<'_>) -> Read<u64> {
    value.as_u64().map_or_else(|| wrong(value, "must be an integer of 0 or more"), Ok)
}

/// `value` as a version.
pub(super) fn version(value: Value<'_>) -> Read<Version> {
    if value.kind() == Kind::Integer && value.as_i64().is_none() && !value.raw().starts_with(b"-") {
        return wrong(value, "is beyond 2^53 - 1, the largest version that all clients read alike");
    }
    let version = value.as_u64().and_then(Version::new);
    version.map_or_else(|| wrong(value, "must be an integer of 1 or more"), Ok)
}

/// `value` as text of a form that `parse` knows.
pub(super) fn parsed<T, E: std::fmt::Display>(
    value: Value<'_>,
    parse: impl FnOnce(&str) -> Result<T, E>,
) -> Read<T> {
    let text = text(value)?;
    parse(&text).or_else(|error| wrong(value, error))
}

/// The items of an array, each by `read`.
pub(super) fn each<'d, T>(value: Value<'d>, mut read: impl FnMut(Value<'d>) -> Read<T>) -> Read<Vec<T>> {
    let items = array(value)?.items().enumerate();
    items.map(|(index, item)| read(item).map_err(|error| error.within(&format!("[{index}]")))).collect()
}
