//! Commands about keys that are split into shares.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use clap::{Args, Subcommand, ValueEnum};
use custody::CustodianName;

use super::Yes;

/// `tufctl share …`
#[derive(Debug, Subcommand)]
pub(crate) enum ShareCommand {
    /// Check one share against its set, or a sheet against its fingerprint; needs no agent, and reveals nothing.
    #[command(after_help = VERIFY_EXAMPLES)]
    Verify(ShareVerifyArgs),
    /// Split a key of the file store: the whole copy goes once every custodian has proven their share.
    #[command(after_help = SPLIT_EXAMPLES)]
    Split(ShareSplitArgs),
    /// Prove to the agent that a custodian has their share of a new set.
    #[command(after_help = CONFIRM_EXAMPLES)]
    Confirm(ShareConfirmArgs),
    /// List the sets of all split keys: how they stand, and who has not proven their share.
    List,
    /// Print the manifest of a split key's set, as set.json has it.
    Manifest {
        /// The key's name.
        key: String,
    },
    /// Bring enough shares together to sign what is staged for a role; published, as by sign, when that completes it.
    #[command(after_help = COLLECT_EXAMPLES)]
    Collect(ShareCollectArgs),
    /// Give a share to a collection that somebody opened at another terminal, after a look at what it is for.
    #[command(after_help = GIVE_EXAMPLES)]
    Give(ShareGiveArgs),
    /// On another machine, with no agent: seal a share for the collection of a ticket.
    #[command(after_help = SEAL_EXAMPLES)]
    Seal(ShareSealArgs),
    /// Rehearse the recovery: bring shares together, make the key, sign a statement that is no metadata, and record it.
    #[command(after_help = DRILL_EXAMPLES)]
    Drill(ShareDrillArgs),
    /// Give other people shares of the same key, in two phases. It revokes nothing: the old shares still make the key.
    #[command(after_help = RESPLIT_HELP)]
    Resplit(ShareResplitArgs),
}

/// How a share is read from a file.
#[derive(Debug, Clone, Args)]
pub(crate) struct OpenerArgs {
    /// Open it with this age identity file, which must be yours alone (0600 or 0400); may be given again.
    #[arg(long = "identity", value_name = "FILE")]
    pub(crate) identities: Vec<PathBuf>,
    /// Open it with the passphrase in this file, which must be yours alone; may be given again. That of NAME=FILE is tried
    /// first on a file NAME.share, where each wrong one costs a second.
    #[arg(long = "passphrase-file", value_name = "[NAME=]FILE")]
    pub(crate) passphrases: Vec<NamedFile>,
}

/// `tufctl share verify`
#[derive(Debug, Args)]
pub(crate) struct ShareVerifyArgs {
    /// The share: an age file, or its words in a file that is yours alone. Without it the words are typed.
    pub(crate) file: Option<PathBuf>,
    /// The manifest of the set that it should belong to.
    #[arg(long, value_name = "set.json")]
    pub(crate) manifest: Option<PathBuf>,
    /// The fingerprint that it should have, as its sheet has it; the first 16 digits are enough.
    #[arg(long, value_name = "HEX", conflicts_with = "manifest")]
    pub(crate) fingerprint: Option<Fingerprint>,
    #[command(flatten)]
    pub(crate) openers: OpenerArgs,
}

/// `tufctl share split`
#[derive(Debug, Args)]
pub(crate) struct ShareSplitArgs {
    /// The key of the file store.
    pub(crate) key: String,
    /// The token of kind shares that keeps the manifest; may be left out when there is only one.
    #[arg(long, value_name = "TOKEN")]
    pub(crate) token: Option<String>,
    #[command(flatten)]
    pub(crate) terms: TermsArgs,
    /// Leave the whole copy in the file store, also when every share is proven.
    #[arg(long)]
    pub(crate) keep: bool,
    /// Forget a set that was begun and not proven by all; the whole copy stays.
    #[arg(long, conflicts_with_all = ["TermsArgs", "keep"])]
    pub(crate) abort: bool,
    #[command(flatten)]
    pub(crate) yes: Yes,
}

