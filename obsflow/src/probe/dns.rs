//! Questions to name servers: one name, both families, each server in turn.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use domain::base::iana::Class;
use domain::base::{MessageBuilder, Name, Rtype};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

use super::wire::errno_name;
use crate::decode::dns::message;
use crate::model::event::Protocol;
use crate::model::observation::DnsMessage;

const PORT: u16 = 53;
/// Without EDNS a response over UDP has at most 512 bytes; a server that sends more is still read.
const MAX_UDP: usize = 4096;
/// Addresses of one name that are kept.
const MAX_ADDRESSES: usize = 64;
/// RCODEs (RFC 1035, 4.1.1).
const NOERROR: u16 = 0;
const NXDOMAIN: u16 = 3;

/// What became of a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// It has addresses, IPv4 first.
    Addresses(Vec<IpAddr>),
    /// The server does not know it.
    NxDomain,
    /// The server knows it, and it has no address.
    NoData,
    /// The server fails: its RCODE.
    Failure(u16),
    /// No server answered.
    Silent,
    /// No server could be asked: the last error.
    Unreachable(String),
    /// It is no name that could be asked for.
    NotAName,
}

impl Answer {
    /// In words, after the name that was asked for.
    pub(super) fn text(&self) -> String {
        match self {
            Self::Addresses(ips) => {
                let ips: Vec<String> = ips.iter().map(ToString::to_string).collect();
                ips.join(", ")
            }
            Self::NxDomain => "NXDOMAIN".to_owned(),
            Self::NoData => "no address".to_owned(),
            Self::Failure(2) => "SERVFAIL".to_owned(),
            Self::Failure(5) => "REFUSED".to_owned(),
            Self::Failure(rcode) => format!("RCODE {rcode}"),
            Self::Silent => "no answer".to_owned(),
            Self::Unreachable(why) => why.clone(),
            Self::NotAName => "not a DNS name".to_owned(),
        }
    }

    /// Whether asking for another name could come out better: the servers answer.
    pub(super) fn answered(&self) -> bool {
        !matches!(self, Self::Silent | Self::Unreachable(_))
    }
}

/// Asks each server in turn, for both families at once, until one answers.
pub(super) async fn ask(servers: &[IpAddr], name: &str, wait: Duration) -> Answer {
    let Ok(question) = name.parse::<Name<Vec<u8>>>() else {
        return Answer::NotAName;
    };
    let mut last = Answer::Silent;
    for server in servers {
        let server = SocketAddr::new(*server, PORT);
        let (v4, v6) = tokio::join!(
            one(server, &question, Rtype::A, wait),
            one(server, &question, Rtype::AAAA, wait)
        );
        let answer = combine(v4, v6);
        // As the C library does, the next server is asked when this one fails, too.
        match answer {
            Answer::Failure(_) | Answer::Silent | Answer::Unreachable(_) => last = answer,
            answer => return answer,
        }
    }
    last
}

/// Both families' answers as one.
fn combine(v4: Result<DnsMessage, Failed>, v6: Result<DnsMessage, Failed>) -> Answer {
    let mut ips = Vec::new();
    let mut worst = None;
    for result in [v4, v6] {
        let answer = match result {
            Ok(message) if message.rcode == NOERROR => {
                ips.extend(message.ips);
                Answer::NoData
            }
            Ok(message) if message.rcode == NXDOMAIN => Answer::NxDomain,
            Ok(message) => Answer::Failure(message.rcode),
            Err(Failed::Late) => Answer::Silent,
            Err(Failed::Io(error)) => Answer::Unreachable(errno_name(&error)),
            Err(Failed::Unreadable) => Answer::Unreachable("an answer that cannot be read".to_owned()),
        };
        // The first family speaks, unless the other one failed in a worse way.
        if worst
            .as_ref()
            .is_none_or(|so_far: &Answer| so_far.answered() && !answer.answered())
        {
            worst = Some(answer);
        }
    }
    if !ips.is_empty() {
        ips.truncate(MAX_ADDRESSES);
        return Answer::Addresses(ips);
    }
    worst.unwrap_or(Answer::Silent)
}

#[derive(Debug)]
enum Failed {
    Late,
    Io(io::Error),
    Unreadable,
}

