//! `tufctl verify`: everything that is published, as a client would see it and more: every role, every target file.

mod state;

use std::collections::VecDeque;
use std::path::Path;

use serde_json::{Value, json};
use tuf::key::Key;
use tuf::metadata::{Delegations, Hashes, Metadata, Root, TargetFile};
use tuf::role::{RoleKind, RoleName, Version};
use tuf::time::UtcTime;
use tuf::trust::{Options, TrustError, TrustedSet};

use crate::args::VerifyArgs;
use crate::context::Context;
use crate::error::{Failure, reason};
use crate::render::{self, Progress, Report, count, size, visible};
use crate::workspace::{hash_file, published_name, read_any, read_file, target_places};
use state::State;

/// Runs `tufctl verify`.
pub(crate) fn run(args: &VerifyArgs, context: &Context) -> Result<Report, Failure> {
    let at = match &args.at {
        Some(text) => text.parse().map_err(|e| {
            Failure::new(reason::USAGE, format!("--at: {e}")).remedy("write it as 2026-11-20T10:00:00Z")
        })?,
        None => UtcTime::from_unix(render::now()),
    };
    let state = args.state.as_deref().map(State::open).transpose()?;
    let options = Options { accept_wrong_keyids: args.accept_keyids, ..Options::new(Some(at)) };
    let check = Check { dir: &args.dir, options, context };
    let set = check.metadata(&args.root, state.as_ref())?;
    check.keys(&set)?;
    let found = if args.metadata_only { Files::default() } else { check.target_files(&set)? };
    if let Some(state) = state {
        state.write(&set)?;
    }
    Ok(report(&set, &found, args.metadata_only))
}

/// A refusal by the specification: exit 6, with role, file and section.
pub(crate) fn failure(error: &TrustError, file: &str) -> Failure {
    let remedy = match error.role.kind() {
        _ if error.spec == "4.2.1" => {
            "sign the file anew with right keyids, or take them with --accept-keyids"
        }
        RoleKind::Timestamp | RoleKind::Snapshot
            if error.spec.ends_with(".4.4") || error.spec.ends_with(".5.6") =>
        {
            "renew it: tufctl bump, then tufctl sign"
        }
        _ => "do not use this copy; compare it with another one, or publish it again",
    };
    refused(&error.role, file, error.spec, format!("{}: {}", error.role, error.kind)).remedy(remedy)
}

fn refused(role: &RoleName, file: &str, spec: &str, message: String) -> Failure {
    Failure::new(reason::VERIFICATION, format!("{message} ({file}, specification {spec})"))
        .remedy("do not use this copy; compare it with another one, or publish it again")
        .detail("role", role.as_str())
        .detail("file", file)
        .detail("spec", spec)
}

/// One run over a folder.
struct Check<'c> {
    dir: &'c Path,
    options: Options,
    context: &'c Context,
}

/// What target files were seen.
#[derive(Debug, Default)]
struct Files {
    number: u64,
    bytes: u64,
}

