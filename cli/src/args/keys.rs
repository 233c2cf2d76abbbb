//! Commands about tokens, keys and the journal.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::{TermsArgs, Yes};

/// `tufctl token …`
#[derive(Debug, Subcommand)]
pub(crate) enum TokenCommand {
    /// List the tokens and what state they are in.
    List,
    /// Unlock one token; a store that was never used gets its passphrase now.
    #[command(after_help = UNLOCK_EXAMPLES)]
    Unlock(UnlockArgs),
    /// Lock one token until it is unlocked again.
    Lock {
        /// The token's name.
        name: String,
    },
    /// Change a token's PIN or the file store's passphrase.
    ChangePin(ChangePinArgs),
    /// Give a new YubiKey a PIN, a PUK and a management key of its own, in place of those of the factory.
    #[command(after_help = SETUP_EXAMPLES)]
    Setup(SetupArgs),
    /// Give a YubiKey whose PIN is blocked a new one, by its PUK.
    Unblock(UnblockArgs),
    /// Measure a PKCS#11 module: what it can do, where it is odd, and what the agent does about it.
    #[command(after_help = DOCTOR_EXAMPLES)]
    Doctor(DoctorArgs),
    /// Trust the PKCS#11 module that the token has now, after it changed. The question names its file, its digest and the
    /// one before; with --yes it is the file that lay there when the command began.
    Trust {
        /// The token's name.
        name: String,
        #[command(flatten)]
        yes: Yes,
    },
}

/// `tufctl token unlock`
#[derive(Debug, Args)]
pub(crate) struct UnlockArgs {
    /// The token's name.
    pub(crate) name: String,
    /// Read the PIN or passphrase from this file, which must be yours alone (0600 or 0400).
    #[arg(long, value_name = "FILE")]
    pub(crate) pin_file: Option<PathBuf>,
    /// Try it also when it may be the last try, or after three wrong ones where the token does not tell how many it has
    /// left. Asks at the terminal, and goes into the journal.
    #[arg(long)]
    pub(crate) last_try: bool,
    /// The card that the PIN is for: with another serial number there no attempt is made. A prompt says this by itself.
    #[arg(long, value_name = "SERIAL")]
    pub(crate) serial: Option<String>,
}

/// `tufctl token doctor`
#[derive(Debug, Args)]
pub(crate) struct DoctorArgs {
    /// The token's name.
    pub(crate) name: String,
    /// Read the PIN from this file, which must be yours alone (0600 or 0400). It is presented once, and again only after the
    /// token took it. Without it the PIN of the configuration is used, and without one what needs a login is not measured.
    #[arg(long, value_name = "FILE")]
    pub(crate) pin_file: Option<PathBuf>,
}

/// `tufctl token change-pin`
#[derive(Debug, Args)]
pub(crate) struct ChangePinArgs {
    /// The token's name.
    pub(crate) name: String,
    /// Read the present PIN or passphrase from this file.
    #[arg(long, value_name = "FILE")]
    pub(crate) pin_file: Option<PathBuf>,
    /// Read the new PIN or passphrase from this file.
    #[arg(long, value_name = "FILE")]
    pub(crate) new_pin_file: Option<PathBuf>,
    /// Also when this may be the last try before the token blocks; asks at the terminal.
    #[arg(long)]
    pub(crate) last_try: bool,
}

/// `tufctl token setup`
#[derive(Debug, Args)]
pub(crate) struct SetupArgs {
    /// The token's name.
    pub(crate) name: String,
    /// Read the new PIN from this file, which must be yours alone (0600 or 0400).
    #[arg(long, value_name = "FILE")]
    pub(crate) new_pin_file: Option<PathBuf>,
    /// Read the new PUK from this file, which must be yours alone (0600 or 0400).
    #[arg(long, value_name = "FILE")]
    pub(crate) new_puk_file: Option<PathBuf>,
    /// Make a new management key at random and keep it on the card, where the PIN opens it.
    #[arg(long)]
    pub(crate) protect_management_key: bool,
    /// The PIN that the card has, when that is not the one of the factory any more.
    #[arg(long, value_name = "FILE")]
    pub(crate) pin_file: Option<PathBuf>,
    /// The PUK that the card has, when that is not the one of the factory any more.
    #[arg(long, value_name = "FILE")]
    pub(crate) puk_file: Option<PathBuf>,
    /// The management key that the card has, in hexadecimal digits, when that is not the one of the factory any more.
    #[arg(long, value_name = "FILE")]
    pub(crate) management_key_file: Option<PathBuf>,
}

