//! HTTP: one answer to one request, never more bytes than were asked for.

use std::io::{self, ErrorKind, Read};
use std::time::{Duration, Instant};

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
            .user_agent(concat!("tuf-conformance-client/", env!("CARGO_PKG_VERSION")))
            .build();
        Self { agent: config.into() }
    }

    /// The body at `url`, one byte more than `limit` at most: that tells an endless file from a right one. `None` when the
    /// server has no such file (404, or 403 as object stores say it).
    pub(crate) fn open(&self, url: &str, limit: u64) -> Result<Option<impl Read + use<>>> {
        crate::say(&format!("GET {url}"));
        let request = self.agent.get(url).config().timeout_recv_body(Some(allowed(limit))).build();
        let response = request.call().with_context(|| format!("GET {url}"))?;
        match response.status().as_u16() {
            200 => {
                let body = response.into_body().into_reader();
                let paced = Paced { body, began: Instant::now(), received: 0 };
                Ok(Some(paced.take(limit.saturating_add(1))))
            }
            403 | 404 => Ok(None),
            status => bail!("GET {url}: the server answers {status}"),
        }
    }

    /// The whole body at `url`, of at most `limit` bytes.
    pub(crate) fn get(&self, url: &str, limit: u64) -> Result<Option<Vec<u8>>> {
        let Some(mut body) = self.open(url, limit)? else { return Ok(None) };
        let mut bytes = Vec::new();
        let read = body.read_to_end(&mut bytes);
        read.with_context(|| format!("GET {url}"))?;
        if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > limit {
            bail!("GET {url}: more than {limit} bytes");
        }
        Ok(Some(bytes))
    }
}

/// A body that must come at [`RATE`] on average once [`WAIT`] is over: a server that sends a byte now and then is cut off
/// long before the time that the whole file has.
struct Paced<R> {
    body: R,
    began: Instant,
    received: u64,
}

impl<R: Read> Read for Paced<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.body.read(buffer)?;
        self.received = self.received.saturating_add(u64::try_from(read).unwrap_or(u64::MAX));
        if read > 0 && self.began.elapsed() > time_of(self.received) {
            let why = format!("too slow: {} bytes, less than {RATE} a second", self.received);
            return Err(io::Error::new(ErrorKind::TimedOut, why));
        }
        Ok(read)
    }
}

/// How long a file of so many bytes may take.
const fn time_of(bytes: u64) -> Duration {
    WAIT.saturating_add(Duration::from_secs(bytes / RATE))
}

/// How long a server may take for a file of at most so many bytes, also one that falls silent.
fn allowed(limit: u64) -> Duration {
    time_of(limit).min(WHOLE_BODY)
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
/// The least that a server must send on average, bytes a second.
const RATE: u64 = 64 << 10;
/// For the largest files: a gigabyte at a megabyte a second.
const WHOLE_BODY: Duration = Duration::from_secs(1_000);
const MOST_REDIRECTS: u32 = 5;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_has_the_time_that_fits_its_size() {
        assert_eq!(allowed(16_384), WAIT);
        assert_eq!(allowed(5_000_000), WAIT + Duration::from_secs(76));
        assert_eq!(allowed(u64::MAX), WHOLE_BODY);
    }

    #[test]
    fn a_modest_line_is_fast_enough_and_a_byte_now_and_then_is_not() {
        let began = Instant::now().checked_sub(Duration::from_secs(60)).unwrap();
        let read = |received| Paced { body: &b"x"[..], began, received }.read(&mut [0; 8]);
        assert_eq!(read(60 * RATE).unwrap(), 1);
        assert_eq!(read(60).unwrap_err().kind(), ErrorKind::TimedOut);
    }

    #[test]
    fn a_path_is_encoded_where_a_url_would_misread_it() {
        assert_eq!(below("http://h/t/", "a/b c?#%20é.txt"), "http://h/t/a/b%20c%3F%23%2520%C3%A9.txt");
        assert_eq!(below("http://h/t", "a+b@1.0~rc(1).txt"), "http://h/t/a+b@1.0~rc(1).txt");
        assert_eq!(below_encoded("http://h/m/", "1.%2Frole.json"), "http://h/m/1.%2Frole.json");
    }
}
