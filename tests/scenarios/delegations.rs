//! Delegations: nested, terminating, by succinct bins, with thresholds; removed and brought back.

use tufagent_tests::Home;

use crate::judges::{Judges, Reads};

#[test]
fn nested_delegations_are_accepted_by_all_clients() {
    let (home, _agent) = Home::unlocked();
    let repo = home.published_repository();
    let remembering = Judges::new(&home, "remembering", Reads::All);
    remembering.accept(&repo, &["app.txt"]);
    home.keys(&["outer", "inner", "inner-2"]);
    home.run("delegation add repo outer --key outer --threshold 1 --paths a/*,a/b/*").done();
    home.run("delegation add repo inner --key inner,inner-2 --threshold 2 --paths a/b/* --parent outer")
        .done();
    home.write("one.txt", "one\n");
    home.write("two.txt", "two\n");
    home.run("target add repo one.txt --path a/ --role outer").done();
    home.run("target add repo two.txt --path a/b/ --role inner").done();
    home.run("sign repo --yes").done();
    let all = ["app.txt", "a/one.txt", "a/b/two.txt"];
    remembering.accept(&repo, &all);
    Judges::new(&home, "fresh", Reads::All).accept(&repo, &all);
    home.run("verify repo --root repo/metadata/1.root.json").done();
    let inner = repo.metadata("1.inner.json");
    assert_eq!(inner["signatures"].as_array().unwrap().len(), 2);
}

#[test]
fn a_target_goes_to_the_role_that_a_client_would_search_first() {
    let (home, _agent) = Home::unlocked();
    let repo = home.published_repository();
    home.keys(&["docs"]);
    home.run("delegation add repo docs --key docs --threshold 1 --paths docs/*").done();
    home.write("guide.txt", "read\n");
    home.run("target add repo guide.txt --path docs/").done();
    home.run("sign repo --yes").done();
    assert_eq!(repo.metadata("1.docs.json")["signed"]["targets"]["docs/guide.txt"]["length"], 5);
    let listed = home.run("target list repo --json").done().json();
    assert!(listed.to_string().contains("docs/guide.txt"), "{listed}");
}

#[test]
fn a_role_whose_paths_do_not_allow_the_target_is_refused() {
    let (home, _agent) = Home::unlocked();
    home.published_repository();
    home.keys(&["docs"]);
    home.run("delegation add repo docs --key docs --threshold 1 --paths docs/*").done();
    home.write("guide.txt", "read\n");
    let refused = home.run("target add repo guide.txt --path elsewhere/ --role docs --json");
    assert_eq!(refused.code, 3, "{refused}");
}

#[test]
fn a_terminating_delegation_hides_its_later_siblings_from_clients() {
    let (home, _agent) = Home::unlocked();
    let repo = home.published_repository();
    home.keys(&["first", "second"]);
    home.run("delegation add repo first --key first --threshold 1 --paths d/* --terminating").done();
    home.run("delegation add repo second --key second --threshold 1 --paths d/*").done();
    home.write("hidden.txt", "hidden\n");
    home.write("seen.txt", "seen\n");
    home.run("target add repo hidden.txt --path d/ --role second").done();
    home.run("target add repo seen.txt --path d/ --role first").done();
    home.run("sign repo --yes").done();
    let roles = repo.metadata("2.targets.json")["signed"]["delegations"]["roles"].clone();
    assert_eq!((&roles[0]["terminating"], &roles[1]["terminating"]), (&true.into(), &false.into()));
    Judges::new(&home, "fresh", Reads::All).accept(&repo, &["d/seen.txt"]);
    // tough searches on, so it is not asked.
    Judges::new(&home, "hidden", Reads::NotTough).refuse(&repo, &["d/hidden.txt"]);
}

