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
        // A manifest is no secret, and told as what it is.
        let bytes =
            read_share_file(path, |bytes| is_age(bytes) || is_json(bytes)).map_err(
                |failure| match failure.reason() {
                    reason::LIMIT => Failure::new(
                        bad,
                        format!("{}, and no share is so large", failure.message()),
                    )
                    .remedy(
                        "name the file of a share, as it was handed out (NAME.share), or one with its words",
                    )
                    .detail("file", path.display().to_string()),
                    _ => failure,
                },
            )?;
        let name = path.display().to_string();
        if !is_age(bytes.reveal_secret_bytes()) {
            return parse_share(bytes.reveal_secret_bytes(), &name, bad);
        }
        let words = self.open(bytes.reveal_secret_bytes(), path).map_err(|why| {
            // What nobody has opened is neither right nor wrong.
            let closed = matches!(why, AgeError::NoKey | AgeError::NoPassphrase | AgeError::WrongPassphrase);
            let unseen = closed && bad == reason::VERIFICATION;
            Failure::new(if unseen { reason::USAGE } else { bad }, format!("{name} {}", why.sentence()))
                .remedy(remedy(why))
                .detail("file", name.as_str())
        })?;
        parse_share(words.reveal_secret_bytes(), &name, bad)
    }

    fn open(&self, bytes: &[u8], path: &Path) -> Result<SecretBytes, AgeError> {
        let file = AgeFile::parse(bytes)?;
        let opened = file.open(&self.identities, &self.passphrases_for(path));
        if !file.wants_passphrase() || !matches!(opened, Err(AgeError::NoKey)) {
            return opened;
        }
        if !self.passphrases.is_empty() {
            return Err(AgeError::WrongPassphrase);
        }
        let Some(terminal) = Terminal::open() else { return Err(AgeError::NoPassphrase) };
        let mut label = passphrase_of(path);
        for _ in 0..TRIES {
            let passphrase = terminal.secret(&label).map_err(|_| AgeError::NoPassphrase)?;
            match file.open(&[], &[&passphrase]) {
                Err(AgeError::NoKey) => label = format!("wrong; {}, again", passphrase_of(path)),
                opened => return opened,
            }
        }
        Err(AgeError::WrongPassphrase)
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
    if let Some((why, remedy)) = no_words(words) {
        return Err(Failure::new(bad, format!("{from} {why}")).remedy(remedy).detail("file", from));
    }
    Share::parse_copied(words).map_err(|why| {
        Failure::new(bad, format!("{from} holds no share: {why}"))
            .remedy("compare it with the sheet it was copied from, or use another copy")
            .detail("file", from)
    })
}

/// What a file is that cannot be words, by how it begins.
fn no_words(bytes: &[u8]) -> Option<(&'static str, &'static str)> {
    let text = bytes.trim_ascii_start();
    if is_json(text) {
        return Some((
            "is no share, but JSON such as the manifest of a set",
            "name the file of a share (NAME.share, or its words); the manifest goes behind --manifest",
        ));
    }
    if text.starts_with(b"<") {
        return Some((
            "is no share, but a page to print, such as a sheet",
            "type the words that are on it: the same command without this file",
        ));
    }
    let wide = bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff");
    wide.then_some(("is UTF-16 text, which is not read", "save it as UTF-8, or type the words"))
}

fn is_json(bytes: &[u8]) -> bool {
    bytes.trim_ascii_start().starts_with(b"{")
}

/// How often a passphrase is asked for; each try is stretched.
const TRIES: usize = 3;

fn read_identities(path: &Path) -> Result<Vec<Identity>, Failure> {
    let file = Secret::from_key_file(path)?;
    Identity::all_of(file.reveal_secret_bytes()).ok_or_else(|| {
        Failure::new(reason::SECRET_FILE, format!("{} holds no age X25519 identity", path.display()))
            .remedy("name the file that age-keygen wrote, which holds a line AGE-SECRET-KEY-1…")
            .detail("file", path.display().to_string())
    })
}

fn remedy(why: AgeError) -> &'static str {
    match why {
        AgeError::NoPassphrase => "give its passphrase: --passphrase-file FILE",
        AgeError::WrongPassphrase => "give that of this file: --passphrase-file FILE",
        AgeError::NoKey => "give the identity that it was made for: --identity FILE",
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
