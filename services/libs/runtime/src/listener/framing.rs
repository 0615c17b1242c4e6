//! Looks at the head of a request for two lengths.

/// Finds out whether the head of an HTTP/1 request has both Content-Length and Transfer-Encoding.
///
/// The HTTP library takes the second one and goes on (and then closes). A proxy in front may have taken the first: the request must not be answered (RFC 9112
/// §6.3), but the library does not say that there were two. So the bytes of the head are looked at as they come.
#[derive(Debug, Default)]
pub(super) struct Scanner {
    /// Bytes of the current line so far, as far as a name that matters goes.
    line: [u8; NAME],
    length: usize,
    content_length: bool,
    transfer_encoding: bool,
    ended: bool,
}

/// Bytes of the longer name and its colon.
const NAME: usize = b"transfer-encoding:".len();

impl Scanner {
    /// Looks at further bytes; those after the end of the head do not count.
    pub(super) fn feed(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            if self.ended {
                return;
            }
            if byte == b'\n' {
                // An empty line ends the head (before the request line it is passed over, as HTTP servers do).
                self.ended = self.line[..self.length.min(NAME)]
                    .iter()
                    .all(|&b| b == b'\r')
                    && self.length <= 1;
                self.length = 0;
                continue;
            }
            if self.length < NAME {
                self.line[self.length] = byte.to_ascii_lowercase();
                if byte == b':' {
                    match &self.line[..=self.length] {
                        b"content-length:" => self.content_length = true,
                        b"transfer-encoding:" => self.transfer_encoding = true,
                        _ => {}
                    }
                }
            }
            self.length += 1;
        }
    }

    /// Whether both were there.
    pub(super) const fn is_ambiguous(&self) -> bool {
        self.content_length && self.transfer_encoding
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn is_ambiguous(head: &str, cut: usize) -> bool {
        let mut scanner = Scanner::default();
        let (first, second) = head.as_bytes().split_at(cut.min(head.len()));
        scanner.feed(first);
        scanner.feed(second);
        scanner.is_ambiguous()
    }

    proptest! {
        #[test]
        fn two_lengths_are_seen_wherever_the_bytes_are_cut(cut in 0usize..200) {
            for (head, expected) in [
                ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\nabc", true),
                ("POST / HTTP/1.1\r\nTRANSFER-encoding: chunked\r\nX: y\r\ncontent-LENGTH: 3\r\n\r\n", true),
                ("POST / HTTP/1.1\nTransfer-Encoding:chunked\nContent-Length:3\n\n", true),
                ("POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\nTransfer-Encoding: chunked\r\n", false),
                ("POST / HTTP/1.1\r\nX-Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n", false),
                ("POST / HTTP/1.1\r\nX: Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n", false),
                ("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", false),
            ] {
                prop_assert_eq!(is_ambiguous(head, cut), expected, "{}", head);
            }
        }
    }
}
