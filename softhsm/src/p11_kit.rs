//! p11-kit's remote module: a client that asks a server on a socket, and the server in front of SoftHSM.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::fetched::Fetched;
use crate::server::Server;
use crate::{Ready, Skipped, SoftHsm};

/// p11-kit that works on this machine.
#[derive(Debug, Clone)]
pub struct P11Kit {
    softhsm: SoftHsm,
    client: PathBuf,
    server: PathBuf,
    library_path: Option<String>,
}

impl P11Kit {
    /// The system's, or fetched into `third_party`.
    pub fn find_or_fetch_in(third_party: &Path) -> Result<Self, Skipped> {
        let softhsm = SoftHsm::find_or_fetch_in(third_party)?;
        let fetched = Fetched::new(third_party, "p11-kit", &["p11-kit", "p11-kit-modules"])?;
        let (client, server) = (fetched.file("p11-kit-client.so")?, fetched.file("p11-kit-server")?);
        Ok(Self { softhsm, client, server, library_path: fetched.library_path() })
    }

    /// Makes a SoftHSM token in `dir`, and serves it and no other.
    pub fn token(&self, dir: &Path, label: &str, so_pin: &str, pin: &str) -> Result<Ready, Skipped> {
        let folder = self.softhsm.folder(dir)?;
        let token = folder.init_token(label, so_pin, pin)?;
        let socket = dir.join("p11-kit.sock");
        let mut command = Server::command(&self.server);
        command.envs(folder.env()).arg("--foreground");
        command.arg("--provider").arg(folder.module()).arg("--name").arg(&socket);
        // By its serial: a URI would want the label in its own spelling.
        command.arg(format!("pkcs11:serial={}", token.serial));
        if let Some(private) = self.server.parent() {
            // It starts a program for each client, and looks for it where the package would be installed.
            command.env("P11_KIT_PRIVATEDIR", private);
        }
        let paths: Vec<_> =
            [&self.library_path, &self.softhsm.library_path()].into_iter().flatten().cloned().collect();
        if !paths.is_empty() {
            command.env("LD_LIBRARY_PATH", paths.join(":"));
        }
        let mut server = Server::spawn(command, "p11-kit server", dir.join("p11-kit.log"))?;
        server.until_it_listens_at(&socket)?;
        let address = format!("unix:path={}", socket.display());
        let mut env = BTreeMap::from([("P11_KIT_SERVER_ADDRESS".to_owned(), address)]);
        env.extend(self.library_path.iter().map(|path| ("LD_LIBRARY_PATH".to_owned(), path.clone())));
        Ok(Ready::new(self.client.clone(), env, label, pin).served_by(server))
    }
}
