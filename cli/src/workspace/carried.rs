//! What lies in `metadata/` is carried along when that is swapped: each file gets a second name in the next folder.
//!
//! Others may write there too. So no link is followed, nothing is opened but regular files, and no link of somebody
//! else's becomes our own.

use std::ffi::OsStr;
use std::path::{Component, Path, PathBuf};

use rustix::fs::FileType;

use super::beneath::{Folder, TEMPORARY};
use super::layout;
use crate::error::{Failure, reason};

/// Whether all that lies in `metadata/` can be carried along; asked before anything is signed.
///
/// # Errors
/// `REPOSITORY_INVALID` for a pipe, a device, a socket, and a link of somebody else's that leads elsewhere; `IO` for a
/// file that we may not read.
pub(super) fn check(repository: &Folder) -> Result<(), Failure> {
    if repository.about(layout::METADATA.as_ref())?.is_none() {
        return Ok(());
    }
    check_folder(&repository.open(Path::new(layout::METADATA))?)
}

fn check_folder(folder: &Folder) -> Result<(), Failure> {
    for (name, kind) in folder.entries()? {
        if name == TEMPORARY || name == layout::THROUGH {
            continue;
        }
        match kind {
            FileType::RegularFile => folder.check_shareable(&name)?,
            FileType::Directory => check_folder(&folder.open(Path::new(&name))?)?,
            FileType::Symlink => drop(leads_to(folder, &name)?),
            _ => return Err(odd(folder, &name, kind)),
        }
    }
    Ok(())
}

/// Gives all files of a folder second names in a new one; files are never written in place, so they may share. Who may
/// read the folder stays as it was.
///
/// # Errors
/// As [`check`].
pub(super) fn carry(from: &Folder, to: &Folder) -> Result<(), Failure> {
    for (name, kind) in from.entries()? {
        if name == TEMPORARY || name == layout::THROUGH {
            continue;
        }
        match kind {
            FileType::RegularFile if to.share(from, &name)? => {}
            FileType::Directory => {
                let below = Path::new(&name);
                carry(&from.open(below)?, &to.make(below)?)?;
            }
            FileType::Symlink => to.point(&name, &leads_to(from, &name)?)?,
            _ => return Err(odd(from, &name, kind)),
        }
    }
    to.set_access_of(from)?;
    to.sync()
}

/// Where a link leads that may be made anew by us: one of our own, or one to a name beside it. A web server that follows
/// links to files of their owner alone would show through any other what only we may read.
pub(super) fn leads_to(folder: &Folder, name: &OsStr) -> Result<PathBuf, Failure> {
    let Some((to, owner)) = folder.link_text(name)? else {
        return Err(odd(folder, name, FileType::Unknown));
    };
    let mut parts = to.components();
    let beside = matches!((parts.next(), parts.next()), (Some(Component::Normal(_)), None));
    if beside || owner == rustix::process::geteuid().as_raw() {
        return Ok(to);
    }
    let (path, to) = (folder.path_of(name), to.display().to_string());
    Err(Failure::new(
        reason::REPOSITORY_INVALID,
        format!(
            "{} is a link to {to} that user {owner} made, and is neither followed nor published as one of ours",
            path.display()
        ),
    )
    .remedy("ask who put it there and take it away; if clients need it, put the file itself in its place")
    .detail("file", path.display().to_string()))
}

/// What can be in no published folder.
fn odd(folder: &Folder, name: &OsStr, kind: FileType) -> Failure {
    let what = match kind {
        FileType::Fifo => "a pipe",
        FileType::Socket => "a socket",
        FileType::CharacterDevice | FileType::BlockDevice => "a device",
        _ => "no file any more",
    };
    let path = folder.path_of(name);
    Failure::new(
        reason::REPOSITORY_INVALID,
        format!("{} is {what}, which cannot be published with metadata/", path.display()),
    )
    .remedy("ask who put it there and take it away")
    .detail("file", path.display().to_string())
}
