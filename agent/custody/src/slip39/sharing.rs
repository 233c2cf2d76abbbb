//! Shamir's sharing in two levels, groups and their members, with a digest of the secret on the polynomial.

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use super::field::interpolated;
use super::{COUNT_MAX, Common, Header, SECRET_MAX, Value};

/// One share as the arithmetic sees it: where it stands and where its value lies.
#[derive(Clone, Copy)]
pub(crate) struct Part<'v> {
    pub(crate) header: Header,
    pub(crate) value: &'v [u8; SECRET_MAX],
    pub(crate) len: usize,
}

/// Why shares do not give a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// They are of different sets, or tell different things of one.
    Mixed,
    /// One place twice.
    Duplicate,
    /// Too few groups or members.
    Short,
    /// The digest on the polynomial is not that of the secret on it.
    Digest,
}

/// Splits an encrypted secret: `groups` are (threshold, count). Each share goes to `give`, with its header.
///
/// # Errors
/// When the system has no random numbers.
pub(crate) fn split(
    encrypted: &Value,
    common: Common,
    groups: &[(u8, u8)],
    mut give: impl FnMut(Header, &Value),
) -> std::io::Result<()> {
    let group_values = split_one(encrypted, common.group_threshold, common.group_count)?;
    for ((group_index, group), (threshold, count)) in (0_u8..).zip(&group_values).zip(groups) {
        let values = split_one(group, *threshold, *count)?;
        for (member_index, value) in (0..*count).zip(&values) {
            give(Header { common, group_index, member_index, member_threshold: *threshold }, value);
        }
    }
    Ok(())
}

/// The encrypted secret of shares of one set: at least the threshold of groups with at least theirs.
///
/// # Errors
/// [`Fault`]. Groups that are not complete are let alone when enough others are.
pub(crate) fn recovered(parts: &[Part<'_>]) -> Result<Value, Fault> {
    let first = parts.first().ok_or(Fault::Short)?;
    let common = first.header.common;
    if parts.iter().any(|part| part.header.common != common || part.len != first.len) {
        return Err(Fault::Mixed);
    }
    let mut complete = Vec::new();
    for index in 0..common.group_count {
        let of_group = parts.iter().filter(|part| part.header.group_index == index);
        let group = points(of_group)?.filter(|(threshold, points)| points.len() >= usize::from(*threshold));
        complete.extend(group.map(|(threshold, points)| (index, threshold, points)));
    }
    if complete.len() < usize::from(common.group_threshold) {
        return Err(Fault::Short);
    }
    complete.truncate(common.group_threshold.into());
    let mut values = [const { Value::zero(SECRET_MAX) }; COUNT_MAX];
    let mut groups = Vec::new();
    for (value, (index, threshold, points)) in values.iter_mut().zip(&complete) {
        *value = recovered_one(*threshold, points, first.len)?;
        groups.push((*index, &value.bytes));
    }
    recovered_one(common.group_threshold, &groups, first.len)
}

/// The whole set, held against the encrypted secret: every subset of members that is just enough gives one group value,
/// and every subset of groups that is just enough gives the encrypted secret.
pub(crate) fn holds(parts: &[Part<'_>], encrypted: &Value) -> Result<bool, Fault> {
    let Some(common) = parts.first().map(|part| part.header.common) else { return Ok(false) };
    let mut values = [const { Value::zero(SECRET_MAX) }; COUNT_MAX];
    let mut groups = Vec::new();
    for (index, value) in (0_u8..).zip(&mut values) {
        let of_group = parts.iter().filter(|part| part.header.group_index == index);
        let Some((threshold, points)) = points(of_group)? else { continue };
        *value = recovered_one(threshold, &points, encrypted.len)?;
        if !each_gives(threshold, &points, value)? {
            return Ok(false);
        }
        groups.push((index, &value.bytes));
    }
    Ok(groups.len() == usize::from(common.group_count)
        && each_gives(common.group_threshold, &groups, encrypted)?)
}

/// A place on the polynomial, and the value there.
type Point<'v> = (u8, &'v [u8; SECRET_MAX]);

/// The threshold and the points of one group, if there is any of it.
fn points<'v>(group: impl Iterator<Item = &'v Part<'v>>) -> Result<Option<(u8, Vec<Point<'v>>)>, Fault> {
    let mut points: Vec<Point<'_>> = Vec::new();
    let mut threshold = None;
    for part in group {
        let place = part.header.member_index;
        if *threshold.get_or_insert(part.header.member_threshold) != part.header.member_threshold {
            return Err(Fault::Mixed);
        }
        if points.iter().any(|(other, _)| *other == place) {
            return Err(Fault::Duplicate);
        }
        points.push((place, part.value));
    }
    Ok(threshold.map(|threshold| (threshold, points)))
}

