//! Two people with an agent each, who share nothing but a folder that they copy.

use std::fs;

use serde_json::Value;
use tufagent_tests::{Agent, Home};

use crate::forge::{key, keyid};
use crate::judges::{Judges, Reads};

/// A key of one home, exported into the other's working folder as `NAME.json`.
pub(crate) fn hand_over(from: &Home, to: &Home, name: &str) {
    let exported = from.run(&format!("key export {name}")).done().stdout;
    to.write(&format!("{name}.json"), exported);
}

/// Ann has begun a repository `repo` whose root she and Bob sign together.
pub(crate) fn two_colleagues() -> ((Home, Agent), (Home, Agent)) {
    let (ann, ann_agent) = Home::unlocked();
    let (bob, bob_agent) = Home::unlocked();
    ann.keys(&["ann", "online"]);
    bob.keys(&["bob"]);
    hand_over(&bob, &ann, "bob");
    ann.run(
        "repo init repo --name app --root ann,bob.json --root-threshold 2 --targets online --snapshot online \
         --timestamp online",
    )
    .done();
    ((ann, ann_agent), (bob, bob_agent))
}

fn roles(list: &Value) -> Vec<&str> {
    list.as_array().unwrap().iter().map(|it| it["role"].as_str().unwrap()).collect()
}

#[test]
fn two_agents_with_separate_state_sign_one_root_together() {
    let ((ann, _ann_agent), (bob, _bob_agent)) = two_colleagues();
    ann.write("app.txt", "hello\n");
    ann.run("target add repo app.txt").done();

    let first = ann.run("sign repo --yes --json").exits(4).json();
    assert_eq!(first["published"], false);
    assert!(roles(&first["signed"]).contains(&"root"), "{first}");
    let missing = &first["missing"][0];
    assert_eq!(
        (&missing["role"], &missing["have"], &missing["need"]),
        (&"root".into(), &1.into(), &2.into())
    );
    assert_eq!(missing["keyids"].as_array().unwrap().len(), 1);
    assert!(ann.published("repo").names("metadata").is_empty(), "nothing is published yet");

    ann.published("repo").copy_to(&bob.path("repo"));
    let second = bob.run("sign repo --yes --json");
    assert!(second.code == 4 || second.code == 0, "{second}");
    assert_eq!(roles(&second.json()["signed"]), ["root"], "{second}");

    bob.published("repo").copy_to(&ann.path("from-bob"));
    let third = ann.run("sign repo --from from-bob --yes --json").done().json();
    assert_eq!(third["published"], true, "{third}");
    ann.run("verify repo --root repo/metadata/1.root.json").done();
    Judges::new(&ann, "fresh", Reads::All).accept(&ann.published("repo"), &["app.txt"]);
}

#[test]
fn a_colleagues_signature_over_another_content_is_not_merged() {
    let (ann, _ann_agent) = Home::unlocked();
    let (bob, _bob_agent) = Home::unlocked();
    ann.keys(&["ann", "online"]);
    bob.keys(&["bob"]);
    hand_over(&bob, &ann, "bob");
    ann.run(
        "repo init repo --name app --root ann,bob.json --root-threshold 2 --targets online --snapshot online \
         --timestamp online --expires root=300d",
    )
    .done();
    ann.run("sign repo --yes").exits(4);
    ann.published("repo").copy_to(&bob.path("repo"));
    bob.run("sign repo --yes");
    let theirs = bob.published("repo").copy_to(&ann.path("from-bob"));
    // The same signatures under an edited root.
    let staged = theirs.dir().join("staged/root.json");
    let text = std::fs::read_to_string(&staged).unwrap();
    let edited =
        text.replace("\"threshold\": 2", "\"threshold\": 1").replace("\"threshold\":2", "\"threshold\":1");
    assert_ne!(text, edited);
    std::fs::write(&staged, edited).unwrap();
    let refused = ann.run("sign repo --from from-bob --yes --json");
    assert_ne!(refused.code, 0, "{refused}");
    assert!(ann.published("repo").names("metadata").is_empty(), "nothing is published");
}

