//! The check of an HTTP address, which is one `GET` on a connection of its own.
//!
//! Only the status line decides the result, and the body is not read. A redirect is a failure. The request asks the
//! server to close the connection. The client is written by hand, because a check needs only a small part of an HTTP
//! client.

use std::io;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::connect::connect;
use crate::config::HealthAddress;

/// Sends one `GET` request. Returns `Ok` if the status of the response is from 200 to 299, and otherwise an error that
/// states the problem.
///
/// # Cancel safety
///
/// If the future is dropped, the connection is closed. The server may have seen the request.
pub(super) async fn check(address: &HealthAddress, path: &str) -> io::Result<()> {
    let mut connection = connect(address).await?;
    let request = format!(
        "GET {path} HTTP/1.1\r\nhost: {}\r\nuser-agent: tower-circuit-breaker\r\naccept: */*\r\nconnection: close\r\n\r\n",
        address.authority
    );
    connection.write_all(request.as_bytes()).await?;
    let mut head = Vec::with_capacity(1024);
    loop {
        match final_status(&head)? {
            Some(200..=299) => return Ok(()),
            Some(status) => return Err(io::Error::other(format!("the status is {status}"))),
            None if head.len() >= LONGEST => return Err(wrong("the head of the answer is longer than 8 KiB")),
            None => {}
        }
        let mut part = [0; 1024];
        let length = connection.read(&mut part).await?;
        if length == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the connection ended before the answer"));
        }
        head.extend_from_slice(&part[..length]);
    }
}

/// Returns the status of the final response. Informational responses (100 to 199, except 101) come before the final
/// response and are skipped. Returns `None` if the final status has not arrived yet, and an error if the bytes are not
/// HTTP/1.
fn final_status(mut head: &[u8]) -> io::Result<Option<u16>> {
    loop {
        let Some(end) = head.iter().position(|byte| *byte == b'\n') else {
            // An incomplete line is checked too. A server that does not speak HTTP may never send a line break.
            let begin = &head[..head.len().min(PROTOCOL.len())];
            return if PROTOCOL.starts_with(begin) { Ok(None) } else { Err(wrong("the answer is not HTTP/1")) };
        };
        let status = status(&head[..end]).ok_or_else(|| wrong("the answer is not HTTP/1"))?;
        if !(100..=199).contains(&status) || status == 101 {
            return Ok(Some(status));
        }
        // An informational response ends with an empty line, and the next response follows.
        let Some(empty) = head.windows(4).position(|bytes| bytes == b"\r\n\r\n") else { return Ok(None) };
        head = &head[empty + 4..];
    }
}

/// Parses the status code in a status line such as `HTTP/1.1 200 OK`. Returns `None` if the line is malformed.
fn status(line: &[u8]) -> Option<u16> {
    let [b'0'..=b'9', b' ', digits @ ..] = line.strip_prefix(PROTOCOL)? else { return None };
    let (digits, behind) = digits.split_at_checked(3)?;
    let ends = matches!(behind.first(), None | Some(b' ' | b'\r'));
    let status = std::str::from_utf8(digits).ok()?.parse().ok()?;
    (ends && digits.iter().all(u8::is_ascii_digit) && (100..=999).contains(&status)).then_some(status)
}

fn wrong(text: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text)
}

const PROTOCOL: &[u8] = b"HTTP/1.";
/// The number of bytes after which a check fails if the final status has not arrived.
const LONGEST: usize = 8 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_is_read_behind_informational_answers() {
        for (head, status) in [
            ("", None),
            ("HTTP/1.1 20", None),
            ("HTTP/1.1 200 OK\r\n", Some(200)),
            ("HTTP/1.0 204\r\n", Some(204)),
            ("HTTP/1.1 103 Early Hints\r\nlink: x\r\n", None),
            ("HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\nHTTP/1.1 503 No\r\n", Some(503)),
            ("HTTP/1.1 301 Moved\r\n", Some(301)),
            ("HTTP/1.1 101 Switching\r\n", Some(101)),
        ] {
            assert_eq!(final_status(head.as_bytes()).unwrap(), status, "{head:?}");
        }
    }

    #[test]
    fn an_answer_of_another_protocol_is_an_error() {
        for head in [
            "SSH-2.0-x",
            "HTTP/2 200\r\n",
            "HTTP/1.1 2x0 OK\r\n",
            "HTTP/1.1 2000\r\n",
            "HTTP/1.1 000\r\n",
            "\r\n",
            "\0",
        ] {
            assert!(final_status(head.as_bytes()).is_err(), "{head:?}");
        }
    }
}
