//! What earlier versions counted for a card under other names than this one does.

use serde_json::json;

use super::{PinRecord, SourceMark, is_among, read_row, without, write};
use crate::tx::{Tx, Verdict};
use crate::{Ledger, LedgerError};

/// Names that a card had.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FormerNames {
    /// Those that begin and end so, whatever stands between: all of them are the card's.
    pub around: Option<(String, String)>,
    /// Those of before these, which others may share.
    pub shared: Vec<String>,
}

impl Ledger {
    /// What earlier versions have counted for a card under other names counts for it under its own from now on: once, while
    /// nothing is known of it by that. Of several the strictest. They stay, as others may share them.
    ///
    /// # Errors
    /// `Io` or `Closed`: it stays as it is.
    pub async fn adopt_pin_record(
        &self,
        former: FormerNames,
        card: String,
        token: String,
    ) -> Result<(), LedgerError> {
        let known = (former.clone(), card.clone());
        let wanted = self.read_all(move |tx| {
            let (former, card) = &known;
            Ok(read_row(tx, card)?.is_none() && !counted(tx, former)?.is_empty())
        });
        if !wanted.await? {
            return Ok(());
        }
        self.ask(move |tx| adopt(tx, &former, &card, &token)).await
    }
}

/// Those of the names under which something was counted.
fn counted(tx: &Tx<'_>, former: &FormerNames) -> Result<Vec<(String, PinRecord)>, LedgerError> {
    let mut names = Vec::new();
    if let Some((begin, end)) = &former.around {
        let mut select = tx.db.prepare_cached(
            "SELECT card FROM pins WHERE substr(card, 1, length(?1)) = ?1 AND substr(card, -length(?2)) = ?2 \
             AND length(card) >= length(?1) + length(?2) ORDER BY card",
        )?;
        names = select.query_map((begin, end), |row| row.get(0))?.collect::<Result<Vec<String>, _>>()?;
    }
    if names.is_empty() {
        names.clone_from(&former.shared);
    }
    let records = names.into_iter().map(|name| Ok(read_row(tx, &name)?.map(|record| (name, record))));
    records.filter_map(Result::transpose).collect()
}

fn adopt(tx: &mut Tx<'_>, former: &FormerNames, card: &str, token: &str) -> Verdict<()> {
    if read_row(tx, card)?.is_some() {
        return Ok(Ok(()));
    }
    let mut all = PinRecord::default();
    for (name, before) in counted(tx, former)? {
        tx.append(
            "token.known-as",
            json!({"token": token, "card": card, "former": name, "wrong": before.for_person()}),
        )?;
        all.wrong = all.wrong.max(before.wrong);
        all.typed = all.typed.max(before.typed);
        if strictness(&before.source) > strictness(&all.source) {
            all.source = before.source.clone();
        }
        if is_among(&before.token, token) {
            all.token = token.to_owned();
            write(tx, &name, &PinRecord { token: without(&before.token, token), ..before })?;
        }
    }
    write(tx, card, &all)?;
    Ok(Ok(()))
}

/// What keeps the agent more from presenting what the source holds is stricter.
const fn strictness(source: &SourceMark) -> u8 {
    match source {
        SourceMark::Fresh => 0,
        SourceMark::Replaced(_) => 1,
        SourceMark::Tried => 2,
        SourceMark::Refused => 3,
    }
}
