//! Killed before each single call by which the agent changes a file while a key is split, proven, collected or split anew:
//! what is left works, and the same command given again goes on to its end.
#![allow(unreachable_pub, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![allow(clippy::print_stderr, clippy::print_stdout, reason = "what was not looked at is said")]

#[allow(dead_code, reason = "other tests use the rest")]
mod support;

use std::panic::resume_unwind;
use std::path::Path;
use std::sync::Arc;

use support::shares::{CONFIG, Made, NAMES, agent, new_key, opened, proven, signature};
use support::steps::{Killer, another_program};
use support::whole::{OTHERS, PASSPHRASE, backup, import_set, key_file, restore, split_whole, whole, works};
use support::{Client, Running};
use tonic::Status;
use tuf::metadata::Metadata;
use tufagent_proto::v1::SignSignature;

#[test]
#[ignore = "it is what the other tests run as another program"]
fn the_one_that_kills() {
    another_program();
}

/// One agent after another on what was left, each killed one call later than the one before while it does `act`, until all
/// of it is done. After each: what of the reply was there, the agent that was started again, and where it was killed.
async fn killed_at_each_step<T, A>(
    left: &Path,
    ready: impl AsyncFn(&Client),
    act: impl Fn(Client) -> A,
    judge: impl AsyncFn(Option<T>, Running, String),
) where
    T: Send + 'static,
    A: Future<Output = Result<T, Status>> + Send + 'static,
{
    let mut calls = Vec::new();
    loop {
        let at = calls.len() + 1;
        let mut agent = Running::start_on(CONFIG, Some(left)).await;
        ready(&agent.connect().await).await;
        let doing = act(agent.connect().await);
        let Some(killer) = Killer::put_to("the_one_that_kills", agent.pid(), at, &agent.state()) else {
            assert!(
                std::env::var_os("TUFAGENT_REQUIRE_ALL").is_none(),
                "nobody may trace another process here"
            );
            eprintln!("SKIPPED: nobody may trace another process here: run it as root");
            return;
        };
        let done = tokio::spawn(doing).await;
        agent.kill();
        let killed = killer.killed_before();
        let done = match (done, &killed) {
            (Ok(Ok(reply)), _) => Some(reply),
            (_, Some(_)) => None,
            (Ok(Err(status)), None) => panic!("not killed: {status:?}\n{}", agent.log()),
            (Err(error), None) => resume_unwind(error.into_panic()),
        };
        agent.kill_and_start().await;
        let what = format!("{at}: {}", killed.as_deref().unwrap_or("not killed"));
        judge(done, agent, what).await;
        match killed {
            Some(call) => calls.push(call),
            None => break,
        }
    }
    println!("{} calls: {calls:#?}", calls.len());
    assert!(calls.len() >= 4, "{calls:?}");
}

async fn nothing_more(_: &Client) {}

/// What is left works: a set that is alive, by the shares of which it is known; otherwise the whole key.
async fn one_way_is_left(client: &Client, sets: &[&Made], file: &Metadata, what: &str) {
    let listed = client.sets().await;
    if let Some(alive) = listed.iter().find(|set| set.state == "alive") {
        let made = sets.iter().find(|made| made.set.sha256 == alive.sha256);
        let made = made.unwrap_or_else(|| panic!("{what}: nobody has the shares of the set that is alive"));
        let words: Vec<_> = made.words.iter().map(|(_, words)| words.as_str()).collect();
        client.drill(&alive.sha256, &words).await.unwrap_or_else(|error| panic!("{what}: {error:?}"));
        assert!(!alive.whole, "{what}: the next start finishes");
        return;
    }
    give_up_what_is_unproven(client, what).await;
    client.unlock("file", PASSPHRASE).await.unwrap();
    client.sign_whole(file).await.unwrap_or_else(|error| panic!("{what}: {error:?}"));
}

async fn give_up_what_is_unproven(client: &Client, what: &str) {
    for set in client.sets().await.iter().filter(|set| set.state == "proving") {
        client.end_resplit(&set.sha256, false).await.unwrap_or_else(|error| panic!("{what}: {error:?}"));
    }
}

