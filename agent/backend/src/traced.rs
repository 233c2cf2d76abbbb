//! Whether somebody traces a process, and so would read a PIN along.

use std::io;

/// The process that traces a thread of `process` (an id, or "self"); none when nobody does. Threads are traced one by one
/// (ptrace(2)), and share all memory.
pub(crate) fn tracer(process: &str) -> io::Result<Option<u32>> {
    for thread in std::fs::read_dir(format!("/proc/{process}/task"))? {
        let status = match std::fs::read_to_string(thread?.path().join("status")) {
            Ok(status) => status,
            // It ended meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound || is_gone(&error) => continue,
            Err(error) => return Err(error),
        };
        if let Some(tracer) = parse(&status)? {
            return Ok(Some(tracer));
        }
    }
    Ok(None)
}

/// ESRCH: what reading about a thread gives that ends while it is read.
fn is_gone(error: &io::Error) -> bool {
    error.raw_os_error() == Some(rustix::io::Errno::SRCH.raw_os_error())
}

fn parse(status: &str) -> io::Result<Option<u32>> {
    let told = status.lines().find_map(|line| line.strip_prefix("TracerPid:"));
    let id = told.and_then(|id| id.trim().parse::<u32>().ok());
    let id = id.ok_or_else(|| io::Error::other("its status names no TracerPid"))?;
    Ok(Some(id).filter(|id| *id != 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tracer_is_seen_and_a_status_without_one_is_not_believed() {
        assert_eq!(tracer("self").unwrap(), None);
        assert_eq!(parse("Name:\tx\nTracerPid:\t4711\nUid:\t0\n").unwrap(), Some(4711));
        assert!(parse("Name:\tx\n").is_err());
        assert!(parse("TracerPid:\tmany\n").is_err());
    }
}
