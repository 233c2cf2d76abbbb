//! A root that is split among three people: handed out, proven, brought together, rehearsed, handed to others.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use tufagent_tests::{Agent, Home, need, oracle};

use crate::terminal::talk;

pub(crate) const TOKEN: &str = "[[token]]\nname = \"shares\"\nkind = \"shares\"\n";

/// What python reads: age files by pyrage, shares by SLIP-0039's reference, sheets and their codes.
pub(crate) fn python(home: &Home, arguments: &[&str]) -> Option<Value> {
    let outcome = need(oracle::run_python("custodians.py", arguments, &home.path("")))?;
    assert_eq!(outcome.code, 0, "{outcome}");
    Some(serde_json::from_str(&outcome.stdout).unwrap())
}

pub(crate) fn with_token() -> (Home, Agent) {
    let home = Home::new();
    home.config(TOKEN);
    let agent = home.start();
    home.unlock_file_store();
    (home, agent)
}

/// Three age identities, `NAME.key`, and their recipients as flags.
pub(crate) fn identities(home: &Home, names: &[&str]) -> Option<String> {
    let made = python(home, &["identities", &names.join(",")])?;
    let flags = names.iter().map(|name| {
        home.secret(&format!("{name}.key"), made[name]["identity"].as_str().unwrap());
        format!("--custodian {name}={}", made[name]["recipient"].as_str().unwrap())
    });
    Some(flags.collect::<Vec<_>>().join(" "))
}

/// `root-s`, 2 of ann, ben and cy, in `set/`; every share is proven.
pub(crate) fn split_root(home: &Home, kind: &str) -> Option<()> {
    let flags = identities(home, &["ann", "ben", "cy"])?;
    home.run(&format!(
        "key generate root-s --token shares --type {kind} --threshold 2 {flags} --out set --json"
    ))
    .done();
    for name in ["ann", "ben", "cy"] {
        home.run(&confirm("set", name)).done();
    }
    Some(())
}

pub(crate) fn confirm(folder: &str, name: &str) -> String {
    format!("share confirm {folder}/{name}.share --manifest {folder}/set.json --identity {name}.key")
}

pub(crate) fn collect(names: &[&str]) -> String {
    let shares = names.iter().map(|name| format!(" --share set/{name}.share --identity {name}.key"));
    format!("share collect repo --role root --manifest set/set.json --yes{}", shares.collect::<String>())
}

pub(crate) fn init(home: &Home) {
    home.keys(&["online"]);
    home.run("repo init repo --name app --root root-s --targets online --snapshot online --timestamp online")
        .done();
}

