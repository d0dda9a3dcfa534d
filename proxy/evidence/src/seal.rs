//! Keys, and the seal that a manifest ends with: a digest of its canonical form, and Ed25519 over the same bytes.

use std::fmt;

use ring::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{PrivatePkcs8KeyDer, SubjectPublicKeyInfoDer};
use serde_json::Value;

use crate::canonical::canonical;
use crate::digest::{Digest, hex, parse_hex};
use crate::manifest::{Manifest, Seal, Signature};

/// What [`Signature::algorithm`] says.
pub(crate) const ALGORITHM: &str = "Ed25519";

/// Why a key cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// There is no such section in it.
    #[error("no PEM section PRIVATE KEY (PKCS#8); `openssl genpkey -algorithm ed25519` makes one")]
    NoPrivateKey,
    /// There is no such section in it.
    #[error("no PEM section PUBLIC KEY; `openssl pkey -pubout` makes one of the private key")]
    NoPublicKey,
    /// It is a key of another kind.
    #[error("not an Ed25519 key")]
    Kind,
}

/// The private key that manifests are signed with.
pub struct SigningKey(Ed25519KeyPair);

impl SigningKey {
    /// From the text of a PEM file that holds a PKCS#8 private key, as `openssl genpkey -algorithm ed25519` writes it.
    pub fn from_pem(pem: &[u8]) -> Result<Self, KeyError> {
        let der = PrivatePkcs8KeyDer::from_pem_slice(pem).map_err(|_| KeyError::NoPrivateKey)?;
        // OpenSSL leaves the public half out; it is computed then, so that the two cannot disagree.
        Ed25519KeyPair::from_pkcs8_maybe_unchecked(der.secret_pkcs8_der())
            .map(Self)
            .map_err(|_| KeyError::Kind)
    }

    /// Its public half.
    pub fn public(&self) -> PublicKey {
        let bytes = self.0.public_key().as_ref();
        PublicKey(bytes.try_into().expect("Ed25519 keys have 32 bytes"))
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({})", self.public())
    }
}

/// A public key; displayed as its fingerprint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PublicKey([u8; 32]);

impl PublicKey {
    /// From the text of a PEM file with a `PUBLIC KEY` section, or with the private key itself.
    pub fn from_pem(pem: &[u8]) -> Result<Self, KeyError> {
        let Ok(spki) = SubjectPublicKeyInfoDer::from_pem_slice(pem) else {
            return match SigningKey::from_pem(pem) {
                Ok(key) => Ok(key.public()),
                Err(KeyError::Kind) => Err(KeyError::Kind),
                Err(_) => Err(KeyError::NoPublicKey),
            };
        };
        let key = spki.strip_prefix(&SPKI_HEAD).ok_or(KeyError::Kind)?;
        key.try_into().map(Self).map_err(|_| KeyError::Kind)
    }

    /// SHA-256 of its `SubjectPublicKeyInfo`.
    pub fn fingerprint(&self) -> Digest {
        Digest::of(&[&SPKI_HEAD[..], &self.0].concat())
    }

    fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&ED25519, self.0)
            .verify(message, signature)
            .is_ok()
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.fingerprint(), f)
    }
}

/// `SubjectPublicKeyInfo` of Ed25519 up to the key's own bytes (RFC 8410, 4).
const SPKI_HEAD: [u8; 12] = [
    0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00,
];

/// A manifest that is sealed, and the bytes of its file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sealed {
    /// It.
    pub manifest: Manifest,
    /// The file: indented JSON, members in the order in which they are described, and a line end.
    pub json: Vec<u8>,
}

/// Closes a manifest. Whatever seal it has is replaced.
pub fn seal(mut manifest: Manifest, key: Option<&SigningKey>) -> Sealed {
    let message = signed_bytes(&manifest);
    manifest.seal = Seal {
        sha256: Digest::of(&message),
        signature: key.map(|key| Signature {
            algorithm: ALGORITHM.to_owned(),
            public_key: hex(&key.public().0),
            fingerprint: key.public().fingerprint(),
            value: hex(key.0.sign(&message).as_ref()),
        }),
    };
    let json = written(&manifest);
    Sealed { manifest, json }
}

/// A manifest's file.
pub(crate) fn written(manifest: &Manifest) -> Vec<u8> {
    let mut json = serde_json::to_vec_pretty(manifest).expect("a manifest has a JSON form");
    json.push(b'\n');
    json
}

/// What the seal is about: the canonical form of all the rest.
pub(crate) fn signed_bytes(manifest: &Manifest) -> Vec<u8> {
    let mut value = serde_json::to_value(manifest).expect("a manifest has a JSON form");
    if let Value::Object(members) = &mut value {
        members.remove("seal");
    }
    canonical(&value)
}

/// Whether the signature of a seal holds for `message`, and by which key; the error says what does not.
pub(crate) fn verify(signature: &Signature, message: &[u8]) -> Result<PublicKey, &'static str> {
    if signature.algorithm != ALGORITHM {
        return Err("its algorithm is not known");
    }
    let key = parse_hex(&signature.public_key)
        .map(PublicKey)
        .ok_or("its public key is not 32 bytes in lower-case hexadecimal digits")?;
    if key.fingerprint() != signature.fingerprint {
        return Err("the fingerprint is another key's");
    }
    let value: [u8; 64] = parse_hex(&signature.value)
        .ok_or("its value is not 64 bytes in lower-case hexadecimal digits")?;
    if !key.verifies(message, &value) {
        return Err("it is not of these bytes by this key");
    }
    Ok(key)
}
