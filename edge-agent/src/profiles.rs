//! The device profiles that the agent brings along.

use lockgate_config::nearest;

/// Names and texts, in the order of the names.
const SHIPPED: [(&str, &str); 7] = [
    ("dsmr5-p1", include_str!("../profiles/dsmr5-p1.toml")),
    ("emontx", include_str!("../profiles/emontx.toml")),
    ("esphome", include_str!("../profiles/esphome.toml")),
    ("lockgate-pump", include_str!("../profiles/lockgate-pump.toml")),
    ("lockgate-room", include_str!("../profiles/lockgate-room.toml")),
    ("lockgate-thermostat", include_str!("../profiles/lockgate-thermostat.toml")),
    ("zigbee2mqtt", include_str!("../profiles/zigbee2mqtt.toml")),
];

/// The text of a shipped profile.
pub fn shipped(name: &str) -> Option<&'static str> {
    SHIPPED.iter().find(|(known, _)| *known == name).map(|(_, text)| *text)
}

/// The text of a shipped profile; where there is none of this name, what to do about it.
pub fn find(name: &str) -> Result<&'static str, String> {
    shipped(name).ok_or_else(|| {
        let possible = match nearest(name, names()) {
            Some(near) => format!("did you mean {near:?}? Possible:"),
            None => "possible:".to_owned(),
        };
        let all: Vec<&str> = names().collect();
        format!("{possible} {}, or the path of one of your own, such as ./mine.toml", all.join(", "))
    })
}

/// The names of all shipped profiles.
pub fn names() -> impl Iterator<Item = &'static str> {
    SHIPPED.iter().map(|(name, _)| *name)
}

#[cfg(test)]
mod tests {
    use lockgate_codec::{Outgoing, Profile};
    use lockgate_config::Problems;
    use lockgate_proto::command::{Field, Fields};
    use lockgate_proto::ids::{CommandName, DeviceName, FieldName};
    use lockgate_proto::reading::Value;

    #[test]
    fn every_shipped_profile_is_without_a_fault() {
        for (name, text) in super::SHIPPED {
            let problems = Problems::new();
            let profile = Profile::parse(name, text, &problems);
            assert!(profile.is_some() && problems.is_empty(), "{problems}");
        }
    }

    /// The simulator has the same bytes in its tests, and no code in common with what writes them here.
    #[test]
    fn the_simulators_devices_are_told_in_their_own_language() {
        const FRAME: &str = "347b22636f6d6d616e64223a22632d31222c22646f223a22736574222c226964223a372c2276616c7565223a3930302e307d600500";
        let written = |profile: &str, name: &str, argument: &str, value: f64| {
            let profile = Profile::parse(profile, super::shipped(profile).unwrap(), &Problems::new()).unwrap();
            let field = Field { name: FieldName::new(argument).unwrap(), value: Value::Number(value) };
            let (device, name) = (DeviceName::new("it").unwrap(), CommandName::new(name).unwrap());
            let arguments = Fields::new([field]).unwrap();
            let order = Outgoing { device: &device, name: &name, arguments: &arguments, command_id: "c-1", id: 7 };
            profile.write(&order).unwrap()
        };
        let pump = written("lockgate-pump", "set-speed", "rpm", 900.0).bytes;
        let frame = |at: usize| u8::from_str_radix(&FRAME[at..at + 2], 16).unwrap();
        assert_eq!(pump, (0..FRAME.len()).step_by(2).map(frame).collect::<Vec<_>>());
        let thermostat = written("lockgate-thermostat", "set-point", "celsius", 21.5).bytes;
        assert_eq!(thermostat, b"DO=set V=21.5 ID=7 CMD=c-1*08\n");
        let room = written("lockgate-room", "set-offset", "kelvin", 2.0);
        assert_eq!(room.topic.as_deref(), Some("sim/it/set"));
        assert_eq!(room.bytes, br#"{"command":"c-1","do":"set","id":7,"value":2.0}"#);
    }

    #[test]
    fn every_profile_of_the_folder_is_shipped() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/profiles");
        let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut files: Vec<String> = files.map(|file| file.trim_end_matches(".toml").to_owned()).collect();
        files.sort();
        assert_eq!(files, super::names().collect::<Vec<_>>());
    }
}
