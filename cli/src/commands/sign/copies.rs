//! A key that lies on several tokens: at the terminal a person says which of them signs.

use tuf::role::{RoleKind, RoleName};
use tuf::word;

use super::Session;
use super::ours::Candidate;
use crate::commands::token::described;
use crate::error::Failure;
use crate::prompt::Terminal;
use crate::render::{typed_path, visible};

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
            for key in self.candidates_unchecked(role)? {
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

    /// A refusal of a key that is there twice, with the whole command for each of its copies: `--key` leaves every key out
    /// that it does not name, those of other roles too.
    pub(super) fn naming_one_copy(&self, failure: Failure) -> Result<Failure, Failure> {
        let name = |detail| failure.text_detail(detail).unwrap_or_default().to_owned();
        let copies = [name("key"), name("other_key")];
        let beside = self.keys_beside(&copies)?;
        let mut command = format!("tufctl sign {}", typed_path(&self.args.dir));
        if !self.args.roles.is_empty() {
            let roles: Vec<_> =
                self.args.roles.iter().flatten().map(|role| word::one_of_list(role)).collect();
            command.push_str(&format!(" {}", word::option("--role", &roles.join(","))));
        }
        let [one, other] = copies.map(|copy| {
            let keys: Vec<_> = std::iter::once(&copy).chain(&beside).map(String::as_str).collect();
            format!("{command} {}", word::option("--key", &keys.join(",")))
        });
        Ok(failure.remedy(format!("say which of them signs: {one} or {other}")))
    }

    /// The keys beside these that sign what is to be signed; of others that are there twice the first.
    fn keys_beside(&self, copies: &[String]) -> Result<Vec<String>, Failure> {
        let mut roles = self.workspace.staged_roles()?;
        if !self.args.no_publish {
            roles.extend([RoleKind::Snapshot.role(), RoleKind::Timestamp.role()]);
        }
        let mut names: Vec<String> = Vec::new();
        for role in roles.iter().filter(|role| self.selection.role(role)) {
            let is_met = self.workspace.staged(role)?.is_some() && self.workspace.signatures(role)?.met;
            if is_met && !super::is_online(role) {
                continue;
            }
            let signs = |key: &Candidate| {
                self.ours.is_there(&key.token)
                    && self.ours.barred(&key.name).is_none()
                    && !self.ours.split(&key.token)
            };
            for key in self.candidates_unchecked(role)?.into_iter().filter(signs) {
                if !copies.contains(&key.name) && !names.contains(&key.name) {
                    names.push(key.name);
                }
            }
        }
        Ok(names)
    }

    /// Keys of a role, also where it is not said which of two copies is meant.
    fn candidates_unchecked(&self, role: &RoleName) -> Result<Vec<Candidate>, Failure> {
        self.candidates_checked(role, |_, _| Ok(()))
    }
}
