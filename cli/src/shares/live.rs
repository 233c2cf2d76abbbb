//! A collection from its opening to what comes of it, as whoever opened it lives it: files are given, people type, and
//! whatever the agent tells meanwhile is on the screen at once. The agent alone says how it ends.

use custody::SignedManifest;
use tufagent_proto::v1;

use super::gathering::Gathering;
use super::page::Page;
use super::typing::{Stroke, type_on};
use super::{Wanted, refused, standing, words_of};
use crate::client::{Agent, Collecting, News};
use crate::error::{Failure, reason};
use crate::interrupt::Hold;
use crate::prompt::{Hidden, Keys, Terminal};
use crate::render::{Screen, visible};

impl Gathering {
    /// Sees an open collection through: gives what is at hand, and asks people for the rest. What the call gives next.
    ///
    /// # Errors
    /// Why it has ended with too few shares; `CANCELLED` when Ctrl-C is why.
    pub(crate) fn see_through<C: Collecting>(
        &mut self,
        opened: &v1::Collection,
        call: &mut C,
        agent: &Agent,
        screen: Screen,
    ) -> Result<C::Next, Failure> {
        let hold = Hold::begin();
        let (now, told, watched) = (opened.clone(), None, self.is_watched());
        let mut live = Live { call, agent, screen, hold, now, told, watched, left: false, next: None };
        let end = live.see_through(self);
        self.left = live.left;
        end.map_err(|failure| self.ended(failure))
    }

    /// Why a collection has ended: Ctrl-C ends the command too.
    pub(crate) fn ended(&self, failure: Failure) -> Failure {
        if self.left && failure.reason() == reason::SHARES_MISSING {
            return Failure::cancelled(failure.message()).remedy(failure.remedy_text());
        }
        failure
    }
}

struct Live<'l, C: Collecting> {
    call: &'l mut C,
    agent: &'l Agent,
    screen: Screen,
    hold: Hold,
    /// As the agent told it last.
    now: v1::Collection,
    /// The last line that people saw of it.
    told: Option<String>,
    /// Somebody at this terminal is asked for a share.
    watched: bool,
    /// Somebody pressed Ctrl-C.
    left: bool,
    next: Option<C::Next>,
}