#[test]
fn a_root_is_split_by_encrypted_files_proven_and_brought_together_for_one_signature() {
    for kind in ["ed25519", "ecdsa-p256"] {
        let (home, _agent) = with_token();
        let Some(flags) = identities(&home, &["ann", "ben", "cy"]) else { return };
        let generate = format!("key generate root-s --token shares --type {kind} --threshold 2 {flags}");
        let made = home.run(&format!("{generate} --out set --json")).done().json();
        assert_eq!((&made["type"], &made["token"]), (&kind.into(), &"shares".into()));
        for file in ["set.json", "ann.share", "ben.share", "cy.share"] {
            let mode = fs::metadata(home.path("set").join(file)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{file}");
        }
        // No role before everybody has proven theirs.
        home.keys(&["online"]);
        let init =
            "repo init repo --name app --root root-s --targets online --snapshot online --timestamp online";
        home.refused(init, 3, "SHARE_UNPROVEN");
        home.refused(&confirm("set", "ann").replace("ann.key", "ben.key"), 5, "SHARE_INVALID");
        for (name, state) in [("ann", "proving"), ("ben", "proving"), ("cy", "alive")] {
            let proven = home.run(&format!("{} --json", confirm("set", name))).done().json();
            assert_eq!((&proven["custodian"], &proven["state"]), (&name.into(), &state.into()));
        }
        home.run(init).done();
        // Not without its custodians, and it is said who they are.
        let waits = home.run("sign repo --yes --json").exits(4).json();
        let root = waits["missing"].as_array().unwrap().iter().find(|it| it["role"] == "root").unwrap();
        assert_eq!((&root["how"], &root["keys"][0]["token"]), (&"share collect".into(), &"shares".into()));
        let short = home.run(&format!("{} --json", collect(&["ann"]))).exits(4).json();
        assert_eq!((&short["have"], &short["need"]), (&1.into(), &2.into()));
        assert_eq!(short["missing"], serde_json::json!(["ben", "cy"]));
        let signed = home.run(&format!("{} --json", collect(&["ann", "cy"]))).done().json();
        assert_eq!((&signed["published"], &signed["signed"][0]["key"]), (&true.into(), &"root-s".into()));
        assert_eq!(signed["invalid"], serde_json::json!([]));
        home.run("verify repo --root repo/metadata/1.root.json").done();
        // Any SLIP-0039 tool and any age tool have the key too.
        let key =
            python(&home, &["recover", kind, "set/ann.share", "ann.key", "set/cy.share", "cy.key"]).unwrap();
        assert_eq!(key["public"], made["public"]);
        // And reads the manifest as the man page describes it.
        let pairs = ["set/ann.share", "ann.key", "set/cy.share", "cy.key"];
        let read = python(&home, &[&["manifest", "set/set.json"][..], &pairs].concat()).unwrap();
        assert_eq!(
            (&read["owners"], &read["sha256"]),
            (&serde_json::json!(["ann", "cy"]), &made["set"]["sha256"])
        );
        let page = include_str!("../../cli/tufctl-shares.7");
        for member in read["members"].as_array().unwrap() {
            let member = member.as_str().unwrap();
            assert!(
                page.contains(&format!("{member} ")) || page.contains(&format!("{member}\n")),
                "{member}"
            );
        }
    }
}

#[test]
fn wrong_shares_are_named_and_cost_nothing() {
    let (home, _agent) = with_token();
    let Some(()) = split_root(&home, "ed25519") else { return };
    init(&home);
    let forged = python(&home, &["forge", "set/ben.share", "ben.key"]).unwrap();
    home.secret("forged.txt", forged["words"].as_str().unwrap());
    let with_forged = format!("{} --share forged.txt", collect(&["ann"]));
    let error = home.refused(&with_forged, 5, "SHARE_INVALID");
    assert_eq!(error["details"]["custodian"], "ben", "{error}");
    let unopened = collect(&["ann", "cy"]).replace(" --identity cy.key", "");
    home.refused(&unopened, 5, "SHARE_INVALID");
    let signed = home.run(&format!("{} --share forged.txt --json", collect(&["ann", "cy"])));
    assert!([0, 4].contains(&signed.code), "{signed}");
    let signed = signed.json();
    assert_eq!(signed["signed"][0]["role"], "root");
    assert_eq!(
        (signed["invalid"].as_array().unwrap().len(), &signed["invalid"][0]["custodian"]),
        (1, &"ben".into())
    );
}

#[test]
fn a_sheet_has_the_words_their_code_and_the_one_command_that_checks_it() {
    let (home, _agent) = with_token();
    home.secret("ben.pass", "canary of ben");
    home.run(
        "key generate root-s --token shares --type ed25519 --threshold 2 --custodian ann --custodian \
         ben=passphrase-file:ben.pass --custodian cy --out set",
    )
    .done();
    let Some(read) = python(&home, &["sheet", "set/ann.html"]) else { return };
    let words = read["words"].as_str().unwrap();
    assert_eq!(words.split(' ').count(), 33);
    assert_eq!(read["code"], words, "the code holds the same words");
    assert_eq!(read["fetches"], 0, "a sheet fetches nothing");
    home.secret("ann.txt", words);
    let command = read["command"].as_str().unwrap().strip_prefix("tufctl ").unwrap();
    home.run(&command.replace("share verify", "share verify ann.txt")).done();
    home.write("printed.json", read["manifest"].as_str().unwrap());
    let right = home.run("share verify ann.txt --manifest printed.json --json").done().json();
    assert_eq!((&right["custodian"], &right["fingerprint"]), (&"ann".into(), &read["fingerprint"]));
    home.run("share confirm ben.fake --manifest set/set.json").exits(1);
    home.run("share confirm set/ben.share --manifest set/set.json --passphrase-file ben.pass").done();
}

#[test]
fn a_key_of_the_file_store_goes_with_the_last_proof_and_a_set_can_be_given_up() {
    let (home, _agent) = with_token();
    home.keys(&["root-s"]);
    let Some(flags) = identities(&home, &["ann", "ben", "cy"]) else { return };
    home.run(&format!("share split root-s --threshold 2 {flags} --out given-up")).done();
    home.run("share split root-s --abort").done();
    home.run(&format!("share split root-s --threshold 2 {flags} --out set")).done();
    for name in ["ann", "ben", "cy"] {
        let listed = home.run("share list --json").done().json();
        assert_eq!(listed["sets"][0]["whole"], true, "{listed}");
        home.run(&confirm("set", name)).done();
    }
    let listed = home.run("share list --json").done().json();
    assert_eq!((&listed["sets"][0]["whole"], &listed["sets"][0]["state"]), (&false.into(), &"alive".into()));
    init(&home);
    let signed = home.run(&collect(&["ben", "cy"]));
    assert!([0, 4].contains(&signed.code), "{signed}");
}

#[test]
fn a_drill_and_another_set_of_the_same_key() {
    let (home, _agent) = with_token();
    let Some(()) = split_root(&home, "ed25519") else { return };
    let shares = "--share set/ann.share --identity ann.key --share set/ben.share --identity ben.key";
    let drilled =
        home.run(&format!("share drill --manifest set/set.json {shares} --yes --json")).done().json();
    assert_eq!(drilled["custodians"].as_array().unwrap().len(), 2, "{drilled}");
    let listed = home.run("share list --json").done().json();
    assert!(listed["sets"][0]["drilled"].is_string(), "{listed}");
    let flags = identities(&home, &["dan", "eve", "fay"]).unwrap();
    let prove = format!(
        "share resplit --phase prove --manifest set/set.json {shares} --threshold 2 {flags} --out new --yes"
    );
    let made = home.run(&prove).done();
    assert!(made.stderr.contains("revokes nothing"), "{made}");
    let note = home.journalled("share.resplit")[0]["body"]["note"].as_str().unwrap().to_owned();
    assert!(note.contains("revokes nothing"), "{note}");
    home.run("share resplit --phase commit --manifest new/set.json --yes").exits(3);
    for name in ["dan", "eve", "fay"] {
        home.run(&confirm("new", name)).done();
    }
    let done = home.run("share resplit --phase commit --manifest new/set.json --yes --json").done().json();
    assert_eq!((&done["set"]["state"], &done["set"]["sequence"]), (&"alive".into(), &2.into()));
    init(&home);
    home.refused(&collect(&["ann", "ben"]), 5, "SHARE_INVALID");
    let new = "share collect repo --role root --manifest new/set.json --yes --share new/dan.share --identity dan.key \
               --share new/fay.share --identity fay.key";
    let signed = home.run(new);
    assert!([0, 4].contains(&signed.code), "{signed}");
}

#[test]
fn shares_are_handed_out_typed_and_given_at_terminals_and_from_another_machine() {
    let (home, _agent) = with_token();
    home.run("key generate root-s --token shares --type ed25519 --threshold 2 --custodian ann --custodian ben --custodian cy --out set").done();
    let Some(ann) = python(&home, &["sheet", "set/ann.html"]) else { return };
    let ben = python(&home, &["sheet", "set/ben.html"]).unwrap();
    let typed = |sheet: &Value| format!("{}\n", sheet["words"].as_str().unwrap());
    for name in ["ann", "ben", "cy"] {
        let sheet = python(&home, &["sheet", &format!("set/{name}.html")]).unwrap();
        let steps = [("word  1 of 33: ", typed(&sheet))];
        let steps: Vec<_> = steps.iter().map(|(wait, typed)| (*wait, typed.as_str())).collect();
        let (code, screen) = talk(&home, "share confirm --manifest set/set.json", &steps).unwrap();
        assert_eq!(code, 0, "{screen}");
    }
    init(&home);
    // tufctl sign at a terminal asks for them, shows the whole digest, and counts.
    let (ann, ben) = (typed(&ann), typed(&ben));
    let steps = [
        ("[y/N] ", "y\n"),
        ("q ends it: ", "\n"),
        ("word  1 of 33: ", ann.as_str()),
        ("q ends it: ", "\n"),
        ("word  1 of 33: ", ben.as_str()),
    ];
    let (code, screen) = talk(&home, "sign repo --role root", &steps).unwrap();
    assert!([0, 4].contains(&code), "{screen}");
    for shown in ["0 of 2 shares", "1 of 2 shares", "is gone again"] {
        assert!(screen.contains(shown), "{shown}: {screen}");
    }
}

#[test]
fn words_are_shown_once_at_a_terminal_and_typed_back_as_the_proof() {
    let (home, _agent) = with_token();
    let Some(python) = need(oracle::python()) else { return };
    let mut command = Command::new(python);
    command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("doubles/custodians.py"));
    command.arg("3").arg(tufagent_tests::binary("tufctl"));
    let generate = "key generate root-s --token shares --type ed25519 --threshold 2";
    command.args(generate.split(' ').chain("--custodian ann --custodian ben --custodian cy".split(' ')));
    home.environment(&mut command);
    let output = command.env("TERM", "xterm-256color").output().unwrap();
    let left = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(0), "{left}{}", String::from_utf8_lossy(&output.stderr));
    assert!(left.contains("cy has written it down and proven it"), "{left}");
    let listed = home.run("share list --json").done().json();
    assert_eq!(
        (&listed["sets"][0]["state"], &listed["sets"][0]["confirmed"]),
        (&"alive".into(), &serde_json::json!(["ann", "ben", "cy"]))
    );
    // The manifest is nowhere but at the agent, and is had from it.
    home.write("set.json", home.run("share manifest root-s").done().stdout);
    let short = home.run("share drill --manifest set.json --yes --json").exits(4).json();
    assert_eq!((&short["have"], &short["need"]), (&0.into(), &2.into()));
}

