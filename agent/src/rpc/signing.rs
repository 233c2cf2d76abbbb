//! Signing: the two streams of one call, and the pipeline between them.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_stream::{Stream, StreamExt as _};
use tonic::{Request, Response, Status, Streaming};
use tufagent_proto::v1::signing_server::Signing;
use tufagent_proto::v1::{SignEvent, SignRequest};

use crate::awake;
use crate::door::{CallPlace, connection_of};
use crate::signing::{self, Client};
use crate::state::AppState;

/// So soon something can be said about a small file that comes with the call.
const FIRST: Duration = Duration::from_micros(250);

/// So soon a program that signs one file after the other is back.
const NEXT: Duration = Duration::from_micros(150);

/// What the client is told, as it comes.
type Events = Pin<Box<dyn Stream<Item = Result<SignEvent, Status>> + Send>>;

/// The service.
pub struct SigningService(pub AppState);

#[tonic::async_trait]
impl Signing for SigningService {
    type SignStream = Events;

    async fn sign(
        &self,
        request: Request<Streaming<SignRequest>>,
    ) -> Result<Response<Self::SignStream>, Status> {
        let connection = connection_of(&request)?;
        // The call counts for as long as its work goes on, also when nobody waits for it any more.
        let place = request.extensions().get::<Arc<CallPlace>>().cloned();
        let (events, mut stream) = mpsc::channel(8);
        let requests = Box::pin(request.into_inner());
        let mut client = Client::new(connection, requests, events.clone());
        let state = self.0.clone();
        // A task of its own: a client that goes away must not keep the outcome from being journalled.
        tokio::spawn(async move {
            let signed = serve(&state, &mut client).await;
            let went_well = signed.is_ok();
            if let Err(status) = signed {
                let _ = events.send(Err(status)).await;
            }
            drop((client, events, place));
            if went_well {
                awake::stay(NEXT, || !state.ledger().is_busy()).await;
            }
        });
        // Where the first event comes at once the headers leave with it: a client need not be woken twice.
        let patience = if self.0.ledger().is_busy() { Duration::ZERO } else { FIRST };
        let first = awake::within(patience, std::pin::pin!(stream.recv())).await.flatten();
        Ok(Response::new(Box::pin(tokio_stream::iter(first).chain(ReceiverStream::new(stream)))))
    }
}

/// Signs what is asked for on one call, one after the other.
async fn serve(state: &AppState, client: &mut Client) -> Result<(), Status> {
    let told = |client: &Client, refusal| state.refused(client.connection().peer(), "Signing.Sign", refusal);
    let mut open = state.hold_open().await;
    let mut begin = client.begin().await.map_err(|refusal| told(client, refusal))?;
    loop {
        let more = begin.more;
        signing::sign(state, client, begin).await.map_err(|refusal| told(client, refusal))?;
        if !more {
            return Ok(());
        }
        // Nothing is signed meanwhile.
        drop(open);
        let another = {
            let mut another = std::pin::pin!(client.another());
            // Who has one signature often asks for the next one.
            match awake::within_while(NEXT, || !state.ledger().is_busy(), another.as_mut()).await {
                Some(another) => another,
                None => tokio::select! {
                    another = another => another,
                    () = state.stopping() => return Ok(()),
                },
            }
        };
        open = state.hold_open().await;
        match another.map_err(|refusal| told(client, refusal))? {
            Some(next) => begin = next,
            None => return Ok(()),
        }
    }
}
