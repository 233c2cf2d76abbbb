//! Commands about a repository folder.

use std::num::{NonZeroU32, NonZeroU64};
use std::path::PathBuf;

use clap::builder::PossibleValuesParser;
use clap::{Args, Subcommand};
use tuf::digest::Sha256Digest;

use super::{Days, List, RoleDays, Span, TopRole, Yes};

/// `tufctl repo …`
#[derive(Debug, Subcommand)]
pub(crate) enum RepoCommand {
    /// Stage a new repository in an empty or absent folder.
    #[command(after_help = INIT_EXAMPLES)]
    Init(InitArgs),
    /// Take over a published repository, whoever made it. A next root that lies in metadata/ and lacks signatures goes to
    /// staged/.
    Adopt(AdoptArgs),
    /// Show the tree of roles: keys, thresholds, versions, expiry, who has signed, who is missing.
    Show(ShowArgs),
    /// After a fast-forward attack: let the versions of a role start anew, once its old keys count no more.
    #[command(after_help = RESET_EXAMPLES)]
    ResetWatermark(ResetArgs),
}

/// `tufctl repo init`
#[derive(Debug, Args)]
pub(crate) struct InitArgs {
    /// The repository folder; absent or empty.
    pub(crate) dir: PathBuf,
    /// The name by which the agent knows the repository.
    #[arg(long)]
    pub(crate) name: String,
    /// Keys of root: names, or files of public keys (with a / or ending in .json or .pem).
    #[arg(long, value_name = "KEY,…", required = true, value_delimiter = ',')]
    pub(crate) root: Vec<String>,
    /// How many root keys must sign.
    #[arg(long, value_name = "M", default_value = "1")]
    pub(crate) root_threshold: NonZeroU32,
    /// Keys of targets.
    #[arg(long, value_name = "KEY,…", required = true, value_delimiter = ',')]
    pub(crate) targets: Vec<String>,
    /// How many targets keys must sign.
    #[arg(long, value_name = "M", default_value = "1")]
    pub(crate) targets_threshold: NonZeroU32,
    /// Key of snapshot.
    #[arg(long, value_name = "KEY", required = true, value_delimiter = ',')]
    pub(crate) snapshot: Vec<String>,
    /// Key of timestamp.
    #[arg(long, value_name = "KEY", required = true, value_delimiter = ',')]
    pub(crate) timestamp: Vec<String>,
    /// For how long a role is valid [default: root 365d, targets 90d, snapshot 7d, timestamp 1d].
    #[arg(long, value_name = "ROLE=DAYSd")]
    pub(crate) expires: Vec<RoleDays>,
    /// Let keys serve this repository although they serve another one.
    #[arg(long)]
    pub(crate) shared_key: bool,
    #[command(flatten)]
    pub(crate) yes: Yes,
}

/// `tufctl repo adopt`
#[derive(Debug, Args)]
pub(crate) struct AdoptArgs {
    /// The newest published copy: a folder with metadata/ and targets/, and in it whatever its timestamp and snapshot list.
    pub(crate) dir: PathBuf,
    /// The name by which the agent shall know the repository.
    #[arg(long)]
    pub(crate) name: String,
    /// A root that you trust, of any version.
    #[arg(long, value_name = "ROOT.json")]
    pub(crate) root: PathBuf,
    /// Let keys serve this repository although they serve another one.
    #[arg(long)]
    pub(crate) shared_key: bool,
    /// Adopt it although these delegated roles are lost: their files are listed and nowhere to be found any more. May be given
    /// several times; a comma of a name is written \,.
    #[arg(long, value_name = "ROLE,…")]
    pub(crate) without: Vec<List>,
    #[command(flatten)]
    pub(crate) yes: Yes,
}

/// `tufctl repo show`
#[derive(Debug, Args)]
pub(crate) struct ShowArgs {
    /// The repository folder.
    pub(crate) dir: PathBuf,
    /// Exit 3 when a role expires sooner than this, such as 3d or 12h.
    #[arg(long, value_name = "SPAN")]
    pub(crate) check: Option<Span>,
}

