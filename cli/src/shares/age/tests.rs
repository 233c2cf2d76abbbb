use base64ct::{Base64, Encoding as _};
use zeroize::Zeroizing;

use super::{AgeError, AgeFile, Identity, is_age};
use crate::secret::Secret;

fn identity(text: &str) -> Vec<Identity> {
    Identity::all_of(text.as_bytes()).unwrap()
}

fn opened(file: &[u8], identities: &[Identity], passphrase: Option<&str>) -> Result<String, AgeError> {
    let passphrase = passphrase.map(|text| Secret::new(Zeroizing::new(text.as_bytes().to_vec())));
    let opened = AgeFile::parse(file)?.open(identities, &Vec::from_iter(&passphrase))?;
    Ok(String::from_utf8(opened.reveal_secret_bytes().to_vec()).unwrap())
}

fn file(base64: &str) -> Vec<u8> {
    Base64::decode_vec(base64).unwrap()
}

#[test]
fn files_of_rage_open_for_whom_they_were_made_and_for_nobody_else() {
    let (ann, ben) = (identity(ANN), identity(BEN));
    assert_eq!(opened(&file(FOR_ANN), &ann, None).unwrap(), WORDS);
    assert_eq!(opened(&file(FOR_BOTH), &ann, None).unwrap(), WORDS);
    assert_eq!(opened(&file(FOR_BOTH), &ben, None).unwrap(), WORDS);
    assert_eq!(opened(ARMORED.as_bytes(), &ann, None).unwrap(), WORDS);
    assert_eq!(opened(&file(FOR_ANN), &ben, None), Err(AgeError::NoKey));
    assert_eq!(opened(&file(FOR_ANN), &[], Some("open sesame")), Err(AgeError::NoKey));
}

#[test]
fn a_passphrase_opens_what_was_sealed_under_it() {
    let sealed = file(UNDER_A_PASSPHRASE);
    assert!(AgeFile::parse(&sealed).unwrap().wants_passphrase());
    assert_eq!(opened(&sealed, &[], Some("open sesame")).unwrap(), "a short share");
    assert_eq!(opened(&sealed, &identity(ANN), Some("open caesar")), Err(AgeError::NoKey));
    let at = sealed.windows(3).position(|window| window == b" 4\n").unwrap();
    let mut hostile = sealed.clone();
    hostile.splice(at..at + 3, *b" 40\n");
    assert_eq!(opened(&hostile, &[], Some("open sesame")), Err(AgeError::Work));
}

#[test]
fn a_byte_that_is_changed_anywhere_opens_nothing() {
    let (ann, sealed) = (identity(ANN), file(FOR_ANN));
    for at in 0..sealed.len() {
        let mut changed = sealed.clone();
        changed[at] ^= 1;
        assert!(opened(&changed, &ann, None).is_err(), "byte {at}");
        assert!(opened(&sealed[..at], &ann, None).is_err(), "cut off at {at}");
    }
    let longer = [&sealed[..], b"x"].concat();
    assert_eq!(opened(&longer, &ann, None), Err(AgeError::Payload));
}

#[test]
fn a_file_of_identities_may_hold_several_and_comments() {
    let text = format!("# created: today\n# public key: age1…\n{ANN}\n\n{BEN}\n");
    assert_eq!(identity(&text).len(), 2);
    assert_eq!(identity(&ANN.to_ascii_lowercase()).len(), 1);
    let mixed = ANN.replacen("AGE", "age", 1);
    for bad in ["", "# nothing\n", "hello", &ANN[..60], &ANN.replacen('X', "Y", 1), &mixed] {
        assert!(Identity::all_of(bad.as_bytes()).is_none(), "{bad}");
    }
}

#[test]
fn other_files_are_no_age_files() {
    assert!(!is_age(b"duckling enlarge academic") && is_age(b"age-encryption.org/v1\n-> "));
    assert_eq!(opened(b"age-encryption.org/v2\n", &[], None), Err(AgeError::Header));
}

proptest::proptest! {
    #[test]
    fn arbitrary_bytes_are_an_error_and_never_a_panic(bytes: Vec<u8>, text in "[-> a-zA-Z0-9+/ \n]{0,200}") {
        let _ = AgeFile::parse(&[b"age-encryption.org/v1\n", &bytes[..]].concat());
        let _ = AgeFile::parse(format!("age-encryption.org/v1\n-> {text}").as_bytes());
        let _ = AgeFile::parse(format!("-----BEGIN AGE ENCRYPTED FILE-----\n{text}").as_bytes());
        let _ = Identity::all_of(text.as_bytes());
    }
}

const WORDS: &str = "duckling enlarge academic academic agency result length solution fridge kidney coal piece deal \
                     husband erode duke ajar critical decision keyboard";
