//! Questions to a gateway, and the way to a subscription.

use std::time::Duration;

use lockgate_proto::attendance::Present;
use lockgate_proto::command::CommandId;
use lockgate_proto::convert::description_from_wire;
use lockgate_proto::description::Description;
use lockgate_proto::gateways::{Attempt, Gateways, Trouble};
use lockgate_proto::ids::{DeviceName, Site, Tag, Tenant};
use lockgate_proto::wire;
use lockgate_proto::wire::client_frame::Request;
use lockgate_proto::wire::server_frame::Body;
use lockgate_runtime::clock::Clock;
use lockgate_runtime::dial::Dialer;
use lockgate_runtime::link::LinkOptions;
use lockgate_runtime::tls::Trust;

use crate::GatewayUrl;
use crate::connection::Connection;
use crate::convert;
use crate::error::{ClientError, Disposition};
use crate::event::{AgentLoss, DeviceShadow, DeviceSummary, SubscribeOptions};
use crate::order::{CommandStatus, CommandsWanted, Order, OrderStatus};
use crate::sent::Sent;
use crate::subscription::Subscription;
use crate::token_source::TokenSource;

/// The client link's path and subprotocol.
const PATH: &str = "/v1/client";
const SUBPROTOCOL: &str = "lockgate.client.v1";

/// Devices that are asked for at a time.
const PAGE_DEVICES: u32 = 1_000;

/// Commands that are asked for at a time.
const PAGE_COMMANDS: u32 = 100;

/// How to reach a gateway.
#[derive(Clone, Debug)]
pub struct ClientOptions {
    /// Where it is; of several, the preferred one.
    pub url: GatewayUrl,
    /// Where to go when that one is not there, in this order.
    pub other_urls: Vec<GatewayUrl>,
    /// Who this is.
    pub token: TokenSource,
    /// Whom to trust, for `wss://`.
    pub trust: Trust,
    /// Name and version of the program, for the gateway's logs.
    pub client: String,
}

impl ClientOptions {
    /// A gateway and a token.
    pub fn new(url: GatewayUrl, token: TokenSource) -> ClientOptions {
        ClientOptions {
            url,
            other_urls: Vec::new(),
            token,
            trust: Trust::default(),
            client: concat!("lockgate-client ", env!("CARGO_PKG_VERSION")).to_owned(),
        }
    }
}

/// What a connection is made from, again and again.
pub(crate) struct Door {
    /// Which gateway is next, and when.
    gateways: Gateways<GatewayUrl>,
    dialer: Dialer,
    pub(crate) token: TokenSource,
    client: String,
    clock: Clock,
    /// Every configured address is encrypted: then no other kind is gone to.
    is_secure: bool,
}

impl Door {
    fn new(options: ClientOptions) -> Result<Door, ClientError> {
        let link = LinkOptions::client_at_client();
        let ClientOptions { url, other_urls, token, trust, client } = options;
        let is_secure = other_urls.iter().chain([&url]).all(GatewayUrl::is_secure);
        let dialer = Dialer::new(url.clone(), PATH, SUBPROTOCOL, link, trust)?;
        let gateways = Gateways::new(url, other_urls);
        Ok(Door { gateways, dialer, token, client, clock: Clock::system(), is_secure })
    }

    /// One attempt, without its delay.
    pub(crate) async fn open(&mut self, attempt: &Attempt<GatewayUrl>, token: &str) -> Result<Connection, ClientError> {
        self.dialer = self.dialer.to(attempt.address.clone())?;
        let dialer = self.dialer.clone().with_connect_timeout(attempt.patience);
        Connection::open(&dialer, token, &self.client).await
    }

    /// The first connection: each gateway is asked once, unless one says what all others would.
    async fn first(&mut self) -> Result<(Connection, String), ClientError> {
        let mut attempt = self.gateways.first();
        let mut left = self.gateways.configured();
        loop {
            let token = self.token.token()?;
            left -= 1;
            match self.open(&attempt, &token).await {
                Ok(connection) => return Ok((connection, token)),
                Err(error) if left == 0 || error.disposition().trouble().is_none() => return Err(error),
                Err(_) => attempt = self.ended(Trouble::Passing),
            }
        }
    }

