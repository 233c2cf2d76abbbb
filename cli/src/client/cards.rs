//! What only YubiKeys are asked for.

use tufagent_proto::v1;

use super::Agent;
use super::calls::incomplete;
use super::seal::SealUse;
use crate::error::Failure;
use crate::secret::Secret;

impl Agent {
    /// What a YubiKey says of itself.
    pub(crate) fn card_facts(&self, name: &str) -> Result<v1::CardFactsReply, Failure> {
        self.wait(self.tokens_client().card_facts(v1::CardFactsRequest { name: name.into() }))
    }

    /// One attempt with the old PUK; with a serial number at no other card.
    pub(crate) fn change_puk(
        &self,
        name: &str,
        old: &Secret,
        new: &Secret,
        serial: Option<&str>,
    ) -> Result<(), Failure> {
        let request = v1::ChangePukRequest {
            name: name.into(),
            old_puk: Some(self.seal(&SealUse::Puk(name), old)?),
            new_puk: Some(self.seal(&SealUse::NewPuk(name), new)?),
            serial: serial.map(str::to_owned),
        };
        self.wait(self.tokens_client().change_puk(request)).map(drop)
    }

    /// One attempt with the PUK, for a new PIN.
    pub(crate) fn unblock(
        &self,
        name: &str,
        (puk, pin): (&Secret, &Secret),
        serial: Option<&str>,
        shown: Option<v1::LastTryShown>,
    ) -> Result<v1::Token, Failure> {
        let request = v1::UnblockRequest {
            name: name.into(),
            puk: Some(self.seal(&SealUse::Puk(name), puk)?),
            new_pin: Some(self.seal(&SealUse::NewSecret(name), pin)?),
            serial: serial.map(str::to_owned),
            last_try: shown.is_some(),
            shown,
        };
        self.wait(self.tokens_client().unblock(request))?.token.ok_or_else(incomplete)
    }

    /// A new management key that the PIN protects. `old`: the one that it has, when that is not protected yet.
    pub(crate) fn protect_management_key(&self, name: &str, old: Option<&Secret>) -> Result<(), Failure> {
        let old_key = old.map(|key| self.seal(&SealUse::OldManagementKey(name), key)).transpose()?;
        let request = v1::ProtectManagementKeyRequest { name: name.into(), old_key };
        self.wait(self.tokens_client().protect_management_key(request)).map(drop)
    }
}
