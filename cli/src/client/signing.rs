//! One `Sign` call: metadata goes up, the agent's reading of it comes back, a confirmation releases signatures.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_stream::wrappers::ReceiverStream;
use tokio_stream::{Stream, StreamExt, iter};
use tonic::Streaming;
use tonic::transport::Channel;
use tufagent_proto::v1::{self, sign_event::Event, sign_request, signing_client::SigningClient};

use super::seal::SealUse;
use super::upload::{Part, needs_whole};
use super::{Agent, MOST_MESSAGE, Patience, WireFile, silent};
use crate::error::{Failure, reason};
use crate::secret::Secret;

/// A call that the agent has inspected and that waits for [`SignCall::confirm`]; dropping it cancels.
pub(crate) struct SignCall<'a> {
    pub(super) agent: &'a Agent,
    requests: mpsc::Sender<v1::SignRequest>,
    pub(super) events: Streaming<v1::SignEvent>,
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
    /// A key takes its PIN for this signature: [`SignCall::give_pin`].
    Ask(v1::SignAsk),
    /// A collection of shares is open for this signature, or somebody has given to it.
    Collect(Box<v1::Collection>),
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
        let (requests, upload) = upload(begin, files);
        let mut client = SigningClient::new(agent.channel.clone()).max_decoding_message_size(MOST_MESSAGE);
        let mut events = agent.wait(client.sign(upload))?;
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
        let request = confirmation(&self.inspected, person);
        // A closed channel means that the agent has ended the call; its status comes with the next step.
        let _ = self.agent.runtime.block_on(self.requests.send(request));
        Ok(())
    }

    /// The PIN that [`SignStep::Ask`] asks for, sealed for this very signature.
    pub(crate) fn give_pin(&mut self, token: &str, pin: &Secret) -> Result<(), Failure> {
        let sealed = self.agent.seal(&SealUse::Sign(token, &self.inspected.sha256), pin)?;
        let part = Some(sign_request::Part::Pin(v1::SignPin { secret: Some(sealed) }));
        // As with the confirmation.
        let _ = self.agent.runtime.block_on(self.requests.send(v1::SignRequest { part }));
        Ok(())
    }

    /// The next step; `None` when the agent is done.
    pub(crate) fn step(&mut self) -> Result<Option<SignStep>, Failure> {
        let Some(event) = self.agent.next(&mut self.events)? else { return Ok(None) };
        step(event).map(Some)
    }
}

/// Calls that are under way at the same time: the agent flushes what it records for them together.
pub(crate) struct SignCalls<'a> {
    agent: &'a Agent,
    calls: JoinSet<()>,
    tell: mpsc::UnboundedSender<(usize, Turn)>,
    told: mpsc::UnboundedReceiver<(usize, Turn)>,
}

/// What becomes of one of several calls.
pub(crate) enum Turn {
    /// The agent has read it and waits.
    Read(ReadCall),
    /// It was confirmed, and goes on.
    Step(SignStep),
    /// It has ended.
    End(Result<(), Failure>),
}

/// How the agent reads one of several calls. Dropped without [`Self::confirm`], the call is cancelled.
pub(crate) struct ReadCall {
    pub(crate) inspected: v1::SignInspected,
    requests: mpsc::Sender<v1::SignRequest>,
}

impl ReadCall {
    /// Releases the signatures for exactly what was inspected, in which there is nothing that a person is asked about.
    pub(crate) fn confirm(self) {
        // There is room for one; a closed channel means that the agent has ended the call.
        let _ = self.requests.try_send(confirmation(&self.inspected, false));
    }
}

impl<'a> SignCalls<'a> {
    pub(crate) fn new(agent: &'a Agent) -> Self {
        let (tell, told) = mpsc::unbounded_channel();
        Self { agent, calls: JoinSet::new(), tell, told }
    }

