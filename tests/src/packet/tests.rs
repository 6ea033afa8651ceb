//! The builder against the RFCs and against bytes written down by others.

use super::*;

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

#[test]
fn checksum_of_the_example_of_rfc_1071() {
    assert_eq!(checksum(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]), !0xddf2);
}

#[test]
fn ipv4_header_and_tcp_header_are_right() {
    let frame = parse("tcp 198.51.100.7:51000 > 10.20.1.10:22 syn+ack seq=1 ack=2 ttl=3").unwrap();
    assert_eq!(hex(&frame[..14]), "0200000000020200000000010800");
    assert_eq!(hex(&frame[14..24]), "45000028100000000306");
    assert_eq!(checksum(&frame[14..34]), 0);
    assert_eq!(hex(&frame[26..34]), "c63364070a14010a");
    assert_eq!(hex(&frame[34..50]), "c738001600000001000000025012faf0");
    let mut pseudo = frame[26..34].to_vec();
    pseudo.extend([0, 6, 0, 20]);
    pseudo.extend(&frame[34..]);
    assert_eq!(checksum(&pseudo), 0);
}

#[test]
fn windows_and_their_scale_stand_where_rfc_9293_and_rfc_7323_have_them() {
    let frame = parse("tcp 10.0.0.1:1 > 10.0.0.2:2 syn seq=1 win=258 wscale=7 len=3").unwrap();
    assert_eq!(hex(&frame[46..]), format!("60020102{}000001030307616263", hex(&frame[50..52])));
    assert_eq!(hex(&frame[16..18]), "002b");
    let built = tcp("10.0.0.1:1", "10.0.0.2:2").flags(flag::SYN).seq(1).window(258).window_scale(7);
    assert_eq!(built.payload(b"abc").build(), frame);
}

#[test]
fn icmpv6_checksum_covers_the_pseudo_header() {
    let frame = parse("nd-solicit fe80::20 > ff02::1:ff00:10").unwrap();
    assert_eq!(hex(&frame[..6]), "3333ff000010");
    assert_eq!((frame[20], frame[21], frame[54]), (58, 255, 135));
    assert_eq!(hex(&frame[62..78]), "fe800000000000000000000000000010");
    let mut pseudo = frame[22..54].to_vec();
    pseudo.extend([0, 0, 0, 32, 0, 0, 0, 58]);
    pseudo.extend(&frame[54..]);
    assert_eq!(checksum(&pseudo), 0);
}

#[test]
fn extension_headers_stand_in_the_order_of_the_text() {
    let frame = parse("udp [2001:db8::1]:1 > [2001:db8::2]:2 ext=hop,dst,routing,frag,ah").unwrap();
    let (mut next, mut at, mut seen) = (frame[20], 54, Vec::new());
    while next != 17 {
        seen.push(next);
        let words = usize::from(frame[at + 1]);
        let length = if next == 51 { (words + 2) * 4 } else { (words + 1) * 8 };
        (next, at) = (frame[at], at + length);
    }
    assert_eq!(seen, [0, 60, 43, 44, 51]);
    assert_eq!(frame.len(), at + 8);
    assert_eq!(usize::from(frame[18]) << 8 | usize::from(frame[19]), frame.len() - 54);
}

#[test]
fn fragments_have_their_place_and_later_ones_no_ports() {
    let first = parse("udp 10.0.0.1:1 > 10.0.0.2:2 frag=7:0+").unwrap();
    assert_eq!((hex(&first[18..22]), first.len()), ("00072000".into(), 14 + 20 + 16));
    let later = parse("udp 10.0.0.1:1 > 10.0.0.2:2 frag=7:1480 len=5").unwrap();
    assert_eq!((hex(&later[18..22]), &later[34..]), ("000700b9".into(), &b"abcde"[..]));
    let v6 = parse("tcp [2001:db8::1]:1 > [2001:db8::2]:2 frag=7:16").unwrap();
    assert_eq!((v6[20], hex(&v6[54..62])), (44, "0600001000000007".into()));
}

#[test]
fn tags_are_outermost_first_and_the_inner_one_is_the_customers() {
    let frame = parse("ethertype 0x88cc vlan=5 vlan=6 dst-mac=01:80:c2:00:00:0e").unwrap();
    assert_eq!(hex(&frame[..24]), "0180c200000e02000000000188a800058100000688cc0000");
}

#[test]
fn an_icmp_error_quotes_the_whole_ip_packet() {
    let text = "tcp 10.20.1.10:51000 > 198.51.100.7:443 ack";
    let frame = parse(&format!("icmp 198.51.100.7 > 10.20.1.10 3/4 quote ({text}) ttl=9")).unwrap();
    assert_eq!(frame[42..], parse(text).unwrap()[14..]);
    assert_eq!((frame[22], checksum(&frame[34..])), (9, 0));
}

