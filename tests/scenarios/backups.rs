//! `backup` and `restore`: one file, sealed; a new state gets everything, one that lives loses nothing.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use tufagent_tests::{Home, binary};

const MAKE: &str = "backup agent.backup --passphrase-file sealing";
const GIVE: &str = "restore agent.backup --passphrase-file sealing";

/// A home with a published repository and a backup of its agent.
fn backed_up() -> (Home, tufagent_tests::Agent) {
    let (home, agent) = Home::unlocked();
    home.published_repository();
    home.secret("sealing", "a passphrase for the backup");
    home.run(MAKE).done();
    (home, agent)
}

/// Another machine: the same folder of work, with nothing of the agent's.
fn elsewhere(from: &Home) -> Home {
    let home = Home::new();
    from.published("repo").copy_to(&home.path("repo"));
    fs::copy(from.path("agent.backup"), home.path("agent.backup")).unwrap();
    home.secret("sealing", "a passphrase for the backup");
    home
}

#[test]
fn a_backup_is_one_private_file_that_is_not_written_over_and_shows_nothing() {
    let (home, _agent) = backed_up();
    let file = home.path("agent.backup");
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let bytes = fs::read(&file).unwrap();
    for word in ["app", "online", "journal", "sign.intent", "tuf-agent key"] {
        let found = bytes.windows(word.len()).skip(300).any(|window| window == word.as_bytes());
        assert!(word.len() < 5 || !found, "{word}");
    }
    home.assert_no_secret_in(&file);
    home.refused(MAKE, 2, "USAGE");
    assert_eq!(fs::read(&file).unwrap(), bytes);
    home.run(&format!("{MAKE} --overwrite")).done();
    assert_ne!(fs::read(&file).unwrap(), bytes);
    home.refused("backup other.backup", 5, "PIN_REQUIRED");
    assert!(!home.path("other.backup").exists());
    home.run("bump repo timestamp").done();
    home.run("sign repo --yes").done();
    assert!(!home.state().join(".backup").exists());
}

#[test]
fn a_new_state_gets_everything_and_signs_once_the_repository_is_adopted_again() {
    let (old, _old_agent) = backed_up();
    let home = elsewhere(&old);
    let agent = home.start();
    let restored = home.run(&format!("{GIVE} --json")).done().json();
    assert_eq!(restored["adopt"][0], "app", "{restored}");
    assert_eq!(restored["keys_added"].as_array().unwrap().len(), 2);
    home.unlock_file_store();
    let status = home.run("status").done();
    assert!(status.text().contains("app came from a backup"), "{status}");
    home.run("bump repo timestamp").done();
    let error = home.refused("sign repo --yes", 3, "WATERMARK");
    assert!(error["remedy"].as_str().unwrap().contains("tufctl repo adopt"), "{error}");
    home.run("repo adopt repo --name app --root repo/metadata/1.root.json").done();
    home.run("sign repo --yes").done();
    assert_eq!(home.published("repo").version("timestamp"), 2);
    let journal = home.run("audit export").done().stdout;
    for kind in ["repository.registered", "sign.intent", "backup.made", "backup.restored", "restored.adopted"]
    {
        assert!(journal.contains(kind), "{kind}: {journal}");
    }
    home.run("audit verify").done();
    assert!(agent.stop().success());
    let _agent = home.start();
    home.run("audit verify").done();
}

/// Names the passphrase of the file store in the configuration: the agent opens the store when it starts, and makes one where
/// there is none.
fn configure_passphrase(home: &Home) {
    let path = home.secret("passphrase", tufagent_tests::PASSPHRASE);
    home.config(&format!(
        "[[token]]\nname = \"file\"\nkind = \"file\"\npin = {{ file = {:?} }}\n",
        path.display().to_string()
    ));
}

fn waits_for_store(home: &Home, agent: &tufagent_tests::Agent) {
    agent.wait_until(|| home.token("file")["state"] == "unlocked");
}

