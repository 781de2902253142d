//! Just enough of an HTTP/1.1 client to check what the peers answer.

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    net::{Ipv4Addr, TcpStream},
    time::Duration,
};

use crate::{configs::HOST, tls};

/// Where a proxy answers.
#[derive(Clone)]
pub(crate) struct Endpoint {
    pub(crate) port: u16,
    /// How to talk TLS to it, if it does.
    pub(crate) tls: Option<tls::Connector>,
}

/// Octets both ways, in the clear or not.
pub(crate) trait Stream: Read + Write + Send {
    /// Says that nothing more will come.
    fn end(&mut self) {}
}

impl Stream for TcpStream {}

/// One keep-alive connection.
pub(crate) struct Client {
    stream: BufReader<Box<dyn Stream>>,
}

/// What came back.
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Client {
    /// Connects to a port on loopback, in the clear.
    pub(crate) fn connect(port: u16) -> io::Result<Self> {
        Self::open(&Endpoint { port, tls: None })
    }

    /// Connects to an endpoint; the TLS handshake happens with the first request.
    pub(crate) fn open(endpoint: &Endpoint) -> io::Result<Self> {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, endpoint.port))?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        stream.set_nodelay(true)?;
        let stream: Box<dyn Stream> = match &endpoint.tls {
            None => Box::new(stream),
            Some(connector) => connector.connect(stream)?,
        };
        Ok(Self { stream: BufReader::with_capacity(1024, stream) })
    }

    /// Closes the connection in good order.
    pub(crate) fn close(mut self) {
        self.stream.get_mut().end();
    }

    /// A GET with a cookie, as the load sends it.
    pub(crate) fn get(&mut self, path: &str, cookie: &str) -> io::Result<Response> {
        self.send(&format!("GET {path} HTTP/1.1\r\nHost: {HOST}\r\nCookie: {cookie}\r\n\r\n"))
    }

    /// A POST of a JSON text.
    pub(crate) fn post(&mut self, path: &str, body: &str) -> io::Result<Response> {
        self.send(&format!(
            "POST {path} HTTP/1.1\r\nHost: {HOST}\r\nOrigin: https://{HOST}\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        ))
    }

    /// The same on behalf of somebody at this address, as a proxy tells it.
    pub(crate) fn post_from(
        &mut self,
        path: &str,
        body: &str,
        from: Ipv4Addr,
    ) -> io::Result<Response> {
        self.send(&format!(
            "POST {path} HTTP/1.1\r\nHost: {HOST}\r\nOrigin: https://{HOST}\r\n\
             X-Forwarded-For: {from}\r\nX-Forwarded-Proto: https\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        ))
    }

    /// Sends a request as it is, and reads the answer.
    pub(crate) fn send(&mut self, request: &str) -> io::Result<Response> {
        self.stream.get_mut().write_all(request.as_bytes())?;
        self.stream.get_mut().flush()?;
        let status_line = self.line()?;
        let status = status_line.split(' ').nth(1).and_then(|code| code.parse().ok());
        let status = status.ok_or_else(|| malformed(&status_line))?;
        let mut headers = Vec::new();
        loop {
            let line = self.line()?;
            if line.is_empty() {
                break;
            }
            let (name, value) = line.split_once(':').ok_or_else(|| malformed(&line))?;
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        let mut response = Response { status, headers, body: String::new() };
        if status != 204 {
            let length = response.headers("content-length").next();
            let length = length.and_then(|length| length.parse().ok());
            let length = length.ok_or_else(|| malformed("a response without a length"))?;
            let mut body = vec![0; length];
            self.stream.read_exact(&mut body)?;
            response.body = String::from_utf8(body).map_err(|_| malformed("the body"))?;
        }
        Ok(response)
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        self.stream.read_line(&mut line)?;
        if !line.ends_with('\n') {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(line.trim_end().to_owned())
    }
}

impl Response {
    /// The values of a header, its name in lower case.
    pub(crate) fn headers<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.headers.iter().filter(move |(found, _)| found == name).map(|(_, value)| value.as_str())
    }
}

fn malformed(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("not understood: {what}"))
}
