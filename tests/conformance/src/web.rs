//! HTTP: one answer to one request, never more bytes than were asked for.

use std::io::Read;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use ureq::Agent;

/// An HTTP client that asks no proxy and ends each request in bounded time.
pub(crate) struct Web {
    agent: Agent,
}

impl Web {
    pub(crate) fn new() -> Self {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .proxy(None)
            .max_redirects(MOST_REDIRECTS)
            .timeout_connect(Some(WAIT))
            .timeout_recv_response(Some(WAIT))
            .timeout_recv_body(Some(WHOLE_BODY))
            .user_agent(concat!("tuf-conformance-client/", env!("CARGO_PKG_VERSION")))
            .build();
        Self { agent: config.into() }
    }

    /// The body at `url`; `None` when the server has no such file (404, or 403 as object stores say it).
    pub(crate) fn open(&self, url: &str) -> Result<Option<impl Read + use<>>> {
        crate::say(&format!("GET {url}"));
        let response = self.agent.get(url).call().with_context(|| format!("GET {url}"))?;
        match response.status().as_u16() {
            200 => Ok(Some(response.into_body().into_reader())),
            403 | 404 => Ok(None),
            status => bail!("GET {url}: the server answers {status}"),
        }
    }

    /// The whole body at `url`, of at most `limit` bytes.
    pub(crate) fn get(&self, url: &str, limit: u64) -> Result<Option<Vec<u8>>> {
        let Some(body) = self.open(url)? else { return Ok(None) };
        let mut bytes = Vec::new();
        let read = body.take(limit.saturating_add(1)).read_to_end(&mut bytes);
        read.with_context(|| format!("GET {url}"))?;
        if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > limit {
            bail!("GET {url}: more than {limit} bytes");
        }
        Ok(Some(bytes))
    }
}

/// A path below a base address, which may or may not end in a slash. What a URL could misread in the path is encoded;
/// a percent sign too, so that a name is asked for as it stands.
pub(crate) fn below(base: &str, path: &str) -> String {
    format!("{}/{}", base.trim_end_matches('/'), utf8_percent_encode(path, MISREAD))
}

/// A path below a base address that is encoded already.
pub(crate) fn below_encoded(base: &str, path: &str) -> String {
    format!("{}/{path}", base.trim_end_matches('/'))
}

/// All but the characters that RFC 3986 (3.3) allows in a path.
const MISREAD: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'/')
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b'!')
    .remove(b'$')
    .remove(b'&')
    .remove(b'\'')
    .remove(b'(')
    .remove(b')')
    .remove(b'*')
    .remove(b'+')
    .remove(b',')
    .remove(b';')
    .remove(b'=')
    .remove(b':')
    .remove(b'@');

const WAIT: Duration = Duration::from_secs(30);
/// A gigabyte at a megabyte a second; a server that sends a byte now and then is cut off here.
const WHOLE_BODY: Duration = Duration::from_secs(1_000);
const MOST_REDIRECTS: u32 = 5;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_encoded_where_a_url_would_misread_it() {
        assert_eq!(below("http://h/t/", "a/b c?#%20é.txt"), "http://h/t/a/b%20c%3F%23%2520%C3%A9.txt");
        assert_eq!(below("http://h/t", "a+b@1.0~rc(1).txt"), "http://h/t/a+b@1.0~rc(1).txt");
        assert_eq!(below_encoded("http://h/m/", "1.%2Frole.json"), "http://h/m/1.%2Frole.json");
    }
}
