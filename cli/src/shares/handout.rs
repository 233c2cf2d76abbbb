//! Hands shares out: as files, as sheets, at the terminal. Each goes to its custodian alone.

use std::collections::VecDeque;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use custody::{SecretBytes, Share, SignedManifest};
use tufagent_proto::v1::{self, handed_share};

use super::terms::SplitPlan;
use super::{sheet, showing};
use crate::args::{CustodianArg, How};
use crate::client::{Agent, ReplyKey};
use crate::error::{Failure, reason};
use crate::prompt::Terminal;
use crate::render::{Screen, visible};

/// Where the shares of a set go that is about to be made.
pub(crate) struct HandOut {
    out: Option<PathBuf>,
    /// Names of the files, by custodian; none for who gets theirs at the terminal.
    names: Vec<Option<String>>,
    /// The folder was made for it; it goes again if nothing comes into it.
    made: bool,
}

impl Drop for HandOut {
    fn drop(&mut self) {
        if let Some(out) = self.out.as_ref().filter(|_| self.made) {
            // Only one that is empty goes.
            let _ = std::fs::remove_dir(out);
        }
    }
}

impl HandOut {
    /// Looks before anything is made whether all can be handed out.
    ///
    /// # Errors
    /// `USAGE` where there is no folder for files, no terminal for words, or a file is there already.
    pub(crate) fn prepare(plan: &SplitPlan, out: Option<&Path>) -> Result<Self, Failure> {
        let mut taken: Vec<String> = vec![MANIFEST.to_owned()];
        let mut names = Vec::new();
        for custodian in &plan.custodians {
            names.push(out.map(|_| file_name(custodian, &mut taken)));
            if out.is_none() && custodian.how != How::Words {
                let message = format!("the encrypted share of {} needs a folder to go to", custodian.name);
                return Err(Failure::new(reason::USAGE, message).remedy("name one: --out DIR"));
            }
        }
        match out {
            None if Terminal::open().is_none() => {
                Err(Failure::new(reason::USAGE, "there is no terminal to show shares at")
                    .remedy("name a folder for files and sheets: --out DIR"))
            }
            None => Ok(Self { out: None, names, made: false }),
            Some(out) => {
                let made = make_folder(out)?;
                let there =
                    taken.iter().map(|name| out.join(name)).find(|path| path.symlink_metadata().is_ok());
                if let Some(there) = there {
                    let message = format!(
                        "{} is there already, and no share takes the place of another",
                        there.display()
                    );
                    return Err(Failure::new(reason::USAGE, message).remedy("name another folder: --out DIR"));
                }
                Ok(Self { out: Some(out.to_owned()), names, made })
            }
        }
    }

    /// Hands out. The names of the files that were written, the manifest first.
    ///
    /// # Errors
    /// What could not be written or opened; `details.files` has what was.
    pub(crate) fn give(
        &self,
        made: &v1::SplitReply,
        plan: &SplitPlan,
        reply_key: &ReplyKey,
        (agent, screen): (&Agent, Screen),
    ) -> Result<(SignedManifest, Vec<String>), Failure> {
        let set = made.set.as_ref().ok_or_else(strange)?;
        let manifest = SignedManifest::parse(&set.manifest).map_err(|_| strange())?;
        if manifest.digest().to_string() != set.sha256
            || manifest.terms() != plan.terms()
            || made.shares.len() != plan.custodians.len()
        {
            return Err(strange());
        }
        let mut files = Vec::new();
        let end = self.give_each(made, &manifest, reply_key, &mut files, (agent, screen));
        let listed: Vec<String> = files.iter().map(|path: &PathBuf| path.display().to_string()).collect();
        match end {
            Ok(()) => Ok((manifest, listed)),
            Err(failure) => Err(failure.detail("files", listed)),
        }
    }

