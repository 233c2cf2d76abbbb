//! Virtual YubiKeys behind a pcscd of the test's own.

use std::path::{Path, PathBuf};
use std::process::Command;

use softhsm::{Pcsc, Pcscd, Skipped};

use crate::{Outcome, run_to_end};
pub use virtual_yubikey::{Card, Counters, Entry, Fault, Root, State, control};

/// The factory's PIN of a card.
pub const FACTORY_PIN: &str = "123456";
/// Another one, that no text holds by chance.
pub const CARD_PIN: &str = "pin-93d7";
/// The factory's PUK.
pub const FACTORY_PUK: &str = "12345678";
/// A firmware whose management key is triple DES at first, without Ed25519.
pub const FIRMWARE_5_4: [u8; 3] = [5, 4, 3];
/// A firmware whose management key is AES-192 at first, with Ed25519.
pub const FIRMWARE_5_7: [u8; 3] = [5, 7, 1];

/// A card with [`CARD_PIN`], certified by [`Root::shared`].
#[must_use]
pub fn card(serial: u32, firmware: [u8; 3]) -> Card {
    Card::with_state(State::new(serial, firmware, Root::shared()).with_pin(CARD_PIN))
}

/// A pcscd that runs, with a slot for each of one or two cards.
pub struct CardRoom {
    // Before the folder that it works in.
    pcscd: Pcscd,
    dir: tempfile::TempDir,
}

impl CardRoom {
    /// Starts one for one card or two, and waits until it has seen each card that is in its reader.
    ///
    /// # Errors
    /// When this machine cannot have one.
    pub fn with(cards: &[&Card]) -> Result<Self, Skipped> {
        let dir = tempfile::Builder::new().prefix("tuf-agent-cards-").tempdir().unwrap();
        let pcsc = Pcsc::find_or_fetch_in(&softhsm::third_party_dir()?)?;
        let pcscd = pcsc.start(dir.path(), (&crate::binary("virtual-yubikey"), "--serve-dial"))?;
        assert!(cards.len() <= pcscd.ports().len(), "more cards want another room");
        let dialer = pcscd.dialer();
        cards.iter().zip(pcscd.ports()).for_each(|(card, port)| card.plug_in_through(&dialer, port));
        let room = Self { pcscd, dir };
        cards.iter().filter(|card| card.is_in()).for_each(|card| card.until_seen());
        Ok(room)
    }

    /// What `PCSCLITE_CSOCK_NAME` is for its clients.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.pcscd.socket()
    }

    /// Its folder.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Lets a program find it.
    pub fn environment(&self, command: &mut Command) {
        command.envs(self.variables());
    }

    fn variables(&self) -> Vec<(&'static str, PathBuf)> {
        let library = self.pcscd.pcsc().client_library();
        let library = library.map(|folder| ("LD_LIBRARY_PATH", folder.to_path_buf()));
        [("PCSCLITE_CSOCK_NAME", self.socket())].into_iter().chain(library).collect()
    }

    /// Runs `ykman` on the card with this serial.
    #[track_caller]
    pub fn ykman(&self, serial: u32, arguments: &[&str]) -> Result<Outcome, Skipped> {
        let program = softhsm::third_party_dir()?.join("ykman/bin/ykman");
        if !program.is_file() {
            return Err(Skipped::new(
                "ykman is not there",
                "cargo xtask test (it wants python3-dev and gcc)",
            ));
        }
        let mut command = Command::new(program);
        self.environment(&mut command);
        command.current_dir(self.dir()).args(["--device", &serial.to_string()]).args(arguments);
        Ok(run_to_end(&mut command))
    }

    /// Ends pcscd.
    pub fn stop(&mut self) {
        self.pcscd.stop();
    }

    /// Starts it again, after [`Self::stop`] or anew, and waits until it has seen the cards.
    #[track_caller]
    pub fn restart(&mut self, cards: &[&Card]) {
        self.pcscd.stop();
        // Not to be taken for the one before, which saw them too.
        cards.iter().for_each(|card| card.until_gone());
        self.pcscd.start().unwrap();
        cards.iter().filter(|card| card.is_in()).for_each(|card| card.until_seen());
    }

    /// Runs one of OpenSC's programs.
    #[track_caller]
    pub fn opensc(&self, mut command: Command) -> Outcome {
        command.env("PCSCLITE_CSOCK_NAME", self.socket()).current_dir(self.dir());
        run_to_end(&mut command)
    }

    /// A `[[token]]` table for a card of this room.
    #[must_use]
    pub fn table(&self, name: &str, serial: u32) -> String {
        let variables = self.variables().into_iter();
        let env: Vec<_> = variables.map(|(key, value)| format!("{key} = {value:?}")).collect();
        format!(
            "[[token]]\nname = {name:?}\nkind = \"yubikey\"\nserial = {serial}\nenv = {{ {} }}\n",
            env.join(", ")
        )
    }
}
