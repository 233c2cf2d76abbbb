//! Whether somebody traces a process, and so would read a PIN along.

use std::io;

/// The process that traces `process` (an id, or "self"); none when nobody does.
pub(crate) fn tracer(process: &str) -> io::Result<Option<u32>> {
    parse(&std::fs::read_to_string(format!("/proc/{process}/status"))?)
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
