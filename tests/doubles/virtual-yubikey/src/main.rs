//! `virtual-yubikey`: a card in a reader, for a pcscd with vpcd, until somebody says `quit`.
#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "it talks to people")]

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use virtual_yubikey::{Card, Root, State, control, dial};

const HELP: &str = "\
virtual-yubikey --control SOCKET --port PORT [--dial SOCKET] [--serial N] [--firmware A.B.C] [--state FILE]
                [--root-certificate FILE] [--rsa]
virtual-yubikey --serve-dial SOCKET

A YubiKey without hardware, for a pcscd with vpcd. It takes orders at SOCKET, one a line: see the documentation of the
module `control`, or say `status`.

  --port PORT              where vpcd listens: `DEVICENAME /dev/null:PORT` in a file of readers, or the one after it
  --dial SOCKET            vpcd listens in another network, in which a second virtual-yubikey connects for this one
  --serve-dial SOCKET      be that one: switch its loopback on, and connect for those who ask there
  --serial N               its serial number (default: 10000001)
  --firmware A.B.C         5.4.3 or 5.7.1 (the default), or what you like
  --state FILE             the card is in this file, and stays in it; it is made where it is not there
  --root-certificate FILE  where the certificate goes that attestations of a new card end at
  --rsa                    a new card attests by RSA, as cards of old do
";

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match run(&words) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("virtual-yubikey: {why}");
            ExitCode::FAILURE
        }
    }
}

fn run(words: &[String]) -> Result<(), String> {
    let (mut control, mut port, mut dialer) = (None, None, None);
    let (mut serial, mut firmware) = (10_000_001, [5, 7, 1]);
    let (mut file, mut certificate, mut rsa): (Option<PathBuf>, Option<PathBuf>, bool) = (None, None, false);
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let mut next = || words.next().ok_or_else(|| format!("{word} wants a value"));
        match word.as_str() {
            "--control" => control = Some(PathBuf::from(next()?)),
            "--port" => port = Some(next()?.parse().map_err(|_| "--port wants a number")?),
            "--dial" => dialer = Some(PathBuf::from(next()?)),
            "--serve-dial" => {
                let socket = PathBuf::from(next()?);
                return dial::serve(&socket).map_err(|e| format!("{}: {e}", socket.display()));
            }
            "--serial" => serial = next()?.parse().map_err(|_| "--serial wants a number")?,
            "--firmware" => firmware = control::firmware(next()?).ok_or("--firmware wants A.B.C")?,
            "--state" => file = Some(next()?.into()),
            "--root-certificate" => certificate = Some(next()?.into()),
            "--rsa" => rsa = true,
            "--help" => {
                print!("{HELP}");
                return Ok(());
            }
            _ => return Err(format!("{word} is unknown; see --help")),
        }
    }
    let control = control.ok_or("--control SOCKET is wanted; see --help")?;
    let port = port.ok_or("--port PORT is wanted; see --help")?;
    let root = if rsa { Root::rsa() } else { Root::new() };
    if let Some(certificate) = certificate {
        std::fs::write(&certificate, root.certificate_pem())
            .map_err(|e| format!("{}: {e}", certificate.display()))?;
    }
    let card = card(file.as_deref(), serial, firmware, &root)?;
    match dialer {
        None => card.plug_into(port),
        Some(dialer) => card.plug_in_through(&dialer, port),
    }
    control::listen(&card, &root, &control).map_err(|e| format!("{}: {e}", control.display()))
}

fn card(file: Option<&Path>, serial: u32, firmware: [u8; 3], root: &Root) -> Result<Card, String> {
    let state = match file {
        Some(file) if file.exists() => State::read(file)?,
        _ => State::new(serial, firmware, root),
    };
    let card = Card::with_state(state);
    if let Some(file) = file {
        card.order(&format!("persist {}", file.display()), root)?;
    }
    Ok(card)
}
