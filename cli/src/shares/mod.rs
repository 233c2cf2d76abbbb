//! Shares of split keys at the client: reading them from files and from people, and handing them out.
//!
//! A share's words lie in locked memory from where they are read to where they are sealed; on the screen they are on a page of
//! its own, which is cleared. The key itself is never here.

mod age;
mod gathering;
mod handout;
mod live;
mod opening;
mod page;
mod sheet;
mod showing;
mod shown;
mod terms;
mod ticket;
mod typing;

use std::path::Path;

use custody::{SecretBytes, Share, ShareRefused, SignedManifest, Terms};
use tuf::word;
use tufagent_proto::v1;

pub(crate) use self::gathering::{Gathering, about, code, collection_json, of_metadata, standing};
pub(crate) use self::handout::HandOut;
pub(crate) use self::opening::Openers;
pub(crate) use self::shown::{show, show_terms};
pub(crate) use self::terms::SplitPlan;
pub(crate) use self::ticket::{SealedShare, Ticket};
pub(crate) use self::typing::{Wanted, type_share};

use crate::client::Agent;
use crate::error::{Failure, reason};
use crate::prompt::confirm;
use crate::reading;
use crate::render::visible;

/// The words of a share, for sealing.
///
/// # Errors
/// `INTERNAL` where the system has no thread for it.
pub(crate) fn words_of(share: &Share) -> Result<SecretBytes, Failure> {
    share.words().map_err(|e| Failure::new(reason::INTERNAL, e.to_string()))
}

/// A share that does not belong to a set, under the reason that the command has for it.
pub(crate) fn refused(why: &ShareRefused, reason: &'static str) -> Failure {
    let failure = Failure::new(reason, why.to_string()).remedy(match why {
        ShareRefused::OtherSet { .. } => {
            "use the share of this set; or, if the set of this manifest was replaced (see tufctl share list), the manifest that belongs to the share"
        }
        _ => "use the share of this set, as it was handed out; a copy that somebody changed is worthless",
    });
    match why.custodian() {
        Some(custodian) => failure.detail("custodian", custodian.name.as_str()),
        None => failure,
    }
}

/// Asks before a set takes the place of the one that is alive: nobody here has proven shares of it.
///
/// # Errors
/// `CONFIRMATION_MISSING`.
pub(crate) fn confirm_newer(manifest: &SignedManifest, yes: bool, agent: &Agent) -> Result<(), Failure> {
    let sets = agent.sets()?;
    let mut alive = sets.iter().filter(|set| set.state == "alive").filter_map(|set| {
        let old = SignedManifest::parse(&set.manifest).ok()?;
        let is_older = old.public_key() == manifest.public_key() && old.sequence() < manifest.sequence();
        is_older.then(|| (visible(&set.key), old.sequence()))
    });
    let Some((key, old)) = alive.next() else { return Ok(()) };
    let new = manifest.sequence();
    let question = format!(
        "Set {new} of {key} takes the place of set {old}, whose shares are refused here from then on; nobody has proven a share of set {new} to this agent. Take it in?"
    );
    confirm(&question, yes)
}

/// Why a key that was split signs nothing: custodians have not proven their shares.
pub(crate) fn unproven(key: &v1::Key) -> Failure {
    let name = visible(&key.name);
    let message = format!(
        "the key {name} signs nothing before all custodians of its shares have proven them, and these have not: {}",
        visible(&key.unproven.join(", "))
    );
    Failure::new(reason::SHARE_UNPROVEN, message)
        .remedy(format!(
            "have each of them run tufctl share confirm FILE --manifest set.json (without FILE the words are typed); or give the split up: tufctl share split {}",
            word::before(&key.name, "--abort")
        ))
        .detail("key", key.name.as_str())
        .detail("token", key.token.as_str())
        .detail("unconfirmed", key.unproven.clone())
}

