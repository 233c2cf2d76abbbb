//! A repository is adopted whole or not at all: what is refused or cut off leaves nothing registered, and a chain that is
//! known by any of its roots gets no second name.

use std::fs;
use std::process::{Command, Stdio};

use serde_json::Value;
use tufagent_tests::{Agent, Home, Published, binary, need};

use crate::strace::Strace;

/// A home in which a repository with four roots lies, which its agent does not know; with the home that signs for it.
fn stranger() -> (Home, Agent, Home, Agent) {
    let (theirs, their_agent) = Home::unlocked();
    let repo = theirs.published_repository();
    theirs.keys(&["b", "c", "d"]);
    for key in ["b", "c", "d"] {
        theirs.run(&format!("root add-key repo root --key {key}")).done();
        theirs.run("sign repo --yes").done();
    }
    assert_eq!(repo.version("root"), 4);
    let home = Home::new();
    repo.copy_to(&home.path("repo"));
    let agent = home.start();
    (home, agent, theirs, their_agent)
}

/// One bit of the signature of targets is another one.
fn spoil(repo: &Published) -> Vec<u8> {
    let path = repo.dir().join(format!("metadata/{}.targets.json", repo.version("targets")));
    let good = fs::read(&path).unwrap();
    let mut file: Value = serde_json::from_slice(&good).unwrap();
    let sig = file["signatures"][0]["sig"].as_str().unwrap().to_owned();
    let other = if sig.starts_with('0') { "1" } else { "0" };
    file["signatures"][0]["sig"] = format!("{other}{}", &sig[1..]).into();
    fs::write(&path, file.to_string()).unwrap();
    good
}

const ADOPT: &str = "--root repo/metadata/1.root.json --yes";

#[test]
fn a_refused_adoption_registers_nothing_and_keeps_no_name() {
    let (home, agent, _theirs, _their_agent) = stranger();
    let repo = home.published("repo");
    let good = spoil(&repo);
    home.refused(&format!("repo adopt repo --name wrong {ADOPT}"), 6, "VERIFICATION");
    assert!(home.journalled("repository.adopted").is_empty());
    home.refused("bump repo targets", 3, "REPOSITORY_UNKNOWN");
    // The same agent and one that was started anew: nothing of it is left.
    fs::write(repo.dir().join(format!("metadata/{}.targets.json", repo.version("targets"))), good).unwrap();
    assert!(agent.stop().success());
    let _agent = home.start();
    home.run(&format!("repo adopt repo --name right {ADOPT}")).done();
    let adopted = home.journalled("repository.adopted");
    assert_eq!((adopted.len(), &adopted[0]["body"]["repository"]), (1, &"right".into()), "{adopted:?}");
    home.refused(&format!("repo adopt repo --name wrong {ADOPT}"), 3, "REPOSITORY_KNOWN");
}

#[test]
fn a_copy_without_its_first_roots_is_known_again_by_any_root_and_gets_no_second_name() {
    let (theirs, _their_agent) = Home::unlocked();
    let repo = theirs.published_repository();
    theirs.keys(&["b", "c", "d"]);
    for key in ["b", "c", "d"] {
        theirs.run(&format!("root add-key repo root --key {key}")).done();
        theirs.run("sign repo --yes").done();
    }
    let home = Home::new();
    let part = repo.copy_to(&home.path("part"));
    repo.copy_to(&home.path("repo"));
    for old in 1..=3 {
        fs::remove_file(part.dir().join(format!("metadata/{old}.root.json"))).unwrap();
    }
    let _agent = home.start();
    home.run("repo adopt part --name one --root part/metadata/4.root.json --yes").done();
    for more in ["", " --shared-key"] {
        let error = home.refused(&format!("repo adopt repo --name two {ADOPT}{more}"), 3, "REPOSITORY_KNOWN");
        let remedy = error["remedy"].as_str().unwrap();
        assert!(remedy.contains("one") && !remedy.contains("--shared-key"), "{error}");
    }
    assert_eq!(home.journalled("repository.adopted").len(), 1);
    // The refusal leads out, by the first root as by the last.
    home.run(&format!("repo adopt repo --name one {ADOPT}")).done();
    home.run("repo adopt repo --name one --root repo/metadata/4.root.json --yes").done();
    assert_eq!(home.run("repo show repo --json").done().json()["name"], "one");
    home.refused(&format!("repo adopt repo --name two {ADOPT}"), 3, "REPOSITORY_KNOWN");
}

