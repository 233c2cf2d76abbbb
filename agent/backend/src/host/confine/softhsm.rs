//! Where SoftHSM keeps its tokens, read from its own configuration, as softhsm2.conf(5) says.

use std::path::{Path, PathBuf};

use super::reach::Environment;

/// What SoftHSM needs beside the system's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Known {
    /// Files that it reads.
    pub(super) configuration: Vec<PathBuf>,
    /// Folders that it writes.
    pub(super) folders: Vec<PathBuf>,
}

/// None for any other module; an error where nothing tells.
pub(super) fn look(module: &Path, env: &Environment) -> Option<Result<Known, String>> {
    let name = module.file_name()?.to_str()?;
    name.starts_with("libsofthsm2").then(|| match env.get("SOFTHSM2_CONF") {
        // A file that cannot be read gives SoftHSM nothing to write either.
        Some(path) => Ok(Known::by(vec![path.into()])),
        None => Known::by_default(env),
    })
}

impl Known {
    fn by_default(env: &Environment) -> Result<Self, String> {
        let home = env.get("HOME").map(PathBuf::from).or_else(home);
        let own = home.map(|home| home.join(".config/softhsm2/softhsm2.conf"));
        let there = own.into_iter().chain(DEFAULTS.iter().map(PathBuf::from)).filter(|path| path.is_file());
        let known = Self::by(there.collect());
        if known.configuration.is_empty() {
            return Err("nothing tells where SoftHSM keeps its tokens: its entry has neither \
                        `paths` nor SOFTHSM2_CONF in `env`"
                .to_owned());
        }
        Ok(known)
    }

    /// Which of several files it takes, its build decides: the folders of all.
    fn by(configuration: Vec<PathBuf>) -> Self {
        let texts = configuration.iter().filter_map(|path| std::fs::read_to_string(path).ok());
        // All of the machine is no folder of tokens.
        let folders = texts.map(|text| folder_in(&text)).filter(|folder| folder.parent().is_some()).collect();
        Self { configuration, folders }
    }
}

/// The last line counts. A value ends at a second `=`, and a line at `#`.
fn folder_in(text: &str) -> PathBuf {
    let mut lines = text.lines().filter_map(|line| {
        let mut parts = line.split('#').next()?.split('=').map(str::trim);
        (parts.next()? == "directories.tokendir").then_some(parts.next()?)
    });
    // The helper works in the root folder.
    Path::new("/").join(lines.next_back().unwrap_or(DEFAULT_FOLDER))
}

/// Of this user, by passwd(5).
fn home() -> Option<PathBuf> {
    let uid = rustix::process::geteuid().as_raw();
    let users = std::fs::read_to_string("/etc/passwd").ok()?;
    let mut users = users.lines().map(|line| line.split(':').collect::<Vec<_>>());
    let user = users.find(|user| user.get(2).is_some_and(|id| id.parse() == Ok(uid)))?;
    user.get(5).map(PathBuf::from)
}

/// Where distributions and builds by hand put it.
const DEFAULTS: [&str; 3] =
    ["/etc/softhsm/softhsm2.conf", "/etc/softhsm2.conf", "/usr/local/etc/softhsm2.conf"];
const DEFAULT_FOLDER: &str = "/var/lib/softhsm/tokens";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folder_is_read_as_softhsm_reads_it() {
        let text = "# directories.tokendir = /commented\ndirectories.tokendir = /one\n\
                    log.level = ERROR\n  directories.tokendir=/two # the last\n";
        assert_eq!(folder_in(text), Path::new("/two"));
        assert_eq!(folder_in("log.level = INFO\n"), Path::new(DEFAULT_FOLDER));
        assert_eq!(folder_in("directories.tokendir = tokens\n"), Path::new("/tokens"));
        assert_eq!(folder_in("directories.tokendir = /a=b\n"), Path::new("/a"));
    }

    #[test]
    fn softhsm_is_known_by_its_file_and_asked_for_by_its_variable() {
        let dir = tempfile::tempdir().unwrap();
        let conf = dir.path().join("softhsm2.conf");
        std::fs::write(&conf, "directories.tokendir = /tokens\n").unwrap();
        let env = |path: &Path| Environment::from([("SOFTHSM2_CONF".into(), path.display().to_string())]);
        let known = look(Path::new("/usr/lib/softhsm/libsofthsm2.so"), &env(&conf)).unwrap().unwrap();
        assert_eq!(known, Known { configuration: vec![conf.clone()], folders: vec!["/tokens".into()] });
        assert_eq!(look(Path::new("/usr/lib/libother.so"), &env(&conf)), None);
        let gone = look(Path::new("/libsofthsm2.so"), &env(&dir.path().join("gone"))).unwrap().unwrap();
        assert!(gone.folders.is_empty());
    }

    #[test]
    fn a_users_own_configuration_is_found_in_the_home_folder() {
        let dir = tempfile::tempdir().unwrap();
        let own = dir.path().join(".config/softhsm2/softhsm2.conf");
        std::fs::create_dir_all(own.parent().unwrap()).unwrap();
        std::fs::write(&own, "directories.tokendir = /mine\n").unwrap();
        let env = Environment::from([("HOME".into(), dir.path().display().to_string())]);
        let known = look(Path::new("/libsofthsm2.so"), &env).unwrap().unwrap();
        assert!(known.configuration.contains(&own) && known.folders.contains(&"/mine".into()));
    }
}
