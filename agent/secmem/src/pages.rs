//! Private pages: `guard | data ... | guard`.

use std::alloc::{Layout, handle_alloc_error};
use std::ffi::c_void;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::mm::{self, Advice, MapFlags, MprotectFlags, ProtFlags};
use zeroize::Zeroize;

/// Whether the pages of a secret stay in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Residence {
    /// Locked: never written to swap.
    Locked,
    /// The system refused to lock (`RLIMIT_MEMLOCK` is too small): the secret may reach swap.
    NotLocked,
}

/// How many secrets could not be locked since the process began.
#[must_use]
pub fn unlocked_secrets() -> u64 {
    UNLOCKED.load(Ordering::Relaxed)
}

/// Readable and writable pages between two guard pages; zeroized and unmapped on drop.
pub(crate) struct Pages {
    /// The first data byte; `capacity` bytes from here belong to this value alone.
    data: NonNull<u8>,
    capacity: usize,
    residence: Residence,
}

// SAFETY: `Pages` owns its mapping alone, as a `Box<[u8]>` owns its memory; nothing in it belongs
// to a thread.
unsafe impl Send for Pages {}
// SAFETY: shared access gives `&[u8]` only; writing needs `&mut self`.
unsafe impl Sync for Pages {}

impl Pages {
    /// Zeroed pages for at least `len` bytes. Ends the process as `Box` does when memory is out.
    pub(crate) fn new(len: usize) -> Self {
        let page = rustix::param::page_size();
        let Some((capacity, whole)) = sizes(len, page) else { out_of_memory(len) };
        let flags = MapFlags::PRIVATE | MapFlags::NORESERVE;
        // SAFETY: a new anonymous mapping at an address that the kernel chooses touches no memory
        // that anything else uses.
        let mapped = unsafe { mm::mmap_anonymous(std::ptr::null_mut(), whole, ProtFlags::empty(), flags) };
        let Ok(base) = mapped else { out_of_memory(len) };
        // SAFETY: `base + page` lies within the mapping of `whole = capacity + 2 * page` bytes.
        let start = unsafe { base.cast::<u8>().add(page) };
        let access = MprotectFlags::READ | MprotectFlags::WRITE;
        // SAFETY: the range is inside the mapping made above, which nobody else knows; opening it
        // leaves a guard page on each side.
        let opened = unsafe { mm::mprotect(start.cast::<c_void>(), capacity, access) };
        let (Ok(()), Some(data)) = (opened, NonNull::new(start)) else { out_of_memory(len) };
        let residence = keep_private(data, capacity);
        Self { data, capacity, residence }
    }

    pub(crate) const fn residence(&self) -> Residence {
        self.residence
    }

    pub(crate) const fn bytes(&self) -> &[u8] {
        // SAFETY: `data` points to `capacity` mapped, readable, initialised (the kernel zeroes
        // them) bytes that live as long as `self`; writing needs `&mut self`.
        unsafe { std::slice::from_raw_parts(self.data.as_ptr(), self.capacity) }
    }

    pub(crate) const fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `bytes`, and `&mut self` makes the access exclusive.
        unsafe { std::slice::from_raw_parts_mut(self.data.as_ptr(), self.capacity) }
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        self.bytes_mut().zeroize();
        let page = rustix::param::page_size();
        // SAFETY: `data` is one page after the start of the mapping (see `new`).
        let base = unsafe { self.data.as_ptr().sub(page) };
        // SAFETY: exactly the mapping of `new`; no reference into it outlives `self`. Unmapping
        // unlocks. It cannot fail for a valid range; were it to, zeroed pages would leak.
        let _ = unsafe { mm::munmap(base.cast::<c_void>(), self.capacity.saturating_add(2 * page)) };
    }
}

/// Asks the kernel to keep the pages out of dumps, children and swap.
fn keep_private(data: NonNull<u8>, capacity: usize) -> Residence {
    let start = data.as_ptr().cast::<c_void>();
    for advice in [Advice::LinuxDontDump, Advice::LinuxWipeOnFork] {
        // SAFETY: neither advice changes the contents that this process sees; the range is ours.
        // A kernel that does not know one still gives the rest.
        let _ = unsafe { mm::madvise(start, capacity, advice) };
    }
    // SAFETY: locking changes where pages may be kept, not what they hold; the range is ours.
    match unsafe { mm::mlock(start, capacity) } {
        Ok(()) => Residence::Locked,
        Err(_) => {
            UNLOCKED.fetch_add(1, Ordering::Relaxed);
            Residence::NotLocked
        }
    }
}

/// Bytes of data (whole pages, at least one), and with both guards.
fn sizes(len: usize, page: usize) -> Option<(usize, usize)> {
    let capacity = len.max(1).checked_next_multiple_of(page)?;
    let whole = capacity.checked_add(page.checked_mul(2)?)?;
    isize::try_from(whole).ok().map(|_| (capacity, whole))
}

fn out_of_memory(len: usize) -> ! {
    handle_alloc_error(Layout::array::<u8>(len).unwrap_or(Layout::new::<u8>()))
}

static UNLOCKED: AtomicU64 = AtomicU64::new(0);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_begin_zeroed_and_hold_what_is_written() {
        let mut pages = Pages::new(5000);
        assert!(pages.bytes().len() >= 5000);
        assert!(pages.bytes().iter().all(|b| *b == 0));
        pages.bytes_mut().fill(7);
        assert!(pages.bytes().iter().all(|b| *b == 7));
    }

    #[test]
    fn the_kernel_lists_the_pages_as_locked_undumped_and_wiped_on_fork() {
        let pages = Pages::new(10);
        let start = format!("{:x}-", pages.data.as_ptr().addr());
        let smaps = std::fs::read_to_string("/proc/self/smaps").unwrap();
        let mut lines = smaps.lines().skip_while(|l| !l.starts_with(&start));
        assert!(lines.next().unwrap().contains(" rw-p "));
        let flags = lines.find(|l| l.starts_with("VmFlags:")).unwrap();
        assert!(flags.contains(" dd"), "{flags}");
        assert!(flags.contains(" wf"), "{flags}");
        let locked = pages.residence() == Residence::Locked;
        assert_eq!(flags.contains(" lo"), locked, "{flags}");
        // Where everything is to be proven this must not be a machine that refuses it.
        assert!(locked || std::env::var_os("TUFAGENT_REQUIRE_ALL").is_none(), "required, and refused: mlock");
    }

    #[test]
    fn a_guard_page_lies_on_each_side() {
        let pages = Pages::new(1);
        let (start, page) = (pages.data.as_ptr().addr(), rustix::param::page_size());
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
        let protected = |address: usize| {
            maps.lines().any(|line| {
                let (range, rest) = line.split_once(' ').unwrap();
                let (from, to) = range.split_once('-').unwrap();
                let at = |s| usize::from_str_radix(s, 16).unwrap();
                at(from) <= address && address < at(to) && rest.starts_with("---p")
            })
        };
        assert!(protected(start - 1));
        assert!(protected(start + page));
        assert!(!protected(start));
    }
}
