//! The check of a gRPC address, which is one call of `grpc.health.v1.Health/Check` on a connection of its own.
//!
//! The request and the response have one field each, so that this module encodes and decodes the messages without
//! generated code. A message is sent in a frame. The first byte of the frame is 1 if the message is compressed, and
//! otherwise 0. The next four bytes are the length of the message, and the message follows.
//!
//! ```text
//! HealthCheckRequest    1: string service
//! HealthCheckResponse   1: enum status (0 UNKNOWN, 1 SERVING, 2 NOT_SERVING, 3 SERVICE_UNKNOWN)
//! ```

use std::time::Duration;

use bytes::Bytes;
use h2::client;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode};

use super::connect::connect;
use crate::config::HealthAddress;

/// Checks the service once. Returns `Ok` if the response is `SERVING`, and otherwise a text that describes the problem.
///
/// # Cancel safety
///
/// If the future is dropped, the connection is closed. The server may have seen the request.
pub(super) async fn check(address: &HealthAddress, service: &str, deadline: Duration) -> Result<(), String> {
    let text = |error: &dyn std::fmt::Display| error.to_string();
    let tcp = connect(address).await.map_err(|error| text(&error))?;
    // The limits prevent a server from filling the memory of this process with headers or with a body.
    let mut limits = client::Builder::new();
    limits.max_header_list_size(HEADERS).initial_window_size(WINDOW).initial_connection_window_size(WINDOW);
    let (client, connection) = limits.handshake(tcp).await.map_err(|error| text(&error))?;
    let answer = async {
        let mut client = client.ready().await?;
        let (response, mut request) = client.send_request(head(address, deadline), false)?;
        request.send_data(message(service), true)?;
        let response = response.await?;
        let (parts, mut body) = response.into_parts();
        let mut message = Vec::new();
        while let Some(data) = body.data().await {
            let data = data?;
            body.flow_control().release_capacity(data.len())?;
            if message.len() + data.len() > LONGEST {
                return Ok(Err(format!("the answer is longer than {LONGEST} bytes")));
            }
            message.extend_from_slice(&data);
        }
        let trailers = body.trailers().await?.unwrap_or_default();
        Ok::<_, h2::Error>(judge(parts.status, &parts.headers, &trailers, &message))
    };
    // The connection is polled together with the call, because the call makes progress only while the connection is
    // polled. If the connection ends before the call, the error of the connection is the result.
    tokio::select! {
        biased;
        answer = answer => answer.map_err(|error| text(&error))?,
        ended = connection => Err(ended.err().map_or_else(|| "the connection ended".to_owned(), |error| text(&error))),
    }
}

fn head(address: &HealthAddress, deadline: Duration) -> Request<()> {
    let mut request = Request::new(());
    *request.method_mut() = Method::POST;
    let uri = format!("http://{}/grpc.health.v1.Health/Check", address.authority);
    *request.uri_mut() = uri.parse().expect("the authority was checked when the address was read");
    let headers = request.headers_mut();
    headers.insert("content-type", HeaderValue::from_static("application/grpc"));
    headers.insert("te", HeaderValue::from_static("trailers"));
    headers.insert("user-agent", HeaderValue::from_static("tower-circuit-breaker"));
    // The unit `m` is milliseconds. The header allows 8 digits, which is enough for the longest deadline of 60 000 ms.
    let timeout = HeaderValue::from_str(&format!("{}m", deadline.as_millis().max(1)));
    headers.insert("grpc-timeout", timeout.expect("digits and a letter are a header value"));
    request
}

/// Encodes a request for the health of this service as one frame. An empty name stands for the whole server.
fn message(service: &str) -> Bytes {
    let mut message = Vec::new();
    if !service.is_empty() {
        message.push(FIELD_1_BYTES);
        varint(&mut message, service.len());
        message.extend_from_slice(service.as_bytes());
    }
    let length = u32::try_from(message.len()).expect("an address has at most 1000 bytes");
    let mut frame = vec![0];
    frame.extend_from_slice(&length.to_be_bytes());
    frame.append(&mut message);
    frame.into()
}

fn varint(to: &mut Vec<u8>, mut number: usize) {
    loop {
        let [low, ..] = number.to_le_bytes();
        number >>= 7;
        if number == 0 {
            return to.push(low);
        }
        to.push(low | 0x80);
    }
}

