//! A build machine that signs unattended, by the very commands of the example workflow.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use softhsm::SoftHsm;
use tufagent_tests::{Agent, Home, binary, is_root, need, run_to_end};

use crate::colleagues::hand_over;
use crate::confinement::{landlock, without_limits};
use crate::judges::{Judges, Reads};

/// What each step of the workflow runs, by the step's name.
fn steps() -> BTreeMap<String, String> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../softhsm/example-workflow.yml");
    let (mut steps, mut name, mut running) = (BTreeMap::new(), String::new(), false);
    for line in fs::read_to_string(file).unwrap().lines() {
        let inside = line.strip_prefix("          ");
        if let (true, Some(command)) = (running, inside) {
            let script: &mut String = steps.entry(name.clone()).or_default();
            script.push_str(command);
            script.push('\n');
            continue;
        }
        running = line.trim() == "run: |";
        if let Some(named) = line.trim().strip_prefix("- name: ") {
            name = named.to_owned();
        }
    }
    steps
}

/// A machine with the commands on its PATH; as root, `tuf-agent` is told that this is meant.
fn machine() -> Home {
    let home = Home::new();
    let bin = home.dir().join("bin");
    fs::create_dir(&bin).unwrap();
    for name in ["tufctl", "tuf-agent-softhsm"] {
        symlink(binary(name), bin.join(name)).unwrap();
    }
    let agent = bin.join("tuf-agent");
    let allow = if is_root() { "--allow-root" } else { "" };
    fs::write(&agent, format!("#!/bin/sh\nexec {} {allow} \"$@\"\n", binary("tuf-agent").display())).unwrap();
    fs::set_permissions(&agent, fs::Permissions::from_mode(0o755)).unwrap();
    home
}

/// Runs a script as the CI service does; what it says holds no PIN.
#[track_caller]
fn run(home: &Home, script: &str) {
    let mut command = Command::new("bash");
    home.environment(&mut command);
    let path = format!("{}:{}", home.dir().join("bin").display(), std::env::var("PATH").unwrap());
    command.env("PATH", path).env("GITHUB_REF_NAME", "v1.0");
    command.env("TUFAGENT_THIRD_PARTY", softhsm::third_party_dir().unwrap());
    command.args(["-e", "-o", "pipefail", "-c", &script.replace("PROJECT", "app")]);
    let done = run_to_end(&mut command).done();
    let pin = fs::read_to_string(home.dir().join("home/signing/hsm-pin")).unwrap_or_default();
    assert!(pin.is_empty() || !done.text().contains(pin.trim()), "a step printed the PIN");
}

#[test]
fn the_example_workflow_makes_a_token_and_signs_a_release_unattended() {
    if need(SoftHsm::find_or_fetch()).is_none() {
        return;
    }
    let steps = steps();
    let home = machine();
    let people = ["ann", "ben"].map(|name| {
        let (person, agent) = Home::unlocked();
        person.keys(&[name]);
        hand_over(&person, &home, name);
        (person, agent)
    });
    // A run that was cut off is said again: what is there stays.
    run(&home, &steps["Make the PIN and the token"]);
    run(&home, &steps["Make the PIN and the token"]);
    run(&home, &steps["Make the key and the repository"]);
    let signing = home.dir().join("home/signing");
    home.published("../home/signing/repo").copy_to(&people[0].0.path("repo"));
    people[0].0.run("sign repo --yes").exits(4);
    people[0].0.published("repo").copy_to(&people[1].0.path("repo"));
    let by_both = people[1].0.run("sign repo --yes");
    assert!([0, 4].contains(&by_both.code), "{by_both}");
    people[1].0.published("repo").copy_to(&home.path("theirs"));
    // The agent comes up as it does in each step, and goes with it.
    let step = &steps["Make the key and the repository"];
    let waits = step.find("until tufctl").unwrap();
    let up = &step[..=waits + step[waits..].find('\n').unwrap()];
    assert!(up.contains("tuf-agent 3<"), "{up}");
    run(&home, &(up.to_owned() + "tufctl sign \"$HOME/signing/repo\" --from theirs --yes"));
    home.write("dist/app.tar.gz", "a release");
    run(&home, &steps["Sign and check the release"]);
    let repo = home.published("../home/signing/repo");
    Judges::new(&home, "fresh", Reads::All).accept(&repo, &["v1.0/app.tar.gz"]);
    // The PIN is in its file alone.
    let pin = fs::read_to_string(signing.join("hsm-pin")).unwrap();
    home.secret("pin", pin.trim());
    home.assert_no_secret_in(&home.dir().join("config/tuf-agent/config.toml"));
    home.assert_no_secret_in(&home.state().join("ledger.db"));
}

