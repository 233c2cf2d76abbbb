//! A publication that is killed at any moment: clients see the old repository or the new one, and it is finished
//! or undone by the next command that writes.

use std::fs;
use std::process::{Command, Stdio};

use tufagent_tests::{Home, binary, need};

use crate::crash::{Kind, Story};
use crate::judges::{Judges, Reads};
use crate::strace::Strace;

/// The calls by which files get their names.
const NAMING: &str = "rename,renameat,renameat2,link,linkat";

/// Runs `tufctl sign repo --yes` under strace; how many of the naming calls it made.
fn sign_traced(home: &Home, strace: &Strace, inject: &[&str]) -> usize {
    let trace = home.dir().join("trace-of-tufctl");
    let mut command: Command = strace.command();
    home.environment(&mut command);
    command
        .envs(strace.variables())
        .args(["-f", "-qq", "-o"])
        .arg(&trace)
        .args(["-e", &format!("trace={NAMING}")]);
    command.args(inject).arg(binary("tufctl")).args(["sign", "repo", "--yes", "--quiet"]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap();
    let trace = fs::read_to_string(trace).unwrap();
    trace.lines().filter(|line| NAMING.split(',').any(|call| line.contains(&format!(" {call}(")))).count()
}

fn stage(home: &Home, round: usize) -> String {
    let name = format!("file-{round}.txt");
    home.write(&name, &name);
    home.run(&format!("target add repo {name} --path dir/")).done();
    format!("dir/{name}")
}

#[test]
fn a_publication_that_is_killed_at_any_step_shows_clients_a_whole_repository() {
    let Some(strace) = need(Strace::find()) else { return };
    let (home, _agent) = Home::unlocked();
    let repo = home.published_repository();
    let remembering = Judges::new(&home, "remembering", Reads::All);
    remembering.accept(&repo, &["app.txt"]);
    stage(&home, 0);
    let steps = sign_traced(&home, &strace, &[]);
    assert!(steps >= 4, "only {steps} names were given");
    // A client of our own that remembers; the others come again at the end.
    let client = "verify repo --root repo/metadata/1.root.json --state memory";
    home.run(client).done();
    let mut targets = vec!["app.txt".to_owned()];
    for step in 1..=steps {
        targets.push(stage(&home, step));
        // Each kind of call is counted for itself, so the later ones never come; the earlier ones are all tried.
        let inject = format!("inject={NAMING}:signal=KILL:when={step}");
        sign_traced(&home, &strace, &["-e", &inject]);
        home.run(client).done();
        home.run("repo show repo").done();
        home.run("sign repo --yes").done();
        home.run(client).done();
    }
    let targets: Vec<&str> = targets.iter().map(String::as_str).collect();
    remembering.accept(&repo, &targets);
    assert!(repo.names("staged").iter().all(|name| name == "repository.json"), "{:?}", repo.names("staged"));
}

#[test]
fn every_target_and_each_folder_is_flushed_once_before_the_metadata_that_lists_them() {
    let Some(strace) = need(Strace::find()) else { return };
    let (home, _agent) = Home::unlocked();
    home.published_repository();
    for number in 0..40 {
        home.write(&format!("many/{number}.txt"), number.to_string());
    }
    home.run("target add repo many --path many/").done();
    let trace = home.dir().join("flushes");
    let mut command: Command = strace.command();
    home.environment(&mut command);
    command.envs(strace.variables()).args(["-f", "-y", "-qq", "-o"]).arg(&trace);
    command.args(["-e", &format!("trace=fsync,{NAMING}")]).arg(binary("tufctl"));
    let status = command.args(["sign", "repo", "--yes", "--quiet"]).stdin(Stdio::null()).status().unwrap();
    assert!(status.success());
    let trace = fs::read_to_string(trace).unwrap();
    let begun: Vec<&str> = trace.lines().filter(|line| !line.contains(" resumed>")).collect();
    let flushes = |what: &str| {
        let is = |line: &&&str| line.contains("fsync(") && line.contains(what);
        begun.iter().filter(is).count()
    };
    assert_eq!(flushes("/repo/targets/many/.tufctl.tmp"), 40, "{trace}");
    assert_eq!(flushes("/repo/targets/many>"), 1, "{trace}");
    assert_eq!(flushes("/repo/targets>"), 1, "{trace}");
    // One folder for each second name: HASH.many/NAME.
    assert_eq!(flushes(".many>"), 40, "{trace}");
    let last = begun.iter().rposition(|line| line.contains("fsync(") && line.contains("/repo/targets"));
    let first = begun.iter().position(|line| line.contains("rename") && line.contains("/repo/metadata"));
    assert!(last < first, "{trace}");
}

#[test]
fn without_consistent_snapshots_metadata_and_changed_targets_come_in_one_step_for_every_client() {
    let Some(strace) = need(Strace::find()) else { return };
    let story = Story::begin(Kind::Plain);
    let (home, repo) = (&story.home, &story.repo);
    story.stage(0);
    home.run("sign repo --yes").done();
    let targets = ["app.txt", "a/b/deep.txt"];
    let older = Judges::new(home, "older", Reads::All);
    older.accept(repo, &targets);
    let names = targets.map(|name| repo.dir().join("targets").join(name));
    let lead = |yes: bool| names.iter().all(|name| fs::symlink_metadata(name).unwrap().is_symlink() == yes);
    story.stage(1);
    // The first exchange tries whether the file system can; the second one is that of metadata/.
    sign_traced(home, &strace, &["-e", "inject=renameat2:signal=KILL:when=2"]);
    assert!(lead(true), "it was killed at another step");
    for (name, before) in names.iter().zip(["round 0\n"; 2]) {
        assert_eq!(fs::read_to_string(name).unwrap(), before);
    }
    older.accept(repo, &targets);
    Judges::new(home, "between", Reads::All).accept(repo, &targets);
    // The same step, done: what the names lead to has changed with metadata/.
    let (now, next) = (repo.dir().join("metadata"), repo.dir().join(".metadata.next"));
    let aside = repo.dir().join("aside");
    for (from, to) in [(&now, &aside), (&next, &now), (&aside, &next)] {
        fs::rename(from, to).unwrap();
    }
    for name in &names {
        assert_eq!(fs::read_to_string(name).unwrap(), "round 1\n");
    }
    older.accept(repo, &targets);
    home.run("repo show repo").done();
    assert!(lead(true), "a command that reads changes nothing");
    home.run("sign repo --yes").done();
    assert!(lead(false) && !now.join(".tufctl.targets").exists() && !next.exists());
    older.accept(repo, &targets);
    home.run("verify repo --root repo/metadata/1.root.json").done();
}
