//! A raw HTTP/1.1 connection, and a device on top of it.

use platen_cwmp::{
    cpe,
    digest::{Algorithm, Challenge, Client, strongest},
    event_code::EventCode,
    rpc::{AcsRequest, DeviceIdStruct, Event, Inform, ParameterValue},
    soap::Version,
};
use std::net::SocketAddr;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// An envelope of a device with this ID, which is escaped already, and body: CWMP 1.2.
pub(crate) fn envelope(id: &str, body: &str) -> String {
    [
        r#"<soap-env:Envelope xmlns:soap-env="http://schemas.xmlsoap.org/soap/envelope/""#,
        r#" xmlns:soap-enc="http://schemas.xmlsoap.org/soap/encoding/""#,
        r#" xmlns:xsd="http://www.w3.org/2001/XMLSchema""#,
        r#" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance""#,
        r#" xmlns:cwmp="urn:dslforum-org:cwmp-1-2"><soap-env:Header>"#,
        r#"<cwmp:ID soap-env:mustUnderstand="1">"#,
        id,
        "</cwmp:ID></soap-env:Header><soap-env:Body>",
        body,
        "</soap-env:Body></soap-env:Envelope>",
    ]
    .concat()
}

/// An Inform as it is posted: ID 1, CWMP 1.2.
pub(crate) fn post_of(inform: Inform) -> Vec<u8> {
    let opening = cpe::Opening {
        inform,
        version: Version::V1_2,
        session_timeout: None,
    };
    cpe::Session::open(opening).unwrap().1
}

/// What the server answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Reply {
    /// The value of the first header of that name (lower case).
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(found, _)| found == name)
            .map(|(_, value)| value.as_str())
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// A connection.
#[derive(Debug)]
pub(crate) struct Wire {
    socket: TcpStream,
    host: String,
}

impl Wire {
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        Self {
            socket: TcpStream::connect(address).await.unwrap(),
            host: address.to_string(),
        }
    }

    /// Where it leads.
    pub(crate) fn peer(&self) -> SocketAddr {
        self.socket.peer_addr().unwrap()
    }

    /// Sends bytes as they are.
    pub(crate) async fn write(&mut self, bytes: &[u8]) {
        self.socket.write_all(bytes).await.unwrap();
    }

    /// Sends a request with a Content-Length and reads the answer; `None`: the server closed instead.
    pub(crate) async fn request(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Option<Reply> {
        let mut head = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nContent-Length: {}\r\n",
            self.host,
            body.len()
        );
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str("\r\n");
        let mut bytes = head.into_bytes();
        bytes.extend_from_slice(body);
        // The server may answer and close before it has read everything.
        let _ = self.socket.write_all(&bytes).await;
        self.read(method == "HEAD").await
    }

    /// Reads an answer; `None`: the server closed instead.
    pub(crate) async fn read(&mut self, is_head: bool) -> Option<Reply> {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let byte = self.socket.read_u8().await.ok()?;
            head.push(byte);
        }
        let head = String::from_utf8(head).unwrap();
        let mut lines = head.lines();
        let status = lines
            .next()
            .unwrap()
            .split(' ')
            .nth(1)
            .unwrap()
            .parse()
            .unwrap();
        let headers: Vec<(String, String)> = lines
            .filter_map(|line| line.split_once(": "))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
            .collect();
        let mut reply = Reply {
            status,
            headers,
            body: Vec::new(),
        };
        let length = if is_head || status == 204 {
            0
        } else {
            reply
                .header("content-length")
                .map_or(0, |n| n.parse().unwrap())
        };
        reply.body = vec![0; length];
        self.socket.read_exact(&mut reply.body).await.ok()?;
        Some(reply)
    }

    /// Whether the server has closed the connection.
    pub(crate) async fn is_closed(&mut self) -> bool {
        matches!(self.socket.read(&mut [0; 1]).await, Ok(0) | Err(_))
    }
}

/// A device: identity, credentials, and what it remembers of the server.
#[derive(Debug)]
pub(crate) struct Device {
    pub(crate) wire: Wire,
    pub(crate) path: String,
    pub(crate) identity: DeviceIdStruct,
    pub(crate) username: String,
    pub(crate) password: String,
    pub(crate) cookie: Option<String>,
    /// Returns cookies.
    pub(crate) keeps_cookies: bool,
    pub(crate) digest: Option<Client>,
}

