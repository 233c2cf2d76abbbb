//! The house's arrows (DESIGN section 2): which crate may stand on which.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::json::Json;
use crate::shell;

/// What one crate may stand on.
struct Rule {
    name: &'static str,
    /// Crates of the house that it may use.
    may_use: &'static [&'static str],
    /// Crates of the house that its tests may use beside.
    tests_may_use: &'static [&'static str],
    floor: Floor,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Floor {
    /// No I/O and no runtime: values only.
    Ground,
    /// As `Ground`, but with the runtime that tonic's generated code wants.
    Wire,
    /// Free to do I/O.
    Upper,
}

const RULES: &[Rule] = &[
    Rule { name: "tufagent-proto", may_use: &[], tests_may_use: &[], floor: Floor::Wire },
    Rule { name: "tufagent-tuf", may_use: &[], tests_may_use: &[], floor: Floor::Ground },
    Rule { name: "tufagent-policy", may_use: &[], tests_may_use: &["tufagent-proto"], floor: Floor::Ground },
    Rule { name: "tufagent-secmem", may_use: &[], tests_may_use: &[], floor: Floor::Ground },
    Rule {
        name: "tufagent-custody",
        may_use: &["tufagent-tuf", "tufagent-secmem"],
        tests_may_use: &["tufagent-softhsm"],
        floor: Floor::Ground,
    },
    Rule { name: "tufagent-ledger", may_use: &["tufagent-tuf"], tests_may_use: &[], floor: Floor::Upper },
    Rule { name: "tufagent-pcsc", may_use: &[], tests_may_use: &[], floor: Floor::Upper },
    Rule {
        name: "tufagent-backend",
        may_use: &["tufagent-tuf", "tufagent-secmem", "tufagent-pcsc"],
        tests_may_use: &["tufagent-softhsm", "tufagent-lying-pkcs11", "tufagent-virtual-yubikey"],
        floor: Floor::Upper,
    },
    Rule {
        name: "tuf-agent",
        may_use: &[
            "tufagent-proto",
            "tufagent-tuf",
            "tufagent-policy",
            "tufagent-secmem",
            "tufagent-custody",
            "tufagent-ledger",
            "tufagent-backend",
        ],
        tests_may_use: &["tufagent-softhsm"],
        floor: Floor::Upper,
    },
    Rule {
        name: "tufctl",
        may_use: &["tufagent-proto", "tufagent-tuf", "tufagent-custody"],
        tests_may_use: &[],
        floor: Floor::Upper,
    },
    Rule { name: "tufagent-softhsm", may_use: &[], tests_may_use: &[], floor: Floor::Upper },
    // The differential tests use `tuf`.
    Rule {
        name: "tufagent-tests",
        may_use: &["tufagent-tuf", "tufagent-softhsm", "tufagent-lying-pkcs11", "tufagent-virtual-yubikey"],
        tests_may_use: &["tufagent-pcsc"],
        floor: Floor::Upper,
    },
    Rule {
        name: "tufagent-conformance",
        may_use: &["tufagent-tuf"],
        tests_may_use: &[],
        floor: Floor::Upper,
    },
    // It speaks the wire protocol itself, so that nothing of the client is measured with the agent.
    Rule {
        name: "tufagent-bench",
        may_use: &[
            "tufagent-proto",
            "tufagent-tuf",
            "tufagent-custody",
            "tufagent-secmem",
            "tufagent-softhsm",
            "tufagent-tests",
        ],
        tests_may_use: &[],
        floor: Floor::Upper,
    },
    Rule { name: "tufagent-lying-pkcs11", may_use: &[], tests_may_use: &[], floor: Floor::Upper },
    Rule { name: "tufagent-virtual-yubikey", may_use: &[], tests_may_use: &[], floor: Floor::Upper },
    Rule { name: "xtask", may_use: &["tufagent-softhsm"], tests_may_use: &[], floor: Floor::Upper },
];

/// What no ground floor may use.
const RUNTIMES: &[&str] = &["tokio", "tokio-stream", "async-std", "smol", "mio"];
const IO_MODULES: &[&str] = &["std::fs", "std::net", "std::os::unix::net", "tokio::"];

/// A package of the workspace, as cargo describes it.
struct Package {
    name: String,
    folder: PathBuf,
    uses: Vec<String>,
    tests_use: Vec<String>,
}

/// Checks every crate; the error lists each wrong arrow.
pub(crate) fn arrows() -> Result<(), String> {
    let packages = packages()?;
    let mut wrong = Vec::new();
    for package in &packages {
        match RULES.iter().find(|rule| rule.name == package.name) {
            Some(rule) => check(package, rule, &packages, &mut wrong)?,
            None => wrong.push(format!("{} has no rule in xtask/src/arrows.rs", package.name)),
        }
    }
    if wrong.is_empty() {
        println!("arrows: {} crates, every arrow is drawn in the design", packages.len());
        return Ok(());
    }
    Err(format!("arrows that the design does not draw:\n  {}", wrong.join("\n  ")))
}

