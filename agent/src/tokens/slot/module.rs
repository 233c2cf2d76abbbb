//! The module of a token: which file is trusted, and which one was loaded.

use std::sync::Arc;

use backend::pkcs11::{Loaded, ModuleLook, Pkcs11Token};
use policy::Reason;
use serde_json::json;
use tuf::digest::Sha256Digest;

use super::{Slot, lock};
use crate::refusal::Refusal;

impl Slot {
    /// Journals which module its helper has loaded and what it is kept to, when that is another one than before in this
    /// run; it joins the next commit.
    pub(in crate::tokens) fn journal_module(&self) {
        let Some(loaded) = self.pkcs11.as_ref().and_then(|token| token.loaded()) else { return };
        let mut journalled = lock(&self.journalled);
        if journalled.as_ref() == Some(&loaded) {
            return;
        }
        let Loaded { path, sha256, library, confined, gap } = loaded.as_ref();
        let mut body = json!({
            "token": self.name(),
            "path": path,
            "sha256": sha256,
            "library": library,
            "confined": confined,
        });
        if let (Some(gap), Some(members)) = (gap, body.as_object_mut()) {
            members.insert("unconfined".to_owned(), json!(gap));
        }
        self.places.ledger.note_event("token.module", body);
        *journalled = Some(loaded);
    }

    /// Which file lies where its module is looked for, and which one is trusted. Waits for no other call.
    ///
    /// # Errors
    /// `UNSUPPORTED` for a token without a module; otherwise what the backend gives.
    pub async fn look_at_module(&self) -> Result<ModuleLook, Refusal> {
        let token = self.need_module()?;
        let look = tokio::task::spawn_blocking(move || token.look_at_module()).await;
        look.map_err(Refusal::internal)?.map_err(|error| self.refusal(&error))
    }

    /// The same of the file of this digest, which somebody was shown.
    ///
    /// # Errors
    /// `CONFIRMATION_MISSING` when another file lies there now.
    pub async fn look_again(&self, shown: Sha256Digest) -> Result<ModuleLook, Refusal> {
        let look = self.look_at_module().await?;
        look.is_as_shown(shown).map_err(|error| self.refusal(&error))?;
        Ok(look)
    }

    /// Trusts the module of this digest, which somebody was shown.
    ///
    /// # Errors
    /// `UNSUPPORTED` for a token without a module, `CONFIRMATION_MISSING` when another file lies there now; otherwise what the
    /// backend gives.
    pub async fn trust_module(&self, shown: Sha256Digest) -> Result<ModuleLook, Refusal> {
        let token = self.need_module()?;
        self.run(move |_| token.trust(shown)).await
    }

    fn need_module(&self) -> Result<Arc<Pkcs11Token>, Refusal> {
        let name = self.name();
        self.pkcs11.clone().filter(|token| !token.is_card()).ok_or_else(|| {
            Refusal::new(Reason::Unsupported, format!("token {name} has no module to trust"))
                .remedy("name a token of kind pkcs11")
                .detail("token", name)
        })
    }
}
