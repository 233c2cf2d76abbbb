//! The sheet of paper that a custodian has: it is one, and all that is needed stands on it.

use std::fs;
use std::path::{Path, PathBuf};

use tufagent_tests::{Home, need, oracle};

use crate::custodians::{python, with_token};
use crate::terminal::talk;

const PLAIN: &str = "key generate root-s --token shares --type ed25519 --threshold 2 --custodian ann --custodian ben \
                     --custodian cy --out set --json";

/// A set of so many groups, names of so many letters, and so many members in each; the sheet of the first custodian. The
/// kind of key with the longer manifest.
fn sheet_of_groups(home: &Home, groups: usize, letters: usize, members: usize, of_people: usize) -> PathBuf {
    let name = |kind: char, number: usize, letters: usize| {
        format!("{number:02}{}", kind.to_string().repeat(letters - 2))
    };
    let flags = (0..groups).map(|group| {
        let people = (0..members).map(|member| name('w', group * members + member, of_people));
        let people = people.collect::<Vec<_>>().join(",");
        format!("--group {}={members}:{people}", name('m', group, letters))
    });
    let flags = flags.collect::<Vec<_>>().join(" ");
    let key = format!("g{groups}-{letters}-{members}-{of_people}");
    home.run(&format!(
        "key generate {key} --token shares --type ecdsa-p256 {flags} --group-threshold {groups} --allow-weak-set --out {key}"
    ))
    .done();
    home.path(key).join(format!("{}.html", name('w', 0, of_people)))
}

/// A set without groups.
fn sheet_of_people(home: &Home, people: usize, letters: usize) -> PathBuf {
    let name = |number: usize| format!("{number:02}{}", "w".repeat(letters - 2));
    let flags: Vec<_> = (0..people).map(|number| format!("--custodian {}", name(number))).collect();
    let (key, threshold) = (format!("p{people}-{letters}"), people / 2 + 1);
    home.run(&format!(
        "key generate {key} --token shares --type ecdsa-p256 --threshold {threshold} {} --out {key}",
        flags.join(" ")
    ))
    .done();
    home.path(key).join(format!("{}.html", name(0)))
}

#[test]
fn a_sheet_is_one_page_of_a4_and_of_letter_however_many_and_long_the_names_are() {
    let (home, _agent) = with_token();
    let mut files = vec![
        sheet_of_people(&home, 3, 3),
        // Up to the most that is written at full size, and in small letters; and far above.
        sheet_of_people(&home, 16, 31),
        sheet_of_people(&home, 16, 37),
        sheet_of_people(&home, 16, 64),
    ];
    for (groups, letters, members, of_people) in [
        (2, 4, 3, 4),
        (3, 30, 3, 30),
        (2, 64, 2, 60),
        (8, 20, 2, 20),
        (6, 50, 2, 20),
        (4, 64, 4, 64),
        (16, 64, 2, 30),
        (16, 64, 4, 64),
    ] {
        files.push(sheet_of_groups(&home, groups, letters, members, of_people));
    }
    // What is seen to be more than a page would be noticed.
    let long = fs::read_to_string(&files[0]).unwrap().replace("</body>", &"<p>More.</p>".repeat(300));
    let control = home.write("control.html", long);
    let Some(printed) =
        need(oracle::printed_pages(&[&files[..], std::slice::from_ref(&control)].concat(), &home.path("")))
    else {
        return;
    };
    let pages = |file: &Path, size: &str| printed[file.to_str().unwrap()][size].as_u64().unwrap();
    for file in &files {
        for size in ["A4", "Letter"] {
            assert_eq!(pages(file, size), 1, "{} on {size}: {printed}", file.display());
        }
    }
    assert!(pages(&control, "A4") > 1 && pages(&control, "Letter") > 1, "{printed}");
    // What the last has no room for is left to the file, and it says so.
    let sheet = fs::read_to_string(files.last().unwrap()).unwrap();
    for said in [
        "16 of 16 groups, each by as many of its shares as set.json says, make the key",
        "0 of 16 groups may be lost",
        "64 people, whom set.json names",
        "keep set.json with it",
    ] {
        assert!(sheet.contains(said), "{said}");
    }
}

#[test]
fn a_sheet_names_the_key_and_the_set_and_says_what_to_do_on_the_day() {
    let (home, _agent) = with_token();
    let made = home.run(PLAIN).done().json();
    for name in ["ann", "ben", "cy"] {
        let sheet = fs::read_to_string(home.path("set").join(format!("{name}.html"))).unwrap();
        let said = |text: &str| assert!(sheet.contains(text), "{name}: {text}");
        // Whoever recovers the key sees by these that it is the one that was meant.
        said(made["keyid"].as_str().unwrap());
        said(made["set"]["sha256"].as_str().unwrap());
        said(&format!("custodian {name}"));
        for text in [
            "root-s",
            "2 of 3 shares make the key",
            "1 of 3 shares may be lost",
            "ann, ben, cy",
            "<pre>tufctl share confirm --manifest set.json</pre>",
            "tufctl share collect DIR --role root --manifest set.json",
            "tufctl share give",
            "which must be the same for all",
            "(share resplit) revokes nothing",
            "destroy this sheet",
            "root replace-key",
            "the words are SLIP-0039, without a passphrase",
            "32-byte seed of the Ed25519 key",
        ] {
            said(text);
        }
    }
}

#[test]
fn the_command_on_a_sheet_is_run_as_it_is_printed_by_somebody_who_has_the_paper_and_nothing_else() {
    let (home, _agent) = with_token();
    home.run(PLAIN).done();
    let Some(ann) = python(&home, &["sheet", "set/ann.html"]) else { return };
    let ben = python(&home, &["sheet", "set/ben.html"]).unwrap();
    let by_four = |sheet: &serde_json::Value| -> Vec<String> {
        sheet["words"].as_str().unwrap().split(' ').map(|word| word[..4].to_owned()).collect()
    };
    let typed = |words: &[String]| format!("{}\n", words.join(" "));
    let command = ann["command"].as_str().unwrap().strip_prefix("tufctl ").unwrap();
    // A machine with tufctl, and with no agent, no configuration and no file.
    let away = Home::new();
    let (right, other) = (by_four(&ann), by_four(&ben));
    let (code, screen) = talk(&away, command, &[("word  1 of 33: ", &typed(&right))]).unwrap();
    assert_eq!(code, 0, "{screen}");
    let (page, after) = screen.rsplit_once("\x1b[?1049l").unwrap();
    assert!(after.contains("right:") && after.contains(ann["fingerprint"].as_str().unwrap()), "{screen}");
    assert!(page.contains("word 33 of 33"), "{screen}");
    // The words of another sheet.
    let (code, screen) = talk(&away, command, &[("word  1 of 33: ", &typed(&other))]).unwrap();
    assert_eq!(code, 6, "{screen}");
    assert!(screen.contains("another share"), "{screen}");
    // One word that was misread: it is said before anything is compared, and put right.
    let mut wrong = right.clone();
    wrong[20] = if wrong[20] == "acid" { "acne" } else { "acid" }.to_owned();
    let corrected = format!("{} ", right[20]);
    let steps =
        [("word  1 of 33: ", &*typed(&wrong)), ("checksum", "21\n"), ("word 21 of 33: ", corrected.as_str())];
    let (code, screen) = talk(&away, command, &steps).unwrap();
    assert_eq!(code, 0, "{screen}");
    // Nothing was left behind by it.
    for folder in ["work", "state", "run", "config", "home"] {
        let entries = fs::read_dir(away.dir().join(folder)).unwrap();
        assert_eq!(entries.count(), 0, "{folder}");
    }
}
