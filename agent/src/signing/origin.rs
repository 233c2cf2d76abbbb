//! What a role demands of its keys: that the token says they were made there and never left it (FAULTS D9). Of a YubiKey
//! its word is not enough: its maker's certificates must say it, and that the key wants the touch and the PIN that the
//! role demands.
//!
//! Asked of the token for each signature, and again for the keys that metadata gives to a role that demands it. Keys of
//! other people cannot be asked: what they hold is for them to see to.

mod remedy;

use std::collections::BTreeMap;

use backend::Backend;
use backend::attestation::Attestation;
use backend::card::{PinPolicy, Touch};
use policy::Reason;
use tuf::key::{Key, KeyId, PublicKey};
use tuf::metadata::{DelegatedRole, Metadata};
use tuf::role::{RoleKind, RoleName};

use self::remedy::Way;
use super::proven;
use super::signers::Signer;
use crate::config::OriginRule;
use crate::refusal::Refusal;
use crate::repositories::Record;
use crate::state::AppState;
use crate::tokens::HeldKey;

/// # Errors
/// `ORIGIN` for a key of ours that signs for a role that demands more, or is given to one.
pub(super) async fn check(
    agent: &AppState,
    record: &Record,
    role: &RoleName,
    subject: &Metadata,
    signers: &[Signer],
) -> Result<(), Refusal> {
    let origins = agent.origins();
    let name = record.name.as_str();
    let demands = |role: &RoleName| demands(&origins, name, role);
    if origins.is_empty() {
        return Ok(());
    }
    if let Some(demand) = demands(role) {
        for signer in signers {
            if let Err(refusal) = demand.of(agent, &signer.key).await {
                return Err(refused(
                    refusal,
                    &signer.key,
                    (name, role),
                    Way { agent, demand, is_staged: true },
                )
                .await);
            }
        }
    }
    check_others(agent, record, role, signers, &origins).await?;
    check_elsewhere(agent, record, role, signers, &origins).await?;
    let given = given(subject, &origins).into_iter();
    let given: Vec<_> = given.filter_map(|(role, keys)| Some((demands(&role)?, role, keys))).collect();
    if given.is_empty() {
        return Ok(());
    }
    let held = agent.tokens().keys_to_sign().await;
    let mut unasked = Vec::new();
    for (demand, of, publics) in given {
        for key in held.iter().filter(|key| publics.contains(&key.stored.public)) {
            match demand.of(agent, key).await {
                Ok(()) => {}
                Err(refusal) if refusal.reason == Reason::Origin => {
                    return Err(
                        refused(refusal, key, (name, &of), Way { agent, demand, is_staged: true }).await
                    );
                }
                Err(refusal) => unasked.push((of.clone(), key, refusal)),
            }
        }
    }
    if unasked.is_empty() {
        return Ok(());
    }
    // Its token cannot be asked now. What the role has been given before is asked of when it signs; to give it a key is
    // final, for whoever holds that one needs nothing of this agent afterwards.
    let published =
        agent.repositories().newest(record, role, subject).await?.filter(|newest| newest.verified);
    let before = published.map(|newest| self::given(&newest.metadata, &origins)).unwrap_or_default();
    let had = |of: &RoleName, public: &PublicKey| {
        before.iter().any(|(role, publics)| role == of && publics.contains(public))
    };
    match unasked.into_iter().find(|(of, key, _)| !had(of, &key.stored.public)) {
        Some((of, key, refusal)) => Err(unknown(refusal, key, name, &of)),
        None => Ok(()),
    }
}

/// Targets metadata does not name its role: a key that could sign other targets roles as well meets what they demand, or what
/// it signs could be passed off as theirs (DESIGN section 4, rule 3).
async fn check_others(
    agent: &AppState,
    record: &Record,
    role: &RoleName,
    signers: &[Signer],
    origins: &[OriginRule],
) -> Result<(), Refusal> {
    let name = record.name.as_str();
    let is_other = |rule: &OriginRule| rule.role.kind() == RoleKind::Targets && rule.role != *role;
    if role.kind() != RoleKind::Targets || !origins.iter().any(|rule| is_other(rule) && is_of(rule, name)) {
        return Ok(());
    }
    for signer in signers {
        for other in agent.repositories().beside(record, role, &signer.key.stored.public).await? {
            let Some(demand) = demands(origins, name, &other) else { continue };
            let Err(refusal) = demand.of(agent, &signer.key).await else { continue };
            let way = Way { agent, demand, is_staged: true };
            let mut refusal = refused(refusal, &signer.key, (name, &other), way).await;
            refusal.message = format!(
                "what {} signs as {role} could be passed off as {other}: {}",
                signer.key.name, refusal.message
            );
            return Err(refusal);
        }
    }
    Ok(())
}

