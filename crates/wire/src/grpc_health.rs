//! The two messages of gRPC's health checking protocol (`grpc.health.v1.Health/Check`), in bytes.
//!
//! ```text
//!   HealthCheckRequest  { string service = 1 }      message: 0, length in four bytes, protobuf
//!   HealthCheckResponse { ServingStatus status = 1 }
//! ```
//! Does not: send them.

/// Where a server is asked.
pub const PATH: &str = "/grpc.health.v1.Health/Check";

/// What a server says of a service (`ServingStatus`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Serving {
    Unknown,
    Serving,
    NotServing,
    /// Of the streaming call only; understood all the same.
    ServiceUnknown,
}

/// It is no message of this kind.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Garbled;

const PREFIX: usize = 5;
/// Field 1 as a string, and as a number.
const SERVICE: u8 = 0x0a;
const STATUS: u64 = 0x08;

/// The request for a service; the empty name is the server as a whole.
pub fn request(service: &str) -> Vec<u8> {
    let mut message = vec![0; PREFIX];
    if !service.is_empty() {
        message.push(SERVICE);
        put_number(&mut message, service.len() as u64);
        message.extend_from_slice(service.as_bytes());
    }
    let length = u32::try_from(message.len() - PREFIX).unwrap_or(u32::MAX);
    message[1..PREFIX].copy_from_slice(&length.to_be_bytes());
    message
}

fn put_number(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// Reads the one message of an answer. Fields that it does not know are passed over.
///
/// # Errors
/// It is compressed, is cut short, is more than one, or is no protobuf.
pub fn answer(message: &[u8]) -> Result<Serving, Garbled> {
    let (prefix, mut rest) = message.split_at_checked(PREFIX).ok_or(Garbled)?;
    let length = u32::from_be_bytes([prefix[1], prefix[2], prefix[3], prefix[4]]);
    if prefix[0] != 0 || rest.len() as u64 != u64::from(length) {
        return Err(Garbled);
    }
    // A field that is not written has the value 0.
    let mut status = 0;
    while !rest.is_empty() {
        let key = number(&mut rest)?;
        match key & 7 {
            0 => {
                let value = number(&mut rest)?;
                status = if key == STATUS { value } else { status };
            }
            1 => skip(&mut rest, 8)?,
            2 => {
                let length = number(&mut rest)?;
                skip(&mut rest, length)?;
            }
            5 => skip(&mut rest, 4)?,
            _ => return Err(Garbled),
        }
    }
    Ok(match status {
        1 => Serving::Serving,
        2 => Serving::NotServing,
        3 => Serving::ServiceUnknown,
        _ => Serving::Unknown,
    })
}

fn number(rest: &mut &[u8]) -> Result<u64, Garbled> {
    let mut value = 0;
    for at in 0..10 {
        let (byte, behind) = rest.split_first().ok_or(Garbled)?;
        *rest = behind;
        value |= u64::from(byte & 0x7f).checked_shl(7 * at).unwrap_or(0);
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(Garbled)
}

fn skip(rest: &mut &[u8], length: u64) -> Result<(), Garbled> {
    let length = usize::try_from(length).map_err(|_| Garbled)?;
    *rest = rest.get(length..).ok_or(Garbled)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn requests_are_protobuf_behind_a_length() {
        assert_eq!(request(""), [0, 0, 0, 0, 0]);
        assert_eq!(request("a.B"), *b"\0\0\0\0\x05\x0a\x03a.B");
        let long = request(&"x".repeat(300));
        assert_eq!((&long[..8], long.len()), (&b"\0\0\0\x01\x2f\x0a\xac\x02"[..], 308));
    }

    #[test]
    fn answers_are_read_and_what_is_unknown_is_passed_over() {
        assert_eq!(answer(b"\0\0\0\0\0"), Ok(Serving::Unknown));
        assert_eq!(answer(b"\0\0\0\0\x02\x08\x01"), Ok(Serving::Serving));
        assert_eq!(answer(b"\0\0\0\0\x02\x08\x02"), Ok(Serving::NotServing));
        assert_eq!(answer(b"\0\0\0\0\x06\x12\x02hi\x08\x03"), Ok(Serving::ServiceUnknown));
        for bad in [
            &b""[..],
            b"\0\0\0\0",
            b"\x01\0\0\0\0",
            b"\0\0\0\0\x03\x08\x01",
            b"\0\0\0\0\x01\x08",
            b"\0\0\0\0\x02\x0a\x05",
        ] {
            assert_eq!(answer(bad), Err(Garbled), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            let _ = answer(&bytes);
            let mut framed = vec![0, 0, 0, 0, bytes.len() as u8];
            framed.extend_from_slice(&bytes);
            let _ = answer(&framed);
        }
    }
}
