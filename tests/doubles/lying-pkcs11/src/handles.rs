//! Handles that a login gives anew, as PKCS#11 lets a module do (v2.40, 2.5): at C_Logout the places of private objects become
//! free, and at the next C_Login the private objects of the token get them, by their labels, each one that was another's as far as
//! there is such a one. So a handle of before names another object. What the real module is asked, it is asked by its own handles.

use cryptoki_sys::*;

use crate::real;
use crate::turn::Turn;
use crate::world;

/// Which object each handle names.
#[derive(Default)]
pub(crate) struct Places {
    taken: Vec<Place>,
    /// The one that became free last is the last; and the label of the object that had it.
    free: Vec<(CK_OBJECT_HANDLE, Label)>,
}

type Label = Option<Vec<u8>>;

struct Place {
    handle: CK_OBJECT_HANDLE,
    real: CK_OBJECT_HANDLE,
    private: bool,
    label: Label,
}

impl Places {
    fn of(&mut self, real: CK_OBJECT_HANDLE, private: bool, label: Label) -> CK_OBJECT_HANDLE {
        if let Some(place) = self.taken.iter().find(|place| place.real == real) {
            return place.handle;
        }
        let of_another = self.free.iter().rposition(|(_, had)| *had != label);
        let handle = match of_another.or(self.free.len().checked_sub(1)) {
            Some(at) => self.free.remove(at).0,
            None => real::ulong(self.taken.len() + 1),
        };
        self.taken.push(Place { handle, real, private, label });
        handle
    }

    fn leave(&mut self, is: impl Fn(&Place) -> bool) {
        let (gone, stay) = std::mem::take(&mut self.taken).into_iter().partition(is);
        self.taken = stay;
        let mut gone: Vec<Place> = gone;
        gone.sort_by_key(|place| place.handle);
        self.free.extend(gone.into_iter().map(|place| (place.handle, place.label)));
    }
}

/// The handle by which the caller knows an object of the real module.
pub(crate) fn told(turn: &Turn, session: CK_SESSION_HANDLE, real: CK_OBJECT_HANDLE) -> CK_OBJECT_HANDLE {
    if !turn.script.handles_renewed {
        return real;
    }
    let private = real::attribute(session, real, CKA_PRIVATE).is_some_and(|it| it == [CK_TRUE]);
    let label = real::attribute(session, real, CKA_LABEL);
    world::with(|world| world.places.of(real, private, label))
}

/// The real module's handle of the object that the caller means; none has the one of a place that is free.
pub(crate) fn meant(turn: &Turn, handle: CK_OBJECT_HANDLE) -> CK_OBJECT_HANDLE {
    if !turn.script.handles_renewed {
        return handle;
    }
    world::with(|world| {
        world.places.taken.iter().find(|it| it.handle == handle).map_or(NOTHING, |it| it.real)
    })
}

/// After a login: the private objects take their places.
pub(crate) fn logged_in(turn: &Turn, session: CK_SESSION_HANDLE) {
    if !turn.script.handles_renewed {
        return;
    }
    let mut found = real::private_objects(session);
    found.sort_by_cached_key(|object| real::attribute(session, *object, CKA_LABEL));
    for object in found {
        told(turn, session, object);
    }
}

/// After a logout: their places are free.
pub(crate) fn logged_out(turn: &Turn) {
    if turn.script.handles_renewed {
        world::with(|world| world.places.leave(|place| place.private));
    }
}

pub(crate) unsafe fn create(
    turn: &Turn,
    session: CK_SESSION_HANDLE,
    template: *mut CK_ATTRIBUTE,
    count: CK_ULONG,
    object: *mut CK_OBJECT_HANDLE,
) -> Option<CK_RV> {
    // SAFETY: the caller's own arguments.
    unsafe {
        let code = real::list()?.C_CreateObject?(session, template, count, object);
        tell_made(turn, session, code, object);
        Some(code)
    }
}

pub(crate) unsafe fn copy(
    turn: &Turn,
    session: CK_SESSION_HANDLE,
    object: CK_OBJECT_HANDLE,
    template: *mut CK_ATTRIBUTE,
    count: CK_ULONG,
    made: *mut CK_OBJECT_HANDLE,
) -> Option<CK_RV> {
    // SAFETY: the caller's own arguments.
    unsafe {
        let code = real::list()?.C_CopyObject?(session, meant(turn, object), template, count, made);
        tell_made(turn, session, code, made);
        Some(code)
    }
}

pub(crate) unsafe fn destroy(
    turn: &Turn,
    session: CK_SESSION_HANDLE,
    object: CK_OBJECT_HANDLE,
) -> Option<CK_RV> {
    // SAFETY: the caller's own arguments.
    let code = unsafe { real::list()?.C_DestroyObject?(session, meant(turn, object)) };
    if code == CKR_OK && turn.script.handles_renewed {
        world::with(|world| world.places.leave(|place| place.handle == object));
    }
    Some(code)
}

pub(crate) unsafe fn set_attributes(
    turn: &Turn,
    session: CK_SESSION_HANDLE,
    object: CK_OBJECT_HANDLE,
    template: *mut CK_ATTRIBUTE,
    count: CK_ULONG,
) -> Option<CK_RV> {
    // SAFETY: the caller's own arguments.
    unsafe { Some(real::list()?.C_SetAttributeValue?(session, meant(turn, object), template, count)) }
}

pub(crate) unsafe fn verify_init(
    turn: &Turn,
    session: CK_SESSION_HANDLE,
    mechanism: *mut CK_MECHANISM,
    key: CK_OBJECT_HANDLE,
) -> Option<CK_RV> {
    // SAFETY: the caller's own arguments.
    unsafe { Some(real::list()?.C_VerifyInit?(session, mechanism, meant(turn, key))) }
}

/// Writes the caller's handle over the real module's.
///
/// # Safety
/// `object` can be read and written, or is null.
pub(crate) unsafe fn tell_made(
    turn: &Turn,
    session: CK_SESSION_HANDLE,
    code: CK_RV,
    object: *mut CK_OBJECT_HANDLE,
) {
    if code != CKR_OK || object.is_null() {
        return;
    }
    // SAFETY: what the caller promises.
    unsafe { *object = told(turn, session, *object) };
}

/// No object of a real module has this handle.
const NOTHING: CK_OBJECT_HANDLE = 0x7fff_fff2;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_that_became_free_is_taken_by_another_object() {
        let mut places = Places::default();
        let label = |name: &str| Some(name.as_bytes().to_vec());
        let private =
            |places: &mut Places, name: &str| places.of(70 + real::ulong(name.len()), true, label(name));
        assert_eq!(
            [private(&mut places, "a"), places.of(60, false, None), private(&mut places, "bb")],
            [1, 2, 3]
        );
        for swapped in [[3, 2, 1], [1, 2, 3]] {
            places.leave(|place| place.private);
            assert_eq!(
                [private(&mut places, "a"), places.of(60, false, None), private(&mut places, "bb")],
                swapped
            );
        }
        assert_eq!(private(&mut places, "ccc"), 4);
        places.leave(|place| place.handle == 2);
        assert_eq!([places.of(61, false, None), private(&mut places, "dddd")], [2, 5]);
    }
}
