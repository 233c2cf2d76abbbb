//! The log on stderr: for the person or service manager that started the agent. It never holds a secret.

use tracing_subscriber::EnvFilter;

/// Starts it; `filter` is the value of `TUF_AGENT_LOG`.
pub fn start(filter: Option<&str>) {
    let parsed = filter.filter(|text| !text.is_empty()).map(|text| EnvFilter::builder().parse(text));
    let (filter, bad) = match parsed {
        Some(Ok(filter)) => (filter, None),
        Some(Err(error)) => (EnvFilter::new("info"), Some(error)),
        None => (EnvFilter::new("info"), None),
    };
    let is_terminal = std::io::IsTerminal::is_terminal(&std::io::stderr());
    let started = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(is_terminal)
        .with_target(false)
        .try_init();
    if let Some(error) = bad {
        tracing::warn!(%error, "TUF_AGENT_LOG is not understood, so info is logged");
    }
    drop(started);
}