#[test]
fn every_lie_is_told_and_the_rest_stays_right() {
    let wrong = Wrong { header_words: Some(4), length: Some(9), ..Wrong::default() };
    let frame = udp("10.0.0.1:1", "10.0.0.2:2").wrong(wrong).build();
    assert_eq!((frame[14], hex(&frame[16..18])), (0x44, "0009".into()));
    assert_eq!(checksum(&frame[14..34]), 0);
    let wrong = Wrong { udp_length: Some(3), transport_checksum: Some(0xdead), ..Wrong::default() };
    assert_eq!(hex(&udp("[::1]:1", "[::2]:2").wrong(wrong).build()[54..]), "000100020003dead");
}

#[test]
fn the_whole_frame_in_hex_is_taken_as_it_is() {
    assert_eq!(parse("hex 0102 ff").unwrap(), [1, 2, 255]);
}

#[test]
fn dhcp_uses_its_port_pairs() {
    assert_eq!(hex(&parse("dhcp-discover").unwrap()[..6]), "ffffffffffff");
    assert_eq!(hex(&parse("dhcp-discover").unwrap()[26..38]), "00000000ffffffff00440043");
    assert_eq!(hex(&parse("dhcp-offer 10.0.0.1 > 10.0.0.2").unwrap()[34..38]), "00430044");
    assert_eq!(hex(&parse("dhcpv6-solicit fe80::1 > ff02::1:2").unwrap()[54..58]), "02220223");
}

#[test]
fn frames_end_early_or_late() {
    let whole = parse("tcp 10.0.0.1:1 > 10.0.0.2:2 syn vlan=5 options=4").unwrap();
    let text =
        |ending: &str| parse(&format!("tcp 10.0.0.1:1 > 10.0.0.2:2 syn vlan=5 options=4 {ending}")).unwrap();
    assert_eq!(text("cut=9"), whole[..9]);
    assert_eq!(text("cut=ip+3"), whole[..18 + 3]);
    assert_eq!(text("cut=transport+3"), whole[..18 + 24 + 3]);
    assert_eq!(text("cut=ip+999"), whole);
    let padded = text("pad=4");
    assert_eq!((&padded[..whole.len()], &padded[whole.len()..]), (&whole[..], &[0; 4][..]));
    // A quote is cut too: its headers still say what it was.
    let quoted = "udp 10.0.0.2:1 > 10.0.0.1:2 len=90 cut=transport+8";
    let frame = parse(&format!("icmp 10.0.0.1 > 10.0.0.2 3/4 quote ({quoted})")).unwrap();
    assert_eq!((frame.len(), hex(&frame[44..46])), (14 + 20 + 8 + 28, "0076".into()));
}

#[test]
fn lengths_lie_by_a_number_or_by_so_much() {
    let v4 = |ending: &str| parse(&format!("udp 10.0.0.1:1 > 10.0.0.2:2 len=4 {ending}")).unwrap();
    assert_eq!(hex(&v4("tot-len=0")[16..18]), "0000");
    assert_eq!(hex(&v4("tot-len=+1")[16..18]), "0021");
    assert_eq!(hex(&v4("udp-len=-4")[38..40]), "0008");
    assert_eq!((v4("ihl=4")[14], v4("version=6")[14]), (0x44, 0x65));
    assert_eq!(
        (hex(&v4("sum=0xdead")[40..42]), hex(&v4("ip-sum=7")[24..26])),
        ("dead".into(), "0007".into())
    );
    let v6 = parse("tcp [::1]:1 > [::2]:2 syn ext=dst payload-len=-1 doff=15").unwrap();
    assert_eq!((hex(&v6[18..20]), v6[62 + 12]), ("001b".into(), 0xf0));
    let v6 = parse("udp [::1]:1 > [::2]:2 ethertype=0x0800 data=0aff").unwrap();
    assert_eq!((hex(&v6[12..14]), hex(&v6[62..])), ("0800".into(), "0aff".into()));
}

#[test]
fn options_have_names_and_fill_up_their_last_word() {
    let options = |word: &str| {
        let frame = parse(&format!("udp 10.0.0.1:1 > 10.0.0.2:2 options={word}")).unwrap();
        let words = usize::from(frame[14] & 15);
        hex(&frame[34..14 + words * 4])
    };
    assert_eq!(options("8"), "0101010101010101");
    assert_eq!(options("nop,loose-route"), "01830704c6336401");
    assert_eq!(options("router-alert,eol"), "9404000000000000");
    assert_eq!(options("0x0701"), "07010000");
}

