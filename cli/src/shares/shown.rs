//! What a share is given for, as its custodian is shown it: at this terminal, at another, on another machine.

use serde::Deserialize;
use tuf::diff::Difference;
use tuf::digest::Sha256Digest;
use tufagent_proto::v1;

use super::about;
use crate::error::{Failure, reason};
use crate::render::{KeyNames, Screen, difference, now, visible};

/// The difference or the terms, what is unusual about them, and the digest in full; under `--quiet` where somebody is
/// `asked` for a share.
///
/// # Errors
/// What the agent tells and cannot be read, or does not fit its digest: nobody gives a share for that.
pub(crate) fn show(collection: &v1::Collection, asked: bool, screen: Screen) -> Result<(), Failure> {
    let say = |text: &str| screen.show_if(asked, text);
    say(&format!("{} asks for shares of {}", visible(&collection.opened_by), visible(&collection.key)));
    for warning in &collection.warnings {
        screen.warn(warning);
    }
    if collection.purpose == SIGN {
        say(&of_repository(collection));
    }
    if collection.purpose == SIGN || !collection.difference_json.is_empty() {
        let said: Difference = serde_json::from_str(&collection.difference_json)
            .map_err(|why| unreadable(&format!("the agent's difference cannot be read: {why}")))?;
        say(&difference(&said, &KeyNames::new(), screen.err(), now()));
    }
    show_terms(collection, asked, screen, true)?;
    say(&about(collection));
    Ok(())
}

/// A repository is its root chain, not its name.
fn of_repository(collection: &v1::Collection) -> String {
    let name = visible(&collection.repository);
    match collection.root_sha256.as_str() {
        "" => format!("{name} has no trusted root yet"),
        digest => {
            format!("{name} is what root v{} leads to · sha256 {}", collection.root_version, visible(digest))
        }
    }
}

/// Of what is no metadata: the terms, and the text whose digest the shares are given for. `warns`: nobody at this screen was
/// told yet what is weak about them.
///
/// # Errors
/// As [`show`].
pub(crate) fn show_terms(
    collection: &v1::Collection,
    asked: bool,
    screen: Screen,
    warns: bool,
) -> Result<(), Failure> {
    let text = &collection.terms_json;
    if text.is_empty() {
        return Ok(());
    }
    if Sha256Digest::of(text.as_bytes()).to_string() != collection.sha256 {
        return Err(unreadable("the digest is not of what the agent says it is for"));
    }
    if collection.purpose == RESPLIT {
        let new: New = serde_json::from_str(text)
            .map_err(|why| unreadable(&format!("the agent's terms cannot be read: {why}")))?;
        for line in new.lines() {
            screen.show_if(asked, visible(&line));
        }
        for warning in new.weaknesses().into_iter().filter(|_| warns).chain(new.seen()) {
            screen.warn(warning);
        }
    }
    screen.show_if(asked, format!("sha256 of: {}", visible(text)));
    Ok(())
}

/// Another set, in place of one.
#[derive(Deserialize)]
struct New {
    replaces: String,
    terms: Terms,
}

#[derive(Deserialize)]
struct Terms {
    group_threshold: usize,
    groups: Vec<Group>,
    need: usize,
    count: usize,
    weaknesses: Vec<String>,
}

#[derive(Deserialize)]
struct Group {
    name: String,
    threshold: usize,
    custodians: Vec<String>,
    how: Vec<String>,
}

impl New {
    fn lines(&self) -> Vec<String> {
        let Terms { group_threshold, groups, need, count, .. } = &self.terms;
        let mut lines = vec![
            format!("a new set of shares: {need} of {count} make the key"),
            format!("in the place of set {}", self.replaces),
        ];
        let grouped = groups.len() > 1;
        if grouped {
            lines.push(format!("{group_threshold} of {} groups", groups.len()));
        }
        for group in groups {
            if grouped {
                lines.push(format!("{}: {} of {}", group.name, group.threshold, group.custodians.len()));
            }
            let each = group.custodians.iter().zip(&group.how);
            lines.extend(each.map(|(name, how)| format!("  {name} gets theirs {}", in_words(how))));
        }
        lines
    }

    fn weaknesses(&self) -> Vec<String> {
        self.terms.weaknesses.iter().map(|name| format!("the new set is weak: {name}")).collect()
    }

    /// Whose shares whoever runs the command can read.
    fn seen(&self) -> Option<String> {
        let all = self.terms.groups.iter().flat_map(|group| group.custodians.iter().zip(&group.how));
        let seen: Vec<&str> =
            all.filter(|(_, how)| !how.starts_with(AGE)).map(|(name, _)| name.as_str()).collect();
        (!seen.is_empty()).then(|| {
            format!(
                "whoever runs this can read the shares of {}: they leave in words, or under a passphrase that was given here",
                seen.join(", ")
            )
        })
    }
}

fn in_words(how: &str) -> String {
    match how {
        "words" => "in words, at the terminal or on a sheet".to_owned(),
        "passphrase" => "under a passphrase".to_owned(),
        recipient => format!("for {recipient}"),
    }
}

fn unreadable(why: &str) -> Failure {
    Failure::new(reason::VERIFICATION, why)
        .remedy("give no share; use a tufctl of the agent's version, and ask whoever opened it")
}

/// Purposes on the wire.
const SIGN: &str = "sign";
const RESPLIT: &str = "resplit";

/// How a recipient begins.
const AGE: &str = "age1";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn new_terms_are_told_with_every_recipient_and_what_is_weak_or_seen_by_the_caller() {
        let text = r#"{"replaces":"ab","terms":{"group_threshold":1,"need":1,"count":3,"weaknesses":["one-is-enough"],
            "groups":[{"name":"shares","threshold":1,"custodians":["dan","eve","fay"],"how":["age1xyz","words","passphrase"]}]}}"#;
        let new: New = serde_json::from_str(text).unwrap();
        let lines = new.lines().join("\n");
        assert!(lines.contains("dan gets theirs for age1xyz") && lines.contains("1 of 3"), "{lines}");
        let warnings = new.weaknesses().into_iter().chain(new.seen()).collect::<Vec<_>>().join("\n");
        assert!(warnings.contains("one-is-enough") && warnings.contains("eve, fay"), "{warnings}");
        let missing = text.replace(r#","how":["age1xyz","words","passphrase"]"#, "");
        assert!(serde_json::from_str::<New>(&missing).is_err());
    }
}
