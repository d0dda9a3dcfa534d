//! How a Windows account proves itself over HTTP: the three messages of NTLM (MS-NLMP), with responses of version 2 alone.
//!
//! The proof is one of the connection that it is made on, and where that is inside TLS, of the server's certificate too (Extended
//! Protection). Nothing is sealed with it.

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use md4::Md4;
use md5::{Digest, Md5};

/// A Windows account, as `DOMAIN\name`; `.\name` is one of the server itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    domain: String,
    name: String,
}

impl Account {
    /// `None` of what has no backslash: that is no Windows account.
    pub fn parse(text: &str) -> Option<Self> {
        let (domain, name) = text.split_once('\\')?;
        let domain = if domain == "." { "" } else { domain };
        (!name.is_empty()).then(|| Self {
            domain: domain.to_owned(),
            name: name.to_owned(),
        })
    }

    /// `NTOWFv2` (MS-NLMP §3.3.2).
    fn key(&self, password: &str) -> [u8; 16] {
        let hash = Md4::digest(utf16(password));
        keyed(
            &hash,
            &[&utf16(&self.name.to_uppercase()), &utf16(&self.domain)],
        )
    }
}

/// What is new in each proof.
#[derive(Debug, Clone, Copy)]
pub struct Moment {
    /// Eight bytes that nobody can foretell.
    pub nonce: [u8; 8],
    /// Now, microseconds since 1970; what the server tells of its own time goes before.
    pub unix_micros: i64,
}

/// The digest of a connection's certificate, as it is bound into a proof (RFC 5929 §4, `tls-server-end-point`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Binding([u8; 16]);

impl Binding {
    /// From the hash of the certificate, by the algorithm that its signature has.
    pub fn of_end_point(hash: &[u8]) -> Self {
        let data = [b"tls-server-end-point:", hash].concat();
        let length = u32::try_from(data.len()).unwrap_or(u32::MAX);
        // `gss_channel_bindings_struct`: no addresses, then what the application binds.
        let mut bound = Md5::new();
        bound.update([0; 16]);
        bound.update(length.to_le_bytes());
        bound.update(&data);
        Self(bound.finalize().into())
    }
}

/// The first message: what is spoken.
pub fn negotiate() -> Vec<u8> {
    let mut message = Vec::with_capacity(40);
    message.extend_from_slice(SIGNATURE);
    message.extend_from_slice(&1_u32.to_le_bytes());
    message.extend_from_slice(&FLAGS.to_le_bytes());
    // Neither domain nor workstation are told before who asks is known.
    message.extend_from_slice(&[0; 16]);
    message.extend_from_slice(&VERSION);
    message
}

/// The server's message.
#[derive(Clone, PartialEq, Eq)]
pub struct Challenge {
    whole: Vec<u8>,
    nonce: [u8; 8],
    target: Vec<(u16, Vec<u8>)>,
}

impl fmt::Debug for Challenge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Challenge").finish_non_exhaustive()
    }
}

/// A message that is none, or of a server that does not speak version 2.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no challenge of NTLM, version 2")]
pub struct NoChallenge;

impl Challenge {
    /// Reads it.
    pub fn parse(bytes: &[u8]) -> Result<Self, NoChallenge> {
        Self::read(bytes).ok_or(NoChallenge)
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        if bytes.len() > CHALLENGE_BYTES_MAX
            || bytes.get(..8)? != SIGNATURE
            || bytes.get(8..12)? != 2_u32.to_le_bytes()
        {
            return None;
        }
        let nonce = bytes.get(24..32)?.try_into().ok()?;
        let length = usize::from(u16_at(bytes, 40)?);
        let start = u32::from_le_bytes(bytes.get(44..48)?.try_into().ok()?) as usize;
        let mut listed = bytes.get(start..start.checked_add(length)?)?;
        let mut target = Vec::new();
        loop {
            let (id, length) = (u16_at(listed, 0)?, usize::from(u16_at(listed, 2)?));
            let value = listed.get(4..4 + length)?;
            listed = listed.get(4 + length..)?;
            if id == END {
                break;
            }
            target.push((id, value.to_vec()));
        }
        Some(Self {
            whole: bytes.to_vec(),
            nonce,
            target,
        })
    }

    /// The third message: the proof that `account` knows its password, to the server that is asked as `host`.
    pub fn answer(
        &self,
        account: &Account,
        password: &str,
        host: &str,
        moment: Moment,
        binding: Option<Binding>,
    ) -> Vec<u8> {
        let told = self.target.iter().find(|(id, _)| *id == TIMESTAMP);
        let time = match told.and_then(|(_, value)| value.as_slice().try_into().ok()) {
            Some(time) => time,
            None => file_time(moment.unix_micros),
        };
        let key = account.key(password);
        let target = self.target_told_back(host, binding, told.is_some());
        let blob = blob(time, moment.nonce, &target);
        let proof = keyed(&key, &[&self.nonce, &blob]);
        let session = keyed(&key, &[&proof]);
        let proven = [&proof[..], &blob].concat();
        // A server that tells its time wants no second proof of the older kind.
        let older = if told.is_some() {
            vec![0; 24]
        } else {
            let proof = keyed(&key, &[&self.nonce, &moment.nonce]);
            [&proof[..], &moment.nonce].concat()
        };
        let mut message = written(account, &older, &proven);
        if told.is_some() {
            let check = keyed(&session, &[&negotiate(), &self.whole, &message]);
            if let Some(place) = message.get_mut(CHECK_AT..CHECK_AT + 16) {
                place.copy_from_slice(&check);
            }
        }
        message
    }

