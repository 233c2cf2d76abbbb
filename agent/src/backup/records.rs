//! What is sealed in a backup: files one after the other, each a line `NAME LENGTH` and its bytes; `end 0` is the last.

use std::fs::{self, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use backend::filestore::CopiedFile;
use policy::Reason;
use secmem::SecretBytes;
use tuf::digest::Sha256Digest;

use super::{failed, open};
use crate::refusal::Refusal;
use crate::split::Copied;

/// What was in a backup, beside the database, which lies on the disk.
#[derive(Default)]
pub(super) struct Contents {
    /// The journal's head.
    pub(super) head: String,
    /// Files of the file store.
    pub(super) keys: Vec<CopiedFile>,
    /// Records of split keys.
    pub(super) splits: Vec<Copied>,
    /// Texts that were put into their folder, named by their digests.
    pub(super) texts: Vec<Sha256Digest>,
}

pub(super) fn put(out: &mut impl Write, name: &str, bytes: &[u8]) -> io::Result<()> {
    put_from(out, name, u64::try_from(bytes.len()).unwrap_or(u64::MAX), &mut &*bytes)
}

pub(super) fn put_from(
    out: &mut impl Write,
    name: &str,
    length: u64,
    from: &mut impl Read,
) -> io::Result<()> {
    writeln!(out, "{name} {length}")?;
    let copied = io::copy(&mut from.take(length), out)?;
    if copied == length { Ok(()) } else { Err(io::Error::other(format!("{name} changed while it was read"))) }
}

pub(super) fn end(out: &mut impl Write) -> io::Result<()> {
    put(out, END, b"")
}

/// Opens a sealed file and unpacks it: the database to `db`, texts into the new folder `texts`.
pub(super) fn read(
    sealed: &Path,
    passphrase: &SecretBytes,
    db: &Path,
    texts: &Path,
) -> Result<Contents, Refusal> {
    let mut from = BufReader::new(open(sealed, passphrase)?);
    fs::create_dir(texts).map_err(|e| failed(&e))?;
    unpack(&mut from, db, texts).map_err(|e| match e.kind() {
        io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof => {
            Refusal::new(Reason::StateCorrupt, format!("the backup cannot be used: {e}"))
                .remedy("take another copy of it, or another backup; nothing was changed")
        }
        _ => failed(&e),
    })
}

fn unpack(from: &mut impl BufRead, db: &Path, texts: &Path) -> io::Result<Contents> {
    let mut contents = Contents::default();
    let mut has_db = false;
    loop {
        let (name, length) = line(from)?;
        match name.split_once('/') {
            None if name == END && length == 0 => break,
            None if name == "head" => contents.head = text(small(from, length, 1024)?)?,
            None if name == "ledger.db" => {
                has_db = true;
                write(from, length, db)?;
            }
            Some(("text", digest)) if length <= MOST_TEXT && contents.texts.len() < MOST_TEXTS => {
                let digest: Sha256Digest = digest.parse().map_err(|_| odd(&name))?;
                write(from, length, &texts.join(digest.to_string()))?;
                contents.texts.push(digest);
            }
            Some(("keys", file)) if contents.keys.len() < MOST_KEYS => {
                contents.keys.push((file.to_owned(), small(from, length, MOST_KEY)?));
            }
            Some(("shares", of)) if contents.splits.len() < MOST_KEYS => {
                let (token, key) = of.split_once('/').ok_or_else(|| odd(&name))?;
                let bytes = small(from, length, MOST_RECORD)?;
                contents.splits.push(Copied { token: token.to_owned(), key: key.to_owned(), bytes });
            }
            _ => return Err(odd(&name)),
        }
    }
    if !from.fill_buf()?.is_empty() || !has_db || contents.head.is_empty() {
        return Err(odd("its end"));
    }
    Ok(contents)
}

fn line(from: &mut impl BufRead) -> io::Result<(String, u64)> {
    let mut bytes = Vec::new();
    from.take(512).read_until(b'\n', &mut bytes)?;
    let line = text(bytes)?;
    let parts = line.strip_suffix('\n').and_then(|line| line.rsplit_once(' '));
    let parts = parts.and_then(|(name, length)| Some((name.to_owned(), length.parse().ok()?)));
    parts.ok_or_else(|| odd("a line in it"))
}

fn small(from: &mut impl Read, length: u64, most: u64) -> io::Result<Vec<u8>> {
    if length > most {
        return Err(odd("a file in it"));
    }
    let mut bytes = Vec::new();
    let read = from.take(length).read_to_end(&mut bytes)?;
    if u64::try_from(read).is_ok_and(|read| read == length) { Ok(bytes) } else { Err(cut()) }
}

fn write(from: &mut impl Read, length: u64, path: &Path) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    let copied = io::copy(&mut from.take(length), &mut file)?;
    if copied == length { Ok(()) } else { Err(cut()) }
}

fn text(bytes: Vec<u8>) -> io::Result<String> {
    String::from_utf8(bytes).map_err(|_| odd("a line in it"))
}

fn odd(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("{what:?} is not what a backup holds"))
}

fn cut() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "it is cut off")
}

const END: &str = "end";
/// Metadata has at most 64 MiB.
const MOST_TEXT: u64 = 64 << 20;
const MOST_TEXTS: usize = 1 << 20;
const MOST_KEY: u64 = 64 << 10;
const MOST_KEYS: usize = 1 << 14;
/// As the store of split keys reads.
const MOST_RECORD: u64 = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn unpacked(bytes: &[u8]) -> io::Result<Contents> {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("texts")).unwrap();
        unpack(&mut &*bytes, &folder.path().join("db"), &folder.path().join("texts"))
    }

    #[test]
    fn only_what_a_backup_holds_is_unpacked() {
        let good = b"head 1\nhledger.db 2\ndbkeys/store 1\nsshares/t/k 1\nrend 0\n";
        let contents = unpacked(good).unwrap();
        assert_eq!((contents.head.as_str(), contents.keys.len(), contents.splits.len()), ("h", 1, 1));
        for length in 0..good.len() {
            assert!(unpacked(&good[..length]).is_err(), "cut to {length}");
        }
        for bad in [
            &b"end 0\n"[..],
            b"head 1\nhend 0\n",
            b"head 1\nhledger.db 2\ndbend 0\nmore",
            b"../x 1\nxend 0\n",
            b"text/../x 1\nxend 0\n",
            b"head 99999999999\n",
            b"keys/a 99999999999\n",
            b"shares/t/k 99999999999\n",
            b"shares/t 1\nx",
            b"head -1\n",
            b"\xff\xff 1\n",
        ] {
            assert!(unpacked(bad).is_err(), "{}", String::from_utf8_lossy(bad));
        }
    }
}
