//! State that cannot be written while the agent runs: refused, told by `status` and the health service, and well again by
//! itself once the cause is gone (FAULTS E2, G3, H7).

use std::fs;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use tonic::transport::Endpoint;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tufagent_tests::{Home, need};

use crate::small_disk::SmallDisk;
use crate::strace::Strace;

/// What the health service says of a name.
fn health(home: &Home, service: &str) -> ServingStatus {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let request = HealthCheckRequest { service: service.to_owned() };
    runtime.block_on(async {
        let endpoint = Endpoint::from_shared(format!("unix:{}", home.socket().display())).unwrap();
        let mut client = HealthClient::new(endpoint.connect().await.unwrap());
        client.check(request).await.unwrap().into_inner().status()
    })
}

/// Waits until both say the same; nothing is done to the agent meanwhile.
#[track_caller]
pub(crate) fn becomes(home: &Home, ready: bool) {
    let wanted = if ready { ServingStatus::Serving } else { ServingStatus::NotServing };
    let end = Instant::now() + Duration::from_secs(60);
    loop {
        let status = home.run("status --json");
        let named = ["", "tufagent.v1.Signing"].map(|name| health(home, name));
        if named == [wanted; 2] && (status.code == 0) == ready {
            assert_eq!(status.code, if ready { 0 } else { 7 }, "{status}");
            assert_eq!(status.json()["ready"], ready, "{status}");
            break;
        }
        assert!(Instant::now() < end, "health {named:?}, {status}");
        sleep(Duration::from_millis(100));
    }
    assert_eq!(health(home, "tufagent.v1.Agent"), ServingStatus::Serving, "it is alive all the time");
}

/// Waits until a name serves.
#[track_caller]
fn serves(home: &Home, service: &str) {
    let end = Instant::now() + Duration::from_secs(60);
    while health(home, service) != ServingStatus::Serving {
        assert!(Instant::now() < end, "{service} does not serve");
        sleep(Duration::from_millis(100));
    }
}

/// Nothing is signed, and the refusal says which state it is and what to do.
#[track_caller]
fn signs_nothing(home: &Home) -> String {
    let refused = home.run("sign repo --yes --json");
    let error = refused.refused(1, "STATE_IO");
    let staged = fs::read_to_string(home.path("repo/staged/targets.json")).unwrap();
    assert!(!staged.contains("\"sig\""), "{staged}");
    format!("{}; {}", error["message"].as_str().unwrap(), error["remedy"].as_str().unwrap())
}

#[track_caller]
pub(crate) fn signs(home: &Home) {
    home.run("sign repo --yes").done();
    home.run("verify repo --root repo/metadata/1.root.json").done();
    home.run("audit verify").done();
}

#[test]
fn a_full_disk_is_refused_and_told_and_goes_away_by_itself() {
    let home = Home::new();
    let state = home.state();
    let Some(disk) = need(SmallDisk::mount(state.parent().unwrap(), "1m")) else { return };
    let _agent = home.start_through(disk.agent());
    home.unlock_file_store();
    home.published_repository();
    home.run("bump repo targets").done();
    becomes(&home, true);
    serves(&home, "token/file");
    // What the ledger makes free by itself is taken too.
    for _ in 0..20 {
        disk.fill(&state, 0);
        if home.run("status").code != 0 {
            break;
        }
    }
    signs_nothing(&home);
    becomes(&home, false);
    let keys = disk.shell(&format!("ls -A {}/keys", state.display())).stdout;
    assert_ne!(home.run("key generate more --token file --type ed25519").code, 0);
    assert_eq!(disk.shell(&format!("ls -A {}/keys", state.display())).stdout, keys, "half a key is left");
    disk.empty(&state);
    becomes(&home, true);
    signs(&home);
    home.keys(&["more"]);
}

