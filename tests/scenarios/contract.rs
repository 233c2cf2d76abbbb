//! Exit codes, reasons and JSON, as scripts rely on them.

use std::fs;
use std::process::Command;

use tufagent_tests::{Agent, Home, PASSPHRASE, binary};

#[test]
fn without_an_agent_commands_that_need_one_are_exit_7() {
    let home = Home::new();
    let error = home.refused("status", 7, "UNREACHABLE");
    assert!(error["message"].as_str().unwrap().contains("agent.sock"), "{error}");
    home.refused("key list", 7, "UNREACHABLE");
    home.run("status").exits(7);
}

#[test]
fn wrong_usage_is_exit_2_with_one_error_object() {
    let home = Home::new();
    home.run("no-such-command").exits(2);
    home.run("key generate").exits(2);
    home.run("key generate --json").refused(2, "USAGE");
    home.run("--json sign").refused(2, "USAGE");
    home.run("repo init repo --name app --root a --root-threshold 0 --json").exits(2);
}

#[test]
fn status_tells_version_pid_and_tokens() {
    let home = Home::new();
    let agent = home.start();
    let status = home.run("status --json").done().json();
    assert_eq!(status["pid"], agent.pid());
    assert_eq!(status["version"], env!("CARGO_PKG_VERSION"));
    let token = &status["tokens"][0];
    assert_eq!(
        (&token["name"], &token["kind"], &token["state"]),
        (&"file".into(), &"file".into(), &"locked".into())
    );
    assert_eq!(home.run("--json status").done().json()["pid"], agent.pid());
}

#[test]
fn every_command_prints_one_json_document() {
    let (home, _agent) = Home::unlocked();
    home.published_repository();
    home.keys(&["docs"]);
    home.write("more.txt", "more\n");
    for command in [
        "status --json",
        "token list --json",
        "key list --json",
        "key show docs --json",
        "repo show repo --json",
        "target list repo --json",
        "target add repo more.txt --json",
        "delegation add repo docs --key docs --paths docs/* --json",
        "delegation list repo --json",
        "bump repo timestamp --json",
        "diff repo --json",
        "sign repo --yes --json",
        "verify repo --root repo/metadata/1.root.json --json",
        "audit list --json",
        "audit verify --json",
        "lock --json",
    ] {
        let outcome = home.run(command).done();
        assert!(outcome.json().is_object(), "{outcome}");
    }
}

#[test]
fn quiet_says_nothing_on_standard_error() {
    let (home, _agent) = Home::unlocked();
    home.published_repository();
    home.run("bump repo timestamp --quiet").done();
    let outcome = home.run("sign repo --yes --quiet").done();
    assert_eq!(outcome.stderr, "", "{outcome}");
}

#[test]
fn a_result_that_cannot_be_written_is_a_failure() {
    let (home, _agent) = Home::unlocked();
    for arguments in [["status", "--json"].as_slice(), &["key", "list"], &["audit", "export"]] {
        let mut command = Command::new(binary("tufctl"));
        home.environment(&mut command);
        let full = fs::File::options().write(true).open("/dev/full").unwrap();
        let output = command.args(arguments).stdout(full).output().unwrap();
        let told = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {told}");
        assert!(told.contains("stdout") || told.contains("standard output"), "{told}");
    }
}

#[test]
fn people_are_spoken_to_without_colour_when_there_is_no_terminal() {
    let (home, _agent) = Home::unlocked();
    home.published_repository();
    for command in ["status", "repo show repo", "diff repo", "key list"] {
        let outcome = home.run(command).done();
        assert!(!outcome.text().contains('\u{1b}'), "{outcome}");
    }
}

#[test]
fn signing_without_terminal_and_without_yes_is_exit_3_with_nothing_done() {
    let (home, _agent) = Home::unlocked();
    let repo = home.published_repository();
    home.run("bump repo targets").done();
    let before = std::fs::read(repo.dir().join("staged/targets.json")).unwrap();
    home.refused("sign repo", 3, "CONFIRMATION_MISSING");
    assert_eq!(std::fs::read(repo.dir().join("staged/targets.json")).unwrap(), before);
    assert_eq!(repo.version("targets"), 1);
}

