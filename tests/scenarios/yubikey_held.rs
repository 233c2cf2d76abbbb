//! A YubiKey that another program, or a touch that nobody waits for any more, holds when it is to be looked for: nobody says
//! that it is not there. And one that somebody else had meanwhile: it is seen as it is now.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::json;
use tufagent_tests::cards::{FIRMWARE_5_4, FIRMWARE_5_7, Root};
use tufagent_tests::{binary, need};

use crate::neighbours::{HOLD, IDLE, hold_alone};
use crate::yubikey_shared::Other;
use crate::yubikeys::{Bed, SERIAL};

/// Whoever has the card.
enum Holder {
    Within(Other),
    Alone(Child),
}

impl Holder {
    fn let_go(self) {
        match self {
            Self::Within(other) => drop(other.let_go()),
            Self::Alone(mut child) => {
                drop(child.stdin.take());
                child.wait().unwrap();
            }
        }
    }
}

impl Bed {
    /// The token is seen to be held, in bounded time; and so says each command that needs it, whether its keys are known or
    /// not. No PIN is presented.
    #[track_caller]
    fn is_told_as_held(&self, suspect: &str) {
        self.agent.wait_until(|| self.home.token("alice")["in_use"] == true);
        let token = self.home.token("alice");
        assert_eq!(token["state"], "failed", "{token}");
        let problem = token["problem"].as_str().unwrap();
        let serial = SERIAL.to_string();
        for said in ["another program", &serial, suspect, "gpgconf --kill scdaemon"] {
            assert!(problem.contains(said), "{said} is not in {problem}");
        }
        let verifies = self.verifies();
        for command in ["token unlock alice --pin-file pin", "key attest root-a", "sign repo --yes"] {
            let begun = Instant::now();
            let refused = self.home.refused(command, 5, "TOKEN_BUSY");
            assert!(begun.elapsed() < Duration::from_secs(30), "{command}: {:?}", begun.elapsed());
            let message = refused["message"].as_str().unwrap();
            assert!(message.contains("another program") && message.contains(suspect), "{command}: {refused}");
            assert!(!refused["remedy"].as_str().unwrap().contains("insert"), "{command}: {refused}");
        }
        let listed = self.home.run("key list --json").done();
        assert!(!listed.stderr.contains("absent"), "{listed}");
        assert_eq!(self.verifies(), verifies);
    }

    /// It serves again by itself.
    #[track_caller]
    fn serves_again(&self) {
        self.agent.wait_until(|| self.state() == "locked");
        assert!(self.home.token("alice")["in_use"].is_null());
        self.home.run("token unlock alice --pin-file pin").done();
        self.home.unlock_file_store();
        self.card.touch_always(true);
        assert_eq!(self.home.run("sign repo --yes --json").done().json()["published"], true);
        self.card.touch_always(false);
        self.home.run("key attest root-a").done();
        assert_eq!(self.card.tries_left(), (3, 3));
    }
}

#[test]
fn a_card_that_another_program_holds_when_the_agent_starts_is_busy_and_not_absent() {
    for alone in [false, true] {
        let Some(mut bed) = Bed::new(FIRMWARE_5_7) else { return };
        bed.generate("root-a", "--type ecdsa-p256");
        bed.repository("root-a");
        bed.home.run("sign repo --yes").done();
        bed.home.run("bump repo root").done();
        bed.agent.signal("TERM");
        bed.agent.wait();
        let holder = match alone {
            false => Holder::Within(Other::that(HOLD, &bed)),
            true => {
                let Some(child) = hold_alone(&bed.room) else { return };
                Holder::Alone(child)
            }
        };
        // It is known by its name.
        let name = bed.home.path("ykman");
        std::os::unix::fs::symlink(std::env::current_exe().unwrap(), &name).unwrap();
        let mut suspect =
            bed.another_called(&name, IDLE).stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        bed.agent = bed.home.start();
        bed.is_told_as_held("ykman");
        drop(suspect.stdin.take());
        suspect.wait().unwrap();
        holder.let_go();
        bed.serves_again();
    }
}

