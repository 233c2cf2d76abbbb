//! Secrets stand in no log, reply, journal, error or file, whatever is logged.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use softhsm::SoftHsm;
use tufagent_tests::{Agent, Home, PASSPHRASE, PIN, binary, need, oracle};

use crate::custodians::{TOKEN as SPLIT_KEYS, identities, python};

/// A key that is known to this test alone: RFC 8032 section 7.1, test 1.
pub(crate) const SEED: [u8; 32] = [
    0x9d, 0x61, 0xb1, 0x9d, 0xef, 0xfd, 0x5a, 0x60, 0xba, 0x84, 0x4a, 0xf4, 0x92, 0xec, 0x2c, 0xc4, 0x44,
    0x49, 0xc5, 0x69, 0x7b, 0x32, 0x69, 0x19, 0x70, 0x3b, 0xac, 0x03, 0x1c, 0xae, 0x7f, 0x60,
];
/// The same as a PKCS#8 file.
pub(crate) const PEM: &str = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g\n-----END PRIVATE KEY-----\n";

fn files_below(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files_below(&path) } else { vec![path] }).collect()
}

type Forms = Vec<(String, Vec<u8>)>;

/// How 32 bytes could have been written.
fn forms_of(what: &str, bytes: &[u8]) -> Forms {
    let list: Vec<_> = bytes.iter().map(u8::to_string).collect();
    let forms = [
        ("as it is", bytes.to_vec()),
        ("in hex", hex::encode(bytes).into_bytes()),
        ("in upper case hex", hex::encode_upper(bytes).into_bytes()),
        ("as a list", list.join(", ").into_bytes()),
    ];
    forms.into_iter().map(|(how, form)| (format!("{what} {how}"), form)).collect()
}

/// Fails when one of these is in one of the texts or files.
#[track_caller]
fn assert_in_none(forms: &Forms, places: &[(String, Vec<u8>)]) {
    for (what, secret) in forms {
        for (place, bytes) in places {
            assert!(!bytes.windows(secret.len()).any(|window| window == secret), "{what} stands in {place}");
        }
    }
}

/// What the test below knows and nobody may read anywhere.
fn forms() -> Forms {
    let mut forms = forms_of("the seed", &SEED);
    let others: [(&str, &[u8]); 7] = [
        ("the seed in base64", b"nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2"),
        ("the seed in the base64 of its file", b"J1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g"),
        ("the passphrase", PASSPHRASE.as_bytes()),
        ("the passphrase in hex", &hex::encode(PASSPHRASE).into_bytes()),
        ("the PIN", PIN.as_bytes()),
        ("the wrong passphrase", b"canary of a wrong passphrase"),
        ("the wrong PIN", b"canary-wrong-pin"),
    ];
    forms.extend(others.map(|(what, form)| (what.to_owned(), form.to_vec())));
    forms
}

