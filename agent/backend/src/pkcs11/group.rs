//! The processes of a helper: itself, and what its module has forked.
//!
//! Such a child has a copy of all that the helper knew, its connections to the agent among it. Invariants: it ends with the
//! helper, whatever ended that; a signal goes to the group only while its leader, though dead, was not waited for, as its
//! number is nobody else's until then.

use std::process::Child;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};

/// The group that a helper leads.
#[derive(Debug)]
pub(super) struct Group {
    leader: Option<Pid>,
    /// The leader was waited for, or is about to be: the number may be another's.
    waited: Mutex<bool>,
}

impl Group {
    /// Of a process that was started as the leader of a group of its own.
    pub(super) fn of(leader: &Child) -> Self {
        let leader = i32::try_from(leader.id()).ok().and_then(Pid::from_raw);
        Self { leader, waited: Mutex::new(false) }
    }

    /// Ends all of it.
    pub(super) fn end(&self) {
        let waited = self.waited();
        if !*waited {
            self.kill();
        }
    }

    /// Whether the leader has ended. What it has left is ended then, and it may be waited for.
    pub(super) fn has_ended(&self) -> bool {
        let mut waited = self.waited();
        if !*waited && !self.leader_ended(WaitIdOptions::NOHANG) {
            return false;
        }
        if !std::mem::replace(&mut *waited, true) {
            self.kill();
        }
        true
    }

    /// Returns when the leader has ended, and ends what it has left.
    pub(super) fn end_with_leader(&self) {
        while !self.leader_ended(WaitIdOptions::empty()) {}
        self.end();
    }

    /// The leader is left to be waited for.
    fn leader_ended(&self, more: WaitIdOptions) -> bool {
        let Some(leader) = self.leader else { return true };
        let how = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT | more;
        match waitid(WaitId::Pid(leader), how) {
            Ok(ended) => ended.is_some(),
            Err(rustix::io::Errno::INTR) => false,
            // Somebody has waited for it.
            Err(_) => true,
        }
    }

    fn kill(&self) {
        if let Some(leader) = self.leader {
            let _ = kill_process_group(leader, Signal::KILL);
        }
    }

    fn waited(&self) -> MutexGuard<'_, bool> {
        self.waited.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
