//! Repositories: records, and metadata that is shown to the agent.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Instant;

use ledger::Watermark;
use policy::Reason;
use tokio_stream::StreamExt as _;
use tonic::{Request, Response, Status, Streaming};
use tuf::digest::Sha256Digest;
use tuf::role::{RoleKind, RoleName, Version};
use tuf::time::UtcTime;
use tuf::word;
use tufagent_proto::v1::observe_request::Part;
use tufagent_proto::v1::repositories_server::Repositories;
use tufagent_proto::v1::{
    FileDigest, FindRepositoryReply, FindRepositoryRequest, ListRepositoriesReply, ListRepositoriesRequest,
    MissingReply, MissingRequest, NewestRootReply, NewestRootRequest, ObserveBegin, ObserveReply,
    ObserveRequest, RecallReply, RecallRequest, RecalledFile, RegisterRepositoryReply,
    RegisterRepositoryRequest, Repository, ResetWatermarkReply, ResetWatermarkRequest, SetExpiryReply,
    SetExpiryRequest, WasSignedReply, WasSignedRequest,
};

use super::{answer, named, too_slow};
use crate::door::{Connection, HeldBytes, Place};
use crate::intake::{Intake, ReceivedFile};
use crate::limits;
use crate::refusal::Refusal;
use crate::repositories::{Consent, Described, NewestRoot, Record, Registered, Registration, days_of};
use crate::state::AppState;

/// The service.
pub struct RepositoriesService(pub AppState);

/// The longest length of a role, days.
const MOST_DAYS: u32 = 36_500;

#[tonic::async_trait]
impl Repositories for RepositoriesService {
    async fn list(
        &self,
        request: Request<ListRepositoriesRequest>,
    ) -> Result<Response<ListRepositoriesReply>, Status> {
        answer(&self.0, "Repositories.List", request, |state, _, _| async move {
            let mut repositories = Vec::new();
            for record in state.repositories().all().await? {
                repositories.push(described(&state, &record).await?);
            }
            Ok(ListRepositoriesReply { repositories })
        })
        .await
    }

    async fn find(
        &self,
        request: Request<FindRepositoryRequest>,
    ) -> Result<Response<FindRepositoryReply>, Status> {
        answer(&self.0, "Repositories.Find", request, |state, _, wanted| async move {
            check_list("digests", wanted.root_digests.len(), limits::FILES)?;
            let record = if wanted.root_digests.is_empty() {
                state.repositories().by_name(&wanted.name).await?
            } else {
                let digests =
                    wanted.root_digests.iter().map(|text| digest(text)).collect::<Result<_, _>>()?;
                state.repositories().by_roots(digests).await?
            };
            Ok(FindRepositoryReply { repository: Some(described(&state, &record).await?) })
        })
        .await
    }

    async fn register(
        &self,
        request: Request<RegisterRepositoryRequest>,
    ) -> Result<Response<RegisterRepositoryReply>, Status> {
        answer(&self.0, "Repositories.Register", request, |state, connection, wanted| async move {
            let mut asked = registration(wanted, &connection)?;
            let keys = state.tokens().keys().await;
            asked.held = keys.iter().map(|key| key.stored.public.fingerprint()).collect();
            let Registered { record, warnings, alarms } = state.repositories().register(asked).await?;
            let repository = match &record {
                Some(record) => Some(described(&state, record).await?),
                None => None,
            };
            Ok(RegisterRepositoryReply { repository, warnings, alarms })
        })
        .await
    }

    async fn missing(&self, request: Request<MissingRequest>) -> Result<Response<MissingReply>, Status> {
        answer(&self.0, "Repositories.Missing", request, |state, _, wanted| async move {
            check_list("files", wanted.files.len(), limits::LISTED)?;
            let record = state.repositories().by_name(&wanted.repository).await?;
            let files = missing(&state, &record, wanted.files, wanted.published).await?;
            Ok(MissingReply { files })
        })
        .await
    }

    async fn was_signed(
        &self,
        request: Request<WasSignedRequest>,
    ) -> Result<Response<WasSignedReply>, Status> {
        answer(&self.0, "Repositories.WasSigned", request, |state, _, wanted| async move {
            let record = state.repositories().by_name(&wanted.repository).await?;
            let file = wanted.file.as_ref().ok_or_else(|| usage("no file was named"))?;
            let Described { role, version, digest, .. } = file_of(file)?;
            let signed = state.repositories().has_marked(&record, &role, version, digest).await?;
            Ok(WasSignedReply { signed })
        })
        .await
    }

