//! Encrypted files of shares, between this tool and another age.

use tufagent_tests::{Home, need, oracle};

use crate::custodians::{identities, init, python, with_token};

/// `root-s`, 2 of three: ann by an identity, ben and cy under a passphrase each.
fn split_root(home: &Home) -> Option<String> {
    let ann = identities(home, &["ann"])?;
    home.secret("ben.pass", "canary: a passphrase of ben");
    home.secret("cy.pass", "canary: a passphrase of cy, not of ASCII alone: \u{e4}\u{df}");
    let made = home.run(&format!(
        "key generate root-s --token shares --type ed25519 --threshold 2 {ann} --custodian ben=passphrase-file:ben.pass \
         --custodian cy=passphrase-file:cy.pass --out set --json"
    ));
    Some(made.done().json()["public"].as_str().unwrap().to_owned())
}

#[test]
fn a_share_under_a_passphrase_is_opened_by_another_age_and_one_that_the_other_wrote_by_us() {
    if need(oracle::python()).is_none() {
        return;
    }
    let (home, _agent) = with_token();
    let public = split_root(&home).unwrap();
    let pairs = ["set/ben.share", "ben.pass", "set/cy.share", "cy.pass"];
    let recovered = python(&home, &[&["recover", "ed25519"][..], &pairs].concat()).unwrap();
    assert_eq!(recovered["public"], public.as_str(), "pyrage opens them, and they make the key");

    // Custodians encrypt theirs anew with a tool of their own, which has its own idea of how long to stretch.
    home.secret("new.pass", "canary: another passphrase");
    let under = python(&home, &["again", "set/cy.share", "cy.pass", "new.pass", "own-cy.share"]).unwrap();
    println!("work factors: {under}");
    assert_eq!(under["before"], 18);
    assert!(under["after"].as_u64().unwrap() <= 22, "{under}");
    python(&home, &["again", "set/ann.share", "ann.key", "new.pass", "own-ann.share"]).unwrap();
    python(&home, &["again", "set/ben.share", "ben.pass", "ann.key", "own-ben.share"]).unwrap();
    for (name, key) in [
        ("ann", "--passphrase-file new.pass"),
        ("ben", "--identity ann.key"),
        ("cy", "--passphrase-file cy=new.pass"),
    ] {
        let verify = format!("share verify own-{name}.share --manifest set/set.json {key} --json");
        assert_eq!(home.run(&verify).done().json()["custodian"], name);
        home.run(&format!("share confirm own-{name}.share --manifest set/set.json {key}")).done();
    }
    home.refused("share verify own-cy.share --manifest set/set.json --passphrase-file cy.pass", 2, "USAGE");
    init(&home);
    let signed = home.run(
        "share collect repo --role root --manifest set/set.json --yes --share own-ann.share --share own-cy.share \
         --passphrase-file new.pass",
    );
    assert!([0, 4].contains(&signed.code), "{signed}");
}
