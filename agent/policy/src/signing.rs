//! Whether metadata may be signed: versions, expiry, keys, and what a new root takes away.
//!
//! The watermark itself is not here: the ledger checks it in the transaction that records the intent.

use crate::{Concern, Decision, Reason, Refusal};

/// Numbers that the rules use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SigningRules {
    /// How far above the newest verified version a role may go with nobody asked.
    pub version_window: u64,
    /// How much longer than its recorded length a role may be valid, in percent.
    pub expiry_slack_percent: u32,
}

impl Default for SigningRules {
    fn default() -> Self {
        Self { version_window: 16, expiry_slack_percent: 10 }
    }
}

impl SigningRules {
    /// For how many seconds a role may be valid whose recorded length is this, days.
    #[must_use]
    pub fn longest(&self, days: u32) -> i128 {
        let length = i128::from(days) * 86_400;
        length + length * i128::from(self.expiry_slack_percent) / 100
    }
}

/// What kind of role it is, as far as the rules differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RoleSort {
    /// The root role: one step at a time (specification 5.3).
    Root,
    /// Targets, delegated targets, snapshot, timestamp.
    Other,
}

/// A key that was asked to sign.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyFact {
    /// What people call it.
    pub name: String,
    /// Whether the authority of the role lists its public key.
    pub of_role: bool,
}

/// A role's threshold before and after the new root or parent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ThresholdStep {
    /// The role whose threshold changes.
    pub role: String,
    /// What it was.
    pub from: u32,
    /// What it will be.
    pub to: u32,
}

/// What the agent found out about the metadata that waits for signatures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SigningFacts {
    /// The repository's name.
    pub repository: String,
    /// The role's name.
    pub role: String,
    /// The same as the last word of a command, quoted where a shell would read more into it.
    pub role_word: String,
    /// Which rules apply.
    pub sort: RoleSort,
    /// The version that is to be signed.
    pub version: u64,
    /// The newest version of this role that the agent verified.
    pub newest_verified: Option<u64>,
    /// The newest version that was found published with its threshold met, from which a jump is counted: a version that
    /// was only verified may never have come out. None when there is none.
    pub newest_published: Option<u64>,
    /// The content is the very one that the agent verified under this version.
    pub same_as_verified: bool,
    /// `spec_version` as it stands.
    pub spec_version: String,
    /// `expires`, Unix seconds.
    pub expires: i64,
    /// The agent's wall clock, Unix seconds.
    pub now: i64,
    /// For how many days the repository's record lets this role be valid.
    pub recorded_days: u32,
    /// The targets role with the shortest recorded length of those that the keys could sign as well, where this one would be
    /// valid for longer: targets metadata does not name its role.
    pub shorter_beside: Option<(String, u32)>,
    /// The keys that are to sign.
    pub keys: Vec<KeyFact>,
    /// Thresholds that the metadata changes, of whichever role.
    pub thresholds: Vec<ThresholdStep>,
    /// Keys that the metadata takes away: role and keyid.
    pub keys_removed: Vec<(String, String)>,
    /// Names among the new or changed targets that break a rule.
    pub names: Vec<NameFact>,
    /// What the metadata says newly of keys that are not what their keyids say, each a sentence fit for a screen.
    pub odd_keys: Vec<String>,
    /// The version that was verified last, when its text is lost and nothing could be compared with it.
    pub lost_base: Option<u64>,
}

/// A target's name that breaks a rule for names (specification 4.5).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NameFact {
    /// The name and the rule that it breaks, as a sentence fit for a screen.
    pub fault: String,
    /// It can lead out of the folder of targets or deceive who reads it.
    pub is_unsafe: bool,
}