#[test]
fn missing_signatures_are_exit_4_and_say_whose() {
    let (home, _agent) = Home::unlocked();
    home.keys(&["here", "online"]);
    let other = Home::new();
    let _other_agent = other.start();
    other.unlock_file_store();
    other.keys(&["there"]);
    home.write("there.json", other.run("key export there").done().stdout);
    home.run(
        "repo init repo --name app --root here,there.json --root-threshold 2 --targets online \
         --snapshot online --timestamp online",
    )
    .done();
    let text = home.run("sign repo --yes").exits(4).text();
    assert!(text.contains("root") && text.contains("missing"), "{text}");
    let again = home.run("sign repo --yes --json").exits(4).json();
    assert_eq!(again["missing"][0]["role"], "root", "{again}");
    assert_eq!(again["published"], false);
}

#[test]
fn no_publish_leaves_everything_staged_and_sign_then_publishes() {
    let (home, _agent) = Home::unlocked();
    home.small_repository();
    let signed = home.run("sign repo --no-publish --yes --json").done().json();
    assert_eq!(signed["published"], false);
    let repo = home.published("repo");
    assert!(repo.names("metadata").is_empty());
    assert_eq!(home.run("sign repo --yes --json").done().json()["published"], true);
    assert!(repo.has("timestamp.json"));
}

#[test]
fn names_of_keys_are_checked_and_unique() {
    let (home, _agent) = Home::unlocked();
    home.keys(&["a"]);
    home.refused("key generate a --token file --type ed25519", 3, "NAME_TAKEN");
    for name in ["a/b", "a.json", "a.pem", "ä"] {
        home.run(&format!("key generate {name} --token file --type ed25519 --json")).exits(2);
    }
    home.run("key generate b --token file --type dsa --json").exits(2);
    home.refused("key show nobody", 3, "KEY_NOT_FOUND");
    home.refused("key generate b --token nowhere --type ed25519", 5, "TOKEN_UNKNOWN");
}

#[test]
fn keys_can_be_made_only_while_the_token_is_unlocked() {
    let home = Home::new();
    let _agent = home.start();
    home.refused("key generate a --token file --type ed25519", 5, "TOKEN_LOCKED");
}

#[test]
fn a_repository_is_made_only_in_an_empty_folder() {
    let (home, _agent) = Home::unlocked();
    home.keys(&["k"]);
    home.write("full/file", "x");
    let init = "--root k --targets k --snapshot k --timestamp k";
    home.refused(&format!("repo init full --name app {init}"), 3, "REPOSITORY_INVALID");
    home.run(&format!("repo init one --name app {init}")).done();
    // Nothing was signed by that name yet: whoever begins anew may have it.
    home.run(&format!("repo init again --name app {init}")).done();
    home.run("sign again --yes").done();
    home.refused(&format!("repo init two --name app {init}"), 3, "NAME_TAKEN");
}

#[test]
fn tables_that_are_reserved_are_refused() {
    for table in
        ["[[grant]]\nx = 1\n", "[[approval]]\nx = 1\n", "[[token]]\nname = \"x\"\n", "nonsense = 1\n"]
    {
        let home = Home::new();
        home.config(table);
        let mut agent = Agent::spawn(&home, std::process::Command::new(binary("tuf-agent")));
        assert!(!agent.wait().success(), "{table}");
        assert!(agent.log().contains("config.toml"), "{}", agent.log());
    }
}

#[test]
fn the_file_store_can_be_renamed_and_taken_away() {
    let home = Home::new();
    home.config("[[token]]\nname = \"disk\"\nkind = \"file\"\n");
    let agent = home.start();
    assert_eq!(home.run("token list --json").done().json()["tokens"][0]["name"], "disk");
    drop(agent);
    home.config("[[token]]\nname = \"disk\"\nkind = \"file\"\nenabled = false\n");
    let _agent = home.start();
    assert_eq!(home.run("token list --json").done().json()["tokens"].as_array().unwrap().len(), 0);
}

