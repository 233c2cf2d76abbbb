//! A sheet: one share on one printed page, with all that its custodian needs on the day it is needed.
//!
//! HTML that fetches nothing and runs nothing. It is built in locked memory, the QR code too.

use custody::{SecretBytes, SignedManifest};
use qrcodegen_no_heap::{QrCode, QrCodeEcc, Version};

use super::typing::WORDS;
use super::{groups_may_be_lost, may_be_lost, rule, rule_of_groups};
use crate::error::{Failure, reason};

/// The sheet of the custodian who has these words.
///
/// # Errors
/// `INTERNAL` for words that make no sheet.
pub(super) fn sheet(
    whose: &str,
    words: &SecretBytes,
    manifest: &SignedManifest,
) -> Result<SecretBytes, Failure> {
    let fingerprint = manifest
        .members()
        .iter()
        .find(|member| member.custodian.name.as_str() == whose && has(manifest, member, words));
    let fingerprint = fingerprint.map(|member| member.fingerprint.to_string()).ok_or_else(failed)?;
    let (before, between, after) = texts(whose, &fingerprint, manifest);
    let secret = words.reveal_secret_bytes();
    // Twice over the same: once to know how long it is, once into locked memory of that length.
    let code = Code::of(secret)?;
    let mut length = Count(0);
    compose(&mut length, [&before, &between, &after], secret, &code);
    let mut overrun = false;
    let page = SecretBytes::with_len(length.0, |buffer| {
        let mut page = Filled { buffer, at: 0, overrun: false };
        compose(&mut page, [&before, &between, &after], secret, &code);
        overrun = page.overrun;
    });
    if overrun { Err(failed()) } else { Ok(page) }
}

/// Where the page goes.
trait Ink {
    fn put(&mut self, bytes: &[u8]);
}

struct Count(usize);

impl Ink for Count {
    fn put(&mut self, bytes: &[u8]) {
        self.0 = self.0.saturating_add(bytes.len());
    }
}

struct Filled<'b> {
    buffer: &'b mut [u8],
    at: usize,
    overrun: bool,
}

impl Ink for Filled<'_> {
    fn put(&mut self, bytes: &[u8]) {
        let end = self.at.saturating_add(bytes.len());
        match self.buffer.get_mut(self.at..end) {
            Some(place) => place.copy_from_slice(bytes),
            None => self.overrun = true,
        }
        self.at = end;
    }
}

fn compose(page: &mut impl Ink, [before, between, after]: [&String; 3], words: &[u8], code: &Code) {
    page.put(before.as_bytes());
    page.put(b"<ol class=\"words\">\n");
    for word in words.split(|byte| *byte == b' ') {
        page.put(b"<li>");
        page.put(word);
        page.put(b"</li>\n");
    }
    page.put(b"</ol>\n");
    code.draw(page);
    page.put(between.as_bytes());
    page.put(after.as_bytes());
}

/// A QR code in locked memory.
struct Code {
    /// One byte for each square: dark or light.
    squares: SecretBytes,
    size: usize,
}

impl Code {
    fn of(text: &[u8]) -> Result<Self, Failure> {
        let mut size = 0;
        let room = largest().buffer_len();
        let mut squares = Err(failed());
        // Its two buffers lie in one piece of locked memory, and are gone with it.
        drop(SecretBytes::with_len(room.saturating_mul(2), |buffers| {
            let Some((data, out)) = buffers.split_at_mut_checked(room) else { return };
            let Some(place) = data.get_mut(..text.len()) else { return };
            place.copy_from_slice(text);
            let made = QrCode::encode_binary(
                data,
                text.len(),
                out,
                QrCodeEcc::Medium,
                Version::MIN,
                largest(),
                None,
                true,
            );
            let Ok(code) = made else { return };
            let side = code.size();
            size = usize::try_from(side).unwrap_or_default();
            squares = Ok(SecretBytes::with_len(size.saturating_mul(size), |squares| {
                let places = (0..side).flat_map(|y| (0..side).map(move |x| (x, y)));
                for (square, (x, y)) in squares.iter_mut().zip(places) {
                    *square = u8::from(code.get_module(x, y));
                }
            }));
        }));
        Ok(Self { squares: squares?, size })
    }

