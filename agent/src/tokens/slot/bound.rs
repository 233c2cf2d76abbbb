//! Which card an entry of the configuration means: the one that accepted its PIN last under that name.
//!
//! An entry that selects by a label takes whatever card has that label, and a card shows keys before anybody has given it a
//! PIN. So the keys of another card than the one before have no names here, and nothing trusts them, until a person has
//! unlocked that card.

use backend::pkcs11::Card;
use backend::{BackendError, TokenState};

use super::identity::shown_as;
use super::{Slot, lock};
use tuf::word;

use crate::config::{Select, TokenKind};
use crate::refusal::Refusal;

impl Slot {
    /// Reads which card has accepted its PIN last under this name.
    pub(in crate::tokens) async fn recall_bound(&self) -> Result<Option<String>, Refusal> {
        let Some(token) = self.pkcs11.as_ref().filter(|token| !token.is_card()) else { return Ok(None) };
        let card = token.last_seen();
        if card.is_named() {
            // What an earlier version has bound to it stays so.
            self.known_as(&card).await?;
        }
        let bound = self.places.ledger.card_of_token(self.name().to_owned()).await?;
        lock(&self.counter.bound).clone_from(&bound);
        Ok(bound)
    }

    /// Why the card that is there is not believed, where it is not the one that is meant, as far as is known.
    pub(in crate::tokens) fn stranger(&self) -> Option<Refusal> {
        let token = self.pkcs11.as_ref()?;
        // One that is unlocked has accepted its PIN.
        let waits = matches!(self.backend.state(), TokenState::Locked | TokenState::Blocked);
        if waits { self.not_ours(&token.last_seen()) } else { None }
    }

    /// The same of this card.
    pub(super) fn not_ours(&self, card: &Card) -> Option<Refusal> {
        if self.names_serial() && !card.has_no_serial() || !card.is_named() {
            return None;
        }
        let bound = lock(&self.counter.bound).clone()?;
        self.is_not(&bound, card, &self.counter.identity(card))
    }

    /// A card other than the one that is bound.
    pub(super) fn is_not(&self, bound: &str, card: &Card, id: &str) -> Option<Refusal> {
        if bound == id {
            return None;
        }
        let (name, as_shown) = (self.name(), shown_as(card));
        // A card says of itself what it likes.
        let serial = word::option("--serial", &as_shown);
        let why =
            format!("its PIN was last accepted by the card with {bound}, and the one with {id} is there");
        let refusal = self
            .refusal(&BackendError::Swapped { why })
            .remedy(format!(
                "if that is the one that you mean, unlock it at a terminal (tufctl token unlock {name}), or say so: \
                 tufctl token unlock {name} {serial}"
            ))
            .detail("serial", as_shown);
        Some(refusal)
    }

    /// The configuration names the very card.
    pub(super) fn names_serial(&self) -> bool {
        match &self.config.kind {
            TokenKind::File | TokenKind::Yubikey(_) | TokenKind::Shares { .. } => true,
            TokenKind::Pkcs11(module) => match &module.select {
                Select::Serial(_) => true,
                Select::Label(_) => false,
                Select::Uri(uri) => backend::pkcs11::uri_names_serial(uri),
            },
        }
    }

    /// As a problem of the token, for people.
    pub(super) fn stranger_problem(&self) -> Option<String> {
        let refusal = self.stranger()?;
        Some(format!("{}: {}", self.without_name(&refusal.message), refusal.remedy))
    }
}
