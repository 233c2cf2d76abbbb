//! How long a role is valid is on record by the word of whoever registered it: a length that is longer than is usual is shown
//! with the first version, where a person says yes to the rest as well (DESIGN section 4, rule 3).

use tufagent_tests::Home;

use crate::terminal::talk;

const LONG: &str =
    "team of app is new, and it and its later versions may be valid for 3650 days, where 90 are usual";

#[test]
fn a_first_length_beyond_the_usual_is_shown_asked_about_and_journalled_once() {
    let (home, _agent) = Home::unlocked();
    let repo = home.published_repository();
    home.run("delegation add repo team --key online --threshold 1 --paths t/* --expires 3650d").done();
    let Some((code, screen)) = talk(&home, "sign repo", &[("[y/N] ", "n\n")]) else { return };
    assert_ne!(code, 0, "{screen}");
    assert!(screen.contains(LONG), "{screen}");
    assert!(repo.names("staged").contains(&"team.json".to_owned()));
    let signed = home.run("sign repo --yes").done();
    assert!(signed.stderr.contains(LONG), "{signed}");
    let confirmed = home.journalled("sign.confirmed");
    assert!(confirmed.iter().any(|entry| entry.to_string().contains(LONG)), "{confirmed:?}");
    // From then on it is what is on record.
    home.run("bump repo team").done();
    let again = home.run("sign repo --yes").done();
    assert!(!again.stderr.contains("are usual"), "{again}");
}

#[test]
fn usual_first_lengths_and_shorter_ones_are_no_concern() {
    let (home, _agent) = Home::unlocked();
    home.keys(&["k"]);
    let keys = "--root k --targets k --snapshot k --timestamp k";
    home.run(&format!("repo init repo --name app {keys} --expires root=365d --expires targets=30d")).done();
    home.run("delegation add repo team --key k --threshold 1 --paths t/* --expires 90d").done();
    let signed = home.run("sign repo --yes").done();
    assert!(!signed.stderr.contains("are usual"), "{signed}");
}

#[test]
fn a_callers_length_for_a_whole_new_repository_is_shown_role_by_role_and_of_bins_once() {
    let (home, _agent) = Home::unlocked();
    home.keys(&["k", "b"]);
    let keys = "--root k --targets k --snapshot k --timestamp k";
    home.run(&format!("repo init repo --name app {keys} --expires root=3650d --expires timestamp=300d"))
        .done();
    home.run("delegation add repo bin --key b --threshold 1 --succinct-bins 16 --expires 400d").done();
    let signed = home.run("sign repo --yes").done();
    assert!(signed.stderr.contains("root of app is new") && signed.stderr.contains("3650 days"), "{signed}");
    assert!(
        signed.stderr.contains("timestamp of app is new") && signed.stderr.contains("300 days"),
        "{signed}"
    );
    assert_eq!(signed.stderr.matches("may be valid for 400 days").count(), 1, "{signed}");
}