#[test]
fn secrets_stand_in_nothing_that_is_written_even_when_everything_is_logged() {
    let softhsm = need(SoftHsm::find_or_fetch());
    let home = Home::new();
    let token = softhsm.map(|softhsm| {
        let folder = softhsm.folder(&home.dir().join("softhsm")).unwrap();
        folder.init_token("build", "so-pin-4711", PIN).unwrap();
        home.config(&Home::softhsm_table("hsm", "build", &folder));
        folder
    });
    let agent =
        Agent::start_in_environment(&home, Command::new(binary("tuf-agent")), &[("TUF_AGENT_LOG", "trace")]);
    let mut said = Vec::new();
    let mut run = |arguments: &str, code: i32| {
        let outcome = home.run(arguments).exits(code);
        said.push((arguments.to_owned(), outcome.text().into_bytes()));
    };
    home.secret("passphrase", PASSPHRASE);
    home.secret("wrong", "canary of a wrong passphrase");
    home.secret("pin", PIN);
    home.secret("wrong-pin", "canary-wrong-pin");
    home.secret("key.pem", PEM);
    run("token unlock file --pin-file passphrase", 0);
    run("token lock file", 0);
    run("token unlock file --pin-file wrong --json", 5);
    run("token unlock file --pin-file passphrase", 0);
    run("key import known key.pem --token file --json", 0);
    run("key import broken passphrase --token file --json", 1);
    if token.is_some() {
        run("token unlock hsm --pin-file wrong-pin --json", 5);
        run("token unlock hsm --pin-file pin", 0);
        run("key generate hard --token hsm --type ecdsa-p256", 0);
    }
    home.keys(&["online"]);
    run("repo init repo --name app --root known --targets online --snapshot online --timestamp online", 0);
    run("sign repo --yes --json", 0);
    run("key show known --json", 0);
    run("key export known --format pem", 0);
    run("token list --json", 0);
    run("status --json", 0);
    run("audit list --json", 0);
    run("audit verify --json", 0);
    agent.signal("HUP");
    run("status", 0);
    assert!(agent.log().contains("TRACE"), "not everything was logged");
    assert!(agent.stop().success());
    // The working folder holds the secrets themselves, and the token's folder is the token's business.
    said.extend(written(&home));
    assert_in_none(&forms(), &said);
}

/// The agent's own files and log, and the repository.
fn written(home: &Home) -> Vec<(String, Vec<u8>)> {
    let folders = ["state", "run", "config", "home"].map(|name| home.dir().join(name));
    let files = folders.into_iter().chain([home.path("repo")]).flat_map(|folder| files_below(&folder));
    let files = files.chain([home.log()]);
    files.map(|file| (file.display().to_string(), fs::read(file).unwrap_or_default())).collect()
}

/// What nobody may read of these shares anywhere but where they were handed to: their words, some of them, their values,
/// and the key that they make.
fn forms_of_shares(home: &Home, pairs: &[&str]) -> Forms {
    let parts = python(home, &[&["parts"][..], pairs].concat()).unwrap();
    let bytes = |value: &serde_json::Value| hex::decode(value.as_str().unwrap()).unwrap();
    let mut forms = forms_of("the key", &bytes(&parts["secret"]));
    for (share, file) in parts["shares"].as_array().unwrap().iter().zip(pairs.chunks(2)) {
        let words = share["words"].as_str().unwrap();
        // The first four words are the same in many shares, and public.
        let some: Vec<_> = words.split(' ').skip(4).take(4).collect();
        forms.push((format!("words of {}", file[0]), some.join(" ").into_bytes()));
        forms.push((
            format!("words of {} in upper case", file[0]),
            some.join(" ").to_uppercase().into_bytes(),
        ));
        forms.push((format!("words of {} as a list", file[0]), some.join("\", \"").into_bytes()));
        forms.extend(forms_of(&format!("the value of {}", file[0]), &bytes(&share["value"])));
    }
    forms
}

