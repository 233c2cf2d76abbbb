//! Delegated roles that others have signed and put into `staged/`: no agent of ours has judged them, and they are published
//! under our snapshot. What `verify` refuses in them is told before anything is signed.

use std::collections::{BTreeMap, BTreeSet};

use tuf::metadata::{Delegations, Metadata};
use tuf::private::{Publics, private_key_in};
use tuf::role::{RoleKind, RoleName};
use tuf::word;

use super::Session;
use super::asking::by_role;
use super::round::Pending;
use crate::error::{Failure, reason};
use crate::render::now;
use crate::workspace::Workspace;

/// Something in a role of others that the version before it has not.
pub(super) struct Concern {
    role: RoleName,
    spec: &'static str,
    message: String,
    /// What `--yes` does not take, and what to do then.
    remedy: Option<String>,
    /// Nor does a person, as the agent would refuse what lists it.
    always: bool,
}

impl Concern {
    pub(super) fn sentence(&self) -> String {
        format!("{} (specification {}, staged by others)", self.message, self.spec)
    }
}

impl Session<'_> {
    /// Tells what is wrong with the roles that nobody here signs.
    ///
    /// # Errors
    /// `POLICY` for what `--yes` does not take, where this run may publish it.
    pub(super) fn judge_theirs(&self, pending: &[Pending<'_>], content: &[RoleName]) -> Result<(), Failure> {
        let ours = by_role(pending);
        let theirs = content.iter().filter(|role| !role.is_top_level() && !ours.contains_key(role));
        let theirs: Vec<&RoleName> = theirs.collect();
        if theirs.is_empty() {
            return Ok(());
        }
        let mut around = Around::of(&self.workspace)?;
        let mut concerns = Vec::new();
        for role in theirs {
            concerns.extend(around.concerns(role)?);
        }
        let publishes = !self.args.no_publish && self.will_complete(pending, content)?;
        let is_refused =
            |concern: &Concern| concern.remedy.is_some() && (concern.always || self.args.yes.yes);
        let refused = concerns.iter().position(is_refused).filter(|_| publishes);
        let refused = refused.map(|index| concerns.remove(index));
        concerns.iter().for_each(|concern| self.context.screen.warn(concern.sentence()));
        let Some(concern) = refused else { return Ok(()) };
        Err(Failure::new(reason::POLICY, concern.sentence())
            .remedy(concern.remedy.unwrap_or_default())
            .detail("role", concern.role.as_str())
            .detail("spec", concern.spec))
    }
}

/// What roles are judged by.
struct Around<'w> {
    workspace: &'w Workspace,
    /// Public keys, by which private ones are known.
    publics: Publics,
    new_paths: BTreeMap<RoleName, Vec<String>>,
}

impl<'w> Around<'w> {
    fn of(workspace: &'w Workspace) -> Result<Self, Failure> {
        let mut publics = Publics::default();
        for role in workspace.near_delegating()?.iter().chain([&RoleKind::Root.role()]) {
            workspace.current(role)?.iter().for_each(|file| publics.add(file));
        }
        Ok(Self { workspace, publics, new_paths: workspace.new_paths()? })
    }

