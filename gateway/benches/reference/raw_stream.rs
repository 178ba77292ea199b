//! The least that any log on Redis costs: one connection, one thread; whatever waits goes as one pipeline of XADDs.
//!
//! No shadows, ledgers, checks, live channel or offsets of ours.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::mpsc;
use std::thread;

use lockgate_proto::ids::RoomId;
use tokio::sync::oneshot;

/// As the engine's groups.
const GROUP_REQUESTS_MAX: usize = 256;

struct Request {
    room: String,
    block: Vec<u8>,
    done: oneshot::Sender<()>,
}

/// A handle; the thread ends when the last one is gone.
#[derive(Clone)]
pub(crate) struct RawStream(mpsc::Sender<Request>);

impl RawStream {
    pub(crate) fn open(address: SocketAddr, wait_for_replica: bool) -> RawStream {
        let stream = TcpStream::connect(address).expect("Redis is there");
        stream.set_nodelay(true).expect("a TCP socket");
        let (requests, waiting) = mpsc::channel();
        thread::spawn(move || write(stream, wait_for_replica, &waiting));
        RawStream(requests)
    }

    /// Returns when Redis has answered, and its replica has the block.
    pub(crate) async fn append(&self, room: &RoomId, block: Vec<u8>) {
        let (done, written) = oneshot::channel();
        let request = Request { room: room.site.as_str().to_owned(), block, done };
        self.0.send(request).expect("the writer lives as long as we");
        written.await.expect("the writer answers");
    }
}

fn write(mut stream: TcpStream, wait_for_replica: bool, waiting: &mpsc::Receiver<Request>) {
    let mut answers = BufReader::new(stream.try_clone().expect("a TCP socket"));
    let mut buffer = Vec::new();
    while let Ok(first) = waiting.recv() {
        let group: Vec<Request> = [first].into_iter().chain(waiting.try_iter()).take(GROUP_REQUESTS_MAX).collect();
        buffer.clear();
        for request in &group {
            command(&mut buffer, &[b"XADD", request.room.as_bytes(), b"*", b"b", &request.block]);
        }
        if wait_for_replica {
            command(&mut buffer, &[b"WAIT", b"1", b"1000"]);
        }
        stream.write_all(&buffer).expect("Redis is there");
        for _ in 0..group.len() {
            take_bulk(&mut answers);
        }
        if wait_for_replica {
            let mut copies = String::new();
            answers.read_line(&mut copies).expect("Redis answers");
            assert_eq!(copies, ":1\r\n");
        }
        for request in group {
            request.done.send(()).expect("an agent waits");
        }
    }
}

fn command(buffer: &mut Vec<u8>, words: &[&[u8]]) {
    write!(buffer, "*{}\r\n", words.len()).expect("memory");
    for word in words {
        write!(buffer, "${}\r\n", word.len()).expect("memory");
        buffer.extend_from_slice(word);
        buffer.extend_from_slice(b"\r\n");
    }
}

fn take_bulk(answers: &mut BufReader<TcpStream>) {
    let mut length = String::new();
    answers.read_line(&mut length).expect("Redis answers");
    let length: usize = length.trim_end().strip_prefix('$').and_then(|text| text.parse().ok()).expect("an id");
    let mut id = vec![0; length + 2];
    answers.read_exact(&mut id).expect("Redis answers");
}
