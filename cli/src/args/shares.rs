//! Commands about keys that are split into shares.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, Subcommand};

/// `tufctl share …`
#[derive(Debug, Subcommand)]
pub(crate) enum ShareCommand {
    /// Check one share against its set, or a sheet against its fingerprint; needs no agent, and reveals nothing.
    #[command(after_help = VERIFY_EXAMPLES)]
    Verify(ShareVerifyArgs),
}

/// How a share is read from a file.
#[derive(Debug, Clone, Args)]
pub(crate) struct OpenerArgs {
    /// Open it with this age identity file, which must be yours alone (0600 or 0400); may be given again.
    #[arg(long = "identity", value_name = "FILE")]
    pub(crate) identities: Vec<PathBuf>,
    /// Open it with the passphrase in this file, which must be yours alone; may be given again.
    #[arg(long = "passphrase-file", value_name = "FILE")]
    pub(crate) passphrases: Vec<NamedFile>,
}

/// `tufctl share verify`
#[derive(Debug, Args)]
pub(crate) struct ShareVerifyArgs {
    /// The share: an age file, or its words in a file that is yours alone. Without it the words are typed.
    pub(crate) file: Option<PathBuf>,
    /// The manifest of the set that it should belong to.
    #[arg(long, value_name = "set.json", required_unless_present = "fingerprint")]
    pub(crate) manifest: Option<PathBuf>,
    /// The fingerprint that it should have, as its sheet has it; the first 16 digits are enough.
    #[arg(long, value_name = "HEX", conflicts_with = "manifest")]
    pub(crate) fingerprint: Option<Fingerprint>,
    #[command(flatten)]
    pub(crate) openers: OpenerArgs,
}

/// A file, perhaps with the custodian's name before it: `NAME=FILE`. The name is for people: every passphrase is tried
/// on every file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NamedFile {
    pub(crate) file: PathBuf,
}

impl FromStr for NamedFile {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let file = match text.split_once('=') {
            Some((name, file)) if is_name(name) => file,
            _ => text,
        };
        if file.is_empty() {
            return Err("write NAME=FILE or FILE".into());
        }
        Ok(Self { file: file.into() })
    }
}

/// A fingerprint, or how it begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fingerprint(pub(crate) String);

impl FromStr for Fingerprint {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let digits: String = text
            .chars()
            .filter(|c| !c.is_whitespace() && *c != '-')
            .map(|c| c.to_ascii_lowercase())
            .collect();
        if digits.chars().all(|c| c.is_ascii_hexdigit()) && (SHORTEST..=64).contains(&digits.len()) {
            return Ok(Self(digits));
        }
        Err(format!("{SHORTEST} to 64 hexadecimal digits, as the sheet has them"))
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'))
}

/// Digits of a fingerprint that nobody finds another share for.
const SHORTEST: usize = 16;

const VERIFY_EXAMPLES: &str = "\
Examples:
  tufctl share verify ann.share --manifest set.json --identity ann.key
  tufctl share verify --manifest set.json    type the words of a sheet
  tufctl share verify --fingerprint 9f31c04ab2775d10    as the sheet says, with nothing but the sheet

Exit 0 when the share is right, 6 when it is not.";

#[cfg(test)]
mod tests {
    use super::{Fingerprint, NamedFile};

    #[test]
    fn a_passphrase_file_may_have_a_name_before_it() {
        for (text, file) in [("ann=p", "p"), ("p", "p"), ("./a=b", "./a=b"), ("ben=a=b", "a=b")] {
            assert_eq!(text.parse::<NamedFile>().unwrap().file, std::path::Path::new(file));
        }
        assert!("ann=".parse::<NamedFile>().is_err());
    }

    #[test]
    fn a_fingerprint_is_typed_as_it_is_printed() {
        let parsed: Fingerprint = "9F31 c04a-b277 5d10".parse().unwrap();
        assert_eq!(parsed.to_string(), "9f31c04ab2775d10");
        for bad in ["9f31c04ab2775d1", "zz31c04ab2775d10", &"a".repeat(65)] {
            assert!(bad.parse::<Fingerprint>().is_err(), "{bad}");
        }
    }
}
