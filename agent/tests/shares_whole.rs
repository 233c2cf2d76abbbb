//! Split keys that were whole before, and sets that take each other's place.
#![allow(unreachable_pub, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[allow(dead_code, reason = "other tests use the rest")]
mod support;

use std::time::Duration;

use support::shares::{CONFIG, Made, NAMES, Reply, agent, new_key, opened, proven, refusal, root, terms};
use support::whole::{OTHERS, backup, key_file, restore, split_whole, whole, works};
use support::{Client, Running, reason};
use tufagent_proto::v1::keys_client::KeysClient;
use tufagent_proto::v1::split_request::Of;
use tufagent_proto::v1::{ImportKeyRequest, RemoveKeyRequest, SplitRequest};

async fn token_of(client: &Client, name: &str) -> String {
    let keys = KeysClient::new(client.channel.clone())
        .list(tufagent_proto::v1::ListKeysRequest::default())
        .await
        .unwrap()
        .into_inner()
        .keys;
    keys.into_iter().find(|key| key.name == name).map_or("none".into(), |key| key.token)
}

#[tokio::test]
async fn a_whole_copy_goes_with_the_last_proof_and_not_before() {
    let (agent, client, key, file) = whole().await;
    let made = split_whole(&client, false).await;
    assert_eq!((made.key.keyid.as_str(), made.key.token.as_str()), (key.keyid.as_str(), "people"));
    assert!(
        made.warnings.iter().any(|warning| warning.contains("backups and flash cells")),
        "{:?}",
        made.warnings
    );
    for (_, words) in &made.words[..2] {
        client.prove(&made.set.sha256, words).await.unwrap();
        assert!(key_file(&agent).exists());
        let set = &client.sets().await[0];
        assert_eq!((set.state.as_str(), set.whole, set.kept), ("proving", true, false));
        assert_eq!(token_of(&client, "root-s").await, "file");
        assert_eq!(reason(&client.sign_whole(&file).await.unwrap_err()), "SHARE_UNPROVEN");
        assert_eq!(reason(&client.show(root(), file.bytes()).await.err().unwrap()), "SHARE_UNPROVEN");
    }
    // Whoever proves the last one may have no passphrase.
    client.lock().await;
    let last = client.prove(&made.set.sha256, &made.words[2].1).await.unwrap();
    assert!(last.notes[0].contains("gone from the file store"), "{:?}", last.notes);
    assert!(!key_file(&agent).exists());
    assert_eq!((last.set.unwrap().whole, token_of(&client, "root-s").await.as_str()), (false, "people"));
    let plain = tufagent_proto::v1::UnlockTokenRequest { name: "people".into(), ..Default::default() };
    client.unlock_with(plain).await.unwrap();
    works(&client, &made, &file).await;
    let kinds: Vec<_> = client.journal().await.into_iter().map(|(kind, _)| kind).collect();
    let at = |kind: &str| kinds.iter().position(|other| other == kind).unwrap();
    assert!(at("share.split") < at("set.alive") && at("set.alive") < at("key.whole-destroy"));
}

#[tokio::test]
async fn a_split_that_is_given_up_leaves_the_whole_key_as_it_was() {
    let (agent, client, _, file) = whole().await;
    let made = split_whole(&client, false).await;
    client.prove(&made.set.sha256, &made.words[0].1).await.unwrap();
    let ended = client.end_resplit(&made.set.sha256, false).await.unwrap();
    assert!(ended.set.is_none() && ended.notes[0].contains("whole in the file store"), "{:?}", ended.notes);
    assert!(key_file(&agent).exists() && client.sets().await.is_empty());
    client.sign_whole(&file).await.unwrap();
    let late = client.prove(&made.set.sha256, &made.words[1].1).await.unwrap_err();
    assert_eq!(reason(&late), "SHARE_INVALID");
}

#[tokio::test]
async fn a_split_that_was_given_up_does_not_come_back_with_a_backup() {
    let (agent, client, _, file) = whole().await;
    let made = split_whole(&client, false).await;
    let copy = backup(&client).await;
    client.end_resplit(&made.set.sha256, false).await.unwrap();
    restore(&client, &copy).await;
    assert!(client.sets().await.is_empty() && key_file(&agent).exists());
    client.sign_whole(&file).await.unwrap();
    // Where the key was not, it is as it was then.
    let other = Running::start(CONFIG).await;
    let client = other.connect().await;
    assert_eq!(restore(&client, &copy).await.keys_added, ["root-s"]);
    assert_eq!(client.sets().await[0].state, "proving");
    assert!(key_file(&other).exists());
}