/// Returns `Ok` if the HTTP status, the gRPC code and the message all show that the service is serving. Otherwise the
/// error is a text that describes the problem.
fn judge(status: StatusCode, headers: &HeaderMap, trailers: &HeaderMap, frame: &[u8]) -> Result<(), String> {
    if status != StatusCode::OK {
        return Err(format!("the HTTP status is {}", status.as_u16()));
    }
    // In a response without a body, the gRPC code is in the headers and not in the trailers.
    let code = trailers.get("grpc-status").or_else(|| headers.get("grpc-status"));
    match code.map(HeaderValue::as_bytes) {
        Some(b"0") => {}
        Some(b"5") => return Err("the server does not know the service (gRPC code 5)".to_owned()),
        Some(b"12") => return Err("the server has no health service (gRPC code 12)".to_owned()),
        Some(code) => return Err(format!("the gRPC code is {}", String::from_utf8_lossy(&code[..code.len().min(20)]))),
        None => return Err("the answer has no gRPC code".to_owned()),
    }
    let [0, a, b, c, d, message @ ..] = frame else { return Err("the answer is no gRPC message".to_owned()) };
    if usize::try_from(u32::from_be_bytes([*a, *b, *c, *d])) != Ok(message.len()) {
        return Err("the answer is not one gRPC message".to_owned());
    }
    match serving_status(message) {
        Some(1) => Ok(()),
        Some(0) => Err("the service answers UNKNOWN".to_owned()),
        Some(2) => Err("the service answers NOT_SERVING".to_owned()),
        Some(3) => Err("the service answers SERVICE_UNKNOWN".to_owned()),
        Some(other) => Err(format!("the service answers the unknown status {other}")),
        None => Err("the answer is no health message".to_owned()),
    }
}

/// Decodes a `HealthCheckResponse`, and returns the serving status in field 1. If the field is repeated, the last value
/// wins. If the field is absent, the status is 0 (UNKNOWN). Unknown fields are skipped. Returns `None` if the bytes are
/// not a valid message.
fn serving_status(mut message: &[u8]) -> Option<u64> {
    let mut status = 0;
    while !message.is_empty() {
        let key = read_varint(&mut message)?;
        match (key >> 3, key & 7) {
            (1, 0) => status = read_varint(&mut message)?,
            (_, 0) => drop(read_varint(&mut message)?),
            (_, 1) => message = message.get(8..)?,
            (_, 2) => {
                let length = usize::try_from(read_varint(&mut message)?).ok()?;
                message = message.get(length..)?;
            }
            (_, 5) => message = message.get(4..)?,
            _ => return None,
        }
    }
    Some(status)
}

fn read_varint(from: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = from.split_first()?;
        *from = rest;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

/// The protobuf key of field 1, with the wire type for strings and bytes.
const FIELD_1_BYTES: u8 = 1 << 3 | 2;
/// The largest number of bytes that a check reads from the body of a response.
const LONGEST: usize = 8 * 1024;
/// The largest total size of the headers of a response, in bytes.
const HEADERS: u32 = 16 * 1024;
/// The size of the HTTP/2 flow-control window in bytes. A server may send this many bytes before the client reads.
/// HTTP/2 allows no smaller window for a connection.
const WINDOW: u32 = 65_535;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_names_its_service() {
        assert_eq!(&message("")[..], [0, 0, 0, 0, 0]);
        assert_eq!(&message("ab")[..], [0, 0, 0, 0, 4, 0x0a, 2, b'a', b'b']);
        assert_eq!(&message(&"x".repeat(200))[..8], [0, 0, 0, 0, 203, 0x0a, 0xc8, 1]);
    }

    #[test]
    fn the_status_is_field_one_among_unknown_fields() {
        for (message, status) in [
            (&[][..], Some(0)),
            (&[8, 1], Some(1)),
            (&[8, 2, 0x12, 1, 9, 0x1d, 1, 2, 3, 4, 0x21, 1, 2, 3, 4, 5, 6, 7, 8, 0x28, 0x80, 1], Some(2)),
            (&[8, 0x81, 0x80, 0], Some(1)),
            (&[8], None),
            (&[0x12, 9, 1], None),
            (&[0x0b], None),
            (&[8, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], None),
        ] {
            assert_eq!(serving_status(message), status, "{message:?}");
        }
    }
}