fn split_one(secret: &Value, threshold: u8, count: u8) -> std::io::Result<[Value; COUNT_MAX]> {
    let mut values = [const { Value::zero(SECRET_MAX) }; COUNT_MAX];
    values.iter_mut().for_each(|value| value.len = secret.len);
    if threshold == 1 {
        values.iter_mut().take(count.into()).for_each(|value| value.bytes = secret.bytes);
        return Ok(values);
    }
    let random = threshold.saturating_sub(2).into();
    for value in values.iter_mut().take(random) {
        secmem::fill_random(value.get_mut())?;
    }
    let mut digest_share = Value::zero(secret.len);
    let (digest, key) = digest_share.get_mut().split_at_mut(DIGEST_LEN);
    secmem::fill_random(key)?;
    digest.copy_from_slice(&*digest_of(key, secret));
    let (given, made) = values.split_at_mut(random);
    let base = (0_u8..).zip(given.iter().map(|value| &value.bytes));
    let base = base.chain([(DIGEST_PLACE, &digest_share.bytes), (SECRET_PLACE, &secret.bytes)]);
    (0..count)
        .skip(random)
        .zip(made)
        .for_each(|(place, value)| value.bytes = *interpolated(base.clone(), place));
    drop(base);
    Ok(values)
}

/// The secret of the first `threshold` points.
fn recovered_one(threshold: u8, points: &[Point<'_>], len: usize) -> Result<Value, Fault> {
    let points = points.get(..threshold.into()).ok_or(Fault::Short)?;
    match points {
        [(_, value)] => Ok(Value { bytes: **value, len }),
        _ => recovered_by(points.iter().copied(), len),
    }
}

fn recovered_by<'v>(points: impl Iterator<Item = Point<'v>> + Clone, len: usize) -> Result<Value, Fault> {
    let secret = Value { bytes: *interpolated(points.clone(), SECRET_PLACE), len };
    let digest_share = Value { bytes: *interpolated(points, DIGEST_PLACE), len };
    let (digest, key) = digest_share.get().split_at(DIGEST_LEN);
    let right = bool::from(digest.ct_eq(&*digest_of(key, &secret)));
    if right { Ok(secret) } else { Err(Fault::Digest) }
}

/// Whether every subset of `threshold` points gives `wanted`.
fn each_gives(threshold: u8, points: &[Point<'_>], wanted: &Value) -> Result<bool, Fault> {
    let subsets = (0_u32..1 << points.len()).filter(|subset| subset.count_ones() == u32::from(threshold));
    for subset in subsets {
        let chosen = (0_u32..).zip(points).filter(|(at, _)| subset >> at & 1 == 1).map(|(_, point)| *point);
        let same = match threshold {
            1 => chosen.fold(true, |same, (_, value)| same & bool::from(value.ct_eq(&wanted.bytes))),
            _ => bool::from(recovered_by(chosen, wanted.len)?.bytes.ct_eq(&wanted.bytes)),
        };
        if !same {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The first bytes of HMAC-SHA256 over the secret, by the random part of the digest's share.
fn digest_of(key: &[u8], secret: &Value) -> Zeroizing<[u8; DIGEST_LEN]> {
    let mut digest = Zeroizing::new([0; DIGEST_LEN]);
    // HMAC takes keys of any length.
    if let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) {
        mac.update(secret.get());
        let whole = Zeroizing::new(<[u8; 32]>::from(mac.finalize().into_bytes()));
        digest.iter_mut().zip(whole.iter()).for_each(|(to, from)| *to = *from);
    }
    digest
}

/// Where on the polynomial the secret lies.
const SECRET_PLACE: u8 = 255;
/// Where the digest of the secret lies, with the key of the digest.
const DIGEST_PLACE: u8 = 254;
const DIGEST_LEN: usize = 4;
