//! Bad input, first half: requests that must be refused with nothing half-written.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use tufagent_tests::{Home, PASSPHRASE};

use crate::key_types::home_with_softhsm;

/// Every file below a folder with its content.
fn everything(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut all = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            all.extend(everything(&path));
        } else {
            all.push((path.clone(), fs::read(path).unwrap()));
        }
    }
    all.sort();
    all
}

/// The request is refused, and the repository folder is byte for byte what it was.
#[track_caller]
fn refused_and_untouched(home: &Home, arguments: &str, codes: &[i32], reasons: &[&str]) -> Value {
    let before = everything(&home.path("repo"));
    let outcome = home.run(&format!("{arguments} --json"));
    assert!(codes.contains(&outcome.code), "{outcome}");
    let error = outcome.json()["error"].clone();
    assert!(reasons.iter().any(|reason| error["reason"] == *reason), "{outcome}");
    for part in ["message", "remedy"] {
        assert!(error[part].as_str().is_some_and(|it| !it.is_empty()), "no {part}: {outcome}");
    }
    assert_eq!(everything(&home.path("repo")), before, "something was written: {outcome}");
    error
}

#[test]
fn other_content_under_a_signed_version_is_refused_journalled_and_shows_the_earlier_digest() {
    let (home, _agent) = Home::unlocked();
    let repo = home.published_repository();
    let old = repo.copy_to(&home.path("old"));
    home.write("more.txt", "more\n");
    home.run("target add repo more.txt").done();
    home.run("sign repo --yes").done();
    // The repository as it was before version 2, and another version 2.
    fs::remove_dir_all(repo.dir()).unwrap();
    old.copy_to(repo.dir());
    home.write("other.txt", "other\n");
    home.run("target add repo other.txt").done();
    let error = refused_and_untouched(&home, "sign repo --yes", &[3], &["WATERMARK"]);
    let details = &error["details"];
    assert_eq!((&details["role"], &details["version"]), (&"targets".into(), &2.into()), "{error}");
    let digest = details["signed_sha256"].as_str().unwrap();
    assert_eq!(digest.len(), 64, "{error}");
    assert!(error["message"].as_str().unwrap().contains(digest.get(..8).unwrap()), "{error}");
    let journal = home.run("audit list --json").done().stdout;
    assert!(journal.contains("WATERMARK"), "the refusal is not in the journal");
    home.run("audit verify").done();
}

#[test]
fn a_version_below_the_watermark_is_refused() {
    let (home, _agent) = Home::unlocked();
    let repo = home.published_repository();
    let old = repo.copy_to(&home.path("old"));
    for round in 0..3 {
        home.write(&format!("more-{round}.txt"), "more\n");
        home.run(&format!("target add repo more-{round}.txt")).done();
        home.run("sign repo --yes").done();
    }
    fs::remove_dir_all(repo.dir()).unwrap();
    old.copy_to(repo.dir());
    home.run("target remove repo app.txt").done();
    refused_and_untouched(&home, "sign repo --yes", &[3], &["WATERMARK"]);
    // The remedy: the next free version, by a person who has seen the difference.
    home.run("bump repo targets --yes").done();
    let signed = home.run("sign repo --yes --json").done().json();
    assert_eq!(signed["signed"][0]["version"], 5, "{signed}");
}

#[test]
fn two_contents_that_were_staged_side_by_side_cannot_both_be_signed() {
    let (home, _agent) = Home::unlocked();
    let repo = home.published_repository();
    home.write("more.txt", "more\n");
    home.write("other.txt", "other\n");
    home.run("target add repo more.txt").done();
    repo.copy_to(&home.path("copy"));
    home.run("target add copy other.txt").done();
    home.run("sign copy --yes --no-publish").done();
    refused_and_untouched(&home, "sign repo --yes", &[3], &["WATERMARK"]);
}

#[test]
fn what_was_signed_and_not_published_goes_on_as_the_next_version() {
    let (home, _agent) = Home::unlocked();
    let repo = home.published_repository();
    home.run("bump repo targets").done();
    home.run("sign repo --yes --no-publish").done();
    home.write("more.txt", "more\n");
    home.run("target add repo more.txt --yes").done();
    home.run("sign repo --yes").done();
    assert_eq!(repo.version("targets"), 3);
}