const ANN: &str = "AGE-SECRET-KEY-1GYTDHPWRW4F07G4V8AX7S83STWJK4Y89EYJDKT3P0TS5L3LGTD6QWXHEJ0";
const BEN: &str = "AGE-SECRET-KEY-1RDVQGJAV6KQZRPL2DTE0RXVP0LNR7ATGSQ63624XJTXMRSG6Y0PSKA2HMC";
const FOR_ANN: &str = "YWdlLWVuY3J5cHRpb24ub3JnL3YxCi0+IFgyNTUxOSBXUytWWGcwUnB1VXh0Zitpa3dMUDJxYW1IeHpCOHh1cVVoU3dPV1NpZ0dZCjI1Q0hEQzd6MDRvejhzemVwQlZlTHk2Ui9ndUV3SlY1a1VNdnJnb3NzUTgKLT4gKiU3LWdyZWFzZSB7cDhmICRjIDN3RHhuCmVZMU5pWkhRK2owSmRZYzVGK3BFdFhrZ0twRGNKT0FqOHJFR3ZvNUZSUWc2Qmk2a1d3a21oOUxLR3NwU21tQmwKOUpHTjZlTnpjTG56Qko1ODNwSQotLS0geWthaFlsMlFJcmxKTDUvTUl1L0pwMmI1Wk4zZmptekhWdDhCWXNQaDlDbwomXBrMf2Jt2oIsFgEL7Ladyn4m16nbRczGIuWSQuX3gWe+RBT75rxtASEGiZIA4JqqnqKibPhKXQGNCKfOA2FSyQSIsKU+YmS7Pm9DRgFR1eXE0b1G0mvty3pFZqkfcyq34rLl79iRyeAZ+oIXgFlYkVB1UFUjgqqnJ5Y7lrExYXpS94pyAVR6kc/FUtcgjeR6ktIumMAfuwpJx2irZMRBYFIkfY3epM27N4FEtVA2KnQ=";
const FOR_BOTH: &str = "YWdlLWVuY3J5cHRpb24ub3JnL3YxCi0+IFgyNTUxOSBBV2VQWFFDLzBZaUttRjJDYldyR0lzSzRZOFdQaks2VEQyd0thOVVtb2hJCnpYb0NYM05rakVuQ2dYRDg0cFZJUEh1TlFzdkVURFRhcFgyalNtcmRnTUkKLT4gWDI1NTE5IEE4OUsvcmduTit5WWJBQ0VZVjFkMktYU3Q3Sy9VU014Q1F0NHlDMVc3Z0EKTHkvNm1CTGhvQXdnVWZieG4zTCtkYW9DL0dvZERlVWpaeW0vY0FRUzNRUQotPiBkbVx3S04iXy1ncmVhc2UKRnVUQnNOaGxHVGdDTGN0a2JJSnhjYzZzeDR4dHRJbUliYXBQc2F4T21RCi0tLSB0Y29IM1plaEdYV3JEbTBtNUVWTzlUb2VkaXRub21sOFQ1Q0ZZQVA3Zit3CoUydSrgI+/sE3FFxA8RPHCGCtGwxZywDiIBAtmk3k+3PUsd6PO0fbVky+zsTJPvKJGRGA5b9Qtop7XJR/EGpj5gMO72CCvsBcVvto4lfuxg3OsDH05I2q0S6AnVJLr1RdZjHNvndLBiVi0jcSJj2x/j8pPMXhyqEI6dVLbs0qEZCYhs7HnEJby3r6dkQqszbWQpvEyBIYerRVVrYlCEZx4KDeSovxq18aiJYhxyZh0T7g==";
const UNDER_A_PASSPHRASE: &str = "YWdlLWVuY3J5cHRpb24ub3JnL3YxCi0+IHNjcnlwdCBGbGM3RTNqNko3MHc3Q0tzcXZJYW1BIDQKbGdnMFNDSTlXL2J5TlZrbVZXanM0OFV1UXZ4NFA0aHdtNGZaQjBUVElLVQotLS0gdTdxNjc3QnV2Rm5UTGpRV25ldFB1cDFoMW9GT3BYVGpCMlEvQWJmeEtaawq4XkcvojlRlDaMTxv9DacgjDV/dMiQ+JijGF4VTdkisyz9vA+j+9tzuHVL8Xc=";
const ARMORED: &str = "\
-----BEGIN AGE ENCRYPTED FILE-----
YWdlLWVuY3J5cHRpb24ub3JnL3YxCi0+IFgyNTUxOSBzak1QN2RFMEJjVjhBOWJT
M2g3NmVITjNMKzNlSlc5SXhwU216Q3d5RVJJCkpnWU1JQlpXTFhWVnpWSnlpM3RF
Rkk5LytoVzZGOU1iNlBBU1c1eWVPdjgKLT4gKy1ncmVhc2UgPzAgWGcgcW4gZjpv
SUteNgptTWlKMGtVOTJSOStyZDJJUmFKSmEzYkluQ1hoS3FuOWtWcWlOZ2k4SjJW
NkFINE9QaXZwLzBsZWJzNE5ybG1hCgotLS0gM2I5Rk5CeXNpRWRJQmw0Vk9WNnl4
eW03ZEpFRFdtWEtxaTYrNGppQkc5QQoB1HLsPnB+SNrv/6HgPvTcJcCkI9xQxUTC
YYdFfphA/vygS5Qh9q2uJ4WICPUUGWoncE/FwriRYWyciZWbgD4c6aUvG9S0f6mt
p+3MGzkmYfDG9/Mmfl9iZgrUIZKdo12a1/vm5UpgC08/NOet7RIetEect339mC8q
ASWzIEPTI/xzmaltbpZDckfId8Gaz05hBiuDDQGcZSSMFJEOqx3lcd2eUZmBBoxe
PvikRM23OtI=
-----END AGE ENCRYPTED FILE-----
";
