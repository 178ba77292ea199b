//! Says in words, for the log, why a gateway does not want this agent.

use lockgate_proto::link::agent::AgentLink;
use lockgate_proto::link::close::CloseCode;
use lockgate_runtime::dial::DialError;
use lockgate_runtime::link::Closed;

use super::ConnectError;

/// Why the gateway has closed the connection.
pub(super) fn of_close(closed: &Closed, link: &AgentLink) -> String {
    match closed.code() {
        Some(CloseCode::AgentTwice) => format!(
            "another agent is connected as {:?} of {} (a copied card or data folder?); stop it, or give it a name \
             and token of its own; this one tries to take over, after a minute and then ever more rarely",
            link.agent().as_str(),
            link.site(),
        ),
        Some(CloseCode::Unauthorized) if !closed.reason.is_empty() => {
            format!("the gateway refuses this agent: {}", one_line(&closed.reason))
        }
        _ => closed.to_string(),
    }
}

/// Why there is no connection at all.
pub(super) fn of_connect(error: &ConnectError) -> String {
    match error {
        ConnectError::Dial(DialError::Refused { status: 401, message, .. }) => match message_of(message) {
            // The gateway's own words may begin like ours.
            Some(said) => {
                let said = said.strip_prefix("the token is refused: ").unwrap_or(&said);
                format!("the gateway refuses the token: {}", one_line(said))
            }
            None => one_line(&error.to_string()),
        },
        ConnectError::Tls(_) | ConnectError::Token(_) | ConnectError::Dial(_) => one_line(&error.to_string()),
    }
}

/// The message in a gateway's answer; what stands in between may be a proxy, which answers in its own way.
fn message_of(answer: &str) -> Option<String> {
    let answer: serde_json::Value = serde_json::from_str(answer).ok()?;
    Some(answer.get("error")?.get("message")?.as_str()?.to_owned())
}

/// What others said, fit for a line of the log.
fn one_line(text: &str) -> String {
    text.chars().map(|char| if char.is_control() { ' ' } else { char }).collect()
}

#[cfg(test)]
mod tests {
    use lockgate_proto::ids::{AgentName, Site};
    use lockgate_proto::link::agent::AgentConfig;

    use super::*;

    fn refused(message: &str) -> String {
        let message = message.to_owned();
        of_connect(&ConnectError::Dial(DialError::Refused { status: 401, message, retry_after: None }))
    }

    #[test]
    fn a_refused_token_is_told_in_the_gateways_words_and_without_its_json() {
        let answer = r#"{"error":{"code":"unauthenticated","message":"the token is refused: it has \"expired\""}}"#;
        assert_eq!(refused(answer), "the gateway refuses the token: it has \"expired\"");
        assert_eq!(refused("<html>\u{1b}no"), "the gateway refused: 401 (<html> no)");
    }

    #[test]
    fn who_is_superseded_hears_of_the_other_holder_and_what_to_do() {
        let (agent, site) = (AgentName::new("agent-1").unwrap(), Site::new("plant-1").unwrap());
        let link = AgentLink::new(AgentConfig { agent, site, build: String::new() });
        let closed = |code: CloseCode, reason: &str| Closed { number: Some(code.code()), reason: reason.to_owned() };
        let told = of_close(&closed(CloseCode::AgentTwice, "superseded"), &link);
        assert!(told.starts_with("another agent is connected as \"agent-1\" of plant-1 ("), "{told}");
        let told = of_close(&closed(CloseCode::Unauthorized, "agent.name is \"a2\""), &link);
        assert_eq!(told, "the gateway refuses this agent: agent.name is \"a2\"");
    }
}