    async fn recall(&self, request: Request<RecallRequest>) -> Result<Response<RecallReply>, Status> {
        answer(&self.0, "Repositories.Recall", request, |state, _, wanted| async move {
            check_list("files", wanted.files.len(), limits::LISTED)?;
            check_list("roles", wanted.without.len(), limits::LISTED)?;
            let without = wanted.without.iter().map(|role| role_name(role)).collect::<Result<_, _>>()?;
            let record = match state.repositories().by_name(&wanted.repository).await {
                // It is asked by a name that somebody may have noted elsewhere.
                Err(refusal) if refusal.reason == Reason::RepositoryUnknown => {
                    return Ok(RecallReply::default());
                }
                found => found?,
            };
            let missing = missing(&state, &record, wanted.files, true).await?;
            let found = match missing.as_slice() {
                [] => state.repositories().recalled(&record, &without).await?,
                _ => Vec::new(),
            };
            let recalled = found
                .into_iter()
                .map(|(role, file)| RecalledFile { role: role.to_string(), file: file.bytes().to_vec() });
            let repository = Some(described(&state, &record).await?);
            Ok(RecallReply { repository, missing, recalled: recalled.collect() })
        })
        .await
    }

    async fn observe(
        &self,
        request: Request<Streaming<ObserveRequest>>,
    ) -> Result<Response<ObserveReply>, Status> {
        answer(&self.0, "Repositories.Observe", request, |state, connection, stream| async move {
            let (begin, files, _held) = receive(&state, stream, connection.place()).await?;
            let repositories = state.repositories();
            let observed = if begin.adopt {
                let wanted = begin.registration.filter(|wanted| wanted.name == begin.repository);
                let wanted = wanted.ok_or_else(|| usage("what is adopted comes with its registration"))?;
                let without = begin.without.iter().map(|role| role_name(role)).collect::<Result<_, _>>()?;
                let consent = Consent { acknowledge: begin.acknowledge, without };
                repositories.adopt(registration(wanted, &connection)?, &consent, files).await?
            } else {
                let record = repositories.by_name(&begin.repository).await?;
                let caller = connection.peer().journal_json();
                repositories.observe(&record, begin.published, files, caller).await?
            };
            Ok(ObserveReply {
                verified: versions(observed.verified.into_iter()),
                alarms: observed.alarms,
                standing: observed.standing,
            })
        })
        .await
    }

    async fn set_expiry(
        &self,
        request: Request<SetExpiryRequest>,
    ) -> Result<Response<SetExpiryReply>, Status> {
        answer(&self.0, "Repositories.SetExpiry", request, set_expiry).await
    }

    async fn newest_root(
        &self,
        request: Request<NewestRootRequest>,
    ) -> Result<Response<NewestRootReply>, Status> {
        answer(&self.0, "Repositories.NewestRoot", request, |state, _, wanted| async move {
            let record = state.repositories().by_name(&wanted.repository).await?;
            let NewestRoot { root, complete } = state.repositories().newest_root(&record).await?;
            let (version, sha256) = (root.version().get(), root.digest().to_string());
            // What was signed as its signed part alone gets the rest of a file around it.
            let alone = root.is_signed_part().then(|| root.with_signatures(&[]));
            Ok(NewestRootReply {
                version,
                sha256,
                complete,
                file: alone.unwrap_or_else(|| root.bytes().to_vec()),
            })
        })
        .await
    }

    async fn reset_watermark(
        &self,
        request: Request<ResetWatermarkRequest>,
    ) -> Result<Response<ResetWatermarkReply>, Status> {
        answer(&self.0, "Repositories.ResetWatermark", request, reset_watermark).await
    }
}

/// What is asked for, read; which keys the agent holds matters to no registration but the first.
fn registration(wanted: RegisterRepositoryRequest, connection: &Connection) -> Result<Registration, Refusal> {
    check_list("digests", wanted.root_digests.len(), limits::LISTED)?;
    Ok(Registration {
        held: BTreeSet::new(),
        name: wanted.name,
        expiry_days: lengths(wanted.expiry_days)?,
        root: Some(wanted.root).filter(|root| !root.is_empty()),
        roots: wanted.root_digests.iter().map(|text| digest(text)).collect::<Result<_, _>>()?,
        shared_key: wanted.shared_key,
        caller: connection.peer().journal_json(),
    })
}

/// Those of `files` that were not verified yet. Of the others, if they are published, note is taken of that.
async fn missing(
    state: &AppState,
    record: &Record,
    files: Vec<FileDigest>,
    published: bool,
) -> Result<Vec<FileDigest>, Refusal> {
    let (mut missing, mut known) = (Vec::new(), Vec::new());
    for file in files {
        let described = file_of(&file)?;
        if state.repositories().misses(record, &described).await? {
            missing.push(file);
        } else if published {
            known.push(described);
        }
    }
    state.repositories().note_published(record, &known).await?;
    Ok(missing)
}

