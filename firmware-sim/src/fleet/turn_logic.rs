//! Which gateway is next: one's own first, another one when it is gone or says where to go.

use std::collections::VecDeque;

use lockgate_runtime::dial::GatewayUrl;

/// LIMIT: other gateways that a gateway may name.
const NAMED_MAX: usize = 8;

/// One connection's way through the gateways.
#[derive(Debug)]
pub(super) struct Turn {
    gateways: Vec<GatewayUrl>,
    at: usize,
    named: VecDeque<GatewayUrl>,
}

impl Turn {
    /// Begins with the one that the index falls on, so that many connections spread over all.
    pub(super) fn new(gateways: &[GatewayUrl], index: usize) -> Turn {
        Turn { gateways: gateways.to_vec(), at: index, named: VecDeque::new() }
    }

    /// Where to connect now; the next call gives the next one.
    pub(super) fn next(&mut self) -> Option<GatewayUrl> {
        if let Some(named) = self.named.pop_front() {
            return Some(named);
        }
        let url = self.gateways.get(self.at.checked_rem(self.gateways.len())?).cloned();
        self.at += 1;
        url
    }

    /// The gateway leaves and names others, best first.
    pub(super) fn go_away(&mut self, named: &[String]) {
        self.named = named.iter().filter_map(|url| url.parse().ok()).take(NAMED_MAX).collect();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_gateway_is_a_named_one_and_then_the_others_in_turn() {
        let gateways: Vec<GatewayUrl> = ["ws://a:1", "ws://b:1"].map(|url| url.parse().unwrap()).into();
        let mut turn = Turn::new(&gateways, 3);
        let mut next = || turn.next().map(|url| url.to_string());
        assert_eq!([next(), next(), next()], ["ws://b:1", "ws://a:1", "ws://b:1"].map(|url| Some(url.to_owned())));
        turn.go_away(&["nonsense".to_owned(), "ws://c:1".to_owned()]);
        let mut next = || turn.next().map(|url| url.to_string());
        assert_eq!([next(), next()], ["ws://c:1", "ws://a:1"].map(|url| Some(url.to_owned())));
        assert!(Turn::new(&[], 0).next().is_none());
    }
}
