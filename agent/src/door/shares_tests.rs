use std::io::Read as _;
use std::os::unix::net::UnixStream;

use super::*;

fn peer(uid: u32, pid: i32) -> Peer {
    Peer { uid, gid: uid, pid: Some(pid), exe: None }
}

/// A place and the caller's end of its socket.
fn connect(shares: &Arc<Shares>, peer: &Peer) -> Option<(Place, UnixStream)> {
    let (ours, theirs) = UnixStream::pair().unwrap();
    theirs.set_nonblocking(true).unwrap();
    Some((shares.take(peer, ours.into())?, theirs))
}

fn is_closed(stream: &UnixStream) -> bool {
    matches!((&*stream).read(&mut [0]), Ok(0))
}

const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn a_process_that_floods_closes_its_own_idle_connections_and_no_other() {
    let shares = Shares::new(256, 0);
    let quiet = connect(&shares, &peer(1, 1)).unwrap();
    let flood: Vec<_> = (0..1000).map(|_| connect(&shares, &peer(1, 2)).unwrap()).collect();
    assert!(!is_closed(&quiet.1));
    let open = flood.iter().filter(|(_, stream)| !is_closed(stream)).count();
    assert_eq!(open, limits::CONNECTIONS_OF_PROCESS);
    assert!(!is_closed(&flood.last().unwrap().1), "the newest is served");
}

#[test]
fn a_connection_with_a_call_under_way_is_never_closed_for_another_one() {
    let shares = Shares::new(256, 0);
    let busy: Vec<_> = (0..limits::CONNECTIONS_OF_PROCESS)
        .map(|_| {
            let (place, stream) = connect(&shares, &peer(1, 2)).unwrap();
            let call = place.begin_call(PATIENCE).unwrap();
            (place, stream, call)
        })
        .collect();
    assert!(connect(&shares, &peer(1, 2)).is_none(), "there is no room");
    assert!(busy.iter().all(|(_, stream, _)| !is_closed(stream)));
    assert!(connect(&shares, &peer(1, 3)).is_some(), "another process has room");
}

#[test]
fn many_processes_of_one_user_leave_room_for_another_user() {
    let shares = Shares::new(256, 0);
    let flood: Vec<_> = (0..2000).filter_map(|n| connect(&shares, &peer(1, n / 40))).collect();
    let open = flood.iter().filter(|(_, stream)| !is_closed(stream)).count();
    assert_eq!(open, limits::CONNECTIONS_OF_USER);
    let others: Vec<_> = (0..40).map(|_| connect(&shares, &peer(2, 9)).unwrap()).collect();
    assert!(others.iter().all(|(_, stream)| !is_closed(stream)));
}

#[test]
fn a_connection_that_was_just_used_outlives_a_flood_of_single_connections() {
    let shares = Shares::new(256, 0);
    let used = connect(&shares, &peer(1, 100_000)).unwrap();
    drop(used.0.begin_call(PATIENCE).unwrap());
    let _flood: Vec<_> = (0..1000).filter_map(|pid| connect(&shares, &peer(1, pid))).collect();
    assert!(!is_closed(&used.1));
}

#[test]
fn calls_over_a_share_are_refused_and_ended_ones_make_room() {
    let shares = Shares::new(256, 0);
    let (one, _a) = connect(&shares, &peer(1, 1)).unwrap();
    let (two, _b) = connect(&shares, &peer(1, 1)).unwrap();
    let (other, _c) = connect(&shares, &peer(2, 2)).unwrap();
    let mut calls: Vec<_> =
        (0..limits::CALLS_OF_PROCESS).map(|_| one.begin_call(PATIENCE).unwrap()).collect();
    assert_eq!(two.begin_call(PATIENCE).unwrap_err().reason, Reason::Limit);
    assert!(other.begin_call(PATIENCE).is_ok());
    calls.pop();
    assert!(two.begin_call(PATIENCE).is_ok());
    drop(calls);
    assert!(shares.book().calls.is_empty(), "nothing is left in the book");
}

#[test]
fn bytes_are_shared_by_halves_and_small_files_are_free() {
    let shares = Shares::new(256, 64 << 20);
    let (hog, _a) = connect(&shares, &peer(1, 1)).unwrap();
    let (next, _b) = connect(&shares, &peer(1, 2)).unwrap();
    let (other, _c) = connect(&shares, &peer(2, 3)).unwrap();
    let (third, _d) = connect(&shares, &peer(3, 4)).unwrap();
    let mut held = hog.bytes();
    held.grow(32 << 20).unwrap();
    assert_eq!(held.grow(1 << 20).unwrap_err().reason, Reason::Limit);
    // Two programs of one user leave room for another user.
    let mut beside = next.bytes();
    beside.grow(16 << 20).unwrap();
    assert_eq!(beside.grow(1 << 20).unwrap_err().reason, Reason::Limit);
    let mut more = other.bytes();
    more.grow(16 << 20).unwrap();
    let mut large = third.bytes();
    assert_eq!(large.grow(2 << 20).unwrap_err().reason, Reason::Limit, "all is taken");
    assert!(third.bytes().grow(limits::BYTES_FREE).is_ok(), "a small file is not refused");
    drop((held, beside, more));
    assert!(third.bytes().grow(2 << 20).is_ok());
    drop(large);
    assert!(shares.book().bytes.is_empty(), "nothing is left in the book");
}

#[test]
fn connections_past_their_deadlines_are_overdue_and_others_are_not() {
    let shares = Shares::new(256, 0);
    let (place, _a) = connect(&shares, &peer(1, 1)).unwrap();
    let overdue = |after: Duration| shares.book().seats.values().any(|seat| seat.is_overdue(after));
    assert!(!overdue(limits::FIRST_CALL));
    assert!(overdue(limits::FIRST_CALL + Duration::from_secs(2)), "no call was ever made");
    let call = place.begin_call(PATIENCE).unwrap();
    assert!(!overdue(limits::IDLE * 2), "a call is at work");
    call.offers();
    assert!(!overdue(PATIENCE));
    assert!(overdue(PATIENCE + Duration::from_secs(2)), "its answer is not taken");
    call.waits();
    assert!(!overdue(limits::IDLE * 2));
    drop(call);
    assert!(!overdue(limits::IDLE));
    assert!(overdue(limits::IDLE + Duration::from_secs(2)));
}
