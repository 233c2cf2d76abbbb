//! The helper process that hosts one PKCS#11 module.
