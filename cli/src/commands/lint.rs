//! `tufctl lint`: what a stock client would stumble over in what is published, also where that is damaged.

mod places;
mod read;
mod show;
mod superseded;

use serde_json::{Value, json};
use tuf::lint::{Finding, Repository, Severity, lint};
use tuf::time::UtcTime;
use tuf::trust::Options;

use super::verify::{Check, check_folder};
use crate::args::LintArgs;
use crate::context::Context;
use crate::error::{Failure, reason};
use crate::render::{self, Report};

/// Runs `tufctl lint`.
pub(crate) fn run(args: &LintArgs, context: &Context) -> Result<Report, Failure> {
    let now = match &args.at {
        Some(text) => text.parse().map_err(|e| {
            Failure::new(reason::USAGE, format!("--at: {e}")).remedy("write it as 2026-11-20T10:00:00Z")
        })?,
        None => UtcTime::from_unix(render::now()),
    };
    check_folder(&args.dir)?;
    let check = Check { dir: &args.dir, options: Options::new(Some(now)), context };
    let (repository, findings) = judge(&check, args, now)?;
    let files = repository.roots.len()
        + repository.targets.len()
        + usize::from(repository.timestamp.is_some())
        + usize::from(repository.snapshot.is_some());
    let text = show::text(&findings, files, context.screen.out());
    let errors = findings.iter().any(|finding| finding.severity == Severity::Error);
    let report = Report::new(document(&findings, files), text);
    Ok(if errors { report.exit(ERRORS_FOUND) } else { report })
}

/// Reads what can be read and judges it, the worst first.
fn judge(check: &Check<'_>, args: &LintArgs, now: UtcTime) -> Result<(Repository, Vec<Finding>), Failure> {
    let mut findings = Vec::new();
    let repository = read::repository(check.dir, &mut findings)?;
    places::look(check, args.metadata_only, &repository, &mut findings);
    findings.extend(lint(&repository, now));
    superseded::look(check.dir, &repository, &mut findings);
    superseded::plain_root(check.dir, &repository, &mut findings);
    findings.retain_mut(|finding| concerns(finding, &args.clients));
    findings.sort_by_key(|finding| finding.severity);
    Ok((repository, findings))
}

/// Whether a finding is about one of the clients that are asked about; about no client is about all.
fn concerns(finding: &mut Finding, clients: &[String]) -> bool {
    if clients.is_empty() || finding.clients.is_empty() {
        return true;
    }
    finding.clients.retain(|client| clients.iter().any(|name| name == client.name()));
    !finding.clients.is_empty()
}

fn document(findings: &[Finding], files: usize) -> Value {
    let count = |severity| findings.iter().filter(|finding| finding.severity == severity).count();
    let one = |finding: &Finding| {
        let clients: Vec<_> = finding.clients.iter().map(|client| client.name()).collect();
        json!({
            "severity": finding.severity.name(), "rule": finding.rule, "role": finding.role.as_str(),
            "file": finding.file, "clients": clients, "message": finding.message, "remedy": finding.remedy,
        })
    };
    json!({
        "findings": findings.iter().map(one).collect::<Vec<_>>(),
        "errors": count(Severity::Error), "warnings": count(Severity::Warning), "notes": count(Severity::Note),
        "files": files,
    })
}

/// As `verify` ends for what a client refuses.
const ERRORS_FOUND: u8 = 6;