#[test]
fn editing_what_a_colleague_has_signed_wants_a_confirmation_that_names_them() {
    let ((ann, _ann_agent), (bob, _bob_agent)) = two_colleagues();
    ann.published("repo").copy_to(&bob.path("repo"));
    bob.run("sign repo --yes");
    bob.published("repo").copy_to(&ann.path("theirs"));
    let before = std::fs::read(ann.path("theirs/staged/root.json")).unwrap();
    ann.keys(&["spare"]);
    ann.refused("root add-key theirs root --key spare", 3, "CONFIRMATION_MISSING");
    assert_eq!(std::fs::read(ann.path("theirs/staged/root.json")).unwrap(), before);
    ann.run("root add-key theirs root --key spare --yes").done();
}

#[test]
fn an_adopted_repository_goes_on_from_its_published_versions() {
    let (ann, _ann_agent) = Home::unlocked();
    let repo = ann.published_repository();
    let remembering = Judges::new(&ann, "remembering", Reads::All);
    remembering.accept(&repo, &["app.txt"]);

    let (bob, _bob_agent) = Home::unlocked();
    bob.keys(&["bob"]);
    hand_over(&bob, &ann, "bob");
    ann.run("root replace-key repo timestamp --old online --new bob.json --yes").done();
    ann.run("sign repo --yes").exits(4);
    repo.copy_to(&bob.path("repo"));
    bob.run("repo adopt repo --name app --root repo/metadata/1.root.json --yes").done();
    let signed = bob.run("sign repo --yes --json");
    assert!(signed.code == 0 || signed.code == 4, "{signed}");
    assert!(!signed.stdout.contains("\"version\": 1,"), "{signed}");
}

#[test]
fn a_key_under_the_keyid_of_another_is_shown_by_its_own_and_by_nobodys_name() {
    let (home, _agent) = Home::unlocked();
    home.keys(&["root", "online"]);
    home.run("repo init repo --name app --root root --targets online --snapshot online --timestamp online")
        .done();
    home.run("sign repo --yes").done();
    home.write("bob.json", key(7).to_string());
    home.run("root add-key repo targets --key ./bob.json").done();
    assert!(home.run("diff repo").done().text().contains("key of targets: bob ed25519"));
    // Somebody puts a key of theirs under the keyid that Bob is known by.
    let staged = home.path("repo/staged/root.json");
    let public = |number| key(number)["keyval"]["public"].as_str().unwrap().to_owned();
    let text = std::fs::read_to_string(&staged).unwrap().replace(&public(7), &public(9));
    std::fs::write(&staged, text).unwrap();
    let (known, own) = (keyid(&key(7)), keyid(&key(9)));
    let difference = home.run("diff repo").done().text();
    assert!(difference.contains(&known) && !difference.contains("bob"), "{difference}");
    assert!(difference.contains(&format!("another key: its own keyid is {own}")), "{difference}");
    let signed = home.run("sign repo --role root --yes");
    let said = format!("under the keyid {known} stands a key whose own keyid is {own}");
    assert!(signed.text().contains(&said), "{signed}");
}

#[test]
fn who_signed_the_first_root_before_it_was_complete_adopts_what_others_made_of_it() {
    let ((ann, _ann_agent), (bob, _bob_agent)) = two_colleagues();
    ann.published("repo").copy_to(&bob.path("repo"));
    bob.run("sign repo --yes").exits(4);
    bob.published("repo").copy_to(&ann.path("from-bob"));
    ann.run("sign repo --from from-bob --yes").done();
    ann.published("repo").copy_to(&bob.path("published"));
    bob.run("repo adopt published --name app --root published/metadata/1.root.json --yes").done();
    bob.run("audit verify").done();
    // Another root of that name is another repository.
    let (other, _other_agent) = Home::unlocked();
    other.keys(&["key"]);
    other.run("repo init repo --name app --root key --targets key --snapshot key --timestamp key").done();
    other.run("sign repo --yes").done();
    other.published("repo").copy_to(&bob.path("other"));
    bob.refused("repo adopt other --name app --root other/metadata/1.root.json --yes", 3, "NAME_TAKEN");
}

