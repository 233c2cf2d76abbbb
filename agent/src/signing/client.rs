//! The client's end of one Sign call: requests in, events out, and whether it is still there.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use policy::Reason;
use tokio::sync::mpsc;
use tokio_stream::{Stream, StreamExt as _};
use tonic::Status;
use tufagent_proto::v1::sign_event::Event;
use tufagent_proto::v1::sign_request::Part;
use tufagent_proto::v1::{SignBegin, SignDone, SignEvent, SignRequest};

use crate::door::{Connection, HeldBytes};
use crate::limits;
use crate::refusal::Refusal;
use crate::rpc::named;

/// What the client sends.
pub type Requests = Pin<Box<dyn Stream<Item = Result<SignRequest, Status>> + Send + Sync>>;

/// One caller of Sign.
pub struct Client {
    connection: Arc<Connection>,
    requests: Requests,
    events: mpsc::Sender<Result<SignEvent, Status>>,
    /// The room that its files take, for as long as the call lasts.
    held: Option<HeldBytes>,
}

impl Client {
    /// The two directions of a call, and the connection it came on.
    #[must_use]
    pub fn new(
        connection: Arc<Connection>,
        requests: Requests,
        events: mpsc::Sender<Result<SignEvent, Status>>,
    ) -> Self {
        Self { connection, requests, events, held: None }
    }

    /// Who calls.
    #[must_use]
    pub fn connection(&self) -> &Arc<Connection> {
        &self.connection
    }

    /// Holds the room of its files until the call has ended.
    pub(super) fn hold(&mut self, held: HeldBytes) {
        self.held = Some(held);
    }

    /// What the call begins with.
    ///
    /// # Errors
    /// As [`Self::next`]; `USAGE` for anything else.
    pub async fn begin(&mut self) -> Result<SignBegin, Refusal> {
        begin(self.next(limits::SILENCE).await?)
    }

    /// Says that all of the last request is done, and gives the next one on the same call. None: the client ended the call,
    /// or asks for nothing.
    ///
    /// # Errors
    /// `USAGE` or `LIMIT` for a request that cannot be read.
    pub async fn another(&mut self) -> Result<Option<SignBegin>, Refusal> {
        // Files of the one before take no room any more.
        self.held = None;
        if self.tell(Event::Done(SignDone {})).await.is_err() {
            return Ok(None);
        }
        match self.hear(limits::SILENCE).await {
            Ok(Heard::Part(part)) => begin(part).map(Some),
            Ok(Heard::Closed | Heard::Gone | Heard::Nothing) => Ok(None),
            // It asked for nothing that could be refused.
            Err(broken) if broken.reason == Reason::Cancelled => Ok(None),
            Err(refusal) => Err(refusal),
        }
    }

    /// The next part of the request.
    ///
    /// # Errors
    /// `CANCELLED` when the client closed the stream, went away, or let `patience` pass.
    pub(super) async fn next(&mut self, patience: Duration) -> Result<Part, Refusal> {
        match self.hear(patience).await? {
            Heard::Part(part) => Ok(part),
            Heard::Gone => Err(cancelled("the client went away")),
            Heard::Closed => Err(cancelled("the client closed the stream before it confirmed")),
            Heard::Nothing => Err(cancelled("the client said nothing for too long")),
        }
    }

    async fn hear(&mut self, patience: Duration) -> Result<Heard, Refusal> {
        let next = tokio::select! {
            next = tokio::time::timeout(patience, self.requests.next()) => next,
            () = self.events.closed() => return Ok(Heard::Gone),
        };
        match next {
            Ok(Some(Ok(SignRequest { part: Some(part) }))) => Ok(Heard::Part(part)),
            Ok(Some(Ok(SignRequest { part: None }))) => {
                Err(Refusal::new(Reason::Usage, "an empty request came on the stream"))
            }
            Ok(Some(Err(status))) => match named(&status) {
                broken if broken.reason == Reason::Cancelled => {
                    Err(cancelled("the client's stream broke off"))
                }
                refusal => Err(refusal),
            },
            Ok(None) => Ok(Heard::Closed),
            Err(_) => Ok(Heard::Nothing),
        }
    }

    /// Sends an event.
    ///
    /// # Errors
    /// `CANCELLED` when nobody listens any more.
    pub(super) async fn tell(&self, event: Event) -> Result<(), Refusal> {
        let event = SignEvent { event: Some(event) };
        self.events.send(Ok(event)).await.map_err(|_| cancelled("the client went away"))
    }

    /// True when nobody listens any more.
    pub(super) fn is_gone(&self) -> bool {
        self.events.is_closed()
    }

    /// Ends when nobody listens any more.
    pub(super) async fn gone(&self) {
        self.events.closed().await;
    }
}

/// What came of waiting for the client.
enum Heard {
    Part(Part),
    /// It closed its side.
    Closed,
    /// It takes no answers any more.
    Gone,
    /// Its time is over.
    Nothing,
}

fn begin(part: Part) -> Result<SignBegin, Refusal> {
    let Part::Begin(begin) = part else {
        return Err(
            Refusal::new(Reason::Usage, "the first part must be begin").remedy(super::received::ORDER)
        );
    };
    Ok(begin)
}

/// The caller said no, or nothing.
pub(super) fn cancelled(why: &str) -> Refusal {
    Refusal::new(Reason::Cancelled, format!("nothing was signed: {why}")).remedy("ask again")
}
