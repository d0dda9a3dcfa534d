//! Bearer tokens (RFC 6750, RFC 7519): who they stand for, and which cameras they name.

use std::fmt;

use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode};
use seamline_rtsp::auth::server::Users;
use seamline_rtsp::auth::users::CameraPattern;
use serde_json::{Map, Value};
use thiserror::Error;

use super::grant::Grant;

/// Least length of a shared secret, bytes (RFC 7518 §3.2).
const TOKEN_SECRET_BYTES_MIN: usize = 32;
/// Longest token that is looked at, bytes.
const TOKEN_BYTES_MAX: usize = 8 * 1024;
/// Most cameras that one names.
const CAMERAS_MAX: usize = 1024;
/// Clocks of issuers may be so far off, seconds.
const LEEWAY_S: u64 = 30;

/// How tokens are checked.
#[derive(Clone)]
pub struct Tokens {
    key: DecodingKey,
    validation: Validation,
    user_claim: String,
    cameras_claim: String,
}

/// What tokens must say besides being signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claims {
    /// Whose they must be (`iss`).
    pub issuer: Option<String>,
    /// For whom they must be (`aud`); one that is for somebody is refused where nobody is expected.
    pub audience: Option<String>,
    /// The claim that names a user.
    pub user: String,
    /// The claim that lists cameras or patterns.
    pub cameras: String,
}

/// Why a file holds no key for tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum KeyProblem {
    /// A secret that could be guessed.
    #[error("fewer than {TOKEN_SECRET_BYTES_MIN} bytes are no secret for HS256")]
    Short,
    /// It must not be here.
    #[error("this is a private key; checking tokens takes the public one")]
    Private,
    /// Anything else.
    #[error("no public key of RSA, P-256, P-384 or Ed25519 in PEM")]
    Form,
}

/// Why a token is not good.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum TokenProblem {
    /// It was.
    #[error("the token has expired")]
    Expired,
    /// It will be.
    #[error("the token is not valid yet")]
    NotYet,
    /// Its signature is another's, or it is none.
    #[error("not a token of our issuer")]
    Wrong,
    /// It is signed, and is not for this.
    #[error("the token's {0} is not what it must be")]
    Claim(String),
    /// It names neither a user that there is, nor cameras.
    #[error("the token names no user of ours and no cameras")]
    Nobody,
}

impl Tokens {
    /// Tokens that are signed with this secret (HS256).
    pub fn with_secret(secret: &[u8], claims: &Claims) -> Result<Self, KeyProblem> {
        if secret.len() < TOKEN_SECRET_BYTES_MIN {
            return Err(KeyProblem::Short);
        }
        let key = DecodingKey::from_secret(secret);
        Ok(Tokens::new(key, &[Algorithm::HS256], claims))
    }

    /// Tokens that are signed with the private half of this key (RS256, ES256, ES384, `EdDSA`).
    pub fn with_public_key(pem: &str, claims: &Claims) -> Result<Self, KeyProblem> {
        if pem.contains("PRIVATE KEY") {
            return Err(KeyProblem::Private);
        }
        let pem = pem.as_bytes();
        let (key, algorithms): (_, &[Algorithm]) = if let Ok(key) = DecodingKey::from_rsa_pem(pem) {
            (key, &[Algorithm::RS256])
        } else if let Ok(key) = DecodingKey::from_ec_pem(pem) {
            (key, &[Algorithm::ES256, Algorithm::ES384])
        } else {
            let key = DecodingKey::from_ed_pem(pem).map_err(|_| KeyProblem::Form)?;
            (key, &[Algorithm::EdDSA])
        };
        Ok(Tokens::new(key, algorithms, claims))
    }

    fn new(key: DecodingKey, algorithms: &[Algorithm], claims: &Claims) -> Self {
        let mut validation = Validation {
            algorithms: algorithms.to_vec(),
            leeway: LEEWAY_S,
            validate_nbf: true,
            ..Validation::default()
        };
        let mut required = vec!["exp"];
        if let Some(issuer) = &claims.issuer {
            validation.set_issuer(&[issuer]);
            required.push("iss");
        }
        if let Some(audience) = &claims.audience {
            validation.set_audience(&[audience]);
            required.push("aud");
        }
        validation.set_required_spec_claims(&required);
        Tokens {
            key,
            validation,
            user_claim: claims.user.clone(),
            cameras_claim: claims.cameras.clone(),
        }
    }

