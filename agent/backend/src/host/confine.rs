//! The helper confines itself before the module is loaded: by landlock, to what the token's entry lets it touch, and by a
//! filter of system calls, which takes away what landlock does not know (FAULTS B5).
//!
//! Duty: from [`Limits`] to rules of the kernel. Trust: nothing of the module has run yet, so what is told here is
//! true. Invariants: the whole process is confined, since it has one thread; a path of the configuration that is not
//! there is refused; what this kernel cannot keep the module from is told.

mod calls;
mod reach;
mod softhsm;

use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access as _, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible as _, LandlockStatus,
    PathBeneath, RestrictionStatus, Ruleset, RulesetAttr as _, RulesetCreatedAttr as _, RulesetError, Scope,
    make_bitflags,
};
use rustix::fs::{Mode, OFlags};
use serde::{Deserialize, Serialize};

use super::module::ModuleFile;
use super::protocol::{HostError, HostErrorKind};
use reach::{Environment, Files, Reach};

/// What a token's entry lets its module touch.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Files and folders that it may write, absolute.
    pub paths: Option<Vec<PathBuf>>,
    /// Whether it may use sockets other than unix sockets.
    pub network: Option<bool>,
}

/// What came of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Confinement {
    /// Files and sockets are kept to what is allowed.
    pub(crate) confined: bool,
    /// What of it is not kept, and why; for people.
    pub(crate) gap: Option<String>,
}

/// Confines this process for the rest of its life.
pub(crate) fn confine(
    limits: &Limits,
    module: &ModuleFile,
    reserved: Option<&str>,
) -> Result<Confinement, HostError> {
    match Reach::of(limits, module.path(), reserved, &environment()) {
        Ok(reach) => keep_to(&reach),
        Err(why) => Ok(Confinement { confined: false, gap: Some(why) }),
    }
}

/// The same for the helper of a YubiKey: it talks to pcscd, over a unix socket that has a path, and writes nothing.
pub(crate) fn confine_card() -> Result<Confinement, HostError> {
    keep_to(&Reach::of_card(&environment()))
}

fn environment() -> Environment {
    let text = |text: OsString| text.into_string().ok();
    std::env::vars_os().filter_map(|(name, value)| Some((text(name)?, text(value)?))).collect()
}

fn keep_to(reach: &Reach) -> Result<Confinement, HostError> {
    one_thread()?;
    let status = enforce(reach)?;
    let filter = calls::refuse(reach);
    Ok(told(reach, &status.landlock, filter))
}

/// Landlock and the filter confine a thread and those that it starts: another one, which runs already, would be a way out for
/// code that shares its memory.
fn one_thread() -> Result<(), HostError> {
    match std::fs::read_dir("/proc/self/task").map(Iterator::count) {
        Ok(1) | Err(_) => Ok(()),
        Ok(n) => Err(HostError::new(HostErrorKind::Protocol, format!("{n} threads run before the module"))),
    }
}

fn enforce(reach: &Reach) -> Result<RestrictionStatus, HostError> {
    let refused = |error: RulesetError| {
        HostError::new(HostErrorKind::Confinement, format!("the helper cannot be confined: {error}"))
    };
    let mut rules = Ruleset::default().set_compatibility(CompatLevel::BestEffort);
    if reach.files.is_some() {
        rules = rules.handle_access(AccessFs::from_all(NEWEST_FILES)).map_err(refused)?;
    }
    if !reach.network {
        rules = rules.handle_access(AccessNet::from_all(ABI::V4)).map_err(refused)?;
    }
    let scopes = if reach.abstract_sockets { Scope::Signal.into() } else { Scope::from_all(ABI::V6) };
    let mut created = rules.scope(scopes).and_then(Ruleset::create).map_err(refused)?;
    if let Some(files) = &reach.files {
        for (path, rights) in granted(files)? {
            created = created.add_rule(PathBeneath::new(path, rights)).map_err(refused)?;
        }
    }
    created.restrict_self().map_err(refused)
}

