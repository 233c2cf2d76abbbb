//! The virtual YubiKey itself, judged by those who made the real one and by others: `ykman`, OpenSC, OpenSSL.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use softhsm::{OpenSc, third_party_dir};
use tufagent_tests::cards::{Card, CardRoom, FACTORY_PIN, FACTORY_PUK, FIRMWARE_5_4, FIRMWARE_5_7, Root};
use tufagent_tests::{need, run_to_end};

const MANAGEMENT_KEY: &str = "010203040506070801020304050607080102030405060708";

/// The words of a line, with those that hold a space given apart.
fn ykman(room: &CardRoom, serial: u32, line: &str) -> Option<tufagent_tests::Outcome> {
    need(room.ykman(serial, &line.split(' ').collect::<Vec<_>>()))
}

/// A card of each firmware, in one room; none where ykman or pcscd cannot be had.
fn both() -> Option<([Card; 2], CardRoom)> {
    let cards = [Card::new(11_000_011, FIRMWARE_5_4), Card::new(12_000_012, FIRMWARE_5_7)];
    let room = need(CardRoom::with(&[&cards[0], &cards[1]]))?;
    Some((cards, room))
}

#[test]
fn ykman_takes_cards_of_both_firmwares_for_yubikeys_and_their_attestation_ends_at_their_root() {
    let Some((cards, room)) = both() else { return };
    for (card, version) in cards.iter().zip(["5.4.3", "5.7.1"]) {
        let serial = card.state().serial();
        let done = |line: &str| ykman(&room, serial, line).map(|outcome| outcome.done().text());
        let Some(told) = done("info") else { return };
        assert!(told.contains(&format!("Firmware version: {version}")), "{told}");
        assert!(told.contains(&format!("Serial number: {serial}")), "{told}");
        let generate = format!("piv keys generate -m {MANAGEMENT_KEY} -a ECCP256 --pin-policy once");
        done(&format!("{generate} --touch-policy never 9c public.pem"));
        // It signs a certificate, which another library then verifies.
        done(&format!(
            "piv certificates generate -m {MANAGEMENT_KEY} -P {FACTORY_PIN} -s CN=test 9c public.pem"
        ));
        done("piv certificates export 9c own.pem");
        done("piv certificates export f9 card.pem");
        done("piv keys attest 9c attestation.pem");
        fs::write(room.dir().join("root.pem"), Root::shared().certificate_pem()).unwrap();
        let firmware: Vec<u8> = version.split('.').map(|part| part.parse().unwrap()).collect();
        let expected = json!({"serial": serial, "firmware": firmware, "policy": [2, 1]});
        assert_eq!(attestation(room.dir()), expected);
        let own = ["own.pem", "own.pem", "own.pem"].map(|name| room.dir().join(name));
        assert!(issued(&own), "the key's own certificate");
        assert_eq!(card.counters().signatures, 1);
    }
}

/// What an attestation says, as OpenSSL's library reads it when the chain is right.
fn attestation(dir: &Path) -> Value {
    let files = ["root.pem", "card.pem", "attestation.pem", "public.pem"].map(|name| dir.join(name));
    run_to_end(judge().args(files)).done().json()
}

fn issued(chain: &[std::path::PathBuf; 3]) -> bool {
    let folder = chain[0].parent().unwrap();
    run_to_end(judge().args(chain).arg(folder.join("public.pem"))).code == 0
}

fn judge() -> Command {
    let mut command = Command::new(third_party_dir().unwrap().join("ykman/bin/python"));
    command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("oracles/card_certificates.py"));
    command
}

#[test]
fn ykman_counts_tries_as_the_card_does_down_to_the_block_and_back_by_the_puk() {
    let Some((cards, room)) = both() else { return };
    for card in &cards {
        let serial = card.state().serial();
        let run = |line: &str| ykman(&room, serial, line);
        let Some(changed) = run(&format!("piv access change-pin -P {FACTORY_PIN} -n 87654321")) else {
            return;
        };
        changed.done();
        for (left, says) in [(2, "2 tries left"), (1, "1 tries left"), (0, "PIN is blocked")] {
            let told = run(&format!("piv access change-pin -P {FACTORY_PIN} -n 11111111")).unwrap();
            assert!(told.code != 0 && told.stderr.contains(says), "{told}");
            assert_eq!(card.tries_left(), (left, 3));
        }
        run("piv access unblock-pin -p 00000000 -n 22222222").unwrap().exits(1);
        assert_eq!(card.tries_left(), (0, 2));
        run(&format!("piv access unblock-pin -p {FACTORY_PUK} -n 22222222")).unwrap().done();
        assert_eq!(card.tries_left(), (3, 3));
        let key = "ab".repeat(32);
        let change = format!("piv access change-management-key -m {MANAGEMENT_KEY} -a AES256 -n {key}");
        run(&change).unwrap().done();
        run(&format!("piv access set-retries -m {key} -P 22222222 -f 5 4")).unwrap().done();
        let told = run("piv info").unwrap().done().text();
        assert!(told.contains("PIN tries remaining:      5/5") && told.contains("AES256"), "{told}");
        run("piv reset -f").unwrap().done();
        let told = run("piv info").unwrap().done().text();
        assert!(told.contains("PIN tries remaining:      3/3") && told.contains("default PIN"), "{told}");
    }
}

