//! A small web server on this machine: it answers what it was told to, and remembers what it was asked.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// What the server says to one path.
#[derive(Debug, Clone)]
pub enum Answer {
    /// 200 and these bytes.
    File(Vec<u8>),
    /// This status and no body.
    Status(u16),
    /// 200 and bytes until the client goes away.
    Endless,
    /// 200, and a byte a second until the client goes away.
    Drip,
    /// 200, a length, and fewer bytes than that.
    CutShort(Vec<u8>),
}

/// A server of files by their path as it was asked for, percent signs and all; 404 for everything else.
#[derive(Debug, Clone)]
pub struct WebServer {
    address: String,
    shared: Arc<Mutex<Shared>>,
}

#[derive(Debug, Default)]
struct Shared {
    answers: BTreeMap<String, Answer>,
    asked: Vec<String>,
}

impl WebServer {
    /// Begins to listen on a free port of this machine; the thread ends with the process.
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = format!("http://{}", listener.local_addr().unwrap());
        let server = Self { address, shared: Arc::default() };
        let shared = Arc::clone(&server.shared);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = Arc::clone(&shared);
                // A client that goes away in the middle is one of the cases.
                thread::spawn(move || drop(answer(stream, &shared)));
            }
        });
        server
    }

    /// The address, without a slash at the end.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Says this to a path such as `/metadata/timestamp.json` from now on.
    pub fn put(&self, path: &str, answer: Answer) {
        self.shared.lock().unwrap().answers.insert(path.to_owned(), answer);
    }

    /// Says 404 to a path from now on.
    pub fn remove(&self, path: &str) {
        self.shared.lock().unwrap().answers.remove(path);
    }

    /// The paths that were asked for since the last call, in order.
    pub fn take_asked(&self) -> Vec<String> {
        std::mem::take(&mut self.shared.lock().unwrap().asked)
    }
}

fn answer(mut stream: TcpStream, shared: &Mutex<Shared>) -> std::io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    let mut request = BufReader::new(stream.try_clone()?);
    let mut first = String::new();
    request.read_line(&mut first)?;
    let mut line = String::new();
    while request.read_line(&mut line)? > 2 {
        line.clear();
    }
    let path = first.split(' ').nth(1).unwrap_or_default().to_owned();
    let answer = {
        let mut shared = shared.lock().unwrap();
        shared.asked.push(path.clone());
        shared.answers.get(&path).cloned().unwrap_or(Answer::Status(404))
    };
    let head = |status: u16, length: usize| {
        format!("HTTP/1.1 {status} -\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n")
    };
    match answer {
        Answer::Status(status) => stream.write_all(head(status, 0).as_bytes()),
        Answer::File(bytes) => stream.write_all(&[head(200, bytes.len()).as_bytes(), &bytes].concat()),
        Answer::CutShort(bytes) => {
            stream.write_all(&[head(200, bytes.len() + 1).as_bytes(), &bytes].concat())
        }
        Answer::Drip => {
            stream.write_all(b"HTTP/1.1 200 -\r\nConnection: close\r\n\r\n")?;
            loop {
                stream.write_all(b" ")?;
                thread::sleep(Duration::from_secs(1));
            }
        }
        Answer::Endless => {
            stream.write_all(b"HTTP/1.1 200 -\r\nConnection: close\r\n\r\n")?;
            loop {
                stream.write_all(&[b' '; 8192])?;
            }
        }
    }
}