/// Opened, so that what is allowed is what lies there now.
fn granted(files: &Files) -> Result<Vec<(OwnedFd, BitFlags<AccessFs>)>, HostError> {
    let mut granted = Vec::new();
    for path in &files.demanded {
        granted.push((opened(path).map_err(|error| missing(path, error))?, write_rights()));
    }
    let lists: [(&[PathBuf], BitFlags<AccessFs>); 3] = [
        (&files.write, write_rights()),
        (&files.read, make_bitflags!(AccessFs::{ReadFile | ReadDir})),
        (&files.sinks, make_bitflags!(AccessFs::{ReadFile | WriteFile})),
    ];
    for (paths, rights) in lists {
        granted.extend(paths.iter().filter_map(|path| Some((opened(path).ok()?, rights))));
    }
    Ok(granted)
}

/// All but running programs, which nobody may, and making devices. Of a file those that mean something there are taken.
fn write_rights() -> BitFlags<AccessFs> {
    AccessFs::from_all(NEWEST_FILES) & !make_bitflags!(AccessFs::{Execute | MakeChar | MakeBlock})
}

fn opened(path: &Path) -> rustix::io::Result<OwnedFd> {
    rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
}

fn missing(path: &Path, error: rustix::io::Errno) -> HostError {
    let path = path.display();
    if error == rustix::io::Errno::NOENT {
        // As a stick that is not plugged in; the next helper looks again.
        let why = "which is not there: make it, or take it out of `paths`";
        return HostError::new(HostErrorKind::Absent, format!("`paths` of its entry names {path}, {why}"));
    }
    let error = std::io::Error::from(error);
    HostError::new(
        HostErrorKind::Confinement,
        format!("`paths` of its entry names {path}, which cannot be opened: {error}"),
    )
}

/// What is true once the kernel has taken the rules, and the filter, if it has.
fn told(reach: &Reach, landlock: &LandlockStatus, filter: Result<(), calls::Open>) -> Confinement {
    let abi = match landlock {
        LandlockStatus::NotImplemented => Err("this kernel has no landlock"),
        LandlockStatus::NotEnabled => Err("landlock is switched off in this kernel (its parameter lsm=)"),
        LandlockStatus::Available { effective_abi, .. } => Ok(*effective_abi),
    };
    let (lacks, kept) = match abi {
        Err(why) => (Some(why.to_owned()), false),
        Ok(abi) => {
            let limits = [
                (reach.files.is_some() && abi < ABI::V3, "cutting files short"),
                // The filter closes it as well.
                (!reach.network && abi < ABI::V4 && filter.is_err(), "TCP"),
                (abi < ABI::V6, "signals and abstract sockets"),
            ];
            let open: Vec<&str> = limits.iter().filter_map(|(is, what)| is.then_some(*what)).collect();
            let lacks = format!("this kernel does not keep it from {}", open.join(", "));
            ((!open.is_empty()).then_some(lacks), abi >= ABI::V3)
        }
    };
    let wide = reach.files.is_none().then(|| NO_PATHS.to_owned());
    let confined = reach.files.is_some() && kept && filter.is_ok();
    let gaps: Vec<String> = [wide, lacks, filter.err()].into_iter().flatten().collect();
    Confinement { confined, gap: (!gaps.is_empty()).then(|| gaps.join("; ")) }
}

impl Confinement {
    /// The loader says of a library out of reach that it is not there, which a person can see to be wrong.
    pub(super) fn hint(&self, mut error: HostError) -> HostError {
        if self.confined && error.kind == HostErrorKind::Module {
            error.message.push_str(
                "; it is confined, so folders of libraries outside of the system's and its own must be named by \
                 LD_LIBRARY_PATH in `env` of its entry",
            );
        }
        error
    }
}

