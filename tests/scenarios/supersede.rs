//! Content that was signed and is then changed: the next version, and for a root the way over `--supersede`.

use serde_json::Value;
use tufagent_tests::Home;
use tufagent_tests::cards::FIRMWARE_5_7;

use crate::colleagues::hand_over;
use crate::forge::{key, keyid, signed_by};
use crate::split_signing::{people, split_key, two};
use crate::terminal::talk;
use crate::yubikeys::Bed;

/// A repository whose first root was signed, and then got another key.
fn edited_root() -> (Home, tufagent_tests::Agent, String) {
    let (home, agent) = Home::unlocked();
    home.keys(&["root", "second", "online", "spare"]);
    home.run(
        "repo init repo --name app --root root,second --root-threshold 2 --targets online --snapshot online \
         --timestamp online",
    )
    .done();
    home.run("sign repo --key root --yes").exits(4);
    let edited = home.run("root add-key repo root --key spare").done();
    assert!(edited.stderr.contains("--supersede"), "the edit says what it costs: {edited}");
    let refused = home.refused("sign repo --yes", 3, "WATERMARK");
    let digest = refused["details"]["signed_sha256"].as_str().unwrap().to_owned();
    assert!(refused["message"].as_str().unwrap().contains(&digest), "{refused}");
    let remedy = refused["remedy"].as_str().unwrap();
    assert!(remedy.contains(&format!("tufctl sign repo --supersede {digest}")), "{remedy}");
    (home, agent, digest)
}

#[test]
fn a_signed_root_is_superseded_by_a_person_at_a_terminal_alone() {
    let (home, _agent, digest) = edited_root();
    home.refused(&format!("sign repo --yes --supersede {digest}"), 3, "CONFIRMATION_MISSING");
    let command = format!("sign repo --yes --supersede {digest}");
    let Some((code, screen)) = talk(&home, &command, &[("[y/N] ", "n\n")]) else { return };
    assert_eq!(code, 3, "{screen}");
    let (code, screen) = talk(&home, &command, &[("[y/N] ", "y\n")]).unwrap();
    assert_eq!(code, 0, "{screen}");
    assert_eq!(home.published("repo").version("root"), 1);
    home.run("verify repo --root repo/metadata/1.root.json").done();
    let journal = home.run("audit export").done().stdout;
    assert!(journal.contains("supersedes"), "{journal}");
}

#[test]
fn a_root_that_is_complete_is_published_before_it_is_changed() {
    let (home, _agent) = Home::unlocked();
    home.small_repository();
    home.keys(&["spare"]);
    home.run("sign repo --no-publish --yes").done();
    let before = std::fs::read(home.path("repo/staged/root.json")).unwrap();
    let error = home.refused("root add-key repo root --key spare --yes", 3, "WATERMARK");
    assert!(error["remedy"].as_str().unwrap().contains("tufctl sign repo"), "{error}");
    assert_eq!(std::fs::read(home.path("repo/staged/root.json")).unwrap(), before);
    home.run("sign repo --yes").done();
    home.run("root add-key repo root --key spare --yes").done();
    home.run("sign repo --yes").done();
    assert_eq!(home.published("repo").version("root"), 2);
}

#[test]
fn another_digest_than_the_signed_one_supersedes_nothing() {
    let (home, _agent, digest) = edited_root();
    let wrong = "ab".repeat(32);
    let command = format!("sign repo --yes --supersede {wrong}");
    let Some((code, screen)) = talk(&home, &command, &[]) else { return };
    assert_eq!(code, 3, "{screen}");
    assert!(
        screen.contains(&digest) && !screen.contains(&wrong),
        "a digest that nobody signed is shown: {screen}"
    );
    home.run("sign repo --yes --supersede abc --json").refused(2, "USAGE");
}

#[test]
fn an_edit_that_drops_a_colleagues_signature_takes_the_next_version() {
    let (ann, _ann_agent) = Home::unlocked();
    let (bob, _bob_agent) = Home::unlocked();
    ann.keys(&["root", "online"]);
    bob.keys(&["bob"]);
    hand_over(&bob, &ann, "bob");
    ann.run("repo init repo --name app --root root --targets bob.json --snapshot online --timestamp online")
        .done();
    ann.run("sign repo --yes").exits(4);
    ann.published("repo").copy_to(&bob.path("repo"));
    bob.run("sign repo --yes --no-publish");
    bob.published("repo").copy_to(&ann.path("from-bob"));
    ann.run("sign repo --from from-bob --no-publish --yes").done();
    ann.write("more.txt", "more\n");
    let staged: Value = ann.run("target add repo more.txt --yes --json").done().json();
    assert_eq!(staged["staged"][0]["version"], 2, "{staged}");
    assert_eq!(staged["staged"][0]["signatures_dropped"][0], "bob", "{staged}");
    let copy = ann.published("repo").copy_to(&bob.path("again"));
    drop(copy);
    let again = bob.run("sign again --yes --no-publish --json");
    assert_eq!(again.json()["signed"][0]["version"], 2, "{again}");
}

