//! Reads a share from a file: an age file, or the words as they are.

use std::ffi::OsStr;
use std::path::Path;

use custody::{SecretBytes, Share};

use super::age::{AgeError, AgeFile, Identity, is_age};
use crate::args::{NamedFile, OpenerArgs};
use crate::error::{Failure, reason};
use crate::prompt::Terminal;
use crate::render::visible;
use crate::secret::{Secret, read_share_file};

/// What is tried on every age file.
pub(crate) struct Openers {
    identities: Vec<Identity>,
    passphrases: Vec<Named>,
}

/// A passphrase, and whose it is said to be.
struct Named {
    name: Option<String>,
    passphrase: Secret,
}

impl Openers {
    /// Reads the files.
    ///
    /// # Errors
    /// `SECRET_FILE` for what others may read, or what is no identity.
    pub(crate) fn load(args: &OpenerArgs) -> Result<Self, Failure> {
        // Whoever reads shares is not read by others.
        super::harden();
        let mut identities = Vec::new();
        for path in &args.identities {
            identities.append(&mut read_identities(path)?);
        }
        let named = |one: &NamedFile| {
            let passphrase = Secret::from_pin_file(&one.file)?;
            Ok(Named { name: one.name.clone(), passphrase })
        };
        let passphrases = args.passphrases.iter().map(named);
        Ok(Self { identities, passphrases: passphrases.collect::<Result<_, Failure>>()? })
    }

    /// Reads a share; `bad` is the reason of a file that is none. A passphrase that is missing is asked for at a terminal.
    ///
    /// # Errors
    /// `bad` when no key that was given opens it or it is no share; `SECRET_FILE` for bare words that others may read.
    pub(crate) fn read(&self, path: &Path, bad: &'static str) -> Result<Share, Failure> {
        let bytes = read_share_file(path, is_age).map_err(|failure| match failure.reason() {
            reason::LIMIT => Failure::new(bad, format!("{}, and no share is so large", failure.message()))
                .remedy("name the file of a share, as it was handed out (NAME.share), or one with its words")
                .detail("file", path.display().to_string()),
            _ => failure,
        })?;
        let name = path.display().to_string();
        if !is_age(bytes.reveal_secret_bytes()) {
            return parse_share(bytes.reveal_secret_bytes(), &name, bad);
        }
        let words = self.open(bytes.reveal_secret_bytes(), path).map_err(|(why, passphrase)| {
            // What nobody has opened is neither right nor wrong.
            let unseen = why == AgeError::NoKey && bad == reason::VERIFICATION;
            Failure::new(
                if unseen { reason::USAGE } else { bad },
                format!("{name} {}", why.sentence(passphrase)),
            )
            .remedy(remedy(why, passphrase))
            .detail("file", name.as_str())
        })?;
        parse_share(words.reveal_secret_bytes(), &name, bad)
    }

    fn open(&self, bytes: &[u8], path: &Path) -> Result<SecretBytes, (AgeError, bool)> {
        let file = AgeFile::parse(bytes).map_err(|e| (e, false))?;
        let opened = file.open(&self.identities, &self.passphrases_for(path));
        let asks =
            file.wants_passphrase() && self.passphrases.is_empty() && matches!(opened, Err(AgeError::NoKey));
        let opened = match Terminal::open().filter(|_| asks) {
            Some(terminal) => match terminal.secret(&passphrase_of(path)) {
                Ok(passphrase) => file.open(&[], &[&passphrase]),
                Err(_) => opened,
            },
            None => opened,
        };
        opened.map_err(|e| (e, file.wants_passphrase()))
    }

    /// All of them; first that of the custodian after whom the file is named, since each that is tried is stretched.
    fn passphrases_for(&self, path: &Path) -> Vec<&Secret> {
        let stem = path.file_stem().and_then(OsStr::to_str);
        let is_its = |one: &&Named| one.name.is_some() && one.name.as_deref() == stem;
        let (its, others): (Vec<_>, Vec<_>) = self.passphrases.iter().partition(is_its);
        its.into_iter().chain(others).map(|one| &one.passphrase).collect()
    }
}

fn passphrase_of(path: &Path) -> String {
    format!("passphrase of {}", visible(&path.display().to_string()))
}

/// The words of one share; `from` is where they come from.
///
/// # Errors
/// `bad`, saying what is wrong with them and never what they are.
pub(crate) fn parse_share(words: &[u8], from: &str, bad: &'static str) -> Result<Share, Failure> {
    Share::parse(words).map_err(|why| {
        Failure::new(bad, format!("{from} holds no share: {why}"))
            .remedy("compare it with the sheet it was copied from, or use another copy")
            .detail("file", from)
    })
}

fn read_identities(path: &Path) -> Result<Vec<Identity>, Failure> {
    let file = Secret::from_key_file(path)?;
    Identity::all_of(file.reveal_secret_bytes()).ok_or_else(|| {
        Failure::new(reason::SECRET_FILE, format!("{} holds no age X25519 identity", path.display()))
            .remedy("name the file that age-keygen wrote, which holds a line AGE-SECRET-KEY-1…")
            .detail("file", path.display().to_string())
    })
}

fn remedy(why: AgeError, passphrase: bool) -> &'static str {
    match (why, passphrase) {
        (AgeError::NoKey, true) => "give its passphrase: --passphrase-file FILE",
        (AgeError::NoKey, false) => "give the identity that it was made for: --identity FILE",
        _ => "use another copy of it",
    }
}

#[cfg(test)]
mod tests {
    use zeroize::Zeroizing;

    use super::*;

    #[test]
    fn the_passphrase_of_the_custodian_after_whom_a_file_is_named_is_tried_first_and_the_others_after_it() {
        let named = [("ann", "a"), ("ben", "b"), ("", "nobody's"), ("cy", "c")].map(|(name, text)| Named {
            name: Some(name.to_owned()).filter(|name| !name.is_empty()),
            passphrase: Secret::new(Zeroizing::new(text.as_bytes().to_vec())),
        });
        let openers = Openers { identities: Vec::new(), passphrases: named.into() };
        let order = |path: &str| -> Vec<String> {
            let secrets = openers.passphrases_for(Path::new(path));
            let text = |one: &&Secret| String::from_utf8(one.reveal_secret_bytes().to_vec()).unwrap();
            secrets.iter().map(text).collect()
        };
        assert_eq!(order("set/cy.share"), ["c", "a", "b", "nobody's"]);
        assert_eq!(order("ben"), ["b", "a", "nobody's", "c"]);
        assert_eq!(order("set/old-cy.share"), ["a", "b", "nobody's", "c"]);
        assert_eq!(order(".share"), ["a", "b", "nobody's", "c"]);
    }
}