    /// The gateway has let us in and keeps its word.
    pub(crate) fn up(&mut self) {
        self.gateways.up(self.clock.now());
        self.gateways.proved();
    }

    /// The gateway leaves on purpose, and names others. What is less safe than the configured ones is not gone to.
    pub(crate) fn go_away(&mut self, reconnect_after: Duration, gateways: &[String]) {
        let urls = gateways.iter().filter_map(|url| url.parse().ok());
        self.gateways.go_away(reconnect_after, urls.filter(|url: &GatewayUrl| url.is_secure() || !self.is_secure));
    }

    /// A connection that this token was shown on ended so: what next; `None`: nothing, it would end so again.
    pub(crate) fn again(&mut self, error: &ClientError, shown: &str) -> Option<Attempt<GatewayUrl>> {
        let disposition = error.disposition();
        let is_new_token = || self.token.token().is_ok_and(|token| token != shown);
        let trouble = match disposition.trouble() {
            Some(trouble) => trouble,
            None if disposition == Disposition::NewToken && is_new_token() => Trouble::Passing,
            None => return None,
        };
        Some(self.ended(trouble))
    }

    /// There is no connection any more, or none yet: what next.
    pub(crate) fn ended(&mut self, trouble: Trouble) -> Attempt<GatewayUrl> {
        self.gateways.ended(self.clock.now(), trouble, lockgate_runtime::random())
    }
}

impl Disposition {
    /// When to come again; `None`: never with the same token, or never at all.
    pub(crate) fn trouble(self) -> Option<Trouble> {
        match self {
            Disposition::Retry => Some(Trouble::Passing),
            Disposition::RetryAfter(after) => Some(Trouble::Asked(after)),
            Disposition::NewToken | Disposition::GiveUp => None,
        }
    }
}

/// A connection to a gateway.
pub struct Client {
    door: Door,
    connection: Connection,
    token: String,
}

impl Client {
    /// Connects to the first gateway that is there, and shows the token.
    pub async fn connect(options: ClientOptions) -> Result<Client, ClientError> {
        let mut door = Door::new(options)?;
        let (connection, token) = door.first().await?;
        Ok(Client { door, connection, token })
    }

    /// The owner of the sites that the token lets see, if the gateway says so.
    pub fn tenant(&self) -> Option<&Tenant> {
        self.connection.tenant.as_ref()
    }

    /// The devices that a site knows, as far as the token lets see them.
    pub async fn devices(&mut self, site: &Site) -> Result<Vec<DeviceSummary>, ClientError> {
        self.list_devices(site, None).await
    }

    /// Those of them that have a tag.
    pub async fn devices_tagged(&mut self, site: &Site, tag: &Tag) -> Result<Vec<DeviceSummary>, ClientError> {
        self.list_devices(site, Some(tag)).await
    }

    async fn list_devices(&mut self, site: &Site, tag: Option<&Tag>) -> Result<Vec<DeviceSummary>, ClientError> {
        let (mut devices, mut after) = (Vec::new(), String::new());
        loop {
            let tag = tag.map(|tag| tag.as_str().to_owned()).unwrap_or_default();
            let list =
                wire::ListDevices { site: site.as_str().to_owned(), after: after.clone(), limit: PAGE_DEVICES, tag };
            let Body::DeviceList(list) = self.connection.ask(Request::ListDevices(list)).await? else {
                return Err(ClientError::WrongAnswer);
            };
            for device in list.devices {
                devices.push(convert::summary(device)?);
            }
            // A gateway that has no pages has told all.
            if list.next.is_empty() {
                return Ok(devices);
            }
            if list.next <= after {
                return Err(ClientError::WrongAnswer);
            }
            after = list.next;
        }
    }

    /// The last known values of a device.
    pub async fn shadow(&mut self, site: &Site, device: &DeviceName) -> Result<DeviceShadow, ClientError> {
        let (site, device) = (site.as_str().to_owned(), device.as_str().to_owned());
        match self.connection.ask(Request::GetShadow(wire::GetShadow { site, device })).await? {
            Body::Shadow(reply) => convert::shadow(reply.shadow.ok_or(ClientError::WrongAnswer)?),
            _ => Err(ClientError::WrongAnswer),
        }
    }

