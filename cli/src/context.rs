//! What every command gets beside its own arguments.

use std::cell::OnceCell;
use std::path::PathBuf;

use crate::args::Globals;
use crate::client::{Agent, resolve_socket};
use crate::error::Failure;
use crate::render::Screen;

/// The screen, and the agent for those who ask for it.
pub(crate) struct Context {
    /// Where to speak.
    pub(crate) screen: Screen,
    socket: Option<PathBuf>,
    agent: OnceCell<Agent>,
}

impl Context {
    /// The context that the global flags describe.
    pub(crate) fn new(globals: &Globals) -> Self {
        Self {
            screen: Screen::new(globals.json, globals.quiet),
            socket: globals.socket.clone(),
            agent: OnceCell::new(),
        }
    }

    /// The agent; connects at the first call.
    ///
    /// # Errors
    /// `UNREACHABLE` (exit 7) when no agent answers, `USAGE` when the socket's path is too long.
    pub(crate) fn agent(&self) -> Result<&Agent, Failure> {
        if let Some(agent) = self.agent.get() {
            return Ok(agent);
        }
        let path = resolve_socket(self.socket.as_deref(), |name| std::env::var_os(name))?;
        let agent = Agent::connect(&path, self.screen)?;
        Ok(self.agent.get_or_init(|| agent))
    }
}
