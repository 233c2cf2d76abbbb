//! What is said of shares that are not taken, and of keys that do not sign yet.

use custody::{ManifestError, RecoverError, ShareError, ShareRefused, SignedManifest, SplitError};
use policy::Reason;
use tuf::word;
use tufagent_proto::v1;

use super::record::{SetState, SplitKey, SplitSet};
use super::store::Stop;
use crate::refusal::Refusal;

/// What cannot be a share.
pub(super) fn unreadable(error: &ShareError) -> Refusal {
    if let ShareError::Stack(error) = error {
        return memory(error);
    }
    Refusal::new(Reason::ShareInvalid, format!("this is no share: {error}")).remedy(
        "look at it again word by word: tufctl share verify FILE --manifest set.json; nothing was lost",
    )
}

/// A share that does not belong here.
pub(super) fn share(error: &ShareRefused, manifest: &SignedManifest, key: &str) -> Refusal {
    if let ShareRefused::Stack(error) = error {
        return memory(error);
    }
    let sequence = manifest.sequence();
    let mut refusal = Refusal::new(Reason::ShareInvalid, format!("set {sequence} of the key {key}: {error}"))
        .remedy("give another share; nothing was lost, and those that were given still count")
        .detail("key", key);
    if let Some(custodian) = error.custodian() {
        refusal = refusal.detail("custodian", custodian.to_string());
    }
    refusal
}

/// A share of a set that was replaced.
pub(super) fn dead(key: &SplitKey, set: &SplitSet) -> Refusal {
    let alive = key.alive().map(|alive| format!(" by set {}", alive.manifest.sequence())).unwrap_or_default();
    let message = format!("set {} of the key {} was replaced{alive}", set.manifest.sequence(), key.name);
    Refusal::new(Reason::ShareInvalid, message)
        .remedy(
            "use the shares of the set that is alive: tufctl share list; the old ones should be destroyed",
        )
        .detail("key", key.name.as_str())
        .detail("set", set.manifest.digest().to_string())
}

/// A set whose shares are not taken: replaced, or not proven yet.
pub(super) fn dead_or_new(key: &SplitKey, set: &SplitSet) -> Refusal {
    if set.state == SetState::Dead {
        return dead(key, set);
    }
    let message = format!(
        "set {} of the key {} is not alive: another one is until its custodians have proven theirs and it takes over",
        set.manifest.sequence(),
        key.name
    );
    Refusal::new(Reason::ShareInvalid, message)
        .remedy(format!(
            "use the shares of the set that is alive, or finish: tufctl share resplit {}",
            word::before(key.name.as_str(), "--phase commit")
        ))
        .detail("key", key.name.as_str())
        .detail("set", set.manifest.digest().to_string())
}

/// No set of ours.
pub(super) fn unknown_set(digest: &str) -> Refusal {
    Refusal::new(Reason::ShareInvalid, "this agent has no set with this manifest")
        .remedy("see the sets that it has: tufctl share list; one of another agent, or a newer one of a key that is here, is taken in by tufctl key import NAME set.json --token TOKEN")
        .detail("set", digest)
}

/// A set of a key that lies on another token than the one that was named.
pub(super) fn elsewhere(key: &SplitKey, token: &str) -> Refusal {
    let name = key.name.as_str();
    let import = word::both_before(name, "set.json", &word::option("--token", token));
    Refusal::new(Reason::DuplicateKey, format!("this very key is on token {token} already, named {name}"))
        .remedy(format!("take a newer set of it in there: tufctl key import {import}"))
        .detail("key", name)
        .detail("token", token)
}

/// The set that is alive, once more.
pub(super) fn alive_already(key: &SplitKey, set: &SplitSet) -> Refusal {
    let (name, sequence) = (key.name.as_str(), set.manifest.sequence());
    Refusal::new(Reason::DuplicateKey, format!("set {sequence} of the key {name} is here already, and alive"))
        .remedy("nothing is left to be done: tufctl share list")
        .detail("key", name)
        .detail("set", set.manifest.digest().to_string())
}