/// Metadata does not name its repository either: a key that serves the role in another chain meets what that one demands.
async fn check_elsewhere(
    agent: &AppState,
    record: &Record,
    role: &RoleName,
    signers: &[Signer],
    origins: &[OriginRule],
) -> Result<(), Refusal> {
    let name = record.name.as_str();
    let could_be = |other: &RoleName| other.kind() == role.kind();
    if !origins.iter().any(|rule| could_be(&rule.role) && !is_of(rule, name)) {
        return Ok(());
    }
    for Signer { key, .. } in signers {
        let public = &key.stored.public;
        if agent.repositories().users_beside(record, public).await?.is_empty() {
            continue;
        }
        let all = agent.repositories().roles_of_key(public).await?;
        for other in all.iter().filter(|other| other.repository.id != record.id && could_be(&other.role)) {
            let of = other.repository.name.as_str();
            let Some(demand) = demands(origins, of, &other.role) else { continue };
            let Err(refusal) = demand.of(agent, key).await else { continue };
            let way = Way { agent, demand, is_staged: true };
            let mut refusal = refused(refusal, key, (of, &other.role), way).await;
            refusal.message = format!(
                "what {} signs as {role} of {name} could be passed off as {} of {of}: {}",
                key.name, other.role, refusal.message
            );
            return Err(refusal);
        }
    }
    Ok(())
}

/// A key is to be given to a role that demands something of it, and its token cannot be asked.
fn unknown(mut refusal: Refusal, key: &HeldKey, repository: &str, role: &RoleName) -> Refusal {
    refusal.message = format!(
        "{role} of {repository} demands keys of a token's own, and whether {} is one cannot be asked now: {}",
        key.name, refusal.message
    );
    refusal.detail("role", role.to_string()).detail("key", key.name.as_str())
}

/// Whether keys of ours may be given to a role, before anybody signs that; those that cannot be asked for now, and why.
///
/// # Errors
/// `ORIGIN`; `KEY_NOT_FOUND`.
pub(crate) async fn may_serve(
    agent: &AppState,
    repository: &str,
    role: &RoleName,
    names: &[String],
) -> Result<Vec<String>, Refusal> {
    proven::may_serve(agent, names).await?;
    let mut unasked = possessed(agent, names).await?;
    let origins = agent.origins();
    let below = |rule: &&OriginRule| is_bin_of(role, &rule.role) && is_of(rule, repository);
    let below = Demand::all(origins.iter().filter(below));
    let Some(demand) = Demand::both(demands(&origins, repository, role), below) else {
        return Ok(unasked);
    };
    let held = agent.tokens().keys_to_sign().await;
    for name in names {
        let key = agent.tokens().find(&held, name)?;
        match demand.of(agent, &key).await {
            Ok(()) => {}
            Err(refusal) if refusal.reason == Reason::Origin => {
                return Err(refused(
                    refusal,
                    &key,
                    (repository, role),
                    Way { agent, demand, is_staged: false },
                )
                .await);
            }
            Err(refusal) => unasked.push(format!(
                "{role} demands keys of a token's own; whether {name} is one is asked when it signs ({})",
                refusal.message
            )),
        }
    }
    Ok(unasked)
}

/// Whether the tokens of these keys have their private halves; those of which that is not known before they sign. Keys that are
/// not there are named by others.
///
/// # Errors
/// `BAD_SIGNATURE`; what keeps a token from being asked, such as `TOKEN_LOCKED`.
pub(crate) async fn possessed(agent: &AppState, names: &[String]) -> Result<Vec<String>, Refusal> {
    let held = agent.tokens().keys_to_sign().await;
    let mut untold = Vec::new();
    for key in names.iter().filter_map(|name| held.iter().find(|key| key.name == *name)) {
        let proven = key.slot.prove(&key.stored).await;
        if !proven.map_err(|refusal| refusal.detail("key", key.name.as_str()))? {
            untold.push(format!(
                "whether token {} has the private half of {} is seen when it first signs: until then anybody may have put \
                 the public one there",
                key.slot.name(),
                key.name
            ));
        }
    }
    Ok(untold)
}

