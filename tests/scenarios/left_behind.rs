//! What was left behind by others, or lost half-done: told for what it is, with the command that leads out of it.

use std::fs;

use tufagent_tests::Home;

use crate::forge::Forge;
use crate::printed_commands::{ADOPT, import_forged_keys, write_with_role};

/// A published repository whose snapshot needs two keys, both here.
fn with_two_snapshot_keys() -> (Home, tufagent_tests::Agent) {
    let (home, agent) = Home::unlocked();
    home.keys(&["root", "online", "one", "two"]);
    home.run("repo init repo --name app --root root --targets online --snapshot one,two --timestamp online")
        .done();
    home.run("root set-threshold repo snapshot 2 --yes").done();
    home.run("sign repo --yes").done();
    (home, agent)
}

#[test]
fn a_half_signed_snapshot_that_was_lost_is_got_over_by_the_command_that_is_printed() {
    let (home, _agent) = with_two_snapshot_keys();
    home.run("bump repo targets").done();
    home.run("sign repo --yes --key online,one").exits(4);
    fs::remove_dir_all(home.path("repo/staged")).unwrap();
    home.run("bump repo snapshot --yes").done();
    let error = home.refused("sign repo --yes", 3, "SNAPSHOT_INVALID");
    let remedy = error["remedy"].as_str().unwrap();
    assert!(remedy.contains("tufctl bump repo targets") && remedy.contains("tufctl sign repo"), "{error}");
    home.run("bump repo targets").done();
    home.run("sign repo --yes").done();
    home.run("verify repo --root repo/metadata/1.root.json").done();
}

#[test]
fn a_stale_root_json_is_found_by_lint_and_renewed_by_the_next_publication() {
    let (home, _agent) = Home::unlocked();
    import_forged_keys(&home);
    let mut forge = Forge::new();
    forge.root["consistent_snapshot"] = false.into();
    forge.write(&home.path("repo"));
    home.run(ADOPT).done();
    home.run("bump repo root").done();
    home.run("sign repo --yes").done();
    let metadata = home.path("repo/metadata");
    assert_eq!(home.published("repo").version("root"), 2);
    let stale = || {
        let found = home.run("lint repo --json").json();
        found["findings"].as_array().unwrap().iter().any(|finding| finding["rule"] == "stale-root")
    };
    assert!(!stale());
    fs::remove_file(metadata.join("root.json")).unwrap();
    fs::copy(metadata.join("1.root.json"), metadata.join("root.json")).unwrap();
    assert!(stale());
    let error = home.refused("verify repo --root repo/metadata/1.root.json", 6, "VERIFICATION");
    assert!(error["remedy"].as_str().unwrap().contains("tufctl bump repo timestamp"), "{error}");
    home.run("bump repo timestamp").done();
    home.run("sign repo --yes").done();
    let read = |name: &str| fs::read(metadata.join(name)).unwrap();
    assert!(read("root.json") == read("2.root.json"));
    assert!(!stale());
    home.run("verify repo --root repo/metadata/1.root.json").done();
}

#[test]
fn of_expired_roots_only_the_newest_is_warned_of() {
    for newest_expired in [false, true] {
        let home = Home::new();
        let _agent = home.start();
        let mut forge = Forge::new();
        forge.root["expires"] = "2020-01-01T00:00:00Z".into();
        forge.write(&home.path("repo"));
        forge.root["version"] = 2.into();
        if !newest_expired {
            forge.root["expires"] = "2040-01-01T00:00:00Z".into();
        }
        forge.write(&home.path("repo"));
        let adopted = home.run(ADOPT).done();
        assert_eq!(adopted.stderr.contains("expired"), newest_expired, "{adopted}");
        assert_eq!(adopted.stderr.contains("tufctl bump repo root"), newest_expired, "{adopted}");
    }
}

