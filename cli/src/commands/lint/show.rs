//! Findings for people: by severity, then by file, each with who stumbles and what to do.

use tuf::lint::{Client, Finding, Severity};

use crate::render::{Style, count, visible};

/// The whole text. Many findings of one rule in many files are cut short: `--json` has them all.
pub(super) fn text(findings: &[Finding], files: usize, style: Style) -> String {
    let mut text = String::new();
    for severity in [Severity::Error, Severity::Warning, Severity::Note] {
        let of: Vec<_> = findings.iter().filter(|finding| finding.severity == severity).collect();
        for finding in of.iter().take(MOST_SHOWN) {
            text.push_str(&one(finding, style));
        }
        if of.len() > MOST_SHOWN {
            let more = u64::try_from(of.len().saturating_sub(MOST_SHOWN)).unwrap_or(0);
            text.push_str(&format!("and {} more: --json tells them all\n\n", count(more, severity.name())));
        }
    }
    let number = |severity| {
        let of = findings.iter().filter(|finding| finding.severity == severity).count();
        count(u64::try_from(of).unwrap_or(0), severity.name())
    };
    let looked = count(u64::try_from(files).unwrap_or(0), "file");
    if findings.is_empty() {
        text.push_str(&format!("nothing found · {looked}\n"));
    } else {
        text.push_str(&format!(
            "{} · {} · {} · {looked}\n",
            number(Severity::Error),
            number(Severity::Warning),
            number(Severity::Note)
        ));
    }
    text
}

fn one(finding: &Finding, style: Style) -> String {
    let word = match finding.severity {
        Severity::Error => style.red("error"),
        Severity::Warning => style.yellow("warning"),
        Severity::Note => style.dim("note"),
    };
    let names: Vec<_> = finding.clients.iter().map(|client| client.name()).collect();
    let clients = match names.len() {
        0 => "no client, but tufctl verify".to_owned(),
        all if all == Client::ALL.len() => "all clients".to_owned(),
        _ => names.join(", "),
    };
    let role = style.bold(visible(finding.role.as_str()));
    let mut text = format!("{word} {role} · {} · {clients} · {}\n", visible(&finding.file), finding.rule);
    text.push_str(&format!("  {}\n", visible(&finding.message)));
    if !finding.remedy.is_empty() {
        text.push_str(&format!("  {} {}\n", style.dim("help:"), finding.remedy));
    }
    text.push('\n');
    text
}

const MOST_SHOWN: usize = 50;
