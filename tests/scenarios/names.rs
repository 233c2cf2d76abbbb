//! Keys have names on the screen: ours, and a colleague's by the file that it came in.

use tufagent_tests::{Agent, Home};

use crate::colleagues::hand_over;

/// A root of two keys, both needed: `ann` here, `bob` with his own agent.
fn with_bob() -> ((Home, Agent), (Home, Agent)) {
    let (ann, ann_agent) = Home::unlocked();
    let (bob, bob_agent) = Home::unlocked();
    ann.keys(&["ann", "online"]);
    bob.keys(&["roberts-key"]);
    hand_over(&bob, &ann, "roberts-key");
    std::fs::rename(ann.path("roberts-key.json"), ann.path("bob.json")).unwrap();
    ann.run(
        "repo init repo --name app --root ann,bob.json --root-threshold 2 --targets online --snapshot online \
         --timestamp online",
    )
    .done();
    ((ann, ann_agent), (bob, bob_agent))
}

#[test]
fn a_colleagues_key_is_called_by_its_file_before_and_after_publishing() {
    let ((ann, _ann_agent), (bob, _bob_agent)) = with_bob();
    let signed = ann.run("sign repo --yes").exits(4);
    assert!(signed.stdout.contains("Not published: root needs 1 more signature (bob)."), "{signed}");
    assert!(
        signed.stdout.contains("Give them repo/staged, then: tufctl sign repo --from THEIR_COPY"),
        "{signed}"
    );
    let missing = ann.run("sign repo --yes --json").exits(4).json();
    assert_eq!(missing["missing"][0]["keys"][0]["name"], "bob", "{missing}");
    for command in ["repo show repo", "diff repo"] {
        let shown = ann.run(command).done().text();
        assert!(shown.contains("bob"), "{command}: {shown}");
    }
    ann.published("repo").copy_to(&bob.path("repo"));
    let theirs = bob.run("sign repo --yes");
    assert!(theirs.stdout.contains("ann"), "the name travels with what is staged: {theirs}");
    bob.published("repo").copy_to(&ann.path("from-bob"));
    let done = ann.run("sign repo --from from-bob --yes").done();
    assert!(done.stderr.contains("merging the signature of bob on root"), "{done}");
    let shown = ann.run("repo show repo").done().stdout;
    assert!(shown.contains("+ bob"), "{shown}");
    ann.keys(&["next"]);
    ann.run("root add-key repo root --key next").done();
    assert!(ann.run("diff repo").done().stdout.contains("next"));
}

#[test]
fn nobody_passes_a_key_off_as_one_of_ours() {
    let ((ann, _ann_agent), _bob) = with_bob();
    let file = ann.path("repo/staged/repository.json");
    let record = std::fs::read_to_string(&file).unwrap();
    assert!(record.contains("\"bob\""), "{record}");
    std::fs::write(&file, record.replace("\"bob\"", "\"online\"")).unwrap();
    let shown = ann.run("repo show repo").done().stdout;
    let root = shown.split("targets").next().unwrap();
    assert!(!root.contains("online"), "{shown}");
}

#[test]
fn whoever_stages_gives_no_other_name_to_a_key_that_was_named_here_nor_its_name_to_another_key() {
    let ((ann, _ann_agent), _bob) = with_bob();
    let file = ann.path("repo/staged/repository.json");
    let record: serde_json::Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    let names = record["names"].as_object().unwrap();
    let keyid = names.iter().find(|(_, name)| *name == "bob").unwrap().0.clone();
    ann.write("repo/.key-names.json", serde_json::json!({&keyid: "bob"}).to_string());
    let shown = |name: &str| {
        let mut record = record.clone();
        record["names"][&keyid] = name.into();
        std::fs::write(&file, record.to_string()).unwrap();
        [ann.run("diff repo").done().stdout, ann.run("repo show repo").done().stdout]
    };
    for shown in shown("carol") {
        assert!(shown.contains("bob") && !shown.contains("carol"), "{shown}");
    }
    // One who was called otherwise here has not the name of somebody else.
    ann.write("repo/.key-names.json", serde_json::json!({"0123": "Bob"}).to_string());
    for shown in shown("bob") {
        assert!(!shown.contains("bob") && shown.contains(&keyid[..8]), "{shown}");
    }
}

#[test]
fn what_is_not_made_yet_is_shown_with_its_keys() {
    let ((ann, _ann_agent), _bob) = with_bob();
    let shown = ann.run("repo show repo").done().stdout;
    for role in ["snapshot", "timestamp"] {
        assert!(shown.contains(&format!("{role} · 1 of 1 keys · not made yet")), "{shown}");
    }
}