#[test]
fn extension_headers_may_be_many_long_or_lie() {
    let frame = parse("udp [::1]:1 > [::2]:2 ext=dst*2,hop/16,routing4:9").unwrap();
    assert_eq!(hex(&frame[54..70]), "3c000104000000000000010400000000");
    assert_eq!(hex(&frame[70..86]), "2b01010c000000000000000000000000");
    assert_eq!((hex(&frame[86..94]), frame.len()), ("1109040000000000".into(), 94 + 8));
}

#[test]
fn tags_of_any_type_stand_in_their_order() {
    let frame = parse("arp 10.0.0.1 > 10.0.0.2 tag=0x8100:0xe000 tag=0x88a8:6").unwrap();
    assert_eq!(hex(&frame[12..22]), "8100e00088a800060806");
}

#[test]
fn mistakes_name_the_word() {
    for (text, word) in [
        ("tcb 10.0.0.1:1 > 10.0.0.2:2 syn", "\"tcb\" is no kind of packet"),
        ("tcp 10.0.0.1 > 10.0.0.2:2 syn", "\"10.0.0.1\" is not an address with a port"),
        ("tcp 10.0.0.1:1 10.0.0.2:2 syn", "\"10.0.0.2:2\" stands where \">\""),
        ("tcp 10.0.0.1:1 > 10.0.0.2:2", "flags are missing"),
        ("tcp 10.0.0.1:1 > 10.0.0.2:2 sin", "\"sin\" is no TCP flag"),
        ("tcp 10.0.0.1:1 > [::1]:2 syn", "mixes IPv4 and IPv6"),
        ("udp 10.0.0.1:1 > 10.0.0.2:2 seq=1", "\"seq=1\" does not fit"),
        ("udp 10.0.0.1:1 > 10.0.0.2:2 win=1", "\"win=1\" does not fit"),
        ("tcp 10.0.0.1:1 > 10.0.0.2:2 syn win=65536", "\"65536\" is not a window"),
        ("tcp 10.0.0.1:1 > 10.0.0.2:2 ack wscale=7", "wscale stands on a SYN only"),
        ("udp 10.0.0.1:1 > 10.0.0.2:2 tttl=1", "\"tttl=1\" was not understood"),
        ("udp 10.0.0.1:1 > 10.0.0.2:2 frag=1:7", "multiples of 8"),
        ("udp 10.0.0.1:1 > 10.0.0.2:2 ext=hop", "\"ext=hop\" does not fit"),
        ("icmp 10.0.0.1 > 10.0.0.2 8", "\"8\" is not TYPE/CODE"),
        ("icmp 10.0.0.1 > 10.0.0.2 3/1 quote (tcp x)", "in the quoted packet"),
        ("udp 10.0.0.1:1 > 10.0.0.2:2 options=ts", "\"ts\" is no option: eol"),
        ("udp 10.0.0.1:1 > 10.0.0.2:2 options=44", "at most 40"),
        ("udp 10.0.0.1:1 > 10.0.0.2:2 payload-len=0", "\"payload-len=0\" does not fit"),
        ("udp 10.0.0.1:1 > 10.0.0.2:2 tot-len=+-1", "\"+-1\" is not a length"),
        ("udp 10.0.0.1:1 > 10.0.0.2:2 tot-len=-99", "\"-99\" is not a length"),
        ("udp 10.0.0.1:1 > 10.0.0.2:2 doff=4", "\"doff=4\" does not fit"),
        ("udp 10.0.0.1:1 > 10.0.0.2:2 ihl=16", "\"ihl=16\": at most 15"),
        ("udp 10.0.0.1:1 > 10.0.0.2:2 cut=tcp+3", "\"tcp\" is no place to count from"),
        ("udp 10.0.0.1:1 > 10.0.0.2:2 tag=8100:5", "\"8100\" is not an ethertype"),
        ("udp 10.0.0.1:1 > 10.0.0.2:2 tag=0x8100:5 vlan=6", "vlan and tag do not go together"),
        ("udp [::1]:1 > [::2]:2 ext=hopp", "\"hopp\" is no extension header: hop, dst"),
        ("udp [::1]:1 > [::2]:2 ext=frag:3", "\"frag\" has no length of its own"),
        ("udp [::1]:1 > [::2]:2 ext=dst/12", "a multiple of 8"),
        ("udp [::1]:1 > [::2]:2 data=0g", "\"0g\" is not a byte"),
        ("hex 012", "half a byte"),
        ("", "a kind of packet is missing"),
    ] {
        let message = format!("{:#}", parse(text).unwrap_err());
        assert!(message.contains(word), "{text}: {message}");
    }
}
