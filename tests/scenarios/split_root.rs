//! A root of three kinds: a key split among people, one on a YubiKey, one in SoftHSM; any two sign it. The people change, the
//! key does not, and stock clients follow.

use serde_json::{Value, json};
use softhsm::SoftHsm;
use tufagent_tests::cards::{Card, CardRoom, FACTORY_PIN, FIRMWARE_5_7};
use tufagent_tests::{Agent, Home, PIN, need};

use crate::judges::{Judges, Reads};
use crate::yubikeys::private;

const SERIAL: u32 = 10_000_021;
const FIRST: [&str; 3] = ["ann", "ben", "cy"];
const NEXT: [&str; 3] = ["dee", "eve", "fay"];

struct Hall {
    home: Home,
    card: Card,
    _room: CardRoom,
    _agent: Agent,
}

impl Hall {
    fn new() -> Option<Self> {
        let softhsm = need(SoftHsm::find_or_fetch())?;
        let card = Card::new(SERIAL, FIRMWARE_5_7);
        let room = need(CardRoom::with(&[&card]))?;
        let home = Home::new();
        let folder = softhsm.folder(&home.dir().join("softhsm")).unwrap();
        folder.init_token("build", "so-pin-4711", PIN).unwrap();
        home.config(
            &(room.table("alice", SERIAL)
                + &Home::softhsm_table("hsm", "build", &folder)
                + "[[token]]\nname = \"people\"\nkind = \"shares\"\n"),
        );
        let agent = home.start();
        private(&home, "card-pin", FACTORY_PIN);
        private(&home, "management", "default");
        home.secret("hsm-pin", PIN);
        home.run("token unlock alice --pin-file card-pin").done();
        home.run("token unlock hsm --pin-file hsm-pin").done();
        home.unlock_file_store();
        home.keys(&["online"]);
        for name in FIRST.into_iter().chain(NEXT) {
            home.secret(&format!("{name}.pass"), &format!("c4n4ry of {name}"));
        }
        Some(Self { home, card, _room: room, _agent: agent })
    }

    fn confirm(&self, set: &str, name: &str) -> Value {
        let share = format!("share confirm {set}/{name}.share --manifest {set}/set.json");
        self.home.run(&format!("{share} --passphrase-file {name}.pass --json")).done().json()
    }
}

/// Brings these people's shares of a set together to sign the root.
fn collect(set: &str, people: &[&str]) -> String {
    format!("share collect repo --role root --manifest {set}/set.json --yes{}", shares(set, people))
}

fn shares(set: &str, people: &[&str]) -> String {
    let one = |name: &&str| format!(" --share {set}/{name}.share --passphrase-file {name}={name}.pass");
    people.iter().map(one).collect()
}

fn custodians(people: &[&str]) -> String {
    people.iter().map(|name| format!(" --custodian {name}=passphrase-file:{name}.pass")).collect()
}

#[test]
fn a_root_of_people_a_yubikey_and_an_hsm_is_signed_by_any_two_and_goes_over_to_other_people() {
    let Some(hall) = Hall::new() else { return };
    let home = &hall.home;
    home.run(
        "key generate root-c --token alice --type ecdsa-p256 --touch never --management-key-file management",
    )
    .done();
    home.run("key generate root-h --token hsm --type ecdsa-p256").done();
    home.run(&format!(
        "key generate root-s --token people --type ed25519 --threshold 2 --out set{}",
        custodians(&FIRST)
    ))
    .done();
    let init = "repo init repo --name app --root root-c,root-h,root-s --root-threshold 2 --targets online \
                --snapshot online --timestamp online";
    hall.confirm("set", "ann");
    hall.confirm("set", "ben");
    home.refused(init, 3, "SHARE_UNPROVEN");
    hall.confirm("set", "cy");
    home.run(init).done();
    home.write("app.txt", "hello\n");
    home.run("target add repo app.txt").done();

    // The card and two people.
    let half = home.run("sign repo --yes --key root-c,online --json").exits(4).json();
    assert_eq!(half["missing"][0]["role"], "root", "{half}");
    let few = home.run(&(collect("set", &["cy"]) + " --json")).exits(4).json();
    assert_eq!((&few["have"], &few["need"], &few["missing"]), (&json!(1), &json!(2), &json!(["ann", "ben"])));
    let signed = home.run(&(collect("set", &["cy", "ann"]) + " --json")).done().json();
    assert_eq!(signed["signed"][0]["key"], "root-s", "{signed}");
    home.run("sign repo --yes").done();
    let remembering = Judges::new(home, "remembering", Reads::All);
    remembering.accept(&home.published("repo"), &["app.txt"]);

    // The HSM and two other people, while the card is away.
    hall.card.remove();
    home.run("bump repo root").done();
    home.run("sign repo --yes --key root-h,online").exits(4);
    home.run(&collect("set", &["ben", "ann"])).done();
    home.run("sign repo --yes").done();
    remembering.accept(&home.published("repo"), &["app.txt"]);
    let roots = home.run("repo show repo --json").done().json();
    assert_eq!(roots["roles"][0]["version"], 2, "{roots}");

    // Other people get the same key; the old set works until every one of them has proven their share.
    home.run(&format!(
        "share resplit root-s --phase prove --manifest set/set.json --threshold 2 --out next --yes{}{}",
        shares("set", &["cy", "ben"]),
        custodians(&NEXT)
    ))
    .done();
    hall.confirm("next", "dee");
    hall.confirm("next", "eve");
    assert_ne!(home.run("share resplit root-s --phase commit --yes").code, 0);
    home.run("bump repo root").done();
    home.run(&collect("set", &["cy", "ann"])).exits(4);
    hall.confirm("next", "fay");
    home.run("share resplit root-s --phase commit --yes").done();
    home.run("sign repo --yes").done();
    remembering.accept(&home.published("repo"), &["app.txt"]);

    home.run("bump repo root").done();
    home.refused(&collect("set", &["cy", "ann"]), 5, "SHARE_INVALID");
    home.run(&collect("next", &["dee", "fay"])).exits(4);
    home.run("sign repo --yes").done();
    remembering.accept(&home.published("repo"), &["app.txt"]);
    Judges::new(home, "fresh", Reads::All).accept(&home.published("repo"), &["app.txt"]);
    let roots = home.run("repo show repo --json").done().json();
    assert_eq!(roots["roles"][0]["version"], 4, "{roots}");
}