impl From<io::Error> for Failed {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// One question to one server, over TCP when the answer over UDP is cut short.
async fn one(
    server: SocketAddr,
    name: &Name<Vec<u8>>,
    rtype: Rtype,
    wait: Duration,
) -> Result<DnsMessage, Failed> {
    let asked = async {
        let id = random();
        let query = query(id, name, rtype)?;
        let response = over_udp(server, &query, id, name, rtype).await?;
        if response.truncated {
            return over_tcp(server, &query, id, name, rtype).await;
        }
        Ok(response)
    };
    timeout(wait, asked).await.unwrap_or(Err(Failed::Late))
}

fn query(id: u16, name: &Name<Vec<u8>>, rtype: Rtype) -> Result<Vec<u8>, Failed> {
    let mut message = MessageBuilder::new_vec();
    message.header_mut().set_id(id);
    message.header_mut().set_rd(true);
    let mut question = message.question();
    question
        .push((name, rtype, Class::IN))
        .map_err(|_| Failed::Unreadable)?;
    Ok(question.finish())
}

/// The standard hasher's keys come from the kernel's random numbers; the socket's port is random as well.
fn random() -> u16 {
    use std::hash::{BuildHasher as _, RandomState};
    let bytes = RandomState::new().hash_one(()).to_ne_bytes();
    u16::from_ne_bytes([bytes[0], bytes[1]])
}

/// The message, if it answers this question.
fn read(bytes: &[u8], id: u16, name: &Name<Vec<u8>>, rtype: Rtype, protocol: Protocol) -> Option<DnsMessage> {
    let parsed = message::parse(bytes, bytes.len(), protocol).ok()?;
    let same = parsed.response
        && parsed.message.id == id
        && *parsed.message.qtype == *rtype.to_string()
        && parsed
            .message
            .name
            .eq_ignore_ascii_case(name.to_string().trim_end_matches('.'));
    same.then_some(parsed.message)
}

async fn over_udp(
    server: SocketAddr,
    query: &[u8],
    id: u16,
    name: &Name<Vec<u8>>,
    rtype: Rtype,
) -> Result<DnsMessage, Failed> {
    let any: IpAddr = if server.is_ipv4() {
        Ipv4Addr::UNSPECIFIED.into()
    } else {
        Ipv6Addr::UNSPECIFIED.into()
    };
    let socket = UdpSocket::bind((any, 0)).await?;
    // Connected: an ICMP error is told, and only the server's packets arrive.
    socket.connect(server).await?;
    socket.send(query).await?;
    let mut buffer = [0; MAX_UDP];
    loop {
        let length = socket.recv(&mut buffer).await?;
        let response = read(
            buffer.get(..length).unwrap_or(&[]),
            id,
            name,
            rtype,
            Protocol::Udp,
        );
        if let Some(response) = response {
            return Ok(response);
        }
    }
}

async fn over_tcp(
    server: SocketAddr,
    query: &[u8],
    id: u16,
    name: &Name<Vec<u8>>,
    rtype: Rtype,
) -> Result<DnsMessage, Failed> {
    let mut stream = TcpStream::connect(server).await?;
    let length = u16::try_from(query.len()).map_err(|_| Failed::Unreadable)?;
    stream.write_all(&[&length.to_be_bytes(), query].concat()).await?;
    let mut response = vec![0; stream.read_u16().await?.into()];
    stream.read_exact(&mut response).await?;
    read(&response, id, name, rtype, Protocol::Tcp).ok_or(Failed::Unreadable)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(rcode: u16, ips: &[&str]) -> Result<DnsMessage, Failed> {
        Ok(DnsMessage {
            protocol: Protocol::Udp,
            id: 1,
            name: "collector".into(),
            qtype: "A".into(),
            rcode,
            ips: ips.iter().map(|ip| ip.parse().unwrap()).collect(),
            cnames: Vec::new(),
            rrtypes: Vec::new(),
            ttl: None,
            truncated: false,
        })
    }

    #[test]
    fn two_families_are_one_answer() {
        let one = Answer::Addresses(vec!["10.0.0.1".parse().unwrap()]);
        assert_eq!(combine(message(0, &["10.0.0.1"]), message(0, &[])), one);
        assert_eq!(combine(message(0, &["10.0.0.1"]), Err(Failed::Late)), one);
        assert_eq!(combine(message(0, &["10.0.0.1"]), message(2, &[])), one);
        assert_eq!(combine(message(0, &[]), message(0, &[])), Answer::NoData);
        assert_eq!(combine(message(3, &[]), message(3, &[])), Answer::NxDomain);
        assert_eq!(combine(message(2, &[]), message(3, &[])), Answer::Failure(2));
        assert_eq!(combine(message(3, &[]), Err(Failed::Late)), Answer::Silent);
        assert_eq!(combine(Err(Failed::Late), Err(Failed::Late)), Answer::Silent);
    }

    #[test]
    fn only_the_answer_to_this_question_counts() {
        let name: Name<Vec<u8>> = "collector.example".parse().unwrap();
        let mut bytes = query(7, &name, Rtype::A).unwrap();
        assert_eq!(read(&bytes, 7, &name, Rtype::A, Protocol::Udp), None, "a query");
        bytes[2] |= 0x80;
        assert!(read(&bytes, 7, &name, Rtype::A, Protocol::Udp).is_some());
        assert_eq!(read(&bytes, 8, &name, Rtype::A, Protocol::Udp), None);
        assert_eq!(read(&bytes, 7, &name, Rtype::AAAA, Protocol::Udp), None);
        let other: Name<Vec<u8>> = "other.example".parse().unwrap();
        assert_eq!(read(&bytes, 7, &other, Rtype::A, Protocol::Udp), None);
    }
}
