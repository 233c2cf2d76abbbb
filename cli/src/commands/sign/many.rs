//! Bins by the thousand: several calls are under way at the same time, since the agent flushes together what it records
//! for them, and so are the files that get the signatures.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use tuf::metadata::SignatureEntry;
use tufagent_proto::v1;

use super::round::{Came, Pending, read_difference};
use super::{Session, outcome};
use crate::client::{ReadCall, SignCalls, Turn};
use crate::error::Failure;

/// What has come for the roles of a round, by their numbers.
#[derive(Default)]
struct Collected {
    /// Not in `staged/` yet.
    waiting: BTreeMap<usize, Vec<SignatureEntry>>,
    since: Option<Instant>,
    signed: BTreeMap<usize, Vec<outcome::Signed>>,
    /// The agent reads them otherwise than they were shown, or a person is asked about them.
    aside: Vec<usize>,
    failure: Option<Failure>,
}

impl<'a> Session<'a> {
    /// Lets the agent read the roles that it has not read yet, some at a time, and keeps of each what a person is shown before
    /// the question: the agent's concerns are part of what is said yes to. When a role is signed it is read once more, and
    /// what is new is asked about ([`Self::confirm_shown`]).
    pub(super) fn look_at(&self, pending: &mut [Pending<'a>]) -> Result<(), Failure> {
        let mut calls = SignCalls::new(self.agent);
        let unseen = pending.iter().enumerate().filter(|(_, role)| role.call.is_none());
        let mut next: VecDeque<usize> = unseen.map(|(number, _)| number).collect();
        let (mut under_way, mut sent): (usize, usize) = (0, 0);
        loop {
            while under_way < LOOKS
                && sent < MOST_SENT
                && let Some(number) = next.pop_front()
                && let Some(role) = pending.get(number)
            {
                let (begin, files) = self.request(&role.role, &role.keys)?;
                let authorities = files.iter().filter(|file| file.authority).map(|file| file.bytes.len());
                sent = authorities.fold(sent, usize::saturating_add);
                calls.begin(number, v1::SignBegin { look: true, ..begin }, files);
                under_way = under_way.saturating_add(1);
            }
            if under_way == 0 {
                return Ok(());
            }
            match calls.wait()? {
                (number, Turn::Read(call)) => {
                    let Some(role) = pending.get_mut(number) else { continue };
                    role.difference = read_difference(&call.inspected)?;
                    role.warnings = call.inspected.warnings;
                }
                (_, Turn::Step(_)) => {}
                // What keeps it from being read is said when it is signed, and no concern is lost: it is not signed.
                (_, Turn::End(_)) => under_way = under_way.saturating_sub(1),
            }
        }
    }

    /// Signs roles that were shown as we read them. After a failure no other one is begun; what has come is kept.
    pub(super) fn sign_many(&mut self, roles: Vec<Pending<'a>>) -> Result<(), Failure> {
        let mut collected = Collected::default();
        let end =
            self.sign_at_once(&roles, &mut collected).and(self.stage_signatures(&roles, &mut collected));
        self.signed.extend(collected.signed.into_values().flatten());
        end?;
        collected.failure.map_or(Ok(()), Err)?;
        let mut roles: Vec<_> = roles.into_iter().map(Some).collect();
        let aside = collected.aside.into_iter();
        self.sign_each(aside.filter_map(|number| roles.get_mut(number)?.take()).collect())
    }

    fn sign_at_once(&mut self, roles: &[Pending<'a>], collected: &mut Collected) -> Result<(), Failure> {
        let mut calls = SignCalls::new(self.agent);
        let mut next: VecDeque<_> = roles.iter().enumerate().collect();
        let mut under_way: usize = 0;
        loop {
            while under_way < AT_ONCE
                && collected.failure.is_none()
                && let Some((number, role)) = next.pop_front()
            {
                if self.is_held(role)? {
                    continue;
                }
                let (begin, files) = self.request(&role.role, &role.keys)?;
                calls.begin(number, begin, files);
                under_way = under_way.saturating_add(1);
            }
            if under_way == 0 {
                return Ok(());
            }
            let (number, turn) = match calls.next(SOON) {
                Some(turn) => turn,
                None => {
                    self.stage_signatures(roles, collected)?;
                    calls.wait()?
                }
            };
            let Some(role) = roles.get(number) else { continue };
            match turn {
                Turn::Read(call) => {
                    if !self.confirm_shown(role, call)? {
                        collected.aside.push(number);
                    }
                }
                Turn::Step(step) => {
                    let mut entries = Vec::new();
                    match self.take_step(role, step, &mut entries)? {
                        Some(Came::Signed(signed)) => {
                            collected.signed.entry(number).or_default().push(signed);
                            collected.waiting.entry(number).or_default().extend(entries);
                            collected.since.get_or_insert_with(Instant::now);
                        }
                        Some(Came::Unsigned(unsigned)) => self.unsigned.push(unsigned),
                        None => {}
                    }
                }
                Turn::End(end) => {
                    under_way = under_way.saturating_sub(1);
                    // One that we cancelled ourselves is signed later.
                    let Err(failure) = end else { continue };
                    if collected.aside.contains(&number) || self.hold(role, &failure)? {
                        continue;
                    }
                    match self.go_on_without(failure, &mut role.keys.clone()) {
                        Ok(()) => collected.aside.push(number),
                        Err(failure) => collected.failure = collected.failure.take().or(Some(failure)),
                    }
                }
            }
            if collected.waiting.len() >= TOGETHER
                || collected.since.is_some_and(|since| since.elapsed() > SOON)
            {
                self.stage_signatures(roles, collected)?;
            }
        }
    }

    /// Whether the agent reads it as it was shown and nobody need be asked; then it is confirmed. Concerns that were not shown
    /// are a person's to see first, unless `--yes` has answered.
    fn confirm_shown(&self, role: &Pending<'a>, call: ReadCall) -> Result<bool, Failure> {
        let new = role.not_shown(&call.inspected);
        let asks = call.inspected.asks
            || !call.inspected.person.is_empty()
            || !(new.is_empty() || self.args.yes.yes);
        let same = !asks && read_difference(&call.inspected)? == role.difference;
        if same {
            for warning in new {
                self.context.screen.warn(warning);
            }
            call.confirm();
        }
        Ok(same)
    }

    /// Writes what has come into `staged/`.
    fn stage_signatures(&mut self, roles: &[Pending<'a>], collected: &mut Collected) -> Result<(), Failure> {
        collected.since = None;
        let waiting = std::mem::take(&mut collected.waiting).into_iter();
        let named = waiting.filter_map(|(number, entries)| Some((roles.get(number)?.role.clone(), entries)));
        self.workspace.add_signatures(&named.collect::<Vec<_>>())
    }
}

/// Calls under way beside those that stay open while a person reads.
const LOOKS: usize = 32;
/// So much is sent, bytes, to say whose the roles are that are looked at: each of thousands of bins would bring all of a large
/// parent that is staged, too. What the agent has not read then is asked about when its turn comes.
const MOST_SENT: usize = 64 << 20;
/// Calls under way at the same time, well below what the agent allows a connection.
const AT_ONCE: usize = 64;
/// So many files are flushed together.
const TOGETHER: usize = 256;
/// A signature is in `staged/` after this time.
const SOON: Duration = Duration::from_millis(200);
