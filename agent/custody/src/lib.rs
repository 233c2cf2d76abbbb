//! A key that no one person holds: SLIP-0039 shares of it, the manifest of a set of them, and the moments in which
//! they are the key again.
//!
//! *Duty*: make a key and split it at once, or split one that exists ([`NewSet`]); tell for each share alone whether it
//! is one of the set ([`Share`], [`SignedManifest`]); put the key together from enough of them to sign one thing
//! ([`Collected`]). *Trust*: the kernel, and whoever hands in the manifest of the key that is meant; shares and manifests
//! are hostile until they were checked. *Invariants*: a whole key never crosses this crate's interface; it exists on a
//! locked stack ([`secmem::on_locked_stack`]) that is wiped before a call returns, and after each signature its shares
//! are gone too. No share leaves before every way of putting its set together was tried. Pure: no file, no clock; random
//! numbers are the system's.
//!
//! # Where secrets lie
//!
//! All work on words, values of shares, passphrases and keys is done on such a stack. What outlives it lies in
//! [`secmem::SecretBytes`]: the value of a share (its words are written anew each time), and the text of its words for
//! whom it is handed to. Nothing secret is ever in a `Vec` or a `String`, so the heap never holds any of it; the libraries for
//! hashes and curves that are used here allocate nothing with secrets in it, and what they leave on the stack is wiped with it.
//!
//! # Time tells nothing
//!
//! GF(256) and RS1024 are shifts and masks; products and inverses take no branch and no table. The places at which the
//! polynomials are evaluated are the shares' numbers, which are printed on every sheet. A word becomes its number, and a
//! number its word, by going over all 1024 words; where in the text a word begins is found by going over all
//! places. What time does tell is public: how long the text is, how many words it has, the header (which set, group and place),
//! thresholds, and whether a checksum, a digest or a public key was right, which the caller is told. The masks go through
//! [`std::hint::black_box`] or `subtle`, so that the compiler does not find the branch again; `cargo xtask bench` measures
//! that it has not. PBKDF2, SHA-256, Ed25519 and P-256 are those of RustCrypto and curve25519-dalek, constant in time by
//! their own account.
//!
//! # What a manifest gives away
//!
//! Its fingerprints are SHA-256 of shares. A share's value is 32 bytes: uniformly random, or (where one share is enough) the
//! key under a permutation, and so as hard to guess as the key itself; whoever can try all of them can
//! try all keys against the public key, without any fingerprint. Fewer shares than the threshold leave every key possible
//! but for the 32 bits of SLIP-0039's own digest. So a manifest may be published, and should be kept by every custodian: with it each
//! checks their share alone, a forged share with a right checksum is named, and a wrong passphrase is noticed, none of
//! which SLIP-0039 can do.
//!
//! # What SLIP-0039 leaves open
//!
//! New sets are extendable, their shares 33 words. Shares of shorter secrets (16 bytes and more, 20 words and more)
//! and of sets that are not extendable are read. Iteration exponents above [`IterationExponent::MAX`] are refused. A wrong
//! word is never put right or guessed at: what is wrong is said, and where.
#![forbid(unsafe_code)]

mod collected;
mod drill;
mod key;
mod manifest;
mod set;
mod share;
mod slip39;
mod terms;
#[cfg(test)]
mod test_sets;
mod typing;

pub use collected::{Collected, GroupProgress, RecoverError};
pub use drill::Drill;
pub use key::SplitKind;
pub use manifest::{CustodianRef, ManifestError, Member, SetId, ShareRefused, SignedManifest};
pub use secmem::{SecretBytes, on_locked_stack};
pub use set::{Context, NewSet, NewShare, SplitError, Used};
pub use share::{IterationExponent, Share, ShareError};
pub use terms::{AgreedTerms, CustodianName, GroupTerms, Terms, TermsError, Weak, WeakTerms, Weakness};
pub use typing::{SoFar, Word, check_so_far, complete_word, is_word};