/// `tufctl share confirm`
#[derive(Debug, Args)]
pub(crate) struct ShareConfirmArgs {
    /// The share: an age file, or its words in a file that is yours alone. Without it the words are typed.
    pub(crate) file: Option<PathBuf>,
    /// The manifest of the set.
    #[arg(long, value_name = "set.json")]
    pub(crate) manifest: PathBuf,
    #[command(flatten)]
    pub(crate) openers: OpenerArgs,
}

/// What is brought together, and from where.
#[derive(Debug, Clone, Args)]
pub(crate) struct CollectArgs {
    /// The manifest of the set.
    #[arg(long, value_name = "set.json")]
    pub(crate) manifest: PathBuf,
    #[command(flatten)]
    pub(crate) sources: SourceArgs,
}

/// Where shares come from.
#[derive(Debug, Clone, Args)]
pub(crate) struct SourceArgs {
    /// A share in a file; may be given again. Whose it is, the manifest tells.
    #[arg(long = "share", value_name = "FILE")]
    pub(crate) shares: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) openers: OpenerArgs,
    /// Open the collection also with fewer shares than are needed, and wait for others to give theirs (share give).
    #[arg(long)]
    pub(crate) wait: bool,
    /// Write the collection's ticket into this file, for share seal on other machines; waits as --wait does.
    #[arg(long, value_name = "FILE")]
    pub(crate) ticket: Option<PathBuf>,
}

/// `tufctl share collect`
#[derive(Debug, Args)]
pub(crate) struct ShareCollectArgs {
    /// The repository folder.
    pub(crate) dir: PathBuf,
    /// The role that is to be signed.
    #[arg(long, value_name = "ROLE")]
    pub(crate) role: String,
    #[command(flatten)]
    pub(crate) collect: CollectArgs,
    /// Let the key sign although it serves another repository, or nobody knows what it has signed.
    #[arg(long)]
    pub(crate) shared_key: bool,
    #[command(flatten)]
    pub(crate) yes: Yes,
}

/// `tufctl share give`
#[derive(Debug, Args)]
pub(crate) struct ShareGiveArgs {
    /// The share: an age file, its words in a file that is yours alone, or what share seal wrote. Without it the words
    /// are typed.
    pub(crate) file: Option<PathBuf>,
    /// The collection, as share collect says it; may be left out when only one is open.
    #[arg(long, value_name = "ID")]
    pub(crate) collection: Option<String>,
    #[command(flatten)]
    pub(crate) openers: OpenerArgs,
    #[command(flatten)]
    pub(crate) yes: Yes,
}

/// `tufctl share seal`
#[derive(Debug, Args)]
pub(crate) struct ShareSealArgs {
    /// The ticket that share collect --ticket has written.
    pub(crate) ticket: PathBuf,
    /// The share: an age file, or its words in a file that is yours alone. Without it the words are typed.
    pub(crate) file: Option<PathBuf>,
    /// Where the sealed share goes: a file that nobody but the agent of the ticket can read.
    #[arg(long, value_name = "FILE")]
    pub(crate) out: PathBuf,
    #[command(flatten)]
    pub(crate) openers: OpenerArgs,
    #[command(flatten)]
    pub(crate) yes: Yes,
}

/// `tufctl share drill`
#[derive(Debug, Args)]
pub(crate) struct ShareDrillArgs {
    #[command(flatten)]
    pub(crate) collect: CollectArgs,
    #[command(flatten)]
    pub(crate) yes: Yes,
}

/// `tufctl share resplit`
#[derive(Debug, Args)]
pub(crate) struct ShareResplitArgs {
    /// The key; to commit or abort, it or --manifest.
    pub(crate) key: Option<String>,
    /// prove makes the new set; commit declares it alive and the old one dead, once all its custodians have proven their
    /// shares; abort forgets it.
    #[arg(long, value_enum)]
    pub(crate) phase: Phase,
    /// The manifest of the set that is alive, whose shares are brought together.
    #[arg(long, value_name = "set.json")]
    pub(crate) manifest: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) sources: SourceArgs,
    #[command(flatten)]
    pub(crate) terms: TermsArgs,
    #[command(flatten)]
    pub(crate) yes: Yes,
}

impl ShareResplitArgs {
    /// What is brought together to prove.
    pub(crate) fn collect(&self, manifest: &Path) -> CollectArgs {
        CollectArgs { manifest: manifest.to_owned(), sources: self.sources.clone() }
    }
}