#[test]
fn what_a_superseded_root_came_to_is_told_as_the_journal_knows_it() {
    let Some(bed) = Bed::new(FIRMWARE_5_7) else { return };
    let home = &bed.home;
    bed.generate("root-a", "--type ecdsa-p256 --touch always");
    home.unlock_file_store();
    home.keys(&["second", "online", "spare", "other"]);
    home.run(
        "repo init repo --name app --root root-a,second --root-threshold 2 --targets online --snapshot online \
         --timestamp online",
    )
    .done();
    bed.card.touch_within(std::time::Duration::from_secs(1));
    home.refused("sign repo --yes --key root-a", 5, "TOUCH_TIMEOUT");
    home.run("root add-key repo root --key spare").done();
    let told = |touches: bool| {
        bed.card.touch_always(touches);
        let refused = home.refused("sign repo --yes --key root-a", 3, "WATERMARK");
        let digest = refused["details"]["signed_sha256"].as_str().unwrap();
        let command = format!("sign repo --yes --key root-a --supersede {digest}");
        talk(home, &command, &[("[y/N] ", "y\n")]).map(|(_, screen)| screen)
    };
    // Nobody had touched it.
    let Some(screen) = told(true) else { return };
    assert!(screen.contains("was to be signed and no signature of it was made here"), "{screen}");
    assert!(!screen.contains("content that was signed"), "{screen}");
    // And now it was signed.
    home.run("root add-key repo root --key other --yes").done();
    let screen = told(true).unwrap();
    assert!(screen.contains("other content that was signed"), "{screen}");
}

#[test]
fn people_are_told_of_a_signature_that_was_lost_only_where_exactly_that_was_to_be_signed() {
    let (home, _agent) = people(&["online", "spare", "second"]);
    split_key(&home, "q1");
    home.run(
        "repo init repo --name app --root q1,second --root-threshold 2 --targets online --snapshot online --timestamp online",
    )
    .done();
    let collect = format!("share collect repo --role root --yes{}", two("q1").replace(" --yes", ""));
    home.run(&collect).exits(4);
    home.run("root add-key repo root --key spare").done();
    let refused = home.refused(&collect, 3, "WATERMARK");
    let digest = refused["details"]["signed_sha256"].as_str().unwrap();
    let command = format!("sign repo --key q1 --supersede {digest}");
    let Some((_, screen)) = talk(&home, &command, &[("[y/N] ", "n\n")]) else { return };
    assert!(screen.contains("takes the place of other content"), "{screen}");
    assert!(screen.contains("Bring shares of q1 together"), "{screen}");
    assert!(!screen.contains("exactly this was signed before"), "{screen}");
}

/// A root of the others: what is published under `from`, as a later version.
fn others_root(home: &Home, from: u64, version: u64) {
    let repo = home.published("repo");
    let mut signed = repo.metadata(&format!("{from}.root.json"))["signed"].clone();
    signed["version"] = version.into();
    signed["x-theirs"] = serde_json::json!(version);
    let by = [7, 8].map(|number| (keyid(&key(number)), number));
    std::fs::write(repo.dir().join(format!("metadata/{version}.root.json")), signed_by(&signed, &by))
        .unwrap();
}

#[test]
fn a_signed_root_is_superseded_no_more_once_others_have_published_one_of_its_version_or_the_next() {
    for last in [2, 3] {
        let (home, _agent) = Home::unlocked();
        home.keys(&["root", "online", "spare", "more"]);
        for number in [7_u8, 8] {
            let file = serde_json::json!({"keyid": keyid(&key(number)), "key": key(number)});
            home.write(&format!("{number}.json"), file.to_string());
        }
        home.run(
            "repo init repo --name app --root root,./7.json,./8.json --root-threshold 2 --targets online \
             --snapshot online --timestamp online",
        )
        .done();
        home.run("sign repo --yes").exits(4);
        // The other holders complete the first root.
        let staged = home.path("repo/staged/root.json");
        let mut first: Value = serde_json::from_slice(&std::fs::read(&staged).unwrap()).unwrap();
        let theirs: Value =
            serde_json::from_str(&signed_by(&first["signed"], &[(keyid(&key(7)), 7)])).unwrap();
        first["signatures"].as_array_mut().unwrap().push(theirs["signatures"][0].clone());
        std::fs::write(&staged, first.to_string()).unwrap();
        home.run("sign repo --yes").done();
        // Ours of version 2 has one of two signatures, and is then edited.
        home.run("root add-key repo root --key spare").done();
        home.run("sign repo --yes").exits(4);
        home.run("root add-key repo root --key more").done();
        let refused = home.refused("sign repo --yes", 3, "WATERMARK");
        let digest = refused["details"]["signed_sha256"].as_str().unwrap().to_owned();
        for version in 2..=last {
            others_root(&home, 1, version);
        }
        // Nobody is even asked: first for the alarm, and once a person has looked, for what is published.
        let command = format!("sign repo --yes --supersede {digest}");
        for looked in [false, true] {
            if looked {
                home.run("repo adopt repo --name app --root repo/metadata/1.root.json --yes").done();
            }
            let Some((code, screen)) = talk(&home, &command, &[]) else { return };
            assert!(code != 0 && !screen.contains("[y/N]"), "{last}, {looked}: {code} {screen}");
        }
        let superseded = |it: &Value| !it["body"]["supersedes"].is_null();
        assert!(!home.journalled("sign.intent").iter().any(superseded), "{last}");
    }
}
