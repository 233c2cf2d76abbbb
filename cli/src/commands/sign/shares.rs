//! Split keys: they sign in a collection of their own, once the other keys have, and only where a signature is lacking.

use tuf::role::RoleName;

use super::Session;
use super::ours::{Candidate, OurKey};
use super::round::{Pending, read_difference};
use crate::error::{Failure, reason};
use crate::prompt::{Terminal, confirm_or};
use crate::render::{difference, now, visible};

impl Session<'_> {
    /// A split key that was named signs when somebody brings shares: from files, or at this terminal.
    ///
    /// # Errors
    /// `SHARES_MISSING` (exit 4) when nobody does.
    pub(super) fn check_shares(&self, key: &OurKey) -> Result<(), Failure> {
        if !self.ours.split(&key.token) || self.gathering.is_some() || Terminal::open().is_some() {
            return Ok(());
        }
        let message =
            format!("the key {} is split, and nobody is here to bring its shares together", key.name);
        Err(Failure::new(reason::SHARES_MISSING, message)
            .remedy("tufctl share collect DIR --role ROLE --manifest set.json")
            .detail("key", key.name.as_str())
            .detail("token", key.token.as_str()))
    }

    /// Opens a collection for each role that lacks what a split key of ours can give.
    ///
    /// # Errors
    /// Where shares were brought: whatever ends the collection. People who leave one end nothing else.
    pub(super) fn collect_shares(&mut self, roles: &[RoleName]) -> Result<(), Failure> {
        if self.gathering.is_none() && (Terminal::open().is_none() || self.context.screen.json()) {
            return Ok(());
        }
        let before = self.signed.len();
        for role in roles {
            // Others may have worked here while the shares of another key were collected.
            if self.workspace.staged(role)?.is_none() {
                continue;
            }
            for key in self.candidates(role)? {
                let is_usable = self.ours.split(&key.token) && self.ours.can_sign(&key);
                let met = self.workspace.signatures(role)?.met;
                if !is_usable || (met && !self.selection.names_keys()) {
                    continue;
                }
                let end = self.collect_for(role, key);
                match end {
                    Err(failure)
                        if self.gathering.is_none() && failure.reason() == reason::SHARES_MISSING =>
                    {
                        self.context.screen.warn(failure.message());
                    }
                    end => end?,
                }
            }
        }
        if self.signed.len() > before {
            self.workspace.settle_staged()?;
        }
        Ok(())
    }

    /// The same of snapshot or timestamp, when its turn has come: shares that were brought are for the roles that were named.
    pub(super) fn collect_shares_online(&mut self, role: &RoleName) -> Result<(), Failure> {
        let is_named = self.args.roles.iter().flatten().any(|named| named == role.as_str());
        if self.workspace.signatures(role)?.met || (self.gathering.is_some() && !is_named) {
            return Ok(());
        }
        self.collect_shares(std::slice::from_ref(role))
    }

    /// Shares were brought for snapshot or timestamp, and its turn has not come.
    pub(super) fn tell_unused_shares(&self) {
        let signed = |role: &String| self.signed.iter().any(|signed| signed.role.as_str() == *role);
        let online = |role: &&String| RoleName::parse(role).is_ok_and(|role| super::is_online(&role));
        let waits = self.args.roles.iter().flatten().filter(online).find(|role| !signed(role));
        if let Some(role) = waits.filter(|_| self.gathering.is_some()) {
            self.context.screen.warn(format!(
                "no share was used: {role} is signed once every role before it has all its signatures"
            ));
        }
    }

    fn collect_for(&mut self, role: &RoleName, key: Candidate) -> Result<(), Failure> {
        let screen = self.context.screen;
        let keys = vec![key];
        let call = self.open(role, &keys)?;
        let inspected = call.inspected();
        let said = read_difference(inspected)?;
        let gives = self.gathering.as_ref().is_none_or(|gathering| gathering.is_watched());
        let asks = Terminal::open().is_some() && (gives || !self.args.yes.yes);
        screen.show_if(asks, difference(&said, &self.names, screen.err(), now()));
        for warning in &inspected.warnings {
            screen.warn(warning);
        }
        if inspected.again && self.workspace.signatures(role)?.signed_by.is_empty() {
            screen.show(format!(
                "{role} v{}: exactly this was signed before, or was to be, and no signature of it is here; what was lost on its way is made again",
                inspected.version
            ));
        }
        let name = keys.first().map(|key| visible(&key.name).into_owned()).unwrap_or_default();
        let version = inspected.version;
        let question =
            format!("Bring shares of {name} together to sign {role} v{version} of {}?", self.record.name);
        confirm_or(&question, self.args.yes.yes, &format!("no shares of {name} were asked for"))?;
        let warnings = Vec::new();
        let pending = Pending {
            role: role.clone(),
            version,
            difference: said,
            warnings,
            person: false,
            keys,
            call: Some(call),
        };
        self.sign_each(vec![pending])?;
        screen.note(format!("the key {name} is gone again"));
        Ok(())
    }
}
