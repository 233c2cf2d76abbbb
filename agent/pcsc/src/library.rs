//! libpcsclite's functions, found by name in the library when it is first needed.

use std::ffi::{CStr, CString, c_char, c_long, c_ulong, c_void};
use std::ptr;
use std::sync::{Mutex, OnceLock, PoisonError};

use crate::Error;

/// SCARDCONTEXT and SCARDHANDLE.
pub(crate) type Handle = c_long;

/// SCARD_IO_REQUEST of winscard.h.
#[repr(C)]
struct IoRequest {
    protocol: c_ulong,
    length: c_ulong,
}

/// SCARD_READERSTATE of winscard.h.
#[repr(C)]
struct ReaderState {
    reader: *const c_char,
    user_data: *mut c_void,
    current: c_ulong,
    event: c_ulong,
    atr_len: c_ulong,
    atr: [u8; 33],
}

type Establish = unsafe extern "C" fn(c_ulong, *const c_void, *const c_void, *mut Handle) -> c_long;
type OfHandle = unsafe extern "C" fn(Handle) -> c_long;
type OfHandleAnd = unsafe extern "C" fn(Handle, c_ulong) -> c_long;
type ListReaders = unsafe extern "C" fn(Handle, *const c_char, *mut c_char, *mut c_ulong) -> c_long;
type GetStatusChange = unsafe extern "C" fn(Handle, c_ulong, *mut ReaderState, c_ulong) -> c_long;
type Connect =
    unsafe extern "C" fn(Handle, *const c_char, c_ulong, c_ulong, *mut Handle, *mut c_ulong) -> c_long;
type Transmit = unsafe extern "C" fn(
    Handle,
    *const IoRequest,
    *const u8,
    c_ulong,
    *mut IoRequest,
    *mut u8,
    *mut c_ulong,
) -> c_long;

/// The functions. The library stays loaded for as long as the program runs.
#[derive(Debug)]
pub(crate) struct Library {
    establish: Establish,
    release: OfHandle,
    list_readers: ListReaders,
    get_status_change: GetStatusChange,
    connect: Connect,
    disconnect: OfHandleAnd,
    begin: OfHandle,
    end: OfHandleAnd,
    transmit: Transmit,
}

/// The library; one that was not there is looked for again the next time.
pub(crate) fn get() -> Result<&'static Library, Error> {
    static LIBRARY: OnceLock<Library> = OnceLock::new();
    static LOADING: Mutex<()> = Mutex::new(());
    let _alone = LOADING.lock().unwrap_or_else(PoisonError::into_inner);
    match LIBRARY.get() {
        Some(library) => Ok(library),
        None => {
            let library = load().map_err(|error| Error::NoLibrary(error.to_string()))?;
            Ok(LIBRARY.get_or_init(|| library))
        }
    }
}

fn load() -> Result<Library, libloading::Error> {
    // SAFETY: libpcsclite's initialisers set up its own state and nothing else.
    let library = unsafe { libloading::Library::new("libpcsclite.so.1") }?;
    /// # Safety
    /// The function of this name has the type `T`.
    unsafe fn find<T: Copy>(library: &libloading::Library, name: &str) -> Result<T, libloading::Error> {
        // SAFETY: by the caller.
        unsafe { library.get::<T>(name.as_bytes()) }.map(|symbol| *symbol)
    }
    // SAFETY: the types are those of winscard.h of pcsc-lite, which libpcsclite.so.1 has kept since its first version.
    let found = unsafe {
        Library {
            establish: find(&library, "SCardEstablishContext")?,
            release: find(&library, "SCardReleaseContext")?,
            list_readers: find(&library, "SCardListReaders")?,
            get_status_change: find(&library, "SCardGetStatusChange")?,
            connect: find(&library, "SCardConnect")?,
            disconnect: find(&library, "SCardDisconnect")?,
            begin: find(&library, "SCardBeginTransaction")?,
            end: find(&library, "SCardEndTransaction")?,
            transmit: find(&library, "SCardTransmit")?,
        }
    };
    // Never unloaded: the functions are called for as long as the program runs.
    std::mem::forget(library);
    Ok(found)
}

impl Library {
    pub(crate) fn establish(&self) -> Result<Handle, Error> {
        let mut handle = 0;
        // SAFETY: the reserved pointers may be null, and `handle` is there to be written.
        check(unsafe { (self.establish)(SCOPE_SYSTEM, ptr::null(), ptr::null(), &raw mut handle) })?;
        Ok(handle)
    }

