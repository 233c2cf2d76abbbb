//! Whether something else has opened a file of the ledger.
//!
//! Duty: tells that nobody else can have written to the files since the last look, without asking for their times. That
//! has its price after each write: once a file's times were asked for, the next write gives it times of their own (Linux,
//! multigrain timestamps), which some file systems flush with what was written.
//! Trust: the kernel. Who had a file open before it was watched is not seen here, so this stands in for the times only
//! between commits that follow each other closely.

use std::cell::Cell;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::inotify::{self, CreateFlags, WatchFlags};

use crate::watchful::{Identity, identity};

/// Watches the files of the ledger.
pub(crate) struct Opened {
    /// None: the system gives none; then nothing is known.
    events: Option<OwnedFd>,
    /// The log and the head.
    watched: Cell<[Option<Identity>; 2]>,
    /// Something came that was not dealt with.
    noticed: Cell<bool>,
}

impl Opened {
    pub(crate) fn new() -> Self {
        let events = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC).ok();
        Self { events, watched: Cell::default(), noticed: Cell::new(false) }
    }

    /// Whether these very files are watched. Those that were not are from now on.
    pub(crate) fn watches(&self, files: [(&Path, Option<Identity>); 2]) -> bool {
        let wanted = files.map(|(_, identity)| identity);
        if self.watched.get() == wanted && !wanted.contains(&None) {
            return true;
        }
        let Some(events) = &self.events else { return false };
        let flags = WatchFlags::OPEN | WatchFlags::ATTRIB | WatchFlags::MOVE_SELF | WatchFlags::DELETE_SELF;
        let watched = files.map(|(path, wanted)| {
            inotify::add_watch(events, path, flags).ok()?;
            // It may have been replaced in between.
            identity(path).filter(|now| Some(*now) == wanted)
        });
        self.watched.set(watched);
        // Whatever came before is not known.
        self.noticed.set(true);
        false
    }

    /// Takes what has come.
    pub(crate) fn notice(&self) {
        if !self.noticed.get() {
            self.noticed.set(self.events.as_ref().is_none_or(came));
        }
    }

    /// Whether something has opened, moved or changed them since [`Self::forget`], as far as was noticed.
    pub(crate) fn is_noticed(&self) -> bool {
        self.noticed.get()
    }

    /// The files were looked at after what had come was noticed, and are what they were.
    pub(crate) fn forget(&self) {
        self.noticed.set(self.events.is_none());
    }
}

/// Whether anything came, all of which is taken; also when that cannot be told.
fn came(events: &OwnedFd) -> bool {
    let mut any = false;
    let mut buffer = [const { MaybeUninit::<u8>::uninit() }; 512];
    loop {
        match rustix::io::read(events, &mut buffer) {
            Err(rustix::io::Errno::AGAIN) => return any,
            Err(rustix::io::Errno::INTR) => {}
            Err(_) => return true,
            Ok(([], _)) => return true,
            Ok(_) => any = true,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn who_opens_moves_or_cuts_one_of_the_files_is_noticed_once_and_its_own_writer_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let (log, head) = (folder.path().join("log"), folder.path().join("head"));
        let mut own = fs::File::create(&log).unwrap();
        fs::write(&head, "head").unwrap();
        let opened = Opened::new();
        let watches = || opened.watches([(&log, identity(&log)), (&head, identity(&head))]);
        assert!(!watches() && watches());
        let nothing = || {
            opened.notice();
            !opened.is_noticed()
        };
        assert!(!nothing(), "what was before is not known");
        opened.forget();
        std::io::Write::write_all(&mut own, b"ours").unwrap();
        assert!(nothing());
        fs::read(&head).unwrap();
        assert!(!nothing() && !nothing());
        opened.forget();
        assert!(nothing());
        drop(fs::OpenOptions::new().append(true).open(&log).unwrap());
        assert!(!nothing());
        opened.forget();
        fs::rename(&log, folder.path().join("away")).unwrap();
        assert!(!nothing());
        opened.forget();
        // Another file in its place is watched anew.
        fs::write(&log, "another").unwrap();
        assert!(!watches() && !nothing() && watches());
        fs::remove_file(&head).unwrap();
        assert!(!watches());
    }
}
