//! `tufctl verify`: everything that is published, as a client would see it and more: every role, every target file.

pub(super) mod files;
mod keys;
mod paths;
mod refusal;
mod roots;
mod state;

use std::collections::VecDeque;
use std::io::ErrorKind;
use std::path::Path;

use serde_json::{Value, json};
use tuf::metadata::Metadata;
use tuf::role::{RoleKind, RoleName, Version};
use tuf::time::UtcTime;
use tuf::trust::{Options, TimestampStep, TrustedSet};

use crate::args::VerifyArgs;
use crate::context::Context;
use crate::error::{Failure, reason};
use crate::reading;
use crate::render::{self, Report, count, size, visible};
use crate::workspace::{cut_off, open_published, published_name, published_names};
use files::Files;
pub(crate) use refusal::failure;
use refusal::{refused, unusable};
use roots::Roots;
use state::{Known, State};

/// Runs `tufctl verify`.
pub(crate) fn run(args: &VerifyArgs, context: &Context) -> Result<Report, Failure> {
    let at = match &args.at {
        Some(text) => text.parse().map_err(|e| {
            Failure::new(reason::USAGE, format!("--at: {e}")).remedy("write it as 2026-11-20T10:00:00Z")
        })?,
        None => UtcTime::from_unix(render::now()),
    };
    check_folder(&args.dir)?;
    if let Some(note) = cut_off(&args.dir) {
        context.screen.warn(note);
    }
    let state = args.state.as_deref().map(|folder| State::open(folder, &args.dir)).transpose()?;
    let options = Options { accept_wrong_keyids: args.accept_keyids, ..Options::new(Some(at)) };
    let check = Check { dir: &args.dir, options, context };
    let read = check.metadata(&args.root, state.as_ref())?;
    let set = &read.set;
    read.files().try_for_each(|file| check.forms(&file).and_then(|()| oddities(&file)))?;
    check.keys(&read)?;
    check.delegated_paths(set)?;
    let found = if args.metadata_only { Files::default() } else { check.target_files(set)? };
    if let Some(state) = state {
        state.write(set)?;
    }
    Ok(report(set, &found, args.metadata_only, at))
}

/// All that is published and trusted.
struct Read {
    set: TrustedSet,
    roots: Roots,
    /// As it is published; the set has the one that was trusted before, if nothing is new.
    timestamp: Metadata,
    consistent: bool,
}

/// A file of `metadata/`.
struct Published<'r> {
    role: RoleName,
    name: String,
    content: &'r Metadata,
}

impl Read {
    /// Every file, all roots first.
    fn files(&self) -> impl Iterator<Item = Published<'_>> {
        let consistent = self.consistent;
        let roots = self.roots.all().map(|root| (RoleKind::Root.role(), root, true));
        let others = std::iter::once(&self.timestamp).chain(self.set.snapshot());
        let others = others.map(move |it| (it.kind().role(), it, consistent));
        let targets = self.set.all_targets().map(move |(role, it)| (role.clone(), it, consistent));
        roots.chain(others).chain(targets).map(|(role, content, consistent)| {
            let name = published_name(&role, content.version(), consistent);
            Published { role, name, content }
        })
    }
}

/// One run over a folder.
pub(super) struct Check<'c> {
    pub(super) dir: &'c Path,
    pub(super) options: Options,
    pub(super) context: &'c Context,
}

