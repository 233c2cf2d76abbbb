//! A small disk that only a part of the processes sees: a tmpfs in a mount namespace of its own.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use softhsm::Skipped;
use tufagent_tests::{Home, binary, is_root};

/// A tmpfs at a folder, for those that are started [`inside`](Self::inside).
pub(crate) struct SmallDisk {
    /// Keeps the namespace.
    holder: Child,
}

impl SmallDisk {
    /// Mounts one of this size (such as `1m`) at an existing folder.
    pub(crate) fn mount(at: &Path, size: &str) -> Result<Self, Skipped> {
        let mount =
            format!("mount -t tmpfs -o size={size},mode=0700 small \"$0\" && echo ready && exec sleep 3600");
        let flags = if is_root() { "-m" } else { "-rm" };
        let mut command = Command::new("unshare");
        command.args([flags, "sh", "-c", &mount]).arg(at).stdout(Stdio::piped()).stderr(Stdio::null());
        let skipped = || {
            Skipped::new(
                "no small disk can be mounted in a namespace",
                "apt-get install util-linux; sysctl kernel.unprivileged_userns_clone=1 and, on Ubuntu, \
                 kernel.apparmor_restrict_unprivileged_userns=0",
            )
        };
        let mut holder = command.spawn().map_err(|_| skipped())?;
        let mut said = String::new();
        let _ = BufReader::new(holder.stdout.take().unwrap()).read_line(&mut said);
        let disk = Self { holder };
        if said.trim() == "ready" { Ok(disk) } else { Err(skipped()) }
    }

    /// A command that runs where the disk is mounted.
    pub(crate) fn inside(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        if !is_root() {
            command.args(["-U", "--preserve-credentials"]);
        }
        // With a folder to go to, nsenter would leave the one that the caller sets.
        command.args(["-m", "-t", &self.holder.id().to_string(), "--"]).arg(program);
        command
    }

    /// The agent, to be started with [`Home::start_through`].
    pub(crate) fn agent(&self) -> Command {
        let mut command = self.inside(binary("tuf-agent"));
        if !is_root() {
            // In its namespace it is root.
            command.arg("--allow-root");
        }
        command
    }

    /// Runs `tufctl` there.
    pub(crate) fn tufctl(&self, home: &Home, arguments: &str) -> Output {
        let mut command = self.inside("sh");
        home.environment(&mut command);
        // The folder of this process was opened before the disk was mounted on it.
        let line =
            format!("cd {} && exec {} {arguments}", home.path("").display(), binary("tufctl").display());
        command.args(["-c", &line]).stdin(Stdio::null()).output().unwrap()
    }

    /// Runs a line of shell there.
    pub(crate) fn shell(&self, line: &str) -> Output {
        self.inside("sh").args(["-c", line]).output().unwrap()
    }

    /// Fills the disk up to so many KiB.
    pub(crate) fn fill(&self, at: &Path, but_kib: u64) {
        let at = at.display();
        self.shell(&format!(
            "cat /dev/zero >> {at}/fill 2>/dev/null; size=$(stat -c %s {at}/fill); \
             truncate -s $((size > {but_kib} * 1024 ? size - {but_kib} * 1024 : 0)) {at}/fill"
        ));
    }

    /// Makes room again.
    pub(crate) fn empty(&self, at: &Path) {
        assert!(self.shell(&format!("rm {}/fill", at.display())).status.success());
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}
