//! `tufctl backup` and `tufctl restore`: the agent seals and opens; here is only the file.

use std::ffi::{OsStr, OsString};
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use rustix::fs::{CWD, FlockOperation, RenameFlags, flock, link, lstat, rename, renameat_with, unlink};
use rustix::io::Errno;
use rustix::process::{Pid, test_kill_process};
use serde_json::json;
use tuf::word;

use crate::args::{BackupArgs, RestoreArgs};
use crate::context::Context;
use crate::error::{Failure, reason};
use crate::prompt::Terminal;
use crate::reading;
use crate::render::{Report, visible};
use crate::secret::Secret;

/// Runs `tufctl backup`.
pub(crate) fn make(args: &BackupArgs, context: &Context) -> Result<Report, Failure> {
    if !args.overwrite && args.file.symlink_metadata().is_ok() {
        return Err(there(&args.file));
    }
    let agent = context.agent()?;
    let passphrase = passphrase(args.passphrase_file.as_deref(), true)?;
    let mut beside = Beside::create(&args.file)?;
    let mut bytes = 0_u64;
    agent.backup(&passphrase, &mut |piece| {
        bytes = bytes.saturating_add(u64::try_from(piece.len()).unwrap_or(u64::MAX));
        beside.file.write_all(piece).map_err(|e| Failure::io("write", &args.file, &e))
    })?;
    beside.place(args.overwrite)?;
    let name = args.file.display().to_string();
    let text = format!(
        "backed up to {} ({bytes} bytes)\nKeep the passphrase elsewhere: without it nobody can restore this.\n",
        visible(&name)
    );
    Ok(Report::new(json!({"file": name, "bytes": bytes}), text))
}

/// Runs `tufctl restore`.
pub(crate) fn restore(args: &RestoreArgs, context: &Context) -> Result<Report, Failure> {
    let mut file = reading::open_named(&args.file).map_err(|e| Failure::io("read", &args.file, &e))?;
    let agent = context.agent()?;
    let passphrase = passphrase(args.passphrase_file.as_deref(), false)?;
    let fault: Arc<OnceLock<io::Error>> = Arc::default();
    let noted = Arc::clone(&fault);
    let pieces = std::iter::from_fn(move || match piece(&mut file) {
        Ok(piece) => Some(piece).filter(|piece| !piece.is_empty()),
        Err(error) => {
            // What was sent so far is no backup, and the agent will say so; this is why.
            let _ = noted.set(error);
            None
        }
    });
    let done = agent.restore(&passphrase, pieces);
    if let Some(error) = fault.get() {
        return Err(Failure::io("read", &args.file, error));
    }
    let done = done?;
    let adopt: Vec<&str> =
        done.repositories.iter().filter(|one| one.raised).map(|one| one.name.as_str()).collect();
    let repositories: Vec<_> = done
        .repositories
        .iter()
        .map(|one| json!({"name": one.name, "new": one.is_new, "raised": one.raised}))
        .collect();
    let mut text = format!(
        "restored {} repositories and {} keys\n",
        done.repositories.iter().filter(|one| one.is_new).count(),
        done.keys_added.len()
    );
    if !done.keys_added.is_empty() {
        text.push_str("the file store opens with the passphrase that it had when the backup was made\n");
    }
    for name in &adopt {
        text.push_str(&format!(
            "{} may be older here than what was signed since: adopt it first from its newest published copy\n",
            visible(name)
        ));
    }
    if !done.keys_left_out.is_empty() {
        context.screen.warn(format!(
            "left out, since the file store here holds keys of another one or has keys of these names, or they have been split since, or their token of kind shares is not configured: {}; to get them in the place of the keys that are here: stop the agent, move the folder keys out of its state folder, start the agent, and restore again",
            done.keys_left_out.join(", ")
        ));
    }
    let document = json!({
        "repositories": repositories, "adopt": adopt, "keys_added": done.keys_added,
        "keys_left_out": done.keys_left_out, "sha256": done.sha256,
    });
    let report = Report::new(document, text);
    Ok(match adopt.first() {
        Some(name) => {
            report.hint(format!("tufctl repo adopt DIR {} --root ROOT.json", word::option("--name", name)))
        }
        None => report,
    })
}

/// A file that is written beside its place, and taken away again unless it gets there.
struct Beside {
    file: File,
    path: PathBuf,
    place: PathBuf,
    placed: bool,
}

