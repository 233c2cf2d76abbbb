//! All services side by side, chosen by the first segment of the path.
//!
//! By hand, because tonic's own router brings a web framework for nine names.

use std::convert::Infallible;
use std::task::{Context, Poll};

use tonic::Status;
use tonic::body::Body;
use tonic::codegen::http::{Request, Response};
use tonic::codegen::{BoxFuture, Service};
use tonic::server::NamedService;
use tonic_health::pb::health_server::HealthServer;
use tonic_health::server::{HealthReporter, HealthService};
use tonic_reflection::server::v1::{ServerReflection, ServerReflectionServer};
use tufagent_proto::v1::agent_server::AgentServer;
use tufagent_proto::v1::audit_server::AuditServer;
use tufagent_proto::v1::keys_server::KeysServer;
use tufagent_proto::v1::repositories_server::RepositoriesServer;
use tufagent_proto::v1::shares_server::SharesServer;
use tufagent_proto::v1::signing_server::SigningServer;
use tufagent_proto::v1::tokens_server::TokensServer;

use super::agent::AgentService;
use super::audit::AuditService;
use super::gate::{self, Manners};
use super::keys::KeysService;
use super::repositories::RepositoriesService;
use super::shares::SharesService;
use super::signing::SigningService;
use super::tokens::TokensService;
use crate::limits::{self, MESSAGE};
use crate::state::AppState;

/// Every service of the agent, with the reporter of its health.
pub(crate) fn services(
    state: &AppState,
) -> Result<(Services<impl ServerReflection>, HealthReporter), tonic_reflection::server::Error> {
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(tufagent_proto::FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .build_v1()?;
    let reporter = HealthReporter::new();
    let all = Services {
        agent: AgentServer::new(AgentService(state.clone())).max_decoding_message_size(MESSAGE),
        audit: AuditServer::new(AuditService(state.clone())).max_decoding_message_size(MESSAGE),
        keys: KeysServer::new(KeysService(state.clone())).max_decoding_message_size(MESSAGE),
        repositories: RepositoriesServer::new(RepositoriesService(state.clone()))
            .max_decoding_message_size(MESSAGE),
        shares: SharesServer::new(SharesService(state.clone())).max_decoding_message_size(MESSAGE),
        signing: SigningServer::new(SigningService(state.clone())).max_decoding_message_size(MESSAGE),
        tokens: TokensServer::new(TokensService(state.clone())).max_decoding_message_size(MESSAGE),
        health: HealthServer::new(HealthService::from_health_reporter(reporter.clone()))
            .max_decoding_message_size(MESSAGE),
        reflection: reflection.max_decoding_message_size(MESSAGE),
        state: state.clone(),
    };
    Ok((all, reporter))
}

/// All services.
pub(crate) struct Services<R> {
    agent: AgentServer<AgentService>,
    audit: AuditServer<AuditService>,
    keys: KeysServer<KeysService>,
    repositories: RepositoriesServer<RepositoriesService>,
    shares: SharesServer<SharesService>,
    signing: SigningServer<SigningService>,
    tokens: TokensServer<TokensService>,
    health: HealthServer<HealthService>,
    reflection: ServerReflectionServer<R>,
    state: AppState,
}

impl<R> Clone for Services<R> {
    fn clone(&self) -> Self {
        Self {
            agent: self.agent.clone(),
            audit: self.audit.clone(),
            keys: self.keys.clone(),
            repositories: self.repositories.clone(),
            shares: self.shares.clone(),
            signing: self.signing.clone(),
            tokens: self.tokens.clone(),
            health: self.health.clone(),
            reflection: self.reflection.clone(),
            state: self.state.clone(),
        }
    }
}

impl<R: ServerReflection> Service<Request<Body>> for Services<R> {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Self::Error>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let name = request.uri().path().strip_prefix('/').and_then(|path| path.split('/').next());
        let name = name.unwrap_or_default().to_owned();
        let (request, entered) = match gate::enter(&self.state, request, manners(&name)) {
            Ok(entered) => entered,
            Err(refused) => return Box::pin(std::future::ready(Ok(*refused))),
        };
        let answer = self.answer(&name, request);
        Box::pin(async move { Ok(entered.leave(answer.await?)) })
    }
}

impl<R: ServerReflection> Services<R> {
    fn answer(&mut self, name: &str, request: Request<Body>) -> BoxFuture<Response<Body>, Infallible> {
        match name {
            AgentServer::<AgentService>::NAME => self.agent.call(request),
            AuditServer::<AuditService>::NAME => self.audit.call(request),
            KeysServer::<KeysService>::NAME => self.keys.call(request),
            RepositoriesServer::<RepositoriesService>::NAME => self.repositories.call(request),
            SharesServer::<SharesService>::NAME => self.shares.call(request),
            SigningServer::<SigningService>::NAME => self.signing.call(request),
            TokensServer::<TokensService>::NAME => self.tokens.call(request),
            HealthServer::<HealthService>::NAME => self.health.call(request),
            ServerReflectionServer::<R>::NAME => self.reflection.call(request),
            _ => Box::pin(async { Ok(Status::unimplemented("there is no such service").into_http()) }),
        }
    }
}

/// People read what is to be signed while the call is open, and page through the journal.
fn manners(service: &str) -> Manners {
    match service {
        SigningServer::<SigningService>::NAME => Manners { patient: true, answer: limits::ANSWER },
        AuditServer::<AuditService>::NAME => Manners { patient: false, answer: limits::LISTEN_JOURNAL },
        _ => Manners { patient: false, answer: limits::ANSWER },
    }
}