async fn listed(client: &Client, made: &Made) -> Option<String> {
    let sets = client.sets().await;
    sets.into_iter().find(|set| set.sha256 == made.set.sha256).map(|set| set.state)
}

#[tokio::test]
async fn a_new_key_whose_split_is_killed_is_there_with_its_shares_or_not_at_all() {
    let (mut left, client) = agent().await;
    client.register("app").await;
    left.kill();
    let split = |client: Client| async move { client.split(new_key("root-s", "ed25519"), 2, &NAMES).await };
    let judge = async |made: Option<Made>, agent: Running, what: String| {
        let client = agent.connect().await;
        let made = match made {
            // Durable before a share leaves.
            Some(made) => made,
            None => {
                give_up_what_is_unproven(&client, &what).await;
                assert!(client.sets().await.is_empty(), "{what}");
                client.split(new_key("root-s", "ed25519"), 2, &NAMES).await.unwrap()
            }
        };
        client.prove_all(&made).await;
        assert_eq!(listed(&client, &made).await.as_deref(), Some("alive"), "{what}");
        one_way_is_left(
            &client,
            &[&made],
            &support::shares::root_of(&support::shares::tuf(&made.key), 9),
            &what,
        )
        .await;
    };
    killed_at_each_step(&left.folder.path().join("s"), nothing_more, split, judge).await;
}

#[tokio::test]
async fn a_whole_key_whose_split_is_killed_is_whole_still() {
    let (mut left, _, _, file) = whole().await;
    left.kill();
    let unlocked = async |client: &Client| {
        client.unlock("file", PASSPHRASE).await.unwrap();
    };
    let split = |client: Client| async move { Ok(split_whole(&client, false).await) };
    let judge = async |made: Option<Made>, agent: Running, what: String| {
        let client = agent.connect().await;
        assert!(key_file(&agent).exists(), "{what}");
        if let Some(made) = &made {
            assert_eq!(listed(&client, made).await.as_deref(), Some("proving"), "{what}");
        } else {
            one_way_is_left(&client, &[], &file, &what).await;
        }
        client.unlock("file", PASSPHRASE).await.unwrap();
        let made = match made {
            Some(made) => made,
            None => split_whole(&client, false).await,
        };
        client.prove_all(&made).await;
        assert!(!key_file(&agent).exists(), "{what}");
        works(&client, &made, &file).await;
    };
    killed_at_each_step(&left.folder.path().join("s"), unlocked, split, judge).await;
}

#[tokio::test]
async fn a_last_proof_that_is_killed_leaves_the_whole_key_or_the_proven_set() {
    let (mut left, client, _, file) = whole().await;
    let made = Arc::new(split_whole(&client, false).await);
    for (_, words) in &made.words[..2] {
        client.prove(&made.set.sha256, words).await.unwrap();
    }
    left.kill();
    let last = |client: Client| {
        let made = Arc::clone(&made);
        async move { client.prove(&made.set.sha256, made.words_of("cy")).await }
    };
    let judge = async |proven: Option<_>, agent: Running, what: String| {
        let client = agent.connect().await;
        let state = listed(&client, &made).await.unwrap();
        assert!(proven.is_none() || state == "alive", "{what}");
        // Before anybody does anything: the way that is left.
        assert!(state == "alive" || key_file(&agent).exists(), "{what}");
        let again = client.prove(&made.set.sha256, made.words_of("cy")).await;
        again.unwrap_or_else(|error| panic!("{what}: {error:?}"));
        assert!(!key_file(&agent).exists(), "{what}");
        one_way_is_left(&client, &[&made], &file, &what).await;
        works(&client, &made, &file).await;
    };
    killed_at_each_step(&left.folder.path().join("s"), nothing_more, last, judge).await;
}

