//! What can be said on the command line: clap definitions and nothing else.
//!
//! One type a command, one sentence of help each. `--json`, `--quiet` and `--socket` stand before or
//! after the subcommand. What they mean is CONTRACT sections 1 to 4; this file may only grow.

mod keys;
mod repository;
mod shares;
mod values;

pub(crate) use self::keys::{
    AuditCommand, BackupArgs, ChangePinArgs, DoctorArgs, GenerateArgs, ImportArgs, KeyCommand, KeyFormat,
    ManagementKeyArgs, RestoreArgs, SetupArgs, SlotArgs, TokenCommand, UnblockArgs, UnlockArgs,
};
pub(crate) use self::repository::{
    AdoptArgs, BumpArgs, DelegationAddArgs, DelegationCommand, DelegationEditArgs, InitArgs, LintArgs,
    RepoCommand, ResetArgs, RootCommand, ShowArgs, SignArgs, TargetAddArgs, TargetCommand, VerifyArgs,
};
pub(crate) use self::shares::{
    CollectArgs, CustodianArg, Fingerprint, How, NamedFile, OpenerArgs, Phase, ShareCollectArgs,
    ShareCommand, ShareConfirmArgs, ShareDrillArgs, ShareGiveArgs, ShareResplitArgs, ShareSealArgs,
    ShareSplitArgs, ShareVerifyArgs, TermsArgs,
};
pub(crate) use self::values::{Days, List, RoleDays, Span, TopRole};

use std::path::{Path, PathBuf};

use clap::{Args, Parser, Subcommand};

/// The whole command line.
#[derive(Debug, Parser)]
#[command(
    name = "tufctl",
    version,
    about = "Makes, signs and checks TUF repositories with the keys that tuf-agent holds.",
    after_help = FIRST_STEPS,
    arg_required_else_help = true,
    subcommand_required = true,
    infer_long_args = false,
    max_term_width = 100
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) globals: Globals,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Flags that every command takes, before or after its name.
#[derive(Debug, Clone, Args)]
pub(crate) struct Globals {
    /// Print one JSON document on stdout, errors too.
    #[arg(long, global = true, help_heading = "Everywhere")]
    pub(crate) json: bool,
    /// Say nothing on stderr but errors, warnings, questions, and what these are about.
    #[arg(long, short, global = true, help_heading = "Everywhere")]
    pub(crate) quiet: bool,
    /// Talk to the agent at this socket [default: $TUF_AGENT_SOCK, then $XDG_RUNTIME_DIR/tuf-agent/agent.sock].
    #[arg(long, global = true, value_name = "PATH", help_heading = "Everywhere")]
    pub(crate) socket: Option<PathBuf>,
}