/// What kernels are asked for; the rights that a kernel does not know are left out.
const NEWEST_FILES: ABI = ABI::V5;
const NO_PATHS: &str = "its entry has no `paths`";

#[cfg(test)]
mod tests {
    use super::*;

    fn reach(files: bool, network: bool) -> Reach {
        Reach { files: files.then(Files::default), network, abstract_sockets: false }
    }

    fn on(abi: ABI, reach: &Reach) -> Confinement {
        told(reach, &LandlockStatus::Available { effective_abi: abi, kernel_abi: None }, Ok(()))
    }

    #[test]
    fn what_an_old_kernel_cannot_keep_is_told_and_counts() {
        let all = on(ABI::V6, &reach(true, false));
        assert_eq!(all, Confinement { confined: true, gap: None });
        let v5 = on(ABI::V5, &reach(true, false));
        assert!(v5.confined && v5.gap.unwrap().ends_with("from signals and abstract sockets"));
        // TCP is closed by the filter, too.
        let v3 = on(ABI::V3, &reach(true, false));
        assert!(v3.confined && !v3.gap.unwrap().contains("TCP"));
        let v2 = on(ABI::V2, &reach(true, true));
        assert!(!v2.confined && v2.gap.unwrap().contains("cutting files short"));
    }

    #[test]
    fn without_the_filter_it_is_not_called_confined() {
        let open = || Err("system calls are not filtered".to_owned());
        let available = |abi| LandlockStatus::Available { effective_abi: abi, kernel_abi: None };
        let told_of = |abi| told(&reach(true, false), &available(abi), open());
        let (v6, v3) = (told_of(ABI::V6), told_of(ABI::V3));
        assert_eq!((v6.confined, v6.gap.as_deref()), (false, Some("system calls are not filtered")));
        assert!(!v3.confined && v3.gap.unwrap().contains("TCP"));
    }

    #[test]
    fn a_kernel_without_landlock_does_not_keep_files_and_says_so() {
        for (status, word) in
            [(LandlockStatus::NotImplemented, "no landlock"), (LandlockStatus::NotEnabled, "lsm=")]
        {
            let told = told(&reach(true, false), &status, Ok(()));
            assert!(!told.confined && told.gap.unwrap().contains(word));
        }
    }

    #[test]
    fn without_paths_it_is_not_called_confined_though_the_network_is_closed() {
        let told = on(ABI::V6, &reach(false, false));
        assert_eq!((told.confined, told.gap.as_deref()), (false, Some(NO_PATHS)));
    }

    #[test]
    fn a_confined_module_that_does_not_load_is_told_where_libraries_may_lie() {
        let failed = || HostError::new(HostErrorKind::Module, "libx.so.1: cannot open");
        assert!(Confinement { confined: true, gap: None }.hint(failed()).message.contains("LD_LIBRARY_PATH"));
        assert_eq!(Confinement::default().hint(failed()), failed());
    }

    #[test]
    fn nothing_that_may_be_written_may_be_run() {
        assert!(!write_rights().contains(AccessFs::Execute));
        assert!(write_rights().contains(make_bitflags!(AccessFs::{WriteFile | Truncate | Refer | MakeReg})));
    }

    #[test]
    fn a_path_of_the_configuration_that_is_not_there_is_refused() {
        let files = Files { demanded: vec!["/nonexistent/tokens".into()], ..Files::default() };
        let error = granted(&files).unwrap_err();
        assert_eq!(error.kind, HostErrorKind::Absent);
        assert!(error.message.contains("/nonexistent/tokens"), "{}", error.message);
        let files = Files { demanded: vec!["/dev/null/tokens".into()], ..Files::default() };
        assert_eq!(granted(&files).unwrap_err().kind, HostErrorKind::Confinement);
        let files = Files { write: vec!["/nonexistent/tokens".into()], ..Files::default() };
        assert!(granted(&files).unwrap().is_empty());
    }
}