#[test]
fn a_sheet_of_a_set_with_groups_says_which_must_come_together_and_what_may_be_lost() {
    let (home, _agent) = with_token();
    let groups = "--group board=2:ann,ben,cy --group ops=2:dan,eve,fay --group-threshold 2";
    home.run(&format!("key generate root-g --token shares --type ed25519 {groups} --out set")).done();
    let sheet = fs::read_to_string(home.path("set/eve.html")).unwrap();
    assert!(sheet.contains("2 of 2 groups: board (2 of 3), ops (2 of 3) make the key"), "{sheet}");
    assert!(sheet.contains("0 of 2 groups may be lost") && !sheet.contains("of 6"), "{sheet}");
    let sets = home.run("share list --json").done().json();
    assert_eq!(sets["sets"][0]["rule"], "2 of 2 groups: board (2 of 3), ops (2 of 3)", "{sets}");
    // The manifest is no secret.
    fs::set_permissions(home.path("set/set.json"), fs::Permissions::from_mode(0o644)).unwrap();
    home.run("key remove root-g --yes").done();
    home.run("key import root-g set/set.json --token shares").done();
}

#[test]
fn a_share_is_sealed_on_a_machine_without_an_agent() {
    let (home, _agent) = with_token();
    let Some(()) = split_root(&home, "ed25519") else { return };
    init(&home);
    let away = Home::new();
    fs::copy(home.path("set/cy.share"), away.path("cy.share")).unwrap();
    away.secret("cy.key", &fs::read_to_string(home.path("cy.key")).unwrap());
    let line = format!("{} --ticket ticket.json", collect(&["ann"]));
    let waiting = spawn(&home, &line);
    let ticket = wait_for(&home.path("ticket.json"));
    away.write("ticket.json", &ticket);
    // Whoever carries the ticket changes what it says, or puts a key of their own into it: the code is another one, and
    // what is sealed for it is of no use.
    let seal = "share seal ticket.json cy.share --identity cy.key --yes --json --out";
    let mut codes = std::collections::BTreeSet::new();
    let own_key = Value::from(hex::encode([9; 32]));
    for (member, lie) in
        [("purpose", "drill".into()), ("public_key", own_key), ("repository", "other".into())]
    {
        let mut changed: Value = serde_json::from_str(&ticket).unwrap();
        changed[member] = lie;
        away.write("ticket.json", changed.to_string());
        let sealed = away.run(&format!("{seal} {member}.sealed")).done().json();
        codes.insert(sealed["code"].as_str().unwrap().to_owned());
        fs::copy(away.path(format!("{member}.sealed")), home.path("lie.sealed")).unwrap();
        home.refused("share give lie.sealed --yes", 2, "USAGE");
    }
    let mut late: Value = serde_json::from_str(&ticket).unwrap();
    late["deadline"] = "2020-01-01T00:00:00Z".into();
    away.write("ticket.json", late.to_string());
    away.refused(&format!("{seal} late.sealed").replace(" --json", ""), 4, "SHARES_MISSING");
    away.write("ticket.json", &ticket);
    let sealed = away.run(&format!("{seal} cy.sealed")).done().json();
    let code = sealed["code"].as_str().unwrap().to_owned();
    assert!(codes.len() == 3 && !codes.contains(&code), "{codes:?} {code}");
    fs::copy(away.path("cy.sealed"), home.path("cy.sealed")).unwrap();
    let given = home.run("share give cy.sealed --yes --json").done().json();
    assert_eq!(given["custodian"], "cy", "{given}");
    let end = waiting.wait_with_output().unwrap();
    assert!([Some(0), Some(4)].contains(&end.status.code()), "{end:?}");
    assert!(String::from_utf8_lossy(&end.stderr).contains(&code), "{end:?}");
    let shown = home.run("repo show repo --json").done().json();
    let root = shown["roles"].as_array().unwrap().iter().find(|it| it["role"] == "root").unwrap();
    assert_eq!(root["signed_by"].as_array().unwrap().len(), 1, "{root}");
}

pub(crate) fn spawn(home: &Home, line: &str) -> std::process::Child {
    let mut command = Command::new(tufagent_tests::binary("tufctl"));
    home.environment(&mut command);
    command.args(line.split(' ')).stdin(std::process::Stdio::null());
    command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped()).spawn().unwrap()
}

pub(crate) fn wait_for(path: &Path) -> String {
    let end = std::time::Instant::now() + std::time::Duration::from_secs(60);
    loop {
        let text = fs::read_to_string(path).unwrap_or_default();
        if serde_json::from_str::<Value>(&text).is_ok() {
            return text;
        }
        assert!(std::time::Instant::now() < end, "{} does not come", path.display());
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
}
