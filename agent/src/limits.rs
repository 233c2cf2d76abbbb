//! Every size, count and deadline that a caller meets, in one place (the man page tuf-agent(1) lists them).
//!
//! Duty: what one caller may cost, so that another one still gets its answer. Over a limit a call is refused with the
//! reason `LIMIT`, a connection is closed: it has no other way to be told.

use std::time::Duration;

/// Connections at once; fewer where the process may open few files, see [`connections`].
pub const CONNECTIONS: usize = 256;
/// Of these, the most of one user: the rest is kept for other users.
pub const CONNECTIONS_OF_USER: usize = 192;
/// Of these, the most of one process.
pub const CONNECTIONS_OF_PROCESS: usize = 64;
/// Files that one connection holds open: the socket, a handle to close it by, the handle of the process.
pub const FILES_OF_CONNECTION: usize = 3;
/// Files that everything but connections may need.
pub const FILES_FOR_THE_REST: usize = 160;
/// The limit on open files that the agent gives itself, where the system lets it.
pub const FILES_WANTED: u64 = 4096;

/// A peer must have said its HTTP/2 preface by then.
pub const HANDSHAKE: Duration = Duration::from_secs(10);
/// The preface (24 bytes) and the header of the first frame (9).
pub const HANDSHAKE_BYTES: usize = 33;
/// A connection on which no call was ever made is closed after this.
pub const FIRST_CALL: Duration = Duration::from_secs(30);
/// One without a call under way is closed after this; a person may be typing a passphrase meanwhile.
pub const IDLE: Duration = Duration::from_secs(20 * 60);
/// One that was used and has been idle for less makes no room for another process's.
pub const STILL_USED: Duration = Duration::from_secs(60);
/// An answer of which the client takes nothing for this long closes the connection.
pub const ANSWER: Duration = Duration::from_secs(60);
/// How often connections are looked at for the deadlines above.
pub const SWEEP: Duration = Duration::from_secs(2);
/// A silent connection is asked whether it lives, and given [`KEEPALIVE_ANSWER`] to answer.
pub const KEEPALIVE: Duration = Duration::from_secs(60);
/// See [`KEEPALIVE`].
pub const KEEPALIVE_ANSWER: Duration = Duration::from_secs(20);

/// Calls at once on one connection (HTTP/2 streams). Roles wait for one confirmation, each in a call of its own.
pub const STREAMS: u32 = 256;
/// Calls under way of one process, over all its connections.
pub const CALLS_OF_PROCESS: usize = 384;
/// Calls under way of one user.
pub const CALLS_OF_USER: usize = 768;
/// Calls under way in all.
pub const CALLS: usize = 1024;
/// All headers of one call, bytes, as HTTP/2 counts them (32 more for each).
pub const HEADERS: usize = 16 << 10;
/// Of so many the transport itself wants to know nothing.
pub const HEADERS_READ: u32 = 64 << 10;
/// Streams that a client may open and reset before the connection is closed.
pub const RESETS: usize = 32;
/// Room for what is in flight on one call and on one connection, bytes: as much as is read of one before others have their turn.
pub const WINDOW: u32 = 256 << 10;

/// The largest message, bytes.
pub const MESSAGE: usize = 4 << 20;
/// The largest chunk of a file, bytes.
pub const CHUNK: usize = 1 << 20;
/// The largest file, bytes.
pub const FILE: u64 = 64 << 20;
/// The largest sum of all files of one call, bytes.
pub const CALL_BYTES: u64 = 256 << 20;
/// The most files in one call; a root chain and 65,536 bins fit, with as many other roles: a repository is adopted whole.
pub const FILES: usize = 131_072;
/// What a file costs beside its bytes, and counts for.
pub const OF_FILE: u64 = 512;
/// The longest name of a role that a file's header may have, bytes.
pub const ROLE_NAME: usize = 1024;
/// The most entries of a list in one message: files, digests, lengths; of each file of a call one.
pub const LISTED: usize = FILES;
/// What one answer gives back of what was verified, bytes: who delegates to 16,384 hash bins fits.
pub const RECALLED: u64 = 8 << 20;
/// The same, files.
pub const RECALLED_FILES: usize = 256;
/// The most keys that one call may name.
pub const KEYS_NAMED: usize = 256;
/// The largest sealed key file, bytes (RSA-4096 has about 3500).
pub const KEY_FILE: usize = 64 << 10;
/// The longest sealed PIN or passphrase, bytes.
pub const SECRET: usize = 4 << 10;