/// `tufctl token unblock`
#[derive(Debug, Args)]
pub(crate) struct UnblockArgs {
    /// The token's name.
    pub(crate) name: String,
    /// Read the PUK from this file, which must be yours alone (0600 or 0400).
    #[arg(long, value_name = "FILE")]
    pub(crate) puk_file: Option<PathBuf>,
    /// Read the new PIN from this file, which must be yours alone (0600 or 0400).
    #[arg(long, value_name = "FILE")]
    pub(crate) new_pin_file: Option<PathBuf>,
    /// Try it also when it is the last try that the PUK has left. Asks at the terminal, and goes into the journal.
    #[arg(long)]
    pub(crate) last_try: bool,
}

/// `tufctl key …`
#[derive(Debug, Subcommand)]
pub(crate) enum KeyCommand {
    /// Make a key on a token.
    #[command(after_help = GENERATE_EXAMPLES)]
    Generate(GenerateArgs),
    /// List the keys of all tokens.
    List,
    /// Show one key.
    Show {
        /// The key's name.
        name: String,
    },
    /// Print a key's public half.
    Export {
        /// The key's name.
        name: String,
        /// TUF's key object with its keyid, or PEM (SubjectPublicKeyInfo).
        #[arg(long, value_enum, default_value_t = KeyFormat::Tuf)]
        format: KeyFormat,
    },
    /// Bring a private key into a token: PKCS#8, SEC1, PKCS#1 or securesystemslib PEM.
    Import(ImportArgs),
    /// Prove by its maker's certificates that a key was made on its YubiKey, and tell by which rules it is used.
    #[command(after_help = ATTEST_EXAMPLES)]
    Attest {
        /// The key's name.
        name: String,
    },
    /// Destroy a key: there is no way back. Of a split key the manifests are forgotten: enough shares still make it.
    #[command(after_help = REMOVE_HELP)]
    Remove {
        /// The key's name.
        name: String,
        /// Also a key that still serves a role of a repository that the agent knows.
        #[arg(long)]
        force: bool,
        #[command(flatten)]
        card: ManagementKeyArgs,
        #[command(flatten)]
        yes: Yes,
    },
}

/// `tufctl key generate`
#[derive(Debug, Args)]
pub(crate) struct GenerateArgs {
    /// The new key's name: letters, digits, dot, underscore, hyphen.
    pub(crate) name: String,
    /// The token to make it on; may be left out when there is only one.
    #[arg(long, value_name = "TOKEN")]
    pub(crate) token: Option<String>,
    /// The kind of key.
    #[arg(long = "type", value_name = "TYPE", value_parser = KEY_TYPES)]
    pub(crate) key_type: String,
    #[command(flatten)]
    pub(crate) slot: SlotArgs,
    #[command(flatten)]
    pub(crate) card: ManagementKeyArgs,
    #[command(flatten)]
    pub(crate) terms: TermsArgs,
}

/// Where a key goes on a YubiKey, and what it then wants.
#[derive(Debug, Args)]
pub(crate) struct SlotArgs {
    /// On a YubiKey, the slot: 9a, 9c, 9d, 9e, or 82 to 95 [9c unless given].
    #[arg(long, value_name = "SLOT")]
    pub(crate) slot: Option<String>,
    /// On a YubiKey, when the key wants to be touched [never unless given].
    #[arg(long, value_name = "WHEN", value_parser = ["always", "cached", "never"])]
    pub(crate) touch: Option<String>,
    /// On a YubiKey, when the key wants the PIN [once unless given, in 9c too]; with never it signs on a locked one, too.
    #[arg(long, value_name = "WHEN", value_parser = ["once", "always", "never"])]
    pub(crate) pin_policy: Option<String>,
    /// On a YubiKey, destroy the key that the slot holds.
    #[arg(long)]
    pub(crate) overwrite: bool,
    /// With --overwrite: also a key that still serves a role.
    #[arg(long, requires = "overwrite")]
    pub(crate) force: bool,
}

/// Who may change the keys of a YubiKey.
#[derive(Debug, Args)]
pub(crate) struct ManagementKeyArgs {
    /// Read the YubiKey's management key from this file: hex, or the word default for the one of the factory.
    #[arg(long, value_name = "FILE")]
    pub(crate) management_key_file: Option<PathBuf>,
}

