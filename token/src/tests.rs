//! Promises of tokens and of the key's file.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use jsonwebtoken::{Algorithm, EncodingKey, Header};
use lockgate_proto::ids::{AgentId, AgentName, DeviceName, RoomId, Site, Tenant};
use lockgate_proto::time::UnixMicros;
use serde_json::{Value, json};

use super::{
    Action, Grant, Identity, KeyError, NewToken, Scope, SigningKey, TOKEN_BYTES_MAX, TokenError, read_unproven,
};

const SECRET: [u8; 32] = [7; 32];
const NOW: UnixMicros = UnixMicros(1_800_000_000_000_000);

fn key() -> SigningKey {
    SigningKey::from_bytes(&SECRET)
}

fn room(tenant: &str, site: &str) -> RoomId {
    RoomId { tenant: Tenant::new(tenant).unwrap(), site: Site::new(site).unwrap() }
}

fn agent_id(tenant: &str, site: &str, agent: &str) -> AgentId {
    AgentId { room: room(tenant, site), agent: AgentName::new(agent).unwrap() }
}

fn grant_of(identity: Identity) -> Grant {
    let token = NewToken { tenant: Tenant::new("acme").unwrap(), identity, ttl: Duration::from_secs(60) };
    key().verify(&key().mint(&token, NOW).unwrap(), NOW).unwrap()
}

fn user(scopes: &[&str]) -> Grant {
    let scopes = scopes.iter().map(|scope| scope.parse().unwrap()).collect();
    grant_of(Identity::User { name: "ann".to_owned(), scopes })
}

fn agent() -> Grant {
    grant_of(Identity::Agent { site: Site::new("plant-1").unwrap(), agent: AgentName::new("pi").unwrap() })
}

/// A token whose claims are those of a good one, with some replaced; `null` removes one.
fn forged(changes: &Value) -> Result<Grant, TokenError> {
    let mut claims = json!({
        "aud": "lockgate", "iat": 1_800_000_000, "exp": 1_800_000_060, "jti": "1",
        "ten": "acme", "sub": "ann", "kind": "user", "scope": ["telemetry:read:*"],
    });
    for (claim, value) in changes.as_object().unwrap() {
        if value.is_null() {
            claims.as_object_mut().unwrap().remove(claim);
        } else {
            claims[claim] = value.clone();
        }
    }
    let token = jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &EncodingKey::from_secret(&SECRET));
    key().verify(&token.unwrap(), NOW)
}

#[test]
fn a_token_says_what_it_was_made_to_say() {
    let grant = user(&["telemetry:read:plant-1/pump*"]);
    assert_eq!((grant.tenant.as_str(), grant.subject(), grant.issued_at), ("acme", "ann", NOW));
    assert_eq!(grant.expires_at, NOW.offset_by(60_000_000));
    assert_eq!(agent().agent(), Some(agent_id("acme", "plant-1", "pi")));
    assert_eq!(grant.agent(), None);
}

#[test]
fn a_token_is_good_until_its_end_and_not_a_second_longer() {
    let token = NewToken {
        tenant: Tenant::new("acme").unwrap(),
        identity: Identity::User { name: "ann".to_owned(), scopes: vec![Scope::read_all()] },
        ttl: Duration::from_secs(60),
    };
    let token = key().mint(&token, NOW).unwrap();
    assert!(key().verify(&token, NOW.offset_by(59_999_999)).is_ok());
    assert_eq!(key().verify(&token, NOW.offset_by(60_000_000)), Err(TokenError::Expired));
}

#[test]
fn a_token_is_not_good_before_its_beginning() {
    assert_eq!(forged(&json!({ "nbf": 1_800_000_001 })), Err(TokenError::NotYet));
    assert!(forged(&json!({ "nbf": 1_800_000_000 })).is_ok());
    assert_eq!(forged(&json!({ "nbf": "tomorrow" })), Err(TokenError::Malformed));
}

#[test]
fn a_token_that_needs_an_extension_is_refused() {
    let token = NewToken {
        tenant: Tenant::new("acme").unwrap(),
        identity: Identity::User { name: "ann".to_owned(), scopes: vec![Scope::read_all()] },
        ttl: Duration::from_secs(60),
    };
    let claims: Value = jsonwebtoken::dangerous::insecure_decode(key().mint(&token, NOW).unwrap()).unwrap().claims;
    let sign = |crit: Option<Vec<String>>| {
        let header = Header { crit, ..Header::new(Algorithm::HS256) };
        jsonwebtoken::encode(&header, &claims, &EncodingKey::from_secret(&SECRET)).unwrap()
    };
    assert!(key().verify(&sign(None), NOW).is_ok());
    for crit in [vec!["b64".to_owned()], Vec::new()] {
        assert_eq!(key().verify(&sign(Some(crit)), NOW), Err(TokenError::Critical));
    }
}

#[test]
fn a_token_of_another_key_is_refused() {
    let identity = Identity::User { name: "ann".to_owned(), scopes: Vec::new() };
    let token = NewToken { tenant: Tenant::new("acme").unwrap(), identity, ttl: Duration::from_secs(60) };
    let token = SigningKey::from_bytes(&[8; 32]).mint(&token, NOW).unwrap();
    assert_eq!(key().verify(&token, NOW), Err(TokenError::Signature));
}

