//! The test bed: homes whose agents run, shipped or made to measure, with small repositories in them.

use std::path::{Path, PathBuf};
use std::process::Command;

use tufagent_tests::{Agent, Home};

use crate::metadata::Subject;

/// How an agent flushes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flush {
    /// As shipped.
    Shipped,
    /// Not at all.
    Off,
    /// With these milliseconds added to each flush.
    Slower(u32),
}

/// Where the two builds are.
pub(crate) struct Bed {
    shipped: PathBuf,
    measuring: PathBuf,
}

impl Bed {
    pub(crate) fn new(shipped: &Path, measuring: &Path) -> Self {
        Self { shipped: shipped.to_owned(), measuring: measuring.to_owned() }
    }

    /// `tufctl` as it is shipped.
    pub(crate) fn tufctl(&self) -> PathBuf {
        self.shipped.join("tufctl")
    }

    /// Starts an agent for a home.
    pub(crate) fn start(&self, home: &Home, flush: Flush) -> Agent {
        let (folder, word) = match flush {
            Flush::Shipped => (&self.shipped, None),
            Flush::Off => (&self.measuring, Some("off".to_owned())),
            Flush::Slower(more) => (&self.measuring, Some(more.to_string())),
        };
        let word = word.as_ref().map(|word| ("TUF_AGENT_UNSAFE_FLUSH", word.as_str()));
        let quiet = ("TUF_AGENT_LOG", "warn");
        let variables: Vec<_> = word.into_iter().chain([quiet]).collect();
        Agent::start_in_environment(home, Command::new(folder.join("tuf-agent")), &variables)
    }

    /// A home with an unlocked file store.
    pub(crate) fn home(&self, flush: Flush) -> (Home, Agent) {
        let home = Home::new();
        let agent = self.start(&home, flush);
        home.unlock_file_store();
        (home, agent)
    }

    /// A home with a published repository `repo` of name `app`, whose key `online` signs all but the root; with so many
    /// bins (0: none).
    pub(crate) fn published(&self, flush: Flush, bins: u32) -> (Home, Agent) {
        let (home, agent) = self.home(flush);
        home.published_repository();
        if bins > 0 {
            home.run(&format!(
                "delegation add repo bin --succinct-bins {bins} --key online --threshold 1 --yes"
            ))
            .done();
            home.run("sign repo --yes").done();
        }
        (home, agent)
    }
}

/// The newest published file of a role, ready to go on from.
pub(crate) fn subject(home: &Home, role: &str) -> Subject {
    let folder = home.path("repo/metadata");
    let names = std::fs::read_dir(folder).expect("metadata").map(|entry| entry.expect("an entry").path());
    let newest = names
        .filter_map(|path| {
            let (version, rest) = path.file_name()?.to_str()?.split_once('.')?;
            (rest == format!("{role}.json")).then_some(())?;
            Some((version.parse::<u64>().ok()?, path))
        })
        .max();
    let (_, path) = newest.unwrap_or_else(|| panic!("{role} is not published"));
    Subject::new(role, &std::fs::read(path).expect("a file"))
}
