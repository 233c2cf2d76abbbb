//! Names of tokens and keys, for people and file names.

use std::fmt;
use std::str::FromStr;

/// The name of a token in the configuration: `[A-Za-z0-9._-]`, 1 to 64 bytes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TokenName(String);

/// The name of a key, in one name space for the agent: `[A-Za-z0-9._-]`, 1 to 100 bytes, not
/// ending in `.json` or `.pem`, so that it is never mistaken for the path of a public key file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyName(String);

/// A name that breaks the rules for names.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NameError {
    /// The name is empty.
    #[error("the name is empty")]
    Empty,
    /// The name is longer than it may be.
    #[error("the name is longer than {max} bytes")]
    TooLong {
        /// The most bytes that it may have.
        max: usize,
    },
    /// A character that no name has.
    #[error("the name has the character {found:?}; names are made of letters, digits, '.', '_' and '-'")]
    Character {
        /// The first such character.
        found: char,
    },
    /// It begins as an option of a command does.
    #[error("the name begins with '-', as options do: commands that name it would be read otherwise")]
    LooksLikeOption,
    /// A key name that looks like a file.
    #[error("the name ends in {ending:?}, which means a file")]
    LooksLikeFile {
        /// The ending.
        ending: &'static str,
    },
}

impl TokenName {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// One that a person gives now: no option of a command (which one that is there may look like).
    ///
    /// # Errors
    /// For text that is no such name.
    pub fn given(text: &str) -> Result<Self, NameError> {
        no_option(text)?;
        text.parse()
    }
}

impl KeyName {
    /// One that a person gives now: no option of a command (which one that is there may look like).
    ///
    /// # Errors
    /// For text that is no such name.
    pub fn given(text: &str) -> Result<Self, NameError> {
        no_option(text)?;
        text.parse()
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for TokenName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        check(text, TOKEN_NAME_MAX)?;
        Ok(Self(text.to_owned()))
    }
}

impl FromStr for KeyName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        check(text, KEY_NAME_MAX)?;
        match [".json", ".pem"].into_iter().find(|ending| text.ends_with(ending)) {
            Some(ending) => Err(NameError::LooksLikeFile { ending }),
            None => Ok(Self(text.to_owned())),
        }
    }
}

impl fmt::Display for TokenName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for KeyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn no_option(text: &str) -> Result<(), NameError> {
    if text.starts_with('-') { Err(NameError::LooksLikeOption) } else { Ok(()) }
}

fn check(text: &str, max: usize) -> Result<(), NameError> {
    if text.is_empty() {
        return Err(NameError::Empty);
    }
    if text.len() > max {
        return Err(NameError::TooLong { max });
    }
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    match text.chars().find(|c| !legal(*c)) {
        Some(found) => Err(NameError::Character { found }),
        None => Ok(()),
    }
}

const TOKEN_NAME_MAX: usize = 64;
const KEY_NAME_MAX: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_letters_digits_dot_underscore_and_dash() {
        for good in ["root-a", "A_1.2", ".", "-"] {
            assert_eq!(good.parse::<KeyName>().unwrap().as_str(), good);
        }
        assert_eq!("".parse::<KeyName>(), Err(NameError::Empty));
        assert_eq!("a/b".parse::<KeyName>(), Err(NameError::Character { found: '/' }));
        assert_eq!("é".parse::<TokenName>(), Err(NameError::Character { found: 'é' }));
        assert_eq!("x".repeat(101).parse::<KeyName>(), Err(NameError::TooLong { max: 100 }));
    }

    #[test]
    fn nobody_gives_a_name_that_a_command_would_take_for_an_option() {
        for (key, token) in ["-rf", "-", "--yes"].map(|name| (KeyName::given(name), TokenName::given(name))) {
            assert_eq!((key, token), (Err(NameError::LooksLikeOption), Err(NameError::LooksLikeOption)));
        }
        assert_eq!(KeyName::given("r-f").unwrap().as_str(), "r-f");
        assert_eq!(TokenName::given("a/b"), Err(NameError::Character { found: '/' }));
    }

    #[test]
    fn a_key_name_never_looks_like_a_file() {
        assert_eq!("bob.json".parse::<KeyName>(), Err(NameError::LooksLikeFile { ending: ".json" }));
        assert_eq!("bob.pem".parse::<KeyName>(), Err(NameError::LooksLikeFile { ending: ".pem" }));
        assert!("bob.json".parse::<TokenName>().is_ok());
    }
}
