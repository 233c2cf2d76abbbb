//! A person trusts the module that lies there now: the very file that was shown, and only once it can be loaded.

use std::time::Instant;

use tuf::digest::Sha256Digest;

use super::digest::Trusted;
use super::helper::Helper;
use super::link::{Link, Shared};
use super::start::{Opened, StartError};
use super::trouble::Trouble;
use crate::BackendError;

/// The file that lies where a token's module is looked for.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ModuleLook {
    /// Where it really lies.
    pub path: String,
    /// Of the file.
    pub sha256: Sha256Digest,
    /// What is trusted.
    pub trusted: Trusted,
}

impl ModuleLook {
    /// Whether that is the file which somebody was shown.
    ///
    /// # Errors
    /// [`BackendError::NotAsShown`].
    pub fn is_as_shown(&self, shown: Sha256Digest) -> Result<(), BackendError> {
        let Self { path, sha256, .. } = self;
        if *sha256 == shown {
            return Ok(());
        }
        let why = format!("{path} has sha256 {sha256} now, and {shown} was shown; nothing was trusted anew");
        Err(BackendError::NotAsShown { why })
    }
}

impl Shared {
    /// Which file lies there now. The helper that serves is left alone, and nothing of the file is run.
    pub(crate) fn look_at_module(&self) -> Result<ModuleLook, BackendError> {
        let trusted = self.config.module()?.digest.trusted()?;
        let (_, Opened { path, sha256 }) = self.open_beside()?;
        Ok(ModuleLook { path, sha256, trusted })
    }

    /// Trusts the module's file, which must be the one that was shown, and starts with it. What is hashed and what is loaded
    /// is one open file. One that cannot be loaded is not trusted.
    pub(crate) fn trust(&self, link: &mut Link, shown: Sha256Digest) -> Result<ModuleLook, BackendError> {
        let module = self.config.module()?;
        let trusted = module.digest.trusted()?;
        let (helper, opened) = self.open_beside()?;
        let look = ModuleLook { path: opened.path.clone(), sha256: opened.sha256, trusted };
        look.is_as_shown(shown)?;
        let path = look.path.clone();
        module.digest.may_trust(shown)?;
        self.retire(link);
        (link.refused, link.started) = (None, Some(Instant::now()));
        link.locks_done = self.seen_now().locks;
        link.helper = Some(helper);
        match self.load_opened(link, opened) {
            Ok(()) => {}
            Err(error) => {
                // The file that lies there is not the one that is trusted: that is what is told of the token then.
                link.helper = None;
                let error = self.not_started(error);
                let _ = self.ready(link);
                return Err(BackendError::Failed {
                    why: format!(
                        "{path} cannot be loaded, so it is not trusted ({error}); trusted is as before: {trusted}"
                    ),
                    remedy:
                        "install the module whole, or the one before it; the agent's log has what it said"
                            .to_owned(),
                });
            }
        }
        if let Err(error) = module.digest.trust(shown) {
            self.retire(link);
            let _ = self.ready(link);
            return Err(error);
        }
        self.serve_by(link);
        // What it sees is noted; that the token is not there is no reason to end the helper.
        let _ = self.poll(link);
        Ok(look)
    }

    /// A helper beside the one that serves, which has hashed the file and loaded nothing.
    fn open_beside(&self) -> Result<(Helper, Opened), BackendError> {
        let opened = self.new_helper().and_then(|mut helper| {
            let opened = self.open(&mut helper)?;
            Ok((helper, opened))
        });
        opened.map_err(|error| self.not_started(error))
    }

    fn not_started(&self, error: StartError) -> BackendError {
        match error {
            StartError::Refused(error) => error,
            StartError::Died(how) => Trouble::Failed {
                why: format!("the helper of token {} {how}", self.config.name),
                remedy: "repeat the command; the agent's log has what the module said".to_owned(),
            }
            .into(),
        }
    }
}