#[tokio::test]
async fn a_split_that_is_given_up_and_killed_leaves_the_whole_key() {
    let (mut left, client, _, file) = whole().await;
    let made = Arc::new(split_whole(&client, false).await);
    client.prove(&made.set.sha256, made.words_of("ann")).await.unwrap();
    left.kill();
    let abort = |client: Client| {
        let made = Arc::clone(&made);
        async move { client.end_resplit(&made.set.sha256, false).await }
    };
    let judge = async |_: Option<_>, agent: Running, what: String| {
        assert!(key_file(&agent).exists(), "{what}");
        one_way_is_left(&agent.connect().await, &[], &file, &what).await;
    };
    killed_at_each_step(&left.folder.path().join("s"), nothing_more, abort, judge).await;
}

async fn collected(client: Client, made: Arc<Made>, file: Arc<Metadata>) -> Result<SignSignature, Status> {
    let (mut shown, collection) = opened(&client, &file).await;
    client.give(&collection, made.words_of("ann")).await?;
    client.give(&collection, made.words_of("cy")).await?;
    Ok(signature(&mut shown).await)
}

#[tokio::test]
async fn a_collection_that_is_killed_signs_nothing_without_its_record_and_can_be_opened_again() {
    let (mut left, client) = agent().await;
    let (made, file) = proven(&client, "ecdsa-p256").await;
    let (made, file) = (Arc::new(made), Arc::new(file));
    left.kill();
    let sign = |client: Client| collected(client, Arc::clone(&made), Arc::clone(&file));
    let judge = async |signed: Option<_>, agent: Running, what: String| {
        let client = agent.connect().await;
        assert!(client.collections().await.is_empty(), "{what}");
        let kinds: Vec<_> = client.journal().await.into_iter().map(|(kind, _)| kind).collect();
        let has = |kind: &str| kinds.iter().any(|other| other == kind);
        assert!(signed.is_none() || (has("share.collected") && has("sign.intent")), "{what}: {kinds:?}");
        works(&client, &made, &file).await;
    };
    killed_at_each_step(&left.folder.path().join("s"), nothing_more, sign, judge).await;
}

async fn split_anew(client: &Client, old: &Made) -> Result<Made, Status> {
    client.resplit(&old.set.sha256, &[old.words_of("ann"), old.words_of("cy")], 3, &OTHERS).await
}

#[tokio::test]
async fn a_resplit_that_is_killed_leaves_the_old_set_alive() {
    let (mut left, client) = agent().await;
    let (old, file) = proven(&client, "ed25519").await;
    let old = Arc::new(old);
    left.kill();
    let anew = |client: Client| {
        let old = Arc::clone(&old);
        async move { split_anew(&client, &old).await }
    };
    let judge = async |new: Option<Made>, agent: Running, what: String| {
        let client = agent.connect().await;
        assert_eq!(listed(&client, &old).await.as_deref(), Some("alive"), "{what}");
        one_way_is_left(&client, &[&old], &file, &what).await;
        let new = match new {
            Some(new) => new,
            None => {
                give_up_what_is_unproven(&client, &what).await;
                split_anew(&client, &old).await.unwrap_or_else(|error| panic!("{what}: {error:?}"))
            }
        };
        client.prove_all(&new).await;
        client.end_resplit(&new.set.sha256, true).await.unwrap();
        works(&client, &new, &file).await;
    };
    killed_at_each_step(&left.folder.path().join("s"), nothing_more, anew, judge).await;
}

/// A key with a new set of which all but the last custodian have proven their shares.
async fn nearly_replaced() -> (Running, Arc<Made>, Arc<Made>, Metadata) {
    let (mut left, client) = agent().await;
    let (old, file) = proven(&client, "ed25519").await;
    let new = split_anew(&client, &old).await.unwrap();
    for (_, words) in &new.words[..3] {
        client.prove(&new.set.sha256, words).await.unwrap();
    }
    left.kill();
    (left, Arc::new(old), Arc::new(new), file)
}