#[tokio::test]
async fn a_whole_copy_that_shall_stay_signs_once_all_have_proven_theirs() {
    let (agent, client, _, file) = whole().await;
    let made = split_whole(&client, true).await;
    assert_eq!(reason(&client.sign_whole(&file).await.unwrap_err()), "SHARE_UNPROVEN");
    client.prove_all(&made).await;
    assert!(key_file(&agent).exists() && client.sets().await[0].kept);
    client.sign_whole(&file).await.unwrap();
    let request = RemoveKeyRequest { name: "root-s".into(), force: true, ..Default::default() };
    KeysClient::new(client.channel.clone()).remove(request).await.unwrap();
    assert_eq!(token_of(&client, "root-s").await, "people");
    works(&client, &made, &file).await;
}

#[tokio::test]
async fn other_people_take_over_only_when_all_of_them_have_proven_theirs() {
    let (_agent, client) = agent().await;
    let (old, file) = proven(&client, "ecdsa-p256").await;
    let words = [old.words_of("ben"), old.words_of("cy")];
    let new = client.resplit(&old.set.sha256, &words, 3, &OTHERS).await.unwrap();
    assert!(new.warnings.iter().any(|warning| warning.contains("revokes nothing")));
    assert_eq!((new.key.keyid.as_str(), new.set.state.as_str()), (old.key.keyid.as_str(), "proving"));
    let again = client.resplit(&old.set.sha256, &words, 3, &OTHERS).await.err().unwrap();
    assert_eq!(reason(&again), "NAME_TAKEN");
    works(&client, &old, &file).await;
    for (_, words) in &new.words {
        assert_eq!(reason(&client.end_resplit(&new.set.sha256, true).await.unwrap_err()), "SHARE_UNPROVEN");
        client.prove(&new.set.sha256, words).await.unwrap();
    }
    works(&client, &old, &file).await;
    let ended = client.end_resplit(&new.set.sha256, true).await.unwrap();
    assert!(ended.notes[0].contains("revokes nothing"));
    assert_eq!(ended.set.unwrap().sha256, new.set.sha256);
    works(&client, &new, &file).await;
    // The old shares are refused by name.
    let refused = client.drill(&old.set.sha256, &words).await.unwrap_err();
    assert!(refused.message().contains("was replaced by set 2"), "{refused:?}");
    let (_shown, collection) = opened(&client, &file).await;
    assert_eq!(reason(&client.give(&collection, words[0]).await.unwrap_err()), "SHARE_INVALID");
}

#[tokio::test]
async fn a_manifest_is_taken_in_by_another_agent_and_its_shares_sign_there() {
    let (_agent, client) = agent().await;
    let (made, file) = proven(&client, "ed25519").await;
    let other = Running::start(CONFIG).await;
    let client = other.connect().await;
    client.register("app").await;
    let mut damaged = made.set.manifest.clone();
    let at = damaged.windows(3).position(|three| three == b"ann").unwrap();
    damaged[at] = b'x';
    for (manifest, taken) in
        [(damaged, false), (made.set.manifest.clone(), true), (made.set.manifest.clone(), false)]
    {
        let file = Some(client.seal(&manifest, "import:root-s").await);
        let request =
            ImportKeyRequest { name: "root-s".into(), token: "people".into(), file, ..Default::default() };
        let imported = KeysClient::new(client.channel.clone()).import(request).await;
        assert_eq!(imported.is_ok(), taken, "{imported:?}");
    }
    // No new role before this agent has seen that the shares are there.
    let refused = client.show(root(), file.bytes()).await.err().unwrap();
    assert_eq!(reason(&refused), "SHARE_UNPROVEN");
    let words: Vec<_> = made.words.iter().take(2).map(|(_, words)| words.as_str()).collect();
    client.drill(&made.set.sha256, &words).await.unwrap();
    works(&client, &made, &file).await;
}