    /// What a device measures and can be told to do; `None`: its agent has never said.
    pub async fn describe(&mut self, site: &Site, device: &DeviceName) -> Result<Option<Description>, ClientError> {
        let (site, device) = (site.as_str().to_owned(), device.as_str().to_owned());
        match self.connection.ask(Request::DescribeDevice(wire::DescribeDevice { site, device })).await? {
            Body::Description(reply) => Ok(reply.description.map(description_from_wire).transpose()?),
            _ => Err(ClientError::WrongAnswer),
        }
    }

    /// Who is in a site's room: agents and people.
    pub async fn presence(&mut self, site: &Site) -> Result<Vec<Present>, ClientError> {
        let request = Request::ListPresence(wire::ListPresence { site: site.as_str().to_owned() });
        match self.connection.ask(request).await? {
            Body::PresenceList(list) => list.attendees.into_iter().map(convert::present).collect(),
            _ => Err(ClientError::WrongAnswer),
        }
    }

    /// What became of the records of each of a site's agents.
    pub async fn loss(&mut self, site: &Site) -> Result<Vec<AgentLoss>, ClientError> {
        let request = Request::GetLoss(wire::GetLoss { site: site.as_str().to_owned() });
        match self.connection.ask(request).await? {
            Body::Loss(reply) => reply.agents.into_iter().map(convert::loss).collect(),
            _ => Err(ClientError::WrongAnswer),
        }
    }

    /// Where a command stands, or a group of commands.
    pub async fn command(&mut self, site: &Site, id: &CommandId) -> Result<OrderStatus, ClientError> {
        let (site, id) = (site.as_str().to_owned(), id.as_str().to_owned());
        let request = Request::GetCommand(wire::GetCommand { site, id, follow: false });
        convert::order_status(self.connection.ask(request).await?)?.ok_or(ClientError::WrongAnswer)
    }

    /// Commands of a site, the newest first, as far as the token lets see them.
    pub async fn commands(&mut self, wanted: &CommandsWanted) -> Result<Vec<CommandStatus>, ClientError> {
        let (mut commands, mut after) = (Vec::new(), String::new());
        while commands.len() < wanted.count_max {
            let left = wanted.count_max - commands.len();
            let request = wire::ListCommands {
                site: wanted.site.as_str().to_owned(),
                device: wanted.device.as_ref().map_or_else(String::new, |device| device.as_str().to_owned()),
                state: wanted.state.clone().unwrap_or_default(),
                group: wanted.group.as_ref().map_or_else(String::new, |group| group.as_str().to_owned()),
                after: after.clone(),
                limit: u32::try_from(left).unwrap_or(u32::MAX).min(PAGE_COMMANDS),
            };
            let Body::CommandList(list) = self.connection.ask(Request::ListCommands(request)).await? else {
                return Err(ClientError::WrongAnswer);
            };
            for command in list.commands {
                commands.extend(convert::command_status(command)?);
            }
            if list.next.is_empty() {
                break;
            }
            if list.next == after {
                return Err(ClientError::WrongAnswer);
            }
            after = list.next;
        }
        Ok(commands)
    }

    /// Takes a command back, or all of a group. Its agent may have to be asked: then the status says so.
    pub async fn cancel(&mut self, site: &Site, id: &CommandId) -> Result<OrderStatus, ClientError> {
        let (site, id) = (site.as_str().to_owned(), id.as_str().to_owned());
        let request = Request::CancelCommand(wire::CancelCommand { site, id });
        convert::order_status(self.connection.ask(request).await?)?.ok_or(ClientError::WrongAnswer)
    }

    /// Sends a command over this connection, and the same one over others when it breaks.
    pub fn send(self, order: Order) -> Sent {
        Sent::begin(self.door, self.connection, self.token, order)
    }

    /// Subscribes over this connection, and over others when it breaks.
    pub async fn subscribe(self, options: SubscribeOptions) -> Result<Subscription, ClientError> {
        Subscription::begin(self.door, self.connection, self.token, options).await
    }

    /// Ends the connection in order.
    pub async fn close(self) {
        self.connection.finish().await;
    }
}