    /// What the server told of itself, and what is bound into the proof.
    fn target_told_back(&self, host: &str, binding: Option<Binding>, is_checked: bool) -> Vec<u8> {
        let ours = [CHECKED, BOUND, ASKED];
        let mut told = Vec::new();
        let mut pair = |id: u16, value: &[u8]| {
            told.extend_from_slice(&id.to_le_bytes());
            let length = u16::try_from(value.len()).unwrap_or(0);
            told.extend_from_slice(&length.to_le_bytes());
            told.extend_from_slice(&value[..usize::from(length)]);
        };
        for (id, value) in self.target.iter().filter(|(id, _)| !ours.contains(id)) {
            pair(*id, value);
        }
        if is_checked {
            pair(CHECKED, &2_u32.to_le_bytes());
        }
        if let Some(Binding(digest)) = binding {
            pair(BOUND, &digest);
        }
        pair(ASKED, &utf16(&format!("HTTP/{host}")));
        pair(END, &[]);
        told
    }
}

/// `NTLMv2_CLIENT_CHALLENGE` (MS-NLMP §2.2.2.7).
fn blob(time: [u8; 8], nonce: [u8; 8], target: &[u8]) -> Vec<u8> {
    let mut blob = vec![1, 1, 0, 0, 0, 0, 0, 0];
    blob.extend_from_slice(&time);
    blob.extend_from_slice(&nonce);
    blob.extend_from_slice(&[0; 4]);
    blob.extend_from_slice(target);
    blob.extend_from_slice(&[0; 4]);
    blob
}

/// `AUTHENTICATE_MESSAGE` (MS-NLMP §2.2.1.3), without its check.
fn written(account: &Account, older: &[u8], proven: &[u8]) -> Vec<u8> {
    let (domain, name) = (utf16(&account.domain), utf16(&account.name));
    let fields: [&[u8]; 6] = [older, proven, &domain, &name, &[], &[]];
    let mut message = Vec::with_capacity(PAYLOAD_AT + 512);
    message.extend_from_slice(SIGNATURE);
    message.extend_from_slice(&3_u32.to_le_bytes());
    let mut at = PAYLOAD_AT;
    for field in fields {
        let length = u16::try_from(field.len()).unwrap_or(0).to_le_bytes();
        message.extend_from_slice(&length);
        message.extend_from_slice(&length);
        message.extend_from_slice(&u32::try_from(at).unwrap_or(0).to_le_bytes());
        at += field.len();
    }
    message.extend_from_slice(&FLAGS.to_le_bytes());
    message.extend_from_slice(&VERSION);
    message.extend_from_slice(&[0; 16]);
    for field in fields {
        message.extend_from_slice(field);
    }
    message
}

fn keyed(key: &[u8], parts: &[&[u8]]) -> [u8; 16] {
    let mut mac =
        <Hmac<Md5> as KeyInit>::new_from_slice(key).expect("HMAC takes keys of any length");
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

fn utf16(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_le_bytes).collect()
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    let pair = bytes.get(at..at.checked_add(2)?)?;
    Some(u16::from_le_bytes(pair.try_into().ok()?))
}

/// Tenths of microseconds since 1601.
fn file_time(unix_micros: i64) -> [u8; 8] {
    unix_micros
        .saturating_add(MICROS_1601_TO_1970)
        .saturating_mul(10)
        .to_le_bytes()
}

const SIGNATURE: &[u8; 8] = b"NTLMSSP\0";
/// Unicode, a target's name and information, NTLM, signing always, extended session security, a version, keys of 128 and 56 bits.
const FLAGS: u32 =
    0x1 | 0x4 | 0x200 | 0x8000 | 0x8_0000 | 0x80_0000 | 0x0200_0000 | 0x2000_0000 | 0x8000_0000;
