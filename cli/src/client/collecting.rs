//! Calls in which a collection of shares is open: what the agent tells of it is heard while people type.

use tokio_stream::StreamExt as _;
use tonic::Streaming;
use tufagent_proto::v1;

use super::shares::{Round, Rounds};
use super::signing::{SignCall, SignStep, step};
use super::{Agent, calls::incomplete};
use crate::error::Failure;

/// A call whose collection is open.
pub(crate) trait Collecting {
    /// What it gives when the collection had enough.
    type Next;

    /// The next of the call, or of what else is waited for, whichever comes first; nothing of the call is lost.
    ///
    /// # Errors
    /// Why the collection has ended.
    fn next_or<O>(&mut self, other: impl Future<Output = O>) -> Result<News<Self::Next, O>, Failure>;
}

/// What came first.
pub(crate) enum News<N, O> {
    /// Somebody has given a share.
    Collection(Box<v1::Collection>),
    /// The collection had enough.
    Next(N),
    /// What else was waited for.
    Other(O),
}

impl Agent {
    /// The next message of a stream, however long people take: an agent that hangs answers no ping.
    fn next_or<T, O>(
        &self,
        stream: &mut Streaming<T>,
        other: impl Future<Output = O>,
    ) -> Result<Result<Option<T>, O>, Failure> {
        self.runtime.block_on(async {
            tokio::select! {
                biased;
                message = stream.next() => Ok(Ok(message.transpose()?)),
                other = other => Ok(Err(other)),
            }
        })
    }

    /// Does something that needs the runtime of the connection.
    pub(crate) fn in_runtime<T>(&self, work: impl FnOnce() -> T) -> T {
        let _entered = self.runtime.enter();
        work()
    }
}

impl Collecting for SignCall<'_> {
    type Next = Option<SignStep>;

    fn next_or<O>(&mut self, other: impl Future<Output = O>) -> Result<News<Self::Next, O>, Failure> {
        Ok(match self.agent.next_or(&mut self.events, other)? {
            Err(other) => News::Other(other),
            Ok(None) => News::Next(None),
            Ok(Some(event)) => match step(event)? {
                SignStep::Collect(collection) => News::Collection(collection),
                step => News::Next(Some(step)),
            },
        })
    }
}

impl Collecting for Rounds<'_, v1::DrillEvent> {
    type Next = v1::DrillReport;

    fn next_or<O>(&mut self, other: impl Future<Output = O>) -> Result<News<Self::Next, O>, Failure> {
        let told = self.agent.next_or(&mut self.stream, other)?;
        news(told.map(|event| Round::of_drill(event).ok_or_else(incomplete)))
    }
}

impl Collecting for Rounds<'_, v1::ResplitEvent> {
    type Next = v1::SplitReply;

    fn next_or<O>(&mut self, other: impl Future<Output = O>) -> Result<News<Self::Next, O>, Failure> {
        let told = self.agent.next_or(&mut self.stream, other)?;
        news(told.map(|event| Round::of_resplit(event).ok_or_else(incomplete)))
    }
}

fn news<N, O>(told: Result<Result<Round<N>, Failure>, O>) -> Result<News<N, O>, Failure> {
    Ok(match told {
        Err(other) => News::Other(other),
        Ok(round) => match round? {
            Round::Collecting(collection) => News::Collection(collection),
            Round::Done(next) => News::Next(next),
        },
    })
}
