//! What a helper says to the agent before it answers, while it carries out a request.

use std::os::unix::net::UnixStream;

use super::protocol::{self, Caps, Reply, Request};

/// The connection to the agent, while one of its requests is carried out.
pub(crate) struct Line<'a> {
    stream: &'a UnixStream,
    id: u64,
}

impl<'a> Line<'a> {
    pub(crate) const fn new(stream: &'a UnixStream, id: u64) -> Self {
        Self { stream, id }
    }

    /// For whoever tells in the middle of a request, and knows nothing of it.
    pub(crate) fn teller(&self) -> Option<Teller> {
        Some(Teller { stream: self.stream.try_clone().ok()?, id: self.id })
    }

    /// A card is asked for what waits for a touch.
    pub(crate) fn asked(&self) {
        self.say(&Reply::Asked);
    }

    /// Whether the PIN that a card accepted may be presented to it again: the agent counts that first, durably.
    pub(crate) fn may_present(&self) -> bool {
        self.say(&Reply::Presents);
        let Ok(frame) = protocol::read_frame(self.stream, Caps::REQUEST, None) else { return false };
        frame.id == self.id
            && matches!(protocol::parse_head(&frame.head), Ok(Request::Present { counted: true }))
    }

    /// What came of it: the card accepted it, or says that it has counted nothing. Of all else nothing is said.
    pub(crate) fn presented(&self, accepted: bool) {
        self.say(&Reply::Presented { accepted });
    }

    /// That it cannot be told shows when the answer is.
    fn say(&self, reply: &Reply) {
        drop(protocol::write_frame(self.stream, self.id, reply, &[], None));
    }
}

/// Says to the agent which slot is asked.
pub(crate) struct Teller {
    stream: UnixStream,
    id: u64,
}

impl Teller {
    /// None: no slot any more.
    pub(crate) fn asks(&self, slot: Option<u64>) {
        Line::new(&self.stream, self.id).say(&Reply::AsksSlot { slot });
    }
}
