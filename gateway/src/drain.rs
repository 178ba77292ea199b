//! Leaving on purpose: what peers are told, and how long they may take.
//!
//! When the process is asked to stop, `/readyz` fails at once and nobody new is let in, but the listener stays: whoever
//! watches over us hears why. Every session gets a [`Farewell`] and ends; then the listener does, then the process.

use std::time::Duration;

use lockgate_proto::limits::GATEWAYS_MAX;

use crate::backbone::Instance;
use crate::config::{ServerConfig, Service};
use crate::limits::PAGE_CLOSE_TIMEOUT;

/// What a peer is told when it must leave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Farewell {
    /// When it may connect again, here or elsewhere.
    pub(crate) reconnect_after: Duration,
    /// Where to, best first.
    pub(crate) gateways: Vec<String>,
}

impl Farewell {
    /// One peer's; each random number gives another moment and another order, so that neither all come at once nor
    /// all to the same one.
    pub(crate) fn new(server: &ServerConfig, known: &[Instance], service: Service, random: u64) -> Farewell {
        let nanos = (server.drain_spread.as_nanos().saturating_mul(u128::from(random))) >> 64;
        let mut gateways = others(server, known, service);
        let turn = usize::try_from(random & 0xffff).unwrap_or_default() % gateways.len().max(1);
        gateways.rotate_left(turn);
        gateways.truncate(GATEWAYS_MAX);
        Farewell { reconnect_after: Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX)), gateways }
    }
}

/// Where the other instances are: those that the configuration names, and those that say in the backbone that they
/// serve such peers.
fn others(server: &ServerConfig, known: &[Instance], service: Service) -> Vec<String> {
    let serves = |instance: &&Instance| match service {
        Service::Edge => instance.edge,
        Service::Client => instance.client,
        Service::Api => false,
    };
    let mut others: Vec<String> = Vec::new();
    for url in server.peers.iter().chain(known.iter().filter(serves).map(|instance| &instance.url)) {
        let text = url.to_string();
        if server.advertise.as_ref() != Some(url) && !others.contains(&text) {
            others.push(text);
        }
    }
    others
}

/// How long an agent that was told to go has for what is in flight. Then there is still time to close.
pub(crate) fn patience(server: &ServerConfig) -> Duration {
    server.drain_timeout / 2
}

/// A session that has not ended by then is cut off, whatever it waits for: it is not to hold up the end of all.
pub(crate) fn cut_after(server: &ServerConfig) -> Duration {
    server.drain_timeout * 3 / 4
}

/// How long plain connections have to finish, after the last session has ended.
pub(crate) fn close_timeout(server: &ServerConfig) -> Duration {
    PAGE_CLOSE_TIMEOUT.min(server.drain_timeout / 8)
}

#[cfg(test)]
mod tests {
    use lockgate_proto::ids::InstanceId;

    use super::*;
    use crate::config::Config;

    fn instance(url: &str, edge: bool, client: bool) -> Instance {
        Instance { id: InstanceId(1), url: url.parse().unwrap(), edge, client }
    }

    #[test]
    fn peers_are_sent_to_the_others_at_many_moments_and_in_many_orders() {
        let urls =
            ["wss://a", "wss://b", "wss://c"].map(|url| url.parse::<lockgate_runtime::dial::GatewayUrl>().unwrap());
        let server = ServerConfig {
            advertise: Some(urls[1].clone()),
            peers: urls.to_vec(),
            drain_spread: Duration::from_secs(4),
            ..Config::default().server
        };
        let farewell = |server: &ServerConfig, random| Farewell::new(server, &[], Service::Edge, random);
        let (first, last) = (farewell(&server, 0), farewell(&server, u64::MAX));
        assert_eq!((first.reconnect_after, first.gateways), (Duration::ZERO, vec!["wss://a".into(), "wss://c".into()]));
        assert_eq!(last.reconnect_after.as_millis(), 3_999);
        assert_eq!(last.gateways, ["wss://c", "wss://a"]);
        assert_eq!(farewell(&Config::default().server, 7).gateways, Vec::<String>::new());
    }

    #[test]
    fn peers_are_sent_to_those_that_say_that_they_serve_them_and_to_none_twice() {
        let server = ServerConfig {
            advertise: Some("wss://me".parse().unwrap()),
            peers: vec!["wss://a".parse().unwrap()],
            ..Config::default().server
        };
        let known = [
            instance("wss://me", true, true),
            instance("wss://agents", true, false),
            instance("wss://a", true, true),
            instance("wss://people", false, true),
        ];
        let sent_to = |service| Farewell::new(&server, &known, service, 0).gateways;
        assert_eq!(sent_to(Service::Edge), ["wss://a", "wss://agents"]);
        assert_eq!(sent_to(Service::Client), ["wss://a", "wss://people"]);
        let many: Vec<_> = (0..GATEWAYS_MAX * 2).map(|at| instance(&format!("wss://g{at}"), true, true)).collect();
        assert_eq!(Farewell::new(&server, &many, Service::Edge, 5).gateways.len(), GATEWAYS_MAX);
    }
}
