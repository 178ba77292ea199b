//! `server.serve`: what an instance serves, so that instances can be placed by what they do.

use std::fmt;

use lockgate_config::Item;

/// One kind of peers that can be let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    /// Agents, at `/v1/edge`.
    Edge,
    /// People's programs, at `/v1/client`.
    Client,
    /// Everything else below `/v1`: questions and answers over plain HTTP.
    Api,
}

impl Service {
    /// All of them.
    pub const ALL: [Service; 3] = [Service::Edge, Service::Client, Service::Api];

    /// As it is written in the configuration.
    pub fn word(self) -> &'static str {
        match self {
            Service::Edge => "edge",
            Service::Client => "client",
            Service::Api => "api",
        }
    }
}

/// What an instance serves. Never nothing; probes are answered by each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Services(Vec<Service>);

impl Default for Services {
    fn default() -> Services {
        Services(Service::ALL.to_vec())
    }
}

impl Services {
    /// Whether this is among it.
    pub fn has(&self, service: Service) -> bool {
        self.0.contains(&service)
    }

    pub(super) fn check(item: &Item<'_>) -> Option<Services> {
        let words = Service::ALL.map(|service| (service.word(), service));
        let services = item.list(|item| item.word(&words))?;
        if services.is_empty() {
            item.problem("serves nothing", "name at least one of \"edge\", \"client\", \"api\"");
            return None;
        }
        Some(Services(services))
    }
}

/// For people who have knocked at the wrong instance.
impl fmt::Display for Services {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let open = Service::ALL.into_iter().filter(|service| self.has(*service)).map(|service| match service {
            Service::Edge => "agents (/v1/edge)",
            Service::Client => "clients (/v1/client)",
            Service::Api => "the API (/v1/...)",
        });
        f.write_str(&open.collect::<Vec<_>>().join(", "))
    }
}