/// What a mark names.
fn file_digest(role: &RoleName, mark: ledger::Mark) -> FileDigest {
    let (role, version, sha256) = (role.to_string(), mark.version.get(), mark.digest.to_string());
    FileDigest { role, version, sha256, file_sha256: String::new() }
}

async fn set_expiry(
    state: AppState,
    connection: Arc<Connection>,
    wanted: SetExpiryRequest,
) -> Result<SetExpiryReply, Refusal> {
    let record = state.repositories().by_name(&wanted.repository).await?;
    let (role, days) = length(&wanted.role, wanted.days)?;
    let before = days_of(&record, &role);
    if days > before && wanted.from_days != before && !is_new(&state, &record, &role).await? {
        let message =
            format!("{role} of {} is valid for {before} days, and nobody confirmed {days}", record.name);
        return Err(Refusal::new(Reason::ConfirmationMissing, message)
            .remedy(format!(
                "tufctl bump DIR {} asks for it",
                word::before(role.as_str(), &format!("--expires {days}d"))
            ))
            .detail("role", role.to_string())
            .detail("recorded_days", before));
    }
    let caller = connection.peer().journal_json();
    let lengths = BTreeMap::from([(role, (before, days))]);
    let record = state.ledger().set_expiry(record.id, lengths, caller).await?;
    Ok(SetExpiryReply { repository: Some(described(&state, &record).await?) })
}

/// Whether a role has no length yet that somebody could rely on.
async fn is_new(state: &AppState, record: &Record, role: &RoleName) -> Result<bool, Refusal> {
    let unseen = state.ledger().watermark(record.id, role.clone()).await?.newest().is_none();
    Ok(unseen && !record.expiry_days.contains_key(role))
}

async fn reset_watermark(
    state: AppState,
    connection: Arc<Connection>,
    wanted: ResetWatermarkRequest,
) -> Result<ResetWatermarkReply, Refusal> {
    let record = state.repositories().by_name(&wanted.repository).await?;
    let role = role_name(&wanted.role)?;
    let done = !wanted.confirmed_sha256.is_empty();
    let reset = if done {
        let (confirmed, caller) = (digest(&wanted.confirmed_sha256)?, connection.peer().journal_json());
        state.repositories().reset_watermark(&record, &role, confirmed, caller).await?
    } else {
        state.repositories().look_at_reset(&record, &role).await?
    };
    Ok(ResetWatermarkReply {
        from_version: reset.from.map_or(0, |mark| mark.version.get()),
        from_sha256: reset.from.map(|mark| mark.digest.to_string()).unwrap_or_default(),
        to_version: reset.to.map_or(0, |mark| mark.version.get()),
        done: done || reset.from.is_none(),
    })
}

/// A record on the wire.
async fn described(state: &AppState, record: &Record) -> Result<Repository, Refusal> {
    let watermarks = state.ledger().watermarks(record.id).await?;
    let marks = |side: fn(&Watermark) -> Option<ledger::Mark>| {
        let marked =
            watermarks.iter().filter_map(move |(role, both)| Some((role.clone(), side(both)?.version)));
        versions(marked)
    };
    let used = state.ledger().used_keys(record.id).await?;
    let resets = state.ledger().resets(record.id).await?;
    let at_hand = state.repositories().kept();
    let kept = watermarks.iter().filter_map(|(role, both)| {
        let (mark, seen) = (both.verified?, both.file?.sha256);
        // The very file that was verified, signatures and all.
        let is_seen = at_hand.get(&mark.digest) == Some(&seen);
        is_seen.then(|| FileDigest { file_sha256: seen.to_string(), ..file_digest(role, mark) })
    });
    let top = RoleKind::ALL.map(RoleKind::role);
    let roles = top.iter().chain(record.expiry_days.keys());
    Ok(Repository {
        name: record.name.to_string(),
        id: record.id.to_string(),
        expiry_days: roles.map(|role| (role.to_string(), days_of(record, role))).collect(),
        tough_names: record.tough_names,
        trusted: record.root.is_some(),
        verified: marks(|both| both.verified),
        signed: marks(|both| both.signed),
        restarted: restarted(&resets),
        unlisted: versions(state.repositories().unlisted(record).await?.into_iter()),
        resets: resets.into_iter().map(|(role, mark)| file_digest(&role, mark)).collect(),
        kept: kept.collect(),
        published: versions(state.ledger().published(record.id).await?.into_iter()),
        keys: state.ledger().keys_of(record.id).await?.iter().map(ToString::to_string).collect(),
        used_keys: used.iter().map(ToString::to_string).collect(),
        created: record.created.unix(),
    })
}

