//! Keys and keyids that are over the limits of what is read (README, Limits): each is refused or passed over by name, with
//! role, file and section of the specification, and nothing panics.

use serde_json::{Value, json};
use tufagent_tests::Home;

use crate::forge::{Forge, key, keyid};

/// An element of DER.
fn der(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = u16::try_from(content.len()).unwrap().to_be_bytes();
    [&[tag, 0x82], &length[..], content].concat()
}

/// The public key object of an RSA key of so many bytes.
fn rsa(bytes: usize) -> Value {
    let modulus = [&[0][..], &vec![0xff; bytes]].concat();
    let numbers = der(0x30, &[der(2, &modulus), vec![2, 3, 1, 0, 1]].concat());
    let algorithm = [0x30, 13, 6, 9, 42, 134, 72, 134, 247, 13, 1, 1, 1, 5, 0];
    let spki = der(0x30, &[&algorithm[..], &der(3, &[&[0][..], &numbers].concat())].concat());
    let text = openssl_base64(&spki);
    let pem = format!("-----BEGIN PUBLIC KEY-----\n{text}-----END PUBLIC KEY-----\n");
    json!({"keytype": "rsa", "scheme": "rsassa-pss-sha256", "keyval": {"public": pem}})
}

fn openssl_base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for line in bytes.chunks(48) {
        for three in line.chunks(3) {
            let bits =
                three.iter().fold(0_u32, |all, byte| all << 8 | u32::from(*byte)) << (8 * (3 - three.len()));
            for place in 0..4 {
                let digit = char::from(DIGITS[usize::try_from(bits >> (18 - 6 * place) & 63).unwrap()]);
                out.push(if place <= three.len() { digit } else { '=' });
            }
        }
        out.push('\n');
    }
    out
}

const VERIFY: &str = "verify repo --root repo/metadata/1.root.json";
const ADOPT: &str = "repo adopt repo --name app --root repo/metadata/1.root.json --yes";

#[track_caller]
fn refused(home: &Home, command: &str, (role, spec): (&str, &str), words: &str) {
    let error = home.refused(command, 6, "VERIFICATION");
    let details = &error["details"];
    assert_eq!((&details["role"], &details["spec"]), (&role.into(), &spec.into()), "{error}");
    assert!(error["message"].as_str().unwrap().contains(words), "{error}");
}

#[test]
fn an_rsa_key_of_more_than_8192_bits_counts_for_nothing_and_is_named() {
    const WORDS: &str = "an RSA key of more than 8192 bits";
    for (bytes, fits) in [(1024, true), (1025, false), (4096, false)] {
        let (home, _agent) = Home::unlocked();
        let big = rsa(bytes);
        let mut forge = Forge::new();
        forge.root["keys"][keyid(&big)] = big.clone();
        forge.root["roles"]["targets"] = json!({"keyids": [keyid(&key(1)), keyid(&big)], "threshold": 1});
        forge.write(&home.path("repo"));
        let told = home.run("lint repo --json").json().to_string();
        assert_eq!(told.contains(WORDS), !fits, "{bytes}: {told}");
        if fits {
            home.run(VERIFY).done();
        } else {
            refused(&home, VERIFY, ("root", "4.2.2"), WORDS);
        }
        // The other keys of the role are enough: it can be adopted and changed.
        home.run(ADOPT).done();
        home.write("key.json", json!({"keyid": keyid(&big), "key": big}).to_string());
        let init = "repo init new --name new --root ./key.json --targets ./key.json --snapshot ./key.json --timestamp ./key.json";
        let made = home.run(&format!("{init} --json"));
        if fits {
            made.done();
        } else {
            assert!(made.refused(1, "KEY_FILE").to_string().contains(WORDS), "{made}");
        }
    }
}

#[test]
fn a_keyid_of_more_than_256_bytes_is_refused_with_the_place_where_it_stands() {
    const WORDS: &str = "is no keyid: it must have 1 to 256 bytes";
    for (length, fits) in [(256, true), (257, false), (100_000, false)] {
        let long = "a".repeat(length);
        let (home, _agent) = Home::unlocked();
        let mut forge = Forge::new();
        forge.targets["delegations"]["keys"][&long] = key(3);
        forge.write(&home.path("repo"));
        if fits {
            home.run(&format!("{VERIFY} --accept-keyids")).done();
            home.run(ADOPT).done();
            continue;
        }
        refused(&home, &format!("{VERIFY} --accept-keyids"), ("targets", "5.6.1"), WORDS);
        let told = home.run("lint repo --json").exits(6).json().to_string();
        assert!(told.contains(WORDS) && told.len() < 20_000, "{told}");
        let error = home.refused(ADOPT, 3, "METADATA_INVALID");
        assert!(error.to_string().contains(WORDS) && error.to_string().len() < 4_000, "{error}");
        assert!(home.journalled("repository.adopted").is_empty());
    }
}