    /// Whom a token stands for. Where it names a user of ours, it gives no more than that user has.
    pub(super) fn verify(&self, token: &str, users: &Users) -> Result<Grant, TokenProblem> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(TokenProblem::Wrong);
        }
        let claims = decode::<Map<String, Value>>(token, &self.key, &self.validation)
            .map_err(|error| problem(error.kind()))?
            .claims;
        let name = claims.get(&self.user_claim).and_then(Value::as_str);
        let user = name.and_then(|name| users.user(name));
        let cameras = claims
            .get(&self.cameras_claim)
            .map(|value| {
                patterns(value).ok_or_else(|| TokenProblem::Claim(self.cameras_claim.clone()))
            })
            .transpose()?;
        match (user, cameras) {
            (Some(user), cameras) => Ok(Grant::of(user).within(cameras)),
            (None, Some(cameras)) => {
                Ok(Grant::named(name.unwrap_or("token")).within(Some(cameras)))
            }
            (None, None) => Err(TokenProblem::Nobody),
        }
    }
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tokens")
            .field("algorithms", &self.validation.algorithms)
            .finish_non_exhaustive()
    }
}

/// A list of texts, or one text.
fn patterns(value: &Value) -> Option<Vec<CameraPattern>> {
    let pattern = |value: &Value| Some(CameraPattern::from(value.as_str()?.to_owned()));
    match value {
        Value::String(_) => Some(vec![pattern(value)?]),
        Value::Array(list) if list.len() <= CAMERAS_MAX => list.iter().map(pattern).collect(),
        _ => None,
    }
}

fn problem(kind: &ErrorKind) -> TokenProblem {
    match kind {
        ErrorKind::ExpiredSignature => TokenProblem::Expired,
        ErrorKind::ImmatureSignature => TokenProblem::NotYet,
        ErrorKind::MissingRequiredClaim(claim) | ErrorKind::InvalidClaimFormat(claim) => {
            TokenProblem::Claim(claim.clone())
        }
        ErrorKind::InvalidIssuer => TokenProblem::Claim("iss".to_owned()),
        ErrorKind::InvalidAudience => TokenProblem::Claim("aud".to_owned()),
        _ => TokenProblem::Wrong,
    }
}

#[cfg(test)]
mod tests {
    use jsonwebtoken::{EncodingKey, Header, encode};
    use seamline_rtsp::auth::users::{Secret, User};
    use serde_json::json;

    use super::*;
    use crate::clock;

    const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";

    fn claims() -> Claims {
        Claims {
            issuer: None,
            audience: None,
            user: "sub".to_owned(),
            cameras: "cameras".to_owned(),
        }
    }

    fn users() -> Users {
        let mut users = Users::new([7; 32]);
        users.insert(User {
            name: "guard".to_owned(),
            secret: Secret::Password("x".to_owned()),
            cameras: Some(vec!["yard/*".to_owned().into()]),
        });
        users
    }

    fn token(claims: &Value) -> String {
        encode(
            &Header::default(),
            claims,
            &EncodingKey::from_secret(SECRET),
        )
        .unwrap()
    }

    fn in_s(seconds: i64) -> i64 {
        clock::wall().as_unix_ms() / 1000 + seconds
    }

    #[test]
    fn a_token_gives_what_its_user_has_and_its_cameras_claim_leaves() {
        let tokens = Tokens::with_secret(SECRET, &claims()).unwrap();
        let verify = |claims: Value| tokens.verify(&token(&claims), &users());
        let user = verify(json!({ "sub": "guard", "exp": in_s(60) })).unwrap();
        assert!(user.may_see("yard/north") && !user.may_see("gate"));
        let both =
            verify(json!({ "sub": "guard", "exp": in_s(60), "cameras": ["gate", "yard/south"] }))
                .unwrap();
        assert!(both.may_see("yard/south") && !both.may_see("gate") && !both.may_see("yard/north"));
        let stranger = verify(json!({ "sub": "ci", "exp": in_s(60), "cameras": "g*" })).unwrap();
        assert!(stranger.may_see("gate") && !stranger.may_see("yard/south"));
        assert_eq!(stranger.name(), Some("ci"));
        let refused = |claims| verify(claims).unwrap_err();
        assert_eq!(
            refused(json!({ "sub": "ci", "exp": in_s(60) })),
            TokenProblem::Nobody
        );
        assert_eq!(
            refused(json!({ "sub": "guard", "exp": in_s(-60) })),
            TokenProblem::Expired
        );
        assert_eq!(
            refused(json!({ "sub": "guard", "exp": in_s(60), "nbf": in_s(50) })),
            TokenProblem::NotYet
        );
        let claim = |name: &str| TokenProblem::Claim(name.to_owned());
        assert_eq!(refused(json!({ "sub": "guard" })), claim("exp"));
        assert_eq!(
            refused(json!({ "sub": "guard", "exp": "never" })),
            claim("exp")
        );
        assert_eq!(
            refused(json!({ "sub": "guard", "exp": in_s(60), "nbf": "x" })),
            claim("nbf")
        );
        assert_eq!(
            refused(json!({ "sub": "guard", "exp": in_s(60), "aud": "other" })),
            claim("aud")
        );
        assert_eq!(
            refused(json!({ "sub": "guard", "exp": in_s(60), "cameras": 7 })),
            claim("cameras")
        );
    }