#[test]
fn a_token_whose_pin_is_a_systemd_credential_signs_without_a_person() {
    if need(SoftHsm::find_or_fetch()).is_none() {
        return;
    }
    let home = machine();
    let credentials = home.dir().join("credentials");
    fs::create_dir(&credentials).unwrap();
    fs::rename(home.secret("hsm-pin", "credential-pin-77aa"), credentials.join("hsm-pin")).unwrap();
    let pin_file = credentials.join("hsm-pin").display().to_string();
    run(
        &home,
        &format!("tuf-agent-softhsm token --label release --pin-file {pin_file} --pin credential:hsm-pin"),
    );
    let directory = credentials.display().to_string();
    let start = || {
        let command = Command::new(binary("tuf-agent"));
        Agent::start_in_environment(&home, command, &[("CREDENTIALS_DIRECTORY", &directory)])
    };
    let agent = start();
    let token = home.token("release");
    assert_eq!(token["confined"], landlock().is_ok(), "{token}");
    for name in ["root", "online"] {
        home.run(&format!("key generate {name} --token release --type ed25519")).done();
    }
    home.run("repo init repo --name app --root root --targets online --snapshot online --timestamp online")
        .done();
    home.run("sign repo --yes").done();
    assert!(agent.stop().success());
    let _agent = start();
    home.run("bump repo timestamp").done();
    home.run("sign repo --yes").done();
    Judges::new(&home, "fresh", Reads::All).accept(&home.published("repo"), &[]);
}

#[test]
fn a_token_is_made_once_and_a_configuration_that_names_another_is_left_alone() {
    if need(SoftHsm::find_or_fetch()).is_none() {
        return;
    }
    let home = machine();
    home.secret("pin-file", "tool-pin-1234");
    let config = home.dir().join("config/tuf-agent/config.toml");
    let line = "tuf-agent-softhsm token --label build --pin-file pin-file --pin file:/run/pin";
    run(&home, line);
    let first = fs::read_to_string(&config).unwrap();
    run(&home, line);
    assert_eq!(fs::read_to_string(&config).unwrap(), first);
    assert_eq!(fs::metadata(&config).unwrap().permissions().mode() & 0o777, 0o600);
    // It is confined to the folder of its tokens; one that an earlier version wrote is the same token.
    let tokens = home.path("token/tokens").display().to_string();
    assert!(first.contains(&format!("\npaths = [{tokens:?}]\nnetwork = false\n")), "{first}");
    let earlier = without_limits(&first);
    fs::write(&config, &earlier).unwrap();
    run(&home, line);
    assert_eq!(fs::read_to_string(&config).unwrap(), earlier);
    fs::write(&config, &first).unwrap();
    // Another folder under the same name would hide the first token.
    run(
        &home,
        "if tuf-agent-softhsm other --label build --pin-file pin-file 2> said; then exit 9; fi; \
         grep -q 'names another token build' said; test ! -e other/tokens/*/token.object",
    );
    assert_eq!(fs::read_to_string(&config).unwrap(), first);
    // It joins what is there.
    run(
        &home,
        "tuf-agent-softhsm other --label second --pin-file pin-file; test $(grep -c token]] \"$XDG_CONFIG_HOME/tuf-agent/config.toml\") = 2",
    );
    // A PIN that others can read, one that is too short, and wrong words are refused.
    run(
        &home,
        "code=0; chmod 644 pin-file; tuf-agent-softhsm more --label extra --pin-file pin-file || code=$?; \
         test $code = 1; chmod 600 pin-file; (umask 077; echo 123 > short); \
         code=0; tuf-agent-softhsm more --label extra --pin-file short || code=$?; test $code = 1; \
         code=0; tuf-agent-softhsm more --label extra || code=$?; test $code = 2",
    );
    assert!(!fs::read_to_string(&config).unwrap().contains("extra"));
}

