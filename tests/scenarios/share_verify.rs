//! `tufctl share verify`: a custodian checks one share, with no agent anywhere.

use std::fs;
use std::path::Path;

use serde_json::Value;
use tufagent_tests::Home;

use crate::terminal::talk;

/// A set that lies in the tree: `set.json` in the working folder, and what is told of its shares.
fn set(home: &Home) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors/share-set.json");
    let vector: Value = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    home.write("set.json", serde_json::to_string_pretty(&vector["manifest"]).unwrap());
    vector
}

fn text<'v>(vector: &'v Value, name: &str) -> &'v str {
    vector[name].as_str().or_else(|| vector["shares"][name].as_str()).unwrap()
}

/// What the manifest says of a custodian's share.
fn fingerprint(vector: &Value, custodian: &str) -> String {
    let members = vector["manifest"]["manifest"]["groups"][0]["members"].as_array().unwrap();
    let member = members.iter().find(|member| member["custodian"] == custodian).unwrap();
    member["fingerprint"].as_str().unwrap().to_owned()
}

#[test]
fn a_share_is_checked_against_its_set_in_words_and_in_an_age_file() {
    let home = Home::new();
    let vector = set(&home);
    home.secret("ben.txt", &text(&vector, "ben").to_ascii_uppercase().replace(' ', "\n"));
    let right = home.run("share verify ben.txt --manifest set.json --json").done().json();
    assert_eq!((&right["valid"], &right["custodian"]), (&true.into(), &"ben".into()));
    assert_eq!((&right["need"], &right["count"], &right["key"]), (&2.into(), &3.into(), &"root-s".into()));
    assert_eq!(right["fingerprint"], fingerprint(&vector, "ben"));
    home.write("ann.share", hex::decode(text(&vector, "ann_age")).unwrap());
    home.secret("ann.key", text(&vector, "identity"));
    home.secret("strange.key", text(&vector, "other_identity"));
    for identities in ["--identity ann.key", "--identity strange.key --identity ann.key"] {
        let right = home.run(&format!("share verify ann.share --manifest set.json {identities} --json"));
        assert_eq!(right.done().json()["custodian"], "ann");
    }
    home.refused("share verify ann.share --manifest set.json --identity strange.key", 2, "USAGE");
    home.refused("share verify ann.share --manifest set.json", 2, "USAGE");
}

#[test]
fn forged_foreign_and_damaged_shares_are_refused_and_the_custodian_is_named() {
    let home = Home::new();
    let vector = set(&home);
    let refused = |share: &str| {
        home.secret("share.txt", share);
        home.refused("share verify share.txt --manifest set.json", 6, "VERIFICATION")
    };
    // Right checksum, right set, right place, and not the share that was handed out.
    assert_eq!(refused(text(&vector, "forged"))["details"]["custodian"], "ann");
    let foreign = refused(text(&vector, "foreign"));
    assert!(foreign["message"].as_str().unwrap().contains("another set"), "{foreign}");
    // It may be the manifest that is the old one.
    assert!(foreign["remedy"].as_str().unwrap().contains("tufctl share list"), "{foreign}");
    let mut words: Vec<&str> = text(&vector, "ann").split(' ').collect();
    words.swap(7, 8);
    refused(&words.join(" "));
    words.truncate(32);
    refused(&words.join(" "));
    let unknown = refused(&text(&vector, "ann").replacen("rival", "rifle", 1));
    assert!(!unknown["message"].as_str().unwrap().contains("rifle"), "{unknown}");
}

#[test]
fn a_manifest_that_somebody_changed_is_refused_before_any_share_is_read() {
    let home = Home::new();
    let vector = set(&home);
    home.secret("ann.txt", text(&vector, "ann"));
    let manifest = fs::read_to_string(home.path("set.json")).unwrap();
    home.write("set.json", manifest.replace("\"threshold\": 2", "\"threshold\": 1"));
    home.refused("share verify ann.txt --manifest set.json", 6, "VERIFICATION");
}

#[test]
fn a_sheet_is_checked_with_nothing_but_what_is_printed_on_it() {
    let home = Home::new();
    let vector = set(&home);
    home.secret("cy.txt", text(&vector, "cy"));
    let whole = fingerprint(&vector, "cy");
    let spaced = whole[..16].to_ascii_uppercase();
    for printed in [whole.as_str(), &whole[..16], &spaced] {
        home.run(&format!("share verify cy.txt --fingerprint {printed}")).done();
    }
    let other = fingerprint(&vector, "ann");
    home.refused(&format!("share verify cy.txt --fingerprint {other}"), 6, "VERIFICATION");
    home.run(&format!("share verify cy.txt --fingerprint {}", &whole[..15])).exits(2);
    home.run("share verify cy.txt").exits(2);
}

