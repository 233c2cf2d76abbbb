//! A private D-Bus, for whatever has to be reached over one.

use std::fs;
use std::path::Path;

use crate::Skipped;
use crate::server::Server;

/// A bus that runs; it ends with this value.
#[derive(Debug)]
pub(crate) struct Bus {
    address: String,
    server: Server,
}

impl Bus {
    /// Starts `program` (dbus-daemon) with its socket in `dir`.
    pub(crate) fn start(program: &Path, library_path: Option<&str>, dir: &Path) -> Result<Self, Skipped> {
        let (socket, configuration) = (dir.join("bus"), dir.join("bus.conf"));
        fs::write(&configuration, written(&socket))
            .map_err(|e| Skipped::new(format!("{}: {e}", dir.display()), "make room there"))?;
        let mut command = Server::command(program);
        command.arg("--config-file").arg(configuration).args(["--nofork", "--nopidfile"]);
        command.envs(library_path.map(|path| ("LD_LIBRARY_PATH", path)));
        let mut server = Server::spawn(command, "dbus-daemon", dir.join("bus.log"))?;
        server.until_it_listens_at(&socket)?;
        Ok(Self { address: format!("unix:path={}", socket.display()), server })
    }

    /// As `DBUS_SESSION_BUS_ADDRESS` has it.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// The process that serves it.
    pub(crate) fn into_server(self) -> Server {
        self.server
    }
}

/// Whoever reaches the socket, which lies in a private folder, may do everything.
fn written(socket: &Path) -> String {
    format!(
        "<!DOCTYPE busconfig PUBLIC \"-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN\" \
         \"http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd\">\n\
         <busconfig><type>session</type><listen>unix:path={}</listen><auth>EXTERNAL</auth>\n\
         <policy context=\"default\"><allow send_destination=\"*\"/><allow receive_sender=\"*\"/>\
         <allow own=\"*\"/></policy></busconfig>\n",
        socket.display()
    )
}