#[test]
fn what_the_agent_would_refuse_is_refused_before_anything_is_made() {
    if need(SoftHsm::find_or_fetch()).is_none() {
        return;
    }
    let home = machine();
    home.secret("pin-file", "tool-pin-1234");
    let config = home.dir().join("config/tuf-agent/config.toml");
    let refused = |words: &str, why: &str| {
        run(
            &home,
            &format!(
                "code=0; tuf-agent-softhsm made {words} --pin-file pin-file 2> said || code=$?; cat said; \
                 test $code = 1; grep -qF '{why}' said; test ! -e made"
            ),
        );
    };
    for (words, why) in [
        ("--label 'my label'", "the character"),
        ("--label build --name a/b", "the character"),
        ("--label file", "belongs to the file store"),
        ("--label build --unlock-for never", "unlock_for must be"),
        ("--label build --unlock-for 10", "unlock_for must be"),
        ("--label build --pin credential:..", "credential"),
        ("--label \"$(printf 'a\\tb')\" --name build", "control character"),
        ("--label 'build ' --name build", "space"),
    ] {
        refused(words, why);
        assert!(!config.exists(), "{words}");
    }
    // A configuration that the agent refuses as it is stays as it is.
    fs::create_dir_all(config.parent().unwrap()).unwrap();
    fs::write(&config, "allow_groups = [\n").unwrap();
    refused("--label build", "as it is");
    assert_eq!(fs::read_to_string(&config).unwrap(), "allow_groups = [\n");
    run(
        &home,
        &format!(
            "code=0; tuf-agent --check --config {0} 2> said || code=$?; test $code = 1; grep -qF 'line 1' said; \
             rm {0}; tuf-agent --check",
            config.display()
        ),
    );
    // What it writes the agent takes, also after a file without a last newline.
    fs::write(&config, "allow_groups = []").unwrap();
    run(
        &home,
        "tuf-agent-softhsm made --label 'my \"label\"' --name a.b_c-d --unlock-for 8h --pin-file pin-file; tuf-agent --check",
    );
    assert!(fs::read_to_string(&config).unwrap().starts_with("allow_groups = []\n\n[[token]]\n"));
}

#[test]
fn runs_at_once_make_one_token_and_one_with_another_pin_says_so() {
    if need(SoftHsm::find_or_fetch()).is_none() {
        return;
    }
    let home = machine();
    home.secret("pin-file", "tool-pin-1234");
    home.secret("other-pin", "tool-pin-5678");
    let line = "tuf-agent-softhsm token --label build --pin-file pin-file";
    run(
        &home,
        &format!(
            "for n in 1 2 3 4; do {line} > said-$n & all=\"$all $!\"; done; for one in $all; do wait $one; done; \
             test $(cat said-* | grep -c 'was made') = 1; test $(ls token/tokens | wc -l) = 1"
        ),
    );
    let config = home.dir().join("config/tuf-agent/config.toml");
    let written = fs::read_to_string(&config).unwrap();
    assert_eq!(written.matches("[[token]]").count(), 1, "{written}");
    run(
        &home,
        "code=0; tuf-agent-softhsm token --label build --pin-file other-pin 2> said || code=$?; cat said; \
         test $code = 1; grep -qF 'its PIN is not the one in other-pin' said",
    );
    // Several into one configuration: none is lost.
    run(
        &home,
        "all=; for n in 1 2 3 4; do tuf-agent-softhsm folder-$n --label token-$n --pin-file pin-file & all=\"$all $!\"; \
         done; for one in $all; do wait $one; done",
    );
    assert_eq!(fs::read_to_string(&config).unwrap().matches("[[token]]").count(), 5);
}