#[test]
fn state_on_a_read_only_disk_is_refused_at_the_start_by_name() {
    let home = Home::new();
    let at = home.state().parent().unwrap().to_path_buf();
    let Some(disk) = need(SmallDisk::mount(&at, "4m")) else { return };
    let agent = home.start_through(disk.agent());
    home.unlock_file_store();
    home.published_repository();
    home.run("bump repo targets").done();
    assert!(agent.stop().success());
    let remount = |how: &str| {
        let done = disk.shell(&format!("mount -o remount,{how} {}", at.display()));
        assert!(done.status.success(), "{done:?}");
    };
    remount("ro");
    let mut agent = tufagent_tests::Agent::spawn(&home, disk.agent());
    assert!(!agent.wait().success(), "it starts");
    let log = agent.log();
    assert!(log.contains("Read-only") && log.contains("tuf-agent"), "{log}");
    assert!(log.contains("mount that file system for writing"), "it does not say what to do: {log}");
    remount("rw");
    let _agent = home.start_through(disk.agent());
    home.unlock_file_store();
    signs(&home);
}

#[test]
fn a_state_folder_that_turns_read_only_under_open_files_is_told_and_goes_on_by_itself() {
    let home = Home::new();
    let at = home.state().parent().unwrap().to_path_buf();
    let Some(disk) = need(SmallDisk::mount(&at, "16m")) else { return };
    let _agent = home.start_through(disk.agent());
    home.unlock_file_store();
    home.published_repository();
    home.run("bump repo targets").done();
    becomes(&home, true);
    let shell = |command: &str| {
        let done = disk.shell(&command.replace("AT", &at.display().to_string()));
        assert!(done.status.success(), "{done:?}");
    };
    shell("mount --bind AT AT && mount -o remount,bind,ro AT");
    becomes(&home, false);
    let told = home.run("status");
    assert!(told.text().contains("Read-only"), "{told}");
    signs_nothing(&home);
    shell("umount AT");
    becomes(&home, true);
    signs(&home);
}

#[test]
fn a_disk_that_turns_read_only_and_back_is_refused_and_goes_on_by_itself() {
    let Some(strace) = need(Strace::find()) else { return };
    let home = Home::new();
    let (agent, trace) = strace.start(&home, &["-e", "trace=pwrite64"]);
    home.unlock_file_store();
    home.published_repository();
    home.run("bump repo targets").done();
    agent.stop();
    let calls = fs::read_to_string(trace).unwrap().lines().filter(|line| line.contains("pwrite64(")).count();
    let home = Home::new();
    // The ledger's thread makes nearly all of these calls; the last of them come with the signature.
    let fault = format!("inject=pwrite64:error=EROFS:when={}..{}", calls + 20, calls + 26);
    let (_agent, _trace) = strace.start(&home, &["-e", "trace=pwrite64", "-e", &fault]);
    home.unlock_file_store();
    home.published_repository();
    home.run("bump repo targets").done();
    let mut refused = false;
    for _ in 0..200 {
        let tried = ["token lock file", "token unlock file --pin-file passphrase"].map(|it| home.run(it));
        if tried.iter().any(|outcome| outcome.code != 0) {
            refused = true;
            break;
        }
    }
    assert!(refused, "no call met the read-only disk");
    becomes(&home, true);
    home.unlock_file_store();
    signs(&home);
}

/// A home with something to sign, whose agent runs.
pub(crate) fn home_with_work() -> (Home, tufagent_tests::Agent) {
    let (home, agent) = Home::unlocked();
    home.published_repository();
    home.run("bump repo targets").done();
    becomes(&home, true);
    (home, agent)
}