#[test]
fn a_new_state_whose_passphrase_is_configured_gets_the_keys_and_signs() {
    let (old, _old_agent) = backed_up();
    let home = elsewhere(&old);
    configure_passphrase(&home);
    let agent = home.start();
    waits_for_store(&home, &agent);
    let restored = home.run(&format!("{GIVE} --json")).done().json();
    assert_eq!(restored["keys_added"].as_array().unwrap().len(), 2, "{restored}");
    assert_eq!(restored["keys_left_out"].as_array().unwrap().len(), 0, "{restored}");
    assert!(!home.state().join("keys.restoring").exists());
    home.run("repo adopt repo --name app --root repo/metadata/1.root.json").done();
    home.run("bump repo timestamp").done();
    home.run("sign repo --yes").done();
    assert_eq!(home.published("repo").version("timestamp"), 2);
    assert!(agent.stop().success());
    let _agent = home.start();
    home.run("bump repo timestamp").done();
    home.run("sign repo --yes").done();
}

#[test]
fn a_store_that_holds_other_keys_keeps_them_and_the_remedy_brings_those_of_the_backup() {
    let (old, _old_agent) = backed_up();
    let home = elsewhere(&old);
    configure_passphrase(&home);
    let agent = home.start();
    waits_for_store(&home, &agent);
    home.keys(&["mine"]);
    let restored = home.run(GIVE).done();
    assert!(restored.stderr.contains("move the folder keys out of its state folder"), "{restored}");
    let names = |home: &Home| {
        let keys = home.run("key list --json").done().json()["keys"].as_array().unwrap().clone();
        keys.iter().map(|key| key["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(names(&home), ["mine"]);
    assert!(agent.stop().success());
    fs::rename(home.state().join("keys"), home.path("keys-before")).unwrap();
    let agent = home.start();
    waits_for_store(&home, &agent);
    home.run(GIVE).done();
    assert_eq!(names(&home), ["online", "root"]);
    home.run("audit verify").done();
}

#[test]
fn a_restore_over_an_empty_store_that_is_killed_is_given_again() {
    let (old, _old_agent) = backed_up();
    for pause in [100, 160, 180, 200, 220, 240, 300] {
        let home = elsewhere(&old);
        configure_passphrase(&home);
        let agent = home.start();
        waits_for_store(&home, &agent);
        kill_while_restoring(&home, agent, pause);
        let _agent = home.start();
        let given = home.run(&format!("{GIVE} --json")).done().json();
        assert_eq!(given["keys_left_out"].as_array().unwrap().len(), 0, "{pause}: {given}");
        assert_eq!(home.run("key list --json").done().json()["keys"].as_array().unwrap().len(), 2, "{pause}");
        assert!(!home.state().join("keys.restoring").exists());
    }
    // Where no kill came at that moment, its trace is laid by hand: the empty store has gone, and no other was put there.
    let home = elsewhere(&old);
    configure_passphrase(&home);
    let agent = home.start();
    waits_for_store(&home, &agent);
    agent.kill();
    fs::remove_file(home.state().join("keys/store")).unwrap();
    fs::write(home.state().join("keys.restoring"), "").unwrap();
    let _agent = home.start();
    assert!(!home.state().join("keys/store").exists(), "a store was made");
    home.run(GIVE).done();
    home.run("repo adopt repo --name app --root repo/metadata/1.root.json").done();
    home.run("bump repo timestamp").done();
    home.run("sign repo --yes").done();
}

#[test]
fn what_was_signed_after_the_backup_is_not_signed_again_with_other_content() {
    let (old, _old_agent) = backed_up();
    old.run("bump repo targets").done();
    old.run("sign repo --yes").done();
    let home = elsewhere(&old);
    let _agent = home.start();
    home.run(GIVE).done();
    home.unlock_file_store();
    home.run("repo adopt repo --name app --root repo/metadata/1.root.json").done();
    home.write("more.txt", "more\n");
    home.run("target add repo more.txt").done();
    home.run("sign repo --yes").done();
    assert_eq!(home.published("repo").version("targets"), 3, "the published copy tells what came after");
}

#[test]
fn a_state_that_lives_keeps_its_marks_and_its_journal() {
    let (home, _agent) = backed_up();
    for _ in 0..3 {
        home.run("bump repo timestamp").done();
        home.run("sign repo --yes").done();
    }
    home.keys(&["later"]);
    let before = home.run("audit export").done().stdout;
    let restored = home.run(&format!("{GIVE} --json")).done().json();
    assert_eq!(restored["adopt"].as_array().unwrap().len(), 0, "{restored}");
    assert_eq!(restored["keys_added"].as_array().unwrap().len(), 0, "{restored}");
    let after = home.run("audit export").done().stdout;
    assert!(after.starts_with(&before) && after.contains("backup.restored"), "{after}");
    home.run("bump repo timestamp").done();
    home.run("sign repo --yes").done();
    assert_eq!(home.published("repo").version("timestamp"), 5);
    assert!(home.run("key list").done().stdout.contains("later"));
}

#[test]
fn a_wrong_passphrase_a_damaged_a_cut_and_a_foreign_file_change_nothing() {
    let (old, _old_agent) = backed_up();
    let home = elsewhere(&old);
    let _agent = home.start();
    home.secret("wrong", "not the passphrase");
    home.refused("restore agent.backup --passphrase-file wrong", 5, "PIN_INCORRECT");
    let good = fs::read(home.path("agent.backup")).unwrap();
    let header = good.iter().position(|byte| *byte == b'\n').unwrap() + 1;
    let mut flipped = good.clone();
    flipped[header + 1000] ^= 1;
    let newer = String::from_utf8_lossy(&good[..header]).replace("\"version\":2", "\"version\":9");
    let cases: [(&str, Vec<u8>, &str); 6] = [
        ("flipped", flipped, "STATE_CORRUPT"),
        ("cut", good[..good.len() - 40].to_vec(), "STATE_CORRUPT"),
        ("empty", Vec::new(), "STATE_CORRUPT"),
        ("foreign", b"no backup\n".to_vec(), "STATE_CORRUPT"),
        ("newer", [newer.as_bytes(), &good[header..]].concat(), "STATE_CORRUPT"),
        ("hostile", good[..header - 1].to_vec(), "STATE_CORRUPT"),
    ];
    for (name, bytes, reason) in cases {
        fs::write(home.path(name), bytes).unwrap();
        let refused = home.run(&format!("restore {name} --passphrase-file sealing --json"));
        assert_eq!(refused.json()["error"]["reason"], reason, "{name}: {refused}");
        let said = refused.json()["error"]["message"].as_str().unwrap().to_owned();
        let in_a_piece = matches!(name, "flipped" | "cut");
        assert_eq!(
            said.contains("the passphrase is right") && said.contains("at piece 1"),
            in_a_piece,
            "{said}"
        );
    }
    assert_eq!(home.run("key list --json").done().json()["keys"].as_array().unwrap().len(), 0);
    assert!(!home.state().join(".restore").exists());
    home.run(GIVE).done();
}

#[test]
fn what_a_killed_backup_left_goes_with_the_next_one_and_nothing_else_does() {
    let (home, _agent) = backed_up();
    let mut dead = std::process::Command::new("true").spawn().unwrap();
    dead.wait().unwrap();
    let begun = fs::read(home.path("agent.backup")).unwrap()[..200].to_vec();
    let stays = [
        (format!(".agent.backup.{}", std::process::id()), begun.clone()),
        (format!(".agent.backup.{}", dead.id() + 1_000_000_000), b"something else".to_vec()),
        (".agent.backup.note".to_owned(), begun.clone()),
        (format!(".other.backup.{}", dead.id()), begun.clone()),
    ];
    let left = home.path(format!(".agent.backup.{}", dead.id()));
    fs::write(&left, &begun).unwrap();
    stays.iter().for_each(|(name, bytes)| fs::write(home.path(name), bytes).unwrap());
    home.run(&format!("{MAKE} --overwrite")).done();
    assert!(!left.exists(), "it lies there still");
    for (name, bytes) in stays {
        assert_eq!(fs::read(home.path(&name)).unwrap(), bytes, "{name}");
    }
}

/// Another machine whose agent was killed so many milliseconds after a restore was begun.
fn killed_while_restoring(old: &Home, pause: u64) -> Home {
    let home = elsewhere(old);
    let agent = home.start();
    kill_while_restoring(&home, agent, pause);
    home
}

fn kill_while_restoring(home: &Home, agent: tufagent_tests::Agent, pause: u64) {
    let mut restore = std::process::Command::new(binary("tufctl"));
    home.environment(&mut restore);
    let mut restore = restore.args(GIVE.split(' ')).spawn().unwrap();
    std::thread::sleep(std::time::Duration::from_millis(pause));
    agent.kill();
    restore.wait().unwrap();
}

#[test]
fn a_store_is_not_begun_anew_while_a_restore_has_not_come_to_its_end() {
    let (old, _old_agent) = backed_up();
    let mut stopped = 0;
    for pause in [0, 60, 100, 140, 160, 180, 200, 220, 240, 260, 300] {
        let home = killed_while_restoring(&old, pause);
        let store = home.state().join("keys/store");
        let marked = home.state().join("keys.restoring").exists() && !store.exists();
        let _agent = home.start();
        if marked {
            stopped += 1;
            home.secret("passphrase", tufagent_tests::PASSPHRASE);
            let error = home.refused("token unlock file --pin-file passphrase", 1, "STATE_CORRUPT");
            assert!(error["remedy"].as_str().unwrap().contains("tufctl restore"), "{error}");
            assert!(!store.exists(), "a store was made");
        }
        home.run(GIVE).done();
        assert!(!home.state().join("keys.restoring").exists());
        home.unlock_file_store();
        assert_eq!(home.run("key list --json").done().json()["keys"].as_array().unwrap().len(), 2, "{pause}");
    }
    // Where no kill came at that moment, its trace is laid by hand.
    let home = elsewhere(&old);
    let _agent = home.start();
    fs::write(home.state().join("keys.restoring"), "").unwrap();
    home.secret("passphrase", tufagent_tests::PASSPHRASE);
    home.refused("token unlock file --pin-file passphrase", 1, "STATE_CORRUPT");
    home.run("status").done();
    home.run(GIVE).done();
    home.unlock_file_store();
    println!("{stopped} kills came while a restore was under way");
}

#[test]
fn a_restore_whose_client_was_killed_is_given_again_at_once() {
    let (old, _old_agent) = backed_up();
    let home = elsewhere(&old);
    let _agent = home.start();
    for pause in (0..16).map(|step| step * 20) {
        let mut restore = std::process::Command::new(binary("tufctl"));
        home.environment(&mut restore);
        let mut restore = restore.args(GIVE.split(' ')).spawn().unwrap();
        std::thread::sleep(std::time::Duration::from_millis(pause));
        restore.kill().unwrap();
        restore.wait().unwrap();
        home.run(GIVE).done();
    }
    assert!(!home.state().join(".restore").exists());
    home.unlock_file_store();
}

#[test]
fn a_restore_that_is_refused_leaves_no_trace() {
    let (old, _old_agent) = backed_up();
    let home = elsewhere(&old);
    let _agent = home.start();
    home.secret("wrong", "not the passphrase");
    home.refused("restore agent.backup --passphrase-file wrong", 5, "PIN_INCORRECT");
    assert!(!home.state().join("keys.restoring").exists());
    home.unlock_file_store();
}

#[test]
fn a_restore_that_is_killed_leaves_the_old_state_or_the_new_one() {
    let (old, _old_agent) = backed_up();
    for pause in [0, 5, 20, 60, 120, 200, 300, 450] {
        let home = killed_while_restoring(&old, pause);
        let _agent = home.start();
        home.run("audit verify").done();
        home.run(GIVE).done();
        home.unlock_file_store();
        home.run("repo adopt repo --name app --root repo/metadata/1.root.json").done();
        home.run("bump repo timestamp").done();
        home.run("sign repo --yes").done();
    }
}

#[test]
fn a_restore_onto_a_state_that_lives_lowers_no_watermark() {
    let (home, _agent) = backed_up();
    let repo = home.published("repo");
    let old = repo.copy_to(&home.path("old"));
    home.write("more.txt", "more\n");
    home.run("target add repo more.txt").done();
    home.run("sign repo --yes").done();
    home.run("bump repo root").done();
    home.run("sign repo --yes").done();
    home.run(GIVE).done();
    // The folder as it was when the backup was taken, and other content under what was signed since.
    home.write("other.txt", "other\n");
    home.run("target add old other.txt --yes").done();
    let error = home.refused("sign old --yes", 3, "WATERMARK");
    assert_eq!(
        (&error["details"]["role"], &error["details"]["published_version"]),
        (&"root".into(), &2.into())
    );
    // With its root the folder lacks what was signed of targets.
    fs::copy(repo.dir().join("metadata/2.root.json"), old.dir().join("metadata/2.root.json")).unwrap();
    let error = home.refused("sign old --yes", 3, "WATERMARK");
    assert_eq!(error["details"]["signed_version"], 2, "{error}");
    assert_eq!(old.version("targets"), 1);
    home.run("bump repo targets root").done();
    home.run("sign repo --yes").done();
    assert_eq!((repo.version("targets"), repo.version("root")), (3, 3));
}

#[test]
fn an_older_backup_in_a_new_state_signs_nothing_until_the_newest_copy_is_adopted() {
    let (old, _old_agent) = backed_up();
    for round in 0..2 {
        old.write("more.txt", format!("round {round}\n"));
        old.run("target add repo more.txt").done();
        old.run("sign repo --yes").done();
    }
    let home = elsewhere(&old);
    let _agent = home.start();
    home.run(GIVE).done();
    home.unlock_file_store();
    home.write("other.txt", "other\n");
    home.run("target add repo other.txt").done();
    let repo = home.published("repo");
    let staged = fs::read(repo.dir().join("staged/targets.json")).unwrap();
    for _ in 0..2 {
        let error = home.refused("sign repo --yes", 3, "WATERMARK");
        assert!(error["message"].as_str().unwrap().contains("came from a backup"), "{error}");
        assert!(error["remedy"].as_str().unwrap().contains("tufctl repo adopt"), "{error}");
    }
    assert_eq!(fs::read(repo.dir().join("staged/targets.json")).unwrap(), staged, "something was signed");
    home.run("repo adopt repo --name app --root repo/metadata/1.root.json").done();
    home.run("sign repo --yes").done();
    assert_eq!(repo.version("targets"), 4);
    home.run("verify repo --root repo/metadata/1.root.json").done();
}

#[test]
fn a_restore_whose_client_sends_nothing_keeps_no_backup_waiting() {
    let (home, agent) = backed_up();
    let pipe = home.path("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let mut held = fs::OpenOptions::new().read(true).write(true).open(&pipe).unwrap();
    let mut restore = std::process::Command::new(binary("tufctl"));
    home.environment(&mut restore);
    let mut restore = restore.args(["restore", "pipe", "--passphrase-file", "sealing"]).spawn().unwrap();
    // More than tufctl holds back, and then no more, with the end still open.
    std::io::Write::write_all(&mut held, &vec![0; 32 << 20]).unwrap();
    agent.wait_until(|| home.state().join(".restore").exists());
    home.run("backup second.backup --passphrase-file sealing").done();
    assert!(restore.try_wait().unwrap().is_none(), "the backup waited for it");
    drop(held);
    assert!(!restore.wait().unwrap().success());
    agent.wait_until(|| !home.state().join(".restore").exists());
}
