//! Received files read as what they are said to be.

use std::collections::{BTreeMap, HashMap};

use policy::Reason;
use tuf::digest::Sha256Digest;
use tuf::json::Text;
use tuf::metadata::{Limits, Metadata, MetadataError};
use tuf::role::RoleName;

use super::Repositories;
use super::authority::delegations;
use crate::intake::ReceivedFile;
use crate::refusal::Refusal;
use ledger::Record;

/// From this size on, bytes, a file is compared with what is at hand before it is read, and may be sent as changes of it.
pub(super) const LARGE: usize = 1 << 20;

impl Repositories {
    /// The large files that are at hand: by the digest of what is signed in them, that of their bytes.
    #[must_use]
    pub fn kept(&self) -> BTreeMap<Sha256Digest, Sha256Digest> {
        let named = |file: &Metadata| Some((file.digest(), file.known_file_digest()?));
        self.memory.large().iter().filter_map(named).collect()
    }

    /// The large file whose bytes have this digest, of which the caller sends changes; nothing for none.
    ///
    /// # Errors
    /// `BASE_UNKNOWN`, `USAGE`.
    pub fn base(&self, file_sha256: &str) -> Result<Option<Metadata>, Refusal> {
        if file_sha256.is_empty() {
            return Ok(None);
        }
        let wanted: Sha256Digest = file_sha256.parse().map_err(|error| {
            Refusal::new(Reason::Usage, format!("the digest of a base was given wrongly: {error}"))
        })?;
        let large = self.memory.large();
        let found = large.into_iter().find(|file| file.known_file_digest() == Some(wanted));
        found.map(Some).ok_or_else(|| {
            Refusal::new(Reason::BaseUnknown, "the file is not at hand of which changes were sent")
                .remedy("send all of it")
        })
    }

    /// For each file the newest of its role, where the file is large and that is at hand: what was signed a moment ago
    /// comes back with its signatures, and all else of it need not be read again.
    pub(super) async fn at_hand(
        &self,
        record: &Record,
        files: &[ReceivedFile],
    ) -> Result<Vec<Option<Metadata>>, Refusal> {
        let mut known = Vec::with_capacity(files.len());
        for file in files {
            let role = file.role.parse().ok().filter(|_| file.bytes.len() >= LARGE);
            known.push(match role {
                Some(role) => self.memory.at_hand(record, &role).await?,
                None => None,
            });
        }
        Ok(known)
    }
}

/// Reads a file, with the help of the version that it was made from.
pub fn parse(bytes: impl Into<Text>, near: Option<&Metadata>) -> Result<Metadata, MetadataError> {
    let limits = Limits::agent();
    match near {
        Some(near) => near.parse_near(bytes, &limits),
        None => Metadata::parse(bytes, &limits),
    }
}

/// Reads every file, and its digest, as what it is said to be.
pub(super) fn read_all(
    files: Vec<ReceivedFile>,
    known: Vec<Option<Metadata>>,
) -> Result<Vec<(RoleName, Metadata)>, Refusal> {
    let read = |(file, known): (ReceivedFile, Option<Metadata>)| {
        let unreadable = |why: &dyn std::fmt::Display| {
            let shown: String = file.role.chars().take(80).collect();
            Refusal::new(Reason::MetadataInvalid, format!("the metadata of {shown:?} cannot be read: {why}"))
                .remedy("look at the file, or get it again from where it was published")
                .detail("role", shown)
        };
        let role: RoleName = file.role.parse().map_err(|why| unreadable(&why))?;
        let bytes = Text::from(file.bytes);
        let metadata = match known.and_then(|known| known.resigned_as(&bytes)) {
            Some(metadata) => metadata,
            None => parse(bytes, file.near.as_ref()).map_err(|why| unreadable(&why))?,
        };
        if metadata.kind() != role.kind() {
            return Err(unreadable(&format!("it is metadata of the type {}", metadata.kind())));
        }
        let _ = (metadata.digest(), metadata.file_digest());
        Ok((role, metadata))
    };
    files.into_iter().zip(known).map(read).collect()
}

/// Puts every targets role behind all of those that delegate to it; all else stays where it is. A role with two parents
/// is judged by both. In a circle of delegations the first one goes first.
pub(super) fn parents_first(files: Vec<(RoleName, Metadata)>) -> Vec<(RoleName, Metadata)> {
    let order = order_of(&files);
    let mut files: Vec<_> = files.into_iter().map(Some).collect();
    order.into_iter().filter_map(|at| files.get_mut(at)?.take()).collect()
}

