//! The helper process that hosts one token, of a PKCS#11 module or a YubiKey: `tuf-agent host-token NAME`.
//!
//! Duty: run the module's code where it can hurt nobody else, and answer the agent, one request at a
//! time (signatures several at a time, where the configuration says so), over the sockets that it was given as its
//! standard input and output. Trust: the agent started it; the
//! module is trusted with PIN and keys of its own token and nothing more. Invariants: started by exec
//! with an environment of the configuration's; undumpable, without core files and new privileges;
//! confined before the module is loaded; ends when the agent does.

mod always;
mod attributes;
mod card;
mod certificates;
mod ckr;
mod codec;
pub(crate) mod confine;
mod crew;
pub(crate) mod doctor;
mod faults;
mod find;
mod forms;
mod keys;
pub(crate) mod lane;
mod line;
mod live;
mod login;
mod module;
mod objects;
mod possession;
pub(crate) mod protocol;
mod reload;
mod reserved;
mod search;
mod sign;
mod single;
mod token;
mod unfit;

pub(crate) use codec::{Curve, ecdsa_from_der, ecdsa_to_der};
pub use confine::Limits;

use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags};
use tuf::key::{KeyType, PublicKey};
use zeroize::Zeroizing;

use card::CardHost;
use confine::Confinement;
use crew::Crew;
use line::Line;
use module::ModuleFile;
use protocol::{Caps, Frame, HostError, HostErrorKind, Reply, Request, Setup, WireError};
use token::TokenHost;

use crate::doctor::How;

/// Why the helper did not run. It is started by the agent and talks to it alone.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HostFailure {
    /// Standard input is not the agent's socket.
    #[error("host-token is started by tuf-agent itself, with a socket as its standard input: {0}")]
    NotStartedByAgent(std::io::Error),
    /// The process could not be protected.
    #[error(transparent)]
    Hardening(#[from] secmem::HardenError),
    /// What came over the socket was not what the agent says.
    #[error("the connection to the agent broke: {0}")]
    Connection(String),
}

/// The body of `tuf-agent host-token NAME`. Returns when the agent closed its end.
///
/// # Errors
/// When it was not started by the agent, or cannot protect itself.
pub fn run() -> Result<(), HostFailure> {
    secmem::harden_process()?;
    find::quiet_where_expected();
    let not_ours = |error: std::io::Error| HostFailure::NotStartedByAgent(error);
    let stream = UnixStream::from(take(rustix::stdio::stdin()).map_err(not_ours)?);
    let lane = Arc::new(take(rustix::stdio::stdout()).map_err(not_ours)?);
    rustix::net::getpeername(&lane).map_err(|error| not_ours(error.into()))?;
    stream.peer_addr().map_err(not_ours)?;
    let mut watched = Some(stream.try_clone().map_err(not_ours)?);
    let mut stage = Stage::Empty;
    let mut buf = vec![0; lane::ASK_MAX];
    // Read where it is answered: another thread would have to be woken for each request.
    while let Some(next) = next(&stream, &lane, stage.crew()) {
        match next {
            Next::Request => {
                let Ok(frame) = protocol::read_frame(&stream, Caps::REQUEST, None) else { break };
                stage.rest()?;
                match answer(&mut stage, &frame, &Line::new(&stream, frame.id)) {
                    Ok((reply, tail)) => send(&stream, frame.id, &reply, &tail),
                    Err(error) => send(&stream, frame.id, &Reply::Error(error), &[]),
                }
                .map_err(broken)?;
                let told = matches!(stage, Stage::Confined(..) | Stage::Card(..));
                if let Some(agent) = watched.take_if(|_| told) {
                    watch(agent);
                }
                stage.engage(&lane)?;
            }
            Next::Signature => match lane::receive(&lane, &mut buf) {
                Ok([]) => break,
                Ok(message) => sign_small(&mut stage, message, &lane)?,
                Err(rustix::io::Errno::AGAIN) => {}
                Err(error) => return Err(broken(error)),
            },
            Next::Back => stage.take_back()?,
        }
    }
    stage.rest()?;
    match stage {
        Stage::Loaded { host, .. } => {
            host.end();
            end_all();
        }
        Stage::Card(mut host) => host.close(),
        Stage::Empty | Stage::Opened(..) | Stage::Confined(..) => {}
    }
    Ok(())
}

