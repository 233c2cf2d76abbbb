//! What a process does at its start so that others cannot read its memory.

use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};
use rustix::thread::set_no_new_privs;

/// A protection that the system refused.
#[derive(Debug, thiserror::Error)]
#[error("the process could not be protected: {what}: {source}")]
#[non_exhaustive]
pub struct HardenError {
    /// Which protection.
    pub what: &'static str,
    /// What the system said.
    pub source: std::io::Error,
}

/// Makes the process not dumpable (so that nobody of the same user can attach to it or read its
/// memory), sets its core limit to 0 and forbids new privileges. To be called before threads
/// begin and before any secret is read. Programs that it runs afterwards still start, without the
/// privileges of set-user-id files; they are dumpable again until they call this themselves. Descriptors that this
/// process was started with (a PIN among them, perhaps) are not handed on to them, but for the standard ones.
///
/// # Errors
/// The first protection that the system refused; the caller stops.
pub fn harden_process() -> Result<(), HardenError> {
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    setrlimit(Resource::Core, none).map_err(|e| refused("core limit of 0", e))?;
    set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(|e| refused("not dumpable", e))?;
    set_no_new_privs(true).map_err(|e| refused("no new privileges", e))?;
    crate::fds::close_on_exec().map_err(|e| HardenError { what: "open descriptors", source: e })
}

fn refused(what: &'static str, source: rustix::io::Errno) -> HardenError {
    HardenError { what, source: source.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_descriptor_that_was_inherited_is_not_handed_on() {
        use rustix::io::{FdFlags, fcntl_getfd};
        let (inherited, _other) = rustix::pipe::pipe().unwrap();
        assert!(!fcntl_getfd(&inherited).unwrap().contains(FdFlags::CLOEXEC));
        harden_process().unwrap();
        assert!(fcntl_getfd(&inherited).unwrap().contains(FdFlags::CLOEXEC));
    }

    #[test]
    fn a_hardened_process_says_so_in_proc() {
        harden_process().unwrap();
        assert_eq!(rustix::process::dumpable_behavior().unwrap(), DumpableBehavior::NotDumpable);
        assert_eq!(rustix::process::getrlimit(Resource::Core).current, Some(0));
        assert!(rustix::thread::no_new_privs().unwrap());
    }
}
