//! A JSON text that holds an object and its signature as a statement: `{"manifest": {…}, "signature": "…"}`.

use tuf::canonical::canonical;
use tuf::digest::Sha256Digest;
use tuf::json::{Document, Kind, Value, write_string};
use tuf::key::{PublicKey, SignatureBytes};
use tuf::preimage::{Signable, Statement, StatementKind};

use super::ManifestError;

/// The name of the member that is signed, and as what.
pub(crate) type Sort = (&'static str, StatementKind);

/// The text, what is signed of it, and the signature.
#[derive(Clone)]
pub(crate) struct SignedText {
    json: String,
    digest: Sha256Digest,
    signature: SignatureBytes,
}

impl SignedText {
    pub(crate) const MANIFEST: Sort = ("manifest", StatementKind::ShareManifest);
    pub(crate) const DRILL: Sort = ("drill", StatementKind::Drill);

    /// Signs `body`, JSON that was written here.
    pub(crate) fn make(
        sort: Sort,
        body: &str,
        sign: impl FnOnce(&Statement) -> Option<SignatureBytes>,
    ) -> Option<Self> {
        let document = Document::parse(body.as_bytes(), body.len()).ok()?;
        let canonical = canonical(document.root());
        let signature = sign(&statement(sort, &canonical)?)?;
        let whole = format!(r#"{{"{}":{body},"signature":"{}"}}"#, sort.0, signature.hex());
        let whole = Document::parse(whole.as_bytes(), whole.len()).ok()?;
        let mut json = Vec::new();
        indent(&mut json, whole.root(), 0);
        json.push(b'\n');
        let json = String::from_utf8(json).ok()?;
        Some(Self { json, digest: Sha256Digest::of(&canonical), signature })
    }

    /// Takes a document that was read; `key` finds the public key that it must be signed by.
    pub(crate) fn verified(document: &Document, sort: Sort, key: &PublicKey) -> Result<Self, ManifestError> {
        let [body, signature] = fields(document.root(), "", [sort.0, "signature"])?;
        let canonical = canonical(body);
        let signature = signature.as_str().filter(|text| !text.bytes().any(|byte| byte.is_ascii_uppercase()));
        let signature = signature.and_then(|text| hex::decode(text.as_ref()).ok());
        let signature = signature.ok_or(ManifestError::Member { path: "signature".to_owned() })?;
        let statement = statement(sort, &canonical).ok_or(ManifestError::Signature)?;
        let scheme = key.key_type().default_scheme();
        let good = Signable::Statement(&statement).verify(key, scheme, &signature);
        good.map_err(|_| ManifestError::Signature)?;
        Ok(Self {
            json: String::from_utf8_lossy(document.bytes()).into_owned(),
            digest: Sha256Digest::of(&canonical),
            signature: SignatureBytes::new(signature),
        })
    }

    pub(crate) fn json(&self) -> &str {
        &self.json
    }

    pub(crate) const fn digest(&self) -> Sha256Digest {
        self.digest
    }

    pub(crate) const fn signature(&self) -> &SignatureBytes {
        &self.signature
    }
}

fn statement(sort: Sort, canonical: &[u8]) -> Option<Statement> {
    Some(Statement::new(sort.1, std::str::from_utf8(canonical).ok()?))
}

/// Exactly these members of an object, and no others.
pub(crate) fn fields<'d, const N: usize>(
    object: Value<'d>,
    path: &str,
    names: [&str; N],
) -> Result<[Value<'d>; N], ManifestError> {
    let at = |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
    if object.kind() != Kind::Object {
        let path = if path.is_empty() { "the whole" } else { path };
        return Err(ManifestError::Member { path: path.to_owned() });
    }
    let mut members = object.members().filter_map(|(name, _)| name.as_str());
    if let Some(unknown) = members.find(|name| !names.contains(&name.as_ref())) {
        let path = if path.is_empty() { "the whole" } else { path };
        let name = unknown.chars().take(64).collect();
        return Err(ManifestError::Unknown { path: path.to_owned(), name });
    }
    let mut found = [object; N];
    for (value, name) in found.iter_mut().zip(names) {
        *value = object.get(name).ok_or_else(|| ManifestError::Member { path: at(name) })?;
    }
    Ok(found)
}

/// Reads values of an object whose members [`fields`] found.
pub(crate) struct Fields<'p> {
    pub(crate) path: &'p str,
}

impl Fields<'_> {
    /// A string that `read` takes.
    pub(crate) fn text<T>(
        &self,
        value: Value<'_>,
        name: &str,
        read: impl FnOnce(&str) -> Option<T>,
    ) -> Result<T, ManifestError> {
        value.as_str().and_then(|text| read(&text)).ok_or_else(|| self.wrong(name))
    }

    /// An integer that fits.
    pub(crate) fn number<T: TryFrom<u64>>(&self, value: Value<'_>, name: &str) -> Result<T, ManifestError> {
        value.as_u64().and_then(|number| T::try_from(number).ok()).ok_or_else(|| self.wrong(name))
    }

    pub(crate) fn wrong(&self, name: &str) -> ManifestError {
        ManifestError::Member { path: format!("{}.{name}", self.path) }
    }
}

/// Two spaces a level, a member or item a line; empty ones as they are.
fn indent(out: &mut Vec<u8>, value: Value<'_>, level: usize) {
    let line = |out: &mut Vec<u8>, level: usize| {
        out.push(b'\n');
        out.extend(std::iter::repeat_n(b' ', 2 * level));
    };
    let (open, close) = match value.kind() {
        Kind::Object if !value.is_empty() => (b'{', b'}'),
        Kind::Array if !value.is_empty() => (b'[', b']'),
        _ => return out.extend_from_slice(value.raw()),
    };
    out.push(open);
    for (at, (name, member)) in value.members().enumerate() {
        separate(out, at);
        line(out, level + 1);
        write_string(out, &name.as_str().unwrap_or_default());
        out.extend_from_slice(b": ");
        indent(out, member, level + 1);
    }
    for (at, item) in value.items().enumerate() {
        separate(out, at);
        line(out, level + 1);
        indent(out, item, level + 1);
    }
    line(out, level);
    out.push(close);
}

fn separate(out: &mut Vec<u8>, at: usize) {
    if at > 0 {
        out.push(b',');
    }
}
