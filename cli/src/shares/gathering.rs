//! Bringing shares together: from files, from people at this terminal, from other terminals and machines.

use std::collections::BTreeSet;
use std::path::PathBuf;

use custody::{Collected, CustodianRef, Share, SignedManifest};
use serde_json::{Value, json};
use tuf::digest::Sha256Digest;
use tufagent_proto::v1;

use super::{Openers, Ticket, Wanted, refused, type_share, words_of};
use crate::args::CollectArgs;
use crate::client::Agent;
use crate::error::{Failure, reason};
use crate::prompt::Terminal;
use crate::render::{Report, Screen, visible};

/// Shares that were read from files and belong to the set, and where more come from.
pub(crate) struct Gathering {
    manifest: Option<SignedManifest>,
    /// Good ones that were not given yet.
    shares: Vec<(CustodianRef, Share)>,
    /// Files that did not belong, with what is wrong.
    invalid: Vec<(PathBuf, Failure)>,
    /// Wait for others rather than ask or end.
    wait: bool,
    ticket: Option<PathBuf>,
    announced: bool,
    asks: bool,
}

impl Gathering {
    /// Reads and judges the files, without the agent.
    ///
    /// # Errors
    /// What keeps a file from being read at all; one that is no share, or not of the set, is noted.
    pub(crate) fn read(args: &CollectArgs, manifest: &SignedManifest) -> Result<Self, Failure> {
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
            shares,
            invalid,
            wait,
            ticket,
            announced: false,
            asks: Terminal::open().is_some(),
        })
    }

    /// With no files: people at this terminal, or at others.
    pub(crate) fn of_people() -> Self {
        let (shares, invalid) = (Vec::new(), Vec::new());
        Self { manifest: None, shares, invalid, wait: false, ticket: None, announced: false, asks: true }
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
            if !collected.complete() && collected.offer(again).is_ok() {
                left.push((whose, share));
            }
        }
        self.shares = left;
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
        let text = format!("{about} · {have} of {need} shares · missing: {names}\n");
        let document = json!({
            "have": have,
            "need": need,
            "missing": missing,
            "given": given,
            "key": manifest.key_name(),
            "set": manifest.digest().to_string(),
            "invalid": [],
        });
        Ok(Some(Report::new(document, text).exit(4)))
    }

    /// The collection is open, or somebody has given to it: gives the next share, asks for one, or leaves it to others.
    ///
    /// # Errors
    /// `SHARES_MISSING` when whoever is asked leaves.
    pub(crate) fn go_on(
        &mut self,
        collection: &v1::Collection,
        agent: &Agent,
        screen: Screen,
    ) -> Result<(), Failure> {
        if collection.have >= collection.need {
            return Ok(());
        }
        let given: BTreeSet<&str> = collection.given.iter().map(String::as_str).collect();
        while let Some((whose, share)) = self.shares.pop() {
            if given.contains(whose.name.as_str()) && given.len() == collection.given.len() {
                continue;
            }
            let words = words_of(&share)?;
            match agent.give(collection, words.reveal_secret_bytes()) {
                Ok(_) => return Ok(()),
                Err(failure) if failure.reason() == reason::SHARE_INVALID => {
                    self.invalid.push((PathBuf::from(whose.to_string()), failure));
                }
                Err(failure) => return Err(failure),
            }
        }
        screen.show(standing(collection));
        self.announce(collection, screen)?;
        if self.wait || !self.asks {
            return Ok(());
        }
        self.ask(collection, agent, screen)
    }

    /// Once: how others give theirs.
    fn announce(&mut self, collection: &v1::Collection, screen: Screen) -> Result<(), Failure> {
        if std::mem::replace(&mut self.announced, true) {
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

    fn ask(&mut self, collection: &v1::Collection, agent: &Agent, screen: Screen) -> Result<(), Failure> {
        let Some(terminal) = Terminal::open() else { return Ok(()) };
        let manifest = SignedManifest::parse(&collection.manifest).map_err(|why| {
            Failure::new(reason::INTERNAL, format!("the agent's manifest does not hold: {why}"))
        })?;
        loop {
            match terminal.choose("Enter types a share here, w waits for others, q ends it: ")? {
                'w' => {
                    self.wait = true;
                    return Ok(());
                }
                'q' => {
                    return Err(Failure::new(
                        reason::SHARES_MISSING,
                        "the collection was ended; what was given is wiped",
                    )
                    .remedy("collect them again when the others are there"));
                }
                _ => {}
            }
            let title = format!("A share of {} · sha256 {}", manifest.key_name(), collection.sha256);
            let typed = type_share(&title, Wanted::Of(&manifest)).and_then(|share| {
                manifest.who_has(&share).map_err(|why| refused(&why, reason::SHARE_INVALID))?;
                agent.give(collection, words_of(&share)?.reveal_secret_bytes())
            });
            match typed {
                Ok(_) => return Ok(()),
                Err(failure) if [reason::SHARE_INVALID, reason::CANCELLED].contains(&failure.reason()) => {
                    screen.warn(format!("{}; nothing was lost", failure.message()));
                }
                Err(failure) => return Err(failure),
            }
        }
    }
}

/// `root v2 of app · sha256 … · 1 of 2 shares · missing: ben, cy`
pub(crate) fn standing(collection: &v1::Collection) -> String {
    let mut line = format!("{} · {} of {} shares", about(collection), collection.have, collection.need);
    if !collection.given.is_empty() {
        line.push_str(&format!(" · given: {}", visible(&collection.given.join(", "))));
    }
    if collection.have < collection.need {
        line.push_str(&format!(" · missing: {}", visible(&collection.missing.join(", "))));
    }
    line
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