/// Judges one request for signatures (DESIGN section 4, rules 3 and 9). The first broken rule refuses; what is
/// unusual but allowed is collected for the person who confirms.
pub fn judge(rules: &SigningRules, facts: &SigningFacts) -> Decision {
    let mut concerns = Vec::new();
    let checks =
        [check_spec_version(facts), check_keys(facts), check_expiry(rules, facts), check_names(facts)];
    for check in checks {
        if let Err(refusal) = check {
            return Decision::Refuse(refusal);
        }
    }
    match check_version(rules, facts) {
        Ok(concern) => concerns.extend(concern),
        Err(refusal) => return Decision::Refuse(refusal),
    }
    concerns.extend(lost_base(facts));
    concerns.extend(longer_than_others(facts));
    concerns.extend(weakenings(facts));
    concerns.extend(facts.odd_keys.iter().map(|said| Concern::new(Reason::Policy, said.clone())));
    concerns.extend(odd_names(facts));
    Decision::from_concerns(concerns)
}

/// Specification 4.3: the major version must be the one that this program implements.
fn check_spec_version(facts: &SigningFacts) -> Result<(), Refusal> {
    let mut parts = facts.spec_version.split('.');
    let numeric = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let well_formed = (2..=3).contains(&parts.clone().count()) && parts.clone().all(numeric);
    if well_formed && parts.next() == Some("1") {
        return Ok(());
    }
    let shown: String = facts.spec_version.chars().take(32).collect();
    let message = format!("{} has spec_version {shown:?}, and this agent signs 1.x only", facts.role);
    Err(Refusal::new(Reason::MetadataInvalid, message, "write \"spec_version\": \"1.0.34\"")
        .detail("role", facts.role.as_str()))
}

/// A key signs only for roles that list it, and asking for no key is a mistake.
fn check_keys(facts: &SigningFacts) -> Result<(), Refusal> {
    let role = facts.role.as_str();
    if facts.keys.is_empty() {
        let message = format!("none of this agent's keys is a key of {role}");
        let remedy = "see who may sign with: tufctl repo show DIR";
        return Err(Refusal::new(Reason::KeyNotOfRole, message, remedy).detail("role", role));
    }
    let Some(stranger) = facts.keys.iter().find(|key| !key.of_role) else { return Ok(()) };
    let message = format!("the key {} is not a key of {role} in {}", stranger.name, facts.repository);
    let remedy = "see who may sign with: tufctl repo show DIR";
    Err(Refusal::new(Reason::KeyNotOfRole, message, remedy)
        .detail("role", role)
        .detail("key", stranger.name.as_str()))
}

/// No new target may have a name that leads elsewhere or hides what it says.
fn check_names(facts: &SigningFacts) -> Result<(), Refusal> {
    let Some(name) = facts.names.iter().find(|name| name.is_unsafe) else { return Ok(()) };
    let message = format!("{}: {}", facts.role, name.fault);
    let remedy =
        "take it out of the staged file (tufctl target remove DIR PATH), and find out who put it there";
    Err(Refusal::new(Reason::TargetName, message, remedy).detail("role", facts.role.as_str()))
}

/// Names that some clients cannot fetch: allowed, and shown.
fn odd_names(facts: &SigningFacts) -> Vec<Concern> {
    let concern = |name: &NameFact| Concern::new(Reason::TargetName, name.fault.clone());
    let mut concerns: Vec<_> = facts.names.iter().take(MOST_NAMES).map(concern).collect();
    if let Some(more) = facts.names.len().checked_sub(MOST_NAMES).filter(|more| *more > 0) {
        concerns.push(Concern::new(Reason::TargetName, format!("{more} more target names break a rule")));
    }
    concerns
}

/// How many odd names are shown one by one.
const MOST_NAMES: usize = 8;