/// `tufctl repo reset-watermark`
#[derive(Debug, Args)]
pub(crate) struct ResetArgs {
    /// The repository folder.
    pub(crate) dir: PathBuf,
    /// The role: timestamp, snapshot, targets or a delegated one.
    pub(crate) role: String,
    #[command(flatten)]
    pub(crate) yes: Yes,
}

/// `tufctl target …`
#[derive(Debug, Subcommand)]
pub(crate) enum TargetCommand {
    /// Stage files; they are copied into targets/ when the repository is published.
    #[command(after_help = TARGET_EXAMPLES)]
    Add(TargetAddArgs),
    /// Stage the removal of targets.
    Remove {
        /// The repository folder.
        dir: PathBuf,
        /// Paths as the repository lists them.
        #[arg(required = true, value_name = "PATH")]
        paths: Vec<String>,
        /// Remove them from this role only.
        #[arg(long)]
        role: Option<String>,
        #[command(flatten)]
        yes: Yes,
    },
    /// List targets with length, hash and role.
    List {
        /// The repository folder.
        dir: PathBuf,
        /// List those of this role only.
        #[arg(long)]
        role: Option<String>,
    },
}

/// `tufctl target add`
#[derive(Debug, Args)]
pub(crate) struct TargetAddArgs {
    /// The repository folder.
    pub(crate) dir: PathBuf,
    /// Files, or folders to take whole. A published one that is lost from targets/ and is listed just so is put back.
    #[arg(required = true, value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
    /// The targets role to put them in [default: the one that a client would search first].
    #[arg(long)]
    pub(crate) role: Option<String>,
    /// The folder for all FILEs when it ends in /, otherwise the path of the one FILE.
    #[arg(long, value_name = "PATH")]
    pub(crate) path: Option<String>,
    #[command(flatten)]
    pub(crate) yes: Yes,
}

/// `tufctl delegation …`
#[derive(Debug, Subcommand)]
pub(crate) enum DelegationCommand {
    /// Stage a new delegated role and its parent.
    #[command(after_help = DELEGATION_EXAMPLES)]
    Add(DelegationAddArgs),
    /// Stage other keys, threshold or paths for a delegated role.
    Edit(DelegationEditArgs),
    /// Stage the end of a delegation.
    Remove {
        /// The repository folder.
        dir: PathBuf,
        /// The delegated role, or the prefix of succinct bins.
        role: String,
        /// The role that delegates to it, where several do.
        #[arg(long, value_name = "ROLE")]
        parent: Option<String>,
        #[command(flatten)]
        yes: Yes,
    },
    /// List who may sign which paths.
    List {
        /// The repository folder.
        dir: PathBuf,
    },
}

/// `tufctl delegation add`
#[derive(Debug, Args)]
pub(crate) struct DelegationAddArgs {
    /// The repository folder.
    pub(crate) dir: PathBuf,
    /// The new role, or the prefix of succinct bins.
    pub(crate) role: String,
    /// Keys of the new role.
    #[arg(long = "key", value_name = "KEY,…", required = true, value_delimiter = ',')]
    pub(crate) keys: Vec<String>,
    /// How many of them must sign.
    #[arg(long, value_name = "M", default_value = "1")]
    pub(crate) threshold: NonZeroU32,
    /// Path patterns that the role may sign; * and ? stay within one folder. A comma of a pattern is written \,.
    #[arg(
        long,
        value_name = "PATTERN,…",
        required_unless_present = "succinct_bins",
        conflicts_with = "succinct_bins"
    )]
    pub(crate) paths: Vec<List>,
    /// The role that delegates.
    #[arg(long, value_name = "ROLE", default_value = "targets")]
    pub(crate) parent: String,
    /// Let clients search no further when a path matches.
    #[arg(long, conflicts_with = "succinct_bins")]
    pub(crate) terminating: bool,
    /// Make this many hash bins, a power of two, in place of one role.
    #[arg(long, value_name = "N")]
    pub(crate) succinct_bins: Option<u32>,
    /// For how long the role is valid [default: 90d].
    #[arg(long, value_name = "DAYSd")]
    pub(crate) expires: Option<Days>,
    #[command(flatten)]
    pub(crate) yes: Yes,
}

