//! What a module may touch, worked out from the token's entry and from what is known of the module.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::softhsm;
use super::{Limits, NO_PATHS};

/// The environment of the helper, which is the entry's and the locale.
pub(super) type Environment = BTreeMap<String, String>;

/// What a module may touch.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Reach {
    /// Files and folders; none: all that this user may.
    pub(super) files: Option<Files>,
    /// Sockets of all families; else unix sockets alone.
    pub(super) network: bool,
    /// Abstract unix sockets of others.
    pub(super) abstract_sockets: bool,
}

/// Files and folders, each with all below it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Files {
    /// What the configuration lets it write; it must be there.
    pub(super) demanded: Vec<PathBuf>,
    /// What a known module writes; it may be absent.
    pub(super) write: Vec<PathBuf>,
    /// What it may read.
    pub(super) read: Vec<PathBuf>,
    /// Devices that lead nowhere.
    pub(super) sinks: Vec<PathBuf>,
}

impl Reach {
    /// # Errors
    /// Why nothing is confined.
    pub(super) fn of(
        limits: &Limits,
        module: &Path,
        reserved: Option<&str>,
        env: &Environment,
    ) -> Result<Self, String> {
        let known = softhsm::look(module, env);
        let network = limits.network.unwrap_or(false);
        // Buses of other programs are told to a module so.
        let abstract_sockets = env.values().any(|text| text.contains("abstract="));
        let (demanded, write) = match (&limits.paths, &known) {
            (Some(paths), _) => (paths.clone(), Vec::new()),
            (None, Some(Ok(known))) => (Vec::new(), known.folders.clone()),
            (None, _) if limits.network == Some(false) => {
                return Ok(Self { files: None, network, abstract_sockets });
            }
            (None, Some(Err(why))) => return Err(why.clone()),
            (None, None) => return Err(NO_PATHS.to_owned()),
        };
        let mut read = readable(module, reserved, env, network);
        if let Some(Ok(known)) = known {
            read.extend(known.configuration);
        }
        let files = Some(Files { demanded, write, ..Files::to_read(read) });
        Ok(Self { files, network, abstract_sockets })
    }

    /// What libpcsclite needs: itself, and the folder of pcscd's socket. To connect to that needs no right of landlock's.
    pub(super) fn of_card(env: &Environment) -> Self {
        let socket = env.get(SOCKET_VARIABLE).map_or(SOCKET, String::as_str);
        let folder = Path::new(socket).parent().map(Path::to_owned);
        // What the entry names beside the socket is where the library may lie.
        let libraries = env.get("LD_LIBRARY_PATH").into_iter().flat_map(|text| named(text));
        let read = SYSTEM.iter().map(PathBuf::from).chain(folder).chain(libraries).collect();
        Self { files: Some(Files::to_read(read)), network: false, abstract_sockets: false }
    }
}

impl Files {
    /// Nothing of it may be written, but what leads nowhere.
    fn to_read(mut read: Vec<PathBuf>) -> Self {
        // No name means the whole of the file system.
        read.retain(|path| path.parent().is_some());
        Self { read, sinks: vec![PathBuf::from("/dev/null")], ..Self::default() }
    }
}

/// What modules are made of and set up with: the system's, the module's own folder, and what the entry names.
fn readable(module: &Path, reserved: Option<&str>, env: &Environment, network: bool) -> Vec<PathBuf> {
    let system = SYSTEM.iter().chain(NAMES.iter().filter(|_| network)).map(PathBuf::from);
    let own = module.ancestors().take(2).map(Path::to_owned);
    // A home folder holds what is no module's business; a module that is told of one wants files in it, to be named.
    let texts = env.iter().filter(|(name, _)| *name != "HOME").map(|(_, value)| value.as_str());
    system.chain(own).chain(texts.chain(reserved).flat_map(named)).collect()
}

/// Absolute paths in a text such as `/a/b`, `/a:/b`, `unix:path=/a/b,guid=1`, `configdir='sql:/a/b'`.
fn named(text: &str) -> impl Iterator<Item = PathBuf> {
    let parts = text.split([':', '=', ',', ';', '\'', '"']).chain([text]);
    parts.map(str::trim).filter(|part| part.starts_with('/')).map(PathBuf::from)
}