fn check(package: &Package, rule: &Rule, all: &[Package], wrong: &mut Vec<String>) -> Result<(), String> {
    // A crate may name itself among its tests' dependencies, to switch a feature on.
    let in_house = |name: &&String| **name != package.name && all.iter().any(|it| it.name == **name);
    for name in package.uses.iter().filter(in_house) {
        if !rule.may_use.contains(&name.as_str()) {
            wrong.push(format!("{} -> {name}", package.name));
        }
    }
    for name in package.tests_use.iter().filter(in_house) {
        if !rule.may_use.contains(&name.as_str()) && !rule.tests_may_use.contains(&name.as_str()) {
            wrong.push(format!("{} -> {name} (in its tests)", package.name));
        }
    }
    if rule.floor == Floor::Upper {
        return Ok(());
    }
    if rule.floor == Floor::Ground {
        let runtimes = package.uses.iter().filter(|name| RUNTIMES.contains(&name.as_str()));
        wrong.extend(runtimes.map(|name| format!("{} -> {name} on the ground floor", package.name)));
    }
    for file in rust_files(&package.folder.join("src"))? {
        for (line, module) in io_in(&file)? {
            wrong.push(format!("{}:{line}: {module} on the ground floor", file.display()));
        }
    }
    Ok(())
}

/// Lines outside comments and outside the file's tests that name a module for I/O.
fn io_in(file: &Path) -> Result<Vec<(usize, &'static str)>, String> {
    let text = fs::read_to_string(file).map_err(|e| format!("{}: {e}", file.display()))?;
    // House rule: a file's tests are its last item.
    let lines = text.lines().enumerate().take_while(|(_, line)| line.trim() != "#[cfg(test)]");
    let code = lines.filter(|(_, line)| !line.trim_start().starts_with("//"));
    let found = code.filter_map(|(number, line)| {
        let module = IO_MODULES.iter().find(|module| names(line, module))?;
        Some((number + 1, *module))
    });
    Ok(found.collect())
}

/// Whether a line names the module, also as `use std::{fs, …}`.
fn names(line: &str, module: &str) -> bool {
    if line.contains(module) {
        return true;
    }
    let Some((path, last)) = module.trim_end_matches("::").rsplit_once("::") else { return false };
    let Some((_, group)) = line.split_once(&format!("use {path}::{{")) else { return false };
    group
        .split([',', '{', '}', ';'])
        .any(|part| part.trim() == last || part.trim().starts_with(&format!("{last}::")))
}

fn rust_files(dir: &Path) -> Result<Vec<PathBuf>, String> {
    let entries = fs::read_dir(dir).map_err(|e| format!("{}: {e}", dir.display()))?;
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.map_err(|e| e.to_string())?.path();
        if path.is_dir() {
            files.extend(rust_files(&path)?);
        } else if path.extension().is_some_and(|ext| ext == "rs") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn packages() -> Result<Vec<Package>, String> {
    let mut command = Command::new(shell::cargo());
    command.args(["metadata", "--format-version", "1", "--no-deps", "--offline"]);
    let metadata = Json::parse(&shell::output(command.current_dir(shell::workspace()))?)?;
    metadata.get("packages").items().iter().map(package).collect()
}

fn package(described: &Json) -> Result<Package, String> {
    let name = described.get("name").text().ok_or("cargo metadata: a package without name")?;
    let manifest = described.get("manifest_path").text().ok_or("cargo metadata: no manifest_path")?;
    let folder = Path::new(manifest).parent().ok_or("cargo metadata: a manifest without folder")?;
    let mut uses: BTreeMap<bool, Vec<String>> = BTreeMap::new();
    for dependency in described.get("dependencies").items() {
        let name = dependency.get("name").text().ok_or("cargo metadata: a dependency without name")?;
        let for_tests = dependency.get("kind").text() == Some("dev");
        uses.entry(for_tests).or_default().push(name.to_owned());
    }
    Ok(Package {
        name: name.to_owned(),
        folder: folder.to_path_buf(),
        uses: uses.remove(&false).unwrap_or_default(),
        tests_use: uses.remove(&true).unwrap_or_default(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_is_found_by_its_path_and_in_a_group() {
        for line in
            ["let a = std::fs::read(b);", "use std::fs;", "use std::{fs, io};", "use std::{io, fs::File};"]
        {
            assert!(names(line, "std::fs"), "{line}");
        }
        assert!(!names("use std::{fmt, io};", "std::fs"));
        assert!(!names("let offset = 1;", "std::fs"));
    }

    #[test]
    fn an_arrow_that_is_not_drawn_is_found() {
        let package = |name: &str, uses: &[&str]| Package {
            name: name.to_owned(),
            folder: PathBuf::new(),
            uses: uses.iter().map(|it| (*it).to_owned()).collect(),
            tests_use: Vec::new(),
        };
        let all = [package("tufctl", &["tufagent-backend", "serde"]), package("tufagent-backend", &[])];
        let rule = RULES.iter().find(|rule| rule.name == "tufctl").unwrap();
        let mut wrong = Vec::new();
        check(&all[0], rule, &all, &mut wrong).unwrap();
        assert_eq!(wrong, ["tufctl -> tufagent-backend"]);
    }
}
