//! A pcscd of one's own, with the reader driver of virtual cards (vpcd): another folder than the machine's, and none of
//! the machine's readers.

use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::fetched::Fetched;
use crate::server::Server;
use crate::{Skipped, debs, process};

const PACKAGES: &[&str] = &["pcscd", "vsmartcard-vpcd"];
const REMEDY: &str = "look at pcscd.log in its folder";
const NAMESPACES: &str = "let unprivileged users make namespaces: sysctl kernel.unprivileged_userns_clone=1 \
                          (Debian), kernel.apparmor_restrict_unprivileged_userns=0 (Ubuntu), \
                          user.max_user_namespaces=10000";

/// pcscd and vpcd that work on this machine.
#[derive(Debug, Clone)]
pub struct Pcsc {
    daemon: PathBuf,
    driver: PathBuf,
    library_path: Option<String>,
    unshare: &'static [&'static str],
}

/// A pcscd that runs. It ends with this value.
#[derive(Debug)]
pub struct Pcscd {
    pcsc: Pcsc,
    dir: PathBuf,
    dialer: (PathBuf, String),
    server: Option<Server>,
}

impl Pcsc {
    /// The headers that its clients are built with, fetched; they lie in `usr/include/PCSC`.
    ///
    /// # Errors
    /// When they cannot be fetched.
    pub fn headers(third_party: &Path) -> Result<PathBuf, Skipped> {
        debs::fetch(third_party, &["libpcsclite-dev"]).map(|root| root.join("usr/include/PCSC"))
    }

    /// The system's, or fetched into `third_party`.
    ///
    /// # Errors
    /// When they cannot be fetched, or this machine forbids the namespace that keeps such a pcscd apart.
    pub fn find_or_fetch_in(third_party: &Path) -> Result<Self, Skipped> {
        let fetched = Fetched::new(third_party, "pcscd", PACKAGES)?;
        let (daemon, driver) = (fetched.file("pcscd")?, fetched.file("libifdvpcd.so")?);
        Ok(Self { daemon, driver, library_path: fetched.library_path(), unshare: namespace("unshare")? })
    }

    /// The folder of libpcsclite, which its clients load; none where the system has it.
    #[must_use]
    pub fn client_library(&self) -> Option<&Path> {
        let mut folders = self.library_path.as_ref()?.split(':').map(Path::new);
        folders.find(|folder| folder.join("libpcsclite.so.1").is_file())
    }

    /// Starts one in `dir`, with slots for two virtual cards, in a network of its own: vpcd listens at all addresses. The
    /// `dialer`, a program and its first word, is started in that network, too, with a socket at which it is to connect to
    /// ports there for others.
    ///
    /// # Errors
    /// When it does not start.
    pub fn start(&self, dir: &Path, (program, word): (&Path, &str)) -> Result<Pcscd, Skipped> {
        let failed = |e: std::io::Error| Skipped::new(format!("{}: {e}", dir.display()), REMEDY);
        for folder in ["run", "readers", "no-drivers"] {
            let made = fs::DirBuilder::new().recursive(true).mode(0o755).create(dir.join(folder));
            made.map_err(failed)?;
        }
        // A copy: where it lies is hidden from pcscd, if that is the system's folder.
        let driver = dir.join("libifdvpcd.so");
        fs::copy(&self.driver, &driver).map_err(failed)?;
        fs::write(dir.join("readers/virtual"), reader(&driver)).map_err(failed)?;
        let dialer = (program.to_path_buf(), word.to_owned());
        let mut pcscd = Pcscd { pcsc: self.clone(), dir: dir.to_path_buf(), dialer, server: None };
        pcscd.start()?;
        Ok(pcscd)
    }
}

impl Pcscd {
    /// The port of each slot, in the network of its own, where a virtual card may connect.
    #[must_use]
    pub const fn ports(&self) -> [u16; 2] {
        PORTS
    }

    /// Where the dialer is asked to connect there.
    #[must_use]
    pub fn dialer(&self) -> PathBuf {
        self.dir.join("dialer")
    }

    /// What it was started from.
    #[must_use]
    pub fn pcsc(&self) -> &Pcsc {
        &self.pcsc
    }

