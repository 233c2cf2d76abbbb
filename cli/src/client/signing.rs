//! One `Sign` call: metadata goes up, the agent's reading of it comes back, a confirmation releases signatures.

use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_stream::{StreamExt, iter};
use tonic::Streaming;
use tufagent_proto::v1::{self, sign_event::Event, sign_request, signing_client::SigningClient};

use super::upload::{Part, needs_whole};
use super::{Agent, MOST_MESSAGE, WireFile};
use crate::error::{Failure, reason};

/// A call that the agent has inspected and that waits for [`SignCall::confirm`]; dropping it cancels.
pub(crate) struct SignCall<'a> {
    agent: &'a Agent,
    requests: mpsc::Sender<v1::SignRequest>,
    events: Streaming<v1::SignEvent>,
    inspected: v1::SignInspected,
}

/// What happens after the confirmation.
#[derive(Debug)]
pub(crate) enum SignStep {
    /// The agent waits for something that a person can do.
    Waiting(v1::SignWaiting),
    /// A signature.
    Signature(v1::SignSignature),
    /// A key of ours that did not sign, and why.
    Skipped(v1::SignSkipped),
}

impl<'a> SignCall<'a> {
    /// Sends what is to be signed, with the authorities first, and waits until the agent has read it.
    pub(crate) fn open(
        agent: &'a Agent,
        begin: v1::SignBegin,
        files: Vec<WireFile>,
    ) -> Result<Self, Failure> {
        match Self::open_once(agent, begin.clone(), files.clone()) {
            // What it had at hand it has no more.
            Err(failure) if needs_whole(&failure, &files) => {
                Self::open_once(agent, begin, files.into_iter().map(WireFile::whole).collect())
            }
            opened => opened,
        }
    }

    fn open_once(agent: &'a Agent, begin: v1::SignBegin, files: Vec<WireFile>) -> Result<Self, Failure> {
        let (requests, confirmations) = mpsc::channel(1);
        let begin = std::iter::once(sign_request::Part::Begin(begin));
        let parts = begin.chain(files.into_iter().flat_map(WireFile::parts).map(|part| match part {
            Part::Header(header) => sign_request::Part::File(header),
            Part::Chunk(chunk) => sign_request::Part::Chunk(chunk),
            Part::Copy(copy) => sign_request::Part::Copy(copy),
        }));
        let upload = iter(parts.map(|part| v1::SignRequest { part: Some(part) }));
        let stream = upload.chain(ReceiverStream::new(confirmations));
        let mut client = SigningClient::new(agent.channel.clone()).max_decoding_message_size(MOST_MESSAGE);
        let mut events = agent.wait(client.sign(stream))?;
        match agent.next(&mut events)?.and_then(|event| event.event) {
            Some(Event::Inspected(inspected)) => Ok(Self { agent, requests, events, inspected }),
            _ => Err(out_of_turn()),
        }
    }

    /// How the agent reads it: the difference, the digest, the keys that will sign.
    pub(crate) fn inspected(&self) -> &v1::SignInspected {
        &self.inspected
    }

    /// Releases the signatures for exactly what was inspected. `person`: somebody at a terminal has said yes to what only
    /// a person may say yes to.
    pub(crate) fn confirm(&mut self, person: bool) -> Result<(), Failure> {
        let confirm = v1::SignConfirm { sha256: self.inspected.sha256.clone(), person };
        let request = v1::SignRequest { part: Some(sign_request::Part::Confirm(confirm)) };
        // A closed channel means that the agent has ended the call; its status comes with the next step.
        let _ = self.agent.runtime.block_on(self.requests.send(request));
        Ok(())
    }

    /// The next step; `None` when the agent is done.
    pub(crate) fn step(&mut self) -> Result<Option<SignStep>, Failure> {
        let Some(event) = self.agent.next(&mut self.events)? else { return Ok(None) };
        match event.event {
            Some(Event::Waiting(waiting)) => Ok(Some(SignStep::Waiting(waiting))),
            Some(Event::Signature(signature)) => Ok(Some(SignStep::Signature(signature))),
            Some(Event::Skipped(skipped)) => Ok(Some(SignStep::Skipped(skipped))),
            Some(Event::Inspected(_)) | None => Err(out_of_turn()),
        }
    }
}

fn out_of_turn() -> Failure {
    Failure::new(reason::INTERNAL, "the agent answered out of turn")
        .remedy("run a tuf-agent of the same version as tufctl")
}
