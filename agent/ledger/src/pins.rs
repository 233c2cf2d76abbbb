//! Wrong PINs, counted by us, for each card (FAULTS C2, C3): a token that counts silently must not be locked by us.
//!
//! An attempt is counted before the card is asked, in a commit of its own, and taken back only when the card was
//! certainly not asked. So whatever ends the agent in between, the count is never lower than what the card has lost.
//!
//! Beside it stands a count of those that persons typed, which only a typed one ends: that the configured source holds
//! the right PIN says nothing of whoever guesses, though the card begins anew with it (FAULTS C9).

mod former;

use rusqlite::OptionalExtension as _;
use serde_json::{Value, json};

use crate::schema::Table;
use crate::tx::{Tx, Verdict};
use crate::{Ledger, LedgerError};

pub use self::former::FormerNames;

/// What is known of the PIN of one card.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PinRecord {
    /// Attempts since the last one that the card accepted, those under way and those of unknown outcome among them.
    pub wrong: u32,
    /// Those that persons typed since the last of these that the card accepted, whatever the source held meanwhile.
    pub typed: u32,
    /// What is known of what the configured source holds.
    pub source: SourceMark,
    /// The tokens of the configuration under whose names the card has accepted a PIN, a line each: two may mean one
    /// card. Each name until another card did under it.
    pub token: String,
}

impl PinRecord {
    /// How many in a row count for a person.
    #[must_use]
    pub fn for_person(&self) -> u32 {
        self.wrong.max(self.typed)
    }
}

/// What is known of what a source holds. Of the content nothing is kept: a PIN is so short that whatever tells it from
/// others lets it be guessed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum SourceMark {
    /// Nothing, or that it was accepted.
    #[default]
    Fresh,
    /// It was tried, and no attempt with what it holds was accepted since.
    Tried,
    /// The same, and the card has said that it is wrong.
    Refused,
    /// It held the secret that another one replaced on the card; the text is the caller's, and says of the source, not of
    /// the secret, how it was then.
    Replaced(String),
}

/// An attempt that is about to be made.
#[derive(Debug, Clone)]
pub struct PinAttempt {
    /// Which card: its serial number, or what stands in its place.
    pub card: String,
    /// The token's name in the configuration.
    pub token: String,
    /// No attempt when so many were wrong; none: whatever was.
    pub limit: Option<u32>,
    /// Made with what the configured source holds.
    pub from_source: bool,
    /// A person gave the PIN, or said that the source's is to be tried.
    pub by_person: bool,
    /// Made by the agent itself, with what is known of the content of the source.
    pub by_itself: Option<ByItself>,
    /// Goes into the journal with it.
    pub about: Value,
}

impl PinAttempt {
    /// Whether a person typed the PIN.
    const fn is_typed(&self) -> bool {
        self.by_person && !self.from_source
    }
}

/// What is known of the content of a source that nobody has said is to be tried.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ByItself {
    /// It is seen to be another one than the one before.
    pub changed: bool,
    /// How the source is now, as in [`SourceMark::Replaced`].
    pub source_is: Option<String>,
    /// The card has accepted this very content: it is presented only while no try is gone since.
    pub proven: bool,
}

impl ByItself {
    /// Why it is not presented by itself (FAULTS C1).
    fn held_back(&self, known: &PinRecord) -> Option<HeldBack> {
        match &known.source {
            SourceMark::Tried | SourceMark::Refused if !self.changed => Some(HeldBack::Tried),
            SourceMark::Replaced(then) if self.source_is.as_ref() == Some(then) => Some(HeldBack::Replaced),
            _ => (self.proven && known.wrong > 0).then_some(HeldBack::TriesGone),
        }
    }
}

/// Why what the source holds is not presented by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeldBack {
    /// It was tried, and the card has not accepted it.
    Tried,
    /// It is what another secret has replaced.
    Replaced,
    /// Tries are gone since the card accepted it.
    TriesGone,
}

/// Whether it may be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PinLeave {
    /// It is counted: ask the card now.
    Counted {
        /// How many were wrong before.
        wrong_before: u32,
        /// [`PinRecord::source`] as it was before.
        source_before: SourceMark,
    },
    /// So many were wrong; nothing was counted.
    Stopped(u32),
    /// Not without a person; nothing was counted.
    HeldBack(HeldBack),
}

