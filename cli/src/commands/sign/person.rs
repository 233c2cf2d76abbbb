//! What only a person says yes to, at a terminal, `--yes` or not (DESIGN section 4, rule 3): a root in the place of one
//! that was signed and never published, and a version that jumps far ahead. The agent names it, and signs only once it is
//! told that a person was asked.

use tuf::role::RoleKind;
use tufagent_proto::v1;

use super::Session;
use super::round::Pending;
use crate::client::SignCall;
use crate::commands::token::ask;
use crate::error::{Failure, reason};
use crate::prompt::Terminal;
use crate::render::visible;

impl Session<'_> {
    /// `--supersede` is about a staged root.
    pub(super) fn check_superseding(&self) -> Result<(), Failure> {
        let is_about_nothing =
            self.args.supersede.is_some() && self.workspace.staged(&RoleKind::Root.role())?.is_none();
        if !is_about_nothing {
            return Ok(());
        }
        Err(Failure::new(reason::USAGE, "no root is staged that could stand in the place of another")
            .remedy("other roles take the next version: tufctl bump"))
    }

    /// Asks for all that the agent has inspected, before any of it is signed.
    pub(super) fn confirm_by_person(&self, pending: &mut [Pending<'_>]) -> Result<(), Failure> {
        for role in pending {
            if let Some(call) = &role.call {
                role.person = self.ask_person(call.inspected())?;
            }
        }
        Ok(())
    }

    /// Asks for the PIN that a key takes for this one signature, saying which it is.
    pub(super) fn give_pin(&self, call: &mut SignCall<'_>, asked: &v1::SignAsk) -> Result<(), Failure> {
        let inspected = call.inspected();
        let what = format!(
            "{} takes its PIN for each signature: {} v{} of {}, sha256 {}",
            visible(&asked.key),
            visible(&inspected.role),
            inspected.version,
            visible(&inspected.repository),
            visible(&inspected.sha256),
        );
        self.context.screen.show(what);
        let token = asked.token.clone().unwrap_or_default();
        let pin = ask(&token, false)?;
        call.give_pin(&token.name, &pin)
    }

    /// Asks one by one; gives whether there was anything to ask.
    pub(super) fn ask_person(&self, inspected: &v1::SignInspected) -> Result<bool, Failure> {
        let Some(first) = inspected.person.first() else { return Ok(false) };
        let (role, version) = (visible(&inspected.role), inspected.version);
        let Some(terminal) = Terminal::open() else {
            let jumps = inspected.person_reason == reason::VERSION_JUMP;
            let reason = if jumps { reason::VERSION_JUMP } else { reason::CONFIRMATION_MISSING };
            return Err(Failure::new(
                reason,
                format!("{role} v{version}: {first}; nobody is there to say yes to that, and --yes does not"),
            )
            .remedy("look at it and run it on a terminal")
            .detail("role", inspected.role.as_str())
            .detail("version", version));
        };
        for concern in &inspected.person {
            self.context.screen.show(visible(concern));
            let question = format!("Sign {role} v{version} of {} all the same?", visible(&self.record.name));
            if !terminal.confirm(&question)? {
                return Err(Failure::new(reason::CONFIRMATION_MISSING, "you said no; nothing was signed")
                    .remedy("run it again when you are ready"));
            }
        }
        Ok(true)
    }
}