/// A step of `share resplit`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Phase {
    /// Make the new set; its custodians prove their shares with share confirm.
    Prove,
    /// The new set is alive from now on.
    Commit,
    /// The new set is forgotten, and the old one stays (a first set is given up by share split KEY --abort).
    Abort,
}

/// Who the shares are for.
#[derive(Debug, Clone, Args)]
pub(crate) struct TermsArgs {
    /// How many shares make the key.
    #[arg(long, value_name = "M", help_heading = "Split keys")]
    pub(crate) threshold: Option<u8>,
    /// A custodian, once for each share: NAME gets a sheet or sees the words, NAME=age1… (an age recipient) and
    /// NAME=passphrase-file:FILE get an encrypted file.
    #[arg(long = "custodian", value_name = "NAME[=HOW]", help_heading = "Split keys")]
    pub(crate) custodians: Vec<CustodianArg>,
    /// A group of custodians of whom M are enough for the group; in place of --threshold.
    #[arg(
        long = "group",
        value_name = "GROUP=M:NAME,…",
        conflicts_with = "threshold",
        help_heading = "Split keys"
    )]
    pub(crate) groups: Vec<GroupArg>,
    /// How many groups make the key.
    #[arg(long, value_name = "M", requires = "groups", help_heading = "Split keys")]
    pub(crate) group_threshold: Option<u8>,
    /// Write encrypted shares (NAME.share), sheets (NAME.html) and the manifest (set.json) into this folder.
    #[arg(long, value_name = "DIR", help_heading = "Split keys")]
    pub(crate) out: Option<PathBuf>,
    /// Also a set where one share is enough, none may be lost, two groups of people could each make the key, one
    /// custodian has two shares, or one recipient or passphrase opens those of two.
    #[arg(long, help_heading = "Split keys")]
    pub(crate) allow_weak_set: bool,
}

impl TermsArgs {
    /// Whether anything was said of custodians.
    pub(crate) fn is_given(&self) -> bool {
        self.threshold.is_some()
            || !self.custodians.is_empty()
            || !self.groups.is_empty()
            || self.out.is_some()
    }
}

/// A custodian, and how they get their share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CustodianArg {
    pub(crate) name: CustodianName,
    pub(crate) how: How,
}

/// How a custodian gets their share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum How {
    /// As words, on a sheet or at the terminal.
    Words,
    /// As an age file for this recipient.
    Age(String),
    /// As an age file under the passphrase in this file.
    Passphrase(PathBuf),
}

impl FromStr for CustodianArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, how) = match text.split_once('=') {
            None => (text, How::Words),
            Some((name, how)) => (
                name,
                match how.strip_prefix("passphrase-file:") {
                    Some(file) if !file.is_empty() => How::Passphrase(file.into()),
                    None if how.starts_with("age1") => How::Age(how.to_owned()),
                    _ => return Err("write NAME, NAME=age1… or NAME=passphrase-file:FILE".into()),
                },
            ),
        };
        Ok(Self { name: name.parse().map_err(|e: custody::TermsError| e.to_string())?, how })
    }
}

/// A group of custodians.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct GroupArg {
    pub(crate) name: CustodianName,
    pub(crate) threshold: u8,
    pub(crate) custodians: Vec<CustodianName>,
}

impl FromStr for GroupArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let form = || "write GROUP=M:NAME,NAME, such as board=2:ann,ben,cy".to_owned();
        let (name, rest) = text.split_once('=').ok_or_else(form)?;
        let (threshold, names) = rest.split_once(':').ok_or_else(form)?;
        let custodians =
            names.split(',').map(|name| name.parse().map_err(|e: custody::TermsError| e.to_string()));
        Ok(Self {
            name: name.parse().map_err(|e: custody::TermsError| e.to_string())?,
            threshold: threshold.parse().map_err(|_| form())?,
            custodians: custodians.collect::<Result<_, _>>()?,
        })
    }
}

/// A file, perhaps with the custodian's name before it: `NAME=FILE`. Every passphrase is tried on every file; the name tells
/// on which first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NamedFile {
    pub(crate) name: Option<String>,
    pub(crate) file: PathBuf,
}