impl<C: Collecting> Live<'_, C> {
    fn see_through(&mut self, gathering: &mut Gathering) -> Result<C::Next, Failure> {
        while (self.is_short() || gathering.gives_more()) && gathering.give_next(&self.now, self.agent)? {
            // What it comes to is told by the agent.
            if let Some(next) = self.wait()? {
                return Ok(next);
            }
        }
        self.tell();
        gathering.announce(&self.now, self.screen)?;
        if self.is_short()
            && gathering.asks_people()
            && let Some(terminal) = Terminal::open()
        {
            self.ask(&terminal)?;
        }
        loop {
            if let Some(next) = self.next.take() {
                return Ok(next);
            }
            self.tell();
            if let Some(next) = self.wait()? {
                return Ok(next);
            }
        }
    }

    /// Waits for news alone; Ctrl-C ends the collection.
    fn wait(&mut self) -> Result<Option<C::Next>, Failure> {
        match self.call.next_or(self.hold.interrupted())? {
            News::Collection(now) => self.now = *now,
            News::Next(next) => return Ok(Some(next)),
            News::Other(()) => self.leave(true)?,
        }
        Ok(None)
    }

    /// The menu, until there are enough shares or somebody ends it.
    fn ask(&mut self, terminal: &Terminal) -> Result<(), Failure> {
        let manifest = SignedManifest::parse(&self.now.manifest).map_err(|why| {
            Failure::new(reason::INTERNAL, format!("the agent's manifest does not hold: {why}"))
        })?;
        let keys = terminal.keys(self.agent)?;
        let menu = Menu::begin(terminal)?;
        let mut line = Line::Empty;
        while self.is_short() && self.next.is_none() {
            menu.clear();
            self.tell();
            menu.draw(line)?;
            let Some(key) = self.key(&keys)? else { continue };
            line = match (key, line) {
                (Some(b'\r' | b'\n'), Line::Empty) => {
                    menu.clear();
                    self.take_share(terminal, &keys, &manifest)?;
                    Line::Empty
                }
                (Some(b'\r' | b'\n'), Line::End) => {
                    drop(menu);
                    return self.leave(false);
                }
                (None | Some(CTRL_C | CTRL_D), _) => {
                    drop(menu);
                    return self.leave(true);
                }
                (Some(b'\r' | b'\n'), Line::Other) => Line::Empty,
                (Some(b'q' | b'Q'), Line::Empty) => Line::End,
                // Maybe somebody types a share here.
                _ => Line::Other,
            };
        }
        Ok(())
    }

    /// The next key; `None` when the agent has told something first. A terminal that hangs up gives no key.
    fn key(&mut self, keys: &Keys) -> Result<Option<Option<u8>>, Failure> {
        let hold = &self.hold;
        let typed = async {
            tokio::select! {
                key = keys.key() => key,
                () = hold.interrupted() => Some(CTRL_C),
            }
        };
        match self.call.next_or(typed)? {
            News::Collection(now) => self.now = *now,
            News::Next(next) => self.next = Some(next),
            News::Other(key) => return Ok(Some(key)),
        }
        Ok(None)
    }

    /// A share that is typed on a page of its own, unless the others give enough before it is there.
    fn take_share(
        &mut self,
        terminal: &Terminal,
        keys: &Keys,
        manifest: &SignedManifest,
    ) -> Result<(), Failure> {
        let title = format!("A share of {} · sha256 {}", manifest.key_name(), self.now.sha256);
        let (page, news) = (Page::begin(terminal)?, short_of(&self.now));
        let mut next = || {
            Ok(match self.key(keys)? {
                Some(Some(key)) => Stroke::Key(key),
                Some(None) => Stroke::Key(CTRL_C),
                None if self.is_short() && self.next.is_none() => Stroke::News(short_of(&self.now)),
                None => Stroke::Over,
            })
        };
        let typed = type_on(&page, &title, Wanted::Of(manifest), news, &mut next);
        drop(page);
        let given = typed.and_then(|share| {
            let Some(share) = share else { return Ok(()) };
            manifest.who_has(&share).map_err(|why| refused(&why, reason::SHARE_INVALID))?;
            let reply = self.agent.give(&self.now, words_of(&share)?.reveal_secret_bytes())?;
            self.now = reply.collection.unwrap_or_else(|| self.now.clone());
            Ok(())
        });
        match given {
            Err(failure) if [reason::SHARE_INVALID, reason::CANCELLED].contains(&failure.reason()) => {
                self.screen.warn(format!("{}; nothing was lost", failure.message()));
                Ok(())
            }
            // It had enough, or has ended: the call says which.
            Err(failure) if failure.reason() == reason::SHARES_MISSING => self.hear_out(),
            given => given,
        }
    }

    /// Ends the collection, unless it has enough: the call tells which.
    fn leave(&mut self, by_interrupt: bool) -> Result<(), Failure> {
        self.left = by_interrupt;
        match self.agent.end_collection(&self.now.id) {
            Err(failure) if failure.reason() != reason::SHARES_MISSING => Err(failure),
            _ => self.hear_out(),
        }
    }

    /// It is over: what the agent says came of it.
    fn hear_out(&mut self) -> Result<(), Failure> {
        while self.next.is_none() {
            match self.call.next_or(std::future::pending::<()>())? {
                News::Collection(now) => self.now = *now,
                News::Next(next) => self.next = Some(next),
                News::Other(()) => {}
            }
        }
        Ok(())
    }

    fn is_short(&self) -> bool {
        self.now.have < self.now.need
    }

    /// Says how it stands, if that is new.
    fn tell(&mut self) {
        let line = standing(&self.now);
        if self.told.as_ref() != Some(&line) {
            self.screen.show_if(self.watched, &line);
            self.told = Some(line);
        }
    }
}

/// `1 of 2 shares · given: ben`
fn short_of(collection: &v1::Collection) -> String {
    let mut text = format!("{} of {} shares", collection.have, collection.need);
    if !collection.given.is_empty() {
        text.push_str(&format!(" · given: {}", visible(&collection.given.join(", "))));
    }
    text
}

/// What was typed at the menu since the last Enter; nothing of it is shown.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Line {
    Empty,
    End,
    Other,
}

/// The last line of the screen, on which a key is waited for; it goes when it is dropped.
struct Menu<'t> {
    terminal: &'t Terminal,
    _hidden: Hidden<'t>,
}

impl<'t> Menu<'t> {
    fn begin(terminal: &'t Terminal) -> Result<Self, Failure> {
        Ok(Self { terminal, _hidden: terminal.hide()? })
    }

    fn draw(&self, line: Line) -> Result<(), Failure> {
        self.terminal.write(match line {
            Line::Empty => "Enter types a share here, q ends it: ",
            Line::End => "Enter ends the collection, any other key does not: ",
            Line::Other => "nothing is typed on this line: Enter clears it, Enter once more takes a share: ",
        })
    }

    fn clear(&self) {
        self.terminal.clear_line();
    }
}

impl Drop for Menu<'_> {
    fn drop(&mut self) {
        self.clear();
    }
}

const CTRL_C: u8 = 0x03;
const CTRL_D: u8 = 0x04;