fn broken(error: impl std::fmt::Display) -> HostFailure {
    HostFailure::Connection(error.to_string())
}

/// Ends this process soon after the agent, also while the module hangs. A thread takes over what confines the one that
/// starts it, so this one is started after that, and before the module.
fn watch(agent: UnixStream) {
    std::thread::spawn(move || {
        wait_for_end(&agent);
        std::thread::sleep(LAST_CALL);
        end_all();
    });
}

/// Ends this process, and what the module has forked: it knows what this one knew.
fn end_all() {
    use rustix::process::{Signal, getpgrp, getpid, kill_current_process_group, kill_process};
    // Only a group of its own: the agent is in none that this process leads.
    if getpgrp() == getpid() {
        let _ = kill_current_process_group(Signal::KILL);
    }
    let _ = kill_process(getpid(), Signal::KILL);
}

/// Returns when the other side has closed the connection.
fn wait_for_end(stream: &UnixStream) {
    loop {
        let mut fds = [PollFd::new(stream, PollFlags::RDHUP)];
        match rustix::event::poll(&mut fds, None) {
            Err(rustix::io::Errno::INTR) | Ok(0) => {}
            Ok(_) | Err(_) => return,
        }
    }
}

/// On which connection something waits.
enum Next {
    Request,
    Signature,
    /// One of the crew is back.
    Back,
}

/// Waits for it; none at the end. Requests go first: a `lock` must not wait behind signatures.
fn next(stream: &UnixStream, lane: &OwnedFd, crew: Option<&Crew>) -> Option<Next> {
    let places = [Some((Next::Request, stream.as_fd())), crew.map(|crew| (Next::Back, crew.as_fd()))];
    let places = places.into_iter().flatten().chain([(Next::Signature, lane.as_fd())]);
    let (nexts, mut fds): (Vec<_>, Vec<_>) =
        places.map(|(next, fd)| (next, PollFd::from_borrowed_fd(fd, PollFlags::IN))).unzip();
    loop {
        match rustix::event::poll(&mut fds, None) {
            Err(rustix::io::Errno::INTR) | Ok(0) => {}
            Err(_) => return None,
            Ok(_) => {
                let mut ready = nexts.into_iter().zip(&fds).filter(|(_, fd)| !fd.revents().is_empty());
                return ready.next().map(|(next, _)| next);
            }
        }
    }
}

/// A signature that was asked for on the lane: by the crew, where there is one and it can.
fn sign_small(stage: &mut Stage, message: &[u8], lane: &OwnedFd) -> Result<(), HostFailure> {
    if let Stage::Loaded { host, crew: Some(crew), .. } = stage
        && crew.give(host, message).map_err(broken)?
    {
        return Ok(());
    }
    let told = match lane::Ask::decode(message) {
        None => lane::Told { id: 0, outcome: Err(sign::no_request()) },
        Some(ask) => lane::Told { id: ask.id, outcome: sign_here(stage, &ask) },
    };
    lane::send(lane, &told.encode(), true).map_err(broken)
}

fn sign_here(stage: &mut Stage, ask: &lane::Ask<'_>) -> Result<Vec<u8>, HostError> {
    let Stage::Loaded { host, .. } = stage else {
        return Err(HostError::new(HostErrorKind::Protocol, "a request out of order"));
    };
    host.sign(ask.key, sign::scheme(ask.scheme)?, How::InOrder, ask.data)
}

/// How far the helper has come.
enum Stage {
    Empty,
    Opened(Setup, ModuleFile),
    Confined(Setup, ModuleFile, Confinement),
    // The file stays open for as long as its code runs.
    Loaded { host: Box<TokenHost>, crew: Option<Crew>, _file: ModuleFile },
    Card(CardHost),
}

impl Stage {
    const fn crew(&self) -> Option<&Crew> {
        if let Self::Loaded { crew, .. } = self { crew.as_ref() } else { None }
    }

    /// Engages a crew, where the configuration wants one and there is none yet.
    fn engage(&mut self, lane: &Arc<OwnedFd>) -> Result<(), HostFailure> {
        if let Self::Loaded { host, crew: crew @ None, .. } = self
            && host.sessions() > 1
        {
            *crew = Some(Crew::new(host.sessions(), &host.single, lane).map_err(broken)?);
        }
        Ok(())
    }

