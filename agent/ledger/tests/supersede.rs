//! A root in the place of one that was signed and never published (DESIGN section 4, rule 3).

#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use support::{digest, intent, publish, repository};
use tempfile::tempdir;
use tufagent_ledger::{Intent, Ledger, LedgerError};

fn instead(of: &str, intent: Intent) -> Intent {
    Intent { supersedes: Some(digest(of)), ..intent }
}

#[tokio::test]
async fn a_root_that_was_signed_gives_way_only_to_who_names_it_and_not_once_it_is_published() {
    let folder = tempdir().unwrap();
    let ledger = Ledger::open(folder.path()).unwrap();
    let app = repository(&ledger, "app").await;
    ledger.record_intent(intent(app, "root", 1, "first")).await.unwrap();
    for refused in [intent(app, "root", 1, "second"), instead("another", intent(app, "root", 1, "second"))] {
        let error = ledger.record_intent(refused).await.unwrap_err();
        assert!(matches!(error, LedgerError::Watermark { .. }), "{error}");
        assert!(error.remedy().contains(&digest("first").to_string()), "{}", error.remedy());
    }
    ledger.record_intent(instead("first", intent(app, "root", 1, "second"))).await.unwrap();
    // From now on the second is what was signed.
    ledger.record_intent(intent(app, "root", 1, "second")).await.unwrap();
    ledger.record_intent(intent(app, "root", 1, "first")).await.unwrap_err();
    publish(&ledger, app, "root", 1, "second").await.unwrap();
    let late = instead("second", intent(app, "root", 1, "third"));
    assert!(matches!(ledger.record_intent(late).await, Err(LedgerError::Watermark { .. })));
}

#[tokio::test]
async fn no_other_role_gives_way() {
    let folder = tempdir().unwrap();
    let ledger = Ledger::open(folder.path()).unwrap();
    let app = repository(&ledger, "app").await;
    ledger.record_intent(intent(app, "targets", 1, "first")).await.unwrap();
    let refused = ledger.record_intent(instead("first", intent(app, "targets", 1, "second"))).await;
    assert!(matches!(refused, Err(LedgerError::Watermark { .. })));
}
