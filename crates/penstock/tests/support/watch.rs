//! Watches who reads which shard, and when: a relay before a Kinesis endpoint with a door for each worker, which notes every
//! GetRecords that was answered. What a worker says of itself can be held against it.

use std::collections::{BTreeMap, HashMap};
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use serde::Deserialize;

/// A relay. Dropped, it takes no more connections; those that it has end with their workers.
pub(crate) struct Watch {
    upstream: String,
    seen: Arc<Mutex<Seen>>,
    closed: Arc<AtomicBool>,
    doors: Vec<SocketAddr>,
}

/// What went through all doors.
#[derive(Debug, Default)]
struct Seen {
    /// The shard of each iterator that was given out.
    iterators: HashMap<String, String>,
    /// What was answered of each shard, in that order.
    fetches: BTreeMap<String, Vec<Fetch>>,
}

/// A GetRecords that was answered.
#[derive(Debug, Clone)]
struct Fetch {
    worker: String,
    answered: Instant,
}

/// A shard that one worker read, and then another.
#[derive(Debug, Clone)]
pub(crate) struct Move {
    pub(crate) shard: String,
    pub(crate) from: String,
    pub(crate) to: String,
    /// From the last answer to the one until the first answer to the other.
    pub(crate) silence: Duration,
    /// When the other one had its first answer.
    pub(crate) at: Instant,
}

impl Watch {
    /// A relay before the endpoint `http://127.0.0.1:<port>`.
    pub(crate) fn before(upstream: &str) -> Self {
        let upstream = upstream.trim_start_matches("http://").to_owned();
        Self { upstream, seen: Arc::default(), closed: Arc::default(), doors: Vec::new() }
    }

    /// The endpoint that this worker is to be given.
    pub(crate) fn door(&mut self, worker: &str) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("a listener has an address");
        self.doors.push(address);
        let (upstream, worker) = (self.upstream.clone(), worker.to_owned());
        let (seen, closed) = (Arc::clone(&self.seen), Arc::clone(&self.closed));
        thread::spawn(move || {
            for connection in listener.incoming() {
                if closed.load(Ordering::Relaxed) {
                    break;
                }
                let Ok(connection) = connection else { continue };
                let (upstream, worker, seen) = (upstream.clone(), worker.clone(), Arc::clone(&seen));
                // It ends when one of the two sides does, in whatever way.
                thread::spawn(move || relay(&connection, &upstream, &worker, &seen));
            }
        });
        format!("http://{address}")
    }

    /// Every time a shard went from one worker to another, since the beginning.
    pub(crate) fn moves(&self) -> Vec<Move> {
        let seen = lock(&self.seen);
        let of_shard = |(shard, fetches): (&String, &Vec<Fetch>)| {
            let pairs = fetches.windows(2).filter(|pair| pair[0].worker != pair[1].worker);
            let moved = pairs.map(|pair| Move {
                shard: shard.clone(),
                from: pair[0].worker.clone(),
                to: pair[1].worker.clone(),
                silence: pair[1].answered - pair[0].answered,
                at: pair[1].answered,
            });
            moved.collect::<Vec<_>>()
        };
        seen.fetches.iter().flat_map(of_shard).collect()
    }

    /// The longest time within a span for which each shard was not read; a shard that nobody reads any more counts to the end.
    pub(crate) fn longest_pauses(&self, from: Instant, to: Instant) -> BTreeMap<String, Duration> {
        let seen = lock(&self.seen);
        let of_shard = |fetches: &Vec<Fetch>| {
            let within = fetches.iter().map(|fetch| fetch.answered).filter(|at| (from..to).contains(at));
            let times: Vec<Instant> = std::iter::once(from).chain(within).chain([to]).collect();
            times.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or_default()
        };
        seen.fetches.iter().map(|(shard, fetches)| (shard.clone(), of_shard(fetches))).collect()
    }

    /// Who read each shard last.
    pub(crate) fn readers(&self) -> BTreeMap<String, String> {
        let seen = lock(&self.seen);
        let last = |fetches: &Vec<Fetch>| fetches.last().map(|fetch| fetch.worker.clone()).unwrap_or_default();
        seen.fetches.iter().map(|(shard, fetches)| (shard.clone(), last(fetches))).collect()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.closed.store(true, Ordering::Relaxed);
        for door in &self.doors {
            // Only to wake it.
            drop(TcpStream::connect(door));
        }
    }
}

