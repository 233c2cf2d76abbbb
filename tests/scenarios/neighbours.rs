//! Another program that uses a card beside the agent: this one, run again for it.

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use pcsc::Context;
use softhsm::{Skipped, third_party_dir};
use tufagent_tests::cards::CardRoom;
use tufagent_tests::need;

use crate::yubikeys::Bed;

/// Has [`another_program`] keep the card within its transaction, which it says, until its standard input ends.
pub(crate) const HOLD: &str = "hold";

/// Has [`another_program`] verify the factory's PIN and keep its handle; once its standard input ends it asks, by the same one,
/// whether the PIN is verified still, and says the answer.
pub(crate) const KEEP: &str = "keep";

/// Has [`another_program`] do nothing until its standard input ends.
pub(crate) const IDLE: &str = "idle";

impl Bed {
    /// One command of another program, which shares the card; or several, with commas between them.
    #[track_caller]
    pub(crate) fn other_program(&self, command: &str) {
        let done = self.another(command).output().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stdout));
    }

    pub(crate) fn another(&self, command: &str) -> Command {
        self.another_called(&std::env::current_exe().unwrap(), command)
    }

    /// The same by another name of this program.
    pub(crate) fn another_called(&self, name: &Path, command: &str) -> Command {
        let mut program = Command::new(name);
        program.args(["--ignored", "--exact", "--nocapture", "neighbours::another_program"]);
        program.env("COMMAND", command);
        self.room.environment(&mut program);
        program
    }
}

/// A program that has connected to the card for itself alone, which it does once everybody else has let go of it, until its
/// standard input ends.
pub(crate) fn hold_alone(room: &CardRoom) -> Option<Child> {
    let python = third_party_dir().unwrap().join("ykman/bin/python");
    if !python.is_file() {
        need::<()>(Err(Skipped::new("ykman is not there", "cargo xtask test")));
        return None;
    }
    let script = "import sys, time\n\
        from smartcard.scard import *\n\
        _, context = SCardEstablishContext(SCARD_SCOPE_USER)\n\
        _, readers = SCardListReaders(context, [])\n\
        for _ in range(600):\n\
        \x20   result, card, _ = SCardConnect(context, readers[0], SCARD_SHARE_EXCLUSIVE, SCARD_PROTOCOL_T1)\n\
        \x20   if result == 0: break\n\
        \x20   time.sleep(0.1)\n\
        print(result, flush=True)\n\
        sys.stdin.read()\n\
        SCardDisconnect(card, SCARD_LEAVE_CARD)\n";
    let mut holder = Command::new(python);
    room.environment(&mut holder);
    let mut holder =
        holder.args(["-c", script]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(holder.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line.trim(), "0", "it does not get the card");
    Some(holder)
}

#[test]
#[ignore = "it is what other tests run as another program"]
fn another_program() {
    let Ok(command) = std::env::var("COMMAND") else { return };
    if command == IDLE {
        std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
        return;
    }
    let context = Context::establish().unwrap();
    let reader =
        context.readers().unwrap().into_iter().find(|reader| context.presence(reader).unwrap().is_some());
    let mut card = context.card(&reader.unwrap());
    let (transaction, _) = card.transaction(Duration::from_secs(60)).unwrap();
    if command == HOLD {
        println!("{HOLD}");
        std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
        return;
    }
    if command == KEEP {
        for command in ["00A4040005A000000308", "0020008008313233343536FFFF"] {
            transaction.transmit(&hex::decode(command).unwrap(), &mut [0; 258]).unwrap();
        }
        drop(transaction);
        println!("{KEEP}");
        std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
        let (transaction, reset) = card.transaction(Duration::from_secs(60)).unwrap();
        let mut answer = [0; 258];
        let answer = transaction.transmit(&hex::decode("00200080").unwrap(), &mut answer).unwrap();
        println!("answer {} reset {reset}", hex::encode(answer));
        return;
    }
    for command in command.split(',') {
        transaction.transmit(&hex::decode(command).unwrap(), &mut [0; 258]).unwrap();
    }
}
