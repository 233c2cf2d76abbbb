//! Split keys over the socket: made, proven, collected for one content, gone again.
#![allow(unreachable_pub, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[allow(dead_code, reason = "other tests use the rest")]
mod support;

use support::shares::{
    NAMES, Reply, agent, details, new_key, opened, proven, refusal, root, root_of, signature, terms, tuf,
};
use support::{reason, seal_to};
use tufagent_proto::v1::drill_event::Event as DrillSays;
use tufagent_proto::v1::keys_client::KeysClient;
use tufagent_proto::v1::{
    Collection, DrillRequest, ImportKeyRequest, MayServeRequest, RemoveKeyRequest, SignBegin, SplitRequest,
    SplitTerms, UnlockTokenRequest,
};

#[tokio::test]
async fn a_split_key_is_proven_by_all_collected_by_some_and_signs_what_was_shown() {
    for kind in ["ed25519", "ecdsa-p256"] {
        let (_agent, client) = agent().await;
        let made = client.split(new_key("root-s", kind), 2, &NAMES).await.unwrap();
        assert_eq!((made.key.token.as_str(), made.key.r#type.as_str()), ("people", kind));
        assert_eq!((made.set.state.as_str(), made.set.unconfirmed.len()), ("proving", 3));
        client.register("app").await;
        let file = root_of(&tuf(&made.key), 300);
        // It serves no role yet, wherever that is asked.
        let wanted =
            MayServeRequest { repository: "app".into(), role: "root".into(), keys: vec!["root-s".into()] };
        let refused = KeysClient::new(client.channel.clone()).may_serve(wanted.clone()).await.unwrap_err();
        assert_eq!(reason(&refused), "SHARE_UNPROVEN");
        let refused = client.show(root(), file.bytes()).await.err().unwrap();
        assert_eq!(
            (reason(&refused).as_str(), &details(&refused)["unconfirmed"][0]),
            ("SHARE_UNPROVEN", &"ann".into())
        );
        for (number, (name, words)) in made.words.iter().enumerate() {
            let proof = client.prove(&made.set.sha256, words).await.unwrap();
            assert_eq!((&proof.custodian, proof.set.unwrap().confirmed.len()), (name, number + 1));
        }
        assert_eq!(client.sets().await[0].state, "alive");
        KeysClient::new(client.channel.clone()).may_serve(wanted).await.unwrap();

        let (mut shown, collection) = opened(&client, &file).await;
        assert_eq!((collection.have, collection.need, collection.missing.len()), (0, 2, 3));
        assert_eq!(collection.sha256, file.digest().to_string());
        // From another connection, in any order.
        let other = _agent.connect().await;
        assert_eq!(other.collections().await[0].id, collection.id);
        let given = other.give(&collection, made.words_of("cy")).await.unwrap();
        assert_eq!(
            (given.custodian.as_str(), given.collection.unwrap().missing),
            ("cy", vec!["ann".into(), "ben".into()])
        );
        client.give(&collection, made.words_of("ann")).await.unwrap();
        let signed = signature(&mut shown).await;
        let sig = hex::decode(&signed.sig).unwrap();
        tuf(&made.key).verify(&file.canonical_signed(), &sig).unwrap();
        assert!(client.collections().await.is_empty());
        let journal = client.journal().await;
        let (_, took_part) = journal.iter().find(|(kind, _)| kind == "share.collected").unwrap();
        assert!(took_part.contains(r#"["cy","ann"]"#), "{took_part}");
    }
}

#[tokio::test]
async fn wrong_shares_are_named_and_cost_nothing() {
    let (_agent, client) = agent().await;
    let (made, file) = proven(&client, "ed25519").await;
    let other = client.split(new_key("other", "ed25519"), 2, &NAMES).await.unwrap();
    let (mut shown, collection) = opened(&client, &file).await;
    let refused = client.give(&collection, other.words_of("ann")).await.unwrap_err();
    assert_eq!(reason(&refused), "SHARE_INVALID");
    let changed = made.words_of("ann").rsplit_once(' ').unwrap().0.to_owned() + " academic";
    assert_eq!(reason(&client.give(&collection, &changed).await.unwrap_err()), "SHARE_INVALID");
    client.give(&collection, made.words_of("ann")).await.unwrap();
    let twice = client.give(&collection, made.words_of("ann")).await.unwrap_err();
    assert_eq!((reason(&twice).as_str(), &details(&twice)["custodian"]), ("SHARE_INVALID", &"ann".into()));
    assert_eq!(client.collections().await[0].have, 1);
    client.give(&collection, made.words_of("ben")).await.unwrap();
    signature(&mut shown).await;
}

#[tokio::test]
async fn a_share_for_one_collection_is_of_no_use_to_another_nor_for_other_content() {
    let (agent, client) = agent().await;
    let (made, file) = proven(&client, "ed25519").await;
    let (one, first) = opened(&client, &file).await;
    let other = root_of(&tuf(&made.key), 200);
    let (_two, second) = opened(&agent.connect().await, &other).await;
    assert_ne!(
        (&first.id, &first.public_key, &first.sha256),
        (&second.id, &second.public_key, &second.sha256)
    );
    let words = made.words_of("ann").as_bytes();
    let bound = |to: &Collection| tuf::digest::Sha256Digest::of(&to.bound());
    let aad = format!("collect:{}:{}", first.id, bound(&first));
    let replayed = seal_to(&first.public_key, words, &aad);
    assert_eq!(reason(&client.give_sealed(&second.id, replayed.clone()).await.unwrap_err()), "USAGE");
    // Whoever seals for the first content and the second key has seen another difference.
    let swapped = seal_to(&second.public_key, words, &format!("collect:{}:{}", second.id, bound(&first)));
    assert_eq!(reason(&client.give_sealed(&second.id, swapped).await.unwrap_err()), "USAGE");
    // Or a rehearsal, or another repository, or more time.
    for told in [
        Collection { purpose: "drill".into(), ..second.clone() },
        Collection { repository: "other".into(), ..second.clone() },
        Collection { deadline: "2040-01-01T00:00:00Z".into(), ..second.clone() },
        Collection { difference_json: "{}".into(), ..second.clone() },
    ] {
        let aad = format!("collect:{}:{}", second.id, bound(&told));
        let share = seal_to(&second.public_key, words, &aad);
        assert_eq!(reason(&client.give_sealed(&second.id, share).await.unwrap_err()), "USAGE");
    }
    assert_eq!(client.give_sealed(&first.id, replayed).await.unwrap().custodian, "ann");
    // The caller goes away: nothing of it is left.
    drop(one);
    for _ in 0..500 {
        if client.collections().await.len() == 1 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    assert_eq!(client.collections().await[0].id, second.id);
    let late = client.give(&first, made.words_of("ben")).await.unwrap_err();
    assert_eq!(reason(&late), "SHARES_MISSING");
    assert!(client.journal().await.iter().any(|(kind, _)| kind == "share.collect-ended"));
}

#[tokio::test]
async fn without_people_a_split_key_is_passed_over_or_refused_by_name() {
    let (_agent, client) = agent().await;
    let (_made, file) = proven(&client, "ed25519").await;
    let begin = SignBegin { collects: false, ..root() };
    let refused = client.show(begin.clone(), file.bytes()).await.err().unwrap();
    assert_eq!((reason(&refused).as_str(), &details(&refused)["need"]), ("SHARES_MISSING", &2.into()));
    let wrong_set = SignBegin { set_sha256: "0".repeat(64), ..root() };
    assert_eq!(reason(&client.show(wrong_set, file.bytes()).await.err().unwrap()), "SHARE_INVALID");
}

#[tokio::test]
async fn a_lock_ends_what_is_being_collected_and_holds_until_unlock() {
    let (_agent, client) = agent().await;
    let (made, file) = proven(&client, "ed25519").await;
    let (mut shown, collection) = opened(&client, &file).await;
    client.give(&collection, made.words_of("ann")).await.unwrap();
    client.lock().await;
    assert_eq!(reason(&refusal(&mut shown).await), "TOKEN_LOCKED");
    assert_eq!(client.state("people").await, "locked");
    assert_eq!(reason(&client.show(root(), file.bytes()).await.err().unwrap()), "TOKEN_LOCKED");
    assert!(client.collections().await.is_empty());
    assert_eq!(reason(&client.unlock("people", b"1234").await.unwrap_err()), "USAGE");
    let plain = UnlockTokenRequest { name: "people".into(), ..Default::default() };
    assert_eq!(client.unlock_with(plain).await.unwrap().state, "unlocked");
    opened(&client, &file).await;
}

#[tokio::test]
async fn a_lock_holds_also_for_what_was_shown_before_it() {
    let (_agent, client) = agent().await;
    let (_made, file) = proven(&client, "ed25519").await;
    let mut shown = client.show(root(), file.bytes()).await.unwrap();
    client.lock().await;
    shown.say_yes().await;
    assert_eq!(reason(&refusal(&mut shown).await), "TOKEN_LOCKED");
    assert!(client.collections().await.is_empty());
}

#[tokio::test]
async fn shares_of_a_set_that_is_replaced_meanwhile_sign_nothing() {
    let (_agent, client) = agent().await;
    let (made, file) = proven(&client, "ed25519").await;
    let (mut shown, collection) = opened(&client, &file).await;
    client.give(&collection, made.words_of("ann")).await.unwrap();
    let next = client
        .resplit(&made.set.sha256, &[made.words_of("ann"), made.words_of("ben")], 2, &["dan", "eve", "fay"])
        .await
        .unwrap();
    client.prove_all(&next).await;
    client.end_resplit(&next.set.sha256, true).await.unwrap();
    assert_eq!(reason(&refusal(&mut shown).await), "SHARE_INVALID");
    let late = client.give(&collection, made.words_of("ben")).await.unwrap_err();
    assert_eq!(reason(&late), "SHARES_MISSING");
    let journal = client.journal().await;
    assert!(!journal.iter().any(|(_, body)| body.contains("\"outcome\":\"signed\"")), "{journal:?}");
}

#[tokio::test]
async fn sets_live_on_after_a_kill_and_a_damaged_record_is_named_and_never_reset() {
    let (mut agent, client) = agent().await;
    let made = client.split(new_key("root-s", "ed25519"), 2, &NAMES).await.unwrap();
    client.prove(&made.set.sha256, made.words_of("ann")).await.unwrap();
    agent.kill_and_start().await;
    let client = agent.connect().await;
    let set = client.sets().await.remove(0);
    assert_eq!(
        (set.state.as_str(), set.confirmed, set.manifest),
        ("proving", vec!["ann".into()], made.set.manifest.clone())
    );
    for name in ["ben", "cy"] {
        client.prove(&made.set.sha256, made.words_of(name)).await.unwrap();
    }
    let record = agent.folder.path().join("s/tuf-agent/shares/people/root-s.split");
    let whole = std::fs::read(&record).unwrap();
    let mut damaged = whole.clone();
    damaged[200] ^= 1;
    std::fs::write(&record, &damaged).unwrap();
    agent.kill_and_start().await;
    let client = agent.connect().await;
    assert_eq!(client.state("people").await, "failed");
    let refused = client.split(new_key("other", "ed25519"), 2, &NAMES).await.err().unwrap();
    assert!(refused.message().contains("root-s.split"), "{refused:?}");
    assert_eq!(std::fs::read(&record).unwrap(), damaged);
    std::fs::write(&record, &whole).unwrap();
    let again = UnlockTokenRequest { name: "people".into(), ..Default::default() };
    client.unlock_with(again).await.unwrap();
    assert_eq!(client.split(new_key("other", "ed25519"), 2, &NAMES).await.unwrap().set.state, "proving");
    assert_eq!(client.sets().await.len(), 2);
}

#[tokio::test]
async fn a_weak_set_is_refused_unless_it_is_asked_for() {
    let (_agent, client) = agent().await;
    for (threshold, names) in
        [(1, &NAMES[..]), (3, &NAMES[..]), (2, &["ann", "ann", "ben"][..]), (1, &NAMES[..2])]
    {
        let refused = client.split(new_key("weak", "ed25519"), threshold, names).await.err().unwrap();
        assert_eq!(reason(&refused), "WEAK_SET", "{threshold} of {names:?}");
        let reply = Reply::new();
        let terms = SplitTerms { allow_weak: true, ..terms(threshold, names, &reply) };
        let request =
            SplitRequest { of: Some(new_key("weak", "ed25519")), terms: Some(terms), ..Default::default() };
        let made = reply.open(client.shares().split(request).await.unwrap().into_inner());
        assert!(made.warnings.len() > 1);
        client.prove_all(&made).await;
        client.end_resplit(&made.set.sha256, false).await.unwrap_err();
        KeysClient::new(client.channel.clone())
            .remove(RemoveKeyRequest { name: "weak".into(), ..Default::default() })
            .await
            .unwrap();
        assert!(client.sets().await.is_empty());
    }
}

#[tokio::test]
async fn a_drill_signs_no_metadata_and_is_remembered() {
    let (_agent, client) = agent().await;
    let (made, _) = proven(&client, "ed25519").await;
    let request = DrillRequest { set_sha256: made.set.sha256.clone(), shares: 0 };
    let mut events = client.shares().drill(request).await.unwrap().into_inner();
    let Some(DrillSays::Collecting(collection)) = events.message().await.unwrap().unwrap().event else {
        panic!()
    };
    assert_eq!(collection.purpose, "drill");
    client.give(&collection, made.words_of("ben")).await.unwrap();
    client.give(&collection, made.words_of("cy")).await.unwrap();
    let report = loop {
        match events.message().await.unwrap().unwrap().event.unwrap() {
            DrillSays::Report(report) => break report,
            DrillSays::Collecting(_) => {}
        }
    };
    assert_eq!(
        (report.custodians, client.sets().await[0].drilled.clone()),
        (vec!["ben".into(), "cy".into()], report.time)
    );
    let manifest = custody::SignedManifest::parse(&made.set.manifest).unwrap();
    custody::Drill::parse(report.statement.as_bytes(), &manifest).unwrap();
}

#[tokio::test]
async fn groups_are_collected_each_by_its_own_threshold_and_age_files_are_handed_out() {
    use tufagent_proto::v1::custodian::How;
    use tufagent_proto::v1::handed_share::Share as Handed;
    use tufagent_proto::v1::{Custodian, ShareGroup};

    let (_agent, client) = agent().await;
    let reply = Reply::new();
    let of = |name: &str, threshold, names: [&str; 3]| {
        let custodian = |name: &str| Custodian { name: name.into(), how: Some(How::Words(true)) };
        ShareGroup { name: name.into(), threshold, custodians: names.map(custodian).to_vec() }
    };
    let groups = vec![of("board", 2, ["ann", "ben", "cy"]), of("ops", 2, ["dee", "eve", "fay"])];
    let two = SplitTerms { groups, group_threshold: 2, ..terms(2, &NAMES, &reply) };
    let request =
        SplitRequest { of: Some(new_key("root-s", "ed25519")), terms: Some(two), ..Default::default() };
    let made = reply.open(client.shares().split(request).await.unwrap().into_inner());
    client.prove_all(&made).await;
    client.register("app").await;
    let file = root_of(&tuf(&made.key), 300);
    let (mut shown, collection) = opened(&client, &file).await;
    assert_eq!((collection.have, collection.need), (0, 4));
    for name in ["fay", "ann", "dee"] {
        client.give(&collection, made.words_of(name)).await.unwrap();
    }
    let third = client.give(&collection, made.words_of("ben")).await.unwrap();
    assert_eq!(third.custodian, "ben");
    let sig = hex::decode(signature(&mut shown).await.sig).unwrap();
    tuf(&made.key).verify(&file.canonical_signed(), &sig).unwrap();

    let to = "age1w56rtxng32mmzc4rljcrw69q9kkaygytayzg905p8q3sl6xwva3q7c6epw";
    let mut age = terms(2, &NAMES, &reply);
    age.groups[0].custodians[0].how = Some(How::AgeRecipient(to.into()));
    let passphrase = client.seal(b"correct horse", "split-passphrase:other:ben").await;
    age.groups[0].custodians[1].how = Some(How::AgePassphrase(passphrase));
    let request = |terms| SplitRequest { of: Some(new_key("other", "ed25519")), terms, ..Default::default() };
    let mut wrong = age.clone();
    wrong.groups[0].custodians[0].how = Some(How::AgeRecipient(to.replace("w56", "w57")));
    let refused = client.shares().split(request(Some(wrong))).await.unwrap_err();
    assert_eq!((reason(&refused).as_str(), &details(&refused)["custodian"]), ("USAGE", &"ann".into()));
    assert_eq!(client.sets().await.len(), 1, "nothing was made");
    let shares = client.shares().split(request(Some(age))).await.unwrap().into_inner().shares;
    let begins = |at: usize, text: &str| {
        let Some(Handed::AgeFile(file)) = &shares[at].share else { panic!("no age file") };
        file.starts_with(format!("age-encryption.org/v1\n-> {text} ").as_bytes())
    };
    assert!(begins(0, "X25519") && begins(1, "scrypt"));
    assert!(matches!(shares[2].share, Some(Handed::Words(_))));
}

#[tokio::test]
async fn shares_that_fit_their_manifest_and_make_another_key_sign_nothing() {
    let (_agent, client) = agent().await;
    // A set is checked before it is handed out, so this one is made by hand: its shares are right, and under a
    // passphrase that nobody gives here another key comes out.
    let names = NAMES.map(|name| name.parse().unwrap());
    let terms = custody::Terms::simple(2, names.into()).unwrap().agreed(custody::Weak::Refused).unwrap();
    let passphrase = secmem::SecretBytes::copy_from(b"of another program");
    let context = custody::Context {
        key_name: "root-x",
        made_at: "2026-11-20T10:00:00Z".parse().unwrap(),
        exponent: custody::IterationExponent::try_from(0).unwrap(),
        passphrase: &passphrase,
        used: &[],
    };
    for (kind, name) in [(custody::SplitKind::Ed25519, "root-e"), (custody::SplitKind::EcdsaP256, "root-p")] {
        let set = custody::NewSet::generate(kind, &terms, &context).unwrap();
        let file = client.seal(set.manifest().to_json().as_bytes(), &format!("import:{name}")).await;
        let request = ImportKeyRequest {
            name: name.into(),
            token: "people".into(),
            file: Some(file),
            ..Default::default()
        };
        KeysClient::new(client.channel.clone()).import(request).await.unwrap();
        let words = |at: usize| {
            let words = set.shares()[at].share.words().unwrap();
            String::from_utf8(words.reveal_secret_bytes().to_vec()).unwrap()
        };
        let digest = set.manifest().digest().to_string();
        let refused = client.drill(&digest, &[&words(0), &words(2)]).await.unwrap_err();
        assert_eq!(reason(&refused), "SHARE_INVALID", "{refused}");
        assert!(refused.message().contains("make another key than it names"), "{refused}");
        assert!(client.collections().await.is_empty());
        let resplit = client.resplit(&digest, &[&words(1), &words(2)], 2, &["dan", "eve", "fay"]).await;
        assert_eq!(resplit.map(drop).map_err(|status| reason(&status)), Err("SHARE_INVALID".to_owned()));
        assert_eq!(client.sets().await.iter().filter(|one| !one.drilled.is_empty()).count(), 0);
    }
}
