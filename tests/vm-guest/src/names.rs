//! The name server of the guest: one name exists.

use std::net::{Ipv4Addr, UdpSocket};
use std::thread;

use anyhow::Context as _;
use domain::base::iana::Rcode;
use domain::base::{Message, MessageBuilder, Name, Rtype, Ttl};
use domain::rdata::A;
use obsflow_vm_guest::NAME_SERVER;
use obsflow_vm_guest::scenario::NAME_PRESENT;

/// Longest message that is read.
const MESSAGE_BYTES: usize = 1232;
/// What the answer may be kept for.
const ANSWER_TTL: Ttl = Ttl::from_secs(5);

/// Starts the server; it runs until the machine is switched off.
pub(crate) fn serve() -> anyhow::Result<()> {
    let socket = UdpSocket::bind((NAME_SERVER, 53)).context("binding the port of DNS")?;
    let present: Name<Vec<u8>> = NAME_PRESENT.parse().context("reading the name that exists")?;
    thread::spawn(move || {
        let mut buffer = [0; MESSAGE_BYTES];
        while let Ok((length, client)) = socket.recv_from(&mut buffer) {
            // A query that cannot be read gets no answer: the resolver's own time-out is the right symptom.
            if let Some(answer) = buffer.get(..length).and_then(|query| answer(query, &present)) {
                socket.send_to(&answer, client).ok();
            }
        }
    });
    Ok(())
}

fn answer(query: &[u8], present: &Name<Vec<u8>>) -> Option<Vec<u8>> {
    let query = Message::from_octets(query).ok()?;
    let question = query.sole_question().ok()?;
    let exists = question.qname() == present;
    let rcode = if exists { Rcode::NOERROR } else { Rcode::NXDOMAIN };
    let mut message = MessageBuilder::new_vec().start_answer(&query, rcode).ok()?;
    message.header_mut().set_ra(true);
    if exists && question.qtype() == Rtype::A {
        message
            .push((present, ANSWER_TTL, A::new(Ipv4Addr::LOCALHOST)))
            .ok()?;
    }
    Some(message.finish())
}
