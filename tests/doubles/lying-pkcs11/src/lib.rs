//! A PKCS#11 module that lies: a thin proxy in front of a real module, for tests.
//!
//! Three variables in the environment of the process that loads it (`env = { … }` of a `[[token]]`, say):
//!
//! * `LYING_MODULE`: the real module's path. What no line below bends is passed on to it.
//! * `LYING_CONTROL`: the control file. It is read again at each call, so a test may rewrite it while
//!   the agent runs. Without it, or empty, the module tells the truth. `FILE.state` beside it keeps what
//!   must outlive the process (tries that are left, lies that are told once).
//! * `LYING_TRACE`: the trace, appended to. Two lines a call, see [`Trace`].
//!
//! A test writes and reads them with a [`Desk`]: `desk.env(real)`, `desk.say("C_Sign 1 CKR_DEVICE_ERROR")`,
//! `desk.trace().logins()`. Where the module's file lies, [`module`] tells. A helper that is confined must be
//! allowed the folder of both files.
//!
//! # The control file
//!
//! One lie a line; `#` begins a comment. A line that is not understood ends the process (status 99, and a word in the
//! trace): a misspelt lie must not pass for the truth. A [`Desk`] does not write such a line.
//!
//! ## At a call: `CALL WHEN [once] [after] [until-restart] LIE`
//!
//! `CALL` is a function of PKCS#11, or `*` for all but C_GetFunctionList. C_Sign and C_SignFinal stand for the call that gives a
//! signature; the one that asks for its length is `C_Sign?`, `C_SignFinal?`. `WHEN` counts the calls since the text
//! of the control file was changed, in this process: `*` (or nothing) each, `3` the third, `3-` from the third
//! on, `3-5`, `%4` each fourth. `once`: one time only, also if the process is started anew. `after`: the real
//! module is asked first, so that its work is done and its answer lost. `until-restart`: only until C_Initialize is called
//! again, in this process or a new one: the device's service was started anew, and whoever spoke to the old one is deaf.
//!
//! | LIE | |
//! | --- | --- |
//! | `CKR_DEVICE_ERROR`, `0x30` | this is the answer |
//! | `stuck CKR_…` | so, and the session answers CKR_OPERATION_ACTIVE to all but login and close from then on |
//! | `sleep MS` | late; then what else is said of the call |
//! | `hang`, `spin` | never: asleep, or busy |
//! | `segv`, `abort`, `exit N` | the process ends |
//! | `wrong`, `short`, `long`, `zero`, `empty` | C_Sign, C_SignFinal: one bit flipped; a byte less; a byte more; zeros; no bytes |
//! | `other-key`, `stale` | C_Sign: a right signature by another key of its type; the one of the call before |
//! | `huge` | a length or count of 2^40: signatures, C_FindObjects, C_GetAttributeValue, C_GetSlotList, C_GetMechanismList |
//! | `none`, `twice`, `endless` | C_FindObjects: no object; each one twice; the first for ever |
//! | `more`, `unknown`, `nameless` | C_FindObjects: a count of more than was asked for; behind the others a handle of nothing; the handle 0 |
//!
//! ## About token, slots and sessions
//!
//! | line | |
//! | --- | --- |
//! | `token gone [CKR_…]` | pulled: no token in the slots; sessions (CKR_DEVICE_REMOVED) and login are lost, also when the line goes |
//! | `token serial S`, `label`, `manufacturer`, `model` | it says that it is another one |
//! | `token tries N` | a PIN that locks: N wrong ones, counted here, told by COUNT_LOW, FINAL_TRY and LOCKED, then CKR_PIN_LOCKED; a right one before that begins anew |
//! | `token flags [none] [+f] [-f] …` | said in place of what is: `count-low`, `final-try`, `locked`, `to-be-changed`, `initialized`, `pin-initialized`, `login-required`, `write-protected`, `protected-path`, `error-state`. `none` clears the first four: a token that counts and does not tell |
//! | `sessions limit N` | more get CKR_SESSION_COUNT |
//! | `sessions told MAX` | ulMaxSessionCount, whatever is true |
//! | `slots bad N [CKR_…]` | N slots before the others of which nothing can be read |
//! | `slots blank N` | N slots before the others with a token that was never initialised |
//! | `slots hang N` | N slots before the others whose C_GetTokenInfo never comes back |
//! | `slots twice` | each slot has a twin with the same token |
//! | `mechanism CKM_… absent` (`unlisted`, `refused`) | CKM_EDDSA or a number: neither listed nor taken; one of both |
//!
//! ## About objects: `attribute CKA_… VALUE [private|public] [label=L]`
//!
//! `VALUE`: `true`, `false`, `absent`, `hex:00ff`, `text:NAME`, `raw` (CKA_EC_POINT without its OCTET STRING), `huge` (a
//! length of 2^40), `grows` (a length behind the room that was given, and CKR_OK), of all objects or of those that are meant. So keys get one and the same id, label or point.
//!
//! `object CKR_… [private|public] [label=L]`: C_GetAttributeValue of such an object gives this. `search ignored`: whatever is
//! searched for, all objects are found. `handles renewed`: no lie; handles of private objects hold until C_Logout, and the next
//! C_Login gives them anew, to other objects as it comes. It is said from the beginning, and goes on being said.
//!
//! ## Keys that want a login for each signature
//!
//! `always-authenticate context [label=L]`: private keys (that one) say CKA_ALWAYS_AUTHENTICATE and sign after C_SignInit and
//! C_Login(CKU_CONTEXT_SPECIFIC) only. `always-authenticate relogin`: no such login; one C_Login, one signature.
//! `always-authenticate made`: keys that are made get CKA_ALWAYS_AUTHENTICATE; the real module sees to it.
//! `multipart yes`: C_SignUpdate and C_SignFinal work with every mechanism, also where the real module has but
//! C_Sign; `multipart no`: with none. `tables each`: who asks for the functions gets a table of its own, as p11-kit's
//! client gives it, so that no program calls C_Sign by another one than its library's. `ecdsa der`: signatures of ECDSA come in
//! DER, in place of r || s.
//!
//! ## What it tries beside its calls: `try WHAT …`
//!
//! Once when it is loaded, and once when the text of the control file was changed, at the next call; how that ended is in
//! the trace ([`Trace::tried`]).
//!
//! | WHAT | |
//! | --- | --- |
//! | `read PATH`, `write PATH` | opens a file; `write` makes it where it is not there, and adds a line |
//! | `run PATH` | runs a program |
//! | `connect IP:PORT`, `abstract NAME` | connects by TCP, or to an abstract unix socket |
//! | `signal PID` | sends the signal 0 |
//! | `udp IP:PORT`, `mptcp IP:PORT`, `fastopen IP:PORT` | sends a byte so; or asks for such a socket and connects |
//! | `mode PATH`, `owner PATH`, `times PATH`, `xattr PATH` | changes that of a file to what it is, by each call that there is |
//! | `keyring get`, `add`, `request` | asks the kernel's keyrings |
//! | `call NAME` | another system call, with arguments that do nothing |
//! | `thread 1` | starts one |
//! | `fork 1` | forks a child that does nothing for long; the trace has its process in place of the 1 |
//!
//! ## Short words
//!
//! `pass`, `wrong`, `truncated`, `other-key`, `crash` and `hang` alone stand for that of C_Sign and C_SignFinal, `crash-login`
//! for `C_Login abort`.
#![allow(unsafe_code, reason = "a module is C functions and pointers")]

