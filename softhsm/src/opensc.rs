//! OpenSC: other people's view of a card.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Skipped;
use crate::fetched::Fetched;

/// OpenSC's programs and its PKCS#11 module.
#[derive(Debug, Clone)]
pub struct OpenSc {
    tool: PathBuf,
    pkcs11_tool: PathBuf,
    module: PathBuf,
    library_path: Option<String>,
}

impl OpenSc {
    /// The system's, or fetched into `third_party`.
    ///
    /// # Errors
    /// When it cannot be fetched.
    pub fn find_or_fetch_in(third_party: &Path) -> Result<Self, Skipped> {
        let fetched = Fetched::new(third_party, "opensc", &["opensc", "opensc-pkcs11"])?;
        Ok(Self {
            tool: fetched.file("opensc-tool")?,
            pkcs11_tool: fetched.file("pkcs11-tool")?,
            module: fetched.file("opensc-pkcs11.so")?,
            library_path: fetched.library_path(),
        })
    }

    /// `opensc-tool`.
    #[must_use]
    pub fn tool(&self) -> Command {
        self.command(&self.tool)
    }

    /// `pkcs11-tool` with OpenSC's module.
    #[must_use]
    pub fn pkcs11_tool(&self) -> Command {
        self.pkcs11_tool_with(&self.module)
    }

    /// `pkcs11-tool` with another module.
    #[must_use]
    pub fn pkcs11_tool_with(&self, module: &Path) -> Command {
        let mut command = self.command(&self.pkcs11_tool);
        command.arg("--module").arg(module);
        command
    }

    fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.envs(self.library_path.iter().map(|path| ("LD_LIBRARY_PATH", path)));
        command
    }
}
