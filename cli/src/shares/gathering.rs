//! Bringing shares together: from files, from people at this terminal, from other terminals and machines.

use std::collections::BTreeSet;
use std::path::PathBuf;

use custody::{Collected, CustodianRef, GroupProgress, Share, SignedManifest};
use serde_json::{Value, json};
use tuf::digest::Sha256Digest;
use tuf::key::PublicKey;
use tufagent_proto::v1;

use super::handout::check_new;
use super::{Openers, Ticket, refused, words_of};
use crate::args::CollectArgs;
use crate::client::Agent;
use crate::error::{Failure, reason};
use crate::prompt::Terminal;
use crate::render::{Report, Screen, visible};

/// Shares that were read from files and belong to the set, and where more come from.
pub(crate) struct Gathering {
    manifest: Option<SignedManifest>,
    /// The split key that the agent knows by this set: its name, and its token.
    key: Option<(String, String)>,
    /// Good ones that were not given yet.
    shares: Vec<(CustodianRef, Share)>,
    /// Files that did not belong, with what is wrong.
    invalid: Vec<(PathBuf, Failure)>,
    /// Wait for others rather than ask or end.
    wait: bool,
    ticket: Option<PathBuf>,
    /// The collection that people were told of.
    announced: Option<String>,
    asks: bool,
    /// The files alone are enough.
    enough: bool,
    /// All shares are given, also where fewer would do.
    all: bool,
    /// Somebody pressed Ctrl-C.
    pub(super) left: bool,
}

impl Gathering {
    /// Reads and judges the files, without the agent.
    ///
    /// # Errors
    /// What keeps a file from being read at all; one that is no share, or not of the set, is noted.
    pub(crate) fn read(args: &CollectArgs, manifest: &SignedManifest) -> Result<Self, Failure> {
        args.sources.ticket.as_deref().map_or(Ok(()), check_new)?;
        let openers = Openers::load(&args.sources.openers)?;
        let (mut shares, mut invalid) = (Vec::new(), Vec::new());
        let mut taken = BTreeSet::new();
        for path in &args.sources.shares {
            let judged = openers.read(path, reason::SHARE_INVALID).and_then(|share| {
                let whose = manifest.who_has(&share).map_err(|why| refused(&why, reason::SHARE_INVALID))?;
                Ok((whose, share))
            });
            match judged {
                Ok((whose, _)) if taken.contains(&(whose.group, whose.member)) => {
                    let message = format!("the share of {whose} is there twice; it counts once");
                    let twice = Failure::new(reason::SHARE_INVALID, message)
                        .remedy("give the share of another custodian")
                        .detail("custodian", whose.name.as_str());
                    invalid.push((path.clone(), twice));
                }
                Ok((whose, share)) => {
                    taken.insert((whose.group, whose.member));
                    shares.push((whose, share));
                }
                Err(failure) if failure.reason() == reason::SHARE_INVALID => {
                    invalid.push((path.clone(), failure))
                }
                Err(failure) => return Err(failure),
            }
        }
        let wait = args.sources.wait || args.sources.ticket.is_some();
        let (ticket, manifest) = (args.sources.ticket.clone(), Some(manifest.clone()));
        Ok(Self {
            manifest,
            key: None,
            shares,
            invalid,
            wait,
            ticket,
            announced: None,
            asks: Terminal::open().is_some(),
            enough: false,
            all: false,
            left: false,
        })
    }

    /// With no files: people at this terminal, or at others.
    pub(crate) fn of_people() -> Self {
        let (shares, invalid) = (Vec::new(), Vec::new());
        let (wait, left) = (false, false);
        let (manifest, key, ticket, announced) = (None, None, None, None);
        Self {
            manifest,
            key,
            shares,
            invalid,
            wait,
            ticket,
            announced,
            asks: true,
            enough: false,
            all: false,
            left,
        }
    }

    /// Gives every share, also where fewer would do: in a rehearsal each is to be seen.
    pub(crate) const fn gives_all(&mut self) {
        self.all = true;
    }

    /// How many shares there are to give.
    pub(crate) const fn at_hand(&self) -> usize {
        self.shares.len()
    }

    /// Whether the next share is given though there are enough.
    pub(super) const fn gives_more(&self) -> bool {
        self.all && !self.shares.is_empty()
    }

    /// Takes note of the set as the agent knows it.
    pub(crate) fn is_of(&mut self, set: &v1::ShareSet) {
        self.key = Some((set.key.clone(), set.token.clone()));
    }

    /// The key whose shares were brought: its public half, its name and the token of shares that it is on.
    pub(crate) fn split_key(&self) -> Option<(&PublicKey, &str, &str)> {
        let (manifest, (name, token)) = (self.manifest.as_ref()?, self.key.as_ref()?);
        Some((manifest.public_key(), name, token))
    }