/// As an end of the agent leaves it between the record that says `alive` and the copy that goes.
#[tokio::test]
async fn the_next_start_takes_away_what_an_end_has_left_whole() {
    let (mut agent, client, _, _) = whole().await;
    let made = split_whole(&client, false).await;
    let before = std::fs::read(key_file(&agent)).unwrap();
    client.prove_all(&made).await;
    let record = agent.folder.path().join("s/tuf-agent/shares/people/root-s.split");
    let text = std::fs::read_to_string(&record).unwrap();
    let (first, body) = text.split_once('\n').unwrap();
    let body = body.replacen(r#""whole": "nowhere""#, r#""whole": "goes""#, 1);
    let sum = tuf::digest::Sha256Digest::of(body.as_bytes());
    let cut_off = format!("{} {sum}\n{body}", first.rsplit_once(' ').unwrap().0);
    for copy_is_left in [true, false] {
        agent.signal("KILL");
        agent.ended().await;
        std::fs::write(&record, &cut_off).unwrap();
        if copy_is_left {
            support::write_private(&key_file(&agent), &before);
        }
        agent.kill_and_start().await;
        let client = agent.connect().await;
        // Its answer comes after what it does at its start; its socket is there before.
        let sets = client.sets().await;
        assert!(!key_file(&agent).exists() && !sets[0].whole);
        assert_eq!(std::fs::read_to_string(&record).unwrap(), text);
        assert_eq!(token_of(&client, "root-s").await, "people");
    }
}

#[tokio::test]
async fn a_backup_has_the_manifests_and_brings_no_whole_copy_back() {
    let (agent, client, _, _) = whole().await;
    let while_whole = backup(&client).await;
    let made = split_whole(&client, false).await;
    client.prove_all(&made).await;
    let split = backup(&client).await;
    let words: Vec<_> = made.words.iter().map(|(_, words)| words.as_str()).collect();
    let reply = restore(&client, &while_whole).await;
    assert_eq!((reply.keys_added, reply.keys_left_out), (vec![], vec!["root-s".to_owned()]));
    assert!(!key_file(&agent).exists());
    assert!(restore(&client, &split).await.keys_added.is_empty(), "it is here");
    // Into a new state.
    let other = Running::start(CONFIG).await;
    let client = other.connect().await;
    let reply = restore(&client, &split).await;
    assert_eq!((reply.keys_added, reply.keys_left_out.len()), (vec!["root-s".to_owned()], 0));
    let set = client.sets().await.remove(0);
    assert_eq!((set.state.as_str(), set.confirmed.len()), ("alive", 3));
    client.drill(&made.set.sha256, &words).await.unwrap();
    // Where no token of that name is, it is said.
    let none = Running::start("").await;
    let reply = restore(&none.connect().await, &split).await;
    assert_eq!(reply.keys_left_out, ["root-s"]);
}

#[tokio::test]
async fn another_set_and_the_removal_of_its_key_end_what_is_being_collected() {
    let (_agent, client) = agent().await;
    let (old, file) = proven(&client, "ed25519").await;
    let words = [old.words_of("ben"), old.words_of("cy")];
    let new = client.resplit(&old.set.sha256, &words, 2, &NAMES).await.unwrap();
    let (mut shown, collection) = opened(&client, &file).await;
    client.give(&collection, words[0]).await.unwrap();
    // A proof changes the record, and ends nothing.
    client.prove_all(&new).await;
    assert_eq!(client.collections().await.len(), 1);
    client.end_resplit(&new.set.sha256, true).await.unwrap();
    let ended = refusal(&mut shown).await;
    assert_eq!(reason(&ended), "SHARE_INVALID");
    assert!(ended.message().contains("was replaced by set 2"), "{ended:?}");
    assert_eq!(reason(&client.give(&collection, words[1]).await.unwrap_err()), "SHARES_MISSING");
    let (mut shown, collection) = opened(&client, &file).await;
    let request = RemoveKeyRequest { name: "root-s".into(), force: true, ..Default::default() };
    KeysClient::new(client.channel.clone()).remove(request).await.unwrap();
    let ended = refusal(&mut shown).await;
    assert_eq!(reason(&ended), "KEY_NOT_FOUND");
    assert!(ended.message().contains("was forgotten here"), "{ended:?}");
    assert_eq!(reason(&client.give(&collection, new.words_of("ann")).await.unwrap_err()), "SHARES_MISSING");
}

#[tokio::test]
async fn many_collections_are_bounded_and_huge_or_garbled_shares_are_refused() {
    let (_agent, client) = agent().await;
    let (made, file) = proven(&client, "ed25519").await;
    let mut open = Vec::new();
    for _ in 0..8 {
        open.push(opened(&client, &file).await);
    }
    let mut ninth = client.show(root(), file.bytes()).await.unwrap();
    ninth.say_yes().await;
    let refused = loop {
        match ninth.event().await {
            Err(refused) => break refused,
            Ok(event) => assert!(event.is_some()),
        }
    };
    assert_eq!(reason(&refused), "LIMIT");
    let collection = &open[0].1;
    assert_eq!(reason(&client.give(collection, &"academic ".repeat(100_000)).await.unwrap_err()), "LIMIT");
    for wrong in ["", "academic", "\u{0}\u{ff}", &"academic ".repeat(33)] {
        assert_eq!(reason(&client.give(collection, wrong).await.unwrap_err()), "SHARE_INVALID", "{wrong:?}");
    }
    // Several in a row are slowed down; what is right is still taken.
    let mut delayed = 0;
    for _ in 0..6 {
        delayed +=
            usize::from(reason(&client.give(collection, "academic").await.unwrap_err()) == "PIN_DELAYED");
    }
    assert!(delayed > 0);
    let given = loop {
        match client.give(collection, made.words_of("ann")).await {
            Ok(given) => break given,
            Err(refused) => assert_eq!(reason(&refused), "PIN_DELAYED"),
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    assert_eq!(given.custodian, "ann");
}

#[tokio::test]
async fn a_key_that_is_whole_nowhere_is_split_no_more_and_its_name_is_taken() {
    let (_agent, client) = agent().await;
    let (made, _) = proven(&client, "ed25519").await;
    let again = client.split(new_key("root-s", "ed25519"), 2, &NAMES).await.err().unwrap();
    assert_eq!(reason(&again), "NAME_TAKEN");
    let refused = client.split(Of::Key("root-s".into()), 2, &NAMES).await.err().unwrap();
    assert_eq!(reason(&refused), "UNSUPPORTED");
    assert_eq!(reason(&client.generate("plain").await.unwrap_err()), "USAGE", "of two tokens one is named");
    assert_eq!(client.end_resplit(&made.set.sha256, true).await.unwrap().set.unwrap().state, "alive");
}

#[tokio::test]
async fn a_whole_copy_is_not_removed_while_its_split_waits_nor_said_to_be_there_when_it_is_not() {
    let (agent, client, _, _) = whole().await;
    let made = split_whole(&client, false).await;
    client.prove(&made.set.sha256, &made.words[0].1).await.unwrap();
    let remove = |name: &str, force| {
        let request = RemoveKeyRequest { name: name.into(), force, ..Default::default() };
        let mut keys = KeysClient::new(client.channel.clone());
        async move { keys.remove(request).await }
    };
    assert_eq!(reason(&remove("root-s", false).await.unwrap_err()), "SHARE_UNPROVEN");
    assert!(key_file(&agent).exists());
    remove("root-s", true).await.unwrap();
    assert!(!key_file(&agent).exists() && !client.sets().await[0].whole);
    // From here on the shares are all there is; forgetting them takes another word.
    let other = whole_named(&client, "other").await;
    std::fs::remove_file(agent.folder.path().join("s/tuf-agent/keys/other.key")).unwrap();
    let mut agent = agent;
    agent.kill_and_start().await;
    let client = agent.connect().await;
    let refused = client.end_resplit(&other.set.sha256, false).await.unwrap_err();
    assert_eq!(reason(&refused), "KEY_NOT_FOUND");
    assert!(refused.message().contains("all there is"), "{refused:?}");
    assert_eq!(client.sets().await.len(), 2);
    client.prove_all(&other).await;
    assert_eq!(token_of(&client, "other").await, "people");
}

/// A key of the file store that is being split.
async fn whole_named(client: &Client, name: &str) -> Made {
    let request = tufagent_proto::v1::GenerateKeyRequest {
        name: name.into(),
        token: "file".into(),
        r#type: "ed25519".into(),
        ..Default::default()
    };
    KeysClient::new(client.channel.clone()).generate(request).await.unwrap();
    let reply = Reply::new();
    let terms = Some(terms(2, &NAMES, &reply));
    let request = SplitRequest { of: Some(Of::Key(name.into())), terms, ..Default::default() };
    reply.open(client.shares().split(request).await.unwrap().into_inner())
}

#[tokio::test]
async fn the_number_of_a_set_that_was_given_up_is_not_used_again() {
    let (mut agent, client) = agent().await;
    let (old, _) = proven(&client, "ed25519").await;
    let words = [old.words_of("ben"), old.words_of("cy")];
    let numbers = |made: &Made| {
        let manifest: serde_json::Value = serde_json::from_slice(&made.set.manifest).unwrap();
        manifest["manifest"]["sequence"].as_u64().unwrap()
    };
    let second = client.resplit(&old.set.sha256, &words, 3, &OTHERS).await.unwrap();
    client.end_resplit(&second.set.sha256, false).await.unwrap();
    agent.kill_and_start().await;
    let client = agent.connect().await;
    let third = client.resplit(&old.set.sha256, &words, 3, &OTHERS).await.unwrap();
    assert_eq!((numbers(&old), numbers(&second), numbers(&third)), (1, 2, 3));
    client.prove_all(&third).await;
    client.end_resplit(&third.set.sha256, true).await.unwrap();
}

#[tokio::test]
async fn a_whole_copy_whose_shares_are_all_proven_signs_no_more_even_where_it_could_not_be_taken_away() {
    let (agent, client, _, _) = whole().await;
    let made = split_whole(&client, false).await;
    agent.configure(&format!("{CONFIG}[[token]]\nname = 'file'\nkind = 'file'\nenabled = false\n"));
    agent.signal("HUP");
    client.reaches("file", "none").await;
    client.prove_all(&made).await;
    agent.configure(CONFIG);
    agent.signal("HUP");
    client.reaches("file", "locked").await;
    assert!(key_file(&agent).exists());
    assert_eq!(token_of(&client, "root-s").await, "people");
}
