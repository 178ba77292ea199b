//! Questions to a gateway, and the way to a subscription.

use std::path::PathBuf;

use lockgate_proto::attendance::Present;
use lockgate_proto::ids::{DeviceName, Site, Tenant};
use lockgate_proto::wire;
use lockgate_proto::wire::client_frame::Request;
use lockgate_proto::wire::server_frame::Body;
use lockgate_runtime::dial::Dialer;
use lockgate_runtime::link::LinkOptions;

use crate::GatewayUrl;
use crate::connection::Connection;
use crate::convert;
use crate::error::ClientError;
use crate::event::{AgentLoss, DeviceShadow, DeviceSummary, SubscribeOptions};
use crate::subscription::Subscription;
use crate::token_source::TokenSource;

/// The client link's path and subprotocol.
const PATH: &str = "/v1/client";
const SUBPROTOCOL: &str = "lockgate.client.v1";

/// How to reach a gateway.
#[derive(Clone, Debug)]
pub struct ClientOptions {
    /// Where it is.
    pub url: GatewayUrl,
    /// Who this is.
    pub token: TokenSource,
    /// Certificates to trust beside the system's, for `wss://`.
    pub ca_file: Option<PathBuf>,
    /// Name and version of the program, for the gateway's logs.
    pub client: String,
}

impl ClientOptions {
    /// A gateway and a token.
    pub fn new(url: GatewayUrl, token: TokenSource) -> ClientOptions {
        ClientOptions {
            url,
            token,
            ca_file: None,
            client: concat!("lockgate-client ", env!("CARGO_PKG_VERSION")).to_owned(),
        }
    }
}

/// What a connection is made from, again and again.
#[derive(Clone)]
pub(crate) struct Gateway {
    pub(crate) dialer: Dialer,
    pub(crate) token: TokenSource,
    pub(crate) client: String,
}

/// A connection to a gateway.
pub struct Client {
    gateway: Gateway,
    connection: Connection,
    token: String,
}

impl Client {
    /// Connects and shows the token.
    pub async fn connect(options: ClientOptions) -> Result<Client, ClientError> {
        let link = LinkOptions::client_at_client();
        let dialer = Dialer::new(options.url, PATH, SUBPROTOCOL, link, options.ca_file.as_deref())?;
        let gateway = Gateway { dialer, token: options.token, client: options.client };
        let token = gateway.token.token()?;
        let connection = Connection::open(&gateway.dialer, &token, &gateway.client).await?;
        Ok(Client { gateway, connection, token })
    }

    /// The owner of the sites that the token lets see, if the gateway says so.
    pub fn tenant(&self) -> Option<&Tenant> {
        self.connection.tenant.as_ref()
    }

    /// The devices that a site knows, as far as the token lets see them.
    pub async fn devices(&mut self, site: &Site) -> Result<Vec<DeviceSummary>, ClientError> {
        let request = Request::ListDevices(wire::ListDevices { site: site.as_str().to_owned() });
        match self.connection.ask(request).await? {
            Body::DeviceList(list) => list.devices.into_iter().map(convert::summary).collect(),
            _ => Err(ClientError::WrongAnswer),
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

    /// Subscribes over this connection, and over others when it breaks.
    pub async fn subscribe(self, options: SubscribeOptions) -> Result<Subscription, ClientError> {
        Subscription::begin(self.gateway, self.connection, self.token, options).await
    }

    /// Ends the connection in order.
    pub async fn close(self) {
        self.connection.finish().await;
    }
}
