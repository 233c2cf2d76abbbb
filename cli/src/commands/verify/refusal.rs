//! Refusals of `verify`: exit 6, with role, file and section.

use std::io::{Error, ErrorKind};
use std::path::Path;

use tuf::role::RoleName;
use tuf::trust::{TrustError, TrustFault};
use tuf::word;

use crate::error::{Failure, reason};

/// A refusal by the specification.
pub(crate) fn failure(error: &TrustError, file: &str) -> Failure {
    let role = &error.role;
    let failure = refused(role, file, error.spec, format!("{role}: {}", error.kind));
    match *error.kind {
        TrustFault::Expired { .. } => failure
            .remedy(format!("renew it: tufctl bump DIR {}, then tufctl sign DIR", word::last(role.as_str()))),
        TrustFault::WrongKeyid { .. } => {
            failure.remedy("sign the file anew with right keyids, or take them with --accept-keyids")
        }
        _ => failure,
    }
}

/// A refusal of a file for a role; `message` names the role.
pub(super) fn refused(role: &RoleName, file: &str, spec: &str, message: String) -> Failure {
    Failure::new(reason::VERIFICATION, format!("{message} ({file}, specification {spec})"))
        .remedy("do not use this copy; compare it with another one, or publish it again")
        .detail("role", role.as_str())
        .detail("file", file)
        .detail("spec", spec)
}

/// What is the matter with a published file that cannot be opened, as "is missing"; `None` when that says more about
/// this machine than about the file.
pub(super) fn unusable(path: &Path, error: &Error) -> Option<String> {
    match error.kind() {
        ErrorKind::NotFound if path.is_symlink() => Some("is a link that leads nowhere".to_owned()),
        // Names that no file system here holds, or below what is no folder.
        ErrorKind::NotFound | ErrorKind::NotADirectory | ErrorKind::InvalidFilename => {
            Some("is missing".to_owned())
        }
        ErrorKind::InvalidInput => Some(format!("cannot be used: {error}")),
        _ if error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error()) => {
            Some("is a link that leads in a circle".to_owned())
        }
        _ => None,
    }
}
