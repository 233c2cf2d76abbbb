//! Around every call: a place for it, limits on what is sent and how slowly, and a reason in every error.
//!
//! The transport refuses some things by itself (a message that is too large, a method that is not there); what it says
//! gets the reason and remedy that every other refusal has.

use std::error::Error as _;
use std::future::Future as _;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use http_body::{Frame, SizeHint};
use policy::Reason;
use tokio::time::Sleep;
use tonic::body::Body;
use tonic::codegen::Bytes;
use tonic::codegen::http::{HeaderMap, Request, Response};
use tonic::{Code, Status};

use crate::door::{CallPlace, Connection, ConnectionInfo};
use crate::limits;
use crate::refusal::Refusal;
use crate::state::AppState;

/// Who waits how long for what in one service.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Manners {
    /// The service watches over what it receives by itself, since a person may be reading meanwhile.
    pub(crate) patient: bool,
    /// For how long the client may leave what it was answered.
    pub(crate) answer: Duration,
}

/// A call that was let in.
pub(crate) struct Entered {
    state: AppState,
    connection: Arc<Connection>,
    place: Arc<CallPlace>,
    path: String,
}

/// Lets a call in: it has headers within bounds and a place; what it sends is watched over.
pub(crate) fn enter(
    state: &AppState,
    mut request: Request<Body>,
    manners: Manners,
) -> Result<(Request<Body>, Entered), Box<Response<Body>>> {
    let Some(ConnectionInfo(connection)) = request.extensions().get().cloned() else {
        let refusal = Refusal::new(Reason::Caller, "the caller of this call is not known");
        return Err(Box::new(Status::from(refusal).into_http()));
    };
    let path: String = request.uri().path().chars().take(MOST_PATH).collect();
    let refuse = |refusal| Box::new(state.refused(connection.peer(), &path, refusal).into_http());
    check_headers(request.headers(), request.uri().path()).map_err(refuse)?;
    let place = Arc::new(connection.place().begin_call(manners.answer).map_err(refuse)?);
    request.extensions_mut().insert(Arc::clone(&place));
    if !manners.patient {
        request = request.map(|body| Body::new(Watched::new(body)));
    }
    Ok((request, Entered { state: state.clone(), connection, place, path }))
}

impl Entered {
    /// What leaves: an error has its reason, and the place is held until the client has taken all.
    pub(crate) fn leave(self, response: Response<Body>) -> Response<Body> {
        let Self { state, connection, place, path } = self;
        let response = match bare_error(response.headers()) {
            Some(status) => {
                let code = status.code();
                let named = state.refused(connection.peer(), &path, named(&status));
                // Clients look for this very code where a method is not there.
                let code = if code == Code::Unimplemented { code } else { named.code() };
                let details = Bytes::copy_from_slice(named.details());
                Status::with_details(code, named.message(), details).into_http()
            }
            None => response,
        };
        place.offers();
        response.map(|body| Body::new(Taken { body, place }))
    }
}

/// The longest path that is journalled, characters.
const MOST_PATH: usize = 100;
/// What HTTP/2 counts for each header beside its name and value (RFC 9113 section 6.5.2).
const HEADER: usize = 32;

fn check_headers(headers: &HeaderMap, path: &str) -> Result<(), Refusal> {
    let size = |(name, value): (&tonic::codegen::http::HeaderName, &tonic::codegen::http::HeaderValue)| {
        name.as_str().len().saturating_add(value.len()).saturating_add(HEADER)
    };
    let sum = headers.iter().map(size).fold(path.len(), usize::saturating_add);
    if sum <= limits::HEADERS {
        return Ok(());
    }
    Err(Refusal::new(Reason::Limit, format!("the headers of the call have {sum} bytes"))
        .remedy(format!("send headers of at most {} bytes", limits::HEADERS))
        .detail("limit", limits::HEADERS))
}

/// An error of the transport, which carries no reason.
fn bare_error(headers: &HeaderMap) -> Option<Status> {
    let status = Status::from_header_map(headers)?;
    (status.code() != Code::Ok && status.details().is_empty()).then_some(status)
}

/// What an error of the transport means in the table of reasons.
pub(crate) fn named(status: &Status) -> Refusal {
    match status.code() {
        // A message over the limit.
        Code::OutOfRange | Code::ResourceExhausted => {
            Refusal::new(Reason::Limit, format!("a message is over {} MiB", limits::MESSAGE >> 20))
                .remedy("send files in chunks of at most 1 MiB")
                .detail("limit", limits::MESSAGE)
        }
        Code::Unimplemented => {
            Refusal::new(Reason::Unsupported, "there is no such call, or not in this encoding")
                .remedy("ask for what agent.proto has; the reflection service lists it")
        }
        Code::DeadlineExceeded => too_slow(),
        Code::Cancelled => broken_off(),
        // What cannot be decoded comes from tonic itself; what has a cause below it, from a connection that is gone.
        Code::Internal | Code::Unknown if status.source().is_some() => broken_off(),
        _ => Refusal::new(Reason::Usage, format!("the request cannot be read: {}", status.message()))
            .remedy("use tufctl, or read agent.proto"),
    }
}

fn broken_off() -> Refusal {
    Refusal::new(Reason::Cancelled, "the client's stream broke off").remedy("ask again")
}

/// What a client sends: too slowly is an error.
struct Watched {
    body: Body,
    began: Instant,
    bytes: u64,
    /// Made when there is something to wait for.
    timer: Option<Pin<Box<Sleep>>>,
}

impl Watched {
    fn new(body: Body) -> Self {
        Self { body, began: Instant::now(), bytes: 0, timer: None }
    }

    /// Ready when the client was silent or slow for too long.
    fn poll_late(&mut self, cx: &mut Context<'_>) -> Poll<Status> {
        loop {
            let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(limits::SILENCE)));
            if timer.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            if limits::too_slow(self.began.elapsed(), self.bytes) {
                // Named and journalled on its way out.
                return Poll::Ready(Status::deadline_exceeded("too slow"));
            }
            self.timer = None;
        }
    }
}

/// The refusal of a client that sends too slowly.
pub(crate) fn too_slow() -> Refusal {
    Refusal::new(Reason::Limit, "the request came too slowly")
        .remedy(format!("send at least {} KiB a second", limits::RATE >> 10))
}

impl http_body::Body for Watched {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        match Pin::new(&mut self.body).poll_frame(cx) {
            Poll::Ready(frame) => {
                let data = frame.as_ref().and_then(|frame| frame.as_ref().ok()?.data_ref());
                let length = data.map_or(0, |data| u64::try_from(data.len()).unwrap_or(u64::MAX));
                self.bytes = self.bytes.saturating_add(length);
                Poll::Ready(frame)
            }
            Poll::Pending => self.poll_late(cx).map(|status| Some(Err(status))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// What a client is answered: notes when it takes nothing. The transport asks for a frame only when it has room.
struct Taken {
    body: Body,
    place: Arc<CallPlace>,
}

impl http_body::Body for Taken {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let frame = Pin::new(&mut self.body).poll_frame(cx);
        match frame {
            Poll::Ready(_) => self.place.offers(),
            Poll::Pending => self.place.waits(),
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
