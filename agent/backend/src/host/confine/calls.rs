//! System calls that a module has no need of, refused by a filter of seccomp(2): what landlock does not know, and the
//! ways around it.
//!
//! Refused means EPERM, which modules take for an answer: SQLite and NSS go on when they may not change the mode of a file.
//! A call of another architecture ends the process. What kernels learn after this was written is answered as by a kernel
//! that does not know it, ENOSYS; so is clone3, whose flags no filter sees: threads are then made by clone.

use super::reach::Reach;

/// Why no filter is in force.
pub(super) type Open = String;

/// Filters the calls of this thread and those that it starts, for the rest of their lives.
pub(super) fn refuse(reach: &Reach) -> Result<(), Open> {
    refuse_for(reach.files.is_some(), reach.network)
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
pub(super) fn refuse_for(_files: bool, _network: bool) -> Result<(), Open> {
    Err(format!("on {} system calls are not filtered", std::env::consts::ARCH))
}

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
pub(super) use filter::refuse_for;

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
mod filter {
    use std::collections::BTreeMap;

    use libc as c;
    use seccompiler::{
        BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
        SeccompRule, apply_filter, sock_filter,
    };

    use super::Open;

    /// `files`: what the module may touch of them is limited; `network`: it may use all sockets.
    pub(in super::super) fn refuse_for(files: bool, network: bool) -> Result<(), Open> {
        let failed = |error: &dyn std::fmt::Display| format!("system calls are not filtered: {error}");
        let refused = program(files, network).map_err(|error| failed(&error))?;
        apply_filter(&unknown()).and_then(|()| apply_filter(&refused)).map_err(|error| failed(&error))
    }

    fn program(files: bool, network: bool) -> Result<BpfProgram, seccompiler::BackendError> {
        let mut rules: BTreeMap<i64, Vec<SeccompRule>> = always(AROUND.iter().chain(&NATIVE_AROUND));
        for flag in NAMESPACES {
            let flag = u64::from(flag.unsigned_abs());
            rules.entry(c::SYS_clone).or_default().push(when(&[(0, SeccompCmpOp::MaskedEq(flag), flag)])?);
        }
        if files {
            rules.extend(always(CHANGES.iter().chain(&NATIVE_CHANGES)));
            rules.extend(others()?);
        }
        if !network {
            for call in [c::SYS_socket, c::SYS_socketpair] {
                rules.insert(call, vec![when(&[(0, SeccompCmpOp::Ne, number(c::AF_UNIX))])?]);
            }
        }
        let refused = SeccompAction::Errno(c::EPERM.unsigned_abs());
        let arch = std::env::consts::ARCH.try_into()?;
        SeccompFilter::new(rules, SeccompAction::Allow, refused, arch)?.try_into()
    }

    fn always<'a>(calls: impl Iterator<Item = &'a i64>) -> BTreeMap<i64, Vec<SeccompRule>> {
        calls.map(|call| (*call, Vec::new())).collect()
    }

    /// What is done to a process, for any but this one: signals, limits, priorities.
    fn others() -> Result<BTreeMap<i64, Vec<SeccompRule>>, seccompiler::BackendError> {
        let own = u64::from(std::process::id());
        let mut rules = BTreeMap::new();
        for call in [c::SYS_tgkill, c::SYS_rt_sigqueueinfo, c::SYS_rt_tgsigqueueinfo] {
            rules.insert(call, vec![when(&[(0, SeccompCmpOp::Ne, own)])?]);
        }
        // 0 is the group of this process, which it leads, and cannot leave for another.
        rules.insert(c::SYS_kill, vec![when(&[(0, SeccompCmpOp::Ne, own), (0, SeccompCmpOp::Ne, 0)])?]);
        for call in [
            c::SYS_prlimit64,
            c::SYS_sched_setaffinity,
            c::SYS_sched_setscheduler,
            c::SYS_sched_setparam,
            c::SYS_sched_setattr,
        ] {
            rules.insert(call, vec![when(&[(0, SeccompCmpOp::Ne, 0), (0, SeccompCmpOp::Ne, own)])?]);
        }
        for (call, process) in [(c::SYS_setpriority, PRIO_PROCESS), (c::SYS_ioprio_set, IOPRIO_WHO_PROCESS)] {
            let group = when(&[(0, SeccompCmpOp::Ne, process)])?;
            rules.insert(call, vec![group, when(&[(1, SeccompCmpOp::Ne, 0), (1, SeccompCmpOp::Ne, own)])?]);
        }
        Ok(rules)
    }

    /// All of the conditions hold: which argument, how it compares, to what. All are numbers of 32 bits.
    fn when(conditions: &[(u8, SeccompCmpOp, u64)]) -> Result<SeccompRule, seccompiler::BackendError> {
        let conditions = conditions.iter().map(|(argument, how, value)| {
            SeccompCondition::new(*argument, SeccompCmpArgLen::Dword, how.clone(), *value)
        });
        SeccompRule::new(conditions.collect::<Result<_, _>>()?)
    }

    fn number(of: c::c_int) -> u64 {
        u64::from(of.unsigned_abs())
    }

    /// ENOSYS to clone3 and to numbers past the last that is known here, those of the x32 calls of x86-64 among them. The
    /// filter of the others looks at the architecture.
    fn unknown() -> BpfProgram {
        let told = c::SECCOMP_RET_ERRNO | c::ENOSYS.unsigned_abs();
        let step =
            |code: u32, jt: u8, jf: u8, k: u32| sock_filter { code: code.try_into().unwrap_or(0), jt, jf, k };
        vec![
            // The number of the call is what its description begins with.
            step(c::BPF_LD | c::BPF_W | c::BPF_ABS, 0, 0, 0),
            step(c::BPF_JMP | c::BPF_JGE | c::BPF_K, 1, 0, FIRST_UNKNOWN),
            step(c::BPF_JMP | c::BPF_JEQ | c::BPF_K, 0, 1, CLONE3),
            step(c::BPF_RET | c::BPF_K, 0, 0, told),
            step(c::BPF_RET | c::BPF_K, 0, 0, c::SECCOMP_RET_ALLOW),
        ]
    }

    /// Ways around what is kept, and what only those do who run the machine.
    const AROUND: [i64; 50] = [
        // Keys of this user, PINs among them.
        c::SYS_keyctl,
        c::SYS_add_key,
        c::SYS_request_key,
        // Files and sockets past this filter.
        c::SYS_io_uring_setup,
        c::SYS_io_uring_enter,
        c::SYS_io_uring_register,
        c::SYS_open_by_handle_at,
        c::SYS_name_to_handle_at,
        // Other processes.
        c::SYS_ptrace,
        c::SYS_process_vm_readv,
        c::SYS_process_vm_writev,
        c::SYS_process_madvise,
        c::SYS_kcmp,
        c::SYS_pidfd_getfd,
        c::SYS_pidfd_send_signal,
        // The kernel's insides.
        c::SYS_bpf,
        c::SYS_perf_event_open,
        c::SYS_userfaultfd,
        c::SYS_fanotify_init,
        c::SYS_personality,
        c::SYS_init_module,
        c::SYS_finit_module,
        c::SYS_delete_module,
        c::SYS_kexec_load,
        // Other views of the machine.
        c::SYS_mount,
        c::SYS_umount2,
        c::SYS_pivot_root,
        c::SYS_chroot,
        c::SYS_unshare,
        c::SYS_setns,
        c::SYS_open_tree,
        c::SYS_move_mount,
        c::SYS_fsopen,
        c::SYS_fsconfig,
        c::SYS_fsmount,
        c::SYS_fspick,
        c::SYS_mount_setattr,
        // The machine itself.
        c::SYS_reboot,
        c::SYS_swapon,
        c::SYS_swapoff,
        c::SYS_settimeofday,
        c::SYS_clock_settime,
        c::SYS_clock_adjtime,
        c::SYS_adjtimex,
        c::SYS_acct,
        c::SYS_quotactl,
        c::SYS_quotactl_fd,
        c::SYS_syslog,
        c::SYS_sethostname,
        c::SYS_setdomainname,
    ];

    /// Changes to files that landlock does not know, whose ever they are; programs; threads by their bare number; ways out of
    /// the group of processes that ends with this one.
    const CHANGES: [i64; 17] = [
        c::SYS_fchmod,
        c::SYS_fchmodat,
        FCHMODAT2,
        c::SYS_fchown,
        c::SYS_fchownat,
        c::SYS_setxattr,
        c::SYS_lsetxattr,
        c::SYS_fsetxattr,
        c::SYS_removexattr,
        c::SYS_lremovexattr,
        c::SYS_fremovexattr,
        c::SYS_utimensat,
        c::SYS_execve,
        c::SYS_execveat,
        c::SYS_tkill,
        c::SYS_setpgid,
        c::SYS_setsid,
    ];

    #[cfg(target_arch = "x86_64")]
    const NATIVE_AROUND: [i64; 3] = [c::SYS_kexec_file_load, c::SYS_iopl, c::SYS_ioperm];
    #[cfg(target_arch = "aarch64")]
    const NATIVE_AROUND: [i64; 1] = [294]; // kexec_file_load

    #[cfg(target_arch = "x86_64")]
    const NATIVE_CHANGES: [i64; 6] =
        [c::SYS_chmod, c::SYS_chown, c::SYS_lchown, c::SYS_utime, c::SYS_utimes, c::SYS_futimesat];
    #[cfg(target_arch = "aarch64")]
    const NATIVE_CHANGES: [i64; 0] = [];

    const NAMESPACES: [c::c_int; 7] = [
        c::CLONE_NEWNS,
        c::CLONE_NEWCGROUP,
        c::CLONE_NEWUTS,
        c::CLONE_NEWIPC,
        c::CLONE_NEWUSER,
        c::CLONE_NEWPID,
        c::CLONE_NEWNET,
    ];

    // From 424 on, numbers are the same everywhere.
    const CLONE3: u32 = 435;
    const FCHMODAT2: i64 = 452;
    /// setxattrat.
    const FIRST_UNKNOWN: u32 = 463;
    const PRIO_PROCESS: u64 = 0;
    const IOPRIO_WHO_PROCESS: u64 = 1;
}
