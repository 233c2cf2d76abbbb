//! A publication that is killed at each step in turn, in order or where whole folders are swapped: before every single call
//! by which a file or folder gets or loses its name.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use tufagent_tests::{Home, binary, need};

use crate::crash::{Kind, Story};
use crate::strace::Strace;

const NAMING: [&str; 12] = [
    "rename",
    "renameat",
    "renameat2",
    "link",
    "linkat",
    "symlink",
    "symlinkat",
    "unlink",
    "unlinkat",
    "mkdir",
    "mkdirat",
    "rmdir",
];

/// `tufctl sign` under strace, with one more fault; its trace.
fn sign_traced(story: &Story, strace: &Strace, fault: Option<&str>) -> String {
    let trace = story.home.dir().join("trace-of-tufctl");
    let mut command: Command = strace.command();
    story.home.environment(&mut command);
    command.envs(strace.variables()).args(["-f", "-qq", "-o"]).arg(&trace);
    command.args(["-e", &format!("trace={}", NAMING.join(","))]);
    if let Some(fault) = fault {
        command.args(["-e", &format!("inject={fault}")]);
    }
    command.arg(binary("tufctl")).args(["sign", "repo", "--yes", "--quiet"]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap();
    read(&trace)
}

fn read(trace: &Path) -> String {
    fs::read_to_string(trace).unwrap_or_default()
}

/// How often each call is made between the begin of the publication and its end.
fn steps(trace: &str) -> Vec<(&'static str, usize, usize)> {
    let lines: Vec<&str> = trace.lines().collect();
    let begin = lines.iter().position(|line| line.contains(".publishing")).expect("a publication");
    let count = |part: &[&str], call: &str| {
        let begins = format!(" {call}(");
        part.iter().filter(|line| line.contains(&begins)).count()
    };
    let of = |call: &'static str| (call, count(&lines[..begin], call), count(&lines, call));
    NAMING.into_iter().map(of).filter(|(_, before, all)| before < all).collect()
}

fn kill_at_each_step(kind: Kind) {
    let Some(strace) = need(Strace::find()) else { return };
    let mut story = Story::begin(kind);
    // Twice: the first time other folders are made, and other parts of metadata are signed.
    for round in 0..2 {
        story.stage(round);
        sign_traced(&story, &strace, None);
        story.judge("not killed");
    }
    story.stage(2);
    let steps = steps(&sign_traced(&story, &strace, None));
    println!("{kind:?}: {steps:?}");
    let mut round = 3;
    for (call, before, all) in steps {
        for step in before + 1..=all {
            let what = format!("{kind:?}, killed at {call} {step} of {all}");
            story.stage(round);
            sign_traced(&story, &strace, Some(&format!("{call}:signal=KILL:when={step}")));
            story.judge(&what);
            if fs::read_dir(story.home.path("repo/staged")).is_ok_and(|mut left| left.next().is_some()) {
                story.go_on(&what);
            }
            round += 1;
        }
    }
    story.end();
}

#[test]
fn a_swap_for_new_online_keys_is_whole_whatever_step_it_is_killed_at() {
    kill_at_each_step(Kind::Keys);
}

#[test]
fn a_swap_without_consistent_snapshots_is_whole_whatever_step_it_is_killed_at() {
    kill_at_each_step(Kind::Plain);
}

#[test]
fn a_publication_in_order_is_whole_whatever_step_it_is_killed_at() {
    kill_at_each_step(Kind::Consistent);
}

#[test]
fn a_publication_in_order_of_nested_delegations_is_whole_whatever_step_it_is_killed_at() {
    kill_at_each_step(Kind::Delegations);
}

/// Makes the file system say that it cannot swap two folders; what follows must be whole after a kill as well.
#[test]
fn where_folders_cannot_be_swapped_at_once_it_is_said_first_and_a_kill_between_is_mended() {
    let Some(strace) = need(Strace::find()) else { return };
    let mut story = Story::begin(Kind::Keys);
    let mut command: Command = strace.command();
    story.home.environment(&mut command);
    story.stage(0);
    command.envs(strace.variables()).args(["-f", "-qq", "-o", "/dev/null"]);
    command.args(["-e", "trace=renameat2", "-e", "inject=renameat2:error=EINVAL"]);
    command.arg(binary("tufctl")).args(["sign", "repo", "--yes"]);
    let said = command.stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8(said.stderr).unwrap();
    assert!(said.contains("cannot swap metadata/ at once"), "{said}");
    story.judge("in two steps");
    // As a kill between the two steps leaves it.
    let dir = story.repo.dir().to_owned();
    fs::rename(dir.join("metadata"), dir.join(".metadata.next")).unwrap();
    fs::create_dir(dir.join(".metadata.next.old")).unwrap();
    let shown = story.home.run("repo show repo").done();
    assert!(shown.text().contains("cut off"), "{shown}");
    assert!(dir.join(".metadata.next").exists(), "a command that reads changes nothing");
    story.stage(1);
    story.go_on("after a swap in two steps");
    story.end();
}

/// File systems of a network know no rename that takes no other file's place.
#[test]
fn a_backup_is_written_where_a_rename_takes_no_flags_and_takes_no_other_files_place_there() {
    let Some(strace) = need(Strace::find()) else { return };
    let (home, _agent) = Home::unlocked();
    home.secret("sealing", "a passphrase for the backup");
    for (links, to) in [(true, "one.backup"), (false, "two.backup")] {
        let run = || {
            let mut command: Command = strace.command();
            home.environment(&mut command);
            command.envs(strace.variables()).args([
                "-f",
                "-qq",
                "-o",
                "/dev/null",
                "-e",
                "trace=renameat2,link,linkat",
            ]);
            command.args(["-e", "inject=renameat2:error=EINVAL"]);
            if !links {
                command.args(["-e", "inject=link,linkat:error=EPERM"]);
            }
            command.arg(binary("tufctl")).args(["backup", to, "--passphrase-file", "sealing"]);
            command.stdin(Stdio::null()).output().unwrap()
        };
        let done = run();
        assert!(done.status.success(), "{to}: {}", String::from_utf8_lossy(&done.stderr));
        let written = fs::read(home.path(to)).unwrap();
        assert_eq!(run().status.code(), Some(2), "{to} is there");
        assert_eq!(fs::read(home.path(to)).unwrap(), written);
    }
    assert_eq!(
        fs::read_dir(home.path("."))
            .unwrap()
            .filter(|it| it.as_ref().unwrap().file_name().to_string_lossy().starts_with('.'))
            .count(),
        0
    );
}

/// Runs `command`, killed before its call of this number; true where it makes no more of them and ends well.
fn done_though_killed(home: &Home, strace: &Strace, command: &str, (call, number): (&str, usize)) -> bool {
    let mut killed = strace.command();
    home.environment(&mut killed);
    killed.envs(strace.variables()).args(["-f", "-qq", "-o", "/dev/null", "-e", &format!("trace={call}")]);
    killed.args(["-e", &format!("inject={call}:signal=KILL:when={number}")]).arg(binary("tufctl"));
    killed.args(command.split_ascii_whitespace()).stdin(Stdio::null());
    killed.stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap().success()
}

/// Kills `command` before each call by which it gives or takes names, and gives it again: it must be done then, or have
/// been done already; `whole` looks at what is staged after each; in the end it must be signed and published.
#[track_caller]
fn can_be_given_again(command: &str, done_already: &str, whole: &dyn Fn(&Path) -> bool) {
    let Some(strace) = need(Strace::find()) else { return };
    let mut step = 1;
    let story = Story::begin(Kind::Consistent);
    let home = &story.home;
    let base = story.repo.copy_to(&home.path("base"));
    for call in ["rename", "unlink"] {
        for number in 1.. {
            let _ = fs::remove_dir_all(home.path("repo"));
            base.copy_to(&home.path("repo"));
            if done_though_killed(home, &strace, command, (call, number)) {
                break;
            }
            step += 1;
            home.run("repo show repo").done();
            let again = home.run(command);
            let what = format!("{command}, killed at {call} {number}: {again}");
            assert!(
                again.code == 0 || (!done_already.is_empty() && again.text().contains(done_already)),
                "{what}"
            );
            home.run("diff repo").done();
            assert!(whole(&home.path("repo/staged")), "half of it is staged after {what}");
        }
    }
    assert!(step > 4, "only {step} steps");
    home.run("sign repo --yes").done();
    home.run("verify repo --root repo/metadata/1.root.json").done();
}

#[test]
fn a_delegation_that_is_added_while_killed_at_any_step_can_be_added_again() {
    // Once the parent is written, all of it is.
    let command = "delegation add repo docs --key outer --threshold 1 --paths docs/* --yes";
    can_be_given_again(command, "docs is delegated to already", &|staged| staged.join("docs.json").exists());
}

#[test]
fn bins_that_are_added_while_killed_at_any_step_can_be_added_again() {
    let command = "delegation add repo bin --key outer --threshold 1 --succinct-bins 4 --yes";
    can_be_given_again(command, "bin is delegated to already", &|staged| staged.join("bin-3.json").exists());
}

#[test]
fn a_key_of_targets_that_is_replaced_while_killed_at_any_step_can_be_replaced_again() {
    // The root comes last: once it is there, the targets that it asks for are.
    let command = "root replace-key repo targets --old online --new outer --yes";
    let whole = |staged: &Path| ["root.json", "targets.json"].iter().all(|name| staged.join(name).exists());
    can_be_given_again(command, "online is no key of targets", &whole);
}

#[test]
fn a_repository_that_is_begun_while_killed_at_any_step_can_be_begun_again() {
    let Some(strace) = need(Strace::find()) else { return };
    let story = Story::begin(Kind::Consistent);
    let home = &story.home;
    let command = "repo init new --name new --root root --root-threshold 1 --targets online --snapshot online \
                   --timestamp online --shared-key";
    for call in ["rename", "unlink"] {
        for number in 1..=12 {
            let _ = fs::remove_dir_all(home.path("new"));
            if done_though_killed(home, &strace, command, (call, number)) {
                break;
            }
            let again = home.run(command);
            // Killed after the last of it was written: then it is there.
            let whole = again.text().contains("is not empty") && home.run("diff new").code == 0;
            assert!(again.code == 0 || whole, "killed at {call} {number}: {again}");
        }
    }
    home.run("diff new").done();
}