/// `--yes`, for commands that ask before they go on.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct Yes {
    /// Answer yes to what tufctl asks.
    #[arg(long, short)]
    pub(crate) yes: bool,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show the agent, its tokens and what waits for a person. Exit 7 while it can sign nothing.
    Status,
    /// Lock every token until it is unlocked again.
    Lock,
    /// Unlock every token, one prompt each.
    Unlock,
    /// Tokens: the places that hold keys.
    #[command(subcommand, arg_required_else_help = true)]
    Token(TokenCommand),
    /// Keys: make, import, show and export them.
    #[command(subcommand, arg_required_else_help = true)]
    Key(KeyCommand),
    /// Shares of keys that are split among several people.
    #[command(subcommand, arg_required_else_help = true)]
    Share(ShareCommand),
    /// Repositories: make one, adopt one, show its roles.
    #[command(subcommand, arg_required_else_help = true)]
    Repo(RepoCommand),
    /// Target files: what the repository offers.
    #[command(subcommand, arg_required_else_help = true)]
    Target(TargetCommand),
    /// Delegations: who else may sign which paths.
    #[command(subcommand, arg_required_else_help = true)]
    Delegation(DelegationCommand),
    /// The root role: stage the next root with other keys or thresholds.
    #[command(subcommand, arg_required_else_help = true)]
    Root(RootCommand),
    /// Stage the next version of roles, with a new expiry and nothing else changed.
    #[command(after_help = BUMP_EXAMPLES)]
    Bump(BumpArgs),
    /// Show what would be signed, against what is published.
    Diff {
        /// The repository folder.
        dir: PathBuf,
    },
    /// Sign what is staged and publish it once every changed role has its threshold.
    #[command(after_help = SIGN_EXAMPLES)]
    Sign(SignArgs),
    /// Check everything that is published, as a client would, every target file too; needs no agent.
    #[command(after_help = VERIFY_EXAMPLES)]
    Verify(VerifyArgs),
    /// Say what stock clients would stumble over in what is published; needs no agent, and takes damaged folders.
    #[command(after_help = LINT_HELP)]
    Lint(LintArgs),
    /// The journal: what was asked, decided and signed.
    #[command(subcommand, arg_required_else_help = true)]
    Audit(AuditCommand),
    /// Write file store and ledger into one file, sealed under a passphrase of its own.
    #[command(after_help = BACKUP_EXAMPLES)]
    Backup(BackupArgs),
    /// Take over what a backup holds; no watermark goes down.
    #[command(after_help = RESTORE_EXAMPLES)]
    Restore(RestoreArgs),
    /// Print the completions for a shell.
    Completions {
        /// bash, elvish, fish, powershell or zsh.
        shell: clap_complete::Shell,
    },
    /// Write the man pages into a folder: section 1 for the commands, tufctl-shares(7) and tufctl-recovery(7) beside them.
    Man {
        /// The folder; made when absent.
        dir: PathBuf,
    },
}

impl Command {
    /// The repository folder that the command is about.
    pub(crate) fn folder(&self) -> Option<&Path> {
        Some(match self {
            Self::Repo(RepoCommand::Init(args)) => &args.dir,
            Self::Repo(RepoCommand::Adopt(args)) => &args.dir,
            Self::Repo(RepoCommand::Show(args)) => &args.dir,
            Self::Repo(RepoCommand::ResetWatermark(args)) => &args.dir,
            Self::Target(TargetCommand::Add(args)) => &args.dir,
            Self::Target(TargetCommand::Remove { dir, .. } | TargetCommand::List { dir, .. }) => dir,
            Self::Delegation(DelegationCommand::Add(args)) => &args.dir,
            Self::Delegation(DelegationCommand::Edit(args)) => &args.dir,
            Self::Delegation(DelegationCommand::Remove { dir, .. } | DelegationCommand::List { dir }) => dir,
            Self::Root(RootCommand::AddKey(args) | RootCommand::RemoveKey(args)) => &args.dir,
            Self::Root(
                RootCommand::ReplaceKey { dir, .. }
                | RootCommand::SetThreshold { dir, .. }
                | RootCommand::Restage { dir, .. },
            ) => dir,
            Self::Bump(args) => &args.dir,
            Self::Diff { dir } => dir,
            Self::Sign(args) => &args.dir,
            Self::Share(ShareCommand::Collect(args)) => &args.dir,
            Self::Verify(args) => &args.dir,
            Self::Lint(args) => &args.dir,
            _ => return None,
        })
    }
}

/// What the exit codes say; part of the man page and of `--help`.
pub(crate) const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  anything that has no number of its own
  2  wrong usage
  3  refused: policy, watermark, confirmation missing
  4  more signatures are needed
  5  token, PIN or touch
  6  verification failed
  7  agent not reachable";

const FIRST_STEPS: &str = "\
First steps:
  tufctl unlock
  tufctl key generate root-a --token file --type ed25519
  tufctl key generate online --token file --type ed25519
  tufctl repo init repo --name app --root root-a \
      --targets online --snapshot online --timestamp online
  tufctl target add repo dist/app-1.0.tar.gz --path app/
  tufctl sign repo
  tufctl verify repo --root repo/metadata/1.root.json

Exit codes:
  0 done, 2 usage, 3 refused, 4 more signatures needed, 5 token, 6 verification, 7 no agent, 1 other";

