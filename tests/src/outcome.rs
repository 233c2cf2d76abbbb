//! What one run of `tufctl` left.

use std::io::Read;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

const LIMIT: Duration = Duration::from_secs(120);

/// Exit code, standard output and standard error of one command.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// The exit code; -1 when a signal ended it.
    pub code: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
    /// What was run, for messages.
    pub command: String,
}

impl Outcome {
    /// It must have exited 0.
    #[track_caller]
    pub fn done(self) -> Self {
        self.exits(0)
    }

    /// It must have exited with this code.
    #[track_caller]
    pub fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{self}");
        self
    }

    /// Standard output as exactly one JSON document.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|e| panic!("not one JSON document: {e}\n{self}"))
    }

    /// Under `--json`: the exit code and reason of a refusal that says what happened and what to do.
    #[track_caller]
    pub fn refused(&self, code: i32, reason: &str) -> Value {
        assert_eq!(self.code, code, "{self}");
        let error = self.json()["error"].clone();
        assert_eq!(error["reason"], reason, "{self}");
        assert!(error["message"].as_str().is_some_and(|it| !it.is_empty()), "no message: {self}");
        assert!(error["remedy"].as_str().is_some_and(|it| !it.is_empty()), "no remedy: {self}");
        error
    }

    /// Both streams.
    pub fn text(&self) -> String {
        format!("{}{}", self.stdout, self.stderr)
    }
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { code, stdout, stderr, command } = self;
        write!(f, "$ {command}\nexit {code}\n--- stdout ---\n{stdout}\n--- stderr ---\n{stderr}")
    }
}

/// Runs a command to its end, without a terminal; fails when it hangs.
#[track_caller]
pub fn run(command: &mut Command) -> Outcome {
    let name = describe(command);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|e| panic!("{name}: {e}"));
    let stdout = drain(child.stdout.take().unwrap());
    let stderr = drain(child.stderr.take().unwrap());
    let end = Instant::now() + LIMIT;
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if Instant::now() > end {
            child.kill().unwrap();
            child.wait().unwrap();
            panic!("{name} hangs; so far it said:\n{}{}", stdout.join().unwrap(), stderr.join().unwrap());
        }
        thread::sleep(Duration::from_millis(2));
    };
    Outcome {
        code: status.code().unwrap_or(-1),
        stdout: stdout.join().unwrap(),
        stderr: stderr.join().unwrap(),
        command: name,
    }
}

fn describe(command: &Command) -> String {
    let program =
        std::path::Path::new(command.get_program()).file_name().unwrap_or_default().to_string_lossy();
    let arguments = command.get_args().map(|it| format!(" {}", it.to_string_lossy()));
    arguments.fold(program.into_owned(), |all, one| all + &one)
}

fn drain(mut pipe: impl Read + Send + 'static) -> thread::JoinHandle<String> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = pipe.read_to_end(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    })
}
