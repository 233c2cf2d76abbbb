//! `tufctl repo show`: the tree of roles.

use serde_json::{Value, json};
use tuf::key::KeyId;
use tuf::metadata::Metadata;
use tuf::role::{RoleKind, RoleName};

use super::super::names::{called, key_names};
use super::lost::{self, Lost};
use crate::args::ShowArgs;
use crate::context::Context;
use crate::error::Failure;
use crate::render::{self, KeyNames, Report, Style, visible};
use crate::workspace::{Facts, Part, SignatureState, Unsound, Workspace};

/// Runs `tufctl repo show`.
pub(crate) fn run(args: &ShowArgs, context: &Context) -> Result<Report, Failure> {
    let workspace = Workspace::open(&args.dir)?;
    if let Some(note) = workspace.interrupted() {
        context.screen.warn(note);
    }
    // All of it is read, so that no key goes without its name.
    workspace.tree()?;
    let names = key_names(&workspace, context)?;
    let facts = Facts::find_if_reachable(context, &workspace)?;
    if let Some(behind) = facts.behind(&workspace)? {
        context.screen.warn(behind);
    }
    if let Some(lost) = facts.lost_root(&workspace)? {
        context.screen.warn(lost.sentence(workspace.dir()));
    }
    let name = facts.name().or(workspace.staged_name()).map(ToOwned::to_owned);
    let rows = rows(&workspace, &facts, context)?;
    warn_of_unsound(&rows, context);
    let lost = Lost::all(&workspace)?;
    lost::warn(&lost, &workspace, context);
    let style = context.screen.out();
    let mut text =
        format!("{}\n", style.bold(visible(name.as_deref().unwrap_or("(no name: the agent was not asked)"))));
    for (index, row) in rows.iter().enumerate() {
        // Bins are many and alike: the first of a run speaks for all that are in the same state.
        let like_before =
            index.checked_sub(1).and_then(|i| rows.get(i)).is_some_and(|before| row.is_like(before));
        if like_before {
            continue;
        }
        let run = rows.iter().skip(index).skip(1).take_while(|next| next.is_like(row)).count();
        text.push_str(&row.lines(run, &names, style));
    }
    let roles: Vec<Value> = rows.iter().filter_map(Row::json).collect();
    let lost: Vec<Value> = lost.iter().map(Lost::json).collect();
    let mut document = json!({"name": name, "roles": roles, "lost": lost});
    let Some(span) = args.check else { return Ok(Report::new(document, text)) };
    let limit = render::now().saturating_add(span.seconds);
    let soon: Vec<&Row> =
        rows.iter().filter(|row| row.published_expires.is_some_and(|at| at <= limit)).collect();
    for row in &soon {
        let expires = render::expires(row.published_expires.unwrap_or_default(), render::now());
        context.screen.warn(format!("{} {expires}", visible(row.role.as_str())));
    }
    if let Some(members) = document.as_object_mut() {
        members.insert("expiring".into(), soon.iter().map(|row| row.expiring()).collect());
    }
    let report = Report::new(document, text);
    Ok(if soon.is_empty() { report } else { report.exit(3) })
}

/// Published files that do not verify, one line each; a role that only inherits the fault of another is not named.
fn warn_of_unsound(rows: &[Row], context: &Context) {
    let faults: Vec<&Unsound> =
        rows.iter().filter_map(|row| row.unsound.as_ref().filter(|fault| fault.role == row.role)).collect();
    for fault in faults.iter().take(MOST_FAULTS) {
        context.screen.warn(fault.sentence());
    }
    if let Some(more @ 1..) = faults.len().checked_sub(MOST_FAULTS) {
        context.screen.warn(format!("{more} more published files do not verify"));
    }
}

/// A role in the tree.
struct Row {
    role: RoleName,
    depth: usize,
    /// None: nobody has made it yet, though its keys are known.
    metadata: Option<Metadata>,
    staged: bool,
    published_expires: Option<i64>,
    state: SignatureState,
    /// What is wrong with the published file, or with one that says which keys it has.
    unsound: Option<Unsound>,
    bin_of: Option<String>,
}

