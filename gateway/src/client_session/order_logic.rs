//! Whether an order is one that was taken before: its sender repeats it where an answer got lost.

use lockgate_proto::command::{Command, Fields};
use lockgate_proto::reading::Value;
use lockgate_proto::time::UnixMicros;

/// By when a command must begin, as its sender says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Deadline {
    /// An instant: said again, it is the same.
    At(UnixMicros),
    /// So long after the order is taken, which is this instant now; said again, the first one holds.
    Within(UnixMicros),
}

/// Whether what is ordered is what was stored. What was stored may have more: the defaults of a description, which may
/// have changed since.
pub(crate) fn is_same(stored: &Command, ordered: &Command, deadline: Deadline) -> bool {
    let Command { id, device, name, arguments, idempotent, priority, deadline: _, sender } = ordered;
    let in_time = match deadline {
        Deadline::At(instant) => stored.deadline == instant,
        Deadline::Within(_) => true,
    };
    in_time
        && (&stored.id, &stored.device, &stored.name, &stored.sender) == (id, device, name, sender)
        && (stored.idempotent, stored.priority) == (*idempotent, *priority)
        && has(&stored.arguments, arguments)
}

fn has(stored: &Fields, given: &Fields) -> bool {
    given.iter().all(|field| stored.get(field.name.as_str()).is_some_and(|value| are_same(value, &field.value)))
}

#[allow(
    clippy::cast_precision_loss,
    clippy::float_cmp,
    reason = "a whole number was made of the very number, or the other way round"
)]
fn are_same(stored: &Value, given: &Value) -> bool {
    match (stored, given) {
        (Value::Integer(integer), Value::Number(number)) | (Value::Number(number), Value::Integer(integer)) => {
            *integer as f64 == *number
        }
        (stored, given) => stored == given,
    }
}

#[cfg(test)]
mod tests {
    use lockgate_proto::command::{CommandId, Field, Priority};
    use lockgate_proto::ids::{CommandName, DeviceName, FieldName, UserName};

    use super::*;

    fn ordered(arguments: &[(&str, Value)], deadline: i64) -> Command {
        let field = |(name, value): &(&str, Value)| Field { name: FieldName::new(name).unwrap(), value: value.clone() };
        Command {
            id: CommandId::new("c").unwrap(),
            device: DeviceName::new("pump").unwrap(),
            name: CommandName::new("run").unwrap(),
            arguments: Fields::new(arguments.iter().map(field)).unwrap(),
            idempotent: false,
            priority: Priority::Normal,
            deadline: UnixMicros(deadline),
            sender: UserName::new("ann").unwrap(),
        }
    }

    #[test]
    fn an_order_is_the_same_also_after_defaults_and_numbers_were_filled_in() {
        let speed = ("speed", Value::Integer(2));
        let stored = ordered(&[("mode", Value::Text("eco".into())), ("speed", Value::Number(2.0))], 7);
        let again = ordered(std::slice::from_ref(&speed), 9);
        assert!(is_same(&stored, &again, Deadline::Within(UnixMicros(9))), "the first deadline holds");
        assert!(!is_same(&stored, &again, Deadline::At(UnixMicros(9))));
        assert!(is_same(&stored, &ordered(std::slice::from_ref(&speed), 7), Deadline::At(UnixMicros(7))));
        let within = Deadline::Within(UnixMicros(9));
        for other in [
            ordered(&[("speed", Value::Integer(3))], 9),
            ordered(&[speed.clone(), ("more", Value::Flag(true))], 9),
            Command { idempotent: true, ..again.clone() },
            Command { priority: Priority::High, ..again.clone() },
            Command { sender: UserName::new("bob").unwrap(), ..again.clone() },
            Command { device: DeviceName::new("fan").unwrap(), ..again.clone() },
            Command { name: CommandName::new("stop").unwrap(), ..again.clone() },
        ] {
            assert!(!is_same(&stored, &other, within), "{other:?}");
        }
    }
}