/// A demand of a role, or of all the bins that share its name.
fn demands(origins: &[OriginRule], repository: &str, role: &RoleName) -> Option<Demand> {
    let meant = |rule: &&OriginRule| rule.role == *role || is_bin_of(&rule.role, role);
    Demand::all(origins.iter().filter(meant).filter(|rule| is_of(rule, repository)))
}

/// The detail of a refusal of a token's own key for its policies.
const POLICY: &str = "policy";

/// What is demanded of each key of a role, by all that is said of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Demand {
    touch: Option<Touch>,
    pin: Option<PinPolicy>,
}

impl Demand {
    fn all<'a>(rules: impl Iterator<Item = &'a OriginRule>) -> Option<Self> {
        rules.map(|rule| Self { touch: rule.touch, pin: rule.pin }).map(Some).reduce(Self::both).flatten()
    }

    fn both(one: Option<Self>, other: Option<Self>) -> Option<Self> {
        let (Some(one), Some(other)) = (one, other) else { return one.or(other) };
        let touch = if one.touch == Some(Touch::Always) { one.touch } else { other.touch.or(one.touch) };
        let pin = if one.pin == Some(PinPolicy::Always) { one.pin } else { other.pin.or(one.pin) };
        Some(Self { touch, pin })
    }

    /// # Errors
    /// `ORIGIN` for a key that does not meet it; others when its token cannot be asked.
    async fn of(self, agent: &AppState, key: &HeldKey) -> Result<(), Refusal> {
        let refused = |why: String| Err(Refusal::new(Reason::Origin, why));
        if !key.slot.is_card() {
            // What the token says of a private half says nothing of a public one that somebody has put beside it.
            match key.slot.prove(&key.stored).await {
                Err(refusal) if refusal.reason == Reason::BadSignature => {
                    return Err(Refusal { reason: Reason::Origin, ..refusal });
                }
                proven => proven?,
            };
            let public = key.stored.public.clone();
            key.slot.run(move |backend: &dyn Backend| backend.made_here(&public)).await?;
            let wanted = [self.touch.map(|_| "a touch"), self.pin.map(|_| "the PIN")];
            let wanted: Vec<_> = wanted.into_iter().flatten().collect();
            return match wanted.as_slice() {
                [] => Ok(()),
                wanted => refused(format!(
                    "that it wants {} is proven by keys on YubiKeys alone",
                    wanted.join(" and ")
                )),
            };
        }
        match key.attest(&agent.roots()).await {
            Ok(attested) => self
                .missing(&attested.attestation)
                .map_or(Ok(()), |why| refused(why).map_err(|refusal| refusal.detail(POLICY, true))),
            Err(refusal) if refusal.reason == Reason::Verification => refused(refusal.message),
            Err(refusal) => Err(refusal),
        }
    }

    /// What of it a key does not meet.
    fn missing(self, attested: &Attestation) -> Option<String> {
        let (touch, pin) = (attested.touch_policy, attested.pin_policy);
        let touches = match self.touch {
            None | Some(Touch::Never) => true,
            Some(Touch::Cached) => touch != Touch::Never,
            Some(Touch::Always) => touch == Touch::Always,
        };
        let asks = match self.pin {
            None | Some(PinPolicy::Never) => true,
            Some(PinPolicy::Once) => pin != PinPolicy::Never,
            Some(PinPolicy::Always) => pin == PinPolicy::Always,
        };
        let differs = |what: &str, is: &str, wanted: Option<&str>| {
            format!("its {what} policy is {is:?}, and {:?} is demanded", wanted.unwrap_or_default())
        };
        match (touches, asks) {
            (false, _) => Some(differs("touch", touch.as_str(), self.touch.map(Touch::as_str))),
            (_, false) => Some(differs("PIN", pin.as_str(), self.pin.map(PinPolicy::as_str))),
            (true, true) => None,
        }
    }
}

fn is_of(rule: &OriginRule, repository: &str) -> bool {
    rule.repository.as_deref().is_none_or(|name| name == repository)
}