#[test]
fn succinct_bins_are_accepted_by_the_clients_that_know_them() {
    let (home, _agent) = Home::unlocked();
    let repo = home.published_repository();
    home.keys(&["bins"]);
    home.run("delegation add repo bin --key bins --threshold 1 --succinct-bins 16").done();
    let files: Vec<String> = (0..6).map(|n| format!("file-{n}.txt")).collect();
    for file in &files {
        home.write(&format!("many/{file}"), file);
    }
    home.run("target add repo many --path many/").done();
    home.run("sign repo --yes").done();
    let succinct = &repo.metadata("2.targets.json")["signed"]["delegations"]["succinct_roles"];
    assert_eq!((&succinct["bit_length"], &succinct["name_prefix"]), (&4.into(), &"bin".into()), "{succinct}");
    for bin in ["bin-0", "bin-f"] {
        assert!(repo.has(&format!("1.{bin}.json")), "{bin} is not published");
    }
    let paths: Vec<String> = files.iter().map(|file| format!("many/{file}")).collect();
    let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
    Judges::new(&home, "fresh", Reads::NotTough).accept(&repo, &paths);
    home.run("verify repo --root repo/metadata/1.root.json").done();
}

#[test]
fn bins_with_equal_content_and_different_signatures_are_all_published() {
    let (home, _agent) = Home::unlocked();
    let repo = home.published_repository();
    // RSA-PSS signs with a fresh salt: empty bins are equal but for their signatures.
    home.run("key generate bins --type rsa-3072").done();
    home.run("delegation add repo bin --key bins --threshold 1 --succinct-bins 4").done();
    home.run("sign repo --yes").done();
    home.run("verify repo --root repo/metadata/1.root.json").done();
    Judges::new(&home, "fresh", Reads::NotTough).accept(&repo, &["app.txt"]);
}

#[test]
fn a_removed_delegation_stays_in_the_snapshot_and_comes_back_with_its_next_version() {
    let (home, _agent) = Home::unlocked();
    let repo = home.published_repository();
    home.keys(&["docs"]);
    home.run("delegation add repo docs --key docs --threshold 1 --paths docs/*").done();
    home.run("sign repo --yes").done();
    let remembering = Judges::new(&home, "remembering", Reads::NotTough);
    remembering.accept(&repo, &["app.txt"]);
    home.run("delegation remove repo docs --yes").done();
    home.run("sign repo --yes").done();
    assert_eq!(repo.version("docs"), 1, "the snapshot still lists it");
    remembering.accept(&repo, &["app.txt"]);
    home.run("delegation add repo docs --key docs --threshold 1 --paths docs/*").done();
    home.run("sign repo --yes").done();
    assert_eq!(repo.version("docs"), 2);
    remembering.accept(&repo, &["app.txt"]);
}

#[test]
fn nested_target_names_are_published_for_both_kinds_of_clients() {
    let (home, _agent) = Home::unlocked();
    let repo = home.published_repository();
    home.write("x.txt", "hello\n");
    home.run("target add repo x.txt --path dir/sub/").done();
    home.run("sign repo --yes").done();
    let hash = "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03";
    for name in [format!("targets/dir/sub/{hash}.x.txt"), format!("targets/{hash}.dir/sub/x.txt")] {
        assert!(repo.dir().join(&name).is_file(), "{name} is not there");
    }
}

#[test]
fn the_keys_threshold_and_paths_of_a_delegation_can_be_edited() {
    let (home, _agent) = Home::unlocked();
    let repo = home.published_repository();
    home.keys(&["one", "two"]);
    home.run("delegation add repo docs --key one --threshold 1 --paths docs/*").done();
    home.run("sign repo --yes").done();
    home.run("delegation edit repo docs --add-key two --threshold 2 --paths docs/*,more/* --yes").done();
    home.run("sign repo --yes").done();
    let roles = repo.metadata("3.targets.json")["signed"]["delegations"]["roles"].clone();
    assert_eq!(roles[0]["threshold"], 2);
    assert_eq!(roles[0]["keyids"].as_array().unwrap().len(), 2);
    assert_eq!(roles[0]["paths"], serde_json::json!(["docs/*", "more/*"]));
    Judges::new(&home, "fresh", Reads::All).accept(&repo, &["app.txt"]);
}
