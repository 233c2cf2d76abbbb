//! The client workflow of section 5 as pure functions over bytes.