    /// The digest of the set's manifest; empty for whichever is alive.
    pub(crate) fn set_sha256(&self) -> String {
        self.manifest.as_ref().map(|manifest| manifest.digest().to_string()).unwrap_or_default()
    }

    /// Files that did not belong.
    pub(crate) fn invalid(&self) -> Vec<Value> {
        let one = |(path, why): &(PathBuf, Failure)| {
            json!({
                "file": path.display().to_string(),
                "custodian": why.text_detail("custodian"),
                "message": why.message(),
            })
        };
        self.invalid.iter().map(one).collect()
    }

    /// Warns of files that did not belong.
    pub(crate) fn tell_invalid(&self, screen: Screen) {
        for (path, why) in &self.invalid {
            screen.warn(format!("{} does not count: {}", path.display(), why.message()));
        }
    }

    /// Whether the files are enough, or people can be asked for more. Otherwise, how it stands: exit 4.
    ///
    /// # Errors
    /// `SHARE_INVALID` (exit 5) where a wrong share is why they are not enough.
    pub(crate) fn short(&mut self, about: &str) -> Result<Option<Report>, Failure> {
        let Some(manifest) = self.manifest.clone() else { return Ok(None) };
        let mut collected = Collected::new(&manifest);
        let mut left = Vec::new();
        for (whose, share) in std::mem::take(&mut self.shares) {
            let words = words_of(&share)?;
            let again = Share::parse(words.reveal_secret_bytes());
            let again = again.map_err(|why| Failure::new(reason::INTERNAL, why.to_string()))?;
            // One more than is enough is not given.
            if (self.all || !collected.complete()) && collected.offer(again).is_ok() {
                left.push((whose, share));
            }
        }
        self.shares = left;
        self.enough = collected.complete();
        if collected.complete() || self.wait || self.asks {
            return Ok(None);
        }
        let missing: Vec<String> = collected.missing().iter().map(|one| one.name.to_string()).collect();
        let (have, need) = (collected.have(), collected.need());
        if let Some((_, why)) = self.invalid.first() {
            let failure = why.clone().detail("have", have).detail("need", need).detail("missing", missing);
            return Err(failure.detail("invalid", self.invalid()));
        }
        let given: Vec<String> = self.shares.iter().map(|(whose, _)| whose.name.to_string()).collect();
        let names = visible(&missing.join(", ")).into_owned();
        let progress = if manifest.terms().is_plain() { Vec::new() } else { collected.progress() };
        let count = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
        let groups: Vec<_> =
            progress.iter().map(|one| (one.name.as_str(), count(one.have), count(one.need))).collect();
        let text = format!("{about} · {have} of {need} shares{} · missing: {names}\n", each_group(&groups));
        let mut document = json!({
            "have": have,
            "need": need,
            "missing": missing,
            "given": given,
            "key": manifest.key_name(),
            "set": manifest.digest().to_string(),
            "invalid": [],
        });
        if let Some(members) = document.as_object_mut().filter(|_| !progress.is_empty()) {
            let one = |group: &GroupProgress| {
                let missing: Vec<_> = group.missing.iter().map(ToString::to_string).collect();
                json!({"name": group.name.as_str(), "have": group.have, "need": group.need, "missing": missing})
            };
            members.insert("groups".into(), progress.iter().map(one).collect());
        }
        Ok(Some(Report::new(document, text).exit(4)))
    }

    /// Gives the next share that is at hand; false when there is none.
    ///
    /// # Errors
    /// What keeps the agent from taking any.
    pub(super) fn give_next(&mut self, collection: &v1::Collection, agent: &Agent) -> Result<bool, Failure> {
        let given: BTreeSet<&str> = collection.given.iter().map(String::as_str).collect();
        // In the order in which they were named, as people then read it.
        while !self.shares.is_empty() {
            let (whose, share) = self.shares.remove(0);
            if given.contains(whose.name.as_str()) && given.len() == collection.given.len() {
                continue;
            }
            let words = words_of(&share)?;
            match agent.give(collection, words.reveal_secret_bytes()) {
                Ok(_) => return Ok(true),
                Err(failure) if failure.reason() == reason::SHARE_INVALID => {
                    self.invalid.push((PathBuf::from(whose.to_string()), failure));
                }
                // It had enough, or has ended: the call says which.
                Err(failure) if failure.reason() == reason::SHARES_MISSING => return Ok(false),
                Err(failure) => return Err(failure),
            }
        }
        Ok(false)
    }

    /// Whether whoever is at this terminal is asked for shares.
    pub(super) fn asks_people(&self) -> bool {
        self.asks && !self.wait
    }

