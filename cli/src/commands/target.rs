//! `tufctl target …`: the files that the repository offers.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tuf::edit::PathScope;
use tuf::metadata::{Algorithms, Metadata, TargetFile};
use tuf::role::RoleName;
use tuf::target::TargetPath;

use super::staging::{Staging, edit_failure, role_name, unknown_role};
use crate::args::{TargetAddArgs, TargetCommand};
use crate::context::Context;
use crate::error::{Failure, reason};
use crate::render::{Progress, Report, Table, count, first_of, short_digest, size, visible};
use crate::workspace::{Listed, Workspace, hash_file};

/// Runs a `target` command.
pub(crate) fn run(command: &TargetCommand, context: &Context) -> Result<Report, Failure> {
    match command {
        TargetCommand::Add(args) => add(args, context),
        TargetCommand::Remove { dir, paths, role, yes } => {
            remove(Staging::open(context, dir, yes.yes)?, paths, role.as_deref())
        }
        TargetCommand::List { dir, role } => list(&Workspace::open(dir)?, role.as_deref(), context),
    }
}

/// A file that becomes a target.
#[derive(Debug, PartialEq)]
struct Named {
    path: TargetPath,
    source: PathBuf,
}

fn add(args: &TargetAddArgs, context: &Context) -> Result<Report, Failure> {
    // Names and files are judged before the agent is asked for anything.
    let files = named(&args.files, args.path.as_deref())?;
    let mut staging = Staging::open(context, &args.dir, args.yes.yes)?;
    let asked = args.role.as_deref().map(role_name).transpose()?;
    let mut by_role: BTreeMap<RoleName, Vec<(Named, TargetFile<'static>)>> = BTreeMap::new();
    let total = files.iter().filter_map(|file| Some(file.source.metadata().ok()?.len())).sum();
    let (mut done, mut progress) = (0_u64, Progress::new(context.screen, "hashing"));
    let mut claimed = Vec::new();
    for file in files {
        let role = match &asked {
            Some(role) => role.clone(),
            None => {
                let (first, others) = staging.workspace.role_for(file.path.as_str())?;
                if !others.is_empty() {
                    claimed.push((file.path.as_str().to_owned(), first.clone(), others));
                }
                first
            }
        };
        let wanted = digests(staging.workspace.current(&role)?.as_ref(), file.path.as_str());
        let found = hash_file(&file.source, &wanted, &mut |more| {
            done = done.saturating_add(more);
            progress.update(done, total);
        })?;
        by_role.entry(role).or_default().push((file, found));
    }
    drop(progress);
    let new = by_role.iter().flat_map(|(role, files)| {
        files.iter().map(move |(file, found)| Listed { role, path: file.path.as_str(), file: found })
    });
    let tough_names = staging.facts.record.as_ref().is_none_or(|record| record.tough_names);
    staging.workspace.check_places(new, tough_names)?;
    let (mut added, mut added_to, mut sources) = (Vec::new(), Vec::new(), Vec::new());
    let mut lost = Vec::new();
    for (role, files) in by_role {
        if !stage(&mut staging, &role, &files)? {
            // Listed just so; whether they are there is another question.
            let own = files
                .iter()
                .map(|(file, found)| (file.path.as_str().to_owned(), found.clone(), file.source.clone()));
            lost.push((role.clone(), own.collect()));
        }
        for (file, found) in files {
            added.push(entry(file.path.as_str(), &role, &found));
            added_to.push((file.path.as_str().to_owned(), role.clone()));
            sources.push((file.path.as_str().to_owned(), file.source));
        }
    }
    staging.commit()?;
    if staging.workspace.has_staged() {
        staging.workspace.set_sources(sources, &[])?;
    }
    let mut put_back = 0_u64;
    for (role, files) in lost {
        let notice = &mut |said: &str| context.screen.warn(said);
        put_back = put_back.saturating_add(staging.workspace.put_back(&role, files, tough_names, notice)?);
    }
    warn_of_unfound(&staging, &added_to)?;
    tell_claimed(&claimed, context);
    let mut text = format!("added {}\n", count(u64::try_from(added.len()).unwrap_or(u64::MAX), "target"));
    if put_back > 0 {
        text.push_str(&format!("put {} back that was lost from targets/\n", count(put_back, "file")));
    }
    Ok(staging.report(json!({"added": added, "put_back": put_back}), text))
}

/// Prepares the role with its new targets, all of which one way of delegations to it must allow; false where it lists them
/// already.
fn stage(
    staging: &mut Staging<'_>,
    role: &RoleName,
    files: &[(Named, TargetFile<'static>)],
) -> Result<bool, Failure> {
    let ways = staging.workspace.scopes(role)?;
    if staging.workspace.current(role)?.is_none() {
        if ways.is_empty() || role.is_top_level() {
            return Err(unknown_role(role));
        }
        // Others delegate first, and leave it to the role to come with metadata of its own.
        staging.begin(role)?;
    }
    let allows = |way: &&Vec<PathScope>| {
        files.iter().all(|(file, _)| way.iter().all(|scope| scope.allows(file.path.as_str())))
    };
    let way = ways.iter().find(allows).or_else(|| ways.first()).cloned().ok_or_else(|| unknown_role(role))?;
    let changes = staging.edit(role, |edit| {
        edit.within(way)?;
        files.iter().try_for_each(|(file, found)| edit.add_target(&file.path, found))
    })?;
    if !changes {
        // The very files that are listed already: no reason for another version.
        staging.forget(role);
    }
    Ok(changes)
}

/// A target counts only where a client's search comes to it first: one line when it does not.
fn warn_of_unfound(staging: &Staging<'_>, added: &[(String, RoleName)]) -> Result<(), Failure> {
    let mut first = None;
    let mut number = 0_usize;
    for (path, role) in added {
        let search = staging.workspace.search(path)?;
        if search.found.as_ref() != Some(role) {
            number = number.saturating_add(1);
            first = first.or(Some((path, role, search)));
        }
    }
    let Some((path, role, search)) = first else { return Ok(()) };
    let why = match (search.found, search.ended_by) {
        (Some(other), _) => format!("they find it in {other}, which they search before {role}"),
        (None, Some(last)) => format!("their search ends with the terminating delegation {last}"),
        (None, None) => format!("their search does not come to {role}"),
    };
    let more = match number.saturating_sub(1) {
        0 => String::new(),
        more => format!(" (nor {more} more of these targets)"),
    };
    staging.context.screen.warn(format!("clients will not find {path} in {role}{more}: {why}"));
    Ok(())
}

/// Several roles could have taken a target, and nobody said which: one line.
fn tell_claimed(claimed: &[(String, RoleName, Vec<RoleName>)], context: &Context) {
    let Some((path, role, others)) = claimed.first() else { return };
    let (path, role) = (visible(path), visible(role.as_str()));
    let others =
        first_of(others.iter().map(|other| visible(other.as_str()).into_owned()).collect(), MOST_NAMED);
    let more = match claimed.len().saturating_sub(1) {
        0 => String::new(),
        more => format!("; so it is with {more} more of these targets"),
    };
    context.screen.note(format!(
        "{path} goes to {role}, which clients search first; its path is allowed to {others} too, and --role names another{more}"
    ));
}

/// More roles than this are told by their number.
const MOST_NAMED: usize = 4;

/// Which digests to list of a target: SHA-256, and whatever was listed of it before.
fn digests(role: Option<&Metadata>, path: &str) -> Algorithms {
    let before = role.and_then(Metadata::as_targets).and_then(|targets| targets.find(path));
    before.map_or(Algorithms::SHA256, |file| file.hashes.algorithms().and_sha256())
}

/// What the FILEs and `--path` of the command line mean.
fn named(files: &[PathBuf], path: Option<&str>) -> Result<Vec<Named>, Failure> {
    let folder = path.filter(|path| path.ends_with('/')).unwrap_or("");
    let exact = path.filter(|path| !path.is_empty() && !path.ends_with('/'));
    let mut found = Vec::new();
    for file in files {
        let about = std::fs::metadata(file).map_err(|e| Failure::io("read", file, &e))?;
        if about.is_dir() {
            if exact.is_some() {
                return Err(Failure::new(reason::USAGE, format!("{} is a folder", file.display()))
                    .remedy("end --path with a / to put all that is in it there"));
            }
            let top = std::fs::canonicalize(file).map_err(|e| Failure::io("find", file, &e))?;
            walk(file, &top, folder, &mut found)?;
        } else {
            let path = match exact {
                Some(path) => path.to_owned(),
                None => format!("{folder}{}", name_of(file)?),
            };
            found.push(file_at(&path, file)?);
        }
    }
    if exact.is_some() && found.len() != 1 {
        return Err(Failure::new(reason::USAGE, "--path names one file, and several were given")
            .remedy("end --path with a / to name a folder for all of them"));
    }
    let mut seen: BTreeMap<&TargetPath, &Path> = BTreeMap::new();
    for one in &found {
        if let Some(other) = seen.insert(&one.path, &one.source).filter(|other| *other != one.source) {
            let text =
                format!("{} and {} would both be target {}", other.display(), one.source.display(), one.path);
            return Err(
                Failure::new(reason::TARGET_NAME, text).remedy("add them apart, each with its --path")
            );
        }
    }
    Ok(found)
}

/// All regular files below a folder, by their path in it. Others may have put links there, to what only this user may read:
/// those of others are not followed, nor any that leads out of the folder that was named, `top`.
fn walk(folder: &Path, top: &Path, prefix: &str, found: &mut Vec<Named>) -> Result<(), Failure> {
    let entries = std::fs::read_dir(folder).map_err(|e| Failure::io("read", folder, &e))?;
    let mut paths: Vec<PathBuf> = Vec::new();
    for entry in entries {
        paths.push(entry.map_err(|e| Failure::io("read", folder, &e))?.path());
    }
    paths.sort();
    for path in paths {
        let about = std::fs::metadata(&path).map_err(|e| Failure::io("read", &path, &e))?;
        let name = format!("{prefix}{}", name_of(&path)?);
        if about.is_dir() {
            if path.is_symlink() {
                return Err(Failure::new(
                    reason::USAGE,
                    format!("{} is a link to a folder; it might lead around in a circle", path.display()),
                )
                .remedy("name the folder itself"));
            }
            walk(&path, top, &format!("{name}/"), found)?;
        } else {
            check_link(&path, top)?;
            found.push(file_at(&name, &path)?);
        }
    }
    Ok(())
}

fn check_link(path: &Path, top: &Path) -> Result<(), Failure> {
    let fail = |e: std::io::Error| Failure::io("find", path, &e);
    let about = std::fs::symlink_metadata(path).map_err(fail)?;
    let why = if !about.is_symlink() {
        return Ok(());
    } else if about.uid() != rustix::process::geteuid().as_raw() {
        "a link of another user's"
    } else if !std::fs::canonicalize(path).map_err(fail)?.starts_with(top) {
        "a link that leads out of the folder that was named"
    } else {
        return Ok(());
    };
    Err(Failure::new(reason::USAGE, format!("{} is {why}, and is not followed", path.display()))
        .remedy("look where it leads; name the file itself, with its --path, or take the link away")
        .detail("file", path.display().to_string()))
}

fn file_at(path: &str, source: &Path) -> Result<Named, Failure> {
    let judged = TargetPath::new_for_writing(path);
    let path = judged.map_err(|e| edit_failure(&e.into()).detail("path", path))?;
    let source = std::path::absolute(source).map_err(|e| Failure::io("find", source, &e))?;
    Ok(Named { path, source })
}

fn name_of(file: &Path) -> Result<String, Failure> {
    let name = file.file_name().and_then(|name| name.to_str()).map(ToOwned::to_owned);
    name.ok_or_else(|| {
        Failure::new(reason::TARGET_NAME, format!("{} has no name in UTF-8", file.display()))
            .remedy("rename it, or give it a name with --path")
    })
}

fn remove(mut staging: Staging<'_>, paths: &[String], role: Option<&str>) -> Result<Report, Failure> {
    let only = role.map(role_name).transpose()?;
    if let Some(role) = only.as_ref().filter(|role| matches!(staging.workspace.current(role), Ok(None))) {
        return Err(unknown_role(role));
    }
    let mut by_role: BTreeMap<RoleName, Vec<String>> = BTreeMap::new();
    let mut missing: BTreeSet<&str> = BTreeSet::new();
    let lists = |role: &RoleName, path: &str| -> Result<bool, Failure> {
        let current = staging.workspace.current(role)?;
        let targets = current.as_ref().and_then(Metadata::as_targets);
        Ok(targets.is_some_and(|targets| targets.find(path).is_some()))
    };
    for path in paths {
        let roles = match &only {
            Some(role) => vec![role.clone()],
            None => staging.workspace.roles_near(path)?,
        };
        let mut found = Vec::new();
        for role in roles {
            found.extend(lists(&role, path)?.then_some(role));
        }
        if found.is_empty() && only.is_none() {
            // A bin may list what does not belong to it: no client finds it there, so it is only looked for now.
            for node in staging.workspace.tree()?.iter() {
                found.extend(lists(&node.role, path)?.then(|| node.role.clone()));
            }
        }
        if found.is_empty() {
            missing.insert(path);
        }
        for role in found {
            by_role.entry(role).or_default().push(path.clone());
        }
    }
    if let Some(path) = missing.first() {
        return Err(
            edit_failure(&tuf::edit::EditError::NoTarget(visible(path).into_owned())).detail("path", *path)
        );
    }
    let mut removed = Vec::new();
    for (role, mut paths) in by_role {
        paths.dedup();
        staging.edit(&role, |edit| paths.iter().try_for_each(|path| edit.remove_target(path)))?;
        removed.extend(paths.iter().map(|path| json!({"path": path, "role": role.as_str()})));
    }
    staging.commit()?;
    staging.workspace.set_sources([], paths)?;
    let text = format!("removed {}\n", count(u64::try_from(removed.len()).unwrap_or(u64::MAX), "target"));
    Ok(staging.report(json!({"removed": removed}), text))
}

fn list(workspace: &Workspace, role: Option<&str>, context: &Context) -> Result<Report, Failure> {
    if let Some(note) = workspace.interrupted() {
        context.screen.warn(note);
    }
    let only = role.map(role_name).transpose()?;
    if let Some(role) = only.as_ref().filter(|role| matches!(workspace.current(role), Ok(None))) {
        return Err(unknown_role(role));
    }
    let mut all = Vec::new();
    let mut table = Table::new(&["TARGET", "SIZE", "SHA256", "ROLE"]);
    for node in workspace.tree()?.iter().filter(|n| only.as_ref().is_none_or(|r| *r == n.role)) {
        let Some(metadata) = workspace.current(&node.role)? else { continue };
        for (path, file) in metadata.as_targets().iter().flat_map(|t| t.targets()) {
            let digest = file.hashes.iter().next().map(|(_, hex)| hex).unwrap_or_default();
            let role = visible(node.role.as_str());
            table.row([visible(&path).as_ref(), &size(file.length), &short_digest(&digest), &role]);
            all.push(entry(&path, &node.role, &file));
        }
    }
    let text = if all.is_empty() { "no targets\n".to_owned() } else { table.render(context.screen.out()) };
    Ok(Report::new(json!({"targets": all}), text))
}

fn entry(path: &str, role: &RoleName, file: &TargetFile<'_>) -> Value {
    let hashes: BTreeMap<&str, String> = file.hashes.iter().collect();
    json!({"path": path, "role": role.as_str(), "length": file.length, "hashes": hashes})
}

#[cfg(test)]
mod tests {
    use super::named;
    use std::path::PathBuf;

    fn paths(files: &[&PathBuf], path: Option<&str>) -> Result<Vec<String>, String> {
        let files: Vec<PathBuf> = files.iter().map(|file| (*file).clone()).collect();
        let found = named(&files, path).map_err(|e| e.reason().to_owned())?;
        Ok(found.into_iter().map(|one| one.path.as_str().to_owned()).collect())
    }

    #[test]
    fn files_and_path_mean_what_the_contract_says() {
        let folder = tempfile::tempdir().unwrap();
        let (one, deep) = (folder.path().join("one.bin"), folder.path().join("d/e"));
        std::fs::create_dir_all(&deep).unwrap();
        std::fs::write(&one, "1").unwrap();
        std::fs::write(deep.join("two.bin"), "2").unwrap();
        let all = folder.path().to_owned();
        assert_eq!(paths(&[&one], None), Ok(vec!["one.bin".into()]));
        assert_eq!(paths(&[&one], Some("a/")), Ok(vec!["a/one.bin".into()]));
        assert_eq!(paths(&[&one], Some("a/b")), Ok(vec!["a/b".into()]));
        assert_eq!(paths(&[&all], Some("x/")), Ok(vec!["x/d/e/two.bin".into(), "x/one.bin".into()]));
        assert_eq!(paths(&[&all], Some("x")), Err("USAGE".into()));
        assert_eq!(paths(&[&one, &deep.join("two.bin")], Some("x")), Err("USAGE".into()));
        assert_eq!(paths(&[&one], Some("../x")), Err("TARGET_NAME".into()));
        assert_eq!(paths(&[&one], Some("/x")), Err("TARGET_NAME".into()));
        let twin = deep.join("one.bin");
        std::fs::write(&twin, "3").unwrap();
        assert_eq!(paths(&[&one, &twin], None), Err("TARGET_NAME".into()));
    }
}
