//! Target files: which one is fetched, and what is kept.

use serde_json::json;
use tufagent_tests::web::Answer;

use super::world::World;

const MD5: &str = "098f6bcd4621d373cade4e832627b4f6";
const SHA384: &str =
    "768412320f7b0aa5812fce428dc4706b3cae50e02a64caa16a782249bfe8efc4b7ef1ccb126255d196047dfedf17a0a9";
const SHA512: &str = "ee26b0dd4af7e749aa1a8ee3c10ae9923f618980772e473f8819a5d4940e0db27ac185f8a0e1d5f84f88bc887fd67b143732c304cc5fa9ad8e6f57f50028a8ff";

fn with(files: &[(&str, &str)]) -> World {
    let mut world = World::new();
    for (path, content) in files {
        world.target("targets", path, content);
    }
    world.publish_with(&["targets"]);
    world
}

fn file(name: &str, content: &str) -> (String, String) {
    (name.to_owned(), content.to_owned())
}

#[test]
fn a_target_is_fetched_by_its_digest_and_kept_under_its_encoded_name() {
    let world = with(&[("app.txt", "app"), ("dir/sub/more.txt", "more")]);
    world.download(&["app.txt", "dir/sub/more.txt"]).done();
    assert_eq!(world.downloads(), [file("app.txt", "app"), file("dir%2Fsub%2Fmore.txt", "more")]);
}

#[test]
fn without_consistent_snapshots_nothing_has_a_prefix() {
    let mut world = World::unpublished();
    world.part("root")["consistent_snapshot"] = json!(false);
    world.publish(&["root"]);
    world.target("targets", "dir/app.txt", "app");
    world.publish_with(&["targets"]);
    world.begin().done();
    world.download(&["dir/app.txt"]).done();
    let asked = world.server.take_asked();
    let wanted = ["2.root.json", "timestamp.json", "snapshot.json", "targets.json"]
        .map(|it| format!("/metadata/{it}"));
    assert_eq!(asked, [&wanted[..], &["/targets/dir/app.txt".to_owned()]].concat());
}

#[test]
fn a_target_that_is_there_already_is_not_fetched_again() {
    let world = with(&[("app.txt", "app")]);
    world.download(&["app.txt"]).done();
    world.server.take_asked();
    world.download(&["app.txt", "app.txt"]).done();
    let asked = world.server.take_asked();
    assert!(!asked.iter().any(|path| path.starts_with("/targets/")), "{asked:?}");
}

#[test]
fn a_new_version_of_a_target_takes_the_place_of_the_old_one() {
    let mut world = with(&[("app.txt", "app")]);
    world.download(&["app.txt"]).done();
    world.target("targets", "app.txt", "another app");
    world.publish_with(&["targets"]);
    world.download(&["app.txt"]).done();
    assert_eq!(world.downloads(), [file("app.txt", "another app")]);
}

#[test]
fn a_file_that_is_not_what_is_listed_is_refused_and_leaves_nothing() {
    let address = format!("/targets/{}.app.txt", tuf::digest::Sha256Digest::of(b"app"));
    for answer in [
        Answer::File(b"ap".to_vec()),
        Answer::File(b"bad".to_vec()),
        Answer::File(b"app and more".to_vec()),
        Answer::File(Vec::new()),
        Answer::CutShort(b"app".to_vec()),
        Answer::Endless,
        Answer::Status(404),
        Answer::Status(500),
    ] {
        let world = with(&[("app.txt", "app")]);
        world.server.put(&address, answer.clone());
        world.download(&["app.txt"]).exits(1);
        assert_eq!(world.downloads(), [], "{answer:?}");
    }
}

#[test]
fn a_wrong_file_does_not_replace_the_right_one() {
    let mut world = with(&[("app.txt", "app")]);
    world.download(&["app.txt"]).done();
    world.target("targets", "app.txt", "v2!");
    world.publish_with(&["targets"]);
    let address = format!("/targets/{}.app.txt", tuf::digest::Sha256Digest::of(b"v2!"));
    world.server.put(&address, Answer::File(b"bad".to_vec()));
    world.download(&["app.txt"]).exits(1);
    assert_eq!(world.downloads(), [file("app.txt", "app")]);
}

#[test]
fn every_digest_that_is_known_must_be_right_and_one_is_enough() {
    let sha256 = tuf::digest::Sha256Digest::of(b"test").to_string();
    for (hashes, code) in [
        (json!({"sha512": SHA512}), 0),
        (json!({"sha256": sha256, "sha512": SHA512}), 0),
        (json!({"sha256": sha256, "blake3": "00"}), 0),
        (json!({"sha384": SHA384}), 0),
        (json!({"md5": MD5, "sha384": SHA384}), 0),
        (json!({"sha256": sha256, "sha384": "00"}), 1),
        (json!({"sha256": sha256, "md5": "00"}), 1),
        (json!({"sha384": SHA384, "md5": "00"}), 1),
        (json!({"md5": MD5}), 1),
        (json!({"sha256": sha256, "sha512": "00".repeat(64)}), 1),
        (json!({"blake3": "00"}), 1),
    ] {
        let mut world = World::new();
        world.part("targets")["targets"]["t.txt"] = json!({"length": 4, "hashes": hashes});
        for digest in [&sha256, SHA512, SHA384, MD5, &"00".repeat(64), "00"] {
            world.server.put(&format!("/targets/{digest}.t.txt"), Answer::File(b"test".to_vec()));
        }
        world.publish_with(&["targets"]);
        let done = world.download(&["t.txt"]);
        assert_eq!((done.code, world.downloads().len()), (code, usize::from(code == 0)), "{hashes}: {done}");
    }
}

#[test]
fn targets_are_fetched_in_order_up_to_the_first_that_fails() {
    let world = with(&[("a", "1"), ("b", "2"), ("c", "3")]);
    let second = format!("/targets/{}.b", tuf::digest::Sha256Digest::of(b"2"));
    world.server.put(&second, Answer::Status(404));
    world.download(&["a", "b", "c"]).exits(1);
    assert_eq!(world.downloads(), [file("a", "1")]);
}

#[test]
fn an_empty_target_is_a_target() {
    let world = with(&[("empty", "")]);
    world.download(&["empty"]).done();
    assert_eq!(world.downloads(), [file("empty", "")]);
}
