//! Debian packages without root: apt with lists and a cache of its own, then `dpkg -x` into a folder.

use std::ffi::OsString;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use crate::Skipped;
use crate::process::{self, Finished};

const APT_LIMIT: Duration = Duration::from_secs(300);
const LISTS_ARE_FRESH_FOR: Duration = Duration::from_secs(24 * 60 * 60);

/// Unpacks `packages` (without their dependencies) and returns the folder that holds their `usr/…`.
///
/// The folder is `third_party/debs/NAMES`; when it is there already, nothing is fetched. Several
/// processes may ask at once: one works, the others wait for it.
pub fn fetch(third_party: &Path, packages: &[&str]) -> Result<PathBuf, Skipped> {
    let remedy = format!("apt-get install {}", packages.join(" "));
    let failed =
        |why: String| Skipped::new(format!("{} could not be fetched: {why}", packages.join(", ")), &remedy);
    let root = third_party.join("debs").join(packages.join("+"));
    if root.is_dir() {
        return Ok(root);
    }
    let _lock = lock(third_party).map_err(|e| failed(format!("{}: {e}", third_party.display())))?;
    if root.is_dir() {
        return Ok(root);
    }
    let files = Apt::fresh(third_party).and_then(|apt| apt.download(packages)).map_err(&failed)?;
    unpack(&files, &root).map_err(&failed)?;
    Ok(root)
}

/// As [`fetch`], with all that `packages` depend on and this system lacks, into `third_party/debs/NAME`. What the
/// system has is not fetched a second time, so the folder may come out empty.
pub fn fetch_with_dependencies(
    third_party: &Path,
    name: &str,
    packages: &[&str],
) -> Result<PathBuf, Skipped> {
    let remedy = format!("apt-get install {}", packages.join(" "));
    let failed = |why: String| Skipped::new(format!("{name} could not be fetched: {why}"), &remedy);
    let root = third_party.join("debs").join(name);
    if root.is_dir() {
        return Ok(root);
    }
    let _lock = lock(third_party).map_err(|e| failed(format!("{}: {e}", third_party.display())))?;
    if root.is_dir() {
        return Ok(root);
    }
    let apt = Apt::fresh(third_party).map_err(&failed)?;
    let simulated = apt.run(&[&["-s", "--no-install-recommends", "install"], packages].concat());
    let simulated = simulated.map_err(&failed)?;
    if !simulated.status.success() {
        return Err(failed(format!("apt-get: {}", simulated.last_line())));
    }
    let lacking = lacking(&simulated.stdout, packages);
    let files = if lacking.is_empty() { Ok(Vec::new()) } else { apt.download(&lacking) };
    unpack(&files.map_err(&failed)?, &root).map_err(&failed)?;
    Ok(root)
}

/// The packages that a simulated installation would bring anew. One that is there in an older version (its line
/// names that in brackets) stays as it is, unless it was asked for by name.
fn lacking<'a>(simulated: &'a str, wanted: &[&str]) -> Vec<&'a str> {
    let names = simulated.lines().filter_map(|line| {
        let mut words = line.strip_prefix("Inst ")?.split_ascii_whitespace();
        let name = words.next()?;
        let is_there = words.next().is_some_and(|word| word.starts_with('['));
        (!is_there || wanted.contains(&name)).then_some(name)
    });
    names.filter(|name| !BOOTING.iter().any(|part| name.contains(part))).collect()
}

/// What runs a machine is of no use in a folder.
const BOOTING: &[&str] = &["systemd", "udev", "dbus-user-session"];

fn lock(third_party: &Path) -> std::io::Result<File> {
    fs::create_dir_all(third_party)?;
    let file = File::options().create(true).append(true).open(third_party.join("fetch.lock"))?;
    file.lock()?;
    Ok(file)
}

/// Unpacks beside the goal and renames, so that a folder that is there is complete.
fn unpack(files: &[PathBuf], root: &Path) -> Result<(), String> {
    let fresh = root.with_extension("unpacking");
    let _ = fs::remove_dir_all(&fresh);
    fs::create_dir_all(&fresh).map_err(|e| format!("{}: {e}", fresh.display()))?;
    for file in files {
        let done = process::run(Command::new("dpkg").arg("-x").arg(file).arg(&fresh), APT_LIMIT)?;
        if !done.status.success() {
            return Err(format!("dpkg -x {}: {}", file.display(), done.last_line()));
        }
    }
    fs::rename(&fresh, root).map_err(|e| format!("{}: {e}", root.display()))
}

/// `apt-get` that keeps lists, cache and archives in one private folder.
struct Apt {
    folder: PathBuf,
}

impl Apt {
    fn new(third_party: &Path) -> Result<Self, String> {
        let folder = third_party.join("apt");
        for part in ["lists/partial", "cache/archives/partial"] {
            fs::create_dir_all(folder.join(part)).map_err(|e| format!("{}: {e}", folder.display()))?;
        }
        Ok(Self { folder })
    }

