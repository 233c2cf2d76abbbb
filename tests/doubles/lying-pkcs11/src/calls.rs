//! The functions of PKCS#11 that are led through [`crate::turn`]; all others are the real module's own.

use std::ffi::c_void;

use cryptoki_sys::*;

use crate::turn::{Target, through};
use crate::{handles, keys, objects, real, sign, slots};

/// `C_Name(arguments) at Target [as name in the trace] ["more in the trace"] [=> function in place of the real one];`
macro_rules! calls {
    ($($name:ident($($arg:ident: $type:ty),*) at $target:expr $(, as $called:expr)? $(, more $more:literal)? $(=> $own:path)?;)*) => {
        /// The real table, with our functions wherever it has one.
        pub(crate) fn bent(mut list: CK_FUNCTION_LIST) -> CK_FUNCTION_LIST {
            $(if list.$name.is_some() { list.$name = Some($name); })*
            list
        }
        $(
            #[allow(non_snake_case, unused_mut, unused_assignments, clippy::too_many_arguments)]
            unsafe extern "C" fn $name($($arg: $type),*) -> CK_RV {
                let mut call = stringify!($name);
                $(call = $called;)?
                let mut more = String::new();
                $(more = format!($more);)?
                // SAFETY: the caller's own arguments, which it gives as PKCS#11 says.
                through(call, $target, &more, |turn| unsafe { ask!(turn, $name($($arg),*) $(=> $own)?) })
            }
        )*
    };
}

macro_rules! ask {
    ($turn:ident, $name:ident($($arg:ident),*)) => {{
        let _ = $turn;
        Some(real::list()?.$name?($($arg),*))
    }};
    ($turn:ident, $name:ident($($arg:ident),*) => $own:path) => { $own($turn, $($arg),*) };
}