#[test]
fn a_card_whose_touch_outlives_the_helper_or_the_agent_is_busy_until_that_ends() {
    for whole_agent in [false, true] {
        let Some(mut bed) = Bed::new(FIRMWARE_5_7) else { return };
        bed.generate("root-a", "--type ecdsa-p256 --touch always");
        bed.repository("root-a");
        bed.card.touch_within(Duration::from_secs(600));
        let mut command = Command::new(binary("tufctl"));
        bed.home.environment(&mut command);
        command.args(["sign", "repo", "--yes"]).stdout(Stdio::null()).stderr(Stdio::null());
        let mut client = command.spawn().unwrap();
        bed.card.until_it_waits_for_a_touch();
        let helper = bed.home.token("alice")["helper_pid"].to_string();
        if whole_agent {
            bed.agent.signal("KILL");
            bed.agent.wait();
        }
        // One whose agent has gone ends by itself, but not before its card has answered.
        assert!(Command::new("kill").args(["-9", &helper]).status().unwrap().success());
        client.wait().unwrap();
        if whole_agent {
            bed.agent = bed.home.start();
        }
        bed.is_told_as_held("touch that is waited for");
        let signed = bed.card.counters().signatures;
        bed.card.touch();
        bed.serves_again();
        // What that touch was for has gone nowhere.
        assert_eq!(bed.card.counters().signatures, signed + 2);
    }
}

#[test]
fn keys_of_a_card_that_was_emptied_while_it_was_out_are_told_as_gone_before_it_is_unlocked() {
    for firmware in [FIRMWARE_5_4, FIRMWARE_5_7] {
        let Some(bed) = Bed::new(firmware) else { return };
        bed.generate("root-a", "--type ecdsa-p256");
        bed.repository("root-a");
        bed.home.run("sign repo --yes").done();
        bed.card.remove();
        bed.agent.wait_until(|| bed.state() == "absent");
        // As by `ykman piv reset` on another machine.
        bed.card.order("wipe", Root::shared()).unwrap();
        bed.card.insert();
        bed.agent.wait_until(|| bed.state() == "locked");
        assert_eq!(bed.key("root-a")["available"], false);
        let refused = bed.home.refused("key attest root-a", 3, "KEY_NOT_FOUND");
        assert!(refused["message"].as_str().unwrap().contains("on token alice no more"), "{refused}");
        assert!(!refused["remedy"].as_str().unwrap().contains("key list"), "{refused}");
        // What it has now is listed, also where another program puts it there under the agent's eyes.
        let generate =
            "piv keys generate -m 010203040506070801020304050607080102030405060708 -a ECCP256 9c own.pem";
        let Some(made) = need(bed.room.ykman(SERIAL, &generate.split(' ').collect::<Vec<_>>())) else {
            return;
        };
        made.done();
        assert_eq!(bed.key("alice-9c")["available"], true);
        bed.home.run("key attest alice-9c").done();
        assert_eq!(bed.verifies(), 0, "the card is a new one, and no PIN was needed");
    }
}

#[test]
fn a_key_that_came_onto_a_card_while_it_was_out_signs_at_the_first_attempt() {
    let (Some(bed), Some(there)) = (Bed::new(FIRMWARE_5_7), Bed::new(FIRMWARE_5_7)) else { return };
    bed.generate("old", "--type ecdsa-p256");
    there.generate("root-a", "--type ecdsa-p256");
    bed.home.write("root-a.json", there.home.run("key export root-a").done().stdout);
    bed.home.unlock_file_store();
    bed.home.keys(&["online"]);
    bed.home
        .run(
            "repo init repo --name app --root root-a.json --root-threshold 1 --targets online --targets-threshold 1 \
             --snapshot online --timestamp online",
        )
        .done();
    let own = bed.home.run("key list --json").done().json();
    assert!(own["keys"].as_array().unwrap().iter().any(|key| key["name"] == "old"), "{own}");
    // A list of its keys takes longer than a signature waits for one of which another is known.
    bed.card.order("delay-ms 4", Root::shared()).unwrap();
    drop(bed.card.swap(there.card.state()));
    bed.card.until_seen();
    // Too fast, maybe, for the agent to see it gone.
    bed.agent.wait_until(|| bed.state() == "locked");
    bed.home.run("token unlock alice --pin-file pin").done();
    assert_eq!(bed.home.run("sign repo --yes --json").done().json()["published"], true);
    assert_eq!(bed.key("old")["available"], json!(false));
}