#[test]
fn a_deleted_database_is_refused_saved_and_taken_back_without_a_restart() {
    let (home, _agent) = home_with_work();
    let db = home.state().join("ledger.db");
    fs::remove_file(&db).unwrap();
    let said = signs_nothing(&home);
    assert!(
        said.contains("ledger.db was moved, deleted or replaced") && said.contains("put the newest"),
        "{said}"
    );
    becomes(&home, false);
    assert!(!db.exists(), "it is not made anew");
    fs::rename(home.state().join("ledger.db.saved"), &db).unwrap();
    becomes(&home, true);
    signs(&home);
    let entries =
        home.run("audit list --limit 1000 --json").done().json()["entries"].as_array().unwrap().clone();
    assert!(entries.iter().any(|entry| entry["kind"] == "state.recovered"), "{entries:?}");
}

#[test]
fn a_state_folder_that_is_moved_away_or_deleted_is_refused_and_not_begun_anew() {
    let (home, _agent) = home_with_work();
    let (state, away) = (home.state(), home.dir().join("away"));
    fs::rename(&state, &away).unwrap();
    signs_nothing(&home);
    becomes(&home, false);
    assert!(!state.join("ledger.db").exists(), "it is begun anew");
    let _ = fs::remove_dir_all(&state);
    fs::rename(&away, &state).unwrap();
    becomes(&home, true);
    signs(&home);
    home.run("bump repo targets").done();
    fs::remove_dir_all(&state).unwrap();
    signs_nothing(&home);
    becomes(&home, false);
    assert!(!state.join("ledger.db").exists(), "it is begun anew");
}

/// A file that is deleted while the agent runs: refused, and after a restart nothing is lost.
#[track_caller]
fn survives_a_restart(name: &str) {
    let (home, agent) = home_with_work();
    fs::remove_file(home.state().join(name)).unwrap();
    let said = signs_nothing(&home);
    assert!(said.contains(name) && said.contains("restart the agent"), "{said}");
    becomes(&home, false);
    assert!(agent.stop().success());
    let _agent = home.start();
    home.unlock_file_store();
    signs(&home);
}

#[test]
fn a_deleted_log_of_the_database_is_refused_and_a_restart_has_lost_nothing() {
    survives_a_restart("ledger.db-wal");
}

#[test]
fn a_deleted_head_of_the_journal_is_refused_and_a_restart_has_lost_nothing() {
    survives_a_restart("journal.head");
}

#[test]
fn texts_that_are_deleted_while_the_agent_runs_hinder_nothing() {
    let (home, _agent) = home_with_work();
    for text in fs::read_dir(home.state().join("metadata")).unwrap() {
        fs::remove_file(text.unwrap().path()).unwrap();
    }
    signs(&home);
}

#[test]
fn a_folder_of_texts_that_is_gone_while_the_agent_runs_is_made_anew() {
    use std::os::unix::fs::PermissionsExt;
    let (home, _agent) = home_with_work();
    let texts = home.state().join("metadata");
    fs::rename(&texts, home.path("away")).unwrap();
    signs(&home);
    assert_eq!(fs::metadata(&texts).unwrap().permissions().mode() & 0o777, 0o700);
    becomes(&home, true);
}

#[test]
fn status_names_the_saved_database_where_an_older_one_was_put_in_its_place() {
    let (home, _agent) = home_with_work();
    let (db, saved) = (home.state().join("ledger.db"), home.state().join("ledger.db.saved"));
    let older = fs::read(&db).unwrap();
    fs::remove_file(&db).unwrap();
    becomes(&home, false);
    put(&db, &older);
    let named = format!("mv {} {}", saved.display(), db.display());
    let said = signs_nothing(&home);
    assert!(said.contains(&named), "{said}");
    let status = home.run("status");
    assert!(status.code == 7 && format!("{status}").contains(&named), "{status}");
    fs::rename(&saved, &db).unwrap();
    becomes(&home, true);
    signs(&home);
    assert!(!saved.exists(), "it lies there still");
}

/// Lets the store go and open again: it reads its files anew.
fn reopen(home: &Home) -> tufagent_tests::Outcome {
    home.run("token lock file").done();
    home.run("token unlock file --pin-file passphrase --json")
}

