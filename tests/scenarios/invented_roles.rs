//! Targets metadata does not name its role: a key of several targets roles signs a new one only once what delegates to it
//! is more than a caller's word.

use tufagent_tests::Home;

use crate::colleagues::hand_over;

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
    let refused = ann.refused("sign repo --yes", 3, "POLICY");
    assert_eq!(refused["details"]["also_role"], "docs", "{refused}");
    by_bob("2");
    ann.run("sign repo --from from-bob2 --yes").done();
    assert_eq!(ann.published("repo").metadata("1.more.json")["signed"]["version"], 1);
}
