//! Searching for objects in modules that give too many: handles that name nothing, the same one twice, more than there is
//! room for, objects that were not searched for.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind};

use cryptoki::error::Error;
use cryptoki::object::{Attribute, AttributeType, ObjectHandle};
use cryptoki::session::Session;

use super::attributes::attributes;
use super::faults::told;
use super::objects::{is_of_one_object, is_stale};
use super::unfit::Unfit;

/// What is wrong with the objects of a token.
#[derive(Debug, Default)]
pub(crate) struct Odd {
    /// Those that cannot be read, and why the last of them.
    unread: Vec<ObjectHandle>,
    why: Option<Error>,
    /// The handle 0 came, which names nothing (CK_INVALID_HANDLE).
    nameless: bool,
    /// More were told of than were asked for.
    overrun: bool,
    /// Those that can be read, and are keys of no use here.
    pub(super) unfit: Unfit,
}

impl Odd {
    /// One that cannot be read.
    pub(super) fn add_unread(&mut self, handle: ObjectHandle, why: Error) {
        if !self.unread.contains(&handle) {
            self.unread.push(handle);
        }
        self.why = Some(why);
    }

    pub(super) fn add(&mut self, other: Self) {
        self.nameless |= other.nameless;
        self.overrun |= other.overrun;
        self.unfit.add(other.unfit);
        for handle in other.unread {
            if !self.unread.contains(&handle) {
                self.unread.push(handle);
            }
        }
        self.why = other.why.or(self.why.take());
    }

    /// Why, where that is of a handle, and may be of all.
    pub(super) fn stale(&self) -> Option<&Error> {
        self.why.as_ref().filter(|why| is_stale(why))
    }

    /// Why one of them could not be read.
    pub(super) fn why(self) -> Option<Error> {
        self.why
    }

    /// For people; none where nothing is.
    pub(crate) fn told(&self) -> Option<String> {
        let mut all = Vec::new();
        if let Some(why) = &self.why {
            let count = self.unread.len();
            let objects = if count == 1 { "1 object of it" } else { "objects of it" };
            let number = if count > 1 { format!("{count} ") } else { String::new() };
            all.push(format!(
                "{number}{objects} cannot be read and {} passed over (the module's {})",
                if count == 1 { "is" } else { "are" },
                told(why)
            ));
        }
        if self.nameless {
            all.push("the module's C_FindObjects gave the handle 0, which names nothing".to_owned());
        }
        if self.overrun {
            all.push("the module's C_FindObjects told of more objects than it was asked for".to_owned());
        }
        (!all.is_empty()).then(|| all.join("; "))
    }
}

/// The handles that the module gives, each once.
pub(super) fn find(session: &Session, wanted: &[Attribute]) -> Result<(Vec<ObjectHandle>, Odd), Error> {
    let (mut found, mut seen, mut odd) = (Vec::new(), BTreeSet::new(), Odd::default());
    let mut handles = session.iter_objects_with_cache_size(wanted, AT_ONCE)?;
    let mut again = 0_usize;
    // cryptoki counts on what the module says that it has written, and panics where that is more than there is room for. What
    // is in the room was given all the same.
    while again < MOST_AGAIN {
        match expecting(|| catch_unwind(AssertUnwindSafe(|| handles.next()))) {
            Ok(None) => return Ok((found, odd)),
            Ok(Some(handle)) => match handle? {
                nothing if nothing.handle() == 0 => odd.nameless = true,
                handle if seen.insert(handle.handle()) => found.push(handle),
                _ => again = again.saturating_add(1),
            },
            Err(_) => {
                odd.overrun = true;
                return Ok((found, odd));
            }
        }
    }
    // It would go on for ever.
    Err(Error::InvalidValue)
}

/// Those that say themselves that they are what was searched for: not each module looks at that.
pub(super) fn find_exactly(session: &Session, wanted: &[Attribute]) -> Result<Vec<ObjectHandle>, Error> {
    let types: Vec<AttributeType> = wanted.iter().map(Attribute::attribute_type).collect();
    let mut exact = Vec::new();
    for handle in find(session, wanted)?.0 {
        match attributes(session, handle, &types) {
            Ok(told) if wanted.iter().all(|attribute| told.contains(attribute)) => exact.push(handle),
            Ok(_) => {}
            Err(error) if is_of_one_object(&error) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(exact)
}

thread_local! {
    static EXPECTED: Cell<bool> = const { Cell::new(false) };
}

/// Runs what may panic by a fault of the module, which is told otherwise.
fn expecting<T>(job: impl FnOnce() -> T) -> T {
    EXPECTED.set(true);
    let done = job();
    EXPECTED.set(false);
    done
}

/// Of a panic that is expected nothing is printed.
pub(super) fn quiet_where_expected() {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if !EXPECTED.get() {
            usual(panic);
        }
    }));
}

/// So many are asked for at a time.
const AT_ONCE: NonZeroUsize = NonZeroUsize::MIN.saturating_add(255);
/// No module that ends gives so many a second time.
const MOST_AGAIN: usize = 1 << 16;
