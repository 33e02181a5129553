//! A minimal client for commands to the server: tests must not depend on the client that they test.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};

use anyhow::{Context as _, Result, bail};

use crate::wait::PATIENCE;

/// A reply of a server. An error reply is an `Err` instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// Null.
    Nil,
    /// An integer.
    Int(i64),
    /// A status or a value; bytes that are not UTF-8 are replaced.
    Text(String),
    /// A list of replies.
    List(Vec<Reply>),
}

impl Reply {
    /// The integer, also if it was sent as text.
    pub fn int(&self) -> Option<i64> {
        match self {
            Self::Int(number) => Some(*number),
            Self::Text(text) => text.parse().ok(),
            Self::Nil | Self::List(_) => None,
        }
    }

    /// The text, if it is text.
    pub fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The elements of a list; empty for anything else.
    pub fn items(&self) -> &[Reply] {
        match self {
            Self::List(items) => items,
            _ => &[],
        }
    }

    /// One `name:value` line of an `INFO` reply.
    pub fn field(&self, name: &str) -> Option<&str> {
        self.text()?.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
    }
}

/// A blocking connection.
#[derive(Debug)]
pub struct Connection {
    stream: BufReader<TcpStream>,
}

impl Connection {
    /// Connects to a local port.
    pub fn open(port: u16) -> Result<Self> {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).with_context(|| format!("connect to {port}"))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Self { stream: BufReader::new(stream) })
    }

    /// Sends one command and waits for its reply.
    pub fn command<S: AsRef<str>>(&mut self, words: &[S]) -> Result<Reply> {
        let mut request = format!("*{}\r\n", words.len()).into_bytes();
        for word in words.iter().map(AsRef::as_ref) {
            write!(request, "${}\r\n{word}\r\n", word.len())?;
        }
        let name = words.first().map_or("", AsRef::as_ref);
        self.stream.get_mut().write_all(&request).with_context(|| format!("send {name}"))?;
        self.reply().with_context(|| format!("reply to {name}"))
    }

    fn reply(&mut self) -> Result<Reply> {
        let mut line = String::new();
        if self.stream.read_line(&mut line)? == 0 {
            bail!("the server closed the connection");
        }
        let line = line.trim_end();
        let (kind, rest) = line.split_at_checked(1).context("empty reply")?;
        Ok(match kind {
            "+" => Reply::Text(rest.to_owned()),
            "-" => bail!("{rest}"),
            ":" => Reply::Int(rest.parse()?),
            "$" | "*" if rest == "-1" => Reply::Nil,
            "$" => Reply::Text(self.bytes(rest.parse()?)?),
            "*" => Reply::List((0..rest.parse::<usize>()?).map(|_| self.reply()).collect::<Result<_>>()?),
            _ => bail!("not a RESP2 reply: {line}"),
        })
    }

    fn bytes(&mut self, length: usize) -> Result<String> {
        let mut bytes = vec![0; length + "\r\n".len()];
        self.stream.read_exact(&mut bytes)?;
        bytes.truncate(length);
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }
}
