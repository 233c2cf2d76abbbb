//! Objects and their attributes as they are told.

use cryptoki_sys::*;

use crate::handles;
use crate::real::{self, ONE_TIB};
use crate::rule::Bend;
use crate::script::{AttributeLie, Meant, Value};
use crate::turn::Turn;
use crate::world;

/// No object has this handle.
const NO_OBJECT: CK_OBJECT_HANDLE = 0x7fff_fff1;

/// By so much more than there is room for a value that grows is told.
const GROWN: CK_ULONG = 64;

/// Whether the object is one of those that are meant.
pub(crate) fn is_meant(meant: &Meant, session: CK_SESSION_HANDLE, object: CK_OBJECT_HANDLE) -> bool {
    let is = |kind, wanted: &[u8]| real::attribute(session, object, kind).is_some_and(|it| it == wanted);
    meant.class.is_none_or(|class| is(CKA_CLASS, &class.to_ne_bytes()))
        && meant.label.as_ref().is_none_or(|label| is(CKA_LABEL, label.as_bytes()))
}

pub(crate) unsafe fn attributes(
    turn: &Turn,
    session: CK_SESSION_HANDLE,
    object: CK_OBJECT_HANDLE,
    template: *mut CK_ATTRIBUTE,
    count: CK_ULONG,
) -> Option<CK_RV> {
    let object = handles::meant(turn, object);
    let ill = turn.script.objects.iter().find(|(_, of)| is_meant(of, session, object));
    if let Some((code, _)) = ill {
        return Some(*code);
    }
    // The room that the caller has for each; the real module writes over it.
    // SAFETY: the caller's own arguments.
    let rooms: Vec<CK_ULONG> = unsafe { items(template, count) }.iter().map(|it| it.ulValueLen).collect();
    // SAFETY: the same.
    let code = unsafe { real::list()?.C_GetAttributeValue?(session, object, template, count) };
    // SAFETY: the same.
    let asked = unsafe { items(template, count) };
    if !matches!(code, CKR_OK | CKR_ATTRIBUTE_TYPE_INVALID | CKR_ATTRIBUTE_SENSITIVE | CKR_BUFFER_TOO_SMALL) {
        return Some(code);
    }
    if turn.bend() == Some(Bend::Huge) {
        asked.iter_mut().for_each(|it| it.ulValueLen = ONE_TIB);
        return Some(CKR_OK);
    }
    let mut bent = false;
    let mut too_small = false;
    for (attribute, room) in asked.iter_mut().zip(rooms) {
        if is(turn, session, object, attribute.type_, &Value::Huge) {
            (attribute.ulValueLen, bent) = (ONE_TIB, true);
            continue;
        }
        if is(turn, session, object, attribute.type_, &Value::Grows) {
            bent = true;
            if !attribute.pValue.is_null() {
                attribute.ulValueLen += GROWN;
            }
            continue;
        }
        let Some(value) = told(turn, session, object, attribute.type_) else { continue };
        bent = true;
        // SAFETY: the caller's own buffer, with the room that it said.
        too_small |= unsafe { !put(attribute, room, value.as_deref()) };
    }
    if !bent {
        return Some(code);
    }
    let missing = asked.iter().any(|it| it.ulValueLen == CK_UNAVAILABLE_INFORMATION);
    Some(match (too_small, missing, code) {
        (true, _, _) => CKR_BUFFER_TOO_SMALL,
        (false, true, CKR_ATTRIBUTE_SENSITIVE) => CKR_ATTRIBUTE_SENSITIVE,
        (false, true, _) => CKR_ATTRIBUTE_TYPE_INVALID,
        (false, false, _) => CKR_OK,
    })
}

/// Whether this is said of the attribute.
fn is(
    turn: &Turn,
    session: CK_SESSION_HANDLE,
    object: CK_OBJECT_HANDLE,
    kind: CK_ATTRIBUTE_TYPE,
    what: &Value,
) -> bool {
    let mut lies = turn.script.attributes.iter();
    lies.any(|lie| lie.attribute == kind && lie.value == *what && is_meant(&lie.of, session, object))
}