/// In the future, and at most the recorded length with its slack from now.
fn check_expiry(rules: &SigningRules, facts: &SigningFacts) -> Result<(), Refusal> {
    let role = facts.role.as_str();
    if facts.expires <= facts.now {
        let message = format!("{role} version {} has already expired", facts.version);
        let remedy = format!("renew it: tufctl bump DIR {}", facts.role_word);
        return Err(Refusal::new(Reason::Expiry, message, remedy).detail("role", role));
    }
    if i128::from(facts.expires) - i128::from(facts.now) <= rules.longest(facts.recorded_days) {
        return Ok(());
    }
    let message = format!(
        "{role} version {} would be valid for longer than {} days, the length that is recorded for it",
        facts.version, facts.recorded_days
    );
    let remedy = format!(
        "stage a shorter one: tufctl bump DIR --expires {}d {}",
        facts.recorded_days, facts.role_word
    );
    Err(Refusal::new(Reason::Expiry, message, remedy)
        .detail("role", role)
        .detail("recorded_days", u64::from(facts.recorded_days)))
}

/// Root goes one step at a time; other roles stay within the window unless a person agrees.
fn check_version(rules: &SigningRules, facts: &SigningFacts) -> Result<Option<Concern>, Refusal> {
    let newest = facts.newest_verified.unwrap_or(0);
    let published = facts.newest_published.unwrap_or(0);
    let again = facts.version == newest && facts.same_as_verified;
    if again {
        return Ok(None);
    }
    let role = facts.role.as_str();
    let next = newest.saturating_add(1);
    if facts.version <= newest {
        // Of a root the agent does not ask whether it is out: who holds it can publish it at any moment.
        let (done, remedy) = if facts.sort == RoleSort::Root {
            let remedy = format!(
                "publish version {newest} if it is not (tufctl root restage DIR brings it back where it was lost), then stage version {next}"
            );
            ("has all its signatures", remedy)
        } else {
            ("is published", format!("stage version {next}"))
        };
        let message = format!("{role} version {newest} {done}, so version {} comes too late", facts.version);
        return Err(Refusal::new(Reason::Watermark, message, remedy)
            .detail("role", role)
            .detail("version", facts.version)
            .detail("published_version", newest));
    }
    match facts.sort {
        RoleSort::Root if facts.version != next => {
            let message =
                format!("root goes one version at a time: {next} comes next, not {}", facts.version);
            // Most likely a colleague's agent that was given staged/ alone.
            let remedy = format!(
                "if root version {next} is published, give this agent the whole repository folder, metadata/ too; otherwise stage root version {next}"
            );
            Err(Refusal::new(Reason::VersionJump, message, remedy)
                .detail("role", role)
                .detail("version", facts.version)
                .detail("next_version", next))
        }
        RoleSort::Other if facts.version.saturating_sub(published) > rules.version_window => {
            let message = format!(
                "{role} jumps from version {published} to {}, more than {} at once",
                facts.version, rules.version_window
            );
            Ok(Some(Concern::new(Reason::VersionJump, message)))
        }
        RoleSort::Root | RoleSort::Other => Ok(None),
    }
}

/// What was verified is the base of every difference; without it nobody sees what the new version takes away.
fn lost_base(facts: &SigningFacts) -> Option<Concern> {
    let version = facts.lost_base?;
    let message = format!(
        "the text of {} version {version}, which was verified, is lost, so that this one is compared with nothing: show \
         this agent the published file first (any tufctl command where metadata/ has it)",
        facts.role
    );
    Some(Concern::new(Reason::ConfirmationMissing, message))
}

/// What could be passed off as another role would be good for longer than that role's own metadata.
fn longer_than_others(facts: &SigningFacts) -> Option<Concern> {
    let (other, days) = facts.shorter_beside.as_ref()?;
    let message = format!(
        "a key of {} also signs {other}, and this could be passed off as its metadata: it would be valid for longer than the {days} \
         days that are recorded for {other}",
        facts.role
    );
    Some(Concern::new(Reason::Policy, message))
}