impl Check<'_> {
    /// The workflow of section 5, then every delegated role that anything leads to.
    fn metadata(&self, root: &Path, state: Option<&State>) -> Result<TrustedSet, Failure> {
        let name = root.display().to_string();
        let bytes = read_any(root, MOST_BYTES)?
            .ok_or_else(|| Failure::io("read", root, &std::io::Error::from(std::io::ErrorKind::NotFound)))?;
        let mut set = TrustedSet::from_root(bytes, &self.options).map_err(|e| failure(&e, &name))?;
        if let Some(state) = state {
            set = state.apply(set, &self.options)?;
        }
        self.same_root(&set)?;
        while let Some(next) = set.root().version().next() {
            let file = published_name(&RoleKind::Root.role(), next, true);
            let Some(bytes) = self.read(&file)? else { break };
            set.update_root(bytes).map_err(|e| failure(&e, &file))?;
        }
        set.check_root_expiry().map_err(|e| failure(&e, &format!("{}.root.json", set.root().version())))?;
        self.no_gap(&set)?;
        let timestamp = published_name(&RoleKind::Timestamp.role(), Version::FIRST, true);
        let bytes = self.must_read(&RoleKind::Timestamp.role(), &timestamp, "5.4.1")?;
        set.update_timestamp(bytes).map_err(|e| failure(&e, &timestamp))?;
        let listed = set.timestamp().and_then(Metadata::as_timestamp).map(|t| t.snapshot.version);
        let role = RoleKind::Snapshot.role();
        let file = published_name(&role, listed.unwrap_or(Version::FIRST), self.consistent(&set));
        let bytes = self.must_read(&role, &file, "5.5.1")?;
        set.update_snapshot(bytes).map_err(|e| failure(&e, &file))?;
        self.targets_roles(&mut set)?;
        Ok(set)
    }

    /// The published root of the version that is trusted must be that root.
    fn same_root(&self, set: &TrustedSet) -> Result<(), Failure> {
        let trusted = set.root();
        let role = RoleKind::Root.role();
        let file = published_name(&role, trusted.version(), true);
        let Some(bytes) = self.read(&file)? else { return Ok(()) };
        let same = Metadata::parse(bytes, &self.options.limits).is_ok_and(|m| m.digest() == trusted.digest());
        if same {
            return Ok(());
        }
        let why =
            format!("root: the published version {} is not the root that is trusted", trusted.version());
        Err(refused(&role, &file, "5.2", why))
    }

    /// All roots must stay published (6.2.1): a newer one beyond a gap would never be found.
    fn no_gap(&self, set: &TrustedSet) -> Result<(), Failure> {
        let newest = crate::workspace::published_roots(&self.dir.join("metadata"))?.last().copied();
        let Some(newest) = newest.filter(|newest| *newest > set.root().version()) else { return Ok(()) };
        let missing = set.root().version().get().saturating_add(1);
        let why = format!("root: version {missing} is missing before version {newest}");
        Err(refused(&RoleKind::Root.role(), &format!("{missing}.root.json"), "5.3.3", why))
    }

    /// Every targets role, breadth first, by every parent that delegates to it.
    fn targets_roles(&self, set: &mut TrustedSet) -> Result<(), Failure> {
        let consistent = self.consistent(set);
        let mut waiting = VecDeque::from([(RoleKind::Targets.role(), RoleKind::Root.role())]);
        let mut seen = std::collections::BTreeSet::new();
        while let Some((role, parent)) = waiting.pop_front() {
            if !seen.insert((role.clone(), parent.clone())) {
                continue;
            }
            let listed = set.snapshot().and_then(Metadata::as_snapshot).and_then(|s| s.meta.get(&role));
            let version = listed.map_or(Version::FIRST, |file| file.version);
            let file = published_name(&role, version, consistent);
            if listed.is_none() {
                let why = format!("{role}: the snapshot does not list it, and {parent} delegates to it");
                return Err(refused(&role, &file, "5.6.1", why));
            }
            let bytes = self.must_read(&role, &file, "5.6.1")?;
            let metadata = set.update_targets(&role, &parent, bytes).map_err(|e| failure(&e, &file))?.clone();
            waiting.extend(delegated(&metadata).into_iter().map(|child| (child, role.clone())));
        }
        Ok(())
    }

    /// What no client looks at in keys: private ones that were published, and keyids that were taken as they are.
    fn keys(&self, set: &TrustedSet) -> Result<(), Failure> {
        let root = (RoleKind::Root.role(), set.root());
        let roles = std::iter::once(root).chain(set.all_targets().map(|(role, m)| (role.clone(), m)));
        for (role, metadata) in roles {
            let delegations = metadata.as_targets().and_then(|t| t.delegations.as_ref());
            let wrong = metadata.as_root().map(Root::wrong_keyids);
            for (keyid, right) in
                wrong.or_else(|| delegations.map(Delegations::wrong_keyids)).into_iter().flatten()
            {
                self.context
                    .screen
                    .warn(format!("{role}: keyid {keyid} is not the hash of its key, {right}"));
            }
            let keys = metadata.as_root().map(|r| &r.keys).or(delegations.map(|d| &d.keys));
            for (keyid, key) in keys.into_iter().flatten() {
                if holds_private_key(key) {
                    let file = published_name(&role, metadata.version(), self.consistent(set));
                    let why = format!(
                        "{role}: the object of key {keyid} holds a private key, which all can read now"
                    );
                    return Err(
                        refused(&role, &file, "4.2", why).remedy("replace the key: tufctl root replace-key")
                    );
                }
            }
        }
        Ok(())
    }

    /// Every target that a role lists, where clients look for it.
    fn target_files(&self, set: &TrustedSet) -> Result<Files, Failure> {
        let consistent = self.consistent(set);
        let total = set
            .all_targets()
            .flat_map(|(_, m)| m.as_targets())
            .flat_map(|t| t.targets())
            .map(|(_, f)| f.length)
            .sum();
        let mut files = Files::default();
        let mut progress = Progress::new(self.context.screen, "verifying");
        for (role, metadata) in set.all_targets() {
            for (path, target) in metadata.as_targets().iter().flat_map(|t| t.targets()) {
                self.target_file(role, &path, &target, consistent, &mut |more| {
                    files.bytes = files.bytes.saturating_add(more);
                    progress.update(files.bytes, total);
                })?;
                files.number = files.number.saturating_add(1);
            }
        }
        Ok(files)
    }

    fn target_file(
        &self,
        role: &RoleName,
        path: &str,
        target: &TargetFile<'_>,
        consistent: bool,
        tick: &mut dyn FnMut(u64),
    ) -> Result<(), Failure> {
        if !tuf::target::stays_inside(path) {
            let why = format!("{role}: target {path:?} would leave the folder of targets");
            return Err(refused(role, path, "4.5", why).detail("path", path));
        }
        if !target.hashes.is_understood() {
            let why = format!("{role}: target {path} has no digest that can be checked");
            return Err(refused(role, path, "5.7.2", why).detail("path", path));
        }
        // Clients take one of the digests: each understood one must have its file; the last one read is hashed once.
        let understood = Hashes { other: Vec::new(), ..target.hashes.clone() };
        for (index, place) in target_places(path, &understood, consistent, false).iter().enumerate() {
            let full = self.dir.join("targets").join(place);
            let file = format!("targets/{}", place.display());
            let silent = &mut |_| {};
            let ticks: &mut dyn FnMut(u64) = if index == 0 { &mut *tick } else { silent };
            let is_file = std::fs::metadata(&full).is_ok_and(|about| about.is_file());
            let problem = if !is_file {
                Some("is missing".to_owned())
            } else {
                let found = hash_file(&full, target.hashes.sha512.is_some(), ticks)?;
                differs(target, &found)
            };
            if let Some(problem) = problem {
                let why = format!("{role}: the file of target {path} {problem}");
                return Err(refused(role, &file, "5.7.2", why).detail("path", path));
            }
        }
        Ok(())
    }

    fn consistent(&self, set: &TrustedSet) -> bool {
        set.root().as_root().is_none_or(|root| root.consistent_snapshot)
    }

    fn read(&self, file: &str) -> Result<Option<Vec<u8>>, Failure> {
        read_file(&self.dir.join("metadata").join(file), MOST_BYTES)
    }

    fn must_read(&self, role: &RoleName, file: &str, spec: &str) -> Result<Vec<u8>, Failure> {
        self.read(file)?.ok_or_else(|| refused(role, file, spec, format!("{role}: its file is missing")))
    }
}