    fn give_each(
        &self,
        made: &v1::SplitReply,
        manifest: &SignedManifest,
        reply_key: &ReplyKey,
        files: &mut Vec<PathBuf>,
        (agent, screen): (&Agent, Screen),
    ) -> Result<(), Failure> {
        let set = manifest.digest().to_string();
        if let Some(out) = &self.out {
            // Shares without it are worth less than it is without them.
            write(&out.join(MANIFEST), manifest.to_json().as_bytes(), files)?;
        }
        let mut later = VecDeque::new();
        for (share, name) in made.shares.iter().zip(&self.names) {
            let path = self.out.as_ref().zip(name.as_ref()).map(|(out, name)| out.join(name));
            match (&share.share, path) {
                (Some(handed_share::Share::AgeFile(file)), Some(path)) => write(&path, file, files)?,
                (Some(handed_share::Share::Words(sealed)), path) => {
                    let words = reply_key.open(&set, &share.custodian, sealed)?;
                    let whose = check(&words, manifest)?;
                    if whose != share.custodian {
                        return Err(strange());
                    }
                    match path {
                        Some(path) => {
                            let page = sheet::sheet(&whose, &words, manifest)?;
                            write(&path, page.reveal_secret_bytes(), files)?;
                        }
                        None => later.push_back((whose, words)),
                    }
                }
                _ => return Err(strange()),
            }
        }
        hand_out_each(later, manifest, agent, screen)?;
        match &self.out {
            Some(out) => {
                let settled = File::open(out).and_then(|folder| folder.sync_all());
                settled.map_err(|e| Failure::io("write", out, &e))
            }
            None => Ok(()),
        }
    }
}

/// At the terminal, one custodian after another; whoever leaves keeps the others from nothing, and is come back to.
fn hand_out_each(
    mut shares: VecDeque<(String, SecretBytes)>,
    manifest: &SignedManifest,
    agent: &Agent,
    screen: Screen,
) -> Result<(), Failure> {
    while let Some((whose, words)) = shares.pop_front() {
        let Err(failure) = showing::hand_out(&whose, &words, manifest, agent, screen) else { continue };
        screen.warn(format!("{whose} has not proven their share: {}", failure.message()));
        shares.push_back((whose, words));
        let names: Vec<&str> = shares.iter().map(|(whose, _)| whose.as_str()).collect();
        let question = format!("Go on, with {}? Otherwise these shares are lost", visible(&names.join(", ")));
        if !Terminal::open().is_some_and(|terminal| terminal.confirm(&question).unwrap_or(false)) {
            return Err(failure);
        }
    }
    Ok(())
}

/// Whose the words are; they belong to the set.
fn check(words: &SecretBytes, manifest: &SignedManifest) -> Result<String, Failure> {
    let share = Share::parse(words.reveal_secret_bytes()).map_err(|_| strange())?;
    Ok(manifest.who_has(&share).map_err(|_| strange())?.name.to_string())
}

/// `NAME.share` or `NAME.html`; a custodian of two shares gets `NAME-2.share` beside.
fn file_name(custodian: &CustodianArg, taken: &mut Vec<String>) -> String {
    let ending = if custodian.how == How::Words { "html" } else { "share" };
    let mut name = format!("{}.{ending}", custodian.name);
    let mut number = 2;
    while taken.contains(&name) {
        name = format!("{}-{number}.{ending}", custodian.name);
        number += 1;
    }
    taken.push(name.clone());
    name
}

/// Whether it was not there.
fn make_folder(out: &Path) -> Result<bool, Failure> {
    match DirBuilder::new().mode(0o700).create(out) {
        Ok(()) => Ok(true),
        Err(_) if out.is_dir() => Ok(false),
        Err(e) if e.kind() == ErrorKind::AlreadyExists => {
            Err(Failure::new(reason::USAGE, format!("{} is there, and is no folder", out.display()))
                .remedy("name a folder for files and sheets, new or empty: --out DIR"))
        }
        Err(e) => Err(Failure::io("make", out, &e)),
    }
}

fn write(path: &Path, bytes: &[u8], files: &mut Vec<PathBuf>) -> Result<(), Failure> {
    write_new(path, bytes)?;
    files.push(path.to_owned());
    Ok(())
}

/// Writes a new file for this user alone, whole or not at all.
pub(super) fn write_new(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let failed = |e: std::io::Error| match e.kind() {
        ErrorKind::AlreadyExists => there_already(path),
        _ => Failure::io("write", path, &e),
    };
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(failed)?;
    if let Err(e) = file.write_all(bytes).and_then(|()| file.sync_all()) {
        let _ = std::fs::remove_file(path);
        return Err(failed(e));
    }
    Ok(())
}

/// For whoever will write this file only after something has happened.
///
/// # Errors
/// `USAGE` where it is there already.
pub(super) fn check_new(path: &Path) -> Result<(), Failure> {
    if path.symlink_metadata().is_ok() { Err(there_already(path)) } else { Ok(()) }
}

fn there_already(path: &Path) -> Failure {
    let message = format!("{} is there already, and nothing is written over it", path.display());
    Failure::new(reason::USAGE, message).remedy("name another file")
}

fn strange() -> Failure {
    Failure::new(reason::INTERNAL, "the agent's answer is not what it was asked for")
        .remedy("run a tuf-agent of the same version as tufctl")
}

const MANIFEST: &str = "set.json";
