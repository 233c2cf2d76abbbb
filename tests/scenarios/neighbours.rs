//! Another program that uses a card beside the agent: this one, run again for it.

use std::io::Read as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use pcsc::Context;

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