#[test]
fn a_key_that_is_not_needed_is_not_said_to_be_on_a_locked_token() {
    let home = Home::new();
    let path = home.secret("passphrase", tufagent_tests::PASSPHRASE).display().to_string();
    home.config(&format!("[[token]]\nname = \"file\"\nkind = \"file\"\npin = {{ file = {path:?} }}\n"));
    let agent = home.start();
    home.unlock_file_store();
    home.keys(&["root", "online", "other"]);
    home.run(
        "repo init repo --name app --root root --targets online,other --snapshot online --timestamp online",
    )
    .done();
    home.run("sign repo --yes").done();
    home.run("bump repo targets").done();
    home.run("sign repo --yes --role targets --key online --no-publish").done();
    assert!(agent.stop().success());
    let _agent = home.start();
    let signed = home.run("sign repo --yes").done();
    assert!(signed.stdout.contains("missing") && !signed.stdout.contains("locked"), "{signed}");
}

#[test]
fn a_target_whose_file_changed_is_added_again_by_the_command_that_is_printed() {
    let (home, _agent) = Home::unlocked();
    home.published_repository();
    home.write("new file.txt", "one\n");
    home.run_list(&["target", "add", "repo", "new file.txt", "--path", "n/it's.txt"]).done();
    home.write("new file.txt", "two\n");
    let error = home.refused("sign repo --yes", 3, "TARGET_CHANGED");
    let remedy = error["remedy"].as_str().unwrap().to_owned();
    let (_, command) = remedy.split_once(": ").expect("a command");
    crate::printed_commands::paste(&home, command, "n/it's.txt");
    home.run("sign repo --yes").done();
}

#[test]
fn a_target_that_several_roles_could_take_is_said_to_go_to_the_first_of_them() {
    let (home, _agent) = Home::unlocked();
    home.published_repository();
    home.keys(&["docs"]);
    for role in ["first", "second"] {
        home.run(&format!("delegation add repo {role} --key docs --paths shared/*")).done();
    }
    home.write("x.txt", "x\n");
    let added = home.run("target add repo x.txt --path shared/").done();
    assert!(
        added.stderr.contains("shared/x.txt goes to first") && added.stderr.contains("second too"),
        "{added}"
    );
    let added = home.run("target add repo x.txt --path shared/ --role second").done();
    assert!(!added.stderr.contains("goes to"), "{added}");
    let added = home.run("target add repo x.txt --path other/").done();
    assert!(!added.stderr.contains("goes to"), "{added}");
}

#[test]
fn lengths_that_others_have_staged_are_shown_before_they_are_taken_on() {
    let (ann, _ann_agent) = Home::unlocked();
    ann.keys(&["root", "online"]);
    ann.run(
        "repo init repo --name app --root root --targets online --snapshot online --timestamp online \
         --expires root=36500d --expires timestamp=1000d",
    )
    .done();
    let (bob, _bob_agent) = Home::unlocked();
    ann.published("repo").copy_to(&bob.path("repo"));
    let asked = bob.run("sign repo").exits(3);
    assert!(
        asked.stderr.contains("root is valid for 36500 days as it is staged, in place of 365"),
        "{asked}"
    );
    assert!(!asked.stderr.contains("targets is valid"), "{asked}");
}

#[test]
fn what_no_client_reads_alike_is_refused_with_role_and_section_by_every_command() {
    type Change = fn(&mut Forge);
    let cases: [(&str, Change); 3] = [
        ("targets", |forge| {
            let keys = forge.targets["delegations"]["keys"].as_object_mut().unwrap();
            let key = keys.values().next().unwrap().clone();
            keys.insert("k".repeat(257), key);
        }),
        ("timestamp", |forge| forge.timestamp["version"] = (1_u64 << 53).into()),
        ("snapshot", |forge| forge.snapshot["meta"]["targets.json"]["version"] = u64::MAX.into()),
    ];
    for (role, change) in cases {
        let (home, _agent) = Home::unlocked();
        let mut forge = Forge::new();
        change(&mut forge);
        forge.write(&home.path("repo"));
        let is_told = |error: &serde_json::Value| {
            assert_eq!(error["details"]["role"], role, "{error}");
            assert!(error["details"]["spec"].is_string() && error["details"]["file"].is_string(), "{error}");
        };
        is_told(&home.refused("verify repo --root repo/metadata/1.root.json", 6, "VERIFICATION"));
        is_told(&home.refused(ADOPT, 3, "METADATA_INVALID"));
        let found = home.run("lint repo --json").exits(6).json();
        assert!(found["findings"].as_array().unwrap().iter().any(|it| it["role"] == role), "{found}");
        // It gets there once the repository is known.
        let bad = home.path("bad");
        fs::rename(home.path("repo"), &bad).unwrap();
        import_forged_keys(&home);
        Forge::new().write(&home.path("repo"));
        home.run(ADOPT).done();
        home.run("bump repo team").done();
        let name = if role == "timestamp" { "timestamp.json".to_owned() } else { format!("1.{role}.json") };
        fs::copy(bad.join("metadata").join(&name), home.path("repo/metadata").join(&name)).unwrap();
        is_told(&home.refused("sign repo --yes", 3, "METADATA_INVALID"));
    }
}

