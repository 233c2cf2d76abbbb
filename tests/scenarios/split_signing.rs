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
    let how = |report: &Value, keys: &[&str]| {
        let root = role(report, "missing", "root");
        let named: Vec<_> = root["keys"].as_array().unwrap().iter().map(|key| &key["key"]).collect();
        assert_eq!(json!(named), json!(keys), "{report}");
        for key in root["keys"].as_array().unwrap() {
            assert_eq!(key["how"], "share collect", "{report}");
        }
        assert_eq!(root["how"], "share collect", "{report}");
    };
    how(&home.run("sign repo --yes --json").exits(4).json(), &["q2", "q1"]);
    let text = home.run("sign repo --yes").exits(4).stdout;
    assert!(
        text.contains(
            "1 more signature by keys of the root before it (q1) and 1 more signature by its own (q2)"
        ),
        "{text}"
    );
    let collect = format!("share collect repo --role root{}", two("q2"));
    how(&home.run(&format!("{collect} --json")).exits(4).json(), &["q1"]);
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
