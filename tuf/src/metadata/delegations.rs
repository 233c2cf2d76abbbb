//! Delegations (specification 4.5) and succinct bins (TAP 15).

use super::{
    error::{self, Read, each, member, object, optional, parsed, wrong},
    root,
};
use crate::{
    json::Value,
    key::{Key, KeyId},
    role::{RoleKeys, RoleName},
    target,
};
use sha2::Digest as _;
use std::{cell::LazyCell, collections::BTreeMap};

/// To whom a targets role delegates. Has either `roles` or `succinct`.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Delegations {
    /// All keys by the keyid that this file gives them.
    pub keys: BTreeMap<KeyId, Key>,
    /// The roles in order of priority; empty when there are succinct bins.
    pub roles: Vec<DelegatedRole>,
    /// Bins that share their keys (TAP 15).
    pub succinct: Option<SuccinctRoles>,
    /// Where each of `roles` stands: there may be 16,384 of them.
    places: BTreeMap<RoleName, usize>,
}

impl Delegations {
    pub(super) fn read(value: Value<'_>) -> Read<Self> {
        let value = object(value)?;
        let keys = member(value, "keys", root::keys)?;
        let succinct = optional(value, "succinct_roles", SuccinctRoles::read)?;
        let mut places = BTreeMap::new();
        let roles = match (&succinct, value.get("roles")) {
            (Some(_), Some(_)) => return wrong(value, "must not have both `roles` and `succinct_roles`"),
            (Some(_), None) => Vec::new(),
            (None, _) => member(value, "roles", |roles| {
                each(roles, |item| {
                    let role = DelegatedRole::read(item)?;
                    if places.insert(role.name.clone(), places.len()).is_some() {
                        return wrong(item, format_args!("the role {} is delegated to twice", role.name));
                    }
                    Ok(role)
                })
            })?,
        };
        Ok(Self { keys, roles, succinct, places })
    }

    /// Keys and threshold of the delegated role `name`, if this delegates to it.
    pub fn role_keys(&self, name: &RoleName) -> Option<&RoleKeys> {
        let succinct = self.succinct.as_ref().filter(|bins| bins.contains(name)).map(|bins| &bins.keys);
        succinct.or_else(|| self.role(name).map(|role| &role.keys))
    }

    /// The delegation to the role `name`; succinct bins have none of their own.
    pub fn role(&self, name: &RoleName) -> Option<&DelegatedRole> {
        self.roles.get(*self.places.get(name)?)
    }

    /// Whether the role `name` is one of hash bins, succinct or not: of many roles that share targets out by chance.
    pub fn is_bin(&self, name: &RoleName) -> bool {
        let by_prefix = |role: &DelegatedRole| matches!(role.paths, Paths::HashPrefixes(_));
        self.succinct.as_ref().is_some_and(|bins| bins.contains(name))
            || self.role(name).is_some_and(by_prefix)
    }

    /// The roles to search for the target `path`, in order, and whether the search ends with each (5.6.7.2).
    pub fn roles_for(&self, path: &str) -> Vec<(RoleName, bool)> {
        if let Some(bins) = &self.succinct {
            return vec![(bins.role_for(path), true)];
        }
        let digest = LazyCell::new(|| hex::encode(sha2::Sha256::digest(path)));
        let matching = self.roles.iter().filter(|role| role.paths.matches_either(path, &digest));
        matching.map(|role| (role.name.clone(), role.terminating)).collect()
    }

    /// Keyids that are not the hash of their key; see [`super::Root::wrong_keyids`].
    pub fn wrong_keyids(&self) -> Vec<(KeyId, KeyId)> {
        root::wrong_keyids(&self.keys)
    }
}

/// One delegated role.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DelegatedRole {
    /// Its name.
    pub name: RoleName,
    /// Its keys and threshold.
    pub keys: RoleKeys,
    /// Whether a search that comes here does not go on to later roles.
    pub terminating: bool,
    /// Which targets it may have.
    pub paths: Paths,
}

impl DelegatedRole {
    fn read(value: Value<'_>) -> Read<Self> {
        let value = object(value)?;
        let name = member(value, "name", |name| {
            let role = parsed(name, RoleName::parse)?;
            if role.is_top_level() {
                return wrong(name, "a delegated role cannot have the name of a top-level role");
            }
            Ok(role)
        })?;
        let text = |value| each(value, |item| error::text(item).map(|text| text.into_owned()));
        let patterns = optional(value, "paths", text)?;
        let prefixes = optional(value, "path_hash_prefixes", text)?;
        let paths = match (patterns, prefixes) {
            (Some(patterns), None) => Paths::Patterns(patterns),
            (None, Some(prefixes)) => Paths::HashPrefixes(prefixes),
            _ => return wrong(value, "must have exactly one of `paths` and `path_hash_prefixes`"),
        };
        let terminating = member(value, "terminating", error::boolean)?;
        Ok(Self { name, keys: root::role_keys(value)?, terminating, paths })
    }
}

