use super::*;
use proptest::prelude::*;

fn parse(text: &str) -> Result<Document, Error> {
    Document::parse(text.as_bytes(), 1 << 20)
}

fn refused(text: &str) -> (ErrorKind, usize) {
    let error = parse(text).expect_err(text);
    (error.kind, error.position)
}

#[test]
fn a_document_gives_back_names_values_and_their_text() {
    let document =
        parse(" { \"a\" : [1, -2, true, null], \"b\\u0041\": {\"c\":\"x\\n\\ud83d\\ude00\"} } ").unwrap();
    let root = document.root();
    assert_eq!((root.kind(), root.len()), (Kind::Object, 2));
    let items: Vec<_> = root.get("a").unwrap().items().collect();
    assert_eq!(items.iter().map(|i| i.raw_str()).collect::<Vec<_>>(), ["1", "-2", "true", "null"]);
    assert_eq!((items[0].as_u64(), items[1].as_i64(), items[1].as_u64()), (Some(1), Some(-2), None));
    assert_eq!((items[2].as_bool(), items[3].kind()), (Some(true), Kind::Null));
    let inner = root.get("bA").unwrap();
    assert_eq!(inner.get("c").unwrap().as_str().unwrap(), "x\n😀");
    assert_eq!(inner.raw(), br#"{"c":"x\n\ud83d\ude00"}"#);
    assert!(root.get("none").is_none() && items[0].get("x").is_none() && items[0].is_empty());
}

#[test]
fn what_tuf_has_no_canonical_form_for_is_refused_at_its_place() {
    use ErrorKind::*;
    for (text, kind, position) in [
        ("1.0", Float, 0),
        ("[1e3]", Exponent, 1),
        ("[1E3]", Exponent, 1),
        ("{\"a\":-0}", NegativeZero, 5),
        ("01", LeadingZero, 0),
        ("{\"a\":1,\"a\":2}", Duplicate { name: "a".into() }, 7),
        ("{\"b\":1,\"a\":2,\"\\u0062\":2}", Duplicate { name: "b".into() }, 13),
        ("\"\\ud800\"", LoneSurrogate { code: 0xd800 }, 1),
        ("\"\\ud800\\u0041\"", LoneSurrogate { code: 0xd800 }, 1),
        ("\"\\udc00\"", LoneSurrogate { code: 0xdc00 }, 1),
        ("\"\\x\"", BadEscape, 1),
        ("\"\\u12g4\"", BadEscape, 1),
        ("\"\\u+123\"", BadEscape, 1),
        ("\"a\u{1}\"", ControlCharacter { code: 1 }, 2),
        ("1 2", TrailingBytes, 2),
        ("", UnexpectedEnd, 0),
        ("{\"a\"", UnexpectedEnd, 4),
        ("\"abc", UnexpectedEnd, 4),
        ("\"abc\\", UnexpectedEnd, 5),
        ("[1,]", Unexpected { found: ']', expected: "a value" }, 3),
        ("{\"a\":1,}", Unexpected { found: '}', expected: "a member name in quotes" }, 7),
        ("{a:1}", Unexpected { found: 'a', expected: "a member name in quotes" }, 1),
        ("tru", Unexpected { found: 't', expected: "a value" }, 0),
        ("-", UnexpectedEnd, 1),
        ("NaN", Unexpected { found: 'N', expected: "a value" }, 0),
        ("\u{feff}{}", Unexpected { found: '\u{feff}', expected: "a value" }, 0),
        ("[1}", Unexpected { found: '}', expected: "',' or ']'" }, 2),
    ] {
        assert_eq!(refused(text), (kind, position), "{text}");
    }
    assert!(parse("[9007199254740991,-9007199254740991,0]").is_ok());
}

#[test]
fn integers_beyond_what_all_clients_read_are_kept_digit_for_digit_and_are_no_numbers_here() {
    let text = "{\"a\":9007199254740992,\"b\":[-9007199254740992,99999999999999999999999999999999],\"c\":9007199254740991,\"d\":\"9007199254740993\"}";
    let document = parse(text).unwrap();
    let all: Vec<&str> = document.large_integers(document.root()).collect();
    assert_eq!(all, ["9007199254740992", "-9007199254740992", "99999999999999999999999999999999"]);
    let b = document.root().get("b").unwrap();
    assert_eq!(document.large_integers(b).count(), 2);
    let a = document.root().get("a").unwrap();
    assert_eq!((a.kind(), a.as_u64(), a.as_i64()), (Kind::Integer, None, None));
    assert_eq!(document.root().get("c").and_then(Value::as_u64), Some(crate::MAX_INTEGER));
    assert_eq!(crate::canonical::canonical(document.root()), text.as_bytes());
    assert_eq!(parse("[1,2]").unwrap().large_integers(parse("[1]").unwrap().root()).count(), 0);
}

#[test]
fn an_error_says_line_and_column_in_characters() {
    let error = parse("{\n  \"ä\": 1,\n  \"äö\": 1.5}").unwrap_err();
    assert_eq!((error.line, error.column), (3, 9));
    let error = parse("{\"version\":1,\n\"version\":2}").unwrap_err();
    assert_eq!(error.to_string(), "duplicate member \"version\" at line 2, column 1");
}

#[test]
fn bytes_that_are_not_utf8_are_refused_at_the_first_of_them() {
    for (bytes, position) in
        [(&b"\"a\xff\""[..], 2), (b"\"\xc0\xaf\"", 1), (b"\"\xed\xa0\x80\"", 1), (b"\xef\xbb", 0)]
    {
        let error = Document::parse(bytes, 100).unwrap_err();
        assert_eq!((error.kind, error.position), (ErrorKind::NotUtf8, position));
    }
}

#[test]
fn nesting_beyond_64_levels_and_text_beyond_the_limit_are_refused() {
    let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
    assert!(parse(&nested(64)).is_ok());
    assert_eq!(refused(&nested(65)), (ErrorKind::TooDeep { limit: 64 }, 64));
    let endless = "[".repeat(1 << 20);
    assert_eq!(refused(&endless).0, ErrorKind::TooDeep { limit: 64 });
    let objects = "{\"a\":".repeat(100_000);
    assert_eq!(refused(&objects).0, ErrorKind::TooDeep { limit: 64 });
    assert!(Document::parse(&b"[1]"[..], 3).is_ok());
    let error = Document::parse(&b"[12]"[..], 3).unwrap_err();
    assert_eq!((error.kind, error.position), (ErrorKind::TooLong { limit: 3 }, 3));
}

#[test]
fn a_text_of_countless_tiny_values_does_not_make_memory_grow_out_of_proportion() {
    let text = format!("[{}0]", "0,".repeat(400_000));
    assert!(matches!(refused(&text).0, ErrorKind::TooManyValues { .. }));
}

#[test]
fn a_hundred_thousand_members_in_any_order_are_checked_for_duplicates() {
    let member =
        |n: u32| format!("\"{}\":0,\"pad-{n}\":\"some text to fill a line\"", n.wrapping_mul(2_654_435_761));
    let mut members: Vec<String> = (0..100_000).map(member).collect();
    let text = format!("{{{}}}", members.join(","));
    let document = Document::parse(text.as_bytes(), usize::MAX).unwrap();
    assert_eq!(document.root().len(), 200_000);
    members.push(member(77_777));
    let text = format!("{{{}}}", members.join(","));
    let error = Document::parse(text.as_bytes(), usize::MAX).unwrap_err();
    assert!(matches!(error.kind, ErrorKind::Duplicate { .. }));
    assert!(error.position > text.len() - 100, "the second of the two is named");
}

#[test]
fn a_written_string_reads_back_as_it_was() {
    let text = "q\"\\/\u{0}\u{1f}\u{7f}\n\r\t é€😀\u{2028}";
    let mut out = Vec::new();
    write_string(&mut out, text);
    assert_eq!(Document::parse(&*out, 200).unwrap().root().as_str().unwrap(), text);
    assert_eq!(serde_json::from_slice::<String>(&out).unwrap(), text);
}

proptest! {
    #[test]
    fn no_bytes_make_the_parser_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = Document::parse(bytes, 1 << 10);
    }

    #[test]
    fn no_json_like_text_makes_the_parser_panic(text in "[\\[\\]{}\",:\\\\ue0-9a-f.\n -]{0,200}") {
        if let Ok(document) = parse(&text) {
            prop_assert!(serde_json::from_str::<serde_json::Value>(&text).is_ok());
            walk(document.root());
        }
    }

    #[test]
    fn a_string_is_read_as_serde_json_reads_it(text in ".{0,60}") {
        let json = serde_json::to_string(&text).unwrap();
        let document = parse(&json).unwrap();
        let read = document.root().as_str().unwrap().into_owned();
        prop_assert_eq!(read, text);
    }
}

fn walk(value: Value<'_>) {
    let _ = (value.as_str(), value.as_u64(), value.raw(), value.line_and_column());
    value.items().for_each(walk);
    for (name, value) in value.members() {
        walk(name);
        walk(value);
    }
}
