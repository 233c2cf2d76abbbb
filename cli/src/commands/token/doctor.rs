//! `tufctl token doctor`: verdicts first, then what is odd, what that means, and what the agent does about it.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use tufagent_proto::v1;

use crate::args::DoctorArgs;
use crate::context::Context;
use crate::error::Failure;
use crate::render::{Report, Steps, Style, Table, count, visible};
use crate::secret::Secret;

pub(super) fn doctor(args: &DoctorArgs, context: &Context) -> Result<Report, Failure> {
    let agent = context.agent()?;
    // Before a PIN is read: a name that nobody knows is told with those that there are.
    agent.token(&args.name)?;
    let secret = args.pin_file.as_deref().map(Secret::from_pin_file).transpose()?;
    let mut steps = Steps::new(context.screen);
    let report =
        agent.doctor(&args.name, secret.as_ref(), &mut |step| steps.at(step.number, step.of, &step.what))?;
    drop(steps);
    let told = Report::new(document(&report), text(&report, context.screen.out()));
    Ok(told.hint(if report.saved {
        format!("kept under the module's digest: the agent signs by it from now on ({})", report.name)
    } else {
        format!(
            "not kept: nothing was measured with a login (tufctl token doctor {} --pin-file FILE)",
            report.name
        )
    }))
}

