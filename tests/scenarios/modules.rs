//! Real modules behind the real agent: each comes up by its `[[token]]` table alone, and many at once.

use std::fs;
use std::time::{Duration, Instant};

use serde_json::Value;
use softhsm::{Kryoptic, Nss, P11Kit, Ready, Skipped, SoftHsm, Tpm2, third_party_dir};
use tufagent_tests::{Agent, Home, PIN, need};

use crate::confinement::landlock;
use crate::judges::{Judges, Reads};
use crate::terminal::talk;

const SO_PIN: &str = "so-pin-4711";

fn softhsm(home: &Home) -> Result<Ready, Skipped> {
    let folder = SoftHsm::find_or_fetch()?.folder(&home.dir().join("softhsm"))?;
    // Others lie beside it, and one slot is free: none of them is in the way.
    folder.init_token("another", SO_PIN, PIN)?;
    Ok(folder.ready(&folder.init_token("build", SO_PIN, PIN)?))
}

fn p11_kit(home: &Home) -> Result<Ready, Skipped> {
    P11Kit::find_or_fetch_in(&third_party_dir()?)?.token(&home.dir().join("p11"), "far away", SO_PIN, PIN)
}

fn nss(home: &Home) -> Result<Ready, Skipped> {
    Nss::find_or_fetch_in(&third_party_dir()?)?.token(&home.dir().join("nss"), "release keys", PIN)
}

fn tpm2(home: &Home) -> Result<Ready, Skipped> {
    Tpm2::find_or_fetch_in(&third_party_dir()?)?.token(&home.dir().join("tpm2"), "chip", SO_PIN, PIN)
}

/// A token that lives as long as this, and its table.
struct Token {
    name: &'static str,
    table: String,
    _ready: Ready,
}

impl Token {
    fn new(name: &'static str, ready: Ready) -> Self {
        Self { name, table: ready.table(name), _ready: ready }
    }

    fn by(name: &'static str, attribute: &str, value: &str, ready: Ready) -> Self {
        Self { name, table: ready.table_by(name, attribute, value), _ready: ready }
    }
}

/// An agent with these tokens, all unlocked.
fn agent_with(home: &Home, tokens: &[Token]) -> Agent {
    home.config(&tokens.iter().map(|token| token.table.as_str()).collect::<String>());
    let agent = home.start();
    home.secret("pin", PIN);
    for token in tokens {
        home.run(&format!("token unlock {} --pin-file pin", token.name)).done();
        let shown = listed(home, token.name);
        assert_eq!(shown["confined"], landlock().is_ok(), "{shown}");
    }
    agent
}

fn listed(home: &Home, name: &str) -> Value {
    let list = home.run("token list --json").done().json();
    list["tokens"].as_array().unwrap().iter().find(|it| it["name"] == name).unwrap().clone()
}

fn generate(home: &Home, key: &str, token: &str, kind: &str) {
    home.run(&format!("key generate {key} --token {token} --type {kind}")).done();
}

/// A repository signed by keys of one token alone.
#[track_caller]
fn a_token_signs(home: &Home, token: &Token, kinds: [&str; 2], reads: Reads) {
    generate(home, "root", token.name, kinds[0]);
    generate(home, "online", token.name, kinds[1]);
    home.run("repo init repo --name app --root root --targets online --snapshot online --timestamp online")
        .done();
    home.write("app.txt", "hello\n");
    home.run("target add repo app.txt").done();
    assert_eq!(home.run("sign repo --yes --json").done().json()["published"], true);
    home.run("verify repo --root repo/metadata/1.root.json").done();
    let judges = Judges::new(home, "remembering", reads);
    judges.accept(&home.published("repo"), &["app.txt"]);
    // The login, the keys and their names are there after a lock as before.
    home.run(&format!("token lock {}", token.name)).done();
    home.run("bump repo timestamp").done();
    home.refused("sign repo --yes", 5, "TOKEN_LOCKED");
    let pin = if listed(home, token.name)["pin_source"] == "none" { "" } else { "--pin-file pin" };
    home.run(&format!("token unlock {} {pin}", token.name)).done();
    assert_eq!(home.run("sign repo --yes --json").done().json()["published"], true);
    judges.accept(&home.published("repo"), &["app.txt"]);
}

#[test]
fn a_tpm_signs_what_all_clients_accept() {
    let home = Home::new();
    let Some(ready) = need(tpm2(&home)) else { return };
    // Every token of this module has the same serial; the one that is not initialised is none.
    let tokens = [Token::by("chip", "serial", "0000000000000000", ready)];
    let _agent = agent_with(&home, &tokens);
    assert_eq!(listed(&home, "chip")["label"], "chip");
    a_token_signs(&home, &tokens[0], ["ecdsa-p256"; 2], Reads::All);
    let refused = home.refused("key generate no --token chip --type ed25519", 5, "UNSUPPORTED");
    assert!(refused["remedy"].as_str().unwrap().contains("another key type"), "{refused}");
}