#[test]
fn a_reload_takes_a_good_configuration_and_keeps_the_old_one_over_a_bad_one() {
    let home = Home::new();
    home.config("[[token]]\nname = \"disk\"\nkind = \"file\"\n");
    let agent = home.start();
    let name = |home: &Home| home.run("token list --json").done().json()["tokens"][0]["name"].clone();
    home.config("this is not TOML");
    agent.signal("HUP");
    std::thread::sleep(std::time::Duration::from_millis(300));
    assert_eq!(name(&home), "disk");
    home.config("[[token]]\nname = \"other\"\nkind = \"file\"\n");
    agent.signal("HUP");
    let reloaded = (0..100).any(|_| {
        std::thread::sleep(std::time::Duration::from_millis(30));
        name(&home) == "other"
    });
    assert!(reloaded, "{}", agent.log());
}

#[test]
fn a_token_whose_passphrase_is_a_file_unlocks_by_itself() {
    let home = Home::new();
    let file = home.secret("passphrase", PASSPHRASE);
    let agent = home.start();
    home.unlock_file_store();
    home.keys(&["a"]);
    drop(agent);
    home.config(&format!("[[token]]\nname = \"file\"\nkind = \"file\"\npin = {{ file = {file:?} }}\n"));
    let _agent = home.start();
    let unlocked = (0..100).any(|_| {
        std::thread::sleep(std::time::Duration::from_millis(30));
        home.run("token list --json").done().json()["tokens"][0]["state"] == "unlocked"
    });
    assert!(unlocked, "{}", home.run("token list").text());
    home.keys(&["b"]);
}

#[test]
fn the_passphrase_can_be_changed_and_the_old_one_is_then_wrong() {
    let (home, _agent) = Home::unlocked();
    home.published_repository();
    home.secret("new", "another canary 77aa81");
    home.run("token change-pin file --pin-file passphrase --new-pin-file new").done();
    home.run("lock").done();
    home.refused("token unlock file --pin-file passphrase", 5, "PIN_INCORRECT");
    home.run("token unlock file --pin-file new").done();
    home.run("bump repo timestamp").done();
    home.run("sign repo --yes").done();
}

#[test]
fn a_role_that_expires_soon_is_exit_3_of_the_check_and_bump_renews_it() {
    let (home, _agent) = Home::unlocked();
    let repo = home.published_repository();
    home.run("repo show repo --check 30d").exits(3);
    home.run("repo show repo --check 1h").done();
    home.run("bump repo timestamp --if-within 1h").done();
    home.run("sign repo --yes").done();
    assert_eq!(repo.version("timestamp"), 1, "it was not due");
    home.run("bump repo timestamp --if-within 48h").done();
    home.run("sign repo --yes").done();
    assert_eq!(repo.version("timestamp"), 2);
}

#[test]
fn the_journal_holds_what_was_signed_and_its_chain_verifies() {
    let (home, _agent) = Home::unlocked();
    home.published_repository();
    let listed = home.run("audit list --json").done().json();
    assert!(listed.to_string().contains("root"), "{listed}");
    home.run("audit verify").done();
    let exported = home.run("audit export").done().stdout;
    for line in exported.lines() {
        serde_json::from_str::<serde_json::Value>(line).unwrap_or_else(|e| panic!("{e}: {line}"));
    }
    assert!(exported.lines().count() > 4, "{exported}");
}

#[test]
fn completions_and_man_pages_are_there() {
    let home = Home::new();
    for shell in ["bash", "zsh", "fish"] {
        assert!(home.run(&format!("completions {shell}")).done().stdout.contains("tufctl"));
    }
    home.run("man pages").done();
    let page = std::fs::read_to_string(home.path("pages/tufctl.1")).unwrap();
    assert!(page.contains(".TH"), "{page}");
}

#[test]
fn no_secret_is_in_the_log_at_the_finest_level() {
    let home = Home::new();
    let command = std::process::Command::new(binary("tuf-agent"));
    let agent = Agent::start_in_environment(&home, command, &[("TUF_AGENT_LOG", "trace")]);
    home.unlock_file_store();
    home.published_repository();
    home.secret("wrong", "a wrong canary 0d1e2f");
    home.run("token unlock file --pin-file wrong");
    // Dropping the agent searches its log and its state for every secret.
    drop(agent);
}