#[test]
fn the_same_content_may_be_signed_again() {
    let (home, _agent) = Home::unlocked();
    home.small_repository();
    home.write("app.txt", "hello\n");
    home.run("target add repo app.txt").done();
    home.published("repo").copy_to(&home.path("copy"));
    home.run("sign repo --no-publish --yes").done();
    home.run("sign copy --no-publish --yes").done();
}

#[test]
fn a_key_that_nobody_has_is_refused() {
    let (home, _agent) = Home::unlocked();
    home.keys(&["online"]);
    let error = home.refused(
        "repo init repo --name app --root nobody --targets online --snapshot online --timestamp online",
        3,
        "KEY_NOT_FOUND",
    );
    assert!(error["message"].as_str().unwrap().contains("nobody"), "{error}");
    assert!(!home.path("repo").join("staged").exists());
    home.keys(&["root"]);
    home.run("repo init repo --name app --root root --targets online --snapshot online --timestamp online")
        .done();
    refused_and_untouched(&home, "sign repo --key nobody --yes", &[3], &["KEY_NOT_FOUND"]);
}

#[test]
fn a_key_that_is_not_of_the_role_is_refused() {
    let (home, _agent) = Home::unlocked();
    home.published_repository();
    home.keys(&["stranger"]);
    home.run("bump repo targets").done();
    refused_and_untouched(&home, "sign repo --role targets --key root --yes", &[3], &["KEY_NOT_OF_ROLE"]);
    refused_and_untouched(&home, "sign repo --key stranger --yes", &[3], &["KEY_NOT_OF_ROLE"]);
}

#[test]
fn a_locked_token_is_exit_5_and_unlocking_helps() {
    let (home, _agent) = Home::unlocked();
    home.published_repository();
    home.run("bump repo targets").done();
    home.run("lock").done();
    refused_and_untouched(&home, "sign repo --yes", &[5], &["TOKEN_LOCKED"]);
    refused_and_untouched(&home, "sign repo --key online --yes", &[5], &["TOKEN_LOCKED"]);
    home.unlock_file_store();
    home.run("sign repo --yes").done();
}

#[test]
fn a_wrong_passphrase_is_exit_5_and_the_right_one_still_works() {
    let (home, _agent) = Home::unlocked();
    home.run("token lock file").done();
    home.secret("wrong", "not the canary of this store");
    home.refused("token unlock file --pin-file wrong", 5, "PIN_INCORRECT");
    assert_eq!(home.run("token list --json").done().json()["tokens"][0]["state"], "locked");
    home.unlock_file_store();
}

#[test]
fn a_passphrase_file_that_others_can_read_is_refused() {
    use std::os::unix::fs::PermissionsExt;
    let home = Home::new();
    let _agent = home.start();
    let file = home.secret("open", PASSPHRASE);
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    home.refused("token unlock file --pin-file open", 5, "SECRET_FILE");
}

#[test]
fn a_key_that_is_not_on_the_token_any_more_is_refused() {
    let (home, agent) = Home::unlocked();
    home.published_repository();
    home.run("bump repo targets").done();
    drop(agent);
    fs::remove_file(home.state().join("keys/online.key")).unwrap();
    let _agent = home.start();
    home.unlock_file_store();
    refused_and_untouched(&home, "sign repo --key online --yes", &[3, 5], &["KEY_NOT_FOUND"]);
}

#[test]
fn a_softhsm_folder_that_is_gone_is_a_refusal_and_coming_back_helps() {
    let Some((home, _agent, folder)) = home_with_softhsm() else { return };
    for name in ["root", "online"] {
        home.run(&format!("key generate {name} --token hsm --type ecdsa-p256")).done();
    }
    home.run("repo init repo --name app --root root --targets online --snapshot online --timestamp online")
        .done();
    let away = folder.tokens_dir().with_extension("away");
    fs::rename(folder.tokens_dir(), &away).unwrap();
    let codes = [3, 5];
    let reasons = ["TOKEN_ABSENT", "TOKEN_FAILED", "TOKEN_LOCKED", "KEY_NOT_FOUND"];
    refused_and_untouched(&home, "sign repo --yes", &codes, &reasons);
    home.run("status").done();
    fs::rename(&away, folder.tokens_dir()).unwrap();
    unlock_and_sign(&home);
}

