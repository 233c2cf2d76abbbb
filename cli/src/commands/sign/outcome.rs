//! What `sign` says at its end: who signed, who is missing, whether it is published.

use serde_json::{Value, json};
use tuf::key::KeyId;
use tuf::role::RoleName;

use super::advice::advice;
use super::key_line::KeyLine;
use super::missing::{MANY_ALIKE, needs_of_all};
use super::ours::Ours;
use super::{Session, is_online, unsigned};
use crate::error::{Failure, reason};
use crate::render::{KeyNames, Report, Style, count, short_digest, typed_path, visible};
use crate::workspace::{Authority, Published, SignatureState, Workspace};

/// A signature that was made in this run.
#[derive(Debug, Clone)]
pub(super) struct Signed {
    pub(super) role: RoleName,
    pub(super) version: u64,
    pub(super) keyid: String,
    pub(super) key: String,
    pub(super) token: String,
}

/// How the staged roles stand.
pub(super) type RoleLines = Vec<RoleLine>;

/// How one staged role stands.
pub(super) struct RoleLine {
    pub(super) role: RoleName,
    pub(super) version: u64,
    expires: String,
    sha256: String,
    pub(super) state: SignatureState,
    pub(super) keys: Vec<KeyLine>,
    /// A keyid of a key that the role has under another one already: the two count once.
    pub(super) again: Option<KeyId>,
}

/// Nothing is staged: exit 0, `published` only when an interrupted publish was finished just now.
pub(super) fn nothing_staged(finished: bool) -> Report {
    let text = if finished { "finished the interrupted publish\n" } else { "nothing is staged\n" };
    Report::new(json!({"published": finished, "signed": [], "missing": [], "unsigned": []}), text)
}

/// Reads how the staged roles stand.
pub(super) fn role_lines(
    workspace: &Workspace,
    ours: &Ours,
    names: &KeyNames,
    used: &[String],
) -> Result<RoleLines, Failure> {
    let mut lines = Vec::new();
    for role in workspace.staged_roles()? {
        let Some(metadata) = workspace.staged(&role)? else { continue };
        let state = workspace.signatures(&role)?;
        let authorities = workspace.authorities(&role)?;
        // Of a root also those of the root before that have signed, or are waited for.
        let before = state.signed_by.iter().chain(&state.missing);
        let before = before.filter(|keyid| !state.keyids.contains(keyid));
        let keys = state.keyids.iter().chain(before).map(|keyid| {
            let key = authorities.iter().find_map(|authority| authority.keys.get(keyid));
            let found = key.and_then(|key| ours.name_of(key));
            let token = found.map(|key| {
                let state = ours.token(&key.token).map_or("absent", |token| token.state.as_str());
                (key.token.clone(), state.to_owned())
            });
            let print = key.and_then(|key| key.public_key().ok()).map(|key| key.fingerprint().to_string());
            let gone = found.is_none() && print.is_some_and(|print| used.contains(&print));
            let split = found.is_some_and(|key| ours.split(&key.token));
            let barred = found.and_then(|key| ours.barred(&key.name)).cloned();
            let maybe_on = if gone { ours.never_seen() } else { Vec::new() };
            KeyLine {
                keyid: keyid.clone(),
                name: names.get(keyid.as_str()).cloned(),
                token,
                split,
                barred,
                gone,
                maybe_on,
            }
        });
        let keys = keys.collect();
        let again = authorities.iter().find_map(Authority::counted_twice).cloned();
        lines.push(RoleLine {
            again,
            role,
            version: metadata.version().get(),
            expires: metadata.expires().to_string(),
            sha256: metadata.digest().to_string(),
            state,
            keys,
        });
    }
    Ok(lines)
}

/// Published: exit 0.
pub(super) fn published(session: &Session<'_>, lines: &RoleLines, published: &Published) -> Report {
    let style = session.context.screen.out();
    let mut text = texts(lines, style);
    let roles: Vec<_> = published
        .roles
        .iter()
        .map(|(role, version)| format!("{} v{}", visible(role.as_str()), version.get()))
        .collect();
    let roles = if roles.len() > 8 { format!("{} roles", roles.len()) } else { roles.join(", ") };
    let files = match published.target_files {
        0 => String::new(),
        files => format!(" · {}", count(files, "target file")),
    };
    text.push_str(&format!(
        "{} {}: {roles}{files}\n",
        style.green("published"),
        visible(&session.record.name)
    ));
    let unsigned = unsigned(session, &[]);
    Report::new(
        json!({"published": true, "signed": signed(session), "missing": [], "unsigned": unsigned}),
        text,
    )
}

