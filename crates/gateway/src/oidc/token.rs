//! Checks of ID tokens: issuer, audience, nonce and time (OpenID Connect Core 1.0, 3.1.3.7).

use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::jwk::{Jwk, KeyAlgorithm, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey, Header, Validation, decode, decode_header};
use serde_json::{Map, Value};

use super::signature::{self, ACCEPTED};

/// Further keys of a set are ignored; a provider has two or three.
const MOST_KEYS: usize = 50;
/// The longest subject that the standard allows.
const LONGEST_SUBJECT: usize = 255;

pub type Claims = Map<String, Value>;

#[derive(Clone, Debug, Default)]
pub struct KeySet(Vec<Jwk>);

/// The required claims.
#[derive(Clone, Copy, Debug)]
pub struct Expected<'a> {
    pub issuer: &'a str,
    pub client_id: &'a str,
    /// The random value of this sign-in.
    pub nonce: &'a str,
    /// Seconds since 1970.
    pub now_s: u64,
    /// The allowed difference between the provider's clock and ours.
    pub skew_s: u64,
}

/// The reason for which a token is refused.
#[derive(Debug, PartialEq, Eq)]
pub enum WrongToken {
    /// The signature is of none of the keys: the provider may have new ones.
    Key,
    /// Another reason, worded to follow "The ID token".
    Invalid(String),
}

impl KeySet {
    /// Reads a JWK set. Keys of unknown kinds are ignored.
    pub fn read(set: &Value) -> Option<Self> {
        let keys = set.get("keys")?.as_array()?;
        let known = keys.iter().filter_map(|key| serde_json::from_value::<Jwk>(key.clone()).ok());
        Some(Self(known.take(MOST_KEYS).collect()))
    }

    /// The keys that may have signed a token with this header.
    fn of<'a>(&'a self, header: &'a Header) -> impl Iterator<Item = DecodingKey> + 'a {
        let fits = |key: &&Jwk| {
            let common = &key.common;
            let is_named = header.kid.is_none() || common.key_id == header.kid;
            let is_for_signatures =
                common.public_key_use.as_ref().is_none_or(|used| *used == PublicKeyUse::Signature);
            let is_of_algorithm =
                common.key_algorithm.is_none_or(|algorithm| algorithm == KeyAlgorithm::from(header.alg));
            is_named && is_for_signatures && is_of_algorithm
        };
        let keys = self.0.iter().filter(fits).filter_map(|key| DecodingKey::from_jwk(key).ok());
        keys.filter(|key| key.family() == header.alg.family())
    }
}

/// The claims of a valid token.
pub fn claims(token: &str, keys: &KeySet, expected: &Expected<'_>) -> Result<Claims, WrongToken> {
    signature::install();
    let header = decode_header(token).map_err(|_| invalid("is not a signed JWT"))?;
    if !ACCEPTED.contains(&header.alg) {
        return Err(invalid(format!("is signed with {:?}, which is not accepted", header.alg)));
    }
    if header.crit.is_some() {
        return Err(invalid("has a header that must be understood (crit) and is not"));
    }
    let claims = signed(token, keys, &header, expected)?;
    check(&claims, expected)?;
    Ok(claims)
}

/// The claims of a token that is signed by a key of the set, and whose audience and time are valid.
fn signed(
    token: &str,
    keys: &KeySet,
    header: &Header,
    expected: &Expected<'_>,
) -> Result<Claims, WrongToken> {
    let validation = validation(header.alg, expected);
    for key in keys.of(header) {
        match decode::<Claims>(token, &key, &validation) {
            Ok(read) => return Ok(read.claims),
            Err(error) if matches!(error.kind(), ErrorKind::InvalidSignature) => {}
            Err(error) => return Err(invalid(words(error.kind(), expected))),
        }
    }
    Err(WrongToken::Key)
}

fn validation(algorithm: Algorithm, expected: &Expected<'_>) -> Validation {
    let mut validation = Validation::new(algorithm);
    validation.set_audience(&[expected.client_id]);
    validation.set_issuer(&[expected.issuer]);
    validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
    validation.validate_nbf = true;
    validation.leeway = expected.skew_s;
    validation
}

/// The checks that the library does not make.
fn check(claims: &Claims, expected: &Expected<'_>) -> Result<(), WrongToken> {
    let text = |name: &str| claims.get(name).and_then(Value::as_str);
    // The library would accept a list of issuers that contains ours.
    if text("iss") != Some(expected.issuer) {
        return Err(invalid(words(&ErrorKind::InvalidIssuer, expected)));
    }
    if text("nonce") != Some(expected.nonce) {
        return Err(invalid("is not of this sign-in (nonce)"));
    }
    let is_shared = claims.get("aud").and_then(Value::as_array).is_some_and(|all| all.len() > 1);
    let party = claims.get("azp");
    if (is_shared || party.is_some()) && party.and_then(Value::as_str) != Some(expected.client_id) {
        return Err(invalid("was made for another client (azp)"));
    }
    if !text("sub").is_some_and(|subject| (1..=LONGEST_SUBJECT).contains(&subject.len())) {
        return Err(invalid("has no subject (sub) of 1 to 255 bytes"));
    }
    match claims.get("iat").and_then(Value::as_f64) {
        None => Err(invalid("does not say when it was made (iat)")),
        Some(at) if at > (expected.now_s + expected.skew_s) as f64 => {
            Err(invalid("is from the future (iat): the clocks of the provider and of this machine differ"))
        }
        Some(_) => Ok(()),
    }
}

fn words(kind: &ErrorKind, expected: &Expected<'_>) -> String {
    match kind {
        ErrorKind::ExpiredSignature => {
            "has expired (exp), or the clocks of the provider and of this machine differ".to_owned()
        }
        ErrorKind::ImmatureSignature => {
            "is not valid yet (nbf): the clocks of the provider and of this machine differ".to_owned()
        }
        ErrorKind::InvalidIssuer => {
            format!("is not from {} (iss), which auth.oidc.issuer names", expected.issuer)
        }
        ErrorKind::InvalidAudience => "is not for auth.oidc.client_id (aud)".to_owned(),
        ErrorKind::MissingRequiredClaim(name) => format!("lacks the claim {name}"),
        ErrorKind::InvalidClaimFormat(name) => format!("has a claim {name} that cannot be read"),
        _ => "cannot be read".to_owned(),
    }
}

fn invalid(words: impl Into<String>) -> WrongToken {
    WrongToken::Invalid(words.into())
}
