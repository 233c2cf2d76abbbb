//! The requests about split keys.

use tonic::Streaming;
use tufagent_proto::v1::{self, drill_event, resplit_event, shares_client::SharesClient};

use super::calls::incomplete;
use super::seal::{SealUse, seal};
use super::{Agent, MOST_MESSAGE};
use crate::error::Failure;
use crate::secret::Secret;

impl Agent {
    /// The sets of all split keys.
    pub(crate) fn sets(&self) -> Result<Vec<v1::ShareSet>, Failure> {
        Ok(self.ask(self.shares_client().list(v1::ListSetsRequest {}))?.sets)
    }

    /// Makes a key and splits it, or splits one of the file store.
    pub(crate) fn split(&self, request: v1::SplitRequest) -> Result<v1::SplitReply, Failure> {
        self.wait(self.shares_client().split(request))
    }

    /// A passphrase that a custodian's share of a key is to be sealed under.
    pub(crate) fn seal_split_passphrase(
        &self,
        key: &str,
        custodian: &str,
        passphrase: &Secret,
    ) -> Result<v1::Sealed, Failure> {
        self.seal(&SealUse::SplitPassphrase(key, custodian), passphrase)
    }

    /// Proves that a custodian has their share of the set with this digest.
    pub(crate) fn confirm_share(&self, set: &str, words: &[u8]) -> Result<v1::ConfirmShareReply, Failure> {
        let share = Some(self.seal_bytes(&SealUse::Confirm(set), words)?);
        let request = v1::ConfirmShareRequest { set_sha256: set.into(), share };
        self.wait(self.shares_client().confirm(request))
    }

    /// Collections that are open now.
    pub(crate) fn collections(&self) -> Result<Vec<v1::Collection>, Failure> {
        Ok(self.ask(self.shares_client().collections(v1::CollectionsRequest {}))?.collections)
    }

    /// Gives a share to the collection that this process has opened.
    pub(crate) fn give(&self, to: &v1::Collection, words: &[u8]) -> Result<v1::GiveShareReply, Failure> {
        let (collection, share) = (to.id.clone(), Some(seal_for(to, words)?));
        let request = v1::GiveShareRequest { collection, share, wait: false };
        self.wait(self.shares_client().give(request))
    }

    /// Gives a share that was sealed for a collection of another process; waits for what comes of it if it is the last one.
    pub(crate) fn give_sealed(&self, to: &str, share: v1::Sealed) -> Result<v1::GiveShareReply, Failure> {
        let request = v1::GiveShareRequest { collection: to.into(), share: Some(share), wait: true };
        self.wait(self.shares_client().give(request))
    }

    /// Waits no longer for shares; `SHARES_MISSING` where there are enough, or it has ended.
    pub(crate) fn end_collection(&self, id: &str) -> Result<v1::EndCollectionReply, Failure> {
        self.ask(self.shares_client().end_collection(v1::EndCollectionRequest { collection: id.into() }))
    }

    /// Opens a collection that rehearses a recovery.
    pub(crate) fn drill(&self, set: &str, shares: usize) -> Result<Rounds<'_, v1::DrillEvent>, Failure> {
        let shares = u32::try_from(shares).unwrap_or(u32::MAX);
        let request = v1::DrillRequest { set_sha256: set.into(), shares };
        Ok(Rounds { agent: self, stream: self.wait(self.shares_client().drill(request))? })
    }

    /// Opens a collection that makes another set of the same key.
    pub(crate) fn resplit(
        &self,
        set: &str,
        terms: v1::SplitTerms,
    ) -> Result<Rounds<'_, v1::ResplitEvent>, Failure> {
        let request = v1::ResplitRequest { set_sha256: set.into(), terms: Some(terms) };
        Ok(Rounds { agent: self, stream: self.wait(self.shares_client().resplit(request))? })
    }

    /// Declares a new set alive, or forgets it.
    pub(crate) fn end_resplit(&self, set: &str, commit: bool) -> Result<v1::EndResplitReply, Failure> {
        let request = v1::EndResplitRequest { set_sha256: set.into(), commit };
        self.wait(self.shares_client().end_resplit(request))
    }

    fn shares_client(&self) -> SharesClient<tonic::transport::Channel> {
        SharesClient::new(self.channel.clone()).max_decoding_message_size(MOST_MESSAGE)
    }
}

/// Seals a share to the key of a collection, for what it collects for.
pub(crate) fn seal_for(collection: &v1::Collection, words: &[u8]) -> Result<v1::Sealed, Failure> {
    seal(&collection.public_key, &SealUse::Collect(collection), words)
}

/// A collection that is no signature, from its opening to its end. Dropped, it is cancelled.
pub(crate) struct Rounds<'a, E> {
    pub(super) agent: &'a Agent,
    pub(super) stream: Streaming<E>,
}

/// What becomes of such a collection.
pub(crate) enum Round<T> {
    /// It is open, or somebody has given a share to it.
    Collecting(Box<v1::Collection>),
    /// It had enough.
    Done(T),
}

impl Round<v1::DrillReport> {
    pub(super) fn of_drill(event: Option<v1::DrillEvent>) -> Option<Self> {
        match event?.event? {
            drill_event::Event::Collecting(collection) => Some(Self::Collecting(Box::new(collection))),
            drill_event::Event::Report(report) => Some(Self::Done(report)),
        }
    }
}

impl Round<v1::SplitReply> {
    pub(super) fn of_resplit(event: Option<v1::ResplitEvent>) -> Option<Self> {
        match event?.event? {
            resplit_event::Event::Collecting(collection) => Some(Self::Collecting(Box::new(collection))),
            resplit_event::Event::Made(made) => Some(Self::Done(made)),
        }
    }
}

impl Rounds<'_, v1::DrillEvent> {
    /// The next of it.
    pub(crate) fn next(&mut self) -> Result<Round<v1::DrillReport>, Failure> {
        Round::of_drill(self.agent.next(&mut self.stream)?).ok_or_else(incomplete)
    }
}

impl Rounds<'_, v1::ResplitEvent> {
    /// The next of it.
    pub(crate) fn next(&mut self) -> Result<Round<v1::SplitReply>, Failure> {
        Round::of_resplit(self.agent.next(&mut self.stream)?).ok_or_else(incomplete)
    }
}