impl Check<'_> {
    /// The workflow of section 5, then every delegated role that anything leads to.
    fn metadata(&self, root: &Path, state: Option<&State>) -> Result<Read, Failure> {
        let given = self.given_root(root)?;
        let roots = Roots::read(&given, self)?;
        let mut set = roots.follow(&given, state, self)?;
        set.check_root_expiry().map_err(|e| failure(&e, &format!("{}.root.json", set.root().version())))?;
        self.plain_root(&roots)?;
        let timestamp = self.timestamp(&mut set)?;
        self.snapshot(&mut set)?;
        let known = state.map(|state| state.targets(&set)).transpose()?.unwrap_or_default();
        self.targets_roles(&mut set, &known)?;
        let consistent = self.consistent(&set);
        Ok(Read { set, roots, timestamp, consistent })
    }

    fn given_root(&self, path: &Path) -> Result<Metadata, Failure> {
        let name = path.display().to_string();
        let found = reading::open_named(path).and_then(|file| reading::read_at_most(file, MOST_BYTES));
        let bytes = found
            .map_err(|e| Failure::io("read", path, &e))?
            .ok_or_else(|| too_long(&RoleKind::Root.role(), &name, "5.2"))?;
        let set = TrustedSet::from_root(bytes, &self.options).map_err(|e| failure(&e, &name))?;
        Ok(set.root().clone())
    }

    /// Without consistent snapshots some read `root.json`: it must be the newest root.
    fn plain_root(&self, roots: &Roots) -> Result<(), Failure> {
        let role = RoleKind::Root.role();
        let Some(newest) = roots.newest() else { return Ok(()) };
        if newest.as_root().is_none_or(|root| root.consistent_snapshot) {
            return Ok(());
        }
        let Some(bytes) = self.read(&role, "root.json", "5.3.3")? else { return Ok(()) };
        let set = TrustedSet::from_root(bytes, &self.options).map_err(|e| failure(&e, "root.json"))?;
        if set.root().digest() == newest.digest() {
            return Ok(());
        }
        let why = format!("root: root.json is not the newest root, version {}", newest.version());
        let mend = "publish anything anew, which puts the newest root there: tufctl bump DIR timestamp, then tufctl sign DIR";
        Err(refused(&role, "root.json", "5.3.3", why).remedy(mend))
    }

    fn timestamp(&self, set: &mut TrustedSet) -> Result<Metadata, Failure> {
        let role = RoleKind::Timestamp.role();
        let file = published_name(&role, Version::FIRST, true);
        let bytes = self.must_read(&role, &file, "5.4.1")?;
        let step = set.update_timestamp(bytes.clone()).map_err(|e| failure(&e, &file))?;
        let now = Metadata::parse(bytes, &self.options.limits)
            .map_err(|e| refused(&role, &file, "5.4.1", format!("{role}: {e}")))?;
        if step == TimestampStep::Same {
            // A client stops here quietly. What is published is not what was trusted, though, if it differs.
            same_content(set.timestamp(), Some(&now), &file, "5.4.3.1")?;
        }
        Ok(now)
    }

    fn snapshot(&self, set: &mut TrustedSet) -> Result<(), Failure> {
        let listed = set.timestamp().and_then(Metadata::as_timestamp).map(|t| t.snapshot.version);
        let role = RoleKind::Snapshot.role();
        let file = published_name(&role, listed.unwrap_or(Version::FIRST), self.consistent(set));
        let before = set.last_trusted(RoleKind::Snapshot);
        let bytes = self.must_read(&role, &file, "5.5.1")?;
        set.update_snapshot(bytes).map_err(|e| failure(&e, &file))?;
        same_content(before.as_ref(), set.snapshot(), &file, "5.5.5")
    }

    /// Every targets role, breadth first, by every parent that delegates to it.
    fn targets_roles(&self, set: &mut TrustedSet, known: &Known) -> Result<(), Failure> {
        let consistent = self.consistent(set);
        let mut waiting = VecDeque::from([(RoleKind::Targets.role(), RoleKind::Root.role())]);
        let mut seen = std::collections::BTreeSet::new();
        while let Some((role, parent)) = waiting.pop_front() {
            if !seen.insert((role.clone(), parent.clone())) {
                continue;
            }
            let (file, bytes) = self.targets_file(&role, listed(set, &role, &parent)?, consistent)?;
            let metadata = set.update_targets(&role, &parent, bytes).map_err(|e| failure(&e, &file))?.clone();
            known.hold(&role, &metadata, &file)?;
            for child in delegated(&metadata) {
                // At once: a delegation to four thousand million bins ends at the first that is not there.
                listed(set, &child, &role)?;
                waiting.push_back((child, role.clone()));
            }
        }
        Ok(())
    }

    /// The file of a targets role: under its encoded name, or the one that web servers look for.
    fn targets_file(
        &self,
        role: &RoleName,
        version: Version,
        consistent: bool,
    ) -> Result<(String, Vec<u8>), Failure> {
        for name in published_names(role, version, consistent) {
            if let Some(bytes) = self.read(role, &name, "5.6.1")? {
                return Ok((name, bytes));
            }
        }
        let file = published_name(role, version, consistent);
        Err(refused(role, &file, "5.6.1", format!("{role}: its file is missing")))
    }

    /// Forms that the specification does not allow; a root that is listed, as of old, is told of.
    fn forms(&self, file: &Published<'_>) -> Result<(), Failure> {
        let Published { role, name, content } = file;
        let taken = |rule| rule == tuf::forms::KEYID && self.options.accept_wrong_keyids;
        let (listed, mut faults): (Vec<_>, Vec<_>) =
            tuf::forms::faults(content).into_iter().partition(|fault| fault.rule == tuf::forms::ROOT_LISTED);
        for fault in listed {
            self.context
                .screen
                .warn(format!("{role}: {} ({name}, specification {})", fault.message, fault.spec));
        }
        faults.retain(|fault| !taken(fault.rule));
        let fault = faults.into_iter().next();
        fault.map_or(Ok(()), |it| Err(refused(role, name, it.spec, format!("{role}: {}", it.message))))
    }

    fn consistent(&self, set: &TrustedSet) -> bool {
        set.root().as_root().is_none_or(|root| root.consistent_snapshot)
    }

    /// A file of `metadata/`; `None` when there is none.
    fn read(&self, role: &RoleName, file: &str, spec: &str) -> Result<Option<Vec<u8>>, Failure> {
        let path = self.dir.join("metadata").join(file);
        match open_published(&path).and_then(|open| reading::read_at_most(open, MOST_BYTES)) {
            Ok(Some(bytes)) => Ok(Some(bytes)),
            Ok(None) => Err(too_long(role, file, spec)),
            Err(e) if e.kind() == ErrorKind::NotFound && !path.is_symlink() => Ok(None),
            Err(e) => Err(match unusable(&path, &e) {
                Some(problem) => refused(role, file, spec, format!("{role}: its file {problem}")),
                None => Failure::io("read", &path, &e),
            }),
        }
    }

    fn must_read(&self, role: &RoleName, file: &str, spec: &str) -> Result<Vec<u8>, Failure> {
        let found = self.read(role, file, spec)?;
        found.ok_or_else(|| refused(role, file, spec, format!("{role}: its file is missing")))
    }
}

