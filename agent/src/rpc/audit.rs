//! Audit: the journal, page by page, and the check of its chain.

use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};
use tufagent_proto::v1::audit_server::Audit;
use tufagent_proto::v1::{AuditEntry, AuditListRequest, AuditVerifyReply, AuditVerifyRequest};

use super::answer;
use crate::refusal::Refusal;
use crate::sparing;
use crate::state::AppState;

/// The service.
pub struct AuditService(pub AppState);

/// Entries that are read at a time.
const PAGE: u64 = 256;

#[tonic::async_trait]
impl Audit for AuditService {
    type ListStream = ReceiverStream<Result<AuditEntry, Status>>;

    async fn list(&self, request: Request<AuditListRequest>) -> Result<Response<Self::ListStream>, Status> {
        answer(&self.0, "Audit.List", request, |state, _, wanted| async move {
            let (sender, receiver) = mpsc::channel(64);
            tokio::spawn(async move {
                if let Err(refusal) = send_pages(&state, wanted, &sender).await {
                    let _ = sender.send(Err(refusal.into())).await;
                }
            });
            Ok(ReceiverStream::new(receiver))
        })
        .await
    }

    async fn verify(
        &self,
        request: Request<AuditVerifyRequest>,
    ) -> Result<Response<AuditVerifyReply>, Status> {
        answer(&self.0, "Audit.Verify", request, |state, _, _| async move {
            let report = sparing::run(async move { state.ledger().verify_chain().await }).await??;
            Ok(AuditVerifyReply {
                valid: report.problem.is_none(),
                entries: report.entries,
                head: report.head.to_string(),
                problem: report.problem.unwrap_or_default(),
            })
        })
        .await
    }
}

/// Sends until the limit, the end, or until the client has gone.
async fn send_pages(
    state: &AppState,
    wanted: AuditListRequest,
    to: &mpsc::Sender<Result<AuditEntry, Status>>,
) -> Result<(), Refusal> {
    let mut after = wanted.after;
    let mut left = if wanted.limit == 0 { u64::MAX } else { wanted.limit };
    while left > 0 {
        let page = state.ledger().entries(after, left.min(PAGE)).await?;
        let Some(last) = page.last() else { return Ok(()) };
        after = last.seq;
        for entry in page {
            left = left.saturating_sub(1);
            if to.send(Ok(on_the_wire(entry))).await.is_err() {
                return Ok(());
            }
        }
    }
    Ok(())
}

fn on_the_wire(entry: ledger::Entry) -> AuditEntry {
    AuditEntry {
        seq: entry.seq,
        time: entry.time,
        boot_ms: entry.boot_ms,
        kind: entry.kind,
        body_json: entry.body,
        previous: entry.previous.to_string(),
        hash: entry.hash.to_string(),
    }
}
