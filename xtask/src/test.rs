//! `cargo xtask test`: fetches what the tests need, without root, then runs every test.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use softhsm::{Kryoptic, Nss, OpenSc, P11Kit, Pcsc, SecretService, Skipped, SoftHsm, Tpm2, debs};

use crate::build::{self, Profile};
use crate::shell;

/// What was asked for on the command line.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Options {
    require_all: bool,
    kryoptic: bool,
    filter: Option<String>,
}

impl Options {
    pub(crate) fn parse(words: &[&str]) -> Result<Self, String> {
        let mut options = Self::default();
        for word in words {
            match *word {
                "--require-all" => options.require_all = true,
                "--kryoptic" => options.kryoptic = true,
                flag if flag.starts_with('-') => return Err(format!("test: unknown option {flag}")),
                _ if options.filter.is_some() => return Err("test: one FILTER at most".to_owned()),
                filter => options.filter = Some(filter.to_owned()),
            }
        }
        Ok(options)
    }
}

/// Prepares, says what is skipped, builds, runs. The runner's summary is the last thing printed.
pub(crate) fn test(options: Options) -> Result<(), String> {
    let third_party = softhsm::third_party_dir().map_err(|e| e.to_string())?;
    fs::create_dir_all(&third_party).map_err(|e| format!("{}: {e}", third_party.display()))?;
    let mut skipped = prepare(&third_party);
    if options.kryoptic {
        println!("building kryoptic, which takes minutes the first time");
        ready_or_skipped("kryoptic", Kryoptic::build_in(&third_party).map(drop), &mut skipped);
    }
    report_skipped(&skipped);
    if options.require_all && !skipped.is_empty() {
        return Err(format!(
            "--require-all, and {} of the things that tests need are missing",
            skipped.len()
        ));
    }
    let binaries = build::binaries(Profile::Dev)?;
    let environment = |command: &mut Command| {
        command.current_dir(shell::workspace()).stdin(Stdio::null());
        command.env("TUFAGENT_BIN_DIR", &binaries).env("TUFAGENT_THIRD_PARTY", &third_party);
        if options.require_all {
            command.env("TUFAGENT_REQUIRE_ALL", "1");
        }
        if options.kryoptic {
            command.env("TUFAGENT_KRYOPTIC", "1");
        }
    };
    run(&options, environment)
}

/// nextest where it is installed, since it uses both cores across test programs; otherwise plain cargo.
fn run(options: &Options, environment: impl Fn(&mut Command)) -> Result<(), String> {
    let cargo = |arguments: &[&str]| {
        let mut command = Command::new(shell::cargo());
        environment(&mut command);
        command.args(arguments).args(&options.filter);
        shell::run(&mut command)
    };
    if !shell::is_installed("cargo-nextest") {
        return cargo(&["test", "--workspace", "--no-fail-fast"]);
    }
    // nextest runs no documentation tests, and `secmem` proves its rules by some that must not compile.
    let documentation = cargo(&["test", "--workspace", "--doc", "--quiet", "--no-fail-fast"]);
    cargo(&["nextest", "run", "--workspace", "--no-fail-fast", "--no-tests", "pass"])?;
    documentation
}

/// Says what this machine cannot give.
pub(crate) fn report_skipped(skipped: &[Skipped]) {
    for it in skipped {
        println!("SKIPPED: {}\n         remedy: {}", it.what, it.remedy);
    }
}

/// Fetches and makes what tests and measurements need; what cannot be had.
pub(crate) fn prepare(third_party: &Path) -> Vec<Skipped> {
    type Preparation = fn(&Path) -> Result<(), Skipped>;
    let all: [(&str, Preparation); 13] = [
        ("SoftHSM", |dir| SoftHsm::find_or_fetch_in(dir).map(drop)),
        ("NSS softokn", |dir| Nss::find_or_fetch_in(dir).map(drop)),
        ("p11-kit remote", |dir| P11Kit::find_or_fetch_in(dir).map(drop)),
        ("tpm2-pkcs11 on swtpm", |dir| Tpm2::find_or_fetch_in(dir).map(drop)),
        ("pcscd", |dir| Pcsc::find_or_fetch_in(dir).map(drop)),
        ("OpenSC", |dir| OpenSc::find_or_fetch_in(dir).map(drop)),
        ("ykman", ykman),
        ("gnome-keyring", |dir| SecretService::fetch_in(dir)),
        ("python-tuf", python_tuf),
        ("WeasyPrint", weasyprint),
        ("tuf-js", tuf_js),
        ("strace", strace),
        ("libfaketime", faketime),
    ];
    let mut skipped = Vec::new();
    for (name, prepare) in all {
        ready_or_skipped(name, prepare(third_party), &mut skipped);
    }
    skipped
}

fn ready_or_skipped(name: &str, outcome: Result<(), Skipped>, skipped: &mut Vec<Skipped>) {
    match outcome {
        Ok(()) => println!("ready: {name}"),
        Err(missing) => skipped.push(missing),
    }
}

/// strace, for the tests of what is flushed before a signature leaves.
fn strace(third_party: &Path) -> Result<(), Skipped> {
    if shell::is_installed("strace") {
        return Ok(());
    }
    debs::fetch(third_party, &["strace", "libunwind8"]).map(|_| ())
}

/// libfaketime, for clients that live at another time.
fn faketime(third_party: &Path) -> Result<(), Skipped> {
    debs::fetch(third_party, &["libfaketime"]).map(|_| ())
}

/// python-tuf in a virtual environment, in the versions of `tests/oracles/requirements.txt`.
fn python_tuf(third_party: &Path) -> Result<(), Skipped> {
    let missing =
        |why: String| Skipped::new(format!("python-tuf: {why}"), "apt-get install python3 python3-venv");
    virtual_environment(third_party, "venv", "requirements.txt", None).map_err(missing)
}