fn document(report: &v1::DoctorReport) -> Value {
    let uses: Map<String, Value> = report
        .uses
        .iter()
        .map(|it| (it.r#use.clone(), json!({"verdict": it.verdict, "why": it.why})))
        .collect();
    let quirk = |quirk: &v1::DoctorQuirk| json!({"id": quirk.id, "seen": quirk.seen, "means": quirk.means, "agent": quirk.agent});
    let missing = |it: &v1::DoctorMissing| json!({"probe": it.probe, "why": it.why});
    let facts: Value = serde_json::from_str(&report.facts_json).unwrap_or_default();
    json!({
        "name": report.name,
        "module": report.module,
        "sha256": report.sha256,
        "covers": COVERS,
        "library": report.library,
        "confined": report.confined,
        "unconfined": report.unconfined,
        "serial": report.serial,
        "label": report.label,
        "uses": uses,
        "quirks": report.quirks.iter().map(quirk).collect::<Vec<_>>(),
        "not_measured": report.not_measured.iter().map(missing).collect::<Vec<_>>(),
        "not_probed": NOT_PROBED,
        "saved": report.saved,
        "facts": facts,
    })
}

fn text(report: &v1::DoctorReport, style: Style) -> String {
    let mut out = format!("{} · {}\n", style.bold(visible(&report.name)), visible(&report.library));
    let mut line = |name: &str, value: &str| {
        out.push_str(&format!("  {} {value}\n", style.dim(format!("{name:<7}"))));
    };
    if let Some(label) = &report.label {
        let serial = report.serial.as_deref().map(|it| format!(", serial {}", visible(it)));
        line("token", &format!("{}{}", visible(label), serial.unwrap_or_default()));
    }
    line("module", &visible(&report.module));
    line("sha256", &visible(&report.sha256));
    line("", &style.dim(COVERS));
    line("kept to", &kept_to(report));
    out.push('\n');
    out.push_str(&verdicts(report, style));
    out.push_str(&quirks(report, style));
    out.push_str(&missing(report, style));
    out
}

/// What the module can touch beside its token.
fn kept_to(report: &v1::DoctorReport) -> String {
    let gap = report.unconfined.as_deref().map(visible);
    match (report.confined, gap) {
        (true, None) => "what its entry names (confined)".to_owned(),
        (true, Some(gap)) => format!("what its entry names (confined), but {gap}"),
        (false, None) => "nothing: not confined".to_owned(),
        (false, Some(gap)) => format!("nothing: not confined, {gap}"),
    }
}

fn verdicts(report: &v1::DoctorReport, style: Style) -> String {
    let mut table = Table::new(&["USE", "VERDICT", "WHY"]);
    for it in &report.uses {
        table.row([visible(&it.r#use).as_ref(), visible(&it.verdict).as_ref(), visible(&it.why).as_ref()]);
        table.paint(0, |style, text| style.bold(text));
        match it.verdict.as_str() {
            "yes" => table.paint(1, |style, text| style.green(text)),
            "no" => table.paint(1, |style, text| style.red(text)),
            _ => table.paint(1, |style, text| style.yellow(text)),
        };
    }
    table.render(style)
}

fn quirks(report: &v1::DoctorReport, style: Style) -> String {
    if report.quirks.is_empty() {
        return "\nno quirks\n".to_owned();
    }
    let number = u64::try_from(report.quirks.len()).unwrap_or(u64::MAX);
    let mut out = format!("\n{}\n", style.dim(count(number, "quirk").to_uppercase()));
    for quirk in &report.quirks {
        out.push_str(&format!("{} · {}\n", style.bold(visible(&quirk.id)), visible(&quirk.seen)));
        out.push_str(&format!("    {} {}\n", style.dim("means"), visible(&quirk.means)));
        out.push_str(&format!("    {} {}\n", style.dim("agent"), visible(&quirk.agent)));
    }
    out
}

/// By the reason: one missing PIN is one line.
fn missing(report: &v1::DoctorReport, style: Style) -> String {
    let mut by_reason: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for it in &report.not_measured {
        by_reason.entry(&it.why).or_default().push(&it.probe);
    }
    let mut out = format!("\n{}\n", style.dim("NOT MEASURED"));
    for (why, probes) in by_reason {
        out.push_str(&format!("{}\n    {}\n", visible(&probes.join(", ")), visible(why)));
    }
    out.push_str(&format!("{NOT_PROBED}\n"));
    out
}

const COVERS: &str = "the digest covers this file; what the module loads itself is not covered";
const NOT_PROBED: &str = "never probed: wrong PINs, several threads, forks, keys that were there before (they are looked at, not used)";

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> v1::DoctorReport {
        let one = |name: &str, verdict: &str| v1::DoctorUse {
            r#use: name.into(),
            verdict: verdict.into(),
            why: "because".into(),
        };
        v1::DoctorReport {
            name: "hsm".into(),
            module: "/m\u{202e}.so".into(),
            sha256: "ab".repeat(32),
            library: "Lab 1.0".into(),
            uses: vec![one("ed25519", "yes"), one("root_ceremony", "limited")],
            quirks: vec![v1::DoctorQuirk {
                id: "digest-only".into(),
                seen: "CKR_MECHANISM_INVALID".into(),
                means: "it hashes nothing".into(),
                agent: "hashes".into(),
            }],
            not_measured: vec![
                v1::DoctorMissing { probe: "P-256".into(), why: "no PIN".into() },
                v1::DoctorMissing { probe: "P-384".into(), why: "no PIN".into() },
            ],
            facts_json: "{}".into(),
            unconfined: Some("its entry has no `paths`".into()),
            ..Default::default()
        }
    }

    #[test]
    fn verdicts_come_first_and_each_quirk_says_what_it_means_and_what_the_agent_does() {
        let text = text(&report(), Style::new(false));
        let at = |what: &str| text.find(what).unwrap_or_else(|| panic!("{what} is missing:\n{text}"));
        assert!(at("ed25519") < at("digest-only · CKR_MECHANISM_INVALID"), "{text}");
        assert!(at("means it hashes nothing") < at("agent hashes"), "{text}");
        assert!(at("1 QUIRK") < at("P-256, P-384\n    no PIN"), "{text}");
        assert!(text.contains("not confined, its entry has no `paths`"), "{text}");
        assert!(text.contains("not covered") && !text.contains('\u{202e}'), "{text}");
    }

    #[test]
    fn the_document_has_the_members_of_the_contract() {
        let document = document(&report());
        assert_eq!(document["uses"]["ed25519"], json!({"verdict": "yes", "why": "because"}));
        for name in ["name", "module", "sha256", "library", "uses", "quirks"] {
            assert!(document.get(name).is_some(), "{name}");
        }
        assert_eq!(document["quirks"][0]["id"], "digest-only");
        assert_eq!(document["confined"], false);
    }
}
