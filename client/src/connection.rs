//! One connection to a gateway: frames with ids, out and in.

use std::time::Duration;

use lockgate_proto::ids::Tenant;
use lockgate_proto::time::UnixMicros;
use lockgate_proto::wire;
use lockgate_proto::wire::client_frame::Request;
use lockgate_proto::wire::server_frame::Body;
use lockgate_runtime::dial::Dialer;
use lockgate_runtime::link::{Link, Received};
use prost::Message as _;
use tokio::time::{Instant, timeout};

use crate::error::{ClientError, ErrorCode, Refusal};

/// A gateway that has not answered by then is taken for gone.
pub(crate) const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);

pub(crate) struct Connection {
    link: Link,
    last_id: u32,
    /// Whose sites these are, if the gateway says so.
    pub(crate) tenant: Option<Tenant>,
    /// The gateway's time, and when it came.
    time: (UnixMicros, Instant),
}

impl Connection {
    /// Connects and shows the token.
    pub(crate) async fn open(dialer: &Dialer, token: &str, client: &str) -> Result<Connection, ClientError> {
        let link = dialer.dial(None).await?;
        let time = (UnixMicros(0), Instant::now());
        let mut connection = Connection { link, last_id: 0, tenant: None, time };
        let connect = wire::Connect { token: token.to_owned(), client: client.to_owned() };
        match connection.ask(Request::Connect(connect)).await? {
            Body::Connected(connected) => {
                connection.tenant = Tenant::new(connected.tenant).ok();
                connection.time = (UnixMicros(connected.server_time_us), Instant::now());
                Ok(connection)
            }
            _ => Err(ClientError::WrongAnswer),
        }
    }

    /// The gateway's time: this one's clock may be wrong. Too early by as long as the answer travelled.
    pub(crate) fn server_time(&self) -> UnixMicros {
        let (then, came) = self.time;
        then.offset_by(i64::try_from(came.elapsed().as_micros()).unwrap_or(i64::MAX))
    }

    /// Sends a request; gives the id that its answer will carry.
    pub(crate) async fn send(&mut self, request: Request) -> Result<u32, ClientError> {
        self.last_id = self.last_id.checked_add(1).unwrap_or(1);
        let frame = wire::ClientFrame { id: self.last_id, request: Some(request) };
        self.link.send(frame.encode_to_vec().into()).await?;
        Ok(self.last_id)
    }

    /// The next frame: what it answers, and what it says. Frames of a later version that say nothing to
    /// this one are passed over. Cancel-safe.
    pub(crate) async fn receive(&mut self) -> Result<(u32, Body), ClientError> {
        loop {
            match self.link.receive().await? {
                Received::Closed(closed) => return Err(ClientError::Closed(closed)),
                Received::Message(bytes) => {
                    let frame = wire::ServerFrame::decode(bytes)?;
                    if let Some(body) = frame.body {
                        return Ok((frame.id, body));
                    }
                }
            }
        }
    }

    /// Sends a request and waits for its answer; what comes unasked meanwhile is dropped.
    pub(crate) async fn ask(&mut self, request: Request) -> Result<Body, ClientError> {
        let answer = async {
            let asked = self.send(request).await?;
            loop {
                let (id, body) = self.receive().await?;
                if id == asked {
                    return answered(body);
                }
            }
        };
        timeout(ANSWER_TIMEOUT, answer).await.unwrap_or(Err(ClientError::Timeout { after: ANSWER_TIMEOUT }))
    }

    /// Ends the connection in order.
    pub(crate) async fn finish(self) {
        self.link.finish().await;
    }
}

/// The answer, unless it is a refusal.
pub(crate) fn answered(body: Body) -> Result<Body, ClientError> {
    match body {
        Body::Error(error) => Err(ClientError::Refused(Refusal {
            code: ErrorCode::from_wire(error.code),
            message: error.message,
            field: error.field,
            retry_after: (error.retry_after_ms > 0).then(|| Duration::from_millis(error.retry_after_ms.into())),
        })),
        body => Ok(body),
    }
}
