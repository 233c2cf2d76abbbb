//! stub
use crate::state::AppState;
use tonic::{Request, Response, Status, Streaming};
use tufagent_proto::v1::*;
#[allow(missing_docs)]
pub struct RepositoriesService(AppState);
impl RepositoriesService {
    #[allow(missing_docs)]
    pub fn new(s: AppState) -> Self {
        Self(s)
    }
}
#[tonic::async_trait]
impl repositories_server::Repositories for RepositoriesService {
    async fn list(
        &self,
        _: Request<ListRepositoriesRequest>,
    ) -> Result<Response<ListRepositoriesReply>, Status> {
        Err(Status::unimplemented(""))
    }
    async fn find(&self, _: Request<FindRepositoryRequest>) -> Result<Response<FindRepositoryReply>, Status> {
        Err(Status::unimplemented(""))
    }
    async fn register(
        &self,
        _: Request<RegisterRepositoryRequest>,
    ) -> Result<Response<RegisterRepositoryReply>, Status> {
        Err(Status::unimplemented(""))
    }
    async fn missing(&self, _: Request<MissingRequest>) -> Result<Response<MissingReply>, Status> {
        Err(Status::unimplemented(""))
    }
    async fn observe(&self, _: Request<Streaming<ObserveRequest>>) -> Result<Response<ObserveReply>, Status> {
        Err(Status::unimplemented(""))
    }
    async fn set_expiry(&self, _: Request<SetExpiryRequest>) -> Result<Response<SetExpiryReply>, Status> {
        Err(Status::unimplemented(""))
    }
}
