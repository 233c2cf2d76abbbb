//! OpenSSH's ssh-agent, spoken to over its socket: the same number of bytes, Ed25519, one at a time.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use ed25519_dalek::{Signature, SigningKey, Verifier as _};
use serde_json::json;
use softhsm::debs;

use crate::bed::{Bed, Flush};
use crate::client::Confirm;
use crate::report::Report;
use crate::samples::Samples;
use crate::small::Lane;

const WHAT: &str = "against ssh-agent, Ed25519, one at a time, no flush";
const GOAL: &str = ">= 5 times its rate";

/// Takes turns with an agent that does not flush.
pub(crate) fn measure(bed: &Bed, report: &mut Report) {
    let program = match find() {
        Ok(program) => program,
        Err(why) => return report.skipped(WHAT, GOAL, &why),
    };
    let mut lane = Lane::new(bed.published(Flush::Off, 0), "online");
    let mut other = SshAgent::start(&program, &lane.home().path("ssh"));
    let message = lane.message();
    let (mut ours, mut theirs) = (Samples::default(), Samples::default());
    for round in 0..40 {
        let (mut warm, mut warm_other) = (Samples::default(), Samples::default());
        let (mine, others) = if round < 10 { (&mut warm, &mut warm_other) } else { (&mut ours, &mut theirs) };
        lane.round(mine, Confirm::AtOnce);
        (0..16).for_each(|_| others.time(|| other.sign(&message)));
    }
    let (our, their) = (ours.median(), theirs.median());
    let ratio = their / our;
    report.goal(
        WHAT,
        GOAL,
        format!("{ratio:.1} times ({our:.0} µs; ssh-agent {their:.0} µs)"),
        ratio >= 5.0,
        json!({"ratio": ratio, "us": our, "ssh_agent_us": their}),
    );
}

/// On the path, or fetched without root.
fn find() -> Result<PathBuf, String> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let installed = std::env::split_paths(&path).map(|folder| folder.join("ssh-agent"));
    if let Some(program) = installed.into_iter().find(|program| program.is_file()) {
        return Ok(program);
    }
    let third_party = softhsm::third_party_dir().map_err(|skipped| skipped.to_string())?;
    let root = debs::fetch(&third_party, &["openssh-client"]).map_err(|skipped| skipped.to_string())?;
    Ok(root.join("usr/bin/ssh-agent"))
}

/// A running ssh-agent with one key; it ends with this value.
struct SshAgent {
    process: Child,
    stream: UnixStream,
    key: SigningKey,
}

const ADD_IDENTITY: u8 = 17;
const SIGN_REQUEST: u8 = 13;
const SUCCESS: u8 = 6;
const SIGN_RESPONSE: u8 = 14;
const KEY_TYPE: &[u8] = b"ssh-ed25519";

impl SshAgent {
    fn start(program: &Path, socket: &Path) -> Self {
        let mut command = Command::new(program);
        command.arg("-D").arg("-a").arg(socket).stdin(Stdio::null()).stdout(Stdio::null());
        let process = command.stderr(Stdio::null()).spawn().expect("ssh-agent starts");
        let end = Instant::now() + Duration::from_secs(10);
        let stream = loop {
            match UnixStream::connect(socket) {
                Ok(stream) => break stream,
                Err(error) => assert!(Instant::now() < end, "ssh-agent does not listen: {error}"),
            }
            std::thread::sleep(Duration::from_millis(10));
        };
        let key = SigningKey::from_bytes(&[5; 32]);
        let mut agent = Self { process, stream, key };
        let public = agent.key.verifying_key().to_bytes();
        let private = agent.key.to_keypair_bytes();
        let request =
            [&[ADD_IDENTITY][..], &string(KEY_TYPE), &string(&public), &string(&private), &string(b"")];
        assert_eq!(agent.ask(&request.concat()), [SUCCESS], "ssh-agent takes the key");
        agent
    }

    fn sign(&mut self, message: &[u8]) {
        let public = self.key.verifying_key().to_bytes();
        let blob = [string(KEY_TYPE), string(&public)].concat();
        let request = [&[SIGN_REQUEST][..], &string(&blob), &string(message), &[0; 4]];
        let answer = self.ask(&request.concat());
        assert_eq!(answer[0], SIGN_RESPONSE, "ssh-agent signs");
        let signature = Signature::from_slice(&answer[answer.len() - 64..]).expect("64 bytes");
        debug_assert!(self.key.verifying_key().verify(message, &signature).is_ok());
    }

    fn ask(&mut self, request: &[u8]) -> Vec<u8> {
        self.stream.write_all(&string(request)).expect("ssh-agent reads");
        let mut length = [0; 4];
        self.stream.read_exact(&mut length).expect("ssh-agent answers");
        let mut answer = vec![0; u32::from_be_bytes(length) as usize];
        self.stream.read_exact(&mut answer).expect("ssh-agent answers");
        answer
    }
}

impl Drop for SshAgent {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Bytes with their length before them.
fn string(bytes: &[u8]) -> Vec<u8> {
    let length = u32::try_from(bytes.len()).expect("short").to_be_bytes();
    [&length[..], bytes].concat()
}
