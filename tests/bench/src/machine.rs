//! What this machine can do by itself: a flush, a durable commit, a signature.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt as _;
use std::time::{Duration, Instant};

use ed25519_dalek::{Signer as _, SigningKey, Verifier as _};
use p256::ecdsa;
use serde_json::json;
use tempfile::TempDir;
use tuf::key::PublicKey;

use crate::report::Report;
use crate::samples::Samples;

/// What one intent writes to the ledger's log: a page of 4 KiB of the journal, with a frame header of 24 bytes. Counted with
/// strace: one page in four of five commits, and three where the journal's page is full (the next one and what points at it).
const COMMIT_BYTES: usize = 4096 + 24;
/// The log is written over from its start once it has this size.
const LOG_BYTES: usize = 4 << 20;
/// The journal's head outside the database; written and not flushed.
const HEAD_BYTES: usize = 256;
/// About what a signature takes beside its commit.
const PAUSE: Duration = Duration::from_micros(300);

/// The ledger's pattern of writes without the ledger: what a durable commit costs at least.
pub(crate) struct Commit {
    log: File,
    head: File,
    at: usize,
    _folder: TempDir,
}

impl Commit {
    /// On the file system of temporary folders, where the agents of all rows keep their state.
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let open = |name| {
            let path = folder.path().join(name);
            OpenOptions::new().write(true).create(true).truncate(true).open(path).expect("a file")
        };
        let (log, head) = (open("log"), open("head"));
        log.write_all_at(&vec![1; LOG_BYTES], 0).expect("a write");
        log.sync_all().expect("a flush");
        Self { log, head, at: 0, _folder: folder }
    }

    /// One durable commit.
    pub(crate) fn commit(&mut self) {
        if self.at + COMMIT_BYTES > LOG_BYTES {
            self.at = 0;
        }
        self.log.write_all_at(&[2; COMMIT_BYTES], self.at as u64).expect("a write");
        self.at += COMMIT_BYTES;
        self.log.sync_data().expect("a flush");
        self.head.write_all_at(&[3; HEAD_BYTES], 0).expect("a write");
    }

    /// Keeps the processor busy for as long as a signature does, so that the next commit comes as far after the one before
    /// as an agent's.
    pub(crate) fn pause() {
        let began = Instant::now();
        while began.elapsed() < PAUSE {
            std::hint::spin_loop();
        }
    }

    fn flush_alone(&mut self) {
        self.log.write_all_at(&[4; 4096], 0).expect("a write");
        self.log.sync_data().expect("a flush");
    }
}

/// What the rest of the report is to be seen against.
pub(crate) fn measure(report: &mut Report) {
    let mut commit = Commit::new();
    let (mut flushes, mut commits) = (Samples::default(), Samples::default());
    let (mut signing, mut verifying) = (Samples::default(), Samples::default());
    let key = SigningKey::from_bytes(&[7; 32]);
    let message = [9; 400];
    let (p256, p256_signature) = p256_signed(&message);
    let mut verifying_p256 = Samples::default();
    for round in 0..400 {
        let mut warm = Samples::default();
        let warming = round < 40;
        let into = |samples: &mut Samples, warm: &mut Samples, work: &mut dyn FnMut()| {
            if warming {
                warm.time(work)
            } else {
                samples.time(work)
            };
        };
        into(&mut flushes, &mut warm, &mut || commit.flush_alone());
        into(&mut commits, &mut warm, &mut || commit.commit());
        let mut signature = None;
        into(&mut signing, &mut warm, &mut || signature = Some(key.sign(&message)));
        let signature = signature.expect("signed");
        into(&mut verifying, &mut warm, &mut || {
            key.verifying_key().verify(&message, &signature).expect("it verifies");
        });
        into(&mut verifying_p256, &mut warm, &mut || {
            p256.verify(&message, &p256_signature).expect("it verifies");
        });
    }
    let (flush, whole) = (flushes.median(), commits.median());
    report.fact("fdatasync of 4 KiB", format!("{flush:.0} µs"), json!({"us": flush}));
    report.fact(
        "one durable commit (the ledger's writes, fdatasync)",
        format!("{whole:.0} µs (p90 {:.0} µs)", commits.at(0.9)),
        json!({"us": whole, "p90_us": commits.at(0.9)}),
    );
    let (sign, verify) = (signing.median(), verifying.median());
    report.fact(
        "Ed25519 in this process",
        format!("{:.0} signatures/s ({sign:.0} µs), verified in {verify:.0} µs", 1e6 / sign),
        json!({"sign_us": sign, "verify_us": verify}),
    );
    let verify = verifying_p256.median();
    report.fact("P-256 verified in this process", format!("{verify:.0} µs"), json!({"us": verify}));
}

/// A key, and its signature in DER.
fn p256_signed(message: &[u8]) -> (PublicKey, Vec<u8>) {
    let key = ecdsa::SigningKey::from_slice(&[7; 32]).expect("a key");
    let public = key.verifying_key().to_sec1_point(false);
    let signature: ecdsa::Signature = key.sign(message);
    (PublicKey::from_p256_sec1(public.as_bytes()).expect("a key"), signature.to_der().as_bytes().to_vec())
}