const SIGN_EXAMPLES: &str = "\
With --json: published, signed, missing (roles short of signatures, with the tokens of keys that
are ours) and unsigned: each key of ours that did not sign though it was wanted, with role,
version, keyid, key, token, and why as reason, message and remedy.

Examples:
  tufctl sign repo
  tufctl sign repo --role root --key root-a
  tufctl sign repo --from /media/stick/repo    merge a colleague's signatures, then go on
  tufctl sign repo --yes --json                unattended";

const BUMP_EXAMPLES: &str = "\
Examples:
  tufctl bump repo timestamp --if-within 12h && tufctl sign repo --yes    from a timer
  tufctl bump repo root --expires 365d";

const LINT_HELP: &str = "\
It looks at sizes, patterns, names, key types, keyids, digests, thresholds, expiry, the chain
of roots, what lists what and whether it fits, how far a search goes, and private keys published
by mistake, against the limits of python-tuf, tuf-js and tough. Trust is judged by tufctl verify.

An error is what some client refuses, be it one of three, or tufctl verify; so are P-384 keys
and succinct bins, which tough cannot read. --client leaves out what concerns the others.

Exit code 0 when nothing is an error, 6 when something is.

Examples:
  tufctl lint repo
  tufctl lint repo --json
  tufctl lint repo --client python-tuf --client tuf-js    what users of tough would stumble over is left out
  tufctl lint repo --at 2027-01-01T00:00:00Z    what will have expired by then";

const BACKUP_EXAMPLES: &str = "\
Examples:
  tufctl backup /media/stick/tuf-agent.backup
  tufctl backup nightly.backup --overwrite --passphrase-file ~/.config/tuf-agent/backup.pass    from a timer";

const RESTORE_EXAMPLES: &str = "\
Examples:
  tufctl restore /media/stick/tuf-agent.backup
  tufctl repo adopt repo --name app --root repo/metadata/1.root.json    then, from its newest published copy";

const VERIFY_EXAMPLES: &str = "\
Examples:
  tufctl verify repo --root repo/metadata/1.root.json
  tufctl verify repo --root root.json --state ~/.cache/app-tuf    remember, and refuse rollbacks next time";

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};

    use super::{Cli, Command};

    #[test]
    fn the_definitions_hold_together() {
        Cli::command().debug_assert();
    }

    #[test]
    fn global_flags_stand_before_or_after_the_subcommand() {
        for line in [["tufctl", "--json", "token", "list"], ["tufctl", "token", "list", "--json"]] {
            assert!(Cli::try_parse_from(line).unwrap().globals.json, "{line:?}");
        }
        let line = ["tufctl", "token", "--socket", "/s", "list"];
        assert_eq!(Cli::try_parse_from(line).unwrap().globals.socket.unwrap(), std::path::Path::new("/s"));
    }

    #[test]
    fn the_line_of_the_contract_parses() {
        let line = "tufctl repo init repo --name app --root root-a,bob.json,carol.json --root-threshold 2 \
                    --targets online --snapshot online --timestamp online --expires root=400d";
        let cli = Cli::try_parse_from(line.split_whitespace()).unwrap();
        let Command::Repo(super::RepoCommand::Init(init)) = cli.command else { panic!("not repo init") };
        assert_eq!(init.root, ["root-a", "bob.json", "carol.json"]);
        assert_eq!((init.root_threshold.get(), init.targets_threshold.get()), (2, 1));
    }

    #[test]
    fn every_command_has_a_sentence_of_help() {
        fn check(command: &clap::Command, path: &str) {
            for sub in command.get_subcommands() {
                let path = format!("{path} {}", sub.get_name());
                let about = sub.get_about().map(ToString::to_string).unwrap_or_default();
                assert!(!about.is_empty(), "{path} has no help");
                for arg in sub.get_arguments() {
                    assert!(arg.get_help().is_some(), "{path}: {} has no help", arg.get_id());
                }
                check(sub, &path);
            }
        }
        check(&Cli::command(), "tufctl");
    }
}