impl FromStr for NamedFile {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, file) = match text.split_once('=') {
            Some((name, file)) if is_name(name) => (Some(name.to_owned()), file),
            _ => (None, text),
        };
        if file.is_empty() {
            return Err("write NAME=FILE or FILE".into());
        }
        Ok(Self { name, file: file.into() })
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

Exit 0 when the share is right, 6 when it is not, 2 when it could not be looked at: a file that is not there, or words that others
may read.

In a file each word may have its number before it, points or commas behind, or its first four letters alone.";

const SPLIT_EXAMPLES: &str = "\
Examples:
  tufctl share split root-s --threshold 2 --custodian ann=age1… --custodian ben=age1… --custodian cy --out set/
  tufctl share split root-s --threshold 2 --custodian ann --custodian ben --custodian cy    at this terminal
  tufctl share split root-s --group board=2:ann,ben,cy --group tech=2:dan,eve,fay --group-threshold 2 --out set/
  tufctl share split root-s --abort

--abort is of the first set of a key alone, and asks where the key is whole nowhere else; a new set that waits to take the place of
another is given up by: tufctl share resplit KEY --phase abort.

Backups and the flash cells of a disk may still hold the whole key afterwards: a key that is split from its making
(tufctl key generate) never lay anywhere.";

const CONFIRM_EXAMPLES: &str = "\
Examples:
  tufctl share confirm set/ann.share --manifest set/set.json --identity ann.key
  tufctl share confirm --manifest set/set.json    type the words of a sheet";

const COLLECT_EXAMPLES: &str = "\
With fewer shares than are needed, and no terminal and no --wait: exit 4 with --json {have, need, missing}, and of a set with
groups {groups: [{name, have, need, missing}]}; need less have is the fewest that would still do. Otherwise as tufctl sign, and
invalid lists shares that did not belong. Where the key has signed this already nothing is opened: signed_before is true then.

Examples:
  tufctl share collect repo --role root --manifest set.json    at a terminal: type them, or wait for others
  tufctl share collect repo --role root --manifest set.json --share ann.share --identity ann.key --share cy.share --identity cy.key
  tufctl share collect repo --role root --manifest set.json --ticket ticket.json    others seal theirs elsewhere";

const GIVE_EXAMPLES: &str = "\
Whoever gives the last share that is needed is told what came of it: complete and outcome (done; failed, which is exit 1) with --json.

Examples:
  tufctl share give    type the words
  tufctl share give ann.share --identity ann.key
  tufctl share give ann.sealed    what share seal wrote on another machine";

const SEAL_EXAMPLES: &str = "\
Examples:
  tufctl share seal ticket.json ann.share --identity ann.key --out ann.sealed
  tufctl share seal ticket.json --out ann.sealed    type the words of a sheet

Compare the code that it shows with the one on the screen of whoever opened the collection.";

const DRILL_EXAMPLES: &str = "\
All shares that are named are checked, also where fewer would do, and all whose they are go on record.

Examples:
  tufctl share drill --manifest set.json    at a terminal
  tufctl share drill --manifest set.json --share ann.share --identity ann.key --share cy.share --identity cy.key";

const RESPLIT_HELP: &str = "\
It revokes nothing: as many old shares as were needed still make the key, so they must be destroyed; a custodian who is no
longer trusted means another key: tufctl root replace-key.

Examples:
  tufctl share resplit --phase prove --manifest set.json --share ann.share --identity ann.key --share cy.share --identity cy.key \\
      --threshold 2 --custodian ann=age1… --custodian dan=age1… --custodian eve=age1… --out new/
  tufctl share confirm new/ann.share --manifest new/set.json --identity ann.key    dan and eve too
  tufctl share resplit --phase commit --manifest new/set.json";

#[cfg(test)]
mod tests {
    use super::{Fingerprint, NamedFile};

    #[test]
    fn a_passphrase_file_may_have_a_name_before_it() {
        let ann = Some("ann");
        for (text, name, file) in
            [("ann=p", ann, "p"), ("p", None, "p"), ("./a=b", None, "./a=b"), ("ann=a=b", ann, "a=b")]
        {
            let parsed: NamedFile = text.parse().unwrap();
            assert_eq!((parsed.name.as_deref(), parsed.file.to_str().unwrap()), (name, file));
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