/// What makes a role weaker or takes somebody's key away: allowed, and shown.
fn weakenings(facts: &SigningFacts) -> Vec<Concern> {
    let drops = facts.thresholds.iter().filter(|step| step.to < step.from).map(|step| {
        let message = format!("the threshold of {} goes down from {} to {}", step.role, step.from, step.to);
        Concern::new(Reason::Policy, message)
    });
    let removals = facts
        .keys_removed
        .iter()
        .map(|(role, keyid)| Concern::new(Reason::Policy, format!("{role} loses the key {keyid}")));
    drops.chain(removals).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = 86_400;

    fn facts(sort: RoleSort, newest: Option<u64>, version: u64) -> SigningFacts {
        SigningFacts {
            repository: "app".into(),
            role: if sort == RoleSort::Root { "root" } else { "targets" }.into(),
            role_word: if sort == RoleSort::Root { "root" } else { "targets" }.into(),
            sort,
            version,
            newest_verified: newest,
            newest_published: newest,
            same_as_verified: false,
            spec_version: "1.0.34".into(),
            expires: 90 * DAY,
            now: 0,
            recorded_days: 90,
            shorter_beside: None,
            keys: vec![KeyFact { name: "a".into(), of_role: true }],
            thresholds: Vec::new(),
            keys_removed: Vec::new(),
            names: Vec::new(),
            odd_keys: Vec::new(),
            lost_base: None,
        }
    }

    /// "allow", "confirm REASON…" or "refuse REASON".
    fn verdict(facts: &SigningFacts) -> String {
        match judge(&SigningRules::default(), facts) {
            Decision::Allow => "allow".into(),
            Decision::Refuse(refusal) => format!("refuse {}", refusal.reason),
            Decision::Confirm { concerns } => {
                concerns.iter().fold("confirm".into(), |all, concern| format!("{all} {}", concern.reason))
            }
        }
    }

    #[test]
    fn versions_follow_the_table() {
        let cases = [
            (RoleSort::Root, None, 1, "allow"),
            (RoleSort::Root, None, 2, "refuse VERSION_JUMP"),
            (RoleSort::Root, Some(4), 5, "allow"),
            (RoleSort::Root, Some(4), 6, "refuse VERSION_JUMP"),
            (RoleSort::Root, Some(4), 4, "refuse WATERMARK"),
            (RoleSort::Root, Some(4), 3, "refuse WATERMARK"),
            (RoleSort::Other, None, 1, "allow"),
            (RoleSort::Other, None, 16, "allow"),
            (RoleSort::Other, None, 17, "confirm VERSION_JUMP"),
            (RoleSort::Other, Some(7), 8, "allow"),
            (RoleSort::Other, Some(7), 23, "allow"),
            (RoleSort::Other, Some(7), 24, "confirm VERSION_JUMP"),
            (RoleSort::Other, Some(7), u64::MAX, "confirm VERSION_JUMP"),
            (RoleSort::Other, Some(7), 7, "refuse WATERMARK"),
            (RoleSort::Other, Some(7), 6, "refuse WATERMARK"),
            (RoleSort::Other, Some(u64::MAX), u64::MAX, "refuse WATERMARK"),
        ];
        for (sort, newest, version, expected) in cases {
            assert_eq!(verdict(&facts(sort, newest, version)), expected, "{sort:?} {newest:?} -> {version}");
        }
    }

    #[test]
    fn the_published_content_may_be_signed_again() {
        for sort in [RoleSort::Root, RoleSort::Other] {
            let again = SigningFacts { same_as_verified: true, ..facts(sort, Some(4), 4) };
            assert_eq!(verdict(&again), "allow");
            let older = SigningFacts { version: 3, ..again };
            assert_eq!(verdict(&older), "refuse WATERMARK");
        }
    }

    #[test]
    fn expiry_lies_in_the_future_and_within_the_recorded_length_and_a_tenth() {
        let cases = [
            (-1, "refuse EXPIRY"),
            (0, "refuse EXPIRY"),
            (1, "allow"),
            (90 * DAY, "allow"),
            (99 * DAY, "allow"),
            (99 * DAY + 1, "refuse EXPIRY"),
            (i64::MAX, "refuse EXPIRY"),
        ];
        for (expires, expected) in cases {
            let facts = SigningFacts { expires, ..facts(RoleSort::Other, None, 1) };
            assert_eq!(verdict(&facts), expected, "expires {expires}");
        }
        let extreme = SigningFacts { now: i64::MIN, expires: i64::MAX, ..facts(RoleSort::Other, None, 1) };
        assert_eq!(verdict(&extreme), "refuse EXPIRY");
    }

    #[test]
    fn only_specification_one_is_signed() {
        let cases = [
            ("1.0.34", "allow"),
            ("1.0", "allow"),
            ("1.99.0", "allow"),
            ("2.0.0", "refuse METADATA_INVALID"),
            ("1", "refuse METADATA_INVALID"),
            ("", "refuse METADATA_INVALID"),
            ("1.0.34.1", "refuse METADATA_INVALID"),
            ("1.x", "refuse METADATA_INVALID"),
            ("01.0", "refuse METADATA_INVALID"),
            ("1..0", "refuse METADATA_INVALID"),
        ];
        for (spec_version, expected) in cases {
            let facts = SigningFacts { spec_version: spec_version.into(), ..facts(RoleSort::Other, None, 1) };
            assert_eq!(verdict(&facts), expected, "{spec_version:?}");
        }
    }

    #[test]
    fn a_key_that_is_not_of_the_role_is_refused_even_beside_a_good_one() {
        let good = KeyFact { name: "a".into(), of_role: true };
        let bad = KeyFact { name: "b".into(), of_role: false };
        let cases = [
            (vec![good.clone()], true),
            (vec![], false),
            (vec![bad.clone()], false),
            (vec![good, bad], false),
        ];
        for (keys, allowed) in cases {
            let facts = SigningFacts { keys, ..facts(RoleSort::Other, None, 1) };
            let expected = if allowed { "allow" } else { "refuse KEY_NOT_OF_ROLE" };
            assert_eq!(verdict(&facts), expected, "{:?}", facts.keys);
        }
    }

    #[test]
    fn threshold_drops_and_key_removals_are_shown_to_a_person() {
        let step = |from, to| ThresholdStep { role: "targets".into(), from, to };
        let removed = vec![("root".to_owned(), "ab".to_owned())];
        let base = facts(RoleSort::Root, Some(1), 2);
        let rise = SigningFacts { thresholds: vec![step(1, 2)], ..base.clone() };
        let drop = SigningFacts { thresholds: vec![step(2, 1)], ..base.clone() };
        let loss = SigningFacts { keys_removed: removed.clone(), ..base };
        let both = SigningFacts { keys_removed: removed, ..drop.clone() };
        assert_eq!(verdict(&rise), "allow");
        assert_eq!(verdict(&drop), "confirm POLICY");
        assert_eq!(verdict(&loss), "confirm POLICY");
        assert_eq!(verdict(&both), "confirm POLICY POLICY");
    }

    #[test]
    fn a_refusal_outweighs_every_concern() {
        let facts = SigningFacts { spec_version: "2.0".into(), ..facts(RoleSort::Other, Some(1), 500) };
        assert_eq!(verdict(&facts), "refuse METADATA_INVALID");
    }

    #[test]
    fn an_unsafe_target_name_is_refused_and_an_odd_one_is_a_concern() {
        let name = |is_unsafe| NameFact { fault: "target name \"x\" is odd".into(), is_unsafe };
        let mut given = facts(RoleSort::Other, Some(1), 2);
        given.names = vec![name(false); 10];
        let decision = judge(&SigningRules::default(), &given);
        assert_eq!(decision.concerns().len(), 9, "{decision:?}");
        given.names.push(name(true));
        let decision = judge(&SigningRules::default(), &given);
        assert!(
            matches!(&decision, Decision::Refuse(refusal) if refusal.reason == Reason::TargetName),
            "{decision:?}"
        );
    }
}
