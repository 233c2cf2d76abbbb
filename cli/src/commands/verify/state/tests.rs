use std::fs;

use tuf::digest::Sha256Digest;
use tuf::role::{RoleKind, RoleName, Version};

use super::{FORMAT, FORMAT_1, KNOWN, Known, MARK, Mark, State};

fn known() -> Known {
    let roles = ["targets", "a b", "größe\n", "x-01"].map(|name| RoleName::parse(name).unwrap());
    let number = |at: usize| Version::new(u64::try_from(at).unwrap() + 1).unwrap();
    Known(
        roles
            .into_iter()
            .enumerate()
            .map(|(at, role)| (role, (number(at), Sha256Digest::of(&[1]))))
            .collect(),
    )
}

#[test]
fn the_list_of_roles_reads_back_and_nothing_else_is_one() {
    let text = known().text();
    assert_eq!(Known::parse(text.as_bytes()), Some(known()));
    assert_eq!(Known::parse(b""), Some(Known::default()));
    for damaged in [
        text.replacen('4', "04", 1),
        text.trim_end().to_owned(),
        text.replacen(' ', "", 1),
        format!("{text}{text}"),
        format!("{text}\n"),
        text.replace("x-01", "x-\u{1}"),
        "1 00 a\n".to_owned(),
    ] {
        assert_eq!(Known::parse(damaged.as_bytes()), None, "{damaged}");
    }
}

#[test]
fn every_cut_and_every_flipped_bit_of_a_state_is_refused_or_leaves_it_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let list = known().text();
    let mark = format!("{FORMAT}\n{KNOWN} {}\nwhole\n", Sha256Digest::of(list.as_bytes()));
    let state = State { folder: folder.path().to_owned(), _lock: None };
    let read = |mark: &[u8], list: Option<&[u8]>| {
        fs::write(folder.path().join(MARK), mark).unwrap();
        match list {
            Some(list) => fs::write(folder.path().join(KNOWN), list).unwrap(),
            None => drop(fs::remove_file(folder.path().join(KNOWN))),
        }
        state.known()
    };
    assert_eq!(read(mark.as_bytes(), Some(list.as_bytes())).unwrap(), known());
    for at in 0..list.len() {
        let mut bytes = list.clone().into_bytes();
        bytes[at] ^= 1;
        assert_eq!(read(mark.as_bytes(), Some(&bytes)).unwrap_err().reason(), "STATE_CORRUPT");
        assert_eq!(read(mark.as_bytes(), Some(&bytes[..at])).unwrap_err().reason(), "STATE_CORRUPT");
    }
    assert_eq!(read(mark.as_bytes(), None).unwrap_err().reason(), "STATE_CORRUPT", "it is gone");
    for at in 0..mark.len() {
        let cut = &mark.as_bytes()[..at];
        let mut flipped = mark.clone().into_bytes();
        flipped[at] ^= 1;
        for damaged in [cut, &flipped] {
            match read(damaged, Some(list.as_bytes())) {
                Ok(found) => assert_eq!(found, known(), "{}", String::from_utf8_lossy(damaged)),
                Err(failure) => assert_eq!(failure.reason(), "STATE_CORRUPT"),
            }
        }
    }
    // What an older version wrote knows of no targets roles.
    let old = format!("{FORMAT_1}\nroot.json 00\nwhole\n");
    assert_eq!(read(old.as_bytes(), None).unwrap(), Known::default());
    assert_eq!(state.read(RoleKind::Root).unwrap_err().reason(), "STATE_CORRUPT");
}

proptest::proptest! {
    #[test]
    fn arbitrary_marks_and_lists_are_never_a_panic(bytes: Vec<u8>, text: String) {
        let _ = (Known::parse(&bytes), Known::parse(text.as_bytes()), Mark::parse(&text));
        let _ = Mark::parse(&format!("{FORMAT}\n{text}"));
    }
}