/// What came of an attempt that was counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PinOutcome {
    /// The card has accepted the PIN.
    Accepted {
        /// As in [`PinAttempt::from_source`]: another PIN that is right says nothing for what the source holds.
        from_source: bool,
        /// A person typed it: [`PinAttempt::by_person`] and not from the source.
        typed: bool,
    },
    /// The card has refused the PIN: it stays counted.
    Refused {
        /// As in [`PinAttempt::from_source`].
        from_source: bool,
    },
    /// The card was certainly not asked.
    NotMade {
        /// As [`PinLeave::Counted`] gave it.
        source_before: SourceMark,
        /// As in [`PinOutcome::Accepted`].
        typed: bool,
    },
}

impl Ledger {
    /// Counts an attempt, durably, if it may be made. Must be answered before the card is asked.
    ///
    /// # Errors
    /// `Io` or `Closed`: not counted, so the card must not be asked.
    pub async fn count_pin_attempt(&self, attempt: PinAttempt) -> Result<PinLeave, LedgerError> {
        self.ask(move |tx| begin(tx, &attempt)).await
    }

    /// Ends an attempt that was counted, and gives what counts for a person then. Of one whose outcome nobody knows nothing
    /// is said: it stays counted.
    ///
    /// # Errors
    /// `Io` or `Closed`: it stays counted.
    pub async fn settle_pin_attempt(
        &self,
        card: String,
        token: String,
        outcome: PinOutcome,
    ) -> Result<u32, LedgerError> {
        self.ask(move |tx| settle(tx, &card, &token, &outcome)).await
    }

    /// The card tells how many tries are gone since it accepted its PIN: attempts beyond these were accepted, though nobody
    /// saw the answer. A source that was tried then, and not refused, may hold the right one. Gives what is counted now.
    ///
    /// # Errors
    /// `Io` or `Closed`: it stays as it is.
    pub async fn correct_pin_count(
        &self,
        card: String,
        token: String,
        gone: u32,
    ) -> Result<u32, LedgerError> {
        let wrong = self.pin_record(card.clone()).await?.wrong;
        if wrong <= gone {
            return Ok(wrong);
        }
        self.ask(move |tx| correct(tx, &card, &token, gone)).await
    }

    /// The card takes another secret from now on, and the source of `token` still holds the old one; `how` it is, so that a
    /// change of it is seen.
    ///
    /// # Errors
    /// `Io` or `Closed`: nothing is noted.
    pub async fn note_source_replaced(
        &self,
        card: String,
        token: String,
        how: String,
    ) -> Result<(), LedgerError> {
        self.ask(move |tx| {
            let record = PinRecord { source: SourceMark::Replaced(how), ..read(tx, &card)? };
            tx.append("token.source-replaced", json!({"token": token, "card": card}))?;
            write(tx, &card, &record)?;
            Ok(Ok(()))
        })
        .await
    }

    /// What is known of the PIN of a card; zeros when nothing is.
    ///
    /// # Errors
    /// `Io` or `Closed`.
    pub async fn pin_record(&self, card: String) -> Result<PinRecord, LedgerError> {
        self.read_all(move |tx| read(tx, &card)).await
    }

    /// A name means this card from now on, which wants no PIN.
    ///
    /// # Errors
    /// `Io` or `Closed`: it means what it meant before.
    pub async fn bind_card(&self, card: String, token: String) -> Result<(), LedgerError> {
        if self.card_of_token(token.clone()).await?.as_ref() == Some(&card) {
            return Ok(());
        }
        self.ask(move |tx| {
            release(tx, &card, &token)?;
            let known = read(tx, &card)?;
            tx.append("token.entered", json!({"token": token, "card": card}))?;
            write(tx, &card, &PinRecord { token: with(&known.token, &token), ..known })?;
            Ok(Ok(()))
        })
        .await
    }

    /// The card that last accepted a PIN under this name of a token, or was used without one.
    ///
    /// # Errors
    /// `Io` or `Closed`.
    pub async fn card_of_token(&self, token: String) -> Result<Option<String>, LedgerError> {
        self.read_all(move |tx| Ok(cards_of(tx, &token)?.into_iter().next())).await
    }
}

