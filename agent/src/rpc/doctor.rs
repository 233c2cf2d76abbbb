//! `Tokens.Doctor`: steps as they are made, then one report.

use std::sync::Arc;

use backend::doctor::Diagnosis;
use backend::pkcs11::Step;
use serde_json::json;
use tokio::sync::mpsc;
use tonic::Status;
use tufagent_proto::v1::doctor_event::Event;
use tufagent_proto::v1::{
    DoctorEvent, DoctorMissing, DoctorQuirk, DoctorReport, DoctorRequest, DoctorStep, DoctorUse,
};

use crate::door::Connection;
use crate::refusal::Refusal;
use crate::state::AppState;
use crate::tokens::{Attempt, Slot};

type Events = mpsc::Receiver<Result<DoctorEvent, Status>>;

/// Begins to measure; what comes of it comes through the channel.
pub(super) async fn examine(
    state: AppState,
    connection: Arc<Connection>,
    wanted: DoctorRequest,
) -> Result<Events, Refusal> {
    let slot = state.tokens().get(&wanted.name)?;
    let since = slot.now();
    let secret = match &wanted.secret {
        Some(sealed) => Some(connection.seal().open(sealed, &format!("unlock:{}", slot.name()))?),
        None => None,
    };
    slot.can_be_examined()?;
    let body = json!({"token": slot.name(), "by_person": secret.is_some()});
    state.journal("token.doctor", Some(connection.peer()), body).await?;
    let (sender, events) = mpsc::channel(64);
    tokio::spawn(async move {
        let steps = sender.clone();
        let progress = move |step: Step| {
            let told = Event::Step(DoctorStep {
                number: u32::try_from(step.number).unwrap_or(u32::MAX),
                of: u32::try_from(step.of).unwrap_or(u32::MAX),
                what: step.what.to_owned(),
            });
            // There is room for all steps; an end that nobody holds means that nobody waits.
            !matches!(steps.try_send(Ok(event(told))), Err(mpsc::error::TrySendError::Closed(_)))
        };
        let attempt = Attempt {
            since,
            user: connection.peer().uid,
            caller: connection.peer().journal_json(),
            ..Attempt::default()
        };
        let done = match slot.examine(secret, attempt, progress).await {
            Ok((diagnosis, saved)) => Ok(event(Event::Report(Box::new(report(&slot, &diagnosis, saved))))),
            Err(refusal) => Err(state.refused(connection.peer(), "Tokens.Doctor", refusal)),
        };
        let _ = sender.send(done).await;
    });
    Ok(events)
}

const fn event(event: Event) -> DoctorEvent {
    DoctorEvent { event: Some(event) }
}

fn report(slot: &Slot, diagnosis: &Diagnosis, saved: bool) -> DoctorReport {
    let facts = &diagnosis.facts;
    let told = facts.token.as_ref();
    let helper = slot.describe();
    DoctorReport {
        confined: helper.confined.unwrap_or(false),
        unconfined: helper.unconfined,
        name: slot.name().to_owned(),
        module: diagnosis.module.clone(),
        sha256: diagnosis.sha256.to_string(),
        library: diagnosis.library(),
        uses: diagnosis
            .uses()
            .named()
            .into_iter()
            .map(|(name, it)| DoctorUse {
                r#use: name.to_owned(),
                verdict: it.verdict.as_str().to_owned(),
                why: it.why.clone(),
            })
            .collect(),
        quirks: diagnosis
            .quirks()
            .into_iter()
            .map(|quirk| DoctorQuirk {
                id: quirk.id.to_owned(),
                seen: quirk.seen,
                means: quirk.means.to_owned(),
                agent: quirk.agent.to_owned(),
            })
            .collect(),
        not_measured: facts
            .not_measured
            .iter()
            .map(|missing| DoctorMissing { probe: missing.probe.clone(), why: missing.why.clone() })
            .collect(),
        facts_json: serde_json::to_string(facts).unwrap_or_default(),
        saved,
        serial: told.map(|token| token.serial.clone()),
        label: told.map(|token| token.label.clone()),
    }
}
