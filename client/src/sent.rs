//! A command on its way: its states, through all connections, until nobody need wait any longer.
//!
//! After every break the very same is sent again, with the same id and deadline: so it is one command, and the answer is
//! where it stands now. Cancel-safe: all state is here, and an event that was not returned is still there.

use std::collections::VecDeque;
use std::time::Duration;

use lockgate_proto::command::CommandId;
use lockgate_proto::convert::{fields_to_wire, priority_to_wire};
use lockgate_proto::gateways::Attempt;
use lockgate_proto::time::UnixMicros;
use lockgate_proto::wire;
use lockgate_proto::wire::client_frame::Request;
use lockgate_proto::wire::server_frame::Body;
use lockgate_runtime::link::LinkError;
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::GatewayUrl;
use crate::client::Door;
use crate::connection::{ANSWER_TIMEOUT, Connection, answered};
use crate::convert;
use crate::error::ClientError;
use crate::order::{Order, OrderEvent, Target, Until};

/// A gateway tells soon after the deadline what became of a command, be it that nobody knows. Who has not heard by
/// then has no connection.
const OVERDUE: Duration = Duration::from_secs(10);

/// An order that was sent. Dropped, it is followed no more; what was ordered stays so.
pub struct Sent {
    door: Door,
    /// The token that was shown last.
    token: String,
    phase: Phase,
    request: wire::SendCommand,
    id: CommandId,
    give_up_at: Instant,
    /// LIMIT: what one frame of the gateway can bring, and one break.
    events: VecDeque<OrderEvent>,
    is_over: bool,
}

enum Phase {
    /// Not connected; this attempt is due then.
    Waiting(Instant, Attempt<GatewayUrl>),
    /// The connection is of no more use, and what follows is not decided yet.
    Over,
    /// Connected, and to be asked.
    Ready(Connection),
    /// The request with this number must be answered by then.
    Asked(Connection, u32, Instant),
    /// States come.
    Following(Connection),
}

impl Sent {
    pub(crate) fn begin(door: Door, connection: Connection, token: String, order: Order) -> Sent {
        let now = connection.server_time();
        let micros = |span: Duration| i64::try_from(span.as_micros()).unwrap_or(i64::MAX);
        let deadline = match order.until {
            Until::After(ttl) => now.offset_by(micros(ttl)),
            Until::At(instant) => instant,
        };
        let left = u64::try_from(deadline.0.saturating_sub(now.0)).unwrap_or(0);
        let id = order.id.clone().unwrap_or_else(random_id);
        Sent {
            door,
            token,
            phase: Phase::Ready(connection),
            request: request(order, &id, deadline),
            id,
            // No timer looks farther than a year, and no gateway takes a deadline that does.
            give_up_at: Instant::now() + Duration::from_micros(left).min(YEAR) + OVERDUE,
            events: VecDeque::new(),
            is_over: false,
        }
    }

    /// The command's id, or the group's.
    pub fn id(&self) -> &CommandId {
        &self.id
    }

    /// No effect begins at or after this instant of the gateway's time.
    pub fn deadline(&self) -> UnixMicros {
        UnixMicros(self.request.deadline_us)
    }

    /// The next state, the first being the gateway's answer; `None` once the last one was given. Waits, reconnects and
    /// sends again as needed, but not for ever: some time after the deadline the wait is over in any case. An error
    /// is final.
    pub async fn next(&mut self) -> Result<Option<OrderEvent>, ClientError> {
        loop {
            if let Some(event) = self.events.pop_front() {
                return Ok(Some(event));
            }
            if self.is_over {
                return Ok(None);
            }
            let answered = self.request.answered;
            let step = timeout_at(self.give_up_at, self.step()).await;
            match step.map_err(|_| ClientError::NotTold { id: self.id.clone(), answered })? {
                Ok(()) => {}
                Err(error) => self.lost(error)?,
            }
        }
    }

