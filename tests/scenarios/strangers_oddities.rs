//! What others write and not every stock client reads: taken over and kept as it stands, with a warning.

use tufagent_tests::Home;

use crate::strangers_kinds::{Clients, change, made};

#[test]
fn integers_beyond_what_javascript_reads_are_kept_digit_for_digit() {
    let kind = "integers-beyond-what-javascript-reads";
    let (home, _agent) = Home::unlocked();
    let Some(mut made) = made(&home, kind).and_then(|mut made| made.pop()) else { return };
    let clients = Clients::new(&home);
    clients.accept(&[&made]);
    let adopted = change(&home, &mut made);
    assert!(adopted.stderr.contains("targets version 3 holds 4 integers beyond 2^53 - 1"), "{adopted}");
    home.run(&format!("bump {kind} team")).done();
    home.run(&format!("sign {kind} --yes")).done();
    clients.accept(&[&made]);
    let repo = home.published(kind);
    let text =
        |role: &str| String::from_utf8(repo.bytes(&format!("{}.{role}.json", repo.version(role)))).unwrap();
    let numbers = [
        "\"id\":9007199254740992",
        "-18446744073709551616",
        "10000000000000000000000000000000000000000",
        "\"x-number\":9223372036854775808",
    ];
    for number in numbers {
        assert!(text("targets").contains(number), "{number}");
    }
    for role in ["root", "snapshot"] {
        assert!(text(role).contains("\"x-number\":1152921504606846977"), "{role}");
    }
    assert!(text("team").contains("\"x-number\":9007199254740992"));
    let refused =
        home.refused(&format!("verify {kind} --root {kind}/metadata/1.root.json"), 6, "VERIFICATION");
    assert_eq!((&refused["details"]["role"], &refused["details"]["spec"]), (&"root".into(), &"4.1".into()));
    let found = home.run(&format!("lint {kind} --json")).exits(6).json();
    let rules: Vec<_> =
        found["findings"].as_array().unwrap().iter().filter(|it| it["rule"] == "large-integer").collect();
    assert_eq!(rules.len(), 5, "{found}");

    // Nobody puts in another one.
    home.run(&format!("bump {kind} targets")).done();
    let staged = home.path(format!("{kind}/staged/targets.json"));
    let edited = std::fs::read_to_string(&staged)
        .unwrap()
        .replace("\"id\":9007199254740992", "\"id\":9007199254740993");
    std::fs::write(&staged, edited).unwrap();
    let refused = home.refused(&format!("sign {kind} --yes"), 3, "METADATA_INVALID");
    assert!(refused["message"].as_str().unwrap().contains("9007199254740993"), "{refused}");
}

#[test]
fn custom_data_of_any_form_is_kept() {
    let kind = "custom-that-is-no-object";
    let kept = [
        "\"custom\":\"text\"",
        "\"custom\":[\"list\",1]",
        "\"custom\":7",
        "\"custom\":true",
        "\"custom\":null",
    ];
    let warned = ["has 5 targets whose `custom` is no object, such as \"0.txt\""];
    let (home, _agent) = Home::unlocked();
    let Some(mut made) = made(&home, kind).and_then(|mut made| made.pop()) else { return };
    let clients = Clients::new(&home);
    clients.accept(&[&made]);
    // What is taken away here must not be one of them.
    made.targets.retain(|path| path == "app.txt" || path.len() == 5);
    made.targets.sort_by_key(|path| path != "app.txt");
    let adopted = change(&home, &mut made);
    assert!(adopted.stderr.contains(warned[0]), "{adopted}");
    clients.accept(&[&made]);
    let repo = home.published(kind);
    let newest = String::from_utf8(repo.bytes(&format!("{}.targets.json", repo.version("targets")))).unwrap();
    for text in kept {
        assert!(newest.contains(text), "no {text}: {newest}");
    }
    let refused =
        home.refused(&format!("verify {kind} --root {kind}/metadata/1.root.json"), 6, "VERIFICATION");
    assert_eq!(
        (&refused["details"]["role"], &refused["details"]["spec"]),
        (&"targets".into(), &"4.5".into())
    );
    let found = home.run(&format!("lint {kind} --json")).exits(6).json();
    assert!(found["findings"].as_array().unwrap().iter().any(|it| it["rule"] == "custom"), "{found}");
}