/// Libraries and their settings, locales, certificates, random numbers, what the kernel tells of the machine.
const SYSTEM: [&str; 14] = [
    "/usr",
    "/lib",
    "/lib32",
    "/lib64",
    "/libx32",
    "/etc",
    "/opt",
    "/nix/store",
    "/gnu/store",
    "/proc",
    "/sys",
    "/dev/random",
    "/dev/urandom",
    "/dev/zero",
];

/// How libpcsclite is told another socket than pcscd's own.
const SOCKET_VARIABLE: &str = "PCSCLITE_CSOCK_NAME";
const SOCKET: &str = "/run/pcscd/pcscd.comm";

/// Where /etc/resolv.conf may lead.
const NAMES: [&str; 3] = ["/run/systemd/resolve", "/run/NetworkManager", "/run/resolvconf"];

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(paths: Option<&[&str]>, network: Option<bool>) -> Limits {
        Limits { paths: paths.map(|paths| paths.iter().map(PathBuf::from).collect()), network }
    }

    fn of(limits: &Limits, env: &[(&str, &str)]) -> Result<Reach, String> {
        let env = env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Reach::of(limits, Path::new("/srv/hsm/m.so"), Some("configdir='sql:/srv/nss' x='y'"), &env)
    }

    #[test]
    fn what_is_named_may_be_read_and_what_is_in_paths_written() {
        let env = [
            ("CONF", "/srv/my conf"),
            ("LD_LIBRARY_PATH", "/a/lib:/b/lib"),
            ("BUS", "unix:path=/run/bus,guid=1"),
            ("HOME", "/home/me"),
            ("ODD", "/"),
            ("WORD", "no/path"),
        ];
        let reach = of(&limits(Some(&["/srv/tokens"]), None), &env).unwrap();
        let files = reach.files.unwrap();
        assert_eq!(files.demanded, [Path::new("/srv/tokens")]);
        for path in [
            "/srv/my conf",
            "/a/lib",
            "/b/lib",
            "/run/bus",
            "/srv/nss",
            "/srv/hsm",
            "/srv/hsm/m.so",
            "/usr",
            "/dev/urandom",
        ] {
            assert!(files.read.contains(&path.into()), "{path}: {:?}", files.read);
        }
        for path in ["/", "/home/me", "/run", "/var", "/tmp", "/dev", "no/path", "/srv"] {
            assert!(!files.read.contains(&path.into()), "{path}");
        }
        assert!(!reach.network && !reach.abstract_sockets);
    }

    #[test]
    fn without_a_word_a_module_that_is_not_known_is_left_alone() {
        assert_eq!(of(&limits(None, None), &[]).unwrap_err(), NO_PATHS);
        assert_eq!(of(&limits(None, Some(true)), &[]).unwrap_err(), NO_PATHS);
        let tcp = of(&limits(None, Some(false)), &[]).unwrap();
        assert!(tcp.files.is_none() && !tcp.network);
    }

    #[test]
    fn the_network_is_closed_unless_it_is_asked_for() {
        assert!(!of(&limits(Some(&[]), None), &[]).unwrap().network);
        let open = of(&limits(Some(&[]), Some(true)), &[]).unwrap();
        assert!(open.network && open.files.unwrap().read.contains(&"/run/systemd/resolve".into()));
    }

    #[test]
    fn a_card_is_reached_by_its_service_alone() {
        let of = |env: &[(&str, &str)]| {
            let text = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
            let reach = Reach::of_card(&env.iter().map(text).collect());
            assert!(!reach.network && !reach.abstract_sockets);
            let files = reach.files.unwrap();
            assert!(files.write.is_empty() && files.demanded.is_empty());
            files.read
        };
        assert!(of(&[]).contains(&"/run/pcscd".into()));
        let read = of(&[
            ("PCSCLITE_CSOCK_NAME", "/srv/pcsc/s.comm"),
            ("LD_LIBRARY_PATH", "/srv/lib"),
            ("X", "/srv/x"),
        ]);
        assert!(read.contains(&"/srv/pcsc".into()) && read.contains(&"/srv/lib".into()), "{read:?}");
        for path in ["/run/pcscd", "/srv/x", "/srv", "/run", "/"] {
            assert!(!read.contains(&path.into()), "{path}");
        }
    }

    #[test]
    fn an_abstract_bus_that_the_entry_names_stays_within_reach() {
        let bus = [("DBUS_SESSION_BUS_ADDRESS", "unix:abstract=/tmp/dbus-x")];
        assert!(of(&limits(Some(&[]), None), &bus).unwrap().abstract_sockets);
    }
}