#[test]
fn a_no_to_the_removal_of_a_half_signed_delegation_leaves_nothing_staged() {
    let (ann, _ann_agent) = Home::unlocked();
    let (bob, _bob_agent) = Home::unlocked();
    let repo = ann.published_repository();
    ann.keys(&["docs"]);
    bob.keys(&["bob"]);
    hand_over(&bob, &ann, "bob");
    ann.run("delegation add repo docs --key docs,bob.json --threshold 2 --paths docs/*").done();
    ann.run("sign repo --role targets --yes").exits(4);
    repo.copy_to(&bob.path("theirs"));
    bob.run("repo adopt theirs --name app --root theirs/metadata/1.root.json --yes").done();
    bob.run("sign theirs --role docs --yes").exits(4);
    bob.published("theirs").copy_to(&ann.path("from-bob"));
    ann.run("sign repo --from from-bob --yes").done();
    ann.run("bump repo docs").done();
    repo.copy_to(&bob.path("again"));
    bob.run("sign again --role docs --yes").exits(4);
    bob.published("again").copy_to(&ann.path("from-bob-2"));
    std::fs::copy(ann.path("from-bob-2/staged/docs.json"), repo.dir().join("staged/docs.json")).unwrap();
    let staged = || -> Vec<String> {
        repo.names("staged").into_iter().filter(|name| name != "repository.json").collect()
    };
    assert_eq!(staged(), ["docs.json"]);
    ann.refused("delegation remove repo docs", 3, "CONFIRMATION_MISSING");
    assert_eq!(staged(), ["docs.json"], "nothing is done");
    ann.run("delegation remove repo docs --yes").done();
    assert_eq!(staged(), ["targets.json"]);
    ann.run("sign repo --yes").done();
}

#[test]
fn the_bins_of_the_key_of_targets_wait_for_a_root_that_others_sign() {
    let (ann, _ann_agent) = Home::unlocked();
    let (bob, _bob_agent) = Home::unlocked();
    ann.keys(&["online"]);
    bob.keys(&["bob"]);
    hand_over(&bob, &ann, "bob");
    ann.run(
        "repo init repo --name app --root bob.json --targets online --snapshot online --timestamp online",
    )
    .done();
    // More than are inspected at the same time.
    ann.run("delegation add repo bin --key online --threshold 1 --succinct-bins 64").done();
    ann.write("app.txt", "hello\n");
    ann.run("target add repo app.txt").done();

    // Until root is complete nothing but her own word gives the key to the bins.
    let first = ann.run("sign repo --yes --json").exits(4).json();
    assert_eq!(roles(&first["signed"]), ["targets"], "{first}");
    let unsigned = first["unsigned"].as_array().unwrap();
    assert_eq!(unsigned.len(), 64, "{first}");
    assert!(unsigned.iter().all(|one| one["reason"] == "POLICY"), "{first}");
    let again = ann.run("sign repo --yes").exits(4);
    assert!(again.stdout.contains("online: signs once root v1 has all signatures"), "{again}");
    assert!(again.stderr.contains("is signed once root v1 has all signatures"), "{again}");
    assert_eq!(again.stderr.matches("is signed once").count(), 1, "{again}");
    assert!(
        again.stdout.contains("bin-00 needs 1 more signature (online), and so do 63 more roles."),
        "{again}"
    );
    assert!(again.stdout.lines().count() < 24, "{again}");

    ann.published("repo").copy_to(&bob.path("repo"));
    bob.run("sign repo --yes").exits(4);
    bob.published("repo").copy_to(&ann.path("from-bob"));
    ann.run("sign repo --from from-bob --yes").done();
    ann.run("verify repo --root repo/metadata/1.root.json").done();
    Judges::new(&ann, "fresh", Reads::NotTough).accept(&ann.published("repo"), &["app.txt"]);
}