/// How many shares make the key: `2 of 3 shares`, or which groups must come together.
pub(crate) fn rule(terms: &Terms) -> String {
    let groups = terms.group_terms();
    if terms.is_plain() {
        return format!("{} of {} shares", terms.need(), terms.count());
    }
    let each: Vec<String> = groups
        .iter()
        .map(|group| format!("{} ({} of {})", group.name, group.threshold, group.custodians.len()))
        .collect();
    format!("{} of {} groups: {}", terms.group_threshold(), groups.len(), each.join(", "))
}

/// The same where there is no room for the names of the groups.
fn rule_of_groups(terms: &Terms) -> String {
    let (need, all) = (terms.group_threshold(), terms.group_terms().len());
    format!("{need} of {all} groups, each by as many of its shares as set.json says,")
}

/// How much may be lost before the key is.
pub(crate) fn may_be_lost(terms: &Terms) -> String {
    if terms.is_plain() {
        return losable(terms.count(), terms.need(), "shares");
    }
    let each: Vec<String> = terms
        .group_terms()
        .iter()
        .map(|group| {
            let all = group.custodians.len();
            format!("{} of the {all} shares of {}", all.saturating_sub(group.threshold.into()), group.name)
        })
        .collect();
    format!("{} may be lost without losing the group; {}", each.join(", "), groups_may_be_lost(terms))
}

/// The same where there is no room for the names of the groups.
fn groups_may_be_lost(terms: &Terms) -> String {
    losable(terms.group_terms().len(), terms.group_threshold(), "groups")
}

fn losable(all: usize, need: usize, what: &str) -> String {
    format!("{} of {all} {what} may be lost", all.saturating_sub(need))
}

/// Reads a set's manifest; what is read has its key's own signature.
///
/// # Errors
/// `VERIFICATION` (exit 6) for what is no manifest or was changed.
pub(crate) fn manifest(path: &Path) -> Result<SignedManifest, Failure> {
    let most = u64::try_from(SignedManifest::MAX_BYTES).unwrap_or(u64::MAX);
    let read = reading::open_named(path).and_then(|file| reading::read_at_most(file, most));
    let bytes = read.map_err(|e| Failure::io("read", path, &e))?;
    let parsed = bytes.ok_or_else(|| "it is too large".to_owned());
    let parsed = parsed.and_then(|bytes| SignedManifest::parse(&bytes).map_err(|e| e.to_string()));
    parsed.map_err(|why| {
        Failure::new(
            reason::VERIFICATION,
            format!("{} is no manifest of a set of shares: {why}", path.display()),
        )
        .remedy("name the set.json that was handed out with the shares; every custodian has a copy")
        .detail("file", path.display().to_string())
    })
}

/// Whether a file says that it is a manifest, be it one that was changed.
pub(crate) fn claims_manifest(path: &Path) -> bool {
    let most = u64::try_from(SignedManifest::MAX_BYTES).unwrap_or(u64::MAX);
    let read = reading::open_file(path).and_then(|file| reading::read_at_most(file, most));
    let bytes = read.ok().flatten().map(zeroize::Zeroizing::new).unwrap_or_default();
    bytes.windows(KIND.len()).any(|part| part == KIND)
}

/// What a manifest says it is.
const KIND: &[u8] = b"\"tuf-agent-share-set\"";

/// Looks before anything is made or read whether a token that was named takes split keys; one that nobody knows is the
/// agent's to refuse.
///
/// # Errors
/// `UNSUPPORTED`.
pub(crate) fn check_token(token: &str, agent: &Agent) -> Result<(), Failure> {
    if agent.tokens()?.iter().any(|one| one.name == token && one.kind != "shares") {
        return Err(Failure::new(
            reason::UNSUPPORTED,
            format!("token {} holds no split keys", visible(token)),
        )
        .remedy("name a token of kind shares: tufctl token list")
        .detail("token", token));
    }
    Ok(())
}

/// Keeps words that are read here out of core dumps, and other processes of this user from reading them. Best effort: a
/// system that refuses it is no reason to refuse a custodian.
pub(crate) fn harden() {
    use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};
    let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
    let _ = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) });
}
