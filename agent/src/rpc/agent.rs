//! Agent: what runs, and the key that secrets are sealed to.

use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use tonic::{Request, Response, Status};
use tufagent_proto::v1::agent_server::Agent;
use tufagent_proto::v1::{
    BackupChunk, BackupRequest, OpenSealReply, OpenSealRequest, RestoreReply, RestoreRequest,
    RestoredRepository, StatusReply, StatusRequest,
};

use super::answer;
use crate::backup;
use crate::refusal::Refusal;
use crate::state::AppState;

/// The service.
pub struct AgentService(pub AppState);

#[tonic::async_trait]
impl Agent for AgentService {
    type BackupStream = ReceiverStream<Result<BackupChunk, Status>>;

    async fn backup(&self, request: Request<BackupRequest>) -> Result<Response<Self::BackupStream>, Status> {
        answer(&self.0, "Agent.Backup", request, |state, connection, wanted| async move {
            let sealed = wanted.passphrase.unwrap_or_default();
            let passphrase = connection.seal().open(&sealed, "backup")?;
            Ok(ReceiverStream::new(backup::backup(state, &connection, passphrase).await?))
        })
        .await
    }

    async fn restore(
        &self,
        request: Request<Streaming<RestoreRequest>>,
    ) -> Result<Response<RestoreReply>, Status> {
        answer(&self.0, "Agent.Restore", request, |state, connection, stream| async move {
            let received = backup::receive(&state, &connection, stream).await?;
            // A task of its own: a client that goes away does not stop it half-way, and the next one waits for its end.
            let work = tokio::spawn(async move {
                let _open = state.hold_open().await;
                backup::restore(state, &connection, received).await
            });
            let done = work.await.map_err(Refusal::internal)??;
            Ok::<_, Refusal>(RestoreReply {
                repositories: done.repositories.into_iter().map(on_the_wire).collect(),
                keys_added: done.keys.added,
                keys_left_out: done.keys.left_out,
                sha256: done.sha256.to_string(),
            })
        })
        .await
    }

    async fn status(&self, request: Request<StatusRequest>) -> Result<Response<StatusReply>, Status> {
        answer(&self.0, "Agent.Status", request, |state, _, _| async move {
            let tokens = state.tokens().describe().await;
            let trouble = state.ledger().probe().await.err();
            // A ledger whose files are damaged may not be able to say more.
            let told = trouble.is_some();
            let troubles = trouble.map(|error| format!("{error}; {}", error.remedy())).into_iter().collect();
            let alarms = state.ledger().alarms().await;
            let alarms = if told { alarms.unwrap_or_default() } else { alarms? };
            let alarms = alarms.into_iter().map(|alarm| {
                format!("{} of {}, since {}: {}", alarm.role, alarm.name, alarm.since, alarm.message)
            });
            let mut alarms: Vec<_> = alarms.collect();
            let restored = state.ledger().restored().await;
            let restored = if told { restored.unwrap_or_default() } else { restored? };
            alarms.extend(restored.into_iter().map(|name| {
                format!("{name} came from a backup and signs nothing until it is adopted from its newest published copy")
            }));
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
            Ok(OpenSealReply { public_key: connection.seal().public_key()? })
        })
        .await
    }
}

fn on_the_wire(one: ledger::Restored) -> RestoredRepository {
    RestoredRepository { name: one.name.to_string(), is_new: one.is_new, raised: one.raised }
}