/// What some client reads as something else than stands there.
fn oddities(file: &Published<'_>) -> Result<(), Failure> {
    let Published { role, name, content } = file;
    let told = content.oddities().told();
    let first = told.first();
    first.map_or(Ok(()), |it| Err(refused(role, name, it.spec, format!("{role}: {}", it.what))))
}

fn too_long(role: &RoleName, file: &str, spec: &str) -> Failure {
    let why = format!("{role}: its file has more than {MOST_BYTES} bytes, which no metadata has");
    refused(role, file, spec, why)
}

/// One version has one content: another one under it is a second history, which no client would notice.
fn same_content(
    before: Option<&Metadata>,
    now: Option<&Metadata>,
    file: &str,
    spec: &str,
) -> Result<(), Failure> {
    let (Some(before), Some(now)) = (before, now) else { return Ok(()) };
    if before.version() != now.version() || before.digest() == now.digest() {
        return Ok(());
    }
    let role = now.kind().role();
    let why = format!("{role}: version {} has other content than was trusted before", now.version());
    Err(refused(&role, file, spec, why))
}

/// A folder that holds something published; anything else is a slip of the hand, no attack.
pub(super) fn check_folder(dir: &Path) -> Result<(), Failure> {
    let problem = match dir {
        dir if !dir.exists() => "does not exist",
        dir if !dir.is_dir() => "is no folder",
        dir if !dir.join("metadata").is_dir() => "holds no folder metadata/",
        _ => return Ok(()),
    };
    Err(Failure::new(reason::USAGE, format!("{} {problem}", dir.display()))
        .remedy("name the folder that holds metadata/ and targets/")
        .detail("file", dir.display().to_string()))
}

/// The version that the snapshot lists for a role.
fn listed(set: &TrustedSet, role: &RoleName, parent: &RoleName) -> Result<Version, Failure> {
    let meta = set.snapshot().and_then(Metadata::as_snapshot).map(|snapshot| &snapshot.meta);
    meta.and_then(|meta| meta.get(role)).map(|file| file.version).ok_or_else(|| {
        let why = format!("{role}: the snapshot does not list it, and {parent} delegates to it");
        refused(role, &published_name(role, Version::FIRST, false), "5.6.1", why)
    })
}

/// The roles that a targets role delegates to, every bin of succinct ones.
fn delegated(metadata: &Metadata) -> impl Iterator<Item = RoleName> {
    let delegations = metadata.as_targets().and_then(|t| t.delegations.as_ref()).into_iter();
    delegations.flat_map(|d| {
        let bins = d.succinct.iter().flat_map(|bins| bins.names());
        bins.chain(d.roles.iter().map(|role| role.name.clone()))
    })
}

fn report(set: &TrustedSet, files: &Files, metadata_only: bool, at: UtcTime) -> Report {
    let tops = [Some(set.root()), set.timestamp(), set.snapshot()];
    let tops = tops.into_iter().flatten().map(|m| (m.kind().role(), m));
    let all: Vec<(RoleName, &Metadata)> =
        tops.chain(set.all_targets().map(|(r, m)| (r.clone(), m))).collect();
    let roles: Vec<Value> = all
        .iter()
        .map(|(role, m)| {
            json!({"role": role.as_str(), "version": m.version().get(), "expires": m.expires().to_string()})
        })
        .collect();
    let targets = if metadata_only { files::listed(set) } else { files.number };
    let mut text = String::new();
    for (role, m) in all.iter().take(MOST_LINES) {
        let expires = render::expires(m.expires().unix(), at.unix());
        text.push_str(&format!("{} v{} · {expires}\n", visible(role.as_str()), m.version()));
    }
    if all.len() > MOST_LINES {
        text.push_str(&format!("and {} more roles\n", all.len() - MOST_LINES));
    }
    let looked = if metadata_only { "not looked at".to_owned() } else { size(files.bytes) };
    let (roles_text, targets_text) =
        (count(u64::try_from(all.len()).unwrap_or(0), "role"), count(targets, "target"));
    text.push_str(&format!("valid · {roles_text} · {targets_text} · {looked}\n"));
    Report::new(json!({"valid": true, "roles": roles, "targets": targets, "bytes": files.bytes}), text)
}

const MOST_BYTES: u64 = 64 << 20;
const MOST_LINES: usize = 40;