fn rows(workspace: &Workspace, facts: &Facts, context: &Context) -> Result<Vec<Row>, Failure> {
    let mut places: Vec<(RoleName, usize, Option<RoleName>)> = vec![(RoleKind::Root.role(), 0, None)];
    for node in workspace.tree()?.iter() {
        places.push((node.role.clone(), node.depth.saturating_add(1), Some(node.parent.clone())));
    }
    places.extend([RoleKind::Snapshot, RoleKind::Timestamp].map(|kind| (kind.role(), 1, None)));
    let mut rows = Vec::new();
    for (role, depth, parent) in places {
        let metadata = workspace.current(&role)?;
        let published = workspace.published(&role)?;
        rows.push(Row {
            state: match &metadata {
                Some(_) => workspace.signatures(&role)?,
                None => waiting(workspace, &role)?,
            },
            unsound: facts.unsound(context, workspace, &role)?,
            staged: workspace.staged(&role)?.is_some(),
            published_expires: published.map(|m| m.expires().unix()),
            bin_of: bin_of(workspace, parent.as_ref(), &role)?,
            role,
            depth,
            metadata,
        });
    }
    Ok(rows)
}

/// The keys of a role that nobody has made yet.
fn waiting(workspace: &Workspace, role: &RoleName) -> Result<SignatureState, Failure> {
    let authorities = workspace.authorities(role)?;
    let newest = authorities.last().map(|authority| &authority.role);
    Ok(SignatureState {
        need: newest.map_or(0, |keys| keys.threshold.get()),
        keyids: newest.map(|keys| keys.keyids.clone()).unwrap_or_default(),
        ..SignatureState::default()
    })
}

fn bin_of(
    workspace: &Workspace,
    parent: Option<&RoleName>,
    role: &RoleName,
) -> Result<Option<String>, Failure> {
    let Some(parent) = parent.filter(|parent| parent.kind() == RoleKind::Targets) else { return Ok(None) };
    let metadata = workspace.current(parent)?;
    let delegations = metadata.as_ref().and_then(Metadata::as_targets).and_then(|t| t.delegations.as_ref());
    let bins = delegations.and_then(|d| d.succinct.as_ref()).filter(|bins| bins.contains(role));
    Ok(bins.map(|bins| bins.name_prefix.clone()))
}

impl Row {
    /// None for a role that nobody has made yet: it has no version.
    fn json(&self) -> Option<Value> {
        let metadata = self.metadata.as_ref()?;
        let texts = |ids: &[tuf::key::KeyId]| ids.iter().map(ToString::to_string).collect::<Vec<_>>();
        let mut row = json!({
            "role": self.role.as_str(),
            "version": metadata.version().get(),
            "threshold": self.need(),
            "keyids": texts(&self.state.keyids),
            "expires": metadata.expires().to_string(),
            "signed_by": texts(&self.state.signed_by),
            "missing": texts(&self.state.missing),
            "staged": self.staged,
            "complete": self.state.met,
            "published_verifies": self.published_expires.map(|_| self.unsound.is_none()),
            "depth": self.depth,
        });
        if let Some(members) = row.as_object_mut().filter(|_| self.state.by_parents()) {
            members.insert("parents".into(), self.state.parts.iter().map(Part::json).collect());
        }
        if let (Some(members), Some(parts)) = (row.as_object_mut(), self.roots()) {
            members.insert(
                "roots".into(),
                parts.iter().map(|(version, part)| of_root(*version, part)).collect(),
            );
        }
        Some(row)
    }

    /// Of a staged root whose keys, or their number, are not those of the root before it: whose signatures it needs, by the
    /// version of the root that says so.
    fn roots(&self) -> Option<[(u64, &Part); 2]> {
        let version = self.metadata.as_ref()?.version().get();
        let is_staged_root = self.role.kind() == RoleKind::Root && self.staged;
        let (before, own) = self.state.of_two_roots().filter(|_| is_staged_root)?;
        Some([(version.saturating_sub(1), before), (version, own)])
    }

    /// How many of its keys must sign; of a staged root of its own.
    fn need(&self) -> u32 {
        self.roots().map_or(self.state.need, |[_, (_, own)]| own.need)
    }