    /// With lists that are not old. One unreachable source is no reason to stop: whether the packages are there, the
    /// download tells.
    fn fresh(third_party: &Path) -> Result<Self, String> {
        let apt = Self::new(third_party)?;
        if apt.lists_are_old() {
            apt.run(&["update"])?;
        }
        Ok(apt)
    }

    /// Brings packages, without what they depend on.
    fn download(&self, packages: &[&str]) -> Result<Vec<PathBuf>, String> {
        let downloads = self.folder.join("downloads");
        let _ = fs::remove_dir_all(&downloads);
        fs::create_dir_all(&downloads).map_err(|e| format!("{}: {e}", downloads.display()))?;
        let done = self.run_in(&downloads, &[&["download"], packages].concat())?;
        if !done.status.success() {
            return Err(format!("apt-get download: {}", done.last_line()));
        }
        let entries = fs::read_dir(&downloads).map_err(|e| e.to_string())?;
        let files: Vec<PathBuf> = entries
            .filter_map(|entry| entry.ok().map(|entry| entry.path()))
            .filter(|path| path.extension().is_some_and(|ext| ext == "deb"))
            .collect();
        if files.len() < packages.len() {
            return Err(format!("apt-get download brought {} of {} packages", files.len(), packages.len()));
        }
        Ok(files)
    }

    fn lists_are_old(&self) -> bool {
        let newest = fs::read_dir(self.folder.join("lists")).ok().and_then(|entries| {
            entries
                .filter_map(Result::ok)
                .filter(|entry| entry.file_name().to_string_lossy().contains("_Packages"))
                .filter_map(|entry| entry.metadata().ok()?.modified().ok())
                .max()
        });
        let age = newest.map(|written| SystemTime::now().duration_since(written).unwrap_or_default());
        age.is_none_or(|age| age > LISTS_ARE_FRESH_FOR)
    }

    fn run(&self, arguments: &[&str]) -> Result<Finished, String> {
        self.run_in(&self.folder, arguments)
    }

    fn run_in(&self, current: &Path, arguments: &[&str]) -> Result<Finished, String> {
        let mut command = Command::new("apt-get");
        command.current_dir(current).args(["-q", "-y"]).env("DEBIAN_FRONTEND", "noninteractive");
        for option in self.options() {
            command.arg("-o").arg(option);
        }
        process::run(command.args(arguments), APT_LIMIT)
    }

    fn options(&self) -> Vec<OsString> {
        let folder = |name: &str, part: &str| {
            let mut option = OsString::from(format!("{name}="));
            option.push(self.folder.join(part));
            option
        };
        let mut options = vec![folder("Dir::State::Lists", "lists"), folder("Dir::Cache", "cache")];
        let fixed = [
            "Debug::NoLocking=1",
            "Acquire::Languages=none",
            "Acquire::Retries=2",
            "Acquire::http::Timeout=30",
        ];
        options.extend(fixed.map(OsString::from));
        if is_root() {
            // apt would drop to `_apt`, which may not write into the target folder.
            options.push(OsString::from("APT::Sandbox::User=root"));
        }
        options
    }
}

/// Whether the files that this process makes belong to root.
fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    fs::metadata("/proc/self").is_ok_and(|it| it.uid() == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_that_does_not_exist_is_skipped_with_its_remedy() {
        let folder = std::env::temp_dir().join(format!("softhsm-debs-{}", std::process::id()));
        // Lists that look fresh and are empty: no network is asked.
        fs::create_dir_all(folder.join("apt/lists")).unwrap();
        fs::write(folder.join("apt/lists/none_Packages"), "").unwrap();
        let skipped = fetch(&folder, &["no-such-package-anywhere"]).unwrap_err();
        fs::remove_dir_all(&folder).unwrap();
        assert!(skipped.what.starts_with("no-such-package-anywhere could not be fetched: "), "{skipped}");
        assert_eq!(skipped.remedy, "apt-get install no-such-package-anywhere");
    }

    #[test]
    fn of_a_simulated_installation_what_is_new_or_wanted_is_fetched() {
        let simulated = "NOTE: This is only a simulation!\n\
            Inst libnss-systemd [252.38] (252.39 Debian:12 [amd64]) []\n\
            Inst udev (252.39 Debian:12 [amd64])\n\
            Inst libnss3 [2:3.87.1] (2:3.87.2 Debian:12 [amd64])\n\
            Inst libtss2-mu0 (3.2.1-3 Debian:12 [amd64])\n\
            Conf libtss2-mu0 (3.2.1-3 Debian:12 [amd64])\n";
        assert_eq!(lacking(simulated, &["swtpm"]), ["libtss2-mu0"]);
        assert_eq!(lacking(simulated, &["libnss3"]), ["libnss3", "libtss2-mu0"]);
    }
}