/// `tufctl key import`
#[derive(Debug, Args)]
pub(crate) struct ImportArgs {
    /// The key's name from now on.
    pub(crate) name: String,
    /// The private key, in a file that is yours alone (0600 or 0400); or the manifest of a split key's set (set.json), also of a
    /// newer set of a key that is here.
    pub(crate) file: PathBuf,
    /// The token to put it on; may be left out when there is only one.
    #[arg(long, value_name = "TOKEN")]
    pub(crate) token: Option<String>,
    /// Read the passphrase of an encrypted key from this file.
    #[arg(long, value_name = "FILE")]
    pub(crate) passphrase_file: Option<PathBuf>,
    /// Also a key that another token holds already: a backup on a second YubiKey, say. Which of them signs is then said by
    /// sign --key.
    #[arg(long)]
    pub(crate) duplicate: bool,
    /// Take a newer set of a split key that is here in without asking: the shares of the older one are refused from then on.
    #[arg(long, short)]
    pub(crate) yes: bool,
    #[command(flatten)]
    pub(crate) slot: SlotArgs,
    #[command(flatten)]
    pub(crate) card: ManagementKeyArgs,
}

/// How `key export` writes a public key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum KeyFormat {
    /// JSON: keyid and TUF's key object.
    Tuf,
    /// PEM: SubjectPublicKeyInfo.
    Pem,
}

/// `tufctl audit …`
#[derive(Debug, Subcommand)]
pub(crate) enum AuditCommand {
    /// List entries of the journal, oldest first.
    List {
        /// Begin after this sequence number.
        #[arg(long, value_name = "SEQ", default_value_t = 0)]
        after: u64,
        /// Show at most so many entries; 0 is all.
        #[arg(long, value_name = "N", default_value_t = 0)]
        limit: u64,
    },
    /// Check the whole chain against its head.
    Verify,
    /// Print the whole journal as JSON lines, as it was hashed.
    Export,
}

/// `tufctl backup`
#[derive(Debug, Args)]
pub(crate) struct BackupArgs {
    /// The file to write, 0600.
    pub(crate) file: PathBuf,
    /// Read the passphrase from this file, which must be yours alone (0600 or 0400); otherwise it is asked twice.
    #[arg(long, value_name = "FILE")]
    pub(crate) passphrase_file: Option<PathBuf>,
    /// Put it in the place of a file that is there.
    #[arg(long)]
    pub(crate) overwrite: bool,
}

/// `tufctl restore`
#[derive(Debug, Args)]
pub(crate) struct RestoreArgs {
    /// A file that tufctl backup has written.
    pub(crate) file: PathBuf,
    /// Read the passphrase from this file, which must be yours alone (0600 or 0400).
    #[arg(long, value_name = "FILE")]
    pub(crate) passphrase_file: Option<PathBuf>,
}

const KEY_TYPES: [&str; 4] = ["ed25519", "ecdsa-p256", "ecdsa-p384", "rsa-3072"];

const REMOVE_HELP: &str = "\
Of a split key the agent keeps no more than the manifests of its sets, and these go. Whoever has enough shares has the key: have
them destroyed where it is not to come back. It comes back by: tufctl key import NAME set.json --token TOKEN

Examples:
  tufctl key remove old-key
  tufctl key remove root-s --force    also while it serves a role";

const GENERATE_EXAMPLES: &str = "\
Examples:
  tufctl key generate root-a --token file --type ed25519
  tufctl key generate online --token build-hsm --type ecdsa-p256
  tufctl key generate root-s --token shares --type ed25519 --threshold 2 --custodian ann=age1… --custodian ben=age1… --custodian cy --out set/";

const ATTEST_EXAMPLES: &str = "\
Examples:
  tufctl key attest root-a
  tufctl key attest root-a --json | jq -r '.certificates[]' > root-a-attestation.pem

Yubico's roots are known; others stand in the configuration of the agent (attestation_roots). The PIN is not needed.
Exit 6 when it is not proven.";

const SETUP_EXAMPLES: &str = "\
Examples:
  tufctl token setup alice
  tufctl token setup alice --new-pin-file pin --new-puk-file puk --protect-management-key

It asks the card which of PIN, PUK and management key are still those of the factory, says so, and changes these alone
unless the present ones are given. The factory's values are used only where the card itself says that they hold.";

const DOCTOR_EXAMPLES: &str = "\
Examples:
  tufctl token doctor build-hsm
  tufctl token doctor build-hsm --pin-file ~/.config/tuf-agent/build.pin --json

It measures with keys of its own, which are gone afterwards, in a process of its own, and never with a wrong PIN.
What was found is kept under the digest of the module, and the agent signs by it. That digest covers the module's file,
and not the libraries that it loads.";

const UNLOCK_EXAMPLES: &str = "\
Examples:
  tufctl token unlock file
  tufctl token unlock build-hsm --pin-file ~/.config/tuf-agent/build.pin";