mod attempt;
mod calls;
mod desk;
mod handles;
mod kernel;
mod keys;
mod memory;
mod names;
mod objects;
mod real;
mod rule;
mod script;
mod sign;
mod slots;
mod trace;
mod turn;
mod world;

pub use desk::{Desk, module};
pub use trace::{Entry, Trace};

use std::sync::OnceLock;

use cryptoki_sys::*;

/// The one entry that a module needs.
///
/// # Safety
/// `list` is a pointer to write to, as PKCS#11 says, or null.
#[unsafe(no_mangle)]
#[allow(non_snake_case)]
pub unsafe extern "C" fn C_GetFunctionList(list: *mut *mut CK_FUNCTION_LIST) -> CK_RV {
    turn::through("C_GetFunctionList", turn::Target::Module, "", |turn| {
        let Some(table) = table() else { return Some(CKR_GENERAL_ERROR) };
        if list.is_null() {
            return Some(CKR_ARGUMENTS_BAD);
        }
        // Each lives as long as the process.
        let given = if turn.script.tables_each { Box::leak(Box::new(Table(table.0))) } else { table };
        // SAFETY: the caller gives a pointer to write to.
        unsafe { *list = std::ptr::from_ref(&given.0).cast_mut() };
        Some(CKR_OK)
    })
}

/// The real table with our functions in place of its own.
fn table() -> Option<&'static Table> {
    static TABLE: OnceLock<Option<Table>> = OnceLock::new();
    TABLE
        .get_or_init(|| {
            let mut list = calls::bent(*real::list()?);
            list.C_GetFunctionList = Some(C_GetFunctionList);
            Some(Table(list))
        })
        .as_ref()
}

/// A module's code runs as soon as it is loaded, before any of its functions is called.
#[used]
#[unsafe(link_section = ".init_array")]
static LOADED: extern "C" fn() = turn::look_at_control;

struct Table(CK_FUNCTION_LIST);

// SAFETY: a table of function pointers that is never written again.
unsafe impl Sync for Table {}
// SAFETY: the same.
unsafe impl Send for Table {}