/// Bytes of files that all calls under way may hold together; a quarter of the machine's memory where that is less.
pub const BYTES: u64 = 1 << 30;
/// What each call may hold without being counted: small files are never refused because somebody else sends large ones.
pub const BYTES_FREE: u64 = 256 << 10;
/// Work on no more bytes than this is done where it is: it takes less time than another thread takes to wake.
pub const IN_PLACE: u64 = 32 << 10;
/// The same on no more than this, with nobody asked whether others wait.
pub const IN_PLACE_AT_ONCE: u64 = 8 << 10;
/// Beside [`BYTES`]: what was signed or verified and stays read, bytes, for all repositories together. Two versions of a
/// role of 100,000 targets, or a great many small roles; what was not asked for longest goes first.
pub const KEPT: usize = 72 << 20;
/// What was signed or verified and waits to be written to the state folder, bytes; above it is written at once.
pub const BEHIND: usize = 32 << 20;
/// Work on more bytes than this waits for one of the few places for large work.
pub const SMALL_WORK: u64 = 1 << 20;

/// A client that is to send and sends nothing for this long is dropped.
pub const SILENCE: Duration = Duration::from_secs(30);
/// The least that a client must send on average once [`SILENCE`] is over, bytes a second.
pub const RATE: u64 = 64 << 10;
/// One that reads the journal may stop this long; a person may be paging through it.
pub const LISTEN_JOURNAL: Duration = Duration::from_secs(15 * 60);
/// The most people who hold shares of one key: SLIP-0039 has groups of 16.
pub const CUSTODIANS: usize = 256;
/// Collections of shares that are open at once.
pub const COLLECTIONS: usize = 16;
/// Of these, the most of one user.
pub const COLLECTIONS_OF_USER: usize = 8;
/// Of these again, the most that sign nothing: drills, and those for another set.
pub const REHEARSALS_OF_USER: usize = 3;
/// How long a collection waits for shares unless the configuration says otherwise; those that were given are wiped then.
pub const COLLECT: Duration = Duration::from_secs(15 * 60);
/// How long whoever gives the last share waits for what comes of it.
pub const OUTCOME: Duration = Duration::from_secs(8);
/// How long a person may look at what is to be signed.
pub const CONFIRM: Duration = Duration::from_secs(15 * 60);

/// The longest message, remedy or detail of a refusal, characters.
pub const REFUSAL_TEXT: usize = 2000;
/// The longest JSON of a refusal's details, bytes.
pub const REFUSAL_DETAILS: usize = 16 << 10;

/// Connections at once for a process that may open this many files.
#[must_use]
pub fn connections(open_files: Option<u64>) -> usize {
    let files = open_files.and_then(|files| usize::try_from(files).ok()).unwrap_or(usize::MAX);
    (files.saturating_sub(FILES_FOR_THE_REST) / FILES_OF_CONNECTION).clamp(8, CONNECTIONS)
}

/// By when that many bytes must have come from a client that began to send this long ago: true when it is too slow.
#[must_use]
pub fn too_slow(since: Duration, bytes: u64) -> bool {
    since > SILENCE.saturating_add(Duration::from_secs(bytes / RATE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_leave_files_for_everything_else() {
        assert_eq!(connections(None), CONNECTIONS);
        assert_eq!(connections(Some(1024)), CONNECTIONS);
        assert_eq!(connections(Some(256)), 32);
        assert_eq!(connections(Some(0)), 8);
    }

    #[test]
    fn a_byte_a_second_is_too_slow_and_a_modest_line_is_not() {
        assert!(!too_slow(Duration::from_secs(29), 0));
        assert!(too_slow(Duration::from_secs(31), 31));
        assert!(!too_slow(Duration::from_secs(120), 120 * (128 << 10)));
    }
}