#[test]
fn the_header_does_not_choose_the_algorithm() {
    // {"alg":"none"} and no signature; {"alg":"RS256"} and any signature; HS512 by the right secret.
    let claims = "eyJhdWQiOiJsb2NrZ2F0ZSJ9";
    assert_eq!(key().verify(&format!("eyJhbGciOiJub25lIn0.{claims}."), NOW), Err(TokenError::Malformed));
    assert_eq!(key().verify(&format!("eyJhbGciOiJSUzI1NiJ9.{claims}.AAAA"), NOW), Err(TokenError::Algorithm));
    let hs512 = jsonwebtoken::encode(
        &Header::new(Algorithm::HS512),
        &json!({"aud": "lockgate", "exp": 1_900_000_000}),
        &EncodingKey::from_secret(&SECRET),
    );
    assert_eq!(key().verify(&hs512.unwrap(), NOW), Err(TokenError::Algorithm));
}

#[test]
fn a_token_with_a_changed_byte_is_refused() {
    let identity = Identity::User { name: "ann".to_owned(), scopes: vec![Scope::read_all()] };
    let token = NewToken { tenant: Tenant::new("acme").unwrap(), identity, ttl: Duration::from_secs(60) };
    let token = key().mint(&token, NOW).unwrap();
    // The last character is left out: some of its bits are padding and say nothing.
    for place in 0..token.len() - 1 {
        let mut changed = token.clone().into_bytes();
        changed[place] = if changed[place] == b'A' { b'B' } else { b'A' };
        assert!(key().verify(&String::from_utf8(changed).unwrap(), NOW).is_err(), "byte {place}");
    }
}

#[test]
fn every_claim_that_matters_must_be_there() {
    assert!(forged(&json!({})).is_ok());
    assert_eq!(forged(&json!({"aud": null})), Err(TokenError::Malformed));
    assert_eq!(forged(&json!({"aud": "someone"})), Err(TokenError::Audience));
    for claim in ["exp", "iat", "jti", "ten", "sub", "kind"] {
        assert!(forged(&json!({claim: null})).is_err(), "{claim}");
    }
    assert!(forged(&json!({"exp": "never"})).is_err());
    assert!(forged(&json!({"exp": 9e300})).is_err());
    assert!(forged(&json!({"kind": "root"})).is_err());
    assert_eq!(forged(&json!({"kind": "agent"})), Err(TokenError::Claim { claim: "site" }));
    assert_eq!(forged(&json!({"ten": ""})), Err(TokenError::Claim { claim: "ten" }));
    assert_eq!(forged(&json!({"sub": "a\u{1b}"})), Err(TokenError::Claim { claim: "sub" }));
    assert_eq!(forged(&json!({"scope": ["telemetry:read:%"]})), Err(TokenError::Claim { claim: "scope" }));
}

#[test]
fn a_right_of_a_later_version_allows_nothing_and_harms_nothing() {
    let grant = forged(&json!({"scope": ["flying:do:*", "telemetry:read:plant-1"]})).unwrap();
    assert!(grant.allows(Action::ReadRoom(&room("acme", "plant-1"))));
    assert!(!grant.allows(Action::ReadRoom(&room("acme", "plant-2"))));
}

#[test]
fn an_oversized_or_garbled_token_is_refused_unread() {
    assert_eq!(key().verify(&"a".repeat(TOKEN_BYTES_MAX + 1), NOW), Err(TokenError::TooLong));
    for token in ["", ".", "..", "...", "a.b.c", "ä.ö.ü", "eyJhbGciOiJIUzI1NiJ9..", "\0\0"] {
        assert!(key().verify(token, NOW).is_err(), "{token:?}");
    }
    let many = vec!["telemetry:read:*"; 65];
    assert_eq!(forged(&json!({"scope": many})), Err(TokenError::Claim { claim: "scope" }));
}

#[test]
fn a_reader_reads_what_its_scopes_name_and_nothing_else() {
    let (pump, fan) = (DeviceName::new("pump 1").unwrap(), DeviceName::new("fan").unwrap());
    let (here, other_site, other_tenant) = (room("acme", "plant-1"), room("acme", "ship"), room("evil", "plant-1"));
    let some = user(&["telemetry:read:plant-1/pump%20*"]);
    assert!(some.allows(Action::ReadDevice(&here, &pump)) && some.allows(Action::EnterRoom(&here)));
    assert!(!some.allows(Action::ReadDevice(&here, &fan)) && !some.allows(Action::ReadRoom(&here)));
    let all = user(&["telemetry:read:*"]);
    assert!(all.allows(Action::ReadRoom(&other_site)) && all.allows(Action::ReadDevice(&here, &fan)));
    for grant in [some, all, user(&[])] {
        assert!(!grant.allows(Action::ReadRoom(&other_tenant)) && !grant.allows(Action::EnterRoom(&other_tenant)));
        assert!(!grant.allows(Action::ServeAs(&agent_id("acme", "plant-1", "ann"))));
    }
}

