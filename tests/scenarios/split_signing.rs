//! What a split key means to those who sign beside it: while proofs are missing, when one split key follows another, and
//! where it serves roles that are signed for whatever is published.

use serde_json::{Value, json};
use tufagent_tests::{Agent, Home};

const PEOPLE: [&str; 3] = ["ann", "ben", "cy"];

/// A home with a token of shares, the file store's keys, and a passphrase for each of the people.
pub(crate) fn people(keys: &[&str]) -> (Home, Agent) {
    let home = Home::new();
    home.config("[[token]]\nname = \"people\"\nkind = \"shares\"\n");
    let agent = home.start();
    home.unlock_file_store();
    home.keys(keys);
    for name in PEOPLE {
        home.secret(&format!("{name}.pass"), &format!("c4n4ry of {name}"));
    }
    (home, agent)
}

/// ` --threshold 2 …` for files under the people's passphrases in this folder.
pub(crate) fn among(folder: &str) -> String {
    let one = |name| format!(" --custodian {name}=passphrase-file:{name}.pass");
    format!(" --threshold 2 --out {folder}{}", PEOPLE.map(one).concat())
}

pub(crate) fn confirm(home: &Home, folder: &str, name: &str) -> Value {
    let share = format!("share confirm {folder}/{name}.share --manifest {folder}/set.json");
    home.run(&format!("{share} --passphrase-file {name}.pass --json")).done().json()
}

/// Ann's share and cy's, for `collect` and `drill`.
pub(crate) fn two(folder: &str) -> String {
    let one = |name| format!(" --share {folder}/{name}.share --passphrase-file {name}={name}.pass");
    format!(" --manifest {folder}/set.json --yes{}{}", one("ann"), one("cy"))
}

/// A new split key of which every share is proven.
pub(crate) fn split_key(home: &Home, name: &str) {
    home.run(&format!("key generate {name} --token people --type ed25519{}", among(name))).done();
    for custodian in PEOPLE {
        confirm(home, name, custodian);
    }
}

fn role<'v>(report: &'v Value, member: &str, name: &str) -> &'v Value {
    let all = report[member].as_array().unwrap();
    all.iter().find(|one| one["role"] == name).unwrap_or_else(|| panic!("no {name} under {member}: {report}"))
}

#[test]
fn a_key_whose_split_waits_for_proofs_keeps_no_other_key_from_signing() {
    let (home, _agent) = people(&["ra", "rb", "rc", "rd", "on", "line"]);
    let init = |dir: &str, root: &str, online: &str, threshold: u8| {
        home.run(&format!(
            "repo init {dir} --name {dir} --root {root} --root-threshold {threshold} --targets {online} --snapshot {online} \
             --timestamp {online}"
        ))
        .done();
        home.run(&format!("sign {dir} --yes")).done();
        home.run(&format!("bump {dir} root timestamp")).done();
    };
    init("one", "ra,rb", "on", 1);
    init("both", "rc,rd", "line", 2);
    for (name, repository) in [("ra", "one"), ("rc", "both")] {
        let split = home.run(&format!("share split {name}{}", among(name))).done();
        for told in [format!("root of {repository}"), format!("share split {name} --abort")] {
            assert!(split.stderr.contains(&told), "{told}: {split}");
        }
    }
    let listed = home.run("key list --json").done().json();
    let ra = listed["keys"].as_array().unwrap().iter().find(|key| key["name"] == "ra").unwrap();
    assert_eq!(ra["unproven"], json!(PEOPLE), "{ra}");
    assert!(home.run("key list").done().stdout.contains("signs nothing: 3 shares not proven"));
    // Enough without it: all of it is signed and published, and why it did not sign is told.
    let signed = home.run("sign one --yes --json").done().json();
    assert_eq!(signed["published"], true, "{signed}");
    let unsigned = role(&signed, "unsigned", "root");
    assert_eq!((&unsigned["key"], &unsigned["reason"]), (&"ra".into(), &"SHARE_UNPROVEN".into()), "{signed}");
    // Not enough: the others sign all the same.
    let half = home.run("sign both --yes --json").exits(4).json();
    assert_eq!(role(&half, "signed", "root")["key"], "rd", "{half}");
    let missing = role(&half, "missing", "root");
    assert_eq!((&missing["have"], &missing["need"]), (&1.into(), &2.into()));
    assert_eq!(missing["keys"][0]["reason"], "SHARE_UNPROVEN", "{half}");
    assert_eq!(role(&half, "unsigned", "root")["key"], "rc");
    let told = home.run("sign both --yes --no-publish");
    assert!((told.stdout.clone() + &told.stderr).contains("share split rc --abort"), "{told}");
    // Nothing has changed, and so it is told the same.
    assert_eq!(told.code, 4, "{told}");
    // Alone, or named, it is refused.
    home.refused("sign both --yes --key rc", 3, "SHARE_UNPROVEN");
    home.refused("sign both --yes --key rc,rd", 3, "SHARE_UNPROVEN");
    // Back: the key is whole, and signs.
    home.run("share split rc --abort").done();
    home.run("sign both --yes").done();
}