/// A set that is not known here, and whose number does not come after all that are, or were.
pub(super) fn no_newer(key: &SplitKey, manifest: &SignedManifest, newest: u64) -> Refusal {
    let (name, sequence) = (key.name.as_str(), manifest.sequence());
    let message = match sequence == newest {
        true => {
            format!("set {newest} of the key {name} was another one here: this one does not come after it")
        }
        false => format!(
            "set {sequence} of the key {name} is older than set {newest}, which this agent has, or had"
        ),
    };
    Refusal::new(Reason::ShareInvalid, message)
        .remedy(format!(
            "use the shares of the set that is alive: tufctl share manifest {}; where it is this set that its people hold, tufctl key remove {}, then import it",
            word::last(name),
            word::before(name, "--force")
        ))
        .detail("key", name)
        .detail("set", manifest.digest().to_string())
}

/// The key serves no role yet.
pub(super) fn unproven(key: &SplitKey, set: &SplitSet) -> Refusal {
    let (proven, missing) = set.proofs();
    let names: Vec<_> = missing.iter().map(ToString::to_string).collect();
    let all = proven.len().saturating_add(missing.len());
    let name = &key.name;
    let (message, abort) = match key.alive() {
        // Its old set goes on signing.
        Some(_) => (
            format!("set {} of the key {name} takes over", set.manifest.sequence()),
            format!("tufctl share resplit {}", word::before(name.as_str(), "--phase abort")),
        ),
        None => (
            format!("the key {name} signs nothing in any role"),
            format!("tufctl share split {}", word::before(name.as_str(), "--abort")),
        ),
    };
    let message = format!(
        "{message} before all {all} custodians have proven their shares, and these have not: {}",
        names.join(", ")
    );
    Refusal::new(Reason::ShareUnproven, message)
        .remedy(format!(
            "have each of them run tufctl share confirm FILE --manifest set.json; or give the set up: {abort}"
        ))
        .detail("key", key.name.as_str())
        .detail("set", set.manifest.digest().to_string())
        .detail("unconfirmed", names)
}

/// The key may go on signing, and gets no new role yet: its manifest was imported.
pub(super) fn never_seen(key: &SplitKey, set: &SplitSet) -> Refusal {
    let name = &key.name;
    let missing: Vec<_> = set.proofs().1.iter().map(ToString::to_string).collect();
    let message = format!(
        "the manifest of the key {name} was imported, and this agent has not seen that its shares are there: it goes on signing for roles that it has, and gets no new one"
    );
    Refusal::new(Reason::ShareUnproven, message)
        .remedy("rehearse it: tufctl share drill --manifest set.json; or have every custodian run tufctl share confirm FILE --manifest set.json")
        .detail("key", name.as_str())
        .detail("set", set.manifest.digest().to_string())
        .detail("unconfirmed", missing)
}

/// A split key, and nobody here to bring shares.
pub(super) fn no_collection(key: &str, need: usize, role: &str) -> Refusal {
    let role = if role.is_empty() { "ROLE" } else { role };
    Refusal::new(
        Reason::SharesMissing,
        format!("the key {key} is split: {need} of its shares must be brought together"),
    )
    .remedy(format!("tufctl share collect DIR {} --manifest set.json", word::option("--role", role)))
    .detail("key", key)
    .detail("have", 0)
    .detail("need", need)
}

/// It takes no more shares: nobody gave enough in time, or the machine was suspended.
pub(super) fn over(collection: &v1::Collection, why: &str) -> Refusal {
    short(collection, why)
}

/// Who opened it waits no longer.
pub(super) fn given_up(collection: &v1::Collection) -> Refusal {
    short(collection, "the collection was ended")
}