#[test]
fn who_may_read_sends_nothing_and_who_may_send_sees_what_becomes_of_it_and_no_more() {
    let (pump, fan) = (DeviceName::new("pump 1").unwrap(), DeviceName::new("fan").unwrap());
    let (here, other) = (room("acme", "plant-1"), room("evil", "plant-1"));
    let reader = user(&["telemetry:read:*"]);
    assert!(!reader.allows(Action::SendToDevice(&here, &pump)) && !reader.allows(Action::SendToRoom(&here)));
    assert!(reader.allows(Action::SeeCommands(&here, &pump)) && reader.allows(Action::ListCommands(&here)));
    let some = user(&["command:send:plant-1/pump%20*"]);
    assert!(some.allows(Action::SendToDevice(&here, &pump)) && some.allows(Action::SeeCommands(&here, &pump)));
    assert!(!some.allows(Action::SendToDevice(&here, &fan)) && !some.allows(Action::SeeCommands(&here, &fan)));
    assert!(!some.allows(Action::SendToRoom(&here)) && some.allows(Action::ListCommands(&here)));
    assert!(!some.allows(Action::ReadDevice(&here, &pump)) && !some.allows(Action::EnterRoom(&here)));
    let all = user(&["command:send:plant-1"]);
    assert!(all.allows(Action::SendToRoom(&here)) && all.allows(Action::SendToDevice(&here, &fan)));
    assert!(!all.allows(Action::ReadRoom(&here)) && !all.allows(Action::SendToRoom(&room("acme", "ship"))));
    for grant in [reader, some, all, user(&[]), agent()] {
        assert!(!grant.allows(Action::SendToDevice(&other, &pump)) && !grant.allows(Action::SendToRoom(&other)));
        assert!(!grant.allows(Action::SeeCommands(&other, &pump)) && !grant.allows(Action::ListCommands(&other)));
    }
    assert!(!agent().allows(Action::SendToDevice(&here, &pump)) && !agent().allows(Action::SeeCommands(&here, &pump)));
}

#[test]
fn an_agent_serves_as_itself_and_reads_nothing() {
    let grant = agent();
    assert!(grant.allows(Action::ServeAs(&agent_id("acme", "plant-1", "pi"))));
    for other in [agent_id("acme", "plant-1", "pi2"), agent_id("acme", "ship", "pi"), agent_id("evil", "plant-1", "pi")]
    {
        assert!(!grant.allows(Action::ServeAs(&other)), "{other}");
    }
    assert!(!grant.allows(Action::ReadRoom(&room("acme", "plant-1"))));
    assert!(!grant.allows(Action::EnterRoom(&room("acme", "plant-1"))));
}

#[test]
fn a_key_is_made_once_and_only_its_owner_may_read_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("token.key");
    let identity = Identity::User { name: "ann".to_owned(), scopes: Vec::new() };
    let token = NewToken { tenant: Tenant::new("acme").unwrap(), identity, ttl: Duration::from_secs(60) };
    let minted = SigningKey::load_or_create(&path).unwrap().mint(&token, NOW).unwrap();
    assert!(SigningKey::load_or_create(&path).unwrap().verify(&minted, NOW).is_ok());
    assert!(SigningKey::load(&path).unwrap().verify(&minted, NOW).is_ok());
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn a_key_that_others_may_read_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("token.key");
    SigningKey::load_or_create(&path).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    assert!(matches!(SigningKey::load_or_create(&path), Err(KeyError::OpenToOthers { mode: 0o640, .. })));
}

#[test]
fn what_is_no_key_is_never_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("token.key");
    for content in ["", "hello", &"0".repeat(63), &"x".repeat(64), &"ä".repeat(32)] {
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        assert!(matches!(SigningKey::load_or_create(&path), Err(KeyError::Content { .. })));
        assert_eq!(fs::read_to_string(&path).unwrap(), content);
    }
    let nowhere = folder.path().join("none/token.key");
    assert!(matches!(SigningKey::load_or_create(&nowhere), Err(KeyError::Create { .. })));
    assert!(matches!(SigningKey::load(Path::new("/nowhere")), Err(KeyError::Read { .. })));
}

#[test]
fn no_error_and_no_debug_text_shows_the_secret() {
    assert!(!format!("{:?}", key()).contains('7'));
}

#[test]
fn a_holder_reads_what_its_token_says_without_the_key_whatever_the_time() {
    for identity in [agent().identity, user(&["telemetry:read:plant-1/*"]).identity] {
        let token = NewToken { tenant: Tenant::new("acme").unwrap(), identity, ttl: Duration::from_secs(60) };
        let minted = key().mint(&token, NOW).unwrap();
        assert_eq!(read_unproven(&minted), key().verify(&minted, NOW));
    }
    for text in ["", "t", "a.b", "a.b.c", "a.e30.c", "a.b.c.d"] {
        assert_eq!(read_unproven(text), Err(TokenError::Malformed), "{text}");
    }
    assert_eq!(read_unproven(&"a".repeat(TOKEN_BYTES_MAX + 1)), Err(TokenError::TooLong));
}