#[test]
fn a_killed_helper_is_started_again() {
    let Some((home, _agent, _folder)) = home_with_softhsm() else { return };
    for name in ["root", "online"] {
        home.run(&format!("key generate {name} --token hsm --type ecdsa-p256")).done();
    }
    home.run("repo init repo --name app --root root --targets online --snapshot online --timestamp online")
        .done();
    let token = |home: &Home| {
        let list = home.run("token list --json").done().json();
        list["tokens"].as_array().unwrap().iter().find(|it| it["name"] == "hsm").unwrap().clone()
    };
    let pid = token(&home)["helper_pid"].as_u64().unwrap();
    assert!(std::process::Command::new("kill").args(["-KILL", &pid.to_string()]).status().unwrap().success());
    let before = everything(&home.path("repo"));
    let outcome = home.run("sign repo --yes --json");
    assert!([0, 3, 4, 5].contains(&outcome.code), "{outcome}");
    if outcome.code != 0 {
        assert_eq!(everything(&home.path("repo")), before, "something was written: {outcome}");
    }
    unlock_and_sign(&home);
    assert_ne!(token(&home)["helper_pid"], pid);
}

/// Signs, within the seconds that a token may take to come back.
#[track_caller]
fn unlock_and_sign(home: &Home) {
    for _ in 0..50 {
        if home.run("token unlock hsm --pin-file pin").code == 0 {
            let signed = home.run("sign repo --yes --json").done().json();
            assert_eq!(signed["published"], true, "{signed}");
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    panic!("the token does not come back: {}", home.run("token list").text());
}

#[test]
fn target_names_that_are_unsafe_or_that_clients_cannot_fetch_are_refused() {
    let (home, _agent) = Home::unlocked();
    home.published_repository();
    home.write("x.txt", "x\n");
    let bad = [
        "../x.txt",
        "a/../x.txt",
        "/etc/x.txt",
        "a//x.txt",
        "./x.txt",
        "a/\u{1b}[31mx.txt",
        "a/new\nline.txt",
        "a/\u{202e}txt.x",
        "a/e\u{301}.txt",
        "a/x#1.txt",
        "a/x?.txt",
        "a/x%20.txt",
        "a\\x.txt",
    ];
    for name in bad {
        let before = everything(&home.path("repo"));
        let outcome = home.run_list(&["target", "add", "repo", "x.txt", "--path", name, "--json"]);
        outcome.refused(3, "TARGET_NAME");
        assert_eq!(everything(&home.path("repo")), before, "{name:?} was written");
    }
}

#[test]
fn unsafe_target_names_that_somebody_staged_are_never_signed() {
    let (home, _agent) = Home::unlocked();
    let repo = home.published_repository();
    home.run("bump repo targets").done();
    let staged = repo.dir().join("staged/targets.json");
    let text = fs::read_to_string(&staged).unwrap();
    let at = text.find("\"app.txt\"").unwrap();
    for name in ["../../evil.txt", "/tmp/evil.txt", "a//b", "a\\u202eb", "a\\u001b[2J"] {
        let hash = "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03";
        let target = format!("\"{name}\": {{\"hashes\": {{\"sha256\": \"{hash}\"}}, \"length\": 6}}, ");
        fs::write(&staged, format!("{}{target}{}", &text[..at], &text[at..])).unwrap();
        refused_and_untouched(&home, "sign repo --yes", &[3], &["TARGET_NAME"]);
    }
    fs::write(&staged, text).unwrap();
    home.run("sign repo --yes").done();
}

#[test]
fn patterns_that_stock_clients_read_differently_are_refused_or_warned_about() {
    let (home, _agent) = Home::unlocked();
    home.published_repository();
    home.keys(&["docs"]);
    for (number, pattern) in ["d/**", "d/[ab]", "d/!(b)", "d/{a}"].into_iter().enumerate() {
        let role = format!("docs-{number}");
        let outcome =
            home.run_list(&["delegation", "add", "repo", &role, "--key", "docs", "--paths", pattern]);
        let warned = outcome.code == 0 && outcome.stderr.contains(pattern);
        assert!(outcome.code == 3 || warned, "{outcome}");
    }
}

#[test]
fn a_file_that_changes_between_add_and_sign_is_refused() {
    let (home, _agent) = Home::unlocked();
    home.small_repository();
    home.write("app.txt", "hello\n");
    home.run("target add repo app.txt").done();
    home.write("app.txt", "HELLO\n");
    let error = refused_and_untouched(&home, "sign repo --yes", &[3], &["TARGET_CHANGED"]);
    assert!(error["message"].as_str().unwrap().contains("app.txt"), "{error}");
}
