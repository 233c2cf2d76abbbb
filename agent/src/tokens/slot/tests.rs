//! One token under many hands: the file store with its passphrase in a file.

use std::path::Path;

use super::*;
use crate::tokens::{Places, Tokens};

const FILE: &str = "[[token]]\nname = 'file'\nkind = 'file'\n";

fn config(folder: &Path, more: &str) -> Vec<TokenConfig> {
    let pin = folder.join("pin");
    crate::config::parse(&format!("{FILE}pin = {{ file = '{}' }}\n{more}", pin.display())).unwrap().tokens
}

fn write_pin(folder: &Path, text: &str) {
    use std::os::unix::fs::PermissionsExt as _;
    let path = folder.join("pin");
    std::fs::write(&path, text).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
}

fn tokens(folder: &Path) -> Tokens {
    let ledger = ledger::Ledger::open(&folder.join("ledger")).unwrap();
    let places = Places {
        ledger: Arc::new(ledger),
        state: folder.to_owned(),
        credentials: None,
        program: "/nonexistent".into(),
        splits: Arc::default(),
        proofs: Arc::new(crate::tokens::Proofs::open(folder).unwrap()),
        logins: Arc::default(),
    };
    Tokens::open(&config(folder, ""), places).unwrap()
}

fn locked(outcome: &Result<(), Refusal>) -> bool {
    matches!(outcome, Err(refusal) if refusal.reason == Reason::TokenLocked)
}

#[tokio::test]
async fn of_many_that_want_it_unlocked_one_tries_the_secret() {
    let folder = tempfile::tempdir().unwrap();
    write_pin(folder.path(), "right");
    tokens(folder.path()).get("file").unwrap().unlock_from_source(Attempt::default(), None).await.unwrap();
    write_pin(folder.path(), "wrong");
    let slot = tokens(folder.path()).get("file").unwrap();
    let (a, b, c) = tokio::join!(slot.ensure_usable(), slot.ensure_usable(), slot.ensure_usable());
    let outcomes = [a, b, c];
    let wrong = |outcome: &&Result<(), Refusal>| matches!(outcome, Err(refusal) if refusal.reason == Reason::PinIncorrect);
    assert_eq!(outcomes.iter().filter(wrong).count(), 1, "{outcomes:?}");
    assert_eq!(outcomes.iter().filter(|outcome| locked(outcome)).count(), 2, "{outcomes:?}");
}

#[tokio::test]
async fn a_lock_wins_over_an_unlock_that_is_under_way() {
    let folder = tempfile::tempdir().unwrap();
    write_pin(folder.path(), "right");
    let slot = tokens(folder.path()).get("file").unwrap();
    let locking = async { slot.lock() };
    // The first is polled first: it has begun when the lock comes.
    let (unlocked, ()) = tokio::join!(slot.ensure_usable(), locking);
    assert!(locked(&unlocked), "{unlocked:?}");
    assert_eq!(slot.state(), TokenState::Locked);
    assert!(locked(&slot.ensure_usable().await), "it holds until somebody says unlock");
    let overtaken = slot.unlock_from_source(Attempt::default(), None).await;
    assert!(locked(&overtaken), "it began before the lock: {overtaken:?}");
    slot.unlock_from_source(Attempt { since: slot.now(), ..Attempt::default() }, None).await.unwrap();
    slot.ensure_usable().await.unwrap();
}

#[tokio::test]
async fn an_unlock_that_a_lock_overtakes_at_its_very_end_is_told_and_blocks_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let slot = tokens(folder.path()).get("file").unwrap();
    slot.lock();
    // It began when nobody had said `lock` yet.
    let overtaken = Arc::clone(&slot);
    let ended = tokio::task::spawn_blocking(move || overtaken.begin_lease(Since::default(), None));
    let ended = tokio::time::timeout(Duration::from_secs(60), ended).await.unwrap().unwrap();
    assert!(locked(&ended), "{ended:?}");
    assert_eq!(slot.state(), TokenState::Locked);
}

