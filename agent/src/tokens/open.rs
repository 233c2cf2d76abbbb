//! From a token's configuration to its backend.

use std::sync::Arc;

use backend::filestore::FileStore;
use backend::pkcs11::{CardConfig, ModuleDigest, Pkcs11Config, Pkcs11Token};
use policy::Reason;

use super::slot::Opened;
use super::{Places, Slot};
use crate::config::{Module, Select, TokenConfig, TokenKind};
use crate::refusal::Refusal;

/// Opens one token; no device is waited for.
pub(super) fn slot(config: &TokenConfig, places: &Places) -> Result<Arc<Slot>, Refusal> {
    let opened = match &config.kind {
        TokenKind::File => Opened::File(Arc::new(FileStore::open(&places.state, config.name.clone()))),
        TokenKind::Pkcs11(module) => {
            let token = Pkcs11Token::new(pkcs11(config, module, places)?, places.program.clone());
            let token = token.map_err(|error| refused(config, &error))?;
            Opened::Pkcs11(Arc::new(token))
        }
        TokenKind::Yubikey(card) => {
            let card = CardConfig { name: config.name.clone(), serial: card.serial, env: card.env.clone() };
            Opened::Pkcs11(Arc::new(Pkcs11Token::of_card(card, places.program.clone())))
        }
        TokenKind::Shares { .. } => Opened::Shares(places.splits.open(&places.state, &config.name)),
    };
    Ok(Arc::new(Slot::new(config.clone(), opened, places.clone())))
}

fn pkcs11(config: &TokenConfig, module: &Module, places: &Places) -> Result<Pkcs11Config, Refusal> {
    let (mut label, mut serial, mut uri) = (None, None, None);
    match module.select.clone() {
        Select::Label(text) => label = Some(text),
        Select::Serial(text) => serial = Some(text),
        Select::Uri(text) => uri = Some(text),
    }
    let digest = match module.sha256.as_deref() {
        Some("any") => ModuleDigest::Any,
        Some(text) => ModuleDigest::Pinned(text.parse().map_err(|error| refused(config, &error))?),
        None => ModuleDigest::Recorded(places.state.join("modules").join(format!("{}.sha256", config.name))),
    };
    Ok(Pkcs11Config {
        name: config.name.clone(),
        module: module.path.clone(),
        label,
        serial,
        uri,
        env: module.env.clone(),
        reserved: module.reserved.clone(),
        limits: module.limits.clone(),
        digest,
        profiles: Some(places.state.join("profiles")),
        sessions: module.sessions,
        deadline: module.deadline,
    })
}

fn refused(config: &TokenConfig, error: &dyn std::fmt::Display) -> Refusal {
    Refusal::new(Reason::Usage, format!("token {}: {error}", config.name))
        .remedy("correct its entry in the configuration")
}