fn lock(seen: &Mutex<Seen>) -> MutexGuard<'_, Seen> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}

fn relay(client: &TcpStream, upstream: &str, worker: &str, seen: &Mutex<Seen>) -> io::Result<()> {
    let server = TcpStream::connect(upstream)?;
    for side in [client, &server] {
        side.set_nodelay(true)?;
    }
    let (mut from_client, mut from_server) = (Messages::of(client), Messages::of(&server));
    while let Some(request) = from_client.next()? {
        (&server).write_all(&request.bytes)?;
        let Some(answer) = from_server.next()? else { break };
        lock(seen).note(worker, &request, &answer);
        (&*client).write_all(&answer.bytes)?;
    }
    Ok(())
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Asked {
    shard_id: Option<String>,
    shard_iterator: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answered {
    shard_iterator: Option<String>,
    next_shard_iterator: Option<String>,
}

impl Seen {
    fn note(&mut self, worker: &str, request: &Message, answer: &Message) {
        let target = request.header("x-amz-target").unwrap_or_default();
        let is_fetch = target.ends_with(".GetRecords");
        if !answer.start().contains(" 200 ") || !(is_fetch || target.ends_with(".GetShardIterator")) {
            return;
        }
        let asked: Asked = serde_json::from_slice(request.body()).expect("a request is JSON");
        let answered: Answered = serde_json::from_slice(answer.body()).expect("an answer is JSON");
        let shard = match &asked.shard_iterator {
            Some(iterator) => self.iterators.get(iterator).expect("an iterator that was given out here").clone(),
            None => asked.shard_id.expect("an iterator is asked for of a shard"),
        };
        if is_fetch {
            let fetch = Fetch { worker: worker.to_owned(), answered: Instant::now() };
            self.fetches.entry(shard.clone()).or_default().push(fetch);
        }
        if let Some(iterator) = answered.shard_iterator.or(answered.next_shard_iterator) {
            self.iterators.insert(iterator, shard);
        }
    }
}

/// One request or answer, as it stood on the wire.
struct Message {
    bytes: Vec<u8>,
    head: usize,
}

impl Message {
    fn start(&self) -> &str {
        lines(&self.bytes[..self.head]).next().unwrap_or_default()
    }

    fn header(&self, wanted: &str) -> Option<&str> {
        header(&self.bytes[..self.head], wanted)
    }

    fn body(&self) -> &[u8] {
        &self.bytes[self.head..]
    }
}

fn lines(head: &[u8]) -> impl Iterator<Item = &str> {
    std::str::from_utf8(head).unwrap_or_default().split("\r\n")
}

fn header<'a>(head: &'a [u8], wanted: &str) -> Option<&'a str> {
    let mut headers = lines(head).filter_map(|line| line.split_once(':'));
    headers.find(|(name, _)| name.eq_ignore_ascii_case(wanted)).map(|(_, value)| value.trim())
}

/// The messages of one side of a connection. Both sides tell the length of each.
struct Messages<'a> {
    side: &'a TcpStream,
    read: Vec<u8>,
}

impl<'a> Messages<'a> {
    const fn of(side: &'a TcpStream) -> Self {
        Self { side, read: Vec::new() }
    }

    /// The next one; none at the end.
    fn next(&mut self) -> io::Result<Option<Message>> {
        let head = loop {
            if let Some(at) = self.read.windows(4).position(|window| window == b"\r\n\r\n") {
                break at + 4;
            }
            if self.more()? == 0 {
                return Ok(None);
            }
        };
        let length = header(&self.read[..head], "content-length").and_then(|length| length.parse().ok());
        let whole = head + length.unwrap_or(0);
        while self.read.len() < whole {
            if self.more()? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(Some(Message { bytes: self.read.drain(..whole).collect(), head }))
    }

    fn more(&mut self) -> io::Result<usize> {
        let mut chunk = [0; 16 * 1024];
        let count = self.side.read(&mut chunk)?;
        self.read.extend_from_slice(&chunk[..count]);
        Ok(count)
    }
}