    /// What `PCSCLITE_CSOCK_NAME` has to be for whoever is to find it.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.dir.join("run/pcscd/pcscd.comm")
    }

    /// Whether it did not end by itself.
    #[must_use]
    pub fn is_running(&mut self) -> bool {
        self.server.as_mut().is_some_and(|server| !server.has_ended())
    }

    /// Ends it, as a power loss does.
    pub fn stop(&mut self) {
        self.server = None;
    }

    /// Starts it again, or anew.
    ///
    /// # Errors
    /// When it does not start.
    pub fn start(&mut self) -> Result<(), Skipped> {
        self.server = None;
        let failed = |e: std::io::Error| Skipped::new(format!("{}: {e}", self.dir.display()), REMEDY);
        // What the one before left would be taken for one that runs.
        let run = self.dir.join("run");
        fs::remove_dir_all(&run).map_err(failed)?;
        match fs::remove_file(self.dialer()) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(failed(error)),
            _ => {}
        }
        fs::DirBuilder::new().recursive(true).mode(0o755).create(run.join("pcscd")).map_err(failed)?;
        let mut command = Command::new("unshare");
        command.args(self.pcsc.unshare).args(["setpriv", "--pdeathsig", "KILL", "sh", "-c"]);
        let (program, word) = &self.dialer;
        command.arg(APART).arg("sh").arg(&run).arg(self.dir.join("no-drivers"));
        command.arg(program).arg(word).arg(self.dialer());
        command
            .arg(&self.pcsc.daemon)
            .args(["--foreground", "--info", "--config"])
            .arg(self.dir.join("readers"));
        // Some builds ask a service of the machine what a user may.
        command.env("DBUS_SYSTEM_BUS_ADDRESS", format!("unix:path={}", self.dir.join("no-bus").display()));
        command.envs(self.pcsc.library_path.iter().map(|path| ("LD_LIBRARY_PATH", path)));
        let mut server = Server::spawn(command, "pcscd", self.dir.join("pcscd.log"))?;
        // By a connection: the table of sockets has the place that each of them sees, the same for all.
        let socket = self.socket();
        server.until(|| UnixStream::connect(&socket).is_ok())?;
        self.server = Some(server);
        Ok(())
    }
}

/// One reader, which has two slots: vpcd knows no more than two in all. With the name that a YubiKey has, by which some
/// programs know it.
fn reader(driver: &Path) -> String {
    let [port, _] = PORTS;
    format!(
        "FRIENDLYNAME \"Yubico YubiKey OTP+FIDO+CCID\"\nDEVICENAME /dev/null:{port}\nLIBPATH {}\nCHANNELID {port}\n",
        driver.display()
    )
}

/// Nobody else is in that network.
const PORTS: [u16; 2] = [24_000, 24_001];

/// pcscd has one place for its socket, and drivers for all the machine's readers in another: it gets folders of its own
/// there. The dialer ends with it.
const APART: &str = "mount --bind \"$1\" /run && { [ ! -d /usr/lib/pcsc/drivers ] || \
    mount --bind \"$2\" /usr/lib/pcsc/drivers; } && shift 2 && \
    { setpriv --pdeathsig KILL \"$1\" \"$2\" \"$3\" & shift 3; exec \"$@\"; }";

/// How this user comes to namespaces for mounts and for a network, by this `unshare`.
fn namespace(unshare: &str) -> Result<&'static [&'static str], Skipped> {
    const WAYS: [&[&str]; 2] = [&["--mount", "--net"], &["--map-root-user", "--mount", "--net"]];
    let mut why = String::new();
    for way in WAYS {
        let mut command = Command::new(unshare);
        command.args(way).args(["sh", "-c", "mount --bind /tmp /run"]);
        match process::run(&mut command, std::time::Duration::from_secs(60)) {
            Ok(done) if done.status.success() => return Ok(way),
            Ok(done) => why = done.last_line().to_owned(),
            Err(error) => why = error,
        }
    }
    Err(Skipped::new(
        format!("a pcscd of one's own needs namespaces for mounts and a network: {why}"),
        NAMESPACES,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_namespaces_are_forbidden_it_is_told_with_what_allows_them() {
        // As where the kernel lets nobody have one.
        let skipped = namespace("false").unwrap_err().to_string();
        assert!(skipped.contains("needs namespaces for mounts and a network"), "{skipped}");
        for sysctl in ["kernel.unprivileged_userns_clone=1", "kernel.apparmor_restrict_unprivileged_userns=0"]
        {
            assert!(skipped.contains(sysctl), "{skipped}");
        }
    }
}
