//! Keys that the command line names: ours by their names, anybody's by their files.

use std::collections::BTreeMap;
use std::path::Path;

use tuf::key::{Key, KeyId};
use tuf::role::RoleName;

use super::Staging;
use super::refused::key_failure;
use crate::error::{Failure, reason};
use crate::keys;
use crate::render::short_keyid;

impl Staging<'_> {
    /// The key that an argument names: ours by its name, anybody's by its file.
    pub(in crate::commands) fn key(&self, argument: &str) -> Result<Key, Failure> {
        let path = Path::new(argument);
        let is_file = keys::is_file(argument);
        let key =
            if is_file { keys::from_file(path)? } else { keys::of_agent(keys::find(&self.ours, argument)?)? };
        // What it is called travels with what is staged: a keyid tells a person nothing.
        let name = if is_file { keys::file_label(path) } else { Some(argument.to_owned()) };
        self.named.borrow_mut().extend(name.map(|name| (key.computed_keyid(), name)));
        Ok(key)
    }

    /// All keys that arguments name.
    pub(in crate::commands) fn keys(&self, arguments: &[String]) -> Result<Vec<Key>, Failure> {
        arguments.iter().map(|argument| self.key(argument)).collect()
    }

    /// All keys that arguments name, to be given to a role: of those that the agent holds it says whether it may have them
    /// (its configuration may demand keys of a token's own).
    ///
    /// # Errors
    /// `ORIGIN`, and those of [`Self::keys`].
    pub(in crate::commands) fn keys_for(
        &self,
        repository: &str,
        role: &RoleName,
        arguments: &[String],
    ) -> Result<Vec<Key>, Failure> {
        let found = self.keys(arguments)?;
        let called = |(argument, key): (&String, &Key)| match keys::is_file(argument) {
            true => self.names_of_ours(key),
            false => vec![argument.clone()],
        };
        let ours: Vec<_> = arguments.iter().zip(&found).flat_map(called).collect();
        if !ours.is_empty() {
            for warning in self.context.agent()?.may_serve(repository, role.as_str(), ours)? {
                // Once for all the roles that a key is given to.
                self.context.screen.warn_once(warning);
            }
        }
        Ok(found)
    }

    /// What the agent calls a key that it holds: a file may name one of ours.
    fn names_of_ours(&self, key: &Key) -> Vec<String> {
        let Ok(public) = key.public_key() else { return Vec::new() };
        let is_it = |ours: &&tufagent_proto::v1::Key| {
            keys::of_agent(ours).is_ok_and(|ours| ours.public_key().is_ok_and(|ours| ours == public))
        };
        self.ours.iter().filter(is_it).map(|ours| ours.name.clone()).collect()
    }

    /// The keyid under which a role knows the key that an argument names: a keyid, a name or a file; of a key that is not here
    /// also what the screen calls it.
    pub(in crate::commands) fn keyid_of(
        &self,
        argument: &str,
        role: &str,
        keyids: &[KeyId],
        table: &BTreeMap<KeyId, Key>,
    ) -> Result<KeyId, Failure> {
        if let Some(keyid) = keyids.iter().find(|keyid| keyid.as_str() == argument) {
            return Ok(keyid.clone());
        }
        if !keys::is_file(argument) && self.ours.iter().all(|key| key.name != argument) {
            let is_shown =
                |keyid: &&KeyId| self.label(keyid) == argument || short_keyid(keyid.as_str()) == argument;
            let shown: Vec<_> = keyids.iter().filter(is_shown).collect();
            if let [only] = shown.as_slice() {
                return Ok((*only).clone());
            }
        }
        let key = self.key(argument)?;
        let wanted = key.public_key().map_err(|e| key_failure(argument, &e))?;
        let same = |id: &&KeyId| table.get(id).and_then(|k| k.public_key().ok()) == Some(wanted);
        keyids.iter().find(same).cloned().ok_or_else(|| {
            Failure::new(reason::KEY_NOT_OF_ROLE, format!("{argument} is no key of {role}"))
                .remedy("see who has which keys: tufctl repo show DIR")
                .detail("role", role)
        })
    }
}