/// ykman in another one, in the versions of `tests/oracles/ykman.txt`. A part of it is in C.
fn ykman(third_party: &Path) -> Result<(), Skipped> {
    let headers = Pcsc::headers(third_party)?;
    let missing =
        |why: String| Skipped::new(format!("ykman: {why}"), "apt-get install python3 python3-dev gcc");
    virtual_environment(third_party, "ykman", "ykman.txt", Some(&headers)).map_err(missing)
}

/// WeasyPrint in a third one, in the versions of `tests/oracles/sheets.txt`; Pango, which it draws with, and a font from
/// packages where the system lacks them.
fn weasyprint(third_party: &Path) -> Result<(), Skipped> {
    let missing =
        |why: String| Skipped::new(format!("WeasyPrint: {why}"), "apt-get install python3 python3-venv");
    virtual_environment(third_party, "sheets", "sheets.txt", None).map_err(missing)?;
    let python = third_party.join("sheets/bin/python");
    let draws = || shell::output(Command::new(&python).args(["-c", "import weasyprint"])).is_ok();
    if draws() && Path::new("/usr/share/fonts/truetype/dejavu").is_dir() {
        return Ok(());
    }
    let packages = ["libpango-1.0-0", "libpangoft2-1.0-0", "libharfbuzz-subset0", "fonts-dejavu-core"];
    debs::fetch_with_dependencies(third_party, "pango", &packages).map(|_| ())
}

fn virtual_environment(
    third_party: &Path,
    name: &str,
    list: &str,
    headers: Option<&Path>,
) -> Result<(), String> {
    let list = oracles().join(list);
    prepared(&third_party.join(name), &[&list], |venv| {
        shell::output(Command::new("python3").args(["-m", "venv", "--without-pip"]).arg(venv))?;
        let mut install = Command::new(venv.join("bin").join("python"));
        // pip runs straight from its wheel.
        install.env("PYTHONPATH", pip(third_party)?);
        install.envs(headers.map(|headers| ("CFLAGS", format!("-I{}", headers.display()))));
        install.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--requirement"]);
        shell::output(install.arg(&list)).map(|_| ())
    })
}

/// A wheel of pip: from python's own `ensurepip`, or (Debian takes that away) from its package.
fn pip(third_party: &Path) -> Result<PathBuf, String> {
    let bundled =
        "import ensurepip, os; print(os.path.join(os.path.dirname(ensurepip.__file__), '_bundled'))";
    let bundled = shell::output(Command::new("python3").args(["-c", bundled])).unwrap_or_default();
    if let Some(wheel) = wheel_in(Path::new(bundled.trim())) {
        return Ok(wheel);
    }
    let root = debs::fetch(third_party, &["python3-pip-whl"]).map_err(|e| e.to_string())?;
    wheel_in(&root.join("usr/share/python-wheels")).ok_or_else(|| "no wheel of pip was found".to_owned())
}

fn wheel_in(dir: &Path) -> Option<PathBuf> {
    let entries = fs::read_dir(dir).ok()?;
    let mut files = entries.filter_map(|entry| entry.ok().map(|entry| entry.path()));
    files.find(|file| {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with("pip-") && name.ends_with(".whl")
    })
}

/// tuf-js by npm, in the versions of `tests/oracles/package-lock.json`.
fn tuf_js(third_party: &Path) -> Result<(), Skipped> {
    let missing =
        |why: String| Skipped::new(format!("tuf-js: {why}"), "install Node.js 20.17 or newer with npm");
    for program in ["node", "npm"] {
        if !shell::is_installed(program) {
            return Err(missing(format!("{program} is not installed")));
        }
    }
    let lists = [oracles().join("package.json"), oracles().join("package-lock.json")];
    let js = third_party.join("js");
    prepared(&js, &[&lists[0], &lists[1]], |js| {
        fs::create_dir_all(js).map_err(|e| format!("{}: {e}", js.display()))?;
        for list in &lists {
            let copy = js.join(list.file_name().unwrap_or_default());
            fs::copy(list, copy).map_err(|e| format!("{}: {e}", list.display()))?;
        }
        let mut npm = Command::new("npm");
        npm.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"]).current_dir(js);
        npm.arg("--cache").arg(third_party.join("npm-cache"));
        shell::output(&mut npm).map(|_| ())
    })
    .map_err(missing)
}

fn oracles() -> PathBuf {
    shell::workspace().join("tests").join("oracles")
}

/// Makes a folder anew unless it was made from these very lists; its mark is written last.
fn prepared(
    dir: &Path,
    lists: &[&PathBuf],
    make: impl FnOnce(&Path) -> Result<(), String>,
) -> Result<(), String> {
    let mut wanted = String::new();
    for list in lists {
        wanted += &fs::read_to_string(list).map_err(|e| format!("{}: {e}", list.display()))?;
    }
    let mark = dir.join(".prepared-from");
    if fs::read_to_string(&mark).is_ok_and(|made_from| made_from == wanted) {
        return Ok(());
    }
    // A folder that is not there is as good as one removed; any other trouble shows up in `make`.
    let _ = fs::remove_dir_all(dir);
    make(dir)?;
    fs::write(&mark, wanted).map_err(|e| format!("{}: {e}", mark.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_a_flag_and_at_most_one_filter() {
        let options = Options::parse(&["--require-all", "root"]).unwrap();
        assert_eq!(options, Options { require_all: true, kryoptic: false, filter: Some("root".to_owned()) });
        assert!(Options::parse(&["--kryoptic"]).unwrap().kryoptic);
        assert!(Options::parse(&["--all"]).is_err());
        assert!(Options::parse(&["a", "b"]).is_err());
    }
}
