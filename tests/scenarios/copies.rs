//! One key on two tokens: it is refused where it is seen, and signs only by the copy that was named.

use serde_json::json;
use softhsm::SoftHsm;
use tufagent_tests::{Home, PIN, need};

use crate::file_store::own;

const KEY: &str = "ecdsa-p256.pem";

/// A home with the key file, and the entry of a SoftHSM token that holds no key yet.
fn home_with_hsm() -> Option<(Home, String)> {
    let softhsm = need(SoftHsm::find_or_fetch())?;
    let home = Home::new();
    let folder = softhsm.folder(&home.dir().join("softhsm")).unwrap();
    folder.init_token("build", "so-pin-4711", PIN).unwrap();
    let pin = home.secret("hsm-pin", PIN);
    let table = Home::softhsm_table("hsm", "build", &folder);
    own(&home, KEY);
    let pin = format!("pin = {{ file = {:?} }}\n", pin.display().to_string());
    Some((home, table + &pin))
}

#[test]
fn a_key_that_a_token_shows_is_imported_nowhere_else_and_what_is_imported_is_warned_of() {
    let Some((home, table)) = home_with_hsm() else { return };
    home.config(&table);
    let _agent = home.start();
    home.unlock_file_store();
    let made = home.run(&format!("key import imp {KEY} --token hsm --json")).done();
    let warning = made.json()["warnings"][0].as_str().unwrap().to_owned();
    assert!(warning.contains("copy"), "{made}");
    assert!(made.stderr.contains(&warning), "{made}");
    let refused = home.refused(&format!("key import other {KEY} --token file"), 3, "DUPLICATE_KEY");
    assert_eq!((&refused["details"]["key"], &refused["details"]["token"]), (&json!("imp"), &json!("hsm")));
    let message = refused["message"].as_str().unwrap();
    assert!(message.contains("token hsm") && message.contains("imp"), "{refused}");
    home.run("key remove imp --yes").done();
    home.run(&format!("key import other {KEY} --token file")).done();
    home.refused(&format!("key import imp {KEY} --token hsm"), 3, "DUPLICATE_KEY");
}

#[test]
fn of_two_copies_none_signs_silently_and_the_one_that_is_named_does() {
    let Some((home, table)) = home_with_hsm() else { return };
    // The copies come to be while the agent sees one token of them: a person's backup, or another agent's key.
    let agent = home.start();
    home.unlock_file_store();
    home.run(&format!("key import backup {KEY} --token file")).done();
    agent.stop();
    home.config(&table);
    std::fs::rename(home.state().join("keys"), home.dir().join("keys")).unwrap();
    let agent = home.start();
    home.run(&format!("key import card {KEY} --token hsm")).done();
    agent.stop();
    let emptied = home.state().join("keys");
    if emptied.exists() {
        std::fs::remove_dir_all(&emptied).unwrap();
    }
    std::fs::rename(home.dir().join("keys"), emptied).unwrap();

    let _agent = home.start();
    home.unlock_file_store();
    home.run("key generate online --token file --type ed25519").done();
    home.run("repo init repo --name app --root card --targets online --snapshot online --timestamp online")
        .done();
    let refused = home.refused("sign repo --yes", 3, "DUPLICATE_KEY");
    let told = format!("{}{}", refused["message"], refused["remedy"]);
    for word in ["card on token hsm", "backup on token file", "--key card", "--key backup"] {
        assert!(told.contains(word), "{word}: {refused}");
    }
    home.run("lock").done();
    home.refused("sign repo --yes", 3, "DUPLICATE_KEY");
    home.unlock_file_store();
    for (name, token) in [("backup", "file"), ("card", "hsm")] {
        home.run("token unlock hsm").done();
        let signed = home.run(&format!("sign repo --role root --key {name} --yes --json")).exits(4).json();
        assert_eq!(
            (&signed["signed"][0]["key"], &signed["signed"][0]["token"]),
            (&json!(name), &json!(token))
        );
        let root = home.path("repo/staged/root.json");
        let text = std::fs::read_to_string(&root).unwrap();
        assert!(text.contains("\"sig\""), "{text}");
        if name == "backup" {
            // Again, with the other copy.
            let mut root_json: serde_json::Value = serde_json::from_str(&text).unwrap();
            root_json["signatures"] = json!([]);
            std::fs::write(&root, root_json.to_string()).unwrap();
        }
    }
}
