//! `tufctl man DIR`: a page for tufctl and one for each subcommand, as `man 1` wants them, and those of section 7.

use std::path::Path;

use clap::CommandFactory;
use clap_mangen::roff::{Roff, roman};

use crate::args::{Cli, EXIT_CODES};
use crate::error::Failure;
use crate::render::Report;

/// Writes `tufctl.1`, `tufctl-key-generate.1` and so on into `dir`, and the pages that were written by hand.
pub(crate) fn run(dir: &Path) -> Result<Report, Failure> {
    std::fs::create_dir_all(dir).map_err(|e| Failure::io("make", dir, &e))?;
    let mut root = Cli::command().disable_help_subcommand(true);
    root.build();
    let mut written = Vec::new();
    write_tree(dir, &root, "tufctl", &mut written)?;
    for (file, page) in BY_HAND {
        let path = dir.join(file);
        std::fs::write(&path, page).map_err(|e| Failure::io("write", &path, &e))?;
        written.push(file.to_owned());
    }
    let text = format!(
        "{} in {}\n",
        crate::render::count(written.len().try_into().unwrap_or(0), "page"),
        dir.display()
    );
    Ok(Report::new(serde_json::json!({"dir": dir.display().to_string(), "pages": written}), text))
}

/// One page for `command`, then those below it. `name` is hyphenated: `tufctl-key-generate`.
fn write_tree(
    dir: &Path,
    command: &clap::Command,
    name: &str,
    written: &mut Vec<String>,
) -> Result<(), Failure> {
    let file = format!("{name}.1");
    let path = dir.join(&file);
    std::fs::write(&path, page(command, name)).map_err(|e| Failure::io("write", &path, &e))?;
    written.push(file);
    for sub in command.get_subcommands() {
        write_tree(dir, sub, &format!("{name}-{}", sub.get_name()), written)?;
    }
    Ok(())
}

/// The page's text: clap's sections, then examples and exit codes as sections of their own.
fn page(command: &clap::Command, name: &str) -> Vec<u8> {
    let examples = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    let has_subcommands = command.has_subcommands();
    let man = clap_mangen::Man::new(command.clone().after_help("")).title(name).manual("tuf-agent");
    let mut out = Vec::new();
    // Writing to memory cannot fail.
    let _ = man.render_title(&mut out);
    let _ = man.render_name_section(&mut out);
    let _ = man.render_synopsis_section(&mut out);
    let _ = man.render_description_section(&mut out);
    let _ = man.render_options_section(&mut out);
    if has_subcommands {
        let _ = man.render_subcommands_section(&mut out);
    }
    section(&mut out, "EXAMPLES", examples.lines().filter(|line| line.starts_with("  tufctl")));
    section(&mut out, "EXIT STATUS", EXIT_CODES.lines().skip(1));
    section(&mut out, "SEE ALSO", [see_also(name)].into_iter());
    out
}

fn see_also(name: &str) -> &'static str {
    match name {
        "tufctl" => "tuf-agent(1), tufctl-shares(7), tufctl-recovery(7)",
        _ if name.starts_with("tufctl-share") => "tuf-agent(1), tufctl(1), tufctl-shares(7)",
        _ => "tuf-agent(1), tufctl(1)",
    }
}

/// What has a page of its own beside the commands.
const BY_HAND: [(&str, &str); 2] = [
    ("tufctl-recovery.7", include_str!("../../tufctl-recovery.7")),
    ("tufctl-shares.7", include_str!("../../tufctl-shares.7")),
];

/// A section of lines that stay as they are; nothing when there are none.
fn section<'l>(out: &mut Vec<u8>, title: &str, lines: impl Iterator<Item = &'l str>) {
    let mut lines = lines.map(str::trim).peekable();
    if lines.peek().is_none() {
        return;
    }
    let mut roff = Roff::new();
    roff.control("SH", [title]).control("nf", []);
    for line in lines {
        roff.text([roman(line)]);
    }
    roff.control("fi", []);
    let _ = roff.to_writer(out);
}

#[cfg(test)]
mod tests {
    use super::run;

    #[test]
    fn every_command_gets_a_page_with_exit_codes() {
        let dir = std::env::temp_dir().join(format!("tufctl-man-{}", std::process::id()));
        run(&dir).unwrap();
        let page = std::fs::read_to_string(dir.join("tufctl-key-generate.1")).unwrap();
        for part in
            ["SYNOPSIS", "tufctl key generate", "EXAMPLES", "EXIT STATUS", "more signatures are needed"]
        {
            assert!(page.contains(part), "{part} is not in\n{page}");
        }
        assert!(dir.join("tufctl-sign.1").exists() && dir.join("tufctl.1").exists());
        // The ceremony is told to whoever has the binary alone.
        let ceremony = std::fs::read_to_string(dir.join("tufctl-shares.7")).unwrap();
        assert!(ceremony.starts_with(".TH tufctl-shares 7") && dir.join("tufctl-recovery.7").exists());
        let collect = std::fs::read_to_string(dir.join("tufctl-share-collect.1")).unwrap();
        assert!(collect.contains("tufctl\\-shares(7)") || collect.contains("tufctl-shares(7)"), "{collect}");
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