/// It failed on the way: what was signed before is in `staged/`, and is told with the failure; so is what was not.
pub(super) fn cut_off(session: &Session<'_>, failure: Failure) -> Failure {
    if session.signed.is_empty() && session.unsigned.is_empty() {
        return failure;
    }
    let failure = with_missing(session, failure);
    if session.signed.is_empty() {
        return failure;
    }
    let one = |signed: &Signed| {
        let [role, key, token] = [signed.role.as_str(), &signed.key, &signed.token].map(visible);
        format!("{role} v{} by {key} ({token})", signed.version)
    };
    let made = u64::try_from(session.signed.len()).unwrap_or(u64::MAX);
    let signatures = if made > MOST_TOLD {
        count(made, "signature")
    } else {
        session.signed.iter().map(one).collect::<Vec<_>>().join(", ")
    };
    session.context.screen.note(format!("signed before that: {signatures}; the next run goes on from there"));
    failure.detail("signed", signed(session))
}

/// The same with the roles that lack signatures, and the keys of ours that did not give theirs.
fn with_missing(session: &Session<'_>, failure: Failure) -> Failure {
    let (workspace, used) = (&session.workspace, &session.record.used_keys);
    // What is wrong with the folder is told by the failure.
    let lines = role_lines(workspace, &session.ours, &session.names, used).unwrap_or_default();
    let missing: Vec<_> = lines.iter().filter(|line| !line.state.met).collect();
    failure
        .detail("missing", missing.iter().flat_map(|line| line.json()).collect::<Vec<_>>())
        .detail("unsigned", unsigned(session, &missing))
}

/// Not published: exit 4 with what is missing, or 5 when locked or absent tokens kept us from signing anything.
pub(super) fn not_published(session: &Session<'_>) -> Result<Report, Failure> {
    let lines = role_lines(&session.workspace, &session.ours, &session.names, &session.record.used_keys)?;
    let missing: Vec<_> = lines.iter().filter(|line| !line.state.met).collect();
    if session.signed.is_empty()
        && let Some(failure) = unusable(session, &missing)?.filter(|failure| tells(failure, &lines))
    {
        return Err(with_missing(session, failure));
    }
    let style = session.context.screen.out();
    let dir = typed_path(&session.args.dir);
    let mut text = texts(&lines, style);
    if let Some(blocked) = session.blocked.as_ref().filter(|_| missing.is_empty()) {
        let (why, remedy) = (visible(blocked.message()), visible(blocked.remedy_text()));
        text.push_str(&format!("{} {why}\n{remedy}\n", style.yellow("Not published:")));
    } else if missing.is_empty() {
        text.push_str(&format!(
            "Not published, as asked; everything is signed. Publish it with: tufctl sign {dir}\n"
        ));
    } else {
        let (made_last, content): (Vec<_>, Vec<_>) =
            missing.iter().copied().partition(|line| is_online(&line.role));
        let waits_for = if content.is_empty() { &missing } else { &content };
        text.push_str(&format!("{} {}.\n", style.yellow("Not published:"), needs_of_all(waits_for)));
        if !content.is_empty() && !made_last.is_empty() {
            text.push_str(
                "Snapshot and timestamp are signed after that. To renew the published ones before: tufctl-recovery(7), SOMETHING WAITS \
                 FOR OTHERS\n",
            );
        }
        let remedy = |line: &RoleLine, key: &KeyLine| unsigned::remedy(session, &line.role, key);
        text.push_str(&advice(&missing, &dir, &remedy, &|token| session.ours.token(token).cloned()));
    }
    let exit = if missing.is_empty() && session.blocked.is_none() { 0 } else { 4 };
    let unsigned = unsigned(session, &missing);
    let missing: Vec<_> = missing.iter().flat_map(|line| line.json()).collect();
    let json = json!({
        "published": false,
        "signed": signed(session),
        "missing": missing,
        "unsigned": unsigned,
    });
    Ok(Report::new(json, text).exit(exit))
}

/// Whether that a key of ours did not sign is what is to be said. Where others have signed before, more signatures are
/// needed, as they were when they had: the same state gives the same exit. That a token is to be unlocked is said always.
fn tells(failure: &Failure, lines: &[RoleLine]) -> bool {
    failure.exit_code() == OF_TOKENS || lines.iter().all(|line| line.state.signed_by.is_empty())
}

/// The exit code of what is wrong with a token.
const OF_TOKENS: u8 = 5;