fn short(collection: &v1::Collection, why: &str) -> Refusal {
    let v1::Collection { key, have, need, given, missing, .. } = collection;
    let wiped = if given.is_empty() { "" } else { ", and what was given is wiped" };
    let message = format!("{why}, with {have} of {need} shares of the key {key}: nothing was signed{wiped}");
    Refusal::new(Reason::SharesMissing, message)
        .remedy(format!(
            "collect them again when enough are there of: {}",
            [given.as_slice(), missing].concat().join(", ")
        ))
        .detail("key", key.as_str())
        .detail("have", *have)
        .detail("need", *need)
        .detail("missing", missing.clone())
}

/// No such collection, or no more.
pub(super) fn ended() -> Refusal {
    Refusal::new(Reason::SharesMissing, "this collection is not open, or has ended; the share was wiped")
        .remedy("see those that are open: tufctl share give; or begin one: tufctl share collect DIR")
}

/// It has enough.
pub(super) fn enough() -> Refusal {
    Refusal::new(Reason::SharesMissing, "this collection has enough shares already; this one was wiped")
        .remedy("nothing is left to be done")
}

/// What ends all that is being collected.
pub(super) fn stopped(token: &str, stop: Stop) -> Refusal {
    let again = "then collect the shares again";
    let (reason, what, remedy) = match stop {
        Stop::None | Stop::Locked => {
            (Reason::TokenLocked, "was locked", format!("unlock it: tufctl token unlock {token}; {again}"))
        }
        Stop::Left => (
            Reason::TokenAbsent,
            "was taken out of the configuration, or changed in it",
            format!("see the tokens that are there: tufctl token list; {again}"),
        ),
    };
    Refusal::new(
        reason,
        format!("token {token} {what}, which ends what was being collected; what was given is wiped"),
    )
    .remedy(remedy)
    .detail("token", token)
}

/// The record of a key is gone, or of this set of it, while its shares were collected.
pub(super) fn forgotten(key: &str) -> Refusal {
    let message = format!(
        "the key {key} was forgotten here, which ends what was being collected; what was given is wiped"
    );
    Refusal::new(Reason::KeyNotFound, message)
        .remedy("its shares make it still: take its manifest in (tufctl key import NAME set.json), then collect them again")
        .detail("key", key)
}

/// The key could not be brought together, or did not sign.
pub(super) fn recover(error: &RecoverError, key: &str) -> Refusal {
    let reason = match error {
        RecoverError::Stack(error) => return memory(error),
        RecoverError::WrongKey => return other_key(key),
        RecoverError::Incomplete { .. } => Reason::SharesMissing,
        RecoverError::Damaged | RecoverError::Passphrase => Reason::ShareInvalid,
        _ => Reason::BadSignature,
    };
    Refusal::new(reason, format!("the key {key}: {error}"))
        .remedy("collect the shares again; check each alone: tufctl share verify FILE --manifest set.json")
        .detail("key", key)
}

/// Each share is that of the manifest, and together they make a key that the manifest does not name.
fn other_key(key: &str) -> Refusal {
    let message = format!(
        "the key {key}: the shares are those of its manifest, and make another key than it names; nothing was signed"
    );
    Refusal::new(Reason::ShareInvalid, message)
        .remedy(
            "the set was made by another program, under a passphrase of SLIP-0039 or wrongly: recover the key with that \
             program, or give the role another key: tufctl root replace-key",
        )
        .detail("key", key)
}

/// A set could not be made.
pub(super) fn split(error: &SplitError, key: &str) -> Refusal {
    match error {
        SplitError::Recover(error) => recover(error, key),
        SplitError::KeyName => {
            Refusal::new(Reason::NameInvalid, format!("{key}: {error}")).remedy("choose another name")
        }
        _ => Refusal::internal(format!("the key {key} could not be split: {error}")),
    }
}

/// What is no manifest.
pub(super) fn manifest(error: &ManifestError) -> Refusal {
    Refusal::new(Reason::KeyFile, format!("this is no manifest of a set of shares: {error}"))
        .remedy("give set.json as it was written when the key was split")
}

pub(super) fn memory(error: &dyn std::fmt::Display) -> Refusal {
    Refusal::new(Reason::Internal, format!("there is no locked memory to work in: {error}"))
        .remedy("raise the limit (ulimit -l), and start the agent again")
}
