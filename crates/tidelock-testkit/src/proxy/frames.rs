//! Finds the boundaries of server replies, in RESP2 and RESP3.

/// Splits a byte stream that arrives in pieces of any size into frames.
#[derive(Debug, Default)]
pub(super) struct Frames {
    /// The number of missing elements of each enclosing list, outermost first.
    lacking: Vec<u64>,
    /// The current header line, without its end.
    header: Vec<u8>,
    /// The number of missing bytes of a value.
    body: u64,
    pushed: bool,
}

/// The kind of the frame that has just ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Frame {
    /// The reply to a request. On a RESP2 connection also a published message, which looks the same.
    Reply,
    /// A push of the server, on a RESP3 connection.
    Push,
}

impl Frames {
    /// Takes the next byte, and returns the frame that ends with it.
    pub(super) fn take(&mut self, byte: u8) -> Option<Frame> {
        if self.body > 0 {
            self.body -= 1;
            return if self.body == 0 { self.element_ended() } else { None };
        }
        if byte != b'\n' {
            self.header.push(byte);
            return None;
        }
        let header = std::mem::take(&mut self.header);
        self.header_ended(&header)
    }

    fn header_ended(&mut self, header: &[u8]) -> Option<Frame> {
        let kind = header.first().copied().unwrap_or_default();
        if self.lacking.is_empty() {
            self.pushed = kind == b'>';
        }
        // Null (-1) counts as an empty value without a body.
        let length = || std::str::from_utf8(&header[1..]).ok()?.trim_end().parse::<u64>().ok();
        let elements = match kind {
            b'$' | b'=' | b'!' => {
                self.body = length().map_or(0, |length| length + 2);
                return if self.body == 0 { self.element_ended() } else { None };
            }
            b'*' | b'~' | b'>' => length().unwrap_or(0),
            b'%' => length().unwrap_or(0) * 2,
            // Attributes precede the element that they belong to, and are no frame of their own.
            b'|' => length().unwrap_or(0) * 2 + 1,
            _ => 0,
        };
        if elements == 0 {
            return self.element_ended();
        }
        self.lacking.push(elements);
        None
    }

    fn element_ended(&mut self) -> Option<Frame> {
        while let Some(lacking) = self.lacking.last_mut() {
            *lacking -= 1;
            if *lacking > 0 {
                return None;
            }
            self.lacking.pop();
        }
        Some(if self.pushed { Frame::Push } else { Frame::Reply })
    }
}

#[cfg(test)]
mod tests {
    use super::{Frame, Frames};

    fn ends(bytes: &str) -> Vec<(usize, Frame)> {
        let mut frames = Frames::default();
        let ends = bytes.bytes().enumerate().filter_map(|(at, byte)| Some((at + 1, frames.take(byte)?)));
        ends.collect()
    }

    #[test]
    fn each_kind_of_reply_is_one_frame() {
        let replies = [
            "+OK\r\n",
            "-ERR no such thing\r\n",
            ":42\r\n",
            "$-1\r\n",
            "$0\r\n\r\n",
            "$5\r\na\r\n+b\r\n",
            "*-1\r\n",
            "*0\r\n",
            "*2\r\n*2\r\n:1\r\n$1\r\n2\r\n*0\r\n",
            "_\r\n",
            "#t\r\n",
            ",1.5\r\n",
            "=7\r\ntxt:abc\r\n",
            "~1\r\n+member\r\n",
            "%1\r\n+key\r\n*1\r\n:1\r\n",
            "|1\r\n+ttl\r\n:3\r\n$5\r\nvalue\r\n",
        ];
        for reply in replies {
            assert_eq!(ends(reply), [(reply.len(), Frame::Reply)], "{reply:?}");
        }
        let mut end = 0;
        let expected = replies.map(|reply| {
            end += reply.len();
            (end, Frame::Reply)
        });
        assert_eq!(ends(&replies.concat()), expected);
    }

    #[test]
    fn a_push_is_told_from_a_reply() {
        let (push, reply) = (">2\r\n+message\r\n$2\r\nhi\r\n", ":1\r\n");
        let both = format!("{push}{reply}");
        assert_eq!(ends(&both), [(push.len(), Frame::Push), (both.len(), Frame::Reply)]);
    }
}
