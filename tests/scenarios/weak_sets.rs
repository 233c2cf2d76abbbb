//! Sets of shares that one person or a part of the people could break or end: refused by whatever command makes them.

use crate::custodians::with_token;

#[test]
fn weak_sets_are_refused_unless_they_are_asked_for() {
    let (home, _agent) = with_token();
    let generate = |name: &str, threshold: u8, custodians: &str| {
        let flags: Vec<_> = custodians.split(',').map(|name| format!("--custodian {name}")).collect();
        format!(
            "key generate {name} --token shares --type ed25519 --threshold {threshold} {} --out {name}",
            flags.join(" ")
        )
    };
    for (threshold, custodians) in
        [(1, "a,b,c"), (3, "a,b,c"), (2, "a,b,a"), (2, "a,b,c,d"), (2, "a,b,c,d,e")]
    {
        let line = generate("weak", threshold, custodians);
        home.refused(&line, 3, "WEAK_SET");
        assert!(!home.path("weak/set.json").exists());
    }
    // Groups, too: a group of one, all of each needed, two that each make the key, and one custodian in both.
    for (groups, threshold) in [
        ("--group x=1:a --group y=1:b", 2),
        ("--group x=2:a,b --group y=2:c,d", 2),
        ("--group x=2:a,b,c --group y=2:d,e,f", 1),
        ("--group x=2:a,b,c --group y=2:c,d,e", 2),
        ("--group x=2:a,b,c --group y=2:C,d,e", 2),
    ] {
        let terms = format!("{groups} --group-threshold {threshold} --out weak");
        home.refused(&format!("key generate weak --token shares --type ed25519 {terms}"), 3, "WEAK_SET");
        assert!(!home.path("weak").exists(), "{terms}");
    }
    // And for a key that is there already, or is split anew.
    home.keys(&["whole"]);
    home.refused("share split whole --threshold 1 --custodian a --custodian b --out weak", 3, "WEAK_SET");
    home.run(&generate("root-s", 2, "a,b,c")).done();
    let resplit = "share resplit --phase prove --manifest root-s/set.json --threshold 3 --custodian a --custodian b --custodian c --out weak";
    home.refused(resplit, 3, "WEAK_SET");
    assert!(!home.path("weak").exists());
    let listed = home.run("share list --json").done().json();
    assert_eq!(listed["sets"].as_array().unwrap().len(), 1, "{listed}");
    home.run(&format!("{} --allow-weak-set", generate("all", 3, "a,b,c"))).done();
    home.run(&generate("fine", 2, "a,b,c")).done();
    home.run(&generate("none", 4, "a,b,c")).exits(2);
    home.refused(&generate("fine2", 2, "a,b,c").replace("--out fine2", "--out fine"), 2, "USAGE");
    let without = generate("fine3", 2, "a,b,c").replace(" --out fine3", "");
    home.refused(&without, 2, "USAGE");
}
