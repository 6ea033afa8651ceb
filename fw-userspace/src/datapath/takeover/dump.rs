//! A question by netlink that is answered with a list; answered before the next is asked.

use std::io;

use netlink_packet_core::{
    NLM_F_DUMP, NLM_F_REQUEST, NetlinkDeserializable, NetlinkHeader, NetlinkMessage, NetlinkPayload,
    NetlinkSerializable,
};
use netlink_sys::{Socket, SocketAddr};

/// Larger than any answer: the kernel fills at most 32 KiB (net/netlink/af_netlink.c, `netlink_recvmsg`).
const ANSWER_BYTES: usize = 65_536;

/// Asks in the network namespace that this thread is in, and gives each part of the answer to `each`.
pub(super) fn dump<M: NetlinkSerializable + NetlinkDeserializable>(
    protocol: isize,
    question: M,
    mut each: impl FnMut(M),
) -> io::Result<()> {
    let mut header = NetlinkHeader::default();
    header.flags = NLM_F_REQUEST | NLM_F_DUMP;
    let mut message = NetlinkMessage::new(header, NetlinkPayload::InnerMessage(question));
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    let mut socket = Socket::new(protocol)?;
    socket.bind_auto()?;
    socket.connect(&SocketAddr::new(0, 0))?;
    socket.send(&bytes, 0)?;
    let mut answer = Vec::with_capacity(ANSWER_BYTES);
    loop {
        answer.clear();
        socket.recv(&mut answer, 0)?;
        let mut rest = &answer[..];
        while !rest.is_empty() {
            let message = NetlinkMessage::<M>::deserialize(rest)
                .map_err(|error| io::Error::other(format!("an answer that means nothing: {error}")))?;
            match message.payload {
                NetlinkPayload::InnerMessage(part) => each(part),
                NetlinkPayload::Done(_) => return Ok(()),
                NetlinkPayload::Error(error) => return Err(error.to_io()),
                _ => {}
            }
            // Messages begin at multiples of four bytes.
            let len = (message.header.length as usize).next_multiple_of(4);
            rest = rest.get(len..).unwrap_or_default();
        }
    }
}
