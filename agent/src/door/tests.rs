use super::*;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixStream;

fn mode(path: &Path) -> u32 {
    std::fs::symlink_metadata(path).unwrap().mode() & 0o7777
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

#[test]
fn the_socket_is_0600_in_a_0700_folder_and_gone_at_the_end() {
    let base = folder();
    let path = base.path().join("run").join("agent.sock");
    let door = Door::open(&path, None, None).unwrap();
    assert_eq!(mode(&path), 0o600);
    assert_eq!(mode(path.parent().unwrap()), 0o700);
    drop(door);
    assert!(!path.exists());
}

#[test]
fn a_group_gets_0660_in_0750() {
    let base = folder();
    let path = base.path().join("run").join("agent.sock");
    let gid = rustix::process::getegid().as_raw();
    let _door = Door::open(&path, None, Some(gid)).unwrap();
    assert_eq!(mode(&path), 0o660);
    assert_eq!(mode(path.parent().unwrap()), 0o750);
}

#[test]
fn a_symbolic_link_is_refused_as_socket_and_as_folder() {
    let base = folder();
    let real = base.path().join("real");
    own_folder(&real, None).unwrap();
    symlink("/nowhere", real.join("agent.sock")).unwrap();
    let error = Door::open(&real.join("agent.sock"), None, None).unwrap_err();
    assert!(error.to_string().contains("symbolic link"), "{error}");
    symlink(&real, base.path().join("link")).unwrap();
    let error = Door::open(&base.path().join("link").join("x.sock"), None, None).unwrap_err();
    assert!(error.to_string().contains("symbolic link"), "{error}");
}

#[test]
fn a_folder_that_others_may_enter_is_refused() {
    let base = folder();
    let wide = base.path().join("wide");
    own_folder(&wide, None).unwrap();
    std::fs::set_permissions(&wide, std::fs::Permissions::from_mode(0o755)).unwrap();
    let error = Door::open(&wide.join("agent.sock"), None, None).unwrap_err();
    assert!(error.to_string().contains("0755"), "{error}");
    assert_eq!(mode(&wide), 0o755, "nothing was changed");
}

#[test]
fn a_foreign_folder_is_refused() {
    let error = Door::open(Path::new("/proc/agent.sock"), None, None).unwrap_err();
    assert!(matches!(error, DoorError::Unsafe { .. }), "{error}");
}

#[test]
fn a_file_that_is_no_socket_is_refused_and_left_alone() {
    let base = folder();
    let run = base.path().join("run");
    own_folder(&run, None).unwrap();
    let path = run.join("agent.sock");
    std::fs::write(&path, "precious").unwrap();
    assert!(Door::open(&path, None, None).is_err());
    assert_eq!(std::fs::read(&path).unwrap(), b"precious");
}

#[test]
fn a_live_socket_is_never_replaced_and_a_stale_one_is() {
    let base = folder();
    let run = base.path().join("run");
    own_folder(&run, None).unwrap();
    let path = run.join("agent.sock");
    let live = UnixListener::bind(&path).unwrap();
    let error = Door::open(&path, None, None).unwrap_err();
    assert!(matches!(error, DoorError::InUse { .. }), "{error}");
    assert!(UnixStream::connect(&path).is_ok(), "the live one still answers");
    drop(live);
    assert!(path.exists());
    let _door = Door::open(&path, None, None).unwrap();
    assert!(UnixStream::connect(&path).is_ok());
}

#[test]
fn one_agent_holds_a_state_folder() {
    let base = folder();
    let state = base.path().join("state").join("tuf-agent");
    let _lock = lock_state(&state).unwrap();
    assert!(matches!(lock_state(&state).unwrap_err(), DoorError::InUse { .. }));
    assert_eq!(mode(&state), 0o700);
}

#[test]
fn a_passed_socket_is_judged_as_our_own() {
    let base = folder();
    let run = base.path().join("run");
    own_folder(&run, None).unwrap();
    let path = run.join("agent.sock");
    let listener = UnixListener::bind(&path).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o666)).unwrap();
    let error = Door::open(&path, Some(listener.try_clone().unwrap()), None).unwrap_err();
    assert!(error.to_string().contains("0666"), "{error}");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    drop(Door::open(&path, Some(listener), None).unwrap());
    assert!(path.exists(), "a socket that was passed is not ours to remove");
}