/// Windows 10, as clients say.
const VERSION: [u8; 8] = [10, 0, 0, 0, 0, 0, 0, 15];
/// `AV_PAIR` (MS-NLMP §2.2.2.1).
const END: u16 = 0;
const CHECKED: u16 = 6;
const TIMESTAMP: u16 = 7;
const ASKED: u16 = 9;
const BOUND: u16 = 10;
/// Of the third message.
const CHECK_AT: usize = 72;
const PAYLOAD_AT: usize = 88;
/// No server tells more of itself.
const CHALLENGE_BYTES_MAX: usize = 16 * 1024;
const MICROS_1601_TO_1970: i64 = 11_644_473_600_000_000;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn hex(bytes: &[u8]) -> String {
        use fmt::Write;
        bytes.iter().fold(String::new(), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
    }

    fn user() -> Account {
        Account::parse("Domain\\User").unwrap()
    }

    const SERVER: [u8; 8] = [0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef];
    const NONCE: [u8; 8] = [0xaa; 8];

    /// The server's message of MS-NLMP §4.2.4.3, with whatever it tells besides.
    fn challenge(more: &[(u16, &[u8])]) -> Vec<u8> {
        let mut target = Vec::new();
        let names = [(2_u16, utf16("Domain")), (1, utf16("Server"))];
        let more = more.iter().map(|(id, value)| (*id, value.to_vec()));
        for (id, value) in names.into_iter().chain(more).chain([(0, Vec::new())]) {
            target.extend_from_slice(&id.to_le_bytes());
            target.extend_from_slice(&u16::try_from(value.len()).unwrap().to_le_bytes());
            target.extend_from_slice(&value);
        }
        let name = utf16("Server");
        let mut message = b"NTLMSSP\0\x02\0\0\0".to_vec();
        message.extend_from_slice(&[12, 0, 12, 0, 56, 0, 0, 0]);
        message.extend_from_slice(&0xe28a_8233_u32.to_le_bytes());
        message.extend_from_slice(&SERVER);
        message.extend_from_slice(&[0; 8]);
        let length = u16::try_from(target.len()).unwrap().to_le_bytes();
        message.extend_from_slice(&[length, length].concat());
        message.extend_from_slice(&68_u32.to_le_bytes());
        message.extend_from_slice(&[6, 0, 0x70, 0x17, 0, 0, 0, 0x0f]);
        message.extend_from_slice(&name);
        message.extend_from_slice(&target);
        message
    }

    #[test]
    fn the_published_example_is_computed_to_the_byte() {
        // MS-NLMP §4.2.4: user, domain and password of that name, time zero.
        let key = user().key("Password");
        assert_eq!(hex(&key), "0c868a403bfd7a93a3001ef22ef02e3f");
        let message = challenge(&[]);
        let challenge = Challenge::parse(&message).unwrap();
        assert_eq!(challenge.nonce, SERVER);
        let target = &message[68..];
        let blob = blob([0; 8], NONCE, target);
        let proof = keyed(&key, &[&SERVER, &blob]);
        assert_eq!(hex(&proof), "68cd0ab851e51c96aabc927bebef6a1c");
        assert_eq!(
            hex(&keyed(&key, &[&proof])),
            "8de40ccadbc14a82f15cb0ad0de95ca3"
        );
        let moment = Moment {
            nonce: NONCE,
            unix_micros: 0,
        };
        let answer = challenge.answer(&user(), "Password", "h", moment, None);
        let older = "86c35097ac9cec102554764a57cccc19aaaaaaaaaaaaaaaa";
        assert_eq!(hex(&answer[PAYLOAD_AT..PAYLOAD_AT + 24]), older);
    }

    #[test]
    fn a_server_that_tells_its_time_gets_a_check_and_no_older_proof() {
        let time = 133_000_000_000_000_000_u64.to_le_bytes();
        let challenge = Challenge::parse(&challenge(&[(7, &time)])).unwrap();
        let moment = Moment {
            nonce: NONCE,
            unix_micros: 0,
        };
        let binding = Some(Binding::of_end_point(&[7; 32]));
        let answer = challenge.answer(&user(), "Password", "vms", moment, binding);
        assert_eq!(answer[PAYLOAD_AT..PAYLOAD_AT + 24], [0; 24]);
        assert_ne!(answer[CHECK_AT..CHECK_AT + 16], [0; 16]);
        let other = challenge.answer(&user(), "Password", "vms", moment, None);
        assert_ne!(answer[PAYLOAD_AT + 24..], other[PAYLOAD_AT + 24..]);
        let said = String::from_utf8_lossy(&answer).into_owned();
        assert!(!said.contains("P\0a\0s\0s"), "the password is not in it");
    }

    #[test]
    fn accounts_have_a_backslash() {
        for text in ["viewer", "viewer@example.org", "YARD\\", ""] {
            assert_eq!(Account::parse(text), None, "{text}");
        }
        assert_eq!(Account::parse(".\\viewer").unwrap().domain, "");
        assert_eq!(Account::parse("YARD\\viewer").unwrap().domain, "YARD");
    }

    #[test]
    fn file_times_begin_in_1601() {
        assert_eq!(file_time(0), 116_444_736_000_000_000_u64.to_le_bytes());
    }

    proptest! {
        #[test]
        fn whatever_a_server_says_is_read_or_refused(
            at in 0_usize..120,
            byte in any::<u8>(),
            cut in 0_usize..120,
        ) {
            let mut message = challenge(&[(7, &[1; 8])]);
            let last = message.len() - 1;
            message[at.min(last)] = byte;
            message.truncate(cut.max(1));
            if let Ok(challenge) = Challenge::parse(&message) {
                let moment = Moment { nonce: NONCE, unix_micros: i64::MAX };
                challenge.answer(&user(), "x", "h", moment, None);
            }
        }
    }
}
