//! `tufctl audit …`: the journal.

use std::io::Write;

use serde_json::{Value, json};
use tufagent_proto::v1;

use crate::args::AuditCommand;
use crate::context::Context;
use crate::error::{Failure, reason};
use crate::render::{Report, Table, short_digest, visible};

/// Runs an `audit` command.
pub(crate) fn run(command: &AuditCommand, context: &Context) -> Result<Report, Failure> {
    match command {
        AuditCommand::List { after, limit } => list(*after, *limit, context),
        AuditCommand::Verify => verify(context),
        AuditCommand::Export => export(context),
    }
}

fn list(after: u64, limit: u64, context: &Context) -> Result<Report, Failure> {
    let entries = context.agent()?.audit(after, limit)?.collect::<Result<Vec<_>, _>>()?;
    let list: Vec<_> = entries.iter().map(json).collect();
    let mut table = Table::new(&["SEQ", "TIME", "KIND", "WHAT"]);
    for entry in &entries {
        table.row([
            entry.seq.to_string(),
            visible(&entry.time).into(),
            visible(&entry.kind).into(),
            what(entry),
        ]);
        table.paint(1, |style, text| style.dim(text)).paint(2, |style, text| style.bold(text));
    }
    Ok(Report::new(json!({"entries": list}), table.render(context.screen.out())))
}

/// Exit 6 when the chain does not hold.
fn verify(context: &Context) -> Result<Report, Failure> {
    let reply = context.agent()?.audit_verify()?;
    if !reply.valid {
        return Err(Failure::new(
            reason::VERIFICATION,
            format!("the journal does not hold: {}", reply.problem),
        )
        .remedy("keep a copy of the state folder, and compare with the last exported journal")
        .detail("entries", reply.entries)
        .detail("head", reply.head));
    }
    let text = format!("the journal holds: {}, head {}\n", entries(reply.entries), reply.head);
    Ok(Report::new(json!({"valid": true, "entries": reply.entries, "head": reply.head}), text))
}

/// The whole journal on stdout: JSON lines, or one array under `--json`.
fn export(context: &Context) -> Result<Report, Failure> {
    let entries = context.agent()?.audit(0, 0)?;
    if context.screen.json() {
        let all = entries.map(|entry| entry.map(|e| json(&e))).collect::<Result<Vec<_>, _>>()?;
        return Ok(Report::new(Value::Array(all), ""));
    }
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    for entry in entries {
        match writeln!(out, "{}", json(&entry?)) {
            Ok(()) => {}
            // The reader has enough.
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => return Ok(Report::written()),
            Err(error) => return Err(unwritten(&error)),
        }
    }
    out.flush().map_err(|error| unwritten(&error))?;
    Ok(Report::written())
}

fn unwritten(error: &std::io::Error) -> Failure {
    Failure::io("write", std::path::Path::new("stdout"), error)
}

/// An entry with its body as an object, and as the text that was hashed.
fn json(entry: &v1::AuditEntry) -> Value {
    let body: Value = serde_json::from_str(&entry.body_json).unwrap_or_default();
    json!({
        "seq": entry.seq,
        "time": entry.time,
        "boot_ms": entry.boot_ms,
        "kind": entry.kind,
        "body": body,
        "body_json": entry.body_json,
        "previous": entry.previous,
        "hash": entry.hash,
    })
}

/// The members of an entry's body that fit on a line, `name=value`; of a refusal its reason and message.
fn what(entry: &v1::AuditEntry) -> String {
    let body: Value = serde_json::from_str(&entry.body_json).unwrap_or_default();
    let Value::Object(members) = body else { return visible(&entry.body_json).into_owned() };
    let mut parts: Vec<_> = members.iter().filter_map(|(name, value)| member(name, value)).collect();
    if let Some(Value::Object(refusal)) = members.get("refusal") {
        parts.extend(["reason", "message"].into_iter().filter_map(|name| member(name, refusal.get(name)?)));
    }
    // Of an attempt with a PIN that the card had accepted before.
    if let Some(again) = members.get("about").and_then(|about| about.get("again")) {
        parts.extend(member("again", again));
    }
    parts.join(" ")
}

fn member(name: &str, value: &Value) -> Option<String> {
    let value = match value {
        Value::String(text) if text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit()) => {
            short_digest(text)
        }
        Value::String(text) if text.contains(' ') => format!("\"{}\"", visible(text)),
        Value::String(text) => visible(text).into_owned(),
        Value::Number(number) => number.to_string(),
        Value::Bool(flag) => flag.to_string(),
        // Who took part in what shares were brought together for.
        Value::Array(names) if name == "custodians" => {
            let names: Vec<_> = names.iter().filter_map(Value::as_str).collect();
            visible(&names.join(",")).into_owned()
        }
        _ => return None,
    };
    Some(format!("{}={value}", visible(name)))
}

fn entries(number: u64) -> String {
    if number == 1 { "1 entry".into() } else { format!("{number} entries") }
}

#[cfg(test)]
mod tests {
    use tufagent_proto::v1::AuditEntry;

    use super::{json, what};

    #[test]
    fn an_entry_keeps_the_text_that_was_hashed() {
        let body = r#"{"b":1,"a":"x\u001b"}"#;
        let entry =
            AuditEntry { seq: 3, kind: "signed".into(), body_json: body.into(), ..Default::default() };
        assert_eq!(json(&entry)["body_json"], body);
        assert_eq!(json(&entry)["body"]["b"], 1);
        assert_eq!(what(&entry), "a=x\\u{1b} b=1");
        let body_json = r#"{"about":{"again":true,"serial":"7"},"card":"serial 7"}"#.into();
        let entry = AuditEntry { kind: "token.attempt".into(), body_json, ..Default::default() };
        assert_eq!(what(&entry), "card=\"serial 7\" again=true");
    }
}
