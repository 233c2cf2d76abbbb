//! Keys of ours that did not sign, and why.

use serde_json::{Value, json};
use tuf::key::KeyId;
use tuf::role::RoleName;
use tufagent_proto::v1::SignSkipped;

use super::Session;
use super::key_line::KeyLine;
use super::ours::Candidate;
use crate::error::{Failure, reason};

/// Keys that the agent passed over, and of roles that miss signatures those of ours whose token cannot be used.
pub(super) fn told<'r>(
    session: &Session<'_>,
    missing: impl Iterator<Item = (&'r RoleName, u64)>,
) -> Vec<Value> {
    let mut all = session.unsigned.clone();
    for (role, version) in missing {
        // Of which copy of a key is meant nothing is said here.
        let candidates = session.candidates(role).unwrap_or_default();
        for key in candidates.iter().filter(|key| !session.ours.may_sign(key)) {
            if !all.iter().any(|unsigned| unsigned.is_of(role, &key.keyid)) {
                let why = session.ours.unusable(&key.token, &key.name);
                let names = (key.name.as_str(), key.token.as_str());
                all.push(Unsigned::unusable((role, version), &key.keyid, names, &why));
            }
        }
    }
    all.iter().map(Unsigned::json).collect()
}

/// What is to be done about a key of ours that did not sign a role, where more is known of that than its token's state tells:
/// a PIN that was wrong or is not tried any more, a touch that did not come, signatures of others that are waited for.
pub(super) fn remedy(session: &Session<'_>, role: &RoleName, key: &KeyLine) -> Option<String> {
    let (token, _) = key.token.as_ref()?;
    let asked = session.unsigned.iter().rfind(|unsigned| unsigned.is_of(role, &key.keyid));
    let (reason, remedy) = match asked {
        Some(unsigned) => (unsigned.reason.clone(), unsigned.remedy.clone()),
        None => {
            let why = session.ours.why_not(token, key.name.as_deref().unwrap_or_default())?;
            (why.reason().to_owned(), why.remedy_text().to_owned())
        }
    };
    let tells = [reason::POLICY, reason::TOUCH_TIMEOUT, reason::PIN_BLOCKED, reason::PIN_INCORRECT];
    (tells.contains(&reason.as_str()) || session.ours.is_at_last_try(token)).then_some(remedy)
}

impl Session<'_> {
    /// Keys that cannot sign though their tokens can: the others sign without them.
    pub(super) fn note_barred(&mut self, role: &RoleName, keys: &[Candidate]) -> Result<(), Failure> {
        let Some(staged) = self.workspace.staged(role)? else { return Ok(()) };
        for key in keys {
            let Some(why) = self.ours.barred(&key.name) else { continue };
            if self.unsigned.iter().any(|unsigned| unsigned.is_of(role, &key.keyid)) {
                continue;
            }
            if !self.unsigned.iter().any(|unsigned| unsigned.key == key.name) {
                self.context.screen.warn_once(why.message());
            }
            let (version, names) = (staged.version().get(), (key.name.as_str(), key.token.as_str()));
            self.unsigned.push(Unsigned::unusable((role, version), &key.keyid, names, why));
        }
        Ok(())
    }
}

/// A key of ours that did not sign a role in this run.
#[derive(Debug, Clone)]
pub(super) struct Unsigned {
    role: RoleName,
    version: u64,
    keyid: String,
    key: String,
    token: String,
    reason: String,
    message: String,
    remedy: String,
}

impl Unsigned {
    /// The agent was asked for its signature, and passed it over.
    pub(super) fn skipped(role: &RoleName, version: u64, skipped: SignSkipped) -> Self {
        let SignSkipped { keyid, key, token, reason, message, remedy } = skipped;
        Self { role: role.clone(), version, keyid, key, token, reason, message, remedy }
    }

    /// Its token is locked or not there, so the agent was not asked; or it waits for others.
    pub(super) fn unusable(
        (role, version): (&RoleName, u64),
        keyid: &KeyId,
        (key, token): (&str, &str),
        why: &Failure,
    ) -> Self {
        Self {
            role: role.clone(),
            version,
            keyid: keyid.to_string(),
            key: key.to_owned(),
            token: token.to_owned(),
            reason: why.reason().to_owned(),
            message: why.message().to_owned(),
            remedy: why.remedy_text().to_owned(),
        }
    }

    fn is_of(&self, role: &RoleName, keyid: &KeyId) -> bool {
        self.role == *role && self.keyid == keyid.as_str()
    }

    fn json(&self) -> Value {
        json!({
            "role": self.role.as_str(),
            "version": self.version,
            "keyid": self.keyid,
            "key": self.key,
            "token": self.token,
            "reason": self.reason,
            "message": self.message,
            "remedy": self.remedy,
        })
    }
}