/// Whether a role has the name of a succinct bin with this prefix (TAP 15). Another role may have it: it is then demanded
/// of, too.
fn is_bin_of(prefix: &RoleName, role: &RoleName) -> bool {
    let number = role.as_str().strip_prefix(prefix.as_str()).and_then(|rest| rest.strip_prefix('-'));
    number.is_some_and(|hex| !hex.is_empty() && hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')))
}

async fn refused(
    refusal: Refusal,
    key: &HeldKey,
    (repository, role): (&str, &RoleName),
    way: Way<'_>,
) -> Refusal {
    if refusal.reason != Reason::Origin {
        return refusal;
    }
    let message = match refusal.details.contains_key(POLICY) {
        true => format!("{role} of {repository} demands another policy of {}: {}", key.name, refusal.message),
        false => format!(
            "{role} of {repository} demands keys of a token's own, and {} is none: {}",
            key.name, refusal.message
        ),
    };
    Refusal::new(Reason::Origin, message)
        .remedy(way.remedy(key, role).await)
        .detail("role", role.to_string())
        .detail("key", key.name.as_str())
        .detail("token", key.slot.name())
}

/// The roles to which this metadata gives keys, with the keys; of succinct bins those that are demanded of.
pub(super) fn given(subject: &Metadata, origins: &[OriginRule]) -> Vec<(RoleName, Vec<PublicKey>)> {
    let publics = |keys: &BTreeMap<KeyId, Key>, ids: &mut dyn Iterator<Item = &KeyId>| {
        ids.filter_map(|id| keys.get(id)?.public_key().ok().cloned()).collect::<Vec<_>>()
    };
    if let Some(root) = subject.as_root() {
        return RoleKind::ALL
            .into_iter()
            .map(|kind| (kind.role(), publics(&root.keys, &mut root.role(kind).keyids.iter())))
            .collect();
    }
    let delegations = subject.as_targets().and_then(|targets| targets.delegations.as_ref());
    let mut given = Vec::new();
    if let Some(all) = delegations {
        let named =
            |role: &DelegatedRole| (role.name.clone(), publics(&all.keys, &mut role.keys.keyids.iter()));
        given.extend(all.roles.iter().map(named));
        if let Some(bins) = &all.succinct {
            let of_prefix = RoleName::parse(&bins.name_prefix).ok();
            let of_bins = origins.iter().map(|rule| rule.role.clone()).filter(|role| bins.contains(role));
            let keys = publics(&all.keys, &mut bins.keys.keyids.iter());
            given.extend(of_prefix.into_iter().chain(of_bins).map(|role| (role, keys.clone())));
        }
    }
    given
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_demand_of_the_name_of_bins_is_one_of_each_bin() {
        let rule = |role: &str, repository: Option<&str>| OriginRule {
            repository: repository.map(str::to_owned),
            role: role.parse().unwrap(),
            touch: None,
            pin: None,
        };
        let origins = [rule("bin", None), rule("root", Some("app"))];
        let demanded =
            |role: &str, repository: &str| demands(&origins, repository, &role.parse().unwrap()).is_some();
        for (role, demand) in [
            ("bin", true),
            ("bin-0f", true),
            ("bin-", false),
            ("bin-0F", false),
            ("bin-x", false),
            ("binary", false),
        ] {
            assert_eq!(demanded(role, "any"), demand, "{role}");
        }
        assert!(demanded("root", "app") && !demanded("root", "other"));
    }

    #[test]
    fn of_several_demands_the_strictest_holds_and_each_policy_is_compared() {
        let demand = |touch, pin| Demand { touch, pin };
        let (none, cached) = (demand(None, None), demand(Some(Touch::Cached), Some(PinPolicy::Once)));
        let always = demand(Some(Touch::Always), None);
        let strictest = demand(Some(Touch::Always), Some(PinPolicy::Once));
        assert_eq!(Demand::both(Some(always), Some(cached)), Some(strictest));
        assert_eq!(Demand::both(Some(cached), Some(always)), Some(strictest));
        assert_eq!(Demand::both(None, Some(none)), Some(none));
        let attested = |touch_policy, pin_policy| Attestation {
            serial: 1,
            firmware: backend::attestation::Firmware { major: 5, minor: 7, patch: 1 },
            slot: backend::card::SlotId::default(),
            pin_policy,
            touch_policy,
            form: None,
            root: String::new(),
        };
        let met = |demand: Demand, touch, pin| demand.missing(&attested(touch, pin)).is_none();
        assert!(met(none, Touch::Never, PinPolicy::Never));
        assert!(met(cached, Touch::Cached, PinPolicy::Always) && met(cached, Touch::Always, PinPolicy::Once));
        assert!(!met(cached, Touch::Never, PinPolicy::Once) && !met(cached, Touch::Cached, PinPolicy::Never));
        assert!(
            met(strictest, Touch::Always, PinPolicy::Once) && !met(strictest, Touch::Cached, PinPolicy::Once)
        );
        assert!(!met(demand(None, Some(PinPolicy::Always)), Touch::Always, PinPolicy::Once));
    }
}