    /// Whoever is at work comes back first.
    fn rest(&mut self) -> Result<(), HostFailure> {
        match self {
            Self::Loaded { host, crew: Some(crew), .. } => crew.rest(host).map_err(broken),
            _ => Ok(()),
        }
    }

    fn take_back(&mut self) -> Result<(), HostFailure> {
        match self {
            Self::Loaded { host, crew: Some(crew), .. } => crew.take_back(host).map_err(broken),
            _ => Ok(()),
        }
    }
}

fn send(stream: &UnixStream, id: u64, reply: &Reply, tail: &[u8]) -> Result<(), WireError> {
    protocol::write_frame(stream, id, reply, &[tail], None)
}

type Answer = Result<(Reply, Zeroizing<Vec<u8>>), HostError>;

fn answer(stage: &mut Stage, frame: &Frame, line: &Line<'_>) -> Answer {
    let request = protocol::parse_head(&frame.head)
        .map_err(|e| HostError::new(HostErrorKind::Protocol, e.to_string()))?;
    match (request, &mut *stage) {
        (Request::Open(setup), Stage::Empty) => {
            let file = ModuleFile::open(Path::new(&setup.module))?;
            let reply =
                Reply::Opened { path: file.path().display().to_string(), sha256: file.sha256().to_owned() };
            *stage = Stage::Opened(setup, file);
            plain(reply)
        }
        (Request::OpenCard { serial, token }, Stage::Empty) => {
            let confinement = confine::confine_card()?;
            *stage = Stage::Card(CardHost::new(serial, token));
            plain(Reply::Confined(confinement))
        }
        (request, Stage::Card(host)) => host.answer(request, &frame.tail, line),
        (Request::Confine(limits), Stage::Opened(..)) => confine(stage, &limits),
        (Request::Load, Stage::Confined(..)) => load(stage),
        (request, Stage::Loaded { host, .. }) => {
            host.teller = if host.live.is_none() { line.teller() } else { None };
            let answer = serve(host, request, &frame.tail, line);
            host.teller = None;
            answer
        }
        _ => Err(HostError::new(HostErrorKind::Protocol, "a request out of order")),
    }
}

fn confine(stage: &mut Stage, limits: &Limits) -> Answer {
    let Stage::Opened(setup, file) = std::mem::replace(stage, Stage::Empty) else {
        return Err(HostError::new(HostErrorKind::Protocol, "nothing was opened"));
    };
    let confinement = confine::confine(limits, &file, setup.reserved.as_deref())?;
    *stage = Stage::Confined(setup, file, confinement.clone());
    plain(Reply::Confined(confinement))
}

fn load(stage: &mut Stage) -> Answer {
    let Stage::Confined(setup, file, confinement) = std::mem::replace(stage, Stage::Empty) else {
        return Err(HostError::new(HostErrorKind::Protocol, "nothing was confined"));
    };
    let loaded = TokenHost::load(&file, setup);
    let mut host = Box::new(loaded.map_err(|error| confinement.hint(error))?);
    let library = host.library();
    *stage = Stage::Loaded { host, crew: None, _file: file };
    plain(Reply::Loaded { library })
}

