//! Roles that demand keys of a token's own (FAULTS D9).

use std::fs;
use std::time::{Duration, Instant};

use softhsm::{SoftHsm, TokenFolder};
use tufagent_tests::{Agent, Home, PIN, need};

use crate::file_store;
use crate::key_types::home_with_softhsm;

const DEMAND: &str = "[[role]]\nname = \"root\"\nrepository = \"app\"\norigin = \"token\"\n";

/// Gives the agent another configuration, and waits until it is used.
pub(crate) fn reload(home: &Home, agent: &Agent, config: &str) {
    let before = agent.log().matches("configuration reloaded").count();
    home.config(config);
    agent.signal("HUP");
    let end = Instant::now() + Duration::from_secs(60);
    while agent.log().matches("configuration reloaded").count() == before {
        assert!(Instant::now() < end, "no reload:\n{}", agent.log());
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A key that was made elsewhere.
fn import(home: &Home, name: &str) {
    file_store::own(home, "ecdsa-p256.pem");
    home.run(&format!("key import {name} ecdsa-p256.pem --token hsm")).done();
}

fn init(home: &Home, dir: &str, root: &str) {
    home.run(&format!(
        "repo init {dir} --name {dir} --root {root} --targets online --snapshot online --timestamp online"
    ))
    .done();
}

fn start() -> Option<(Home, Agent, TokenFolder)> {
    let (home, agent, folder) = home_with_softhsm()?;
    home.unlock_file_store();
    home.key("online", "ed25519");
    home.key("filed", "ecdsa-p256");
    home.run("key generate made --token hsm --type ecdsa-p256").done();
    import(&home, "imported");
    Some((home, agent, folder))
}

#[test]
fn a_role_that_demands_it_is_signed_by_keys_that_the_token_made_and_by_no_other() {
    let Some((home, agent, folder)) = start() else { return };
    let table = Home::softhsm_table("hsm", "build", &folder);
    reload(&home, &agent, &(table.clone() + DEMAND));
    init(&home, "app", "made");
    assert_eq!(home.run("sign app --yes --json").done().json()["published"], true);
    // The key is given to root by a root, and signs it: both are refused, each by name.
    for (key, why) in [("imported", "CKA_LOCAL"), ("filed", "in a file")] {
        // Staged while nothing was demanded.
        reload(&home, &agent, &table);
        home.run(&format!("root add-key app root --key {key}")).done();
        reload(&home, &agent, &(table.clone() + DEMAND));
        let refused = home.refused("sign app --yes", 3, "ORIGIN");
        let message = refused["message"].as_str().unwrap();
        assert!(
            message.contains(key) && message.contains(why) && message.contains("root of app"),
            "{refused}"
        );
        assert_eq!((&refused["details"]["key"], &refused["details"]["role"]), (&key.into(), &"root".into()));
        let refused = home.refused("sign app --key made --yes", 3, "ORIGIN");
        assert!(refused["message"].as_str().unwrap().contains(key), "{refused}");
        home.run(&format!("root remove-key app root --key {key}")).done();
    }
    // The demand is of root of app alone.
    home.run("bump app targets").done();
    assert_eq!(home.run("sign app --yes --json").done().json()["published"], true);
    let journal = home.run("audit export").done().stdout;
    assert!(journal.contains("ORIGIN"), "the refusals are on record");
}

#[test]
fn what_a_role_of_one_chain_demands_a_key_of_it_meets_in_any_other() {
    let Some((home, agent, folder)) = start() else { return };
    let table = Home::softhsm_table("hsm", "build", &folder);
    reload(&home, &agent, &table);
    init(&home, "app", "filed");
    home.run("sign app --yes").done();
    reload(&home, &agent, &(table + DEMAND));
    init(&home, "other", "filed");
    let refused = home.refused("sign other --shared-key --yes", 3, "ORIGIN");
    let message = refused["message"].as_str().unwrap();
    assert!(message.contains("signs as root of other could be passed off as root of app"), "{refused}");
    home.run("root replace-key other root --old filed --new made --yes").done();
    home.run("sign other --shared-key --yes").done();
}

/// A module may know less of keys than was asked for: what comes of it is told at once, not by a refusal in a ceremony.
#[test]
fn a_new_key_that_is_not_all_that_was_asked_for_is_told_when_it_is_made() {
    let Some(softhsm) = need(SoftHsm::find_or_fetch()) else { return };
    let home = Home::new();
    let folder = softhsm.folder(&home.dir().join("softhsm")).unwrap();
    folder.init_token("build", "so-pin-4711", PIN).unwrap();
    let pin = home.secret("hsm-pin", PIN).display().to_string();
    home.config(&format!("{}pin = {{ file = {pin:?} }}\n", home.lying_table("hsm", "build", &folder)));
    let _agent = home.start();
    let desk = home.lying_desk("hsm");
    for (n, (lie, told)) in [
        ("", None),
        ("C_GenerateKeyPair 1 CKR_ATTRIBUTE_TYPE_INVALID", Some("CKA_COPYABLE")),
        ("attribute CKA_COPYABLE absent private", Some("CKA_COPYABLE")),
        ("attribute CKA_EXTRACTABLE true private", Some("CKA_EXTRACTABLE")),
    ]
    .into_iter()
    .enumerate()
    {
        desk.say(lie);
        let made = home.run(&format!("key generate k{n} --token hsm --type ecdsa-p256")).done();
        match told {
            Some(told) => {
                assert!(made.stderr.contains(told) && made.stderr.contains(&format!("k{n}")), "{lie}: {made}")
            }
            None => assert!(!made.stderr.contains("CKA_"), "{lie}: {made}"),
        }
    }
}

#[test]
fn a_key_that_is_not_of_its_token_is_given_to_no_role_that_demands_it() {
    let Some((home, agent, folder)) = start() else { return };
    let more = "[[role]]\nname = \"bin\"\norigin = \"token\"\n[[role]]\nname = \"one\"\norigin = \"token\"\n";
    reload(&home, &agent, &(Home::softhsm_table("hsm", "build", &folder) + DEMAND + more));
    let by = |name: &str, root: &str| {
        format!(
            "repo init {name} --name {name} --root {root} --targets made --snapshot online --timestamp online"
        )
    };
    let refused = home.refused(&by("app", "made,filed"), 3, "ORIGIN");
    assert_eq!((&refused["details"]["key"], &refused["details"]["role"]), (&"filed".into(), &"root".into()));
    home.run(&by("app", "made")).done();
    assert_eq!(home.run("sign app --yes --json").done().json()["published"], true);
    for command in [
        "root add-key app root --key imported",
        "root replace-key app root --old made --new imported",
        "delegation add app one --key filed --threshold 1 --paths a/*",
        "delegation add app bin --key imported --threshold 1 --succinct-bins 4",
    ] {
        home.refused(command, 3, "ORIGIN");
        assert!(!fs::exists(home.path("app/staged/root.json")).unwrap(), "{command}");
    }
    home.run("root add-key app targets --key imported").done();
    home.run("root remove-key app targets --key imported").done();
    home.run("delegation add app bin --key made --threshold 1 --succinct-bins 4").done();
    home.refused("delegation edit app bin --add-key filed", 3, "ORIGIN");
    assert_eq!(home.run("sign app --yes --json").done().json()["published"], true);
    // Of a locked token nobody knows yet.
    home.run("token lock hsm").done();
    let added = home.run("root add-key app root --key imported").done();
    assert!(added.stderr.contains("is asked"), "{added}");
    home.run("token unlock hsm --pin-file pin").done();
    home.refused("sign app --yes", 3, "ORIGIN");
}

#[test]
fn a_key_whose_token_is_locked_is_not_given_to_a_role_on_the_word_of_another() {
    let Some((home, agent, folder)) = start() else { return };
    home.key("other", "ed25519");
    let table = Home::softhsm_table("hsm", "build", &folder);
    let by = |name: &str, root: &str| {
        format!(
            "repo init {name} --name {name} --root {root} --targets made --snapshot online --timestamp online"
        )
    };
    home.run(&by("app", "other")).done();
    assert_eq!(home.run("sign app --yes --json").done().json()["published"], true);
    home.run("root add-key app targets --key imported").done();
    let demand = "[[role]]\nname = \"targets\"\nrepository = \"app\"\norigin = \"token\"\n";
    reload(&home, &agent, &(table.clone() + demand));
    home.run("token lock hsm").done();
    let refused = home.refused("sign app --key other --yes", 5, "TOKEN_LOCKED");
    assert_eq!(
        (&refused["details"]["key"], &refused["details"]["role"]),
        (&"imported".into(), &"targets".into())
    );
    assert!(refused["message"].as_str().unwrap().contains("cannot be asked now"), "{refused}");
    home.run("token unlock hsm --pin-file pin").done();
    home.refused("sign app --key other --yes", 3, "ORIGIN");
    // What root gave to targets before anything was demanded holds while its token is locked.
    reload(&home, &agent, &table);
    assert_eq!(home.run("sign app --key other,online --yes --json").done().json()["published"], true);
    reload(&home, &agent, &(table + demand));
    home.run("token lock hsm").done();
    home.run("bump app root").done();
    assert_eq!(
        home.run("sign app --role root --key other --no-publish --yes --json").done().json()["missing"],
        serde_json::json!([])
    );
    // A file names a key of ours as well as its name does.
    home.run("token unlock hsm --pin-file pin").done();
    fs::write(home.path("imported.json"), home.run("key export imported").done().stdout).unwrap();
    reload(
        &home,
        &agent,
        &(Home::softhsm_table("hsm", "build", &folder) + DEMAND.replace("app", "new").as_str()),
    );
    home.refused(&by("new", "./imported.json"), 3, "ORIGIN");
}

#[test]
fn keys_that_bins_were_given_before_are_refused_when_that_is_signed() {
    let Some((home, agent, folder)) = start() else { return };
    let table = Home::softhsm_table("hsm", "build", &folder);
    init(&home, "app", "made");
    assert_eq!(home.run("sign app --yes --json").done().json()["published"], true);
    home.run("delegation add app bin --key imported --threshold 1 --succinct-bins 4").done();
    for role in ["bin", "bin-3"] {
        let demand = format!("[[role]]\nname = \"{role}\"\norigin = \"token\"\n");
        reload(&home, &agent, &(table.clone() + &demand));
        let refused = home.refused("sign app --role targets --yes", 3, "ORIGIN");
        assert_eq!(refused["details"]["role"], role, "{refused}");
    }
}

#[test]
fn without_the_demand_an_imported_key_signs_and_with_it_no_more() {
    let Some((home, agent, folder)) = start() else { return };
    let table = Home::softhsm_table("hsm", "build", &folder);
    init(&home, "app", "imported");
    assert_eq!(home.run("sign app --yes --json").done().json()["published"], true);
    reload(&home, &agent, &(table.clone() + "[[role]]\nname = \"root\"\norigin = \"token\"\n"));
    home.run("bump app root").done();
    home.refused("sign app --yes", 3, "ORIGIN");
    // A configuration that demands what nobody knows is refused, and the demand stays.
    home.config(&(table.clone() + "[[role]]\nname = \"root\"\norigin = \"yubikey\"\n"));
    agent.signal("HUP");
    let end = Instant::now() + Duration::from_secs(60);
    while !agent.log().contains("the old one stays") {
        assert!(Instant::now() < end, "{}", agent.log());
        std::thread::sleep(Duration::from_millis(20));
    }
    home.refused("sign app --yes", 3, "ORIGIN");
    reload(&home, &agent, &table);
    assert_eq!(home.run("sign app --yes --json").done().json()["published"], true);
}

#[test]
fn a_token_that_says_a_key_could_be_extracted_or_copied_signs_for_no_such_role() {
    let Some((home, agent, folder)) = home_with_softhsm() else { return };
    drop(agent);
    home.config(&(home.lying_table("hsm", "build", &folder) + DEMAND));
    let desk = home.lying_desk("hsm");
    let _agent = home.start();
    home.run("token trust hsm --yes").done();
    home.run("token unlock hsm --pin-file pin").done();
    for name in ["made", "online"] {
        home.run(&format!("key generate {name} --token hsm --type ecdsa-p256")).done();
    }
    init(&home, "app", "made");
    for (lie, why) in [
        ("attribute CKA_EXTRACTABLE true private", "CKA_EXTRACTABLE"),
        ("attribute CKA_NEVER_EXTRACTABLE false private", "CKA_NEVER_EXTRACTABLE"),
        ("attribute CKA_LOCAL absent private", "CKA_LOCAL"),
        ("attribute CKA_SENSITIVE false private", "CKA_SENSITIVE"),
        ("attribute CKA_COPYABLE true private", "CKA_COPYABLE"),
    ] {
        desk.say(lie);
        let refused = home.refused("sign app --yes", 3, "ORIGIN");
        assert!(refused["message"].as_str().unwrap().contains(why), "{lie}: {refused}");
    }
    assert!(!fs::exists(home.path("app/metadata/1.root.json")).unwrap());
    desk.say("pass");
    assert_eq!(home.run("sign app --yes --json").done().json()["published"], true);
}

#[test]
fn a_key_of_two_targets_roles_meets_what_either_demands() {
    let Some((home, agent, folder)) = start() else { return };
    let table = Home::softhsm_table("hsm", "build", &folder);
    reload(&home, &agent, &table);
    init(&home, "app", "made");
    home.run("delegation add app team --key online --threshold 1 --paths t/*").done();
    home.run("delegation add app own --key filed --threshold 1 --paths o/*").done();
    home.run("sign app --yes").done();
    // What the key signs as team could be passed off as targets.
    reload(&home, &agent, &(table + &DEMAND.replace("\"root\"", "\"targets\"")));
    home.run("bump app team").done();
    let refused = home.refused("sign app --yes", 3, "ORIGIN");
    assert_eq!(
        (&refused["details"]["key"], &refused["details"]["role"]),
        (&"online".into(), &"targets".into())
    );
    assert!(refused["message"].as_str().unwrap().contains("passed off as targets"), "{refused}");
    fs::remove_dir_all(home.path("app/staged")).unwrap();
    // A key of its own is nobody else's business.
    home.run("bump app own").done();
    assert_eq!(home.run("sign app --yes --json").done().json()["published"], true);
}
