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
    use lockgate_codec::Profile;
    use lockgate_config::Problems;

    #[test]
    fn every_shipped_profile_is_without_a_fault() {
        for (name, text) in super::SHIPPED {
            let problems = Problems::new();
            let profile = Profile::parse(name, text, &problems);
            assert!(profile.is_some() && problems.is_empty(), "{problems}");
        }
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
