//! Tokens of PKCS#11 modules, each in a helper process.