/// `tufctl delegation edit`
#[derive(Debug, Args)]
pub(crate) struct DelegationEditArgs {
    /// The repository folder.
    pub(crate) dir: PathBuf,
    /// The delegated role, or the prefix of succinct bins.
    pub(crate) role: String,
    /// Keys to add.
    #[arg(long = "add-key", value_name = "KEY,…", value_delimiter = ',')]
    pub(crate) add_keys: Vec<String>,
    /// Keys to remove: names, files or keyids.
    #[arg(long = "remove-key", value_name = "KEY,…", value_delimiter = ',')]
    pub(crate) remove_keys: Vec<String>,
    /// How many keys must sign from now on.
    #[arg(long, value_name = "M")]
    pub(crate) threshold: Option<NonZeroU32>,
    /// The path patterns from now on, all of them.
    #[arg(long, value_name = "PATTERN,…")]
    pub(crate) paths: Vec<List>,
    /// The role that delegates to it, where several do.
    #[arg(long, value_name = "ROLE")]
    pub(crate) parent: Option<String>,
    #[command(flatten)]
    pub(crate) yes: Yes,
}

/// `tufctl root …`
#[derive(Debug, Subcommand)]
pub(crate) enum RootCommand {
    /// Stage a root in which a role has one more key.
    AddKey(RootKeyArgs),
    /// Stage a root in which a role has a key less.
    RemoveKey(RootKeyArgs),
    /// Stage a root in which a role has one key in place of another.
    ReplaceKey {
        /// The repository folder.
        dir: PathBuf,
        /// The role whose key is replaced.
        #[arg(value_enum)]
        role: TopRole,
        /// The key that goes: a name, a file or a keyid.
        #[arg(long, value_name = "KEY")]
        old: String,
        /// The key that comes: a name or a file.
        #[arg(long, value_name = "KEY")]
        new: String,
        #[command(flatten)]
        yes: Yes,
    },
    /// Stage a root in which a role needs another number of signatures.
    SetThreshold {
        /// The repository folder.
        dir: PathBuf,
        /// The role.
        #[arg(value_enum)]
        role: TopRole,
        /// How many keys must sign.
        #[arg(value_name = "M")]
        threshold: NonZeroU32,
        #[command(flatten)]
        yes: Yes,
    },
    /// Stage again the root that the agent signed last and that was never published, where staged/ was lost.
    Restage {
        /// The repository folder.
        dir: PathBuf,
        #[command(flatten)]
        yes: Yes,
    },
}

/// `tufctl root add-key` and `remove-key`
#[derive(Debug, Args)]
pub(crate) struct RootKeyArgs {
    /// The repository folder.
    pub(crate) dir: PathBuf,
    /// The role.
    #[arg(value_enum)]
    pub(crate) role: TopRole,
    /// The key: a name, a file, or (to remove) a keyid.
    #[arg(long, value_name = "KEY")]
    pub(crate) key: String,
    #[command(flatten)]
    pub(crate) yes: Yes,
}

/// `tufctl bump`
#[derive(Debug, Args)]
pub(crate) struct BumpArgs {
    /// The repository folder.
    pub(crate) dir: PathBuf,
    /// The roles to renew.
    #[arg(required = true, value_name = "ROLE")]
    pub(crate) roles: Vec<String>,
    /// Make them valid for so long, now and from now on; a longer time than before is asked for first.
    #[arg(long, value_name = "DAYSd")]
    pub(crate) expires: Option<Days>,
    /// Take a version above this one, where an agent refuses a lower one because the key has signed so much for another role.
    #[arg(long, value_name = "VERSION")]
    pub(crate) above: Option<NonZeroU64>,
    /// Renew only what expires within this time, such as 12h.
    #[arg(long, value_name = "SPAN")]
    pub(crate) if_within: Option<Span>,
    #[command(flatten)]
    pub(crate) yes: Yes,
}