#[tokio::test]
async fn a_lock_holds_through_a_reload_that_changes_the_token() {
    let folder = tempfile::tempdir().unwrap();
    write_pin(folder.path(), "right");
    let tokens = tokens(folder.path());
    let slot = tokens.get("file").unwrap();
    slot.ensure_usable().await.unwrap();
    slot.lock();
    let new = tokens.prepare(&config(folder.path(), "unlock_for = '2h'")).await.unwrap();
    tokens.switch(new);
    let replaced = tokens.get("file").unwrap();
    assert!(!Arc::ptr_eq(&slot, &replaced));
    assert!(locked(&replaced.ensure_usable().await));
    assert_eq!(replaced.now(), slot.now(), "what was asked before the lock is void after the reload, too");
    replaced.unlock_from_source(Attempt { since: replaced.now(), ..Attempt::default() }, None).await.unwrap();
}

#[tokio::test]
async fn a_call_that_nobody_waits_for_any_more_keeps_its_place_until_it_ends() {
    let folder = tempfile::tempdir().unwrap();
    let slot = tokens(folder.path()).get("file").unwrap();
    let (end, ended) = std::sync::mpsc::channel::<()>();
    let (begun, begins) = tokio::sync::oneshot::channel();
    let free = slot.queue.available_permits();
    let call = slot.run(move |_| {
        let _ = begun.send(());
        let _ = ended.recv();
        Ok(())
    });
    tokio::select! {
        _ = call => panic!("it does not end by itself"),
        _ = begins => {}
    }
    assert_eq!(slot.queue.available_permits(), free - 1);
    drop(end);
    let place = slot.queue.acquire_many(u32::try_from(free).unwrap()).await;
    assert!(place.is_ok());
}

#[test]
fn an_unlock_ends_with_its_time_and_with_a_suspension_that_was_longer_than_a_blink() {
    let seconds = Duration::from_secs;
    let lease = Lease { until: Some(seconds(100)), slept: seconds(10), ..Lease::default() };
    let over = |boot, slept| lease.is_over(|| seconds(boot), || seconds(slept));
    assert_eq!(over(99, 10), None);
    assert_eq!(over(99, 11), None, "the clocks are not read at one moment");
    assert_eq!(over(99, 15), Some("the machine was suspended"));
    assert_eq!(over(100, 10), Some("its time was over"));
    let endless = Lease { until: None, ..lease };
    assert_eq!(endless.is_over(|| seconds(1 << 40), || seconds(1 << 30)), None);
}

#[tokio::test]
async fn wrong_passphrases_of_one_user_delay_that_user_alone_and_are_not_even_tried() {
    let folder = tempfile::tempdir().unwrap();
    write_pin(folder.path(), "right");
    let slot = tokens(folder.path()).get("file").unwrap();
    slot.unlock_from_source(Attempt::default(), None).await.unwrap();
    let unlock = async |user: u32, text: &str| {
        let secret = secmem::SecretBytes::copy_from(text.as_bytes());
        slot.unlock(secret, Attempt { user, ..Attempt::default() }).await
    };
    let mut reasons = Vec::new();
    for _ in 0..7 {
        reasons.push(unlock(7, "wrong").await.unwrap_err().reason);
    }
    // Delays of one and two seconds are waited for, the next one is told.
    assert_eq!(reasons[..6], [Reason::PinIncorrect; 6]);
    assert_eq!(reasons.last(), Some(&Reason::PinDelayed), "{reasons:?}");
    let refusal = unlock(7, "right").await.unwrap_err();
    assert_eq!(refusal.reason, Reason::PinDelayed, "the right one has to wait as well");
    assert!(refusal.details["retry_in_seconds"].as_u64().unwrap() >= 1, "{refusal:?}");
    unlock(8, "right").await.unwrap();
}
