//! Randomness.

/// Bytes that nobody knows.
pub(crate) fn random(len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    assert!(getrandom::fill(&mut bytes).is_ok(), "the system gives no random bytes");
    bytes
}
