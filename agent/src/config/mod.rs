//! The configuration file: read, checked whole, only then used.
//!
//! Trust: the file decides which code is loaded (modules), so it must be this user's (or root's) own and
//! writable by nobody else. Messages never repeat a value that could be a secret.

mod check;
mod raw;
mod source;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use backend::TokenName;
use backend::attestation::Roots;
use backend::card::{PinPolicy, Touch};
use backend::pkcs11::Limits;
use tuf::role::RoleName;

use crate::limits;

pub use check::parse;

/// Everything that the configuration says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Config {
    /// The tokens, the file store among them, in the order of the file.
    pub tokens: Vec<TokenConfig>,
    /// What roles demand of the keys that sign for them.
    pub origins: Vec<OriginRule>,
    /// The group whose members may also connect; none by default.
    pub allow_group: Option<u32>,
    /// Files of further roots that may say what a YubiKey is.
    pub attestation_roots: Vec<PathBuf>,
    /// Yubico's and, once the configuration is loaded, those of the files.
    pub roots: Arc<Roots>,
}

/// One token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenConfig {
    /// Its name, one of a kind.
    pub name: TokenName,
    /// What it is.
    pub kind: TokenKind,
    /// Where its PIN or passphrase comes from.
    pub pin: PinSource,
    /// How long an unlock by a person lasts.
    pub unlock_for: UnlockFor,
    /// The program by which the agent has a person say yes to each signature; none: it does not.
    pub confirm: Option<PathBuf>,
}

impl TokenConfig {
    /// How long a collection of shares of its keys waits.
    #[must_use]
    pub const fn collect_for(&self) -> Duration {
        match self.kind {
            TokenKind::Shares { collect_for } => collect_for,
            _ => limits::COLLECT,
        }
    }
}

/// Keys of this role must be their token's own: made there, never extractable, with no copy, by the token's word; on a
/// YubiKey by what its maker signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OriginRule {
    /// The repository's name; all repositories when it is left out.
    pub repository: Option<String>,
    /// The role.
    pub role: RoleName,
    /// They want a touch: always, or at least now and then.
    pub touch: Option<Touch>,
    /// They want the PIN: always, or at least once.
    pub pin: Option<PinPolicy>,
}

/// What a token is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TokenKind {
    /// The encrypted file store.
    File,
    /// A PKCS#11 module in a helper process.
    Pkcs11(Module),
    /// A YubiKey, by a helper process.
    Yubikey(Card),
    /// Keys that are split among people.
    Shares {
        /// How long a collection of shares waits.
        collect_for: Duration,
    },
}

/// How a PKCS#11 token is found and held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Module {
    /// The shared object.
    pub path: PathBuf,
    /// Which of its tokens.
    pub select: Select,
    /// The only environment that the helper gets beside the locale.
    pub env: BTreeMap<String, String>,
    /// The initialise string of NSS.
    pub reserved: Option<String>,
    /// What it may touch.
    pub limits: Limits,
    /// The module's digest, or `any`.
    pub sha256: Option<String>,
    /// So many signatures it may be asked for at once, each in a session and on a thread of its own.
    pub sessions: usize,
    /// How long each call of the module may take.
    pub deadline: Duration,
}

/// How a YubiKey is found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Card {
    /// Its serial number.
    pub serial: u32,
    /// The only environment that the helper gets beside the locale.
    pub env: BTreeMap<String, String>,
    /// Also keys that take no PIN sign only while it is unlocked.
    pub need_unlock: bool,
}

/// Which token of a module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Select {
    /// By its label.
    Label(String),
    /// By its serial number.
    Serial(String),
    /// By a `pkcs11:` URI.
    Uri(String),
}

/// Where a token's secret comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PinSource {
    /// There is none.
    Nothing,
    /// The token wants none, as the configuration says.
    Unwanted,
    /// A person types it at the client.
    Prompt,
    /// A file of mode 0600 or 0400.
    File(PathBuf),
    /// A descriptor that the agent was started with.
    Fd(u32),
    /// A name inside `$CREDENTIALS_DIRECTORY`.
    Credential(String),
    /// A person whom the agent asks through this program, when a request needs it.
    Pinentry(PathBuf),
    /// A key of the kernel's keyrings, by its description.
    Keyring(String),
    /// An item of the desktop's Secret Service, by its attributes.
    SecretService(BTreeMap<String, String>),
}

impl PinSource {
    /// True when the agent fetches it without a person.
    #[must_use]
    pub fn is_unattended(&self) -> bool {
        !matches!(self, Self::Nothing | Self::Prompt | Self::Pinentry(_))
    }

    /// Where that is, for people.
    #[must_use]
    pub fn place(&self) -> String {
        match self {
            Self::Nothing => "nothing".to_owned(),
            Self::Unwanted => "pin = \"none\"".to_owned(),
            Self::Prompt => "the prompt".to_owned(),
            Self::File(path) => path.display().to_string(),
            Self::Fd(fd) => format!("descriptor {fd}"),
            Self::Credential(name) => format!("the credential {name}"),
            Self::Pinentry(_) => "pinentry".to_owned(),
            Self::Keyring(name) => format!("the key {name} of the kernel's keyrings"),
            Self::SecretService(attributes) => {
                let named: Vec<_> =
                    attributes.iter().map(|(name, value)| format!("{name} = {value:?}")).collect();
                format!("the item of the Secret Service with {}", named.join(", "))
            }
        }
    }

