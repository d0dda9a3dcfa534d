//! A challenge of NTLM, as a management server may send it: read or refused, and what we answer is a whole message that fits into itself.
#![no_main]

use libfuzzer_sys::fuzz_target;
use seamline_xprotect::ntlm::{Account, Binding, Challenge, Moment};

/// Where the six fields of the third message are described (MS-NLMP, `AUTHENTICATE_MESSAGE`).
const FIELDS_AT: usize = 12;
const FIELDS: usize = 6;

fuzz_target!(|data: &[u8]| {
    let Ok(challenge) = Challenge::parse(data) else {
        return;
    };
    let account = Account::parse("YARD\\viewer").expect("an account");
    let moment = Moment {
        nonce: [7; 8],
        unix_micros: i64::from(data.len() as u32),
    };
    for binding in [None, Some(Binding::of_end_point(&[9; 32]))] {
        let answer = challenge.answer(&account, "s3cret", "vms", moment, binding);
        assert!(answer.starts_with(b"NTLMSSP\0\x03\0\0\0"));
        for field in 0..FIELDS {
            let at = FIELDS_AT + 8 * field;
            let length = usize::from(u16::from_le_bytes([answer[at], answer[at + 1]]));
            let start = u32::from_le_bytes(answer[at + 4..at + 8].try_into().expect("four bytes")) as usize;
            assert!(start + length <= answer.len(), "field {field}");
        }
    }
});