/// The roles that a targets role delegates to, every bin of succinct ones.
fn delegated(metadata: &Metadata) -> Vec<RoleName> {
    let Some(delegations) = metadata.as_targets().and_then(|t| t.delegations.as_ref()) else {
        return Vec::new();
    };
    match &delegations.succinct {
        Some(bins) => bins.names().collect(),
        None => delegations.roles.iter().map(|role| role.name.clone()).collect(),
    }
}

/// Whether a key object has a private part, as old tools wrote it beside `public`.
fn holds_private_key(key: &Key) -> bool {
    let object: Value = serde_json::from_str(key.json()).unwrap_or_default();
    let private = object.get("keyval").and_then(|keyval| keyval.get("private"));
    let text = private.and_then(Value::as_str).is_some_and(|text| !text.is_empty());
    text || key.json().contains("PRIVATE KEY-----")
}

fn differs(listed: &TargetFile<'_>, found: &TargetFile<'_>) -> Option<String> {
    if listed.length != found.length {
        return Some(format!("has {} bytes, not {}", found.length, listed.length));
    }
    let conflicts = listed.hashes.conflicts(&found.hashes);
    conflicts.first().map(|algorithm| format!("has another {algorithm} than is listed"))
}

fn report(set: &TrustedSet, files: &Files, metadata_only: bool) -> Report {
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
    let listed = all.iter().filter_map(|(_, m)| m.as_targets()).map(|t| u64::try_from(t.len()).unwrap_or(0));
    let targets = if metadata_only { listed.sum() } else { files.number };
    let mut text = String::new();
    for (role, m) in all.iter().take(MOST_LINES) {
        let away = render::expiry(m.expires().unix(), render::now());
        text.push_str(&format!("{} v{} · expires {away}\n", visible(role.as_str()), m.version()));
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