#[test]
fn a_root_that_goes_from_one_split_key_to_another_names_both_sets_of_people() {
    let (home, _agent) = people(&["online"]);
    split_key(&home, "q1");
    split_key(&home, "q2");
    home.run("repo init repo --name app --root q1 --targets online --snapshot online --timestamp online")
        .done();
    home.run("sign repo --yes").exits(4);
    home.run(&format!("share collect repo --role root{}", two("q1"))).done();
    home.run("root replace-key repo root --old q1 --new q2").done();
    let how = |report: &Value, wanted: &[(&str, &Value)]| {
        let all = report["missing"].as_array().unwrap();
        let roots: Vec<_> = all.iter().filter(|one| one["role"] == "root").collect();
        assert_eq!(roots.len(), wanted.len(), "{report}");
        for (root, (key, version)) in roots.into_iter().zip(wanted) {
            assert_eq!(
                (&root["have"], &root["need"], &root["root_version"]),
                (&0.into(), &1.into(), *version)
            );
            assert_eq!(
                (&root["keys"][0]["key"], &root["keys"][0]["how"]),
                (&json!(key), &"share collect".into())
            );
            assert_eq!((root["keys"].as_array().unwrap().len(), &root["how"]), (1, &"share collect".into()));
        }
    };
    how(&home.run("sign repo --yes --json").exits(4).json(), &[("q1", &json!(1)), ("q2", &json!(2))]);
    let shown = home.run("repo show repo").done().stdout;
    for told in ["by root v1: 1 of 1 keys", "by root v2: 1 of 1 keys", "q1  missing", "q2  missing"] {
        assert!(shown.contains(told), "{told}: {shown}");
    }
    let shown = home.run("repo show repo --json").done().json();
    let root = role(&shown, "roles", "root");
    assert_eq!(
        (&root["roots"][0]["root_version"], &root["roots"][1]["complete"]),
        (&1.into(), &false.into())
    );
    let text = home.run("sign repo --yes").exits(4).stdout;
    assert!(
        text.contains(
            "1 more signature by keys of the root before it (q1) and 1 more signature by its own (q2)"
        ),
        "{text}"
    );
    let collect = format!("share collect repo --role root{}", two("q2"));
    how(&home.run(&format!("{collect} --json")).exits(4).json(), &[("q1", &Value::Null)]);
    // Nobody is sent for once more, and nothing is opened, with too few shares neither.
    let opened = home.journalled("share.collect").len();
    let one = "share collect repo --role root --manifest q2/set.json --share q2/ann.share --passphrase-file ann=ann.pass";
    for again in [collect.as_str(), one] {
        let told = home.run(&format!("{again} --json")).exits(4);
        assert!(told.stderr.contains("q2 has signed this already"), "{told}");
        let told = told.json();
        assert_eq!((&told["signed_before"], &told["signed"]), (&true.into(), &json!([])), "{told}");
        how(&told, &[("q1", &Value::Null)]);
    }
    assert_eq!(home.journalled("share.collect").len(), opened);
    let text = home.run("sign repo --yes").exits(4).stdout;
    assert!(text.contains("needs 1 more signature (q1)"), "{text}");
    assert!(text.contains("bring shares of q1 together"), "{text}");
    let done = home.run(&format!("share collect repo --role root{} --json", two("q1"))).done().json();
    assert_eq!(done["published"], true, "{done}");
}

