//! Snapshot and timestamp: whether this run makes them anew, and what a person is told of it before the question.

use tuf::role::{RoleKind, RoleName};

use super::Session;
use super::round::Pending;
use crate::error::Failure;
use crate::render::visible;

/// What becomes of snapshot or timestamp.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// Neither staged nor needed.
    Nothing,
    /// What is staged stays as it is: its digest is known now.
    Kept,
    /// Made when all others are signed: nobody knows its digest yet.
    Made,
}

/// Both roles with their fates.
pub(super) type Plan = [(RoleName, Fate); 2];

impl Session<'_> {
    /// What will become of snapshot and timestamp once `pending` is signed.
    pub(super) fn plan(&self, pending: &[Pending<'_>], content: &[RoleName]) -> Result<Plan, Failure> {
        if !self.args.no_publish && self.will_complete(pending, content)? {
            return self.plan_reached(pending.is_empty(), content);
        }
        let fate = |role: RoleName| {
            let staged = self.workspace.staged(&role)?.is_some();
            Ok::<_, Failure>((role, if staged { Fate::Kept } else { Fate::Nothing }))
        };
        Ok([fate(RoleKind::Snapshot.role())?, fate(RoleKind::Timestamp.role())?])
    }

    /// The same where the run comes to them; `is_idle`: it signs nothing before.
    pub(super) fn plan_reached(&self, is_idle: bool, content: &[RoleName]) -> Result<Plan, Failure> {
        let [snapshot, timestamp] = [RoleKind::Snapshot.role(), RoleKind::Timestamp.role()];
        let staged = |role: &RoleName| Ok::<_, Failure>(self.workspace.staged(role)?.is_some());
        let (snapshot_staged, timestamp_staged) = (staged(&snapshot)?, staged(&timestamp)?);
        let targets = content.iter().any(|role| role.kind() == RoleKind::Targets);
        let first = if snapshot_staged && is_idle && self.workspace.snapshot_fits()? {
            Fate::Kept
        } else if snapshot_staged || targets || !self.stands(&snapshot)? {
            Fate::Made
        } else {
            Fate::Nothing
        };
        // The timestamp names the very bytes of the snapshot, signatures and all.
        let is_final =
            first == Fate::Nothing || (first == Fate::Kept && self.workspace.signatures(&snapshot)?.met);
        let second = if is_final && timestamp_staged && self.workspace.timestamp_fits()? {
            Fate::Kept
        } else if first != Fate::Nothing || timestamp_staged || !self.stands(&timestamp)? {
            Fate::Made
        } else {
            Fate::Nothing
        };
        Ok([(snapshot, first), (timestamp, second)])
    }

    /// Whether what is published of a role goes on to hold.
    fn stands(&self, role: &RoleName) -> Result<bool, Failure> {
        let published = self.workspace.published(role)?;
        self.workspace.still_good(role, published.as_ref())
    }

    /// The line for a role that is made later.
    pub(super) fn to_be_made(&self, role: &RoleName) -> Result<String, Failure> {
        let style = self.context.screen.err();
        let head = style.bold(visible(role.as_str()));
        Ok(format!("{head} is made anew once the others are complete\n{}\n", self.will_be_signed(role)?))
    }

    /// With which keys a role is to be signed, or why it is not.
    pub(super) fn will_be_signed(&self, role: &RoleName) -> Result<String, Failure> {
        let keys = self.candidates(role)?;
        let (split, others): (Vec<_>, Vec<_>) =
            keys.iter().filter(|key| self.ours.can_sign(key)).partition(|key| self.ours.split(&key.token));
        let ready: Vec<_> = others.iter().map(|key| visible(&key.name)).collect();
        if !ready.is_empty() {
            return Ok(format!("  to be signed with {}", ready.join(", ")));
        }
        if let Some(key) = split.first() {
            return Ok(format!("  signed when shares of {} are brought together", visible(&key.name)));
        }
        Ok(match keys.first() {
            Some(key) if self.ours.barred(&key.name).is_some() => {
                let why = self.ours.unusable(&key.token, &key.name);
                format!("  not signed now: {}", visible(why.message()))
            }
            Some(key) => {
                let state = self.ours.token(&key.token).map_or("absent", |token| token.state.as_str());
                format!(
                    "  not signed now: token {} with {} is {state}",
                    visible(&key.token),
                    visible(&key.name)
                )
            }
            None if !self.selection.role(role) => "  not signed now: --role leaves it out".to_owned(),
            None if self.selection.names_keys() => "  not signed now: --key names no key of it".to_owned(),
            None => "  not signed now: no key of it is here".to_owned(),
        })
    }
}
