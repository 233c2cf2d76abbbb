//! One file a service: translation between the wire and the parts, nothing else.

pub mod agent;
pub mod audit;
mod doctor;
mod gate;
pub mod keys;
pub mod repositories;
mod services;
pub mod shares;
pub mod signing;
pub mod tokens;

pub(crate) use gate::{named, too_slow};
pub(crate) use services::services;

use std::sync::Arc;

use tonic::{Request, Response, Status};

use crate::door::{Connection, connection_of};
use crate::refusal::Refusal;
use crate::state::AppState;

/// Answers a call: who calls, what the part says, refusals journalled on their way out.
pub(crate) async fn answer<Q, A, F>(
    state: &AppState,
    call: &'static str,
    request: Request<Q>,
    part: impl FnOnce(AppState, Arc<Connection>, Q) -> F,
) -> Result<Response<A>, Status>
where
    F: Future<Output = Result<A, Refusal>>,
{
    let connection = connection_of(&request)?;
    match part(state.clone(), Arc::clone(&connection), request.into_inner()).await {
        Ok(reply) => Ok(Response::new(reply)),
        Err(refusal) => Err(state.refused(connection.peer(), call, refusal)),
    }
}
