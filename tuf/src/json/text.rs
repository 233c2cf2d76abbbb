//! The bytes of a document, shared.

use std::{ops::Deref, sync::Arc};

/// A text that any number of owners share. Unlike an `Arc<[u8]>` it is made from a vector without a copy: a large role
/// has 16 MB.
#[derive(Clone, PartialEq, Eq)]
pub struct Text(Arc<Vec<u8>>);

impl Deref for Text {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl Text {
    /// The bytes to be changed; `None` while others share them.
    pub(super) fn only_owned(&mut self) -> Option<&mut [u8]> {
        Arc::get_mut(&mut self.0).map(Vec::as_mut_slice)
    }
}

impl From<Vec<u8>> for Text {
    fn from(bytes: Vec<u8>) -> Self {
        Self(Arc::new(bytes))
    }
}

impl From<&[u8]> for Text {
    fn from(bytes: &[u8]) -> Self {
        bytes.to_vec().into()
    }
}

impl<const N: usize> From<&[u8; N]> for Text {
    fn from(bytes: &[u8; N]) -> Self {
        bytes.to_vec().into()
    }
}

impl std::fmt::Debug for Text {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Text({} bytes)", self.len())
    }
}