#[test]
fn roles_whose_names_hold_control_characters_are_signed_and_shown_escaped() {
    let kind = "names-of-roles-with-control-characters";
    let (home, agent) = Home::unlocked();
    let Some(mut made) = made(&home, kind).and_then(|mut made| made.pop()) else { return };
    let clients = Clients::new(&home);
    clients.accept(&[&made]);
    change(&home, &mut made);
    let names =
        ["line\nbreak", "tab\tand\rreturn", "bell\u{7}", "\u{7f}", "c1\u{85}\u{9b}31m", "\u{202e}rtl"];
    let harmless = |text: &str| {
        let bad = text.chars().find(|c| c.is_control() && *c != '\n' || *c == '\u{202e}');
        assert!(bad.is_none() && !text.contains("\nbreak"), "{bad:?} in {text:?}");
    };
    for name in names {
        home.write("more.txt", "more");
        let added = home.run_list(&[
            "target",
            "add",
            kind,
            "more.txt",
            "--role",
            name,
            "--path",
            &format!("r{}/more.txt", names.iter().position(|it| *it == name).unwrap()),
        ]);
        harmless(&added.done().text());
    }
    for command in ["repo show", "diff", "target list", "delegation list", "lint"] {
        harmless(&home.run(&format!("{command} {kind}")).text());
    }
    harmless(&home.run(&format!("sign {kind} --yes")).done().text());
    harmless(&home.run("audit list").done().text());
    harmless(&home.run(&format!("verify {kind} --root {kind}/metadata/1.root.json")).done().text());
    made.targets.extend((0..names.len()).map(|number| format!("r{number}/more.txt")));
    clients.accept(&[&made]);
    drop(agent);
    harmless(&std::fs::read_to_string(home.log()).unwrap());
}

#[test]
fn bins_that_say_the_same_in_files_of_their_own_are_signed_anew_and_published() {
    let kind = "bins-that-say-the-same";
    let (home, agent) = Home::unlocked();
    let Some(made) = made(&home, kind).and_then(|mut made| made.pop()) else { return };
    let clients = Clients::new(&home);
    clients.accept(&[&made]);
    let run = |arguments: &str| home.run(arguments).done();
    for key in &made.keys {
        run(&format!("key import {key} {kind}.keys/{key}.pem --token file"));
    }
    run(&format!("repo adopt {kind} --name {kind} --root {kind}/metadata/1.root.json --yes"));
    let replaced = |old: &str, new: &str| {
        run(&format!("key generate {new} --type ecdsa-p256 --token file"));
        run(&format!("delegation edit {kind} bin --add-key {new} --remove-key {old}"));
        run(&format!("sign {kind} --yes"));
        clients.accept(&[&made]);
    };
    replaced("bins", "second");
    let repo = home.published(kind);
    let bins = (0..8).map(|bin| format!("bin-{bin}"));
    let bins: Vec<_> = bins.map(|bin| repo.metadata(&format!("{}.{bin}.json", repo.version(&bin)))).collect();
    let pairs = || bins.iter().zip(&bins[1..]);
    assert!(pairs().any(|(one, next)| one["signed"] == next["signed"]), "they say the same");
    assert!(pairs().all(|(one, next)| one != next), "in other files");
    // An agent that starts anew has them on its disk; where those are lost, it is shown the files again.
    agent.stop();
    let agent = home.start();
    home.unlock_file_store();
    replaced("second", "third");
    agent.stop();
    for text in std::fs::read_dir(home.state().join("metadata")).unwrap() {
        std::fs::remove_file(text.unwrap().path()).unwrap();
    }
    let _agent = home.start();
    home.unlock_file_store();
    run(&format!("repo adopt {kind} --name {kind} --root {kind}/metadata/1.root.json --yes"));
    replaced("third", "fourth");
    run(&format!("verify {kind} --root {kind}/metadata/1.root.json"));
}