impl Device {
    /// A device with the canonical id `00D09E-Test-{serial}` that uses it for its user name.
    pub(crate) async fn connect(address: SocketAddr, serial: &str, password: &str) -> Self {
        Self {
            wire: Wire::connect(address).await,
            path: "/cwmp/default".to_owned(),
            identity: DeviceIdStruct {
                manufacturer: "Example".into(),
                oui: "00D09E".into(),
                product_class: "Test".into(),
                serial_number: serial.into(),
            },
            username: format!("00D09E-Test-{serial}"),
            password: password.to_owned(),
            cookie: None,
            keeps_cookies: true,
            digest: None,
        }
    }

    /// The Inform that this device sends for these events.
    pub(crate) fn inform(&self, events: &[EventCode]) -> Inform {
        Inform {
            device_id: self.identity.clone(),
            events: events.iter().cloned().map(Event::new).collect(),
            parameters: vec![ParameterValue::string(
                "Device.DeviceInfo.SoftwareVersion",
                "1.4",
            )],
            ..Inform::default()
        }
    }

    /// A POST without any Authorization beyond what `headers` say.
    pub(crate) async fn post_plain(
        &mut self,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Option<Reply> {
        let path = self.path.clone();
        let cookie = self.cookie.clone().filter(|_| self.keeps_cookies);
        let mut all = headers.to_vec();
        if let Some(cookie) = &cookie {
            all.push(("Cookie", cookie));
        }
        let reply = self.wire.request("POST", &path, &all, body).await?;
        if let Some(cookie) = reply.header("set-cookie") {
            self.cookie = Some(cookie.split(';').next().unwrap().to_owned());
        }
        Some(reply)
    }

    /// The `Authorization` for the next POST, as an answer to the last challenge.
    pub(crate) fn authorization(&mut self) -> Option<String> {
        let path = self.path.clone();
        self.digest
            .as_mut()
            .map(|digest| digest.authorize("POST", &path, "0a4f113b5e7c8d90"))
    }

    /// Takes a challenge.
    pub(crate) fn challenged(&mut self, reply: &Reply) {
        let challenges: Vec<Challenge> = reply
            .headers
            .iter()
            .filter(|(name, _)| name == "www-authenticate")
            .flat_map(|(_, value)| Challenge::parse_all(value).unwrap())
            .collect();
        let challenge = strongest(challenges, &[Algorithm::Sha256, Algorithm::Md5])
            .expect("a digest challenge");
        self.digest = Some(Client::new(&self.username, &self.password, challenge));
    }

    /// A POST that is authorized if the server asks for it.
    pub(crate) async fn post(&mut self, body: &[u8]) -> Option<Reply> {
        let content = [
            ("Content-Type", "text/xml; charset=utf-8"),
            ("SOAPAction", ""),
        ];
        let reply = self.post_plain(&content, body).await?;
        if reply.status != 401 {
            return Some(reply);
        }
        self.challenged(&reply);
        let authorization = self.authorization().unwrap();
        self.post_plain(
            &[content[0], content[1], ("Authorization", &authorization)],
            body,
        )
        .await
    }

    /// Opens a session: the CWMP session, and the answer to the Inform.
    pub(crate) async fn open(&mut self, events: &[EventCode]) -> (cpe::Session, Reply) {
        let opening = cpe::Opening {
            inform: self.inform(events),
            version: Version::V1_4,
            session_timeout: None,
        };
        let (session, post) = cpe::Session::open(opening).unwrap();
        let reply = self.post(&post).await.expect("an answer to the Inform");
        (session, reply)
    }

    /// Opens a session, and follows it until the server asks for something.
    pub(crate) async fn open_until_asked(&mut self) -> (cpe::Session, AcsRequest) {
        let (mut session, reply) = self.open(&[EventCode::Periodic]).await;
        let cpe::Next::Post(empty) = Self::take(&mut session, &reply) else {
            panic!("{reply:?}")
        };
        let reply = self.post_plain(&[], &empty).await.unwrap();
        let cpe::Next::Serve(request) = Self::take(&mut session, &reply) else {
            panic!("{reply:?}")
        };
        (session, request)
    }

    /// Hands an answer to the CWMP session.
    pub(crate) fn take(session: &mut cpe::Session, reply: &Reply) -> cpe::Next {
        session
            .receive(reply.status, &reply.body, reply.header("content-type"))
            .expect("a good answer")
            .next
    }
}