    /// Whether somebody at this terminal is asked for a share, and so is shown what it is for.
    pub(crate) fn is_watched(&self) -> bool {
        self.asks_people() && !self.enough
    }

    /// How others give theirs, where more are needed; once for each collection.
    ///
    /// # Errors
    /// A ticket that cannot be written.
    pub(super) fn announce(&mut self, collection: &v1::Collection, screen: Screen) -> Result<(), Failure> {
        if collection.have >= collection.need
            || self.announced.replace(collection.id.clone()).as_ref() == Some(&collection.id)
        {
            return Ok(());
        }
        if let Some(path) = &self.ticket {
            Ticket::of(collection).write(path)?;
            screen.show(format!(
                "ticket for share seal on other machines: {}; its code, for them to compare: {}",
                visible(&path.display().to_string()),
                code(collection)
            ));
        }
        screen.note(format!(
            "others give theirs at another terminal: tufctl share give --collection {} (until {})",
            visible(&collection.id),
            visible(&collection.deadline)
        ));
        Ok(())
    }
}

/// `root v2 of app · sha256 … · 1 of 2 shares · missing: ben, cy`
pub(crate) fn standing(collection: &v1::Collection) -> String {
    let mut line = format!("{} · {} of {} shares", about(collection), collection.have, collection.need);
    let groups = collection.groups.iter();
    let groups: Vec<_> = groups.map(|one| (one.name.as_str(), one.have.into(), one.need.into())).collect();
    line.push_str(&each_group(&groups));
    if !collection.given.is_empty() {
        line.push_str(&format!(" · given: {}", visible(&collection.given.join(", "))));
    }
    if collection.have < collection.need {
        line.push_str(&format!(" · missing: {}", visible(&collection.missing.join(", "))));
    }
    line
}

/// ` (board 2 of 2, tech 1 of 2)`; nothing where there are no groups.
fn each_group(groups: &[(&str, u64, u64)]) -> String {
    if groups.is_empty() {
        return String::new();
    }
    let one = |(name, have, need): &(&str, u64, u64)| format!("{} {have} of {need}", visible(name));
    format!(" ({})", groups.iter().map(one).collect::<Vec<_>>().join(", "))
}

/// How far each group is.
fn groups_json(collection: &v1::Collection) -> Value {
    let one = |group: &v1::GroupProgress| json!({"name": group.name, "have": group.have, "need": group.need, "missing": group.missing});
    collection.groups.iter().map(one).collect()
}

/// A collection, for whoever asks what waits.
pub(crate) fn collection_json(collection: &v1::Collection) -> Value {
    let mut document = json!({
        "collection": collection.id,
        "purpose": collection.purpose,
        "key": collection.key,
        "token": collection.token,
        "sha256": collection.sha256,
        "have": collection.have,
        "need": collection.need,
        "given": collection.given,
        "missing": collection.missing,
        "opened": collection.opened,
        "deadline": collection.deadline,
    });
    if let Some(members) = document.as_object_mut() {
        members.append(&mut of_metadata(collection));
    }
    document
}

/// The members that tell what metadata a collection would sign, and how far each group is, where there are any.
pub(crate) fn of_metadata(collection: &v1::Collection) -> serde_json::Map<String, Value> {
    let mut members = serde_json::Map::new();
    if collection.purpose == "sign" {
        members.insert("repository".into(), collection.repository.clone().into());
        members.insert("role".into(), collection.role.clone().into());
        members.insert("version".into(), collection.version.into());
    }
    if !collection.groups.is_empty() {
        members.insert("groups".into(), groups_json(collection));
    }
    members
}

/// What people compare where a ticket goes to another machine: it covers the collection's key and all that is told of it.
/// 80 bits, so that nobody makes another ticket with the same one.
pub(crate) fn code(collection: &v1::Collection) -> String {
    let digest = Sha256Digest::of(&collection.bound()).to_string();
    let groups: Vec<&str> = (0..5).filter_map(|at| digest.get(4 * at..4 * at + 4)).collect();
    groups.join("-")
}

/// What a collection is for, with the whole digest: people compare it.
pub(crate) fn about(collection: &v1::Collection) -> String {
    let what = match collection.purpose.as_str() {
        "sign" => format!(
            "{} v{} of {}",
            visible(&collection.role),
            collection.version,
            visible(&collection.repository)
        ),
        "drill" => format!("a drill of {}, which signs no metadata", visible(&collection.key)),
        "resplit" => format!("another set of shares of {}", visible(&collection.key)),
        other => visible(other).into_owned(),
    };
    format!("{what} · sha256 {}", visible(&collection.sha256))
}
