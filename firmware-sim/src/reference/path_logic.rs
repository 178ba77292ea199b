//! What a connection is for stands in the path of its first request.

/// Which room a connection of the reference serves, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// It gets the messages of these rooms.
    Read(Vec<usize>),
    /// It sends messages to a room.
    Publish(usize),
    /// The same, and each message is acknowledged by its number.
    Record(usize),
}

impl Role {
    /// As a client asks for it.
    pub(crate) fn path(&self) -> String {
        match self {
            Role::Read(rooms) => {
                let rooms: Vec<String> = rooms.iter().map(usize::to_string).collect();
                format!("/read/{}", rooms.join(","))
            }
            Role::Publish(room) => format!("/publish/{room}"),
            Role::Record(room) => format!("/record/{room}"),
        }
    }

    /// `None`: no such thing can be asked for.
    pub(super) fn of_path(path: &str) -> Option<Role> {
        let (role, rooms) = path.strip_prefix('/')?.split_once('/')?;
        match role {
            "read" => rooms.split(',').map(|room| room.parse().ok()).collect::<Option<_>>().map(Role::Read),
            "publish" => rooms.parse().ok().map(Role::Publish),
            "record" => rooms.parse().ok().map(Role::Record),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_role_is_understood_as_it_was_asked_for() {
        for role in [Role::Read(vec![0]), Role::Read(vec![7, 12]), Role::Publish(3), Role::Record(4)] {
            assert_eq!(Role::of_path(&role.path()), Some(role));
        }
        for path in ["/", "/read", "/read/", "/read/1,", "/publish/1,2", "/v1/client"] {
            assert_eq!(Role::of_path(path), None, "{path}");
        }
    }
}
