//! What must outlive the process, in a file beside the control file: a crash is told once, a try is lost for good.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

/// The value that was kept under `key`.
pub(crate) fn get(key: &str) -> Option<String> {
    read().remove(key)
}

/// Keeps it.
pub(crate) fn set(key: &str, value: &str) {
    let _one = LOCK.lock().unwrap_or_else(PoisonError::into_inner);
    let mut all = read();
    all.insert(key.to_owned(), value.to_owned());
    let text: String = all.iter().map(|(key, value)| format!("{key}\t{value}\n")).collect();
    let Some(path) = path() else { return };
    let fresh = path.with_extension("state.new");
    if std::fs::write(&fresh, text).is_ok() {
        let _ = std::fs::rename(&fresh, &path);
    }
}

/// Whether this is asked for the first time of this key.
pub(crate) fn first(key: &str) -> bool {
    let key = format!("once {key}");
    let first = get(&key).is_none();
    if first {
        set(&key, "told");
    }
    first
}

fn read() -> BTreeMap<String, String> {
    let text = path().and_then(|path| std::fs::read_to_string(path).ok()).unwrap_or_default();
    text.lines()
        .filter_map(|line| line.split_once('\t'))
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect()
}

fn path() -> Option<PathBuf> {
    let mut path: OsString = std::env::var_os("LYING_CONTROL")?;
    path.push(".state");
    Some(path.into())
}

static LOCK: Mutex<()> = Mutex::new(());