#[test]
fn nothing_of_a_split_key_stands_in_anything_but_the_sheet_even_when_everything_is_logged() {
    if need(oracle::python()).is_none() {
        return;
    }
    let home = Home::new();
    home.config(SPLIT_KEYS);
    let agent =
        Agent::start_in_environment(&home, Command::new(binary("tuf-agent")), &[("TUF_AGENT_LOG", "trace")]);
    home.unlock_file_store();
    home.keys(&["online"]);
    home.secret("key.pem", PEM);
    home.secret("ben.pass", "canary: the passphrase of ben");
    home.run("key import known key.pem --token file").done();
    let ann = identities(&home, &["ann"]).unwrap();
    let mut said = Vec::new();
    let mut run = |arguments: &str, codes: &[i32]| {
        let outcome = home.run(arguments);
        assert!(codes.contains(&outcome.code), "{outcome}");
        said.push((arguments.to_owned(), outcome.text().into_bytes()));
    };
    let people = format!("--threshold 2 {ann} --custodian ben=passphrase-file:ben.pass --custodian cy");
    // What comes out on the sheet, and in the files, is theirs.
    let pairs = |folder: &str| [format!("{folder}/ann.share"), format!("{folder}/ben.share")];
    let given = |folder: &str| {
        let [ann, ben] = pairs(folder);
        format!(
            "--manifest {folder}/set.json --share {ann} --identity ann.key --share {ben} --passphrase-file ben.pass"
        )
    };
    let proven = |folder: &str, run: &mut dyn FnMut(&str, &[i32])| {
        let sheet = python(&home, &["sheet", &format!("{folder}/cy.html")]).unwrap();
        home.secret(&format!("{folder}-cy.txt"), sheet["words"].as_str().unwrap());
        let confirm = |file: &str| format!("share confirm {file} --manifest {folder}/set.json --json");
        run(&format!("{} --identity ann.key", confirm(&format!("{folder}/ann.share"))), &[0]);
        run(&format!("{} --passphrase-file ben.pass", confirm(&format!("{folder}/ben.share"))), &[0]);
        run(&confirm(&format!("{folder}-cy.txt")), &[0]);
        run(&format!("share verify {folder}-cy.txt --manifest {folder}/set.json --json"), &[0]);
    };
    run(&format!("share split known {people} --out set --json"), &[0]);
    let forged = python(&home, &["forge", "set/ann.share", "ann.key"]).unwrap();
    home.secret("forged.txt", forged["words"].as_str().unwrap());
    run("share confirm forged.txt --manifest set/set.json --json", &[5]);
    run("share confirm set/ben.share --manifest set/set.json --identity ann.key --json", &[5]);
    proven("set", &mut run);
    run("repo init repo --name app --root known --targets online --snapshot online --timestamp online", &[0]);
    run("share collect repo --role root --manifest set/set.json --share forged.txt --yes --json", &[5]);
    run("share collect repo --role root --manifest set/set.json --share set-cy.txt --yes --json", &[4]);
    run(&format!("share collect repo --role root {} --yes --json", given("set")), &[0, 4]);
    run(&format!("share drill {} --yes --json", given("set")), &[0]);
    run(&format!("share resplit --phase prove {} {people} --out new --yes --json", given("set")), &[0]);
    proven("new", &mut run);
    run("share resplit --phase commit --manifest new/set.json --yes --json", &[0]);
    // One that was never whole anywhere.
    run(&format!("key generate made --token shares --type ecdsa-p256 {people} --out made --json"), &[0]);
    proven("made", &mut run);
    for told in ["share list --json", "key list --json", "audit list --json", "status --json"] {
        run(told, &[0]);
    }
    assert!(agent.log().contains("TRACE"), "not everything was logged");
    assert!(agent.stop().success());
    said.extend(written(&home));
    let mut forms = forms_of("the seed", &SEED);
    for folder in ["set", "new", "made"] {
        for file in ["set.json", "ann.share", "ben.share"].map(|file| format!("{folder}/{file}")) {
            said.push((file.clone(), fs::read(home.path(&file)).unwrap()));
        }
        let [ann, ben] = pairs(folder);
        let cy = format!("{folder}-cy.txt");
        forms.extend(forms_of_shares(&home, &[&ann, "ann.key", &ben, "ben.pass"]));
        forms.extend(forms_of_shares(&home, &[&cy, "-", &ann, "ann.key"]));
    }
    forms.push(("the passphrase of ben".into(), b"canary: the passphrase of ben".to_vec()));
    forms.push(("the identity of ann".into(), fs::read(home.path("ann.key")).unwrap()));
    // What is looked for is seen where it does stand.
    let sheet = fs::read(home.path("set-cy.txt")).unwrap();
    let on_sheet = |(_, form): &&(String, Vec<u8>)| sheet.windows(form.len()).any(|window| window == form);
    assert_eq!(forms.iter().filter(on_sheet).count(), 1, "the words of cy");
    assert!(forms.len() > 60, "{}", forms.len());
    assert_in_none(&forms, &said);
}
