//! Where a test sits: it says what the module is to do, and reads what was asked of it.

use std::path::{Path, PathBuf};

use crate::script::Script;
use crate::trace::Trace;

/// Control file and trace of one lying module, in a folder of the test's.
#[derive(Clone, Debug)]
pub struct Desk {
    folder: PathBuf,
}

impl Desk {
    /// In a folder that is there. The module tells the truth until something is said.
    #[must_use]
    pub fn new(folder: &Path) -> Self {
        Self { folder: folder.to_owned() }
    }

    /// What the module's process must have in its environment.
    #[must_use]
    pub fn env(&self, real_module: &Path) -> [(String, String); 3] {
        let text = |path: &Path| path.display().to_string();
        [
            ("LYING_MODULE".to_owned(), text(real_module)),
            ("LYING_CONTROL".to_owned(), text(&self.control())),
            ("LYING_TRACE".to_owned(), text(&self.trace_file())),
        ]
    }

    /// From the next call on this is what the module does, and nothing else. Counts of calls begin anew.
    ///
    /// # Panics
    /// When it is no lie that the module knows, or cannot be written.
    #[track_caller]
    #[allow(clippy::panic, reason = "a desk is for tests")]
    pub fn say(&self, script: &str) {
        if let Err(error) = Script::parse(script) {
            panic!("{error}");
        }
        let fresh = self.folder.join("control.new");
        let written = std::fs::write(&fresh, script).and_then(|()| std::fs::rename(&fresh, self.control()));
        if let Err(error) = written {
            panic!("{}: {error}", self.control().display());
        }
    }

    /// What was asked since the beginning, or since [`Desk::forget`].
    #[must_use]
    pub fn trace(&self) -> Trace {
        Trace::read(&self.trace_file())
    }

    /// Empties the trace.
    pub fn forget(&self) {
        let _ = std::fs::remove_file(self.trace_file());
    }

    /// A token that counts tries has all of them again, and lies told once may be told once more.
    pub fn reset(&self) {
        let _ = std::fs::remove_file(self.folder.join("control.state"));
    }

    /// Its folder, which a confined module must be allowed to write.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    fn control(&self) -> PathBuf {
        self.folder.join("control")
    }

    fn trace_file(&self) -> PathBuf {
        self.folder.join("trace")
    }
}

/// The module's file. Cargo builds it beside the program whose package depends on this one.
#[must_use]
pub fn module() -> Option<PathBuf> {
    let exe = std::env::current_exe().ok()?;
    let mut folders = exe.ancestors().skip(1).take(2);
    folders.find_map(|folder| Some(folder.join("liblying_pkcs11.so")).filter(|path| path.is_file()))
}
