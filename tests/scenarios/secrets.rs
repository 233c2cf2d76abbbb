//! Secrets stand in no log, reply, journal, error or file, whatever is logged.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use softhsm::SoftHsm;
use tufagent_tests::{Agent, Home, PASSPHRASE, PIN, binary, need};

/// A key that is known to this test alone: RFC 8032 section 7.1, test 1.
const SEED: [u8; 32] = [
    0x9d, 0x61, 0xb1, 0x9d, 0xef, 0xfd, 0x5a, 0x60, 0xba, 0x84, 0x4a, 0xf4, 0x92, 0xec, 0x2c, 0xc4, 0x44,
    0x49, 0xc5, 0x69, 0x7b, 0x32, 0x69, 0x19, 0x70, 0x3b, 0xac, 0x03, 0x1c, 0xae, 0x7f, 0x60,
];
/// The same as a PKCS#8 file.
const PEM: &str = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g\n-----END PRIVATE KEY-----\n";

fn files_below(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files_below(&path) } else { vec![path] }).collect()
}

/// The forms in which a secret could have been written.
fn forms() -> Vec<(&'static str, Vec<u8>)> {
    let hex: String = SEED.iter().map(|byte| format!("{byte:02x}")).collect();
    let list: Vec<_> = SEED.iter().map(u8::to_string).collect();
    let of_passphrase: String = PASSPHRASE.bytes().map(|byte| format!("{byte:02x}")).collect();
    vec![
        ("the seed", SEED.to_vec()),
        ("the seed in hex", hex.clone().into_bytes()),
        ("the seed in upper case hex", hex.to_uppercase().into_bytes()),
        ("the seed in base64", b"nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2".to_vec()),
        ("the seed in the base64 of its file", b"J1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g".to_vec()),
        ("the seed as a list", list.join(", ").into_bytes()),
        ("the passphrase", PASSPHRASE.into()),
        ("the passphrase in hex", of_passphrase.into_bytes()),
        ("the PIN", PIN.into()),
        ("the wrong passphrase", b"canary of a wrong passphrase".to_vec()),
        ("the wrong PIN", b"canary-wrong-pin".to_vec()),
    ]
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
    let written = ["state", "run", "config", "home"].map(|name| files_below(&home.dir().join(name)));
    let repository = files_below(&home.path("repo"));
    let mut files: Vec<PathBuf> = written.into_iter().flatten().chain(repository).collect();
    files.push(home.log());
    said.extend(files.iter().map(|file| (file.display().to_string(), fs::read(file).unwrap_or_default())));
    for (what, secret) in forms() {
        for (place, bytes) in &said {
            assert!(!bytes.windows(secret.len()).any(|window| window == secret), "{what} stands in {place}");
        }
    }
}