    /// As SVG, with the white around it that readers of codes want.
    fn draw(&self, page: &mut impl Ink) {
        let side = self.size.saturating_add(2 * QUIET);
        page.put(
            format!("<svg class=\"code\" viewBox=\"0 0 {side} {side}\" shape-rendering=\"crispEdges\">\n")
                .as_bytes(),
        );
        page.put(b"<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n<path d=\"");
        for (y, row) in self.squares.reveal_secret_bytes().chunks(self.size.max(1)).enumerate() {
            for (x, _) in row.iter().enumerate().filter(|(_, square)| **square == 1) {
                put_number(page, b"M", x.saturating_add(QUIET));
                put_number(page, b" ", y.saturating_add(QUIET));
                page.put(b"h1v1h-1z");
            }
        }
        page.put(b"\"/>\n</svg>\n");
    }
}

fn put_number(page: &mut impl Ink, before: &[u8], number: usize) {
    page.put(before);
    page.put(number.to_string().as_bytes());
}

fn has(manifest: &SignedManifest, member: &custody::Member, words: &SecretBytes) -> bool {
    let share = custody::Share::parse(words.reveal_secret_bytes());
    share.is_ok_and(|share| manifest.who_has(&share).is_ok_and(|whose| whose == member.custodian))
}

/// What stands around the words: before them, beside the code, and below.
fn texts(whose: &str, fingerprint: &str, manifest: &SignedManifest) -> (String, String, String) {
    let (key, whose) = (escaped(manifest.key_name()), escaped(whose));
    let Names { class, rule, lost, custodians } = Names::of(manifest);
    let before = format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n\
         <title>Share of {key}: {whose}</title>\n<style>{STYLE}</style>\n</head>\n<body{class}>\n\
         <h1>Share of the key {key} · custodian {whose}</h1>\n\
         <p><b>{rule} make the key.</b> Whoever has this sheet has one of them: keep it where only \
         {whose} gets at it, on paper alone, and delete the file that it was printed from.</p>\n<div class=\"two\">\n"
    );
    let between = format!(
        "</div>\n<dl>\n<dt>Fingerprint</dt><dd><code id=\"fingerprint\">{fingerprint}</code></dd>\n\
         <dt>Set</dt><dd><code>{set}</code>, number {sequence}, made {made}, manifest sha256 <code>{digest}</code></dd>\n\
         <dt>Key</dt><dd>{kind}, keyid <code>{keyid}</code></dd>\n\
         <dt>Custodians</dt><dd>{custodians}</dd>\n</dl>\n",
        set = manifest.set_id(),
        sequence = manifest.sequence(),
        made = manifest.made_at(),
        digest = manifest.digest(),
        kind = manifest.kind(),
        keyid = manifest.keyid(),
    );
    let short = fingerprint.get(..16).unwrap_or(fingerprint);
    let after = format!(
        "<h2>Now: check this sheet</h2>\n\
         <p>On any machine with tufctl, and with nothing but this sheet: run the line below and type the words (at its prompt \
         the first four letters of each are enough). It talks to nobody. Then prove it to the agent that made the set, once.</p>\n\
         <pre>tufctl share verify --fingerprint {short}</pre>\n\
         <pre>tufctl share confirm --manifest set.json</pre>\n\
         <h2>When the key is needed</h2>\n\
         <p>Somebody runs <code>tufctl share collect DIR --role root --manifest set.json</code>. Before you give your share, \
         look at what is to be signed: the screen shows the difference and its sha256, which must be the same for all \
         custodians. Then type the words there, or at another terminal of that machine: <code>tufctl share give</code>. \
         The key exists in locked memory for this one signature, and is gone again. Nobody needs to keep your share, \
         and nobody may ask you to read it out or to send it.</p>\n\
         <h2>When something is wrong</h2>\n\
         <p>Lost or seen by somebody else: tell the others today. {lost}. \
         <b>A new set of shares (share resplit) revokes nothing:</b> as many old shares as are needed still make the key, so destroy \
         this sheet when a new set is alive; a custodian who is no longer trusted means another key (root replace-key). \
         Without tufctl: the words are SLIP-0039, without a passphrase; as many as make the key give the {secret}.</p>\n\
         <h2>The set's manifest (set.json)</h2>\n{json}\n</body>\n</html>\n",
        secret = match manifest.kind() {
            custody::SplitKind::Ed25519 => "32-byte seed of the Ed25519 key",
            _ => "32-byte big-endian scalar of the P-256 key",
        },
        json = printed(&compact(manifest.to_json())),
    );
    (before, between, after)
}