#[test]
fn a_split_key_of_online_roles_is_warned_of_and_its_people_can_publish_all_the_same() {
    let (home, _agent) = people(&["root", "o5"]);
    home.run("repo init repo --name app --root root --targets o5 --snapshot o5 --timestamp o5").done();
    home.run("sign repo --yes").done();
    let split = home.run(&format!("share split o5{}", among("o5"))).done();
    for told in ["timestamp of app", "nothing of it can be published without custodians", "--abort"] {
        assert!(split.stderr.contains(told), "{told}: {split}");
    }
    home.write("app.txt", "hello\n");
    home.run("target add repo app.txt").done();
    // Not even for the roles that it has.
    home.refused("sign repo --yes", 3, "SHARE_UNPROVEN");
    for name in PEOPLE {
        confirm(&home, "o5", name);
    }
    let collect = |role: &str| home.run(&format!("share collect repo --role {role}{} --json", two("o5")));
    // Its turn has not come.
    home.run("bump repo timestamp").done();
    let early = collect("timestamp").exits(4);
    assert!(early.stderr.contains("no share was used"), "{early}");
    assert_eq!(early.json()["signed"], json!([]));
    for (name, next) in [("targets", "snapshot"), ("snapshot", "timestamp")] {
        let signed = collect(name).exits(4).json();
        assert_eq!(role(&signed, "signed", name)["key"], "o5", "{signed}");
        assert_eq!(role(&signed, "missing", next)["how"], "share collect", "{signed}");
    }
    assert_eq!(collect("timestamp").done().json()["published"], true);
    home.run("verify repo --root repo/metadata/1.root.json").done();
    home.run("bump repo timestamp").done();
    assert_eq!(collect("timestamp").done().json()["published"], true);
    // A new repository is warned of where the key is given to such a role.
    split_key(&home, "q1");
    let init = home
        .run("repo init other --name other --root root --targets root --snapshot root --timestamp q1")
        .done();
    assert!(
        init.stderr.contains("nothing of the repository can be published without its custodians"),
        "{init}"
    );
}

#[test]
fn a_root_that_was_never_published_is_signed_by_the_others_while_a_key_of_it_is_split() {
    let (home, _agent) = people(&["ra", "rb", "rc", "rd", "on"]);
    let init = |dir: &str, root: &str, threshold: u8| {
        let online = "--targets on --snapshot on --timestamp on --shared-key";
        home.run(&format!(
            "repo init {dir} --name {dir} --root {root} --root-threshold {threshold} {online}"
        ))
        .done();
    };
    init("one", "ra,rb", 1);
    init("two", "rc,rd", 2);
    for name in ["ra", "rc"] {
        home.run(&format!("share split {name}{}", among(name))).done();
    }
    let signed = home.run("sign one --yes --json").done().json();
    assert_eq!(signed["published"], true, "{signed}");
    assert_eq!(role(&signed, "signed", "root")["key"], "rb", "{signed}");
    let unsigned = role(&signed, "unsigned", "root");
    assert_eq!((&unsigned["key"], &unsigned["reason"]), (&"ra".into(), &"SHARE_UNPROVEN".into()), "{signed}");
    for _ in 0..2 {
        let half = home.run("sign two --yes --shared-key --json").exits(4).json();
        assert_eq!(role(&half, "missing", "root")["keys"][0]["reason"], "SHARE_UNPROVEN", "{half}");
    }
    // Once proven it comes by its shares.
    for custodian in PEOPLE {
        confirm(&home, "rc", custodian);
    }
    let waits = home.run("sign two --yes --shared-key --json").exits(4).json();
    assert_eq!(role(&waits, "missing", "root")["how"], "share collect", "{waits}");
    home.run(&format!("share collect two --role root --shared-key{}", two("rc"))).done();
    home.run("verify two --root two/metadata/1.root.json").done();
}

#[test]
fn shares_that_were_brought_are_used_though_the_file_store_has_the_key_whole() {
    let (home, _agent) = people(&["fk", "on"]);
    home.run("repo init repo --name app --root fk --targets on --snapshot on --timestamp on").done();
    home.run("sign repo --yes").done();
    home.run(&format!("share split fk --keep{}", among("fk"))).done();
    // Not before all have proven theirs, and the whole copy signs in its place no more than they do.
    home.run("bump repo root").done();
    home.refused(&format!("share collect repo --role root{}", two("fk")), 3, "SHARE_UNPROVEN");
    for custodian in PEOPLE {
        confirm(&home, "fk", custodian);
    }
    home.run("token lock file").done();
    home.refused("sign repo --yes --key fk", 5, "TOKEN_LOCKED");
    // The store is locked, or its passphrase lost: this is what there are shares for.
    let collected = home.run(&format!("share collect repo --role root{} --json", two("fk"))).done().json();
    let signed = role(&collected, "signed", "root");
    assert_eq!((&signed["key"], &signed["token"]), (&"fk".into(), &"people".into()), "{collected}");
    assert_eq!(home.journalled("share.collected")[0]["body"]["custodians"], json!(["ann", "cy"]));
    home.unlock_file_store();
    // The whole copy goes on signing where nobody brings any.
    home.run("bump repo root").done();
    let signed = home.run("sign repo --yes --json").done().json();
    assert_eq!(role(&signed, "signed", "root")["token"], "file", "{signed}");
    assert_eq!(home.journalled("share.collected").len(), 1);
}
