//! What the maker of a YubiKey vouches for: shown to people, and demanded by roles.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use serde_json::Value;
use tufagent_tests::cards::{Card, CardRoom, FACTORY_PIN, FIRMWARE_5_4, FIRMWARE_5_7, Root};
use tufagent_tests::{Agent, Home, need};

use crate::file_store;
use crate::origin::reload;

const SERIAL: u32 = 10_000_007;

/// A home with a card as its token `yk`, unlocked, and the factory's management key in the file `management`.
struct Desk {
    card: Card,
    _room: CardRoom,
    home: Home,
    agent: Agent,
    table: String,
}

impl Desk {
    fn new(firmware: [u8; 3]) -> Option<Self> {
        let card = Card::new(SERIAL, firmware);
        let room = need(CardRoom::with(&[&card]))?;
        let home = Home::new();
        private(&home, "management", "default");
        private(&home, "pin", FACTORY_PIN);
        let roots = home.write("roots.pem", Root::shared().certificate_pem());
        let table =
            format!("attestation_roots = [{:?}]\n{}", roots.display().to_string(), room.table("yk", SERIAL));
        home.config(&table);
        let agent = home.start();
        home.unlock_file_store();
        home.run("token unlock yk --pin-file pin").done();
        Some(Self { card, _room: room, home, agent, table })
    }

    fn make(&self, name: &str, slot: &str, more: &str) {
        let command = format!(
            "key generate {name} --token yk --type ecdsa-p256 --slot {slot} --management-key-file management {more}"
        );
        self.home.run(&command).done();
    }

    fn lie(&self, lie: &str) {
        self.card.order(&format!("attest {lie}"), Root::shared()).unwrap();
    }

    fn reload(&self, more: &str) {
        reload(&self.home, &self.agent, &format!("{}{more}", self.table));
    }

    fn refused(&self, command: &str) -> Value {
        self.home.refused(command, 6, "VERIFICATION")
    }
}

/// A file of one's own. What the factory's PIN is made of may well stand in a log, so it is no canary.
fn private(home: &Home, name: &str, content: &str) {
    let path = home.write(name, content);
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}

#[test]
fn attest_shows_what_the_maker_vouches_for_and_refuses_what_it_does_not() {
    let Some(desk) = Desk::new(FIRMWARE_5_7) else { return };
    let home = &desk.home;
    desk.make("made", "9c", "--touch cached --pin-policy always");
    let shown = home.run("key attest made --json").done().json();
    assert_eq!(
        (&shown["serial"], &shown["firmware"], &shown["slot"], &shown["pin_policy"], &shown["touch_policy"]),
        (&SERIAL.into(), &"5.7.1".into(), &"9c".into(), &"always".into(), &"cached".into()),
        "{shown}"
    );
    assert_eq!(shown["made_on_device"], true, "{shown}");
    assert!(shown["root"].as_str().unwrap().starts_with("Virtual PIV Root CA "), "{shown}");
    assert_eq!((&shown["warnings"], &shown["token"]), (&serde_json::json!([]), &"yk".into()));
    let certificates = shown["certificates"].as_array().unwrap();
    assert!(certificates.iter().all(|pem| pem.as_str().unwrap().starts_with("-----BEGIN CERTIFICATE-----")));
    assert_eq!(certificates.len(), 2);
    assert!(home.run("key attest made").done().stdout.contains("was made on YubiKey 10000007"));
    for (lie, why) in [
        ("serial 4711", "wrong-serial"),
        ("key", "wrong-key"),
        ("signer", "broken-signature"),
        ("bare", "extension"),
        ("policy 9 1", "extension"),
    ] {
        desk.lie(lie);
        let refused = desk.refused("key attest made");
        assert_eq!(
            (&refused["details"]["why"], &refused["details"]["key"]),
            (&why.into(), &"made".into()),
            "{lie}"
        );
    }
    desk.lie("expired");
    home.run("key attest made").done();
    desk.lie("truth");
    // A key that was brought there.
    home.run("key generate soft --token file --type ecdsa-p256").done();
    let refused = home.refused("key attest soft", 5, "UNSUPPORTED");
    assert!(refused["message"].as_str().unwrap().contains("on no YubiKey"), "{refused}");
    file_store::own(home, "ecdsa-p256.pem");
    home.run("key import brought ecdsa-p256.pem --token yk --slot 9a --management-key-file management")
        .done();
    assert_eq!(desk.refused("key attest brought")["details"]["why"], "imported");
    // The root is Yubico's alone again.
    let (_, without) = desk.table.split_once('\n').unwrap();
    reload(home, &desk.agent, without);
    let refused = desk.refused("key attest made");
    assert_eq!(refused["details"]["why"], "unknown-root", "{refused}");
    assert!(refused["remedy"].as_str().unwrap().contains("attestation_roots"), "{refused}");
}

#[test]
fn old_firmware_is_told_with_the_advisory_when_a_key_is_made_and_when_it_is_attested() {
    let Some(desk) = Desk::new(FIRMWARE_5_4) else { return };
    let made = desk
        .home
        .run("key generate made --token yk --type ecdsa-p256 --management-key-file management")
        .done();
    assert!(made.stderr.contains("YSA-2024-03"), "{made}");
    let shown = desk.home.run("key attest made --json").done();
    assert!(shown.json()["warnings"][0].as_str().unwrap().contains("YSA-2024-03"), "{shown}");
}

#[test]
fn a_role_demands_the_makers_word_and_the_policies() {
    let Some(desk) = Desk::new(FIRMWARE_5_7) else { return };
    let home = &desk.home;
    desk.make("lax", "9c", "");
    desk.make("strict", "9a", "--touch always");
    home.run("key generate online --token file --type ecdsa-p256").done();
    desk.reload("[[role]]\nname = \"root\"\norigin = \"token\"\ntouch = \"always\"\npin_policy = \"once\"\n");
    let init = |root: &str| {
        format!(
            "repo init app --name app --root {root} --targets online --snapshot online --timestamp online"
        )
    };
    let refused = home.refused(&init("lax"), 3, "ORIGIN");
    assert!(refused["message"].as_str().unwrap().contains("touch policy is \"never\""), "{refused}");
    let refused = home.refused(&init("online"), 3, "ORIGIN");
    assert_eq!(refused["details"]["key"], "online");
    desk.lie("serial 4711");
    let refused = home.refused(&init("strict"), 3, "ORIGIN");
    assert!(refused["message"].as_str().unwrap().contains("4711"), "{refused}");
    desk.lie("truth");
    home.run(&init("strict")).done();
    // Asked again for the signature.
    desk.lie("key");
    home.refused("sign app --yes", 3, "ORIGIN");
    desk.lie("truth");
    desk.card.touch_always(true);
    assert_eq!(home.run("sign app --yes --json").done().json()["published"], true);
}