    /// As `--check` lists it: what is published, which is what clients see expire.
    fn expiring(&self) -> Value {
        let at = self.published_expires.map(|at| tuf::time::UtcTime::from_unix(at).to_string());
        json!({"role": self.role.as_str(), "expires": at})
    }

    /// Whether this is another bin in the same state as the one before.
    fn is_like(&self, before: &Self) -> bool {
        self.bin_of.is_some()
            && self.bin_of == before.bin_of
            && self.staged == before.staged
            && self.unsound.is_none()
            && self.made() == before.made()
            && self.state.signed_by == before.state.signed_by
    }

    /// Version and day of expiry.
    fn made(&self) -> Option<(u64, i64)> {
        self.metadata.as_ref().map(|m| (m.version().get(), m.expires().unix() / 86_400))
    }

    fn lines(&self, more: usize, names: &KeyNames, style: Style) -> String {
        let indent = "  ".repeat(self.depth);
        let more = if more == 0 { String::new() } else { format!(" and {more} more like it") };
        let role = style.bold(visible(self.role.as_str()));
        let keys = if self.state.by_parents() {
            "other keys by each parent".to_owned()
        } else {
            format!("{} of {} keys", self.need(), self.state.keyids.len())
        };
        let Some(metadata) = &self.metadata else {
            let mut text = format!("{indent}{role} · {keys} · {}\n", style.dim("not made yet"));
            for keyid in &self.state.keyids {
                text.push_str(&format!("{indent}  {} {}\n", style.dim("·"), called(names, keyid.as_str())));
            }
            return text;
        };
        let expires = metadata.expires();
        let away = render::expiry(expires.unix(), render::now());
        let away = match expires.unix().saturating_sub(render::now()) {
            left if left <= 0 => style.red(away),
            left if left <= 86_400 => style.yellow(away),
            _ => style.dim(away),
        };
        let staged = if self.staged { format!(" · {}", style.yellow("staged")) } else { String::new() };
        let mut text = format!(
            "{indent}{role}{more} v{} · {keys} · expires {expires} {away}{staged}\n",
            metadata.version(),
        );
        if self.state.by_parents() {
            for part in &self.state.parts {
                let keys = format!("{} of {} keys", part.need, part.keyids.len());
                let closed = if part.closed { " · clients cannot use it that way" } else { "" };
                text.push_str(&format!("{indent}  by {}: {keys}{closed}\n", visible(part.by.as_str())));
                text.push_str(&marks(
                    &format!("{indent}  "),
                    &part.keyids,
                    &part.signed_by,
                    part.met(),
                    names,
                    style,
                ));
            }
            return text;
        }
        if let Some(parts) = self.roots() {
            for (root, part) in parts {
                let keys = format!("{} of {} keys", part.need, part.keyids.len());
                text.push_str(&format!("{indent}  by root v{root}: {keys}\n"));
                let inner = format!("{indent}  ");
                text.push_str(&marks(&inner, &part.keyids, &part.signed_by, part.met(), names, style));
            }
            return text;
        }
        text.push_str(&marks(
            &indent,
            &self.state.keyids,
            &self.state.signed_by,
            self.state.met,
            names,
            style,
        ));
        text
    }
}

/// What the keys of one root have to sign.
fn of_root(version: u64, part: &Part) -> Value {
    let mut said = part.json();
    if let Some(members) = said.as_object_mut() {
        members.retain(|name, _| name != "parent" && name != "usable_before");
        members.insert("root_version".into(), version.into());
    }
    said
}

/// One line for each key: whether it has signed, or should.
fn marks(
    indent: &str,
    keyids: &[KeyId],
    signed_by: &[KeyId],
    met: bool,
    names: &KeyNames,
    style: Style,
) -> String {
    let mut text = String::new();
    for keyid in keyids {
        let name = called(names, keyid.as_str());
        let (mark, word) = match (signed_by.contains(keyid), met) {
            (true, _) => (style.green("+"), style.green("signed")),
            (false, true) => (style.dim("·"), style.dim("not needed")),
            (false, false) => (style.yellow("·"), style.yellow("missing")),
        };
        text.push_str(&format!("{indent}  {mark} {name}  {word}\n"));
    }
    text
}

/// More published files that do not verify are told by their number.
const MOST_FAULTS: usize = 8;
