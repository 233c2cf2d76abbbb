//! Target files (5.7): fetched, measured while they arrive, and kept only when they are what the metadata says.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use tuf::digest::OtherHasher;
use tuf::metadata::{Algorithms, Hashes, TargetFile};

use crate::store::file_name;
use crate::web::{Web, below};

/// Where target files come from and go to.
pub(crate) struct Place<'p> {
    pub(crate) base_url: &'p str,
    pub(crate) dir: &'p Path,
    /// Whether published names begin with a digest.
    pub(crate) consistent: bool,
}

/// Brings the target into the folder, unless the very file is there already.
pub(crate) fn download(web: &Web, place: &Place<'_>, path: &str, target: &TargetFile<'_>) -> Result<()> {
    if !tuf::target::stays_inside(path) {
        bail!("its name would leave the folder of targets (4.5)");
    }
    if !target.hashes.is_understood() {
        bail!("none of its digests can be checked and counts (5.7.2)");
    }
    let goal = local_path(place.dir, path);
    if is_there(&goal, target)? {
        crate::say(&format!("{path} is there already"));
        return Ok(());
    }
    fs::create_dir_all(place.dir).with_context(|| place.dir.display().to_string())?;
    let url = below(place.base_url, &published_name(path, &target.hashes, place.consistent));
    let body = web.open(&url, target.length)?.with_context(|| format!("the repository has no {url}"))?;
    let mut fresh = tempfile::Builder::new().prefix(".fresh-").tempfile_in(place.dir)?;
    let found =
        copy(body, fresh.as_file_mut(), &target.hashes.algorithms()).with_context(|| format!("GET {url}"))?;
    check(&found, target)?;
    fresh.as_file().sync_all()?;
    fresh.persist(&goal).with_context(|| goal.display().to_string())?;
    crate::say(&format!("{path} is in {}", goal.display()));
    Ok(())
}

/// The place of a target in the user's folder: one name for each path, always the same.
fn local_path(dir: &Path, path: &str) -> PathBuf {
    dir.join(file_name(utf8_percent_encode(path, NOT_IN_NAMES).to_string()))
}

/// The path below the address of targets (6.2.2, 5.7.3), by the first digest that counts.
fn published_name(path: &str, hashes: &Hashes, consistent: bool) -> String {
    let counts = |name: &str| matches!(name, "sha256" | "sha512") || OtherHasher::counts(name);
    let digest =
        hashes.iter().find(|(name, _)| counts(name)).filter(|_| consistent).map(|(_, digest)| digest);
    let Some(digest) = digest else { return path.to_owned() };
    match path.rsplit_once('/') {
        Some((folder, name)) => format!("{folder}/{digest}.{name}"),
        None => format!("{digest}.{path}"),
    }
}

fn is_there(goal: &Path, target: &TargetFile<'_>) -> Result<bool> {
    let found = match File::open(goal) {
        Ok(file) => {
            copy(file.take(target.length.saturating_add(1)), &mut io::sink(), &target.hashes.algorithms())
        }
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(e) => Err(e),
    };
    let found = found.with_context(|| goal.display().to_string())?;
    Ok(check(&found, target).is_ok())
}

/// Length and digests of a file.
type Found = TargetFile<'static>;

fn check(found: &Found, target: &TargetFile<'_>) -> Result<()> {
    if found.length > target.length {
        bail!("the file has more than the {} bytes listed (5.7.3)", target.length);
    }
    if found.length < target.length {
        bail!("the file has {} bytes, not the {} listed (5.7.3)", found.length, target.length);
    }
    match target.hashes.conflicts(&found.hashes).first() {
        Some(algorithm) => bail!("the file has another {algorithm} than is listed (5.7.3)"),
        None => Ok(()),
    }
}

fn copy(mut from: impl Read, to: &mut impl Write, wanted: &Algorithms) -> io::Result<Found> {
    let mut hasher = wanted.start();
    let mut length = 0_u64;
    let mut buffer = vec![0; BUFFER];
    loop {
        let read = match from.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => read,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(e) => return Err(e),
        };
        let part = buffer.get(..read).unwrap_or_default();
        hasher.update(part);
        to.write_all(part)?;
        length = length.saturating_add(u64::try_from(read).unwrap_or(u64::MAX));
    }
    Ok(Found::new(length, hasher.finish()))
}

const BUFFER: usize = 64 << 10;
/// A file name holds what a role's file name holds.
const NOT_IN_NAMES: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