    #[test]
    fn what_is_not_signed_by_the_issuer_is_nothing() {
        let tokens = Tokens::with_secret(SECRET, &claims()).unwrap();
        let good = token(&json!({ "sub": "guard", "exp": in_s(60) }));
        let (head, signature) = good.rsplit_once('.').unwrap();
        let (_, payload) = head.split_once('.').unwrap();
        let none = "eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0";
        let rs256 = "eyJhbGciOiJSUzI1NiIsInR5cCI6IkpXVCJ9";
        for bad in [
            format!("{none}.{payload}."),
            format!("{none}.{payload}.{signature}"),
            format!("{rs256}.{payload}.{signature}"),
            format!("{head}."),
            format!(
                "{head}.{}",
                signature.replace(|c: char| c.is_ascii_lowercase(), "a")
            ),
            good.repeat(200),
            String::new(),
            "a.b.c".to_owned(),
        ] {
            assert_eq!(
                tokens.verify(&bad, &users()).err(),
                Some(TokenProblem::Wrong),
                "{bad:.60}"
            );
        }
        assert!(tokens.verify(&good, &users()).is_ok());
    }

    #[test]
    fn issuer_and_audience_must_be_there_where_they_are_asked_for() {
        let wanted = Claims {
            issuer: Some("idp".to_owned()),
            audience: Some("video".to_owned()),
            ..claims()
        };
        let tokens = Tokens::with_secret(SECRET, &wanted).unwrap();
        let verify = |claims: Value| tokens.verify(&token(&claims), &users()).err();
        let exp = in_s(60);
        assert_eq!(
            verify(json!({ "sub": "guard", "exp": exp, "iss": "idp", "aud": ["x", "video"] })),
            None
        );
        let claim = |name: &str| Some(TokenProblem::Claim(name.to_owned()));
        assert_eq!(
            verify(json!({ "sub": "guard", "exp": exp, "iss": "other", "aud": "video" })),
            claim("iss")
        );
        assert_eq!(
            verify(json!({ "sub": "guard", "exp": exp, "iss": "idp" })),
            claim("aud")
        );
        assert_eq!(
            verify(json!({ "sub": "guard", "exp": exp, "iss": "idp", "aud": 7 })),
            claim("aud")
        );
    }

    #[test]
    fn keys_are_public_and_long_enough() {
        let keys = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
        assert!(Tokens::with_public_key(&keys.public_key_pem(), &claims()).is_ok());
        let private = Tokens::with_public_key(&keys.serialize_pem(), &claims());
        assert_eq!(private.err(), Some(KeyProblem::Private));
        assert_eq!(
            Tokens::with_public_key("hello", &claims()).err(),
            Some(KeyProblem::Form)
        );
        assert_eq!(
            Tokens::with_secret(b"short", &claims()).err(),
            Some(KeyProblem::Short)
        );
    }

    #[test]
    fn public_keys_of_each_kind_check_what_their_private_half_signed() {
        for (kind, algorithm) in [
            (&rcgen::PKCS_ECDSA_P256_SHA256, Algorithm::ES256),
            (&rcgen::PKCS_ED25519, Algorithm::EdDSA),
        ] {
            let keys = rcgen::KeyPair::generate_for(kind).unwrap();
            let private = keys.serialize_pem();
            let signing = match algorithm {
                Algorithm::ES256 => EncodingKey::from_ec_pem(private.as_bytes()),
                _ => EncodingKey::from_ed_pem(private.as_bytes()),
            };
            let claims = json!({ "sub": "guard", "exp": in_s(60) });
            let token = encode(&Header::new(algorithm), &claims, &signing.unwrap()).unwrap();
            let tokens = Tokens::with_public_key(&keys.public_key_pem(), &self::claims()).unwrap();
            assert!(tokens.verify(&token, &users()).is_ok(), "{algorithm:?}");
            let hs = self::token(&claims);
            assert_eq!(
                tokens.verify(&hs, &users()).err(),
                Some(TokenProblem::Wrong)
            );
        }
    }
}
