//! What a refusal about a YubiKey tells people to do works as it stands there, or says that nothing does.

use serde_json::Value;
use tufagent_tests::cards::{FIRMWARE_5_4, FIRMWARE_5_7};

use crate::file_store;
use crate::origin::reload;
use crate::yubikeys::{Bed, SERIAL};

/// The command that a remedy names after `tufctl`, up to the next pause.
fn command(refused: &Value, begins: &str) -> String {
    let remedy = refused["remedy"].as_str().unwrap();
    let at = remedy.find(begins).unwrap_or_else(|| panic!("{begins} is not in {remedy}"));
    let rest = remedy[at..].strip_prefix("tufctl ").unwrap();
    rest[..rest.find([';', ',', ')']).unwrap_or(rest.len())].to_owned()
}

#[test]
fn a_firmware_that_removes_no_key_says_so_before_a_pin_is_typed_and_names_what_destroys_it() {
    let Some(bed) = Bed::new(FIRMWARE_5_4) else { return };
    let home = &bed.home;
    for (name, slot, kind) in [("a", "9c", "ecdsa-p256"), ("b", "82", "ecdsa-p384")] {
        bed.generate(name, &format!("--slot {slot} --type {kind}"));
        home.run("token lock alice").done();
        let refused = home.refused(&format!("key remove {name} --yes"), 5, "UNSUPPORTED");
        let message = refused["message"].as_str().unwrap();
        assert!(message.contains("firmware 5.7") && message.contains("5.4.3"), "{refused}");
        assert!(refused["remedy"].as_str().unwrap().contains("ykman piv reset"), "{refused}");
        let other = command(&refused, "tufctl key generate");
        assert!(other.contains(&format!("--slot {slot}")) && other.contains(kind), "{other}");
        home.run("token unlock alice --pin-file pin").done();
        let other = other.replace("NEW", &format!("other-{name}"));
        home.run(&format!("{other} --management-key-file management")).done();
        home.refused(&format!("key show {name}"), 3, "KEY_NOT_FOUND");
    }
    // Newer firmware does.
    let Some(bed) = Bed::new(FIRMWARE_5_7) else { return };
    bed.generate("a", "--type ecdsa-p256");
    bed.home.run("key remove a --yes --management-key-file management").done();
}

#[test]
fn the_doctor_of_modules_sends_a_yubikey_to_where_it_is_told_of() {
    let Some(bed) = Bed::locked(FIRMWARE_5_7) else { return };
    let before = bed.verifies();
    for command in ["token doctor alice", "token doctor alice --pin-file pin"] {
        let refused = bed.home.refused(command, 5, "UNSUPPORTED");
        assert!(refused["message"].as_str().unwrap().contains("YubiKey"), "{refused}");
        let remedy = refused["remedy"].as_str().unwrap();
        assert!(!remedy.contains("kind pkcs11") && !remedy.contains("key type"), "{remedy}");
        assert!(remedy.contains("tufctl token list") && remedy.contains("tufctl key attest"), "{remedy}");
    }
    assert_eq!(bed.verifies(), before);
}

#[test]
fn a_key_that_a_role_does_not_take_is_refused_with_the_command_that_makes_one() {
    for (demand, made) in [
        ("touch = \"always\"\npin_policy = \"once\"\n", "--touch always --pin-policy once"),
        // What is not demanded is as it was with the other one.
        ("", "--touch cached --pin-policy always"),
    ] {
        let more = format!("[[role]]\nname = \"root\"\norigin = \"token\"\n{demand}");
        let Some(bed) = Bed::configured(FIRMWARE_5_7, |_| more) else { return };
        let home = &bed.home;
        home.run("token unlock alice --pin-file pin").done();
        home.unlock_file_store();
        home.keys(&["online"]);
        file_store::own(home, "ecdsa-p256.pem");
        let policies = if demand.is_empty() { made } else { "" };
        home.run(&format!(
            "key import brought ecdsa-p256.pem --token alice --management-key-file management {policies}"
        ))
        .done();
        let init = |root: &str| {
            format!(
                "repo init repo --name app --root {root} --root-threshold 1 --targets online --targets-threshold 1 \
                 --snapshot online --timestamp online"
            )
        };
        let refused = home.refused(&init("brought"), 3, "ORIGIN");
        let make = command(&refused, "tufctl key generate");
        assert!(make.contains(made) && make.contains("--type ecdsa-p256"), "{make}");
        // One of the file store is told of a token that can make such.
        let refused = home.refused(&init("online"), 3, "ORIGIN");
        assert!(command(&refused, "tufctl key generate").contains("--token alice"), "{refused}");
        home.run(&format!("{} --management-key-file management", make.replace("NEW", "made"))).done();
        home.run(&init("made")).done();
    }
}

#[test]
fn a_key_that_serves_a_role_already_is_replaced_as_the_refusal_says() {
    let Some(bed) = Bed::new(FIRMWARE_5_7) else { return };
    let home = &bed.home;
    file_store::own(home, "ecdsa-p256.pem");
    home.run("key import brought ecdsa-p256.pem --token alice --management-key-file management").done();
    bed.repository("brought");
    let roots = home.path("roots.pem");
    let table = bed.room.table("alice", SERIAL);
    let demand = "[[role]]\nname = \"root\"\norigin = \"token\"\n";
    reload(home, &bed.agent, &format!("attestation_roots = [{roots:?}]\n{table}{demand}"));
    home.run("token lock alice").done();
    // Locked, too: nobody unlocks a card for what is refused then.
    let refused = home.refused("sign repo --yes --key brought", 3, "ORIGIN");
    home.run("token unlock alice --pin-file pin").done();
    assert_eq!(home.refused("sign repo --yes", 3, "ORIGIN")["remedy"], refused["remedy"]);
    let make = command(&refused, "tufctl key generate").replace("NEW", "made");
    home.run(&format!("{make} --management-key-file management")).done();
    let replace = command(&refused, "tufctl root replace-key").replace("NEW", "made").replace("DIR", "repo");
    home.run(&format!("{replace} --yes")).done();
    let signed = home.run("sign repo --yes --json").done();
    assert_eq!(signed.json()["published"], true, "{signed}");
}
