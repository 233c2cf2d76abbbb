//! Step one: what the client sent, whole and within its limits.

use std::time::Instant;

use policy::Reason;
use tufagent_proto::v1::SignBegin;
use tufagent_proto::v1::file_header::Purpose;
use tufagent_proto::v1::sign_request::Part;

use super::client::Client;
use crate::intake::{Intake, ReceivedFile};
use crate::refusal::Refusal;
use crate::state::AppState;
use crate::{limits, rpc};

/// A request as it came; nothing of it is understood yet.
pub(super) struct Received {
    pub(super) begin: SignBegin,
    /// The one file that is to be signed.
    pub(super) subject: ReceivedFile,
    /// Files that are to say who may sign it.
    pub(super) authorities: Vec<ReceivedFile>,
    // Only this module makes one.
    _private: (),
}

/// Reads until the subject is whole. Authorities come before it.
pub(super) async fn receive(
    agent: &AppState,
    client: &mut Client,
    begin: SignBegin,
) -> Result<Received, Refusal> {
    let began = Instant::now();
    check_keys(&begin)?;
    let mut intake = Intake::new(client.connection().place().bytes());
    let mut subject_is_open = false;
    while !(subject_is_open && intake.is_whole()) {
        let part = client.next(limits::SILENCE).await?;
        if limits::too_slow(began.elapsed(), intake.received()) {
            return Err(rpc::too_slow());
        }
        match part {
            Part::File(header) => {
                subject_is_open = header.purpose() == Purpose::Subject;
                let base = agent.repositories().base(&header.base_sha256)?;
                intake.header(header, base)?;
            }
            Part::Chunk(bytes) => intake.chunk(&bytes)?,
            Part::Copy(copy) => intake.copy(copy)?,
            Part::Begin(_) | Part::Confirm(_) | Part::Pin(_) => {
                return Err(usage("begin, confirm and pin cannot stand between the files"));
            }
        }
    }
    let (mut authorities, held) = intake.finish()?;
    // The loop ends with a whole subject as the last file.
    let subject = authorities.pop().ok_or_else(|| usage("no file was sent"))?;
    if authorities.iter().any(|file| file.purpose == Purpose::Subject) {
        return Err(usage("one call signs one file"));
    }
    client.hold(held);
    Ok(Received { begin, subject, authorities, _private: () })
}

fn check_keys(begin: &SignBegin) -> Result<(), Refusal> {
    if begin.keys.len() <= limits::KEYS_NAMED {
        return Ok(());
    }
    Err(Refusal::new(Reason::Limit, format!("{} keys were named for one signature", begin.keys.len()))
        .remedy("name the keys of the role, or none for all of them")
        .detail("limit", limits::KEYS_NAMED))
}

/// What comes after what.
pub(super) const ORDER: &str = "send begin, the authorities, the subject, and confirm when it was inspected";

fn usage(message: &str) -> Refusal {
    Refusal::new(Reason::Usage, message).remedy(ORDER)
}