impl SourceMark {
    /// Of what earlier versions wrote, too, anything but the empty text says that it was tried; to them this does.
    fn read(text: &str) -> Self {
        match (text, text.strip_prefix(REPLACED)) {
            ("", _) => Self::Fresh,
            (_, Some(how)) => Self::Replaced(how.to_owned()),
            (REFUSED, _) => Self::Refused,
            _ => Self::Tried,
        }
    }

    fn text(&self) -> String {
        match self {
            Self::Fresh => String::new(),
            Self::Tried => "tried".to_owned(),
            Self::Refused => REFUSED.to_owned(),
            Self::Replaced(how) => format!("{REPLACED}{how}"),
        }
    }
}

const REPLACED: &str = "replaced ";
const REFUSED: &str = "refused";

fn begin(tx: &mut Tx<'_>, attempt: &PinAttempt) -> Verdict<PinLeave> {
    let PinAttempt { card, token, limit, from_source, by_person, by_itself, about } = attempt;
    let known = read(tx, card)?;
    // Here, where attempts stand in a row: of two that begin together the second one knows of the first.
    if let Some(why) = by_itself.as_ref().and_then(|content| content.held_back(&known)) {
        return Ok(Ok(PinLeave::HeldBack(why)));
    }
    let wrong_before = if attempt.is_typed() { known.for_person() } else { known.wrong };
    if limit.is_some_and(|limit| wrong_before >= limit) {
        return Ok(Ok(PinLeave::Stopped(wrong_before)));
    }
    let body = json!({
        "token": token, "card": card, "wrong_before": wrong_before, "anyway": limit.is_none(),
        "by_person": by_person, "about": about,
    });
    tx.append("token.attempt", body)?;
    let leave = PinLeave::Counted { wrong_before, source_before: known.source.clone() };
    let source = if *from_source { SourceMark::Tried } else { known.source };
    let typed = known.typed.saturating_add(u32::from(attempt.is_typed()));
    let record = PinRecord { wrong: known.wrong.saturating_add(1), typed, source, token: known.token };
    write(tx, card, &record)?;
    Ok(Ok(leave))
}

fn settle(tx: &mut Tx<'_>, card: &str, token: &str, outcome: &PinOutcome) -> Verdict<u32> {
    let known = read(tx, card)?;
    let (kind, record) = match outcome {
        PinOutcome::Accepted { from_source, typed } => {
            release(tx, card, token)?;
            let source = if *from_source { SourceMark::Fresh } else { known.source };
            let typed = if *typed { 0 } else { known.typed };
            ("token.accepted", PinRecord { wrong: 0, typed, source, token: with(&known.token, token) })
        }
        PinOutcome::Refused { from_source } => {
            let source = if *from_source { SourceMark::Refused } else { known.source.clone() };
            let counted = known.for_person();
            if source != known.source {
                write(tx, card, &PinRecord { source, ..known })?;
            }
            return Ok(Ok(counted));
        }
        PinOutcome::NotMade { source_before, typed } => {
            let (wrong, source) = (known.wrong.saturating_sub(1), source_before.clone());
            let typed = known.typed.saturating_sub(u32::from(*typed));
            ("token.not-asked", PinRecord { wrong, typed, source, token: known.token })
        }
    };
    tx.append(kind, json!({"token": token, "card": card, "wrong": record.for_person()}))?;
    write(tx, card, &record)?;
    Ok(Ok(record.for_person()))
}

fn correct(tx: &mut Tx<'_>, card: &str, token: &str, gone: u32) -> Verdict<u32> {
    let known = read(tx, card)?;
    if known.wrong <= gone {
        return Ok(Ok(known.wrong));
    }
    let body = json!({"token": token, "card": card, "wrong_before": known.wrong, "wrong": gone});
    tx.append("token.count-corrected", body)?;
    let source = match known.source {
        SourceMark::Tried if gone == 0 => SourceMark::Fresh,
        source => source,
    };
    write(tx, card, &PinRecord { wrong: gone, source, ..known })?;
    Ok(Ok(gone))
}