    pub(crate) fn release(&self, context: Handle) {
        // SAFETY: a number; an unknown one is refused by the library.
        unsafe { (self.release)(context) };
    }

    pub(crate) fn readers(&self, context: Handle) -> Result<Vec<CString>, Error> {
        let mut names = vec![0_u8; READERS_MAX];
        let mut len = size(names.len());
        let place = names.as_mut_ptr().cast::<c_char>();
        // SAFETY: null stands for all groups; `len` bytes at `place` are there to be written.
        check(unsafe { (self.list_readers)(context, ptr::null(), place, &raw mut len) })?;
        let names = names.get(..usize::try_from(len).unwrap_or_default()).unwrap_or_default();
        let each = names.split(|byte| *byte == 0).filter(|name| !name.is_empty());
        Ok(each.filter_map(|name| CString::new(name).ok()).collect())
    }

    pub(crate) fn presence(&self, context: Handle, reader: &CStr) -> Result<Option<u16>, Error> {
        let mut state = ReaderState {
            reader: reader.as_ptr(),
            user_data: ptr::null_mut(),
            current: 0,
            event: 0,
            atr_len: 0,
            atr: [0; 33],
        };
        // SAFETY: one state is there, and the name in it lives as long as the call. Nothing is waited for.
        check(unsafe { (self.get_status_change)(context, 0, &raw mut state, 1) })?;
        if state.event & (STATE_UNKNOWN | STATE_UNAVAILABLE) != 0 {
            return Err(Error::NoReader);
        }
        let count = u16::try_from((state.event >> 16) & 0xffff).unwrap_or_default();
        Ok((state.event & STATE_PRESENT != 0).then_some(count))
    }

    pub(crate) fn connect(&self, context: Handle, reader: &CStr) -> Result<Handle, Error> {
        let (mut handle, mut protocol) = (0, 0);
        let (handle_at, protocol_at) = (&raw mut handle, &raw mut protocol);
        // SAFETY: the name lives as long as the call, and both places are there to be written.
        check(unsafe {
            (self.connect)(context, reader.as_ptr(), SHARED, PROTOCOL_T1, handle_at, protocol_at)
        })?;
        Ok(handle)
    }

    pub(crate) fn disconnect(&self, card: Handle) {
        // SAFETY: a number; an unknown one is refused by the library.
        unsafe { (self.disconnect)(card, LEAVE) };
    }

    pub(crate) fn begin(&self, card: Handle) -> Result<(), Error> {
        // SAFETY: as in `disconnect`.
        check(unsafe { (self.begin)(card) })
    }

    pub(crate) fn end(&self, card: Handle) {
        // SAFETY: as in `disconnect`.
        unsafe { (self.end)(card, LEAVE) };
    }

    pub(crate) fn transmit(&self, card: Handle, command: &[u8], answer: &mut [u8]) -> Result<usize, Error> {
        let sent = IoRequest { protocol: PROTOCOL_T1, length: size(size_of::<IoRequest>()) };
        let mut len = size(answer.len());
        // SAFETY: both buffers are as long as is said, and the library keeps neither of them. The last but two may be null.
        check(unsafe {
            (self.transmit)(
                card,
                &raw const sent,
                command.as_ptr(),
                size(command.len()),
                ptr::null_mut(),
                answer.as_mut_ptr(),
                &raw mut len,
            )
        })?;
        usize::try_from(len).map_err(|_| Error::Other(0))
    }
}

fn check(code: c_long) -> Result<(), Error> {
    // A LONG is of 32 or 64 bits; the code is in the lower 32.
    let [.., a, b, c, d] = code.to_be_bytes();
    match u32::from_be_bytes([a, b, c, d]) {
        0 => Ok(()),
        code => Err(Error::of(code)),
    }
}

fn size(len: usize) -> c_ulong {
    c_ulong::try_from(len).unwrap_or_default()
}

const SCOPE_SYSTEM: c_ulong = 2;
const SHARED: c_ulong = 2;
const LEAVE: c_ulong = 0;
const PROTOCOL_T1: c_ulong = 2;
const STATE_UNKNOWN: c_ulong = 0x4;
const STATE_UNAVAILABLE: c_ulong = 0x8;
const STATE_PRESENT: c_ulong = 0x20;
/// pcscd has 16 readers at most, with names of at most 128 bytes.
const READERS_MAX: usize = 16 * 129 + 1;
