//! Targets metadata does not name its role: a key of several targets roles signs a new one only once what delegates to it
//! is more than a caller's word.

use tufagent_tests::Home;

use crate::colleagues::hand_over;
use crate::terminal::talk;

#[test]
fn a_key_of_targets_signs_for_no_role_to_which_only_a_sent_parent_delegates() {
    let (home, _agent) = Home::unlocked();
    let repo = home.published_repository();
    home.write("evil.txt", "evil\n");
    for invented in ["fake", "fake2"] {
        home.run(&format!(
            "delegation add repo {invented} --key online --threshold 1 --paths x/{invented}/*"
        ))
        .done();
        home.run(&format!("target add repo evil.txt --path x/{invented}/ --role {invented}")).done();
        let refused = home.refused(&format!("sign repo --role {invented} --yes"), 3, "POLICY");
        assert_eq!(refused["details"]["also_role"], "targets", "{refused}");
        assert!(refused["remedy"].as_str().unwrap().starts_with("sign targets"), "{refused}");
        let staged = repo.dir().join(format!("staged/{invented}.json"));
        assert!(!std::fs::read_to_string(staged).unwrap().contains("\"sig\""));
    }
    // The remedy leads out: whoever delegates signs first, in one go with them.
    home.run("sign repo --yes").done();
    assert_eq!(
        (repo.version("targets"), repo.metadata("1.fake.json")["signed"]["version"].as_u64()),
        (2, Some(1))
    );
    // From now on each goes on by its own count.
    home.run("bump repo fake").done();
    home.run("sign repo --role fake --role snapshot --role timestamp --yes").done();
}

#[test]
fn such_a_key_signs_where_others_have_completed_what_delegates() {
    let (ann, _ann_agent) = Home::unlocked();
    let (bob, _bob_agent) = Home::unlocked();
    ann.keys(&["root", "online", "docs"]);
    bob.keys(&["bob"]);
    hand_over(&bob, &ann, "bob");
    ann.run("repo init repo --name app --root root --targets bob.json --snapshot online --timestamp online")
        .done();
    let by_bob = |round: &str| {
        bob.published(&format!("from-ann{round}"));
        ann.published("repo").copy_to(&bob.path(format!("from-ann{round}")));
        bob.run(&format!("sign from-ann{round} --role targets --yes")).exits(4);
        bob.published(&format!("from-ann{round}")).copy_to(&ann.path(format!("from-bob{round}")));
    };
    ann.run("delegation add repo docs --key docs --threshold 1 --paths docs/*").done();
    // A key that serves nothing else signs while its parent waits for others.
    ann.run("sign repo --yes").exits(4);
    by_bob("1");
    ann.run("sign repo --from from-bob1 --yes").done();
    ann.run("delegation add repo more --key docs --threshold 1 --paths more/*").done();
    let waiting = ann.run("sign repo --yes --json").exits(4).json();
    assert_eq!(
        (&waiting["signed"], &waiting["unsigned"][0]["role"]),
        (&serde_json::json!([]), &"more".into())
    );
    assert_eq!(waiting["unsigned"][0]["reason"], "POLICY", "{waiting}");
    let refused = ann.refused("sign repo --role more --yes", 3, "POLICY");
    assert_eq!(refused["details"]["also_role"], "docs", "{refused}");
    by_bob("2");
    ann.run("sign repo --from from-bob2 --yes").done();
    assert_eq!(ann.published("repo").metadata("1.more.json")["signed"]["version"], 1);
}

#[test]
fn what_a_key_that_nobody_trusts_has_signed_leads_to_no_role() {
    let (home, _agent) = Home::unlocked();
    let repo = home.published_repository();
    home.keys(&["own"]);
    home.write("evil.txt", "evil\n");
    // A root that was only staged gives targets to a key of the caller's own.
    home.run("root replace-key repo targets --old online --new own --yes").done();
    home.run("delegation add repo fake --key online --threshold 1 --paths x/*").done();
    home.run("target add repo evil.txt --path x/ --role fake").done();
    home.run("sign repo --role targets --yes").exits(4);
    let staged = repo.dir().join("staged/targets.json");
    assert!(std::fs::read_to_string(staged).unwrap().contains("\"sig\""));
    let next = repo.dir().join("staged/root.json");
    let root = std::fs::read(&next).unwrap();
    std::fs::remove_file(&next).unwrap();
    let refused = home.refused("sign repo --role fake --yes", 3, "POLICY");
    assert_eq!(refused["details"]["also_role"], "targets", "{refused}");
    std::fs::write(&next, root).unwrap();
    // Once the keys of root have signed it, that key is the one of targets.
    home.run("sign repo --yes").done();
    assert_eq!((repo.version("root"), repo.version("targets"), repo.version("fake")), (2, 2, 1));
}

#[test]
fn contents_laid_by_before_a_key_is_given_a_role_share_no_version_with_what_it_signs_then() {
    let (home, _agent) = Home::unlocked();
    let repo = home.published_repository();
    home.keys(&["next"]);
    for laid_by in ["one", "two"] {
        home.run(&format!("delegation add repo {laid_by} --key next --threshold 1 --paths {laid_by}/*"))
            .done();
    }
    home.run("sign repo --role one --yes").exits(4);
    home.run("bump repo one").done();
    home.run("sign repo --role one --yes").exits(4);
    let refused = home.refused("sign repo --role two --yes", 3, "POLICY");
    assert_eq!(
        (&refused["details"]["role"], &refused["details"]["also_role"]),
        (&"two".into(), &"one".into())
    );
    home.run("root replace-key repo targets --old online --new next --yes").done();
    // What lies ready would be taken for targets: that is for a person to know.
    let refused = home.refused("sign repo --yes", 3, "CONFIRMATION_MISSING");
    assert!(
        refused.to_string().contains("has signed one version 2, which a word alone gave it"),
        "{refused}"
    );
    // It is told of the role that would be signed.
    let message = refused["message"].as_str().unwrap();
    assert!(message.starts_with("root v2: ") && refused["details"]["role"] == "root", "{refused}");
    let Some((_, screen)) = talk(&home, "sign repo --role root --yes", &[("[y/N] ", "y\n")]) else { return };
    assert!(screen.contains("would count as targets too"), "{screen}");
    // Nothing but a word had given it to that role, which now counts as targets.
    let refused = home.refused("sign repo --yes", 3, "WATERMARK");
    assert_eq!(refused["details"]["signed_role"], "one", "{refused}");
    assert_eq!(refused["remedy"], "stage version 3: tufctl bump repo targets --above 2");
    home.run("bump repo targets --above 2").done();
    home.run("sign repo --yes").done();
    assert_eq!((repo.version("targets"), repo.version("one"), repo.version("two")), (3, 2, 1));
    // From now on each goes on by its own count.
    home.run("bump repo two").done();
    home.run("sign repo --yes").done();
    assert_eq!((repo.version("targets"), repo.version("one"), repo.version("two")), (3, 2, 2));
}
