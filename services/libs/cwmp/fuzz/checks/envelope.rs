//! Any body is read or refused, and what was read survives being written and read again.

use platen_cwmp::{
    acs::Post,
    soap::{Envelope, Strictness, decode_body},
};

pub(crate) fn check(data: &[u8]) {
    let strict = Post::read(data, None, Strictness::Strict);
    let tolerant = Post::read(data, None, Strictness::Tolerant);
    assert!(
        strict.is_err() || tolerant.is_ok(),
        "whoever is strict refuses more"
    );

    let (text, _) = decode_body(data, None);
    if let Ok(received) = Envelope::read_from_cpe(&text, Strictness::Tolerant)
        && let Ok(xml) = received.envelope.to_xml()
    {
        // A value without type comes back as a string, so it is the second generation that has to equal the third.
        let second = Envelope::read_from_cpe(&xml, Strictness::Strict)
            .expect("what we write needs no repair")
            .envelope;
        let xml = second
            .to_xml()
            .expect("what was written once can be written again");
        let third = Envelope::read_from_cpe(&xml, Strictness::Strict)
            .expect("what we write needs no repair")
            .envelope;
        assert_eq!(second, third);
    }
    if let Ok(received) = Envelope::read_from_acs(&text, Strictness::Tolerant)
        && let Ok(xml) = received.envelope.to_xml()
    {
        let second = Envelope::read_from_acs(&xml, Strictness::Strict)
            .expect("what we write needs no repair")
            .envelope;
        let xml = second
            .to_xml()
            .expect("what was written once can be written again");
        let third = Envelope::read_from_acs(&xml, Strictness::Strict)
            .expect("what we write needs no repair")
            .envelope;
        assert_eq!(second, third);
    }
}