/// Nothing could be signed, and a token of ours that is locked or not there is why.
fn unusable(session: &Session<'_>, missing: &[&RoleLine]) -> Result<Option<Failure>, Failure> {
    for line in missing {
        let candidates = session.candidates(&line.role)?;
        if let Some(key) = candidates.iter().find(|key| !session.ours.can_sign(key)) {
            // What unlocking it would not help is said first.
            session.foresee_by(&line.role, std::slice::from_ref(key))?;
            return Ok(Some(session.ours.unusable(&key.token, &key.name)));
        }
        let mut waiting = line.keys.iter().filter(|key| line.state.missing.contains(&key.keyid)).peekable();
        let first = waiting.peek().map(|key| (key.called(), *key));
        if let Some((key, first)) = first.filter(|_| waiting.all(|key| key.gone)) {
            let role = visible(line.role.as_str());
            if let (Some(devices), [token, ..]) = (first.maybe_on_in_words(), first.maybe_on.as_slice()) {
                let message = format!(
                    "the key {key} of {role} has signed here before, and is on no token that is there; it may lie on {devices}"
                );
                let why = match first.maybe_on_untrusted() {
                    _ if first.is_maybe_held() => reason::TOKEN_BUSY,
                    Some(_) => reason::TOKEN_UNTRUSTED,
                    None => reason::TOKEN_ABSENT,
                };
                let remedy = format!(
                    "{}; a key that is lost is replaced: tufctl root replace-key, tufctl delegation edit",
                    first.way_back()
                );
                return Ok(Some(
                    Failure::new(why, message)
                        .remedy(remedy)
                        .detail("token", token.name.as_str())
                        .detail("key", key)
                        .detail("role", line.role.as_str()),
                ));
            }
            return Ok(Some(
                Failure::new(
                    reason::KEY_NOT_FOUND,
                    format!("the key {key} of {role} has signed here before, and is on no token any more"),
                )
                .remedy("bring its token or folder back, or replace the key: tufctl root replace-key, tufctl delegation edit")
                .detail("key", key)
                .detail("role", line.role.as_str()),
            ));
        }
    }
    Ok(None)
}

fn signed(session: &Session<'_>) -> Vec<Value> {
    let one = |signed: &Signed| {
        json!({
            "role": signed.role.as_str(),
            "version": signed.version,
            "keyid": signed.keyid,
            "key": signed.key,
            "token": signed.token,
        })
    };
    session.signed.iter().map(one).collect()
}

/// Keys of ours that did not sign.
fn unsigned(session: &Session<'_>, missing: &[&RoleLine]) -> Vec<Value> {
    unsigned::told(session, missing.iter().map(|line| (&line.role, line.version)))
}

/// All roles, one under the other; those of a run that are just alike (bins) are said once, and of many that need the same
/// the first few.
fn texts(lines: &[RoleLine], style: Style) -> String {
    let width = lines.iter().map(|line| line.head().chars().count()).max().unwrap_or(0).min(WIDEST_HEAD);
    let mut text = String::new();
    let (mut alike, mut same_needs) = (0, 0);
    for (index, line) in lines.iter().enumerate() {
        let before = index.checked_sub(1).and_then(|at| lines.get(at));
        same_needs = if before.is_some_and(|before| line.needs_as(before)) { same_needs + 1 } else { 0 };
        if before.is_some_and(|before| line.is_like(before)) || same_needs >= MANY_ALIKE {
            alike += 1;
        } else {
            text.push_str(&more_alike(&mut alike));
            text.push_str(&line.text(width, style));
        }
    }
    text.push_str(&more_alike(&mut alike));
    text
}

fn more_alike(alike: &mut u64) -> String {
    match std::mem::take(alike) {
        0 => String::new(),
        more => format!("  and just so {}\n", count(more, "more role")),
    }
}

impl RoleLine {
    /// `root v1`
    fn head(&self) -> String {
        format!("{} v{}", visible(self.role.as_str()), self.version)
    }

    fn is_like(&self, other: &Self) -> bool {
        let called = |line: &Self| line.keys.iter().map(KeyLine::called).collect::<Vec<_>>();
        (self.version, &self.sha256, &self.state.signed_by)
            == (other.version, &other.sha256, &other.state.signed_by)
            && self.state.met == other.state.met
            && called(self) == called(other)
    }

