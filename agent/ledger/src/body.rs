//! Bodies of journal entries: JSON objects in ASCII, their strings bounded.
//!
//! Text that a caller chose is data: long strings are cut, and everything but printable ASCII is written as an
//! escape, so that no line break, terminal sequence or bidirectional mark stands raw in the journal.

use std::fmt::Write as _;

use serde_json::{Map, Value};

/// The longest string that is kept whole, in characters.
pub(crate) const LONGEST: usize = 512;
/// The longest list and the most members that are kept.
pub(crate) const MOST: usize = 64;
/// How deep values may nest.
const DEEPEST: usize = 8;

/// The text of a body, as it is hashed.
pub(crate) fn text(members: Map<String, Value>) -> String {
    let mut out = String::new();
    write(&mut out, &Value::Object(members), 0);
    out
}

fn write(out: &mut String, value: &Value, depth: usize) {
    match value {
        Value::String(text) => write_string(out, text),
        _ if depth > DEEPEST => out.push_str("null"),
        Value::Array(items) => {
            let left = items.len().saturating_sub(MOST);
            write_list(out, ('[', ']'), items.iter().take(MOST), |out, item| write(out, item, depth + 1));
            if left > 0 {
                out.truncate(out.len() - 1);
                let _ = write!(out, ",\"and {left} more\"]");
            }
        }
        Value::Object(members) => {
            write_list(out, ('{', '}'), members.iter().take(MOST), |out, (name, member)| {
                write_string(out, name);
                out.push(':');
                write(out, member, depth + 1);
            });
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {
            let _ = write!(out, "{value}");
        }
    }
}

fn write_list<T>(
    out: &mut String,
    (open, close): (char, char),
    items: impl Iterator<Item = T>,
    mut each: impl FnMut(&mut String, T),
) {
    out.push(open);
    for (at, item) in items.enumerate() {
        if at > 0 {
            out.push(',');
        }
        each(out, item);
    }
    out.push(close);
}

fn write_string(out: &mut String, text: &str) {
    out.push('"');
    for (at, character) in text.chars().enumerate() {
        if at == LONGEST {
            out.push_str("\\u2026");
            break;
        }
        match character {
            '"' | '\\' => {
                out.push('\\');
                out.push(character);
            }
            ' '..='~' => out.push(character),
            _ => {
                for unit in character.encode_utf16(&mut [0; 2]) {
                    let _ = write!(out, "\\u{unit:04x}");
                }
            }
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn body(value: Value) -> String {
        let Value::Object(members) = value else { panic!("an object") };
        text(members)
    }

    #[test]
    fn a_body_reads_back_as_the_same_value_and_is_printable_ascii() {
        let hostile = "a\"b\\c\n\r\t\u{1b}[2J\u{202e}\u{7f}\u{9b}é\u{1f600}";
        let value = json!({"role": hostile, hostile: [1, -2, true, null, {"x": []}]});
        let text = body(value.clone());
        assert!(text.bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{text}");
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), value);
    }

    #[test]
    fn long_strings_and_lists_are_cut_and_say_so() {
        let text = body(json!({"s": "x".repeat(100_000), "l": vec![7; 1000]}));
        let value: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value["s"].as_str().unwrap().chars().count(), LONGEST + 1);
        assert_eq!(value["l"].as_array().unwrap().len(), MOST + 1);
        assert_eq!(value["l"][MOST], "and 936 more");
    }

    #[test]
    fn deep_nesting_ends_in_null() {
        let deep = (0..100).fold(json!(1), |inner, _| json!([inner]));
        let text = body(json!({"d": deep}));
        assert!(serde_json::from_str::<Value>(&text).is_ok() && text.len() < 64);
    }
}
