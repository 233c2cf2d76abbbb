//! The command line.

use std::path::PathBuf;

use clap::{Parser, Subcommand};

/// Holds signing keys and signs TUF metadata that it has read and understood.
#[derive(Debug, Parser)]
#[command(
    name = "tuf-agent",
    version = crate::VERSION,
    about,
    after_help = "Runs in the foreground until SIGTERM; SIGHUP reloads the configuration. With no configuration it \
                  serves this user, from an encrypted file store. TUF_AGENT_LOG sets what it logs (such as \"debug\")."
)]
pub struct Args {
    /// The configuration [default: $XDG_CONFIG_HOME/tuf-agent/config.toml, if it is there]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// The socket to serve [default: $XDG_RUNTIME_DIR/tuf-agent/agent.sock; env: TUF_AGENT_SOCK]
    #[arg(long, value_name = "PATH")]
    pub socket: Option<PathBuf>,
    /// Only check the configuration, and say what is wrong with it; FILE may be -, standard input
    #[arg(long)]
    pub check: bool,
    /// Run as root, as in a container
    #[arg(long)]
    pub allow_root: bool,
    /// What the agent runs itself.
    #[command(subcommand)]
    pub inner: Option<Inner>,
}

/// What the agent runs itself; not for people.
#[derive(Debug, Subcommand)]
pub enum Inner {
    /// Hosts one PKCS#11 token.
    #[command(name = "host-token", hide = true)]
    HostToken {
        /// The name of the token, for the process list.
        name: String,
    },
}
