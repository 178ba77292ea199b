//! What the models say is read back by parsers written for these tests alone.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use proptest::prelude::*;

use super::*;

fn moment(text: &str) -> Moment {
    Moment { wall: text.parse().unwrap(), step: Duration::from_secs(1) }
}

fn unstuff(frame: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut at = 0;
    while at < frame.len() {
        let code = usize::from(frame[at]);
        out.extend_from_slice(&frame[at + 1..at + code]);
        at += code;
        if code < 255 && at < frame.len() {
            out.push(0);
        }
    }
    out
}

fn bitwise_crc(bytes: &[u8], start: u16) -> u16 {
    bytes.iter().fold(start, |crc, byte| {
        (0..8).fold(crc ^ u16::from(*byte), |crc, _| if crc & 1 == 1 { (crc >> 1) ^ 0xA001 } else { crc >> 1 })
    })
}

fn read_pump(frame: &[u8]) -> Option<serde_json::Value> {
    let (body, end) = frame.split_at(frame.len() - 1);
    assert_eq!(end, [0]);
    if body.contains(&0) {
        return None;
    }
    let inner = unstuff(body);
    let (json, crc) = inner.split_at(inner.len() - 2);
    (bitwise_crc(json, 0xFFFF).to_le_bytes() == crc).then(|| serde_json::from_slice(json).unwrap())
}

fn read_line(line: &[u8]) -> Option<BTreeMap<String, f64>> {
    let text = std::str::from_utf8(line).ok()?.strip_suffix("\r\n")?;
    let (body, sum) = text.split_at(text.len() - 3);
    let sum = sum.strip_prefix('*')?;
    let own = body.bytes().fold(0, |sum, byte| sum ^ byte);
    if format!("{own:02X}") != sum {
        return None;
    }
    body.split(' ').map(|pair| pair.split_once('=').map(|(k, v)| (k.to_owned(), v.parse().unwrap()))).collect()
}

fn read_telegram(bytes: &[u8]) -> Option<BTreeMap<String, Vec<String>>> {
    let end = bytes.iter().rposition(|&byte| byte == b'!')?;
    let sum = std::str::from_utf8(&bytes[end + 1..]).ok()?.strip_suffix("\r\n")?;
    if bytes[0] != b'/' || format!("{:04X}", bitwise_crc(&bytes[..=end], 0)) != sum {
        return None;
    }
    let text = std::str::from_utf8(&bytes[..end]).ok()?;
    let lines = text.split("\r\n").skip(2).filter(|line| !line.is_empty());
    Some(
        lines
            .map(|line| {
                let (key, rest) = line.split_once('(').unwrap();
                (key.to_owned(), rest.trim_end_matches(')').split(")(").map(str::to_owned).collect())
            })
            .collect(),
    )
}

#[test]
fn a_pump_frame_carries_number_flow_pressure_speed_and_state() {
    let mut random = Random::new(3);
    let mut pump = Pump::new();
    for n in 1..=300 {
        let frame = pump.sample(n, moment("2025-05-20T07:00:00Z"), &mut random);
        let json = read_pump(&frame.bytes).expect("the checksum is right");
        assert_eq!(json["n"], n);
        assert!((0.0..2000.0).contains(&json["rpm"].as_f64().unwrap()));
        assert!(json["flow"].is_number() && json["pressure"].is_number());
        assert!(["stopped", "starting", "running"].contains(&json["state"].as_str().unwrap()));
    }
}

#[test]
fn a_thermostat_line_carries_temperatures_heat_and_number() {
    let mut random = Random::new(3);
    let mut thermostat = Thermostat::new(&mut random);
    for n in 1..=300 {
        let frame = thermostat.sample(n, moment("2025-05-20T07:00:00Z"), &mut random);
        let fields = read_line(&frame.bytes).expect("the checksum is right");
        assert_eq!(fields["N"].to_string(), n.to_string());
        assert!((0.0..40.0).contains(&fields["T"]) && (16.0..=24.0).contains(&fields["SP"]));
        assert!([0.0, 1.0].contains(&fields["HEAT"]));
    }
}

#[test]
fn a_telegram_carries_number_energies_and_two_times() {
    let mut random = Random::new(3);
    let mut meter = Meter::new(&mut random);
    let first = read_telegram(&meter.sample(7, moment("2025-06-29T12:30:12Z"), &mut random).bytes).unwrap();
    let next = read_telegram(&meter.sample(8, moment("2025-06-29T12:31:12Z"), &mut random).bytes).unwrap();
    assert_eq!(first["0-0:96.13.1"], ["7"]);
    assert_eq!(next["0-0:96.13.1"], ["8"]);
    assert_eq!(first["0-0:1.0.0"], ["250629143012S"]);
    assert_eq!(next["0-0:1.0.0"], ["250629143112S"]);
    // The gas meter stays with what it said until five minutes have gone.
    assert_eq!(first["0-1:24.2.1"][0], "250629143012S");
    assert_eq!(next["0-1:24.2.1"][0], "250629143012S");
    assert!(first["0-1:24.2.1"][1].ends_with("*m3") && first["1-0:1.8.2"][0].ends_with("*kWh"));
    assert_eq!(first["0-0:96.14.0"], ["0002"]);
}