#[test]
fn words_in_a_file_are_read_as_people_copy_them_from_a_sheet() {
    let home = Home::new();
    let vector = set(&home);
    let words: Vec<&str> = text(&vector, "cy").split(' ').collect();
    let numbered = |mark: &str| -> String {
        (1..).zip(&words).map(|(number, word)| format!("{number}{mark} {word}\r\n")).collect()
    };
    let short: Vec<&str> = words.iter().map(|word| &word[..4]).collect();
    let marked = format!("\u{feff}{}\r\n", words.join(", "));
    for copied in [numbered(""), numbered("."), marked, short.join(" ")] {
        home.secret("cy.txt", &copied);
        let right = home.run("share verify cy.txt --manifest set.json --json").done().json();
        assert_eq!(right["custodian"], "cy", "{copied}");
    }
    // What is no text of words is told as what it is, whoever may read it.
    let told = |file: &str, expected: &str| {
        let error = home.refused(&format!("share verify {file} --manifest set.json"), 6, "VERIFICATION");
        assert!(error["message"].as_str().unwrap().contains(expected), "{error}");
    };
    told("set.json", "the manifest of a set");
    home.secret("cy.html", &format!("<!DOCTYPE html>\n{}", "<p>".repeat(3000)));
    told("cy.html", "a page to print");
    home.secret("wide.txt", "canary: replaced");
    let wide: Vec<u8> = "\u{feff}acid".encode_utf16().flat_map(u16::to_le_bytes).collect();
    fs::write(home.path("wide.txt"), wide).unwrap();
    told("wide.txt", "UTF-16");
    let nothing = home.refused("share verify cy.txt", 2, "USAGE");
    assert!(nothing["remedy"].as_str().unwrap().contains("--fingerprint"), "{nothing}");
}

#[test]
fn bare_words_that_others_may_read_and_no_terminal_are_refused() {
    let home = Home::new();
    let vector = set(&home);
    home.write("ann.txt", text(&vector, "ann"));
    // Neither right nor wrong, and no token is in it.
    home.refused("share verify ann.txt --manifest set.json", 2, "USAGE");
    home.refused("share verify --manifest set.json", 2, "USAGE");
}

#[test]
fn words_are_typed_by_four_letters_and_nothing_stays_on_the_screen() {
    let home = Home::new();
    let vector = set(&home);
    let short = |share: &str| share.split(' ').map(|word| word[..4].to_owned()).collect::<Vec<_>>();
    let typed = short(text(&vector, "cy")).join(" ") + "\n";
    let Some((code, screen)) =
        talk(&home, "share verify --manifest set.json", &[("word  1 of 33: ", typed.as_str())])
    else {
        return;
    };
    assert_eq!(code, 0, "{screen}");
    // On a page of its own, which is cleared before it is left.
    let (page, after) = screen.rsplit_once("\x1b[2J\x1b[H\x1b[?1049l").expect("the page is cleared and left");
    assert!(page.starts_with("\x1b[?1049h"), "{screen}");
    assert!(after.contains("the share of cy · root-s"), "{screen}");
    assert!(page.contains("the share of cy"), "whose it is is said as soon as it is known:\n{screen}");

    // A wrong word shows at the end; it is gone back to by its number.
    let mut wrong = short(text(&vector, "cy"));
    let (right, number) = (wrong[9].clone(), "10\n");
    wrong[9] = if right == "acid" { "acne" } else { "acid" }.into();
    let wrong = wrong.join(" ") + "\n";
    let steps = [
        ("word  1 of 33: ", wrong.as_str()),
        ("checksum", number),
        ("word 10 of 33: ", &format!("{right} ")),
    ];
    let (code, screen) = talk(&home, "share verify --manifest set.json", &steps).unwrap();
    assert_eq!(code, 0, "{screen}");

    // Of another set: said after two words. Leaving reveals nothing either.
    let foreign = short(text(&vector, "foreign"))[..2].join(" ") + " ";
    let steps = [("word  1 of 33: ", foreign.as_str()), ("another set", "\u{3}")];
    let (code, screen) = talk(&home, "share verify --manifest set.json", &steps).unwrap();
    assert_ne!(code, 0, "{screen}");
}