impl Beside {
    fn create(place: &Path) -> Result<Self, Failure> {
        let name = place.file_name().ok_or_else(|| {
            Failure::new(reason::USAGE, format!("{} is no name for a file", place.display()))
                .remedy("name the file to write")
        })?;
        let mut temporary = OsString::from(".");
        temporary.push(name);
        temporary.push(format!(".{}", std::process::id()));
        let path = place.with_file_name(temporary);
        remove_stale(place, name);
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
        let file = file.map_err(|e| Failure::io("write", &path, &e))?;
        // For as long as it is written; where the file system knows no locks, the process id has to do.
        let _ = flock(&file, FlockOperation::NonBlockingLockExclusive);
        Ok(Self { file, path, place: place.to_owned(), placed: false })
    }

    /// Flushed, then renamed, then the folder flushed: the old file, or the whole new one.
    fn place(&mut self, replace: bool) -> Result<(), Failure> {
        let fail = |e: io::Error| Failure::io("write", &self.place, &e);
        self.file.sync_all().map_err(fail)?;
        let renamed = match replace {
            true => rename(&self.path, &self.place),
            false => rename_new(&self.path, &self.place),
        };
        match renamed {
            Ok(()) => {}
            Err(Errno::EXIST) => return Err(there(&self.place)),
            Err(e) => return Err(fail(e.into())),
        }
        self.placed = true;
        let folder = self.place.parent().filter(|folder| !folder.as_os_str().is_empty());
        File::open(folder.unwrap_or(Path::new("."))).and_then(|folder| folder.sync_all()).map_err(fail)
    }
}

/// Renames a file to a name that nothing has.
fn rename_new(from: &Path, to: &Path) -> rustix::io::Result<()> {
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        // File systems of a network do not know the flag. A link takes no other file's name, either.
        Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => {}
        done => return done,
    }
    match link(from, to) {
        Ok(()) => return unlink(from),
        Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP | Errno::PERM | Errno::MLINK) => {}
        Err(error) => return Err(error),
    }
    match lstat(to) {
        Ok(_) => Err(Errno::EXIST),
        Err(Errno::NOENT) => rename(from, to),
        Err(error) => Err(error),
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        if !self.placed {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// Removes what a killed `backup` left of a file of this name: begun like a backup, by a process that is no more, and held
/// by nobody. Best effort.
fn remove_stale(place: &Path, name: &OsStr) {
    let folder = place.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    let mut prefix = OsString::from(".");
    prefix.push(name);
    prefix.push(".");
    for entry in entries.flatten() {
        let found = entry.file_name();
        let id = found.as_encoded_bytes().strip_prefix(prefix.as_encoded_bytes());
        let id = id.and_then(|id| std::str::from_utf8(id).ok()?.parse().ok()).and_then(Pid::from_raw);
        let is_gone = id.is_some_and(|id| test_kill_process(id) == Err(Errno::SRCH));
        if is_gone && is_left_over(&entry.path()) {
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

fn is_left_over(path: &Path) -> bool {
    let Ok(mut file) = reading::open_file(path) else { return false };
    let mut begin = Vec::new();
    let read =
        Read::by_ref(&mut file).take(u64::try_from(BEGINS.len()).unwrap_or_default()).read_to_end(&mut begin);
    read.is_ok()
        && BEGINS.starts_with(&begin)
        && flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok()
}

/// How every backup begins.
const BEGINS: &[u8] = b"{\"format\":\"tuf-agent backup\"";

fn there(file: &Path) -> Failure {
    Failure::new(reason::USAGE, format!("{} is there already", file.display()))
        .remedy("name another file, or say --overwrite")
}

fn passphrase(file: Option<&Path>, new: bool) -> Result<Secret, Failure> {
    if let Some(file) = file {
        return Secret::from_pin_file(file);
    }
    let Some(terminal) = Terminal::open() else {
        return Err(Failure::new(
            reason::PIN_REQUIRED,
            "the backup's passphrase is needed and there is no terminal to ask at",
        )
        .remedy("give it with --passphrase-file FILE"));
    };
    let label = "passphrase of the backup";
    if new { terminal.new_secret(label) } else { terminal.secret(label) }
}

/// The next piece of a file; empty at its end.
fn piece(file: &mut File) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(PIECE).read_to_end(&mut bytes)?;
    Ok(bytes)
}

const PIECE: u64 = 1 << 20;