#[test]
fn two_who_take_over_root_targets_and_a_delegation_at_once_sign_all_of_it() {
    let (ann, _ann_agent) = Home::unlocked();
    let (bob, _bob_agent) = Home::unlocked();
    ann.keys(&["k", "ann"]);
    bob.keys(&["bob"]);
    hand_over(&bob, &ann, "bob");
    ann.run("repo init repo --name app --root k --targets k --snapshot k --timestamp k").done();
    ann.run("delegation add repo team --key k --threshold 1 --paths t/*").done();
    ann.run("sign repo --yes").done();
    ann.published("repo").copy_to(&bob.path("repo"));
    bob.run("repo adopt repo --name app --root repo/metadata/1.root.json --yes").done();
    for role in ["root", "targets"] {
        ann.run(&format!("root replace-key repo {role} --old k --new ann")).done();
        ann.run(&format!("root add-key repo {role} --key ./bob.json")).done();
        ann.run(&format!("root set-threshold repo {role} 2")).done();
    }
    ann.run("delegation edit repo team --add-key ann,./bob.json --threshold 2").done();
    ann.run("delegation edit repo team --remove-key k").done();
    // What gives her the key of team is signed by her alone so far: it waits.
    let first = ann.run("sign repo --yes --json").exits(4).json();
    assert!(first["signed"].as_array().unwrap().iter().all(|one| one["role"] != "team"), "{first}");
    fs::remove_dir_all(bob.path("repo")).unwrap();
    ann.published("repo").copy_to(&bob.path("repo"));
    let second = bob.run("sign repo --yes --json").exits(4).json();
    assert_eq!(roles(&second["signed"]), ["root", "targets", "team"], "{second}");
    bob.published("repo").copy_to(&ann.path("from-bob"));
    let third = ann.run("sign repo --yes --from from-bob --json").done().json();
    assert_eq!(third["published"], true, "{third}");
    Judges::new(&ann, "fresh", Reads::All).accept(&ann.published("repo"), &[]);
}

#[test]
fn snapshot_and_timestamp_are_renewed_while_a_root_waits_for_a_colleague() {
    let ((ann, _ann_agent), (bob, _bob_agent)) = two_colleagues();
    ann.run("sign repo --yes").exits(4);
    let by_bob = |round: &str| {
        ann.published("repo").copy_to(&bob.path(format!("from-ann{round}")));
        assert!([0, 4].contains(&bob.run(&format!("sign from-ann{round} --role root --yes")).code));
        bob.published(&format!("from-ann{round}")).copy_to(&ann.path(format!("from-bob{round}")));
        ann.run(&format!("sign repo --from from-bob{round} --yes")).done();
    };
    by_bob("1");
    let repo = ann.published("repo");
    ann.run("bump repo root").done();
    ann.run("sign repo --yes").exits(4);
    // The timer of a build machine.
    ann.run("bump repo snapshot timestamp").done();
    let waits = ann.run("sign repo --yes").exits(4);
    assert!(waits.stdout.contains("SOMETHING WAITS FOR OTHERS"), "{waits}");
    assert!(!waits.stdout.contains("timestamp needs"), "our own key is not what is waited for: {waits}");
    std::fs::rename(repo.dir().join("staged"), ann.path("aside")).unwrap();
    let commands = crate::recovery::commands_of("SOMETHING WAITS FOR OTHERS");
    let [bump, sign, take] = commands.as_slice() else { panic!("{commands:?}") };
    let run = |command: &str| ann.run(command.strip_prefix("tufctl ").unwrap());
    run(bump).done();
    run(&format!("{sign} --yes")).done();
    assert_eq!((repo.version("root"), repo.version("snapshot"), repo.version("timestamp")), (1, 2, 2));
    let taken = run(&format!("{take} --yes --json")).exits(4).json();
    assert_eq!((roles(&taken["missing"])[0], &taken["missing"][0]["have"]), ("root", &1.into()), "{taken}");
    by_bob("2");
    assert_eq!(repo.version("root"), 2);
    ann.run("verify repo --root repo/metadata/1.root.json").done();
}