/// Of each role the lowest version that its last reset has thrown away.
fn restarted(resets: &[(RoleName, ledger::Mark)]) -> HashMap<String, u64> {
    let mut last: BTreeMap<&RoleName, (UtcTime, Version)> = BTreeMap::new();
    for (role, mark) in resets {
        let known = last.entry(role).or_insert((mark.on, mark.version));
        if mark.on > known.0 || (mark.on == known.0 && mark.version < known.1) {
            *known = (mark.on, mark.version);
        }
    }
    versions(last.into_iter().map(|(role, (_, version))| (role.clone(), version)))
}

/// Begin, then files until the client ends the stream.
async fn receive(
    state: &AppState,
    mut stream: Streaming<ObserveRequest>,
    place: &Place,
) -> Result<(ObserveBegin, Vec<ReceivedFile>, HeldBytes), Refusal> {
    let began = Instant::now();
    let Some(Part::Begin(begin)) = next(&mut stream).await? else {
        return Err(usage("the first part must be begin"));
    };
    let mut intake = Intake::new(place.bytes());
    while let Some(part) = next(&mut stream).await? {
        if limits::too_slow(began.elapsed(), intake.received()) {
            return Err(too_slow());
        }
        match part {
            Part::File(header) => {
                let base = state.repositories().base(&header.base_sha256)?;
                intake.header(header, base)?;
            }
            Part::Copy(copy) => intake.copy(copy)?,
            Part::Chunk(bytes) => intake.chunk(&bytes)?,
            Part::Begin(_) => return Err(usage("begin came twice")),
        }
    }
    let (files, held) = intake.finish()?;
    Ok((begin, files, held))
}

async fn next(stream: &mut Streaming<ObserveRequest>) -> Result<Option<Part>, Refusal> {
    let broken = || {
        Refusal::new(Reason::Cancelled, "nothing was noted: the client's stream broke off")
            .remedy("show the files again")
    };
    match tokio::time::timeout(limits::SILENCE, stream.next()).await {
        Ok(None) => Ok(None),
        Ok(Some(Ok(request))) => {
            request.part.map(Some).ok_or_else(|| usage("an empty request came on the stream"))
        }
        Ok(Some(Err(status))) => Err(match named(&status) {
            refusal if refusal.reason == Reason::Cancelled => broken(),
            refusal => refusal,
        }),
        Err(_) => Err(too_slow()),
    }
}

/// Lists in one message have a limit of their own, so that no list costs more than its bytes say.
fn check_list(what: &str, length: usize, limit: usize) -> Result<(), Refusal> {
    if length <= limit {
        return Ok(());
    }
    Err(Refusal::new(Reason::Limit, format!("{length} {what} in one call are too many"))
        .remedy(format!("send at most {limit} at a time"))
        .detail("limit", limit))
}

fn lengths(given: HashMap<String, u32>) -> Result<BTreeMap<RoleName, u32>, Refusal> {
    check_list("lengths", given.len(), limits::LISTED)?;
    given.iter().map(|(role, days)| length(role, *days)).collect()
}

fn length(role: &str, days: u32) -> Result<(RoleName, u32), Refusal> {
    if (1..=MOST_DAYS).contains(&days) {
        return Ok((role_name(role)?, days));
    }
    Err(usage(&format!("a length of {days} days is not between 1 and {MOST_DAYS}")))
}

fn file_of(file: &FileDigest) -> Result<Described, Refusal> {
    let version = Version::new(file.version).ok_or_else(|| usage("a version lies between 1 and 2^53 - 1"))?;
    let bytes = Some(file.file_sha256.as_str()).filter(|text| !text.is_empty());
    Ok(Described {
        role: role_name(&file.role)?,
        version,
        digest: digest(&file.sha256)?,
        file: bytes.map(digest).transpose()?,
    })
}

fn role_name(text: &str) -> Result<RoleName, Refusal> {
    text.parse().map_err(|error| {
        Refusal::new(Reason::NameInvalid, format!("a role was named wrongly: {error}"))
            .remedy("name a role of the repository")
    })
}

fn digest(text: &str) -> Result<Sha256Digest, Refusal> {
    text.parse().map_err(|error| usage(&format!("a digest was given wrongly: {error}")))
}

fn usage(message: &str) -> Refusal {
    Refusal::new(Reason::Usage, message).remedy("use tufctl, or read agent.proto")
}

fn versions(roles: impl Iterator<Item = (RoleName, Version)>) -> HashMap<String, u64> {
    roles.map(|(role, version)| (role.to_string(), version.get())).collect()
}