/// Which targets a delegated role may have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Paths {
    /// Patterns of paths; see [`target::pattern_matches`].
    Patterns(Vec<String>),
    /// Prefixes of the lower-case hexadecimal SHA-256 of the path. Others write texts here that match nothing (capitals)
    /// or everything (none at all); they are kept and compared as they stand, as every client does.
    HashPrefixes(Vec<String>),
}

impl Paths {
    /// Whether the role may have the target `path`.
    pub fn matches(&self, path: &str) -> bool {
        self.matches_either(path, &LazyCell::new(|| hex::encode(sha2::Sha256::digest(path))))
    }

    /// The same with the digest of `path`, which is made once for all roles that are asked.
    fn matches_either<F: FnOnce() -> String>(&self, path: &str, digest: &LazyCell<String, F>) -> bool {
        match self {
            Self::Patterns(patterns) => patterns.iter().any(|pattern| target::pattern_matches(pattern, path)),
            Self::HashPrefixes(prefixes) => prefixes.iter().any(|prefix| digest.starts_with(prefix.as_str())),
        }
    }
}

/// 2^`bit_length` bins with the same keys, all terminating (TAP 15).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SuccinctRoles {
    /// Keys and threshold of every bin.
    pub keys: RoleKeys,
    /// How many bits of the path's SHA-256 choose the bin: 1 to 32.
    pub bit_length: u8,
    /// What the names of the bins begin with, before a hyphen.
    pub name_prefix: String,
}

impl SuccinctRoles {
    /// Bins with these keys; `None` when `bit_length` is not 1 to 32 or the prefix makes no role names.
    pub fn new(keys: RoleKeys, bit_length: u8, name_prefix: &str) -> Option<Self> {
        let longest = format!("{name_prefix}-ffffffff");
        let fits = (1..=32).contains(&bit_length) && RoleName::parse(&longest).is_ok();
        fits.then(|| Self { keys, bit_length, name_prefix: name_prefix.to_owned() })
    }

    fn read(value: Value<'_>) -> Read<Self> {
        let value = object(value)?;
        let keys = root::role_keys(value)?;
        let bits = member(value, "bit_length", |value| {
            let bits = value.as_u64().and_then(|bits| u8::try_from(bits).ok());
            let bits = bits.filter(|bits| (1..=32).contains(bits));
            bits.map_or_else(|| wrong(value, "must be an integer between 1 and 32"), Ok)
        })?;
        member(value, "name_prefix", |prefix| {
            let bins = Self::new(keys, bits, &error::text(prefix)?);
            bins.map_or_else(|| wrong(prefix, "makes no names for roles"), Ok)
        })
    }

    /// The bin of the target `path`.
    pub fn role_for(&self, path: &str) -> RoleName {
        let digest: [u8; 32] = sha2::Sha256::digest(path).into();
        let [a, b, c, d, ..] = digest;
        let bin =
            u64::from(u32::from_be_bytes([a, b, c, d])) >> (32 - u32::from(self.bit_length).clamp(1, 32));
        self.name(bin)
    }

    /// How many bins there are.
    pub fn count(&self) -> u64 {
        1 << self.bit_length.min(32)
    }

    /// The names of all bins, in order.
    pub fn names(&self) -> impl Iterator<Item = RoleName> + '_ {
        (0..self.count()).map(|bin| self.name(bin))
    }

    /// Whether `role` is one of the bins.
    pub fn contains(&self, role: &RoleName) -> bool {
        let bin = role.as_str().strip_prefix(&self.name_prefix).and_then(|rest| rest.strip_prefix('-'));
        let number =
            bin.filter(|hex| hex.len() == self.width()).and_then(|hex| u64::from_str_radix(hex, 16).ok());
        // Written again, so that upper case and signs do not pass.
        number.is_some_and(|bin| bin < self.count() && self.name(bin) == *role)
    }

    fn name(&self, bin: u64) -> RoleName {
        let text = format!("{}-{bin:0width$x}", self.name_prefix, width = self.width());
        // The constructor has tried the longest name.
        RoleName::parse(&text).unwrap_or_else(|_| crate::role::RoleKind::Targets.role())
    }

    /// Hexadecimal digits of the last bin's number.
    fn width(&self) -> usize {
        usize::from(self.bit_length).div_ceil(4)
    }
}
