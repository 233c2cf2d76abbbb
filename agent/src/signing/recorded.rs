//! Step four: the intent is durable. From here on it counts as signed for the watermark, whatever comes.

use std::collections::VecDeque;

use ledger::{IntentId, Outcome};
use policy::Reason;
use serde_json::json;
use tuf::digest::Sha256Digest;
use tuf::metadata::Metadata;
use tuf::preimage::Preimage;
use tuf::role::RoleName;
use tuf::word;
use tufagent_proto::v1::SignSignature;
use tufagent_proto::v1::sign_event::Event;

use super::authorized::Authorized;
use super::client::{Client, cancelled};
use super::inspected::Inspected;
use super::signed::Signed;
use super::signers::{Signer, skipped_event};
use crate::clock;
use crate::refusal::Refusal;
use crate::repositories::Signing;
use crate::state::AppState;

/// A request whose intent is on disk.
pub(super) struct Recorded {
    intent: IntentId,
    role: RoleName,
    subject: Metadata,
    /// Held until all keys have signed.
    _preimage: Option<Preimage>,
    waiting: VecDeque<Signer>,
    /// Keyids of the signatures that left.
    released: Vec<String>,
    /// Fingerprints of the keys that have signed.
    released_by: Vec<Sha256Digest>,
    /// The first key that failed, and why.
    failed: Option<Refusal>,
    abandoned: bool,
    // Only this module makes one.
    _private: (),
}

/// Records the intent for all keys in one commit; the ledger judges the watermark in the same transaction.
pub(super) async fn record(
    agent: &AppState,
    client: &Client,
    authorized: Authorized,
) -> Result<Recorded, Refusal> {
    if client.is_gone() || !agent.may_receive(client.connection()) {
        return Err(cancelled("the caller has gone"));
    }
    let inspected = authorized.inspected;
    still_true(agent, &inspected).await?;
    if !inspected.concerns.is_empty() || !inspected.person.is_empty() {
        let body = json!({
            "repository": inspected.record.name.to_string(),
            "role": inspected.role.to_string(),
            "version": inspected.subject.version().get(),
            "sha256": inspected.digest().to_string(),
            "concerns": inspected.concerns,
            "by_person": inspected.person.iter().map(|(_, said)| said).collect::<Vec<_>>(),
        });
        agent.journal("sign.confirmed", Some(client.connection().peer()), body).await?;
    }
    let signing = Signing {
        record: &inspected.record,
        role: &inspected.role,
        subject: &inspected.subject,
        authority: &inspected.authority,
        keys: inspected
            .signers
            .iter()
            .map(|signer| (signer.key.name.clone(), signer.key.stored.public.clone()))
            .collect(),
        shared_key: inspected.shared_key,
        supersedes: inspected.supersedes,
        caller: client.connection().peer().journal_json(),
    };
    let intent = agent.repositories().record_intent(signing).await?;
    Ok(Recorded {
        intent,
        role: inspected.role,
        subject: inspected.subject,
        _preimage: inspected.preimage,
        waiting: inspected.signers.into(),
        released: Vec::new(),
        released_by: Vec::new(),
        failed: None,
        abandoned: false,
        _private: (),
    })
}

/// A person may look at a difference for minutes: what it rests on must not have moved meanwhile.
async fn still_true(agent: &AppState, inspected: &Inspected) -> Result<(), Refusal> {
    let (role, subject) = (&inspected.role, &inspected.subject);
    let (standing, authority) = (&inspected.standing, &inspected.authority);
    let repositories = agent.repositories();
    if !repositories.still_stands(&inspected.record, (role, subject), standing, authority).await? {
        let message = format!("{role} was looked at, and something newer was published meanwhile");
        return Err(Refusal::new(Reason::ConfirmationMissing, message)
            .remedy("look at the difference again: tufctl sign DIR")
            .detail("role", role.to_string()));
    }
    if inspected.subject.expires() <= clock::now() {
        let message = format!("{role} version {} has expired meanwhile", inspected.subject.version());
        return Err(Refusal::new(Reason::Expiry, message)
            .remedy(format!("renew it: tufctl bump DIR {}", word::last(role.as_str())))
            .detail("role", role.to_string()));
    }
    Ok(())
}

impl Recorded {
    /// What is signed.
    pub(super) fn subject(&self) -> &Metadata {
        &self.subject
    }

    /// As which role.
    pub(super) fn role(&self) -> &RoleName {
        &self.role
    }

    /// The next key; none when all are done or nobody waits for the rest.
    pub(super) fn next_signer(&mut self) -> Option<Signer> {
        if self.abandoned { None } else { self.waiting.pop_front() }
    }

    /// Gives a signature to the caller, if it is still the one that asked; a failure becomes an event.
    pub(super) async fn release(
        &mut self,
        agent: &AppState,
        client: &Client,
        signed: Result<Signed, (Signer, Refusal)>,
    ) {
        if client.is_gone() || !agent.may_receive(client.connection()) {
            self.abandoned = true;
            return;
        }
        let told = match signed {
            Ok(signed) => self.hand_over(client, signed).await,
            Err((signer, refusal)) => {
                let told = client.tell(Event::Skipped(skipped_event(&signer, &refusal))).await;
                self.failed.get_or_insert(refusal);
                told
            }
        };
        self.abandoned = told.is_err();
    }

    async fn hand_over(&mut self, client: &Client, signed: Signed) -> Result<(), Refusal> {
        // Before the first is given out: it may be the last that reaches anybody.
        self.released_by.push(signed.signer().key.stored.public.fingerprint());
        for keyid in &signed.signer().keyids {
            let event = SignSignature {
                keyid: keyid.to_string(),
                sig: signed.signature().hex(),
                key: signed.signer().key.name.clone(),
                token: signed.signer().key.slot.name().to_owned(),
            };
            client.tell(Event::Signature(event)).await?;
            self.released.push(keyid.to_string());
        }

        Ok(())
    }

    /// Journals what became of it.
    pub(super) fn close(self, agent: &AppState) -> Result<(), Refusal> {
        let nothing = self.released.is_empty();
        let (outcome, result) = match self.failed {
            _ if nothing && self.abandoned => (Outcome::Abandoned, Err(cancelled("the caller has gone"))),
            Some(refusal) if nothing => {
                let (reason, message) = (refusal.reason.to_string(), refusal.message.clone());
                (Outcome::Failed { reason, message }, Err(refusal))
            }
            None if nothing => {
                let refusal = Refusal::new(Reason::Internal, "no key was left to sign with");
                let (reason, message) = (refusal.reason.to_string(), refusal.message.clone());
                (Outcome::Failed { reason, message }, Err(refusal))
            }
            _ => (Outcome::Signed { keyids: self.released, keys: self.released_by }, Ok(())),
        };
        agent.ledger().record_outcome(self.intent, outcome);
        result
    }
}