#[test]
fn one_chain_under_two_names_from_copies_without_a_common_root_becomes_one_again_by_a_fuller_copy() {
    let (theirs, _their_agent) = Home::unlocked();
    let repo = theirs.published_repository();
    theirs.keys(&["b", "c", "d"]);
    let home = Home::new();
    for key in ["b", "c", "d"] {
        theirs.run(&format!("root add-key repo root --key {key}")).done();
        theirs.run("sign repo --yes").done();
        if key == "b" {
            repo.copy_to(&home.path("old"));
        }
    }
    repo.copy_to(&home.path("repo"));
    let recent = repo.copy_to(&home.path("recent"));
    for old in 1..=3 {
        fs::remove_file(recent.dir().join(format!("metadata/{old}.root.json"))).unwrap();
    }
    let _agent = home.start();
    home.run("repo adopt old --name old --root old/metadata/1.root.json --yes").done();
    let recent = "repo adopt recent --name recent --root recent/metadata/4.root.json --yes";
    assert_eq!(home.refused(recent, 3, "SHARED_KEY")["details"]["repository"], "old");
    home.run(&format!("{recent} --shared-key")).done();
    // The whole chain: a third name does not get it, and either of the two does.
    home.refused(&format!("repo adopt repo --name third {ADOPT} --shared-key"), 3, "REPOSITORY_KNOWN");
    home.run(&format!("repo adopt repo --name recent {ADOPT}")).done();
    let forgotten = home.journalled("repository.forgotten");
    assert_eq!((forgotten.len(), &forgotten[0]["body"]["repository"]), (1, &"old".into()), "{forgotten:?}");
    for copy in ["repo", "recent"] {
        assert_eq!(home.run(&format!("repo show {copy} --json")).done().json()["name"], "recent");
    }
    home.run("bump repo targets").done();
    home.refused(&format!("repo adopt repo --name old {ADOPT} --shared-key"), 3, "REPOSITORY_KNOWN");
}

/// After an adoption as `wrong` that was cut off: it came to nothing, and the repository is adopted as `right`; or it was
/// done, and goes on as `wrong`. True for the first.
#[track_caller]
fn is_adopted(home: &Home, what: &str) -> bool {
    let adopted = home.run(&format!("repo adopt repo --name right {ADOPT} --json"));
    let name = if adopted.code == 0 {
        "right"
    } else {
        assert_eq!(adopted.json()["error"]["reason"], "REPOSITORY_KNOWN", "{what}: {adopted}");
        home.run(&format!("repo adopt repo --name wrong {ADOPT}")).done();
        "wrong"
    };
    let names: Vec<_> =
        home.journalled("repository.adopted").iter().map(|it| it["body"]["repository"].clone()).collect();
    assert_eq!(names, [name], "{what}");
    assert_eq!(home.run("repo show repo --json").done().json()["name"], name, "{what}");
    name == "right"
}

/// A state as of a new user.
fn anew(home: &Home) -> Agent {
    let _ = fs::remove_dir_all(home.state());
    home.start()
}

#[test]
fn an_adoption_is_whole_or_nothing_whatever_step_the_agent_is_killed_at() {
    let Some(strace) = need(Strace::find()) else { return };
    let (home, agent, _theirs, _their_agent) = stranger();
    assert!(agent.stop().success());
    let (mut nothing, mut done) = (0, 0);
    for call in ["fdatasync", "rename", "pwrite64"] {
        for number in 1.. {
            let agent = anew(&home);
            let inject = format!("inject={call}:signal=KILL:when={number}");
            let (_attached, _) =
                strace.attach(&home, agent.pid(), &["-e", &format!("trace={call}"), "-e", &inject]);
            if home.run(&format!("repo adopt repo --name wrong {ADOPT}")).code == 0 {
                agent.kill();
                break;
            }
            agent.kill();
            let agent = home.start();
            if is_adopted(&home, &format!("killed at {call} {number}")) {
                nothing += 1
            } else {
                done += 1
            }
            assert!(agent.stop().success());
        }
    }
    println!("{nothing} came to nothing, {done} were done");
    assert!(nothing > 3, "{nothing} came to nothing, {done} were done");
}

#[test]
fn an_adoption_is_whole_or_nothing_whatever_step_tufctl_is_killed_at() {
    let Some(strace) = need(Strace::find()) else { return };
    let (home, agent, _theirs, _their_agent) = stranger();
    assert!(agent.stop().success());
    let mut nothing = 0;
    for call in ["connect", "sendto", "write", "writev", "recvfrom"] {
        for number in 1.. {
            let agent = anew(&home);
            let mut command: Command = strace.command();
            home.environment(&mut command);
            command.envs(strace.variables()).args([
                "-f",
                "-qq",
                "-o",
                "/dev/null",
                "-e",
                &format!("trace={call}"),
            ]);
            command.args(["-e", &format!("inject={call}:signal=KILL:when={number}")]).arg(binary("tufctl"));
            command.args(format!("repo adopt repo --name wrong {ADOPT}").split_ascii_whitespace());
            let ended =
                command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap();
            if ended.success() {
                agent.kill();
                break;
            }
            nothing += usize::from(is_adopted(&home, &format!("tufctl killed at {call} {number}")));
            assert!(agent.stop().success());
        }
    }
    assert!(nothing > 3, "{nothing} came to nothing");
}