#[test]
fn nss_signs_what_all_clients_accept() {
    let home = Home::new();
    let Some(ready) = need(nss(&home)) else { return };
    let tokens =
        [Token::by("nss", "uri", "pkcs11:token=release%20keys;manufacturer=Mozilla%20Foundation", ready)];
    let _agent = agent_with(&home, &tokens);
    a_token_signs(&home, &tokens[0], ["rsa-3072", "ecdsa-p256"], Reads::All);
}

#[test]
fn a_token_that_wants_no_login_is_used_without_one_where_the_configuration_says_so() {
    let home = Home::new();
    let Some(nss) = need(third_party_dir().and_then(|dir| Nss::find_or_fetch_in(&dir))) else { return };
    let Some(ready) = need(nss.token(&home.dir().join("nss"), "open", "")) else { return };
    let token = Token::new("open", ready);
    home.config(&token.table);
    let agent = home.start();
    home.secret("pin", PIN);
    // No PIN is right, and what helps is told.
    let refused = home.refused("token unlock open --pin-file pin", 5, "PIN_INCORRECT");
    assert!(refused["remedy"].as_str().unwrap().contains("pin = \"none\""), "{refused}");
    assert!(listed(&home, "open")["problem"].as_str().unwrap().contains("pin = \"none\""));
    drop(agent);
    home.config(&format!("{}pin = \"none\"\n", token.table));
    let _agent = home.start();
    a_token_signs(&home, &token, ["ecdsa-p256", "rsa-3072"], Reads::All);
    let shown = listed(&home, "open");
    assert_eq!((&shown["state"], &shown["pin_source"]), (&"unlocked".into(), &"none".into()), "{shown}");
    // Nobody's PIN is presented to it.
    let refused = home.refused("token unlock open --pin-file pin", 2, "USAGE");
    assert_eq!(refused["remedy"], "tufctl token unlock open");
    let measured = home.run("token doctor open --json").done().json();
    assert_eq!(measured["uses"]["unattended"]["verdict"], "yes", "{measured}");
}

#[test]
fn a_token_that_wants_its_pin_is_not_used_without_one() {
    let home = Home::new();
    let Some(ready) = need(softhsm(&home)) else { return };
    let token = Token::new("hsm", ready);
    home.config(&format!("{}pin = \"none\"\n", token.table));
    let _agent = home.start();
    for command in ["token unlock hsm", "key generate k --token hsm --type ecdsa-p256"] {
        let refused = home.refused(command, 5, "TOKEN_FAILED");
        assert!(refused["remedy"].as_str().unwrap().contains("where its PIN comes from"), "{refused}");
    }
    let shown = listed(&home, "hsm");
    assert_eq!(shown["state"], "locked");
    assert!(shown["problem"].as_str().unwrap().contains("CKF_LOGIN_REQUIRED"), "{shown}");
}

#[test]
fn a_token_behind_p11_kits_socket_signs_what_all_clients_accept() {
    let home = Home::new();
    let Some(ready) = need(p11_kit(&home)) else { return };
    let tokens = [Token::by("far", "uri", "pkcs11:token=far%20away;model=SoftHSM%20v2", ready)];
    let _agent = agent_with(&home, &tokens);
    a_token_signs(&home, &tokens[0], ["ecdsa-p256", "rsa-3072"], Reads::All);
}

#[test]
fn keys_of_four_modules_reach_one_threshold_and_a_module_that_goes_leaves_the_others() {
    let home = Home::new();
    let (Some(hsm), Some(far), Some(nss), Some(chip)) =
        (need(softhsm(&home)), need(p11_kit(&home)), need(nss(&home)), need(tpm2(&home)))
    else {
        return;
    };
    let mut tokens = vec![
        Token::by("hsm", "uri", "pkcs11:token=build;manufacturer=SoftHSM%20project", hsm),
        Token::new("nss", nss),
        Token::new("chip", chip),
        Token::new("far", far),
    ];
    let agent = agent_with(&home, &tokens);
    for (token, kind) in
        [("hsm", "ed25519"), ("nss", "rsa-3072"), ("chip", "ecdsa-p256"), ("far", "ecdsa-p256")]
    {
        generate(&home, &format!("root-{token}"), token, kind);
    }
    generate(&home, "online", "hsm", "ecdsa-p256");
    home.run(
        "repo init repo --name app --root root-hsm,root-nss,root-chip,root-far --root-threshold 4 \
         --targets online --snapshot online --timestamp online",
    )
    .done();
    home.write("app.txt", "hello\n");
    home.run("target add repo app.txt").done();
    assert_eq!(home.run("sign repo --yes --json").done().json()["published"], true);
    let judges = Judges::new(&home, "remembering", Reads::All);
    judges.accept(&home.published("repo"), &["app.txt"]);
    the_far_one_goes(&home, &agent, &mut tokens);
    // What needs no key of it is signed on.
    home.run("bump repo timestamp").done();
    assert_eq!(home.run("sign repo --yes --json").done().json()["published"], true);
    judges.accept(&home.published("repo"), &["app.txt"]);
}