#[test]
fn a_telegram_tells_the_two_half_past_twos_of_an_october_night_apart() {
    let mut random = Random::new(3);
    let mut meter = Meter::new(&mut random);
    let mut stamp =
        |text| read_telegram(&meter.sample(1, moment(text), &mut random).bytes).unwrap()["0-0:1.0.0"].clone();
    assert_eq!(stamp("2025-10-26T00:30:00Z"), ["251026023000S"]);
    assert_eq!(stamp("2025-10-26T01:30:00Z"), ["251026023000W"]);
}

#[test]
fn a_room_message_carries_what_zigbee2mqtt_says_and_the_number() {
    let mut random = Random::new(3);
    let mut room = Room::new(&mut random);
    let text = room.payload(12, moment("2025-05-20T07:01:12.345678Z"), &mut random);
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(json["n"], 12);
    assert_eq!(json["last_seen"], "2025-05-20T07:01:12.345Z");
    assert!(json["last_seen"].as_str().unwrap().parse::<Timestamp>().is_ok());
    for key in ["temperature", "humidity", "battery", "linkquality"] {
        assert!(json[key].is_number(), "{key}");
    }
}

/// What the independent reader of each kind makes of a frame: is it accepted?
fn accepts(kind: Kind, bytes: &[u8]) -> bool {
    match kind {
        Kind::Pump => std::panic::catch_unwind(|| read_pump(bytes)).is_ok_and(|read| read.is_some()),
        Kind::Thermostat => read_line(bytes).is_some(),
        Kind::Meter => read_telegram(bytes).is_some(),
        Kind::Room => false,
    }
}

proptest! {
    #[test]
    fn one_flipped_bit_in_the_guarded_part_is_always_noticed(
        kind in prop_oneof![Just(Kind::Pump), Just(Kind::Thermostat), Just(Kind::Meter)],
        seed: u64, at: prop::sample::Index, bit in 0..8u8,
    ) {
        let mut random = Random::new(seed);
        let mut model = kind.serial_model(&mut random).unwrap();
        let Frame { mut bytes, guarded } = model.sample(5, moment("2025-05-20T07:00:00Z"), &mut random);
        prop_assert!(accepts(kind, &bytes));
        let spot = guarded.start + at.index(guarded.len());
        bytes[spot] ^= 1u8 << bit;
        prop_assert!(!accepts(kind, &bytes));
    }

    #[test]
    fn stuffing_is_undone_by_the_textbook(bytes in prop::collection::vec(prop_oneof![Just(0u8), any::<u8>()], 0..600)) {
        let stuffed = crate::checks::cobs(&bytes);
        prop_assert!(!stuffed.contains(&0));
        prop_assert_eq!(unstuff(&stuffed), bytes);
    }
}

#[test]
fn a_pump_and_a_thermostat_take_whole_orders_and_do_what_they_say() {
    const FRAME: &str =
        "347b22636f6d6d616e64223a22632d31222c22646f223a22736574222c226964223a372c2276616c7565223a3930302e307d600500";
    let frame: Vec<u8> =
        (0..FRAME.len()).step_by(2).map(|at| u8::from_str_radix(&FRAME[at..at + 2], 16).unwrap()).collect();
    let mut pump = Pump::new();
    assert_eq!(pump.hear(&frame[..20]), []);
    let orders = pump.hear(&frame[20..]);
    let set = |value: f64| Told { id: "7".into(), command: "c-1".into(), what: "set".into(), value: Some(value) };
    assert_eq!(orders, [set(900.0)]);
    pump.obey(&orders[0]);
    let mut random = Random::new(1);
    let mut said =
        |pump: &mut Pump, n| read_pump(&pump.sample(n, moment("2025-05-20T07:00:00Z"), &mut random).bytes).unwrap();
    let last = (1..=40).map(|n| said(&mut pump, n)).find(|said| said["rpm"].as_f64().unwrap() > 850.0).unwrap();
    assert!(last["rpm"].as_f64().unwrap() < 950.0, "it runs as fast as it was told: {last}");
    let reply = read_pump(&pump.reply("7", &Word::Done(Some(900.0)))).unwrap();
    assert_eq!((reply["reply"].as_str(), reply["id"].as_u64()), (Some("done"), Some(7)));

    let mut thermostat = Thermostat::new(&mut Random::new(1));
    let orders = thermostat.hear(b"DO=set V=21.5 ID=7 CMD=c-1*09\nDO=set V=21.5 ID=7 CMD=c-1*08\n");
    assert_eq!(orders, [set(21.5)], "a wrong checksum is no order");
    thermostat.obey(&orders[0]);
    let line = thermostat.sample(1, moment("2025-05-20T07:00:00Z"), &mut Random::new(1)).bytes;
    assert!(String::from_utf8(line).unwrap().contains(" SP=21.5 "));
}
