//! The helper, or the agent, killed at each command of a change of the management key: the card's key is one of the two
//! afterwards, the one that was given or the one behind the PIN, and nothing else is lost.

use std::process::{Command, Stdio};
use std::time::Duration;

use tufagent_tests::binary;
use tufagent_tests::cards::{Entry, FACTORY_PUK, FIRMWARE_5_4, FIRMWARE_5_7, Fault, State};

use crate::yubikeys::{Bed, private};

const CHANGE: &str = "token setup alice --pin-file pin --protect-management-key";
/// So long takes the command at which somebody is killed. It is carried out all the same: the card has it.
const SLOW: Duration = Duration::from_millis(700);
const AUTHENTICATE: u8 = 0x87;
const SET_MANAGEMENT_KEY: u8 = 0xff;

/// Who is killed.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Dies {
    Helper,
    /// Its helper ends when it has done what it was about.
    Agent,
}

impl Bed {
    /// A card with a PIN and a PUK of its own, a key, and the management key of the factory.
    fn before_the_change(firmware: [u8; 3]) -> Option<Self> {
        let bed = Self::new(firmware)?;
        bed.generate("kept", "--type ecdsa-p256");
        private(&bed.home, "own-pin", "314159");
        private(&bed.home, "puk", FACTORY_PUK);
        private(&bed.home, "own-puk", "27182818");
        bed.home.run("token setup alice --new-pin-file own-pin --new-puk-file own-puk").done();
        private(&bed.home, "pin", "314159");
        Some(bed)
    }

    /// Begins the change at a card as it was `before`, and kills `who` while its `nth` command is at the card.
    fn is_killed_at(&mut self, nth: u64, who: Dies, before: &State) {
        drop(self.card.swap(before.clone()));
        self.card.until_seen();
        self.agent.wait_until(|| self.state() == "locked");
        self.home.run("token unlock alice --pin-file pin").done();
        let helper = self.home.token("alice")["helper_pid"].to_string();
        self.card.fail(nth, Fault::Slow(SLOW));
        let mut command = Command::new(binary("tufctl"));
        self.home.environment(&mut command);
        command.args(CHANGE.split(' ')).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut client = command.spawn().unwrap();
        self.agent.wait_until(|| self.card.faults_left() == 0);
        match who {
            Dies::Agent => self.agent.signal("KILL"),
            // One that dies too often is started again later and later: a new agent knows nothing of that.
            Dies::Helper => {
                assert!(Command::new("kill").args(["-9", &helper]).status().unwrap().success());
                self.agent.signal("TERM");
            }
        }
        client.wait().unwrap();
        self.agent.wait();
        self.agent = self.home.start();
        self.agent.wait_until(|| self.state() == "locked");
        self.home.run("token unlock alice --pin-file pin").done();
    }

    /// The card's key is one of the two, and makes keys: whether it is the one behind the PIN.
    #[track_caller]
    fn knows_its_management_key(&self, at: &str) -> bool {
        assert_eq!(self.key("kept")["available"], true, "{at}");
        let make = "key generate made --token alice --type ecdsa-p256 --slot 9d --json";
        let by_pin = self.home.run(make);
        if by_pin.code != 0 {
            by_pin.refused(5, "MANAGEMENT_KEY");
            self.home.run(&format!("{make} --management-key-file management")).done();
        }
        assert_eq!(self.card.tries_left(), (3, 3), "{at}");
        by_pin.code == 0
    }
}

/// All commands of one change, from the first by which the card sees the management key.
fn at_each_command(firmware: [u8; 3], who: Dies) {
    let Some(mut bed) = Bed::before_the_change(firmware) else { return };
    let (before, asked) = (bed.card.state(), bed.card.log().len());
    bed.home.run("token unlock alice --pin-file pin").done();
    bed.home.run(CHANGE).done();
    let log = bed.card.log().split_off(asked);
    let place = |is: &dyn Fn(&Entry) -> bool| log.iter().position(is).unwrap();
    // The unlock before it is made anew each time, and its commands are not counted.
    let unlock = bed.commands_of_an_unlock();
    let first = place(&|entry| entry.ins == AUTHENTICATE) - unlock;
    let last = place(&|entry| entry.ins == SET_MANAGEMENT_KEY) - unlock + MORE_AFTER_IT;
    let mut behind_the_pin = Vec::new();
    for nth in first..=last {
        let at = format!("{firmware:?} {who:?} at command {nth}");
        bed.is_killed_at(u64::try_from(nth + 1).unwrap(), who, &before);
        behind_the_pin.push(bed.knows_its_management_key(&at));
    }
    // At the first the card had the old one, at the last the new one; with its helper the change goes on to its end.
    assert_eq!(behind_the_pin.first(), Some(&(who == Dies::Agent)), "{behind_the_pin:?}");
    assert_eq!(behind_the_pin.last(), Some(&true), "{behind_the_pin:?}");
}

/// It takes the old one off the card, and has the card forget that it was proven.
const MORE_AFTER_IT: usize = 2;

impl Bed {
    fn commands_of_an_unlock(&self) -> usize {
        let before = self.card.log().len();
        self.home.run("token unlock alice --pin-file pin").done();
        self.card.log().len() - before
    }
}

#[test]
fn a_helper_killed_at_any_command_of_a_change_on_firmware_5_4_leaves_one_of_two_management_keys() {
    at_each_command(FIRMWARE_5_4, Dies::Helper);
}

#[test]
fn a_helper_killed_at_any_command_of_a_change_on_firmware_5_7_leaves_one_of_two_management_keys() {
    at_each_command(FIRMWARE_5_7, Dies::Helper);
}

#[test]
fn an_agent_killed_at_any_command_of_a_change_on_firmware_5_4_leaves_one_of_two_management_keys() {
    at_each_command(FIRMWARE_5_4, Dies::Agent);
}

#[test]
fn an_agent_killed_at_any_command_of_a_change_on_firmware_5_7_leaves_one_of_two_management_keys() {
    at_each_command(FIRMWARE_5_7, Dies::Agent);
}