    /// What is wrong with a staged targets role, but for what is so in its published version.
    fn concerns(&mut self, role: &RoleName) -> Result<Vec<Concern>, Failure> {
        let Some(staged) = self.workspace.staged(role)? else { return Ok(Vec::new()) };
        let published = self.workspace.published(role)?;
        self.publics.add(&staged);
        let mut found = Vec::new();
        let theirs = format!("whoever holds the keys of {role} stages another version of it");
        let mut tell = |spec, what: String, remedy| {
            let message = format!("{role}: {what}");
            found.push(Concern { role: role.clone(), spec, message, remedy, always: false });
        };
        let has_expired = |file: &Metadata| file.expires().unix() <= now();
        if has_expired(&staged) {
            let was_so = published.as_ref().is_some_and(has_expired);
            let remedy = format!("{theirs}, which expires later");
            tell("5.6.5", format!("it has expired, {}", staged.expires()), Some(remedy).filter(|_| !was_so));
        }
        for path in self.outside(role)?.iter().take(MOST_TOLD) {
            let wider = word::before(role.as_str(), "--paths PATTERN,…");
            let remedy =
                format!("{theirs}, without it, or widen its paths: tufctl delegation edit DIR {wider}");
            tell(
                "4.5",
                format!("target {path} lies outside the paths that are delegated to it"),
                Some(remedy),
            );
        }
        let private = |file: &Metadata| private_key_in(file.document().root(), &self.publics);
        if let Some(place) = private(&staged) {
            let was_so = published.as_ref().and_then(private).is_some();
            let remedy = format!("{theirs}, without it, and with another key in the place of that one");
            tell(
                "4.2",
                format!("a private key stands at {place}, which all could read then"),
                Some(remedy).filter(|_| !was_so),
            );
        }
        let before = published.as_ref().map(tuf::forms::faults).unwrap_or_default();
        for fault in tuf::forms::faults(&staged).into_iter().filter(|fault| !before.contains(fault)) {
            tell(fault.spec, fault.message, None);
        }
        let before = published.as_ref().map(|file| file.oddities().told()).unwrap_or_default();
        for oddity in staged.oddities().told().into_iter().filter(|oddity| !before.contains(oddity)) {
            tell(oddity.spec, format!("it {}", oddity.what), None);
        }
        let wrong = |file: &Metadata| -> BTreeSet<String> {
            let wrong = delegations(file).map(Delegations::wrong_keyids).into_iter().flatten();
            wrong.map(|(keyid, right)| format!("keyid {keyid} is not the hash of its key, {right}")).collect()
        };
        let before = published.as_ref().map(wrong).unwrap_or_default();
        for one in wrong(&staged).difference(&before) {
            tell("4.2.1", one.clone(), None);
        }
        if self.leads_back(role, &|at| self.workspace.current(at))? {
            let remedy = format!("{theirs}, which delegates to none of those that delegate to it");
            let was_so = self.leads_back(role, &|at| self.workspace.published(at))?;
            tell(
                "5.6.7",
                "its delegations lead back to it in a circle".to_owned(),
                Some(remedy).filter(|_| !was_so),
            );
            found.last_mut().into_iter().for_each(|concern| concern.always = true);
        }
        Ok(found)
    }

    /// Targets that a role lists anew and that no delegation to it allows.
    fn outside(&self, role: &RoleName) -> Result<Vec<String>, Failure> {
        let Some(paths) = self.new_paths.get(role) else { return Ok(Vec::new()) };
        let parents = self.workspace.parents(role)?;
        let allowed = |path: &str| {
            parents.iter().filter_map(|(_, file)| delegations(file)).any(|to| {
                let of_role = to.roles.iter().filter(|one| one.name == *role);
                of_role.map(|one| &one.paths).any(|paths| paths.matches(path))
                    || to.succinct.as_ref().is_some_and(|bins| bins.role_for(path) == *role)
            })
        };
        Ok(paths.iter().filter(|path| !allowed(path)).cloned().collect())
    }

    /// Whether its delegations lead back to a role, by what `read` gives.
    fn leads_back(&self, role: &RoleName, read: Read<'_>) -> Result<bool, Failure> {
        let (mut waiting, mut seen) = (vec![role.clone()], BTreeSet::new());
        while let Some(at) = waiting.pop() {
            let Some(metadata) = read(&at)?.filter(|file| delegations(file).is_some()) else {
                continue;
            };
            for child in self.workspace.children(&metadata)? {
                if child == *role {
                    return Ok(true);
                }
                if seen.insert(child.clone()) {
                    waiting.push(child);
                }
            }
        }
        Ok(false)
    }
}

fn delegations(metadata: &Metadata) -> Option<&Delegations> {
    metadata.as_targets().and_then(|targets| targets.delegations.as_ref())
}

/// How metadata of a role is read.
type Read<'r> = &'r dyn Fn(&RoleName) -> Result<Option<Metadata>, Failure>;

/// More of one kind are not told.
const MOST_TOLD: usize = 4;