    /// Begins a call, which is known by this number from now on.
    pub(crate) fn begin(&mut self, number: usize, begin: v1::SignBegin, files: Vec<WireFile>) {
        let (channel, tell) = (self.agent.channel.clone(), self.tell.clone());
        let call = async move {
            let end = drive(channel, begin, files, |turn| drop(tell.send((number, turn)))).await;
            let _ = tell.send((number, Turn::End(end)));
        };
        self.calls.spawn_on(call, self.agent.runtime.handle());
    }

    /// What happens next, if it does within this time.
    pub(crate) fn next(&mut self, within: Duration) -> Option<(usize, Turn)> {
        let told = &mut self.told;
        let next = async { tokio::time::timeout(within, told.recv()).await };
        self.agent.runtime.block_on(next).ok().flatten()
    }

    /// As [`Self::next`], for whatever a slow token or a person may take.
    ///
    /// # Errors
    /// `UNREACHABLE`.
    pub(crate) fn wait(&mut self) -> Result<(usize, Turn), Failure> {
        let limit = Patience::Long;
        self.next(limit.limit()).ok_or_else(|| silent(&self.agent.path, limit))
    }
}

/// One call from its begin to its end.
async fn drive(
    channel: Channel,
    begin: v1::SignBegin,
    files: Vec<WireFile>,
    tell: impl Fn(Turn),
) -> Result<(), Failure> {
    let (requests, upload) = upload(begin, files);
    let mut client = SigningClient::new(channel).max_decoding_message_size(MOST_MESSAGE);
    let mut events = client.sign(upload).await?.into_inner();
    match events.message().await?.and_then(|event| event.event) {
        Some(Event::Inspected(inspected)) => tell(Turn::Read(ReadCall { inspected, requests })),
        _ => return Err(out_of_turn()),
    }
    while let Some(event) = events.message().await? {
        tell(Turn::Step(step(event)?));
    }
    Ok(())
}

/// What goes up: begin and files at once, then whatever is sent.
fn upload(
    begin: v1::SignBegin,
    files: Vec<WireFile>,
) -> (mpsc::Sender<v1::SignRequest>, impl Stream<Item = v1::SignRequest> + Send + 'static) {
    let (requests, confirmations) = mpsc::channel(1);
    let begin = std::iter::once(sign_request::Part::Begin(begin));
    let parts = begin.chain(files.into_iter().flat_map(WireFile::parts).map(|part| match part {
        Part::Header(header) => sign_request::Part::File(header),
        Part::Chunk(chunk) => sign_request::Part::Chunk(chunk),
        Part::Copy(copy) => sign_request::Part::Copy(copy),
    }));
    let upload = iter(parts.map(|part| v1::SignRequest { part: Some(part) }));
    (requests, upload.chain(ReceiverStream::new(confirmations)))
}

fn confirmation(inspected: &v1::SignInspected, person: bool) -> v1::SignRequest {
    let confirm = v1::SignConfirm { sha256: inspected.sha256.clone(), person };
    v1::SignRequest { part: Some(sign_request::Part::Confirm(confirm)) }
}

/// A step after the confirmation.
pub(super) fn step(event: v1::SignEvent) -> Result<SignStep, Failure> {
    match event.event {
        Some(Event::Waiting(waiting)) => Ok(SignStep::Waiting(waiting)),
        Some(Event::Signature(signature)) => Ok(SignStep::Signature(signature)),
        Some(Event::Skipped(skipped)) => Ok(SignStep::Skipped(skipped)),
        Some(Event::Ask(ask)) => Ok(SignStep::Ask(ask)),
        Some(Event::Collect(v1::SignCollect { collection: Some(collection) })) => {
            Ok(SignStep::Collect(Box::new(collection)))
        }
        Some(Event::Collect(_) | Event::Inspected(_) | Event::Done(_)) | None => Err(out_of_turn()),
    }
}

fn out_of_turn() -> Failure {
    Failure::new(reason::INTERNAL, "the agent answered out of turn")
        .remedy("run a tuf-agent of the same version as tufctl")
}