#[test]
fn a_role_with_a_percent_sign_that_lies_there_under_its_plain_name_is_found_and_stays_so() {
    let (home, _agent) = Home::unlocked();
    import_forged_keys(&home);
    let name = "100% sure";
    write_with_role(&home, name, name);
    home.run("verify repo --root repo/metadata/1.root.json").done();
    home.run(ADOPT).done();
    home.run_list(&["bump", "repo", name]).done();
    home.run("sign repo --yes").done();
    let repo = home.published("repo");
    assert!(
        repo.has("2.100% sure.json") && !repo.has("2.100%25%20sure.json"),
        "{:?}",
        repo.names("metadata")
    );
    home.run("verify repo --root repo/metadata/1.root.json").done();
    // What could be the encoded name of another role's file is not taken for it.
    let other = Home::new();
    write_with_role(&other, "a%20b", "a%20b");
    other.refused("verify repo --root repo/metadata/1.root.json", 6, "VERIFICATION");
}

#[test]
fn a_published_file_that_was_lost_or_cut_is_put_back_by_adding_it_again() {
    let (home, _agent) = Home::unlocked();
    let repo = home.published_repository();
    home.write("lost.txt", "hello\n");
    home.run("target add repo lost.txt").done();
    home.run("sign repo --yes").done();
    let found = repo.names("targets").into_iter().find(|name| name.ends_with("lost.txt")).unwrap();
    let file = repo.dir().join("targets").join(found);
    let verify = "verify repo --root repo/metadata/1.root.json";
    for damage in ["lost", "cut"] {
        fs::remove_file(&file).unwrap();
        if damage == "cut" {
            fs::write(&file, "he").unwrap();
        }
        home.run(verify).exits(6);
        let told = home.run("target add repo lost.txt --json").done().json();
        assert_eq!(
            (&told["put_back"], &told["staged"]),
            (&1.into(), &serde_json::json!([])),
            "{damage}: {told}"
        );
        home.run(verify).done();
    }
    let told = home.run("target add repo lost.txt").done();
    assert!(!told.stdout.contains("put"), "{told}");
    // Other content is another version, as ever.
    home.write("lost.txt", "other\n");
    let told = home.run("target add repo lost.txt --json").done().json();
    assert_eq!((&told["put_back"], &told["staged"][0]["role"]), (&0.into(), &"targets".into()), "{told}");
}

#[test]
fn a_key_that_is_lost_is_replaced_by_the_name_or_the_digits_that_the_screen_shows() {
    let (home, _agent) = Home::unlocked();
    home.keys(&["root", "lost", "gone", "online", "new"]);
    home.run("repo init repo --name app --root root --targets lost --snapshot online --timestamp online")
        .done();
    home.run("delegation add repo team --key gone --threshold 1 --paths x/*").done();
    home.run("sign repo --yes").done();
    for key in ["lost", "gone"] {
        home.run(&format!("key remove {key} --force --yes")).done();
    }
    assert!(home.run("repo show repo").done().stdout.contains("lost"));
    home.run("root replace-key repo targets --old lost --new new --yes").done();
    fs::remove_file(home.path("repo/.key-names.json")).unwrap();
    let shown = home.run("repo show repo --json").done().json();
    let team = shown["roles"].as_array().unwrap().iter().find(|role| role["role"] == "team").unwrap();
    let digits = &team["keyids"][0].as_str().unwrap()[..8];
    home.run(&format!("delegation edit repo team --add-key new --remove-key {digits} --yes")).done();
    home.run("sign repo --yes").done();
    home.refused("root replace-key repo targets --old nobody --new root", 3, "KEY_NOT_FOUND");
}