    /// Ends the connection in order.
    pub async fn close(self) {
        match self.phase {
            Phase::Ready(connection) | Phase::Asked(connection, ..) | Phase::Following(connection) => {
                connection.finish().await;
            }
            Phase::Waiting(..) | Phase::Over => {}
        }
    }

    async fn step(&mut self) -> Result<(), ClientError> {
        match &mut self.phase {
            Phase::Waiting(at, attempt) => {
                let (at, attempt) = (*at, attempt.clone());
                sleep_until(at).await;
                self.token = self.door.token.token()?;
                self.phase = Phase::Ready(self.door.open(&attempt, &self.token).await?);
                self.events.push_back(OrderEvent::Reconnected);
                Ok(())
            }
            Phase::Over => Err(LinkError::Closed.into()),
            Phase::Ready(_) => self.ask().await,
            Phase::Asked(connection, asked, deadline) => {
                let heard = timeout_at(*deadline, connection.receive()).await;
                let (id, body) = heard.unwrap_or(Err(ClientError::Timeout { after: ANSWER_TIMEOUT }))?;
                if id != *asked {
                    return self.told(body);
                }
                let body = answered(body)?;
                if !matches!(body, Body::Command(_) | Body::Group(_)) {
                    return Err(ClientError::WrongAnswer);
                }
                self.door.up();
                self.request.answered = true;
                self.phase = match std::mem::replace(&mut self.phase, Phase::Over) {
                    Phase::Asked(connection, ..) => Phase::Following(connection),
                    other => other,
                };
                self.told(body)
            }
            Phase::Following(connection) => {
                let (_, body) = connection.receive().await?;
                self.told(body)
            }
        }
    }

    async fn ask(&mut self) -> Result<(), ClientError> {
        if let Phase::Ready(mut connection) = std::mem::replace(&mut self.phase, Phase::Over) {
            let id = connection.send(Request::SendCommand(self.request.clone())).await?;
            self.phase = Phase::Asked(connection, id, Instant::now() + ANSWER_TIMEOUT);
        }
        Ok(())
    }

    fn told(&mut self, body: Body) -> Result<(), ClientError> {
        if let Body::GoAway(go_away) = &body {
            let after = Duration::from_millis(go_away.reconnect_after_ms.into());
            self.door.go_away(after, &go_away.gateways);
        }
        // A state of a later version is none that this one could act on: the next one will do.
        if let Some(status) = convert::order_status(body)? {
            self.is_over = status.ends_the_wait();
            self.events.push_back(OrderEvent::Status(status));
        }
        Ok(())
    }

    /// The connection is of no more use: plans the next one, or gives up.
    fn lost(&mut self, error: ClientError) -> Result<(), ClientError> {
        let Some(attempt) = self.door.again(&error, &self.token) else { return Err(error) };
        let retry_in = attempt.delay;
        self.phase = Phase::Waiting(Instant::now() + retry_in, attempt);
        self.events.push_back(OrderEvent::Disconnected { error, retry_in });
        Ok(())
    }
}

const YEAR: Duration = Duration::from_secs(365 * 24 * 60 * 60);

fn random_id() -> CommandId {
    let text = format!("{:016x}{:016x}", lockgate_runtime::random(), lockgate_runtime::random());
    CommandId::new(text).expect("32 digits are an id")
}

fn request(order: Order, id: &CommandId, deadline: UnixMicros) -> wire::SendCommand {
    let target = match order.target {
        Target::Device(device) => wire::send_command::Target::Device(device.as_str().to_owned()),
        Target::All => wire::send_command::Target::All(wire::AllDevices {}),
        Target::Tagged(tag) => wire::send_command::Target::Tag(tag.as_str().to_owned()),
    };
    wire::SendCommand {
        site: order.site.as_str().to_owned(),
        target: Some(target),
        id: id.as_str().to_owned(),
        name: order.name.as_str().to_owned(),
        arguments: fields_to_wire(&order.arguments),
        idempotent: order.idempotent,
        priority: priority_to_wire(order.priority).into(),
        deadline_us: deadline.0,
        follow: true,
        answered: false,
    }
}