    /// Its name on the wire.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Nothing | Self::Unwanted => "none",
            Self::Prompt => "prompt",
            Self::File(_) => "file",
            Self::Fd(_) => "fd",
            Self::Credential(_) => "credential",
            Self::Pinentry(_) => "pinentry",
            Self::Keyring(_) => "keyring",
            Self::SecretService(_) => "secret-service",
        }
    }
}

/// How long an unlock lasts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnlockFor {
    /// This long, on the boot clock.
    Time(Duration),
    /// Until `lock`, removal, or the agent's end.
    Forever,
}

impl Default for UnlockFor {
    fn default() -> Self {
        Self::Time(Duration::from_secs(3600))
    }
}

/// Why a configuration is refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// It cannot be read.
    #[error("the configuration {path} cannot be read: {cause}")]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's word.
        cause: std::io::Error,
    },
    /// It is not safe to believe.
    #[error("the configuration {path} {why}: {remedy}")]
    Unsafe {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
        /// What to do.
        remedy: String,
    },
    /// It does not say something that means anything.
    #[error("the configuration{at} is refused: {why}")]
    Invalid {
        /// `, line 7` or nothing.
        at: String,
        /// What is wrong and what would be right.
        why: String,
    },
}

impl Config {
    /// Reads and checks the file. A file that was not named may be absent: then the defaults hold.
    ///
    /// # Errors
    /// When it cannot be read, is not safe to believe, or does not hold what it should.
    pub fn load(path: &Path, named: bool) -> Result<Self, ConfigError> {
        match read_own_file(path) {
            Ok(text) => parse(&text)?.with_roots(),
            Err(ConfigError::Io { cause, .. }) if cause.kind() == std::io::ErrorKind::NotFound && !named => {
                parse("")
            }
            Err(error) => Err(error),
        }
    }

    /// The same of a text that is no file yet.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn read(from: impl std::io::Read) -> Result<Self, ConfigError> {
        use std::io::Read as _;

        let mut text = String::new();
        let read = from.take(LONGEST + 1).read_to_string(&mut text);
        read.map_err(|cause| ConfigError::Io { path: "-".into(), cause })?;
        if u64::try_from(text.len()).is_ok_and(|length| length > LONGEST) {
            let (why, at) = ("it is over 1 MiB: make it shorter".to_owned(), String::new());
            return Err(ConfigError::Invalid { at, why });
        }
        parse(&text)?.with_roots()
    }

    /// Reads the files of further roots; whoever can write one decides which devices are genuine.
    fn with_roots(mut self) -> Result<Self, ConfigError> {
        let mut roots = Roots::clone(&self.roots);
        for path in &self.attestation_roots {
            let text = read_own_file(path)?;
            let why = |error| format!("attestation_roots: {}: {error}", path.display());
            roots
                .add_pem(&text)
                .map_err(|error| ConfigError::Invalid { at: String::new(), why: why(error) })?;
        }
        self.roots = Arc::new(roots);
        Ok(self)
    }
}

/// Opens a file to be read. A pipe of that name waits for nobody: what was opened is looked at before it is read.
pub(crate) fn open_at_once(path: &Path) -> std::io::Result<std::fs::File> {
    use std::os::unix::fs::OpenOptionsExt as _;

    let flags = i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).unwrap_or_default();
    std::fs::OpenOptions::new().read(true).custom_flags(flags).open(path)
}

/// Reads a file that only this user or root can have written. One descriptor is checked and read.
fn read_own_file(path: &Path) -> Result<String, ConfigError> {
    use std::io::Read as _;
    use std::os::unix::fs::MetadataExt as _;

    let io = |cause| ConfigError::Io { path: path.to_path_buf(), cause };
    let mut file = open_at_once(path).map_err(io)?;
    let meta = file.metadata().map_err(io)?;
    let own = rustix::process::geteuid().as_raw();
    let refuse =
        |why: String, remedy: String| Err(ConfigError::Unsafe { path: path.to_path_buf(), why, remedy });
    if !meta.is_file() {
        return refuse("is not a file".into(), "name a regular file".into());
    }
    if meta.uid() != own && meta.uid() != 0 {
        return refuse(format!("belongs to uid {}", meta.uid()), format!("chown it to uid {own}"));
    }
    if meta.mode() & 0o022 != 0 {
        let why = format!("may be written by others (mode {:04o})", meta.mode() & 0o7777);
        return refuse(why, format!("chmod go-w {}", path.display()));
    }
    if meta.len() > LONGEST {
        return refuse("is over 1 MiB".into(), "make it shorter".into());
    }
    let mut text = String::new();
    file.read_to_string(&mut text).map_err(io)?;
    Ok(text)
}

/// A configuration or a file of roots has no more bytes.
const LONGEST: u64 = 1 << 20;
