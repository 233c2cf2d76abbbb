//! PEM files (RFC 7468), as laxly as OpenSSL reads them: text around blocks, CR LF, any line width.

use base64ct::{Base64, Encoding as _};
use secmem::SecretBytes;
use zeroize::Zeroizing;

use super::{ImportError, NEED_PEM, legacy, pkcs5};
use crate::software::SoftwareKey;

/// One block between `BEGIN` and `END`.
struct Block<'a> {
    label: &'a str,
    /// `Name: value` lines of RFC 1421, which OpenSSL's old encryption uses.
    headers: Vec<(&'a str, &'a str)>,
    /// Base64, with line breaks.
    body: Vec<&'a str>,
}

/// The one private key of a PEM file.
pub(super) fn parse(text: &str, passphrase: Option<&SecretBytes>) -> Result<SoftwareKey, ImportError> {
    let blocks = split(text)?;
    let mut private = blocks.iter().filter(|block| block.label.ends_with("PRIVATE KEY"));
    let Some(block) = private.next() else { return Err(no_private_key(&blocks)) };
    if private.next().is_some() {
        return Err(ImportError::SeveralKeys);
    }
    let der = block.decode()?;
    if block.label == "OPENSSH PRIVATE KEY" {
        return Err(ImportError::not_a_key("it is in the format of OpenSSH", remedy_for_openssh(&der)));
    }
    if block.label == "ENCRYPTED PRIVATE KEY" {
        return pkcs5::decrypt(&der, passphrase);
    }
    match legacy::Encryption::from_headers(&block.headers)? {
        // Bytes that decrypt to no key were decrypted with a wrong passphrase: the old encryption
        // has no other check.
        Some(encryption) => {
            let passphrase = passphrase.ok_or(ImportError::PassphraseNeeded)?;
            let plain = encryption.decrypt(&der, passphrase)?;
            block.key(&plain).map_err(|error| match error {
                ImportError::Damaged => ImportError::PassphraseWrong,
                other => other,
            })
        }
        None => block.key(&der),
    }
}

/// The public half stands in the clear, also in an encrypted file; `ssh-keygen -m PKCS8` writes all types but one.
fn remedy_for_openssh(file: &[u8]) -> &'static str {
    const ED25519: &[u8] = b"ssh-ed25519";
    if file.windows(ED25519.len()).any(|window| window == ED25519) {
        "ssh-keygen cannot write an ed25519 key in another format: make a new key with tufctl key generate"
    } else {
        "convert a copy of it: ssh-keygen -p -m PKCS8 -f COPY"
    }
}

impl Block<'_> {
    fn key(&self, der: &[u8]) -> Result<SoftwareKey, ImportError> {
        match self.label {
            "PRIVATE KEY" => Ok(SoftwareKey::from_pkcs8(der)?),
            "EC PRIVATE KEY" => Ok(SoftwareKey::from_sec1(der, None)?),
            "RSA PRIVATE KEY" => Ok(SoftwareKey::from_pkcs1(der)?),
            other => Err(ImportError::UnsupportedKey { why: format!("it is a {other:?}") }),
        }
    }

    fn decode(&self) -> Result<Zeroizing<Vec<u8>>, ImportError> {
        let joined = Zeroizing::new(self.body.concat());
        let decoded = Zeroizing::new(Base64::decode_vec(&joined).map_err(|_| ImportError::Damaged)?);
        if decoded.is_empty() {
            return Err(ImportError::Damaged);
        }
        Ok(decoded)
    }
}

fn split(text: &str) -> Result<Vec<Block<'_>>, ImportError> {
    let mut blocks = Vec::new();
    let mut lines = text.lines().map(str::trim);
    while let Some(line) = lines.next() {
        let Some(label) = line.strip_prefix("-----BEGIN ").and_then(|l| l.strip_suffix("-----")) else {
            continue; // text between blocks, such as bag attributes
        };
        let mut block = Block { label, headers: Vec::new(), body: Vec::new() };
        loop {
            // A file that ends within a block was cut.
            let line = lines.next().ok_or(ImportError::Damaged)?;
            if let Some(end) = line.strip_prefix("-----END ") {
                if end.strip_suffix("-----") != Some(label) {
                    return Err(ImportError::Damaged);
                }
                break;
            }
            match line.split_once(':') {
                Some((name, value)) => block.headers.push((name.trim(), value.trim())),
                None => block.body.push(line),
            }
        }
        blocks.push(block);
    }
    Ok(blocks)
}

fn no_private_key(blocks: &[Block<'_>]) -> ImportError {
    match blocks.first().map(|block| block.label) {
        None => ImportError::not_a_key("it has no PEM block and is no key in JSON", NEED_PEM),
        Some("PUBLIC KEY" | "RSA PUBLIC KEY" | "EC PUBLIC KEY") => ImportError::not_a_key(
            "it is a public key",
            "give the private key; public keys of others are named by their file where a role is given keys",
        ),
        Some(label) => ImportError::not_a_key(&format!("it holds a {label:?}"), NEED_PEM),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn remedy(algorithm: &str) -> String {
        let file = [b"openssh-key-v1\0....", algorithm.as_bytes(), b"...."].concat();
        let body = Base64::encode_string(&file);
        let text =
            format!("-----BEGIN OPENSSH PRIVATE KEY-----\n{body}\n-----END OPENSSH PRIVATE KEY-----\n");
        parse(&text, None).err().unwrap().remedy()
    }

    #[test]
    fn the_remedy_for_a_key_of_openssh_is_one_that_works_for_its_type() {
        assert!(remedy("ecdsa-sha2-nistp256").contains("ssh-keygen -p -m PKCS8"));
        assert!(remedy("ssh-ed25519").contains("tufctl key generate"));
    }
}
