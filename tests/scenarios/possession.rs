//! Public keys that somebody has put onto a token without its PIN: a token is believed that it has the private half once that has
//! signed.

use std::fs;

use softhsm::{OpenSc, TokenFolder, third_party_dir};
use tuf::key::Key;
use tufagent_tests::{Home, PIN, need, run_to_end};

use crate::key_types::home_with_softhsm;
use crate::terminal::talk;

/// A home with a token whose key `made` was made there, and beside it the public half of a stranger's key, `theirs`, with the
/// CKA_ID of ours. No PIN was given for that.
fn with_a_strangers_public_key() -> Option<(Home, TokenFolder)> {
    let opensc = need(third_party_dir().and_then(|dir| OpenSc::find_or_fetch_in(&dir)))?;
    let (home, agent, folder) = home_with_softhsm()?;
    home.unlock_file_store();
    home.key("filed", "ed25519");
    home.run("key generate made --token hsm --type ecdsa-p256").done();
    // The private half goes before the test begins: what is on the token is all that this agent knows of it.
    home.key("stolen", "ecdsa-p256");
    let exported = home.run("key export stolen --format tuf").done().json()["key"].to_string();
    home.run("key remove stolen --yes").done();
    let stolen = Key::from_json(exported.as_bytes()).unwrap();
    home.write("theirs.der", stolen.public_key().unwrap().spki_der());
    agent.stop();
    let tool = |words: &[&str]| {
        let mut tool = opensc.pkcs11_tool_with(folder.module());
        tool.envs(folder.env()).args(["--token-label", "build"]).args(words).current_dir(home.path("."));
        run_to_end(&mut tool)
    };
    let listed = tool(&["-O", "--type", "pubkey"]).done().stdout;
    let id = listed.lines().find_map(|line| line.trim().strip_prefix("ID:")).unwrap().trim().to_owned();
    tool(&["--write-object", "theirs.der", "--type", "pubkey", "--id", &id, "--label", "theirs"]).done();
    Some((home, folder))
}

#[test]
fn a_public_key_whose_private_half_the_token_has_not_is_given_to_no_role_and_to_nobody() {
    let Some((home, folder)) = with_a_strangers_public_key() else { return };
    let agent = home.start();
    home.unlock_file_store();
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
    let Some((home, agent, folder)) = home_with_softhsm() else { return };
    home.unlock_file_store();
    home.key("filed", "ed25519");
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