#[test]
fn key_files_that_are_damaged_while_the_agent_runs_are_refused_by_name_until_they_are_put_back() {
    let (home, _agent) = home_with_work();
    let file = home.state().join("keys/online.key");
    let whole = fs::read(&file).unwrap();
    let mut flipped = whole.clone();
    let middle = flipped.len() / 2;
    flipped[middle] ^= 4;
    let newer = String::from_utf8(whole.clone()).unwrap().replacen("\"version\":1", "\"version\":99", 1);
    let damages: [(&str, &[u8]); 5] = [
        ("empty", b""),
        ("zeros", &vec![0; whole.len()]),
        ("cut", &whole[..middle]),
        ("flipped", &flipped),
        ("newer", newer.as_bytes()),
    ];
    for (damage, bytes) in damages {
        put(&file, bytes);
        let said = reopen(&home);
        assert_ne!(said.code, 0, "{damage}: {said}");
        let error = said.json()["error"].clone();
        assert!(error["message"].as_str().unwrap().contains("online.key"), "{damage}: {said}");
        let remedy = error["remedy"].as_str().unwrap();
        assert!(remedy.contains("backup") || remedy.contains("newer"), "{damage}: {said}");
        assert_ne!(home.run("sign repo --yes").code, 0, "{damage}");
        assert_eq!(fs::read(&file).unwrap(), bytes, "{damage}: it was changed");
        put(&file, &whole);
        reopen(&home).done();
    }
    fs::remove_file(&file).unwrap();
    reopen(&home);
    assert_ne!(home.run("sign repo --yes").code, 0, "its key is gone");
    put(&file, &whole);
    reopen(&home).done();
    signs(&home);
}

fn put(file: &Path, bytes: &[u8]) {
    use std::os::unix::fs::PermissionsExt;
    fs::write(file, bytes).unwrap();
    fs::set_permissions(file, fs::Permissions::from_mode(0o600)).unwrap();
}

#[test]
fn a_full_disk_under_a_repository_loses_nothing_and_the_next_sign_goes_on() {
    let (home, _agent) = Home::unlocked();
    let at = home.path("disk");
    fs::create_dir(&at).unwrap();
    let Some(disk) = need(SmallDisk::mount(&at, "2m")) else { return };
    let tufctl = |arguments: &str| {
        let output = disk.tufctl(&home, arguments);
        (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
    };
    let done = |arguments: &str| {
        let (code, said) = tufctl(arguments);
        assert_eq!(code, 0, "{arguments}: {said}");
    };
    home.keys(&["root", "online"]);
    done(
        "repo init disk/repo --name app --root root --root-threshold 1 --targets online --snapshot online --timestamp online",
    );
    let client = "verify disk/repo --root disk/repo/metadata/1.root.json --state memory";
    let mut refusals = 0;
    home.write("big-0.bin", vec![0; 100_000]);
    done("target add disk/repo big-0.bin");
    done("sign disk/repo --yes");
    done(client);
    for (round, left) in [0, 4, 8, 12, 20, 40, 60, 90, 104, 112, 120, 140].into_iter().enumerate() {
        let name = format!("big-{}.bin", round + 1);
        home.write(&name, vec![u8::try_from(round + 1).unwrap(); 100_000]);
        done(&format!("target add disk/repo {name} --path dir/"));
        disk.fill(&at, left);
        let (code, said) = tufctl("sign disk/repo --yes");
        assert!(
            code == 0 || (code == 1 && said.contains("No space left")),
            "{left} KiB left, {code}: {said}"
        );
        refusals += u32::from(code != 0);
        done(client);
        disk.empty(&at);
        done("sign disk/repo --yes");
        done(client);
        // What is old makes room for the next round.
        done(&format!("target remove disk/repo dir/{name}"));
        done("sign disk/repo --yes");
        disk.shell(&format!("rm -r {}/repo/targets/dir {}/repo/targets/*.dir", at.display(), at.display()));
    }
    assert!(refusals > 3, "the disk was never full");
}