/// What the attribute is said to be: `None` the truth, `Some(None)` not there.
fn told(
    turn: &Turn,
    session: CK_SESSION_HANDLE,
    object: CK_OBJECT_HANDLE,
    kind: CK_ATTRIBUTE_TYPE,
) -> Option<Option<Vec<u8>>> {
    let lies = |lie: &&AttributeLie| lie.attribute == kind && is_meant(&lie.of, session, object);
    match turn.script.attributes.iter().find(lies).map(|lie| &lie.value) {
        Some(Value::Absent) => Some(None),
        Some(Value::Bytes(bytes)) => Some(Some(bytes.clone())),
        Some(Value::Raw) => Some(Some(unwrapped(real::attribute(session, object, kind)?))),
        Some(Value::Huge | Value::Grows) => None,
        None if kind == CKA_ALWAYS_AUTHENTICATE => {
            let (_, of) = turn.script.always_authenticate.as_ref()?;
            let of = Meant { class: Some(CKO_PRIVATE_KEY), ..of.clone() };
            is_meant(&of, session, object).then(|| Some(vec![CK_TRUE]))
        }
        None => None,
    }
}

/// What is in a short OCTET STRING.
fn unwrapped(value: Vec<u8>) -> Vec<u8> {
    match value.as_slice() {
        [4, len, content @ ..] if usize::from(*len) == content.len() => content.to_vec(),
        _ => value,
    }
}

/// False: there is no room for it.
///
/// # Safety
/// `attribute.pValue` is null or has `room` bytes.
unsafe fn put(attribute: &mut CK_ATTRIBUTE, room: CK_ULONG, value: Option<&[u8]>) -> bool {
    attribute.ulValueLen = value.map_or(CK_UNAVAILABLE_INFORMATION, |value| real::ulong(value.len()));
    let Some(value) = value else { return true };
    if attribute.pValue.is_null() {
        return true;
    }
    if usize::try_from(room).unwrap_or(0) < value.len() {
        attribute.ulValueLen = CK_UNAVAILABLE_INFORMATION;
        return false;
    }
    // SAFETY: what the caller promises, and there is room.
    unsafe { std::ptr::copy_nonoverlapping(value.as_ptr(), attribute.pValue.cast(), value.len()) };
    true
}

pub(crate) unsafe fn find_init(
    turn: &Turn,
    session: CK_SESSION_HANDLE,
    template: *mut CK_ATTRIBUTE,
    count: CK_ULONG,
) -> Option<CK_RV> {
    let ask = real::list()?.C_FindObjectsInit?;
    // SAFETY: the caller's own arguments; or none, and all objects are found.
    unsafe {
        Some(match turn.script.finds_all {
            true => ask(session, std::ptr::null_mut(), 0),
            false => ask(session, template, count),
        })
    }
}

pub(crate) unsafe fn find(
    turn: &Turn,
    session: CK_SESSION_HANDLE,
    found: *mut CK_OBJECT_HANDLE,
    room: CK_ULONG,
    count: *mut CK_ULONG,
) -> Option<CK_RV> {
    let ask = real::list()?.C_FindObjects?;
    let bend = turn.bend();
    let most = match bend {
        Some(Bend::Twice) => room / 2,
        Some(Bend::Unknown | Bend::Nameless) => room - 1,
        _ => room,
    };
    // SAFETY: the caller's own arguments; less is written than there is room for.
    unsafe {
        let code = ask(session, found, most, count);
        if code != CKR_OK || found.is_null() || count.is_null() {
            return Some(code);
        }
        let handles = std::slice::from_raw_parts_mut(found, usize::try_from(room).unwrap_or(0));
        let there = usize::try_from(*count).unwrap_or(0);
        for handle in handles.iter_mut().take(there) {
            *handle = crate::handles::told(turn, session, *handle);
        }
        match bend {
            Some(Bend::None) => *count = 0,
            Some(Bend::Huge) => *count = ONE_TIB,
            Some(Bend::More) => *count = room + 5,
            Some(bend @ (Bend::Unknown | Bend::Nameless)) => {
                // Behind the last one, once a search.
                if let Some(next) = handles.get_mut(there).filter(|_| there > 0) {
                    *next = if bend == Bend::Unknown { NO_OBJECT } else { 0 };
                    *count += 1;
                }
            }
            Some(Bend::Twice) => {
                handles.copy_within(0..there, there);
                *count *= 2;
            }
            Some(Bend::Endless) => {
                if let (Some(first), true) = (handles.first(), there > 0) {
                    world::with(|world| world.endless = Some(*first));
                }
                if let Some(first) = world::with(|world| world.endless) {
                    handles.fill(first);
                    *count = room;
                }
            }
            _ => {}
        }
        Some(code)
    }
}

/// # Safety
/// `count` attributes can be read and written at `template`, or it is null.
unsafe fn items<'a>(template: *mut CK_ATTRIBUTE, count: CK_ULONG) -> &'a mut [CK_ATTRIBUTE] {
    if template.is_null() {
        return &mut [];
    }
    // SAFETY: what the caller promises.
    unsafe { std::slice::from_raw_parts_mut(template, usize::try_from(count).unwrap_or(0)) }
}
