//! What was staged here and overtaken by what others have published in the meantime.

use serde_json::json;
use tufagent_tests::{Agent, Home, Published};

use crate::recovered::leaky;
use crate::watermarks::others_publish;

/// Targets version 2 with `mine.txt` is staged, signed or not, and others have published theirs, with `theirs.txt`.
fn raced(is_signed: bool) -> (Home, Agent, Published) {
    let (home, agent, repo) = leaky();
    home.write("mine.txt", "mine\n");
    home.run("target add repo mine.txt").done();
    if is_signed {
        home.run("sign repo --yes --no-publish").done();
    }
    others_publish(&repo, [2, 2, 3], |signed| {
        signed["targets"]["theirs.txt"] = signed["targets"]["app.txt"].clone();
    });
    (home, agent, repo)
}

#[test]
fn a_colleagues_release_is_never_taken_back_by_what_was_staged_before_it() {
    for is_signed in [true, false] {
        let (home, _agent, repo) = raced(is_signed);
        let before = home.journalled("sign.intent").len();
        let error = home.refused("sign repo --yes", 3, "WATERMARK");
        assert_eq!(error["details"]["role"], "targets");
        let remedy = error["remedy"].as_str().unwrap();
        assert!(remedy.contains("tufctl bump repo targets --yes"), "{remedy}");
        assert!(remedy.contains("make your own change again"), "{remedy}");
        assert_eq!(home.journalled("sign.intent").len(), before, "nothing is signed before it is refused");
        // What would go is named, and stays until somebody agrees.
        home.write("other.txt", "other\n");
        for command in ["bump repo targets", "target add repo other.txt"] {
            let error = home.refused(command, 3, "CONFIRMATION_MISSING");
            let message = error["message"].as_str().unwrap();
            assert!(message.contains("target mine.txt"), "{message}");
            assert!(home.run("diff repo").done().text().contains("+ target mine.txt"));
        }
        let told = home.run("bump repo targets --yes").done();
        assert!(told.stderr.contains("make again what you had changed: target mine.txt"), "{told}");
        let difference = home.run("diff repo").done();
        assert!(difference.text().contains("nothing but version and expiry"), "{difference}");
        if is_signed {
            // Other content was published under what was signed here: that is looked at first.
            home.refused("sign repo --yes", 3, "WATERMARK");
            home.run("repo adopt repo --name app --root repo/metadata/1.root.json --yes").done();
        }
        home.run("target add repo mine.txt").done();
        home.run("sign repo --yes").done();
        let targets = repo.metadata(&format!("{}.targets.json", repo.version("targets")));
        let listed = targets["signed"]["targets"].as_object().unwrap();
        assert_eq!(listed.keys().collect::<Vec<_>>(), ["app.txt", "mine.txt", "theirs.txt"]);
    }
}

#[test]
fn an_edit_in_place_of_what_was_overtaken_goes_on_from_what_is_published() {
    let (home, _agent, repo) = raced(false);
    home.write("other.txt", "other\n");
    home.run("target add repo other.txt --yes").done();
    home.run("sign repo --yes").done();
    let listed = repo.metadata("3.targets.json")["signed"]["targets"].clone();
    let names: Vec<_> = listed.as_object().unwrap().keys().collect();
    assert_eq!(json!(names), json!(["app.txt", "other.txt", "theirs.txt"]));
}