#[test]
fn ykman_makes_imports_and_moves_what_5_7_has_more() {
    let Some((cards, room)) = both() else { return };
    let serial = cards[1].state().serial();
    let generate = format!("piv keys generate -m {MANAGEMENT_KEY} -a");
    if ykman(&room, serial, &format!("{generate} ED25519 9a ed.pem")).is_none() {
        return;
    }
    let done = |line: &str| ykman(&room, serial, line).unwrap().done().text();
    for (kind, slot, file) in [("ED25519", "9a", "ed"), ("ECCP384", "9d", "p384"), ("RSA2048", "9e", "rsa")] {
        done(&format!("{generate} {kind} {slot} {file}.pem"));
        let sign = format!("piv certificates generate -m {MANAGEMENT_KEY} -P {FACTORY_PIN} -s CN=test");
        done(&format!("{sign} {slot} {file}.pem"));
        done(&format!("piv certificates export {slot} {file}-own.pem"));
        fs::copy(room.dir().join(format!("{file}.pem")), room.dir().join("public.pem")).unwrap();
        let own = room.dir().join(format!("{file}-own.pem"));
        assert!(issued(&[own.clone(), own.clone(), own]), "{kind}");
    }
    done(&format!("piv keys move -m {MANAGEMENT_KEY} 9a 82"));
    done(&format!("piv keys delete -m {MANAGEMENT_KEY} 82"));
    let told = done("piv info");
    assert!(told.contains("Slot 9D") && !told.contains("Slot 82"), "{told}");
    // The older one has no such keys.
    let older = ykman(&room, cards[0].state().serial(), &format!("{generate} ED25519 9a no.pem")).unwrap();
    assert_ne!(older.code, 0, "{older}");
}

#[test]
fn opensc_sees_both_cards_and_signs_by_them_after_one_pin() {
    let Some(opensc) = need(third_party_dir().and_then(|dir| OpenSc::find_or_fetch_in(&dir))) else { return };
    let Some((cards, room)) = both() else { return };
    let mut list = opensc.tool();
    list.arg("-l");
    let listed = room.opensc(list).done().stdout;
    assert_eq!(listed.matches(" Yes ").count(), 2, "{listed}");
    fs::write(room.dir().join("message"), "to be signed").unwrap();
    for (card, slot) in cards.iter().zip(["0", "1"]) {
        let serial = card.state().serial();
        let generate = format!("piv keys generate -m {MANAGEMENT_KEY} -a ECCP256 9a public.pem");
        if ykman(&room, serial, &generate).is_none() {
            return;
        }
        let sign = format!(
            "piv certificates generate -m {MANAGEMENT_KEY} -P {FACTORY_PIN} -s CN=test 9a public.pem"
        );
        ykman(&room, serial, &sign).unwrap().done();
        let verifies = card.counters().verifies;
        let run = |pin: &str| {
            let mut tool = opensc.pkcs11_tool();
            tool.args(["--slot-index", slot, "--login", "--pin", pin, "--sign", "--id", "01"]);
            tool.args(["--mechanism", "ECDSA-SHA256", "--signature-format", "openssl"]);
            tool.args(["--input-file", "message", "--output-file", "signature"]);
            room.opensc(tool)
        };
        run(FACTORY_PIN).done();
        assert!(openssl_verifies(room.dir()), "card {serial}");
        assert_eq!(card.counters().verifies, verifies + 1);
        assert_ne!(run("999999").code, 0);
        assert_eq!(card.tries_left(), (2, 3));
    }
}

fn openssl_verifies(dir: &Path) -> bool {
    let script = "import sys\n\
        from cryptography.hazmat.primitives import hashes, serialization\n\
        from cryptography.hazmat.primitives.asymmetric import ec\n\
        key, signature, message = [open(it, 'rb').read() for it in sys.argv[1:]]\n\
        serialization.load_pem_public_key(key).verify(signature, message, ec.ECDSA(hashes.SHA256()))\n";
    let mut python = Command::new(third_party_dir().unwrap().join("ykman/bin/python"));
    python.args(["-c", script, "public.pem", "signature", "message"]).current_dir(dir);
    run_to_end(&mut python).code == 0
}