/// The server of one module ends, and with it what its client holds.
fn the_far_one_goes(home: &Home, agent: &Agent, tokens: &mut Vec<Token>) {
    drop(tokens.pop());
    fs::remove_file(home.dir().join("p11/p11-kit.sock")).unwrap();
    let helper = listed(home, "far")["helper_pid"].as_u64().unwrap();
    assert!(
        std::process::Command::new("kill").args(["-KILL", &helper.to_string()]).status().unwrap().success()
    );
    let end = Instant::now() + Duration::from_secs(60);
    while ["unlocked", "locked"].contains(&listed(home, "far")["state"].as_str().unwrap()) {
        assert!(Instant::now() < end, "it stays:\n{}", agent.log());
        std::thread::sleep(Duration::from_millis(20));
    }
    let gone = listed(home, "far");
    assert!(["absent", "failed"].contains(&gone["state"].as_str().unwrap()), "{gone}");
    assert!(!gone["problem"].as_str().unwrap().is_empty(), "{gone}");
    for token in tokens {
        let there = listed(home, token.name);
        assert_eq!(there["state"], "unlocked", "{there}");
        assert!(there["problem"].is_null(), "{there}");
    }
    let keys = home.run("key list --json").done().json();
    let names: Vec<&str> =
        keys["keys"].as_array().unwrap().iter().map(|key| key["name"].as_str().unwrap()).collect();
    for name in ["root-hsm", "root-nss", "root-chip", "online"] {
        assert!(names.contains(&name), "{names:?}");
    }
}

/// A token that really locks, behind the module that traces what reaches it.
#[track_caller]
fn stops_at_three(home: &Home, ready: &Ready) -> Agent {
    home.config(&home.lie_before("real", &ready.module, &ready.table("real")));
    home.secret("pin", PIN);
    home.secret("wrong", "wrong-pin-77ac");
    let logins = || home.lying_desk("real").trace().logins();
    let agent = home.start();
    home.run("token unlock real --pin-file pin").done();
    home.run("token lock real").done();
    for wrong in 1..=3 {
        let refused = home.refused("token unlock real --pin-file wrong", 5, "PIN_INCORRECT");
        assert_eq!(
            (refused["details"]["wrong"].as_u64(), logins()),
            (Some(u64::try_from(wrong).unwrap()), 1 + wrong),
            "{refused}"
        );
    }
    for _ in 0..2 {
        home.refused("token unlock real --pin-file pin", 5, "PIN_BLOCKED");
    }
    // A new agent has not forgotten.
    assert!(agent.stop().success());
    let agent = home.start();
    home.refused("token unlock real --pin-file pin", 5, "PIN_BLOCKED");
    assert_eq!(logins(), 4);
    agent
}

#[test]
fn a_tpm_gets_one_attempt_an_entry_and_none_after_three_wrong_ones() {
    let home = Home::new();
    let Some(ready) = need(tpm2(&home)) else { return };
    let _agent = stops_at_three(&home, &ready);
}

#[test]
fn kryoptic_gets_one_attempt_an_entry_and_none_after_three_wrong_ones() {
    let home = Home::new();
    let Some(ready) = need_kryoptic(&home) else { return };
    let _agent = stops_at_three(&home, &ready);
    // It would have borne six more: the right PIN is taken once a person says so.
    let command = "token unlock real --pin-file pin --last-try";
    let Some((code, screen)) = talk(&home, command, &[("[y/N] ", "y\n")]) else { return };
    assert_eq!((code, home.lying_desk("real").trace().logins()), (0, 5), "{screen}");
}

#[test]
fn kryoptic_signs_what_all_clients_accept() {
    let home = Home::new();
    let Some(ready) = need_kryoptic(&home) else { return };
    let tokens = [Token::new("kry", ready)];
    let _agent = agent_with(&home, &tokens);
    a_token_signs(&home, &tokens[0], ["ed25519", "ecdsa-p256"], Reads::All);
}

/// Built when asked for alone.
fn need_kryoptic(home: &Home) -> Option<Ready> {
    let made = third_party_dir().and_then(|dir| Kryoptic::find_in(&dir));
    let made = made.and_then(|it| it.token(&home.dir().join("kryoptic"), "kry", SO_PIN, PIN));
    match made {
        Err(skipped) if std::env::var_os("TUFAGENT_KRYOPTIC").is_none() => {
            println!("SKIPPED: {skipped}");
            None
        }
        made => Some(made.unwrap()),
    }
}
