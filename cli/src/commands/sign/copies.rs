//! A key that lies on several tokens: at the terminal a person says which of them signs.

use tuf::role::RoleName;

use super::Session;
use crate::commands::token::described;
use crate::error::Failure;
use crate::prompt::Terminal;
use crate::render::visible;

impl Session<'_> {
    /// Asks for each key of these roles that is there twice. Where none is chosen, or nobody may be looking, it is refused
    /// as what it is when it is to sign.
    pub(super) fn choose_copies(&mut self, roles: &[RoleName]) -> Result<(), Failure> {
        let Some(terminal) = Terminal::open().filter(|_| !self.args.yes.yes && !self.selection.names_keys())
        else {
            return Ok(());
        };
        for role in roles {
            if self.workspace.staged(role)?.is_some() && self.workspace.signatures(role)?.met {
                continue;
            }
            for key in self.candidates_checked(role, |_, _| Ok(()))? {
                let (_, Some(_)) = self.ours.two_copies(&key) else { continue };
                let copies: Vec<_> = self
                    .ours
                    .copies(&key)
                    .filter(|copy| self.ours.is_there(&copy.token))
                    .map(|copy| (copy.name.clone(), copy.token.clone()))
                    .collect();
                for (name, token) in copies {
                    let on = self.ours.token(&token).map_or_else(|| visible(&token).into_owned(), described);
                    let question = format!(
                        "One key is there on several tokens: sign {} with {} on {on}?",
                        visible(role.as_str()),
                        visible(&name)
                    );
                    if terminal.confirm(&question)? {
                        self.ours.choose(&name);
                        break;
                    }
                }
            }
        }
        Ok(())
    }
}