calls! {
    C_Initialize(args: *mut c_void) at Target::Module;
    C_Finalize(reserved: *mut c_void) at Target::Module => slots::finalize;
    C_GetInfo(info: *mut CK_INFO) at Target::Module;
    C_GetSlotList(present: CK_BBOOL, list: *mut CK_SLOT_ID, count: *mut CK_ULONG) at Target::Module => slots::list;
    C_GetSlotInfo(slot: CK_SLOT_ID, info: *mut CK_SLOT_INFO) at Target::Slot(slot) => slots::slot_info;
    C_GetTokenInfo(slot: CK_SLOT_ID, info: *mut CK_TOKEN_INFO) at Target::Slot(slot) => slots::token_info;
    C_GetMechanismList(slot: CK_SLOT_ID, list: *mut CK_MECHANISM_TYPE, count: *mut CK_ULONG)
        at Target::Slot(slot) => slots::mechanisms;
    C_GetMechanismInfo(slot: CK_SLOT_ID, kind: CK_MECHANISM_TYPE, info: *mut CK_MECHANISM_INFO)
        at Target::Slot(slot) => slots::mechanism_info;
    C_InitToken(slot: CK_SLOT_ID, pin: *mut u8, len: CK_ULONG, label: *mut u8) at Target::Slot(slot);
    C_InitPIN(session: CK_SESSION_HANDLE, pin: *mut u8, len: CK_ULONG) at Target::Session(session) => keys::init_pin;
    C_SetPIN(session: CK_SESSION_HANDLE, old: *mut u8, old_len: CK_ULONG, new: *mut u8, new_len: CK_ULONG)
        at Target::Session(session) => keys::set_pin;
    C_OpenSession(slot: CK_SLOT_ID, flags: CK_FLAGS, context: *mut c_void, notify: CK_NOTIFY, session: *mut CK_SESSION_HANDLE)
        at Target::Slot(slot) => slots::open;
    C_CloseSession(session: CK_SESSION_HANDLE) at Target::Session(session) => slots::close;
    C_CloseAllSessions(slot: CK_SLOT_ID) at Target::Slot(slot) => slots::close_all;
    C_GetSessionInfo(session: CK_SESSION_HANDLE, info: *mut CK_SESSION_INFO) at Target::Session(session);
    C_Login(session: CK_SESSION_HANDLE, user: CK_USER_TYPE, pin: *mut u8, len: CK_ULONG)
        at Target::Session(session), more "user={user}" => keys::login;
    C_Logout(session: CK_SESSION_HANDLE) at Target::Session(session) => keys::logout;
    C_CreateObject(session: CK_SESSION_HANDLE, template: *mut CK_ATTRIBUTE, count: CK_ULONG, object: *mut CK_OBJECT_HANDLE)
        at Target::Session(session) => handles::create;
    C_CopyObject(session: CK_SESSION_HANDLE, object: CK_OBJECT_HANDLE, template: *mut CK_ATTRIBUTE, count: CK_ULONG, copy: *mut CK_OBJECT_HANDLE)
        at Target::Session(session), more "object={object}" => handles::copy;
    C_DestroyObject(session: CK_SESSION_HANDLE, object: CK_OBJECT_HANDLE)
        at Target::Session(session), more "object={object}" => handles::destroy;
    C_GetAttributeValue(session: CK_SESSION_HANDLE, object: CK_OBJECT_HANDLE, template: *mut CK_ATTRIBUTE, count: CK_ULONG)
        at Target::Session(session), more "object={object}" => objects::attributes;
    C_SetAttributeValue(session: CK_SESSION_HANDLE, object: CK_OBJECT_HANDLE, template: *mut CK_ATTRIBUTE, count: CK_ULONG)
        at Target::Session(session), more "object={object}" => handles::set_attributes;
    C_FindObjectsInit(session: CK_SESSION_HANDLE, template: *mut CK_ATTRIBUTE, count: CK_ULONG)
        at Target::Session(session) => objects::find_init;
    C_FindObjects(session: CK_SESSION_HANDLE, found: *mut CK_OBJECT_HANDLE, room: CK_ULONG, count: *mut CK_ULONG)
        at Target::Session(session) => objects::find;
    C_FindObjectsFinal(session: CK_SESSION_HANDLE) at Target::Session(session);
    C_SignInit(session: CK_SESSION_HANDLE, mechanism: *mut CK_MECHANISM, key: CK_OBJECT_HANDLE)
        at Target::Session(session), more "key={key}" => sign::init;
    C_Sign(session: CK_SESSION_HANDLE, data: *mut u8, data_len: CK_ULONG, signature: *mut u8, len: *mut CK_ULONG)
        at Target::Session(session), as if signature.is_null() { "C_Sign?" } else { "C_Sign" } => sign::sign;
    C_SignUpdate(session: CK_SESSION_HANDLE, part: *mut u8, len: CK_ULONG)
        at Target::Session(session) => sign::update;
    C_SignFinal(session: CK_SESSION_HANDLE, signature: *mut u8, len: *mut CK_ULONG)
        at Target::Session(session), as if signature.is_null() { "C_SignFinal?" } else { "C_SignFinal" } => sign::finish;
    C_VerifyInit(session: CK_SESSION_HANDLE, mechanism: *mut CK_MECHANISM, key: CK_OBJECT_HANDLE)
        at Target::Session(session), more "key={key}" => handles::verify_init;
    C_Verify(session: CK_SESSION_HANDLE, data: *mut u8, data_len: CK_ULONG, signature: *mut u8, len: CK_ULONG)
        at Target::Session(session);
    C_GenerateKeyPair(session: CK_SESSION_HANDLE, mechanism: *mut CK_MECHANISM, public: *mut CK_ATTRIBUTE, public_count: CK_ULONG,
        private: *mut CK_ATTRIBUTE, private_count: CK_ULONG, public_key: *mut CK_OBJECT_HANDLE, private_key: *mut CK_OBJECT_HANDLE)
        at Target::Session(session) => sign::generate;
    C_GenerateRandom(session: CK_SESSION_HANDLE, random: *mut u8, len: CK_ULONG) at Target::Session(session);
}