/// What a copy of a ledger has counted for cards of which nothing is known here: tries that were lost are lost on any
/// machine. What is known here is newer, and stays. To which name of a token a card belongs is for this configuration to
/// say. Gives what was taken over, for the journal.
pub(crate) fn take_over(tx: &mut Tx<'_>, theirs: &Tx<'_>) -> Result<Vec<Value>, LedgerError> {
    let cards: Vec<String> = {
        let mut select =
            theirs.db.prepare("SELECT card FROM pins WHERE card NOT LIKE 'typed %' ORDER BY card")?;
        let rows = select.query_map((), |row| row.get(0))?;
        rows.collect::<Result<_, _>>()?
    };
    let mut taken = Vec::new();
    for card in cards {
        let record = PinRecord { token: String::new(), ..read(theirs, &card)? };
        if record != PinRecord::default() && read_row(tx, &card)?.is_none() {
            write(tx, &card, &record)?;
            taken.push(json!({"card": card, "wrong": record.for_person()}));
        }
    }
    Ok(taken)
}

/// A name means one card: the one that has accepted its PIN now.
fn release(tx: &mut Tx<'_>, card: &str, token: &str) -> Result<(), LedgerError> {
    for other in cards_of(tx, token)?.into_iter().filter(|other| other != card) {
        let known = read(tx, &other)?;
        write(tx, &other, &PinRecord { token: without(&known.token, token), ..known })?;
    }
    Ok(())
}

/// The cards to which a name belongs.
fn cards_of(tx: &Tx<'_>, token: &str) -> Result<Vec<String>, LedgerError> {
    let mut select = tx.db.prepare_cached("SELECT card, token FROM pins WHERE token <> ''")?;
    let rows = select.query_map((), |row| Ok((row.get(0)?, row.get::<_, String>(1)?)))?;
    let all: Vec<(String, String)> = rows.collect::<Result<_, _>>()?;
    Ok(all.into_iter().filter(|(_, names)| is_among(names, token)).map(|(card, _)| card).collect())
}

fn is_among(names: &str, token: &str) -> bool {
    names.lines().any(|name| name == token)
}

fn without(names: &str, token: &str) -> String {
    names.lines().filter(|name| *name != token).collect::<Vec<_>>().join("\n")
}

fn with(names: &str, token: &str) -> String {
    let others = without(names, token);
    if others.is_empty() { token.to_owned() } else { format!("{others}\n{token}") }
}

fn read(tx: &Tx<'_>, card: &str) -> Result<PinRecord, LedgerError> {
    Ok(read_row(tx, card)?.unwrap_or_default())
}

/// None: nothing is known of this card.
fn read_row(tx: &Tx<'_>, card: &str) -> Result<Option<PinRecord>, LedgerError> {
    let mut select = tx.db.prepare_cached("SELECT wrong, source, token FROM pins WHERE card = ?1")?;
    let found = select.query_row((card,), |row| {
        let source: String = row.get(1)?;
        Ok(PinRecord { wrong: row.get(0)?, typed: 0, source: SourceMark::read(&source), token: row.get(2)? })
    });
    let Some(record) = found.optional()? else { return Ok(None) };
    let typed = select.query_row((typed_row(card),), |row| row.get(0)).optional()?.unwrap_or_default();
    Ok(Some(PinRecord { typed, ..record }))
}

fn write(tx: &mut Tx<'_>, card: &str, record: &PinRecord) -> Result<(), LedgerError> {
    let PinRecord { wrong, typed, source, token } = record;
    let typed_before = read_row(tx, card)?.map_or(0, |known| known.typed);
    write_row(tx, card, *wrong, &source.text(), token)?;
    if *typed != typed_before {
        write_row(tx, &typed_row(card), *typed, "", "")?;
    }
    Ok(())
}

/// What was typed is counted in a row of its own, which earlier versions leave alone. No card is called so: their names
/// begin with what they are known by.
fn typed_row(card: &str) -> String {
    format!("typed {card}")
}

fn write_row(tx: &mut Tx<'_>, card: &str, wrong: u32, source: &str, token: &str) -> Result<(), LedgerError> {
    let now = tx.now().unix();
    tx.change(
        Table::Pins,
        (card,),
        "INSERT INTO pins (card, wrong, source, token, changed) VALUES (?1, ?2, ?3, ?4, ?5) \
         ON CONFLICT (card) DO UPDATE SET wrong = ?2, source = ?3, token = ?4, changed = ?5",
        (card, wrong, source, token, now),
    )
}
