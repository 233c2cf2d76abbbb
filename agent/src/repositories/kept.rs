//! Files of metadata that was verified, in the folder of texts: each by what is signed in it, or by its bytes.
//!
//! Roles may say the same, as empty bins do, each in a file of its own: other signatures, other members around them. The first
//! lies under the digest of what is signed. Any other lies beside it under the digest of its bytes, and takes nobody's place.

use ledger::{Ledger, LedgerError};
use tuf::json::Text;
use tuf::metadata::{Limits, Metadata};

/// Keeps a file that was verified.
pub(super) fn store_verified(ledger: &Ledger, file: &Metadata) -> Result<(), LedgerError> {
    let digest = file.digest();
    // What cannot be read is written anew.
    let there = ledger.load_text(&digest).ok().flatten();
    let name = if there.is_some_and(|there| is_other(there, file)) { file.file_digest() } else { digest };
    ledger.store_text(&name, file.bytes())
}

/// Whether `there` says the same in other bytes, under signatures: not the text alone as it was signed, nor anything damaged.
fn is_other(there: Vec<u8>, file: &Metadata) -> bool {
    if there == **file.bytes() || there == file.signed_bytes() {
        return false;
    }
    let there = Metadata::parse(Text::from(there), &Limits::agent());
    there.is_ok_and(|there| there.digest() == file.digest() && !there.signatures().is_empty())
}
