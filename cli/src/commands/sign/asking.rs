//! What a person is shown before anything is signed, and the one question that is asked.

use std::collections::BTreeMap;

use tuf::diff::{self, Difference};
use tuf::role::{RoleKind, RoleName};

use super::Session;
use super::online::{Fate, Plan};
use super::ours::Candidate;
use super::round::Pending;
use crate::error::Failure;
use crate::prompt::{Terminal, confirm};
use crate::render::{difference, now, visible};
use crate::workspace::default_days;

/// What is pending, by role: bins come by the thousand.
pub(super) fn by_role<'p, 'a>(pending: &'p [Pending<'a>]) -> BTreeMap<&'p RoleName, &'p Pending<'a>> {
    pending.iter().map(|pending| (&pending.role, pending)).collect()
}

impl Session<'_> {
    /// Shows every difference, and asks once.
    pub(super) fn confirm(
        &self,
        pending: &[Pending<'_>],
        content: &[RoleName],
        plan: &Plan,
    ) -> Result<(), Failure> {
        let screen = self.context.screen;
        let asks = !self.args.yes.yes && Terminal::open().is_some();
        // What a person is asked about is shown under --quiet too.
        let say = |text: &str| if asks { screen.show(text) } else { screen.note(text) };
        let mut last: Option<(Difference, String, Vec<String>)> = None;
        let mut alike: Vec<&RoleName> = Vec::new();
        let comes_later = self.will_complete(pending, content)?;
        let kept = plan.iter().filter(|(_, fate)| *fate == Fate::Kept).map(|(role, _)| role);
        let by_role = by_role(pending);
        for role in content.iter().chain(kept) {
            let (diff, warnings, end) = match by_role.get(role) {
                Some(pending) => {
                    let keys: Vec<_> = pending.keys.iter().map(|key| self.called(key)).collect();
                    let end = format!("  to be signed with {}", keys.join(", "));
                    (pending.difference.clone(), pending.warnings.as_slice(), end)
                }
                None => {
                    let Some(diff) = self.local_difference(role)? else { continue };
                    (diff, &[][..], self.fate(role, comes_later)?)
                }
            };
            // Bins by the hundred with one content (and so one digest) are said once.
            let of_any = |warning: &String| warning.strip_prefix(role.as_str()).unwrap_or(warning).to_owned();
            let unnamed = (diff.unnamed(), end, warnings.iter().map(of_any).collect());
            if last.as_ref() == Some(&unnamed) {
                alike.push(role);
                continue;
            }
            say_alike(&say, &mut alike);
            say(&difference(&diff, &self.names, screen.err(), now()));
            say(&unnamed.1);
            last = Some(unnamed);
            for warning in warnings {
                screen.warn(warning);
            }
        }
        say_alike(&say, &mut alike);
        for (role, _) in plan.iter().filter(|(_, fate)| *fate == Fate::Made) {
            say(&self.to_be_made(role)?);
            if let Some(said) = self.first_length(role) {
                screen.warn(said);
            }
        }
        confirm(&self.question(pending, plan)?, self.args.yes.yes)
    }

    /// Of snapshot or timestamp, which is made and signed after the question: what the agent says of a first one that may
    /// be valid for longer than is usual.
    fn first_length(&self, role: &RoleName) -> Option<String> {
        let (days, usual) = (self.facts.days(role), default_days(role.kind()));
        let name = role.as_str();
        let is_new = !self.record.signed.contains_key(name) && !self.record.verified.contains_key(name);
        (is_new && days > usual).then(|| {
            format!(
                "{name} of {} is new, and it and its later versions may be valid for {days} days, where {usual} are usual",
                self.record.name
            )
        })
    }

    /// A key by its name; one that signs because the card with its copy is away, with both.
    fn called(&self, key: &Candidate) -> String {
        let name = visible(&key.name);
        match self.ours.instead_of(key) {
            None => name.into_owned(),
            Some(copy) => {
                let [here, copy, away] = [&key.token, &copy.name, &copy.token].map(|text| visible(text));
                format!("{name} on {here} (its copy {copy} is on {away}, which is not there)")
            }
        }
    }

    /// What becomes of a staged role that is not signed in this round.
    fn fate(&self, role: &RoleName, comes_later: bool) -> Result<String, Failure> {
        if self.workspace.signatures(role)?.met {
            return Ok("  signed already".to_owned());
        }
        if super::is_online(role) && !comes_later {
            return Ok("  not signed now: the others come first".to_owned());
        }
        self.will_be_signed(role)
    }

    /// Whether every role of `roles` has its threshold once `pending` is signed.
    pub(super) fn will_complete(&self, pending: &[Pending<'_>], roles: &[RoleName]) -> Result<bool, Failure> {
        let by_role = by_role(pending);
        self.complete_with(
            roles.iter().map(|role| {
                (role, by_role.get(role).map(|pending| pending.keys.as_slice()).unwrap_or_default())
            }),
        )
    }

    /// Whether each of these roles has its threshold once these keys have signed it.
    pub(super) fn complete_with<'k>(
        &self,
        keys_of: impl Iterator<Item = (&'k RoleName, &'k [Candidate])>,
    ) -> Result<bool, Failure> {
        for (role, keys) in keys_of {
            let complete = self.workspace.signatures(role)?.would_meet(|part| {
                let more = keys.iter().filter(|key| part.missing.contains(&key.keyid)).count();
                more >= usize::try_from(part.lacking()).unwrap_or(usize::MAX)
            });
            if !complete {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Whether keys of ours reach the thresholds of snapshot and timestamp, so that this run may come to publish.
    pub(super) fn may_publish(&self) -> Result<bool, Failure> {
        for role in [RoleKind::Snapshot.role(), RoleKind::Timestamp.role()] {
            for authority in self.workspace.authorities(&role)? {
                let need = usize::try_from(authority.role.threshold.get()).unwrap_or(usize::MAX);
                if self.ours.candidates(&[authority], &[], None).len() < need {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    fn question(&self, pending: &[Pending<'_>], plan: &Plan) -> Result<String, Failure> {
        let name = &self.record.name;
        let mut roles: Vec<_> =
            pending.iter().map(|p| format!("{} v{}", p.role.as_str(), p.version)).collect();
        for (role, fate) in plan {
            match (fate, self.workspace.staged(role)?) {
                (Fate::Made, _) => roles.push(role.to_string()),
                (Fate::Kept, Some(staged)) if !self.workspace.signatures(role)?.met => {
                    roles.push(format!("{role} v{}", staged.version()));
                }
                _ => {}
            }
        }
        let roles = match roles.as_slice() {
            [] if self.merged.root_taken && (self.args.no_publish || !self.workspace.complete()?) => {
                return Ok(format!("Take this root of {name} into staged/?"));
            }
            [] if self.args.no_publish => return Ok(format!("Sign {name}?")),
            [] => return Ok(format!("Publish {name}?")),
            many if many.len() > 6 => format!("{} roles", many.len()),
            few => few.join(", "),
        };
        let publish = if self.args.no_publish { "" } else { ", and publish when all is signed" };
        Ok(format!("Sign {roles} of {name}{publish}?"))
    }

    /// The difference as this side reads it: staged against published, as far as that is what its keys have signed.
    pub(super) fn local_difference(&self, role: &RoleName) -> Result<Option<Difference>, Failure> {
        let sound = self.facts.check_base(self.context, &self.workspace, role)?.is_none();
        let published = self.workspace.published(role)?.filter(|_| sound);
        let staged = self.workspace.staged(role)?;
        Ok(staged.map(|new| diff::difference(role, published.as_ref(), &new)))
    }
}

/// Ends what was said of a role: how many others are just like it.
fn say_alike(say: &dyn Fn(&str), alike: &mut Vec<&RoleName>) {
    if let (Some(first), Some(last)) = (alike.first(), alike.last()) {
        let (first, last) = (visible(first.as_str()), visible(last.as_str()));
        match alike.len() {
            1 => say(&format!("  and just so {first}")),
            more => say(&format!("  and just so {more} more, {first} to {last}")),
        }
    }
    alike.clear();
}
