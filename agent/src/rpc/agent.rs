//! Agent: what runs, and the key that secrets are sealed to.

use tonic::{Request, Response, Status};
use tufagent_proto::v1::agent_server::Agent;
use tufagent_proto::v1::{OpenSealReply, OpenSealRequest, StatusReply, StatusRequest};

use super::answer;
use crate::state::AppState;

/// The service.
pub struct AgentService(pub AppState);

#[tonic::async_trait]
impl Agent for AgentService {
    async fn status(&self, request: Request<StatusRequest>) -> Result<Response<StatusReply>, Status> {
        answer(&self.0, "Agent.Status", request, |state, _, _| async move {
            let tokens = state.tokens().all().iter().map(|slot| slot.describe()).collect();
            let trouble = state.ledger().probe().await.err();
            let troubles = trouble.map(|error| format!("{error}; {}", error.remedy())).into_iter().collect();
            let alarms = state.ledger().alarms().await?;
            let alarms = alarms.into_iter().map(|alarm| {
                format!("{} of {}, since {}: {}", alarm.role, alarm.name, alarm.since, alarm.message)
            });
            let mut alarms: Vec<_> = alarms.collect();
            if secmem::unlocked_secrets() > 0 {
                alarms
                    .push("secrets are not locked in memory and may reach swap: raise ulimit -l".to_owned());
            }
            if ledger::UNSAFE_FLUSH {
                alarms.push(
                    "UNSAFE: this build was made to measure; what it signs may be forgotten".to_owned(),
                );
            }
            let ledger_commits = state.ledger().flushes();
            let (version, pid) = (crate::VERSION.to_owned(), std::process::id());
            Ok(StatusReply { version, pid, tokens, alarms, troubles, ledger_commits })
        })
        .await
    }

    async fn open_seal(&self, request: Request<OpenSealRequest>) -> Result<Response<OpenSealReply>, Status> {
        answer(&self.0, "Agent.OpenSeal", request, |_, connection, _| async move {
            Ok(OpenSealReply { public_key: connection.seal().public_key() })
        })
        .await
    }
}