fn order_of(files: &[(RoleName, Metadata)]) -> Vec<usize> {
    let parents = Parents::of(files);
    let (mut order, mut begun) = (Vec::with_capacity(files.len()), vec![false; files.len()]);
    for first in 0..files.len() {
        // What must come before it, deepest last; each is looked at once before its parents and once after.
        let mut waiting = vec![(first, false)];
        while let Some((at, ready)) = waiting.pop() {
            let Some((role, _)) = files.get(at) else { continue };
            if ready {
                order.push(at);
                continue;
            }
            let Some(its) = begun.get_mut(at).filter(|begun| !**begun) else { continue };
            *its = true;
            waiting.push((at, true));
            // One that is begun is not looked at again, however many roles it delegates to.
            let mut before = parents.perhaps_of(role);
            before.retain(|parent| begun.get(*parent) == Some(&false) && delegates(files, *parent, role));
            waiting.extend(before.into_iter().rev().map(|parent| (parent, false)));
        }
    }
    order
}

/// Whether the file at `at` delegates to this other role.
fn delegates(files: &[(RoleName, Metadata)], at: usize, role: &RoleName) -> bool {
    let of = files.get(at).filter(|(name, _)| name != role);
    of.and_then(|(_, file)| delegations(file)).is_some_and(|all| all.role_keys(role).is_some())
}

/// Where those stand that delegate: tens of thousands of files are not each asked for each of the others.
#[derive(Default)]
struct Parents<'f> {
    by_role: HashMap<&'f RoleName, Vec<usize>>,
    by_prefix: HashMap<&'f str, Vec<usize>>,
}

impl<'f> Parents<'f> {
    fn of(files: &'f [(RoleName, Metadata)]) -> Self {
        let mut found = Self::default();
        for (at, all) in files.iter().enumerate().filter_map(|(at, (_, file))| Some((at, delegations(file)?)))
        {
            for role in &all.roles {
                found.by_role.entry(&role.name).or_default().push(at);
            }
            if let Some(bins) = &all.succinct {
                found.by_prefix.entry(&bins.name_prefix).or_default().push(at);
            }
        }
        found
    }

    /// All that delegate to `role`, and perhaps others, in their order.
    fn perhaps_of(&self, role: &RoleName) -> Vec<usize> {
        let named = self.by_role.get(role).into_iter();
        let prefix = role.as_str().rsplit_once('-').map(|(prefix, _)| prefix);
        let bins = prefix.and_then(|prefix| self.by_prefix.get(prefix)).into_iter();
        let mut all: Vec<usize> = named.chain(bins).flatten().copied().collect();
        all.sort_unstable();
        all
    }
}

#[cfg(test)]
mod tests {
    use rustix::time::{ClockId, clock_gettime};
    use serde_json::{Value, json};
    use tuf::metadata::{Limits, Metadata};
    use tuf::role::RoleName;

    use super::parents_first;

    const KEYID: &str = "66687aadf862bd776c8fc18b8e9f8e20089714856ee233b3902a591d0d5f2925";

    fn file(role: &str, delegations: Value) -> (RoleName, Metadata) {
        let signed = json!({
            "_type": "targets", "spec_version": "1.0.31", "version": 1, "expires": "2030-01-01T00:00:00Z",
            "targets": {}, "delegations": delegations,
        });
        let text = json!({"signatures": [], "signed": signed}).to_string();
        (role.parse().unwrap(), Metadata::parse(text.into_bytes(), &Limits::agent()).unwrap())
    }

    fn to(role: &str, child: &str) -> (RoleName, Metadata) {
        let child = json!({
            "name": child, "keyids": [KEYID], "threshold": 1, "terminating": false, "paths": ["*"],
        });
        file(role, json!({"keys": {}, "roles": [child]}))
    }

    fn order(files: Vec<(RoleName, Metadata)>) -> Vec<String> {
        parents_first(files).iter().map(|(role, _)| role.to_string()).collect()
    }

    #[test]
    fn parents_of_every_kind_come_first_and_circles_end() {
        let bins = json!({"keyids": [KEYID], "threshold": 1, "bit_length": 4, "name_prefix": "a-bin"});
        let bins = |role| file(role, json!({"keys": {}, "succinct_roles": bins.clone()}));
        assert_eq!(
            order(vec![
                to("c", "d"),
                to("a-bin-f", "c"),
                to("a-bin-10", "x"),
                bins("top"),
                to("targets", "top")
            ]),
            ["targets", "top", "a-bin-f", "c", "a-bin-10"],
        );
        assert_eq!(order(vec![to("a", "b"), to("b", "a"), to("c", "c")]), ["b", "a", "c"]);
        assert_eq!(order(vec![to("x", "y"), to("b", "x"), to("a", "x")]), ["b", "a", "x"]);
    }

    #[test]
    fn tens_of_thousands_that_delegate_are_put_in_order_in_little_time() {
        let name = |number: u32| format!("r{number}");
        let files = (0..20_000).map(|number| to(&name(number), &name(number + 1)));
        let files: Vec<_> = files.rev().collect();
        let before = clock_gettime(ClockId::ThreadCPUTime);
        let ordered = order(files);
        let took = clock_gettime(ClockId::ThreadCPUTime).tv_sec - before.tv_sec;
        assert_eq!((ordered.len(), ordered[0].as_str(), ordered[19_999].as_str()), (20_000, "r0", "r19999"));
        assert!(took < 10, "{took} s of computing");
    }
}
