//! tpm2-pkcs11 on a TPM in software: swtpm, and before it the resource manager tpm2-abrmd on a private D-Bus.
//! (Straight on swtpm it runs out of space for keys after two.)

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU16, Ordering};

use crate::bus::Bus;
use crate::fetched::Fetched;
use crate::server::Server;
use crate::token::{NewToken, initialise, util};
use crate::{Ready, Skipped, SoftHsm};

const PACKAGES: &[&str] = &["libtpm2-pkcs11-1", "libtss2-tcti-tabrmd0", "swtpm", "tpm2-abrmd", "dbus"];
const REMEDY: &str = "look at the logs in the token's folder";

/// tpm2-pkcs11 and what it needs, working on this machine.
#[derive(Debug, Clone)]
pub struct Tpm2 {
    softhsm: SoftHsm,
    module: PathBuf,
    swtpm: PathBuf,
    abrmd: PathBuf,
    bus: PathBuf,
    library_path: Option<String>,
}

impl Tpm2 {
    /// The system's, or fetched into `third_party`. `softhsm2-util` makes the tokens.
    pub fn find_or_fetch_in(third_party: &Path) -> Result<Self, Skipped> {
        let softhsm = SoftHsm::find_or_fetch_in(third_party)?;
        let fetched = Fetched::new(third_party, "tpm2-pkcs11", PACKAGES)?;
        Ok(Self {
            softhsm,
            module: fetched.file("libtpm2_pkcs11.so").or_else(|_| fetched.file("libtpm2_pkcs11.so.1"))?,
            swtpm: fetched.file("swtpm")?,
            abrmd: fetched.file("tpm2-abrmd")?,
            bus: fetched.file("dbus-daemon")?,
            library_path: fetched.library_path(),
        })
    }

    /// Starts a TPM with its state in `dir`, and makes a token.
    pub fn token(&self, dir: &Path, label: &str, so_pin: &str, pin: &str) -> Result<Ready, Skipped> {
        let failed = |e: std::io::Error| Skipped::new(format!("{}: {e}", dir.display()), REMEDY);
        for folder in ["tpm", "store"] {
            let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(dir.join(folder));
            made.map_err(failed)?;
        }
        let bus = Bus::start(&self.bus, self.library_path.as_deref(), dir)?;
        let (tpm_server, address) = self.start_tpm(dir)?;
        let mut env = BTreeMap::from(
            [
                ("DBUS_SESSION_BUS_ADDRESS", bus.address().to_owned()),
                ("TPM2_PKCS11_TCTI", "tabrmd:bus_type=session".to_owned()),
                ("TPM2_PKCS11_STORE", dir.join("store").to_string_lossy().into_owned()),
            ]
            .map(|(name, value)| (name.to_owned(), value)),
        );
        env.extend(self.library_path.iter().map(|path| ("LD_LIBRARY_PATH".to_owned(), path.clone())));
        let mut manager = self.start_manager(dir, &address, &env)?;
        // The tool reads SoftHSM's configuration whatever the module.
        let mut tool_env = env.clone();
        let of_the_tool = self.softhsm.folder(dir)?.configuration();
        tool_env.insert("SOFTHSM2_CONF".to_owned(), of_the_tool.to_string_lossy().into_owned());
        // The manager does not say when it is there; the module finds no TPM before.
        let slots = || util(&self.softhsm, &self.module, &tool_env, &["--show-slots"]);
        manager.until(|| slots().is_ok_and(|slots| slots.contains("Serial number:")))?;
        initialise(&self.softhsm, &self.module, &tool_env, &NewToken { label, so_pin, pin })?;
        let ready = Ready::new(self.module.clone(), env, label, pin).writing(dir.join("store"));
        Ok(ready.served_by(bus.into_server()).served_by(tpm_server).served_by(manager))
    }

    /// It listens on an address of the loopback network that no other process takes.
    fn start_tpm(&self, dir: &Path) -> Result<(Server, String), Skipped> {
        static PORT: AtomicU16 = AtomicU16::new(23_210);
        let port = PORT.fetch_add(2, Ordering::Relaxed);
        let [_, a, b, c] = std::process::id().to_be_bytes();
        let octets = [127, 64 + a % 64, b, c];
        let host = octets.map(|octet| octet.to_string()).join(".");
        let mut command = Server::command(&self.swtpm);
        command.args(["socket", "--tpm2", "--flags", "not-need-init,startup-clear"]);
        command.arg("--tpmstate").arg(format!("dir={}", dir.join("tpm").display()));
        command.arg("--server").arg(format!("type=tcp,port={port},bindaddr={host}"));
        command.arg("--ctrl").arg(format!("type=tcp,port={},bindaddr={host}", port.saturating_add(1)));
        self.libraries(&mut command);
        let mut server = Server::spawn(command, "swtpm", dir.join("swtpm.log"))?;
        server.until(|| listens(octets, port))?;
        Ok((server, format!("host={host},port={port}")))
    }

    fn start_manager(
        &self,
        dir: &Path,
        address: &str,
        env: &BTreeMap<String, String>,
    ) -> Result<Server, Skipped> {
        let mut command = Server::command(&self.abrmd);
        command.args(["--session", "--allow-root"]).arg(format!("--tcti=swtpm:{address}"));
        command.envs(env);
        Server::spawn(command, "tpm2-abrmd", dir.join("abrmd.log"))
    }

    fn libraries(&self, command: &mut std::process::Command) {
        if let Some(path) = &self.library_path {
            command.env("LD_LIBRARY_PATH", path);
        }
    }
}

/// Whether somebody listens there, without a connection: swtpm serves only one.
fn listens([a, b, c, d]: [u8; 4], port: u16) -> bool {
    // proc(5): the address as the machine has it in memory.
    let local = u32::from_ne_bytes([a, b, c, d]);
    let wanted = format!(" {local:08X}:{port:04X} 00000000:0000 0A ");
    fs::read_to_string("/proc/net/tcp").is_ok_and(|table| table.contains(&wanted))
}
