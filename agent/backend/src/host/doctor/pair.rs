//! A key pair that was made to measure with, and whose handles name it.
//!
//! A module may give the handle that an object had before C_Logout to another one after the next C_Login. Invariant: a handle of
//! before is only read; what is signed with or destroyed was found since, and says itself that it is of this pair.

use std::cell::Cell;
use std::rc::Rc;

use cryptoki::error::Error;
use cryptoki::object::{Attribute, AttributeType, ObjectClass, ObjectHandle};
use cryptoki::session::Session;
use tuf::key::PublicKey;

use super::Stop;
use super::bench::{ID_LEN, LABEL};
use crate::host::attributes::attributes;
use crate::host::find::find_exactly;
use crate::host::objects::read_object;

/// A key pair that is destroyed when the probe lets go of it.
pub(super) struct Pair<'s> {
    session: &'s Session,
    id: [u8; ID_LEN],
    /// Other ones after a login anew.
    handles: Cell<(ObjectHandle, ObjectHandle)>,
    /// How many logouts there were when they were told, and how many there were by now.
    told_after: Cell<u32>,
    logouts: Rc<Cell<u32>>,
    /// It wants a login for each signature (CKA_ALWAYS_AUTHENTICATE), asked for or not.
    pub(super) always: bool,
}

impl Drop for Pair<'_> {
    fn drop(&mut self) {
        if !self.is_of_now() && self.find_again().is_err() {
            // What lay in the session is gone with the login; what lies on the token is found by its label at the end.
            return;
        }
        // The private one first. What cannot be destroyed here is found by its label at the end, too.
        for handle in [self.private(), self.public()] {
            if self.is_ours(handle) {
                let _ = self.session.destroy_object(handle);
            }
        }
    }
}

impl<'s> Pair<'s> {
    /// One that was made just now; counts `logouts` along.
    pub(super) fn new(
        session: &'s Session,
        made: (ObjectHandle, ObjectHandle),
        id: [u8; ID_LEN],
        logouts: &Rc<Cell<u32>>,
    ) -> Self {
        let (handles, told_after) = (Cell::new(made), Cell::new(logouts.get()));
        Self { session, id, handles, told_after, logouts: Rc::clone(logouts), always: false }
    }

    /// Its public half, read as the agent reads it.
    pub(super) fn key(&self) -> Result<PublicKey, Stop> {
        read_object(self.session, self.public())?
            .and_then(|object| object.public)
            .ok_or_else(|| Stop::Why("the public half of a new key cannot be read".to_owned()))
    }

    pub(super) const fn public(&self) -> ObjectHandle {
        self.handles.get().0
    }

    pub(super) const fn private(&self) -> ObjectHandle {
        self.handles.get().1
    }

    /// Whether nobody has logged out since its handles were told.
    pub(super) fn is_of_now(&self) -> bool {
        self.told_after.get() == self.logouts.get()
    }

    /// Finds the handles that it has after a login anew.
    pub(super) fn find_again(&self) -> Result<(), Stop> {
        let found = |class| -> Result<ObjectHandle, Stop> {
            let wanted = [&[Attribute::Class(class)], self.names().as_slice()].concat();
            match find_exactly(self.session, &wanted)?.as_slice() {
                [one] => Ok(*one),
                _ => Err(Stop::Why("the key is not found after the login".to_owned())),
            }
        };
        self.handles.set((found(ObjectClass::PUBLIC_KEY)?, found(ObjectClass::PRIVATE_KEY)?));
        self.told_after.set(self.logouts.get());
        Ok(())
    }

    /// Whether a handle names one of its halves, by label and id.
    fn is_ours(&self, handle: ObjectHandle) -> bool {
        let ask = || self.reads_as_ours(handle);
        // Once may be by chance.
        ask().or_else(|_| ask()).unwrap_or(false)
    }

    /// What is said of a handle, which may name another object by now: it is only read.
    pub(super) fn reads_as_ours(&self, handle: ObjectHandle) -> Result<bool, Error> {
        let told = attributes(self.session, handle, &[AttributeType::Label, AttributeType::Id])?;
        Ok(self.names().iter().all(|name| told.contains(name)))
    }

    fn names(&self) -> [Attribute; 2] {
        [Attribute::Label(LABEL.to_vec()), Attribute::Id(self.id.to_vec())]
    }
}
