//! All stock clients at once.

use std::path::{Path, PathBuf};

use tough::{ExpirationEnforcement as Expiry, RepositoryLoader};
use tufagent_tests::clock::Shift;
use tufagent_tests::oracle::{Client, Memory};
use tufagent_tests::{Home, Published, need};
use url::Url;

/// python-tuf, tuf-js and tough, each with a memory of its own.
pub(crate) struct Judges {
    python: Option<(Client, Memory)>,
    js: Option<(Client, Memory)>,
    tough: Option<PathBuf>,
}

/// Which clients can read what a scenario makes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reads {
    All,
    /// Everyone but tough (succinct bins).
    NotTough,
    /// Everyone but tuf-js (a file of 50,000 targets: it takes minutes over it).
    NotJs,
    /// python-tuf alone (P-384).
    PythonAlone,
}

impl Judges {
    /// Clients that have seen nothing; `name` keeps the memories of several apart.
    pub(crate) fn new(home: &Home, name: &str, reads: Reads) -> Self {
        let memory = |client: &str| home.dir().join(format!("memory-{name}-{client}"));
        let with = |client: Client, label| (client, Memory::new(memory(label)));
        Self {
            python: need(Client::python()).map(|client| with(client, "python")),
            js: matches!(reads, Reads::All | Reads::NotTough)
                .then(|| need(Client::js()).map(|client| with(client, "js")))
                .flatten(),
            tough: matches!(reads, Reads::All | Reads::NotJs).then(|| memory("tough")),
        }
    }

    /// Every client updates and downloads the targets.
    #[track_caller]
    pub(crate) fn accept(&self, repo: &Published, targets: &[&str]) {
        for (client, memory) in [&self.python, &self.js].into_iter().flatten() {
            client.accepts(repo, memory, targets);
        }
        let tough = self.tough.as_deref().map(|memory| tough_update(repo, memory, targets));
        if let Some(Err(why)) = tough {
            panic!("tough refuses the repository: {why}");
        }
    }

    /// Every client updates and downloads the targets at another time; tough, which has no clock of its own, without
    /// looking at the time.
    #[track_caller]
    pub(crate) fn accept_at(&self, time: &Shift, repo: &Published, targets: &[&str]) {
        for (client, memory) in [&self.python, &self.js].into_iter().flatten() {
            client.update_at(Some(time), repo, memory, targets).unwrap();
        }
        if let Some(memory) = &self.tough {
            tough_judging(repo, memory, targets, Expiry::Unsafe).unwrap();
        }
    }

    /// Every client refuses.
    #[track_caller]
    pub(crate) fn refuse(&self, repo: &Published, targets: &[&str]) {
        for (client, memory) in [&self.python, &self.js].into_iter().flatten() {
            client.refuses(repo, memory, targets);
        }
        if let Some(memory) = &self.tough {
            assert!(tough_update(repo, memory, targets).is_err(), "tough accepts the repository");
        }
    }
}

/// tough in this process; it keeps the newest root that it saw, as its callers have to.
pub(crate) fn tough_update(repo: &Published, memory: &Path, targets: &[&str]) -> Result<(), String> {
    tough_judging(repo, memory, targets, Expiry::Safe)
}

/// As [`tough_update`], with or without a look at the time.
fn tough_judging(repo: &Published, memory: &Path, targets: &[&str], expiry: Expiry) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let datastore = memory.join("datastore");
        std::fs::create_dir_all(&datastore).unwrap();
        let trusted = memory.join("root.json");
        let root = std::fs::read(&trusted).unwrap_or_else(|_| repo.bytes(&oldest_root(repo)));
        let folder = |name: &str| Url::from_directory_path(repo.dir().join(name)).unwrap();
        let loader =
            RepositoryLoader::new(&root, folder("metadata"), folder("targets")).datastore(&datastore);
        let loaded = loader.expiration_enforcement(expiry).load().await.map_err(explain)?;
        for target in targets {
            let name = tough::TargetName::new(*target).map_err(explain)?;
            let stream = loaded.read_target(&name).await.map_err(explain)?;
            let stream = stream.ok_or_else(|| format!("{target} is in no role"))?;
            tough::IntoVec::into_vec(stream).await.map_err(explain)?;
        }
        let version = loaded.root().signed.version;
        std::fs::write(&trusted, repo.bytes(&format!("{version}.root.json"))).unwrap();
        Ok(())
    })
}

/// The oldest root that is published: not every repository goes back to its first.
fn oldest_root(repo: &Published) -> String {
    let version = |name: &String| name.strip_suffix(".root.json")?.parse::<u64>().ok();
    let oldest = repo.names("metadata").iter().filter_map(version).min().expect("a root");
    format!("{oldest}.root.json")
}

fn explain(error: impl std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text.push_str(&format!(": {inner}"));
        cause = inner.source();
    }
    text
}