fn serve(host: &mut TokenHost, request: Request, tail: &[u8], line: &Line<'_>) -> Answer {
    match request {
        Request::Poll | Request::Look => plain(Reply::Status(host.look()?)),
        Request::Login { last_try, meant } => {
            plain(Reply::Status(host.login(tail.to_vec(), last_try, &meant)?))
        }
        Request::Enter { serial } => {
            let meant = protocol::Wanted { serial, ..protocol::Wanted::default() };
            plain(Reply::Status(host.enter(&meant)?))
        }
        Request::Logout => {
            host.logout();
            plain(Reply::Done)
        }
        Request::List => {
            let objects::Listed { keys, odd, unfit } = host.with_token(objects::list)?;
            // No keys, or no token any more? SoftHSM's answer is the same.
            let status = host.look()?;
            plain(Reply::Keys { keys, all: status.logged_in, odd, unfit, of: Some(Box::new(status)) })
        }
        Request::Generate { name, kind, curve_name, .. } => {
            let kind: KeyType = kind.parse().map_err(|_| protocol_error("a key type"))?;
            let curve = curve_name.as_deref();
            let key = host.with_token(|pkcs11, live| keys::generate(pkcs11, live, &name, kind, curve))?;
            plain(Reply::Key { key })
        }
        Request::Import { name, public, .. } => {
            let public = public_key(&public)?;
            let key = host.with_token(|pkcs11, live| keys::import(pkcs11, live, &name, &public, tail))?;
            plain(Reply::Key { key })
        }
        Request::Remove { public, proof } => {
            let (public, single) = (public_key(&public)?, host.single.clone());
            let proof = proof.map(|(scheme, how)| Ok((sign::scheme(&scheme)?, how))).transpose()?;
            let proof = proof.map(|(scheme, how)| (&single, scheme, how));
            let private = host.with_token(|pkcs11, live| keys::remove(pkcs11, live, &public, proof))?;
            plain(Reply::Removed { private })
        }
        Request::ChangePin { old_len, last_try, meant } => {
            let (old, new) = tail.split_at_checked(old_len).ok_or_else(|| protocol_error("two PINs"))?;
            let text = |pin| std::str::from_utf8(pin).map_err(|_| protocol_error("a PIN in UTF-8"));
            host.change_pin(text(old)?, text(new)?, last_try, &meant)?;
            plain(Reply::Done)
        }
        Request::Sign { public, scheme, pin_len, how, login_before, meant } => {
            let key = hex::decode(&public).map_err(|_| protocol_error("a public key"))?;
            let scheme = sign::scheme(&scheme)?;
            let (signature, presented) = match pin_len {
                None => (host.sign(&key, scheme, how, tail)?, false),
                Some(len) => {
                    let parts = tail.split_at_checked(len).ok_or_else(|| protocol_error("a PIN"))?;
                    if login_before {
                        host.order = always::Order::Before;
                    }
                    host.sign_with_pin(&key, (scheme, how), (parts.0.to_vec(), &meant), parts.1, line)?
                }
            };
            Ok((Reply::Signature { presented }, Zeroizing::new(signature)))
        }
        Request::Origin { public } => {
            let key = hex::decode(&public).map_err(|_| protocol_error("a public key"))?;
            let facts = host.with_token(|pkcs11, live| doctor::origin_of(pkcs11, live, &key))?;
            plain(Reply::Origin { facts })
        }
        Request::EachUse { public } => {
            let key = hex::decode(&public).map_err(|_| protocol_error("a public key"))?;
            let found = host.with_token(|pkcs11, live| objects::private_of(pkcs11, live, &key))?;
            plain(Reply::EachUse { pin: found.always })
        }
        Request::Probe { probe, place, alone, meant } => {
            let facts = Box::new(doctor::run(host, probe, place, alone, (tail, line, &meant))?);
            plain(Reply::Facts { facts })
        }
        Request::Attest { .. }
        | Request::CardFacts
        | Request::ChangePuk { .. }
        | Request::Unblock { .. }
        | Request::ChangeManagementKey { .. } => {
            Err(HostError::new(HostErrorKind::Unsupported, "the token is no YubiKey"))
        }
        Request::Open(_)
        | Request::OpenCard { .. }
        | Request::Confine(_)
        | Request::Load
        | Request::Present { .. } => Err(protocol_error("a request in its order")),
    }
}

fn plain(reply: Reply) -> Answer {
    Ok((reply, Zeroizing::new(Vec::new())))
}

fn public_key(hexadecimal: &str) -> Result<PublicKey, HostError> {
    let der = hex::decode(hexadecimal).map_err(|_| protocol_error("a public key"))?;
    PublicKey::from_spki_der(&der).map_err(|_| protocol_error("a public key"))
}

fn protocol_error(wanted: &str) -> HostError {
    HostError::new(HostErrorKind::Protocol, format!("the request lacks {wanted}"))
}

/// Takes a socket from a standard descriptor and leaves /dev/null there: the module must find no way to
/// the agent, and what it starts inherits nothing.
fn take(standard: BorrowedFd<'_>) -> std::io::Result<OwnedFd> {
    let socket = rustix::io::fcntl_dupfd_cloexec(standard, 3)?;
    let null = rustix::fs::open("/dev/null", rustix::fs::OFlags::RDWR, rustix::fs::Mode::empty())?;
    match standard.as_raw_fd() {
        0 => rustix::stdio::dup2_stdin(&null)?,
        _ => rustix::stdio::dup2_stdout(&null)?,
    }
    Ok(socket)
}

/// What a call under way gets when the agent is gone.
const LAST_CALL: Duration = Duration::from_secs(5);
