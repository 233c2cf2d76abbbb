//! What a person does about a key that a role does not take: the whole command that makes another one, for the token that
//! can, in a slot that is free.

use std::sync::Arc;

use backend::card::{PinPolicy, SlotFacts, SlotId, Touch};
use tuf::key::KeyType;
use tuf::role::RoleName;
use tuf::word;

use super::Demand;
use crate::config::TokenKind;
use crate::state::AppState;
use crate::tokens::{HeldKey, Slot};

/// From a key that does not meet a demand to one that does.
pub(super) struct Way<'a> {
    pub(super) agent: &'a AppState,
    pub(super) demand: Demand,
    /// Metadata gives the key to the role already; otherwise it was only named for it.
    pub(super) is_staged: bool,
}

impl Way<'_> {
    pub(super) async fn remedy(&self, key: &HeldKey, role: &RoleName) -> String {
        let (old, make) = (&key.name, self.generate(key).await);
        let next = match (self.is_staged, role.is_top_level()) {
            (false, _) => format!("then name NEW in the place of {old}"),
            (true, true) => format!(
                "then: tufctl root replace-key DIR {role} {} --new NEW",
                word::option("--old", old.as_str())
            ),
            (true, false) => {
                let edit = format!("--add-key NEW {}", word::option("--remove-key", old.as_str()));
                format!("then: tufctl delegation edit DIR {}", word::before(role.as_str(), &edit))
            }
        };
        format!(
            "make one on a token: {make}; {next}; or take the demand out of the configuration until that has been done"
        )
    }

    async fn generate(&self, key: &HeldKey) -> String {
        let Some(slot) = self.maker(key) else {
            return format!("tufctl key generate NEW --token TOKEN{}", policies(self.demand));
        };
        let (name, kind) = (slot.name(), key.stored.public.key_type());
        if !slot.is_card() {
            // Of RSA this length alone is made.
            let kind =
                if matches!(kind, KeyType::Rsa2048 | KeyType::Rsa4096) { KeyType::Rsa3072 } else { kind };
            return format!("tufctl key generate NEW --token {name} --type {kind}");
        }
        // Which any YubiKey makes, and signs files of any length with.
        let kind = if kind == KeyType::EcdsaP384 { kind } else { KeyType::EcdsaP256 };
        let place = match self.free_slot(&slot).await {
            Some(place) if place != SlotId::default() => format!(" --slot {place}"),
            _ => String::new(),
        };
        let policies = policies(self.demand.or_as(key.stored.place));
        format!("tufctl key generate NEW --token {name} --type {kind}{place}{policies}")
    }

    /// The key's own token where that can make one, otherwise the first that can.
    fn maker(&self, key: &HeldKey) -> Option<Arc<Slot>> {
        let of_cards_alone = self.demand != Demand::default();
        let can = |slot: &Arc<Slot>| {
            slot.is_card() || (!of_cards_alone && matches!(slot.config().kind, TokenKind::Pkcs11(_)))
        };
        let own = Some(Arc::clone(&key.slot)).filter(can);
        own.or_else(|| self.agent.tokens().all().into_iter().find(can))
    }

    /// The one for signatures, or one that the applications of others do not use either.
    async fn free_slot(&self, card: &Arc<Slot>) -> Option<SlotId> {
        let keys = self.agent.tokens().keys_to_sign().await;
        let of_it = keys.iter().filter(|key| Arc::ptr_eq(&key.slot, card) && !key.lost);
        let taken: Vec<_> = of_it.filter_map(|key| Some(key.stored.place?.slot)).collect();
        let retired = SlotId::all().filter(|slot| slot.is_retired());
        std::iter::once(SlotId::default()).chain(retired).find(|slot| !taken.contains(slot))
    }
}

impl Demand {
    /// The same; what it leaves open, or is met by more, as with this key.
    fn or_as(self, place: Option<SlotFacts>) -> Self {
        let Some(place) = place else { return self };
        let touch = match (self.touch, place.touch) {
            (Some(Touch::Always), _) | (_, Touch::Always) => Touch::Always,
            (Some(Touch::Cached), _) => Touch::Cached,
            (Some(Touch::Never) | None, as_before) => as_before,
        };
        let pin = match (self.pin, place.pin) {
            (Some(PinPolicy::Always), _) | (_, PinPolicy::Always) => PinPolicy::Always,
            (Some(PinPolicy::Once), _) => PinPolicy::Once,
            (Some(PinPolicy::Never) | None, as_before) => as_before,
        };
        Self { touch: Some(touch), pin: Some(pin) }
    }
}

/// As `key generate` takes them.
fn policies(demand: Demand) -> String {
    let touch = demand.touch.map(|touch| format!(" --touch {}", touch.as_str()));
    let pin = demand.pin.map(|pin| format!(" --pin-policy {}", pin.as_str()));
    [touch, pin].into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_key_wants_what_is_demanded_and_otherwise_what_the_old_one_did() {
        let made = |touch, pin, was: Option<(Touch, PinPolicy)>| {
            let place = was.map(|(touch, pin)| SlotFacts { slot: SlotId::default(), touch, pin });
            policies(Demand { touch, pin }.or_as(place))
        };
        let (cached, once) = (Some(Touch::Cached), Some(PinPolicy::Once));
        assert_eq!(made(None, None, None), "");
        assert_eq!(made(cached, once, None), " --touch cached --pin-policy once");
        let strict = Some((Touch::Always, PinPolicy::Always));
        assert_eq!(made(cached, once, strict), " --touch always --pin-policy always");
        assert_eq!(made(None, None, strict), " --touch always --pin-policy always");
        let lax = Some((Touch::Never, PinPolicy::Never));
        assert_eq!(made(cached, once, lax), " --touch cached --pin-policy once");
        assert_eq!(made(Some(Touch::Always), None, lax), " --touch always --pin-policy never");
    }
}