/// `tufctl sign`
#[derive(Debug, Args)]
pub(crate) struct SignArgs {
    /// The repository folder.
    pub(crate) dir: PathBuf,
    /// Sign these roles only. May be given several times; a comma of a name is written \,.
    #[arg(long = "role", value_name = "ROLE,…")]
    pub(crate) roles: Vec<List>,
    /// Sign with these keys only.
    #[arg(long = "key", value_name = "KEY,…", value_delimiter = ',')]
    pub(crate) keys: Vec<String>,
    /// Leave everything in staged/, also when it is complete.
    #[arg(long)]
    pub(crate) no_publish: bool,
    /// First merge the signatures of a copy: a repository folder, its staged/, a git working tree, or one file such as a
    /// root.json. A root that is not staged here is taken on when it follows the published one.
    #[arg(long, value_name = "COPY")]
    pub(crate) from: Option<PathBuf>,
    /// Put the staged root in the place of one that was signed, or was to be, under its version and never published; asks
    /// at the terminal, --yes or not (as for a version that jumps by more than 16).
    #[arg(long, value_name = "DIGEST")]
    pub(crate) supersede: Option<Sha256Digest>,
    /// Let keys sign although they serve another repository, or nobody knows what they have signed.
    #[arg(long)]
    pub(crate) shared_key: bool,
    #[command(flatten)]
    pub(crate) yes: Yes,
}

/// `tufctl verify`
#[derive(Debug, Args)]
pub(crate) struct VerifyArgs {
    /// The repository folder.
    pub(crate) dir: PathBuf,
    /// The root that you trust.
    #[arg(long, value_name = "ROOT.json")]
    pub(crate) root: PathBuf,
    /// Judge expiry as of this time (RFC 3339, UTC) [default: now].
    #[arg(long, value_name = "TIME")]
    pub(crate) at: Option<String>,
    /// Remember in this folder what was last trusted, and refuse to go back behind it.
    #[arg(long, value_name = "STATE_DIR")]
    pub(crate) state: Option<PathBuf>,
    /// Look at no target file.
    #[arg(long)]
    pub(crate) metadata_only: bool,
    /// Accept keyids that are not the hash of their key.
    #[arg(long)]
    pub(crate) accept_keyids: bool,
}

/// `tufctl lint`
#[derive(Debug, Args)]
pub(crate) struct LintArgs {
    /// The repository folder.
    pub(crate) dir: PathBuf,
    /// Tell what concerns this stock client alone; may be given several times [default: all three].
    #[arg(long = "client", value_name = "CLIENT", value_parser = PossibleValuesParser::new(["python-tuf", "tuf-js", "tough"]))]
    pub(crate) clients: Vec<String>,
    /// Do not look into target files, only whether they are there.
    #[arg(long)]
    pub(crate) metadata_only: bool,
    /// Judge expiry as of this time (RFC 3339, UTC) [default: now].
    #[arg(long, value_name = "TIME")]
    pub(crate) at: Option<String>,
}

const INIT_EXAMPLES: &str = "\
Examples:
  tufctl repo init repo --name app --root root-a,bob.json,carol.json --root-threshold 2 \\
      --targets online --snapshot online --timestamp online
  tufctl repo init repo --name app --root a --targets a --snapshot a --timestamp a --expires timestamp=3d";

const RESET_EXAMPLES: &str = "\
Examples:
  tufctl root replace-key repo timestamp --old online --new online-2
  tufctl root replace-key repo snapshot --old online --new online-2
  tufctl sign repo --role root
  tufctl repo reset-watermark repo timestamp
  tufctl repo reset-watermark repo snapshot
  tufctl sign repo";

const TARGET_EXAMPLES: &str = "\
Examples:
  tufctl target add repo dist/app-1.0.tar.gz --path app/
  tufctl target add repo dist/ --role releases
  tufctl target add repo build/out.bin --path firmware/v2.bin";

const DELEGATION_EXAMPLES: &str = "\
Examples:
  tufctl delegation add repo docs --key carol.json --paths 'docs/*'
  tufctl delegation add repo bin --key online --succinct-bins 256";
