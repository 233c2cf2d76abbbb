//! Signing: the two streams of one call, and the pipeline between them.

use std::sync::Arc;

use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};
use tufagent_proto::v1::signing_server::Signing;
use tufagent_proto::v1::{SignEvent, SignRequest};

use crate::door::{CallPlace, connection_of};
use crate::signing::{self, Client};
use crate::state::AppState;

/// The service.
pub struct SigningService(pub AppState);

#[tonic::async_trait]
impl Signing for SigningService {
    type SignStream = ReceiverStream<Result<SignEvent, Status>>;

    async fn sign(
        &self,
        request: Request<Streaming<SignRequest>>,
    ) -> Result<Response<Self::SignStream>, Status> {
        let connection = connection_of(&request)?;
        // The call counts for as long as its work goes on, also when nobody waits for it any more.
        let place = request.extensions().get::<Arc<CallPlace>>().cloned();
        let (events, stream) = mpsc::channel(8);
        let requests = Box::pin(request.into_inner());
        let mut client = Client::new(connection, requests, events.clone());
        let state = self.0.clone();
        // A task of its own: a client that goes away must not keep the outcome from being journalled.
        let open = self.0.hold_open().await;
        tokio::spawn(async move {
            let _open = (open, place);
            if let Err(refusal) = signing::sign(&state, &mut client).await {
                let status = state.refused(client.connection().peer(), "Signing.Sign", refusal);
                let _ = events.send(Err(status)).await;
            }
        });
        Ok(Response::new(ReceiverStream::new(stream)))
    }
}
