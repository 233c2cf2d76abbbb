//! Files of targets as they are published, for those who only read them. Their places may be links, of a mirror or of a
//! publication that is under way; whoever may write there could point one at what only the reader may read.

use std::fs::File;
use std::io::{Error, ErrorKind, Result};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, ResolveFlags, fcntl_getfl, fcntl_setfl, openat2};
use rustix::io::Errno;

use crate::reading;

/// Opens a regular file below a published folder. Links are followed that stay within `dir`, whoever made them; one that
/// leads out of it is where this user or the owner of `dir` made it.
///
/// # Errors
/// `InvalidInput` for another link that leads out, and as [`reading::open_file`].
pub(crate) fn open_within(dir: &Path, below: &Path) -> Result<File> {
    let folder = File::open(dir)?;
    let open = |flags: OFlags| {
        let within = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        openat2(&folder, below, flags | OFlags::CLOEXEC, Mode::empty(), within).map(File::from)
    };
    let full = dir.join(below);
    match open(OFlags::PATH) {
        Ok(found) => {
            // What is no file is not opened.
            reading::check_is_file(found.metadata()?.file_type())?;
            let file = open(OFlags::RDONLY | OFlags::NONBLOCK)?;
            reading::check_is_file(file.metadata()?.file_type())?;
            fcntl_setfl(&file, fcntl_getfl(&file)? - OFlags::NONBLOCK)?;
            Ok(file)
        }
        Err(Errno::XDEV) => match strange_link(dir, below, folder.metadata()?.uid()) {
            Some(link) => Err(Error::new(
                ErrorKind::InvalidInput,
                format!(
                    "{} is a link of another user's that leads out of the repository, and is not followed",
                    link.display()
                ),
            )),
            None => reading::open_file(&full),
        },
        // A kernel, or a sandbox, that does not know the call.
        Err(Errno::NOSYS | Errno::PERM | Errno::INVAL) => reading::open_file(&full),
        Err(error) => Err(error.into()),
    }
}

/// The first link on the way that neither this user nor `owner` made.
fn strange_link(dir: &Path, below: &Path, owner: u32) -> Option<PathBuf> {
    let ours = rustix::process::geteuid().as_raw();
    let mut at = dir.to_owned();
    below.components().find_map(|part| {
        at.push(part);
        let about = at.symlink_metadata().ok()?;
        let strange = about.is_symlink() && ![ours, owner].contains(&about.uid());
        strange.then(|| at.clone())
    })
}
