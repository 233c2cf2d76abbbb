//! Public keys that somebody has put onto a token without its PIN: a token is believed that it has the private half once that has
//! signed.

use std::fs;
use std::process::Command;

use softhsm::{OpenSc, SoftHsm, TokenFolder, third_party_dir};
use tufagent_tests::{Home, PIN, need, run_to_end};

use crate::terminal::talk;

/// A home with a token whose key `made` was made there, and beside it the public half of a stranger's key, `theirs`, with the
/// CKA_ID of ours. No PIN was given for that.
fn with_a_strangers_public_key() -> Option<(Home, TokenFolder)> {
    let softhsm = need(SoftHsm::find_or_fetch())?;
    let opensc = need(third_party_dir().and_then(|dir| OpenSc::find_or_fetch_in(&dir)))?;
    let home = Home::new();
    let folder = softhsm.folder(&home.dir().join("softhsm")).unwrap();
    folder.init_token("build", "so-pin-4711", PIN).unwrap();
    home.secret("pin", PIN);
    home.config(&Home::softhsm_table("hsm", "build", &folder));
    let agent = home.start();
    home.unlock_file_store();
    home.keys(&["filed", "thief"]);
    home.run("token unlock hsm --pin-file pin").done();
    home.run("key generate made --token hsm --type ecdsa-p256").done();
    home.run("key generate stolen --token file --type ecdsa-p256").done();
    home.write("theirs.pem", home.run("key export stolen --format pem").done().stdout);
    agent.stop();
    let tool = |words: &[&str]| {
        let mut tool = opensc.pkcs11_tool_with(softhsm.module());
        tool.envs(folder.env()).args(["--token-label", "build"]).args(words).current_dir(home.path("."));
        run_to_end(&mut tool)
    };
    let listed = tool(&["-O", "--type", "pubkey"]).done().stdout;
    let id = listed.lines().find_map(|line| line.trim().strip_prefix("ID:")).unwrap().trim().to_owned();
    let mut openssl = Command::new("openssl");
    openssl.args(["ec", "-pubin", "-in", "theirs.pem", "-outform", "DER", "-out", "theirs.der"]);
    run_to_end(openssl.current_dir(home.path("."))).done();
    tool(&["--write-object", "theirs.der", "--type", "pubkey", "--id", &id, "--label", "theirs"]).done();
    // The only copy that this agent knows is the token's.
    fs::remove_file(home.path("theirs.pem")).unwrap();
    Some((home, folder))
}

#[test]
fn a_public_key_whose_private_half_the_token_has_not_is_given_to_no_role_and_to_nobody() {
    let Some((home, folder)) = with_a_strangers_public_key() else { return };
    let agent = home.start();
    home.unlock_file_store();
    home.run("key remove stolen --yes").done();
    // What the token has not shown while it is locked counts for nothing, and what has signed counts.
    let locked = home.refused("key export theirs", 5, "TOKEN_LOCKED");
    assert_eq!(locked["details"]["key"], "theirs", "{locked}");
    home.run("key export made").done();
    home.run("token unlock hsm --pin-file pin").done();
    let init = "repo init app --name app --root filed --snapshot filed --timestamp filed --targets";
    for words in ["key export theirs".to_owned(), format!("{init} theirs")] {
        let refused = home.refused(&words, 5, "BAD_SIGNATURE");
        let message = refused["message"].as_str().unwrap();
        assert!(message.contains("shows a public key theirs"), "{words}: {refused}");
    }
    home.run(&format!("{init} made")).done();
    let refused = home.refused("root add-key app targets --key theirs", 5, "BAD_SIGNATURE");
    assert_eq!(refused["details"]["key"], "theirs", "{refused}");
    home.run("sign app --yes").done();
    // The word of the token for the private key beside it proves nothing of this one.
    agent.stop();
    home.config(
        &(Home::softhsm_table("hsm", "build", &folder)
            + "[[role]]\nname = \"targets\"\norigin = \"token\"\n"),
    );
    let _agent = home.start();
    home.unlock_file_store();
    home.run("token unlock hsm --pin-file pin").done();
    home.refused("root add-key app targets --key theirs", 5, "BAD_SIGNATURE");
    home.run("bump app targets").done();
    home.run("sign app --yes").done();
}

#[test]
fn nobody_is_asked_for_a_pin_to_sign_with_the_key_of_a_card_that_was_exchanged() {
    let Some(softhsm) = need(SoftHsm::find_or_fetch()) else { return };
    let home = Home::new();
    let folder = softhsm.folder(&home.dir().join("softhsm")).unwrap();
    folder.init_token("build", "so-pin-4711", PIN).unwrap();
    home.secret("pin", PIN);
    home.config(&Home::softhsm_table("hsm", "build", &folder));
    let agent = home.start();
    home.unlock_file_store();
    home.keys(&["filed"]);
    home.run("token unlock hsm --pin-file pin").done();
    home.run("key generate made --token hsm --type ecdsa-p256").done();
    home.run("repo init app --name app --root filed --targets made --snapshot filed --timestamp filed")
        .done();
    home.run("sign app --yes").done();
    home.run("bump app targets").done();
    fs::rename(folder.tokens_dir(), home.dir().join("ours")).unwrap();
    agent.wait_until(|| home.token("hsm")["state"] == "absent");
    fs::create_dir(folder.tokens_dir()).unwrap();
    folder.init_token("build", "so-pin-4711", PIN).unwrap();
    agent.wait_until(|| home.token("hsm")["state"] == "locked");
    for words in ["sign app --yes", "unlock"] {
        let Some((code, screen)) = talk(&home, words, &[]) else { return };
        assert_ne!(code, 0, "{words}: {screen}");
        assert!(screen.contains("another card is in the place of hsm"), "{words}: {screen}");
        assert!(!screen.contains("PIN of hsm"), "{words}: {screen}");
    }
    assert_eq!(home.token("hsm")["state"], "locked");
}
