//! `token trust`: the very file that a person was shown is trusted, and no file that does not work.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::json;
use softhsm::TokenFolder;
use tufagent_tests::{Agent, Home};

use crate::key_types::home_with_softhsm;
use crate::terminal::talk_in_steps;

/// A token whose module is a file of its own, which was used; the agent is stopped.
fn home_with_a_module() -> Option<(Home, TokenFolder, PathBuf)> {
    let (home, agent, folder) = home_with_softhsm()?;
    drop(agent);
    let table = home.lying_table("own", "build", &folder);
    let lying = lying_pkcs11::module().unwrap().display().to_string();
    let module = home.dir().join("lib/m.so");
    fs::create_dir(home.dir().join("lib")).unwrap();
    put(&module, &fs::read(&lying).unwrap());
    home.config(&table.replace(&lying, &module.display().to_string()));
    drop(started(&home));
    assert_eq!(trusted(&home), digest(&module));
    Some((home, folder, module))
}

/// Put there whole, as package managers do.
fn put(module: &Path, bytes: &[u8]) {
    let new = module.with_extension("new");
    fs::write(&new, bytes).unwrap();
    fs::set_permissions(&new, fs::Permissions::from_mode(0o755)).unwrap();
    fs::rename(&new, module).unwrap();
}

fn started(home: &Home) -> Agent {
    let agent = home.start();
    let end = Instant::now() + Duration::from_secs(20);
    while home.token("own")["state"] == "absent" {
        assert!(Instant::now() < end, "{}", agent.log());
        std::thread::sleep(Duration::from_millis(50));
    }
    agent
}

fn digest(module: &Path) -> String {
    tuf::digest::Sha256Digest::of(&fs::read(module).unwrap()).to_string()
}

/// As it is recorded.
fn trusted(home: &Home) -> String {
    fs::read_to_string(home.state().join("modules/own.sha256")).unwrap().trim_end().to_owned()
}

fn with(module: &Path, more: &[u8]) -> Vec<u8> {
    [fs::read(module).unwrap().as_slice(), more].concat()
}

#[test]
fn a_module_that_is_put_there_while_the_question_is_asked_is_not_trusted() {
    let Some((home, _folder, module)) = home_with_a_module() else { return };
    let first = digest(&module);
    put(&module, &with(&module, b"good"));
    let _agent = started(&home);
    let (shown, evil) = (digest(&module), home.dir().join("evil"));
    fs::write(&evil, with(&module, b"EVIL")).unwrap();
    fs::set_permissions(&evil, fs::Permissions::from_mode(0o755)).unwrap();
    home.lying_desk("own").forget();
    let swap = format!("mv {} {}", evil.display(), module.display());
    let steps = json!([["[y/N] ", "yes\n", swap]]).to_string();
    let Some((code, screen)) = talk_in_steps(&home, "token trust own", &steps) else { return };
    for part in [shown.as_str(), first.as_str(), &module.display().to_string(), "own"] {
        assert!(
            screen.split("[y/N]").next().unwrap().contains(part),
            "{part} is not in the question:\n{screen}"
        );
    }
    let there = digest(&module);
    assert!(code != 0 && there != shown, "{code} {screen}");
    assert!(screen.contains("not as it was shown") && screen.contains(&there), "{screen}");
    assert!(screen.contains("tufctl token trust own"), "{screen}");
    // It was never run, and is trusted by nobody.
    assert_eq!((trusted(&home), home.lying_desk("own").trace().calls("C_Initialize")), (first.clone(), 0));
    assert_eq!(home.token("own")["state"], "failed");
    assert!(home.journalled("token.trust").is_empty());
    // Whoever is shown this one and says yes gets it.
    let Some((code, screen)) =
        talk_in_steps(&home, "token trust own", &json!([["[y/N] ", "yes\n"]]).to_string())
    else {
        return;
    };
    assert_eq!((code, trusted(&home)), (0, there.clone()), "{screen}");
    home.run("token unlock own --pin-file pin").done();
    let journalled = home.journalled("token.trust");
    let body = &journalled[0]["body"];
    let path = module.display().to_string();
    assert_eq!(
        (journalled.len(), &body["path"], &body["trusted_before"], &body["sha256"]),
        (1, &json!(path), &json!(first), &json!(there)),
        "{journalled:?}"
    );
}

#[test]
fn yes_without_a_question_is_for_the_file_that_lay_there() {
    let Some((home, _folder, module)) = home_with_a_module() else { return };
    let first = digest(&module);
    put(&module, &with(&module, b"more"));
    let _agent = started(&home);
    let said = home.run("token trust own --yes --json").done().json();
    let expected = json!({
        "name": "own", "path": module.display().to_string(), "sha256": digest(&module), "trusted_before": first,
    });
    for member in ["name", "path", "sha256", "trusted_before"] {
        assert_eq!(said[member], expected[member], "{said}");
    }
    assert_eq!(trusted(&home), digest(&module));
    // Again: it is trusted already, and stays so.
    assert_eq!(home.run("token trust own --yes --json").done().json()["trusted_before"], digest(&module));
    home.run("token unlock own --pin-file pin").done();
}

#[test]
fn a_module_that_cannot_be_loaded_does_not_take_the_trust_from_the_one_before() {
    let Some((home, _folder, module)) = home_with_a_module() else { return };
    let whole = fs::read(&module).unwrap();
    let first = digest(&module);
    // An upgrade that was cut off.
    put(&module, &whole[..100_000]);
    let agent = started(&home);
    let refused = home.refused("token trust own --yes", 5, "TOKEN_FAILED");
    let message = refused["message"].as_str().unwrap();
    assert!(message.contains("not trusted") && message.contains(&first), "{refused}");
    assert_eq!(trusted(&home), first);
    let problem = home.token("own")["problem"].as_str().unwrap().to_owned();
    assert!(problem.contains(&digest(&module)), "{problem}");
    // Rolled back, it works as before, without a question.
    put(&module, &whole);
    drop(agent);
    let _agent = started(&home);
    assert_eq!(home.token("own")["state"], "locked");
    home.run("token unlock own --pin-file pin").done();
}
