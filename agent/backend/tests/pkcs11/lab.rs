//! A private SoftHSM with a token, and what the tests do with it.

use std::time::{Duration, Instant};

use backend::doctor::Diagnosis;
use backend::pkcs11::{Asking, Attempts, Card, Limits, Pkcs11Config, Pkcs11Token, Settle, Tally};
use backend::{Backend, BackendError, TokenState};
use lying_pkcs11::Desk;
use secmem::SecretBytes;
use softhsm::{Skipped, SoftHsm, TokenFolder};
use tuf::key::{PublicKey, SignatureBytes};
use tuf::preimage::{Signable, Statement, StatementKind};

use crate::real::config_of;

pub const PIN: &str = "123456";

pub fn softhsm() -> Result<SoftHsm, Skipped> {
    SoftHsm::find_or_fetch()
}

/// A folder of SoftHSM's with one token named "lab".
pub struct Lab {
    pub dir: tempfile::TempDir,
    pub folder: TokenFolder,
    pub token: softhsm::Token,
}

impl Lab {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let folder = softhsm().unwrap().folder(&dir.path().join("hsm")).unwrap();
        let token = folder.init_token("lab", "so-12345678", PIN).unwrap();
        Self { dir, folder, token }
    }

    pub fn config(&self, name: &str) -> Pkcs11Config {
        Pkcs11Config { limits: Limits::default(), ..config_of(&self.folder.ready(&self.token), name) }
    }

    /// The token behind the lying module; what it does stands in the control file.
    pub fn lying_config(&self, name: &str) -> Pkcs11Config {
        let mut config = self.config(name);
        let lying = lying_pkcs11::module().expect("liblying_pkcs11.so lies beside the test program");
        let real = std::mem::replace(&mut config.module, lying);
        config.env.extend(self.desk().env(&real));
        config
    }

    /// What the lying module is told, and what it was asked.
    pub fn desk(&self) -> Desk {
        Desk::new(self.dir.path())
    }

    pub fn say(&self, lie: &str) {
        self.desk().say(lie);
    }

    pub fn traced(&self, call: &str) -> usize {
        self.desk().trace().calls(call)
    }
}

/// Lets a PIN be presented once more where the module knows no login for one signature.
struct NoLedger;

impl Tally for NoLedger {
    fn count(&self, _: &Card) -> Option<Settle> {
        Some(Box::new(drop))
    }
}

/// Takes a token in and waits until it was looked at.
pub fn start(config: Pkcs11Config) -> Pkcs11Token {
    let token = Pkcs11Token::new(config, std::env::current_exe().unwrap()).unwrap();
    token.count_by(Box::new(NoLedger));
    assert!(token.first_look(Duration::from_secs(60)));
    token
}

/// The same, and unlocked.
pub fn unlocked(config: Pkcs11Config) -> Pkcs11Token {
    let token = start(config);
    unlock(&token).unwrap_or_else(|error| panic!("{error}; {:?}", token.info()));
    token
}

pub fn unlock(token: &Pkcs11Token) -> Result<(), BackendError> {
    token.unlock(&secret(PIN))
}

/// What doctor finds, with the PIN.
pub fn examine(token: &Pkcs11Token) -> Diagnosis {
    token.examine(Ok((&secret(PIN), &Asking::default())), &Uncounted, |_| true).unwrap()
}

/// Has the PIN presented as often as doctor wants.
pub struct Uncounted;

impl Attempts for Uncounted {
    fn accepted(&self) {}

    fn again(&self) -> Option<Settle> {
        Some(Box::new(|_| ()))
    }
}

pub fn secret(text: &str) -> SecretBytes {
    SecretBytes::take_from(text.as_bytes().to_vec())
}

pub fn sign(token: &Pkcs11Token, key: &PublicKey, text: &str) -> Result<SignatureBytes, BackendError> {
    let statement = Statement::new(StatementKind::Drill, text);
    let signature = token.sign(key, key.key_type().default_scheme(), Signable::Statement(&statement))?;
    key.verify(statement.bytes(), signature.as_bytes()).expect("what `sign` gives verifies");
    Ok(signature)
}

/// Waits for a state that must come. The limit is only there to end a failed run.
pub fn wait_for(token: &Pkcs11Token, state: TokenState) {
    wait_until(|| token.info().state == state, || format!("{state:?} did not come: {:?}", token.info()));
}

pub fn wait_until(mut done: impl FnMut() -> bool, message: impl Fn() -> String) {
    let end = Instant::now() + Duration::from_secs(60);
    while !done() {
        assert!(Instant::now() < end, "{}", message());
        std::thread::sleep(Duration::from_millis(20));
    }
}

pub fn pid(token: &Pkcs11Token) -> rustix::process::Pid {
    let pid = token.info().helper_pid.expect("a helper runs");
    rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap()
}

pub fn kill(pid: rustix::process::Pid) {
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
}