/// What stands on a sheet and is as long as the names of custodians and groups.
struct Names {
    class: &'static str,
    rule: String,
    lost: String,
    custodians: String,
}

impl Names {
    /// All of them where the page has room, in smaller letters where they are many; the rest is left to set.json.
    fn of(manifest: &SignedManifest) -> Self {
        let terms = manifest.terms();
        let (mut rule, mut lost) = (rule(terms), may_be_lost(terms));
        let named: Vec<&str> =
            manifest.members().iter().map(|member| member.custodian.name.as_str()).collect();
        let of_people: usize = named.iter().map(|name| name.len()).sum();
        // Those of groups stand in both.
        let of_groups = if terms.is_plain() { 0 } else { rule.len().saturating_add(lost.len()) };
        let letters = of_people.saturating_add(of_groups);
        let class = if letters > MANY_NAMES { " class=\"long\"" } else { "" };
        let custodians = if letters > MOST_NAMES {
            format!("{} people, whom set.json names", named.len())
        } else {
            named.join(", ")
        };
        if of_groups > MOST_NAMES {
            (rule, lost) = (rule_of_groups(terms), groups_may_be_lost(terms));
        }
        Self { class, rule: escaped(&rule), lost: escaped(&lost), custodians: escaped(&custodians) }
    }
}

/// The manifest, where the page has room for it.
fn printed(json: &str) -> String {
    if json.len() > MOST_MANIFEST {
        return "<p>It is too long for this page: keep set.json with it, on paper or not. Its sha256 stands above.</p>"
            .to_owned();
    }
    format!("<pre id=\"manifest\">{}</pre>", escaped(json))
}

/// The same JSON on one line.
fn compact(json: &str) -> String {
    let value = serde_json::from_str::<serde_json::Value>(json);
    value.map_or_else(|_| json.to_owned(), |value| value.to_string())
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

fn failed() -> Failure {
    Failure::new(
        reason::INTERNAL,
        format!("no sheet can be made of a share that has not {WORDS} words of its set"),
    )
}

/// White squares around a code.
const QUIET: usize = 4;
/// Version 15 has room for 412 bytes; 33 words have at most 296.
fn largest() -> Version {
    Version::new(15)
}

/// Letters of names, of custodians and groups, from which on all is written smaller, and from which on they are left to
/// set.json; and of a manifest. Up to them all was seen to fit on one page, of Letter too, in a wide font and wide letters.
const MANY_NAMES: usize = 500;
const MOST_NAMES: usize = 1100;
const MOST_MANIFEST: usize = 3100;

/// One page of A4 or Letter, in black on white.
const STYLE: &str = "\
@page{margin:9mm}*{box-sizing:border-box}\
body{font:8.5pt/1.25 sans-serif;margin:0 auto;max-width:190mm;color:#000;background:#fff}\
.long{font-size:7pt;line-height:1.2}\
h1{font-size:12pt;margin:0 0 1mm;overflow-wrap:anywhere}h2{font-size:9.5pt;margin:1.5mm 0 .5mm}p{margin:0 0 1mm}\
.two{display:flex;gap:4mm;align-items:flex-start;break-inside:avoid}\
.words{flex:1;columns:3;column-gap:5mm;margin:0;padding-left:7mm;font:bold 10.5pt/1.5 monospace}\
.code{width:48mm;height:48mm;flex:none}\
dl{margin:1mm 0;display:grid;grid-template-columns:22mm 1fr;gap:.5mm 2mm}dt{font-weight:bold}dd{margin:0;overflow-wrap:anywhere}\
code,pre{font-family:monospace}pre{margin:.5mm 0;font-weight:bold;white-space:pre-wrap;overflow-wrap:anywhere}\
#manifest{font-weight:normal;font-size:5pt;line-height:1.1}";
