//! Split keys: sets, proofs, collections, drills.

use std::sync::Arc;

use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};
use tufagent_proto::v1::shares_server::Shares;
use tufagent_proto::v1::{
    CollectionsReply, CollectionsRequest, ConfirmShareReply, ConfirmShareRequest, DrillEvent, DrillRequest,
    EndCollectionReply, EndCollectionRequest, EndResplitReply, EndResplitRequest, GiveShareReply,
    GiveShareRequest, ListSetsReply, ListSetsRequest, ResplitEvent, ResplitRequest, SplitReply, SplitRequest,
};

use super::answer;
use crate::door::{Connection, connection_of};
use crate::refusal::Refusal;
use crate::split;
use crate::state::AppState;

/// The service.
pub struct SharesService(pub AppState);

/// Events of one call: a collection and its end.
const EVENTS: usize = 8;

#[tonic::async_trait]
impl Shares for SharesService {
    type DrillStream = ReceiverStream<Result<DrillEvent, Status>>;
    type ResplitStream = ReceiverStream<Result<ResplitEvent, Status>>;

    async fn list(&self, request: Request<ListSetsRequest>) -> Result<Response<ListSetsReply>, Status> {
        answer(&self.0, "Shares.List", request, |state, _, _| async move {
            Ok(ListSetsReply { sets: split::list(&state) })
        })
        .await
    }

    async fn split(&self, request: Request<SplitRequest>) -> Result<Response<SplitReply>, Status> {
        answer(&self.0, "Shares.Split", request, split::split).await
    }

    async fn confirm(
        &self,
        request: Request<ConfirmShareRequest>,
    ) -> Result<Response<ConfirmShareReply>, Status> {
        answer(&self.0, "Shares.Confirm", request, split::confirm).await
    }

    async fn collections(
        &self,
        request: Request<CollectionsRequest>,
    ) -> Result<Response<CollectionsReply>, Status> {
        answer(&self.0, "Shares.Collections", request, |state, connection, _| async move {
            let all = state.splits().collections().of(connection.peer());
            Ok(CollectionsReply { collections: all.iter().map(|one| one.describe()).collect() })
        })
        .await
    }

    async fn give(&self, request: Request<GiveShareRequest>) -> Result<Response<GiveShareReply>, Status> {
        answer(&self.0, "Shares.Give", request, |state, connection, share| async move {
            split::give(&state, &connection, share).await
        })
        .await
    }

    async fn end_collection(
        &self,
        request: Request<EndCollectionRequest>,
    ) -> Result<Response<EndCollectionReply>, Status> {
        answer(&self.0, "Shares.EndCollection", request, split::end_collection).await
    }

    async fn drill(&self, request: Request<DrillRequest>) -> Result<Response<Self::DrillStream>, Status> {
        told(&self.0, "Shares.Drill", request, |state, connection, wanted, events| async move {
            split::drill(&state, &connection, wanted, &events).await
        })
        .await
    }

    async fn resplit(
        &self,
        request: Request<ResplitRequest>,
    ) -> Result<Response<Self::ResplitStream>, Status> {
        told(&self.0, "Shares.Resplit", request, |state, connection, wanted, events| async move {
            split::resplit(&state, &connection, wanted, &events).await
        })
        .await
    }

    async fn end_resplit(
        &self,
        request: Request<EndResplitRequest>,
    ) -> Result<Response<EndResplitReply>, Status> {
        answer(&self.0, "Shares.EndResplit", request, split::end_resplit).await
    }
}

/// Where the events of a call go.
type Events<E> = mpsc::Sender<Result<E, Status>>;

/// Does what a caller is told of while it is done, and last what it is refused for.
async fn told<Q, E, W>(
    state: &AppState,
    method: &'static str,
    request: Request<Q>,
    work: impl FnOnce(AppState, Arc<Connection>, Q, Events<E>) -> W + Send + 'static,
) -> Result<Response<ReceiverStream<Result<E, Status>>>, Status>
where
    Q: Send + 'static,
    E: Send + 'static,
    W: Future<Output = Result<(), Refusal>> + Send,
{
    let connection = connection_of(&request)?;
    let (events, stream) = mpsc::channel(EVENTS);
    let (state, wanted) = (state.clone(), request.into_inner());
    // What it does is journalled before the agent ends.
    let open = state.hold_open().await;
    tokio::spawn(async move {
        let _open = open;
        let done = work(state.clone(), Arc::clone(&connection), wanted, events.clone()).await;
        if let Err(refusal) = done {
            let _ = events.send(Err(state.refused(connection.peer(), method, refusal))).await;
        }
    });
    Ok(Response::new(ReceiverStream::new(stream)))
}