    /// One line for a role with one key, one for each key otherwise.
    fn text(&self, width: usize, style: Style) -> String {
        let pad = " ".repeat(width.saturating_sub(self.head().chars().count()));
        let head = format!("{} v{}{pad}", style.bold(visible(self.role.as_str())), self.version);
        let tail = format!(
            "expires {} · sha256 {}",
            self.expires.get(..10).unwrap_or(&self.expires),
            short_digest(&self.sha256)
        );
        if let ([key], true) = (self.keys.as_slice(), self.state.met) {
            let place =
                key.token.as_ref().map(|(token, _)| format!(" ({})", visible(token))).unwrap_or_default();
            return format!("{head}  {} by {}{place} · {tail}\n", style.green("signed"), key.called());
        }
        let needed = self.needed();
        let mut out = format!("{head}  {needed} needed · {tail}\n");
        for key in &self.keys {
            let place =
                key.token.as_ref().map_or_else(String::new, |(token, _)| format!("you, {}", visible(token)));
            let line = if self.state.signed_by.contains(&key.keyid) {
                format!("  {} {:<12} {place:<16} {}", style.green("+"), key.called(), style.green("signed"))
            } else {
                let why = match &key.token {
                    Some(_) if key.barred.is_some() => key.barred_in_words().to_owned(),
                    // Of a key that is not needed nobody has to know; its token may have been unlocked meanwhile.
                    Some((_, state)) if state != "unlocked" && !self.state.met => {
                        format!("missing, token {state}")
                    }
                    None if key.gone && !key.maybe_on.is_empty() => {
                        "missing, on no token that is there".to_owned()
                    }
                    None if key.gone => "missing, on no token any more".to_owned(),
                    _ if self.again.is_some() && self.lacks_keys() => "the same key again".to_owned(),
                    _ => "missing".to_owned(),
                };
                format!("  {} {:<12} {place:<16} {}", style.yellow("·"), key.called(), style.yellow(why))
            };
            out.push_str(line.trim_end());
            out.push('\n');
        }
        out
    }
}

const WIDEST_HEAD: usize = 24;
/// More signatures than this are told by their number.
const MOST_TOLD: u64 = 8;

#[cfg(test)]
mod tests {
    use super::{KeyLine, RoleLine, Style, advice};
    use crate::workspace::SignatureState;
    use tuf::key::KeyId;
    use tuf::role::RoleName;

    fn keyid(text: &str) -> KeyId {
        KeyId::parse(text).unwrap()
    }

    fn key(id: &str, ours: Option<(&str, &str, &str)>) -> KeyLine {
        KeyLine {
            keyid: keyid(id),
            name: ours.map(|(name, _, _)| name.into()),
            token: ours.map(|(_, token, state)| (token.into(), state.into())),
            split: false,
            barred: None,
            gone: false,
            maybe_on: Vec::new(),
        }
    }

    fn root() -> RoleLine {
        let ids = ["3c", "77aabbccdd", "e1"].map(keyid);
        RoleLine {
            role: RoleName::parse("root").unwrap(),
            version: 1,
            expires: "2027-11-20T10:00:00Z".into(),
            sha256: "9f31".to_owned() + &"0".repeat(58) + "c2",
            state: SignatureState {
                signed_by: vec![keyid("3c")],
                missing: vec![keyid("77aabbccdd"), keyid("e1")],
                have: 1,
                need: 2,
                met: false,
                keyids: ids.to_vec(),
                parts: Vec::new(),
            },
            keys: vec![
                key("3c", Some(("root-a", "alice", "unlocked"))),
                key("77aabbccdd", None),
                key("e1", Some(("root-c", "hsm", "locked"))),
            ],
            again: None,
        }
    }

    #[test]
    fn a_role_that_waits_shows_every_key_and_who_is_missing() {
        assert_eq!(
            root().text(10, Style::new(false)),
            "root v1     2 of 3 keys needed · expires 2027-11-20 · sha256 9f31…c2\n\
             \x20 + root-a       you, alice       signed\n\
             \x20 · 77aabbcc                      missing\n\
             \x20 · root-c       you, hsm         missing, token locked\n"
        );
        assert_eq!(root().needs(), "root needs 1 more signature (77aabbcc or root-c)");
        assert_eq!(
            advice(&[&root()], "repo", &|_, _| None, &|_| None),
            "unlock hsm and sign again: tufctl token unlock hsm\n\
             Give them repo/staged, then: tufctl sign repo --from THEIR_COPY\n"
        );
    }

    #[test]
    fn what_is_missing_names_the_token_of_a_key_of_ours() {
        let [json] = root().json().try_into().unwrap();
        assert_eq!((&json["have"], &json["need"]), (&1.into(), &2.into()));
        assert_eq!(json["keyids"], serde_json::json!(["77aabbccdd", "e1"]));
        assert_eq!(json["keys"][1]["token"], "hsm");
        assert!(json["keys"][0].get("token").is_none());
    }

    #[test]
    fn a_role_with_one_key_is_one_line() {
        let mut role = root();
        role.keys.truncate(1);
        role.state.met = true;
        assert_eq!(
            role.text(0, Style::new(false)),
            "root v1  signed by root-a (alice) · expires 2027-11-20 · sha256 9f31…c2\n"
        );
    }
}