#[tokio::test]
async fn a_new_set_that_takes_over_and_is_killed_leaves_one_of_both_alive() {
    let (left, old, new, file) = nearly_replaced().await;
    let last_and_commit = |client: Client| {
        let new = Arc::clone(&new);
        async move {
            client.prove(&new.set.sha256, new.words_of("gus")).await?;
            client.end_resplit(&new.set.sha256, true).await
        }
    };
    let judge = async |replaced: Option<_>, agent: Running, what: String| {
        let client = agent.connect().await;
        let is_new = listed(&client, &new).await.as_deref() == Some("alive");
        assert!(is_new || replaced.is_none(), "{what}");
        one_way_is_left(&client, &[&old, &new], &file, &what).await;
        client.prove(&new.set.sha256, new.words_of("gus")).await.unwrap();
        client.end_resplit(&new.set.sha256, true).await.unwrap();
        works(&client, &new, &file).await;
        let words = [old.words_of("ann"), old.words_of("ben")];
        let refused = client.drill(&old.set.sha256, &words).await.unwrap_err();
        assert!(refused.message().contains("was replaced by set 2"), "{what}: {refused:?}");
    };
    killed_at_each_step(&left.folder.path().join("s"), nothing_more, last_and_commit, judge).await;
}

#[tokio::test]
async fn a_new_set_that_is_given_up_and_killed_leaves_the_old_one_alive() {
    let (left, old, new, file) = nearly_replaced().await;
    let abort = |client: Client| {
        let new = Arc::clone(&new);
        async move { client.end_resplit(&new.set.sha256, false).await }
    };
    let judge = async |_: Option<_>, agent: Running, what: String| {
        let client = agent.connect().await;
        one_way_is_left(&client, &[&old], &file, &what).await;
        give_up_what_is_unproven(&client, &what).await;
        let newer = split_anew(&client, &old).await.unwrap();
        client.prove_all(&newer).await;
        client.end_resplit(&newer.set.sha256, true).await.unwrap();
        works(&client, &newer, &file).await;
    };
    killed_at_each_step(&left.folder.path().join("s"), nothing_more, abort, judge).await;
}

#[tokio::test]
async fn a_newer_set_that_is_imported_and_killed_leaves_one_of_both_alive() {
    let (mut agent, client) = agent().await;
    let (old, file) = proven(&client, "ed25519").await;
    let before = Running::start(CONFIG).await;
    let copy = before.connect().await;
    restore(&copy, &backup(&client).await).await;
    let new = split_anew(&client, &old).await.unwrap();
    client.prove_all(&new).await;
    client.end_resplit(&new.set.sha256, true).await.unwrap();
    agent.kill();
    let mut left = before;
    left.kill();
    let (old, new) = (Arc::new(old), Arc::new(new));
    let import = |client: Client| {
        let new = Arc::clone(&new);
        async move { import_set(&client, &new.set.manifest).await }
    };
    let judge = async |imported: Option<_>, agent: Running, what: String| {
        let client = agent.connect().await;
        let is_new = listed(&client, &new).await.as_deref() == Some("alive");
        assert!(is_new || imported.is_none(), "{what}");
        one_way_is_left(&client, &[&old, &new], &file, &what).await;
        if !is_new {
            import_set(&client, &new.set.manifest).await.unwrap_or_else(|error| panic!("{what}: {error:?}"));
        }
        one_way_is_left(&client, &[&new], &file, &what).await;
    };
    killed_at_each_step(&left.folder.path().join("s"), nothing_more, import, judge).await;
}

#[tokio::test]
async fn a_backup_whose_restore_is_killed_can_be_restored_again() {
    let (mut agent, client) = agent().await;
    let (made, file) = proven(&client, "ed25519").await;
    let (made, file) = (Arc::new(made), Arc::new(file));
    let copy = Arc::new(backup(&client).await);
    agent.kill();
    let mut left = Running::start(CONFIG).await;
    left.kill();
    let put_back = |client: Client| {
        let copy = Arc::clone(&copy);
        async move { Ok(restore(&client, &copy).await) }
    };
    let judge = async |_: Option<_>, agent: Running, what: String| {
        let client = agent.connect().await;
        restore(&client, &copy).await;
        one_way_is_left(&client, &[&made], &file, &what).await;
    };
    killed_at_each_step(&left.folder.path().join("s"), nothing_more, put_back, judge).await;
}
