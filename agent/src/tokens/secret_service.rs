//! PINs in the Secret Service of a desktop (org.freedesktop.secrets, as gnome-keyring, KeePassXC and KWallet give it).
//!
//! Duty: the one item that has all the attributes of the configuration, over a connection that is made for it and closed
//! again; nothing of D-Bus is touched before. Trust: whoever answers under that name on the user's bus. The secret crosses
//! the bus sealed by a key agreed upon for it (see [`session`]), and is opened into locked memory. Nobody is asked: an item
//! that is locked is refused.

mod session;

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use policy::Reason;
use secmem::SecretBytes;
use zbus::{Connection, OwnedObjectPath, OwnedVariant, Variant};

use self::session::Exchange;
use crate::refusal::Refusal;

const SERVICE: &str = "org.freedesktop.secrets";
const PLACE: &str = "/org/freedesktop/secrets";
const OF_SERVICE: &str = "org.freedesktop.Secret.Service";
const OF_SESSION: &str = "org.freedesktop.Secret.Session";
const OF_ITEM: &str = "org.freedesktop.Secret.Item";
const ALGORITHM: &str = "dh-ietf1024-sha256-aes128-cbc-pkcs7";
/// For each call; a service may have to be started first.
const PATIENCE: Duration = Duration::from_secs(10);

/// A secret as it crosses the bus: session, parameters (the initial vector), what is sealed, content type.
type Sealed = (OwnedObjectPath, Vec<u8>, Vec<u8>, String);

/// Why there is no secret.
enum Trouble {
    /// What happened, and what to do.
    Told(String, String),
    Bus(zbus::Error),
}

impl From<zbus::Error> for Trouble {
    fn from(error: zbus::Error) -> Self {
        Self::Bus(error)
    }
}

/// Fetches the secret of the item with these attributes, of at most `most` bytes; blocks. `place` names it for people.
///
/// # Errors
/// `SECRET_FILE` when there is none that may be read, or more than one.
pub(super) fn fetch(
    attributes: &BTreeMap<String, String>,
    place: &str,
    most: usize,
) -> Result<SecretBytes, Refusal> {
    // A runtime of its own: nothing of the bus lives longer than this call.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(Refusal::internal)?;
    let fetched = runtime.block_on(async { tokio::time::timeout(PATIENCE, ask(attributes, most)).await });
    let told =
        |why: String, remedy: &str| Refusal::new(Reason::SecretFile, format!("{place} {why}")).remedy(remedy);
    match fetched {
        Ok(Ok(fetched)) => Ok(fetched),
        Ok(Err(Trouble::Told(why, remedy))) => Err(told(why, &remedy)),
        Ok(Err(Trouble::Bus(error))) => Err(told(
            format!("cannot be asked for: {error}"),
            "the agent must run in the desktop's session, whose bus DBUS_SESSION_BUS_ADDRESS names; then: tufctl token unlock NAME",
        )),
        Err(_) => Err(told(
            format!("did not come within {} s", PATIENCE.as_secs()),
            "see whether the desktop's keyring works: secret-tool search; then: tufctl token unlock NAME",
        )),
    }
}

async fn ask(attributes: &BTreeMap<String, String>, most: usize) -> Result<SecretBytes, Trouble> {
    let bus = zbus::connection::Builder::session().method_timeout(PATIENCE).build().await?;
    let item = the_item(&bus, attributes).await?;
    let exchange = Exchange::begin().map_err(|error| told(&format!("cannot be asked for: {error}"), ""))?;
    let offer = (ALGORITHM, Variant::new(exchange.public()));
    let opened = bus.call_method(Some(SERVICE), PLACE, Some(OF_SERVICE), "OpenSession", &offer).await?;
    let (theirs, session): (OwnedVariant, OwnedObjectPath) = opened.body().deserialize()?;
    let theirs: Vec<u8> = theirs.try_into().map_err(|_| nonsense())?;
    let key = exchange.agree(&theirs).ok_or_else(nonsense)?;
    let given = bus.call_method(Some(SERVICE), &item, Some(OF_ITEM), "GetSecret", &(&*session,)).await?;
    let (of, vector, sealed, _): Sealed = given.body().deserialize()?;
    // What it kept for us; that it closes with the connection, too, is the service's own affair.
    let _ = bus.call_method(Some(SERVICE), &session, Some(OF_SESSION), "Close", &()).await;
    if of != session || sealed.len() > most.saturating_add(16) {
        return Err(nonsense());
    }
    let secret = key.open(&vector, &sealed).ok_or_else(nonsense)?.without_trailing_newline();
    if secret.is_empty() {
        return Err(told("is empty", "store the secret again: secret-tool store"));
    }
    Ok(secret)
}

/// Exactly one, unlocked.
async fn the_item(
    bus: &Connection,
    attributes: &BTreeMap<String, String>,
) -> Result<OwnedObjectPath, Trouble> {
    let wanted: HashMap<&str, &str> = attributes.iter().map(|(name, value)| (&**name, &**value)).collect();
    let found = bus.call_method(Some(SERVICE), PLACE, Some(OF_SERVICE), "SearchItems", &(wanted,)).await?;
    let (mut open, locked): (Vec<OwnedObjectPath>, Vec<OwnedObjectPath>) = found.body().deserialize()?;
    match (open.len(), locked.len()) {
        (1, 0) => open.pop().ok_or_else(nonsense),
        (0, 0) => Err(told(
            "is not there",
            "store it: secret-tool store --label=\"tuf-agent\" and the attributes, each by its name and its value",
        )),
        (0, 1) => Err(told(
            "is locked",
            "unlock the desktop's keyring (log in, or use its program for passwords), then: tufctl token unlock NAME",
        )),
        (open, locked) => Err(told(
            &format!("could be any of {}", open.saturating_add(locked)),
            "name more of its attributes in the configuration, or take the others away: secret-tool search --all",
        )),
    }
}

fn told(why: &str, remedy: &str) -> Trouble {
    Trouble::Told(why.to_owned(), remedy.to_owned())
}

fn nonsense() -> Trouble {
    told("came in a form that means nothing", "see whether another program can read it: secret-tool lookup")
}
