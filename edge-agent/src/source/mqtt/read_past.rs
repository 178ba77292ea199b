//! The way past a message that no connection can carry: read by hand, thrown away, acknowledged.
//!
//! `rumqttc` ends the connection at such a message, and a broker sends one of QoS 1 again on the next,
//! for ever. So that next connection is this one: it takes nothing but these messages out of our session,
//! whatever their size, in little memory. All others stay with the broker, unacknowledged.

use std::io;
use std::time::Duration;

use bytes::BytesMut;
use lockgate_codec::DEAD_LETTER_INPUT_BYTES_MAX;
use lockgate_runtime::tls;
use rumqttc::mqttbytes::v4::{Connect, Packet};
use rumqttc::tokio_rustls::TlsConnector;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::{CONNECT_SECONDS_MAX, MqttError, MqttSource, PACKET_OVERHEAD_BYTES};

/// A broker sends what is under way as soon as it lets us in; after so long without a byte it has none left.
const QUIET_AFTER: Duration = Duration::from_secs(2);

/// LIMIT: messages that one such connection takes; further ones wait for the next.
const TAKEN_MAX: usize = 64;

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// A message, but for most of its payload.
struct Large {
    topic: String,
    pkid: Option<u16>,
    bytes: usize,
    head: Vec<u8>,
}

impl MqttSource {
    /// Takes messages that are too large for a connection out of our session; gives how many.
    pub(super) async fn read_past(&mut self) -> Result<usize, MqttError> {
        let connect = async { self.let_in(self.dial().await?).await };
        let connected = timeout(Duration::from_secs(CONNECT_SECONDS_MAX), connect).await;
        let mut stream = connected.unwrap_or_else(|_| Err(self.failed(io::ErrorKind::TimedOut.into())))?;
        let mut taken = 0;
        while taken < TAKEN_MAX {
            let next = next_large(&mut stream, self.connection_bytes_max());
            let Some(large) = next.await.map_err(|source| self.failed(source))? else { break };
            let mut outputs = Vec::new();
            let Large { topic, pkid, bytes, head } = large;
            self.status.counters().messages.add(1);
            self.status.counters().bytes.add(bytes as u64);
            self.reader.too_large(&topic, &head, bytes, self.config.message_bytes_max, &mut outputs);
            let sorted = self.ingest.sort(outputs, None);
            self.ingest.keep(sorted.dead_letters, &self.status);
            if let Some(pkid) = pkid {
                let [high, low] = pkid.to_be_bytes();
                stream.write_all(&[PUBACK, 2, high, low]).await.map_err(|source| self.failed(source))?;
                stream.flush().await.map_err(|source| self.failed(source))?;
                taken += 1;
            }
        }
        let goodbye = async {
            stream.write_all(&[DISCONNECT, 0]).await?;
            stream.shutdown().await
        };
        goodbye.await.map_err(|source| self.failed(source))?;
        Ok(taken)
    }

    fn failed(&self, source: io::Error) -> MqttError {
        MqttError::ReadPast { url: self.config.url.to_string(), source }
    }

    async fn dial(&self) -> Result<Box<dyn Stream>, MqttError> {
        let url = &self.config.url;
        let tcp = TcpStream::connect((url.host.as_str(), url.port)).await.map_err(|source| self.failed(source))?;
        if !url.is_tls {
            return Ok(Box::new(BufReader::new(tcp)));
        }
        let config = tls::client_config(&tls::Trust::besides(self.config.ca_file.as_deref()))?;
        let name = ServerName::try_from(url.host.clone()).map_err(|error| self.failed(io::Error::other(error)))?;
        let tls = TlsConnector::from(config).connect(name, tcp).await.map_err(|source| self.failed(source))?;
        Ok(Box::new(BufReader::new(tls)))
    }

    /// Says who we are, and waits to be let in to the session that the broker has kept.
    async fn let_in(&self, mut stream: Box<dyn Stream>) -> Result<Box<dyn Stream>, MqttError> {
        let mut connect = Connect::new(&self.config.client_id);
        connect.clean_session = false;
        // Without an alarm of the broker's: it has to wait for us no longer than we read.
        connect.keep_alive = 0;
        if let Some(user) = &self.config.username {
            let password = self.config.password.as_ref().map(crate::config::Secret::reveal).transpose()?;
            connect.set_login(user, password.unwrap_or_default());
        }
        let mut packet = BytesMut::new();
        let written = Packet::Connect(connect).write(&mut packet, PACKET_OVERHEAD_BYTES);
        written.map_err(|error| self.failed(io::Error::other(error)))?;
        let answered = async {
            stream.write_all(&packet).await?;
            stream.flush().await?;
            let mut answer = [0; 4];
            stream.read_exact(&mut answer).await?;
            Ok::<_, io::Error>(answer)
        };
        match answered.await.map_err(|source| self.failed(source))? {
            [CONNACK, 2, _, 0] => Ok(stream),
            _ => Err(self.failed(io::ErrorKind::ConnectionRefused.into())),
        }
    }
}

const CONNACK: u8 = 0x20;
const PUBLISH: u8 = 0x30;
const PUBACK: u8 = 0x40;
const DISCONNECT: u8 = 0xe0;

/// Reads until a message comes whose packet is longer than `bytes_max`, and to its end; `None`: the broker
/// has said nothing for a while.
async fn next_large(stream: &mut Box<dyn Stream>, bytes_max: usize) -> io::Result<Option<Large>> {
    loop {
        let Ok(kind) = timeout(QUIET_AFTER, stream.read_u8()).await else { return Ok(None) };
        let kind = kind?;
        let length = read_length(stream).await?;
        if kind & 0xf0 != PUBLISH || length <= bytes_max {
            throw_away(stream, length).await?;
            continue;
        }
        let topic_length = usize::from(stream.read_u16().await?);
        let mut topic = vec![0; topic_length];
        stream.read_exact(&mut topic).await?;
        let pkid = if kind & 0x06 == 0 { None } else { Some(stream.read_u16().await?) };
        // What is longer than `bytes_max` is longer than any topic.
        let bytes = length.saturating_sub(2 + topic_length + if pkid.is_some() { 2 } else { 0 });
        let mut head = vec![0; bytes.min(DEAD_LETTER_INPUT_BYTES_MAX)];
        stream.read_exact(&mut head).await?;
        throw_away(stream, bytes - head.len()).await?;
        let topic = String::from_utf8_lossy(&topic).into_owned();
        return Ok(Some(Large { topic, pkid, bytes, head }));
    }
}

/// The length of the rest of a packet: seven bits a byte, the lowest first.
async fn read_length(stream: &mut Box<dyn Stream>) -> io::Result<usize> {
    let mut length = 0;
    for shift in [0, 7, 14, 21] {
        let byte = stream.read_u8().await?;
        length |= usize::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(length);
        }
    }
    Err(io::Error::new(io::ErrorKind::InvalidData, "a length of more than four bytes"))
}

/// As slowly as it comes, unless nothing comes at all.
async fn throw_away(stream: &mut Box<dyn Stream>, bytes: usize) -> io::Result<()> {
    let mut scrap = [0; 4096];
    let mut left = bytes;
    while left > 0 {
        let wanted = left.min(scrap.len());
        let read = timeout(Duration::from_secs(CONNECT_SECONDS_MAX), stream.read(&mut scrap[..wanted])).await;
        match read.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            read => left -= read,
        }
    }
    Ok(())
}
